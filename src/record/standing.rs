//! What the records of a secret add up to: its generations, the view in force, and a rotation that is under way.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Actor, Found, Happening, Record, RotationId, Seen};
use crate::config::SecretName;
use crate::policy::{AfterRollback, after_rollback};
use crate::rotation::{Event, Fault, FaultCode, Generation, Next, Outcome, Phase, Plan, View, advance};
use crate::secret::Fingerprint;

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
    /// How many rotations in a row were rolled back.
    pub rolled_back_in_a_row: u32,
    /// The last rotation that ended.
    pub last: Option<LastRotation>,
    /// When the schedule tries again.
    pub retry_at: Option<Timestamp>,
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
    /// How often it was taken up again.
    pub interruptions: u32,
    /// The consumers that preflight found.
    pub found: Vec<Found>,
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
    /// How it ended.
    pub outcome: Outcome,
    /// When.
    pub at: Timestamp,
}

/// A record that cannot follow on those before it.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("record {seq} contradicts those before it: {what}")]
pub struct Contradiction {
    /// The record's number.
    pub seq: u64,
    /// What does not fit.
    pub what: String,
}

impl Standing {
    /// Adds one record.
    ///
    /// # Errors
    /// Where it cannot follow on those before it; the standing is then not to be relied on.
    pub fn apply(&mut self, record: &Record) -> Result<(), Contradiction> {
        let contradiction = |what: &str| Contradiction { seq: record.seq, what: what.to_owned() };
        if record.seq != self.seq + 1 && !matches!(record.what, Happening::CarriedOver { .. }) {
            return Err(contradiction("its number does not follow"));
        }
        match &record.what {
            Happening::CarriedOver { standing } => *self = (**standing).clone(),
            Happening::Adopted { generation, fingerprint, .. } => {
                self.supersede(record.at);
                self.enter(*generation, fingerprint.clone(), Stage::Current, record.at);
                self.in_force = Some(View::of(*generation));
            }
            Happening::Requested { plan, actor, reason } => {
                if self.transaction.is_some() {
                    return Err(contradiction("a rotation is under way already"));
                }
                let id = record.rotation.clone().ok_or_else(|| contradiction("the rotation has no id"))?;
                self.retry_at = None;
                self.transaction = Some(Transaction {
                    id,
                    plan: plan.clone(),
                    actor: actor.clone(),
                    reason: reason.clone(),
                    asked_at: record.at,
                    progress: Progress::In(Phase::Preflight),
                    interruptions: 0,
                    found: Vec::new(),
                });
            }
            Happening::Began { phase } => self.due(record, phase)?,
            Happening::Passed { phase, seen, .. } => {
                self.due(record, phase)?;
                if let Seen::Made { generation, fingerprint } = seen {
                    self.enter(*generation, fingerprint.clone(), Stage::Pending, record.at);
                }
                let transaction = self.under_way(record)?;
                if let Seen::Ready { found, .. } = seen {
                    transaction.found.clone_from(found);
                }
                transaction.advance(phase, Event::Passed);
            }
            Happening::Failed { phase, fault, .. } => {
                self.due(record, phase)?;
                self.under_way(record)?.advance(phase, Event::Failed(fault.clone()));
            }
            Happening::Resumed => self.under_way(record)?.interruptions += 1,
            Happening::Ended { outcome, .. } => {
                self.under_way(record)?;
                let Some(transaction) = self.transaction.take() else {
                    return Err(contradiction("no rotation is under way"));
                };
                self.end(transaction, outcome, record.at);
            }
            Happening::RetryArmed { at } => self.retry_at = Some(*at),
            Happening::Held { hold } => self.hold = Some(hold.clone()),
            Happening::Released { .. } => {
                self.hold = None;
                self.rolled_back_in_a_row = 0;
            }
            Happening::Paused { .. } => self.paused = true,
            Happening::Unpaused { .. } => self.paused = false,
        }
        self.seq = record.seq;
        Ok(())
    }

    /// The hold that the last rotation's end calls for and that is not recorded yet.
    pub fn hold_owed(&self) -> Option<Hold> {
        if self.hold.is_some() || self.transaction.is_some() {
            return None;
        }
        match &self.last.as_ref()?.outcome {
            Outcome::RollbackFailed { .. } if self.rolled_back_in_a_row > 0 => Some(Hold::RollbackFailed),
            Outcome::RolledBack { .. } if after_rollback(self.rolled_back_in_a_row) == AfterRollback::Hold => {
                Some(Hold::RolledBack { times: self.rolled_back_in_a_row })
            }
            _ => None,
        }
    }

    /// The generation of this number.
    pub fn generation(&self, number: Generation) -> Option<&GenerationStanding> {
        self.generations.iter().find(|generation| generation.number == number)
    }

    /// The newest generation in this stage.
    pub fn newest(&self, stage: Stage) -> Option<&GenerationStanding> {
        self.generations.iter().rev().find(|generation| generation.stage == stage)
    }

    /// The number that the next value gets.
    pub fn next_generation(&self) -> Generation {
        self.generations.last().map_or(Generation::FIRST, |last| last.number.next())
    }

    fn under_way(&mut self, record: &Record) -> Result<&mut Transaction, Contradiction> {
        let fits = |transaction: &&mut Transaction| record.rotation.as_ref() == Some(&transaction.id);
        self.transaction
            .as_mut()
            .filter(fits)
            .ok_or_else(|| Contradiction { seq: record.seq, what: "it is not of the rotation under way".to_owned() })
    }

    fn due(&mut self, record: &Record, phase: &Phase) -> Result<(), Contradiction> {
        match &self.under_way(record)?.progress {
            Progress::In(due) if due == phase => Ok(()),
            _ => Err(Contradiction { seq: record.seq, what: "another step was due".to_owned() }),
        }
    }

    fn enter(&mut self, number: Generation, fingerprint: Fingerprint, stage: Stage, since: Timestamp) {
        self.generations.retain(|generation| generation.number != number);
        self.generations.push(GenerationStanding { number, fingerprint, stage, since });
    }

    fn set_stage(&mut self, number: Generation, stage: Stage, since: Timestamp) {
        if let Some(generation) = self.generations.iter_mut().find(|generation| generation.number == number) {
            generation.stage = stage;
            generation.since = since;
        }
    }

    /// The current one becomes the previous one, and what was previous retires.
    fn supersede(&mut self, at: Timestamp) {
        for generation in &mut self.generations {
            generation.stage = match generation.stage {
                Stage::Current => Stage::Previous,
                Stage::Previous => Stage::Retired,
                _ => continue,
            };
            generation.since = at;
        }
    }

    fn end(&mut self, transaction: Transaction, outcome: &Outcome, at: Timestamp) {
        let plan = &transaction.plan;
        match outcome {
            Outcome::Committed => {
                self.supersede(at);
                if plan.makes.is_none() {
                    // A person went back: what was in force until now has been found wanting.
                    self.set_stage(plan.start().primary, Stage::Rejected, at);
                }
                self.set_stage(plan.goal().primary, Stage::Current, at);
                self.in_force = Some(plan.goal().clone());
                self.rolled_back_in_a_row = 0;
            }
            Outcome::RolledBack { .. } | Outcome::RollbackFailed { .. } => {
                if let Some(made) = plan.makes {
                    self.set_stage(made, Stage::Rejected, at);
                }
                self.rolled_back_in_a_row = self.rolled_back_in_a_row.saturating_add(1);
            }
            Outcome::Refused { .. } => {}
        }
        let (id, actor) = (transaction.id, transaction.actor);
        self.last = Some(LastRotation { id, actor, outcome: outcome.clone(), at });
    }
}

impl Transaction {
    fn advance(&mut self, phase: &Phase, event: Event) {
        self.progress = match advance(&self.plan, phase.clone(), event) {
            Next::Enter(next) => Progress::In(next),
            Next::End(outcome) => Progress::Decided(outcome),
        };
    }

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
            Self::RolledBack { times } => format!("{times} rotations in a row were rolled back"),
        }
    }

    /// The fault that a held secret answers every request with.
    pub fn fault(&self, secret: &SecretName) -> Fault {
        Fault::new(FaultCode::OnHold, format!("the secret is on hold: {}", self.sentence()))
            .advise(format!("see why with `rekeyctl history {secret}`, mend it, then `rekeyctl release {secret}`"))
    }
}
