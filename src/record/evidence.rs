//! What a step saw, as it is stored with the rotation.

use serde::{Deserialize, Serialize};

use crate::rotation::Generation;

/// One observation of the live consumer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Evidence {
    /// How many processes of a unit have the primary value in their environment.
    Process {
        /// The unit.
        unit: String,
        /// Processes with the value.
        matching: u32,
        /// Processes that were looked at.
        of: u32,
        /// Processes without the variable, allowed by the configuration.
        without: u32,
    },
    /// The unit stayed up with the same invocation and main process.
    Unit {
        /// The unit.
        unit: String,
        /// Its InvocationID, 32 hex digits.
        invocation: String,
        /// Its main process, 0 where it has none.
        main_pid: u32,
        /// How long it was watched, in milliseconds.
        settled_ms: u64,
    },
    /// The unit was stopped on purpose; it has the value for its next start.
    Stopped {
        /// The unit.
        unit: String,
    },
    /// Units that depend on the consumer and are active again.
    Dependents {
        /// The consumer.
        unit: String,
        /// The units that depend on it.
        active: Vec<String>,
    },
    /// A token of the real login was verified.
    Jwt {
        /// Where the token came from: the login's URL, or `minted`.
        source: String,
        /// The JWS algorithm, e.g. `HS256`.
        algorithm: String,
        /// The generation that the signature verifies with.
        signed_with: Generation,
        /// The protected endpoint.
        protected: String,
        /// What the protected endpoint was seen to refuse: `random-key`, `alg-none`, `generation-3`.
        refused: Vec<String>,
    },
    /// A request was answered as expected.
    Http {
        /// The URL.
        url: String,
        /// The status.
        status: u16,
    },
}
