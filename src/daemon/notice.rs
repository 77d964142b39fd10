//! Sees to it that a person is told where one is needed, once and again after a while, and told when it is over.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::notification::Notification;
use super::state::Daemon;
use crate::config::{Event, NotifySettings, SecretName, SecretSettings};
use crate::dbus::rekeyd1::Error;
use crate::record::journal::{Entry, Priority};
use crate::record::message_id;
use crate::record::notice::{Due, Told, Trouble, due, is_merely_released, trouble};
use crate::record::text::fault_in_words;
use crate::rotation::Fault;
use crate::store;
use crate::sys::files;

/// How long things may stand as they are without a look: ages grow meanwhile.
const LOOK: Duration = Duration::from_secs(60);
/// A rotation that begins is often over within this time.
const SETTLE: Duration = Duration::from_secs(1);
/// How soon what did not arrive is sent again.
const AGAIN: Duration = Duration::from_secs(300);

/// One way of telling: the settings without the others.
type Way = fn(NotifySettings) -> NotifySettings;
/// Each way, with its book beside the store.
const WAYS: [(&str, Way); 2] = [
    ("notified.json", |all| NotifySettings { webhook: None, ..all }),
    ("notified-webhook.json", |all| NotifySettings { command: None, ..all }),
];

/// What was told of each secret; of the store under the empty name.
type Notes = BTreeMap<String, Told>;

/// From now on, until the daemon ends.
pub fn begin(daemon: &Arc<Daemon>) {
    for (book, way) in WAYS {
        tokio::spawn(go_on(Arc::clone(daemon), book, way));
    }
}

/// Tells once what there is to tell, for a process that is about to end.
pub async fn tell_now(daemon: &Daemon) {
    for (book, way) in WAYS {
        bring_up_to_date(daemon, &mut Book::of(book), way).await;
    }
}

/// Goes on with one of the ways, whatever becomes of the other.
async fn go_on(daemon: Arc<Daemon>, book: &str, way: Way) {
    let mut book = Book::of(book);
    loop {
        let changed = daemon.progress.changed(LOOK);
        bring_up_to_date(&daemon, &mut book, way).await;
        changed.await;
        sleep(SETTLE).await;
    }
}

async fn bring_up_to_date(daemon: &Daemon, book: &mut Book, way: Way) {
    let settings = way(daemon.settings().daemon.notify.clone());
    if settings.command.is_some() || settings.webhook.is_some() {
        book.bring_up_to_date(daemon, &settings).await;
    }
}

fn notification(daemon: &Daemon, event: Event, name: &str, of: &Trouble) -> Notification {
    let standing = SecretName::try_from(name.to_owned()).map(|name| daemon.charge(&name).standing());
    match standing {
        Ok(standing) if event == Event::Recovery && is_merely_released(of, &standing) => {
            Notification::released(name, of)
        }
        _ => Notification::new(event, name, of),
    }
}

/// Tells that nothing is the matter, for a person to see whether it arrives.
///
/// # Errors
/// Where nobody is told of anything, or it did not arrive.
pub async fn test(daemon: &Daemon) -> Result<(), Error> {
    let settings = daemon.settings().daemon.notify.clone();
    if settings.command.is_none() && settings.webhook.is_none() {
        let nobody = "[notify] of /etc/rekeyd/rekeyd.toml names neither `command` nor `webhook`: nobody would be told";
        return Err(Error::Refused(nobody.to_owned()));
    }
    let reason = "a person asked for it with rekeyctl notify".to_owned();
    let trouble = Trouble { event: Event::Test, key: String::new(), rotation: None, reason };
    let failed = Notification::new(Event::Test, "", &trouble).send(&daemon.systemd, &settings).await;
    let said: Vec<String> = failed.iter().map(fault_in_words).collect();
    if said.is_empty() { Ok(()) } else { Err(Error::Failed(said.join("; "))) }
}

/// What was told, kept over restarts.
struct Book {
    path: PathBuf,
    told: Notes,
    /// What did not arrive, until when it is left alone.
    failed: BTreeMap<String, (Event, Instant)>,
}

impl Book {
    /// One that cannot be read is empty: what lasts is told once more.
    fn of(name: &str) -> Self {
        let path = Path::new(store::ROOT).with_file_name(name);
        let told = files::read(&path, 1 << 20).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self { path, told: told.unwrap_or_default(), failed: BTreeMap::new() }
    }

    async fn bring_up_to_date(&mut self, daemon: &Daemon, settings: &NotifySettings) {
        let now = Timestamp::now();
        let troubles = troubles(daemon, settings, now);
        let known: BTreeSet<String> = troubles.keys().cloned().collect();
        let before = self.told.clone();
        self.told.retain(|name, _| known.contains(name));
        for (name, trouble) in troubles {
            let told = self.told.get(&name);
            let (event, of) = match (due(trouble.as_ref(), told, settings.repeat, now), &trouble, told) {
                (Due::Tell, Some(trouble), _) => (trouble.event, trouble.clone()),
                (Due::Recovered, _, Some(told)) => (Event::Recovery, told.trouble.clone()),
                _ => continue,
            };
            if self.failed.get(&name).is_some_and(|(of, until)| *of == event && Instant::now() < *until) {
                continue;
            }
            self.failed.remove(&name);
            let failed = match event {
                Event::Recovery if !settings.on.contains(&event) => Vec::new(),
                _ => notification(daemon, event, &name, &of).send(&daemon.systemd, settings).await,
            };
            for fault in &failed {
                tell(daemon, &name, fault);
            }
            if !failed.is_empty() {
                self.failed.insert(name, (event, Instant::now() + AGAIN));
            } else if event == Event::Recovery {
                self.told.remove(&name);
            } else {
                self.told.insert(name, Told { trouble: of, at: now });
            }
        }
        if self.told != before {
            self.keep(daemon);
        }
    }

    fn keep(&self, daemon: &Daemon) {
        let bytes = serde_json::to_vec(&self.told).unwrap_or_default();
        if let Err(error) = files::replace(&self.path, &bytes, 0o600) {
            let text = format!("what was told is not remembered over a restart: {error}");
            daemon.journal.tell(Priority::Warning, message_id::TROUBLE, text);
        }
    }
}

/// Every secret, with the trouble that it is in; and the store.
fn troubles(daemon: &Daemon, settings: &NotifySettings, now: Timestamp) -> BTreeMap<String, Option<Trouble>> {
    let locked = daemon.store.locked().map(|locked| at_hand(Event::Locked, &locked.into()));
    let secrets = daemon.settings();
    let of_secrets = secrets.secrets.values().map(|secret| (secret.name.to_string(), of_secret(daemon, secret, now)));
    let all = std::iter::once((String::new(), locked)).chain(of_secrets);
    all.map(|(name, trouble)| (name, trouble.filter(|trouble| settings.on.contains(&trouble.event)))).collect()
}

fn of_secret(daemon: &Daemon, settings: &SecretSettings, now: Timestamp) -> Option<Trouble> {
    let charge = daemon.charge(&settings.name);
    let obstacle = charge.unreadable().or_else(|| charge.outdated().map(|outdated| outdated.fault));
    let overdue_after = settings.schedule.as_ref().and_then(|schedule| schedule.overdue_after);
    obstacle.map(|fault| at_hand(Event::Hold, &fault)).or_else(|| trouble(&charge.standing(), overdue_after, now))
}

/// Trouble that is no rotation's.
fn at_hand(event: Event, fault: &Fault) -> Trouble {
    Trouble { event, key: fault.code.as_str().to_owned(), rotation: None, reason: fault.message.clone() }
}

fn tell(daemon: &Daemon, name: &str, fault: &Fault) {
    let text = format!("a notification did not arrive: {}", fault.message);
    let mut entry = Entry::new(Priority::Error, message_id::NOTIFY_FAILED, text);
    entry.secret = (!name.is_empty()).then(|| name.to_owned());
    (entry.reason, entry.advice) = (Some(fault.message.clone()), Some(fault.advice.clone()));
    daemon.journal.send(entry, &Arc::from([]));
}
