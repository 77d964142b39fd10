//! Services of Docker Compose: the file behind them is changed, Compose recreates them, the engine tells what came of it.
//!
//! Compose's exit status proves nothing: it ends well for a container that dies at once, and for one that got a value from
//! elsewhere. What it is asked for is one `up -d`; the waiting and the proof are done here, by the engine's own interface
//! and in the processes.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::{Accepts, Disclosed, Errand, Health, Known, Means, Past, Target, file};
use crate::config::{ComposePlace, ComposeTarget as Settings, SecretSettings};
use crate::helper::{FileHelper, ProcessHelper};
use crate::policy::Sighting;
use crate::record::{Activated, Evidence, Found, Noted};
use crate::rotation::{Fault, FaultCode, View};
use crate::secret::{Format, SecretValue};
use crate::sys::command::Runner;
use crate::sys::docker::{Container, Engine, EngineError};

mod absence;
mod activate;
mod bystanders;
mod drift;
mod evidence;
mod image;
mod place;
mod project;
mod shared;
mod stale;
mod survey;
mod tally;
#[cfg(test)]
mod tests;
mod tool;

/// Services of one project, with the file that they have the secret from.
pub struct ComposeTarget {
    secret: String,
    settings: Settings,
    /// The variable in the file.
    key: String,
    /// The variable that programs read.
    env: String,
    /// The variable of the value that is accepted besides, where there may be one.
    previous_key: Option<String>,
    /// How values are made.
    make: (usize, Format),
    settle: Duration,
    allow_without: Vec<String>,
    files: FileHelper,
    helper: ProcessHelper,
    runner: Arc<dyn Runner>,
    engine: Engine,
    /// The services that take part, also by another target.
    named: Vec<String>,
    /// The services that the last rotation found stopped on purpose, as they are named in `found`.
    stopped: Mutex<Vec<String>>,
}

impl ComposeTarget {
    /// The target that `settings` describes, of the secret `secret`.
    pub fn new(secret: &SecretSettings, settings: &Settings, means: &Means) -> Self {
        Self {
            secret: secret.name.to_string(),
            key: settings.key.clone().unwrap_or_else(|| secret.env.clone()),
            env: secret.env.clone(),
            previous_key: secret.overlap.as_ref().map(|overlap| overlap.previous_env.clone()),
            settings: settings.clone(),
            make: (secret.bytes, secret.format),
            settle: secret.settle,
            allow_without: secret.allow_without.clone(),
            files: means.files.clone(),
            helper: means.processes.clone(),
            runner: Arc::clone(&means.runner),
            engine: Engine::default(),
            named: bystanders::named(secret, &settings.directory),
            stopped: Mutex::default(),
        }
    }

    fn was_stopped(&self, service: &str) -> bool {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner).contains(&self.settings.consumer(service))
    }

    fn path(&self) -> &Path {
        self.settings.place.path()
    }

    /// Whether the containers have the value as a file, and not as a variable.
    fn is_file(&self) -> bool {
        matches!(self.settings.place, ComposePlace::SecretFile(_))
    }

    /// The variable that a container has the value as. What stands in a `.env` file under a name of its own is mapped to the
    /// one that programs read, `JWT_SECRET: ${APP_JWT}`; what stands in a file of `env_file:` has the same name.
    fn variable_of(&self, container: &Container) -> &str {
        let may_be_mapped = matches!(self.settings.place, ComposePlace::EnvFile(_));
        if may_be_mapped && container.variable(&self.env).is_some() { &self.env } else { &self.key }
    }

    /// The target's own ones among all consumers, each with its service.
    fn ours<'e>(&self, found: &'e [Found]) -> Vec<(&'e Found, String)> {
        let service = |found: &Found| {
            let mut services = self.settings.services.iter();
            services.find(|service| self.settings.consumer(service) == found.configured).cloned()
        };
        found.iter().filter_map(|found| Some((found, service(found)?))).collect()
    }
}

impl From<EngineError> for Fault {
    fn from(error: EngineError) -> Self {
        Self::new(FaultCode::EngineUnreachable, error.to_string())
            .advise("systemctl status docker.socket docker.service")
    }
}

#[async_trait]
impl Target for ComposeTarget {
    fn label(&self) -> String {
        format!("compose {} {}", self.settings.directory.display(), self.settings.services.join(", "))
    }

    async fn accepted_in_force(&self) -> Result<Accepts, Fault> {
        let file = self.read().await?;
        let former = self.slots().into_iter().zip(file.values).filter(|((_, is_previous), _)| *is_previous);
        file::accepts(self.path(), former.map(|(_, value)| value))
    }

    async fn value_in_force(&self) -> Result<SecretValue, Fault> {
        self.adopted_value().await
    }

    /// Containers: the processes of one begin and end together.
    async fn processes(&self) -> Result<usize, Fault> {
        let Some(project) = self.project().await? else { return Ok(self.settings.services.len()) };
        let containers = self.containers(&project.name).await?;
        Ok(containers.iter().filter(|(_, container)| container.is_up()).count())
    }

    fn recognize(&self, past: &Past<'_>) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = past.stopped.to_vec();
    }

    async fn survey(&self, in_force: &Disclosed<'_>, health: Health, deadline: Instant) -> Result<Vec<Found>, Fault> {
        self.look_for_obstacles(in_force, health, deadline).await
    }

    async fn deliver(&self, errand: &Errand<'_>) -> Result<Vec<Noted>, Fault> {
        self.put(errand).await.map(|()| Vec::new())
    }

    fn exposes(&self) -> Option<String> {
        let path = self.path().display();
        match (self.settings.expose, self.is_file()) {
            (true, _) => Some(format!("WARNING: every local user may read {path}")),
            (false, true) => None,
            (false, false) => Some(format!("`docker inspect` shows {} to root and the group docker", self.key)),
        }
    }

    async fn activate(&self, errand: &Errand<'_>) -> Result<Vec<Activated>, Fault> {
        let first = OnceLock::new();
        self.despite_absence(errand, || self.recreate(errand, &first)).await
    }

    async fn evidence(&self, errand: &Errand<'_>) -> Result<Vec<Evidence>, Fault> {
        self.despite_absence(errand, || self.gather(errand)).await
    }

    async fn is_still_there(&self, evidence: &[Evidence]) -> Result<(), Fault> {
        self.check_same(evidence).await
    }

    async fn failed_since(&self, evidence: &[Evidence]) -> Option<String> {
        self.failure_since(evidence).await
    }

    async fn look(&self, known: &Known<'_>) -> Result<Vec<Sighting>, Fault> {
        let file = self.read().await?;
        let in_file = file.values.first().and_then(Option::as_ref);
        let mut seen = vec![Sighting::file(self.path().display(), known.which(in_file))];
        seen.extend(self.look_at_containers(in_file, known).await?);
        Ok(seen)
    }

    fn tidy(&self, _keep: &View) {}
}
