//! The daemon behind `org.rekeyd1`.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use zbus::Connection;
use zbus::fdo::DBusProxy;
use zbus::names::BusName;

use super::rotations::{self, Wish};
use super::state::Daemon;
use super::{calendar, schedule};
use crate::config;
use crate::dbus::rekeyd1::{Caller, Error, Reloaded, RotateFlags, SecretStatus, Service};
use crate::engine::{Adoption, Forecast, Verdict};
use crate::record::{Actor, Happening, Record, RotationId, Standing};
use crate::rotation::Fault;
use crate::store::{Chained, StoreError};

/// The daemon as the bus sees it.
#[derive(Clone)]
pub struct Served {
    daemon: Arc<Daemon>,
    connection: Arc<Mutex<Option<Connection>>>,
}

impl Served {
    /// Serves `daemon`; the connection follows once there is one.
    pub fn new(daemon: Arc<Daemon>) -> Self {
        Self { daemon, connection: Arc::default() }
    }

    /// From now on the bus is asked about callers over this connection.
    pub fn connected(&self, connection: &Connection) {
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection.clone());
    }

    fn connection(&self) -> Result<Connection, Error> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner).clone();
        connection.ok_or_else(|| Error::Failed("the daemon is not connected to the bus yet".to_owned()))
    }

    /// Appends a record that belongs to no rotation. Where one is under way, it comes first.
    async fn append(&self, name: &str, what: impl FnOnce() -> Happening + Send) -> Result<(), Error> {
        let (settings, charge) = self.daemon.find(name)?;
        if let Some(fault) = charge.unreadable() {
            return Err(fault.into());
        }
        let Ok(mut guard) = charge.ledger.try_lock() else { return Err(busy(name)) };
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
    async fn caller(&self, sender: &str) -> Result<Caller, Error> {
        let bus = DBusProxy::new(&self.connection()?).await?;
        let name = BusName::try_from(sender).map_err(|error| Error::Failed(error.to_string()))?;
        let uid = bus.get_connection_unix_user(name).await.map_err(|error| Error::NotAllowed(error.to_string()))?;
        // The bus lets only root in; this is the second lock on the same door.
        if uid != 0 {
            return Err(Error::NotAllowed("only root may use rekeyd".to_owned()));
        }
        Ok(Caller { sender: sender.to_owned(), uid })
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
        let actor = match flags {
            RotateFlags { retry: true, .. } => Actor::Retry,
            RotateFlags { scheduled: true, .. } => Actor::Timer,
            _ => Actor::Person { uid: caller.uid, sender: caller.sender },
        };
        rotations::begin(&self.daemon, Wish::Rotate, name, actor, reason, flags).await
    }

    async fn rollback(
        &self,
        caller: Caller,
        name: &str,
        reason: &str,
        flags: RotateFlags,
    ) -> Result<RotationId, Error> {
        let actor = Actor::Person { uid: caller.uid, sender: caller.sender };
        rotations::begin(&self.daemon, Wish::Rollback, name, actor, reason, flags).await
    }

    async fn retire(&self, caller: Caller, name: &str, reason: &str, flags: RotateFlags) -> Result<RotationId, Error> {
        let actor = if flags.scheduled { Actor::Timer } else { person(caller) };
        rotations::begin(&self.daemon, Wish::Retire, name, actor, reason, flags).await
    }

    async fn adopt(&self, caller: Caller, name: &str) -> Result<Adoption, Error> {
        self.daemon.configuration_mistakes()?;
        let (settings, charge) = self.daemon.find(name)?;
        let Ok(mut guard) = charge.ledger.try_lock() else { return Err(busy(name)) };
        let Some(ledger) = guard.as_mut() else { return Err(unreadable(charge.unreadable())) };
        let parts = self.daemon.parts(&settings, &charge);
        let actor = Actor::Person { uid: caller.uid, sender: caller.sender };
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
        // A rotation whose secret was not configured, or whose records could not be read, can be gone on with.
        rotations::repair_all(&self.daemon);
        rotations::resume_all(&self.daemon);
        let mut reloaded = schedule::apply(&self.daemon, &before).await?;
        reloaded.warnings = warnings.iter().map(config::Finding::one_line).collect();
        Ok(reloaded)
    }

    async fn subscribe(&self, caller: Caller) -> Result<(), Error> {
        self.forget_the_gone().await?;
        if self.daemon.listeners.add(caller.sender) {
            Ok(())
        } else {
            Err(Error::Busy("too many are listening already".to_owned()))
        }
    }
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
