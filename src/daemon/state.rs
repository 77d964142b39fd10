//! What the daemon holds: the configuration in force, the store, and every secret in its care.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::applied::Applied;
use super::busy::Busy;
use super::charge::{self, Charge};
use super::host::DaemonHost;
use super::journal::Journal;
use super::listeners::Listeners;
use super::progress::Progress;
use super::requests::Gathering;
use super::wave::Rider;
use crate::config::{self, Dirs, Finding, SecretName, SecretSettings, Settings};
use crate::dbus::rekeyd1::{Condition, Error, SecretStatus};
use crate::dbus::systemd1::Systemd;
use crate::engine::{Engine, Kept};
use crate::helper::ProcessHelper;
use crate::proof::{self, Probe};
use crate::record::journal::{self, Entry, Priority};
use crate::record::text::fault_in_words;
use crate::record::{Happening, Standing, message_id};
use crate::rotation::{Fault, View};
use crate::store::{Ledger, Store, StoreError};
use crate::target::{self, Means, Target};

/// More secrets are counted and not named.
const MOST_NAMED: usize = 10;

/// The daemon, shared by everything that runs in it.
pub struct Daemon {
    /// Where the configuration is read from.
    pub dirs: Dirs,
    /// The store.
    pub store: Store,
    /// systemd.
    pub systemd: Systemd,
    /// Looks into other users' processes.
    pub helper: ProcessHelper,
    /// The journal.
    pub journal: Journal,
    /// Who is told on the bus.
    pub listeners: Listeners,
    /// The status line.
    pub progress: Progress,
    /// Which consumers are being moved.
    pub busy: Busy,
    /// What timers ask for, until it is begun together.
    pub gathering: Gathering,
    /// Held while the store's key is exported or replaced.
    pub renewing: tokio::sync::Mutex<()>,
    /// The schedules that were put in force.
    pub applied: Applied,
    stopping: Arc<AtomicBool>,
    configuration: RwLock<Configuration>,
    charges: Mutex<BTreeMap<SecretName, Arc<Charge>>>,
}

/// The configuration in force.
#[derive(Clone, Default)]
struct Configuration {
    /// Whether there is one at all.
    loaded: bool,
    settings: Arc<Settings>,
    /// What is wrong with the files, where no valid configuration was ever loaded.
    mistakes: Option<String>,
}

/// The parts that a secret's engine is put together from.
pub struct Parts {
    targets: Vec<Box<dyn Target>>,
    probes: Vec<Box<dyn Probe>>,
    host: DaemonHost,
}

impl Daemon {
    /// A daemon without a configuration.
    pub fn new(
        dirs: Dirs,
        store: Store,
        systemd: Systemd,
        helper: ProcessHelper,
        journal: Journal,
        listeners: Listeners,
    ) -> Self {
        Self {
            dirs,
            store,
            systemd,
            helper,
            journal,
            listeners,
            progress: Progress::default(),
            busy: Busy::default(),
            gathering: Gathering::default(),
            renewing: tokio::sync::Mutex::default(),
            applied: Applied::default(),
            stopping: Arc::default(),
            configuration: RwLock::default(),
            charges: Mutex::default(),
        }
    }

    /// From now on nothing new is begun.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether nothing is under way, nor what follows on it.
    pub fn is_idle(&self) -> bool {
        self.busy.is_idle()
    }

    /// Whether nothing new is to be begun.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Puts the configuration on disk in force. It is valid as a whole, or the old one stays; where there is no old
    /// one, the good secrets are known, but only to finish what had begun.
    ///
    /// # Errors
    /// The findings.
    pub fn load_configuration(&self) -> Result<Vec<Finding>, Vec<Finding>> {
        let loaded = config::load(&self.dirs);
        if loaded.is_valid() {
            let secrets = loaded.settings.secrets.len();
            self.put_in_force(Configuration { loaded: true, settings: Arc::new(loaded.settings), mistakes: None });
            let text = format!("configuration loaded, secrets in it: {secrets}");
            self.journal.tell(Priority::Info, message_id::CONFIG_LOADED, text);
            return Ok(loaded.findings);
        }
        for finding in &loaded.findings {
            self.journal.tell(Priority::Error, message_id::CONFIG_REJECTED, finding.one_line());
        }
        let before = self.configuration();
        if !before.loaded || before.mistakes.is_some() {
            let mistakes = Some(config::render(&loaded.findings, false));
            self.put_in_force(Configuration { loaded: true, settings: Arc::new(loaded.settings), mistakes });
        }
        Err(loaded.findings)
    }

    fn put_in_force(&self, configuration: Configuration) {
        let trouble = configuration.mistakes.as_ref().map(|_| "the configuration has mistakes: rekeyctl check");
        self.progress.configured(configuration.settings.secrets.len(), trouble.map(str::to_owned));
        // Records that could not be read may have been repaired.
        let is_readable = |charge: &Arc<Charge>| charge.unreadable().is_none();
        self.charges.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, charge| is_readable(charge));
        for name in configuration.settings.secrets.keys() {
            self.charge(name);
        }
        *self.configuration.write().unwrap_or_else(PoisonError::into_inner) = configuration;
    }

    fn configuration(&self) -> Configuration {
        self.configuration.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The settings in force.
    pub fn settings(&self) -> Arc<Settings> {
        self.configuration().settings
    }

    /// Where the configuration has mistakes and none was valid before, the error that says so.
    pub fn configuration_mistakes(&self) -> Result<(), Error> {
        self.configuration().mistakes.map_or(Ok(()), |mistakes| Err(Error::Configuration(mistakes)))
    }

    /// A secret by its name, as a caller spells it.
    ///
    /// # Errors
    /// Where none is configured; the text names those that are.
    pub fn find(&self, name: &str) -> Result<(SecretSettings, Arc<Charge>), Error> {
        let settings = self.settings();
        let found = SecretName::try_from(name.to_owned()).ok().and_then(|name| settings.secrets.get(&name).cloned());
        let Some(secret) = found else {
            self.configuration_mistakes()?;
            let names: Vec<&str> = settings.secrets.keys().map(SecretName::as_str).collect();
            let known = match names.len() {
                0 => "none is".to_owned(),
                1..=MOST_NAMED => format!("these are: {}", names.join(", ")),
                count => format!("{count} others are: rekeyctl list"),
            };
            let on_disk = SecretName::try_from(name.to_owned()).is_ok_and(|name| self.dirs.has_secret(&name));
            let known =
                if on_disk { "its file is there, and not in force yet: rekeyctl reload".to_owned() } else { known };
            return Err(Error::UnknownSecret(format!("no secret {name:?} is configured; {known}")));
        };
        let charge = self.charge(&secret.name);
        Ok((secret, charge))
    }

    /// A secret with which something can be done that needs its values.
    ///
    /// # Errors
    /// Where none is configured, its records cannot be read or are older than what was delivered, or the store is locked.
    pub fn find_usable(&self, name: &str) -> Result<(SecretSettings, Arc<Charge>), Error> {
        let (settings, charge) = self.find(name)?;
        self.unlocked()?;
        let obstacle = charge.unreadable().or_else(|| charge.outdated().map(|outdated| outdated.fault));
        obstacle.map_or(Ok((settings, charge)), |fault| Err(fault.into()))
    }

    /// # Errors
    /// Where the store is locked.
    pub fn unlocked(&self) -> Result<(), Error> {
        self.store.locked().map_or(Ok(()), |locked| Err(Fault::from(locked).into()))
    }

    /// What there is to say of a secret, but for what only systemd knows.
    pub fn status(&self, settings: &SecretSettings, charge: &Charge) -> SecretStatus {
        let mut status = charge.status(settings);
        if let Some(locked) = self.store.locked() {
            "locked".clone_into(&mut status.state);
            status.hold = Some(fault_in_words(&locked.into()));
        } else if let Some(trouble) = self.progress.trouble_of(settings.name.as_str()) {
            status.hold = Some(trouble);
        } else if let Some(lost) = self.lost_value(&settings.name, &charge.standing()).filter(|_| status.hold.is_none())
        {
            "unreadable".clone_into(&mut status.state);
            status.hold = Some(fault_in_words(&lost));
            // Of nothing can be said that it is not the value in force.
            status.drift.clear();
        }
        status
    }

    /// That a value in force cannot be had from the store any more, where it is so: somebody removed or damaged its file.
    pub fn lost_value(&self, name: &SecretName, standing: &Standing) -> Option<Fault> {
        let in_force = standing.in_force.iter().flat_map(View::generations);
        in_force.filter_map(|generation| self.store.get(name, generation).err()).map(Fault::from).next()
    }

    /// What there is to say of a secret that is not configured any more, and whose consumers accept a former value.
    pub fn left_open(&self, name: &SecretName) -> Option<String> {
        let accepted = self.charge(name).standing().in_force.filter(|view| !view.accepted.is_empty())?;
        let former: Vec<String> = accepted.accepted.iter().map(ToString::to_string).collect();
        Some(format!(
            "{name} is not configured any more, while generation {} is still accepted, and nothing ends that: put its file \
             back, rekeyctl reload, rekeyctl retire {name}",
            former.join(", ")
        ))
    }

    /// How the daemon itself is.
    pub fn condition(&self) -> Condition {
        let settings = self.settings();
        let is_kept = |name: &SecretName| self.store.sealed(name).is_ok_and(|sealed| !sealed.is_empty());
        let known = self.store.secrets().unwrap_or_default();
        let unconfigured = known.into_iter().filter(|name| !settings.secrets.contains_key(name) && is_kept(name));
        let unconfigured: Vec<SecretName> = unconfigured.collect();
        Condition {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            locked: self.store.locked().map(Fault::from),
            configuration: self.configuration().mistakes,
            left_open: unconfigured.iter().filter_map(|name| self.left_open(name)).collect(),
            unconfigured,
            edited: super::schedule::edited(self),
        }
    }

    /// Appends a record that belongs to no rotation, of a secret that may not be configured any more.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn append(&self, charge: &Arc<Charge>, ledger: &mut Option<Ledger>, what: Happening) -> Result<(), Error> {
        let Some(ledger) = ledger else { return Err(charge.is_unreadable()) };
        let failed = |error: StoreError| Error::from(Fault::from(error));
        if let Some(settings) = self.settings().secrets.get(charge.name()) {
            let parts = self.parts(settings, charge);
            return parts.engine(settings, &self.store, ledger).note(what).map_err(failed);
        }
        let record = ledger.append(None, what).map_err(failed)?;
        charge.note(ledger.standing());
        self.journal.send(journal::entry(&record, ledger.head(), ledger.standing()), &Arc::from([]));
        self.listeners.tell(&record, ledger.standing());
        Ok(())
    }

    /// Opens every secret's records anew: they are other ones now.
    pub fn forget_charges(&self) {
        self.charges.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The charge of a secret, opened where it is new.
    pub fn charge(&self, name: &SecretName) -> Arc<Charge> {
        let mut charges = self.charges.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(charge) = charges.get(name) {
            return Arc::clone(charge);
        }
        let charge = Charge::open(&self.store, name);
        if let Some(fault) = charge.unreadable() {
            let text = format!("{fault}; the secret is on hold");
            let mut entry = Entry::new(Priority::Critical, message_id::RECORD_UNREADABLE, text);
            entry.secret = Some(name.to_string());
            entry.reason = Some(fault.message.clone());
            entry.advice = Some(fault.advice);
            self.journal.send(entry, &Arc::from([]));
        }
        self.progress.note_standing(name.as_str(), &charge.standing());
        let charge = Arc::new(charge);
        charges.insert(name.clone(), Arc::clone(&charge));
        charge
    }

    /// The parts of a secret's engine.
    pub fn parts(&self, settings: &SecretSettings, charge: &Arc<Charge>) -> Parts {
        self.parts_in(None, settings, charge)
    }

    /// The parts of a secret's engine that goes side by side with others.
    pub fn parts_in(&self, wave: Option<&Arc<Rider>>, settings: &SecretSettings, charge: &Arc<Charge>) -> Parts {
        let means = Means::of_daemon(self.systemd.clone(), self.helper.clone());
        Parts {
            targets: target::from_settings(settings, &means),
            probes: proof::from_settings(settings, &means),
            host: DaemonHost {
                systemd: self.systemd.clone(),
                helper: self.helper.clone(),
                journal: self.journal.clone(),
                listeners: self.listeners.clone(),
                progress: self.progress.clone(),
                stopping: Arc::clone(&self.stopping),
                charge: Arc::clone(charge),
                deadline: settings.deadline,
                units: charge::units(settings),
                wave: Mutex::new(wave.cloned()),
                settings: settings.clone(),
            },
        }
    }
}

impl Parts {
    /// The targets of the secret.
    pub fn targets(&self) -> &[Box<dyn Target>] {
        &self.targets
    }

    /// The engine of a secret.
    pub fn engine<'a>(&'a self, settings: &'a SecretSettings, store: &'a Store, ledger: &'a mut Ledger) -> Engine<'a> {
        let kept = Kept::default();
        Engine { settings, targets: &self.targets, probes: &self.probes, store, ledger, kept, host: &self.host }
    }
}
