//! Vercel: a project's variable is patched by its id, and what serves is deployed anew. `READY` is not live.

use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::answer::{Intent, Kind};
use super::api::{Api, Refusal, Request, Said, json};
use super::platform::{COMMIT, Deployment, Ids, Platform, SERVING, Sight, State, Wanted};
use super::words::plain;
use crate::config::{Environment, Hosting, VercelProject};
use crate::rotation::FaultCode;
use crate::secret::SecretValue;

mod shapes;

use shapes::{Created, Envs, FullPatch, List, Meta, Nothing, Patch, Project, Raw, Record, Redeploy, Upserted};

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
        let project: Project = self.api.ask(Request::get(&path, &self.scope(&[])), until).await?.read()?;
        let _ = self.id.set(project.id.clone());
        Ok(project)
    }

    async fn project_id(&self, until: Instant) -> Said<String> {
        match self.id.get() {
            Some(id) => Ok(id.clone()),
            None => Ok(self.look_at_project(until).await?.id),
        }
    }

    async fn records(&self, until: Instant) -> Said<Vec<Record>> {
        let path = ["v10", "projects", self.project(), "env"];
        let answer = self.api.ask(Request::get(&path, &self.scope(&[])), until).await?;
        let envs: Envs = answer.read()?;
        if envs.pagination.is_some_and(|pages| !pages["next"].is_null()) {
            let text = format!("{} has more variables than Vercel lists at once", self.label);
            return Err(Refusal::obstacle(FaultCode::PlatformRefused, text, "remove those that are not used"));
        }
        Ok(envs.envs)
    }

    /// The record of a variable in the environment that is meant; none where there is none.
    async fn record(&self, key: &str, until: Instant) -> Said<Option<Record>> {
        let records = self.records(until).await?;
        let mut fits: Vec<Record> = records.into_iter().filter(|it| it.key == key && self.is_meant(it)).collect();
        match (fits.pop(), fits.len()) {
            (None, _) => Ok(None),
            (Some(_), 1..) => {
                let text = format!("{} has several records of {key} for {}", self.label, self.environment());
                let advice = "say which one: `git-branch` names the branch of a preview";
                Err(Refusal::obstacle(FaultCode::NotConfigured, text, advice))
            }
            (Some(record), 0) => {
                self.check_scope(&record)?;
                Ok(Some(record))
            }
        }
    }

    fn is_meant(&self, record: &Record) -> bool {
        let has = |target: &str| record.target.iter().any(|it| it == target);
        match &self.settings.environment {
            Environment::Production => has("production"),
            Environment::Preview { branch } => has("preview") && record.git_branch == *branch,
            Environment::Custom(id) => record.custom_environment_ids.contains(id),
        }
    }

    /// A record may be for several environments, and writing it changes all of them.
    fn check_scope(&self, record: &Record) -> Said<()> {
        let others = record.target.iter().filter(|target| **target != self.environment());
        let others = others.chain(record.custom_environment_ids.iter().filter(|id| **id != self.environment()));
        let others: Vec<&str> =
            others.map(String::as_str).filter(|other| !self.settings.also.iter().any(|also| also == other)).collect();
        let missing = self
            .settings
            .also
            .iter()
            .find(|also| !record.target.contains(also) && !record.custom_environment_ids.contains(also));
        if let Some(missing) = missing {
            let text =
                format!("the record of {} at {} is not for {missing}, which `also` names", record.key, self.label);
            return Err(Refusal::obstacle(FaultCode::NotConfigured, text, "take it out of `also`, or add it there"));
        }
        if others.is_empty() {
            return Ok(());
        }
        let text = format!(
            "the record of {} at {} is for {} as well, and writing it would change that too",
            record.key,
            self.label,
            others.join(" and ")
        );
        let advice = "make a record of its own for each there; or name them, where they are to have the same value: `also = [\"preview\"]`";
        Err(Refusal::obstacle(FaultCode::NotConfigured, text, advice))
    }

    fn environment(&self) -> &str {
        match &self.settings.environment {
            Environment::Production => "production",
            Environment::Preview { .. } => "preview",
            Environment::Custom(id) => id,
        }
    }

    fn is_production(&self) -> bool {
        self.settings.environment == Environment::Production
    }

    async fn list(&self, more: &[(&str, &str)], until: Instant) -> Said<Vec<Deployment>> {
        let project = self.project_id(until).await?;
        let mut query = vec![("projectId", project.as_str()), ("target", self.environment())];
        query.extend(more);
        let answer = self.api.ask(Request::get(&["v7", "deployments"], &self.scope(&query)), until).await?;
        let list: List = answer.read()?;
        let branch = match &self.settings.environment {
            Environment::Preview { branch } => branch.as_deref(),
            _ => None,
        };
        let of_branch = |it: &Raw| branch.is_none_or(|branch| it.meta_text("githubCommitRef") == Some(branch));
        // A list does not say of each whether its domain is assigned.
        let listed = |it: Raw| Raw { alias_assigned: it.alias_assigned.or(Some(Value::Bool(true))), ..it };
        let raw = list.deployments.into_iter().filter(of_branch).map(listed);
        Ok(raw.map(|it| self.deployment_of(it)).collect())
    }

    fn deployment_of(&self, raw: Raw) -> Deployment {
        let word = raw.ready_state.clone().or(raw.state.clone()).unwrap_or_default();
        let sub = raw.ready_substate.as_deref();
        let alias_failed = raw.alias_error.as_ref().filter(|error| !error.is_null());
        let is_aliased = match &raw.alias_assigned {
            Some(Value::Bool(is)) => *is,
            Some(Value::Number(at)) => at.as_f64() != Some(0.0),
            _ => false,
        };
        let (state, why) = match word.as_str() {
            "READY" if alias_failed.is_some() => (State::Failed, "its domain could not be assigned"),
            "READY" if raw.checks_conclusion.as_deref() == Some("failed") => (State::Failed, "its checks failed"),
            "READY" if sub == Some("STAGED") => (State::Aside, "it is built, and not what production serves"),
            "READY" if sub == Some("ROLLING") => (State::Going, "it is being rolled out"),
            "READY" if !is_aliased => (State::Going, "its domain is not assigned yet"),
            "READY" => (State::Up, ""),
            "CANCELED" => (State::Gone, ""),
            "BLOCKED" => (State::Blocked, ""),
            word if word == "ERROR" || word.ends_with("_ERROR") => (State::Failed, ""),
            _ => (State::Going, ""),
        };
        let reasons = [raw.ready_state_reason.as_deref(), raw.error_message.as_deref(), raw.error_code.as_deref()];
        let reason = reasons.into_iter().flatten().find(|reason| !reason.is_empty()).unwrap_or(why);
        let word = sub.map_or(word.clone(), |sub| format!("{word}, {sub}"));
        Deployment {
            state,
            word: plain(&word),
            why: self.api.told(reason),
            created: raw.created_at.or(raw.created).and_then(|ms| Timestamp::from_millisecond(ms).ok()),
            page: plain(raw.inspector_url.as_deref().unwrap_or_default()),
            commit: raw.meta_text("githubCommitSha").map(str::to_owned),
            mark: raw.meta_text("rekeyd").map(str::to_owned),
            by_us: raw.meta_text("rekeyd").is_some(),
            id: raw.id.or(raw.uid).unwrap_or_default(),
        }
    }

    /// What is to be deployed anew: what serves, unless that was made by us; then what served before, which has the same
    /// code and nothing of ours in it.
    async fn original(&self, wanted: &Wanted<'_>, until: Instant) -> Said<(String, String)> {
        let project = self.look_at_project(until).await?;
        let before = wanted.found.get(SERVING).cloned();
        let serving = self.serving_of(&project, until).await?;
        let id = match serving {
            Some(serving) if !serving.by_us => Some(serving.id),
            Some(serving) => before.or(Some(serving.id)),
            None => before,
        };
        let id = id.ok_or_else(|| self.serves_nothing())?;
        Ok((id, project.name))
    }

    async fn serving_of(&self, project: &Project, until: Instant) -> Said<Option<Deployment>> {
        if !self.is_production() {
            return Ok(self.list(&[("state", "READY"), ("limit", "20")], until).await?.into_iter().next());
        }
        let production = project.targets.as_ref().and_then(|targets| targets.production.as_ref());
        match production.and_then(|production| production.id.as_deref()) {
            Some(id) => Ok(Some(self.deployment(id, until).await?)),
            None => Ok(None),
        }
    }

    fn serves_nothing(&self) -> Refusal {
        let text = format!("{} has no deployment of {} that could be deployed anew", self.label, self.environment());
        Refusal::obstacle(FaultCode::PlatformRefused, text, "deploy it once")
    }

    async fn create(&self, key: &str, value: &str, until: Instant) -> Said<Option<Timestamp>> {
        let path = ["v10", "projects", self.project(), "env"];
        let (target, custom) = match &self.settings.environment {
            Environment::Custom(id) => (Vec::new(), Some(vec![id.as_str()])),
            _ => (vec![self.environment()], None),
        };
        let git_branch = match &self.settings.environment {
            Environment::Preview { branch } => branch.as_deref(),
            _ => None,
        };
        let body = Created { key, value, kind: "sensitive", target, custom_environment_ids: custom, git_branch };
        let query = self.scope(&[("upsert", "true")]);
        let request = Request::to(Intent::Write, "POST", &path, &query).with(json(&body)?);
        let answer: Upserted = self.api.ask(request, until).await?.read()?;
        if let Some(failed) = answer.failed.first() {
            let code = failed.error.as_ref().and_then(|error| error.code.clone()).unwrap_or_default();
            let text = format!("{} did not take the new variable {key}: {}", self.label, plain(&code));
            return Err(Refusal::of(Kind::Invalid, text));
        }
        let record = self.record(key, until).await.map_err(Refusal::taken)?.ok_or_else(|| self.not_taken(key))?;
        Ok(record.updated())
    }

    fn not_taken(&self, key: &str) -> Refusal {
        let text = format!("{} says that {key} was written, and shows it unchanged", self.label);
        Refusal::obstacle(FaultCode::ReadBackDiffers, text, "see whether two projects or teams have the same name")
            .taken()
    }

    async fn patch(&self, record: &Record, value: &str, until: Instant) -> Said<()> {
        let path = ["v9", "projects", self.project(), "env", &record.id];
        let query = self.scope(&[]);
        let request = |body| Request::to(Intent::Write, "PATCH", &path, &query).with(body);
        match self.api.ask(request(json(&Patch { value })?), until).await {
            Err(Refusal { status: 400, .. }) => {}
            said => return said.map(drop),
        }
        // As Vercel's own command line does: what the record is, told again.
        let is_sensitive = record.kind == "sensitive" || record.visibility.as_deref() == Some("secret");
        let body = FullPatch {
            value,
            key: (!is_sensitive).then_some(&record.key),
            kind: &record.kind,
            target: &record.target,
            custom_environment_ids: &record.custom_environment_ids,
            git_branch: record.git_branch.as_deref(),
        };
        self.api.ask(request(json(&body)?), until).await.map(drop)
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
                    if let Some(at) = record.updated() {
                        sight.ids.insert(format!("updated {key}"), at.to_string());
                    }
                }
                None => sight.missing.push((*key).to_owned()),
            }
        }
        let stays_aside = match (project.auto_assign_custom_domains, &project.last_rollback_target) {
            (Some(false), _) => Some("does not assign its domains to new deployments by itself"),
            (_, Some(target)) if !target.is_null() => Some("is rolled back, so that new deployments are not published"),
            _ => None,
        };
        if let (true, Some(why), false) = (self.is_production(), stays_aside, self.settings.promote) {
            let text = format!("{} {why}", self.label);
            let advice = "change that there; or let rekeyd promote the deployment that it makes: `promote = true`";
            return Err(Refusal::obstacle(FaultCode::PlatformRefused, text, advice));
        }
        if let Some(why) = stays_aside {
            sight.told.push(format!("it {why}: the new deployment would be promoted"));
        }
        sight.serving = self.serving_of(&project, until).await?;
        sight.newest = self.newest(until).await?;
        if let Some(serving) = &sight.serving {
            sight.ids.insert(SERVING.to_owned(), serving.id.clone());
            sight.ids.extend(serving.commit.clone().map(|commit| (COMMIT.to_owned(), commit)));
        }
        Ok(sight)
    }

    async fn shows(&self, _key: &str, _until: Instant) -> Said<Option<SecretValue>> {
        Ok(None)
    }

    async fn write(&self, key: &str, value: &SecretValue, found: &Ids, until: Instant) -> Said<Option<Timestamp>> {
        let value = super::text(value)?;
        let Some(record) = self.record(key, until).await? else {
            if self.create {
                return self.create(key, value, until).await;
            }
            return Err(super::missing(&self.label, &[key.to_owned()]));
        };
        match self.patch(&record, value, until).await {
            // It was replaced between the list and the patch.
            Err(Refusal { kind: Kind::Missing, .. }) => {
                let record =
                    self.record(key, until).await?.ok_or_else(|| super::missing(&self.label, &[key.to_owned()]))?;
                self.patch(&record, value, until).await?;
            }
            said => said?,
        }
        let now = self.record(key, until).await.map_err(Refusal::taken)?.ok_or_else(|| self.not_taken(key))?;
        let earlier = found.get(&format!("updated {key}")).and_then(|at| at.parse().ok()).or(record.updated());
        if now.id == record.id && now.updated() <= earlier {
            return Err(self.not_taken(key));
        }
        Ok(now.updated())
    }

    async fn newest(&self, until: Instant) -> Said<Option<Deployment>> {
        Ok(self.list(&[("limit", "20")], until).await?.into_iter().next())
    }

    async fn made_since(&self, since: Option<Timestamp>, until: Instant) -> Said<Vec<Deployment>> {
        let since = since.map(|at| at.as_millisecond().to_string());
        let mut more = vec![("limit", "20")];
        more.extend(since.as_deref().map(|since| ("since", since)));
        self.list(&more, until).await
    }

    async fn trigger(&self, wanted: &Wanted<'_>, until: Instant) -> Said<Option<Deployment>> {
        let (original, name) = self.original(wanted, until).await?;
        let body = Redeploy {
            deployment_id: &original,
            name: &name,
            meta: Meta { action: "redeploy", rekeyd: wanted.mark },
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
        Ok(Some(Deployment { mark: Some(wanted.mark.to_owned()), by_us: true, ..self.deployment_of(raw) }))
    }

    async fn deployment(&self, id: &str, until: Instant) -> Said<Deployment> {
        let query = self.scope(&[]);
        let raw: Raw = self.api.ask(Request::get(&["v13", "deployments", id], &query), until).await?.read()?;
        Ok(self.deployment_of(raw))
    }

    async fn serves(&self, deployment: &Deployment, until: Instant) -> Said<bool> {
        if !self.is_production() {
            return Ok(true);
        }
        let targets = self.look_at_project(until).await?.targets;
        let id = targets.and_then(|targets| targets.production).and_then(|production| production.id);
        Ok(id.as_deref() == Some(deployment.id.as_str()))
    }

    async fn serving(&self, until: Instant) -> Said<Option<Deployment>> {
        let project = self.look_at_project(until).await?;
        self.serving_of(&project, until).await
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

    fn marks(&self) -> bool {
        true
    }

    fn may_publish(&self) -> bool {
        self.settings.promote
    }

    fn wants_same_code(&self) -> bool {
        false
    }
}
