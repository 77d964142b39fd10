//! Schedules: systemd's own timers. The generator makes them of the configuration; here they are started and stopped
//! to match it.

use std::path::Path;

use jiff::Timestamp;

use super::state::Daemon;
use super::timers;
use crate::config::{self, Loaded, SecretName, SecretSettings, Settings};
use crate::dbus::rekeyd1::{Error, Reloaded};
use crate::dbus::systemd1::{Systemd, SystemdError};
use crate::record::Standing;
use crate::record::journal::Priority;

/// Where systemd keeps when timers with Persistent= elapsed last: the time of a file for each (systemd.timer(5)).
const STAMPS: &str = "/var/lib/systemd/timers";

/// The timer of a secret's schedule.
fn timer(name: &SecretName) -> String {
    format!("rekeyd-rotate@{name}.timer")
}

/// When the schedule of a secret rotates next.
pub async fn next(systemd: &Systemd, settings: &SecretSettings) -> Option<Timestamp> {
    settings.schedule.as_ref()?;
    let next = systemd.next_elapse(&timer(&settings.name)).await.ok().flatten()?;
    Timestamp::from_microsecond(i64::try_from(next).ok()?).ok()
}

/// Whether the schedule on disk is another one than that in force, or that was when the daemon last applied one; also where
/// there is none any more. Whatever has systemd read its units anew, an upgrade of something else perhaps, makes timers of
/// it, which then count from the last date of the former one; and nothing is ever rotated because it was configured.
pub fn was_edited(daemon: &Daemon, settings: &SecretSettings) -> bool {
    differs(daemon, &config::load(&daemon.dirs), settings)
}

/// The secrets of which that is so.
pub fn edited(daemon: &Daemon) -> Vec<SecretName> {
    let (on_disk, settings) = (config::load(&daemon.dirs), daemon.settings());
    let edited = settings.secrets.values().filter(|secret| differs(daemon, &on_disk, secret));
    edited.map(|secret| secret.name.clone()).collect()
}

fn differs(daemon: &Daemon, on_disk: &Loaded, settings: &SecretSettings) -> bool {
    let is_broken = || on_disk.findings.iter().any(|finding| finding.file == settings.file);
    !daemon.applied.has(settings)
        || match on_disk.settings.secrets.get(&settings.name) {
            Some(secret) => secret.schedule != settings.schedule,
            None => !is_broken(),
        }
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
        earlier.is_some() && earlier != secret.schedule.as_ref() || !daemon.applied.has(secret)
    });
    let running = systemd.active_units(&["rekeyd-rotate@*.timer"]).await.map_err(failed)?;
    let mut stopped = Vec::new();
    for secret in changed {
        // Before the reload: a running timer would take up the new schedule in it, with the old stamp.
        let timer = timer(&secret.name);
        systemd.stop(&timer).await.map_err(failed)?;
        stopped.extend(Some(timer).filter(|timer| secret.schedule.is_none() && running.contains(timer)));
    }
    systemd.reload().await.map_err(failed)?;
    arm_again(daemon).await;
    let mut matched = match_timers(daemon, &settings).await?;
    matched.stopped.append(&mut stopped);
    keep(daemon, &settings);
    Ok(matched)
}

fn keep(daemon: &Daemon, settings: &Settings) {
    if let Err(error) = daemon.applied.put(settings) {
        daemon.journal.trouble(Priority::Warning, None, &format!("which schedules are in force: {error}"));
    }
}

/// Has the timers of schedules that were edited and never applied count from now.
async fn renew(daemon: &Daemon, settings: &Settings) -> Result<(), Error> {
    let edited: Vec<String> = settings
        .secrets
        .values()
        .filter(|secret| secret.schedule.is_some() && !daemon.applied.has(secret))
        .map(|secret| timer(&secret.name))
        .collect();
    for timer in &edited {
        daemon.systemd.stop(timer).await.map_err(failed)?;
    }
    if !edited.is_empty() {
        daemon.systemd.reload().await.map_err(failed)?;
    }
    for timer in &edited {
        start_anew(&daemon.systemd, timer).await.map_err(failed)?;
    }
    Ok(())
}

/// Makes the transient timers that the records call for and that are not there any more: one that has elapsed while what it
/// asked for was refused is gone.
pub async fn arm_again(daemon: &Daemon) {
    let settings = daemon.settings();
    for name in settings.secrets.keys() {
        let standing = daemon.charge(name).standing();
        // Who is at it does so at its end.
        if standing.transaction.is_none() {
            arm(daemon, name, &standing).await;
        }
    }
}

/// Makes the transient timers that the records call for. What cannot be armed is told.
pub async fn arm(daemon: &Daemon, name: &SecretName, standing: &Standing) {
    let dead_man = daemon.settings().secrets.get(name).is_none_or(|settings| settings.dead_man);
    if let Err(error) = timers::arm(&daemon.systemd, name, standing, dead_man).await {
        daemon.journal.trouble(Priority::Error, Some(name), &error);
    }
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
    let mut broken = Vec::new();
    let mut reloaded = Reloaded { secrets: settings.secrets.len(), ..Reloaded::default() };
    for orphan in running.iter().filter(|timer| !wanted.contains(timer)) {
        systemd.stop(orphan).await.map_err(failed)?;
        reloaded.stopped.push(orphan.clone());
    }
    reloaded.stopped.extend(stop_orphans(daemon, settings).await?);
    for timer in wanted.into_iter().filter(|timer| !running.contains(timer)) {
        match start_anew(systemd, &timer).await {
            Ok(()) => reloaded.started.push(timer),
            // The others are not to suffer for it.
            Err(error) => broken.push(format!("{timer} cannot be started: {error}; see systemctl status {timer}")),
        }
    }
    if broken.is_empty() { Ok(reloaded) } else { Err(Error::Failed(broken.join("; "))) }
}

/// Stops the timers of retries and ends of overlaps whose secret is not configured any more: it could only be refused. Where
/// it is again, they are armed again.
async fn stop_orphans(daemon: &Daemon, settings: &Settings) -> Result<Vec<String>, Error> {
    let mut stopped = Vec::new();
    for timer in
        daemon.systemd.active_units(&["rekeyd-retry@*.timer", "rekeyd-retire@*.timer"]).await.map_err(failed)?
    {
        let name = timer.split_once('@').and_then(|(_, name)| name.strip_suffix(".timer"));
        let name = name.and_then(|name| SecretName::try_from(name.to_owned()).ok());
        let is_orphan = |name: &SecretName| !settings.secrets.contains_key(name) && !daemon.dirs.has_secret(name);
        if name.is_some_and(|name| is_orphan(&name)) {
            daemon.systemd.stop(&timer).await.map_err(failed)?;
            stopped.push(timer);
        }
    }
    Ok(stopped)
}

/// Starts a timer so that it counts from now. Without a stamp it would count from the last date that systemd remembers, for as
/// long as it has it loaded.
async fn start_anew(systemd: &Systemd, timer: &str) -> Result<(), SystemdError> {
    systemd.clean_state(timer).await?;
    // Where that fails, the request that may come of it is skipped.
    let _ = std::fs::write(Path::new(STAMPS).join(format!("stamp-{timer}")), "");
    systemd.start(timer).await
}

/// At the daemon's start: the timers of an installed configuration run, and those of retries are there again, which
/// did not survive a reboot. While the system boots its own timers are on their way.
pub async fn restore(daemon: &Daemon) {
    let settings = daemon.settings();
    let booting = daemon.systemd.system_state().await.is_ok_and(|s| s == "initializing" || s == "starting");
    let matched = async {
        renew(daemon, &settings).await?;
        if !booting {
            match_timers(daemon, &settings).await?;
        }
        Ok::<_, Error>(())
    };
    match matched.await {
        Ok(()) if daemon.configuration_mistakes().is_ok() => keep(daemon, &settings),
        Ok(()) => {}
        Err(error) => {
            let text = format!("not all schedules run: {error}; apply the configuration with: rekeyctl reload");
            daemon.journal.trouble(Priority::Warning, None, &text);
        }
    }
    for name in settings.secrets.keys() {
        arm(daemon, name, &daemon.charge(name).standing()).await;
    }
}

fn failed(error: SystemdError) -> Error {
    Error::Failed(format!("systemd: {error}"))
}
