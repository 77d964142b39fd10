//! Sends entries to the journal, from a thread of its own: journald may be stopped, and a rotation must not wait for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::{Dispatch, dispatcher};
use tracing_journald::PriorityMappings;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::config::SecretName;
use crate::record::journal::{Entry, Priority};
use crate::record::message_id;
use crate::sys::journald;

/// How many entries may wait for journald: hours of rotations.
const WAITING: usize = 4096;

/// How many sockets to journald are open at most: each subscriber has one.
const MOST_WRITERS: usize = 128;

/// The way to the journal.
#[derive(Clone)]
pub struct Journal {
    sender: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

enum Message {
    Entry { entry: Box<Entry>, units: Arc<[String]> },
    Flush(SyncSender<()>),
}

impl Journal {
    /// Starts the thread. It ends when the last `Journal` is dropped.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn start() -> std::io::Result<(Self, JoinHandle<()>)> {
        let (sender, receiver) = sync_channel(WAITING);
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&dropped);
        let thread =
            std::thread::Builder::new().name("journal".to_owned()).spawn(move || write(&receiver, &counter))?;
        Ok((Self { sender, dropped }, thread))
    }

    /// Sends an entry that also shows under `journalctl -u` of `units`. Never blocks: where too many entries wait
    /// already it is dropped, and that is told once the journal takes entries again.
    pub fn send(&self, entry: Entry, units: &Arc<[String]>) {
        let message = Message::Entry { entry: Box::new(entry), units: Arc::clone(units) };
        if self.sender.try_send(message).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// An entry that is about no secret.
    pub fn tell(&self, priority: Priority, message_id: &'static str, message: impl Into<String>) {
        self.send(Entry::new(priority, message_id, message), &Arc::from([]));
    }

    /// Something around the rotations could not be done, for a secret where it is about one.
    pub fn trouble(&self, priority: Priority, secret: Option<&SecretName>, what: &str) {
        let text = secret.map_or_else(|| what.to_owned(), |name| format!("{name}: {what}"));
        let mut entry = Entry::new(priority, message_id::TROUBLE, text);
        entry.secret = secret.map(ToString::to_string);
        entry.reason = Some(what.to_owned());
        self.send(entry, &Arc::from([]));
    }

    /// Waits until journald has taken in what was sent, for at most `limit`. Which unit an entry is of it sees by the
    /// process, if that is still there: one that ended at once would be missing from `journalctl -u rekeyd`.
    pub fn flush(&self, limit: Duration) {
        let until = Instant::now() + limit;
        let left = || until.saturating_duration_since(Instant::now());
        let (done, wait) = sync_channel(1);
        if self.sender.try_send(Message::Flush(done)).is_ok() && wait.recv_timeout(left()).is_ok() {
            // Without a journal there is nothing to wait for.
            let _ = journald::synchronize(left());
        }
    }
}

fn write(receiver: &Receiver<Message>, dropped: &AtomicU64) {
    let mut writers = Writers::default();
    loop {
        match receiver.recv_timeout(Duration::from_secs(3600)) {
            Ok(Message::Entry { entry, units }) => {
                writers.write(&entry, &units);
                let lost = dropped.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    let text = format!("{lost} entries were dropped because the journal took none");
                    writers.write(&Entry::new(Priority::Warning, message_id::ENTRIES_DROPPED, text), &Arc::from([]));
                }
            }
            Ok(Message::Flush(done)) => {
                let _ = done.send(());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// One subscriber for each urgency and set of units: what is the same for every entry of a unit is given to the layer
/// once, since an event cannot have a field several times.
#[derive(Default)]
struct Writers(HashMap<(Priority, Arc<[String]>), Dispatch>);

impl Writers {
    fn write(&mut self, entry: &Entry, units: &Arc<[String]>) {
        if self.0.len() >= MOST_WRITERS {
            self.0.clear();
        }
        let key = (entry.priority, Arc::clone(units));
        let dispatch = match self.0.get(&key) {
            Some(dispatch) => dispatch.clone(),
            None => match dispatch(entry.priority, units) {
                Ok(dispatch) => self.0.entry(key).or_insert(dispatch).clone(),
                Err(_) => {
                    // No journald: standard error is what is left, and systemd reads it.
                    eprintln!("{}", entry.message);
                    return;
                }
            },
        };
        dispatcher::with_default(&dispatch, || event(entry));
    }
}

fn dispatch(priority: Priority, units: &[String]) -> std::io::Result<Dispatch> {
    let level = match priority {
        Priority::Critical => tracing_journald::Priority::Critical,
        Priority::Error => tracing_journald::Priority::Error,
        Priority::Warning => tracing_journald::Priority::Warning,
        Priority::Notice => tracing_journald::Priority::Notice,
        Priority::Info => tracing_journald::Priority::Informational,
        Priority::Debug => tracing_journald::Priority::Debug,
    };
    let layer = tracing_journald::layer()?
        // Without this MESSAGE_ID would be F_MESSAGE_ID.
        .with_field_prefix(None)
        .with_syslog_identifier("rekeyd".to_owned())
        .with_priority_mappings(PriorityMappings { error: level, ..PriorityMappings::new() })
        .with_custom_fields(units.iter().map(|unit| ("OBJECT_SYSTEMD_UNIT", unit)));
    Ok(Dispatch::new(tracing_subscriber::registry().with(layer)))
}

fn event(entry: &Entry) {
    tracing::event!(
        target: "rekeyd",
        tracing::Level::ERROR,
        message_id = entry.message_id,
        rekeyd_secret = entry.secret.as_deref(),
        rekeyd_rotation = entry.rotation.as_deref(),
        rekeyd_batch = entry.batch.as_deref(),
        rekeyd_movement = entry.movement.as_deref(),
        rekeyd_step = entry.step.as_deref(),
        rekeyd_result = entry.result.as_deref(),
        rekeyd_target = entry.target.as_deref(),
        rekeyd_generation = entry.generation.as_deref(),
        rekeyd_fingerprint = entry.fingerprint.as_deref(),
        rekeyd_actor = entry.actor.as_deref(),
        rekeyd_reason = entry.reason.as_deref(),
        rekeyd_advice = entry.advice.as_deref(),
        rekeyd_duration_usec = entry.duration.as_deref(),
        rekeyd_chain = entry.chain.as_deref(),
        "{}",
        entry.message
    );
}
