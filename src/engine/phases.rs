//! What each phase of a rotation does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Engine, Values, disclosed};
use crate::config::{Retire, TargetSettings};
use crate::proof::{Moment, Question, impact};
use crate::record::{Activated, Evidence, Found, Left, NewValue, Seen};
use crate::rotation::{Fault, FaultCode, Generation, Intent, Phase, Step, View};
use crate::secret::{Fingerprint, SecretValue, generate};
use crate::store::StoreError;
use crate::target::{Errand, Health, Target};

/// So many processes are taken to answer, where none can be seen.
const UNKNOWN_WORKERS: u32 = 4;
/// How often processes are looked at while they are asked.
const WATCH: Duration = Duration::from_secs(2);
/// How soon whoever was away is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(200);

impl Engine<'_> {
    /// Performs one phase but the activation, which a batch does together. Nothing is taken for granted but the ledger:
    /// the phase may have been performed before, by a daemon that was killed before it could say so.
    ///
    /// `is_home` is told once all that is at home has what is delivered.
    pub(super) async fn perform(&self, phase: &Phase, deadline: Instant, is_home: &AtomicBool) -> Result<Seen, Fault> {
        let view = self.view_in(phase)?;
        match phase {
            Phase::Preflight => {
                let seen = self.preflight(&view, self.health_needed(), deadline).await?;
                self.keep_tokens(deadline).await;
                let anew = self.encrypt_anew().await?;
                Ok(match seen {
                    Seen::Ready { found, evidence } => {
                        Seen::Ready { found, evidence: evidence.into_iter().chain(anew).collect() }
                    }
                    seen => seen,
                })
            }
            Phase::Generate => self.make(),
            Phase::Forth { step: Step::Deliver, .. } | Phase::Back { step: Step::Deliver, .. } => {
                self.deliver(phase, &view, deadline, is_home).await
            }
            Phase::Forth { step: Step::Prove, .. } | Phase::Back { step: Step::Prove, .. } => {
                if self.waits_for_restart(phase) {
                    self.prove_delivered(&view, deadline).await
                } else {
                    self.prove(phase, &view, deadline).await
                }
            }
            Phase::Forth { step: Step::Activate, .. } | Phase::Back { step: Step::Activate, .. } | Phase::Commit => {
                Err(Fault::new(FaultCode::StoreFailed, format!("{phase} is not for one rotation alone")))
            }
        }
    }

    /// Looks for every obstacle, touching nothing.
    pub(super) async fn preflight(&self, in_force: &View, health: Health, deadline: Instant) -> Result<Seen, Fault> {
        let is_first = self.intent() == Some(Intent::Initial);
        let values = if is_first { self.placeholder()? } else { self.disclose(in_force)? };
        let found = self.survey(&values.of(in_force), health, deadline).await?;
        // Of some consumers nothing is known but what probes say.
        let anyone = health == Health::Needed && may_serve(&found);
        let evidence = self
            .ask_probes((Moment::Before, anyone, found_workers(&found)), in_force, (&values, Vec::new()), deadline)
            .await?;
        if let Some(watch) = self.settings.watch.as_ref().filter(|_| anyone) {
            impact::check(watch).await?;
        }
        if !is_first {
            self.check_overlap_length(&evidence)?;
        }
        Ok(Seen::Ready { found, evidence })
    }

    /// Whether users may be served by the consumers that preflight found.
    pub(super) fn may_serve(&self) -> bool {
        may_serve(self.found())
    }

    /// Going back to an earlier value is also the way out for a consumer that has failed with this one.
    fn health_needed(&self) -> Health {
        let plan = self.ledger.standing().transaction.as_ref().map(|transaction| &transaction.plan);
        let knows_none = plan.is_some_and(|plan| matches!(plan.intent, Intent::Return | Intent::Initial));
        if knows_none { Health::Irrelevant } else { Health::Needed }
    }

    /// A value that nobody has: for a look at targets of which no value is known, and where none counts.
    fn placeholder(&self) -> Result<Values, Fault> {
        let primary = generate(self.settings.bytes, self.settings.format).map_err(StoreError::from)?;
        Ok(Values { primary, accepted: Vec::new(), list: None })
    }

    /// Whether it is known how long an overlap has to last.
    fn check_overlap_length(&self, evidence: &[Evidence]) -> Result<(), Fault> {
        let is_auto = self.settings.overlap.as_ref().is_some_and(|overlap| overlap.length.is_none());
        let is_told = |seen: &Evidence| matches!(seen, Evidence::Jwt { lifetime_s: Some(_), .. });
        if !is_auto || self.ledger.standing().longest_token_s.is_some() || evidence.iter().any(is_told) {
            return Ok(());
        }
        let message = "no probe has seen a token that says how long it lives (exp and iat)";
        Err(Fault::new(FaultCode::LifetimeUnknown, message)
            .advise("say how long old tokens are to be accepted: [invalidation] overlap = \"15m\""))
    }

    /// Makes the new values. Those that were sealed before an interruption are kept.
    fn make(&self) -> Result<Seen, Fault> {
        let Some(transaction) = &self.ledger.standing().transaction else { return Ok(Seen::Made { made: Vec::new() }) };
        let make = |generation: &Generation| {
            let fingerprint = self.make_one(*generation, transaction.interruptions > 0)?;
            Ok(NewValue { generation: *generation, fingerprint })
        };
        let made: Result<_, Fault> = transaction.plan.makes.iter().map(make).collect();
        Ok(Seen::Made { made: made? })
    }

    fn make_one(&self, generation: Generation, was_interrupted: bool) -> Result<Fingerprint, Fault> {
        let name = &self.settings.name;
        let value = match self.store.get(name, generation) {
            Ok(kept) if was_interrupted => kept,
            _ => {
                let value = generate(self.settings.bytes, self.settings.format).map_err(StoreError::from)?;
                self.store.put(name, generation, &value)?;
                value
            }
        };
        Ok(self.store.fingerprint(&value)?)
    }

    /// On the way back every target gets its due, whatever became of the others.
    async fn deliver(
        &self,
        phase: &Phase,
        view: &View,
        deadline: Instant,
        is_home: &AtomicBool,
    ) -> Result<Seen, Fault> {
        let values = self.disclose(view)?;
        let (view, mark) = (values.of(view), self.mark(phase));
        let before = self.views_before(phase);
        let before = disclosed(before.as_deref());
        let errand = Errand { before: before.as_deref(), ..self.errand(&view, phase, &mark, deadline) };
        let (mut targets, mut exposed, mut noted, mut left) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        is_home.store(false, Ordering::Relaxed);
        let mut failed = None;
        for (_, target) in in_turn(phase, self.targets.iter().map(|target| &**target).enumerate()) {
            if phase.is_back() && !target.is_local() && left.is_empty() && failed.is_none() {
                is_home.store(true, Ordering::Relaxed);
            }
            match target.deliver(&errand).await {
                Ok(more) => {
                    noted.extend(more);
                    targets.push(target.label());
                    exposed.extend(target.exposes());
                }
                // What is at home comes up with its old value, also where a platform is away.
                Err(fault) if phase.is_back() && (fault.code.leaves_a_file() || !target.is_local()) => {
                    left.push(Left { target: target.label(), fault });
                }
                Err(fault) if phase.is_back() => failed = failed.or(Some(fault)),
                Err(fault) => return Err(fault),
            }
        }
        is_home.store(left.is_empty() && failed.is_none(), Ordering::Relaxed);
        failed.map_or(Ok(Seen::Delivered { targets, exposed, noted, left }), Err)
    }

    /// Whether some targets are at home and others are not.
    pub(super) fn is_mixed(&self) -> bool {
        let mut at_home = self.targets.iter().map(|target| target.is_local());
        at_home.next().is_some_and(|first| at_home.any(|other| other != first))
    }

    /// Makes what is at home take the view that was delivered, and proves it, while others are waited for. What each
    /// then is told to do once more is done already; of commands nobody can see that, so that they are added to `ran`.
    pub(super) async fn bring_home(
        &self,
        phase: &Phase,
        ran: &mut Vec<String>,
        deadline: Instant,
    ) -> Result<Vec<String>, Fault> {
        let view = self.view_in(phase)?;
        let values = self.disclose(&view)?;
        let (view, mark) = (values.of(&view), self.mark(phase));
        let errand = self.errand(&view, phase, &mark, deadline);
        let mut home = Vec::new();
        for (number, target) in self.moving().filter(|(_, target)| target.is_local()) {
            let command = self.settings.targets.get(number).and_then(TargetSettings::restart_command);
            if command.as_ref().is_none_or(|command| !ran.contains(command)) {
                target.activate(&errand).await?;
                ran.extend(command);
            }
            home.push(target);
        }
        for target in &home {
            target.evidence(&errand).await?;
        }
        Ok(home.into_iter().map(|target| target.label()).collect())
    }

    /// The targets that go where the rotation goes, with their numbers: all but those that were left as they are.
    fn moving(&self) -> impl Iterator<Item = (usize, &dyn Target)> {
        let left = self.ledger.standing().transaction.as_ref().map_or(&[][..], |transaction| &transaction.left);
        let targets = self.targets.iter().map(|target| &**target).enumerate();
        targets.filter(|(_, target)| left.iter().all(|left| left.target != target.label()))
    }

    /// Makes each consumer take the view, but for those that were `restarted` for others of the batch since this view
    /// was delivered; adds those that it restarts.
    pub(super) async fn activate(
        &self,
        phase: &Phase,
        restarted: &mut Vec<String>,
        deadline: Instant,
    ) -> Result<Vec<Activated>, Fault> {
        if self.waits_for_restart(phase) {
            let left = |found: &Found| match found.running {
                true => Activated::AtNextRestart { unit: found.unit.clone() },
                false => Activated::LeftStopped { unit: found.unit.clone() },
            };
            return Ok(self.found().iter().map(left).collect());
        }
        let view = self.view_in(phase)?;
        let values = self.disclose(&view)?;
        let (done, due): (Vec<_>, Vec<_>) =
            self.found().iter().cloned().partition(|found| restarted.contains(&found.unit));
        let mut activated: Vec<_> = done.into_iter().map(|found| Activated::WithOthers { unit: found.unit }).collect();
        let (view, mark) = (values.of(&view), self.mark(phase));
        let errand = Errand { found: &due, ..self.errand(&view, phase, &mark, deadline) };
        let mut failed = None;
        for (number, target) in in_turn(phase, self.moving()) {
            let command = self.settings.targets.get(number).and_then(TargetSettings::restart_command);
            if let Some(command) = command.as_ref().filter(|command| restarted.contains(command)) {
                activated.push(Activated::WithOthers { unit: command.clone() });
                continue;
            }
            match target.activate(&errand).await {
                Ok(more) => {
                    activated.extend(more);
                    restarted.extend(command);
                }
                Err(fault) if phase.is_back() => failed = failed.or(Some(fault)),
                Err(fault) => return Err(fault),
            }
        }
        if let Some(fault) = failed {
            return Err(fault);
        }
        restarted.extend(activated.iter().filter_map(|activated| match activated {
            Activated::Restarted { unit, .. } | Activated::Deployed { consumer: unit, .. } => Some(unit.clone()),
            _ => None,
        }));
        Ok(activated)
    }

    /// Whether every consumer would now start with what was delivered.
    pub(super) async fn check_in_force(&self) -> Result<(), Fault> {
        for target in self.targets {
            target.in_force().await?;
        }
        Ok(())
    }

    /// Why a daemon-reload is needed, where one is.
    pub(super) async fn reload_reason(&self) -> Result<Option<String>, Fault> {
        for target in self.targets {
            if let Some(reason) = target.reload_reason().await? {
                return Ok(Some(reason));
            }
        }
        Ok(None)
    }

    /// Whether the consumers go on as they are, and take the view with their next restart.
    fn waits_for_restart(&self, phase: &Phase) -> bool {
        let retires = self.ledger.standing().transaction.as_ref().is_some_and(|transaction| transaction.plan.retires());
        let wanted = self.settings.overlap.as_ref().is_some_and(|overlap| overlap.retire == Retire::WithNextRestart);
        retires && wanted && !phase.is_back()
    }

    /// That the consumers would start with what was delivered, and work as they are.
    async fn prove_delivered(&self, view: &View, deadline: Instant) -> Result<Seen, Fault> {
        self.check_in_force().await?;
        let anyone = self.found().iter().any(|found| found.running);
        let left = |found: &Found| match found.running {
            true => Evidence::AtNextRestart { unit: found.unit.clone() },
            false => Evidence::Stopped { unit: found.unit.clone() },
        };
        let mut evidence: Vec<_> = self.found().iter().map(left).collect();
        let of = (Moment::Moved, anyone, found_workers(self.found()));
        evidence.extend(self.ask_probes(of, view, (&self.disclose(view)?, Vec::new()), deadline).await?);
        Ok(Seen::Proven { evidence })
    }

    async fn prove(&self, phase: &Phase, view: &View, deadline: Instant) -> Result<Seen, Fault> {
        let values = self.disclose(view)?;
        let (disclosed, mark) = (values.of(view), self.mark(phase));
        let errand = self.errand(&disclosed, phase, &mark, deadline);
        let mut evidence = Vec::new();
        for (_, target) in self.moving() {
            evidence.extend(target.evidence(&errand).await?);
        }
        // There is no other way out than the last way back; and whoever ends meanwhile is seen.
        let is_last = matches!(phase, Phase::Back { signed: false, .. });
        let moment = if is_last && evidence.iter().any(Evidence::is_watched) { Moment::Back } else { Moment::Moved };
        let of = (moment, runs(&evidence), workers(&evidence));
        let probed = tokio::select! {
            probed = self.ask_probes(of, view, (&values, self.out_of_force(view)), deadline) => probed?,
            fault = self.watch_over(&evidence) => return Err(fault),
        };
        for (_, target) in self.moving() {
            check_still_there(target, &evidence, deadline).await?;
        }
        evidence.extend(probed);
        for (_, target) in self.moving() {
            evidence.extend(target.make_last(&errand).await?);
        }
        Ok(Seen::Proven { evidence })
    }

    /// Looks at the processes for as long as probes ask them: one that ends is the reason why nobody answers.
    async fn watch_over(&self, evidence: &[Evidence]) -> Fault {
        loop {
            sleep(WATCH).await;
            for (_, target) in self.moving() {
                match target.is_still_there(evidence).await {
                    Err(fault) if !is_of_absence(&fault) => return fault,
                    _ => {}
                }
            }
        }
    }

    /// Asks the probes, where anyone is there to answer: consumers may be stopped on purpose.
    pub(super) async fn ask_probes(
        &self,
        (moment, anyone, workers): (Moment, bool, u32),
        view: &View,
        (values, retired): (&Values, Vec<(Generation, SecretValue)>),
        deadline: Instant,
    ) -> Result<Vec<Evidence>, Fault> {
        if !anyone {
            return Ok(Vec::new());
        }
        let question = Question {
            moment,
            workers,
            primary: (view.primary, &values.primary),
            accepted: view.accepted.iter().copied().zip(&values.accepted).collect(),
            retired: retired.iter().map(|(number, value)| (*number, value)).collect(),
            at_leisure: !retired.is_empty() && self.settings.targets.iter().any(TargetSettings::takes_at_leisure),
            deadline,
        };
        let mut evidence = Vec::new();
        for probe in self.probes {
            evidence.push(probe.ask(&question).await?);
        }
        Ok(evidence)
    }

    /// The values of this rotation that are not in `view`: nobody may sign with them or accept them any more.
    fn out_of_force(&self, view: &View) -> Vec<(Generation, SecretValue)> {
        let Some(transaction) = &self.ledger.standing().transaction else { return Vec::new() };
        let both_ends = transaction.plan.start().generations().chain(transaction.plan.goal().generations());
        let not_in_view = both_ends.filter(|number| view.generations().all(|kept| kept != *number));
        not_in_view.filter_map(|number| Some((number, self.store.get(&self.settings.name, number).ok()?))).collect()
    }

    /// Whether what is under way brings a value that was not in force.
    pub(super) fn makes_a_value(&self) -> bool {
        matches!(self.intent(), Some(Intent::Rotate | Intent::Initial))
    }

    pub(super) fn found(&self) -> &[Found] {
        self.ledger.standing().transaction.as_ref().map_or(&[], |transaction| &transaction.found)
    }
}

/// Whoever is to say it is away at the moment, and is asked again.
fn is_of_absence(fault: &Fault) -> bool {
    matches!(fault.code, FaultCode::ManagerUnreachable | FaultCode::EngineUnreachable)
}

/// That the consumer is still the one that was proven, as soon as anybody can say it.
async fn check_still_there(target: &dyn Target, evidence: &[Evidence], deadline: Instant) -> Result<(), Fault> {
    loop {
        match target.is_still_there(evidence).await {
            Err(fault) if is_of_absence(&fault) && Instant::now() + WATCH < deadline => sleep(ASK_AGAIN).await,
            other => return other,
        }
    }
}

/// The targets in the order of their turns: on the way back those at home first, which come up in a moment.
fn in_turn<'t>(
    phase: &Phase,
    targets: impl Iterator<Item = (usize, &'t dyn Target)>,
) -> impl Iterator<Item = (usize, &'t dyn Target)> {
    let mut targets: Vec<_> = targets.collect();
    targets.sort_by_key(|(_, target)| phase.is_back() && !target.is_local());
    targets.into_iter()
}

/// Whether a consumer runs, or it is not known. That a file has the value says nothing of who reads it.
fn runs(evidence: &[Evidence]) -> bool {
    let of_consumers: Vec<_> = evidence.iter().filter(|seen| !matches!(seen, Evidence::File { .. })).collect();
    of_consumers.is_empty()
        || !of_consumers
            .iter()
            .all(|seen| matches!(seen, Evidence::Stopped { .. } | Evidence::StoppedWithFormer { .. }))
}

/// Whether users may be served. Where no consumer is known, somebody may serve all the same.
pub(super) fn may_serve(found: &[Found]) -> bool {
    found.is_empty() || found.iter().any(|consumer| consumer.running)
}

/// How many processes may be answering, of consumers as they were found.
fn found_workers(found: &[Found]) -> u32 {
    let running = found.iter().filter(|found| found.running);
    running
        .map(|found| found.processes)
        .try_fold(0_u32, |sum, of| Some(sum.saturating_add(of?)))
        .unwrap_or(UNKNOWN_WORKERS)
}

/// How many processes may be answering a probe; where nobody knows, several.
pub(super) fn workers(evidence: &[Evidence]) -> u32 {
    let of = |seen: &Evidence| match seen {
        Evidence::Process { of, .. } => Some(*of),
        _ => None,
    };
    evidence.iter().filter_map(of).reduce(u32::saturating_add).unwrap_or(UNKNOWN_WORKERS)
}
