//! One notification, sent the ways that `[notify]` of rekeyd.toml names: a command in a unit of its own, a webhook.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio::time::sleep;
use zeroize::Zeroizing;

use crate::config::{Event, NotifySettings};
use crate::dbus::systemd1::Systemd;
use crate::engine::act::headers;
use crate::record::notice::Trouble;
use crate::rotation::{Fault, FaultCode};
use crate::sys::command::{Command, Prints, Runner as _};
use crate::sys::http::{Call, origin, send};

/// How long a command may take.
const LIMIT: Duration = Duration::from_secs(60);
/// How long a webhook may take to answer.
const ANSWER: Duration = Duration::from_secs(15);
/// What is waited before a webhook is asked again.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];

/// What is told, as the webhook's body and the command's standard input have it.
#[derive(Clone, Debug, Serialize)]
pub struct Notification {
    /// All of it in a sentence. Chat services show what has this name.
    text: String,
    event: Event,
    /// The secret; empty where it is about all of them.
    secret: String,
    /// The rotation, where it is about one.
    rotation: Option<String>,
    reason: String,
    /// What to type.
    advice: String,
    host: String,
    at: Timestamp,
}

impl Notification {
    /// What is told of a secret; of all of them where it has no name.
    pub fn new(event: Event, secret: &str, trouble: &Trouble) -> Self {
        let advice = match (event, &trouble.rotation) {
            (Event::Recovery | Event::Test, _) => "nothing is to be done".to_owned(),
            (Event::Hold, _) if !secret.is_empty() => format!("rekeyctl status {secret}"),
            (_, Some(rotation)) => format!("journalctl REKEYD_ROTATION={rotation}"),
            (Event::Locked, _) => "rekeyctl doctor".to_owned(),
            _ => format!("rekeyctl status {secret}"),
        };
        let what = match event {
            Event::Failure => "a rotation did not end well",
            Event::Hold => "on hold, nothing rotates until a person releases it",
            Event::Overdue => "overdue",
            Event::Locked => "the store is locked, nothing rotates",
            Event::Recovery => "well again; it was told before",
            Event::Test => "a test",
        };
        Self::of(event, secret, trouble, (what, advice))
    }

    /// What is told where a person has released the secret from a hold, and nothing was proven since.
    pub fn released(secret: &str, trouble: &Trouble) -> Self {
        let what = "released by a person, and not proven since; it was told before";
        Self::of(Event::Recovery, secret, trouble, (what, format!("rekeyctl verify {secret}")))
    }

    fn of(event: Event, secret: &str, trouble: &Trouble, (what, advice): (&str, String)) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let of = if secret.is_empty() { "rekeyd".to_owned() } else { format!("rekeyd: {secret}") };
        let text = format!("{of} on {host}: {what}: {} ({advice})", trouble.reason);
        let (rotation, reason) = (trouble.rotation.clone(), trouble.reason.clone());
        Self { text, event, secret: secret.to_owned(), rotation, reason, advice, host, at: Timestamp::now() }
    }

    /// Sends it each way that is configured.
    ///
    /// # Errors
    /// Those ways that failed.
    pub async fn send(&self, systemd: &Systemd, settings: &NotifySettings) -> Vec<Fault> {
        let mut failed = Vec::new();
        if let Some((argv, user)) = &settings.command {
            failed.extend(self.run(systemd, argv, user.as_deref()).await.err());
        }
        if let Some((url, header_file)) = &settings.webhook {
            let headers = header_file.as_deref().map_or_else(|| Ok(Vec::new()), headers);
            failed.extend(match headers {
                Ok(headers) => self.post(url, headers).await.err(),
                Err(fault) => Some(Fault { code: FaultCode::NotifyFailed, ..fault }),
            });
        }
        failed
    }

    fn document(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    async fn run(&self, systemd: &Systemd, argv: &[String], user: Option<&str>) -> Result<(), Fault> {
        let secret = if self.secret.is_empty() { "all" } else { &self.secret };
        let unit = format!("rekeyd-notify-{secret}.service");
        let environment = [
            ("EVENT", self.event.as_str()),
            ("SECRET", &self.secret),
            ("ROTATION", self.rotation.as_deref().unwrap_or_default()),
            ("REASON", &self.reason),
            ("ADVICE", &self.advice),
        ];
        let command = Command {
            unit: &unit,
            description: &format!("Telling a person of the secret {secret}"),
            argv,
            directory: None,
            user: user.into(),
            environment: environment.into_iter().map(|(name, value)| format!("REKEYD_{name}={value}")).collect(),
            input: self.document(),
            value: None,
            limit: LIMIT,
            prints: Prints::ToJournal,
        };
        let why = match systemd.run(&command).await {
            Ok(ran) => ran.end.problem(argv),
            Err(error) => Some(error.to_string()),
        };
        let Some(why) = why else { return Ok(()) };
        Err(Fault::new(FaultCode::NotifyFailed, why).advise(format!("see what it says: journalctl -u {unit}")))
    }

    /// A webhook's path is often its password: only its origin is ever told.
    async fn post(&self, url: &str, headers: Vec<(String, Zeroizing<String>)>) -> Result<(), Fault> {
        let mut pauses = PAUSES.into_iter();
        loop {
            let mut call = Call::new("POST", url);
            call.headers = headers.clone();
            call.headers.push(("Content-Type".to_owned(), Zeroizing::new("application/json".to_owned())));
            call.body = Some(Zeroizing::new(self.document()));
            let why = match send(call, ANSWER).await {
                Ok(reply) if (200..300).contains(&reply.status) => return Ok(()),
                Ok(reply) => format!("answered {}", reply.status),
                Err(error) => error.why.to_string(),
            };
            let Some(pause) = pauses.next() else {
                let message = format!("the webhook at {} {why}", origin(url));
                return Err(Fault::new(FaultCode::NotifyFailed, message).advise("see [notify] of rekeyd.toml"));
            };
            sleep(pause).await;
        }
    }
}
