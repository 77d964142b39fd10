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

/// What becomes of a container that fails, and with it of what it printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is left as it is.
    Left,
    /// The way back makes another one in its place.
    Replaced,
    /// Nobody knows here.
    Open,
}

impl Fate {
    /// Who is on the way back goes no further back, and who only looks goes nowhere.
    pub(super) fn of(errand: &Errand<'_>) -> Self {
        if errand.back || errand.mark.is_empty() { Self::Left } else { Self::Replaced }
    }
}

impl ComposeTarget {
    /// Waits until all containers of a service are healthy, or up where they have no check of their own.
    pub(super) async fn wait_until_well(
        &self,
        project: &str,
        service: &str,
        made: Option<Made<'_>>,
        fate: Fate,
        limit: Instant,
        report: &(dyn Fn(&str) + Sync),
    ) -> Result<Vec<Container>, Fault> {
        let unit = format!("compose {project}/{service}");
        let mut told = String::new();
        loop {
            let containers = self.of_service(project, service).await?;
            let mut trouble = None;
            if containers.is_empty() || containers.len() < made.map_or(1, |made| made.scale) {
                trouble = Some(("not all of its containers are there".to_owned(), "docker ps -a".to_owned()));
            }
            for container in &containers {
                match how(&unit, container, made.is_some_and(|made| !made.before.contains(&container.id)), fate)? {
                    Well => {}
                    NotYet(state) => {
                        trouble = Some((format!("{} is {state}", named(container)), output(container, fate)))
                    }
                }
            }
            let Some((trouble, output)) = trouble else { return Ok(containers) };
            if trouble != told {
                report(&format!("{unit}: {trouble}"));
                told.clone_from(&trouble);
            }
            if Instant::now() >= limit {
                let message = format!("{unit} was not ready in time: {trouble}");
                return Err(Fault::new(FaultCode::NotReady, message)
                    .advise(format!("give it more time with `timeout`; or see why: {output}")));
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
        fate: Fate,
    ) -> Result<Tally, Fault> {
        let limit = Instant::now() + SLACK;
        loop {
            let tally = self.tally(containers, view).await?;
            if tally.is_proof() {
                return Ok(tally);
            }
            self.check_steady(unit, containers, fate).await?;
            if Instant::now() >= limit {
                return Err(self.no_proof(unit, containers, view, &tally));
            }
            sleep(POLL).await;
        }
    }

    /// All evidence for the services of this target, watched side by side through `settle`.
    pub(super) async fn gather(&self, errand: &Errand<'_>) -> Result<Vec<Evidence>, Fault> {
        let (view, fate, mut evidence, mut watched) = (errand.view, Fate::of(errand), Vec::new(), Vec::new());
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
            let containers = self.wait_until_well(&project.name, &service, None, fate, limit, &report).await?;
            if let Some(other) = containers.iter().find(|container| !self.is_made_with(container, view)) {
                return Err(self.made_with_another(&found.unit, other, view));
            }
            self.wait_for_value(&found.unit, &containers, view, fate).await?;
            watched.push((found.unit.clone(), containers));
        }
        let began = Instant::now();
        loop {
            for (unit, before) in &watched {
                self.check_steady(unit, before, fate).await?;
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
            let tally = self.wait_for_value(&unit, &containers, view, fate).await?;
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
    async fn check_steady(&self, unit: &str, before: &[Container], fate: Fate) -> Result<(), Fault> {
        for container in before {
            let now = self.engine.container(&container.id).await?;
            let is_same =
                |now: &Container| now.state.status == "running" && now.state.started_at == container.state.started_at;
            match now {
                Some(now) if is_same(&now) && now.health() != Some("unhealthy") => {}
                now => return Err(unsettled(unit, container, now.as_ref(), fate)),
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
            match now {
                _ if is_same => {}
                Some(now) => return Err(unsettled(unit, &now, Some(&now), Fate::Open)),
                None => return Err(removed(unit, id.get(..12).unwrap_or(id))),
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
                "exited" | "dead" if !now.was_stopped() => ended(&now),
                _ => continue,
            };
            return Some(format!("{} of {unit} {how}", named(&now)));
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

fn how(unit: &str, container: &Container, is_new: bool, fate: Fate) -> Result<Way, Fault> {
    let state = &container.state;
    let failed = |how: String| {
        Fault::new(FaultCode::UnitFailed, format!("{} of {unit} {how}", named(container)))
            .advise(output(container, fate))
    };
    if is_new && container.restarts > 0 {
        let message = format!("ended and was started again {} times", container.restarts);
        return Err(failed(message));
    }
    match (state.status.as_str(), container.health()) {
        ("running", None | Some("healthy")) => Ok(Well),
        ("running", Some("unhealthy")) => Err(failed("is unhealthy, as its own check says".to_owned())),
        ("running", Some(_)) => Ok(NotYet("not healthy yet".to_owned())),
        ("restarting", _) => Err(failed(format!("{} and is started again", ended(container)))),
        ("exited" | "dead", _) => Err(failed(ended(container))),
        (other, _) => Ok(NotYet(other.to_owned())),
    }
}

fn unsettled(unit: &str, container: &Container, now: Option<&Container>, fate: Fate) -> Fault {
    let how = match now {
        None => return removed(unit, container.name()),
        Some(now) if now.state.status != "running" && now.state.out_of_memory => {
            format!("is {} (status {}, killed for want of memory)", now.state.status, now.state.exit_code)
        }
        Some(now) if now.state.status != "running" => {
            format!("is {} (status {})", now.state.status, now.state.exit_code)
        }
        Some(now) if now.health() == Some("unhealthy") => "is unhealthy, as its own check says".to_owned(),
        Some(_) => "was started again".to_owned(),
    };
    let message = format!("{} of {unit} {how} soon after its start", named(container));
    Fault::new(FaultCode::Unsettled, message).advise(output(container, fate))
}

fn removed(unit: &str, name: &str) -> Fault {
    let message = format!("the container {name} of {unit} was removed soon after its start");
    Fault::new(FaultCode::Unsettled, message)
        .advise("somebody else did that: `docker events --filter type=container` tells of the next time")
}

/// Which one it is: the next one has the same name.
fn named(container: &Container) -> String {
    format!("the container {} ({})", container.name(), container.short_id())
}

fn ended(container: &Container) -> String {
    let state = &container.state;
    let why = if state.out_of_memory { "was killed for want of memory, and " } else { "" };
    format!("{why}ended with status {}", state.exit_code)
}

/// Where that is what it printed. It is not told here: secrets may be in it.
fn output(container: &Container, fate: Fate) -> String {
    let id = container.short_id();
    match (container.log_driver(), fate) {
        ("journald", _) => format!("journalctl CONTAINER_ID={id}"),
        ("" | "json-file" | "local" | "none", Fate::Left) => format!("docker logs {id}"),
        ("" | "json-file" | "local" | "none", Fate::Open) => {
            format!("docker logs {id}, as long as it is there: a way back replaces it")
        }
        ("" | "json-file" | "local" | "none", Fate::Replaced) => {
            "to keep what it printed, which the way back removes with it, give the service `logging: { driver: journald }`"
                .to_owned()
        }
        (driver, _) => format!("see what it printed where its logging driver, {driver}, keeps it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_a_container_was_started_again_counts_for_one_that_was_just_made() {
        let text = r#"{"Id":"ab","Name":"/web","RestartCount":2,"State":{"Status":"running"},"Config":{}}"#;
        let container: Container = serde_json::from_str(text).unwrap();
        assert!(matches!(how("compose app/web", &container, false, Fate::Left), Ok(Well)));
        assert!(
            how("compose app/web", &container, true, Fate::Left)
                .is_err_and(|fault| fault.code == FaultCode::UnitFailed)
        );
    }

    #[test]
    fn the_reason_to_go_back_points_to_nothing_that_is_gone_by_then() {
        let ended = |driver: &str, out_of_memory: bool, fate: Fate| {
            let text = format!(
                r#"{{"Id":"{}","Name":"/web","State":{{"Status":"exited","ExitCode":137,"OOMKilled":{out_of_memory}}},
                    "Config":{{}},"HostConfig":{{"LogConfig":{{"Type":"{driver}"}}}}}}"#,
                "0123456789ab".repeat(5)
            );
            let container: Container = serde_json::from_str(&text).unwrap();
            how("compose app/web", &container, true, fate).err().expect("it has failed")
        };
        let fault = ended("json-file", true, Fate::Replaced);
        let message = "the container web (0123456789ab) of compose app/web was killed for want of memory, and ended with status 137";
        assert_eq!(fault.message, message);
        assert!(!fault.advice.contains("docker logs") && fault.advice.contains("removes with it"), "{}", fault.advice);
        assert_eq!(ended("json-file", false, Fate::Left).advice, "docker logs 0123456789ab");
        assert!(ended("json-file", false, Fate::Open).advice.starts_with("docker logs 0123456789ab, as long as"));
        assert_eq!(ended("journald", false, Fate::Replaced).advice, "journalctl CONTAINER_ID=0123456789ab");
        assert!(ended("syslog", false, Fate::Replaced).advice.contains("syslog"));
    }
}
