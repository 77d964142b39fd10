//! `org.rekeyd1`: the interface of the daemon. `rekeyctl` uses the proxy that is generated from the same definition.
//!
//! Documents are JSON, the same that `rekeyctl --json` prints. Nothing here carries a secret's value.

use crate::rotation::Fault;

mod documents;
mod manager;

pub use documents::{Condition, Forgotten, GenerationStatus, Reloaded, RotationStatus, SecretStatus};
pub use manager::{Manager, ManagerProxy, Service};

/// The well-known name.
pub const NAME: &str = "org.rekeyd1";
/// The manager's object.
pub const PATH: &str = "/org/rekeyd1";
/// The manager's interface.
pub const INTERFACE: &str = "org.rekeyd1.Manager";

/// Why a call failed. The text says what is wrong and what to do.
#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.rekeyd1.Error")]
pub enum Error {
    /// The bus failed, or the daemon is not there.
    #[zbus(error)]
    Bus(zbus::Error),
    /// An obstacle; nothing was touched.
    Refused(String),
    /// The secret, or a consumer of it, is being moved by another rotation.
    Busy(String),
    /// No secret of this name is configured.
    UnknownSecret(String),
    /// The configuration has mistakes.
    Configuration(String),
    /// The caller may not do this.
    NotAllowed(String),
    /// A scheduled rotation was not started, as it should be: paused, or outside its window.
    Skipped(String),
    /// It was tried and failed.
    Failed(String),
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::Refused(crate::record::text::fault_in_words(&fault))
    }
}

/// Who called.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The unique name on the bus.
    pub sender: String,
    /// The user id, as the bus says.
    pub uid: u32,
}

/// A caller who was let in; it counts among its user's calls until this is dropped.
pub struct Admitted {
    /// Who.
    pub caller: Caller,
    /// What counts the call.
    pub pass: Box<dyn Send + Sync>,
}

/// How a rotation is asked for: `Rotate`'s flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RotateFlags {
    /// `wait`: wait while a consumer is busy, instead of failing.
    pub wait: bool,
    /// `scheduled`: the schedule's timer asks.
    pub scheduled: bool,
    /// `retry`: the timer of a retry asks.
    pub retry: bool,
    /// `emergency`: the old value dies at once, without an overlap.
    pub emergency: bool,
    /// `initial`: no value is known to be in force; there is no way back.
    pub initial: bool,
    /// `follow`: the caller is sent a `Happened` signal for every record of this rotation, without `Subscribe`.
    pub follow: bool,
}

impl RotateFlags {
    /// The flags as they go over the bus.
    pub fn names(self) -> Vec<String> {
        [
            ("wait", self.wait),
            ("scheduled", self.scheduled),
            ("retry", self.retry),
            ("emergency", self.emergency),
            ("initial", self.initial),
            ("follow", self.follow),
        ]
        .into_iter()
        .filter(|&(_, set)| set)
        .map(|(name, _)| name.to_owned())
        .collect()
    }

    pub(super) fn parse(names: &[String]) -> Result<Self, Error> {
        let mut flags = Self::default();
        for name in names {
            match name.as_str() {
                "wait" => flags.wait = true,
                "scheduled" => flags.scheduled = true,
                "retry" => flags.retry = true,
                "emergency" => flags.emergency = true,
                "initial" => flags.initial = true,
                "follow" => flags.follow = true,
                other => {
                    let flags = "wait, follow, emergency, initial, scheduled or retry";
                    return Err(Error::Failed(format!("{other:?} is not a flag: use {flags}")));
                }
            }
        }
        Ok(flags)
    }
}
