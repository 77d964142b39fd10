//! Who calls: asked of the bus and of polkit, never of the message.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;
use zbus::Connection;
use zbus::fdo::DBusProxy;
use zbus::names::BusName;

use super::gate::Gate;
use crate::config::SecretName;
use crate::dbus::polkit;
use crate::dbus::rekeyd1::{Admitted, Caller, Error};
use crate::dbus::rights::{self, Asker, Right};

/// How often it is looked whether a caller who waits is still there.
const LOOK: Duration = Duration::from_secs(1);

/// Those who call.
#[derive(Clone, Default)]
pub struct Callers {
    gate: Gate,
    connection: Arc<Mutex<Option<Connection>>>,
}

impl Callers {
    /// From now on the bus is asked about callers over this connection.
    pub fn connected(&self, connection: &Connection) {
        self.gate.forget_names();
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection.clone());
    }

    /// The connection to the bus.
    ///
    /// # Errors
    /// Where there is none yet.
    pub fn connection(&self) -> Result<Connection, Error> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner).clone();
        connection.ok_or_else(|| Error::Failed("the daemon is not connected to the bus yet".to_owned()))
    }

    /// Lets a caller in who has the right.
    ///
    /// # Errors
    /// Where they have not, or ask for too much at a time.
    pub async fn admit(&self, asker: Asker, right: Right, secret: &str) -> Result<Admitted, Error> {
        let uid = self.uid(&asker.sender).await?;
        let pass = self.gate.enter(uid, right.cost())?;
        if right == Right::Root && uid != 0 {
            return Err(Error::NotAllowed("only root may do this".to_owned()));
        }
        if let Some(action) = right.action()
            && uid != 0
        {
            self.authorize(&asker, uid, action, secret).await?;
        }
        Ok(Admitted { caller: Caller { sender: asker.sender, uid }, pass: Box::new(pass) })
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
    pub async fn gone(&self, sender: &str) {
        while self.is_there(sender).await {
            sleep(LOOK).await;
        }
    }

    /// Asks polkit whether somebody who is not root may do this.
    async fn authorize(&self, asker: &Asker, uid: u32, action: &str, secret: &str) -> Result<(), Error> {
        // A name that is none is not shown to a person, and who may not act learns nothing of those that are.
        if !secret.is_empty() {
            SecretName::try_from(secret.to_owned()).map_err(Error::UnknownSecret)?;
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

    /// Of these names those that have left the bus.
    ///
    /// # Errors
    /// Where the bus cannot be asked.
    pub async fn gone_of(&self, names: Vec<String>) -> Result<Vec<String>, Error> {
        let bus = DBusProxy::new(&self.connection()?).await?;
        let mut gone = Vec::new();
        for name in names {
            let there = match BusName::try_from(name.as_str()) {
                Ok(bus_name) => bus.name_has_owner(bus_name).await.unwrap_or(true),
                Err(_) => false,
            };
            if !there {
                gone.push(name);
            }
        }
        Ok(gone)
    }
}
