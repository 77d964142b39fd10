//! Who is told on the bus what happens: each by a signal to it alone, since a broadcast reaches every local user.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use zbus::message::Message;

use crate::dbus::rekeyd1::{Caller, INTERFACE, PATH, SecretStatus};
use crate::dbus::secret;
use crate::record::{Actor, Happening, Record, RotationId, Standing, text};

/// More than this many of one user are not told; a person has one.
const MOST_OF_A_USER: usize = 16;
/// More than this many of all users but root are not told.
const MOST: usize = 256;

/// Those who asked to be told.
#[derive(Clone)]
pub struct Listeners {
    told: Arc<Mutex<BTreeMap<String, Listener>>>,
    outbox: UnboundedSender<Message>,
}

struct Listener {
    uid: u32,
    scope: Scope,
}

/// What a listener is told.
#[derive(Clone, PartialEq, Eq)]
enum Scope {
    /// All.
    Everything,
    /// The rotation that it has asked for and that has not begun yet.
    NextOwn,
    /// This rotation.
    Rotation(RotationId),
}

/// The signals that wait to be sent.
pub type Outbox = UnboundedReceiver<Message>;

impl Listeners {
    /// Nobody yet, and the signals for the connection to send.
    pub fn new() -> (Self, Outbox) {
        let (outbox, receiver) = unbounded_channel();
        (Self { told: Arc::default(), outbox }, receiver)
    }

    /// Whether `name` is told everything.
    pub fn has(&self, name: &str) -> bool {
        self.lock().get(name).is_some_and(|listener| listener.scope == Scope::Everything)
    }

    /// Tells the caller everything from now on. False where there are too many already.
    pub fn add(&self, caller: &Caller) -> bool {
        self.insert(caller, Scope::Everything)
    }

    /// Tells the caller of the next rotation that it asks for, to its end. False where there are too many already.
    pub fn follow(&self, caller: &Caller) -> bool {
        self.has(&caller.sender) || self.insert(caller, Scope::NextOwn)
    }

    /// What the caller asked for was not begun.
    pub fn unfollow(&self, sender: &str) {
        let mut told = self.lock();
        if told.get(sender).is_some_and(|listener| listener.scope == Scope::NextOwn) {
            told.remove(sender);
        }
    }

    fn insert(&self, caller: &Caller, scope: Scope) -> bool {
        let mut told = self.lock();
        let counted = told.iter().filter(|(name, listener)| listener.uid != 0 && **name != caller.sender);
        let of_user = counted.clone().filter(|(_, listener)| listener.uid == caller.uid).count();
        if caller.uid != 0 && (of_user >= MOST_OF_A_USER || counted.count() >= MOST) {
            return false;
        }
        told.insert(caller.sender.clone(), Listener { uid: caller.uid, scope });
        true
    }

    /// Those who are told.
    pub fn names(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// Tells `name` no more.
    pub fn remove(&self, name: &str) {
        self.lock().remove(name);
    }

    /// Tells a record to everyone whom it concerns.
    pub fn tell(&self, record: &Record, standing: &Standing) {
        let mut told = self.lock();
        if told.is_empty() {
            return;
        }
        if let Happening::Requested { actor: Actor::Person { sender, .. }, .. } = &record.what
            && let (Some(listener), Some(id)) = (told.get_mut(sender), &record.rotation)
            && listener.scope == Scope::NextOwn
        {
            listener.scope = Scope::Rotation(id.clone());
        }
        let rotation = record.rotation.as_ref().map_or("", |id| id.as_str());
        let line = text::line(record, standing).unwrap_or_default();
        let json = serde_json::to_string(record).unwrap_or_default();
        let body = (record.secret.as_str(), rotation, line.as_str(), json.as_str());
        for (name, _) in told.iter().filter(|(_, listener)| listener.scope.has(record)) {
            self.send(Message::signal(PATH, INTERFACE, "Happened").destination(name.as_str()).build(&body));
        }
        if matches!(record.what, Happening::Ended { .. }) {
            told.retain(|_, listener| listener.scope == Scope::Everything || !listener.scope.has(record));
        }
    }

    /// Tells those whom a rotation concerns what goes on in a step of it that takes long.
    pub fn progress(&self, secret: &str, rotation: &RotationId, line: &str) {
        let body = (secret, rotation.as_str(), line);
        for (name, _) in self.lock().iter().filter(|(_, listener)| listener.scope.has_rotation(rotation)) {
            self.send(Message::signal(PATH, INTERFACE, "Progressed").destination(name.as_str()).build(&body));
        }
    }

    /// Tells those who are told everything how the properties of a secret changed.
    pub fn tell_changes(&self, before: &SecretStatus, after: &SecretStatus) {
        let told = self.lock();
        if told.is_empty() {
            return;
        }
        let Some(changed) = secret::changed(before, after) else { return };
        for (name, _) in told.iter().filter(|(_, listener)| listener.scope == Scope::Everything) {
            self.send(secret::signal(name, &after.name, &changed));
        }
    }

    fn send(&self, signal: Result<Message, zbus::Error>) {
        if let Ok(signal) = signal {
            // Nobody receives while there is no connection; the listeners are gone then, too.
            let _ = self.outbox.send(signal);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Listener>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scope {
    fn has(&self, record: &Record) -> bool {
        match self {
            Self::Everything => true,
            Self::NextOwn => false,
            Self::Rotation(id) => record.rotation.as_ref() == Some(id),
        }
    }

    fn has_rotation(&self, rotation: &RotationId) -> bool {
        match self {
            Self::Everything => true,
            Self::NextOwn => false,
            Self::Rotation(id) => id == rotation,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(name: u32, uid: u32) -> Caller {
        Caller { sender: format!(":1.{name}"), uid }
    }

    #[test]
    fn one_user_cannot_take_up_all_the_room() {
        let (listeners, _outbox) = Listeners::new();
        let room = u32::try_from(MOST_OF_A_USER).unwrap();
        for name in 0..room {
            assert!(listeners.add(&caller(name, 1000)));
        }
        assert!(!listeners.add(&caller(room, 1000)));
        assert!(listeners.add(&caller(0, 1000)), "once more is no more");
        assert!(listeners.add(&caller(900, 1001)), "another user");
        for name in 0..2 * room {
            assert!(listeners.add(&caller(1000 + name, 0)), "root");
        }
    }

    #[test]
    fn a_follower_hears_of_its_own_rotation_alone_and_not_after_its_end() {
        let (listeners, mut outbox) = Listeners::new();
        assert!(listeners.follow(&caller(7, 1000)));
        let record = |rotation: &str, what: &str| -> Record {
            let json = format!(
                r#"{{"seq":1,"at":"2026-01-01T00:00:00Z","secret":"a","rotation":"{}","what":{what}}}"#,
                rotation.repeat(32)
            );
            serde_json::from_str(&json).unwrap()
        };
        let mut heard = |record: &Record| {
            listeners.tell(record, &Standing::default());
            std::iter::from_fn(|| outbox.try_recv().ok()).count()
        };
        let requested = |rotation, sender| {
            let plan = serde_json::to_string(&crate::rotation::Plan::replace(
                crate::rotation::View::of(crate::rotation::Generation(1)),
                crate::rotation::Generation(2),
            ));
            let what = format!(
                r#"{{"kind":"requested","plan":{},"actor":{{"by":"person","uid":1000,"sender":"{sender}"}}}}"#,
                plan.unwrap()
            );
            record(rotation, &what)
        };
        let ended = r#"{"kind":"ended","outcome":{"outcome":"committed"},"took_us":1}"#;
        assert_eq!(heard(&requested("a", ":1.8")), 0, "somebody else's");
        assert_eq!(heard(&requested("b", ":1.7")), 1);
        assert_eq!(heard(&record("a", ended)), 0);
        assert_eq!(heard(&record("b", ended)), 1);
        assert!(listeners.names().is_empty());
    }
}
