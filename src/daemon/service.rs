//! The daemon behind `org.rekeyd1`.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};
use zbus::Connection;

use super::callers::Callers;
use super::requests::{self, Wish};
use super::rotations;
use super::state::Daemon;
use super::{calendar, custody, drift, forget, leaks, notice, schedule};
use crate::config::{self, Settings};
use crate::dbus::rekeyd1::{
    Admitted, Caller, Condition, Error, Forgotten, Reloaded, RotateFlags, SecretStatus, Service,
};
use crate::dbus::rights::{Asker, Right};
use crate::dbus::secret::{self, Secret};
use crate::engine::{Adoption, Forecast, Verdict};
use crate::record::leak::Leaks;
use crate::record::{Actor, Happening, Record, RotationId, Standing};
use crate::rotation::Fault;
use crate::store::{Chained, StoreError};

/// How long what is owed after a rotation may take to be recorded, and how often that is seen.
const OWED: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(20);

/// The daemon as the bus sees it.
#[derive(Clone)]
pub struct Served {
    daemon: Arc<Daemon>,
    callers: Callers,
}

impl Served {
    /// Serves `daemon`; the connection follows once there is one.
    pub fn new(daemon: Arc<Daemon>) -> Self {
        Self { daemon, callers: Callers::default() }
    }

    /// From now on the bus is asked about callers over this connection.
    pub fn connected(&self, connection: &Connection) {
        self.callers.connected(connection);
    }

    /// Puts an object on the bus for each secret that is configured, takes away those of secrets that are no longer,
    /// and tells the listeners what the configuration changed of the others.
    ///
    /// # Errors
    /// Where the bus is gone.
    pub async fn show_secrets(&self, before: &Settings) -> Result<(), zbus::Error> {
        let Ok(connection) = self.callers.connection() else { return Ok(()) };
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
            () = self.callers.gone(&sender), if flags.wait && !flags.scheduled => {
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
        let (_, charge) = self.daemon.find(name)?;
        let mut guard = charge.ledger_for_acting().await?;
        self.daemon.append(&charge, &mut guard, what())
    }

    /// A hold that is owed is told as one already, and recorded in a moment.
    async fn hold_is_recorded(&self, name: &str) {
        let Ok((_, charge)) = self.daemon.find(name) else { return };
        let until = Instant::now() + OWED;
        while charge.standing().hold_owed().is_some() && Instant::now() < until {
            sleep(LOOK).await;
        }
    }

    /// Where something is so already there is nothing to do, and nothing to record.
    fn unless(&self, name: &str, what: &str, is_so: impl FnOnce(&Standing) -> bool) -> Result<(), Error> {
        let (_, charge) = self.daemon.find(name)?;
        if charge.unreadable().is_none() && is_so(&charge.standing()) {
            return Err(Error::Skipped(format!("{name} is {what}: nothing to do")));
        }
        Ok(())
    }

    /// The name of a secret that has records: also of one that is not configured any more, since they are kept.
    fn recorded(&self, name: &str) -> Result<config::SecretName, Error> {
        match self.daemon.find(name) {
            Ok((settings, _)) => Ok(settings.name),
            Err(unknown) => {
                let known = self.daemon.store.secrets().map_err(store_failed)?;
                known.into_iter().find(|known| known.as_str() == name).ok_or(unknown)
            }
        }
    }

    /// Stops listening on behalf of those who have left the bus.
    async fn forget_the_gone(&self) -> Result<(), Error> {
        for name in self.callers.gone_of(self.daemon.listeners.names()).await? {
            self.daemon.listeners.remove(&name);
        }
        Ok(())
    }
}

#[async_trait]
impl Service for Served {
    async fn admit(&self, asker: Asker, right: Right, secret: &str) -> Result<Admitted, Error> {
        self.callers.admit(asker, right, secret).await
    }

    fn glance(&self, name: &str) -> Result<SecretStatus, Error> {
        let (settings, charge) = self.daemon.find(name)?;
        Ok(self.daemon.status(&settings, &charge))
    }

    async fn list(&self) -> Result<Vec<SecretStatus>, Error> {
        self.daemon.configuration_mistakes()?;
        let settings = self.daemon.settings();
        // Side by side, so that the helpers are asked for all at once.
        join_all(settings.secrets.keys().map(|name| self.get(name.as_str()))).await.into_iter().collect()
    }

    async fn get(&self, name: &str) -> Result<SecretStatus, Error> {
        let (settings, charge) = self.daemon.find(name)?;
        drift::look_again(&self.daemon, &settings, &charge).await;
        let mut status = self.daemon.status(&settings, &charge);
        status.next = schedule::next(&self.daemon.systemd, &settings).await;
        Ok(status)
    }

    async fn forecast(&self, name: &str, emergency: bool, on_disk: bool) -> Result<Forecast, Error> {
        self.daemon.configuration_mistakes()?;
        let (mut settings, charge) = self.daemon.find_usable(name)?;
        let on_disk = on_disk.then(|| config::load(&self.daemon.dirs).settings.secrets.remove(&settings.name));
        let edited = on_disk.flatten().filter(|edited| *edited != settings);
        let is_edited = edited.is_some();
        settings = edited.unwrap_or(settings);
        let mut guard = charge.ledger_for_looking().await?;
        let ledger = guard.as_mut().ok_or_else(|| charge.is_unreadable())?;
        let parts = self.daemon.parts(&settings, &charge);
        let forecast = parts.engine(&settings, &self.daemon.store, ledger).forecast(emergency).await?;
        Ok(Forecast { is_edited, ..forecast })
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
        self.daemon.unlocked()?;
        let mut guard = charge.ledger_for_acting().await?;
        let outdated = charge.outdated();
        let ledger = guard.as_mut().ok_or_else(|| charge.is_unreadable())?;
        let parts = self.daemon.parts(&settings, &charge);
        let mut engine = parts.engine(&settings, &self.daemon.store, ledger);
        let adoption = engine.adopt(person(caller), outdated).await?;
        drop(guard);
        // What was seen before is of no matter now.
        charge.note_drift(&[], charge.standing().seq);
        // An overlap that was found open has an end.
        schedule::arm(&self.daemon, &settings.name, &charge.standing()).await;
        Ok(adoption)
    }

    async fn verify(&self, name: &str) -> Result<Verdict, Error> {
        let (settings, charge) = self.daemon.find_usable(name)?;
        let mut guard = charge.ledger_for_looking().await?;
        let ledger = guard.as_mut().ok_or_else(|| charge.is_unreadable())?;
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
        self.append(name, || Happening::Unpaused { actor: person(caller) }).await?;
        // A next try that was due meanwhile was skipped.
        schedule::arm_again(&self.daemon).await;
        Ok(())
    }

    async fn release(&self, caller: Caller, name: &str) -> Result<(), Error> {
        self.hold_is_recorded(name).await;
        self.unless(name, "not on hold", |standing| standing.hold.is_none())?;
        self.append(name, || Happening::Released { actor: person(caller) }).await?;
        // What was to be done meanwhile was refused.
        schedule::arm_again(&self.daemon).await;
        Ok(())
    }

    async fn history(&self, name: &str) -> Result<Vec<Record>, Error> {
        let name = self.recorded(name)?;
        if let Some(fault) = self.daemon.charge(&name).unreadable() {
            return Err(fault.into());
        }
        self.daemon.store.history(&name).map_err(store_failed)
    }

    async fn audit(&self, name: &str) -> Result<Chained, Error> {
        self.daemon.store.chained(&self.recorded(name)?).map_err(store_failed)
    }

    async fn forget(&self, caller: Caller, name: &str) -> Result<Forgotten, Error> {
        forget::forget(&self.daemon, person(caller), &charge_name(name)?).await
    }

    async fn reveal(&self, caller: Caller, name: &str, generation: u32, to: OwnedFd) -> Result<(), Error> {
        custody::reveal(&self.daemon, person(caller), &charge_name(name)?, generation, to).await
    }

    async fn search(&self, caller: Caller, name: &str) -> Result<Leaks, Error> {
        self.daemon.unlocked()?;
        leaks::search(&self.daemon, person(caller), &self.recorded(name)?).await
    }

    async fn export_key(&self, caller: Caller, passphrase: OwnedFd, to: OwnedFd) -> Result<(), Error> {
        custody::export_key(&self.daemon, &person(caller), passphrase, to).await
    }

    async fn import_key(&self, caller: Caller, from: OwnedFd, passphrase: OwnedFd) -> Result<(), Error> {
        custody::import_key(&self.daemon, &person(caller), from, passphrase).await
    }

    async fn rotate_key(&self, caller: Caller) -> Result<(), Error> {
        custody::rotate_key(&self.daemon, &person(caller)).await
    }

    async fn begin_anew(&self, caller: Caller) -> Result<String, Error> {
        custody::begin_anew(&self.daemon, &person(caller)).await
    }

    async fn test_notification(&self) -> Result<(), Error> {
        notice::test(&self.daemon).await
    }

    fn condition(&self) -> Condition {
        self.daemon.condition()
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
        custody::unlock(&self.daemon).await;
        // A rotation whose secret was not configured, or whose records could not be read, can be gone on with.
        rotations::repair_all(&self.daemon).await;
        rotations::resume_all(&self.daemon);
        let mut reloaded = schedule::apply(&self.daemon, &before).await?;
        let settings = self.daemon.settings();
        let gone = before.secrets.keys().filter(|name| !settings.secrets.contains_key(*name));
        let left = gone.filter_map(|name| self.daemon.left_open(name));
        reloaded.warnings = warnings.iter().map(config::Finding::one_line).chain(left).collect();
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

fn too_many() -> Error {
    Error::Busy("too many are listening already; end some of the rekeyctl that follow a rotation".to_owned())
}

fn person(caller: Caller) -> Actor {
    Actor::Person { uid: caller.uid, sender: caller.sender }
}

fn charge_name(name: &str) -> Result<config::SecretName, Error> {
    config::SecretName::try_from(name.to_owned()).map_err(Error::UnknownSecret)
}

fn store_failed(error: StoreError) -> Error {
    Error::from(Fault::from(error))
}
