//! systemd's manager, `org.freedesktop.systemd1(5)`, on the system bus.
//!
//! The bus may be restarted at any time: a lost connection is made anew by the next call, and nobody relies on a signal
//! alone. Every call has a time limit, since zbus sets none.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, sleep};
use zbus::Connection;
use zbus::wire::{OwnedObjectPath, Variant};

use super::unit::{UnitStatus, properties};
use call::{RELOAD, body};

mod call;
mod ended;
mod job;
mod transient;

pub use call::SystemdError;
pub use ended::Ends;
pub use job::JobEnd;
pub use transient::OUTPUT;

const DESTINATION: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// How long to wait after a call that was one of too many.
const TOO_MANY: Duration = Duration::from_secs(1);

/// When a transient timer elapses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Elapse {
    /// Once, at a calendar time (systemd.time(7)).
    At {
        /// The time.
        calendar: String,
    },
    /// After a time, and again so long after its service has ended.
    Again {
        /// The first time.
        after: Duration,
        /// From then on.
        every: Duration,
    },
}
/// A unit in a list: its name, description, load state, active state, sub state, …
type Listed = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

/// So many calls may be under way at once. dbus-daemon refuses more than 128 for each connection
/// (`max_replies_per_connection`, dbus-daemon(1)), and goes on to count those that were given up.
const CALLS: usize = 64;

/// systemd's manager.
#[derive(Clone)]
pub struct Systemd {
    connection: Arc<Mutex<Option<Connection>>>,
    reader: Arc<Mutex<Option<ended::Reader>>>,
    calls: Arc<Semaphore>,
}

impl Default for Systemd {
    fn default() -> Self {
        Self { connection: Arc::default(), reader: Arc::default(), calls: Arc::new(Semaphore::new(CALLS)) }
    }
}

impl Systemd {
    /// `daemon-reload`: for all of the system, everybody's pending edits included. Where systemd says that there were too
    /// many of them (`ReloadLimitIntervalSec=`, systemd-system.conf(5)), it is asked again for a minute.
    ///
    /// # Errors
    /// Where systemd refuses or does not answer.
    pub async fn reload(&self) -> Result<(), SystemdError> {
        let limit = Instant::now() + RELOAD;
        loop {
            match self.manager_within("Reload", &(), RELOAD).await {
                Err(error) if error.is_one_of_too_many() && Instant::now() < limit => sleep(TOO_MANY).await,
                came => return came.map(drop),
            }
        }
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

    /// The active units that systemd restarts with this one, and with those in turn.
    ///
    /// # Errors
    /// Where systemd does not answer.
    pub async fn active_dependents(&self, status: &UnitStatus) -> Result<Vec<String>, SystemdError> {
        let mut seen = BTreeSet::from([status.id.clone()]);
        let mut active = Vec::new();
        let mut to_visit: Vec<String> = status.dependents().cloned().collect();
        while let Some(unit) = to_visit.pop() {
            if !seen.insert(unit.clone()) || unit.ends_with(".target") {
                continue;
            }
            let dependent = self.unit(&unit).await?;
            if dependent.active_state == "active" {
                to_visit.extend(dependent.dependents().cloned());
                active.push(unit);
            }
        }
        Ok(active)
    }

    /// Clears the start limit and a failed state. A unit that is not loaded has neither.
    ///
    /// # Errors
    /// Where systemd does not answer.
    pub async fn reset_failed(&self, unit: &str) -> Result<(), SystemdError> {
        match self.manager("ResetFailedUnit", &unit).await {
            Err(error) if error.is_not_loaded() => Ok(()),
            done => done.map(drop),
        }
    }

    /// The processes of a unit, those in groups below its own included. One that is not loaded has none.
    ///
    /// # Errors
    /// Where systemd does not answer.
    pub async fn processes(&self, unit: &str) -> Result<Vec<u32>, SystemdError> {
        let reply = match self.manager("GetUnitProcesses", &unit).await {
            Err(error) if error.is_not_loaded() => return Ok(Vec::new()),
            reply => reply?,
        };
        let processes: Vec<(String, u32, String)> = body(&reply)?;
        Ok(processes.into_iter().map(|(_, pid, _)| pid).filter(|&pid| pid != 0).collect())
    }

    /// The active units whose names match one of the patterns.
    ///
    /// # Errors
    /// Where systemd does not answer.
    pub async fn active_units(&self, patterns: &[&str]) -> Result<Vec<String>, SystemdError> {
        self.units_that_are(&["active", "activating"], patterns).await
    }

    /// The names of the units that match a pattern and are in one of these states.
    async fn units_that_are(&self, states: &[&str], patterns: &[&str]) -> Result<Vec<String>, SystemdError> {
        let reply = self.manager("ListUnitsByPatterns", &(states, patterns)).await?;
        let units: Vec<Listed> = body(&reply)?;
        Ok(units.into_iter().map(|unit| unit.0).collect())
    }

    /// The units that systemd has loaded, in whatever state, whose names match a pattern.
    ///
    /// # Errors
    /// Where systemd does not answer.
    pub async fn loaded_units(&self, pattern: &str) -> Result<Vec<String>, SystemdError> {
        let any: &[&str] = &[];
        let reply = self.manager("ListUnitsByPatterns", &(any, [pattern].as_slice())).await?;
        let units: Vec<Listed> = body(&reply)?;
        Ok(units.into_iter().filter(|unit| unit.2 == "loaded").map(|unit| unit.0).collect())
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

    /// Makes and starts a timer that runs the service of the same name.
    ///
    /// # Errors
    /// Where systemd refuses; it does where a template timer of that name exists.
    pub async fn start_transient_timer(
        &self,
        timer: &str,
        description: &str,
        elapse: &Elapse,
    ) -> Result<(), SystemdError> {
        let micros = |time: &Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let elapses = match elapse {
            Elapse::At { calendar } => ("TimersCalendar", Variant::from(vec![("OnCalendar", calendar.as_str())])),
            Elapse::Again { after, every } => (
                "TimersMonotonic",
                Variant::from(vec![("OnActiveSec", micros(after)), ("OnUnitInactiveSec", micros(every))]),
            ),
        };
        let mut properties: Vec<(&str, Variant<'_>)> = vec![
            ("Description", Variant::from(description)),
            elapses,
            ("AccuracyUSec", Variant::from(1_000_000_u64)),
            ("RemainAfterElapse", Variant::from(false)),
        ];
        // One that looks again and again guards a rotation that has begun: who stops the schedules doesn't mean it.
        if matches!(elapse, Elapse::At { .. }) {
            properties.push(("PartOf", Variant::from(vec!["rekeyd-timers.target"])));
        }
        let aux: Vec<(&str, Vec<(&str, Variant<'_>)>)> = Vec::new();
        self.manager("StartTransientUnit", &(timer, "replace", properties, aux)).await.map(drop)
    }
}

#[cfg(test)]
mod tests;
