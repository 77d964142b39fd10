//! Performs rotations: records the intent, acts through the traits of targets and probes, records what came of it.
//!
//! One rotation, or a batch of them, is one loop ([`batch::run`]): the state machine in [`crate::rotation`] says which
//! phase is due, the phase is performed (`phases.rs`, and by it `preflight.rs`, `movement.rs` and `prove.rs`), and what
//! came of it is appended to the ledger, which advances the machine. A daemon that is killed anywhere takes the loop up
//! again where the ledger stands; every phase looks at the world before it acts, so that acting twice is as good as
//! acting once.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::config::{HookSettings, SecretSettings, Shape};
use crate::proof::Probe;
use crate::record::chain::Head;
use crate::record::{Actor, Batch, Happening, Hook, Progress, Record, RotationId, Standing};
use crate::rotation::{Fault, FaultCode, Generation, Intent, Outcome, Phase, Plan, View, after_interruption};
use crate::secret::{SecretValue, random};
use crate::store::{Ledger, Store, StoreError};
use crate::target::{Disclosed, Errand, Report, Target};

pub mod act;
mod adopt;
pub mod batch;
mod ending;
mod hooks;
mod look;
mod movement;
mod phases;
mod plans;
mod preflight;
mod prove;

pub use adopt::{Adoption, Outdated};
pub use hooks::Kept;
pub use look::{Allowance, Forecast, Verdict, drift};

/// What the engine needs of its host besides targets and probes.
#[async_trait]
pub trait Host: Report {
    /// Makes the service manager read its unit files again, where that is `needed`. Told also where it is not: others
    /// that are as far may need it, and one serves all.
    ///
    /// # Errors
    /// Where it refuses or does not answer.
    async fn daemon_reload(&self, needed: bool) -> Result<(), Fault>;

    /// Evidence is about to be gathered; others that are as far may gather theirs in the same sweep.
    async fn before_evidence(&self);

    /// Has the rotation undone should nobody be there to go on with it: called before the consumers are touched. May be
    /// called again.
    async fn arm_dead_man(&self, rotation: &RotationId);

    /// The rotation has ended.
    async fn disarm_dead_man(&self, rotation: &RotationId);

    /// The first of the dates of calendar expressions (systemd.time(7)) that is not before `earliest`; `None` where there is
    /// none, or nobody knows, which is told. Without systemd nobody does.
    async fn date(&self, _expressions: &[String], _earliest: jiff::Timestamp) -> Option<jiff::Timestamp> {
        None
    }

    /// Whether the system is shutting down: what fails then says nothing about a value.
    async fn going_down(&self) -> bool;

    /// The rotation goes back, and waits for nobody from here on.
    fn goes_back(&self);

    /// Does what a hook is for: runs its command, or sends its request.
    ///
    /// # Errors
    /// What went wrong, for the administrator whose hook it is.
    async fn hook(&self, hook: Hook, settings: &HookSettings) -> Result<(), Fault>;

    /// Whether a hook could be run, and nobody else could have it do something else. Touches nothing.
    ///
    /// # Errors
    /// What is wrong with it.
    async fn check_hook(&self, _hook: Hook, _settings: &HookSettings) -> Result<(), Fault> {
        Ok(())
    }

    /// Tells a record, once it is durable, to the journal and to whoever listens.
    fn publish(&self, record: &Record, head: &Head, standing: &Standing);
}

/// How far rotations came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// To their end, or of one turn.
    Ended,
    /// To a recorded point at which the system went down; the next start goes on.
    Parked,
}

/// One secret with everything that moves it.
pub struct Engine<'a> {
    /// The secret.
    pub settings: &'a SecretSettings,
    /// Where it is delivered to, in order.
    pub targets: &'a [Box<dyn Target>],
    /// The smoke tests, in order.
    pub probes: &'a [Box<dyn Probe>],
    /// The sealed values.
    pub store: &'a Store,
    /// The records.
    pub ledger: &'a mut Ledger,
    /// Tokens from before the rotation.
    pub kept: Kept,
    /// The rest of the world.
    pub host: &'a dyn Host,
}

impl Engine<'_> {
    /// Accepts a rotation to a new value: from here on it ends in an outcome, whatever happens to the daemon.
    ///
    /// # Errors
    /// Where it cannot be recorded, which is the same as not having been asked.
    pub fn request(
        &mut self,
        plan: Plan,
        actor: Actor,
        reason: String,
        batch: Option<Batch>,
    ) -> Result<RotationId, StoreError> {
        let id = RotationId::from_bytes(random()?);
        self.record(Some(&id), Happening::Requested { plan, actor, reason, batch })?;
        Ok(id)
    }

    /// Records that the rotation that is under way is taken up again, or what is still owed after the last one.
    async fn take_up(&mut self) -> Result<(), StoreError> {
        let Some((id, progress)) = self.under_way() else {
            // It may have been interrupted between its end and what is owed after it.
            let last = self.ledger.standing().last.as_ref().map(|last| last.id.clone());
            return self.settle_accounts(last.as_ref()).await;
        };
        self.record(Some(&id), Happening::Resumed)?;
        let interruptions = self.ledger.standing().transaction.as_ref().map_or(0, |t| t.interruptions);
        if let Progress::In(phase) = progress
            && let Some(fault) = after_interruption(&phase, interruptions).or_else(|| self.too_late(&phase))
        {
            self.record(Some(&id), Happening::Failed { phase, took_us: 0, fault })?;
        }
        Ok(())
    }

    /// Writes what a rotation that was interrupted is about to deliver once more. Local and bounded: this is what the
    /// daemon does before it says that it is ready, so that a consumer that starts now finds whole files.
    pub async fn repair(&mut self) -> Result<(), Fault> {
        let Some((_, Progress::In(phase))) = self.under_way() else { return Ok(()) };
        if !phase.may_have_touched() {
            return Ok(());
        }
        let view = self.view_in(&phase)?;
        let values = self.disclose(&view)?;
        let (view, mark) = (values.of(&view), self.mark(&phase));
        let before = self.views_before(&phase);
        let before = disclosed(before.as_deref());
        let errand = self.errand(&view, &phase, &mark, Instant::now() + self.settings.deadline);
        let errand = Errand { before: before.as_deref(), ..errand };
        for target in self.targets.iter().filter(|target| target.is_local()) {
            match target.deliver(&errand).await {
                // The phase that is gone on with comes upon it too, and says what follows.
                Err(fault) if fault.code == FaultCode::ChangedByHand => {}
                delivered => drop(delivered?),
            }
        }
        Ok(())
    }

    /// What the targets are to bring about in a phase.
    fn errand<'e>(&'e self, view: &'e Disclosed<'e>, phase: &Phase, mark: &'e str, deadline: Instant) -> Errand<'e> {
        let transaction = self.ledger.standing().transaction.as_ref();
        Errand {
            view,
            before: None,
            back: phase.is_back(),
            found: transaction.map_or(&[], |transaction| &transaction.found),
            noted: transaction.map_or(&[], |transaction| &transaction.noted),
            mark,
            deadline,
            report: self.host,
        }
    }

    /// Names the movement that a phase is of.
    fn mark(&self, phase: &Phase) -> String {
        let id = self.under_way().map_or_else(String::new, |(id, _)| id.to_string());
        match phase {
            Phase::Forth { movement, .. } => format!("{id}-{}", movement + 1),
            // Another way back may follow on it.
            Phase::Back { signed: true, .. } => format!("{id}-back-both"),
            Phase::Back { .. } => format!("{id}-back"),
            Phase::Preflight | Phase::Generate | Phase::Commit => id,
        }
    }

    /// Records something that belongs to no rotation.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn note(&mut self, what: Happening) -> Result<(), StoreError> {
        self.record(None, what)
    }

    /// Records when what failed, or was turned away, is to be tried again: `None` with the next date of its schedule.
    ///
    /// # Errors
    /// Where it cannot be recorded.
    pub fn plan_retry(&mut self, at: Option<jiff::Timestamp>) -> Result<(), StoreError> {
        let last = self.ledger.standing().last.as_ref();
        let rolled_back = last.filter(|last| matches!(last.outcome, Outcome::RolledBack { .. }));
        let id = rolled_back.map(|last| last.id.clone());
        self.record(id.as_ref(), Happening::RetryArmed { at })
    }

    fn record(&mut self, rotation: Option<&RotationId>, what: Happening) -> Result<(), StoreError> {
        let record = self.ledger.append(rotation, what)?;
        self.host.publish(&record, self.ledger.head(), self.ledger.standing());
        Ok(())
    }

    fn under_way(&self) -> Option<(RotationId, Progress)> {
        let transaction = self.ledger.standing().transaction.as_ref()?;
        Some((transaction.id.clone(), transaction.progress.clone()))
    }

    /// A rotation that was interrupted before it touched anything is not begun long after it was asked for.
    fn too_late(&self, phase: &Phase) -> Option<Fault> {
        let asked_at = self.ledger.standing().transaction.as_ref()?.asked_at;
        let waited = Duration::try_from(jiff::Timestamp::now().duration_since(asked_at)).unwrap_or_default();
        (!phase.may_have_touched() && waited > self.settings.deadline).then(|| {
            Fault::new(
                FaultCode::DeadlinePassed,
                "rekeyd was interrupted before anything was touched, and it is too late now",
            )
            .advise(format!("ask again: rekeyctl rotate {}", self.settings.name))
        })
    }

    fn view_in(&self, phase: &Phase) -> Result<View, Fault> {
        let transaction = self.ledger.standing().transaction.as_ref();
        let view = transaction.map(|transaction| transaction.plan.view_in(phase));
        view.ok_or_else(|| Fault::new(FaultCode::StoreFailed, "no rotation is under way"))
    }

    /// The views that places may have had before this phase writes its own, as far as their values can be had.
    fn views_before(&self, phase: &Phase) -> Option<Vec<(View, Values)>> {
        let standing = self.ledger.standing();
        let transaction = standing.transaction.as_ref()?;
        let plan = &transaction.plan;
        // Nobody told aftercare to write over what somebody else writes meanwhile.
        let mut views = plan.views_before(phase, transaction.actor != Actor::Aftercare)?;
        if plan.intent == Intent::Return {
            // It began whatever stood there: a value of an earlier rotation may still.
            views.extend(standing.generations.iter().map(|generation| View::of(generation.number)));
        }
        Some(views.into_iter().filter_map(|view| self.disclose(&view).ok().map(|values| (view, values))).collect())
    }

    fn disclose(&self, view: &View) -> Result<Values, Fault> {
        let get = |number: Generation| self.store.get(&self.settings.name, number);
        let primary = get(view.primary)?;
        let accepted: Vec<SecretValue> = view.accepted.iter().map(|&number| get(number)).collect::<Result<_, _>>()?;
        let is_list = self.settings.overlap.as_ref().is_some_and(|overlap| overlap.shape == Shape::List);
        let list = if is_list && !accepted.is_empty() { Some(listed(&accepted)?) } else { None };
        Ok(Values { primary, accepted, list })
    }
}

/// The values of a view, unsealed for as long as a phase needs them.
struct Values {
    primary: SecretValue,
    accepted: Vec<SecretValue>,
    /// The accepted ones as one, where the consumers want a list.
    list: Option<SecretValue>,
}

fn listed(values: &[SecretValue]) -> Result<SecretValue, Fault> {
    SecretValue::list(values).ok_or_else(|| {
        Fault::new(FaultCode::NotRepresentable, "an accepted value has a comma in it, and cannot be in a list")
            .advise("rotate once with `shape = \"single\"`, or with --emergency")
    })
}

impl Values {
    fn of<'a>(&'a self, view: &'a View) -> Disclosed<'a> {
        let previous = self.list.as_ref().or(self.accepted.first());
        Disclosed { view, primary: &self.primary, accepted: self.accepted.iter().collect(), previous }
    }
}

fn disclosed(views: Option<&[(View, Values)]>) -> Option<Vec<Disclosed<'_>>> {
    views.map(|views| views.iter().map(|(view, values)| values.of(view)).collect())
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
