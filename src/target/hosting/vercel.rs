//! Vercel: a project's variable is patched by its id, and what serves is deployed anew. `READY` is not live.

use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::time::Instant;

use super::answer::{Intent, Kind};
use super::api::{Api, Refusal, Request, Said, json};
use super::platform::{COMMIT, Deployment, Ids, Platform, SERVING, Shown, Sight, Wanted, Write, has, seen_to_change};
use super::words::plain;
use crate::config::{Environment, Hosting, VercelProject};
use crate::rotation::FaultCode;

mod deployments;
mod shapes;
mod variables;

use shapes::{Meta, Nothing, Project, Raw, Redeploy};

/// One project, and one of its environments.
pub(super) struct Vercel {
    api: Api,
    label: String,
    settings: VercelProject,
    create: bool,
    /// The project's id, once it is known: lists want it, and it stays the same.
    id: OnceLock<String>,
}

impl Vercel {
    pub fn new(settings: &Hosting, project: &VercelProject) -> Self {
        let api = Api::new(settings, "https://api.vercel.com", "", "Authorization", "Bearer ");
        Self { api, label: settings.label(), settings: project.clone(), create: settings.create, id: OnceLock::new() }
    }

    fn project(&self) -> &str {
        &self.settings.project
    }

    /// The team belongs to every request.
    fn scope<'a>(&'a self, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let team = self.settings.team.as_deref();
        let name = if team.is_some_and(|team| team.starts_with("team_")) { "teamId" } else { "slug" };
        more.iter().copied().chain(team.map(|team| (name, team))).collect()
    }

    async fn look_at_project(&self, until: Instant) -> Said<Project> {
        let path = ["v9", "projects", self.project()];
        // Without it nothing is said of a rollback.
        let query = self.scope(&[("rollbackInfo", "true")]);
        let project: Project = self.api.ask(Request::get(&path, &query), until).await?.read()?;
        let _ = self.id.set(project.id.clone());
        Ok(project)
    }

    async fn project_id(&self, until: Instant) -> Said<String> {
        match self.id.get() {
            Some(id) => Ok(id.clone()),
            None => Ok(self.look_at_project(until).await?.id),
        }
    }

    fn environment(&self) -> &str {
        match &self.settings.environment {
            Environment::Production => "production",
            Environment::Preview { .. } => "preview",
            Environment::Custom(id) => id,
        }
    }

    /// The branch of the previews that are meant.
    fn branch(&self) -> Option<&str> {
        match &self.settings.environment {
            Environment::Preview { branch } => branch.as_deref(),
            Environment::Production | Environment::Custom(_) => None,
        }
    }

    fn is_production(&self) -> bool {
        self.settings.environment == Environment::Production
    }

    fn is_custom(&self) -> bool {
        matches!(self.settings.environment, Environment::Custom(_))
    }

    /// Whether it can be foreseen that a new deployment would not get all requests by itself.
    fn check_publishes(&self, project: &Project, sight: &mut Sight) -> Said<()> {
        if !self.is_production() {
            return Ok(());
        }
        if project.wants_approval() {
            let text =
                format!("a person must approve of each new deployment of {}: its rolling release says so", self.label);
            let advice = "take the approval out of the stages of the rolling release there";
            return Err(Refusal::obstacle(FaultCode::PlatformRefused, text, advice));
        }
        let Some(why) = project.keeps_aside() else { return Ok(()) };
        if !self.settings.promote {
            let text = format!("{} {why}", self.label);
            let advice = "change that there; or let rekeyd promote the deployment that it makes: `promote = true`";
            return Err(Refusal::obstacle(FaultCode::PlatformRefused, text, advice));
        }
        sight.told.push(format!("it {why}: the new deployment would be promoted"));
        Ok(())
    }
}

#[async_trait]
impl Platform for Vercel {
    async fn survey(&self, keys: &[&str], until: Instant) -> Said<Sight> {
        let project = self.look_at_project(until).await?;
        let mut sight = Sight::default();
        for key in keys {
            match self.record(key, until).await? {
                Some(record) => {
                    if record.kind == "system" || record.kind == "secret" {
                        let text = format!(
                            "{key} at {} is of the type {}, which cannot be written",
                            self.label,
                            plain(&record.kind)
                        );
                        return Err(Refusal::obstacle(
                            FaultCode::PlatformRefused,
                            text,
                            "make it a sensitive variable",
                        ));
                    }
                    sight.told.push(format!("{key} is there, of the type {}", plain(&record.kind)));
                    sight.ids.insert(format!("record {key}"), record.id.clone());
                    sight.ids.insert(has(key), "yes".to_owned());
                }
                None => sight.missing.push((*key).to_owned()),
            }
        }
        self.check_publishes(&project, &mut sight)?;
        sight.recent = self.recent(until).await?;
        sight.serving = self.serving(until).await?;
        if let Some(serving) = &sight.serving {
            sight.ids.insert(SERVING.to_owned(), serving.id.clone());
            sight.ids.extend(serving.commit.clone().map(|commit| (COMMIT.to_owned(), commit)));
        }
        Ok(sight)
    }

    async fn shows(&self, key: &str, until: Instant) -> Said<Shown> {
        Ok(if self.record(key, until).await?.is_some() { Shown::Hidden } else { Shown::Gone })
    }

    async fn write(&self, write: &Write<'_>, until: Instant) -> Said<Option<Timestamp>> {
        let (key, value) = (write.key, super::text(write.value)?);
        let may_make = self.create && !write.found.contains_key(&has(key));
        if may_make && self.record(key, until).await?.is_none() && self.create(key, value, until).await? {
            let made = self.record(key, until).await.map_err(Refusal::taken)?.ok_or_else(|| self.not_taken(key))?;
            return Ok(made.updated());
        }
        seen_to_change(write.differs, || self.write_over(key, value, until), || self.not_taken(key)).await
    }

    async fn written_at(&self, key: &str, until: Instant) -> Said<Option<Timestamp>> {
        Ok(self.record(key, until).await?.and_then(|record| record.updated()))
    }

    fn has_written(&self) -> bool {
        self.api.has_written()
    }

    async fn recent(&self, until: Instant) -> Said<Vec<Deployment>> {
        self.list(&[], |list| !list.is_empty(), until).await
    }

    fn clock(&self) -> Option<Timestamp> {
        self.api.clock()
    }

    async fn made_since(&self, since: Option<Timestamp>, until: Instant) -> Said<Vec<Deployment>> {
        let since = since.map(|at| at.as_millisecond().to_string());
        let more: Vec<(&str, &str)> = since.as_deref().map(|since| ("since", since)).into_iter().collect();
        self.list(&more, |_| since.is_none(), until).await
    }

    async fn trigger(&self, wanted: &Wanted<'_>, until: Instant) -> Said<Option<Deployment>> {
        let (original, name) = self.original(wanted, until).await?;
        let body = Redeploy {
            deployment_id: &original,
            name: &name,
            meta: Meta { action: "redeploy", rekeyd: wanted.mark, of: &original, branch: self.branch() },
            target: self.is_production().then_some("production"),
            custom_environment: match &self.settings.environment {
                Environment::Custom(id) => Some(id),
                _ => None,
            },
        };
        let query = self.scope(&[("forceNew", "1")]);
        let path = ["v13", "deployments"];
        let request = Request::to(Intent::Trigger, "POST", &path, &query).with(json(&body)?);
        let raw: Raw = self.api.ask(request, until).await?.read()?;
        if raw.name().is_none() {
            return Err(self.has_no_id(Kind::Lost));
        }
        Ok(Some(Deployment { mark: Some(wanted.mark.to_owned()), by_us: true, ..self.deployment_of(raw) }))
    }

    async fn deployment(&self, id: &str, until: Instant) -> Said<Deployment> {
        let query = self.scope(&[]);
        let raw: Raw = self.api.ask(Request::get(&["v13", "deployments", id], &query), until).await?.read()?;
        if raw.name().is_none() {
            return Err(self.has_no_id(Kind::Unavailable));
        }
        Ok(self.deployment_of(raw))
    }

    async fn serves(&self, deployment: &Deployment, until: Instant) -> Said<bool> {
        if !self.is_production() {
            return Ok(true);
        }
        let project = self.look_at_project(until).await?;
        Ok(project.in_production() == Some(deployment.id.as_str()))
    }

    async fn serving(&self, until: Instant) -> Said<Option<Deployment>> {
        let project = self.look_at_project(until).await?;
        self.serving_of(&project, until).await
    }

    async fn publishes_by_itself(&self, until: Instant) -> Said<bool> {
        Ok(self.look_at_project(until).await?.keeps_aside().is_none())
    }

    async fn publish(&self, id: &str, until: Instant) -> Said<()> {
        let path = ["v10", "projects", self.project(), "promote", id];
        let query = self.scope(&[]);
        let request = Request::to(Intent::Write, "POST", &path, &query).with(json(&Nothing {})?);
        self.api.ask(request, until).await.map(drop)
    }

    async fn cancel(&self, id: &str, until: Instant) -> Said<()> {
        let path = ["v12", "deployments", id, "cancel"];
        self.api.ask(Request::to(Intent::Write, "PATCH", &path, &self.scope(&[])), until).await.map(drop)
    }

    fn pause(&self, so_far: Duration) -> Duration {
        Duration::from_secs(match so_far.as_secs() {
            0..15 => 1,
            15..60 => 5,
            60..300 => 15,
            _ => 30,
        })
    }

    fn settle(&self, _found: &Ids) -> Duration {
        Duration::ZERO
    }

    fn redeploys(&self) -> bool {
        true
    }

    fn marks(&self) -> bool {
        true
    }

    fn may_publish(&self) -> bool {
        self.settings.promote && self.is_production()
    }
}
