//! Places a view is delivered to, with the consumer behind each: one file per system.

use async_trait::async_trait;
use tokio::time::Instant;

use crate::config::{SecretSettings, TargetSettings};
use crate::dbus::systemd1::Systemd;
use crate::helper::ProcessHelper;
use crate::record::{Activated, Evidence, Found};
use crate::rotation::{Fault, View};
use crate::secret::SecretValue;

pub mod dotenv;
pub mod environment;
pub mod systemd;

/// The targets of a secret, in order.
pub fn from_settings(secret: &SecretSettings, systemd: &Systemd, helper: &ProcessHelper) -> Vec<Box<dyn Target>> {
    let target = |settings: &TargetSettings| -> Box<dyn Target> {
        match settings {
            TargetSettings::Systemd(settings) => {
                Box::new(systemd::SystemdTarget::new(secret, settings, systemd.clone(), helper.clone()))
            }
            TargetSettings::Dotenv(settings) => {
                Box::new(dotenv::DotenvTarget::new(secret, settings, systemd.clone(), helper.clone()))
            }
            TargetSettings::Environment(settings) => {
                let file = dotenv::DotenvTarget::new(secret, settings, systemd.clone(), helper.clone());
                Box::new(environment::EnvironmentTarget::new(file, systemd.clone(), helper.clone()))
            }
        }
    };
    secret.targets.iter().map(target).collect()
}

/// A view with its values, for the moment of delivery and comparison.
pub struct Disclosed<'a> {
    /// The view.
    pub view: &'a View,
    /// The value of its primary generation.
    pub primary: &'a SecretValue,
    /// The values of the accepted generations, in the view's order.
    pub accepted: Vec<&'a SecretValue>,
    /// What the variable of the accepted ones holds, where there are any.
    pub previous: Option<&'a SecretValue>,
}

/// What is asked of a consumer before anything is touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It is well, and has the value in force: what fails later is then the new value's fault.
    Needed,
    /// It may have failed: an earlier value is to mend it.
    Irrelevant,
}

/// A place for a secret, and what reads it there. All acts are idempotent: after a crash they are done again.
#[async_trait]
pub trait Target: Send + Sync {
    /// How the target is named in records: `systemd my-backend.service`.
    fn label(&self) -> String;

    /// The value that the live consumer uses now, for `adopt`.
    ///
    /// # Errors
    /// Where there is none, or its processes do not agree.
    async fn value_in_force(&self) -> Result<SecretValue, Fault>;

    /// How many processes read the secret now.
    ///
    /// # Errors
    /// Where that cannot be asked.
    async fn processes(&self) -> Result<usize, Fault>;

    /// Preflight: everything that can be known to fail beforehand, touching nothing. `in_force` is what the consumer
    /// should have now; whether it has it, and is well, counts unless it is to be taken back to an earlier value.
    ///
    /// # Errors
    /// The obstacle.
    async fn survey(&self, in_force: &Disclosed<'_>, health: Health, deadline: Instant) -> Result<Vec<Found>, Fault>;

    /// Puts the view in place and reads it back by the rules of the consumer's own parser. Local files only: it is
    /// also how recovery repairs them before the daemon is ready. `back` says that a movement is undone: the way in
    /// which the consumer got the value before it is restored, too.
    ///
    /// # Errors
    /// What could not be written or read back.
    async fn deliver(&self, view: &Disclosed<'_>, back: bool) -> Result<(), Fault>;

    /// Who else can read what was delivered, where the configuration allows that: a warning.
    fn exposes(&self) -> Option<String>;

    /// Why the service manager must read its files again before the delivered view can take effect; `None` where it
    /// need not.
    ///
    /// # Errors
    /// Where the manager cannot be asked.
    async fn reload_reason(&self) -> Result<Option<String>, Fault>;

    /// Whether the manager would now start the consumer with what was delivered. Asked after the reload and before
    /// anything is restarted.
    ///
    /// # Errors
    /// What is in the way.
    async fn in_force(&self) -> Result<(), Fault>;

    /// Makes the consumer take the view. Looks first whether it already has it.
    ///
    /// # Errors
    /// What kept the consumer from coming up.
    async fn activate(&self, view: &Disclosed<'_>, found: &[Found], deadline: Instant)
    -> Result<Vec<Activated>, Fault>;

    /// Process and unit evidence, through `settle`.
    ///
    /// # Errors
    /// What speaks against it.
    async fn evidence(&self, view: &Disclosed<'_>, found: &[Found], deadline: Instant) -> Result<Vec<Evidence>, Fault>;

    /// Whether the consumer is still the one that this evidence is about, once all else has been proven.
    ///
    /// # Errors
    /// What became of it.
    async fn is_still_there(&self, evidence: &[Evidence]) -> Result<(), Fault>;

    /// Removes what earlier views left behind, once `keep` is the one in force. Best effort.
    fn tidy(&self, keep: &View);
}
