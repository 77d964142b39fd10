//! systemd's manager, `org.freedesktop.systemd1(5)`, on the system bus.
//!
//! The bus may be restarted at any time: a lost connection is made anew by the next call, and nobody relies on a signal
//! alone. Every call has a time limit, since zbus sets none.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde::Serialize;
use thiserror::Error;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};
use zbus::message::Message;
use zbus::wire::{OwnedObjectPath, OwnedVariant, Variant};
use zbus::{Connection, MatchRule, MessageStream};

use super::unit::{UnitStatus, properties};
use crate::rotation::{Fault, FaultCode};

const DESTINATION: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
/// sd-bus's default.
const CALL: Duration = Duration::from_secs(25);
/// A daemon-reload was measured to take up to 1.4 s; with generators that hang much longer.
const RELOAD: Duration = Duration::from_secs(60);
/// How long a bus that is being restarted may take.
const RECONNECT: Duration = Duration::from_secs(10);
/// A signal that is missed costs this much.
const LOOK: Duration = Duration::from_millis(100);

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
    /// No answer came in time.
    #[error("{call}: systemd did not answer within {} s", .limit.as_secs())]
    TimedOut {
        /// The method.
        call: &'static str,
        /// The limit.
        limit: Duration,
    },
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

/// How a job ended: the word that `JobRemoved` carries, or that the job was gone when it was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobEnd {
    /// The job's result: `done`, `failed`, `canceled`, `timeout`, `dependency`, …
    Result(String),
    /// The job is over; its result was not seen.
    Unseen,
    /// It was not over in time.
    NotInTime,
}

/// systemd's manager.
#[derive(Clone, Default)]
pub struct Systemd {
    connection: Arc<Mutex<Option<Connection>>>,
}

impl Systemd {
    /// `daemon-reload`: for all of the system, everybody's pending edits included.
    ///
    /// # Errors
    /// Where systemd refuses or does not answer.
    pub async fn reload(&self) -> Result<(), SystemdError> {
        self.manager_within("Reload", &(), RELOAD).await.map(drop)
    }

    /// `starting`, `running`, `degraded`, `stopping`, …
    ///
    /// # Errors
    /// Where systemd does not answer.
    pub async fn system_state(&self) -> Result<String, SystemdError> {
        let state = self.property(PATH, MANAGER, "SystemState").await?;
        Ok(String::try_from(state).unwrap_or_default())
    }

    /// The directories that unit files and drop-ins are looked for in, the strongest first.
    ///
    /// # Errors
    /// Where systemd does not answer.
    pub async fn unit_directories(&self) -> Result<Vec<String>, SystemdError> {
        let directories = self.property(PATH, MANAGER, "UnitPath").await?;
        Ok(Vec::try_from(directories).unwrap_or_default())
    }

    /// Loads a unit and reads all there is to know of it.
    ///
    /// # Errors
    /// Where systemd does not answer. A unit that does not exist is no error: its load state says so.
    pub async fn unit(&self, unit: &str) -> Result<UnitStatus, SystemdError> {
        let path = self.unit_path(unit).await?;
        let unit = self.properties(&path, "org.freedesktop.systemd1.Unit").await?;
        let service = match self.properties(&path, "org.freedesktop.systemd1.Service").await {
            // Dependents may be of other types.
            Err(SystemdError::Refused { name, .. }) if name.ends_with(".UnknownInterface") => HashMap::new(),
            service => service?,
        };
        Ok(properties(&unit, &service))
    }

    /// Clears the start limit and a failed state. A unit that is not loaded has neither.
    ///
    /// # Errors
    /// Where systemd does not answer.
    pub async fn reset_failed(&self, unit: &str) -> Result<(), SystemdError> {
        match self.manager("ResetFailedUnit", &unit).await {
            Err(SystemdError::Refused { name, .. }) if name.ends_with(".NoSuchUnit") => Ok(()),
            done => done.map(drop),
        }
    }

    /// Restarts a unit and waits for the job's end.
    ///
    /// # Errors
    /// Where the job cannot be queued.
    pub async fn restart(&self, unit: &str, deadline: Instant) -> Result<JobEnd, SystemdError> {
        self.job("RestartUnit", unit, deadline).await
    }

    /// Starts a unit and waits for the job's end, for as long as a call may take.
    ///
    /// # Errors
    /// Where the job cannot be queued, or does not end well.
    pub async fn start(&self, unit: &str) -> Result<(), SystemdError> {
        let end = self.job("StartUnit", unit, Instant::now() + CALL).await?;
        ended_well("StartUnit", unit, &end)
    }

    /// Stops a unit and waits for the job's end, for as long as a call may take. One that is not loaded is stopped.
    ///
    /// # Errors
    /// Where the job cannot be queued, or does not end well.
    pub async fn stop(&self, unit: &str) -> Result<(), SystemdError> {
        match self.job("StopUnit", unit, Instant::now() + CALL).await {
            Err(SystemdError::Refused { name, .. }) if name.ends_with(".NoSuchUnit") => Ok(()),
            end => ended_well("StopUnit", unit, &end?),
        }
    }

    /// Waits until a unit has no job any more; false where the time is over first.
    ///
    /// # Errors
    /// Where systemd does not answer.
    pub async fn wait_without_job(&self, unit: &str, deadline: Instant) -> Result<bool, SystemdError> {
        while self.unit(unit).await?.has_job {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            sleep(LOOK).await;
        }
        Ok(true)
    }

    /// The processes of a unit, those in groups below its own included.
    ///
    /// # Errors
    /// Where systemd does not answer.
    pub async fn processes(&self, unit: &str) -> Result<Vec<u32>, SystemdError> {
        let reply = self.manager("GetUnitProcesses", &unit).await?;
        let processes: Vec<(String, u32, String)> = body(&reply)?;
        Ok(processes.into_iter().map(|(_, pid, _)| pid).filter(|&pid| pid != 0).collect())
    }

    /// The active units whose names match one of the patterns.
    ///
    /// # Errors
    /// Where systemd does not answer.
    pub async fn active_units(&self, patterns: &[&str]) -> Result<Vec<String>, SystemdError> {
        type Listed = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);
        let reply = self.manager("ListUnitsByPatterns", &(["active", "activating"].as_slice(), patterns)).await?;
        let units: Vec<Listed> = body(&reply)?;
        Ok(units.into_iter().map(|unit| unit.0).collect())
    }

    /// When a timer elapses next, in microseconds since 1970.
    ///
    /// # Errors
    /// Where systemd does not answer.
    pub async fn next_elapse(&self, timer: &str) -> Result<Option<u64>, SystemdError> {
        let path = self.unit_path(timer).await?;
        let next = self.property(&path, "org.freedesktop.systemd1.Timer", "NextElapseUSecRealtime").await?;
        Ok(u64::try_from(next).ok().filter(|&next| next != 0 && next != u64::MAX))
    }

    /// Removes the stamp of a timer, so that it counts from its next start. Where there is none, all is well.
    ///
    /// # Errors
    /// Where systemd does not answer.
    pub async fn clean_state(&self, unit: &str) -> Result<(), SystemdError> {
        match self.manager("CleanUnit", &(unit, ["state"].as_slice())).await {
            Err(SystemdError::Refused { name, .. }) if name.ends_with(".NothingToClean") => Ok(()),
            done => done.map(drop),
        }
    }

    /// Makes and starts a timer that elapses once, at a calendar time (systemd.time(7)), and runs the service of the
    /// same name.
    ///
    /// # Errors
    /// Where systemd refuses; it does where a template timer of that name exists.
    pub async fn start_transient_timer(
        &self,
        timer: &str,
        description: &str,
        calendar: &str,
    ) -> Result<(), SystemdError> {
        let properties: Vec<(&str, Variant<'_>)> = vec![
            ("Description", Variant::from(description)),
            ("TimersCalendar", Variant::from(vec![("OnCalendar", calendar)])),
            ("AccuracyUSec", Variant::from(1_000_000_u64)),
            ("RemainAfterElapse", Variant::from(false)),
            ("PartOf", Variant::from(vec!["rekeyd-timers.target"])),
        ];
        let aux: Vec<(&str, Vec<(&str, Variant<'_>)>)> = Vec::new();
        self.manager("StartTransientUnit", &(timer, "replace", properties, aux)).await.map(drop)
    }

    /// Queues a job and waits for its end. `JobRemoved` tells the result; looking at the job as well makes up for a
    /// signal that was missed, or a bus that was restarted.
    async fn job(&self, method: &'static str, unit: &str, deadline: Instant) -> Result<JobEnd, SystemdError> {
        let before = self.unit(unit).await?.invocation_id;
        let connection = self.connect().await?;
        // Subscribed before the call: the job may be over before its answer is read.
        let _ = self.manager("Subscribe", &()).await;
        let mut removed = removed_jobs(&connection).await.map_err(SystemdError::Unreachable)?;
        let reply = match self.manager(method, &(unit, "replace")).await {
            // The answer is lost, not the request: what became of it shows in the unit.
            Err(SystemdError::Unreachable(_)) => {
                let now = self.unit(unit).await?;
                if now.has_job || now.invocation_id != before {
                    let over = self.wait_without_job(unit, deadline).await?;
                    return Ok(if over { JobEnd::Unseen } else { JobEnd::NotInTime });
                }
                self.manager(method, &(unit, "replace")).await?
            }
            reply => reply?,
        };
        let job: OwnedObjectPath = body(&reply)?;
        let mut stream_is_alive = true;
        loop {
            tokio::select! {
                message = removed.next(), if stream_is_alive => match message {
                    Some(Ok(message)) => {
                        if let Ok((_, path, _, result)) = message.body().deserialize::<(u32, OwnedObjectPath, String, String)>()
                            && path == job
                        {
                            return Ok(JobEnd::Result(result));
                        }
                    }
                    Some(Err(_)) => {}
                    None => stream_is_alive = false,
                },
                () = sleep(LOOK) => match self.property(job.as_str(), "org.freedesktop.systemd1.Job", "State").await {
                    Ok(_) | Err(SystemdError::Unreachable(_) | SystemdError::TimedOut { .. }) => {}
                    // The signal may be right behind.
                    Err(SystemdError::Refused { .. }) => {
                        let last = timeout(LOOK, next_result(&mut removed, &job)).await;
                        return Ok(last.ok().flatten().map_or(JobEnd::Unseen, JobEnd::Result));
                    }
                },
                () = tokio::time::sleep_until(deadline) => return Ok(JobEnd::NotInTime),
            }
        }
    }

    async fn unit_path(&self, unit: &str) -> Result<String, SystemdError> {
        let reply = self.manager("LoadUnit", &unit).await?;
        let path: OwnedObjectPath = body(&reply)?;
        Ok(path.as_str().to_owned())
    }

    async fn properties(&self, path: &str, interface: &str) -> Result<HashMap<String, OwnedVariant>, SystemdError> {
        let reply = self.call("GetAll", path, "org.freedesktop.DBus.Properties", &interface, CALL).await?;
        body(&reply)
    }

    async fn property(&self, path: &str, interface: &str, name: &str) -> Result<OwnedVariant, SystemdError> {
        let reply = self.call("Get", path, "org.freedesktop.DBus.Properties", &(interface, name), CALL).await?;
        body(&reply)
    }

    async fn manager<B>(&self, method: &'static str, arguments: &B) -> Result<Message, SystemdError>
    where
        B: Serialize + zbus::DynamicType + Sync,
    {
        self.manager_within(method, arguments, CALL).await
    }

    async fn manager_within<B>(
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

    async fn call<B>(
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

    async fn connect(&self) -> Result<Connection, SystemdError> {
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
    matches!(method, "RestartUnit" | "StartUnit" | "StopUnit" | "StartTransientUnit")
}

async fn removed_jobs(connection: &Connection) -> zbus::Result<MessageStream> {
    let rule = MatchRule::builder()
        .msg_type(zbus::message::Type::Signal)
        .sender(DESTINATION)
        .interface(MANAGER)
        .member("JobRemoved")
        .build()?;
    MessageStream::for_match_rule(rule, connection, None).await
}

async fn next_result(removed: &mut MessageStream, job: &OwnedObjectPath) -> Option<String> {
    while let Some(message) = removed.next().await {
        let Ok(message) = message else { continue };
        if let Ok((_, path, _, result)) = message.body().deserialize::<(u32, OwnedObjectPath, String, String)>()
            && path == *job
        {
            return Some(result);
        }
    }
    None
}

fn ended_well(call: &'static str, unit: &str, end: &JobEnd) -> Result<(), SystemdError> {
    let refused = |message: String| Err(SystemdError::Refused { call, name: "job".to_owned(), message });
    match end {
        JobEnd::Result(result) if result != "done" => refused(format!("the job of {unit} ended as {result}")),
        JobEnd::NotInTime => refused(format!("the job of {unit} did not end in time")),
        JobEnd::Result(_) | JobEnd::Unseen => Ok(()),
    }
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

fn body<T>(reply: &Message) -> Result<T, SystemdError>
where
    T: for<'d> serde::Deserialize<'d> + zbus::Type,
{
    reply.body().deserialize().map_err(SystemdError::Unreachable)
}
