//! What happened to a secret: one enum, appended to a hash chain; and what the records add up to.
//!
//! The engine writes records only. The journal entry ([`journal`]), the line that `rekeyctl` prints ([`text`]) and the
//! signal on the bus (the record as JSON) are pure functions of a record.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::SecretName;
use crate::rotation::{Fault, Generation, Outcome, Phase, Plan};
use crate::secret::Fingerprint;

pub mod audit;
pub mod chain;
pub mod deaths;
mod evidence;
pub mod journal;
pub mod leak;
pub mod message_id;
pub mod metrics;
pub mod notice;
mod seen;
mod standing;
pub mod text;

pub use evidence::Evidence;
pub use seen::{Activated, Found, Handover, Left, NewValue, Noted, Seen};
pub use standing::{
    Contradiction, Counts, GenerationStanding, Hold, LastRotation, Progress, Stage, Standing, Transaction, TurnedAway,
};

/// One thing that happened to one secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its number in the secret's chain, from 1.
    pub seq: u64,
    /// When it was written, by the wall clock.
    pub at: Timestamp,
    /// The secret.
    pub secret: SecretName,
    /// The rotation that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationId>,
    /// What happened.
    pub what: Happening,
}

/// The kinds of things that happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Happening {
    /// The value in force was taken over as a new generation.
    Adopted {
        /// Its number.
        generation: Generation,
        /// Its fingerprint.
        fingerprint: Fingerprint,
        /// The target that it was found at.
        source: String,
        /// Who asked.
        actor: Actor,
        /// Whether it is shorter, or simpler, than `bytes` asks for.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        weak: bool,
        /// The former values that the consumers accept besides.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        accepted: Vec<NewValue>,
    },
    /// A rotation was asked for and accepted.
    Requested {
        /// What it intends.
        plan: Plan,
        /// Who asked.
        actor: Actor,
        /// Why, in their words; may be empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
        /// What it goes together with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        batch: Option<Batch>,
    },
    /// What a timer asked for was refused before a rotation was begun.
    TurnedAway {
        /// Which timer.
        actor: Actor,
        /// Why.
        cause: Fault,
    },
    /// A phase is about to act.
    Began {
        /// The phase.
        phase: Phase,
    },
    /// A phase did what it was for.
    Passed {
        /// The phase.
        phase: Phase,
        /// How long it took, in microseconds.
        took_us: u64,
        /// What it saw.
        seen: Seen,
    },
    /// A phase could not.
    Failed {
        /// The phase.
        phase: Phase,
        /// How long it took, in microseconds.
        took_us: u64,
        /// Why.
        fault: Fault,
    },
    /// The daemon found the rotation unfinished and goes on with it.
    Resumed,
    /// What is done once a rotation is proven.
    Hook {
        /// What.
        hook: Hook,
        /// How far it came.
        came: HookCame,
    },
    /// The rotation is over. A committed one is committed by this record.
    Ended {
        /// How.
        outcome: Outcome,
        /// From the request to the end, in microseconds.
        took_us: u64,
    },
    /// The schedule will try again.
    RetryArmed {
        /// When; with its next date, where this is not known: its window is over before then.
        at: Option<Timestamp>,
    },
    /// The overlap of the view in force will be ended.
    RetireArmed {
        /// When.
        at: Timestamp,
    },
    /// Automation stopped until a person releases it.
    Held {
        /// Why.
        hold: Hold,
    },
    /// A person ended the hold.
    Released {
        /// Who.
        actor: Actor,
    },
    /// The schedule was paused.
    Paused {
        /// By whom.
        actor: Actor,
    },
    /// The schedule was resumed.
    Unpaused {
        /// By whom.
        actor: Actor,
    },
    /// The value of a generation was given to a person.
    Revealed {
        /// Which.
        generation: Generation,
        /// To whom.
        actor: Actor,
    },
    /// This host is searched for the values.
    Searched {
        /// Who asked.
        actor: Actor,
    },
    /// The rotation under way is not gone on with: its records are older than what was delivered.
    Abandoned {
        /// Why.
        fault: Fault,
    },
    /// The secret was let go of; its values were removed from the store, and the consumers keep theirs.
    Forgotten {
        /// By whom.
        actor: Actor,
    },
    /// What all records before this one add up to: the first record of each file but the first.
    CarriedOver {
        /// The sum.
        standing: Box<Standing>,
    },
}

/// What is done once a rotation is proven, before it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    /// Sessions that would outlive the rotation are ended.
    Logout,
    /// Data is encrypted with the new value.
    ReEncrypt,
}

/// How far a hook came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum HookCame {
    /// It is about to act.
    Began,
    /// It did what it was for.
    Passed {
        /// How long it took, in microseconds.
        took_us: u64,
        /// That it worked: a token from before was refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        receipt: Option<Evidence>,
    },
    /// It did not. The new value stays in force all the same.
    Failed {
        /// How long it took, in microseconds.
        took_us: u64,
        /// Why.
        fault: Fault,
    },
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Logout => "logout",
            Self::ReEncrypt => "re-encrypt",
        })
    }
}

/// Rotations of several secrets that go together, because they have a consumer in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Its id, as in `REKEYD_BATCH`.
    pub id: RotationId,
    /// The other secrets.
    pub with: Vec<SecretName>,
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.with.iter().map(SecretName::as_str).collect();
        f.write_str(&names.join(", "))
    }
}

/// Who asked for something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum Actor {
    /// A person, over the bus.
    Person {
        /// The user id of the sender.
        uid: u32,
        /// The sender's unique name on the bus.
        sender: String,
    },
    /// A person, in a developer's checkout.
    Standalone {
        /// Their user id.
        uid: u32,
    },
    /// The schedule's timer.
    Timer,
    /// The timer of a retry.
    Retry,
    /// rekeyd itself, since a consumer failed soon after its rotation.
    Aftercare,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person { uid, sender } => write!(f, "uid {uid} ({sender})"),
            Self::Standalone { uid } => write!(f, "uid {uid}"),
            Self::Timer => f.write_str("timer"),
            Self::Retry => f.write_str("retry timer"),
            Self::Aftercare => f.write_str("rekeyd, looking after a consumer"),
        }
    }
}

/// The 128-bit id of a rotation or of a batch: 32 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RotationId(String);

impl RotationId {
    /// The id that is made of these random bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(hex::encode(bytes))
    }

    /// The 32 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RotationId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let fits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if fits { Ok(Self(text)) } else { Err(format!("{text:?} is not a rotation's id: 32 hex digits")) }
    }
}

impl From<RotationId> for String {
    fn from(id: RotationId) -> Self {
        id.0
    }
}

impl fmt::Display for RotationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
