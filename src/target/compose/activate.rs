//! Making services take up the view: one call of Compose for all of them, and what really came of it.

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;

use super::ComposeTarget;
use super::evidence::{Fate, Made};
use super::project::{Project, is_odd, proper};
use super::stale::STALE;
use super::tool::{Tool, by_hand};
use crate::record::{Activated, Found};
use crate::rotation::{Fault, FaultCode};
use crate::sys::command::End;
use crate::sys::docker::Container;
use crate::target::Errand;

/// When a movement began to recreate services, and the ids of the containers that there were then.
pub(super) type First = OnceLock<(Instant, BTreeSet<String>)>;

impl ComposeTarget {
    /// `first` is filled by the first one of several attempts at the same movement.
    pub(super) async fn recreate(&self, errand: &Errand<'_>, first: &First) -> Result<Vec<Activated>, Fault> {
        let ours = self.ours(errand.found);
        let Some(project) = ours.iter().find_map(|(found, _)| Project::recorded(&found.details)) else {
            // There never was a container.
            return Ok(ours.into_iter().map(|(found, _)| left_stopped(found)).collect());
        };
        let tool = match ours.iter().find_map(|(found, _)| Tool::recorded(&found.details)) {
            Some(tool) => tool,
            None => self.tool().await?,
        };
        // One that an earlier daemon has begun ends first.
        self.hashes(&tool, &project).await?;
        let began = Instant::now();
        let before = self.containers(&project.name).await?;
        let ids = || before.iter().map(|(_, container)| container.id.clone()).collect();
        let (began, old) = first.get_or_init(|| (began, ids()));
        let of =
            |service: &str| before.iter().filter(|(of, _)| of == service).map(|(_, container)| container).collect();
        let (mut due, mut stopped) = (Vec::new(), Vec::new());
        let mut has_it = true;
        for (found, service) in &ours {
            let containers: Vec<&Container> = of(service);
            if !found.running && !containers.iter().any(|container| container.is_up()) {
                stopped.push((*found, service.clone(), !containers.is_empty()));
                continue;
            }
            has_it &= self.has(found, &containers, errand).await?;
            due.push((*found, service.clone()));
        }
        if errand.back {
            self.restore_images(errand).await?;
        }
        if !due.is_empty() && !has_it {
            self.start(&tool, &project, &due, &before, errand).await?;
        }
        let mut activated = Vec::new();
        for (found, service) in &due {
            let made = Made { scale: scale(found), before: old };
            activated.push(self.has_come_up(&project, found, service, made, *began, errand).await?);
        }
        for (found, service, has_containers) in stopped {
            // Whoever starts it again would start the container that there is.
            if has_containers {
                self.make_anew(&tool, &project, found, &service, errand).await?;
            }
            activated.push(left_stopped(found));
        }
        Ok(activated)
    }

    /// Waits for the containers of a service; what became of them.
    async fn has_come_up(
        &self,
        project: &Project,
        found: &Found,
        service: &str,
        made: Made<'_>,
        began: Instant,
        errand: &Errand<'_>,
    ) -> Result<Activated, Fault> {
        let limit = errand.deadline.min(Instant::now() + self.settings.timeout);
        let report = |line: &str| errand.report.progress(line);
        let now = self.wait_until_well(&project.name, service, Some(made), Fate::of(errand), limit, &report).await?;
        self.check_made(found, &now, errand)?;
        let unit = found.unit.clone();
        if now.iter().all(|container| made.before.contains(&container.id)) {
            return Ok(Activated::AlreadyRunning { unit });
        }
        let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        Ok(Activated::Restarted { unit, took_us })
    }

    /// That containers were made with the view; and, but where another one was to be built, of the image that ran before.
    fn check_made(&self, found: &Found, containers: &[Container], errand: &Errand<'_>) -> Result<(), Fault> {
        if let Some(other) = containers.iter().find(|container| !self.is_made_with(container, errand.view)) {
            return Err(self.made_with_another(&found.unit, other, errand.view));
        }
        // Which image one that is stopped was made of says nothing of the next one.
        let is_kept = errand.back || found.running && !self.settings.build;
        let other = containers.iter().find(|container| is_kept && !self.is_of_former_image(found, container));
        other.map_or(Ok(()), |other| Err(self.of_other_image(found, other, errand)))
    }

    /// Whether all containers of a service run with the view already.
    async fn has(&self, found: &Found, containers: &[&Container], errand: &Errand<'_>) -> Result<bool, Fault> {
        let view = errand.view;
        let are_well = containers.iter().all(|container| {
            container.state.status == "running"
                && container.health() != Some("unhealthy")
                && !is_odd(container.name())
                && self.is_made_with(container, view)
                && (!errand.back || self.is_of_former_image(found, container))
        });
        if containers.is_empty() || !are_well || containers.len() < scale(found) {
            return Ok(false);
        }
        if !self.is_file() {
            return Ok(true);
        }
        // A file that was replaced is another one in the container until that is started anew.
        let containers: Vec<Container> = containers.iter().map(|container| (*container).clone()).collect();
        Ok(self.tally(&containers, view).await?.is_proof())
    }

    /// One call for all.
    async fn start(
        &self,
        tool: &Tool,
        project: &Project,
        due: &[(&Found, String)],
        before: &[(String, Container)],
        errand: &Errand<'_>,
    ) -> Result<(), Fault> {
        let mut arguments: Vec<String> = ["-d", "--no-deps"].map(str::to_owned).to_vec();
        arguments.extend(images(tool, self.settings.build, errand.back));
        if self.is_file() {
            arguments.push("--force-recreate".to_owned());
        }
        arguments.extend(due.iter().flat_map(|(found, service)| scaled(found, service)));
        arguments.extend(due.iter().map(|(_, service)| service.clone()));
        let said = format!("{} up {}", tool.words(), arguments.join(" "));
        if due.iter().any(|(found, _)| found.details.contains_key(STALE)) {
            errand.report.progress(&format!(
                "{}: more than the secret was changed in its configuration since it was started, and takes effect too",
                self.target_name(project)
            ));
        }
        errand.report.progress(&format!("{}: {said}", self.target_name(project)));
        let graces: Vec<Duration> = before.iter().map(|(_, container)| container.grace()).collect();
        let mut end = self.up(tool, project, &arguments, self.longest(&graces)).await?;
        // Where nothing has changed, the engine may have been restarted meanwhile. What is built is not built twice for that.
        if end != End::Well && (self.has_leftovers(project, due, before).await? || !self.settings.build) {
            // Compose 2.26 stumbles once over what an interrupted one has left, and then goes its way. The engine may have been
            // at work for it still.
            end = self.up(tool, project, &arguments, self.longest(&graces)).await?;
        }
        if let Some(problem) = end.problem(&[tool.words()]) {
            let message = format!("{}: {problem}", self.target_name(project));
            // What it exits with proves nothing, either way.
            if !self.all_have(project, due, errand).await? {
                let by_hand = by_hand(tool, project, &format!("up {}", arguments.join(" ")));
                return Err(Fault::new(FaultCode::ToolFailed, message).advise(format!("see what it says: {by_hand}")));
            }
            errand.report.progress(&format!("{message}; all the same, each container runs with the value"));
        }
        self.give_proper_names(project).await
    }

    /// Whether all the services run with the view by now.
    async fn all_have(&self, project: &Project, due: &[(&Found, String)], errand: &Errand<'_>) -> Result<bool, Fault> {
        let all = self.containers(&project.name).await?;
        for (found, service) in due {
            let of_service: Vec<&Container> = all.iter().filter(|(of, _)| of == service).map(|(_, one)| one).collect();
            if !self.has(found, &of_service, errand).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Containers that were made and not started, or have a name for the time being.
    async fn has_leftovers(
        &self,
        project: &Project,
        due: &[(&Found, String)],
        before: &[(String, Container)],
    ) -> Result<bool, Fault> {
        let containers = self.containers(&project.name).await?;
        let is_due = |of: &&(String, Container)| due.iter().any(|(_, due)| *due == of.0);
        let is_odd = |(_, one): &(String, Container)| is_odd(one.name()) || one.state.status == "created";
        let stands = |all: &[(String, Container)]| -> BTreeSet<(String, String)> {
            all.iter().filter(is_due).map(|(_, one)| (one.id.clone(), one.state.status.clone())).collect()
        };
        Ok(containers.iter().filter(is_due).any(is_odd) || stands(&containers) != stands(before))
    }

    /// What was made by a Compose that was interrupted, and started by a later one, keeps its odd name.
    async fn give_proper_names(&self, project: &Project) -> Result<(), Fault> {
        let containers = self.containers(&project.name).await?;
        for (_, container) in &containers {
            let Some(name) = proper(container.name()).filter(|_| container.is_up()) else { continue };
            if !containers.iter().any(|(_, other)| other.name() == name) {
                // It works under any name.
                let _ = self.engine.rename(&container.id, name).await;
            }
        }
        Ok(())
    }

    /// The containers of a service that is stopped, as many as there are, with the view; and stopped again. Each sees a
    /// file anew whenever it is started.
    async fn make_anew(
        &self,
        tool: &Tool,
        project: &Project,
        found: &Found,
        service: &str,
        errand: &Errand<'_>,
    ) -> Result<(), Fault> {
        let containers = self.of_service(&project.name, service).await?;
        if self.is_file() || self.check_made(found, &containers, errand).is_ok() {
            return Ok(());
        }
        let mut arguments = ["--no-start", "--no-deps"].map(str::to_owned).to_vec();
        // What is not started need not be built, nor be of what there is newest; but there it must be.
        if errand.back {
            arguments.extend(images(tool, self.settings.build, true));
        } else if tool.is_plugin_age() {
            arguments.extend(["--pull", "missing"].map(str::to_owned));
        }
        arguments.extend(scaled(found, service));
        arguments.push(service.to_owned());
        let end = self.up(tool, project, &arguments, self.longest(&[])).await?;
        if let Some(problem) = end.problem(&[tool.words()]) {
            let message = format!("{}: {problem}", self.target_name(project));
            let by_hand = by_hand(tool, project, &format!("up {}", arguments.join(" ")));
            return Err(Fault::new(FaultCode::ToolFailed, message).advise(format!("see what it says: {by_hand}")));
        }
        let made = self.of_service(&project.name, service).await?;
        if made.len() < containers.len() {
            let message = format!("{} has {} containers, and had {}", found.unit, made.len(), containers.len());
            return Err(Fault::new(FaultCode::NotReady, message).advise(by_hand(tool, project, "ps -a")));
        }
        self.check_made(found, &made, errand)
    }

    /// What `up` with these options would do now, in its own words; none where it cannot tell.
    pub(super) async fn rehearsal(
        &self,
        tool: &Tool,
        project: &Project,
        options: &[&str],
    ) -> Result<Option<String>, Fault> {
        let services = self.settings.services.iter().map(String::as_str);
        let words = ["--dry-run", "up", "-d"].iter().chain(options).copied();
        let arguments = words.chain(services);
        let ran = self.ask(tool, project, arguments).await?;
        Ok((ran.end == End::Well).then(|| String::from_utf8_lossy(&ran.stderr).into_owned()))
    }

    fn target_name(&self, project: &Project) -> String {
        format!("compose {}", project.name)
    }
}

/// Where the images come from. But where another one is wanted they are those that ran: what is built or pulled anew, as a
/// `pull_policy` of the service may say, could be others.
fn images(tool: &Tool, build: bool, back: bool) -> Vec<String> {
    let words: &[&str] = match (back, build) {
        (false, true) => &["--build"],
        _ if !tool.is_plugin_age() => &["--no-build"],
        // Nor is one built that is there, as preflight has seen. With --no-build one that the files do not name would have
        // another hash, and the next `up` of somebody would make the container anew once more.
        (false, false) => &["--pull", "never"],
        (true, _) => &["--no-build", "--pull", "never"],
    };
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// How many containers the service had.
fn scale(found: &Found) -> usize {
    recorded_scale(found).unwrap_or(1)
}

/// None of a service that had no container.
fn recorded_scale(found: &Found) -> Option<usize> {
    found.details.get("scale").and_then(|scale| scale.parse().ok()).filter(|scale| *scale > 0)
}

/// As many containers as there were: what the file says may have been overruled when it was started.
fn scaled(found: &Found, service: &str) -> Vec<String> {
    let scale = recorded_scale(found);
    scale.map_or_else(Vec::new, |scale| vec!["--scale".to_owned(), format!("{service}={scale}")])
}

fn left_stopped(found: &Found) -> Activated {
    Activated::LeftStopped { unit: found.unit.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_other_image_is_taken_unless_it_is_to_be_built() {
        let version = |version: &str| {
            let details = [("tool", "docker compose"), ("tool-version", version)];
            let details = details.map(|(name, value)| (name.to_owned(), value.to_owned()));
            Tool::recorded(&details.into_iter().collect()).unwrap()
        };
        let (first, later) = (version("1.29.2"), version("2.26.1"));
        assert_eq!(images(&later, false, false), ["--pull", "never"]);
        assert_eq!(images(&first, false, false), ["--no-build"]);
        assert_eq!(images(&later, true, false), ["--build"]);
        for build in [false, true] {
            assert_eq!(images(&later, build, true), ["--no-build", "--pull", "never"]);
            assert_eq!(images(&first, build, true), ["--no-build"]);
        }
    }
}
