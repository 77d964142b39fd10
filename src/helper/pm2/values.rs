//! Variables, as PM2 and its processes have them.

use serde_json::Value;
use zeroize::Zeroizing;

/// What the program finds: PM2 gives a worker of a cluster one variable that holds all others, and puts those over what
/// the daemon's own environment has.
pub(super) fn variable(environment: &[u8], name: &str) -> Option<Zeroizing<Vec<u8>>> {
    let all = assigned(environment, "pm2_env").and_then(|json| serde_json::from_slice::<Value>(json).ok());
    let given = all.as_ref().and_then(|all| text(all.get(name)?));
    if let Some(all) = all {
        wipe(all);
    }
    given.or_else(|| assigned(environment, name).map(|value| Zeroizing::new(value.to_vec())))
}

pub(super) fn assigned<'a>(environment: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let value = |entry: &'a [u8]| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=");
    environment.split(|&byte| byte == 0).find_map(value)
}

pub(super) fn text(value: &Value) -> Option<Zeroizing<Vec<u8>>> {
    match value {
        Value::String(text) => Some(Zeroizing::new(text.clone().into_bytes())),
        Value::Null => None,
        other => Some(Zeroizing::new(other.to_string().into_bytes())),
    }
}

/// There are secrets in it, ours and others.
pub(super) fn wipe(value: Value) {
    match value {
        Value::String(text) => drop(Zeroizing::new(text)),
        Value::Array(values) => values.into_iter().for_each(wipe),
        Value::Object(entries) => entries.into_iter().for_each(|(_, value)| wipe(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(environment: &[u8], name: &str) -> Option<Vec<u8>> {
        variable(environment, name).map(|value| value.to_vec())
    }

    #[test]
    fn what_pm2_gives_a_worker_is_over_what_its_daemon_has() {
        let cluster = b"K=stale\0pm2_env={\"name\":\"api\",\"K\":\"new\",\"N\":5,\"env\":{\"K\":\"other\"}}\0A=1";
        assert_eq!(seen(cluster, "K").unwrap(), b"new");
        assert_eq!(seen(cluster, "N").unwrap(), b"5");
        assert_eq!(seen(cluster, "A").unwrap(), b"1");
        assert_eq!(seen(b"K=stale\0pm2_env={\"name\":\"api\"}", "K").unwrap(), b"stale");
        assert_eq!(seen(b"K=plain\0", "K").unwrap(), b"plain");
        assert_eq!(seen(b"KK=plain\0", "K"), None);
    }
}
