//! Making a unit take up the view: a restart as a job, and what really came of it.

use tokio::time::Instant;

use super::SystemdTarget;
use super::evidence::SLACK;
use super::template::is_template;
use crate::config::Activate;
use crate::dbus::systemd1::JobEnd;
use crate::dbus::unit::UnitStatus;
use crate::record::{Activated, Found};
use crate::rotation::{Fault, FaultCode};
use crate::target::Disclosed;

impl SystemdTarget {
    pub(super) async fn activate_unit(
        &self,
        view: &Disclosed<'_>,
        found: &Found,
        back: bool,
        deadline: Instant,
    ) -> Result<Activated, Fault> {
        let unit = &found.unit;
        if is_template(unit) {
            return Ok(Activated::LeftStopped { unit: unit.clone() });
        }
        // A daemon that was killed may have left a restart under way: it counts as ours. On the way back it may be the one
        // with the new value, which never becomes ready: a restart takes its place.
        if !back && !self.systemd.wait_without_job(unit, deadline).await? {
            return Err(not_ready(unit));
        }
        let status = self.systemd.unit(unit).await?;
        if is_left_stopped(found, &status) {
            return Ok(Activated::LeftStopped { unit: unit.clone() });
        }
        // A reload leaves no trace in the processes: in doubt it is done again.
        let is_up = status.active_state == "active" && !status.has_job;
        let reload = self.activate == Activate::Reload && is_up && status.can_reload;
        if !reload && is_up && self.tally(&status, view).await?.is_exact() {
            self.bring_back_dependents(found, back, deadline).await?;
            return Ok(Activated::AlreadyRunning { unit: unit.clone() });
        }
        let began = Instant::now();
        // Else a sixth restart within ten seconds would stop the unit for good.
        self.systemd.reset_failed(unit).await?;
        let limit = job_deadline(&status, deadline);
        let end = if reload {
            self.systemd.reload_or_restart(unit, limit).await?
        } else {
            self.systemd.restart(unit, limit).await?
        };
        let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.check_activated(unit, &end, reload).await?;
        self.bring_back_dependents(found, back, deadline).await?;
        let unit = unit.clone();
        Ok(if reload { Activated::Reloaded { unit, took_us } } else { Activated::Restarted { unit, took_us } })
    }

    /// `done` is also told of a unit whose program is missing, and of one that a condition keeps stopped.
    async fn check_activated(&self, unit: &str, end: &JobEnd, reload: bool) -> Result<(), Fault> {
        let what = if reload { "reload" } else { "restart" };
        let status = self.systemd.unit(unit).await?;
        match end {
            JobEnd::NotInTime => Err(not_ready(unit)),
            JobEnd::Result(result) if result != "done" => {
                Err(failure(&status, &format!("its {what} ended as {result}")))
            }
            _ if status.active_state == "inactive" && status.skipped_by_condition => {
                let message = format!("a Condition= or Assert= of {unit} does not hold: the restart left it stopped");
                Err(Fault::new(FaultCode::ConditionFails, message).advise(format!("systemctl status {unit}")))
            }
            _ if is_down(&status) => Err(failure(&status, &format!("it did not stay up after its {what}"))),
            _ => Ok(()),
        }
    }

    /// systemd restarts dependents that are active; those that failed with the other view stay down, and are started.
    async fn bring_back_dependents(&self, found: &Found, back: bool, deadline: Instant) -> Result<(), Fault> {
        let mut failed = None;
        for unit in &found.dependents {
            match self.bring_back(unit, &found.unit, deadline).await {
                // On the way back one that stays down keeps no other from coming up.
                Err(fault) if back => failed = failed.or(Some(fault)),
                brought => brought?,
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn bring_back(&self, unit: &str, consumer: &str, deadline: Instant) -> Result<(), Fault> {
        if !self.systemd.wait_without_job(unit, deadline).await? {
            return Err(dependent_failed(unit, consumer, "it was not ready in time"));
        }
        let status = self.systemd.unit(unit).await?;
        if status.active_state == "active" {
            return Ok(());
        }
        self.systemd.reset_failed(unit).await?;
        if let Err(error) = self.systemd.start_until(unit, job_deadline(&status, deadline)).await {
            let status = self.systemd.unit(unit).await?;
            return Err(dependent_failed(unit, consumer, &format!("{} ({error})", status.in_words())));
        }
        Ok(())
    }
}

/// Whether the unit was stopped on purpose and still is, or the system was booted since and the boot does not start it.
/// One that somebody started meanwhile runs like any other.
pub(super) fn is_left_stopped(found: &Found, status: &UnitStatus) -> bool {
    let is_down = status.active_state != "active" && !status.has_job;
    is_down && (!found.running || (status.active_state == "inactive" && status.never_started()))
}

/// Whether it is failed, stopped, or about to be restarted by systemd again.
pub(super) fn is_down(status: &UnitStatus) -> bool {
    matches!(status.active_state.as_str(), "failed" | "inactive" | "deactivating") || status.restarts_itself()
}

pub(super) fn failure(status: &UnitStatus, what: &str) -> Fault {
    let code = match status.result.as_str() {
        "start-limit-hit" => FaultCode::StartLimit,
        "timeout" => FaultCode::NotReady,
        _ => FaultCode::UnitFailed,
    };
    let id = &status.id;
    match status.load_state.as_str() {
        "masked" => Fault::new(code, format!("{id} is masked by now: {what}"))
            .advise(format!("systemctl unmask {id}, if that was not meant to be; then try again")),
        "not-found" => Fault::new(code, format!("there is no unit {id} any more: {what}"))
            .advise("was it renamed or removed? say its name in `units`, and rekeyctl reload; then try again"),
        _ => Fault::new(code, format!("{}: {what}", status.in_words())).advise(format!("journalctl -u {id} -n 50")),
    }
}

pub(super) fn dependent_failed(unit: &str, consumer: &str, how: &str) -> Fault {
    Fault::new(FaultCode::DependentFailed, format!("{unit}, which depends on {consumer}, did not come back: {how}"))
        .advise(format!("journalctl -u {unit} -n 50"))
}

fn not_ready(unit: &str) -> Fault {
    Fault::new(FaultCode::NotReady, format!("{unit} was not ready in time"))
        .advise(format!("journalctl -u {unit} -n 50"))
}

/// The unit's own time-outs say how long a restart may take, and the rotation's deadline bounds them.
fn job_deadline(status: &UnitStatus, deadline: Instant) -> Instant {
    status.timeout.map_or(deadline, |limit| deadline.min(Instant::now() + limit + SLACK))
}
