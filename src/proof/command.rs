//! The `command` probe: a program of the administrator's that is shown the value ends with 0.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Patience, Probe, Question, Trouble};
use crate::config::{CommandProbe, SecretSettings};
use crate::helper::ProcessHelper;
use crate::record::Evidence;
use crate::rotation::{Fault, FaultCode, Generation};
use crate::secret::{SecretValue, last_line_told};
use crate::sys::command::{Command, End, Prints, Ran, Runner, Shown, User};
use crate::target::{Means, program};

/// A program that is begun has at least so long; to systemd, no time at all is all the time.
const LEAST: Duration = Duration::from_secs(1);

/// One program.
pub(super) struct Program {
    secret: String,
    env: String,
    /// Its place among the probes of the secret.
    place: usize,
    settings: CommandProbe,
    processes: ProcessHelper,
    runner: Arc<dyn Runner>,
}

impl Program {
    /// The probe that `settings` describes, the one at `place` of the secret's.
    pub fn new(secret: &SecretSettings, place: usize, settings: &CommandProbe, means: &Means) -> Self {
        Self {
            secret: secret.name.to_string(),
            env: secret.env.clone(),
            place,
            settings: settings.clone(),
            processes: means.processes.clone(),
            runner: Arc::clone(&means.runner),
        }
    }

    fn name(&self) -> String {
        let program = self.settings.argv.first().map(Path::new).and_then(Path::file_name);
        program.unwrap_or_default().to_string_lossy().into_owned()
    }

    /// One for each generation: the way back, with another one, is not to remove what was said of the one that was refused.
    fn unit(&self, generation: Generation) -> String {
        format!("rekeyd-probe-{}-{}-{generation}.service", self.secret, self.place + 1)
    }

    async fn run(&self, question: &Question<'_>, limit: Duration) -> Result<Evidence, Trouble> {
        let unit = self.unit(question.primary.0);
        let command = Command {
            unit: &unit,
            description: &format!("A probe of the secret {}: {}", self.secret, self.name()),
            argv: &self.settings.argv,
            directory: None,
            user: self.settings.user.as_deref().map_or(User::OfItsOwn, User::Named),
            environment: environment(&self.secret, &self.env, question),
            input: Vec::new(),
            value: Some(Shown {
                value: question.primary.1,
                accepted: question.accepted.iter().map(|(_, value)| *value).collect(),
            }),
            limit: limit.max(LEAST),
            prints: Prints::Answer,
        };
        let fault = |code, message: String| {
            let advice = format!("see what it says: {}", self.runner.said(&unit, Prints::Answer));
            Fault::new(code, format!("{}: {message}", self.label())).advise(advice)
        };
        let ran = self.runner.run(&command).await;
        let Ran { end, stdout, .. } =
            ran.map_err(|error| Trouble::Certain(fault(FaultCode::ProgramMissing, error.to_string())))?;
        let said = last_line_told(&stdout, &values(question));
        let Some(problem) = end.problem(&self.settings.argv) else {
            return Ok(Evidence::Command { program: self.name(), generation: question.primary.0, said });
        };
        let code = if matches!(end, End::TooLong(_)) { FaultCode::ProbeTimeout } else { FaultCode::ProbeFailed };
        let told = if said.is_empty() { problem } else { format!("{problem}: {said}") };
        Err(Trouble::NotYet(fault(code, told)))
    }
}

#[async_trait]
impl Probe for Program {
    fn label(&self) -> String {
        format!("command {}", self.name())
    }

    async fn ask(&self, question: &Question<'_>) -> Result<Evidence, Fault> {
        program::check(&self.processes, &self.settings.argv, "`command`", &self.label()).await?;
        let mut patience = Patience::until(question.moment, question.deadline, self.settings.timeout);
        loop {
            match self.run(question, patience.remaining()).await {
                Ok(evidence) => return Ok(evidence),
                Err(trouble) => patience.endure(trouble).await?,
            }
        }
    }
}

/// What a program is told besides the values.
fn environment(secret: &str, env: &str, question: &Question<'_>) -> Vec<String> {
    let accepted: Vec<String> = question.accepted.iter().map(|(number, _)| number.to_string()).collect();
    vec![
        format!("REKEYD_SECRET={secret}"),
        format!("REKEYD_ENV={env}"),
        format!("REKEYD_PRIMARY={}", question.primary.0),
        format!("REKEYD_ACCEPTED={}", accepted.join(" ")),
    ]
}

/// All values that it may say something of: it may read a file that has a former one.
fn values<'a>(question: &Question<'a>) -> Vec<&'a SecretValue> {
    let others = question.accepted.iter().chain(&question.retired);
    let of = |(_, value): &(Generation, &'a SecretValue)| *value;
    std::iter::once(question.primary.1).chain(others.map(of)).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::time::Instant;

    use super::super::Moment;
    use super::*;
    use crate::sys::child::Child;

    /// Runs a shell script as the probe, with `s3cr3t-value` as generation 2, and the former `0ld-value` as known.
    async fn ask(directory: &Path, timeout_ms: u64, script: &str) -> Result<Evidence, Fault> {
        let probe = Program {
            secret: "key".to_owned(),
            env: "KEY".to_owned(),
            place: 0,
            settings: CommandProbe {
                argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
                user: None,
                timeout: Duration::from_millis(timeout_ms),
            },
            processes: ProcessHelper::here(),
            runner: Arc::new(Child { directory: directory.to_owned(), output: directory.join("output") }),
        };
        let [primary, old] = ["s3cr3t-value", "0ld-value"].map(|text| SecretValue::new(text.as_bytes().to_vec()));
        let question = Question {
            moment: Moment::Moved,
            primary: (Generation(2), &primary),
            accepted: Vec::new(),
            retired: vec![(Generation(1), &old)],
            workers: 1,
            at_leisure: false,
            deadline: Instant::now() + Duration::from_secs(30),
        };
        probe.ask(&question).await
    }

    #[tokio::test]
    async fn the_value_is_in_a_file_and_the_last_line_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let script =
            "test \"$(cat $REKEYD_VALUE_FILE)\" = s3cr3t-value && echo 1 && echo $REKEYD_ENV $REKEYD_PRIMARY fits.";
        let seen = ask(dir.path(), 20_000, script).await.unwrap();
        let wanted = Evidence::Command { program: "sh".into(), generation: Generation(2), said: "KEY 2 fits".into() };
        assert_eq!(seen, wanted);
    }

    #[tokio::test]
    async fn one_that_fails_is_run_again_until_it_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let seen = ask(dir.path(), 20_000, "echo x >>runs; test $(wc -l <runs) = 3").await;
        assert!(matches!(seen, Ok(Evidence::Command { .. })), "{seen:?}");
    }

    #[tokio::test]
    async fn its_status_is_told_with_what_it_printed_but_never_a_value() {
        let dir = tempfile::tempdir().unwrap();
        let fault = ask(dir.path(), 300, "echo no such role; exit 3").await.unwrap_err();
        assert_eq!(fault.code, FaultCode::ProbeFailed);
        assert!(fault.message.starts_with("command sh: sh ended with status 3: no such role"), "{fault}");
        assert!(fault.advice.contains("rekeyd-probe-key-1-2.service"), "{fault:?}");
        for leak in ["cat $REKEYD_VALUE_FILE", "base64 <$REKEYD_VALUE_FILE", "printf 0ld-value; echo; echo fine"] {
            let fault = ask(dir.path(), 300, &format!("{leak}; exit 1")).await.unwrap_err();
            assert!(fault.message.contains("is withheld"), "{leak}: {fault}");
        }
    }

    #[tokio::test]
    async fn one_that_does_not_end_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let fault = ask(dir.path(), 300, "sleep 100").await.unwrap_err();
        assert_eq!(fault.code, FaultCode::ProbeTimeout, "{fault}");
    }

    #[tokio::test]
    async fn one_that_is_not_there_is_told_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let means = Means::here(Arc::new(Child { directory: dir.path().into(), output: dir.path().join("output") }));
        let label = "command none";
        let fault = program::check(&means.processes, &["/no/such".to_owned()], "`command`", label).await.unwrap_err();
        assert!(fault.code == FaultCode::ProgramMissing && fault.message.contains("there is no /no/such"), "{fault}");
    }
}
