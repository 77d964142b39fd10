//! Jobs of systemd: restart, start, stop, and what came of it.

use tokio::time::{Instant, sleep, timeout};
use zbus::message::Message;
use zbus::wire::OwnedObjectPath;

use super::call::{CALL, LOOK, body};
use super::ended::Ends;
use super::{Systemd, SystemdError};

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

impl Systemd {
    /// Restarts a unit and waits for the job's end.
    ///
    /// # Errors
    /// Where the job cannot be queued.
    pub async fn restart(&self, unit: &str, deadline: Instant) -> Result<JobEnd, SystemdError> {
        self.job("RestartUnit", unit, deadline).await
    }

    /// Reloads a unit, or restarts it where it cannot be reloaded, and waits for the job's end.
    ///
    /// # Errors
    /// Where the job cannot be queued.
    pub async fn reload_or_restart(&self, unit: &str, deadline: Instant) -> Result<JobEnd, SystemdError> {
        self.job("ReloadOrRestartUnit", unit, deadline).await
    }

    /// Starts a unit and waits for the job's end, for as long as a call may take.
    ///
    /// # Errors
    /// Where the job cannot be queued, or does not end well.
    pub async fn start(&self, unit: &str) -> Result<(), SystemdError> {
        self.start_until(unit, Instant::now() + CALL).await
    }

    /// The same, for as long as until `deadline`.
    ///
    /// # Errors
    /// As for [`Self::start`].
    pub async fn start_until(&self, unit: &str, deadline: Instant) -> Result<(), SystemdError> {
        let end = self.job("StartUnit", unit, deadline).await?;
        ended_well("StartUnit", unit, &end)
    }

    /// Stops a unit and waits for the job's end, for as long as a call may take. One that is not loaded is stopped.
    ///
    /// # Errors
    /// Where the job cannot be queued, or does not end well.
    pub async fn stop(&self, unit: &str) -> Result<(), SystemdError> {
        match self.job("StopUnit", unit, Instant::now() + CALL).await {
            Err(error) if error.is_not_loaded() => Ok(()),
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

    /// Queues a job and waits for its end. `JobRemoved` tells the result; looking at the job as well makes up for a
    /// signal that was missed, or a bus that was restarted.
    async fn job(&self, method: &'static str, unit: &str, deadline: Instant) -> Result<JobEnd, SystemdError> {
        let before = self.unit(unit).await?.invocation_id;
        let mut ends = self.ends().await?;
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
        self.follow(&reply, &mut ends, deadline).await
    }

    /// Waits for the end of the job that a reply names.
    pub(super) async fn follow(
        &self,
        reply: &Message,
        ends: &mut Ends,
        deadline: Instant,
    ) -> Result<JobEnd, SystemdError> {
        let job: OwnedObjectPath = body(reply)?;
        let mut is_told = true;
        loop {
            tokio::select! {
                result = ends.of(&job), if is_told => match result {
                    Some(result) => return Ok(JobEnd::Result(result)),
                    None => is_told = false,
                },
                () = sleep(LOOK) => match self.property(job.as_str(), "org.freedesktop.systemd1.Job", "State").await {
                    Ok(_) | Err(SystemdError::Unreachable(_) | SystemdError::TimedOut { .. }) => {}
                    // The signal may be right behind.
                    Err(SystemdError::Refused { .. } | SystemdError::StillRuns { .. }) => {
                        let last = timeout(LOOK, ends.of(&job)).await;
                        return Ok(last.ok().flatten().map_or(JobEnd::Unseen, JobEnd::Result));
                    }
                },
                () = tokio::time::sleep_until(deadline) => return Ok(JobEnd::NotInTime),
            }
        }
    }
}

pub(super) fn ended_well(call: &'static str, unit: &str, end: &JobEnd) -> Result<(), SystemdError> {
    let refused = |message: String| Err(SystemdError::Refused { call, name: "job".to_owned(), message });
    match end {
        JobEnd::Result(result) if result != "done" => refused(format!("the job of {unit} ended as {result}")),
        JobEnd::NotInTime => refused(format!("the job of {unit} did not end in time")),
        JobEnd::Result(_) | JobEnd::Unseen => Ok(()),
    }
}
