//! Noticing what was changed by hand: files and processes are held against the value in force when the daemon starts, when
//! a consumer was started, every few minutes where systemd does not tell of that, and when somebody asks how a secret
//! stands.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout};

use super::charge::{self, Charge};
use super::state::Daemon;
use crate::config::{SecretSettings, TargetSettings, template_of};
use crate::dbus::systemd1::{Ends, Systemd};
use crate::engine;
use crate::policy::{self, Drift};
use crate::record::journal::{Entry, Priority};
use crate::record::{Standing, message_id};

/// A process that was just started may not have its own environment yet: so long after it is looked again.
const STARTED: Duration = Duration::from_secs(3);
/// Who asks again and again does not have the helpers look each time.
const RECENT: Duration = Duration::from_secs(1);
/// Files may be edited, and PM2 may start a process, and nobody tells.
const UNTOLD: Duration = Duration::from_secs(5 * 60);
/// A bus that is gone comes back.
const PAUSE: Duration = Duration::from_secs(5);

/// From now on, until the daemon ends.
pub fn begin(daemon: &Arc<Daemon>) {
    tokio::spawn(look_now_and_then(Arc::clone(daemon)));
    let daemon = Arc::clone(daemon);
    tokio::spawn(async move {
        let all: Vec<SecretSettings> = daemon.settings().secrets.values().cloned().collect();
        look_at(&daemon, &all).await;
        while !daemon.is_stopping() {
            match daemon.systemd.ends().await {
                Ok(ends) => watch(&daemon, ends).await,
                Err(_) => sleep(PAUSE).await,
            }
        }
    });
}

async fn look_now_and_then(daemon: Arc<Daemon>) {
    while !daemon.is_stopping() {
        sleep(UNTOLD).await;
        let settings = daemon.settings();
        let untold = |secret: &&SecretSettings| secret.targets.iter().any(TargetSettings::has_files_of_others);
        let concerned: Vec<SecretSettings> = settings.secrets.values().filter(untold).cloned().collect();
        look_at(&daemon, &concerned).await;
    }
}

/// Until nobody tells any more which units were started.
async fn watch(daemon: &Arc<Daemon>, mut ends: Ends) {
    while let Some(unit) = ends.next_unit().await {
        let mut units = BTreeSet::from([unit]);
        let until = Instant::now() + STARTED;
        while let Ok(Some(unit)) = timeout(until.saturating_duration_since(Instant::now()), ends.next_unit()).await {
            units.insert(unit);
        }
        let settings = daemon.settings();
        let concerned: Vec<SecretSettings> =
            settings.secrets.values().filter(|secret| reads(secret, &units)).cloned().collect();
        look_at(daemon, &concerned).await;
    }
}

/// Whether one of the units is a consumer of the secret, or may be: which container a scope of Docker's engine is for is
/// seen by looking.
fn reads(secret: &SecretSettings, units: &BTreeSet<String>) -> bool {
    let is_container = |unit: &String| unit.starts_with("docker-") && unit.ends_with(".scope");
    if units.iter().any(is_container)
        && secret.targets.iter().any(|target| matches!(target, TargetSettings::Compose(_)))
    {
        return true;
    }
    let mut consumers = secret.targets.iter().flat_map(TargetSettings::units);
    consumers.any(|consumer| {
        units.contains(consumer) || units.iter().any(|unit| template_of(unit).as_ref() == Some(consumer))
    })
}

async fn look_at(daemon: &Arc<Daemon>, secrets: &[SecretSettings]) {
    join_all(secrets.iter().map(|settings| async move {
        let charge = daemon.charge(&settings.name);
        look(daemon, settings, &charge).await;
    }))
    .await;
}

/// Looks for somebody who asks, unless that was done a moment ago. Many who ask at once are served by one look.
pub async fn look_again(daemon: &Daemon, settings: &SecretSettings, charge: &Arc<Charge>) {
    let _one_looks = charge.looking.lock().await;
    if !charge.has_looked_for_drift(RECENT) {
        look(daemon, settings, charge).await;
    }
}

/// Looks, and tells the journal what is new. What cannot be looked at now is as it was.
async fn look(daemon: &Daemon, settings: &SecretSettings, charge: &Arc<Charge>) {
    let standing = charge.standing();
    if standing.transaction.is_some() || standing.in_force.is_none() || daemon.store.locked().is_some() {
        return;
    }
    if charge.is_stuck() || daemon.lost_value(&settings.name, &standing).is_some() {
        return;
    }
    let parts = daemon.parts(settings, charge);
    let seen = engine::drift(&settings.name, &standing, &daemon.store, parts.targets()).await;
    let Ok((mut drift, is_whole)) = seen else { return };
    drift.extend(keeping(&daemon.systemd, &standing).await);
    if drift.is_empty() && !is_whole {
        return;
    }
    if charge.standing().seq != standing.seq {
        // A rotation was begun or ended meanwhile: what was seen may have been of both.
        return;
    }
    let drift = if is_whole { drift } else { policy::with_former(drift, &charge.noted_drift()) };
    let before = charge.note_drift(&drift, standing.seq);
    let is_told = |drift: &&Drift| !drift.is_expected();
    for new in drift.iter().filter(is_told).filter(|drift| !before.contains(drift)) {
        tell(daemon, settings, new, &standing);
    }
    if is_whole && !drift.iter().any(|drift| is_told(&drift)) && before.iter().any(|drift| is_told(&drift)) {
        let text = format!("{}: files and processes are as rekeyd left them again", settings.name);
        let mut entry = Entry::new(Priority::Info, message_id::DRIFT_GONE, text);
        entry.secret = Some(settings.name.to_string());
        daemon.journal.send(entry, &charge::units(settings));
    }
}

/// The units that run as they did when a value was retired, and go on accepting it.
async fn keeping(systemd: &Systemd, standing: &Standing) -> Vec<Drift> {
    let mut keeping = Vec::new();
    for (unit, left) in standing.kept.iter().flat_map(|kept| &kept.runs) {
        let run = match systemd.unit(unit).await {
            Ok(status) if matches!(status.active_state.as_str(), "inactive" | "failed") => continue,
            Ok(status) => status.invocation_id,
            // Nobody knows that it was restarted.
            Err(_) => left.clone(),
        };
        keeping.extend(standing.kept.as_ref().and_then(|kept| kept.by(unit, &run)));
    }
    keeping
}

fn tell(daemon: &Daemon, settings: &SecretSettings, drift: &Drift, standing: &Standing) {
    let rejected = standing.rejected();
    let mut entry = Entry::new(Priority::Warning, message_id::DRIFT_FOUND, format!("{}: {drift}", settings.name));
    entry.secret = Some(settings.name.to_string());
    entry.reason = Some(drift.to_string());
    entry.advice = Some(drift.advice(settings.name.as_str(), &rejected));
    daemon.journal.send(entry, &charge::units(settings));
}
