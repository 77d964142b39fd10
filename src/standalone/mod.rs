//! The engine in the caller's own process, for a developer's checkout: without systemd, without root, without the daemon.
//!
//! It is the same engine with the same records, so that a run that is killed is finished or undone by the next one. Its
//! state is not in the checkout but in the user's state directory, so that neither git, nor an image's build, nor a copy of
//! the checkout takes a value along.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::config::SecretSettings;
use crate::engine::{Adoption, Engine, Forecast, Kept, Verdict, batch};
use crate::proof::{self, Probe};
use crate::record::{Actor, Happening, Record};
use crate::rotation::{Fault, FaultCode, Outcome, Plan};
use crate::store::{self, Ledger, Locked, Store, StoreError, StoreLock};
use crate::sys::child::Child;
use crate::sys::command::Runner;
use crate::target::{self, Means, Target};

mod host;
mod state;

use host::StandaloneHost;
pub use host::Told;
pub use state::{State, Unusable};

/// One secret of a checkout, with all that moves it; nobody else has it meanwhile.
pub struct Standalone {
    settings: SecretSettings,
    store: Store,
    ledger: Ledger,
    targets: Vec<Box<dyn Target>>,
    probes: Vec<Box<dyn Probe>>,
    host: StandaloneHost,
}

/// It cannot be begun.
#[derive(Debug)]
pub enum NotBegun {
    /// Another run has it.
    Busy(PathBuf),
    /// The state cannot be used.
    Fault(Fault),
}

impl From<StoreError> for NotBegun {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::InUse(path) => Self::Busy(path),
            error => Self::Fault(error.into()),
        }
    }
}

/// What was to be done was stopped before its end, and the next run goes on.
#[derive(Debug)]
pub struct Stopped;

/// How a rotation ended; none where it was [`Stopped`].
pub type Ended = Result<Result<Outcome, Stopped>, Fault>;

impl Standalone {
    /// Opens the state of a secret, and makes it where it is new. What happens is told to whoever has the receiver.
    ///
    /// # Errors
    /// Where another run has it, or it cannot be used.
    pub fn open(settings: SecretSettings, state: &State) -> Result<(Self, UnboundedReceiver<Told>), NotBegun> {
        state.make().map_err(|Unusable { problem, advice }| {
            NotBegun::Fault(Fault::new(FaultCode::StoreFailed, problem).advise(advice))
        })?;
        let lock = StoreLock::take(&state.store())?;
        let is_new = store::secrets(&state.store())?.is_empty();
        let keys = state.keys(is_new).map_err(|problem| NotBegun::Fault(locked(state, problem)))?;
        let store = lock.open(Ok(keys));
        let ledger = store.ledger(&settings.name)?;
        let runner: Arc<dyn Runner> = Arc::new(Child { directory: state.checkout(), output: state.output() });
        let means = Means::here(Arc::clone(&runner));
        let (tell, told) = unbounded_channel();
        let standalone = Self {
            targets: target::from_settings(&settings, &means),
            probes: proof::from_settings(&settings, &means),
            host: StandaloneHost::new(&settings.name, runner, tell),
            settings,
            store,
            ledger,
        };
        Ok((standalone, told))
    }

    fn engine(&mut self) -> Engine<'_> {
        Engine {
            settings: &self.settings,
            targets: &self.targets,
            probes: &self.probes,
            store: &self.store,
            ledger: &mut self.ledger,
            kept: Kept::default(),
            host: &self.host,
        }
    }

    /// Whether a run before was killed and left something to finish or undo.
    pub fn is_unfinished(&self) -> bool {
        self.ledger.standing().transaction.is_some()
    }

    /// Whether the value in force is not known yet.
    pub fn is_new(&self) -> bool {
        self.ledger.standing().in_force.is_none()
    }

    /// What the records say.
    pub fn standing(&self) -> &crate::record::Standing {
        self.ledger.standing()
    }

    /// Finishes or undoes what a run before has left, and what is still owed after it.
    ///
    /// # Errors
    /// Where the records cannot be written.
    pub async fn recover(&mut self) -> Ended {
        let mut engine = self.engine();
        // Files first, so that a server that starts now finds whole ones.
        engine.repair().await?;
        to_the_end(&mut engine, true).await
    }

    /// Takes over the value in force.
    ///
    /// # Errors
    /// Where there is none, or the targets disagree.
    pub async fn adopt(&mut self) -> Result<Adoption, Fault> {
        self.engine().adopt(actor(), None).await
    }

    /// Does the preflight of a rotation and says what would follow.
    ///
    /// # Errors
    /// The obstacle.
    pub async fn forecast(&mut self, emergency: bool) -> Result<Forecast, Fault> {
        self.engine().forecast(emergency).await
    }

    /// Gathers the proof for the value in force.
    ///
    /// # Errors
    /// What speaks against it.
    pub async fn verify(&mut self) -> Result<Verdict, Fault> {
        self.engine().verify().await
    }

    /// Ends a hold.
    ///
    /// # Errors
    /// Where that cannot be recorded.
    pub fn release(&mut self) -> Result<(), Fault> {
        Ok(self.engine().note(Happening::Released { actor: actor() })?)
    }

    /// Plans what is wished, and performs it to its end.
    ///
    /// # Errors
    /// Why it cannot even be planned, or what keeps the records from being written.
    pub async fn perform(&mut self, wish: Wish, reason: &str) -> Ended {
        let mut engine = self.engine();
        let plan: Plan = match wish {
            Wish::Rotate { emergency } => engine.plan_rotation(emergency).await?,
            Wish::Rollback => engine.plan_rollback()?,
            Wish::Retire => engine.plan_retirement()?,
        };
        engine.request(plan, actor(), reason.to_owned(), None)?;
        to_the_end(&mut engine, false).await
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A new value.
    Rotate {
        /// Without an overlap.
        emergency: bool,
    },
    /// The previous value.
    Rollback,
    /// The end of the overlap.
    Retire,
}

/// What happened to the secret, oldest first; read beside a run that has it open.
///
/// # Errors
/// Where the records cannot be read.
pub fn history(settings: &SecretSettings, state: &State) -> Result<Vec<Record>, Fault> {
    Ok(store::history(&state.store(), &settings.name)?)
}

/// What the records add up to; read beside a run that has it open.
///
/// # Errors
/// Where they cannot be read.
pub fn standing(settings: &SecretSettings, state: &State) -> Result<crate::record::Standing, Fault> {
    Ok(store::standing(&state.store(), &settings.name)?)
}

fn actor() -> Actor {
    Actor::Standalone { uid: rustix::process::getuid().as_raw() }
}

fn locked(state: &State, problem: String) -> Fault {
    let directory = state.path().display();
    Fault::new(FaultCode::StoreLocked, Locked::NoKey(problem).to_string())
        .advise(format!("to begin anew with the value that is in force: rm -r {directory}"))
}

/// Told to stop, it goes back; told so again, it leaves the rest to the next run.
async fn to_the_end(engine: &mut Engine<'_>, resumed: bool) -> Ended {
    let engines = std::slice::from_mut(engine);
    let ran = async { if resumed { batch::resume(engines).await } else { batch::run(engines).await } };
    let ran = tokio::select! {
        biased;
        ran = ran => Some(ran),
        () = told_to_stop() => None,
    };
    let ran = match ran {
        Some(ran) => ran,
        None => {
            let [engine] = engines else { return Ok(Err(Stopped)) };
            engine.host.progress("told to stop: nothing new is begun, and what was begun is undone");
            let fault = Fault::new(FaultCode::DaemonGone, "it was told to stop, by Ctrl-C or a signal");
            tokio::select! {
                biased;
                ran = batch::give_up(engines, &fault) => ran,
                () = told_to_stop() => return Ok(Err(Stopped)),
            }
        }
    };
    ran?;
    let last = engines.first().and_then(|engine| engine.ledger.standing().last.as_ref());
    Ok(last.map(|last| last.outcome.clone()).ok_or(Stopped))
}

async fn told_to_stop() {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let signals: Vec<_> = kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect();
    let received = signals.into_iter().map(|mut signal| Box::pin(async move { signal.recv().await }));
    futures_util::future::select_all(received).await;
}

/// The directory of a file.
fn directory_of(file: &Path) -> PathBuf {
    file.parent().map(Path::to_owned).unwrap_or_default()
}
