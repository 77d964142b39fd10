//! Evidence from the live unit: what its processes have, and that it stays up.

use std::time::Duration;

use subtle::ConstantTimeEq as _;
use tokio::time::{Instant, sleep};

use super::SystemdTarget;
use super::activate::{dependent_failed, failure, is_down, is_left_stopped};
use crate::dbus::unit::UnitStatus;
use crate::helper::{Answer, Question};
use crate::record::{Evidence, Found};
use crate::rotation::{Fault, FaultCode};
use crate::secret::{digest, random};
use crate::store::StoreError;
use crate::target::Disclosed;

/// How often a unit is looked at.
pub(super) const POLL: Duration = Duration::from_millis(50);
/// How long a process may take from its start to its own environment, and systemd beyond its own time-outs.
pub(super) const SLACK: Duration = Duration::from_secs(5);

/// What the processes of a unit have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    matching: u32,
    /// With another value.
    other: u32,
    /// With the value, and another one to accept than they should have.
    accepts_others: u32,
    /// Without the variable, and allowed to be.
    without: u32,
    /// Without the variable though they should have it, by name.
    lacking: Vec<String>,
}

impl Tally {
    pub(super) fn is_proof(&self) -> bool {
        self.matching > 0 && self.other == 0 && self.accepts_others == 0 && self.lacking.is_empty()
    }

    /// Whether every process hides its environment (setproctitle(3) does), as the configuration says it may.
    fn is_hidden(&self) -> bool {
        self.without > 0 && self.without == self.of()
    }

    fn of(&self) -> u32 {
        self.matching
            + self.other
            + self.accepts_others
            + self.without
            + u32::try_from(self.lacking.len()).unwrap_or(u32::MAX)
    }
}

fn is_same(has: &Option<String>, wanted: &Option<String>) -> bool {
    match (has, wanted) {
        (Some(has), Some(wanted)) => bool::from(has.as_bytes().ct_eq(wanted.as_bytes())),
        (None, None) => true,
        _ => false,
    }
}

impl SystemdTarget {
    /// Whether nothing speaks against the view. Where no process shows what it has, the token of a probe must tell.
    pub(super) fn suffices(&self, tally: &Tally) -> bool {
        tally.is_proof() || (self.has_token_probe && tally.is_hidden())
    }

    /// Looks into every process of a unit.
    pub(super) async fn tally(&self, status: &UnitStatus, view: &Disclosed<'_>) -> Result<Tally, Fault> {
        let pids = self.systemd.processes(&status.id).await?;
        let key: [u8; 32] = random().map_err(StoreError::from)?;
        let question = Question::Processes {
            control_group: status.control_group.clone(),
            pids,
            variables: self.variables().map(str::to_owned).collect(),
            key: hex::encode(key),
        };
        let Answer::Processes { processes } = self.helper.ask_one(question).await? else { return Ok(Tally::default()) };
        let wanted: Vec<Option<String>> = self
            .wanted(view)
            .into_iter()
            .map(|(_, value)| value.map(|value| hex::encode(digest(&key, value.reveal()))))
            .collect();
        let mut tally = Tally::default();
        for process in processes {
            let same: Vec<bool> =
                process.digests.iter().zip(&wanted).map(|(has, wanted)| is_same(has, wanted)).collect();
            match process.digests.first().is_some_and(Option::is_some) {
                true if same.iter().all(|same| *same) => tally.matching += 1,
                // With the right value to sign with, and another one to accept.
                true if same.first() == Some(&true) => tally.accepts_others += 1,
                true => tally.other += 1,
                false if self.allow_without.contains(&process.comm) => tally.without += 1,
                false => tally.lacking.push(process.comm),
            }
        }
        Ok(tally)
    }

    /// Waits until every process has the value: right after a start the old environment is still there.
    pub(super) async fn wait_for_value(
        &self,
        unit: &str,
        view: &Disclosed<'_>,
        limit: Instant,
    ) -> Result<Evidence, Fault> {
        loop {
            let status = self.systemd.unit(unit).await?;
            if is_down(&status) {
                return Err(failure(&status, "it did not stay up"));
            }
            let tally = self.tally(&status, view).await?;
            if self.suffices(&tally) {
                let (matching, of, without) = (tally.matching, tally.of(), tally.without);
                return Ok(Evidence::Process { unit: unit.to_owned(), matching, of, without });
            }
            if Instant::now() >= limit {
                return Err(self.no_proof(unit, view, &tally));
            }
            sleep(POLL).await;
        }
    }

    fn no_proof(&self, unit: &str, view: &Disclosed<'_>, tally: &Tally) -> Fault {
        let (env, generation) = (&self.env, view.view.primary);
        if let (1.., Some(previous)) = (tally.accepts_others, &self.previous_env) {
            let message = format!(
                "{} of {} processes of {unit} have another {previous} than the view {} says",
                tally.accepts_others,
                tally.of(),
                view.view
            );
            return Fault::new(FaultCode::WrongValue, message)
                .advise(format!("see what else sets {previous}: systemctl cat {unit}"));
        }
        if tally.matching + tally.other == 0 {
            return Fault::new(FaultCode::NoValue, format!("no process of {unit} has {env} in its environment"))
                .advise(format!("does the unit start its program with a cleaned environment? systemctl cat {unit}"));
        }
        if tally.other > 0 {
            let message = format!(
                "{} of {} processes of {unit} have another {env} than generation {generation}",
                tally.other,
                tally.of()
            );
            return Fault::new(FaultCode::WrongValue, message)
                .advise(format!("see what else sets {env}: systemctl cat {unit}, and the program's own start script"));
        }
        let names = tally.lacking.join(", ");
        Fault::new(FaultCode::NoValue, format!("these processes of {unit} lack {env}: {names}"))
            .advise("if they legitimately need none, name them in [proof] allow-without")
    }

    /// All evidence for the units of this target, watched side by side through `settle`.
    pub(super) async fn gather(
        &self,
        view: &Disclosed<'_>,
        found: &[&Found],
        deadline: Instant,
    ) -> Result<Vec<Evidence>, Fault> {
        let mut evidence = Vec::new();
        let mut watched = Vec::new();
        for consumer in found {
            // At boot, when a rotation is taken up again, the unit may still be on its way.
            self.systemd.wait_without_job(&consumer.unit, deadline).await?;
            if is_left_stopped(consumer, &self.systemd.unit(&consumer.unit).await?) {
                evidence.push(Evidence::Stopped { unit: consumer.unit.clone() });
                continue;
            }
            let limit = deadline.min(Instant::now() + SLACK);
            evidence.push(self.wait_for_value(&consumer.unit, view, limit).await?);
            watched.push((*consumer, self.systemd.unit(&consumer.unit).await?));
        }
        let began = Instant::now();
        while began.elapsed() < self.settle {
            self.check_steady(&watched).await?;
            sleep(POLL.min(self.settle.saturating_sub(began.elapsed()))).await;
        }
        self.check_steady(&watched).await?;
        let settled_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        for (consumer, status) in watched {
            let tally = self.tally(&status, view).await?;
            if !self.suffices(&tally) {
                return Err(self.no_proof(&consumer.unit, view, &tally));
            }
            let (unit, invocation, main_pid) = (consumer.unit.clone(), status.invocation_id, status.main_pid);
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
                let fault = failure(&now, "it ended again soon after its start");
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
}
