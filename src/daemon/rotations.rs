//! Accepting rotations, running them, and taking up those that were interrupted.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::busy::Taken;
use super::calendar;
use super::charge::{Charge, consumers};
use super::state::Daemon;
use super::timers;
use crate::config::SecretSettings;
use crate::dbus::rekeyd1::{Error, RotateFlags};
use crate::engine::{Engine, Ran};
use crate::policy::{AfterRollback, after_rollback};
use crate::record::journal::{Entry, Priority};
use crate::record::text::fault_in_words;
use crate::record::{Actor, Happening, RotationId, message_id};
use crate::rotation::{Fault, Plan};
use crate::store::StoreError;

/// How long to wait before a rotation is taken up again whose record could not be written.
const STORE_TROUBLE: Duration = Duration::from_secs(10);

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A new value.
    Rotate,
    /// The previous value.
    Rollback,
    /// The end of the overlap.
    Retire,
}

/// Accepts a wish: from the moment that this returns an id, the rotation ends in an outcome.
///
/// # Errors
/// Where it is refused beforehand, or a consumer is busy.
pub async fn begin(
    daemon: &Arc<Daemon>,
    wish: Wish,
    name: &str,
    actor: Actor,
    reason: &str,
    flags: RotateFlags,
) -> Result<RotationId, Error> {
    daemon.configuration_mistakes()?;
    let (settings, charge, taken) = loop {
        let (settings, charge) = daemon.find(name)?;
        if let Some(fault) = charge.unreadable() {
            return Err(fault.into());
        }
        let taken = take(daemon, &settings, &charge, flags).await?;
        // What waited long may find another configuration.
        if daemon.find(name)?.0 == settings {
            break (settings, charge, taken);
        }
    };
    if daemon.is_stopping() {
        return Err(Error::Busy("rekeyd is stopping; ask again when it runs".to_owned()));
    }
    if flags.scheduled
        && let Some(why) = skip(daemon, wish, &settings, &charge, flags.retry).await
    {
        skipped(daemon, &settings, &why);
        return Err(Error::Skipped(format!("{name} was not rotated: {why}")));
    }
    let (accepted, answer) = oneshot::channel();
    let task = {
        let (daemon, reason) = (Arc::clone(daemon), reason.to_owned());
        async move {
            let _taken = taken;
            let mut guard = charge.ledger.lock().await;
            let Some(ledger) = guard.as_mut() else { return };
            let parts = daemon.parts(&settings, &charge);
            let mut engine = parts.engine(&settings, &daemon.store, ledger);
            match request(&mut engine, wish, flags.emergency, actor, reason).await {
                Ok(id) => {
                    // Whoever asked may have gone; the rotation goes on.
                    let _ = accepted.send(Ok(id));
                    finish(&daemon, &settings, &mut engine, false).await;
                }
                Err(fault) => {
                    refused(&daemon, &settings, &fault);
                    let _ = accepted.send(Err(fault));
                }
            }
        }
    };
    tokio::spawn(task);
    match answer.await {
        Ok(answer) => answer.map_err(Error::from),
        Err(_) => Err(Error::Failed("the rotation could not be started".to_owned())),
    }
}

/// Takes up what was interrupted, once the daemon is ready.
pub fn resume_all(daemon: &Arc<Daemon>) {
    for settings in daemon.settings().secrets.values() {
        let charge = daemon.charge(&settings.name);
        let standing = charge.standing();
        let owes_nothing = standing.transaction.is_none()
            && standing.hold_owed().is_none()
            && !standing.retire_owed()
            && !standing.retry_owed();
        // What somebody is at needs nobody else.
        if owes_nothing || charge.unreadable().is_some() || charge.ledger.try_lock().is_err() {
            continue;
        }
        let (daemon, settings) = (Arc::clone(daemon), settings.clone());
        // Taken before anyone else can ask: until it is finished, the secret is busy.
        let taken = daemon.busy.take(&consumers(&settings));
        tokio::spawn(async move {
            let _taken = match taken {
                Ok(taken) => taken,
                Err(_) => daemon.busy.wait_and_take(&consumers(&settings)).await,
            };
            let mut guard = charge.ledger.lock().await;
            let Some(ledger) = guard.as_mut() else { return };
            let parts = daemon.parts(&settings, &charge);
            let mut engine = parts.engine(&settings, &daemon.store, ledger);
            finish(&daemon, &settings, &mut engine, true).await;
        });
    }
}

/// Undoes what nobody goes on with any more.
pub async fn give_up(daemon: &Arc<Daemon>, settings: &SecretSettings, fault: Fault) {
    let charge = daemon.charge(&settings.name);
    let mut guard = charge.ledger.lock().await;
    let Some(ledger) = guard.as_mut() else { return };
    let parts = daemon.parts(settings, &charge);
    let mut engine = parts.engine(settings, &daemon.store, ledger);
    match engine.give_up(fault).await {
        Ok(Ran::Ended(_)) => arm_timers(daemon, settings, &mut engine).await,
        Ok(Ran::Parked) => {}
        Err(error) => store_trouble(daemon, settings, &error),
    }
}

/// Tells of rotations that are under way though their secret is no longer configured: nobody could finish them.
pub fn tell_of_orphans(daemon: &Daemon) {
    let settings = daemon.settings();
    for name in daemon.store.secrets().unwrap_or_default() {
        if !settings.secrets.contains_key(&name) && daemon.charge(&name).standing().transaction.is_some() {
            let text = "a rotation is under way, and the secret is no longer configured: put its file back and say rekeyctl reload to have it finished";
            daemon.journal.trouble(Priority::Critical, Some(&name), text);
        }
    }
}

/// Writes once more what an interrupted rotation was about to deliver: before the daemon is ready, local, bounded.
pub fn repair_all(daemon: &Arc<Daemon>) {
    for settings in daemon.settings().secrets.values() {
        let charge = daemon.charge(&settings.name);
        let Ok(mut guard) = charge.ledger.try_lock() else { continue };
        let Some(ledger) = guard.as_mut().filter(|ledger| ledger.standing().transaction.is_some()) else { continue };
        let parts = daemon.parts(settings, &charge);
        if let Err(fault) = parts.engine(settings, &daemon.store, ledger).repair() {
            let text = format!("cannot repair what was being delivered: {fault}");
            daemon.journal.trouble(Priority::Error, Some(&settings.name), &text);
        }
    }
}

async fn take(daemon: &Daemon, settings: &SecretSettings, charge: &Charge, flags: RotateFlags) -> Result<Taken, Error> {
    let consumers = moved(daemon, settings).await;
    match daemon.busy.take(&consumers) {
        Ok(taken) => Ok(taken),
        Err(_) if flags.wait || flags.scheduled => Ok(daemon.busy.wait_and_take(&consumers).await),
        Err(consumer) => {
            let step = charge.status(settings).rotation.map_or_else(String::new, |rotation| {
                format!(": rotation {} of this secret is in step {}", rotation.id, rotation.step)
            });
            Err(Error::Busy(format!("{consumer} is being moved by another rotation{step}; wait for it with --wait")))
        }
    }
}

/// What a rotation moves: its consumers by their real names, and the units that systemd restarts with them.
async fn moved(daemon: &Daemon, settings: &SecretSettings) -> Vec<String> {
    let mut moved = consumers(settings);
    for unit in consumers(settings) {
        // What systemd does not tell, preflight will.
        let Ok(status) = daemon.systemd.unit(&unit).await else { continue };
        moved.extend(daemon.systemd.active_dependents(&status).await.unwrap_or_default());
        moved.push(status.id);
    }
    moved.sort();
    moved.dedup();
    moved
}

/// Why a scheduled rotation is not to be started, after it has waited for others.
async fn skip(
    daemon: &Daemon,
    wish: Wish,
    settings: &SecretSettings,
    charge: &Charge,
    is_retry: bool,
) -> Option<String> {
    if wish == Wish::Retire {
        let is_open = charge.standing().in_force.is_some_and(|view| !view.accepted.is_empty());
        return (!is_open).then(|| "the overlap is over already".to_owned());
    }
    if charge.standing().paused {
        return Some(format!("the schedule is paused; rekeyctl resume {}", settings.name));
    }
    let schedule = settings.schedule.as_ref().filter(|schedule| !is_retry && !schedule.window.is_zero())?;
    match calendar::is_in_window(&daemon.helper, schedule, Timestamp::now()).await {
        Ok(true) => None,
        Ok(false) => Some("its window is over".to_owned()),
        Err(problem) => Some(format!("whether its window is over cannot be known: {problem}")),
    }
}

async fn request(
    engine: &mut Engine<'_>,
    wish: Wish,
    emergency: bool,
    actor: Actor,
    reason: String,
) -> Result<RotationId, Fault> {
    let plan: Plan = match wish {
        Wish::Rotate => engine.plan_rotation(emergency).await?,
        Wish::Rollback => engine.plan_rollback()?,
        Wish::Retire => engine.plan_retirement()?,
    };
    Ok(engine.request(plan, actor, reason)?)
}

/// Runs a rotation to its end. While the store cannot be written it is tried again and again: the records on disk say
/// truthfully how far it came, and nothing else may be done.
async fn finish(daemon: &Arc<Daemon>, settings: &SecretSettings, engine: &mut Engine<'_>, mut resumed: bool) {
    loop {
        let ran = if resumed { engine.resume().await } else { engine.run().await };
        match ran {
            Ok(Ran::Ended(_)) => return arm_timers(daemon, settings, engine).await,
            Ok(Ran::Parked) => return,
            Err(error) => {
                store_trouble(daemon, settings, &error);
                tokio::time::sleep(STORE_TROUBLE).await;
                resumed = true;
            }
        }
    }
}

async fn arm_timers(daemon: &Daemon, settings: &SecretSettings, engine: &mut Engine<'_>) {
    if engine.ledger.standing().retry_owed()
        && let Err(error) = plan_retry(engine)
    {
        daemon.journal.trouble(Priority::Error, Some(&settings.name), &format!("there is no next try: {error}"));
    }
    if let Err(error) = timers::arm(&daemon.systemd, &settings.name, engine.ledger.standing()).await {
        daemon.journal.trouble(Priority::Error, Some(&settings.name), &error);
    }
}

/// Records the next try of a rotation that its schedule had asked for and that was rolled back.
fn plan_retry(engine: &mut Engine<'_>) -> Result<(), StoreError> {
    match after_rollback(engine.ledger.standing().rolled_back_in_a_row) {
        AfterRollback::RetryIn(wait) => engine.note(Happening::RetryArmed { at: Timestamp::now() + wait }),
        AfterRollback::Hold => Ok(()),
    }
}

fn store_trouble(daemon: &Daemon, settings: &SecretSettings, error: &StoreError) {
    let text = format!("the rotation waits because the store cannot be written: {error}");
    daemon.journal.trouble(Priority::Critical, Some(&settings.name), &text);
    daemon.progress.trouble(settings.name.as_str(), text);
}

fn refused(daemon: &Daemon, settings: &SecretSettings, fault: &Fault) {
    let text = format!("{}: refused, nothing was touched: {}", settings.name, fault_in_words(fault));
    let mut entry = Entry::new(Priority::Warning, message_id::ROTATION_REFUSED, text);
    entry.secret = Some(settings.name.to_string());
    entry.result = Some("refused".to_owned());
    entry.reason = Some(fault.message.clone());
    entry.advice = Some(fault.advice.clone());
    daemon.journal.send(entry, &super::charge::units(settings));
}

fn skipped(daemon: &Daemon, settings: &SecretSettings, why: &str) {
    let mut entry =
        Entry::new(Priority::Info, message_id::SCHEDULED_SKIPPED, format!("{}: not rotated: {why}", settings.name));
    entry.secret = Some(settings.name.to_string());
    entry.reason = Some(why.to_owned());
    daemon.journal.send(entry, &super::charge::units(settings));
}
