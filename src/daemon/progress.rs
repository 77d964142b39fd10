//! The daemon's status line: what it is doing, since when, what it waits for. `systemctl status rekeyd` shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::record::{Progress as Of, Record, Standing};

/// What is under way.
#[derive(Clone, Default)]
pub struct Progress {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

#[derive(Default)]
struct State {
    secrets: usize,
    rotating: BTreeMap<String, String>,
    held: BTreeSet<String>,
    trouble: Option<String>,
    troubles: BTreeMap<String, String>,
}

impl Progress {
    /// Takes note of how many secrets are configured, and of what keeps the daemon from rotating them.
    pub fn configured(&self, secrets: usize, trouble: Option<String>) {
        let mut state = self.lock();
        (state.secrets, state.trouble) = (secrets, trouble);
        tell(&state);
        self.changed.notify_waiters();
    }

    /// Takes note of what keeps a rotation from going on; its next record is the end of that.
    pub fn trouble(&self, secret: &str, trouble: String) {
        let mut state = self.lock();
        state.troubles.insert(secret.to_owned(), trouble);
        tell(&state);
    }

    /// What keeps a rotation of the secret from going on.
    pub fn trouble_of(&self, secret: &str) -> Option<String> {
        self.lock().troubles.get(secret).cloned()
    }

    /// Takes note of a record.
    pub fn note(&self, record: &Record, standing: &Standing) {
        self.note_standing(record.secret.as_str(), standing);
    }

    /// Takes note of how a secret stands.
    pub fn note_standing(&self, secret: &str, standing: &Standing) {
        let mut state = self.lock();
        state.rotating.remove(secret);
        state.held.remove(secret);
        state.troubles.remove(secret);
        if let Some(transaction) = &standing.transaction {
            let step = match &transaction.progress {
                Of::In(phase) => phase.to_string(),
                Of::Decided(outcome) => outcome.as_str().to_owned(),
            };
            let text = format!("{step}, since {:.0}", transaction.asked_at);
            state.rotating.insert(secret.to_owned(), text);
        }
        if standing.hold.is_some() {
            state.held.insert(secret.to_owned());
        }
        tell(&state);
        self.changed.notify_waiters();
    }

    /// Waits until a step was taken or the configuration changed, for at most `limit`. It counts from the call, not from
    /// when it is awaited.
    pub fn changed(&self, limit: Duration) -> impl Future<Output = ()> + '_ {
        let changed = self.changed.notified();
        async move {
            let _ = timeout(limit, changed).await;
        }
    }

    /// How many rotations are under way.
    pub fn under_way(&self) -> usize {
        self.lock().rotating.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell(state: &State) {
    let mut parts = Vec::new();
    parts.extend(state.trouble.clone());
    parts.extend(state.troubles.iter().map(|(secret, trouble)| format!("{secret}: {trouble}")));
    parts.extend(state.rotating.iter().map(|(secret, step)| format!("rotating {secret}: {step}")));
    if !state.held.is_empty() {
        let held: Vec<&str> = state.held.iter().map(String::as_str).collect();
        parts.push(format!("on hold: {}", held.join(", ")));
    }
    if parts.is_empty() {
        parts.push(match state.secrets {
            0 => "no secret is configured".to_owned(),
            1 => "1 secret, nothing under way".to_owned(),
            count => format!("{count} secrets, nothing under way"),
        });
    }
    let _ = sd_notify::notify(&[NotifyState::Status(&parts.join("; "))]);
}
