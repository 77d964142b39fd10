//! Rotations that go together: they share each restart, and all of them commit or all go back. One rotation is a batch
//! of one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::{join, join_all};
use tokio::time::{Instant, timeout, timeout_at};

use super::{Engine, Ran, micros};
use crate::config::SecretName;
use crate::proof::impact::Watching;
use crate::record::{Happening, Progress, Seen};
use crate::rotation::{Fault, FaultCode, Outcome, Phase, Step};
use crate::store::StoreError;

/// For so long what is elsewhere may take on the way back before what is at home is brought back without it.
const PATIENCE: Duration = Duration::from_secs(10);

/// What keeps a batch from going on, and the secret that it is about.
type Obstacle = Option<(SecretName, Fault)>;

/// Performs the rotations that are under way until all have ended or the system goes down.
///
/// In each turn those act that are the furthest behind, so that what one consumer reads is delivered as a whole before
/// anyone restarts it, and nobody commits before all are proven.
///
/// # Errors
/// Where a record cannot be written. The rotations stay under way, the consumers as they are; once the store can be
/// written again they are taken up where they stand.
pub async fn run(engines: &mut [Engine<'_>]) -> Result<Ran, StoreError> {
    let mut members: Vec<Member<'_, '_>> = engines.iter_mut().map(Member::new).collect();
    loop {
        take_along(&mut members)?;
        let Some(turn) = members.iter().filter_map(Member::place).min() else { return Ok(Ran::Ended) };
        let mut due: Vec<_> = members.iter_mut().filter(|member| member.place() == Some(turn)).collect();
        if turn == Place::Ending || turn == Place::Committing {
            for member in due {
                member.end().await?;
            }
        } else if act(&mut due).await? == Ran::Parked {
            return Ok(Ran::Parked);
        }
    }
}

/// Takes up rotations that the daemon was interrupted in, and performs them as [`run`] does.
///
/// # Errors
/// As for [`run`].
pub async fn resume(engines: &mut [Engine<'_>]) -> Result<Ran, StoreError> {
    for engine in engines.iter_mut() {
        engine.take_up().await?;
    }
    run(engines).await
}

/// Takes up rotations that nobody goes on with any more, to undo them. Those that were on their way back go on back,
/// and those that are proven are committed.
///
/// # Errors
/// As for [`run`].
pub async fn give_up(engines: &mut [Engine<'_>], fault: &Fault) -> Result<Ran, StoreError> {
    let are_proven = engines.iter().all(|engine| {
        let progress = engine.under_way().map(|(_, progress)| progress);
        matches!(progress, None | Some(Progress::In(Phase::Commit) | Progress::Decided(_)))
    });
    for engine in engines.iter_mut() {
        let Some((id, progress)) = engine.under_way() else { continue };
        engine.record(Some(&id), Happening::Resumed)?;
        if let Progress::In(phase) = progress
            && !phase.is_back()
            && !are_proven
        {
            engine.record(Some(&id), Happening::Failed { phase, took_us: 0, fault: fault.clone() })?;
        }
    }
    run(engines).await
}

/// How far a member has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// Decided; only the record of its end is missing.
    Ending,
    Preflight,
    Generate,
    /// The step of a movement; on the way back there is only one.
    Moving(u32, u8),
    /// All must have come this far.
    Committing,
}

struct Member<'m, 'a> {
    engine: &'m mut Engine<'a>,
    deadline: Instant,
    /// The way back that it is on: whether the new value stays accepted.
    back: Option<bool>,
    /// From the first activation on, or since it was taken up again.
    watching: Option<Watching>,
    /// Whether all that is at home has what was delivered last.
    is_home: AtomicBool,
    /// Commands that have run for what was delivered last.
    ran: Vec<String>,
}

impl<'m, 'a> Member<'m, 'a> {
    fn new(engine: &'m mut Engine<'a>) -> Self {
        let deadline = Instant::now() + engine.settings.deadline;
        Self { engine, deadline, back: None, watching: None, is_home: AtomicBool::new(false), ran: Vec::new() }
    }

    /// The phase that it is in.
    fn phase(&self) -> Option<Phase> {
        match self.engine.under_way()?.1 {
            Progress::In(phase) => Some(phase),
            Progress::Decided(_) => None,
        }
    }

    /// How far it has come; none where nothing is under way any more.
    fn place(&self) -> Option<Place> {
        let (_, progress) = self.engine.under_way()?;
        Some(match progress {
            Progress::Decided(_) => Place::Ending,
            Progress::In(Phase::Preflight) => Place::Preflight,
            Progress::In(Phase::Generate) => Place::Generate,
            Progress::In(Phase::Forth { movement, step }) => Place::Moving(movement, step as u8),
            Progress::In(Phase::Back { step, .. }) => Place::Moving(0, step as u8),
            Progress::In(Phase::Commit) => Place::Committing,
        })
    }

    async fn end(&mut self) -> Result<(), StoreError> {
        let Some((id, progress)) = self.engine.under_way() else { return Ok(()) };
        let outcome = match progress {
            Progress::Decided(outcome) => outcome,
            Progress::In(Phase::Commit) => Outcome::Committed,
            // It goes on.
            Progress::In(_) => return Ok(()),
        };
        if outcome == Outcome::Committed {
            self.engine.run_hooks(&id).await?;
        }
        self.engine.end(&id, outcome).await
    }

    /// Records that its phase is about to act.
    async fn begin(&mut self, phase: &Phase) -> Result<(), StoreError> {
        let Some((id, _)) = self.engine.under_way() else { return Ok(()) };
        if let Phase::Back { signed, .. } = phase
            && self.back != Some(*signed)
        {
            // A way back has all the time again, however long what was before it took.
            (self.deadline, self.back) = (Instant::now() + self.engine.settings.deadline, Some(*signed));
            self.engine.host.goes_back();
        }
        self.engine.record(Some(&id), Happening::Began { phase: phase.clone() })?;
        if matches!(phase, Phase::Forth { step: Step::Activate | Step::Prove, .. }) && self.watching.is_none() {
            // After an interruption the rest is watched.
            let is_watched = self.engine.may_serve();
            self.watching = self.engine.settings.watch.as_ref().filter(|_| is_watched).map(Watching::begin);
        }
        // From here on the next start of a consumer, whoever asks for it, may bring the new value.
        if matches!(phase, Phase::Forth { step: Step::Deliver, .. }) && self.engine.settings.dead_man {
            self.engine.host.arm_dead_man(&id).await;
        }
        Ok(())
    }

    /// Performs a phase that concerns nobody else.
    async fn perform(&self, phase: &Phase) -> Came {
        let began = Instant::now();
        let came = self.in_time(phase, self.engine.perform(phase, self.deadline, &self.is_home)).await;
        let came = came.and_then(|seen| self.with_impact(phase, seen));
        Came { took_us: micros(began.elapsed()), came }
    }

    /// What was proven, with what users noticed until now.
    fn with_impact(&self, phase: &Phase, seen: Seen) -> Result<Seen, Fault> {
        match (seen, &self.watching) {
            (Seen::Proven { mut evidence }, Some(watching)) => {
                // Going back, or only ending an overlap, is not better undone.
                if !phase.is_back() && self.engine.makes_a_value() {
                    watching.check_budget()?;
                }
                evidence.push(watching.so_far());
                Ok(Seen::Proven { evidence })
            }
            (seen, _) => Ok(seen),
        }
    }

    async fn in_time<T>(&self, phase: &Phase, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        timeout_at(self.deadline, work).await.unwrap_or_else(|_| {
            let limit = jiff::SignedDuration::try_from(self.engine.settings.deadline).unwrap_or_default();
            let message = format!("the rotation's deadline of {limit:#} has passed in {phase}");
            let fault = Fault::new(FaultCode::DeadlinePassed, message);
            Err(fault.advise(
                "[rotation] deadline says how long it may take; what was run may still run: systemctl list-units 'rekeyd-*'",
            ))
        })
    }
}

/// What came of a phase.
struct Came {
    took_us: u64,
    came: Result<Seen, Fault>,
}

/// Where one goes back, the others go back too.
fn take_along(members: &mut [Member<'_, '_>]) -> Result<(), StoreError> {
    let failed = members.iter().find_map(|member| match member.phase()? {
        Phase::Back { cause, .. } => Some((member.engine.settings.name.clone(), cause)),
        _ => None,
    });
    let given_up = members.iter().find_map(|member| match member.engine.under_way()?.1 {
        Progress::Decided(Outcome::RollbackFailed { cause, .. }) => Some((member.engine.settings.name.clone(), cause)),
        _ => None,
    });
    let failed = failed.or(given_up);
    let Some((name, cause)) = failed else { return Ok(()) };
    for member in members {
        let Some(phase) = member.phase().filter(|phase| !phase.is_back()) else { continue };
        let Some((id, _)) = member.engine.under_way() else { continue };
        let fault = left_behind(name.as_str(), &cause);
        member.engine.record(Some(&id), Happening::Failed { phase, took_us: 0, fault })?;
    }
    Ok(())
}

fn left_behind(name: &str, cause: &Fault) -> Fault {
    let message = format!(
        "{name}, which is rotated together with it, went wrong: {cause}; where both are of one unit, either may be the reason"
    );
    Fault::new(FaultCode::BatchFailed, message).advise(format!("rekeyctl history {name}"))
}

/// One turn of those that are in the same place.
async fn act(due: &mut [&mut Member<'_, '_>]) -> Result<Ran, StoreError> {
    let mut phases = Vec::new();
    for member in due.iter_mut() {
        let Some(phase) = member.phase() else { continue };
        member.begin(&phase).await?;
        phases.push(phase);
    }
    let is = |wanted: Step| match phases.first() {
        Some(Phase::Forth { step, .. } | Phase::Back { step, .. }) => *step == wanted,
        _ => false,
    };
    let came = if is(Step::Activate) {
        activate(due, &phases).await
    } else {
        if let (true, Some(first)) = (is(Step::Prove), due.first()) {
            first.engine.host.before_evidence().await;
        }
        let work = join_all(due.iter().zip(&phases).map(|(member, phase)| member.perform(phase)));
        let goes_back = is(Step::Deliver) && phases.iter().all(Phase::is_back);
        if goes_back && due.iter().any(|member| member.engine.is_mixed()) {
            let (came, ran) = home_first(due, &phases, work).await;
            due.iter_mut().for_each(|member| member.ran.clone_from(&ran));
            came
        } else {
            work.await
        }
    };
    if came.iter().any(|came| came.came.is_err())
        && let Some(first) = due.first()
        && first.engine.host.going_down().await
    {
        return Ok(Ran::Parked);
    }
    for ((member, phase), Came { took_us, came }) in due.iter_mut().zip(phases).zip(came) {
        let Some((id, _)) = member.engine.under_way() else { continue };
        let what = match came {
            Ok(seen) => Happening::Passed { phase, took_us, seen },
            Err(fault) => Happening::Failed { phase, took_us, fault },
        };
        member.engine.record(Some(&id), what)?;
    }
    Ok(Ran::Ended)
}

/// On the way back of those that are here and elsewhere: what is at home does not go on with the value that is taken back
/// for as long as a platform is waited for. It is activated while that goes on, and told to once more in its turn. All of
/// it can be done twice, so that what was recorded before, that it is delivered, is enough for whoever takes it up again.
async fn home_first(
    due: &[&mut Member<'_, '_>],
    phases: &[Phase],
    work: impl Future<Output = Vec<Came>>,
) -> (Vec<Came>, Vec<String>) {
    let mut work = std::pin::pin!(work);
    if let Ok(came) = timeout(PATIENCE, &mut work).await {
        return (came, Vec::new());
    }
    if !due.iter().all(|member| member.is_home.load(Ordering::Relaxed)) {
        return (work.await, Vec::new());
    }
    join(work, bring_home(due, phases)).await
}

async fn bring_home(due: &[&mut Member<'_, '_>], phases: &[Phase]) -> Vec<String> {
    reload(due, phases).await;
    let mut ran = Vec::new();
    for (member, phase) in due.iter().zip(phases) {
        let brought = member.engine.bring_home(phase, &mut ran, member.deadline);
        let line = match member.in_time(phase, brought).await {
            Ok(home) if home.is_empty() => continue,
            Ok(home) => format!("{} went back already; the others are waited for", home.join(" and ")),
            Err(fault) => format!("WARNING: {fault}; the way back goes on"),
        };
        member.engine.host.progress(&line);
    }
    ran
}

/// One daemon-reload for all where one is needed, then each consumer once, when it is certain that it would start with
/// all that was delivered. On the way back there is no better choice left: those that still run with the value stay,
/// the others are restarted, and the proof tells what came of it.
async fn activate(due: &[&mut Member<'_, '_>], phases: &[Phase]) -> Vec<Came> {
    let began = Instant::now();
    let (reasons, mut obstacle) = reload(due, phases).await;
    for (member, phase) in due.iter().zip(phases).filter(|(_, phase)| !phase.is_back()) {
        if let (None, Err(fault)) = (&obstacle, member.in_time(phase, member.engine.check_in_force()).await) {
            obstacle = Some((member.engine.settings.name.clone(), fault));
        }
    }
    let mut restarted: Vec<String> = due.iter().flat_map(|member| member.ran.iter().cloned()).collect();
    let mut came = Vec::new();
    for ((member, phase), reason) in due.iter().zip(phases).zip(reasons) {
        let name = &member.engine.settings.name;
        let seen = match (reason, &obstacle) {
            (Err(fault), _) => Err(fault),
            (Ok(_), Some((of, fault))) if of == name => Err(fault.clone()),
            (Ok(_), Some((of, fault))) => Err(left_behind(of.as_str(), fault)),
            (Ok(reload), None) => {
                let activated = member.in_time(phase, member.engine.activate(phase, &mut restarted, member.deadline));
                activated.await.map(|activated| Seen::Active { reload, activated })
            }
        };
        if let (Err(fault), None, false) = (&seen, &obstacle, phase.is_back()) {
            obstacle = Some((name.clone(), fault.clone()));
        }
        came.push(Came { took_us: micros(began.elapsed()), came: seen });
    }
    came
}

/// One daemon-reload for all where one is needed. Why each needs it, and whose was the reload that failed; on the way back
/// that is told, and is no obstacle.
async fn reload(due: &[&mut Member<'_, '_>], phases: &[Phase]) -> (Vec<Result<Option<String>, Fault>>, Obstacle) {
    let mut reasons = Vec::new();
    for (member, phase) in due.iter().zip(phases) {
        reasons.push(member.in_time(phase, member.engine.reload_reason()).await);
    }
    let needed = reasons.iter().any(|reason| matches!(reason, Ok(Some(_))));
    let Some((first, phase)) = due.first().zip(phases.first()) else { return (reasons, None) };
    let failed = first.in_time(phase, first.engine.host.daemon_reload(needed)).await.err();
    if let (Some(fault), true) = (&failed, phase.is_back()) {
        first.engine.host.progress(&format!("WARNING: {fault}; the way back goes on"));
        return (reasons, None);
    }
    (reasons, failed.map(|fault| (first.engine.settings.name.clone(), fault)))
}
