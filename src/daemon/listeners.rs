//! Who is told on the bus what happens: each by a signal to it alone, since a broadcast reaches every local user.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use zbus::message::Message;

use crate::dbus::rekeyd1::{INTERFACE, PATH};
use crate::record::{Record, Standing, text};

/// More than this many are not told; a person has one.
const MOST: usize = 64;

/// Those who asked to be told.
#[derive(Clone)]
pub struct Listeners {
    names: Arc<Mutex<BTreeSet<String>>>,
    outbox: UnboundedSender<Message>,
}

/// The signals that wait to be sent.
pub type Outbox = UnboundedReceiver<Message>;

impl Listeners {
    /// Nobody yet, and the signals for the connection to send.
    pub fn new() -> (Self, Outbox) {
        let (outbox, receiver) = unbounded_channel();
        (Self { names: Arc::default(), outbox }, receiver)
    }

    /// Tells `name` from now on. False where there are too many already.
    pub fn add(&self, name: String) -> bool {
        let mut names = self.lock();
        names.contains(&name) || (names.len() < MOST && names.insert(name))
    }

    /// Those who are told.
    pub fn names(&self) -> Vec<String> {
        self.lock().iter().cloned().collect()
    }

    /// Tells `name` no more.
    pub fn remove(&self, name: &str) {
        self.lock().remove(name);
    }

    /// Tells everyone a record.
    pub fn tell(&self, record: &Record, standing: &Standing) {
        let names = self.lock();
        if names.is_empty() {
            return;
        }
        let rotation = record.rotation.as_ref().map_or("", |id| id.as_str());
        let line = text::line(record, standing).unwrap_or_default();
        let json = serde_json::to_string(record).unwrap_or_default();
        for name in names.iter() {
            let body = (record.secret.as_str(), rotation, line.as_str(), json.as_str());
            let signal = Message::signal(PATH, INTERFACE, "Happened").destination(name.as_str()).build(&body);
            if let Ok(signal) = signal {
                // Nobody receives while there is no connection; the listeners are gone then, too.
                let _ = self.outbox.send(signal);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
