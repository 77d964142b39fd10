//! What a proof saw: each thing that speaks for a view, or that says how much nothing spoke for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::rotation::Generation;

/// One observation of the live consumer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Evidence {
    /// How many processes of a unit have the primary value, in their environment or as the credential that they see.
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
    /// The containers of a service stayed up, not started again.
    Containers {
        /// The service: `compose my-backend/web`.
        unit: String,
        /// Their ids, each with when it was started.
        containers: BTreeMap<String, String>,
        /// How long they were watched, in milliseconds.
        settled_ms: u64,
    },
    /// The instances of an app of PM2 stayed online, as the same processes and without a restart.
    Instances {
        /// The app, as `pm2 USER/APP`.
        unit: String,
        /// The process of each instance, by its number in PM2.
        pids: BTreeMap<String, u32>,
        /// How long they were watched, in milliseconds.
        settled_ms: u64,
    },
    /// What PM2 starts after a reboot has the view, for its owner to read.
    Saved {
        /// The file.
        path: String,
    },
    /// Nothing was saved for a reboot.
    NotSaved {
        /// Why.
        why: String,
    },
    /// The file has the view, by the rules of its own reader.
    File {
        /// Its path.
        path: String,
    },
    /// A program that is a target has seen to it itself.
    Program {
        /// The target.
        target: String,
        /// What it says of it; may be empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        said: String,
    },
    /// What a hosting platform serves was made after the value was written, or is what served before.
    Deployment {
        /// The project, site or service.
        consumer: String,
        /// Its id.
        deployment: String,
        /// Its state, in the platform's word.
        state: String,
        /// Where a person can look at it.
        page: String,
        /// Whether it is the one that served before the rotation.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        former: bool,
        /// Whether it is of another commit than what served before.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        other_code: bool,
        /// How long it was watched, in milliseconds.
        settled_ms: u64,
    },
    /// Nothing was written there in this rotation, so that nothing had to be undone.
    Untouched {
        /// The project, site or service.
        consumer: String,
    },
    /// A session of PAM that was opened for it has the view.
    Session,
    /// The logout worked: a token that was kept from before the rotation is refused.
    LoggedOut {
        /// The protected endpoint.
        protected: String,
    },
    /// All data was encrypted with the primary value.
    ReEncrypted {
        /// How long that took, in microseconds.
        took_us: u64,
    },
    /// The unit goes on as it is, and takes the view with its next restart.
    AtNextRestart {
        /// The unit.
        unit: String,
    },
    /// The unit was stopped on purpose; it has the value for its next start.
    Stopped {
        /// The unit.
        unit: String,
    },
    /// It was stopped on purpose, and what starts it would start it with what it had, unless it is started so.
    StoppedWithFormer {
        /// The consumer.
        unit: String,
        /// What a person types to start it with its value.
        start: String,
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
        /// Other generations that it was seen to accept, as it should.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        accepted: Vec<Generation>,
        /// How long the token lives, `exp - iat` in seconds; none where it does not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lifetime_s: Option<u64>,
    },
    /// A program of the administrator's, which was shown the value, ended with 0.
    Command {
        /// The program.
        program: String,
        /// The generation that it was shown.
        generation: Generation,
        /// The last line that it printed; may be empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        said: String,
    },
    /// A request was answered as expected.
    Http {
        /// The URL.
        url: String,
        /// The status.
        status: u16,
    },
    /// What came of requests at a steady rate since the consumers were first touched.
    Impact {
        /// The URL.
        url: String,
        /// Requests that are over.
        sent: u32,
        /// Those of them that got no answer in time, or one of a failed server (5xx).
        failed: u32,
        /// The longest time without a good answer, in milliseconds.
        longest_gap_ms: u64,
    },
}

impl Evidence {
    /// Whether it is of something that can be seen to end.
    pub fn is_watched(&self) -> bool {
        matches!(self, Self::Unit { .. } | Self::Containers { .. } | Self::Instances { .. })
    }

    /// Whether it shows that somebody uses the view, or will from a moment on that is known. That a file has it, or that a
    /// consumer runs, does not.
    pub fn shows_use(&self) -> bool {
        match self {
            Self::Process { matching, .. } => *matching > 0,
            Self::File { .. }
            | Self::Unit { .. }
            | Self::Containers { .. }
            | Self::Instances { .. }
            | Self::Saved { .. }
            | Self::NotSaved { .. }
            | Self::Dependents { .. }
            | Self::Http { .. }
            | Self::Impact { .. }
            | Self::ReEncrypted { .. } => false,
            Self::Jwt { .. }
            | Self::Command { .. }
            | Self::Program { .. }
            | Self::Session
            | Self::Deployment { .. }
            | Self::Untouched { .. }
            | Self::LoggedOut { .. }
            | Self::AtNextRestart { .. }
            | Self::Stopped { .. }
            | Self::StoppedWithFormer { .. } => true,
        }
    }
}
