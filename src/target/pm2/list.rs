//! What `pm2 jlist` prints: a list of all processes, with every secret that each of them was given.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::secret::SecretValue;

/// A process, as PM2 sees it.
pub(super) struct Instance {
    /// The app's name.
    pub app: String,
    /// Its number; none for one that a reload is just replacing.
    pub id: Option<u32>,
    /// 0 where there is none.
    pub pid: u32,
    /// `online`, `launching`, `stopping`, `stopped`, `errored`, `waiting restart` and others.
    pub status: String,
    /// How often it was started again.
    pub restarts: u32,
    /// How often in a row it ended soon after its start.
    pub unstable: u32,
    /// What its last process ended with, by itself; 0 where it was told to.
    pub exit_code: i64,
    pub is_cluster: bool,
    /// Whether it is started again when a file changes.
    pub is_watched: bool,
    /// What PM2 would give it at its next start; none where the variable is not PM2's to give.
    pub stored: Option<SecretValue>,
}

impl Instance {
    pub fn is_online(&self) -> bool {
        self.status == "online"
    }

    pub fn is_stopped(&self) -> bool {
        self.status == "stopped"
    }

    /// Whether it is not on its way to another state.
    pub fn is_at_rest(&self) -> bool {
        self.is_settled() && !["launching", "stopping", "waiting restart"].contains(&self.status.as_str())
    }

    /// Whether it is not one that a reload is just replacing.
    pub fn is_settled(&self) -> bool {
        self.id.is_some()
    }
}

#[derive(Deserialize)]
struct Raw<'j> {
    name: String,
    #[serde(default)]
    pid: Option<u32>,
    pm_id: Value,
    #[serde(borrow)]
    pm2_env: RawEnv<'j>,
}

#[derive(Deserialize)]
struct RawEnv<'j> {
    #[serde(default)]
    status: String,
    #[serde(default)]
    restart_time: u32,
    #[serde(default)]
    unstable_restarts: u32,
    #[serde(default)]
    exit_code: Option<i64>,
    #[serde(default)]
    exec_mode: String,
    #[serde(default)]
    watch: Value,
    #[serde(default)]
    pmx_module: Value,
    #[serde(borrow, default)]
    env: Option<&'j RawValue>,
}

/// The processes of apps, but not those of PM2's modules; none where it is no such list. `variable` is ours.
pub(super) fn parse(printed: &[u8], variable: &str) -> Option<Vec<Instance>> {
    // There may be warnings before it.
    let line = printed.split(|&byte| byte == b'\n').rfind(|line| line.starts_with(b"["))?;
    let all: Vec<Raw<'_>> = serde_json::from_slice(line).ok()?;
    let is_app = |raw: &Raw<'_>| !is_set(&raw.pm2_env.pmx_module);
    Some(all.into_iter().filter(is_app).map(|raw| instance(raw, variable)).collect())
}

fn instance(raw: Raw<'_>, variable: &str) -> Instance {
    let env = raw.pm2_env;
    Instance {
        app: raw.name,
        id: raw.pm_id.as_u64().and_then(|id| u32::try_from(id).ok()),
        pid: raw.pid.unwrap_or(0),
        status: env.status,
        restarts: env.restart_time,
        unstable: env.unstable_restarts,
        exit_code: env.exit_code.unwrap_or(0),
        is_cluster: env.exec_mode == "cluster_mode",
        is_watched: is_set(&env.watch),
        stored: env.env.and_then(|env| stored(env, variable)),
    }
}

fn is_set(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false))
}

fn stored(env: &RawValue, variable: &str) -> Option<SecretValue> {
    let all: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(env.get()).ok()?;
    let text: Zeroizing<String> = serde_json::from_str(all.get(variable)?.get()).ok().map(Zeroizing::new)?;
    Some(SecretValue::new(text.as_bytes().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#">>>> In-memory PM2 is out-of-date
[{"pid":7748,"name":"api","pm2_env":{"status":"online","restart_time":2,"exec_mode":"cluster_mode","watch":false,"wait_ready":true,"listen_timeout":4000,"env":{"A":"\"","K":"a\"b"},"K":"x"},"pm_id":0,"monit":{"memory":1,"cpu":0}},{"pid":0,"name":"api","pm2_env":{"status":"stopping","exec_mode":"cluster_mode"},"pm_id":"_old_0"},{"name":"worker","pm2_env":{"status":"stopped","exec_mode":"fork_mode","watch":["src"],"env":{}},"pm_id":2},{"pid":5,"name":"pm2-logrotate","pm2_env":{"status":"online","pmx_module":true},"pm_id":3}]
"#;

    #[test]
    fn what_counts_is_read_and_modules_are_left_out() {
        let all = parse(LIST.as_bytes(), "K").unwrap();
        assert_eq!(all.len(), 3);
        let first = &all[0];
        assert_eq!((first.id, first.pid, first.restarts), (Some(0), 7748, 2));
        assert!(first.is_online() && first.is_cluster && !first.is_watched && first.is_at_rest());
        assert_eq!(first.stored.as_ref().unwrap().reveal(), b"a\"b");
        assert!(!all[1].is_settled() && !all[1].is_at_rest());
        assert!(all[2].is_stopped() && all[2].is_watched && all[2].stored.is_none() && !all[2].is_cluster);
    }

    #[test]
    fn what_is_no_list_is_none() {
        for text in ["", "hello\n", "[{\"name\":\"api\"", "[1]", "{}"] {
            assert!(parse(text.as_bytes(), "K").is_none(), "{text}");
        }
        assert!(parse(b"[]\n", "K").unwrap().is_empty());
    }
}
