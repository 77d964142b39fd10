//! `org.rekeyd1`: the interface of the daemon. `rekeyctl` uses the proxy that is generated from the same definition.
//!
//! Documents are JSON, the same that `rekeyctl --json` prints. Nothing here carries a secret's value.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zbus::message::Header;

use super::rights::{Asker, Right, check_words};
use crate::record::{LastRotation, RotationId, Stage};
use crate::rotation::{Fault, Generation};
use crate::secret::Fingerprint;

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
            ("follow", self.follow),
        ]
        .into_iter()
        .filter(|&(_, set)| set)
        .map(|(name, _)| name.to_owned())
        .collect()
    }

    fn parse(names: &[String]) -> Result<Self, Error> {
        let mut flags = Self::default();
        for name in names {
            match name.as_str() {
                "wait" => flags.wait = true,
                "scheduled" => flags.scheduled = true,
                "retry" => flags.retry = true,
                "emergency" => flags.emergency = true,
                "follow" => flags.follow = true,
                other => {
                    let flags = "wait, follow, emergency, scheduled or retry";
                    return Err(Error::Failed(format!("{other:?} is not a flag: use {flags}")));
                }
            }
        }
        Ok(flags)
    }
}

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
    /// In a word: `in-force`, `rotating`, `on-hold`, `not-adopted`, `unreadable`.
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
    /// When the schedule rotates next.
    pub next: Option<Timestamp>,
    /// When it is tried again after a rollback.
    pub retry_at: Option<Timestamp>,
    /// Other generations that the consumers accept.
    #[serde(default)]
    pub accepted: Vec<Generation>,
    /// When they are no longer to be accepted.
    #[serde(default)]
    pub retire_at: Option<Timestamp>,
    /// Whether the schedule is paused.
    pub paused: bool,
    /// Why it is on hold, or why its records cannot be read.
    pub hold: Option<String>,
    /// The rotation under way, with its step.
    pub rotation: Option<RotationStatus>,
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

/// What the daemon does behind the interface.
#[async_trait]
#[allow(missing_docs, reason = "each is documented at the method of the interface that it serves")]
pub trait Service: Send + Sync + 'static {
    async fn admit(&self, asker: Asker, right: Right, secret: &str) -> Result<Admitted, Error>;
    fn glance(&self, name: &str) -> Result<SecretStatus, Error>;
    async fn list(&self) -> Result<Vec<SecretStatus>, Error>;
    async fn get(&self, name: &str) -> Result<SecretStatus, Error>;
    async fn forecast(&self, name: &str) -> Result<crate::engine::Forecast, Error>;
    async fn rotate(&self, caller: Caller, name: &str, reason: &str, flags: RotateFlags) -> Result<RotationId, Error>;
    async fn rollback(&self, caller: Caller, name: &str, reason: &str, flags: RotateFlags)
    -> Result<RotationId, Error>;
    async fn retire(&self, caller: Caller, name: &str, reason: &str, flags: RotateFlags) -> Result<RotationId, Error>;
    async fn adopt(&self, caller: Caller, name: &str) -> Result<crate::engine::Adoption, Error>;
    async fn verify(&self, name: &str) -> Result<crate::engine::Verdict, Error>;
    async fn pause(&self, caller: Caller, name: &str) -> Result<(), Error>;
    async fn resume(&self, caller: Caller, name: &str) -> Result<(), Error>;
    async fn release(&self, caller: Caller, name: &str) -> Result<(), Error>;
    async fn history(&self, name: &str) -> Result<Vec<crate::record::Record>, Error>;
    async fn audit(&self, name: &str) -> Result<crate::store::Chained, Error>;
    async fn reload(&self) -> Result<Reloaded, Error>;
    async fn subscribe(&self, caller: Caller) -> Result<(), Error>;
}

/// The manager's object on the bus.
pub struct Manager(pub Arc<dyn Service>);

#[zbus::interface(
    name = "org.rekeyd1.Manager",
    proxy(default_service = "org.rekeyd1", default_path = "/org/rekeyd1", visibility = "pub")
)]
impl Manager {
    /// All secrets, as a JSON array of what `GetSecret` returns.
    async fn list_secrets(&self, #[zbus(header)] header: Header<'_>) -> Result<String, Error> {
        let _admitted = self.admit(&header, Right::Look, "").await?;
        json(&self.0.list().await?)
    }

    /// One secret, as a JSON object.
    async fn get_secret(&self, #[zbus(header)] header: Header<'_>, name: &str) -> Result<String, Error> {
        let _admitted = self.admit(&header, Right::Look, name).await?;
        json(&self.0.get(name).await?)
    }

    /// What a rotation would do, as a JSON object. Touches nothing; fails as the rotation would be refused.
    async fn forecast(&self, #[zbus(header)] header: Header<'_>, name: &str) -> Result<String, Error> {
        let _admitted = self.admit(&header, Right::Examine, name).await?;
        json(&self.0.forecast(name).await?)
    }

    /// Starts a rotation and returns its id at once. `flags`: `wait`, `follow`, `emergency`; of root also `scheduled`,
    /// `retry`.
    async fn rotate(
        &self,
        #[zbus(header)] header: Header<'_>,
        name: &str,
        reason: &str,
        flags: Vec<String>,
    ) -> Result<String, Error> {
        check_words(name, reason, &flags)?;
        let flags = RotateFlags::parse(&flags)?;
        let admitted = self.admit(&header, Right::Rotate, name).await?;
        Ok(self.0.rotate(admitted.caller, name, reason, flags).await?.into())
    }

    /// Starts the way back to the previous value and returns its id at once. `flags`: `wait`, `follow`.
    async fn rollback(
        &self,
        #[zbus(header)] header: Header<'_>,
        name: &str,
        reason: &str,
        flags: Vec<String>,
    ) -> Result<String, Error> {
        check_words(name, reason, &flags)?;
        let flags = RotateFlags::parse(&flags)?;
        let admitted = self.admit(&header, Right::Rollback, name).await?;
        Ok(self.0.rollback(admitted.caller, name, reason, flags).await?.into())
    }

    /// Ends the overlap, so that only one value is accepted, and returns the id at once. `flags`: `wait`, `follow`; of
    /// root also `scheduled`.
    async fn retire(
        &self,
        #[zbus(header)] header: Header<'_>,
        name: &str,
        reason: &str,
        flags: Vec<String>,
    ) -> Result<String, Error> {
        check_words(name, reason, &flags)?;
        let flags = RotateFlags::parse(&flags)?;
        let admitted = self.admit(&header, Right::Rotate, name).await?;
        Ok(self.0.retire(admitted.caller, name, reason, flags).await?.into())
    }

    /// Takes over the value in force. Restarts nothing. Returns a JSON object.
    async fn adopt(&self, #[zbus(header)] header: Header<'_>, name: &str) -> Result<String, Error> {
        let admitted = self.admit(&header, Right::Manage, name).await?;
        json(&self.0.adopt(admitted.caller, name).await?)
    }

    /// Gathers the proof for the value in force, now. Returns a JSON object.
    async fn verify(&self, #[zbus(header)] header: Header<'_>, name: &str) -> Result<String, Error> {
        let _admitted = self.admit(&header, Right::Examine, name).await?;
        json(&self.0.verify(name).await?)
    }

    /// Stops the schedule of a secret until `Resume`.
    async fn pause(&self, #[zbus(header)] header: Header<'_>, name: &str) -> Result<(), Error> {
        let admitted = self.admit(&header, Right::Manage, name).await?;
        self.0.pause(admitted.caller, name).await
    }

    /// Lets the schedule of a secret go on.
    async fn resume(&self, #[zbus(header)] header: Header<'_>, name: &str) -> Result<(), Error> {
        let admitted = self.admit(&header, Right::Manage, name).await?;
        self.0.resume(admitted.caller, name).await
    }

    /// Ends a hold.
    async fn release(&self, #[zbus(header)] header: Header<'_>, name: &str) -> Result<(), Error> {
        let admitted = self.admit(&header, Right::Manage, name).await?;
        self.0.release(admitted.caller, name).await
    }

    /// Every record of a secret, as a JSON array, oldest first.
    async fn history(&self, #[zbus(header)] header: Header<'_>, name: &str) -> Result<String, Error> {
        let _admitted = self.admit(&header, Right::Look, name).await?;
        json(&self.0.history(name).await?)
    }

    /// Every record of a secret with its hash, and where their chain is broken, as a JSON object.
    async fn audit(&self, #[zbus(header)] header: Header<'_>, name: &str) -> Result<String, Error> {
        let _admitted = self.admit(&header, Right::Look, name).await?;
        json(&self.0.audit(name).await?)
    }

    /// Puts the configuration on disk in force, with its schedules. Returns a JSON object.
    async fn reload(&self, #[zbus(header)] header: Header<'_>) -> Result<String, Error> {
        let _admitted = self.admit(&header, Right::Manage, "").await?;
        json(&self.0.reload().await?)
    }

    /// From now on the caller is sent, to it alone, a `Happened` signal for every record, and the changes of the
    /// secrets' properties.
    async fn subscribe(&self, #[zbus(header)] header: Header<'_>) -> Result<(), Error> {
        let admitted = self.admit(&header, Right::Look, "").await?;
        self.0.subscribe(admitted.caller).await
    }

    /// Something happened to a secret: `line` is the line that rekeyctl prints (empty where it prints none), `record`
    /// the record as JSON.
    #[zbus(signal)]
    async fn happened(
        emitter: &zbus::object_server::SignalEmitter<'_>,
        secret: &str,
        rotation: &str,
        line: &str,
        record: &str,
    ) -> zbus::Result<()>;
}

impl Manager {
    /// Who sent it is asked of the bus: what a message says of itself proves nothing. What a caller wrote is checked
    /// before anything is waited for.
    async fn admit(&self, header: &Header<'_>, right: Right, name: &str) -> Result<Admitted, Error> {
        check_words(name, "", &[])?;
        self.0.admit(Asker::of(header)?, right, name).await
    }
}

fn json(document: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(document).map_err(|error| Error::Failed(error.to_string()))
}
