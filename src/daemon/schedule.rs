//! Schedules: systemd's own timers. The generator makes them of the configuration; here they are started and stopped
//! to match it, and the timers of retries are made, whose times only the store knows.

use std::time::Duration;

use jiff::Timestamp;

use super::state::Daemon;
use crate::config::{SecretName, SecretSettings, Settings};
use crate::dbus::rekeyd1::{Error, Reloaded};
use crate::dbus::systemd1::{Systemd, SystemdError};
use crate::engine::Engine;
use crate::policy::{AfterRollback, after_rollback};
use crate::record::Happening;
use crate::record::journal::Priority;

/// The timer of a secret's schedule.
fn timer(name: &SecretName) -> String {
    format!("rekeyd-rotate@{name}.timer")
}

/// The timer of a secret's retry: transient, and no template of it may exist.
fn retry_timer(name: &SecretName) -> String {
    format!("rekeyd-retry@{name}.timer")
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
        let Some(at) = daemon.charge(name).standing().retry_at else { continue };
        let armed = daemon.systemd.active_units(&[&retry_timer(name)]).await.unwrap_or_default();
        // One whose time has passed is not run at once: the machine may just be booting.
        let at = at.max(Timestamp::now() + Duration::from_secs(60));
        if armed.is_empty()
            && let Err(error) = start_retry_timer(&daemon.systemd, name, at).await
        {
            daemon.journal.trouble(Priority::Error, Some(name), &format!("the next try cannot be armed: {error}"));
        }
    }
}

/// Arms the next try of a rotation that its schedule had asked for and that was rolled back.
///
/// # Errors
/// Where systemd or the store refuses.
pub async fn arm_retry(
    systemd: &Systemd,
    settings: &SecretSettings,
    engine: &mut Engine<'_>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let AfterRollback::RetryIn(wait) = after_rollback(engine.ledger.standing().rolled_back_in_a_row) else {
        return Ok(());
    };
    let at = Timestamp::now() + wait;
    engine.note(Happening::RetryArmed { at })?;
    start_retry_timer(systemd, &settings.name, at).await?;
    Ok(())
}

async fn start_retry_timer(systemd: &Systemd, name: &SecretName, at: Timestamp) -> Result<(), SystemdError> {
    let calendar = at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    let description = format!("Next try to rotate the secret {name}");
    systemd.start_transient_timer(&retry_timer(name), &description, &calendar).await
}

fn failed(error: SystemdError) -> Error {
    Error::Failed(format!("systemd: {error}"))
}
