//! The engine's host in the daemon: systemd, the journal, and those who listen on the bus.

use std::sync::Arc;

use async_trait::async_trait;

use super::charge::Charge;
use super::journal::Journal;
use super::listeners::Listeners;
use super::progress::Progress;
use crate::dbus::systemd1::Systemd;
use crate::engine::Host;
use crate::record::chain::Head;
use crate::record::{Record, Standing, journal};
use crate::rotation::Fault;

/// The host of one secret's engine.
pub struct DaemonHost {
    /// systemd.
    pub systemd: Systemd,
    /// The journal.
    pub journal: Journal,
    /// Who is told on the bus.
    pub listeners: Listeners,
    /// The daemon's status line.
    pub progress: Progress,
    /// The secret.
    pub charge: Arc<Charge>,
    /// The units under which the entries show.
    pub units: Arc<[String]>,
}

#[async_trait]
impl Host for DaemonHost {
    async fn daemon_reload(&self) -> Result<(), Fault> {
        self.systemd.reload().await.map_err(Fault::from)
    }

    async fn going_down(&self) -> bool {
        // A manager that cannot be asked is no reason to believe in a shutdown.
        self.systemd.system_state().await.is_ok_and(|state| state == "stopping")
    }

    fn publish(&self, record: &Record, head: &Head, standing: &Standing) {
        self.charge.note(standing);
        self.journal.send(journal::entry(record, head, standing), &self.units);
        self.listeners.tell(record, standing);
        self.progress.note(record, standing);
    }
}
