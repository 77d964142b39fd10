//! What containers have that rekeyd did not start: also those of the same project that were started from another directory.

use super::ComposeTarget;
use super::project::Project;
use super::tool::{Tool, by_hand};
use crate::helper::{Answer, Question};
use crate::policy::{Has, Sighting};
use crate::rotation::Fault;
use crate::secret::{SecretValue, digest, is_same_digest};
use crate::sys::docker::{Container, EngineError, Listed};
use crate::target::Known;

impl ComposeTarget {
    /// The containers of the services, wherever they were started. An engine that is away shows nothing, and that is
    /// neither drift nor the end of any.
    pub(super) async fn look_at_containers(
        &self,
        in_file: Option<&SecretValue>,
        known: &Known<'_>,
    ) -> Result<Vec<Sighting>, Fault> {
        let mut seen = Vec::new();
        let Some(all) = self.of_any_directory().await? else { return Ok(vec![Sighting::unseen()]) };
        for listed in all {
            let container = match self.engine.container(&listed.id).await {
                Ok(Some(container)) if container.is_up() => container,
                // One that is just being removed is gone.
                Ok(_) => continue,
                Err(EngineError::Away { .. }) => return Ok(vec![Sighting::unseen()]),
                Err(error) => return Err(error.into()),
            };
            let lack = self.lack(&container, self.variable_of(&container)).filter(|_| !self.is_file());
            if let Some((has, advice)) = lack {
                seen.push(Sighting::lacking(format!("the container {} {has}", container.name()), advice));
                continue;
            }
            let all = if self.is_file() {
                self.seen_in(&container, in_file, known).await?
            } else {
                vec![known.which(container.variable(self.variable_of(&container)).as_ref())]
            };
            seen.extend(all.into_iter().map(|has| self.sighting(&listed, &container, has)));
        }
        Ok(seen)
    }

    /// What the processes of a container see in the file that is the value, each once.
    async fn seen_in(
        &self,
        container: &Container,
        in_file: Option<&SecretValue>,
        known: &Known<'_>,
    ) -> Result<Vec<Has>, Fault> {
        // One that does not see the file at all is told of when it is rotated.
        let Ok(path) = self.seen_as(container) else { return Ok(Vec::new()) };
        let (id, files, key) = (container.id.clone(), vec![path], hex::encode(known.key()));
        let question = Question::Container { id, variables: Vec::new(), files, key };
        let Answer::Processes { processes } = self.helper.ask_one(question).await? else { return Ok(Vec::new()) };
        // The line feed at the end of a file is not of the value.
        let lines: Vec<(String, &SecretValue)> = known
            .values()
            .chain(in_file)
            .map(|value| (hex::encode(digest(known.key(), &[value.reveal(), b"\n"].concat())), value))
            .collect();
        let mut seen = Vec::new();
        let own = processes.iter().filter(|process| !process.comm.starts_with("runc"));
        for told in own.filter_map(|process| process.credentials.first()?.as_deref()) {
            let line = lines.iter().find(|(line, _)| is_same_digest(Some(line), Some(told)));
            let has = line.map_or_else(|| known.told(Some(told)), |(_, value)| known.which(Some(value)));
            if !seen.contains(&has) {
                seen.push(has);
            }
        }
        Ok(seen)
    }

    fn sighting(&self, listed: &Listed, container: &Container, has: Has) -> Sighting {
        let project = Project::of(&listed.labels);
        let place = if self.is_from_here(&project) {
            format!("the container {}", container.name())
        } else {
            format!("the container {}, started from {},", container.name(), project.directory)
        };
        let restart = format!("up -d --force-recreate --no-deps {}", listed.service());
        Sighting::process(place, has, by_hand(&Tool::of(&project), &project, &restart))
    }

    /// Those of the services in the project that is meant. Its name says which one that is: from another directory or other
    /// files, `docker compose up` with that name replaces the same containers. None where the engine is away.
    async fn of_any_directory(&self) -> Result<Option<Vec<Listed>>, Fault> {
        match self.listed_now().await {
            Ok(listed) => Ok(Some(self.among(listed))),
            Err(EngineError::Away { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn among(&self, mut listed: Vec<Listed>) -> Vec<Listed> {
        let projects: Vec<String> = match &self.settings.project {
            Some(name) => vec![name.clone()],
            None => {
                let of = listed.iter().map(|listed| Project::of(&listed.labels));
                let here = of.filter(|project| self.is_from_here(project)).map(|project| project.name);
                let here: Vec<String> = here.collect();
                if here.is_empty() { vec![self.settings.usual_project()] } else { here }
            }
        };
        listed.retain(|listed| projects.contains(&Project::of(&listed.labels).name) && self.is_wanted(listed));
        listed
    }
}
