//! A secret in the daemon's care: its ledger, and what others may know of it while a rotation holds the ledger.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, MutexGuard};
use tokio::time::{Instant, sleep, timeout};

use crate::config::{SecretName, SecretSettings, TargetSettings, template_of};
use crate::dbus::rekeyd1::{Error, GenerationStatus, RotationStatus, SecretStatus};
use crate::engine::Outdated;
use crate::policy::Drift;
use crate::record::text::fault_in_words;
use crate::record::{Progress, Standing};
use crate::rotation::{Fault, FaultCode};
use crate::store::{DELIVERED, Ledger, Store, newest_delivered};

/// A proof that is being gathered takes this long at most; a person who acts waits for it.
const LOOKING: Duration = Duration::from_secs(45);
/// How often somebody who merely looks sees whether the records are free.
const LOOK: Duration = Duration::from_millis(50);

/// One secret.
pub struct Charge {
    name: SecretName,
    /// The records; whoever appends holds the lock. None where they cannot be read.
    pub ledger: AsyncMutex<Option<Ledger>>,
    standing: Mutex<Standing>,
    /// What was not as it was left, and when that was looked at.
    drift: Mutex<(Vec<Drift>, Option<Look>)>,
    /// Held by the one who looks at that for somebody who asks.
    pub looking: AsyncMutex<()>,
    unreadable: Option<String>,
}

/// When it was seen what is as it was left.
#[derive(Clone, Copy)]
struct Look {
    at: Instant,
    /// The last record that there was.
    seq: u64,
}

impl Charge {
    /// Reads a secret's records. Where they cannot be read, the secret is on hold, and the others go on.
    pub fn open(store: &Store, name: &SecretName) -> Self {
        let (ledger, unreadable) = match store.ledger(name) {
            Ok(ledger) => (Some(ledger), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let standing = ledger.as_ref().map(|ledger| ledger.standing().clone()).unwrap_or_default();
        Self {
            name: name.clone(),
            ledger: AsyncMutex::new(ledger),
            standing: Mutex::new(standing),
            drift: Mutex::default(),
            looking: AsyncMutex::default(),
            unreadable,
        }
    }

    /// The secret.
    pub fn name(&self) -> &SecretName {
        &self.name
    }

    /// What the records add up to, also while a rotation is under way.
    pub fn standing(&self) -> Standing {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes note of what the records add up to now.
    pub fn note(&self, standing: &Standing) {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone_from(standing);
    }

    /// Takes note of what is not as it was left by the records up to `seq`, and returns what was so before.
    pub fn note_drift(&self, drift: &[Drift], seq: u64) -> Vec<Drift> {
        let mut noted = self.drift.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *noted, (drift.to_vec(), Some(Look { at: Instant::now(), seq }))).0
    }

    /// What was noted last.
    pub fn noted_drift(&self) -> Vec<Drift> {
        self.drift.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Whether that was looked at so recently, and nothing was recorded since.
    pub fn has_looked_for_drift(&self, within: Duration) -> bool {
        let seq = self.standing().seq;
        let look = self.drift.lock().unwrap_or_else(PoisonError::into_inner).1;
        look.is_some_and(|look| look.at.elapsed() <= within && look.seq == seq)
    }

    /// The same in words, with what to do about it, and what is so as it is meant to be; nothing while that is being changed.
    fn drift(&self, standing: &Standing) -> (Vec<String>, Vec<String>) {
        if standing.transaction.is_some() {
            return (Vec::new(), Vec::new());
        }
        let noted = self.drift.lock().unwrap_or_else(PoisonError::into_inner);
        let (expected, drift): (Vec<&Drift>, Vec<&Drift>) = noted.0.iter().partition(|drift| drift.is_expected());
        let rejected = standing.rejected();
        let in_words = |drift: Vec<&Drift>| {
            drift.iter().map(|drift| format!("{drift} — {}", drift.advice(self.name.as_str(), &rejected))).collect()
        };
        (in_words(drift), in_words(expected))
    }

    /// Whether nothing can be done with this secret, since its records cannot be read or are not of this time.
    pub fn is_stuck(&self) -> bool {
        self.unreadable().is_some() || self.outdated().is_some()
    }

    /// Why nothing can be done with this secret.
    pub fn unreadable(&self) -> Option<Fault> {
        self.unreadable.as_ref().map(|error| {
            Fault::new(FaultCode::StoreFailed, format!("the records of {} cannot be read: {error}", self.name))
                .advise("restore /var/lib/rekeyd/store from a backup; the consumers keep the value that they have")
        })
    }

    /// That the store is older than what was delivered, where it is: it was lost, or an earlier one was restored.
    pub fn outdated(&self) -> Option<Outdated> {
        let delivered = newest_delivered(Path::new(DELIVERED), &self.name)?;
        let known = self.standing().generations.last().map(|generation| generation.number);
        (known < Some(delivered)).then(|| {
            let known = known.map_or_else(|| "none".to_owned(), |known| format!("only {known}"));
            let message = format!(
                "generation {delivered} was delivered, and the store knows {known}: it was lost, or restored from an \
                 earlier time"
            );
            let advice = format!("take over the value in force with: rekeyctl adopt {}", self.name);
            Outdated { delivered, fault: Fault::new(FaultCode::StoreOutdated, message).advise(advice) }
        })
    }

    /// The records, for somebody who merely looks. A rotation that has just ended still has them for a moment. Whoever
    /// acts comes first: one who looks does not queue.
    ///
    /// # Errors
    /// Where a rotation has them, or others look for too long.
    pub async fn ledger_for_looking(&self) -> Result<MutexGuard<'_, Option<Ledger>>, Error> {
        let until = Instant::now() + LOOKING;
        loop {
            match self.ledger.try_lock() {
                Ok(guard) => return Ok(guard),
                Err(_) if self.standing().transaction.is_some() => return Err(self.is_busy()),
                Err(_) if Instant::now() > until => {
                    return Err(Error::Busy(format!("others gather the proof of {} now; ask again", self.name)));
                }
                Err(_) => sleep(LOOK).await,
            }
        }
    }

    /// The records, for what a person wants to be recorded now. A rotation that is under way comes first; somebody who
    /// merely looks does not keep it waiting for long.
    ///
    /// # Errors
    /// Where a rotation has them.
    pub async fn ledger_for_acting(&self) -> Result<MutexGuard<'_, Option<Ledger>>, Error> {
        if let Ok(guard) = self.ledger.try_lock() {
            return Ok(guard);
        }
        if self.standing().transaction.is_some() {
            return Err(self.is_busy());
        }
        timeout(LOOKING, self.ledger.lock()).await.map_err(|_| self.is_busy())
    }

    /// The error that says so.
    pub fn is_busy(&self) -> Error {
        Error::Busy(format!("a rotation of {} is under way; see rekeyctl status {0}", self.name))
    }

    /// The error that says so.
    pub fn is_unreadable(&self) -> Error {
        self.unreadable().map_or_else(|| Error::Failed("the records cannot be read".to_owned()), Error::from)
    }

    /// What there is to say of it, but for what only systemd knows.
    pub fn status(&self, settings: &SecretSettings) -> SecretStatus {
        let standing = self.standing();
        let (drift, waiting) = self.drift(&standing);
        let mut status = SecretStatus { drift, waiting, ..summary(settings, standing) };
        let outdated = || self.outdated().map(|outdated| ("outdated", outdated.fault));
        if let Some((state, fault)) = self.unreadable().map(|fault| ("unreadable", fault)).or_else(outdated) {
            state.clone_into(&mut status.state);
            status.hold = Some(fault_in_words(&fault));
            // Nothing can be said of what runs by records that are not of this time.
            status.drift.clear();
        }
        status
    }
}

/// What the records say of a secret.
pub fn summary(settings: &SecretSettings, standing: Standing) -> SecretStatus {
    let in_force = standing.in_force.as_ref().and_then(|view| standing.generation(view.primary));
    let rotation = standing.transaction.as_ref().map(|transaction| RotationStatus {
        id: transaction.id.clone(),
        step: match &transaction.progress {
            Progress::In(phase) => phase.to_string(),
            Progress::Decided(outcome) => outcome.as_str().to_owned(),
        },
    });
    // One that is owed is recorded in a moment.
    let hold = standing.hold.clone().or_else(|| standing.hold_owed());
    let state = match () {
        () if rotation.is_some() => "rotating",
        () if hold.is_some() => "on-hold",
        () if in_force.is_none() => "not-adopted",
        () => "in-force",
    };
    SecretStatus {
        name: settings.name.to_string(),
        file: settings.file.display().to_string(),
        env: settings.env.clone(),
        state: state.to_owned(),
        targets: settings.targets.iter().map(TargetSettings::label).collect(),
        consumers: consumers(settings),
        generation: in_force.map(|generation| generation.number),
        fingerprint: in_force.map(|generation| generation.fingerprint.clone()),
        since: in_force.map(|generation| generation.since),
        weak: in_force.is_some_and(|generation| generation.weak),
        generations: standing
            .generations
            .iter()
            .map(|generation| GenerationStatus {
                number: generation.number,
                fingerprint: generation.fingerprint.clone(),
                stage: generation.stage,
                since: generation.since,
            })
            .collect(),
        next: None,
        retry_at: standing.retry_at,
        waits_for_schedule: standing.waits_for_schedule,
        turned_away: standing.turned_away,
        accepted: standing.in_force.as_ref().map(|view| view.accepted.clone()).unwrap_or_default(),
        retire_at: standing.retire_at,
        paused: standing.paused,
        hold: hold.map(|hold| hold.sentence()),
        rotation,
        drift: Vec::new(),
        waiting: Vec::new(),
        last: standing.last,
    }
}

/// What the rotation that is under way was to move and the configuration has no more, or the units that it has since: who
/// went on with others would call proven what nobody has looked at.
pub fn strays(settings: &SecretSettings, standing: &Standing) -> Vec<String> {
    let Some(transaction) = standing.transaction.as_ref().filter(|transaction| !transaction.found.is_empty()) else {
        return Vec::new();
    };
    let found: Vec<&String> = transaction.found.iter().map(|found| &found.configured).collect();
    let now = consumers(settings);
    let gone = found.iter().filter(|consumer| !now.contains(consumer)).map(|consumer| format!("{consumer} is gone"));
    let units = settings.targets.iter().flat_map(TargetSettings::units);
    let new = units.filter(|unit| !found.contains(unit)).map(|unit| format!("{unit} is new"));
    let mut strays: Vec<String> = gone.chain(new).collect();
    strays.sort();
    strays.dedup();
    strays
}

/// What is moved with a secret: its consumers, and the templates of those that are instances, so that nobody moves a
/// template and one of its instances at once.
pub fn consumers(settings: &SecretSettings) -> Vec<String> {
    let moved: Vec<String> = settings.targets.iter().flat_map(TargetSettings::consumers).collect();
    let mut consumers: Vec<String> = moved.iter().filter_map(|unit| template_of(unit)).chain(moved.clone()).collect();
    consumers.sort();
    consumers.dedup();
    consumers
}

/// The units among the consumers, as the journal wants them.
pub fn units(settings: &SecretSettings) -> Arc<[String]> {
    settings.targets.iter().flat_map(TargetSettings::units).cloned().collect()
}
