//! Looking after consumers once their rotation is committed: one that was well for as long as it was watched, and fails a
//! little later, is taken back to the previous value.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::requests::{self, Wish};
use super::state::Daemon;
use crate::config::SecretSettings;
use crate::dbus::rekeyd1::RotateFlags;
use crate::dbus::unit::UnitStatus;
use crate::record::journal::{Entry, Priority};
use crate::record::{Actor, Evidence, Happening, Record, RotationId, Seen, message_id};
use crate::rotation::{Intent, Outcome};

/// How often the units are looked at.
const LOOK: Duration = Duration::from_millis(500);

/// A unit as it was proven.
struct Proven {
    unit: String,
    invocation: String,
    /// Whether it was seen to run no more.
    has_ended: bool,
}

/// Looks after the units of a rotation that has made a new value and was committed, for as long as the configuration says.
pub fn begin(daemon: &Arc<Daemon>, settings: &SecretSettings) {
    let last = daemon.charge(&settings.name).standing().last;
    let Some(rotation) = last.filter(|last| last.outcome == Outcome::Committed).map(|last| last.id) else { return };
    let units = proven_units(&daemon.store.history(&settings.name).unwrap_or_default(), &rotation);
    if !settings.aftercare.is_zero() && !units.is_empty() {
        tokio::spawn(look_after(Arc::clone(daemon), settings.clone(), rotation, units));
    }
}

/// The units of the last proof of a rotation to a new value.
fn proven_units(records: &[Record], rotation: &RotationId) -> Vec<Proven> {
    let of_it = || records.iter().filter(|record| record.rotation.as_ref() == Some(rotation));
    let makes =
        |record: &Record| matches!(&record.what, Happening::Requested { plan, .. } if plan.intent == Intent::Rotate);
    let proof = of_it().rev().find_map(|record| match &record.what {
        Happening::Passed { seen: Seen::Proven { evidence }, .. } => Some(evidence),
        _ => None,
    });
    let unit = |evidence: &Evidence| match evidence {
        Evidence::Unit { unit, invocation, .. } => {
            Some(Proven { unit: unit.clone(), invocation: invocation.clone(), has_ended: false })
        }
        _ => None,
    };
    proof.filter(|_| of_it().any(makes)).into_iter().flatten().filter_map(unit).collect()
}

async fn look_after(daemon: Arc<Daemon>, settings: SecretSettings, rotation: RotationId, mut units: Vec<Proven>) {
    let began = Instant::now();
    let Ok(mut jobs) = daemon.systemd.ends().await else { return };
    while began.elapsed() < settings.aftercare && !units.is_empty() && !daemon.is_stopping() {
        sleep(LOOK).await;
        let standing = daemon.charge(&settings.name).standing();
        if standing.transaction.is_some() || standing.last.is_none_or(|last| last.id != rotation) {
            // It is another rotation's consumer now.
            return;
        }
        let mut failed = None;
        let mut still = Vec::new();
        for mut proven in units {
            let Ok(status) = daemon.systemd.unit(&proven.unit).await else {
                still.push(proven);
                continue;
            };
            let has_ended = status.has_ended() && !status.has_job;
            if status.was_started_again_since(&proven.invocation) || has_ended && proven.has_ended {
                failed = Some(status);
            } else if has_ended || status.invocation_id == proven.invocation {
                // What ended it is known at the next look.
                proven.has_ended = has_ended;
                still.push(proven);
            }
        }
        // Stopped or restarted by a person, or with another unit: that says nothing about the value.
        let Some(moved) = jobs.units() else { return };
        still.retain(|proven| !moved.contains(&proven.unit));
        units = still;
        if let Some(status) = failed {
            return take_back(&daemon, &settings, &status, began.elapsed()).await;
        }
    }
}

async fn take_back(daemon: &Arc<Daemon>, settings: &SecretSettings, status: &UnitStatus, after: Duration) {
    let what = format!("{}, {} s after the rotation was committed", status.in_words(), after.as_secs());
    let mut entry = Entry::new(Priority::Error, message_id::FAILED_LATER, format!("{}: {what}", settings.name));
    entry.secret = Some(settings.name.to_string());
    entry.reason = Some(what.clone());
    daemon.journal.send(entry, &super::charge::units(settings));
    if status.active_state == "inactive" {
        // The rollback would take it for stopped on purpose, and leave it so.
        let _ = daemon.systemd.start(&status.id).await;
    }
    let flags = RotateFlags { wait: true, ..RotateFlags::default() };
    let begun = requests::begin(daemon, Wish::Rollback, settings.name.as_str(), Actor::Aftercare, &what, flags).await;
    if let Err(error) = begun {
        let text = format!("the previous value cannot be put back: {error}");
        daemon.journal.trouble(Priority::Critical, Some(&settings.name), &text);
    }
}
