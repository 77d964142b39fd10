//! `rekeyd`: start order, main loop, stopping.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, interval, sleep, timeout};
use zbus::Connection;

use crate::config::{Dirs, Settings};
use crate::dbus::rekeyd1::{Manager, NAME, PATH, Service as _};
use crate::dbus::systemd1::Systemd;
use crate::helper::{KeyHelper, ProcessHelper};
use crate::record::journal::Priority;
use crate::record::message_id;
use crate::record::text::fault_in_words;
use crate::rotation::Fault;
use crate::store::{self, Locked, StoreError, StoreLock};

mod aftercare;
mod applied;
mod busy;
mod calendar;
mod callers;
mod charge;
mod custody;
mod drift;
mod forget;
mod gate;
mod host;
mod journal;
mod leaks;
mod listeners;
mod metrics;
mod notice;
mod notification;
mod progress;
mod rearm;
mod recover;
mod requests;
mod rotations;
mod schedule;
mod service;
mod state;
mod timers;
mod wave;

pub use charge::summary;
pub use rearm::run as rearm;
pub use recover::run as recover;

use journal::Journal;
use listeners::{Listeners, Outbox};
use service::Served;
use state::Daemon;

/// How long a start waits for the store's lock: less than its time-out.
const LOCKED: Duration = Duration::from_secs(60);

/// The daemon cannot start.
#[derive(Debug, Error)]
enum StartError {
    #[error("cannot start: {0}")]
    Io(#[from] std::io::Error),
    #[error("{}", fault_in_words(.0))]
    Store(Fault),
    #[error("{0}")]
    Locked(#[from] Locked),
    #[error("the bus: {0}")]
    Bus(#[from] zbus::Error),
    #[error("the bus is gone")]
    NoBus,
    #[error("the secret of the rotation is not configured, so that it cannot be undone: put its file back")]
    NotConfigured,
    #[error("the old value could not be brought back: a person is needed, see journalctl -u rekeyd-recover@*.service")]
    RollbackFailed,
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.into())
    }
}

/// How often it is seen whether what is under way when the daemon is to stop has ended.
const LOOK: Duration = Duration::from_millis(100);

/// The connection to the bus, and the signals that wait to be sent on it.
struct Bus {
    connection: Connection,
    outbox: Outbox,
}

/// Why the main loop has ended.
#[derive(PartialEq, Eq)]
enum Ended {
    Told,
    NoBus,
}

/// Runs the daemon until it is told to stop.
pub fn run() -> ExitCode {
    // Made before anything else can use up the descriptors that it needs.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let ended = runtime.block_on(serve());
    // What still waits in a thread of its own, a probe's request, ends with the process.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &StartError) -> ExitCode {
    eprintln!("<3>rekeyd: {error}");
    ExitCode::FAILURE
}

/// Start order: the lock, the key, the configuration, the records, repairs; then the bus and READY; only then what
/// may wait for others: resuming, and the timers.
async fn serve() -> Result<(), StartError> {
    let lock = take_lock().await?;
    let (journal, _thread) = Journal::start()?;
    let (daemon, outbox) = assemble(lock, journal.clone()).await;
    // Findings are in the journal already; the daemon runs all the same, to finish what had begun.
    let _ = daemon.load_configuration();
    rotations::repair_all(&daemon).await;

    let served = Served::new(Arc::clone(&daemon));
    let mut signals = Signals::new()?;
    let mut bus = Bus { connection: connect(&served).await?, outbox };
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    journal.tell(Priority::Info, message_id::DAEMON_READY, format!("rekeyd {} is ready", env!("CARGO_PKG_VERSION")));
    custody::begin(&daemon);
    rotations::resume_all(&daemon);
    rotations::tell_of_orphans(&daemon);
    aftercare::go_on(&daemon);
    notice::begin(&daemon);
    drift::begin(&daemon);
    metrics::begin(&daemon);
    tokio::spawn({
        let daemon = Arc::clone(&daemon);
        async move { schedule::restore(&daemon).await }
    });

    let ended = main_loop(&daemon, &served, &mut bus, &mut signals).await;
    stop(&daemon, &mut bus).await;
    journal.flush(Duration::from_secs(2));
    // systemd starts it again where it fails.
    if ended == Ended::NoBus { Err(StartError::NoBus) } else { Ok(()) }
}

/// The store's lock. A dead man's rollback may have it for a moment.
async fn take_lock() -> Result<StoreLock, StoreError> {
    let until = Instant::now() + LOCKED;
    loop {
        match StoreLock::take(Path::new(store::ROOT)) {
            Err(StoreError::InUse(_)) if Instant::now() < until => sleep(Duration::from_millis(200)).await,
            taken => return taken,
        }
    }
}

/// The daemon's parts, put together.
async fn assemble(lock: StoreLock, journal: Journal) -> (Arc<Daemon>, Outbox) {
    let keys = KeyHelper::default().keys().await;
    let (listeners, outbox) = Listeners::new();
    let (systemd, helper) = (Systemd::default(), ProcessHelper::default());
    let daemon = Daemon::new(Dirs::default(), lock.open(keys), systemd, helper, journal, listeners);
    (Arc::new(daemon), outbox)
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// Until a signal says stop. The watchdog is fed from here and from nowhere else: were this loop stuck, systemd must
/// know.
async fn main_loop(daemon: &Arc<Daemon>, served: &Served, bus: &mut Bus, signals: &mut Signals) -> Ended {
    let mut watchdog = interval(sd_notify::watchdog_enabled().map_or(Duration::from_secs(60), |limit| limit / 3));
    loop {
        tokio::select! {
            _ = watchdog.tick() => {
                let _ = sd_notify::notify(&[NotifyState::Watchdog]);
            }
            Some(signal) = bus.outbox.recv() => {
                let _ = bus.connection.send(&signal).await;
            }
            () = bus.connection.closed() => tokio::select! {
                again = reconnect(served) => match again {
                    Some(again) => bus.connection = again,
                    None => return Ended::NoBus,
                },
                _ = signals.terminate.recv() => return Ended::Told,
            },
            _ = signals.hangup.recv() => {
                let served = served.clone();
                let daemon = Arc::clone(daemon);
                tokio::spawn(async move {
                    if let Err(error) = served.reload().await {
                        daemon.journal.tell(Priority::Error, message_id::CONFIG_REJECTED, format!("reload: {error}"));
                    }
                });
            }
            _ = signals.terminate.recv() => return Ended::Told,
            _ = signals.interrupt.recv() => return Ended::Told,
        }
    }
}

async fn connect(served: &Served) -> Result<Connection, zbus::Error> {
    let manager = Manager(Arc::new(served.clone()));
    let connection = zbus::connection::Builder::system()
        .serve_at(PATH, manager)
        .method_timeout(Duration::from_secs(60))
        .build()
        .await?;
    served.connected(&connection);
    served.show_secrets(&Settings::default()).await?;
    connection.request_name(NAME).await?;
    Ok(connection)
}

/// The bus was restarted, or the connection broke: what is under way goes on meanwhile.
async fn reconnect(served: &Served) -> Option<Connection> {
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until {
        if let Ok(connection) = connect(served).await {
            return Some(connection);
        }
        let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        sleep(Duration::from_millis(200)).await;
    }
    None
}

/// Finishes what is under way if it ends in time, and tells of it those who follow; what does not goes on at the next start,
/// from the point that is recorded. When the system goes down, that is at once.
async fn stop(daemon: &Daemon, bus: &mut Bus) {
    daemon.stop();
    let state = timeout(Duration::from_secs(1), daemon.systemd.system_state()).await;
    // Without a bus nothing can be finished either.
    let going_down = !matches!(state, Ok(Ok(state)) if state != "stopping");
    // One that nobody is at, since its secret is not configured any more, is not waited for.
    let under_way = if daemon.is_idle() { 0 } else { daemon.progress.under_way() };
    let text = match (under_way, going_down) {
        (0, _) => "rekeyd stops".to_owned(),
        (count, true) => format!("rekeyd stops with the system; {count} rotations go on at the next start"),
        (count, false) => format!("rekeyd stops once {count} rotations have ended, or goes on at the next start"),
    };
    daemon.journal.tell(Priority::Info, message_id::DAEMON_STOPPING, text);
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    if going_down {
        return;
    }
    let until = Instant::now() + daemon.settings().daemon.stop_timeout;
    while !daemon.is_idle() && Instant::now() < until {
        let _ = sd_notify::notify(&[NotifyState::ExtendTimeoutUsec(10_000_000), NotifyState::Watchdog]);
        tokio::select! {
            Some(signal) = bus.outbox.recv() => {
                let _ = bus.connection.send(&signal).await;
            }
            () = daemon.progress.changed(LOOK) => {}
        }
    }
    while let Ok(signal) = bus.outbox.try_recv() {
        let _ = bus.connection.send(&signal).await;
    }
}
