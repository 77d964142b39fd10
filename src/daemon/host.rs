//! The engine's host in the daemon: systemd, the journal, and those who listen on the bus.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use super::calendar;
use super::charge::Charge;
use super::journal::Journal;
use super::listeners::Listeners;
use super::progress::Progress;
use super::timers;
use super::wave::Rider;
use crate::config::{HookSettings, SecretSettings};
use crate::dbus::systemd1::Systemd;
use crate::engine::Host;
use crate::engine::act::{self, Of};
use crate::helper::ProcessHelper;
use crate::record::chain::Head;
use crate::record::journal::{Entry, Priority};
use crate::record::{Hook, Record, RotationId, Standing, journal, message_id};
use crate::rotation::Fault;
use crate::target::Report;

/// The host of one secret's engine.
pub struct DaemonHost {
    /// systemd.
    pub systemd: Systemd,
    /// Who knows what systemd makes of a calendar expression.
    pub helper: ProcessHelper,
    /// The journal.
    pub journal: Journal,
    /// Who is told on the bus.
    pub listeners: Listeners,
    /// The daemon's status line.
    pub progress: Progress,
    /// Whether the daemon was told to stop.
    pub stopping: Arc<AtomicBool>,
    /// The secret.
    pub charge: Arc<Charge>,
    /// How long a movement may take.
    pub deadline: Duration,
    /// The units under which the entries show.
    pub units: Arc<[String]>,
    /// The others that are due at the same time.
    pub wave: Mutex<Option<Arc<Rider>>>,
    /// How the secret is configured.
    pub settings: SecretSettings,
}

impl DaemonHost {
    fn wave(&self) -> Option<Arc<Rider>> {
        self.wave.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl DaemonHost {
    /// The units under which an entry shows: instances of templates, and what is restarted with them, are known once they
    /// were found.
    fn units_in(&self, standing: &Standing) -> Arc<[String]> {
        let Some(transaction) = standing.transaction.as_ref().filter(|transaction| !transaction.found.is_empty())
        else {
            return Arc::clone(&self.units);
        };
        let found = transaction.found.iter().flat_map(|found| found.dependents.iter().chain([&found.unit]));
        let is_unit = |name: &&String| name.contains('.') && !name.contains(' ');
        let mut units = self.units.to_vec();
        for unit in found.filter(is_unit) {
            if !units.contains(unit) {
                units.push(unit.clone());
            }
        }
        units.into()
    }
}

impl Report for DaemonHost {
    fn progress(&self, line: &str) {
        let name = self.charge.name();
        let rotation = self.charge.standing().transaction.map(|transaction| transaction.id);
        let mut entry = Entry::new(Priority::Info, message_id::STEP_GOES_ON, format!("{name}: {line}"));
        entry.secret = Some(name.to_string());
        entry.rotation = rotation.as_ref().map(ToString::to_string);
        self.journal.send(entry, &self.units);
        if let Some(rotation) = &rotation {
            self.listeners.progress(name.as_str(), rotation, line);
        }
    }
}

#[async_trait]
impl Host for DaemonHost {
    async fn daemon_reload(&self, needed: bool) -> Result<(), Fault> {
        match self.wave() {
            Some(wave) => wave.daemon_reload(&self.systemd, needed).await,
            None if needed => self.systemd.reload().await.map_err(Fault::from),
            None => Ok(()),
        }
    }

    async fn before_evidence(&self) {
        if let Some(wave) = self.wave() {
            wave.meet().await;
        }
    }

    async fn arm_dead_man(&self, rotation: &RotationId) {
        if let Err(error) = timers::arm_dead_man(&self.systemd, rotation, self.deadline).await {
            let text = format!("the dead man's rollback cannot be armed, and the rotation goes on: {error}");
            self.journal.trouble(Priority::Warning, Some(self.charge.name()), &text);
        }
    }

    async fn disarm_dead_man(&self, rotation: &RotationId) {
        // What stays finds nothing to do.
        let _ = timers::disarm_dead_man(&self.systemd, rotation).await;
    }

    async fn date(&self, expressions: &[String], earliest: Timestamp) -> Option<Timestamp> {
        calendar::first(&self.helper, expressions, earliest).await.unwrap_or_else(|problem| {
            let text = format!("which date of {expressions:?} is next cannot be known: {problem}");
            self.journal.trouble(Priority::Warning, Some(self.charge.name()), &text);
            None
        })
    }

    async fn going_down(&self) -> bool {
        match self.systemd.system_state().await {
            Ok(state) => state == "stopping",
            // A bus that is gone is no reason to believe in a shutdown; with the order to stop, it is.
            Err(_) => self.stopping.load(Ordering::Relaxed),
        }
    }

    fn goes_back(&self) {
        self.wave.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    async fn hook(&self, hook: Hook, settings: &HookSettings) -> Result<(), Fault> {
        let rotation = self.charge.standing().transaction.map(|transaction| transaction.id.to_string());
        let of = Of { secret: &self.settings.name, rotation: rotation.as_deref().unwrap_or_default() };
        act::run(&self.systemd, of, hook, settings).await
    }

    async fn check_hook(&self, hook: Hook, settings: &HookSettings) -> Result<(), Fault> {
        act::check(&self.helper, hook, settings).await
    }

    fn publish(&self, record: &Record, head: &Head, standing: &Standing) {
        let before = self.charge.status(&self.settings);
        self.charge.note(standing);
        self.journal.send(journal::entry(record, head, standing), &self.units_in(standing));
        self.listeners.tell(record, standing);
        self.listeners.tell_changes(&before, &self.charge.status(&self.settings));
        self.progress.note(record, standing);
    }
}
