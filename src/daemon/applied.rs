//! The schedules that were put in force. What stands in the configuration may have been edited since, and whatever had
//! systemd read its units anew, a boot or the upgrade of something else, has made timers of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::config::{Schedule, SecretName, SecretSettings, Settings};
use crate::sys::files::{self, FileError};

/// Where they are kept from one start to the next.
const FILE: &str = "/var/lib/rekeyd/schedules.json";
const LARGEST: u64 = 1 << 20;

type Schedules = BTreeMap<SecretName, String>;

/// The schedules in force, by secret.
pub struct Applied {
    path: PathBuf,
    /// None where nothing is known: then those of the configuration are taken for them.
    schedules: Mutex<Option<Schedules>>,
}

impl Default for Applied {
    fn default() -> Self {
        Self::load(Path::new(FILE))
    }
}

impl Applied {
    fn load(path: &Path) -> Self {
        let known = files::read(path, LARGEST).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self { path: path.to_owned(), schedules: Mutex::new(known) }
    }

    /// Whether the schedule of a secret is the one that was put in force.
    pub fn has(&self, secret: &SecretSettings) -> bool {
        let known = self.schedules.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = known.as_ref() else { return true };
        known.get(&secret.name).map(String::as_str) == secret.schedule.as_ref().map(in_words).as_deref()
    }

    /// Records that those of `settings` are in force.
    ///
    /// # Errors
    /// Where they cannot be kept; until the next start they are known all the same.
    pub fn put(&self, settings: &Settings) -> Result<(), FileError> {
        let schedule = |secret: &SecretSettings| Some((secret.name.clone(), in_words(secret.schedule.as_ref()?)));
        let schedules: Schedules = settings.secrets.values().filter_map(schedule).collect();
        let text = serde_json::to_vec(&schedules).unwrap_or_default();
        *self.schedules.lock().unwrap_or_else(PoisonError::into_inner) = Some(schedules);
        files::replace(&self.path, &text, 0o600).map(drop)
    }
}

/// What systemd's timer is made of.
fn in_words(schedule: &Schedule) -> String {
    let Schedule { on_calendar, randomized_delay, persistent, .. } = schedule;
    format!("{} +{}us persistent={persistent}", on_calendar.join(" | "), randomized_delay.as_micros())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn secret(schedule: &str) -> Settings {
        let dir = tempfile::tempdir().unwrap();
        let secrets = dir.path().join("etc/rekeyd/secrets.d");
        std::fs::create_dir_all(&secrets).unwrap();
        let text =
            format!("[secret]\nenv = \"A\"\n{schedule}\n[[target]]\ntype = \"systemd\"\nunits = [\"a.service\"]\n");
        std::fs::write(secrets.join("a.toml"), text).unwrap();
        config::load(&config::Dirs::under(dir.path())).settings
    }

    #[test]
    fn what_was_put_in_force_is_known_at_the_next_start_and_nothing_else_is_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("schedules.json");
        let [daily, weekly, none] =
            ["[schedule]\non-calendar = \"daily\"", "[schedule]\non-calendar = \"weekly\"", ""].map(secret);
        let of = |settings: &Settings| settings.secrets.values().next().cloned().unwrap();
        let unknown = Applied::load(&path);
        assert!(unknown.has(&of(&daily)) && unknown.has(&of(&none)));
        unknown.put(&daily).unwrap();
        for applied in [unknown, Applied::load(&path)] {
            assert!(applied.has(&of(&daily)));
            assert!(!applied.has(&of(&weekly)) && !applied.has(&of(&none)));
        }
    }
}
