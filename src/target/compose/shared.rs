//! Containers that live in namespaces of others: where such a one is made anew, they stay behind in what is left of the old
//! one, without a network.

use super::ComposeTarget;
use super::project::Project;
use super::survey::unit;
use crate::rotation::{Fault, FaultCode};
use crate::sys::docker::Container;

/// A container that would stay behind.
#[derive(Debug, PartialEq, Eq)]
struct Dependent<'a> {
    service: &'a str,
    /// What it has of the other one.
    key: &'static str,
    /// Whose that is.
    of: &'a str,
}

impl ComposeTarget {
    /// Refuses where a service that is not recreated has a namespace of one that is.
    pub(super) fn check_shared(&self, project: &Project, containers: &[(String, Container)]) -> Result<(), Fault> {
        let Some(Dependent { service, key, of }) = dependent(containers, &self.settings.services) else {
            return Ok(());
        };
        let message = format!(
            "{} lives within {of} ({key}: service:{of}), and would be cut off when that is recreated",
            unit(project, service)
        );
        Err(Fault::new(FaultCode::UnitUnusable, message).advise(format!(
            "give {service} the secret as well and add it to `services`: what is named there is recreated together"
        )))
    }
}

fn dependent<'a>(containers: &'a [(String, Container)], services: &[String]) -> Option<Dependent<'a>> {
    let (ours, others): (Vec<_>, Vec<_>) = containers.iter().partition(|(service, _)| services.contains(service));
    others.into_iter().filter(|(_, container)| container.is_up()).find_map(|(service, container)| {
        let (key, of) = ours.iter().find_map(|(of, other)| Some((container.joins(other)?, of)))?;
        Some(Dependent { service, key, of })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(service: &str, status: &str, host: &str) -> (String, Container) {
        let text = format!(
            r#"{{"Id":"id-of-{service}","Name":"/app-{service}-1","State":{{"Status":"{status}"}},"Config":{{}},"HostConfig":{{{host}}}}}"#
        );
        (service.to_owned(), serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn what_lives_within_a_service_is_found_unless_it_is_recreated_too_or_stopped() {
        let services = ["web".to_owned(), "worker".to_owned()];
        let web = || container("web", "running", r#""NetworkMode":"app_default","PidMode":"","IpcMode":"private""#);
        let found = |other: (String, Container)| {
            let all = [other, web()];
            dependent(&all, &services).map(|found| (found.service.to_owned(), found.key, found.of.to_owned()))
        };
        let within = |key| Some(("proxy".to_owned(), key, "web".to_owned()));
        let network = r#""NetworkMode":"container:id-of-web""#;
        assert_eq!(found(container("proxy", "running", network)), within("network_mode"));
        assert_eq!(found(container("proxy", "running", r#""PidMode":"container:app-web-1""#)), within("pid"));
        assert_eq!(found(container("proxy", "restarting", r#""IpcMode":"container:id-of-web""#)), within("ipc"));
        assert_eq!(found(container("worker", "running", network)), None);
        assert_eq!(found(container("proxy", "exited", network)), None);
        assert_eq!(found(container("proxy", "running", r#""NetworkMode":"container:id-of-db""#)), None);
        assert_eq!(found(container("proxy", "running", "")), None);
    }
}
