//! Compose's command line: what is called, with an environment that is built from nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::ComposeTarget;
use super::project::Project;
use crate::rotation::{Fault, FaultCode};
use crate::sys::command::{Command, End, Prints, Ran};
use crate::sys::docker::SOCKET;

/// Never sought in a search path.
const DOCKER: [&str; 2] = ["/usr/bin/docker", "/usr/local/bin/docker"];
const COMPOSE: [&str; 2] = ["/usr/bin/docker-compose", "/usr/local/bin/docker-compose"];

const INSTALL: &str = "install it: apt install docker.io docker-compose, or Docker's own packages docker-ce and \
                       docker-compose-plugin";

/// For what only asks.
const ASKING: Duration = Duration::from_secs(60);

/// Compose as it is called: the plugin of docker, or the program of its own that came before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tool {
    argv: Vec<String>,
    /// As it says it: `2.26.1`.
    version: String,
}

/// The configuration of services, as it would be started now.
pub(super) struct Hashes {
    /// The hash of each service's.
    pub of: BTreeMap<String, String>,
    /// Whether a variable that the files are made of is not set, and has no default.
    pub is_unset: bool,
}

impl Tool {
    /// As a person types it.
    pub fn words(&self) -> String {
        let words = self.argv.iter().map(|word| word.rsplit('/').next().unwrap_or_default());
        words.collect::<Vec<_>>().join(" ")
    }

    /// The one that made a project's containers, as it is usually called: to be typed, not to be run.
    pub fn of(project: &Project) -> Self {
        let words: &[&str] =
            if project.version.starts_with("1.") { &["docker-compose"] } else { &["docker", "compose"] };
        Self { argv: words.iter().map(|word| (*word).to_owned()).collect(), version: project.version.clone() }
    }

    /// Whether it is Compose 1.
    pub fn is_first(&self) -> bool {
        self.version.starts_with("1.")
    }

    /// Whether it is surely a later one.
    pub fn is_plugin_age(&self) -> bool {
        !self.version.is_empty() && !self.is_first()
    }

    /// Whether it is this version.
    pub fn is_version(&self, version: &str) -> bool {
        self.version == version
    }

    /// To be recorded.
    pub fn details(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("tool".to_owned(), self.argv.join(" ")), ("tool-version".to_owned(), self.version.clone())])
    }

    /// As it was recorded.
    pub fn recorded(details: &BTreeMap<String, String>) -> Option<Self> {
        let version = details.get("tool-version").cloned().unwrap_or_default();
        Some(Self { argv: details.get("tool")?.split(' ').map(str::to_owned).collect(), version })
    }
}

impl ComposeTarget {
    /// Which Compose there is: its plugin for docker before the program of its own.
    pub(super) async fn tool(&self) -> Result<Tool, Fault> {
        self.tool_that(|_| true).await?.ok_or_else(|| {
            Fault::new(FaultCode::ProgramMissing, "there is no Docker Compose in /usr/bin or /usr/local/bin")
                .advise(INSTALL)
        })
    }

    /// The Compose for a project. Between Compose 1 and its successors containers are called otherwise: each would rename
    /// those of the other.
    pub(super) async fn tool_of(&self, tool: Tool, project: &Project) -> Result<Tool, Fault> {
        let made_by = Tool::of(project);
        if project.version.is_empty() || tool.is_first() == made_by.is_first() {
            return Ok(tool);
        }
        if let Some(other) = self.tool_that(|other| other.is_first() == made_by.is_first()).await? {
            return Ok(other);
        }
        let message = format!(
            "the project {} was started by Compose {}, and here is Compose {}, which would rename its containers",
            project.name, project.version, tool.version
        );
        Err(Fault::new(FaultCode::UnitUnusable, message).advise(format!(
            "have this one start it once, which recreates them: {}; or install the other one",
            by_hand(&tool, project, "up -d")
        )))
    }

    /// The first one that works and fits.
    async fn tool_that(&self, fits: impl Fn(&Tool) -> bool + Send) -> Result<Option<Tool>, Fault> {
        let is_there = |path: &&&str| Path::new(path).exists();
        let docker = DOCKER.iter().find(is_there).map(|path| vec![(*path).to_owned(), "compose".to_owned()]);
        let alone = COMPOSE.iter().find(is_there).map(|path| vec![(*path).to_owned()]);
        let (mut broken, mut is_any_well) = (None, false);
        for argv in docker.into_iter().chain(alone) {
            let asked: Vec<String> = argv.iter().cloned().chain(["version", "--short"].map(str::to_owned)).collect();
            let ran = self.call(&asked, Path::new("/"), ASKING, Prints::ToCaller).await?;
            if ran.end != End::Well {
                broken.get_or_insert(asked.join(" "));
                continue;
            }
            is_any_well = true;
            let version = String::from_utf8_lossy(&ran.stdout).trim().trim_start_matches('v').to_owned();
            let tool = Tool { argv, version };
            if fits(&tool) {
                return Ok(Some(tool));
            }
        }
        let Some(asked) = broken.filter(|_| !is_any_well) else { return Ok(None) };
        let message = format!("Docker Compose does not work here: `{asked}` fails");
        Err(Fault::new(FaultCode::ProgramMissing, message).advise(INSTALL))
    }

    /// The hash of each service's configuration, as it would be started now. Waits for a Compose of this target that an
    /// earlier daemon has left at work.
    pub(super) async fn hashes(&self, tool: &Tool, project: &Project) -> Result<Hashes, Fault> {
        let hashes = self.hashes_with(tool, project, &[]).await?;
        if !tool.is_plugin_age() || self.settings.services.iter().all(|service| hashes.of.contains_key(service)) {
            return Ok(hashes);
        }
        // Not from the start: what only a profile has that is not used here, such as its env files, may be missing.
        self.hashes_with(tool, project, &["--profile", "*"]).await
    }

    async fn hashes_with(&self, tool: &Tool, project: &Project, profiles: &[&str]) -> Result<Hashes, Fault> {
        let asked = profiles.iter().copied().chain(["config", "--hash", "*"]);
        let argv = argv(tool, project, asked);
        let limit = self.longest(&[]);
        let ran = self.call(&argv, Path::new(&project.directory), limit, Prints::ToCaller).await?;
        if let Some(problem) = ran.end.problem(&[tool.words()]) {
            let message = format!("Compose cannot read the project {}: {problem}", project.name);
            let check = by_hand(tool, project, "config -q");
            return Err(Fault::new(FaultCode::ToolFailed, message).advise(format!("see what it says: {check}")));
        }
        let is_unset = String::from_utf8_lossy(&ran.stderr).contains("variable is not set");
        let text = String::from_utf8_lossy(&ran.stdout).into_owned();
        let pair = |line: &str| line.split_once(' ').map(|(name, hash)| (name.to_owned(), hash.trim().to_owned()));
        Ok(Hashes { of: text.lines().filter_map(pair).collect(), is_unset })
    }

    /// What Compose answers to something that changes nothing.
    pub(super) async fn ask<'a>(
        &self,
        tool: &Tool,
        project: &'a Project,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Result<Ran, Fault> {
        let argv = argv(tool, project, arguments);
        self.call(&argv, Path::new(&project.directory), ASKING, Prints::ToCaller).await
    }

    /// `up`, whatever it may print, which is nobody's concern. Nobody may end it in mid-way, or a service stays down: so it has
    /// all the time that it may need.
    pub(super) async fn up(
        &self,
        tool: &Tool,
        project: &Project,
        arguments: &[String],
        limit: Duration,
    ) -> Result<End, Fault> {
        let argv = argv(tool, project, std::iter::once("up").chain(arguments.iter().map(String::as_str)));
        Ok(self.call(&argv, Path::new(&project.directory), limit, Prints::ToNobody).await?.end)
    }

    /// How long Compose may take, with containers that have these times to stop in.
    pub(super) fn longest(&self, graces: &[Duration]) -> Duration {
        let build = if self.settings.build { 3600 } else { 600 };
        self.settings.timeout + 2 * graces.iter().sum::<Duration>() + Duration::from_secs(build)
    }

    async fn call(&self, argv: &[String], directory: &Path, limit: Duration, prints: Prints) -> Result<Ran, Fault> {
        let unit = format!("rekeyd-compose-{}.service", self.secret);
        // What is set for all services (`systemctl set-environment`) would win over the files: of that nothing but where
        // the user's own settings of docker are is passed on.
        let alone = "exec /usr/bin/env -i HOME=\"$HOME\" PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
                     LANG=C.UTF-8 DOCKER_HOST=\"$0\" \"$@\"";
        let socket = format!("unix://{SOCKET}");
        let alone = ["/bin/sh", "-c", alone, &socket].map(str::to_owned);
        let argv: Vec<String> = alone.into_iter().chain(argv.iter().cloned()).collect();
        let home = self.settings.user.is_none().then(|| "HOME=/root".to_owned());
        let command = Command {
            unit: &unit,
            description: &format!("Docker Compose for {}", self.secret),
            argv: &argv,
            directory: Some(directory),
            user: self.settings.user.as_deref().into(),
            environment: home.into_iter().collect(),
            input: Vec::new(),
            value: None,
            limit,
            prints,
        };
        let ran = self.runner.run(&command).await;
        ran.map_err(|error| {
            Fault::new(FaultCode::ToolFailed, error.to_string()).advise(format!("journalctl -u {unit}"))
        })
    }
}

/// A call as a person types it, wherever: what else the project was started with would be another one without it.
pub(super) fn by_hand(tool: &Tool, project: &Project, verb: &str) -> String {
    let whole = argv(tool, project, []);
    let (program, rest) = whole.split_at(tool.argv.len());
    let words = program.iter().map(|word| word.rsplit('/').next().unwrap_or_default().to_owned());
    let mut words: Vec<String> = words.chain(rest.iter().map(|word| quoted(word))).collect();
    words.push(verb.to_owned());
    words.join(" ")
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    if word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+:=@%,".contains(&byte)) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// What the running project was started with, and nothing else.
fn argv<'a>(tool: &Tool, project: &'a Project, rest: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut argv = tool.argv.clone();
    for file in &project.env_files {
        argv.extend(["--env-file".to_owned(), file.clone()]);
    }
    argv.extend(["-p".to_owned(), project.name.clone(), "--project-directory".to_owned(), project.directory.clone()]);
    for file in &project.files {
        argv.extend(["-f".to_owned(), file.clone()]);
    }
    argv.extend(rest.into_iter().map(str::to_owned));
    argv
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_typed_has_all_that_the_project_was_started_with() {
        let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let project = Project {
            name: "app".to_owned(),
            directory: "/srv/my app".to_owned(),
            files: list(&["/srv/my app/a.yaml", "/srv/b.yaml"]),
            env_files: list(&["/srv/prod.env"]),
            version: "2.26.1".to_owned(),
        };
        assert_eq!(
            by_hand(&Tool::of(&project), &project, "up -d web"),
            "docker compose --env-file /srv/prod.env -p app --project-directory '/srv/my app' -f '/srv/my app/a.yaml' \
             -f /srv/b.yaml up -d web"
        );
        let first = Project { version: "1.29.2".to_owned(), env_files: Vec::new(), ..project };
        assert!(by_hand(&Tool::of(&first), &first, "ps").starts_with("docker-compose -p app "));
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }
}
