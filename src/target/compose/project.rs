//! Which project the services belong to, as the labels of its containers say: its name, directory and files are what it
//! was started with, and a call with any other would start a second one beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::ComposeTarget;
use crate::rotation::{Fault, FaultCode};
use crate::sys::docker::{Container, EngineError, Listed};

const PROJECT: &str = "com.docker.compose.project";
const DIRECTORY: &str = "com.docker.compose.project.working_dir";
const FILES: &str = "com.docker.compose.project.config_files";
const ENV_FILE: &str = "com.docker.compose.project.environment_file";
pub(super) const SERVICE: &str = "com.docker.compose.service";
const VERSION: &str = "com.docker.compose.version";
const ONE_OFF: &str = "com.docker.compose.oneoff";
/// The hash of a service's configuration, as `config --hash` says it.
pub(super) const HASH: &str = "com.docker.compose.config-hash";

/// At boot the engine may still be on its way.
const COMING: Duration = Duration::from_secs(5);

/// What Compose was called with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Project {
    pub name: String,
    pub directory: String,
    pub files: Vec<String>,
    pub env_files: Vec<String>,
    /// The version of Compose that made its containers.
    pub version: String,
}

impl Project {
    pub fn of(labels: &BTreeMap<String, String>) -> Self {
        let label = |name: &str| labels.get(name).map_or("", String::as_str);
        let directory = label(DIRECTORY).to_owned();
        // Compose 1 names files as they were called.
        let whole = |file: &str| Path::new(&directory).join(file).display().to_string();
        let list = |name: &str| label(name).split(',').filter(|file| !file.is_empty()).map(whole).collect();
        let (name, version) = (label(PROJECT).to_owned(), label(VERSION).trim_start_matches('v').to_owned());
        Self { name, files: list(FILES), env_files: list(ENV_FILE), directory, version }
    }

    /// To be recorded: after a crash no container may be left to tell it.
    pub fn details(&self) -> BTreeMap<String, String> {
        let list = |files: &[String]| files.join(",");
        BTreeMap::from([
            ("project".to_owned(), self.name.clone()),
            ("directory".to_owned(), self.directory.clone()),
            ("files".to_owned(), list(&self.files)),
            ("env-files".to_owned(), list(&self.env_files)),
            ("made-by".to_owned(), self.version.clone()),
        ])
    }

    /// As it was recorded; none of a service that had no container.
    pub fn recorded(details: &BTreeMap<String, String>) -> Option<Self> {
        let list = |name: &str| {
            let text = details.get(name).map_or("", String::as_str);
            text.split(',').filter(|file| !file.is_empty()).map(str::to_owned).collect()
        };
        let (name, directory) = (details.get("project")?.clone(), details.get("directory")?.clone());
        let version = details.get("made-by").cloned().unwrap_or_default();
        Some(Self { name, directory, files: list("files"), env_files: list("env-files"), version })
    }

    /// Whether it was started as the other one was, by whatever version.
    fn is_same(&self, other: &Self) -> bool {
        *self == Self { version: self.version.clone(), ..other.clone() }
    }
}

impl ComposeTarget {
    /// Whether a project was started from the directory that is configured.
    pub(super) fn is_from_here(&self, project: &Project) -> bool {
        Path::new(&project.directory) == self.settings.directory
    }

    /// Whether a container is of one of the services.
    pub(super) fn is_wanted(&self, container: &Listed) -> bool {
        self.settings.services.iter().any(|name| name == container.service())
    }

    /// The containers of the project.
    async fn of_project(&self) -> Result<Vec<Listed>, Fault> {
        let settings = &self.settings;
        let all = self.listed().await?;
        let directory = settings.directory.display().to_string();
        let is_ours = |container: &Listed| match &settings.project {
            Some(name) => label(container, PROJECT) == name,
            None => label(container, DIRECTORY).trim_end_matches('/') == directory,
        };
        let (ours, others): (Vec<Listed>, Vec<Listed>) = all.into_iter().partition(is_ours);
        let names: BTreeSet<&str> = ours.iter().map(|container| label(container, PROJECT)).collect();
        if names.len() > 1 {
            let message = format!("several projects were started from {directory}: {}", joined(&names));
            return Err(Fault::new(FaultCode::UnitUnusable, message).advise("name the one that is meant, as `project`"));
        }
        if ours.is_empty() {
            let usual = settings.usual_project();
            let stray = others.iter().find(|container| label(container, PROJECT) == usual);
            return stray.map_or(Ok(ours), |stray| Err(started_elsewhere(stray, &directory)));
        }
        // What somebody changed nothing of elsewhere was left as it is: the rest of the project may say another directory.
        let is_one = |container: &&Listed| names.contains(label(container, PROJECT)) && self.is_wanted(container);
        let moved = others.iter().filter(is_one).chain(&ours);
        if let Some(stray) = moved.into_iter().find(|it| label(it, DIRECTORY).trim_end_matches('/') != directory) {
            return Err(started_elsewhere(stray, &directory));
        }
        Ok(ours)
    }

    /// The project, where any of its containers is there.
    pub(super) async fn project(&self) -> Result<Option<Project>, Fault> {
        let (settings, ours) = (&self.settings, self.of_project().await?);
        let Some(any) = ours.first() else { return Ok(None) };
        let wanted = ours.iter().filter(|container| self.is_wanted(container));
        let mut projects: Vec<Project> = wanted.map(|listed| Project::of(&listed.labels)).collect();
        projects.dedup_by(|a, b| a.is_same(b));
        let project = match projects.as_slice() {
            [] => Project::of(&any.labels),
            [one] => one.clone(),
            _ => {
                let message = format!("{} were not started with the same Compose files", settings.services.join(", "));
                return Err(Fault::new(FaultCode::UnitUnusable, message).advise(format!(
                    "start all of them in one call: cd {} && docker compose up -d",
                    settings.directory.display()
                )));
            }
        };
        self.check_files(&project)?;
        Ok(Some(project))
    }

    fn check_files(&self, project: &Project) -> Result<(), Fault> {
        let wanted: Vec<String> = self.settings.files.iter().map(|file| file.display().to_string()).collect();
        if project.files.iter().any(|file| file.ends_with("/-")) || project.files.is_empty() {
            let message = format!("it cannot be known which Compose files the project {} has", project.name);
            return Err(Fault::new(FaultCode::UnitUnusable, message).advise("start it from files"));
        }
        if !wanted.is_empty() && wanted != project.files {
            let message = format!(
                "the project {} runs with {}, and `files` says {}",
                project.name,
                project.files.join(", "),
                wanted.join(", ")
            );
            return Err(Fault::new(FaultCode::UnitUnusable, message).advise("mend `files`, or leave it out"));
        }
        Ok(())
    }

    /// All containers of the project, each with its service; those of `compose run` are others.
    pub(super) async fn containers(&self, project: &str) -> Result<Vec<(String, Container)>, Fault> {
        Ok(self.present(project).await?.of_services)
    }

    /// All that is there of the project.
    pub(super) async fn present(&self, project: &str) -> Result<Present, Fault> {
        let mut present = Present::default();
        for listed in self.listed_with_one_offs().await? {
            if label(&listed, PROJECT) != project {
                continue;
            }
            // One that is just being removed is gone.
            let Some(container) = self.engine.container(&listed.id).await? else { continue };
            let those = if is_one_off(&listed) { &mut present.one_offs } else { &mut present.of_services };
            those.push((listed.service().to_owned(), container));
        }
        Ok(present)
    }

    /// The containers of one service.
    pub(super) async fn of_service(&self, project: &str, service: &str) -> Result<Vec<Container>, Fault> {
        let mut containers = Vec::new();
        for listed in self.listed().await? {
            if label(&listed, PROJECT) == project && listed.service() == service {
                containers.extend(self.engine.container(&listed.id).await?);
            }
        }
        Ok(containers)
    }

    /// All containers of any project, but those of `compose run`.
    pub(super) async fn listed_now(&self) -> Result<Vec<Listed>, EngineError> {
        let mut all = self.engine.labelled(PROJECT).await?;
        all.retain(|container| !is_one_off(container));
        Ok(all)
    }

    async fn listed(&self) -> Result<Vec<Listed>, Fault> {
        let mut all = self.listed_with_one_offs().await?;
        all.retain(|container| !is_one_off(container));
        Ok(all)
    }

    async fn listed_with_one_offs(&self) -> Result<Vec<Listed>, Fault> {
        let until = Instant::now() + COMING;
        loop {
            match self.engine.labelled(PROJECT).await {
                Err(EngineError::Away { .. }) if Instant::now() < until => sleep(COMING / 50).await,
                listed => return Ok(listed?),
            }
        }
    }
}

/// The containers of a project, each with its service.
#[derive(Default)]
pub(super) struct Present {
    /// Those that `up` starts.
    pub of_services: Vec<(String, Container)>,
    /// Those of `compose run`, which nobody replaces.
    pub one_offs: Vec<(String, Container)>,
}

impl Present {
    /// The containers of one service.
    pub fn of(&self, service: &str) -> Vec<Container> {
        let of_service = self.of_services.iter().filter(|(of, _)| of == service);
        of_service.map(|(_, container)| container.clone()).collect()
    }
}

impl Listed {
    /// The service that it is of.
    pub(super) fn service(&self) -> &str {
        label(self, SERVICE)
    }
}

/// Whether Compose was interrupted when it had given a container this name, for as long as another one had its own.
pub(super) fn is_odd(name: &str) -> bool {
    proper(name).is_some()
}

/// The name that such a container would have had.
pub(super) fn proper(name: &str) -> Option<&str> {
    let (id, proper) = name.split_once('_')?;
    (id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) && !proper.is_empty()).then_some(proper)
}

fn label<'l>(container: &'l Listed, name: &str) -> &'l str {
    container.labels.get(name).map_or("", String::as_str)
}

fn is_one_off(container: &Listed) -> bool {
    label(container, ONE_OFF) == "True"
}

fn joined(names: &BTreeSet<&str>) -> String {
    names.iter().copied().collect::<Vec<_>>().join(", ")
}

fn started_elsewhere(container: &Listed, directory: &str) -> Fault {
    let (name, from) = (label(container, PROJECT), label(container, DIRECTORY));
    let message = format!("the project {name} was started from {from}, and `project-directory` says {directory}");
    Fault::new(FaultCode::UnitUnusable, message)
        .advise("mend `project-directory`; or, where another project is meant, name it as `project`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_interrupted_compose_leaves_is_told_by_its_name() {
        assert_eq!(proper("0123456789ab_app-web-1"), Some("app-web-1"));
        assert_eq!(proper("0123456789ab_app_web_1"), Some("app_web_1"));
        for name in ["app-web-1", "app_web_1", "0123456789abc_x", "0123456789ab_", "0123456789xy_app"] {
            assert!(!is_odd(name), "{name}");
        }
    }

    #[test]
    fn a_project_is_the_same_after_it_was_recorded() {
        let labels = [(PROJECT, "app"), (DIRECTORY, "/srv/app"), (FILES, "/srv/app/a.yaml,b.yaml"), (ENV_FILE, "")];
        let labels = labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let project = Project::of(&labels);
        assert_eq!(project.files, ["/srv/app/a.yaml", "/srv/app/b.yaml"]);
        assert_eq!(Project::recorded(&project.details()), Some(project));
        assert_eq!(Project::recorded(&BTreeMap::new()), None);
    }
}
