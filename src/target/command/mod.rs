//! A program of the administrator's that is a target itself: rekeyd asks, it answers, and tells apart what it refused, what
//! failed, and what it cannot be sure of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::{Disclosed, Errand, Health, Means, Report, Target, program};
use crate::config::{CommandTarget as Settings, SecretSettings};
use crate::helper::ProcessHelper;
use crate::record::{Activated, Evidence, Found, Handover, Noted};
use crate::rotation::{Fault, FaultCode, View};
use crate::secret::{SecretValue, told};
use crate::sys::command::{Command, Prints, Runner, Shown};

pub mod protocol;

use protocol::{Adopted, Delivered, Done, Looked, PROTOCOL, Request, Verb, Word, checked, read};

/// Less time than this is none.
const LEAST: Duration = Duration::from_secs(1);
/// So long before the rotation's deadline a program's own time is over, so that there is time to end it, and to say of what
/// it was ended in that nobody knows how far it had come. Were the deadline first, that would be an end like any other.
const AHEAD: Duration = Duration::from_secs(15);

/// One program.
pub struct CommandTarget {
    secret: String,
    env: String,
    settings: Settings,
    processes: ProcessHelper,
    runner: Arc<dyn Runner>,
}

/// What is asked, besides the verb.
#[derive(Default)]
struct Asked<'a> {
    view: Option<&'a View>,
    /// The values of the view, where the program may see them.
    shown: Option<Shown<'a>>,
    mark: &'a str,
    back: bool,
    found: BTreeMap<String, String>,
    noted: BTreeMap<String, String>,
    deadline: Option<Instant>,
}

impl CommandTarget {
    /// The target that `settings` describes, of the secret `secret`.
    pub fn new(secret: &SecretSettings, settings: &Settings, means: &Means) -> Self {
        Self {
            secret: secret.name.to_string(),
            env: secret.env.clone(),
            settings: settings.clone(),
            processes: means.processes.clone(),
            runner: Arc::clone(&means.runner),
        }
    }

    async fn check_program(&self) -> Result<(), Fault> {
        let (argv, user) = (&self.settings.argv, self.settings.user.as_deref());
        program::check_own(&self.processes, argv, user, "`command`", &self.label()).await
    }

    fn unit(&self) -> String {
        format!("rekeyd-command-{}.service", self.secret)
    }

    /// Has the program do `verb`, and reads its answer.
    async fn ask<T: DeserializeOwned>(&self, verb: Verb, asked: Asked<'_>) -> Result<T, Fault> {
        let left = asked.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let limit = limit(self.settings.timeout, left);
        let values = values(asked.shown.as_ref());
        let request = Request {
            protocol: PROTOCOL,
            verb,
            secret: self.secret.clone(),
            env: self.env.clone(),
            mark: asked.mark.to_owned(),
            back: asked.back,
            view: asked.view.map(Into::into),
            settings: self.settings.settings.clone(),
            found: asked.found,
            noted: asked.noted,
            time_limit: limit.as_secs(),
        };
        let input = serde_json::to_vec(&request)
            .map_err(|error| self.fault(FaultCode::ProgramFailed, format!("it cannot be asked: {error}")))?;
        let argv: Vec<String> = self.settings.argv.iter().cloned().chain([verb.as_str().to_owned()]).collect();
        let unit = self.unit();
        let command = Command {
            unit: &unit,
            description: &format!("{} of the secret {}: {}", self.settings.name, self.secret, verb.as_str()),
            argv: &argv,
            directory: None,
            user: self.settings.user.as_deref().into(),
            environment: request.environment(),
            input,
            value: asked.shown.clone(),
            limit,
            prints: Prints::Answer,
        };
        let ran = self.runner.run(&command).await;
        let ran = ran.map_err(|error| self.fault(FaultCode::ProgramMissing, error.to_string()))?;
        match Word::of(&ran.end, &ran.stdout, &argv) {
            // What came of it is said by a later verb, if by this one's answer nothing is.
            Word::Done => read(&ran.stdout)
                .map_err(|why| self.fault(FaultCode::ProgramFailed, format!("{} to `{}`", why, verb.as_str()))),
            Word::Refused(problem) => Err(self.problem(FaultCode::ProgramRefused, verb, &problem, &values)),
            Word::Failed(problem) => Err(self.problem(FaultCode::ProgramFailed, verb, &problem, &values)),
            Word::Unsure(problem) if verb.acts() => {
                Err(self.problem(FaultCode::ProgramUnsure, verb, &problem, &values))
            }
            Word::Unsure(problem) => Err(self.problem(FaultCode::ProgramFailed, verb, &problem, &values)),
            Word::Unplanned(how) if verb.acts() => {
                let message = format!("{how} in `{}`, and how far it had come is not known", verb.as_str());
                Err(self.fault(FaultCode::ProgramUnsure, message))
            }
            Word::Unplanned(how) => Err(self.fault(FaultCode::ProgramFailed, format!("{how} in `{}`", verb.as_str()))),
        }
    }

    fn fault(&self, code: FaultCode, message: String) -> Fault {
        let advice = format!("see what it says: {}", self.runner.said(&self.unit(), Prints::Answer));
        Fault::new(code, format!("{}: {message}", self.label())).advise(advice)
    }

    fn problem(&self, code: FaultCode, verb: Verb, problem: &protocol::Problem, values: &[&SecretValue]) -> Fault {
        let what = match code {
            FaultCode::ProgramRefused => format!("`{}` was refused", verb.as_str()),
            FaultCode::ProgramUnsure => format!("whether `{}` worked is not certain", verb.as_str()),
            _ => format!("`{}` failed", verb.as_str()),
        };
        let fault = self.fault(code, format!("{what}: {}", told(&problem.message, values)));
        let advice = told(&problem.advice, values);
        if advice.is_empty() { fault } else { fault.advise(advice) }
    }

    /// What is asked for a step of a movement.
    fn asked<'a>(&self, errand: &'a Errand<'a>) -> Asked<'a> {
        let label = self.label();
        let found = errand.found.iter().find(|found| found.unit == label);
        let noted = errand.noted.iter().find(|noted| noted.target == label);
        Asked {
            view: Some(errand.view.view),
            shown: Some(shown(errand.view)),
            mark: errand.mark,
            back: errand.back,
            found: found.map(|found| found.details.clone()).unwrap_or_default(),
            noted: noted.map(|noted| noted.details.clone()).unwrap_or_default(),
            deadline: Some(errand.deadline),
        }
    }

    fn checked(
        &self,
        details: BTreeMap<String, String>,
        view: &Disclosed<'_>,
    ) -> Result<BTreeMap<String, String>, Fault> {
        let shown = shown(view);
        checked(details, &values(Some(&shown))).map_err(|why| self.fault(FaultCode::ProgramFailed, why))
    }
}

/// How long a program may take, with so much left until the rotation's deadline.
fn limit(timeout: Duration, left: Option<Duration>) -> Duration {
    left.map_or(timeout, |left| timeout.min(left.saturating_sub(AHEAD).max(left / 2)).max(LEAST))
}

fn shown<'a>(view: &Disclosed<'a>) -> Shown<'a> {
    Shown { value: view.primary, accepted: view.accepted.clone() }
}

fn values<'a>(shown: Option<&Shown<'a>>) -> Vec<&'a SecretValue> {
    shown.into_iter().flat_map(|shown| std::iter::once(shown.value).chain(shown.accepted.iter().copied())).collect()
}

#[async_trait]
impl Target for CommandTarget {
    fn label(&self) -> String {
        format!("command {}", self.settings.name)
    }

    async fn value_in_force(&self) -> Result<SecretValue, Fault> {
        self.check_program().await?;
        let Adopted { value } = self.ask(Verb::Adopt, Asked::default()).await?;
        if value.is_empty() {
            return Err(Fault::new(FaultCode::NoValue, format!("{}: the value that it tells is empty", self.label())));
        }
        Ok(value)
    }

    /// It is not known; as with several, none must sign with what another does not accept yet.
    async fn processes(&self) -> Result<usize, Fault> {
        Ok(2)
    }

    async fn survey(&self, in_force: &Disclosed<'_>, health: Health, deadline: Instant) -> Result<Vec<Found>, Fault> {
        self.check_program().await?;
        let asked = Asked {
            view: Some(in_force.view),
            shown: Some(shown(in_force)),
            back: health == Health::Irrelevant,
            deadline: Some(deadline),
            ..Asked::default()
        };
        let Looked { running, details } = self.ask(Verb::Preflight, asked).await?;
        let details = self.checked(details, in_force)?;
        let (configured, unit, handover) = (self.label(), self.label(), Handover::Unknown);
        Ok(vec![Found { configured, unit, running, handover, details, ..Found::default() }])
    }

    fn is_local(&self) -> bool {
        false
    }

    async fn deliver(&self, errand: &Errand<'_>) -> Result<Vec<Noted>, Fault> {
        let Delivered { details } = self.ask(Verb::Deliver, self.asked(errand)).await?;
        let details = self.checked(details, errand.view)?;
        Ok(vec![Noted { target: self.label(), details }])
    }

    fn exposes(&self) -> Option<String> {
        None
    }

    async fn activate(&self, errand: &Errand<'_>) -> Result<Vec<Activated>, Fault> {
        let began = Instant::now();
        let _: Done = self.ask(Verb::Activate, self.asked(errand)).await?;
        let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        Ok(vec![Activated::Ran { program: self.settings.name.clone(), took_us }])
    }

    async fn evidence(&self, errand: &Errand<'_>) -> Result<Vec<Evidence>, Fault> {
        let Done { message } = self.ask(Verb::Prove, self.asked(errand)).await?;
        let said = told(&message, &values(Some(&shown(errand.view))));
        Ok(vec![Evidence::Program { target: self.label(), said }])
    }

    async fn is_still_there(&self, _evidence: &[Evidence]) -> Result<(), Fault> {
        Ok(())
    }

    fn tidy(&self, _keep: &View) {}

    async fn let_go(&self, keep: &View, mark: &str, report: &dyn Report) {
        let asked = Asked { view: Some(keep), mark, ..Asked::default() };
        if let Err(fault) = self.ask::<Done>(Verb::Tidy, asked).await {
            report.progress(&format!("WARNING: {fault}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_ends_before_the_rotation_does() {
        let seconds = Duration::from_secs;
        for (timeout, left, wanted) in [(60, 600, 60), (60, 60, 45), (600, 600, 585), (60, 20, 10), (60, 0, 1)] {
            assert_eq!(limit(seconds(timeout), Some(seconds(left))), seconds(wanted), "{timeout} {left}");
        }
        assert_eq!(limit(seconds(60), None), seconds(60));
    }
}
