//! Running rotations: those that were asked for, and those that were interrupted.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::MutexGuard;

use super::busy::Taken;
use super::charge::{Charge, consumers, strays};
use super::requests::{self, Asked, Wish};
use super::state::{Daemon, Parts};
use super::wave::Rider;
use super::{aftercare, calendar, schedule};
use crate::config::{SecretName, SecretSettings};
use crate::engine::{Engine, Ran, batch};
use crate::helper::Company;
use crate::policy::{AfterRollback, after_rollback};
use crate::record::journal::{Entry, Priority};
use crate::record::text::fault_in_words;
use crate::record::{Batch, Happening, RotationId, message_id};
use crate::rotation::{Fault, Plan};
use crate::secret::random;
use crate::store::{Ledger, StoreError};

/// How long to wait before a rotation is taken up again whose record could not be written.
const STORE_TROUBLE: Duration = Duration::from_secs(10);

/// So long after the end of an overlap a next try begins.
const AFTER_OVERLAP: Duration = Duration::from_secs(60);

/// A batch that may begin.
pub struct Begun {
    /// What is asked for, of a secret each.
    pub asked: Vec<Asked>,
    /// The consumers that it moves.
    pub taken: Taken,
    /// Its place among others that are due at the same time.
    pub rider: Option<Arc<Rider>>,
}

/// The secrets of a batch while it runs.
struct Members {
    members: Vec<Member>,
    /// They look into processes together with other batches.
    _company: Company,
}

struct Member {
    settings: SecretSettings,
    charge: Arc<Charge>,
    parts: Parts,
}

impl Members {
    fn new(
        daemon: &Daemon,
        rider: Option<&Arc<Rider>>,
        of: impl IntoIterator<Item = (SecretSettings, Arc<Charge>)>,
    ) -> Self {
        let member = |(settings, charge): (SecretSettings, Arc<Charge>)| {
            let parts = daemon.parts_in(rider, &settings, &charge);
            Member { settings, charge, parts }
        };
        Self { members: of.into_iter().map(member).collect(), _company: daemon.helper.join() }
    }

    async fn ledgers(&self) -> Vec<MutexGuard<'_, Option<Ledger>>> {
        let mut ledgers = Vec::new();
        for member in &self.members {
            ledgers.push(member.charge.ledger.lock().await);
        }
        ledgers
    }

    /// An engine for each secret: only those are members whose records can be read.
    fn engines<'a>(&'a self, daemon: &'a Daemon, ledgers: &'a mut [MutexGuard<'_, Option<Ledger>>]) -> Vec<Engine<'a>> {
        let with_ledgers = self.members.iter().zip(ledgers);
        with_ledgers
            .filter_map(|(member, ledger)| Some(member.parts.engine(&member.settings, &daemon.store, ledger.as_mut()?)))
            .collect()
    }
}

/// Records what is asked for, and performs it to its end.
pub async fn run(daemon: &Arc<Daemon>, begun: Begun) {
    let Begun { mut asked, taken: _taken, rider } = begun;
    // Two batches that lock several secrets do so in the same order.
    asked.sort_by(|one, other| one.settings.name.cmp(&other.settings.name));
    let of = asked.iter().map(|asked| (asked.settings.clone(), Arc::clone(&asked.charge)));
    let members = Members::new(daemon, rider.as_ref(), of);
    drop(rider);
    let mut ledgers = members.ledgers().await;
    let engines = members.engines(daemon, &mut ledgers);
    let mut planned = Vec::new();
    for (asked, mut engine) in asked.into_iter().zip(engines) {
        match plan(&engine, &asked).await {
            Ok(plan) => planned.push((asked, plan, engine)),
            Err(fault) if asked.flags.scheduled => turn_away(daemon, asked, fault, &mut engine).await,
            Err(fault) => refuse(daemon, asked, fault),
        }
    }
    let names: Vec<SecretName> = planned.iter().map(|(asked, ..)| asked.settings.name.clone()).collect();
    let id = (names.len() > 1).then(|| random().map(RotationId::from_bytes)).and_then(Result::ok);
    let mut engines = Vec::new();
    for (asked, plan, mut engine) in planned {
        let with = names.iter().filter(|name| **name != asked.settings.name).cloned().collect();
        let batch = id.clone().map(|id| Batch { id, with });
        match engine.request(plan, asked.actor.clone(), asked.reason.clone(), batch) {
            Ok(id) => {
                asked.tell(Ok(id));
                engines.push(engine);
            }
            Err(error) => refuse(daemon, asked, error.into()),
        }
    }
    finish(daemon, &mut engines, false).await;
}

async fn plan(engine: &Engine<'_>, asked: &Asked) -> Result<Plan, Fault> {
    match asked.wish {
        Wish::Rotate if asked.flags.initial => engine.plan_initial().await,
        Wish::Rotate => engine.plan_rotation(asked.flags.emergency).await,
        Wish::Rollback => engine.plan_rollback(),
        Wish::Retire => engine.plan_retirement(),
    }
}

/// Refuses what a timer asked for. Nobody may be there to see it: it is recorded, and told as a failure.
async fn turn_away(daemon: &Daemon, asked: Asked, fault: Fault, engine: &mut Engine<'_>) {
    if engine.note(Happening::TurnedAway { actor: asked.actor.clone(), cause: fault.clone() }).is_err() {
        return refuse(daemon, asked, fault);
    }
    asked.tell(Err(fault.into()));
    if engine.ledger.standing().retry_owed() {
        arm_timers(daemon, std::slice::from_mut(engine)).await;
    }
}

fn refuse(daemon: &Daemon, asked: Asked, fault: Fault) {
    let name = &asked.settings.name;
    let text = format!("{name}: refused, nothing was touched: {}", fault_in_words(&fault));
    let mut entry = Entry::new(Priority::Warning, message_id::ROTATION_REFUSED, text);
    entry.secret = Some(name.to_string());
    entry.result = Some("refused".to_owned());
    entry.reason = Some(fault.message.clone());
    entry.advice = Some(fault.advice.clone());
    daemon.journal.send(entry, &super::charge::units(&asked.settings));
    asked.tell(Err(fault.into()));
}

/// Takes up what was interrupted, once the daemon is ready.
pub fn resume_all(daemon: &Arc<Daemon>) {
    for batch in unfinished(daemon) {
        let consumers: Vec<String> = batch.iter().flat_map(|(settings, _)| consumers(settings)).collect();
        let daemon = Arc::clone(daemon);
        // Taken before anyone else can ask: until it is finished, the secret is busy.
        let taken = daemon.busy.take(&consumers);
        tokio::spawn(async move {
            let mut moved = Vec::new();
            for (settings, _) in &batch {
                moved.extend(requests::moved(&daemon, settings).await);
            }
            // What systemd restarts with them is moved too. Given back first: two that wait for each other's would wait
            // for ever.
            drop(taken);
            let _taken = daemon.busy.wait_and_take(&moved).await;
            let members = Members::new(&daemon, None, batch);
            let mut ledgers = members.ledgers().await;
            finish(&daemon, &mut members.engines(&daemon, &mut ledgers), true).await;
        });
    }
}

/// The secrets of which a rotation, or what follows on one, is unfinished and nobody is at it: batch by batch.
fn unfinished(daemon: &Daemon) -> Vec<Vec<(SecretSettings, Arc<Charge>)>> {
    let mut batches: Vec<(Option<RotationId>, Vec<_>)> = Vec::new();
    if daemon.store.locked().is_some() {
        return Vec::new();
    }
    for settings in daemon.settings().secrets.values() {
        let charge = daemon.charge(&settings.name);
        let standing = charge.standing();
        let owes_nothing = standing.transaction.is_none()
            && standing.hold_owed().is_none()
            && !standing.retire_owed()
            && !standing.retry_owed();
        // What somebody is at needs nobody else; what is not of this time is not gone on with.
        if owes_nothing || charge.is_stuck() || charge.ledger.try_lock().is_err() {
            continue;
        }
        let strays = strays(settings, &standing);
        if !strays.is_empty() {
            let text = format!(
                "a rotation is under way, and goes on once its targets are as they were: {}; put its file back and run \
                 rekeyctl reload",
                strays.join(", ")
            );
            daemon.journal.trouble(Priority::Critical, Some(&settings.name), &text);
            continue;
        }
        let id = standing.transaction.and_then(|transaction| transaction.batch).map(|batch| batch.id);
        match batches.iter_mut().find(|(of, _)| of.is_some() && *of == id) {
            Some((_, batch)) => batch.push((settings.clone(), charge)),
            None => batches.push((id, vec![(settings.clone(), charge)])),
        }
    }
    batches.into_iter().map(|(_, batch)| batch).collect()
}

/// Undoes what nobody goes on with any more, with what goes together with it. Returns whether anyone could.
pub async fn give_up(daemon: &Arc<Daemon>, rotation: &str, fault: Fault) -> bool {
    let is_it = |(_, charge): &(SecretSettings, Arc<Charge>)| {
        charge.standing().transaction.is_some_and(|transaction| transaction.id.as_str() == rotation)
    };
    let Some(batch) = unfinished(daemon).into_iter().find(|batch| batch.iter().any(is_it)) else {
        tell_of_orphans(daemon);
        return false;
    };
    let members = Members::new(daemon, None, batch);
    let mut ledgers = members.ledgers().await;
    let mut engines = members.engines(daemon, &mut ledgers);
    match batch::give_up(&mut engines, &fault).await {
        Ok(Ran::Ended) => arm_timers(daemon, &mut engines).await,
        Ok(Ran::Parked) => {}
        Err(error) => store_trouble(daemon, &engines, &error),
    }
    true
}

/// Tells of rotations that are under way though their secret is no longer configured: nobody could finish them.
pub fn tell_of_orphans(daemon: &Daemon) {
    let settings = daemon.settings();
    for name in daemon.store.secrets().unwrap_or_default() {
        if !settings.secrets.contains_key(&name) && daemon.charge(&name).standing().transaction.is_some() {
            let text = "a rotation is under way, and the secret is no longer configured: put its file back and run rekeyctl reload to have it finished";
            daemon.journal.trouble(Priority::Critical, Some(&name), text);
        }
    }
}

/// Writes once more what an interrupted rotation was about to deliver: before the daemon is ready, local, bounded.
pub async fn repair_all(daemon: &Arc<Daemon>) {
    if daemon.store.locked().is_some() {
        return;
    }
    for settings in daemon.settings().secrets.values() {
        let charge = daemon.charge(&settings.name);
        if let Some(outdated) = charge.outdated() {
            daemon.journal.trouble(Priority::Error, Some(&settings.name), &fault_in_words(&outdated.fault));
            continue;
        }
        let Ok(mut guard) = charge.ledger.try_lock() else { continue };
        let is_under_way = |ledger: &&mut Ledger| {
            ledger.standing().transaction.is_some() && strays(settings, ledger.standing()).is_empty()
        };
        let Some(ledger) = guard.as_mut().filter(is_under_way) else { continue };
        let parts = daemon.parts(settings, &charge);
        if let Err(fault) = parts.engine(settings, &daemon.store, ledger).repair().await {
            let text = format!("cannot repair what was being delivered: {fault}");
            daemon.journal.trouble(Priority::Error, Some(&settings.name), &text);
        }
    }
}

/// Runs rotations to their end. While the store cannot be written it is tried again and again: the records on disk say
/// truthfully how far they came, and nothing else may be done.
async fn finish(daemon: &Arc<Daemon>, engines: &mut [Engine<'_>], mut resumed: bool) {
    loop {
        let ran = if resumed { batch::resume(engines).await } else { batch::run(engines).await };
        match ran {
            Ok(Ran::Ended) => {
                arm_timers(daemon, engines).await;
                return engines.iter().for_each(|engine| aftercare::begin(daemon, engine.settings));
            }
            Ok(Ran::Parked) => return,
            Err(error) => {
                store_trouble(daemon, engines, &error);
                tokio::time::sleep(STORE_TROUBLE).await;
                resumed = true;
            }
        }
    }
}

async fn arm_timers(daemon: &Daemon, engines: &mut [Engine<'_>]) {
    for engine in engines {
        let name = &engine.settings.name;
        if engine.ledger.standing().retry_owed()
            && let Err(error) = plan_retry(daemon, engine).await
        {
            daemon.journal.trouble(Priority::Error, Some(name), &format!("there is no next try: {error}"));
        }
        schedule::arm(daemon, name, engine.ledger.standing()).await;
    }
}

/// Records the next try of a rotation that its schedule had asked for and that was rolled back.
async fn plan_retry(daemon: &Daemon, engine: &mut Engine<'_>) -> Result<(), StoreError> {
    let AfterRollback::RetryIn(wait) = after_rollback(engine.ledger.standing().rolled_back_in_a_row) else {
        return Ok(());
    };
    // While an overlap is open, one that failed may have opened it, each try is refused.
    let overlap = engine.ledger.standing().retire_at.map(|end| end + AFTER_OVERLAP);
    let at = (Timestamp::now() + wait).max(overlap.unwrap_or_default());
    let is_open = match &engine.settings.schedule {
        // Where it cannot be known now, it is asked again then.
        Some(schedule) => calendar::is_in_window(&daemon.helper, schedule, at).await.unwrap_or(true),
        None => true,
    };
    engine.plan_retry(is_open.then_some(at))
}

/// Leaves the next try to the schedule: its window is over.
pub async fn leave_to_schedule(daemon: &Daemon, settings: &SecretSettings, charge: &Arc<Charge>) {
    let members = Members::new(daemon, None, [(settings.clone(), Arc::clone(charge))]);
    let mut ledgers = members.ledgers().await;
    for engine in &mut members.engines(daemon, &mut ledgers) {
        if let Err(error) = engine.plan_retry(None) {
            daemon.journal.trouble(Priority::Error, Some(&settings.name), &error.to_string());
        }
    }
}

fn store_trouble(daemon: &Daemon, engines: &[Engine<'_>], error: &StoreError) {
    for engine in engines {
        let name = &engine.settings.name;
        let text = format!("the rotation waits, and goes on by itself, until the store can be written: {error}");
        daemon.journal.trouble(Priority::Critical, Some(name), &text);
        if let Some(transaction) = &engine.ledger.standing().transaction {
            daemon.listeners.progress(name.as_str(), &transaction.id, &text);
        }
        daemon.progress.trouble(name.as_str(), text);
    }
}
