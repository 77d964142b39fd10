//! What containers have that rekeyd did not start: also those of the same project that were started from another directory.

use super::ComposeTarget;
use super::project::Project;
use super::tool::{Tool, by_hand};
use crate::policy::Sighting;
use crate::rotation::Fault;
use crate::sys::docker::{Container, EngineError, Listed};
use crate::target::Known;

impl ComposeTarget {
    /// The containers of the services, wherever they were started. An engine that is away shows nothing, and that is not
    /// drift.
    pub(super) async fn look_at_containers(&self, known: &Known<'_>) -> Result<Vec<Sighting>, Fault> {
        if self.is_file() {
            return Ok(Vec::new());
        }
        let mut seen = Vec::new();
        for listed in self.of_any_directory().await? {
            let container = match self.engine.container(&listed.id).await {
                Ok(Some(container)) if container.is_up() => container,
                // One that is just being removed is gone.
                Ok(_) => continue,
                Err(EngineError::Away { .. }) => return Ok(Vec::new()),
                Err(error) => return Err(error.into()),
            };
            seen.push(self.sighting(&listed, &container, known));
        }
        Ok(seen)
    }

    fn sighting(&self, listed: &Listed, container: &Container, known: &Known<'_>) -> Sighting {
        let project = Project::of(&listed.labels);
        let has = known.which(container.variable(self.variable_of(container)).as_ref());
        let place = if self.is_from_here(&project) {
            format!("the container {}", container.name())
        } else {
            format!("the container {}, started from {},", container.name(), project.directory)
        };
        let restart = format!("up -d --force-recreate --no-deps {}", listed.service());
        Sighting::process(place, has, by_hand(&Tool::of(&project), &project, &restart))
    }

    /// Those of the services in the project that is meant. Its name says which one that is: from another directory or other
    /// files, `docker compose up` with that name replaces the same containers.
    async fn of_any_directory(&self) -> Result<Vec<Listed>, Fault> {
        let listed = match self.listed_now().await {
            Ok(listed) => listed,
            Err(EngineError::Away { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        Ok(self.among(listed))
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
