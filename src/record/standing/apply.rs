//! How a record changes the standing, and which one cannot follow on the others.

use std::collections::BTreeMap;

use jiff::Timestamp;
use thiserror::Error;

use super::{GenerationStanding, Kept, LastRotation, Progress, Stage, Standing, Transaction, TurnedAway};
use crate::record::{Activated, Actor, Evidence, Found, Happening, Hook, HookCame, NewValue, Record, Seen};
use crate::rotation::{Event, Generation, Intent, Next, Outcome, Phase, View, advance};
use crate::secret::Fingerprint;

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
            Happening::Adopted { .. } | Happening::Released { .. } | Happening::Forgotten { .. }
                if self.transaction.is_some() =>
            {
                return Err(contradiction("a rotation is under way"));
            }
            Happening::Adopted { generation, fingerprint, weak, accepted, .. } => {
                self.supersede(record.at);
                for NewValue { generation, fingerprint } in accepted {
                    self.enter(*generation, fingerprint.clone(), Stage::Previous, record.at);
                }
                self.enter(*generation, fingerprint.clone(), Stage::Current, record.at);
                self.generations
                    .iter_mut()
                    .filter(|entered| entered.number == *generation)
                    .for_each(|it| it.weak = *weak);
                let accepted = accepted.iter().map(|accepted| accepted.generation).collect();
                if self.in_force.as_ref().is_none_or(|view| view.primary != *generation) {
                    self.noted.clear();
                }
                self.in_force = Some(View { primary: *generation, accepted });
                self.retire_at = None;
                (self.left_half_way, self.returned_in_vain) = (false, false);
                self.turned_away = None;
            }
            Happening::Requested { plan, actor, reason, batch } => {
                if self.transaction.is_some() {
                    return Err(contradiction("a rotation is under way already"));
                }
                let id = record.rotation.clone().ok_or_else(|| contradiction("the rotation has no id"))?;
                if matches!(actor, Actor::Timer | Actor::Retry) {
                    self.retry_at = None;
                }
                self.waits_for_schedule = false;
                self.turned_away = None;
                if *actor != Actor::Aftercare && self.last.as_ref().is_some_and(was_for_good) {
                    self.taken_back_in_a_row = 0;
                }
                self.transaction = Some(Transaction {
                    id,
                    plan: plan.clone(),
                    actor: actor.clone(),
                    reason: reason.clone(),
                    asked_at: record.at,
                    batch: batch.clone(),
                    progress: Progress::In(Phase::Preflight),
                    interruptions: 0,
                    found: Vec::new(),
                    noted: Vec::new(),
                    left: Vec::new(),
                    back_to: None,
                    hooks: Vec::new(),
                    waiting: Vec::new(),
                    read_back: Vec::new(),
                });
            }
            Happening::TurnedAway { actor, cause } => {
                let since = self.turned_away.as_ref().map_or(record.at, |before| before.since);
                self.turned_away = Some(TurnedAway { cause: cause.clone(), since });
                self.counts.refused += 1;
                if *actor == Actor::Retry {
                    self.retry_at = None;
                }
            }
            Happening::Began { phase } => self.due(record, phase)?,
            Happening::Passed { phase, seen, .. } => {
                self.due(record, phase)?;
                if let Seen::Made { made } = seen {
                    for NewValue { generation, fingerprint } in made {
                        self.enter(*generation, fingerprint.clone(), Stage::Pending, record.at);
                    }
                }
                self.longest_token_s = self.longest_token_s.max(longest_token(seen));
                self.restart_us.extend(restarts(seen));
                if is_re_encrypted(seen) {
                    self.re_encrypted = self.in_force.as_ref().map(|view| view.primary);
                }
                let transaction = self.under_way(record)?;
                match seen {
                    Seen::Ready { found, .. } => transaction.found.clone_from(found),
                    Seen::Delivered { noted, left, .. } => {
                        transaction.noted.clone_from(noted);
                        transaction.left.clone_from(left);
                    }
                    Seen::Proven { evidence } => {
                        transaction.waiting = waiting(evidence);
                        transaction.read_back = read_back(evidence);
                    }
                    _ => {}
                }
                transaction.advance(phase, passed(seen));
            }
            Happening::Failed { phase, fault, .. } => {
                self.due(record, phase)?;
                self.counts.probe_failures += u64::from(fault.code.is_of_a_probe());
                self.under_way(record)?.advance(phase, Event::Failed(fault.clone()));
            }
            Happening::Resumed => self.under_way(record)?.interruptions += 1,
            Happening::Hook { hook, came } => self.hook(record, *hook, came)?,
            Happening::Ended { outcome, .. } => {
                self.under_way(record)?;
                let Some(transaction) = self.transaction.take() else {
                    return Err(contradiction("no rotation is under way"));
                };
                self.end(transaction, outcome, record.at);
            }
            Happening::RetryArmed { at } => (self.retry_at, self.waits_for_schedule) = (*at, at.is_none()),
            Happening::RetireArmed { at } => self.retire_at = Some(*at),
            Happening::Held { hold } => {
                self.hold = Some(hold.clone());
                self.retry_at = None;
            }
            Happening::Released { .. } => {
                self.hold = None;
                (self.rolled_back_in_a_row, self.retire_failed_in_a_row) = (0, 0);
                self.taken_back_in_a_row = 0;
            }
            Happening::Abandoned { .. } => {
                self.under_way(record)?;
                self.transaction = None;
            }
            Happening::Forgotten { .. } => self.forget(record.at),
            Happening::Revealed { .. } | Happening::Searched { .. } => {}
            Happening::Paused { .. } => self.paused = true,
            Happening::Unpaused { .. } => self.paused = false,
        }
        self.seq = record.seq;
        Ok(())
    }

    fn under_way(&mut self, record: &Record) -> Result<&mut Transaction, Contradiction> {
        let fits = |transaction: &&mut Transaction| record.rotation.as_ref() == Some(&transaction.id);
        self.transaction
            .as_mut()
            .filter(fits)
            .ok_or_else(|| Contradiction { seq: record.seq, what: "it is not of the rotation under way".to_owned() })
    }

    fn hook(&mut self, record: &Record, hook: Hook, came: &HookCame) -> Result<(), Contradiction> {
        let transaction = self.under_way(record)?;
        let primary = transaction.plan.goal().primary;
        match came {
            HookCame::Began => {}
            HookCame::Passed { .. } => {
                transaction.hooks.push((hook, None));
                if hook == Hook::ReEncrypt {
                    self.re_encrypted = Some(primary);
                }
            }
            HookCame::Failed { fault, .. } => transaction.hooks.push((hook, Some(fault.clone()))),
        }
        Ok(())
    }

    fn due(&mut self, record: &Record, phase: &Phase) -> Result<(), Contradiction> {
        match &self.under_way(record)?.progress {
            Progress::In(due) if due == phase => Ok(()),
            _ => Err(Contradiction { seq: record.seq, what: "another step was due".to_owned() }),
        }
    }

    fn enter(&mut self, number: Generation, fingerprint: Fingerprint, stage: Stage, since: Timestamp) {
        if let Some(known) = self.generations.iter_mut().find(|generation| generation.number == number) {
            let made = known.made.filter(|_| known.fingerprint == fingerprint).or(Some(since));
            *known = GenerationStanding { number, fingerprint, stage, since, made, weak: known.weak };
            return;
        }
        self.generations.push(GenerationStanding { number, fingerprint, stage, since, made: Some(since), weak: false });
    }

    /// A value that was made ahead, and that nobody accepts any more, is not waited for.
    fn give_up_waiting(&mut self, at: Timestamp) {
        let in_force: Vec<Generation> = self.in_force.iter().flat_map(View::generations).collect();
        for generation in self.generations.iter_mut().filter(|generation| generation.stage == Stage::Pending) {
            if !in_force.contains(&generation.number) {
                (generation.stage, generation.since) = (Stage::Rejected, at);
            }
        }
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

    /// What remains is which generations there were, so that their numbers are not used again.
    fn forget(&mut self, at: Timestamp) {
        for generation in self.generations.iter_mut().filter(|generation| generation.stage != Stage::Rejected) {
            (generation.stage, generation.since) = (Stage::Retired, at);
        }
        let (seq, generations) = (self.seq, std::mem::take(&mut self.generations));
        *self = Self { seq, generations, ..Self::default() };
    }

    fn end(&mut self, transaction: Transaction, outcome: &Outcome, at: Timestamp) {
        let plan = &transaction.plan;
        let before = self.in_force.clone();
        if !matches!(outcome, Outcome::Refused { .. }) {
            self.left_half_way = matches!(outcome, Outcome::RollbackFailed { .. });
            self.returned_in_vain = plan.is_again() && *outcome != Outcome::Committed;
        }
        let count = match outcome {
            Outcome::Committed => &mut self.counts.committed,
            Outcome::RolledBack { .. } => &mut self.counts.rolled_back,
            Outcome::RollbackFailed { .. } => &mut self.counts.rollback_failed,
            Outcome::Refused { .. } => &mut self.counts.refused,
        };
        *count += 1;
        match outcome {
            Outcome::Committed if plan.retires() => {
                self.in_force = Some(plan.goal().clone());
                self.retire_failed_in_a_row = 0;
            }
            // What a failed way back had left was written over.
            Outcome::Committed if plan.is_again() => self.rolled_back_in_a_row = 0,
            Outcome::Committed => {
                self.supersede(at);
                if plan.intent == Intent::Return {
                    // A person went back: what was in force until now has been found wanting.
                    self.set_stage(plan.start().primary, Stage::Rejected, at);
                }
                self.set_stage(plan.goal().primary, Stage::Current, at);
                self.retry_at = None;
                self.in_force = Some(plan.goal().clone());
                (self.rolled_back_in_a_row, self.retire_failed_in_a_row) = (0, 0);
                self.taken_back_in_a_row += u32::from(transaction.actor == Actor::Aftercare);
                self.give_up_waiting(at);
            }
            Outcome::RolledBack { .. } | Outcome::RollbackFailed { .. } => {
                for made in &plan.makes {
                    self.set_stage(*made, Stage::Rejected, at);
                }
                if plan.intent == Intent::Rotate {
                    self.set_stage(plan.goal().primary, Stage::Rejected, at);
                }
                if let Some(view) = &transaction.back_to {
                    self.in_force = Some(view.clone());
                }
                let failed = match plan.retires() {
                    true => &mut self.retire_failed_in_a_row,
                    false => &mut self.rolled_back_in_a_row,
                };
                *failed = failed.saturating_add(1);
            }
            Outcome::Refused { .. } => {}
        }
        let was_brought_back = matches!(outcome, Outcome::RolledBack { .. }) && transaction.back_to.is_some();
        if *outcome == Outcome::Committed || was_brought_back {
            self.noted.retain(|old| !transaction.noted.iter().any(|new| new.target == old.target));
            self.noted.extend(transaction.noted.iter().cloned());
        }
        if !transaction.found.is_empty() {
            let stopped = transaction.found.iter().filter(|found| !found.running);
            self.stopped = stopped.map(|found| found.configured.clone()).collect();
        }
        let retires = plan.retires();
        if *outcome == Outcome::Committed {
            self.kept = retires.then(|| kept(&transaction)).flatten();
        }
        // Who tries to end an overlap early, by retiring or by a new value, and fails, does not put its end off.
        let is_same = retires || self.in_force == before;
        let is_still_to_come = *outcome != Outcome::Committed && is_same && self.retire_at.is_some_and(|end| end > at);
        if !is_still_to_come && (retires || !matches!(outcome, Outcome::Refused { .. })) {
            self.retire_at = None;
        }
        let taken_back_for = (transaction.actor == Actor::Aftercare).then(|| transaction.reason.clone());
        let Transaction { id, actor, batch, hooks, interruptions, waiting, read_back, .. } = transaction;
        let interrupted = interruptions > 0;
        let hook_failed = hooks.into_iter().find_map(|(_, failed)| failed);
        let outcome = outcome.clone();
        self.last = Some(LastRotation {
            id,
            actor,
            batch,
            retires,
            interrupted,
            taken_back_for,
            outcome,
            hook_failed,
            waiting,
            read_back,
            at,
        });
    }
}

impl Transaction {
    fn advance(&mut self, phase: &Phase, event: Event) {
        if phase.is_back() {
            self.back_to = Some(self.plan.view_in(phase));
        }
        self.progress = match advance(&self.plan, phase.clone(), event) {
            Next::Enter(next) => Progress::In(next),
            Next::End(outcome) => Progress::Decided(outcome),
        };
    }
}

/// Whether a rotation was committed and not taken back until the next one was asked for.
fn was_for_good(last: &LastRotation) -> bool {
    last.outcome == Outcome::Committed && last.actor != Actor::Aftercare && !last.retires
}

fn passed(seen: &Seen) -> Event {
    let left = match seen {
        Seen::Delivered { left, .. } => left.as_slice(),
        _ => &[],
    };
    let faults = left.iter().map(|left| left.fault.clone());
    faults.reduce(|all, fault| all.and(&fault)).map_or(Event::Passed, Event::Partly)
}

fn longest_token(seen: &Seen) -> Option<u64> {
    let (Seen::Ready { evidence, .. } | Seen::Proven { evidence }) = seen else { return None };
    let lifetime = |evidence: &Evidence| match evidence {
        Evidence::Jwt { lifetime_s, .. } => *lifetime_s,
        _ => None,
    };
    evidence.iter().filter_map(lifetime).max()
}

fn waiting(evidence: &[Evidence]) -> Vec<String> {
    let waits = |seen: &Evidence| match seen {
        Evidence::AtNextRestart { unit } => Some(unit.clone()),
        _ => None,
    };
    evidence.iter().filter_map(waits).collect()
}

/// The values that the end of an overlap leaves to what runs.
fn kept(transaction: &Transaction) -> Option<Kept> {
    let waits = |found: &&Found| transaction.waiting.contains(&found.unit);
    let run = |found: &Found| Some((found.unit.clone(), found.run()?.clone()));
    let runs: BTreeMap<String, String> = transaction.found.iter().filter(waits).filter_map(run).collect();
    let goal = transaction.plan.goal();
    let is_retired = |generation: &Generation| goal.generations().all(|one| one != *generation);
    let generations = transaction.plan.start().generations().filter(is_retired).collect();
    (!runs.is_empty()).then_some(Kept { generations, runs })
}

/// The files, where nothing shows that they are used.
fn read_back(evidence: &[Evidence]) -> Vec<String> {
    let path = |seen: &Evidence| match seen {
        Evidence::File { path } => Some(path.clone()),
        _ => None,
    };
    if evidence.iter().any(Evidence::shows_use) { Vec::new() } else { evidence.iter().filter_map(path).collect() }
}

fn restarts(seen: &Seen) -> impl Iterator<Item = (String, u64)> {
    let activated = match seen {
        Seen::Active { activated, .. } => activated.as_slice(),
        _ => &[],
    };
    activated.iter().filter_map(|activated| match activated {
        Activated::Restarted { unit, took_us } => Some((unit.clone(), *took_us)),
        _ => None,
    })
}

fn is_re_encrypted(seen: &Seen) -> bool {
    let Seen::Ready { evidence, .. } = seen else { return false };
    evidence.iter().any(|evidence| matches!(evidence, Evidence::ReEncrypted { .. }))
}
