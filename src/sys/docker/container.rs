//! What is read of a container. Its configuration is full of secrets: only what is asked for is kept.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::secret::SecretValue;

/// A container, briefly.
#[derive(Clone, Debug, Deserialize)]
pub struct Listed {
    /// Its id, 64 hex digits.
    #[serde(rename = "Id")]
    pub id: String,
    /// Its labels.
    #[serde(rename = "Labels", default)]
    pub labels: BTreeMap<String, String>,
}

/// A container.
#[derive(Clone, Debug, Deserialize)]
pub struct Container {
    /// Its id, 64 hex digits.
    #[serde(rename = "Id")]
    pub id: String,
    /// Its name, after a slash.
    #[serde(rename = "Name", default)]
    name: String,
    /// The id of the image that it was made of.
    #[serde(rename = "Image", default)]
    pub image: String,
    /// How often the engine has started it again by itself.
    #[serde(rename = "RestartCount", default)]
    pub restarts: u64,
    /// How it is.
    #[serde(rename = "State")]
    pub state: State,
    #[serde(rename = "Config")]
    config: Config,
    #[serde(rename = "HostConfig", default)]
    host: HostConfig,
    #[serde(rename = "Mounts", default)]
    mounts: Vec<Mount>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct HostConfig {
    #[serde(rename = "NetworkMode", default)]
    network: String,
    #[serde(rename = "PidMode", default)]
    pid: String,
    #[serde(rename = "IpcMode", default)]
    ipc: String,
    #[serde(rename = "LogConfig", default)]
    log: LogConfig,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct LogConfig {
    #[serde(rename = "Type", default)]
    driver: String,
}

/// How a container is.
#[derive(Clone, Debug, Deserialize)]
pub struct State {
    /// `created`, `running`, `paused`, `restarting`, `removing`, `exited`, `dead`.
    #[serde(rename = "Status")]
    pub status: String,
    /// Its first process; 0 where it does not run.
    #[serde(rename = "Pid", default)]
    pub pid: u32,
    /// The status that its first process ended with.
    #[serde(rename = "ExitCode", default)]
    pub exit_code: i64,
    /// Why it could not be started; may have words of its configuration in it, and is not told.
    #[serde(rename = "Error", default)]
    pub error: String,
    /// Whether it was killed for want of memory.
    #[serde(rename = "OOMKilled", default)]
    pub out_of_memory: bool,
    /// When it was started last.
    #[serde(rename = "StartedAt", default)]
    pub started_at: String,
    #[serde(rename = "Health", default)]
    health: Option<Health>,
}

#[derive(Clone, Debug, Deserialize)]
struct Health {
    #[serde(rename = "Status")]
    status: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Config {
    #[serde(rename = "Image", default)]
    image: String,
    #[serde(rename = "Env", default)]
    env: Option<Variables>,
    #[serde(rename = "Labels", default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(rename = "StopTimeout", default)]
    stop_timeout: Option<u64>,
}

/// All its variables, other people's secrets among them.
#[derive(Clone, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
struct Variables(Vec<String>);

#[derive(Clone, Debug, Deserialize)]
struct Mount {
    #[serde(rename = "Source", default)]
    source: String,
    #[serde(rename = "Destination", default)]
    destination: String,
}

impl std::fmt::Debug for Variables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} variables", self.0.len())
    }
}

impl Container {
    /// Its name.
    pub fn name(&self) -> &str {
        self.name.trim_start_matches('/')
    }

    /// The beginning of its id, as docker prints it.
    pub fn short_id(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }

    /// What keeps what it prints: `json-file`, `journald`.
    pub fn log_driver(&self) -> &str {
        &self.host.log.driver
    }

    /// The name that its image had when it was made: `app:latest`.
    pub fn image_name(&self) -> &str {
        &self.config.image
    }

    /// The value of a variable that it is started with.
    pub fn variable(&self, name: &str) -> Option<SecretValue> {
        let mut variables = self.config.env.iter().flat_map(|variables| &variables.0);
        let value = variables.find_map(|assignment| assignment.strip_prefix(name)?.strip_prefix('='))?;
        Some(SecretValue::new(value.as_bytes().to_vec()))
    }

    /// A variable that it is started with and that has this value.
    pub fn variable_with(&self, value: &SecretValue) -> Option<&str> {
        let variables = self.config.env.iter().flat_map(|variables| &variables.0);
        let mut pairs = variables.filter_map(|assignment| assignment.split_once('='));
        pairs.find(|(_, has)| SecretValue::new(has.as_bytes().to_vec()).is_same(value)).map(|(name, _)| name)
    }

    /// A variable that it is started with and that has this value as a part of its own.
    pub fn variable_around(&self, value: &SecretValue) -> Option<&str> {
        let variables = self.config.env.iter().flat_map(|variables| &variables.0);
        let mut pairs = variables.filter_map(|assignment| assignment.split_once('='));
        pairs.find(|(_, text)| value.is_within(text.as_bytes())).map(|(name, _)| name)
    }

    /// All its labels.
    pub fn labels(&self) -> BTreeMap<String, String> {
        self.config.labels.clone().unwrap_or_default()
    }

    /// A label; empty where it has none of that name.
    pub fn label(&self, name: &str) -> &str {
        self.config.labels.as_ref().and_then(|labels| labels.get(name)).map_or("", String::as_str)
    }

    /// Where it sees a file or directory of the host.
    pub fn sees(&self, source: &Path) -> Option<&str> {
        self.mounts.iter().find(|mount| Path::new(&mount.source) == source).map(|mount| mount.destination.as_str())
    }

    /// What it has of another container, as Compose calls that, by the key that says so.
    pub fn joins(&self, other: &Self) -> Option<&'static str> {
        let host = &self.host;
        let modes = [("network_mode", &host.network), ("pid", &host.pid), ("ipc", &host.ipc)];
        let is_other =
            |mode: &str| mode.strip_prefix("container:").is_some_and(|of| of == other.id || of == other.name());
        modes.into_iter().find(|(_, mode)| is_other(mode)).map(|(key, _)| key)
    }

    /// What its own check says of it: `starting`, `healthy`, `unhealthy`; none where it has none.
    pub fn health(&self) -> Option<&str> {
        self.state.health.as_ref().map(|health| health.status.as_str()).filter(|status| *status != "none")
    }

    /// Whether it runs, or is started again and again.
    pub fn is_up(&self) -> bool {
        matches!(self.state.status.as_str(), "running" | "paused" | "restarting")
    }

    /// Whether it ended as one does that somebody stops: well, or by the signals for that.
    pub fn was_stopped(&self) -> bool {
        matches!(self.state.exit_code, 0 | 130 | 137 | 143) && !self.state.out_of_memory
    }

    /// How long it is given to stop.
    pub fn grace(&self) -> Duration {
        Duration::from_secs(self.config.stop_timeout.unwrap_or(10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_read_and_shows_no_value() {
        let text = r#"{"Id":"ab","Name":"/app-web-1","RestartCount":2,"Image":"sha256:12","State":{"Status":"running","Pid":7,"ExitCode":0,
            "Health":{"Status":"starting","Log":null}},"Config":{"Image":"app:1","Env":["A=1","JWT_SECRET=pa55=x"],"Labels":null},
            "Mounts":[{"Type":"bind","Source":"/srv/jwt","Destination":"/run/secrets/jwt"}],"More":{}}"#;
        let container: Container = serde_json::from_str(text).unwrap();
        assert_eq!(container.name(), "app-web-1");
        assert_eq!(container.variable("JWT_SECRET").unwrap().reveal(), b"pa55=x");
        assert!(container.variable("JWT").is_none());
        assert_eq!((container.image.as_str(), container.image_name()), ("sha256:12", "app:1"));
        assert_eq!((container.health(), container.label("x")), (Some("starting"), ""));
        assert_eq!(container.sees(Path::new("/srv/jwt")), Some("/run/secrets/jwt"));
        assert!(!format!("{container:?}").contains("pa55"));
    }
}
