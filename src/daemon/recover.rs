//! `rekeyd recover ID`: the dead man's rollback. A timer that is armed before the consumers are touched starts it; where
//! a daemon lives or the rotation has ended it does nothing, else it takes the consumers back to the old value.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::journal::Journal;
use super::state::Daemon;
use super::{StartError, assemble, notice, rotations, timers};
use crate::dbus::systemd1::Systemd;
use crate::record::RotationId;
use crate::rotation::{Fault, FaultCode, Outcome};
use crate::store::{self, StoreError, StoreLock};

/// Undoes the rotation, where nobody else will.
pub fn run(id: &str) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return super::fail(&error.into()),
    };
    let recovered = runtime.block_on(recover(id));
    runtime.shutdown_background();
    match recovered {
        Ok(()) => ExitCode::SUCCESS,
        // As it is of rekeyctl.
        Err(error @ StartError::RollbackFailed) => {
            super::fail(&error);
            ExitCode::from(2)
        }
        Err(error) => super::fail(&error),
    }
}

async fn recover(id: &str) -> Result<(), StartError> {
    let root = Path::new(store::ROOT);
    // Also while a daemon lives: one that was killed right after the end has not stopped this timer.
    if !is_under_way(root, id)? {
        if let Ok(rotation) = RotationId::try_from(id.to_owned()) {
            let _ = timers::disarm_dead_man(&Systemd::default(), &rotation).await;
        }
        return Ok(());
    }
    let lock = match StoreLock::take(root) {
        // Whoever has it goes on with the rotation.
        Err(StoreError::InUse(_)) => return Ok(()),
        lock => lock?,
    };
    if !is_under_way(root, id)? {
        return Ok(());
    }
    let (journal, _thread) = Journal::start()?;
    let (daemon, _outbox) = assemble(lock, journal.clone()).await;
    if let Some(locked) = daemon.store.locked() {
        return Err(locked.into());
    }
    let _ = daemon.load_configuration();
    let fault = Fault::new(FaultCode::DaemonGone, "rekeyd was gone in mid-rotation and did not come back")
        .advise("see why: systemctl status rekeyd, journalctl -u rekeyd");
    let is_known = rotations::give_up(&daemon, id, fault).await;
    // Nobody else tells it before rekeyd is there again.
    notice::tell_now(&daemon).await;
    journal.flush(Duration::from_secs(2));
    match is_known {
        false => Err(StartError::NotConfigured),
        true if has_failed(&daemon, id) => Err(StartError::RollbackFailed),
        true => Ok(()),
    }
}

/// Whether it ended without the old value in force and proven.
fn has_failed(daemon: &Daemon, id: &str) -> bool {
    let settings = daemon.settings();
    let mut last = settings.secrets.keys().filter_map(|name| daemon.charge(name).standing().last);
    let ended = last.find(|last| last.id.as_str() == id);
    ended.is_some_and(|last| matches!(last.outcome, Outcome::RollbackFailed { .. }))
}

fn is_under_way(root: &Path, id: &str) -> Result<bool, StoreError> {
    for name in store::secrets(root)? {
        let is_it = |id_of: &RotationId| id_of.as_str() == id;
        if store::standing(root, &name)?.transaction.is_some_and(|transaction| is_it(&transaction.id)) {
            return Ok(true);
        }
    }
    Ok(false)
}
