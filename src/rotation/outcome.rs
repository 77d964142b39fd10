//! How a rotation ended.

use serde::{Deserialize, Serialize};

use super::Fault;

/// The end of a rotation. Where two things went wrong, both are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// The new view is in force and proven.
    Committed,
    /// The old view is in force again and proven.
    RolledBack {
        /// Why the new one was given up.
        cause: Fault,
    },
    /// The old view could not be proven either: the secret is held for a person.
    RollbackFailed {
        /// Why the new one was given up.
        cause: Fault,
        /// Why the old one could not be brought back.
        rollback: Fault,
    },
    /// An obstacle was there beforehand; nothing was touched.
    Refused {
        /// The obstacle.
        cause: Fault,
    },
}

impl Outcome {
    /// The word for each.
    pub const NAMES: [&'static str; 4] = ["committed", "rolled-back", "rollback-failed", "refused"];

    /// The word for it in records, signals and journal fields.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::RolledBack { .. } => "rolled-back",
            Self::RollbackFailed { .. } => "rollback-failed",
            Self::Refused { .. } => "refused",
        }
    }

    /// Why it did not end as it was meant to.
    pub fn cause(&self) -> Option<&Fault> {
        match self {
            Self::Committed => None,
            Self::RolledBack { cause } | Self::RollbackFailed { cause, .. } | Self::Refused { cause } => Some(cause),
        }
    }
}
