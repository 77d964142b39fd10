//! Keeps the metrics file up to date, for node_exporter's textfile collector.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::schedule;
use super::state::Daemon;
use crate::config::{SecretName, SecretSettings};
use crate::record::journal::Priority;
use crate::record::message_id;
use crate::record::metrics::{Measured, render};
use crate::sys::files::{self, FileError};

/// How old the file becomes at most.
const OLDEST: Duration = Duration::from_secs(60);
/// Steps that follow one another are written together.
const SETTLE: Duration = Duration::from_secs(1);

/// From now on, until the daemon ends.
pub fn begin(daemon: &Arc<Daemon>) {
    let daemon = Arc::clone(daemon);
    tokio::spawn(async move {
        let mut calendar = Calendar::default();
        let mut last_error = None;
        loop {
            let changed = daemon.progress.changed(OLDEST);
            let error = match daemon.settings().daemon.metrics.as_deref() {
                Some(path) => write(&daemon, &mut calendar, path).await.err().map(|error| error.to_string()),
                None => None,
            };
            if error != last_error
                && let Some(error) = &error
            {
                let text = format!("the metrics cannot be written: {error}; see [metrics] in man rekeyd.toml");
                daemon.journal.tell(Priority::Warning, message_id::TROUBLE, text);
            }
            last_error = error;
            changed.await;
            sleep(SETTLE).await;
        }
    });
}

async fn write(daemon: &Daemon, calendar: &mut Calendar, path: &Path) -> Result<(), FileError> {
    let settings = daemon.settings();
    let locked = daemon.store.locked().is_some();
    let mut measured = Vec::new();
    for secret in settings.secrets.values() {
        let charge = daemon.charge(&secret.name);
        let is_stuck = locked || charge.is_stuck();
        let (name, standing, next) = (secret.name.clone(), charge.standing(), calendar.next(daemon, secret).await);
        measured.push(Measured { name, standing, next, is_stuck });
    }
    let text = render(env!("CARGO_PKG_VERSION"), Timestamp::now(), locked, &measured);
    files::replace(path, text.as_bytes(), 0o644).map(|_| ())
}

/// What systemd said of the schedules, lest it is asked at each step of each rotation.
#[derive(Default)]
struct Calendar(BTreeMap<SecretName, (Instant, Option<Timestamp>)>);

impl Calendar {
    async fn next(&mut self, daemon: &Daemon, settings: &SecretSettings) -> Option<Timestamp> {
        let now = Timestamp::now();
        let is_fresh = |(asked, next): &&(Instant, Option<Timestamp>)| {
            asked.elapsed() < OLDEST && next.is_none_or(|next| next > now)
        };
        if let Some((_, next)) = self.0.get(&settings.name).filter(is_fresh) {
            return *next;
        }
        let next = schedule::next(&daemon.systemd, settings).await;
        self.0.insert(settings.name.clone(), (Instant::now(), next));
        next
    }
}
