//! Evidence from the live units: what their processes have, and that they stay up.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::SystemdTarget;
use super::activate::{dependent_failed, failure, is_down, is_left_stopped};
use super::template::is_template;
use crate::config::Activate;
use crate::dbus::unit::UnitStatus;
use crate::record::{Evidence, Found};
use crate::rotation::{Fault, FaultCode};
use crate::target::Disclosed;

/// How often a unit is looked at that is on its way.
pub(super) const POLL: Duration = Duration::from_millis(50);
/// How often one is looked at, at the least, that is up.
const LOOK: Duration = Duration::from_millis(500);
/// How long a process may take from its start to its own environment, and systemd beyond its own time-outs.
pub(super) const SLACK: Duration = Duration::from_secs(5);
/// How long a process may be on its way from fork(2) to its own environment, while its unit runs.
const MOMENT: Duration = Duration::from_secs(1);

impl SystemdTarget {
    /// Waits until every process has the value: right after a start the old environment is still there.
    pub(super) async fn wait_for_value(&self, unit: &str, view: &Disclosed<'_>, limit: Instant) -> Result<u32, Fault> {
        loop {
            let status = self.systemd.unit(unit).await?;
            if is_down(&status) {
                return Err(failure(&status, "it did not stay up"));
            }
            let tally = self.tally(&status, view).await?;
            if self.suffices(&tally) {
                return Ok(tally.of());
            }
            if Instant::now() >= limit {
                return Err(self.no_proof(unit, view, &tally));
            }
            sleep(POLL).await;
        }
    }

    /// All evidence for the units of this target, watched side by side through `settle`.
    pub(super) async fn gather(
        &self,
        view: &Disclosed<'_>,
        found: &[Found],
        deadline: Instant,
    ) -> Result<Vec<Evidence>, Fault> {
        let mut evidence = Vec::new();
        let mut watched = Vec::new();
        for consumer in found {
            if is_template(&consumer.unit) {
                evidence.push(Evidence::Stopped { unit: consumer.unit.clone() });
                continue;
            }
            // At boot, when a rotation is taken up again, the unit may still be on its way.
            self.systemd.wait_without_job(&consumer.unit, deadline).await?;
            if is_left_stopped(consumer, &self.systemd.unit(&consumer.unit).await?) {
                evidence.push(Evidence::Stopped { unit: consumer.unit.clone() });
                continue;
            }
            let limit = deadline.min(Instant::now() + SLACK);
            if self.activate == Activate::Restart {
                self.wait_for_value(&consumer.unit, view, limit).await?;
            }
            watched.push((consumer, self.systemd.unit(&consumer.unit).await?));
        }
        let began = Instant::now();
        while began.elapsed() < self.settle {
            self.check_steady(&watched).await?;
            // Most of those that end do so at once, and each look is paid for by the units that are watched.
            let pause = (began.elapsed() / 2).clamp(POLL, LOOK);
            sleep(pause.min(self.settle.saturating_sub(began.elapsed()))).await;
        }
        self.check_steady(&watched).await?;
        let settled_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        for (consumer, status) in watched {
            // Workers are often started one after the other: only now all of them are there.
            let mut tally = self.tally(&status, view).await?;
            // One that is being started at this moment has no environment of its own yet.
            let limit = deadline.min(Instant::now() + MOMENT);
            while self.activate == Activate::Restart && !self.suffices(&tally) {
                if Instant::now() >= limit {
                    return Err(self.no_proof(&consumer.unit, view, &tally));
                }
                sleep(POLL).await;
                tally = self.tally(&status, view).await?;
            }
            // Processes keep their environment through a reload: how many are new is told, and the probes prove.
            let (unit, invocation, main_pid) = (consumer.unit.clone(), status.invocation_id, status.main_pid);
            let (matching, of, without) = (tally.matching, tally.of(), tally.without);
            evidence.push(Evidence::Process { unit: unit.clone(), matching, of, without });
            evidence.push(Evidence::Unit { unit: unit.clone(), invocation, main_pid, settled_ms });
            if !consumer.dependents.is_empty() {
                evidence.push(Evidence::Dependents { unit, active: consumer.dependents.clone() });
            }
        }
        Ok(evidence)
    }

    /// The same invocation and main process as before, not restarted by systemd, and the dependents active.
    async fn check_steady(&self, watched: &[(&Found, UnitStatus)]) -> Result<(), Fault> {
        for (consumer, before) in watched {
            let now = self.systemd.unit(&consumer.unit).await?;
            let same = now.invocation_id == before.invocation_id
                && now.main_pid == before.main_pid
                && now.n_restarts == before.n_restarts;
            if !is_down(&now) && !same {
                let message = format!("{} was restarted by something else while it was watched", now.id);
                return Err(Fault::new(FaultCode::Unsettled, message).advise(format!("journalctl -u {} -n 50", now.id)));
            }
            if is_down(&now) {
                let what = match now.active_state == "inactive" && now.result == "success" {
                    true => "it was stopped, or ended by itself, while it was watched",
                    false => "it ended again soon after its start",
                };
                let fault = failure(&now, what);
                let code = if fault.code == FaultCode::UnitFailed { FaultCode::Unsettled } else { fault.code };
                return Err(Fault { code, ..fault });
            }
            for unit in &consumer.dependents {
                let dependent = self.systemd.unit(unit).await?;
                if is_down(&dependent) {
                    return Err(dependent_failed(unit, &consumer.unit, &dependent.in_words()));
                }
            }
        }
        Ok(())
    }

    /// The same invocations and main processes as in the evidence.
    pub(super) async fn check_same(&self, evidence: &[Evidence]) -> Result<(), Fault> {
        for evidence in evidence {
            let Evidence::Unit { unit, invocation, main_pid, .. } = evidence else { continue };
            let now = self.systemd.unit(unit).await?;
            if is_down(&now) || now.invocation_id != *invocation || now.main_pid != *main_pid {
                let what = if now.invocation_id == *invocation { "it ended" } else { "it ended and was started again" };
                let fault = failure(&now, &format!("{what} after it had stayed up for `settle`"));
                return Err(Fault { code: FaultCode::Unsettled, ..fault });
            }
        }
        Ok(())
    }
}
