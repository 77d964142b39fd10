//! Services of the project that have the value, too, and take no part: they go on with the old one.

use std::path::Path;

use super::ComposeTarget;
use super::project::Project;
use super::survey::unit;
use crate::config::{ComposePlace, SecretSettings, TargetSettings};
use crate::rotation::Fault;
use crate::secret::SecretValue;
use crate::sys::docker::Container;

/// The services that the secret's targets of a project's directory name.
pub(super) fn named(secret: &SecretSettings, directory: &Path) -> Vec<String> {
    let of_project = secret.targets.iter().filter_map(|target| match target {
        TargetSettings::Compose(compose) if compose.directory == directory => Some(&compose.services),
        _ => None,
    });
    of_project.flatten().cloned().collect()
}

impl ComposeTarget {
    /// Those that run, each with what it has the value as.
    pub(super) async fn bystanders(&self, project: &Project, value: &SecretValue) -> Result<Vec<String>, Fault> {
        let containers = self.containers(&project.name).await?;
        let others = containers.iter().filter(|(service, other)| !self.named.contains(service) && other.is_up());
        let mut told: Vec<String> = others
            .filter_map(|(service, other)| Some(format!("{} ({})", unit(project, service), self.has_as(other, value)?)))
            .collect();
        told.sort();
        told.dedup();
        Ok(told)
    }

    /// What a container has the value as.
    fn has_as(&self, container: &Container, value: &SecretValue) -> Option<String> {
        let seen_as = match &self.settings.place {
            ComposePlace::SecretFile(file) => container.sees(file),
            _ => None,
        };
        seen_as.or_else(|| container.variable_with(value)).map(str::to_owned)
    }
}
