//! Looking after consumers once their rotation is committed: one that was well for as long as it was watched, and fails a
//! little later, is taken back to the previous value.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::requests::{self, Wish};
use super::state::Daemon;
use crate::config::SecretSettings;
use crate::dbus::rekeyd1::RotateFlags;
use crate::dbus::unit::UnitStatus;
use crate::record::journal::{Entry, Priority};
use crate::record::{Actor, Evidence, Happening, Record, RotationId, Seen, message_id};
use crate::rotation::{Intent, Outcome, Plan};

/// How often the units are looked at.
const LOOK: Duration = Duration::from_millis(500);

/// A unit as it was proven.
struct Proven {
    unit: String,
    invocation: String,
    /// Whether it was seen to run no more.
    has_ended: bool,
}

/// The rotation whose consumers are looked after.
struct Committed {
    rotation: RotationId,
    emergency: bool,
}

/// Goes on, at the start of the daemon, where it ended in the middle of looking after consumers.
pub fn go_on(daemon: &Arc<Daemon>) {
    if daemon.store.locked().is_some() {
        return;
    }
    for settings in daemon.settings().secrets.values() {
        let charge = daemon.charge(&settings.name);
        let standing = charge.standing();
        if standing.transaction.is_none() && !charge.is_stuck() {
            begin(daemon, settings);
        }
    }
}

/// Looks after the units of a rotation that has made a new value and was committed, until the time is over that the
/// configuration says.
pub fn begin(daemon: &Arc<Daemon>, settings: &SecretSettings) {
    let last = daemon.charge(&settings.name).standing().last;
    let Some(last) = last.filter(|last| last.outcome == Outcome::Committed) else { return };
    let since = Timestamp::now().duration_since(last.at).unsigned_abs();
    let (rotation, left) = (last.id, settings.aftercare.saturating_sub(since));
    if left.is_zero() {
        return;
    }
    let records = daemon.store.history(&settings.name).unwrap_or_default();
    let Some(plan) = plan(&records, &rotation).filter(|plan| plan.intent == Intent::Rotate) else { return };
    let committed = Committed { emergency: plan.emergency, rotation };
    let proof = proof(&records, &committed.rotation);
    let units: Vec<Proven> = proof.iter().filter_map(proven).collect();
    let is_of_others =
        |evidence: &Evidence| matches!(evidence, Evidence::Containers { .. } | Evidence::Instances { .. });
    let others: Vec<Evidence> = proof.into_iter().filter(is_of_others).collect();
    let is_anyone = !units.is_empty() || !others.is_empty();
    if is_anyone {
        tokio::spawn(look_after(Arc::clone(daemon), settings.clone(), (committed, left), units, others));
    }
}

fn proven(evidence: &Evidence) -> Option<Proven> {
    match evidence {
        Evidence::Unit { unit, invocation, .. } => {
            Some(Proven { unit: unit.clone(), invocation: invocation.clone(), has_ended: false })
        }
        _ => None,
    }
}

/// The last proof of a rotation.
fn proof(records: &[Record], rotation: &RotationId) -> Vec<Evidence> {
    let proof = of(records, rotation).rev().find_map(|record| match &record.what {
        Happening::Passed { seen: Seen::Proven { evidence }, .. } => Some(evidence),
        _ => None,
    });
    proof.cloned().unwrap_or_default()
}

/// What a rotation intended.
fn plan<'r>(records: &'r [Record], rotation: &RotationId) -> Option<&'r Plan> {
    of(records, rotation).find_map(|record| match &record.what {
        Happening::Requested { plan, .. } => Some(plan),
        _ => None,
    })
}

/// The records of a rotation.
fn of<'r>(records: &'r [Record], rotation: &RotationId) -> impl DoubleEndedIterator<Item = &'r Record> {
    records.iter().filter(move |record| record.rotation.as_ref() == Some(rotation))
}

/// Until one has failed, or all have passed: units, and `others` that systemd does not tell of.
async fn look_after(
    daemon: Arc<Daemon>,
    settings: SecretSettings,
    (committed, left): (Committed, Duration),
    mut units: Vec<Proven>,
    others: Vec<Evidence>,
) {
    let charge = daemon.charge(&settings.name);
    let began = Instant::now();
    let Ok(mut jobs) = daemon.systemd.ends().await else { return };
    while began.elapsed() < left && !(units.is_empty() && others.is_empty()) && !daemon.is_stopping() {
        sleep(LOOK).await;
        let standing = charge.standing();
        if standing.transaction.is_some() || standing.last.is_none_or(|last| last.id != committed.rotation) {
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
            let was_started_again = status.was_started_again_since(&proven.invocation);
            if was_started_again || has_ended && proven.has_ended {
                // The run that is there now says nothing of the one that ended.
                let is_new = was_started_again && !status.restarts_itself();
                let how = if is_new {
                    format!("{} ended and was started again by systemd", status.id)
                } else {
                    status.in_words()
                };
                failed = Some((how, status));
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
        if let Some((how, status)) = failed {
            return take_back(&daemon, &settings, &committed, &how, Some(&status)).await;
        }
        let parts = (!others.is_empty()).then(|| daemon.parts(&settings, &charge));
        for target in parts.iter().flat_map(|parts| parts.targets()) {
            if let Some(how) = target.failed_since(&others).await {
                return take_back(&daemon, &settings, &committed, &how, None).await;
            }
        }
    }
}

async fn take_back(
    daemon: &Arc<Daemon>,
    settings: &SecretSettings,
    committed: &Committed,
    how: &str,
    unit: Option<&UnitStatus>,
) {
    let last = daemon.charge(&settings.name).standing().last;
    let after = last.map(|last| Timestamp::now().duration_since(last.at).as_secs()).unwrap_or_default();
    let what = format!("{how}, {after} s after the rotation was committed");
    let mut entry = Entry::new(Priority::Error, message_id::FAILED_LATER, format!("{}: {what}", settings.name));
    entry.secret = Some(settings.name.to_string());
    entry.rotation = Some(committed.rotation.to_string());
    entry.reason = Some(what.clone());
    if committed.emergency {
        let advice = format!(
            "the value before may be in the wrong hands, and is put back by a person alone: rekeyctl rollback {}",
            settings.name
        );
        entry.message = format!("{} — {advice}", entry.message);
        entry.advice = Some(advice);
        return daemon.journal.send(entry, &super::charge::units(settings));
    }
    daemon.journal.send(entry, &super::charge::units(settings));
    if let Some(status) = unit.filter(|status| status.active_state == "inactive") {
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
