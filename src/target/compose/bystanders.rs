//! Services of the project that have the value, too, and take no part: they go on with the old one.

use std::path::Path;

use super::ComposeTarget;
use super::project::{Present, Project};
use super::survey::unit;
use crate::config::{ComposePlace, SecretSettings, TargetSettings};
use crate::secret::SecretValue;
use crate::sys::docker::Container;

/// A value of so many bytes stands nowhere by chance.
const SURELY: usize = 16;

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
    pub(super) fn bystanders(&self, project: &Project, present: &Present, value: &SecretValue) -> Vec<String> {
        let others =
            present.of_services.iter().filter(|(service, other)| !self.named.contains(service) && other.is_up());
        let mut told: Vec<String> = others
            .filter_map(|(service, other)| Some(format!("{} ({})", unit(project, service), self.has_as(other, value)?)))
            .collect();
        told.sort();
        told.dedup();
        told
    }

    /// The containers of `docker compose run`, of whatever service, that have the value.
    pub(super) fn passing(&self, present: &Present, value: &SecretValue) -> Vec<String> {
        let up = present.one_offs.iter().map(|(_, one)| one).filter(|one| one.is_up());
        let mut told: Vec<String> =
            up.filter_map(|one| Some(format!("the container {} ({})", one.name(), self.has_as(one, value)?))).collect();
        told.sort();
        told
    }

    /// What a container has the value as.
    fn has_as(&self, container: &Container, value: &SecretValue) -> Option<String> {
        let seen_as = match &self.settings.place {
            ComposePlace::SecretFile(file) => container.sees(file),
            _ => None,
        };
        let whole = seen_as.or_else(|| container.variable_with(value)).map(str::to_owned);
        whole.or_else(|| {
            // A short one may be there by chance.
            let within = container.variable_around(value).filter(|_| value.len() >= SURELY)?;
            Some(format!("within {within}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_within_a_longer_variable_is_seen_where_it_is_long_enough() {
        let dir = tempfile::tempdir().unwrap();
        let target = ComposeTarget::simulated(dir.path());
        let text = r#"{"Id":"ab","Name":"/app-db-run-1","State":{"Status":"running"},"Config":{"Env":["A=1",
            "DATABASE_URL=postgres://u:0123456789abcdef@db/app","SHORT=x0123456789abcdey"]}}"#;
        let container: Container = serde_json::from_str(text).unwrap();
        let has_as = |value: &str| target.has_as(&container, &SecretValue::new(value.as_bytes().to_vec()));
        assert_eq!(has_as("0123456789abcdef").as_deref(), Some("within DATABASE_URL"));
        assert_eq!(has_as("0123456789abcde"), None, "it may be there by chance");
        assert_eq!(has_as("0123456789abcdee"), None);
        assert_eq!(has_as("1").as_deref(), Some("A"));
    }
}
