//! Accepting what people and timers ask for: who waits, who goes together, who is told that there is nothing to do.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::busy::Taken;
use super::charge::{Charge, consumers};
use super::rotations::{self, Begun};
use super::state::Daemon;
use super::wave::{self, Rider};
use super::{calendar, schedule};
use crate::config::{SecretSettings, TargetSettings, instances_of};
use crate::dbus::rekeyd1::{Error, RotateFlags};
use crate::policy;
use crate::record::journal::{Entry, Priority};
use crate::record::{Actor, RotationId, message_id};

/// How long timers are waited for that are due at the same time: until none came for so long…
const QUIET: Duration = Duration::from_secs(1);
/// … and no longer than this.
const GATHERED: Duration = Duration::from_secs(30);
/// How long what is left to be done after the end of a rotation may take, before one who asks is told busy.
const ENDING: Duration = Duration::from_secs(10);
/// How often it is looked whether others are coming, or have gone.
const LOOK: Duration = Duration::from_millis(100);
/// So much earlier than at its time an overlap may be ended by its timer: clocks are set.
const EARLY: Duration = Duration::from_secs(60);
/// The services of the schedules' timers.
const SERVICES: &str = "rekeyd-rotate@*.service";

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

/// A request, with the way to tell what came of it.
pub struct Asked {
    /// What is asked for.
    pub wish: Wish,
    /// The secret.
    pub settings: SecretSettings,
    /// The secret.
    pub charge: Arc<Charge>,
    /// By whom.
    pub actor: Actor,
    /// Why.
    pub reason: String,
    /// How.
    pub flags: RotateFlags,
    answer: oneshot::Sender<Result<RotationId, Error>>,
}

impl Asked {
    /// Tells what came of it. Whoever asked may have gone.
    pub fn tell(self, came: Result<RotationId, Error>) {
        let _ = self.answer.send(came);
    }
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
    let (settings, charge) = daemon.find_usable(name)?;
    let (answer, answered) = oneshot::channel();
    let asked = Asked { wish, settings, charge, actor, reason: reason.to_owned(), flags, answer };
    if flags.scheduled && !flags.retry {
        gather(daemon, asked);
    } else {
        // The next try goes alone, so that what failed because of another has its chance.
        let taken = take(daemon, &asked).await?;
        tokio::spawn(together(Arc::clone(daemon), vec![asked], taken, None));
    }
    answered.await.unwrap_or_else(|_| Err(Error::Failed("the rotation could not be started".to_owned())))
}

async fn take(daemon: &Daemon, asked: &Asked) -> Result<Taken, Error> {
    let consumers = moved(daemon, &asked.settings).await;
    if asked.flags.wait || asked.flags.scheduled {
        return Ok(daemon.busy.wait_and_take(&consumers).await);
    }
    let until = Instant::now() + ENDING;
    loop {
        let consumer = match daemon.busy.take(&consumers) {
            Ok(taken) => return Ok(taken),
            Err(consumer) => consumer,
        };
        if Instant::now() > until || is_under_way(daemon, &consumer).await {
            let step = asked.charge.status(&asked.settings).rotation.map_or_else(String::new, |rotation| {
                format!(": rotation {} of this secret is in step {}", rotation.id, rotation.step)
            });
            let message = format!("{consumer} is being moved by another rotation{step}; wait for it with --wait");
            return Err(Error::Busy(message));
        }
        sleep(LOOK).await;
    }
}

/// Whether a rotation that moves this consumer is under way: one that has ended, as its follower was told, has the consumer
/// for a moment longer.
async fn is_under_way(daemon: &Daemon, consumer: &String) -> bool {
    let settings = daemon.settings();
    for secret in settings.secrets.values() {
        if daemon.charge(&secret.name).standing().transaction.is_some()
            && moved(daemon, secret).await.contains(consumer)
        {
            return true;
        }
    }
    false
}

/// What a rotation moves: its consumers by their real names, and the units that systemd restarts with them.
pub(super) async fn moved(daemon: &Daemon, settings: &SecretSettings) -> Vec<String> {
    let mut moved = consumers(settings);
    let mut units = Vec::new();
    for unit in settings.targets.iter().flat_map(TargetSettings::units) {
        match instances_of(unit) {
            // systemd tells nothing of a template, but of its instances.
            Some(pattern) => units.extend(daemon.systemd.active_units(&[&pattern]).await.unwrap_or_default()),
            None => units.push(unit.clone()),
        }
    }
    for unit in &units {
        // What systemd does not tell, preflight will.
        let Ok(status) = daemon.systemd.unit(unit).await else { continue };
        moved.extend(daemon.systemd.active_dependents(&status).await.unwrap_or_default());
        moved.push(status.id);
    }
    moved.sort();
    moved.dedup();
    moved
}

/// What timers asked for in the last moments.
#[derive(Default)]
pub struct Gathering(Mutex<Gathered>);

#[derive(Default)]
struct Gathered {
    asked: Vec<Asked>,
    last: Option<Instant>,
}

impl Gathering {
    /// Adds a request; whether it is the first one.
    fn add(&self, asked: Asked) -> bool {
        let mut gathered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gathered.asked.push(asked);
        gathered.last.replace(Instant::now()).is_none()
    }

    /// How long it is until no other came for a while.
    fn until_quiet(&self) -> Duration {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).last;
        last.map_or(Duration::ZERO, |last| (last + QUIET).saturating_duration_since(Instant::now()))
    }

    /// The secrets that are asked for.
    fn names(&self) -> Vec<String> {
        let gathered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gathered.asked.iter().map(|asked| asked.settings.name.to_string()).collect()
    }

    /// All requests; those that come later begin anew.
    fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).asked
    }
}

/// Waits until all that are due have asked, as far as can be known.
async fn all_are_there(daemon: &Daemon) {
    loop {
        let quiet = daemon.gathering.until_quiet();
        if quiet.is_zero() && !others_are_coming(daemon).await {
            return;
        }
        sleep(quiet.max(LOOK)).await;
    }
}

/// Whether systemd has started further services that will ask: of a slow machine they come late.
async fn others_are_coming(daemon: &Daemon) -> bool {
    let services = daemon.systemd.active_units(&[SERVICES]).await.unwrap_or_default();
    let names = daemon.gathering.names();
    services.iter().any(|service| {
        let name = service.strip_prefix("rekeyd-rotate@").and_then(|service| service.strip_suffix(".service"));
        // One whose records are in use is being rotated, and its service waits for the end.
        let is_coming = |name: &str| daemon.find(name).is_ok_and(|(_, charge)| charge.ledger.try_lock().is_ok());
        name.is_some_and(|name| !names.iter().any(|asked| asked == name) && is_coming(name))
    })
}

/// Lets a timer's request wait for others that are due at the same time.
fn gather(daemon: &Arc<Daemon>, asked: Asked) {
    if daemon.gathering.add(asked) {
        let daemon = Arc::clone(daemon);
        tokio::spawn(async move {
            let _ = timeout(GATHERED, all_are_there(&daemon)).await;
            begin_side_by_side(&daemon, daemon.gathering.take()).await;
        });
    }
}

/// Those that have a consumer in common go as one batch, the batches side by side.
async fn begin_side_by_side(daemon: &Arc<Daemon>, asked: Vec<Asked>) {
    let mut names = Vec::new();
    let (first, again): (Vec<_>, Vec<_>) = asked.into_iter().partition(|asked| {
        let is_first = !names.contains(&asked.settings.name);
        names.push(asked.settings.name.clone());
        is_first
    });
    let mut moved = Vec::new();
    for asked in &first {
        moved.push(self::moved(daemon, &asked.settings).await);
    }
    let mut waiting: Vec<Option<Asked>> = first.into_iter().map(Some).collect();
    let mut ready = Vec::new();
    for batch in policy::batches(&moved) {
        let consumers: Vec<String> = batch.iter().flat_map(|&one| moved[one].clone()).collect();
        let asked: Vec<Asked> = batch.iter().filter_map(|&one| waiting[one].take()).collect();
        match daemon.busy.take(&consumers) {
            Ok(taken) => ready.push((asked, taken)),
            Err(_) => wait(daemon, asked, consumers),
        }
    }
    let riders = wave::of(ready.len());
    let is_alone = ready.len() == 1;
    for ((asked, taken), rider) in ready.into_iter().zip(riders) {
        let rider = (!is_alone).then(|| Arc::new(rider));
        tokio::spawn(together(Arc::clone(daemon), asked, taken, rider));
    }
    // What is asked of one secret a second time comes after the first.
    for asked in again {
        let consumers = self::moved(daemon, &asked.settings).await;
        wait(daemon, vec![asked], consumers);
    }
}

/// Begins a batch once its consumers are free.
fn wait(daemon: &Arc<Daemon>, asked: Vec<Asked>, consumers: Vec<String>) {
    let daemon = Arc::clone(daemon);
    tokio::spawn(async move {
        let taken = daemon.busy.wait_and_take(&consumers).await;
        together(daemon, asked, taken, None).await;
    });
}

/// Begins a batch, but for those of it for which there is nothing to do any more.
async fn together(daemon: Arc<Daemon>, asked: Vec<Asked>, taken: Taken, rider: Option<Arc<Rider>>) {
    let mut begun = Vec::new();
    for asked in asked {
        let name = asked.settings.name.as_str();
        match daemon.find(name) {
            Err(error) => asked.tell(Err(error)),
            // Nobody would ask again.
            Ok((settings, charge)) if settings != asked.settings && asked.flags.scheduled => {
                gather(&daemon, Asked { settings, charge, ..asked });
            }
            Ok((settings, _)) if settings != asked.settings => {
                let error = Error::Busy(format!("the configuration of {name} changed while it waited; ask again"));
                asked.tell(Err(error));
            }
            Ok(_) if daemon.is_stopping() => {
                asked.tell(Err(Error::Busy("rekeyd is stopping; ask again when it runs".to_owned())));
            }
            Ok(_) => match skip(&daemon, &asked).await {
                Some(why) => {
                    skipped(&daemon, &asked.settings, &why);
                    let error = Error::Skipped(format!("{name} was not rotated: {why}"));
                    asked.tell(Err(error));
                }
                None => begun.push(asked),
            },
        }
    }
    rotations::run(&daemon, Begun { asked: begun, taken, rider }).await;
}

/// Why a scheduled rotation is not to be started, after it has waited for others.
async fn skip(daemon: &Daemon, asked: &Asked) -> Option<String> {
    let Asked { wish, settings, charge, flags, .. } = asked;
    if !flags.scheduled {
        return None;
    }
    if *wish == Wish::Retire {
        let standing = charge.standing();
        if standing.in_force.is_none_or(|view| view.accepted.is_empty()) {
            return Some("the overlap is over already".to_owned());
        }
        // A timer of an earlier overlap.
        let later = standing.retire_at.filter(|at| *at > Timestamp::now() + EARLY);
        return later.map(|at| format!("the overlap ends at {at:.0}"));
    }
    if charge.standing().paused {
        return Some(format!("the schedule is paused; rekeyctl resume {}", settings.name));
    }
    if !flags.retry && schedule::was_edited(daemon, settings) {
        return Some("its schedule was edited and is not in force yet; apply it with: rekeyctl reload".to_owned());
    }
    match calendar::is_in_window(&daemon.helper, settings.schedule.as_ref()?, Timestamp::now()).await {
        Ok(true) => None,
        Ok(false) => {
            if flags.retry {
                rotations::leave_to_schedule(daemon, settings, charge).await;
            }
            Some("its window is over".to_owned())
        }
        Err(problem) => Some(format!("whether its window is over cannot be known: {problem}")),
    }
}

fn skipped(daemon: &Daemon, settings: &SecretSettings, why: &str) {
    let mut entry =
        Entry::new(Priority::Info, message_id::SCHEDULED_SKIPPED, format!("{}: not rotated: {why}", settings.name));
    entry.secret = Some(settings.name.to_string());
    entry.reason = Some(why.to_owned());
    daemon.journal.send(entry, &super::charge::units(settings));
}
