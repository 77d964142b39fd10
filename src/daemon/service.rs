//! The daemon behind `org.rekeyd1`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{sleep, timeout};
use zbus::Connection;
use zbus::fdo::DBusProxy;
use zbus::names::BusName;

use super::charge::Charge;
use super::gate::Gate;
use super::requests::{self, Wish};
use super::rotations;
use super::state::Daemon;
use super::{calendar, schedule};
use crate::config::{self, Settings};
use crate::dbus::polkit;
use crate::dbus::rekeyd1::{Admitted, Caller, Error, Reloaded, RotateFlags, SecretStatus, Service};
use crate::dbus::rights::{self, Asker, Right};
use crate::dbus::secret::{self, Secret};
use crate::engine::{Adoption, Forecast, Verdict};
use crate::record::{Actor, Happening, Record, RotationId, Standing};
use crate::rotation::Fault;
use crate::store::{Chained, Ledger, StoreError};

/// How often it is looked whether a caller who waits is still there.
const LOOK: Duration = Duration::from_secs(1);
/// A proof that is being gathered takes this long at most; a person who acts waits for it.
const LOOKING: Duration = Duration::from_secs(45);

/// The daemon as the bus sees it.
#[derive(Clone)]
pub struct Served {
    daemon: Arc<Daemon>,
    gate: Gate,
    connection: Arc<Mutex<Option<Connection>>>,
}

impl Served {
    /// Serves `daemon`; the connection follows once there is one.
    pub fn new(daemon: Arc<Daemon>) -> Self {
        Self { daemon, gate: Gate::default(), connection: Arc::default() }
    }

    /// From now on the bus is asked about callers over this connection.
    pub fn connected(&self, connection: &Connection) {
        self.gate.forget_names();
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection.clone());
    }

    fn connection(&self) -> Result<Connection, Error> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner).clone();
        connection.ok_or_else(|| Error::Failed("the daemon is not connected to the bus yet".to_owned()))
    }

    /// Puts an object on the bus for each secret that is configured, takes away those of secrets that are no longer,
    /// and tells the listeners what the configuration changed of the others.
    ///
    /// # Errors
    /// Where the bus is gone.
    pub async fn show_secrets(&self, before: &Settings) -> Result<(), zbus::Error> {
        let Ok(connection) = self.connection() else { return Ok(()) };
        let (server, settings) = (connection.object_server(), self.daemon.settings());
        for name in before.secrets.keys().filter(|name| !settings.secrets.contains_key(*name)) {
            let _ = server.remove::<Secret, _>(secret::path(name.as_str())).await;
        }
        for (name, now) in &settings.secrets {
            server.at(secret::path(name.as_str()), Secret::new(Arc::new(self.clone()), name.as_str())).await?;
            if let Some(before) = before.secrets.get(name) {
                let charge = self.daemon.charge(name);
                self.daemon.listeners.tell_changes(&charge.status(before), &charge.status(now));
            }
        }
        Ok(())
    }

    /// The user of a sender, as the bus says.
    async fn uid(&self, sender: &str) -> Result<u32, Error> {
        if let Some(uid) = self.gate.uid(sender) {
            return Ok(uid);
        }
        let bus = DBusProxy::new(&self.connection()?).await?;
        let name = BusName::try_from(sender).map_err(|error| Error::Failed(error.to_string()))?;
        let uid = bus.get_connection_unix_user(name).await.map_err(|error| Error::NotAllowed(error.to_string()))?;
        self.gate.remember(sender, uid);
        Ok(uid)
    }

    /// Whether a sender is still on the bus. In doubt it is.
    async fn is_there(&self, sender: &str) -> bool {
        let Ok(connection) = self.connection() else { return true };
        let (Ok(bus), Ok(name)) = (DBusProxy::new(&connection).await, BusName::try_from(sender)) else { return true };
        bus.name_has_owner(name).await.unwrap_or(true)
    }

    /// Ends when a sender has left the bus.
    async fn gone(&self, sender: &str) {
        while self.is_there(sender).await {
            sleep(LOOK).await;
        }
    }

    /// Asks polkit whether somebody who is not root may do this.
    async fn authorize(&self, asker: &Asker, uid: u32, action: &str, secret: &str) -> Result<(), Error> {
        // A name that is none is not shown to a person, and who may not act learns nothing of those that are.
        if !secret.is_empty() {
            charge_name(secret)?;
        }
        let connection = self.connection()?;
        let answer = polkit::ask(&connection, &asker.sender, action, &[("secret", secret)], asker.interactive).await;
        rights::allowed(answer, action, uid)?;
        // Whoever gave up while a person was asked is not served behind their back.
        if asker.interactive && !self.is_there(&asker.sender).await {
            return Err(Error::NotAllowed("the caller has left".to_owned()));
        }
        Ok(())
    }

    /// Begins what a caller wishes. One that waits for a consumer and leaves meanwhile wishes no more.
    async fn begin(
        &self,
        wish: Wish,
        name: &str,
        caller: Caller,
        reason: &str,
        flags: RotateFlags,
    ) -> Result<RotationId, Error> {
        if (flags.scheduled || flags.retry) && caller.uid != 0 {
            return Err(Error::NotAllowed("only root may ask in the name of the schedule".to_owned()));
        }
        if flags.follow && !self.daemon.listeners.follow(&caller) {
            return Err(too_many());
        }
        let sender = caller.sender.clone();
        let actor = match flags {
            RotateFlags { retry: true, .. } => Actor::Retry,
            RotateFlags { scheduled: true, .. } => Actor::Timer,
            _ => person(caller),
        };
        let begun = tokio::select! {
            begun = requests::begin(&self.daemon, wish, name, actor, reason, flags) => begun,
            () = self.gone(&sender), if flags.wait && !flags.scheduled => {
                Err(Error::Failed("the caller has left".to_owned()))
            }
        };
        if begun.is_err() {
            self.daemon.listeners.unfollow(&sender);
        }
        begun
    }

    /// Appends a record that belongs to no rotation. Where one is under way, it comes first.
    async fn append(&self, name: &str, what: impl FnOnce() -> Happening + Send) -> Result<(), Error> {
        let (settings, charge) = self.daemon.find(name)?;
        if let Some(fault) = charge.unreadable() {
            return Err(fault.into());
        }
        let mut guard = ledger_for_acting(&charge, name).await?;
        let Some(ledger) = guard.as_mut() else { return Err(busy(name)) };
        let parts = self.daemon.parts(&settings, &charge);
        let mut engine = parts.engine(&settings, &self.daemon.store, ledger);
        engine.note(what()).map_err(store_failed)
    }

    /// Where something is so already there is nothing to do, and nothing to record.
    fn unless(&self, name: &str, what: &str, is_so: impl FnOnce(&Standing) -> bool) -> Result<(), Error> {
        let (_, charge) = self.daemon.find(name)?;
        if charge.unreadable().is_none() && is_so(&charge.standing()) {
            return Err(Error::Skipped(format!("{name} is {what}: nothing to do")));
        }
        Ok(())
    }

    /// Stops listening on behalf of those who have left the bus.
    async fn forget_the_gone(&self) -> Result<(), Error> {
        let bus = DBusProxy::new(&self.connection()?).await?;
        for name in self.daemon.listeners.names() {
            let there = match BusName::try_from(name.as_str()) {
                Ok(bus_name) => bus.name_has_owner(bus_name).await.unwrap_or(true),
                Err(_) => false,
            };
            if !there {
                self.daemon.listeners.remove(&name);
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Service for Served {
    async fn admit(&self, asker: Asker, right: Right, secret: &str) -> Result<Admitted, Error> {
        let uid = self.uid(&asker.sender).await?;
        let pass = self.gate.enter(uid, right.cost())?;
        if let Some(action) = right.action()
            && uid != 0
        {
            self.authorize(&asker, uid, action, secret).await?;
        }
        Ok(Admitted { caller: Caller { sender: asker.sender, uid }, pass: Box::new(pass) })
    }

    fn glance(&self, name: &str) -> Result<SecretStatus, Error> {
        let (settings, charge) = self.daemon.find(name)?;
        Ok(charge.status(&settings))
    }

    async fn list(&self) -> Result<Vec<SecretStatus>, Error> {
        self.daemon.configuration_mistakes()?;
        let settings = self.daemon.settings();
        let mut statuses = Vec::new();
        for name in settings.secrets.keys() {
            statuses.push(self.get(name.as_str()).await?);
        }
        Ok(statuses)
    }

    async fn get(&self, name: &str) -> Result<SecretStatus, Error> {
        let (settings, charge) = self.daemon.find(name)?;
        let mut status = charge.status(&settings);
        status.next = schedule::next(&self.daemon.systemd, &settings).await;
        Ok(status)
    }

    async fn forecast(&self, name: &str) -> Result<Forecast, Error> {
        self.daemon.configuration_mistakes()?;
        let (settings, charge) = self.daemon.find(name)?;
        let Ok(mut guard) = charge.ledger.try_lock() else { return Err(busy(name)) };
        let Some(ledger) = guard.as_mut() else { return Err(unreadable(charge.unreadable())) };
        let parts = self.daemon.parts(&settings, &charge);
        Ok(parts.engine(&settings, &self.daemon.store, ledger).forecast().await?)
    }

    async fn rotate(&self, caller: Caller, name: &str, reason: &str, flags: RotateFlags) -> Result<RotationId, Error> {
        self.begin(Wish::Rotate, name, caller, reason, flags).await
    }

    async fn rollback(
        &self,
        caller: Caller,
        name: &str,
        reason: &str,
        flags: RotateFlags,
    ) -> Result<RotationId, Error> {
        let flags = RotateFlags { scheduled: false, retry: false, ..flags };
        self.begin(Wish::Rollback, name, caller, reason, flags).await
    }

    async fn retire(&self, caller: Caller, name: &str, reason: &str, flags: RotateFlags) -> Result<RotationId, Error> {
        let flags = RotateFlags { retry: false, ..flags };
        self.begin(Wish::Retire, name, caller, reason, flags).await
    }

    async fn adopt(&self, caller: Caller, name: &str) -> Result<Adoption, Error> {
        self.daemon.configuration_mistakes()?;
        let (settings, charge) = self.daemon.find(name)?;
        let mut guard = ledger_for_acting(&charge, name).await?;
        let Some(ledger) = guard.as_mut() else { return Err(unreadable(charge.unreadable())) };
        let parts = self.daemon.parts(&settings, &charge);
        let actor = person(caller);
        Ok(parts.engine(&settings, &self.daemon.store, ledger).adopt(actor).await?)
    }

    async fn verify(&self, name: &str) -> Result<Verdict, Error> {
        let (settings, charge) = self.daemon.find(name)?;
        let Ok(mut guard) = charge.ledger.try_lock() else { return Err(busy(name)) };
        let Some(ledger) = guard.as_mut() else { return Err(unreadable(charge.unreadable())) };
        let parts = self.daemon.parts(&settings, &charge);
        let verdict = parts.engine(&settings, &self.daemon.store, ledger).verify().await;
        verdict.map_err(|fault| Error::Failed(crate::record::text::fault_in_words(&fault)))
    }

    async fn pause(&self, caller: Caller, name: &str) -> Result<(), Error> {
        self.unless(name, "paused already", |standing| standing.paused)?;
        self.append(name, || Happening::Paused { actor: person(caller) }).await
    }

    async fn resume(&self, caller: Caller, name: &str) -> Result<(), Error> {
        self.unless(name, "not paused", |standing| !standing.paused)?;
        self.append(name, || Happening::Unpaused { actor: person(caller) }).await
    }

    async fn release(&self, caller: Caller, name: &str) -> Result<(), Error> {
        self.unless(name, "not on hold", |standing| standing.hold.is_none())?;
        self.append(name, || Happening::Released { actor: person(caller) }).await
    }

    async fn history(&self, name: &str) -> Result<Vec<Record>, Error> {
        let (_, charge) = self.daemon.find(name)?;
        if let Some(fault) = charge.unreadable() {
            return Err(fault.into());
        }
        self.daemon.store.history(&charge_name(name)?).map_err(store_failed)
    }

    async fn audit(&self, name: &str) -> Result<Chained, Error> {
        self.daemon.find(name)?;
        self.daemon.store.chained(&charge_name(name)?).map_err(store_failed)
    }

    async fn reload(&self) -> Result<Reloaded, Error> {
        let before = self.daemon.settings();
        let found = config::load(&self.daemon.dirs);
        if found.is_valid()
            && let Some(mistakes) = calendar::mistakes(&self.daemon.helper, &found.settings).await
        {
            return Err(Error::Configuration(mistakes));
        }
        let warnings = self
            .daemon
            .load_configuration()
            .map_err(|findings| Error::Configuration(config::render(&findings, false)))?;
        self.show_secrets(&before).await?;
        // A rotation whose secret was not configured, or whose records could not be read, can be gone on with.
        rotations::repair_all(&self.daemon).await;
        rotations::resume_all(&self.daemon);
        let mut reloaded = schedule::apply(&self.daemon, &before).await?;
        reloaded.warnings = warnings.iter().map(config::Finding::one_line).collect();
        Ok(reloaded)
    }

    async fn subscribe(&self, caller: Caller) -> Result<(), Error> {
        // rekeyctl asks again and again, lest the daemon was another one meanwhile.
        if self.daemon.listeners.has(&caller.sender) {
            return Ok(());
        }
        self.forget_the_gone().await?;
        if self.daemon.listeners.add(&caller) { Ok(()) } else { Err(too_many()) }
    }
}

/// The records, for what a person wants to be recorded now. A rotation that is under way comes first; somebody who
/// merely looks does not keep it waiting for long.
async fn ledger_for_acting<'a>(
    charge: &'a Charge,
    name: &str,
) -> Result<tokio::sync::MutexGuard<'a, Option<Ledger>>, Error> {
    if let Ok(guard) = charge.ledger.try_lock() {
        return Ok(guard);
    }
    if charge.standing().transaction.is_some() {
        return Err(busy(name));
    }
    timeout(LOOKING, charge.ledger.lock()).await.map_err(|_| busy(name))
}

fn too_many() -> Error {
    Error::Busy("too many are listening already; end some of the rekeyctl that follow a rotation".to_owned())
}

fn person(caller: Caller) -> Actor {
    Actor::Person { uid: caller.uid, sender: caller.sender }
}

fn charge_name(name: &str) -> Result<config::SecretName, Error> {
    config::SecretName::try_from(name.to_owned()).map_err(Error::UnknownSecret)
}

fn busy(name: &str) -> Error {
    Error::Busy(format!("a rotation of {name} is under way; see rekeyctl status {name}"))
}

fn unreadable(fault: Option<Fault>) -> Error {
    fault.map_or_else(|| Error::Failed("the records cannot be read".to_owned()), Error::from)
}

fn store_failed(error: StoreError) -> Error {
    Error::from(Fault::from(error))
}
