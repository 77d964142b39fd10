//! Schedules: systemd's own timers. The generator makes them of the configuration; here they are started and stopped
//! to match it, and the timers of retries are made, whose times only the store knows.

use std::time::Duration;

use jiff::Timestamp;

use super::state::Daemon;
use crate::config::{SecretName, SecretSettings, Settings};
use crate::dbus::rekeyd1::{Error, Reloaded};
use crate::dbus::systemd1::{Elapse, Systemd, SystemdError};
use crate::engine::Engine;
use crate::policy::{AfterRollback, after_rollback};
use crate::record::journal::Priority;
use crate::record::{Happening, RotationId, Standing};
use crate::rotation::Phase;
use crate::store::StoreError;

/// How soon a transient timer elapses whose time has passed.
const SOON: Duration = Duration::from_secs(30);

/// How often it is seen whether the daemon is still there.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The timer of a secret's schedule.
fn timer(name: &SecretName) -> String {
    format!("rekeyd-rotate@{name}.timer")
}

/// The timer of a secret's retry: transient, and no template of it may exist.
fn retry_timer(name: &SecretName) -> String {
    format!("rekeyd-retry@{name}.timer")
}

/// The timer of the end of a secret's overlap: transient, and no template of it may exist.
fn retire_timer(name: &SecretName) -> String {
    format!("rekeyd-retire@{name}.timer")
}

/// When the schedule of a secret rotates next.
pub async fn next(systemd: &Systemd, settings: &SecretSettings) -> Option<Timestamp> {
    settings.schedule.as_ref()?;
    let next = systemd.next_elapse(&timer(&settings.name)).await.ok().flatten()?;
    Timestamp::from_microsecond(i64::try_from(next).ok()?).ok()
}

/// Makes systemd's timers match the configuration that was just put in force.
///
/// A timer that is new, or whose schedule was changed, counts from now: a stamp of earlier times would make
/// `Persistent=` rotate at once, and nothing is ever rotated because it was configured.
///
/// # Errors
/// Where systemd cannot be asked.
pub async fn apply(daemon: &Daemon, before: &Settings) -> Result<Reloaded, Error> {
    let systemd = &daemon.systemd;
    let settings = daemon.settings();
    let changed = settings.secrets.values().filter(|secret| {
        let earlier = before.secrets.get(&secret.name).and_then(|earlier| earlier.schedule.as_ref());
        earlier.is_some() && earlier != secret.schedule.as_ref()
    });
    for secret in changed {
        // Before the reload: a running timer would take up the new schedule in it, with the old stamp.
        systemd.stop(&timer(&secret.name)).await.map_err(failed)?;
    }
    systemd.reload().await.map_err(failed)?;
    match_timers(daemon, &settings).await
}

/// Starts the timers that are configured and do not run, and stops those that run and are not configured.
///
/// # Errors
/// Where systemd cannot be asked.
pub async fn match_timers(daemon: &Daemon, settings: &Settings) -> Result<Reloaded, Error> {
    let systemd = &daemon.systemd;
    let running = systemd.active_units(&["rekeyd-rotate@*.timer"]).await.map_err(failed)?;
    let wanted: Vec<String> = settings
        .secrets
        .values()
        .filter(|secret| secret.schedule.is_some())
        .map(|secret| timer(&secret.name))
        .collect();
    let mut reloaded = Reloaded { secrets: settings.secrets.len(), ..Reloaded::default() };
    for orphan in running.iter().filter(|timer| !wanted.contains(timer)) {
        systemd.stop(orphan).await.map_err(failed)?;
        reloaded.stopped.push(orphan.clone());
    }
    for timer in wanted.into_iter().filter(|timer| !running.contains(timer)) {
        systemd.clean_state(&timer).await.map_err(failed)?;
        systemd.start(&timer).await.map_err(|error| {
            Error::Refused(format!("{timer} cannot be started: {error}; see systemctl status {timer}"))
        })?;
        reloaded.started.push(timer);
    }
    Ok(reloaded)
}

/// At the daemon's start: the timers of an installed configuration run, and those of retries are there again, which
/// did not survive a reboot. While the system boots its own timers are on their way.
pub async fn restore(daemon: &Daemon) {
    let settings = daemon.settings();
    let booting = daemon.systemd.system_state().await.is_ok_and(|s| s == "initializing" || s == "starting");
    if !booting && let Err(error) = match_timers(daemon, &settings).await {
        let text = format!("not all schedules run: {error}; apply the configuration with: rekeyctl reload");
        daemon.journal.trouble(Priority::Warning, None, &text);
    }
    for name in settings.secrets.keys() {
        if let Err(error) = arm(&daemon.systemd, name, &daemon.charge(name).standing()).await {
            daemon.journal.trouble(Priority::Error, Some(name), &error);
        }
    }
}

/// Makes the transient timers that the records call for, where they are not there: of the next try, and of the end of
/// an overlap.
///
/// # Errors
/// What could not be armed, and why.
pub async fn arm(systemd: &Systemd, name: &SecretName, standing: &Standing) -> Result<(), String> {
    if let Some(at) = standing.retry_at {
        let armed = start_once(systemd, &retry_timer(name), &format!("Next try to rotate the secret {name}"), at).await;
        armed.map_err(|error| format!("the next try cannot be armed: {error}"))?;
    }
    if let Some(transaction) = &standing.transaction
        && transaction.phase().is_some_and(Phase::may_have_touched)
    {
        let armed = arm_dead_man(systemd, &transaction.id, SOON).await;
        armed.map_err(|error| format!("the dead man's rollback cannot be armed: {error}"))?;
    }
    if let Some(at) = standing.retire_at {
        let description = format!("End of the overlap of the secret {name}");
        start_once(systemd, &retire_timer(name), &description, at).await.map_err(|error| {
            format!("the end of the overlap cannot be armed: {error}; end it with rekeyctl retire {name}")
        })?;
    }
    Ok(())
}

/// Makes the timer that has a rotation undone should no rekeyd be there to go on with it. While one is, it does
/// nothing, and looks again a minute later.
///
/// # Errors
/// Where systemd refuses.
pub async fn arm_dead_man(systemd: &Systemd, rotation: &RotationId, after: Duration) -> Result<(), SystemdError> {
    let timer = recover_timer(rotation);
    if !systemd.active_units(&[&timer]).await?.is_empty() {
        return Ok(());
    }
    let description = format!("Rollback of the rotation {rotation}, should rekeyd be gone");
    made(systemd.start_transient_timer(&timer, &description, &Elapse::Again { after, every: LOOK_AGAIN }).await)
}

/// Stops that timer.
///
/// # Errors
/// Where systemd does not answer.
pub async fn disarm_dead_man(systemd: &Systemd, rotation: &RotationId) -> Result<(), SystemdError> {
    systemd.stop(&recover_timer(rotation)).await
}

fn recover_timer(rotation: &RotationId) -> String {
    format!("rekeyd-recover@{rotation}.timer")
}

/// Records the next try of a rotation that its schedule had asked for and that was rolled back.
///
/// # Errors
/// Where the store refuses.
pub fn plan_retry(engine: &mut Engine<'_>) -> Result<(), StoreError> {
    match after_rollback(engine.ledger.standing().rolled_back_in_a_row) {
        AfterRollback::RetryIn(wait) => engine.note(Happening::RetryArmed { at: Timestamp::now() + wait }),
        AfterRollback::Hold => Ok(()),
    }
}

/// Starts a transient timer that does not run yet. One whose time has passed is not run at once: the machine may just
/// be booting.
async fn start_once(systemd: &Systemd, timer: &str, description: &str, at: Timestamp) -> Result<(), SystemdError> {
    if !systemd.active_units(&[timer]).await?.is_empty() {
        return Ok(());
    }
    let at = at.max(Timestamp::now() + SOON);
    let calendar = at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    made(systemd.start_transient_timer(timer, description, &Elapse::At { calendar }).await)
}

fn made(started: Result<(), SystemdError>) -> Result<(), SystemdError> {
    match started {
        // Somebody else was faster.
        Err(SystemdError::Refused { name, .. }) if name.ends_with(".UnitExists") => Ok(()),
        started => started,
    }
}

fn failed(error: SystemdError) -> Error {
    Error::Failed(format!("systemd: {error}"))
}
