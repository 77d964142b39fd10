//! The manager's object, and what the daemon does behind it.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;
use zbus::message::Header;

use super::{Admitted, Caller, Condition, Error, Forgotten, Reloaded, RotateFlags, SecretStatus};
use crate::dbus::rights::{Asker, Right, check_words};
use crate::record::RotationId;

/// What the daemon does behind the interface.
#[async_trait]
#[allow(missing_docs, reason = "each is documented at the method of the interface that it serves")]
pub trait Service: Send + Sync + 'static {
    async fn admit(&self, asker: Asker, right: Right, secret: &str) -> Result<Admitted, Error>;
    fn glance(&self, name: &str) -> Result<SecretStatus, Error>;
    async fn list(&self) -> Result<Vec<SecretStatus>, Error>;
    async fn get(&self, name: &str) -> Result<SecretStatus, Error>;
    async fn forecast(&self, name: &str, emergency: bool, on_disk: bool) -> Result<crate::engine::Forecast, Error>;
    async fn rotate(&self, caller: Caller, name: &str, reason: &str, flags: RotateFlags) -> Result<RotationId, Error>;
    async fn rollback(&self, caller: Caller, name: &str, reason: &str, flags: RotateFlags)
    -> Result<RotationId, Error>;
    async fn retire(&self, caller: Caller, name: &str, reason: &str, flags: RotateFlags) -> Result<RotationId, Error>;
    async fn adopt(&self, caller: Caller, name: &str) -> Result<crate::engine::Adoption, Error>;
    async fn verify(&self, name: &str) -> Result<crate::engine::Verdict, Error>;
    async fn pause(&self, caller: Caller, name: &str) -> Result<(), Error>;
    async fn resume(&self, caller: Caller, name: &str) -> Result<(), Error>;
    async fn release(&self, caller: Caller, name: &str) -> Result<(), Error>;
    async fn history(&self, name: &str) -> Result<Vec<crate::record::Record>, Error>;
    async fn audit(&self, name: &str) -> Result<crate::store::Chained, Error>;
    async fn forget(&self, caller: Caller, name: &str) -> Result<Forgotten, Error>;
    async fn reveal(&self, caller: Caller, name: &str, generation: u32, to: OwnedFd) -> Result<(), Error>;
    async fn search(&self, caller: Caller, name: &str) -> Result<crate::record::leak::Leaks, Error>;
    async fn export_key(&self, caller: Caller, passphrase: OwnedFd, to: OwnedFd) -> Result<(), Error>;
    async fn import_key(&self, caller: Caller, from: OwnedFd, passphrase: OwnedFd) -> Result<(), Error>;
    async fn rotate_key(&self, caller: Caller) -> Result<(), Error>;
    async fn begin_anew(&self, caller: Caller) -> Result<String, Error>;
    async fn test_notification(&self) -> Result<(), Error>;
    fn condition(&self) -> Condition;
    async fn reload(&self) -> Result<Reloaded, Error>;
    async fn subscribe(&self, caller: Caller) -> Result<(), Error>;
}

/// The manager's object on the bus.
pub struct Manager(pub Arc<dyn Service>);

#[zbus::interface(
    name = "org.rekeyd1.Manager",
    proxy(default_service = "org.rekeyd1", default_path = "/org/rekeyd1", visibility = "pub")
)]
impl Manager {
    /// All secrets, as a JSON array of what `GetSecret` returns.
    async fn list_secrets(&self, #[zbus(header)] header: Header<'_>) -> Result<String, Error> {
        let _admitted = self.admit(&header, Right::Look, "").await?;
        json(&self.0.list().await?)
    }

    /// One secret, as a JSON object.
    async fn get_secret(&self, #[zbus(header)] header: Header<'_>, name: &str) -> Result<String, Error> {
        let _admitted = self.admit(&header, Right::Look, name).await?;
        json(&self.0.get(name).await?)
    }

    /// What a rotation would do, as a JSON object. Touches nothing; fails as the rotation would be refused. `flags`:
    /// `emergency`; `on-disk`, as the secret's file is now, whether or not that is in force.
    async fn forecast(
        &self,
        #[zbus(header)] header: Header<'_>,
        name: &str,
        flags: Vec<String>,
    ) -> Result<String, Error> {
        check_words(name, "", &flags)?;
        let (on_disk, flags): (Vec<_>, Vec<_>) = flags.into_iter().partition(|flag| flag == "on-disk");
        let flags = RotateFlags::parse(&flags)?;
        let _admitted = self.admit(&header, Right::Examine, name).await?;
        json(&self.0.forecast(name, flags.emergency, !on_disk.is_empty()).await?)
    }

    /// Starts a rotation and returns its id at once. `flags`: `wait`, `follow`, `emergency`, `initial`; of root also `scheduled`,
    /// `retry`.
    async fn rotate(
        &self,
        #[zbus(header)] header: Header<'_>,
        name: &str,
        reason: &str,
        flags: Vec<String>,
    ) -> Result<String, Error> {
        check_words(name, reason, &flags)?;
        let flags = RotateFlags::parse(&flags)?;
        let admitted = self.admit(&header, Right::Rotate, name).await?;
        Ok(self.0.rotate(admitted.caller, name, reason, flags).await?.into())
    }

    /// Starts the way back to the previous value and returns its id at once. `flags`: `wait`, `follow`.
    async fn rollback(
        &self,
        #[zbus(header)] header: Header<'_>,
        name: &str,
        reason: &str,
        flags: Vec<String>,
    ) -> Result<String, Error> {
        check_words(name, reason, &flags)?;
        let flags = RotateFlags::parse(&flags)?;
        let admitted = self.admit(&header, Right::Rollback, name).await?;
        Ok(self.0.rollback(admitted.caller, name, reason, flags).await?.into())
    }

    /// Ends the overlap, so that only one value is accepted, and returns the id at once. `flags`: `wait`, `follow`; of
    /// root also `scheduled`.
    async fn retire(
        &self,
        #[zbus(header)] header: Header<'_>,
        name: &str,
        reason: &str,
        flags: Vec<String>,
    ) -> Result<String, Error> {
        check_words(name, reason, &flags)?;
        let flags = RotateFlags::parse(&flags)?;
        let admitted = self.admit(&header, Right::Rotate, name).await?;
        Ok(self.0.retire(admitted.caller, name, reason, flags).await?.into())
    }

    /// Takes over the value in force. Restarts nothing. Returns a JSON object.
    async fn adopt(&self, #[zbus(header)] header: Header<'_>, name: &str) -> Result<String, Error> {
        let admitted = self.admit(&header, Right::Manage, name).await?;
        json(&self.0.adopt(admitted.caller, name).await?)
    }

    /// Gathers the proof for the value in force, now. Returns a JSON object.
    async fn verify(&self, #[zbus(header)] header: Header<'_>, name: &str) -> Result<String, Error> {
        let _admitted = self.admit(&header, Right::Examine, name).await?;
        json(&self.0.verify(name).await?)
    }

    /// Stops the schedule of a secret until `Resume`.
    async fn pause(&self, #[zbus(header)] header: Header<'_>, name: &str) -> Result<(), Error> {
        let admitted = self.admit(&header, Right::Manage, name).await?;
        self.0.pause(admitted.caller, name).await
    }

    /// Lets the schedule of a secret go on.
    async fn resume(&self, #[zbus(header)] header: Header<'_>, name: &str) -> Result<(), Error> {
        let admitted = self.admit(&header, Right::Manage, name).await?;
        self.0.resume(admitted.caller, name).await
    }

    /// Ends a hold.
    async fn release(&self, #[zbus(header)] header: Header<'_>, name: &str) -> Result<(), Error> {
        let admitted = self.admit(&header, Right::Manage, name).await?;
        self.0.release(admitted.caller, name).await
    }

    /// Every record of a secret, as a JSON array, oldest first.
    async fn history(&self, #[zbus(header)] header: Header<'_>, name: &str) -> Result<String, Error> {
        let _admitted = self.admit(&header, Right::Look, name).await?;
        json(&self.0.history(name).await?)
    }

    /// Every record of a secret with its hash, and where their chain is broken, as a JSON object.
    async fn audit(&self, #[zbus(header)] header: Header<'_>, name: &str) -> Result<String, Error> {
        let _admitted = self.admit(&header, Right::Look, name).await?;
        json(&self.0.audit(name).await?)
    }

    /// Lets go of a secret: its values are removed from the store, and the consumers keep what was delivered to them.
    /// Returns a JSON object.
    async fn forget(&self, #[zbus(header)] header: Header<'_>, name: &str) -> Result<String, Error> {
        let admitted = self.admit(&header, Right::Manage, name).await?;
        json(&self.0.forget(admitted.caller, name).await?)
    }

    /// Writes the value of a generation, of the one in force where that is 0, to a descriptor that is no terminal, and
    /// records it. For root alone.
    async fn reveal(
        &self,
        #[zbus(header)] header: Header<'_>,
        name: &str,
        generation: u32,
        to: zbus::OwnedFd,
    ) -> Result<(), Error> {
        let admitted = self.admit(&header, Right::Root, name).await?;
        self.0.reveal(admitted.caller, name, generation, to.into()).await
    }

    /// Searches this host for the values of a secret, and records that it does. Returns a JSON object. For root alone.
    async fn search(&self, #[zbus(header)] header: Header<'_>, name: &str) -> Result<String, Error> {
        let admitted = self.admit(&header, Right::Root, name).await?;
        json(&self.0.search(admitted.caller, name).await?)
    }

    /// Writes the store's key, sealed with the passphrase that is read from a descriptor. For root alone.
    async fn export_key(
        &self,
        #[zbus(header)] header: Header<'_>,
        passphrase: zbus::OwnedFd,
        to: zbus::OwnedFd,
    ) -> Result<(), Error> {
        let admitted = self.admit(&header, Right::Root, "").await?;
        self.0.export_key(admitted.caller, passphrase.into(), to.into()).await
    }

    /// Gives the store the key that `ExportKey` has written. For root alone.
    async fn import_key(
        &self,
        #[zbus(header)] header: Header<'_>,
        from: zbus::OwnedFd,
        passphrase: zbus::OwnedFd,
    ) -> Result<(), Error> {
        let admitted = self.admit(&header, Right::Root, "").await?;
        self.0.import_key(admitted.caller, from.into(), passphrase.into()).await
    }

    /// Makes a new key for the store and seals every value with it. For root alone.
    async fn rotate_key(&self, #[zbus(header)] header: Header<'_>) -> Result<(), Error> {
        let admitted = self.admit(&header, Right::Root, "").await?;
        self.0.rotate_key(admitted.caller).await
    }

    /// Sets aside a store that was made on another machine, begins a new one, and returns where the old one is. For root
    /// alone.
    async fn begin_anew(&self, #[zbus(header)] header: Header<'_>) -> Result<String, Error> {
        let admitted = self.admit(&header, Right::Root, "").await?;
        self.0.begin_anew(admitted.caller).await
    }

    /// Sends a notification that says that it is a test, each way that the configuration names.
    async fn test_notification(&self, #[zbus(header)] header: Header<'_>) -> Result<(), Error> {
        let _admitted = self.admit(&header, Right::Manage, "").await?;
        self.0.test_notification().await
    }

    /// How the daemon itself is, as a JSON object.
    async fn condition(&self, #[zbus(header)] header: Header<'_>) -> Result<String, Error> {
        let _admitted = self.admit(&header, Right::Look, "").await?;
        json(&self.0.condition())
    }

    /// Puts the configuration on disk in force, with its schedules. Returns a JSON object.
    async fn reload(&self, #[zbus(header)] header: Header<'_>) -> Result<String, Error> {
        let _admitted = self.admit(&header, Right::Manage, "").await?;
        json(&self.0.reload().await?)
    }

    /// From now on the caller is sent, to it alone, a `Happened` signal for every record, a `Progressed` signal for what
    /// goes on in between, and the changes of the secrets' properties.
    async fn subscribe(&self, #[zbus(header)] header: Header<'_>) -> Result<(), Error> {
        let admitted = self.admit(&header, Right::Look, "").await?;
        self.0.subscribe(admitted.caller).await
    }

    /// Something happened to a secret: `line` is the line that rekeyctl prints (empty where it prints none), `record`
    /// the record as JSON.
    #[zbus(signal)]
    async fn happened(
        emitter: &zbus::object_server::SignalEmitter<'_>,
        secret: &str,
        rotation: &str,
        line: &str,
        record: &str,
    ) -> zbus::Result<()>;

    /// Something goes on in a step that takes long; there is no record of it.
    #[zbus(signal)]
    async fn progressed(
        emitter: &zbus::object_server::SignalEmitter<'_>,
        secret: &str,
        rotation: &str,
        line: &str,
    ) -> zbus::Result<()>;
}

impl Manager {
    /// Who sent it is asked of the bus: what a message says of itself proves nothing. What a caller wrote is checked
    /// before anything is waited for.
    async fn admit(&self, header: &Header<'_>, right: Right, name: &str) -> Result<Admitted, Error> {
        check_words(name, "", &[])?;
        self.0.admit(Asker::of(header)?, right, name).await
    }
}

fn json(document: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(document).map_err(|error| Error::Failed(error.to_string()))
}
