//! Preflight: every obstacle that can be known beforehand; and the value to take over. Touches nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use tokio::time::Instant;

use super::evidence::Fate;
use super::project::{HASH, Project, is_odd, proper};
use super::tool::{Tool, by_hand};
use super::{ComposeTarget, image};
use crate::record::Found;
use crate::rotation::{Fault, FaultCode, Generation, View};
use crate::secret::SecretValue;
use crate::sys::docker::Container;
use crate::sys::trusted;
use crate::target::{Disclosed, Health};

impl ComposeTarget {
    /// Who writes a Compose file decides what it mounts, and root's Compose would mount it for them.
    fn check_owners(&self, project: &Project) -> Result<(), Fault> {
        if self.settings.user.as_deref().is_some_and(|user| user != "root") {
            return Ok(());
        }
        let files = std::iter::once(&project.directory).chain(&project.files).chain(&project.env_files);
        let Some(other) = files.into_iter().find_map(|file| trusted::doubt(Path::new(file), 0)) else { return Ok(()) };
        let message = format!("docker would be run as root, on what is another user's: {}", other.place.display());
        Err(Fault::new(FaultCode::UnitUnusable, message).advise(
            "say whom it is to be run as: user = \"…\", who must be of the group docker; or give the project to root",
        ))
    }

    pub(super) async fn look_for_obstacles(
        &self,
        in_force: &Disclosed<'_>,
        health: Health,
        deadline: Instant,
    ) -> Result<Vec<Found>, Fault> {
        let tool = self.tool().await?;
        self.check_engine().await?;
        let written = self.check_file(in_force, health).await?;
        let Some(project) = self.project().await? else {
            let none = |service: &String| {
                let unit = self.settings.consumer(service);
                let details = written.details(service).into_iter().collect();
                Found { configured: unit.clone(), unit, details, ..Found::default() }
            };
            return Ok(self.settings.services.iter().map(none).collect());
        };
        self.check_owners(&project)?;
        let tool = self.tool_of(tool, &project).await?;
        let hashes = self.hashes(&tool, &project).await?;
        let present = self.present(&project.name).await?;
        let mut found = Vec::new();
        for service in &self.settings.services {
            let Some(hash) = hashes.of.get(service) else {
                let message = format!("the project {} has no service {service}", project.name);
                let known: Vec<&str> = hashes.of.keys().map(String::as_str).collect();
                return Err(
                    Fault::new(FaultCode::UnitUnusable, message).advise(format!("it has these: {}", known.join(", ")))
                );
            };
            let containers = present.of(service);
            let unit = unit(&project, service);
            let was_stopped = self.was_stopped(service);
            let running = match is_running(&unit, &containers, was_stopped, &by_hand(&tool, &project, "up -d")) {
                Err(_) if health == Health::Irrelevant => true,
                running => running?,
            };
            if running && health == Health::Needed {
                check_grace(&unit, &containers, deadline)?;
                self.check_image(&tool, &project, service, &containers).await?;
                self.check_drift(&tool, &project, service, in_force, deadline).await?;
            }
            let mut details = project.details();
            details.extend(described(&tool, &containers, hash));
            details.extend(written.details(service));
            found.push(Found {
                configured: self.settings.consumer(service),
                unit,
                running,
                details,
                ..Found::default()
            });
        }
        if let Some(first) = found.first_mut() {
            first.bystanders = self.bystanders(&project, &present, in_force.primary);
            first.passing = self.passing(&present, in_force.primary);
        }
        let may_differ = self.tell_stale(&tool, &project, &mut found).await?;
        if hashes.is_unset && may_differ {
            return Err(is_unset(&tool, &project));
        }
        if health == Health::Needed {
            self.check_shared(&project, &present.of_services)?;
            self.check_stale(&tool, &project, &found).await?;
        }
        Ok(found)
    }

    /// Only Docker's own engine, run by root, is known well enough.
    async fn check_engine(&self) -> Result<(), Fault> {
        let about = self.engine.about().await?;
        let advice = "this version knows the engine of Docker, run by root; for others there is `type = \"command\"`";
        if about.is_podman() {
            return Err(
                Fault::new(FaultCode::UnitUnusable, "podman answers in place of Docker's engine").advise(advice)
            );
        }
        if self.engine.is_rootless().await? {
            return Err(Fault::new(FaultCode::UnitUnusable, "Docker's engine runs rootless").advise(advice));
        }
        Ok(())
    }

    /// Whether the containers are well, and have the value that the records say. Where they do not, somebody has started
    /// them from elsewhere, and that is not overwritten.
    async fn check_drift(
        &self,
        tool: &Tool,
        project: &Project,
        service: &str,
        in_force: &Disclosed<'_>,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let unit = unit(project, service);
        let limit = deadline.min(Instant::now() + self.settings.timeout);
        let containers =
            self.wait_until_well(&project.name, service, None, Fate::Left, limit, &|_| {}).await.map_err(|fault| {
                let code = if fault.code == FaultCode::NotReady { fault.code } else { FaultCode::UnitSick };
                Fault { code, message: format!("{}: it is sick already", fault.message), ..fault }
            })?;
        let drifted = |fault: Fault| {
            // What is lacking comes with its own advice: from elsewhere there would be another one.
            if fault.code == FaultCode::NoValue {
                return fault;
            }
            Fault::new(
                fault.code,
                format!("{}: it was started from elsewhere since rekeyd last knew it", fault.message),
            )
            .advise(format!(
                "if that value is meant to stay, write it to {} and take it over: rekeyctl adopt {}; if not, this brings \
                 back the one that rekeyd knows: {}",
                self.path().display(),
                self.secret,
                by_hand(tool, project, &format!("up -d --no-deps {service}"))
            ))
        };
        if let Some(other) = containers.iter().find(|container| !self.is_made_with(container, in_force)) {
            return Err(drifted(self.made_with_another(&unit, other, in_force)));
        }
        self.wait_for_value(&unit, &containers, in_force, Fate::Left).await.map(drop).map_err(drifted)
    }

    /// The value that the live containers have and the file says.
    pub(super) async fn adopted_value(&self) -> Result<SecretValue, Fault> {
        let value = self.value_in_file().await?;
        let Some(project) = self.project().await? else { return Ok(value) };
        for service in &self.settings.services {
            for container in self.of_service(&project.name, service).await? {
                if !container.is_up() || self.has_value(&container, &value).await? {
                    continue;
                }
                let (name, path) = (container.name(), self.path().display());
                let lack = self.lack(&container, self.variable_of(&container)).filter(|_| !self.is_file());
                if let Some((has, advice)) = lack {
                    let message = format!("the container {name} {has}");
                    return Err(Fault::new(FaultCode::NoValue, message).advise(format!("{advice}; then adopt it")));
                }
                let (message, up) = if self.is_file() {
                    (format!("{name} sees another value than {path} says"), "up -d --force-recreate --no-deps")
                } else {
                    let variable = self.variable_of(&container);
                    (format!("{name} has another {variable} than {path} says"), "up -d --no-deps")
                };
                return Err(Fault::new(FaultCode::WrongValue, message).advise(format!(
                    "this gives it what the file says: {}; then adopt it",
                    by_hand(&Tool::of(&project), &project, &format!("{up} {service}"))
                )));
            }
        }
        Ok(value)
    }

    /// Whether nothing in a container speaks against this value.
    async fn has_value(&self, container: &Container, value: &SecretValue) -> Result<bool, Fault> {
        if !self.is_file() {
            return Ok(container.variable(self.variable_of(container)).is_some_and(|has| has.is_same(value)));
        }
        // A file that was replaced by another is the former one in there, until the container is made anew.
        let view = View::of(Generation::FIRST);
        let disclosed = Disclosed { view: &view, primary: value, accepted: Vec::new(), previous: None };
        Ok(!self.tally(std::slice::from_ref(container), &disclosed).await?.has_others())
    }
}

/// The name of a consumer.
pub(super) fn unit(project: &Project, service: &str) -> String {
    format!("compose {}/{service}", project.name)
}

/// A variable that the files are made of is not set, and the containers were not started like that.
fn is_unset(tool: &Tool, project: &Project) -> Fault {
    let message = format!("a variable that the Compose files of {} are made of is not set", project.name);
    Fault::new(FaultCode::ToolFailed, message).advise(format!(
        "rekeyd calls Compose with no variables of its own: set it in {}/.env; see which: {}",
        project.directory,
        by_hand(tool, project, "config -q")
    ))
}

/// What must be known later, also after a crash.
fn described(tool: &Tool, containers: &[Container], hash: &str) -> BTreeMap<String, String> {
    let up: Vec<&Container> = containers.iter().filter(|container| container.is_up()).collect();
    let all: Vec<&Container> = containers.iter().collect();
    let had = if up.is_empty() { &all } else { &up };
    let list = |of: fn(&Container) -> &str| up.iter().map(|container| of(container)).collect::<Vec<_>>().join(" ");
    let label = had.first().map_or("", |container| container.label(HASH));
    let mut details = BTreeMap::from([
        ("containers".to_owned(), list(|container| container.id.as_str())),
        ("names".to_owned(), list(Container::name)),
        ("scale".to_owned(), number(containers).to_string()),
        ("hash".to_owned(), hash.to_owned()),
        ("label".to_owned(), label.to_owned()),
    ]);
    details.extend(tool.details());
    details.extend(image::details(had));
    details
}

/// How many containers a service has: also those that have ended, and none twice that Compose was making anew when it was
/// interrupted.
fn number(containers: &[Container]) -> usize {
    let names: BTreeSet<&str> =
        containers.iter().map(|container| proper(container.name()).unwrap_or(container.name())).collect();
    names.len()
}

/// A container may be given longer to stop than a rotation has: then neither it nor its way back would ever end.
fn check_grace(unit: &str, containers: &[Container], deadline: Instant) -> Result<(), Fault> {
    let left = deadline.saturating_duration_since(Instant::now());
    let slow = containers.iter().filter(|container| container.is_up()).max_by_key(|container| container.grace());
    let Some(slow) = slow.filter(|container| container.grace() >= left) else { return Ok(()) };
    let message = format!(
        "the container {} of {unit} is given {} s to stop (stop_grace_period), and the rotation has {} s",
        slow.name(),
        slow.grace().as_secs(),
        left.as_secs_f64().round()
    );
    Err(Fault::new(FaultCode::UnitUnusable, message)
        .advise("give the rotation longer, as [rotation] deadline, or the container less"))
}

/// Whether it runs, or was stopped on purpose; a service that is neither is sick. Containers that were never started are
/// those that a rotation makes of a stopped service; else a Compose was interrupted, or could not start them.
fn is_running(unit: &str, containers: &[Container], was_stopped: bool, up: &str) -> Result<bool, Fault> {
    let sick = |container: &Container, how: String| {
        Fault::new(
            FaultCode::UnitSick,
            format!("the container {} of {unit} {how}: it is sick already", container.name()),
        )
        .advise(format!("mend it first: docker logs {}", container.name()))
    };
    if let Some(odd) = containers.iter().find(|container| is_odd(container.name()) && !container.is_up()) {
        return Err(Fault::new(
            FaultCode::UnitSick,
            format!("{} is left over from a Compose that was interrupted", odd.name()),
        )
        .advise(format!("mend it first: {up}")));
    }
    let is_any_up = containers.iter().any(Container::is_up);
    for container in containers {
        let state = &container.state;
        match state.status.as_str() {
            "running" => {}
            "exited" | "created" if is_any_up => return Err(sick(container, format!("is {}", state.status))),
            "created" if was_stopped && state.error.is_empty() => {}
            "created" => {
                let why = if state.error.is_empty() { String::new() } else { ", for it could not be".to_owned() };
                return Err(
                    sick(container, format!("was made and never started{why}")).advise(format!("start it: {up}"))
                );
            }
            "exited" if container.was_stopped() => {}
            "exited" => return Err(sick(container, format!("ended with status {}", state.exit_code))),
            other => return Err(sick(container, format!("is {other}"))),
        }
    }
    Ok(is_any_up)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn container(name: &str, status: &str) -> Container {
        let text =
            format!(r#"{{"Id":"1","Name":"/{name}","State":{{"Status":"{status}"}},"Config":{{"StopTimeout":40}}}}"#);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_container_that_has_ended_counts_and_none_counts_twice() {
        let of = |names: &[&str]| number(&names.iter().map(|name| container(name, "exited")).collect::<Vec<_>>());
        assert_eq!(of(&["p-web-1", "p-web-2", "p-web-3"]), 3);
        assert_eq!(of(&["p-web-4", "p-web-5", "c88050123456_p-web-5", "d68050123456_p-web-4"]), 2);
        assert_eq!(of(&["c88050123456_p-web-1"]), 1);
    }

    #[test]
    fn a_rotation_has_longer_than_a_container_may_take_to_stop() {
        let check = |status: &str, seconds: u64| {
            check_grace("compose p/web", &[container("p-web-1", status)], Instant::now() + Duration::from_secs(seconds))
        };
        let refused = check("running", 20).unwrap_err();
        assert!(
            refused.message.contains("is given 40 s to stop") && refused.message.ends_with("has 20 s"),
            "{refused}"
        );
        check("running", 60).unwrap();
        check("exited", 20).unwrap();
    }
}
