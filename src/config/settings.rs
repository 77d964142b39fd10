//! The configuration as the rest of the program sees it: merged, validated, no `Option` that means "not checked yet".

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{DaemonSettings, ProbeSettings, TargetSettings, Watch};
use crate::secret::Format;

/// Everything that is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Daemon-wide settings.
    pub daemon: DaemonSettings,
    /// One entry for each secret.
    pub secrets: BTreeMap<SecretName, SecretSettings>,
}

/// The name of a secret: `[a-z0-9][a-z0-9-]{0,62}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretName(String);

impl SecretName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SecretName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = name.as_bytes();
        let fits = (1..=63).contains(&bytes.len()) && plain(bytes[0]) && bytes.iter().all(|&b| plain(b) || b == b'-');
        if fits {
            Ok(Self(name))
        } else {
            Err(format!(
                "{name:?} is not a secret's name: use 1 to 63 lower-case letters, digits and dashes, no dash first"
            ))
        }
    }
}

impl From<SecretName> for String {
    fn from(name: SecretName) -> Self {
        name.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One secret: `/etc/rekeyd/secrets.d/NAME.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretSettings {
    /// The file's name without `.toml`.
    pub name: SecretName,
    /// The file that it was read from.
    pub file: PathBuf,
    /// `[secret] env`: the variable that the consumer reads.
    pub env: String,
    /// `[secret] kind`, default `signing`.
    pub kind: Kind,
    /// `[secret] bytes`: entropy before encoding, 32 to 1024, default 32.
    pub bytes: usize,
    /// `[secret] format`, default `hex`.
    pub format: Format,
    /// `[secret] keep`: how long a previous value stays retrievable, default 30 days.
    pub keep: Duration,
    /// `[schedule]`; a secret without one is rotated by hand only.
    pub schedule: Option<Schedule>,
    /// `[rotation] deadline`: the most that one rotation may take before it goes back, default 10 min.
    pub deadline: Duration,
    /// `[rotation] dead-man`, default true: a timer of systemd undoes a rotation that nobody goes on with.
    pub dead_man: bool,
    /// `[invalidation]`: how old tokens die; none with `mode = "immediate"`, where they die at the restart.
    pub overlap: Option<Overlap>,
    /// `[logout]`: what ends the sessions that outlive a rotation.
    pub logout: Option<HookSettings>,
    /// `[secret] re-encrypt`, of `kind = "encryption"` alone: what encrypts with the new value all that is encrypted with
    /// the old one.
    pub re_encrypt: Option<HookSettings>,
    /// `[proof] settle`: how long the consumer must stay up, default 2 s.
    pub settle: Duration,
    /// `[proof] allow-without`: names (`/proc/PID/comm`) of helper processes that legitimately lack the variable.
    pub allow_without: Vec<String>,
    /// `[proof] aftercare`: how long a consumer that fails after the commit is still taken back, default 30 s.
    pub aftercare: Duration,
    /// `[proof] watch`: asked at a steady rate through the rotation.
    pub watch: Option<Watch>,
    /// `[[target]]`, at least one.
    pub targets: Vec<TargetSettings>,
    /// `[[probe]]`, may be none.
    pub probes: Vec<ProbeSettings>,
}

/// `[secret] kind`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Signs tokens.
    #[default]
    Signing,
    /// Signs session cookies.
    Session,
    /// A password.
    Password,
    /// An API token.
    ApiToken,
    /// Encrypts data: rotated only with `re-encrypt`, since the data would be lost.
    Encryption,
}

/// What is done once a rotation is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookSettings {
    /// What.
    pub act: HookAct,
    /// `timeout`: how long it may take, default 30 s.
    pub timeout: Duration,
}

impl HookSettings {
    /// The command, in one line.
    pub fn command(&self) -> Option<String> {
        match &self.act {
            HookAct::Command { argv, .. } => Some(argv.join(" ")),
            HookAct::Http { .. } => None,
        }
    }
}

/// A command, or an HTTP request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookAct {
    /// `command`, run in a unit of its own.
    Command {
        /// The program, an absolute path, and its arguments.
        argv: Vec<String>,
        /// `user`; root where it is left out.
        user: Option<String>,
    },
    /// `url`: answers with a status of 200 to 299.
    Http {
        /// The URL.
        url: String,
        /// `method`, default POST.
        method: String,
        /// `header-file`: headers as `Name: value`, one a line, readable by root only.
        headers: Option<PathBuf>,
    },
}

impl SecretSettings {
    /// The calendar expressions, each with its key. systemd parses them, nobody else does.
    pub fn calendars(&self) -> impl Iterator<Item = (&'static str, &String)> {
        let dates = self.schedule.iter().flat_map(|schedule| &schedule.on_calendar);
        let ends = self.overlap.iter().flat_map(|overlap| &overlap.retire_on_calendar);
        dates.map(|one| ("on-calendar", one)).chain(ends.map(|one| ("retire-on-calendar", one)))
    }
}

/// `[invalidation] mode = "overlap"`: the consumers go on accepting the old value for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// `previous-env`: the variable of the other value that is accepted.
    pub previous_env: String,
    /// `overlap`, at least a minute; none is `auto`: the longest life of a token that the probe has seen.
    pub length: Option<Duration>,
    /// `strategy`.
    pub strategy: Course,
    /// `shape`: `single`, or `list`, which is the default with `strategy = "window"`.
    pub shape: Shape,
    /// `retire`.
    pub retire: Retire,
    /// `retire-on-calendar`: it is ended at the first of these dates after it is over, in systemd's words; where there is
    /// none, as soon as it is over.
    pub retire_on_calendar: Vec<String>,
}

/// `shape`: what the variable of the other values holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// One value.
    #[default]
    Single,
    /// Any number of them, with commas between them.
    List,
}

/// `retire`: how the old value dies at the end of the overlap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Retire {
    /// The consumers are restarted without it.
    #[default]
    Restart,
    /// They go on as they are, and lose it whenever they are restarted next.
    WithNextRestart,
}

/// `strategy`: how the consumers get to the new value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Course {
    /// `publish-first` where more than one process reads the secret, else `one-step`.
    #[default]
    Auto,
    /// All accept the new value before any signs with it: two restarts.
    PublishFirst,
    /// One restart: during it, tokens that a new process signed are refused by an old one.
    OneStep,
    /// All accept the value of the next rotation already: one restart with any number of processes.
    Window,
}

/// `[schedule]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Schedule {
    /// `on-calendar`, a systemd.time(7) calendar expression, one or several, passed on as it is.
    pub on_calendar: Vec<String>,
    /// `randomized-delay`, default none; fixed per host.
    pub randomized_delay: Duration,
    /// `persistent`, default true: a rotation that was missed while the machine was off is made up for.
    pub persistent: bool,
    /// `window`: how long after the calendar time a rotation may still start; zero means no limit.
    pub window: Duration,
    /// `overdue-after`: the age of the value in force at which a person is told.
    pub overdue_after: Option<Duration>,
}
