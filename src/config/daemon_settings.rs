//! What `rekeyd.toml` sets.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `/etc/rekeyd/rekeyd.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonSettings {
    /// `[daemon] stop-timeout`: how long a running rotation may finish when the daemon is stopped. Default and
    /// greatest value 60 s.
    pub stop_timeout: Duration,
    /// `[notify]`: who is told when a person is needed.
    pub notify: NotifySettings,
    /// `[metrics] file`; none where it is empty.
    pub metrics: Option<PathBuf>,
}

impl Default for DaemonSettings {
    fn default() -> Self {
        let metrics = Some(PathBuf::from("/run/rekeyd/metrics/rekeyd.prom"));
        Self { stop_timeout: Duration::from_secs(60), notify: NotifySettings::default(), metrics }
    }
}

/// `[notify]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotifySettings {
    /// `command`, run in a unit of its own, with `user`.
    pub command: Option<(Vec<String>, Option<String>)>,
    /// `webhook`: a JSON document is posted there, with the headers in the file of `header-file`.
    pub webhook: Option<(String, Option<PathBuf>)>,
    /// `on`: what is told.
    pub on: Vec<Event>,
    /// `repeat`: how often it is told again while it lasts, default a day; zero is once.
    pub repeat: Duration,
}

impl Default for NotifySettings {
    fn default() -> Self {
        let on = vec![Event::Failure, Event::Hold, Event::Overdue, Event::Locked, Event::Recovery];
        Self { command: None, webhook: None, on, repeat: Duration::from_secs(86_400) }
    }
}

/// What a person is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// A rotation did not end well.
    Failure,
    /// Nothing rotates until a person releases it.
    Hold,
    /// The value in force is older than it should be.
    Overdue,
    /// The store's key cannot be had.
    Locked,
    /// What was told of is over.
    Recovery,
    /// Nothing: a person tries out whether it arrives.
    Test,
}

impl Event {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Hold => "hold",
            Self::Overdue => "overdue",
            Self::Locked => "locked",
            Self::Recovery => "recovery",
            Self::Test => "test",
        }
    }
}
