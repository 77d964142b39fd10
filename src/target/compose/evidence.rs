//! Evidence from the live containers: what they and their processes have, and that they stay up.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::ComposeTarget;
use super::project::Project;
use super::tally::Tally;
use crate::record::Evidence;
use crate::rotation::{Fault, FaultCode};
use crate::sys::docker::Container;
use crate::target::{Disclosed, Errand};

/// How often containers are looked at.
const POLL: Duration = Duration::from_millis(100);
/// How long a process may take from its start to its own environment.
const SLACK: Duration = Duration::from_secs(5);

/// What is known of containers that were just made.
#[derive(Clone, Copy)]
pub(super) struct Made<'a> {
    /// How many there must be.
    pub scale: usize,
    /// The ids of those that there were: how often these were started again says nothing of the value.
    pub before: &'a BTreeSet<String>,
}

impl ComposeTarget {
    /// Waits until all containers of a service are healthy, or up where they have no check of their own.
    pub(super) async fn wait_until_well(
        &self,
        project: &str,
        service: &str,
        made: Option<Made<'_>>,
        limit: Instant,
        report: &(dyn Fn(&str) + Sync),
    ) -> Result<Vec<Container>, Fault> {
        let unit = format!("compose {project}/{service}");
        let mut told = String::new();
        loop {
            let containers = self.of_service(project, service).await?;
            let mut trouble = None;
            if containers.is_empty() || containers.len() < made.map_or(1, |made| made.scale) {
                trouble = Some("not all of its containers are there".to_owned());
            }
            for container in &containers {
                match how(&unit, container, made.is_some_and(|made| !made.before.contains(&container.id)))? {
                    Well => {}
                    NotYet(state) => trouble = Some(format!("the container {} is {state}", container.name())),
                }
            }
            let Some(trouble) = trouble else { return Ok(containers) };
            if trouble != told {
                report(&format!("{unit}: {trouble}"));
                told.clone_from(&trouble);
            }
            if Instant::now() >= limit {
                let message = format!("{unit} was not ready in time: {trouble}");
                return Err(Fault::new(FaultCode::NotReady, message)
                    .advise("see why: docker ps -a, docker logs; or give it more time with `timeout`"));
            }
            sleep(POLL).await;
        }
    }

    /// Waits until every process has the value: right after a start another environment may still be there.
    pub(super) async fn wait_for_value(
        &self,
        unit: &str,
        containers: &[Container],
        view: &Disclosed<'_>,
    ) -> Result<Tally, Fault> {
        let limit = Instant::now() + SLACK;
        loop {
            let tally = self.tally(containers, view).await?;
            if tally.is_proof() {
                return Ok(tally);
            }
            self.check_steady(unit, containers).await?;
            if Instant::now() >= limit {
                return Err(self.no_proof(unit, containers, view, &tally));
            }
            sleep(POLL).await;
        }
    }

    /// All evidence for the services of this target, watched side by side through `settle`.
    pub(super) async fn gather(&self, errand: &Errand<'_>) -> Result<Vec<Evidence>, Fault> {
        let (view, mut evidence, mut watched) = (errand.view, Vec::new(), Vec::new());
        for (found, service) in self.ours(errand.found) {
            let project = Project::recorded(&found.details);
            let containers = match &project {
                Some(project) => self.of_service(&project.name, &service).await?,
                None => Vec::new(),
            };
            let Some(project) = project.filter(|_| found.running || containers.iter().any(Container::is_up)) else {
                evidence.push(Evidence::Stopped { unit: found.unit.clone() });
                continue;
            };
            let limit = errand.deadline.min(Instant::now() + self.settings.timeout);
            let report = |line: &str| errand.report.progress(line);
            let containers = self.wait_until_well(&project.name, &service, None, limit, &report).await?;
            if let Some(other) = containers.iter().find(|container| !self.is_made_with(container, view)) {
                return Err(self.made_with_another(&found.unit, other, view));
            }
            self.wait_for_value(&found.unit, &containers, view).await?;
            watched.push((found.unit.clone(), containers));
        }
        let began = Instant::now();
        loop {
            for (unit, before) in &watched {
                self.check_steady(unit, before).await?;
            }
            if began.elapsed() >= self.settle {
                break;
            }
            sleep(POLL.min(self.settle.saturating_sub(began.elapsed()))).await;
        }
        let settled_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        // Where all are stopped, nobody is there for a probe to ask.
        let is_any_up = !watched.is_empty();
        for (unit, containers) in watched {
            // Workers are often started one after the other: only now all of them are there.
            let tally = self.wait_for_value(&unit, &containers, view).await?;
            let (matching, of, without) = (tally.matching, tally.of(), tally.without);
            let started = |container: &Container| (container.id.clone(), container.state.started_at.clone());
            let containers: BTreeMap<String, String> = containers.iter().map(started).collect();
            evidence.push(Evidence::Process { unit: unit.clone(), matching, of, without });
            evidence.push(Evidence::Containers { unit, containers, settled_ms });
        }
        self.check(&self.read().await?, view)?;
        if !is_any_up {
            return Ok(evidence);
        }
        evidence.push(Evidence::File { path: self.path().display().to_string() });
        Ok(evidence)
    }

    /// The same containers and starts as before, and no check that fails.
    async fn check_steady(&self, unit: &str, before: &[Container]) -> Result<(), Fault> {
        for container in before {
            let now = self.engine.container(&container.id).await?;
            let is_same =
                |now: &Container| now.state.status == "running" && now.state.started_at == container.state.started_at;
            match now {
                Some(now) if is_same(&now) && now.health() != Some("unhealthy") => {}
                now => return Err(unsettled(unit, container.name(), now.as_ref())),
            }
        }
        Ok(())
    }

    /// The same containers and starts as in the evidence.
    pub(super) async fn check_same(&self, evidence: &[Evidence]) -> Result<(), Fault> {
        for (unit, id, started_at) in self.proven(evidence) {
            let now = self.engine.container(id).await?;
            let is_same =
                now.as_ref().is_some_and(|now| now.state.status == "running" && now.state.started_at == *started_at);
            if !is_same {
                return Err(unsettled(unit, id.get(..12).unwrap_or(id), now.as_ref()));
            }
        }
        Ok(())
    }

    /// What has failed by itself since then. One that is gone, or ended as one that is stopped does, was a person's doing.
    pub(super) async fn failure_since(&self, evidence: &[Evidence]) -> Option<String> {
        for (unit, id, started_at) in self.proven(evidence) {
            let Ok(Some(now)) = self.engine.container(id).await else { continue };
            let was_restarted = now.restarts > 0 && now.state.started_at != *started_at;
            let how = match now.state.status.as_str() {
                "running" if now.health() == Some("unhealthy") => "is unhealthy, as its own check says".to_owned(),
                "running" if was_restarted => "ended and was started again".to_owned(),
                "restarting" => "ends again and again".to_owned(),
                "exited" | "dead" if !now.was_stopped() => format!("ended with status {}", now.state.exit_code),
                _ => continue,
            };
            return Some(format!("the container {} of {unit} {how}", now.name()));
        }
        None
    }

    /// The containers of this target that evidence is about, each with its consumer and when it was started.
    fn proven<'e>(&self, evidence: &'e [Evidence]) -> Vec<(&'e str, &'e String, &'e String)> {
        let mut proven = Vec::new();
        for evidence in evidence {
            let Evidence::Containers { unit, containers, .. } = evidence else { continue };
            if self.settings.services.iter().any(|service| unit.ends_with(&format!("/{service}"))) {
                proven.extend(containers.iter().map(|(id, started_at)| (unit.as_str(), id, started_at)));
            }
        }
        proven
    }
}

/// How a container is on its way.
enum Way {
    /// It is there.
    Well,
    /// In words.
    NotYet(String),
}
use Way::{NotYet, Well};

fn how(unit: &str, container: &Container, is_new: bool) -> Result<Way, Fault> {
    let (name, state) = (container.name(), &container.state);
    let failed = |how: String| {
        Fault::new(FaultCode::UnitFailed, format!("the container {name} of {unit} {how}"))
            .advise(format!("docker logs {name}"))
    };
    if is_new && container.restarts > 0 {
        let message = format!("ended and was started again {} times", container.restarts);
        return Err(failed(message));
    }
    match (state.status.as_str(), container.health()) {
        ("running", None | Some("healthy")) => Ok(Well),
        ("running", Some("unhealthy")) => Err(failed("is unhealthy, as its own check says".to_owned())),
        ("running", Some(_)) => Ok(NotYet("not healthy yet".to_owned())),
        ("restarting", _) => Err(failed(format!("ended with status {} and is started again", state.exit_code))),
        ("exited" | "dead", _) if state.out_of_memory => Err(failed("was killed for want of memory".to_owned())),
        ("exited" | "dead", _) => Err(failed(format!("ended with status {}", state.exit_code))),
        (other, _) => Ok(NotYet(other.to_owned())),
    }
}

fn unsettled(unit: &str, name: &str, now: Option<&Container>) -> Fault {
    let how = match now {
        None => "was removed".to_owned(),
        Some(now) if now.state.status != "running" => {
            format!("is {} (status {})", now.state.status, now.state.exit_code)
        }
        Some(now) if now.health() == Some("unhealthy") => "is unhealthy, as its own check says".to_owned(),
        Some(_) => "was started again".to_owned(),
    };
    let message = format!("the container {name} of {unit} {how} soon after its start");
    Fault::new(FaultCode::Unsettled, message).advise(format!("docker logs {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_a_container_was_started_again_counts_for_one_that_was_just_made() {
        let text = r#"{"Id":"ab","Name":"/web","RestartCount":2,"State":{"Status":"running"},"Config":{}}"#;
        let container: Container = serde_json::from_str(text).unwrap();
        assert!(matches!(how("compose app/web", &container, false), Ok(Well)));
        assert!(how("compose app/web", &container, true).is_err_and(|fault| fault.code == FaultCode::UnitFailed));
    }
}
