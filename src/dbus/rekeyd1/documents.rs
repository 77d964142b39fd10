//! The documents that go over the bus as JSON, which `rekeyctl --json` prints.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::SecretName;
use crate::record::{LastRotation, RotationId, Stage, TurnedAway};
use crate::rotation::{Fault, Generation};
use crate::secret::Fingerprint;

/// What `GetSecret` says of a secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SecretStatus {
    /// Its name.
    pub name: String,
    /// The file that configures it.
    pub file: String,
    /// The variable that its consumers read.
    pub env: String,
    /// In a word: `in-force`, `rotating`, `on-hold`, `not-adopted`,
    /// `unreadable`, `outdated`, `locked`.
    pub state: String,
    /// The targets.
    pub targets: Vec<String>,
    /// The consumers.
    pub consumers: Vec<String>,
    /// Its generations, oldest first.
    pub generations: Vec<GenerationStatus>,
    /// The generation in force.
    pub generation: Option<Generation>,
    /// Its fingerprint.
    pub fingerprint: Option<Fingerprint>,
    /// Since when it has been in force.
    pub since: Option<Timestamp>,
    /// Whether it was taken over, and is shorter, or simpler, than `bytes` asked for.
    #[serde(default)]
    pub weak: bool,
    /// When the schedule rotates next.
    pub next: Option<Timestamp>,
    /// When it is tried again after a rollback.
    pub retry_at: Option<Timestamp>,
    /// Whether that is when the schedule rotates next, since its window is over before then.
    #[serde(default)]
    pub waits_for_schedule: bool,
    /// What the schedule asked for since the last rotation and was refused before it began.
    #[serde(default)]
    pub turned_away: Option<TurnedAway>,
    /// Other generations that the consumers accept.
    #[serde(default)]
    pub accepted: Vec<Generation>,
    /// When they are no longer to be accepted.
    #[serde(default)]
    pub retire_at: Option<Timestamp>,
    /// Whether the schedule is paused.
    pub paused: bool,
    /// Why it is on hold, why its records cannot be read, or what keeps its rotation from going on.
    pub hold: Option<String>,
    /// The rotation under way, with its step.
    pub rotation: Option<RotationStatus>,
    /// What is not as it was left: files that were edited by hand, processes that are older than their file.
    #[serde(default)]
    pub drift: Vec<String>,
    /// What runs with another value than the one in force, as it is meant to, until its next start (`activate = "none"`).
    #[serde(default)]
    pub waiting: Vec<String>,
    /// The last rotation that ended.
    pub last: Option<LastRotation>,
}

/// One generation in a status.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GenerationStatus {
    /// Its number.
    pub number: Generation,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// Its stage.
    pub stage: Stage,
    /// Since when.
    pub since: Timestamp,
}

/// A rotation under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RotationStatus {
    /// Its id.
    pub id: RotationId,
    /// The step it is in.
    pub step: String,
}

/// What `Reload` did.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Reloaded {
    /// How many secrets are configured.
    pub secrets: usize,
    /// Timers that were started.
    pub started: Vec<String>,
    /// Timers that were stopped.
    pub stopped: Vec<String>,
    /// Warnings about the configuration.
    pub warnings: Vec<String>,
}

/// How the daemon itself is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Condition {
    /// The version that runs.
    pub version: String,
    /// Why the store is locked.
    pub locked: Option<Fault>,
    /// What is wrong with the configuration, where none was ever valid.
    pub configuration: Option<String>,
    /// Secrets that the store has values of and that are not configured.
    pub unconfigured: Vec<SecretName>,
    /// What there is to say of those of them whose consumers accept a former value.
    #[serde(default)]
    pub left_open: Vec<String>,
    /// Secrets whose schedule on disk is another one than that in force: their dates are skipped.
    #[serde(default)]
    pub edited: Vec<SecretName>,
}

/// What `Forget` has left.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Forgotten {
    /// Where the value was delivered, from where the consumers go on reading it.
    pub delivered: Option<String>,
    /// What reads it, or has the value itself: drop-ins, and units that systemd has loaded.
    pub drop_ins: Vec<String>,
    /// Other targets, which keep the value.
    #[serde(default)]
    pub elsewhere: Vec<String>,
    /// Generations that the consumers still accept beside it.
    #[serde(default)]
    pub accepted: Vec<Generation>,
    /// The file that still configures the secret.
    pub file: Option<String>,
}
