//! What the records of a secret add up to: its generations, the view in force, and a rotation that is under way.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Actor, Batch, Found, Hook, Left, Noted, RotationId};

use crate::config::SecretName;
use crate::policy::{AfterRollback, Drift, after_rollback};
use crate::rotation::{Fault, FaultCode, Generation, Outcome, Phase, Plan, View};
use crate::secret::Fingerprint;

mod apply;

pub use apply::Contradiction;

/// The sum of a secret's records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The number of the last record.
    pub seq: u64,
    /// Every value there ever was, in order.
    pub generations: Vec<GenerationStanding>,
    /// The view that the consumers were left with; none before the value in force was adopted.
    pub in_force: Option<View>,
    /// The rotation that is under way.
    pub transaction: Option<Transaction>,
    /// Why automation has stopped.
    pub hold: Option<Hold>,
    /// Whether the schedule is paused.
    pub paused: bool,
    /// How many rotations in a row were rolled back. The end of an overlap is another matter.
    pub rolled_back_in_a_row: u32,
    /// How many times in a row the end of an overlap was rolled back.
    #[serde(default)]
    pub retire_failed_in_a_row: u32,
    /// How many rotations in a row were committed, and taken back soon after because their consumers failed.
    #[serde(default)]
    pub taken_back_in_a_row: u32,
    /// The last rotation that ended.
    pub last: Option<LastRotation>,
    /// What a timer asked for since and was refused before it began.
    #[serde(default)]
    pub turned_away: Option<TurnedAway>,
    /// When the schedule tries again.
    pub retry_at: Option<Timestamp>,
    /// Whether it tries again with its next date alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waits_for_schedule: bool,
    /// When the overlap of the view in force is to be ended.
    #[serde(default)]
    pub retire_at: Option<Timestamp>,
    /// What was retired last, where running consumers were left with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
    /// How rotations ended, and how often probes failed.
    #[serde(default)]
    pub counts: Counts,
    /// The newest value with which all data was encrypted, of a secret that encrypts.
    #[serde(default)]
    pub re_encrypted: Option<Generation>,
    /// The longest life of a token that a probe has seen, in seconds.
    #[serde(default)]
    pub longest_token_s: Option<u64>,
    /// What the targets noted when a rotation was last committed, or proven to be undone: what serves must be newer than that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub noted: Vec<Noted>,
    /// Whether the last rotation that touched anything could neither be finished nor taken back: consumers may have what it
    /// left.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left_half_way: bool,
    /// Whether bringing back the view in force was tried after that, and failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub returned_in_vain: bool,
    /// The consumers that the last rotation found stopped on purpose.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stopped: Vec<String>,
    /// How long the last restart of each consumer took, from its stop to its being ready, in microseconds.
    #[serde(default)]
    pub restart_us: BTreeMap<String, u64>,
}

/// A timer's wish that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnedAway {
    /// Why.
    pub cause: Fault,
    /// When first, of those that were refused one after the other.
    pub since: Timestamp,
}

/// Values that were retired, and that what ran then goes on accepting until it is restarted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The values.
    pub generations: Vec<Generation>,
    /// Which run of each unit was left with them.
    pub runs: BTreeMap<String, String>,
}

/// How rotations ended since the secret is known, and how often probes failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// In force and proven.
    pub committed: u64,
    /// Taken back.
    pub rolled_back: u64,
    /// Neither.
    pub rollback_failed: u64,
    /// Nothing was touched.
    pub refused: u64,
    /// Steps that a probe failed.
    pub probe_failures: u64,
}

/// One value of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationStanding {
    /// Its number.
    pub number: Generation,
    /// Its name that does not tell it.
    pub fingerprint: Fingerprint,
    /// How far it has come.
    pub stage: Stage,
    /// Since when it is in that stage.
    pub since: Timestamp,
    /// When it was made or taken over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<Timestamp>,
    /// Whether it was taken over, and is shorter, or simpler, than `bytes` asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub weak: bool,
}

/// How far a generation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Made, and not yet proven.
    Pending,
    /// In force.
    Current,
    /// In force before the current one.
    Previous,
    /// In force some time ago.
    Retired,
    /// Refused or rolled back; never offered again.
    Rejected,
}

/// A rotation that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// Its id.
    pub id: RotationId,
    /// What it intends.
    pub plan: Plan,
    /// Who asked for it.
    pub actor: Actor,
    /// Why.
    pub reason: String,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// Where it is.
    pub progress: Progress,
    /// What it goes together with.
    #[serde(default)]
    pub batch: Option<Batch>,
    /// How often it was taken up again.
    pub interruptions: u32,
    /// The consumers that preflight found.
    pub found: Vec<Found>,
    /// What the targets noted when they were last delivered to.
    #[serde(default)]
    pub noted: Vec<Noted>,
    /// The targets that are left as they are on the way back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<Left>,
    /// The view that the way back leads to, once it was taken.
    #[serde(default)]
    pub back_to: Option<View>,
    /// The hooks that were run, with what was wrong.
    #[serde(default)]
    pub hooks: Vec<(Hook, Option<Fault>)>,
    /// The consumers that go on with what they have until their next start.
    #[serde(default)]
    pub waiting: Vec<String>,
    /// The files that were read back, where nothing shows that they are used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub read_back: Vec<String>,
}

/// Where a rotation is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "progress", rename_all = "kebab-case")]
pub enum Progress {
    /// In this phase, begun or about to begin.
    In(Phase),
    /// Decided; only the record of its end is missing.
    Decided(Outcome),
}

/// Why automation has stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "kebab-case")]
pub enum Hold {
    /// A rotation could neither be finished nor undone.
    RollbackFailed,
    /// A target could not tell whether a change had been made; the old value was proven since.
    Unsure,
    /// Rotations were rolled back again and again.
    RolledBack {
        /// How often in a row.
        times: u32,
    },
}

/// The last rotation that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRotation {
    /// Its id.
    pub id: RotationId,
    /// Who had asked for it.
    pub actor: Actor,
    /// What it went together with.
    #[serde(default)]
    pub batch: Option<Batch>,
    /// Whether it was to end an overlap.
    #[serde(default)]
    pub retires: bool,
    /// Whether it was taken up again after an interruption.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
    /// Why it was asked for, where it took a value back that had been committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_back_for: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// What was to follow once it was proven, and failed.
    #[serde(default)]
    pub hook_failed: Option<Fault>,
    /// The consumers that went on with what they had, until their next start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<String>,
    /// The files that were read back, where nothing shows that they are used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub read_back: Vec<String>,
    /// When.
    pub at: Timestamp,
}

impl Standing {
    /// Whether the consumers are known to have the view in force: what went wrong last was taken back and proven.
    pub fn is_proven(&self) -> bool {
        !matches!(self.hold, Some(Hold::RollbackFailed | Hold::Unsure)) && !self.left_half_way
    }

    /// The hold that the last rotation's end calls for and that is not recorded yet.
    pub fn hold_owed(&self) -> Option<Hold> {
        if self.hold.is_some() || self.transaction.is_some() {
            return None;
        }
        let times = self.failed_in_a_row();
        let last = self.last.as_ref()?;
        match &last.outcome {
            Outcome::RollbackFailed { .. } if times > 0 => Some(Hold::RollbackFailed),
            Outcome::RolledBack { cause } if cause.code == FaultCode::ProgramUnsure && times > 0 => Some(Hold::Unsure),
            outcome => {
                let was_undone = matches!(outcome, Outcome::RolledBack { .. }) || last.took_back();
                let is_owed = was_undone && after_rollback(times) == AfterRollback::Hold;
                is_owed.then_some(Hold::RolledBack { times })
            }
        }
    }

    /// How many times in a row what was done last was rolled back, or taken back soon after; none once a person has released it.
    pub fn failed_in_a_row(&self) -> u32 {
        match &self.last {
            Some(last) if last.retires => self.retire_failed_in_a_row,
            _ => self.rolled_back_in_a_row + self.taken_back_in_a_row,
        }
    }

    /// Whether a rotation that the schedule had asked for was rolled back, or its next try refused, and the next one is not
    /// recorded yet. The end of an overlap has a time of its own.
    pub fn retry_owed(&self) -> bool {
        let is_free = self.hold.is_none() && self.hold_owed().is_none() && self.transaction.is_none();
        let failed = |last: &LastRotation| match (&last.actor, &last.outcome) {
            (Actor::Timer | Actor::Retry, Outcome::RolledBack { .. }) => !last.retires,
            (Actor::Retry, Outcome::Refused { .. }) => true,
            _ => false,
        };
        let is_known = self.retry_at.is_some() || self.waits_for_schedule;
        is_free && !is_known && self.rolled_back_in_a_row > 0 && self.last.as_ref().is_some_and(failed)
    }

    /// Whether an overlap is open whose end is not recorded yet. A window, in which a value is waiting, is moved on by the
    /// next rotation.
    pub fn retire_owed(&self) -> bool {
        let overlaps = self.in_force.as_ref().is_some_and(|view| !view.accepted.is_empty());
        overlaps && self.waiting().is_none() && self.retire_at.is_none() && self.transaction.is_none()
    }

    /// The value that was made ahead, and that all accept.
    pub fn waiting(&self) -> Option<Generation> {
        let accepted = self.in_force.iter().flat_map(|view| &view.accepted);
        let is_pending = |number: &Generation| self.generation(*number).is_some_and(|it| it.stage == Stage::Pending);
        accepted.copied().find(is_pending)
    }

    /// The generation of this number.
    pub fn generation(&self, number: Generation) -> Option<&GenerationStanding> {
        self.generations.iter().find(|generation| generation.number == number)
    }

    /// The generations that were found wanting.
    pub fn rejected(&self) -> Vec<Generation> {
        let rejected = self.generations.iter().filter(|generation| generation.stage == Stage::Rejected);
        rejected.map(|generation| generation.number).collect()
    }

    /// The newest generation in this stage.
    pub fn newest(&self, stage: Stage) -> Option<&GenerationStanding> {
        self.generations.iter().rev().find(|generation| generation.stage == stage)
    }

    /// The number that the next value gets.
    pub fn next_generation(&self) -> Generation {
        self.generations.last().map_or(Generation::FIRST, |last| last.number.next())
    }
}

impl LastRotation {
    /// Whether it took back another one, whose consumers had failed soon after it was committed.
    pub fn took_back(&self) -> bool {
        self.actor == Actor::Aftercare && self.outcome == Outcome::Committed
    }
}

impl GenerationStanding {
    /// Since when the value is in use, also where others were in force meanwhile.
    pub fn born(&self) -> Timestamp {
        self.made.unwrap_or(self.since)
    }
}

impl Kept {
    /// What the unit still accepts, where this is its run now.
    pub fn by(&self, unit: &str, run: &str) -> Option<Drift> {
        let is_same = self.runs.get(unit).is_some_and(|left| left == run);
        is_same.then(|| Drift::Keeps(unit.to_owned(), self.generations.clone()))
    }
}

impl Transaction {
    /// The phase that it is in, unless its outcome is decided.
    pub fn phase(&self) -> Option<&Phase> {
        match &self.progress {
            Progress::In(phase) => Some(phase),
            Progress::Decided(_) => None,
        }
    }
}

impl Stage {
    /// The stage's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Current => "current",
            Self::Previous => "previous",
            Self::Retired => "retired",
            Self::Rejected => "rejected",
        }
    }
}

impl Hold {
    /// Why, and what to do, in a sentence.
    pub fn sentence(&self) -> String {
        match self {
            Self::RollbackFailed => "a rotation could neither be finished nor undone".to_owned(),
            Self::Unsure => "a target could not tell whether it had made a change".to_owned(),
            Self::RolledBack { times } => format!("{times} rotations in a row were rolled back"),
        }
    }

    /// The fault that a held secret answers every request with.
    pub fn fault(&self, secret: &SecretName) -> Fault {
        Fault::new(FaultCode::OnHold, format!("the secret is on hold: {}", self.sentence()))
            .advise(format!("see why with `rekeyctl history {secret}`, mend it, then `rekeyctl release {secret}`"))
    }
}

#[cfg(test)]
mod tests;
