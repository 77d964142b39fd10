//! `org.rekeyd1.Secret`: an object for each configured secret, whose properties say how it stands.
//!
//! A change is told by `PropertiesChanged`, sent to each subscriber alone: a broadcast would reach every local user.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use jiff::Timestamp;
use zbus::message::{Header, Message};
use zbus::wire::Variant;

use super::rekeyd1::{Error, SecretStatus, Service};
use super::rights::{Asker, Right};

/// The interface.
pub const INTERFACE: &str = "org.rekeyd1.Secret";
/// What the objects' paths begin with.
const PREFIX: &str = "/org/rekeyd1/secret/";

/// The path of a secret's object: its name escaped as a label by the rules of sd_bus_path_encode(3).
pub fn path(name: &str) -> String {
    let mut path = PREFIX.to_owned();
    if name.is_empty() {
        path.push('_');
    }
    for (at, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (byte.is_ascii_digit() && at > 0) {
            path.push(char::from(byte));
        } else {
            let _ = write!(path, "_{byte:02x}");
        }
    }
    path
}

/// The signal that tells `listener` how a secret's properties changed; none where they did not.
pub fn changed(before: &SecretStatus, after: &SecretStatus) -> Option<HashMap<&'static str, Variant<'static>>> {
    let before = Shown::from(before).values();
    let now = Shown::from(after).values();
    let changed: HashMap<_, _> =
        now.into_iter().zip(before).filter(|(now, before)| now != before).map(|(now, _)| now).collect();
    (!changed.is_empty()).then_some(changed)
}

/// `PropertiesChanged` of a secret, to one listener.
///
/// # Errors
/// Where the listener's name is none.
pub fn signal(
    listener: &str,
    name: &str,
    changed: &HashMap<&'static str, Variant<'static>>,
) -> Result<Message, zbus::Error> {
    let body = (INTERFACE, changed, Vec::<&str>::new());
    Message::signal(path(name), "org.freedesktop.DBus.Properties", "PropertiesChanged")
        .destination(listener)
        .build(&body)
}

/// What the properties show: none is left out, since D-Bus has no value for "none".
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shown {
    file: String,
    environment: String,
    consumers: Vec<String>,
    state: String,
    generation: u32,
    fingerprint: String,
    since: u64,
    hold: String,
    paused: bool,
    rotation: String,
    step: String,
    last_rotation: String,
    last_outcome: String,
    last_time: u64,
    next_retry: u64,
}

impl From<&SecretStatus> for Shown {
    fn from(status: &SecretStatus) -> Self {
        let last = status.last.as_ref();
        let rotation = status.rotation.as_ref();
        Self {
            file: status.file.clone(),
            environment: status.env.clone(),
            consumers: status.consumers.clone(),
            state: status.state.clone(),
            generation: status.generation.map_or(0, |generation| generation.0),
            fingerprint: status.fingerprint.as_ref().map_or_else(String::new, ToString::to_string),
            since: microseconds(status.since),
            hold: status.hold.clone().unwrap_or_default(),
            paused: status.paused,
            rotation: rotation.map_or_else(String::new, |rotation| rotation.id.to_string()),
            step: rotation.map_or_else(String::new, |rotation| rotation.step.clone()),
            last_rotation: last.map_or_else(String::new, |last| last.id.to_string()),
            last_outcome: last.map_or_else(String::new, |last| last.outcome.as_str().to_owned()),
            last_time: microseconds(last.map(|last| last.at)),
            next_retry: microseconds(status.retry_at),
        }
    }
}

impl Shown {
    fn values(self) -> [(&'static str, Variant<'static>); 15] {
        [
            ("File", self.file.into()),
            ("Environment", self.environment.into()),
            ("Consumers", self.consumers.into()),
            ("State", self.state.into()),
            ("Generation", self.generation.into()),
            ("Fingerprint", self.fingerprint.into()),
            ("Since", self.since.into()),
            ("Hold", self.hold.into()),
            ("Paused", self.paused.into()),
            ("Rotation", self.rotation.into()),
            ("Step", self.step.into()),
            ("LastRotation", self.last_rotation.into()),
            ("LastOutcome", self.last_outcome.into()),
            ("LastTime", self.last_time.into()),
            ("NextRetry", self.next_retry.into()),
        ]
    }
}

fn microseconds(at: Option<Timestamp>) -> u64 {
    at.and_then(|at| u64::try_from(at.as_microsecond()).ok()).unwrap_or_default()
}

/// A secret's object on the bus.
pub struct Secret {
    service: Arc<dyn Service>,
    name: String,
}

impl Secret {
    /// The object of the secret `name`.
    pub fn new(service: Arc<dyn Service>, name: &str) -> Self {
        Self { service, name: name.to_owned() }
    }

    fn shown(&self) -> Result<Shown, Error> {
        self.service.glance(&self.name).map(|status| Shown::from(&status))
    }
}

#[zbus::interface(name = "org.rekeyd1.Secret")]
impl Secret {
    /// The secret's name.
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> String {
        self.name.clone()
    }

    /// The file that configures it.
    #[zbus(property)]
    fn file(&self) -> Result<String, Error> {
        Ok(self.shown()?.file)
    }

    /// The variable that its consumers read.
    #[zbus(property)]
    fn environment(&self) -> Result<String, Error> {
        Ok(self.shown()?.environment)
    }

    /// The units that use it.
    #[zbus(property)]
    fn consumers(&self) -> Result<Vec<String>, Error> {
        Ok(self.shown()?.consumers)
    }

    /// `in-force`, `rotating`, `on-hold`, `not-adopted`, `unreadable`, `outdated` (the store is an older one than the consumers)
    /// or `locked` (the store's key cannot be had).
    #[zbus(property)]
    fn state(&self) -> Result<String, Error> {
        Ok(self.shown()?.state)
    }

    /// The number of the generation in force; 0 where none was adopted.
    #[zbus(property)]
    fn generation(&self) -> Result<u32, Error> {
        Ok(self.shown()?.generation)
    }

    /// Its fingerprint: 12 hex digits, or empty.
    #[zbus(property)]
    fn fingerprint(&self) -> Result<String, Error> {
        Ok(self.shown()?.fingerprint)
    }

    /// Since when it has been in force, in microseconds since 1970; 0 where none is.
    #[zbus(property)]
    fn since(&self) -> Result<u64, Error> {
        Ok(self.shown()?.since)
    }

    /// Why the secret is on hold; empty where it is not.
    #[zbus(property)]
    fn hold(&self) -> Result<String, Error> {
        Ok(self.shown()?.hold)
    }

    /// Whether its schedule is paused.
    #[zbus(property)]
    fn paused(&self) -> Result<bool, Error> {
        Ok(self.shown()?.paused)
    }

    /// The id of the rotation under way, or empty.
    #[zbus(property)]
    fn rotation(&self) -> Result<String, Error> {
        Ok(self.shown()?.rotation)
    }

    /// The step that it is in, or empty.
    #[zbus(property)]
    fn step(&self) -> Result<String, Error> {
        Ok(self.shown()?.step)
    }

    /// The id of the last rotation that ended, or empty.
    #[zbus(property)]
    fn last_rotation(&self) -> Result<String, Error> {
        Ok(self.shown()?.last_rotation)
    }

    /// How it ended: `committed`, `rolled-back`, `rollback-failed`, `refused`, or empty.
    #[zbus(property)]
    fn last_outcome(&self) -> Result<String, Error> {
        Ok(self.shown()?.last_outcome)
    }

    /// When it ended, in microseconds since 1970, or 0.
    #[zbus(property)]
    fn last_time(&self) -> Result<u64, Error> {
        Ok(self.shown()?.last_time)
    }

    /// When it is tried again after a rollback, in microseconds since 1970, or 0.
    #[zbus(property)]
    fn next_retry(&self) -> Result<u64, Error> {
        Ok(self.shown()?.next_retry)
    }

    /// When the schedule rotates next, in microseconds since 1970, or 0. Its changes are not told: systemd's are.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn next_elapse(&self, #[zbus(header)] header: Option<Header<'_>>) -> Result<u64, Error> {
        let _admitted = match header {
            Some(header) => Some(self.service.admit(Asker::of(&header)?, Right::Look, "").await?),
            None => None,
        };
        Ok(microseconds(self.service.get(&self.name).await?.next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_the_name_escaped_as_systemd_does_it() {
        assert_eq!(path("my-backend-jwt"), "/org/rekeyd1/secret/my_2dbackend_2djwt");
        assert_eq!(path("2fa"), "/org/rekeyd1/secret/_32fa");
        assert_eq!(path("a2"), "/org/rekeyd1/secret/a2");
        assert_eq!(path(""), "/org/rekeyd1/secret/_");
    }
}
