//! What a container and its processes have, compared with what they should have.

use std::path::Path;

use super::ComposeTarget;
use super::project::{Project, SERVICE};
use super::tool::{Tool, by_hand};
use crate::config::ComposePlace;
use crate::helper::{Answer, Process, Question};
use crate::rotation::{Fault, FaultCode};
use crate::secret::{digest, is_same_digest, random};
use crate::store::StoreError;
use crate::sys::docker::Container;
use crate::target::{Disclosed, counted, file};

/// What the processes of containers have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// With what they should have.
    pub matching: u32,
    /// With another value.
    other: u32,
    /// Without it, and allowed to be.
    pub without: u32,
    /// Without it though they should have it, by name.
    lacking: Vec<String>,
}

impl Tally {
    pub(super) fn is_proof(&self) -> bool {
        self.matching > 0 && self.other == 0 && self.lacking.is_empty()
    }

    /// Whether any has another value.
    pub(super) fn has_others(&self) -> bool {
        self.other > 0
    }

    /// How many were looked at.
    pub(super) fn of(&self) -> u32 {
        self.matching + self.other + self.without + u32::try_from(self.lacking.len()).unwrap_or(u32::MAX)
    }

    fn add(&mut self, more: Self) {
        self.matching += more.matching;
        self.other += more.other;
        self.without += more.without;
        self.lacking.extend(more.lacking);
    }
}

type Digest = Option<String>;

impl ComposeTarget {
    /// Whether a container was made with the view: its configuration does not change any more.
    pub(super) fn is_made_with(&self, container: &Container, view: &Disclosed<'_>) -> bool {
        if self.is_file() {
            return true;
        }
        let has = |key: &str, wanted| file::has(container.variable(key).as_ref(), wanted);
        let previous = self.previous_key.as_deref();
        has(self.variable_of(container), Some(view.primary)) && previous.is_none_or(|key| has(key, view.previous))
    }

    /// Looks into every process of these containers.
    pub(super) async fn tally(&self, containers: &[Container], view: &Disclosed<'_>) -> Result<Tally, Fault> {
        let mut tally = Tally::default();
        for container in containers {
            tally.add(self.tally_one(container, view).await?);
        }
        Ok(tally)
    }

    async fn tally_one(&self, container: &Container, view: &Disclosed<'_>) -> Result<Tally, Fault> {
        let key: [u8; 32] = random().map_err(StoreError::from)?;
        let (variables, files) = if self.is_file() {
            (Vec::new(), vec![self.seen_as(container)?])
        } else {
            let variable = self.variable_of(container).to_owned();
            (std::iter::once(variable).chain(self.previous_key.clone()).collect(), Vec::new())
        };
        let question = Question::Container { id: container.id.clone(), variables, files, key: hex::encode(key) };
        let Answer::Processes { processes } = self.helper.ask_one(question).await? else { return Ok(Tally::default()) };
        let of = |value: &[u8]| hex::encode(digest(&key, value));
        let mut tally = Tally::default();
        for process in processes.into_iter().filter(|process| !process.comm.starts_with("runc")) {
            if self.is_file() {
                // With or without a line feed at its end.
                let line = [view.primary.reveal(), b"\n"].concat();
                let wanted = [of(view.primary.reveal()), of(&line)];
                self.count(&mut tally, &process, &process.credentials, |has| {
                    wanted.iter().any(|wanted| is_same_digest(has[0].as_deref(), Some(wanted)))
                });
                continue;
            }
            let wanted = [Some(view.primary), view.previous].map(|value| value.map(|value| of(value.reveal())));
            // A variable that is empty is as good as none.
            let empty = Some(of(b""));
            let has: Vec<Digest> = process
                .digests
                .iter()
                .map(|has| has.clone().filter(|_| !is_same_digest(has.as_deref(), empty.as_deref())))
                .collect();
            self.count(&mut tally, &process, &has, |has| {
                has.iter().zip(&wanted).all(|(a, b)| is_same_digest(a.as_deref(), b.as_deref()))
            });
        }
        Ok(tally)
    }

    fn count(&self, tally: &mut Tally, process: &Process, has: &[Digest], is_right: impl FnOnce(&[Digest]) -> bool) {
        match has.first().is_some_and(Option::is_some) {
            true if is_right(has) => tally.matching += 1,
            true => tally.other += 1,
            false if self.allow_without.contains(&process.comm) => tally.without += 1,
            false => tally.lacking.push(process.comm.clone()),
        }
    }

    /// Where a container sees the file that is the value.
    pub(super) fn seen_as(&self, container: &Container) -> Result<String, Fault> {
        let path: &Path = self.path();
        container.sees(path).map(str::to_owned).ok_or_else(|| {
            let message = format!("the container {} does not see {}", container.name(), path.display());
            Fault::new(FaultCode::NoValue, message).advise("is it the `file:` of a secret that the service has?")
        })
    }

    /// What speaks against the view.
    pub(super) fn no_proof(&self, unit: &str, containers: &[Container], view: &Disclosed<'_>, tally: &Tally) -> Fault {
        let (of, generation) = (tally.of(), view.view.primary);
        let variable = containers.first().map_or(self.key.as_str(), |container| self.variable_of(container));
        let what = if self.is_file() { self.path().display().to_string() } else { variable.to_owned() };
        if tally.other > 0 {
            let message = format!("{} of {of} processes of {unit} have another {what} than the view says", tally.other);
            return Fault::new(FaultCode::WrongValue, message)
                .advise("see what its entry point sets, and what `environment:` says: that wins over env files");
        }
        if tally.matching == 0 {
            let message = format!("no process of {unit} has {what} of generation {generation}");
            return Fault::new(FaultCode::NoValue, message)
                .advise("is it the file and the variable that the service is given?");
        }
        let message = format!("these processes of {unit} lack {what}: {}", counted(&tally.lacking));
        Fault::new(FaultCode::NoValue, message).advise("if they need none, name them in [proof] allow-without")
    }

    /// A container that was made with another value, or another one to accept, than the view.
    pub(super) fn made_with_another(&self, unit: &str, container: &Container, view: &Disclosed<'_>) -> Fault {
        let variable = self.variable_of(container);
        let has_primary = file::has(container.variable(variable).as_ref(), Some(view.primary));
        let previous = self.previous_key.as_deref().filter(|_| has_primary);
        let variable = previous.unwrap_or(variable);
        let is_wanted = previous.is_none() || view.previous.is_some();
        if let Some((has, advice)) = self.lack(container, variable).filter(|_| is_wanted) {
            return Fault::new(FaultCode::NoValue, format!("the container {} of {unit} {has}", container.name()))
                .advise(advice);
        }
        let message = format!("the container {} of {unit} has another {variable} than the view says", container.name());
        Fault::new(FaultCode::WrongValue, message)
            .advise("see what else sets it: `environment:` wins over `env_file:`, and that over nothing")
    }

    /// Of a container that was made without a variable, or with an empty one: that it was, and what to do. To make it anew
    /// of the same files would change nothing.
    pub(super) fn lack(&self, container: &Container, variable: &str) -> Option<(String, String)> {
        let value = container.variable(variable);
        if value.as_ref().is_some_and(|value| !value.is_empty()) {
            return None;
        }
        let project = Project::of(&container.labels());
        let service = container.label(SERVICE);
        let anew = by_hand(&Tool::of(&project), &project, &format!("up -d --no-deps {service}"));
        let path = self.path().display();
        let (has, mend) = match &self.settings.place {
            _ if value.is_some() => (
                format!("has an empty {variable}"),
                format!(
                    "take out what sets it to nothing, such as {variable} under `environment:`, which wins over {path}"
                ),
            ),
            ComposePlace::EnvFile(_) if self.env != self.key && variable == self.key => (
                format!("has no variable {} or {variable}", self.env),
                format!(
                    "give the service `env_file:` with {path}, or `environment:` with {}: ${{{variable}}}; where its programs \
                     know it by another name, set `env` of the secret to that",
                    self.env
                ),
            ),
            ComposePlace::EnvFile(_) => (
                format!("has no variable {variable}"),
                format!(
                    "give the service `env_file:` with {path}, or `environment:` with {variable}: ${{{variable}}}; where its \
                     programs know it by another name, set `env` of the secret to that"
                ),
            ),
            _ => (format!("has no variable {variable}"), format!("does the service get what {path} says?")),
        };
        Some((has, format!("{mend}; then {anew}")))
    }
}
