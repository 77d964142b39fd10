//! Calls of systemd's manager: with a time limit, and over a bus that may be restarted at any time.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};
use zbus::Connection;
use zbus::message::Message;
use zbus::wire::{OwnedObjectPath, OwnedVariant};

use super::{DESTINATION, MANAGER, PATH, Systemd};
use crate::rotation::{Fault, FaultCode};

/// sd-bus's default.
pub(super) const CALL: Duration = Duration::from_secs(25);
/// A daemon-reload was measured to take up to 1.4 s; with generators that hang much longer.
pub(super) const RELOAD: Duration = Duration::from_secs(60);
/// How long a bus that is being restarted, or that has too many calls under way, may take.
const RECONNECT: Duration = Duration::from_secs(10);
/// A signal that is missed costs this much.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// systemd did not do what it was asked for.
#[derive(Debug, Error)]
pub enum SystemdError {
    /// The bus or systemd cannot be reached.
    #[error("cannot reach systemd over the system bus: {0}")]
    Unreachable(zbus::Error),
    /// systemd answered with an error.
    #[error("{call}: {message} ({name})")]
    Refused {
        /// The method.
        call: &'static str,
        /// The error's name on the bus.
        name: String,
        /// What it says.
        message: String,
    },
    /// A former run of the same is not over.
    #[error("what was run before still runs in {unit}: systemctl status {unit}; systemctl stop {unit} ends it")]
    StillRuns {
        /// The unit.
        unit: String,
    },
    /// No answer came in time.
    #[error("{call}: systemd did not answer within {} s", .limit.as_secs())]
    TimedOut {
        /// The method.
        call: &'static str,
        /// The limit.
        limit: Duration,
    },
}

impl SystemdError {
    /// Whether the same call may succeed after a while.
    pub(super) fn is_one_of_too_many(&self) -> bool {
        matches!(self, Self::Refused { name, .. } if name == "org.freedesktop.DBus.Error.LimitsExceeded")
    }

    /// Whether systemd has no such unit loaded.
    pub(super) fn is_not_loaded(&self) -> bool {
        matches!(self, Self::Refused { name, .. } if name.ends_with(".NoSuchUnit"))
    }
}

impl From<SystemdError> for Fault {
    fn from(error: SystemdError) -> Self {
        let code = match error {
            SystemdError::Refused { call: "Reload", .. } | SystemdError::TimedOut { call: "Reload", .. } => {
                FaultCode::ReloadFailed
            }
            _ => FaultCode::ManagerUnreachable,
        };
        Self::new(code, error.to_string())
    }
}

impl Systemd {
    pub(super) async fn unit_path(&self, unit: &str) -> Result<String, SystemdError> {
        let reply = self.manager("LoadUnit", &unit).await?;
        let path: OwnedObjectPath = body(&reply)?;
        Ok(path.as_str().to_owned())
    }

    pub(super) async fn properties(
        &self,
        path: &str,
        interface: &str,
    ) -> Result<HashMap<String, OwnedVariant>, SystemdError> {
        let reply = self.call("GetAll", path, "org.freedesktop.DBus.Properties", &interface, CALL).await?;
        body(&reply)
    }

    pub(super) async fn property(&self, path: &str, interface: &str, name: &str) -> Result<OwnedVariant, SystemdError> {
        let reply = self.call("Get", path, "org.freedesktop.DBus.Properties", &(interface, name), CALL).await?;
        body(&reply)
    }

    pub(super) async fn manager<B>(&self, method: &'static str, arguments: &B) -> Result<Message, SystemdError>
    where
        B: Serialize + zbus::DynamicType + Sync,
    {
        self.manager_within(method, arguments, CALL).await
    }

    pub(super) async fn manager_within<B>(
        &self,
        method: &'static str,
        arguments: &B,
        limit: Duration,
    ) -> Result<Message, SystemdError>
    where
        B: Serialize + zbus::DynamicType + Sync,
    {
        self.call(method, PATH, MANAGER, arguments, limit).await
    }

    pub(super) async fn call<B>(
        &self,
        method: &'static str,
        path: &str,
        interface: &str,
        arguments: &B,
        limit: Duration,
    ) -> Result<Message, SystemdError>
    where
        B: Serialize + zbus::DynamicType + Sync,
    {
        let until = Instant::now() + RECONNECT;
        loop {
            match self.call_once(method, path, interface, arguments, limit).await {
                // The bus is being restarted. What only reads, or may be done twice, is asked again.
                Err(SystemdError::Unreachable(_)) if !queues_a_job(method) && Instant::now() < until => {
                    sleep(LOOK).await
                }
                // The bus has too many calls under way, and did not pass this one on. Who reloads waits longer.
                Err(error) if error.is_one_of_too_many() && method != "Reload" && Instant::now() < until => {
                    sleep(LOOK).await
                }
                answer => return answer,
            }
        }
    }

    async fn call_once<B>(
        &self,
        method: &'static str,
        path: &str,
        interface: &str,
        arguments: &B,
        limit: Duration,
    ) -> Result<Message, SystemdError>
    where
        B: Serialize + zbus::DynamicType + Sync,
    {
        // The wait for a turn ends, since those before have limits, and is not part of this call's. It is never closed.
        let _turn = self.calls.acquire().await;
        let connection = self.connect().await?;
        let call = connection.call_method(Some(DESTINATION), path, Some(interface), method, arguments);
        match timeout(limit, call).await {
            Err(_) => Err(SystemdError::TimedOut { call: method, limit }),
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(zbus::Error::MethodError(name, message, _))) => Err(SystemdError::Refused {
                call: method,
                name: name.to_string(),
                message: message.unwrap_or_default(),
            }),
            Ok(Err(zbus::Error::FDO(error))) => Err(refused(method, &error)),
            Ok(Err(error)) => Err(SystemdError::Unreachable(error)),
        }
    }

    pub(super) async fn connect(&self) -> Result<Connection, SystemdError> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        let until = Instant::now() + RECONNECT;
        loop {
            match Connection::system().await {
                Ok(connection) => {
                    *slot = Some(connection.clone());
                    return Ok(connection);
                }
                Err(error) if Instant::now() >= until => return Err(SystemdError::Unreachable(error)),
                Err(_) => sleep(LOOK).await,
            }
        }
    }
}

/// What must not be asked again before it is known whether the first request arrived.
fn queues_a_job(method: &str) -> bool {
    matches!(method, "RestartUnit" | "ReloadOrRestartUnit" | "StartUnit" | "StopUnit" | "StartTransientUnit")
}

fn refused(call: &'static str, error: &zbus::fdo::Error) -> SystemdError {
    use zbus::DBusError as _;
    let name = error.name().to_string();
    let message = error.description().unwrap_or_default().to_owned();
    match error {
        zbus::fdo::Error::NoReply(_) | zbus::fdo::Error::Disconnected(_) | zbus::fdo::Error::ServiceUnknown(_) => {
            SystemdError::Unreachable(zbus::Error::Failure(format!("{message} ({name})")))
        }
        _ => SystemdError::Refused { call, name, message },
    }
}

pub(super) fn body<T>(reply: &Message) -> Result<T, SystemdError>
where
    T: for<'d> serde::Deserialize<'d> + zbus::Type,
{
    reply.body().deserialize().map_err(SystemdError::Unreachable)
}
