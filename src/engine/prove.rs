//! The proof that a view is the one in force: the evidence of targets and the answers of probes.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Engine, Values};
use crate::config::TargetSettings;
use crate::proof::{Moment, Question};
use crate::record::{Evidence, Found, Seen};
use crate::rotation::{Fault, FaultCode, Generation, Phase, View};
use crate::secret::SecretValue;
use crate::target::Target;

/// So many processes are taken to answer, where none can be seen.
const UNKNOWN_WORKERS: u32 = 4;
/// How often processes are looked at while they are asked.
const WATCH: Duration = Duration::from_secs(2);
/// How soon whoever was away is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(200);

impl Engine<'_> {
    pub(super) async fn prove(&self, phase: &Phase, view: &View, deadline: Instant) -> Result<Seen, Fault> {
        let values = self.disclose(view)?;
        let (disclosed, mark) = (values.of(view), self.mark(phase));
        let errand = self.errand(&disclosed, phase, &mark, deadline);
        let mut evidence = Vec::new();
        for (_, target) in self.moving() {
            evidence.extend(target.evidence(&errand).await?);
        }
        // There is no other way out than the last way back; and whoever ends meanwhile is seen.
        let is_last = matches!(phase, Phase::Back { signed: false, .. });
        let stopped = self.stopped_meanwhile(&evidence);
        let waits = is_last && stopped.is_none() && evidence.iter().any(Evidence::is_watched);
        let moment = if waits { Moment::Back } else { Moment::Moved };
        let of = (moment, runs(&evidence), workers(&evidence));
        let probed = tokio::select! {
            probed = self.ask_probes(of, view, (&values, self.out_of_force(view)), deadline) => {
                probed.map_err(|fault| with_stopped(fault, stopped))?
            }
            fault = self.watch_over(&evidence) => return Err(fault),
        };
        for (_, target) in self.moving() {
            check_still_there(target, &evidence, deadline).await?;
        }
        evidence.extend(probed);
        for (_, target) in self.moving() {
            evidence.extend(target.make_last(&errand).await?);
        }
        Ok(Seen::Proven { evidence })
    }

    /// A consumer that ran when the rotation began, and was stopped on purpose since.
    fn stopped_meanwhile(&self, evidence: &[Evidence]) -> Option<String> {
        let is_stopped =
            |unit: &str| evidence.iter().any(|seen| matches!(seen, Evidence::Stopped { unit: it } if it == unit));
        self.found().iter().find(|found| found.running && is_stopped(&found.unit)).map(|found| found.unit.clone())
    }

    /// That the consumers would start with what was delivered, and work as they are.
    pub(super) async fn prove_delivered(&self, view: &View, deadline: Instant) -> Result<Seen, Fault> {
        self.check_in_force().await?;
        let anyone = self.found().iter().any(|found| found.running);
        let left = |found: &Found| match found.running {
            true => Evidence::AtNextRestart { unit: found.unit.clone() },
            false => Evidence::Stopped { unit: found.unit.clone() },
        };
        let mut evidence: Vec<_> = self.found().iter().map(left).collect();
        let of = (Moment::Moved, anyone, found_workers(self.found()));
        evidence.extend(self.ask_probes(of, view, (&self.disclose(view)?, Vec::new()), deadline).await?);
        Ok(Seen::Proven { evidence })
    }

    /// Looks at the processes for as long as probes ask them: one that ends is the reason why nobody answers.
    async fn watch_over(&self, evidence: &[Evidence]) -> Fault {
        loop {
            sleep(WATCH).await;
            for (_, target) in self.moving() {
                match target.is_still_there(evidence).await {
                    Err(fault) if !is_of_absence(&fault) => return fault,
                    _ => {}
                }
            }
        }
    }

    /// Asks the probes, where anyone is there to answer: consumers may be stopped on purpose.
    pub(super) async fn ask_probes(
        &self,
        (moment, anyone, workers): (Moment, bool, u32),
        view: &View,
        (values, retired): (&Values, Vec<(Generation, SecretValue)>),
        deadline: Instant,
    ) -> Result<Vec<Evidence>, Fault> {
        if !anyone {
            return Ok(Vec::new());
        }
        let question = Question {
            moment,
            workers,
            primary: (view.primary, &values.primary),
            accepted: view.accepted.iter().copied().zip(&values.accepted).collect(),
            retired: retired.iter().map(|(number, value)| (*number, value)).collect(),
            at_leisure: !retired.is_empty() && self.settings.targets.iter().any(TargetSettings::takes_at_leisure),
            deadline,
        };
        let mut evidence = Vec::new();
        for probe in self.probes {
            evidence.push(probe.ask(&question).await?);
        }
        Ok(evidence)
    }

    /// The values of this rotation that are not in `view`: nobody may sign with them or accept them any more.
    fn out_of_force(&self, view: &View) -> Vec<(Generation, SecretValue)> {
        let Some(transaction) = &self.ledger.standing().transaction else { return Vec::new() };
        let both_ends = transaction.plan.start().generations().chain(transaction.plan.goal().generations());
        let not_in_view = both_ends.filter(|number| view.generations().all(|kept| kept != *number));
        not_in_view.filter_map(|number| Some((number, self.store.get(&self.settings.name, number).ok()?))).collect()
    }
}

/// Why nobody may have answered a probe, where a unit was stopped meanwhile.
fn with_stopped(fault: Fault, stopped: Option<String>) -> Fault {
    let Some(unit) = stopped else { return fault };
    let message = format!("{}, and {unit} was stopped in mid-rotation", fault.message);
    Fault { message, ..fault }.advise(format!("is it {unit} that should answer? systemctl start {unit}"))
}

/// Whoever is to say it is away at the moment, and is asked again.
fn is_of_absence(fault: &Fault) -> bool {
    matches!(fault.code, FaultCode::ManagerUnreachable | FaultCode::EngineUnreachable)
}

/// That the consumer is still the one that was proven, as soon as anybody can say it.
async fn check_still_there(target: &dyn Target, evidence: &[Evidence], deadline: Instant) -> Result<(), Fault> {
    loop {
        match target.is_still_there(evidence).await {
            Err(fault) if is_of_absence(&fault) && Instant::now() + WATCH < deadline => sleep(ASK_AGAIN).await,
            other => return other,
        }
    }
}

/// Whether a consumer runs, or it is not known. That a file has the value says nothing of who reads it.
fn runs(evidence: &[Evidence]) -> bool {
    let of_consumers: Vec<_> = evidence.iter().filter(|seen| !matches!(seen, Evidence::File { .. })).collect();
    of_consumers.is_empty()
        || !of_consumers
            .iter()
            .all(|seen| matches!(seen, Evidence::Stopped { .. } | Evidence::StoppedWithFormer { .. }))
}

/// How many processes may be answering, of consumers as they were found.
pub(super) fn found_workers(found: &[Found]) -> u32 {
    let running = found.iter().filter(|found| found.running);
    running
        .map(|found| found.processes)
        .try_fold(0_u32, |sum, of| Some(sum.saturating_add(of?)))
        .unwrap_or(UNKNOWN_WORKERS)
}

/// How many processes may be answering a probe; where nobody knows, several.
pub(super) fn workers(evidence: &[Evidence]) -> u32 {
    let of = |seen: &Evidence| match seen {
        Evidence::Process { of, .. } => Some(*of),
        _ => None,
    };
    evidence.iter().filter_map(of).reduce(u32::saturating_add).unwrap_or(UNKNOWN_WORKERS)
}
