//! Evidence that the live consumer uses the view it was given.

use async_trait::async_trait;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::config::{ProbeSettings, SecretSettings};
use crate::record::Evidence;
use crate::rotation::{Fault, FaultCode, Generation};
use crate::secret::SecretValue;
use crate::target::Means;

mod command;
mod http;
pub mod impact;
mod jwt;
mod patience;
mod token;

use patience::{Patience, Trouble};

/// The probes of a secret, in order.
pub fn from_settings(secret: &SecretSettings, means: &Means) -> Vec<Box<dyn Probe>> {
    let probe = |(place, settings): (usize, &ProbeSettings)| -> Box<dyn Probe> {
        match settings {
            ProbeSettings::Jwt(probe) => Box::new(jwt::Jwt::new(probe)),
            ProbeSettings::Http(probe) => Box::new(probe.clone()),
            ProbeSettings::Command(probe) => Box::new(command::Program::new(secret, place, probe, means)),
        }
    };
    secret.probes.iter().enumerate().map(probe).collect()
}

/// What the consumer has just been through: what it answers means another thing each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// It has been running, and is about to be given another view.
    Before,
    /// It has been running, and somebody wants to know how it is.
    AsItIs,
    /// It was just made to take a view; if it does not, there is another one that it had before.
    Moved,
    /// It was just made to go back to a view, and there is none to go back to from that.
    Back,
}

impl Moment {
    /// Whether a consumer that is asked may be starting still.
    pub fn may_be_starting(self) -> bool {
        matches!(self, Self::Moved | Self::Back)
    }
}

/// What a probe may know while it asks.
pub struct Question<'a> {
    /// What the consumer has just been through.
    pub moment: Moment,
    /// The generation and value that the consumer should sign with.
    pub primary: (Generation, &'a SecretValue),
    /// Values that the consumer should accept too.
    pub accepted: Vec<(Generation, &'a SecretValue)>,
    /// Values that it must no longer sign with nor accept.
    pub retired: Vec<(Generation, &'a SecretValue)>,
    /// How many processes may be answering: one of them may have kept another value.
    pub workers: u32,
    /// Whether the consumer may have the values only some time after it was told of them, and the old ones until then.
    pub at_leisure: bool,
    /// The end of the rotation's patience; a probe ends at the earlier of this and its own timeout.
    pub deadline: Instant,
}

/// A smoke test of the consumer. Probes only look: they may be dropped half-way and asked again.
#[async_trait]
pub trait Probe: Send + Sync {
    /// How the probe is named in records, e.g. `jwt http://127.0.0.1:3000/api/auth/login`.
    fn label(&self) -> String;

    /// Asks until the answer is the expected one, or certainly not, or time is up.
    ///
    /// # Errors
    /// The fault that was seen last.
    async fn ask(&self, question: &Question<'_>) -> Result<Evidence, Fault>;

    /// A token of now, where the probe logs in.
    async fn log_in(&self, deadline: Instant) -> Option<Zeroizing<String>> {
        let _ = deadline;
        None
    }

    /// Asks until a token of [`Probe::log_in`] is refused by all of so many `workers`.
    ///
    /// # Errors
    /// Where it is not, or that cannot be told.
    async fn refuses(&self, token: &str, workers: u32, deadline: Instant) -> Result<Evidence, Fault> {
        let _ = (token, workers, deadline);
        Err(Fault::new(FaultCode::ProbeFailed, "this probe has no tokens"))
    }
}
