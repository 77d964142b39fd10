//! Railway: one GraphQL URL, where errors come with the status 200. A write deploys by itself unless it is told not to.

use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::answer::{Intent, Kind};
use super::api::{Api, Refusal, Request, Said, json};
use super::pages::pages;
use super::platform::{
    COMMIT, Deployment, Ids, Platform, SERVING, Shown, Sight, State, Wanted, Write, has, reaches, seen_to_change,
};
use super::secrets::Hidden;
use crate::config::{Hosting, RAILWAY_SETTLE, RailwayDeploy, RailwayService};
use crate::rotation::FaultCode;

/// The documents that are sent. They are valid by Railway's schema: the stand-ins of the tests hold each one against it.
pub(super) mod documents {
    /// What a project's own token is for.
    pub const TOKEN: &str = "query { projectToken { projectId environmentId } }";
    /// Names, whether sealed, and when written: no values.
    pub const RECORDS: &str = "query($e: String!, $p: String, $after: String) { environment(id: $e, projectId: $p) { variables(first: 500, after: $after) { edges { node { id name serviceId isSealed updatedAt references } } pageInfo { hasNextPage endCursor } } } }";
    /// The values, as they are written.
    pub const VALUES: &str = "query($p: String!, $e: String!, $s: String) { variables(projectId: $p, environmentId: $e, serviceId: $s, unrendered: true) }";
    /// Writes one variable.
    pub const WRITE: &str = "mutation($input: VariableUpsertInput!) { variableUpsert(input: $input) }";
    /// What runs.
    pub const SERVICE: &str = "query($e: String!, $s: String!) { serviceInstance(environmentId: $e, serviceId: $s) { serviceName latestDeployment { id status canRedeploy createdAt deploymentStopped meta } activeDeployments { id status canRedeploy createdAt deploymentStopped meta } healthcheckPath cronSchedule } }";
    /// Deploys a commit. Without one it would be that which the service is pinned to: not always the one that runs.
    pub const DEPLOY: &str = "mutation($e: String!, $s: String!, $c: String!) { serviceInstanceDeployV2(environmentId: $e, serviceId: $s, commitSha: $c) }";
    /// Deploys the code of a deployment again.
    pub const REDEPLOY: &str = "mutation($id: String!) { deploymentRedeploy(id: $id) { id status } }";
    /// The same of one that runs an image: the one that it had, whatever the service's tag is by now.
    pub const REDEPLOY_IMAGE: &str =
        "mutation($id: String!) { deploymentRedeploy(id: $id, usePreviousImageTag: true) { id status } }";
    /// One deployment.
    pub const DEPLOYMENT: &str = "query($id: String!) { deployment(id: $id) { id status statusUpdatedAt deploymentStopped canRedeploy canRollback createdAt meta instances { id status } } }";
    /// The newest deployments.
    pub const DEPLOYMENTS: &str = "query($input: DeploymentListInput!, $first: Int, $after: String) { deployments(input: $input, first: $first, after: $after) { edges { node { id status createdAt meta } } pageInfo { hasNextPage endCursor } } }";
    /// Stops one.
    pub const CANCEL: &str = "mutation($id: String!) { deploymentCancel(id: $id) }";
}

mod deployments;
mod shapes;
mod variables;

use shapes::{
    Answered, Canceled, Deployed, Document, Errors, Found, Id, Instance, Nothing, OfCommit, OfService, One, Raw,
    Redeployed, TokenOf,
};

/// With a health check less time is enough.
const SETTLE: Duration = Duration::from_secs(30);
/// What is said where there is no code that could be deployed in the way that was asked for.
const NO_CODE: [&str; 2] = ["Commit not found", "Cannot redeploy without a snapshot"];
/// A plan with so few requests an hour is asked less often.
const FEW: u64 = 100;

/// One service in one environment.
pub(super) struct Railway {
    api: Api,
    label: String,
    settings: RailwayService,
    create: bool,
    /// Whether it runs by a schedule, and rests between: known once the service was looked at.
    is_cron: OnceLock<bool>,
}

impl Railway {
    pub fn new(settings: &Hosting, service: &RailwayService) -> Self {
        let (header, scheme) = match service.project_token {
            true => ("Project-Access-Token", ""),
            false => ("Authorization", "Bearer "),
        };
        let api = Api::new(settings, "https://backboard.railway.com", "/graphql/v2", header, scheme);
        Self {
            api,
            label: settings.label(),
            settings: service.clone(),
            create: settings.create,
            is_cron: OnceLock::new(),
        }
    }

    fn of_service(&self) -> OfService<'_> {
        OfService { e: &self.settings.environment, s: &self.settings.service }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        intent: Intent,
        query: &str,
        variables: impl Serialize,
        until: Instant,
    ) -> Said<T> {
        let request = Request::to(intent, "POST", &[], &[]).with(json(&Document { query, variables })?);
        let answer = self.api.ask(request, until).await?;
        // Data that comes with errors is not the whole of it, and may be of another form.
        let Errors { errors, data } = answer.read()?;
        if let Some(error) = errors.into_iter().flatten().next() {
            let refusal = self.refusal(intent, &error.message);
            // With any data beside it, it may have been done.
            let has_data = data.into_iter().flatten().any(|(_, it)| it.is_some());
            return Err(if answer.perhaps || has_data { refusal.taken() } else { refusal });
        }
        let said: Answered<T> = answer.read()?;
        said.data.ok_or_else(|| {
            let kind = if intent == Intent::Trigger { Kind::Lost } else { Kind::Unavailable };
            Refusal::of(kind, format!("{} answered with neither data nor errors", self.label))
        })
    }

    fn refusal(&self, intent: Intent, message: &str) -> Refusal {
        let has = |words: &str| message.to_ascii_lowercase().contains(words);
        let is = |text: &str| message.trim().trim_end_matches('.').eq_ignore_ascii_case(text);
        let (kind, advice) = match () {
            () if has("not authorized") || has("unauthorized") || has("project token not found") => {
                (Kind::Credential, "make a new token there that reaches the project, or see whether the ids are right")
            }
            () if has("two factor") => (Kind::Forbidden, "the workspace wants a second factor: use a project token"),
            () if intent == Intent::Trigger && NO_CODE.iter().any(|text| is(text)) => {
                (Kind::NoCommit, "deploy the service once by its usual way")
            }
            () if has("not found") => (Kind::Missing, "see whether the ids in the secret's file are right"),
            () if has("rate limit") || has("too many requests") => (Kind::Unavailable, "ask again later"),
            // Of what is not known here it is not known either whether it was done.
            () => match intent {
                Intent::Trigger => (Kind::Lost, ""),
                Intent::Write if has("problem processing request") || has("internal server error") => {
                    (Kind::Unavailable, "")
                }
                Intent::Write => (Kind::Invalid, ""),
                Intent::Read => (Kind::Unavailable, ""),
            },
        };
        // What is said about a value that was sent may hold it.
        let words = match intent {
            Intent::Write if kind == Kind::Invalid => String::new(),
            _ => format!(": {}", self.api.told(message)),
        };
        let text = format!("{} refused it{words}", self.label);
        let may_be_there = intent == Intent::Write && kind == Kind::Invalid;
        let refusal = Refusal { advice: advice.to_owned(), ..Refusal::of(kind, text) };
        if may_be_there { refusal.taken() } else { refusal }
    }

    async fn look_at_service(&self, until: Instant) -> Said<Instance> {
        let found: Found = self.ask(Intent::Read, documents::SERVICE, self.of_service(), until).await?;
        let is_cron = found.service_instance.cron_schedule.as_ref().is_some_and(|schedule| !schedule.is_empty());
        let _ = self.is_cron.set(is_cron);
        Ok(found.service_instance)
    }

    /// Deploys a commit; nothing where that is gone.
    async fn deploy_commit(&self, commit: &str, until: Instant) -> Said<Option<String>> {
        let commit = OfCommit { of: self.of_service(), c: commit };
        let made: Said<Deployed> = self.ask(Intent::Trigger, documents::DEPLOY, commit, until).await;
        match made {
            Err(Refusal { kind: Kind::NoCommit, .. }) => Ok(None),
            made => Ok(Some(made?.service_instance_deploy_v2)),
        }
    }

    async fn check_token(&self, until: Instant) -> Said<()> {
        if !self.settings.project_token {
            return Ok(());
        }
        let TokenOf { project_token } = self.ask(Intent::Read, documents::TOKEN, Nothing {}, until).await?;
        let is_it = project_token.project_id == self.settings.project
            && project_token.environment_id == self.settings.environment;
        if is_it {
            return Ok(());
        }
        let text = format!("the project token is of another project or environment than {}", self.label);
        let advice = "make one in the settings of the project, for this environment";
        Err(Refusal { advice: advice.to_owned(), ..Refusal::of(Kind::Credential, text) })
    }
}

#[async_trait]
impl Platform for Railway {
    async fn survey(&self, keys: &[&str], until: Instant) -> Said<Sight> {
        self.check_token(until).await?;
        let recent = self.recent(until).await?;
        let service = self.look_at_service(until).await?;
        let records = self.records(until).await?;
        self.check_references(keys, &service.service_name, &records)?;
        let values = self.values(until).await?;
        let mut sight = Sight::default();
        for key in keys {
            let record = records
                .iter()
                .find(|it| it.name == *key && it.service_id.as_deref() == Some(self.settings.service.as_str()));
            match values.get(*key) {
                None if record.is_none() => {
                    sight.missing.push((*key).to_owned());
                    continue;
                }
                Some(Some(value)) if value.text().contains("${{") => {
                    let text = format!("{key} of {} refers to another variable", self.label);
                    return Err(Refusal::obstacle(FaultCode::NotConfigured, text, "rotate it where it is defined"));
                }
                Some(None) => sight.told.push(format!("{key} is there, sealed")),
                _ => sight.told.push(format!("{key} is there, readable with the token")),
            }
            sight.ids.insert(has(key), "yes".to_owned());
        }
        sight.serving = self.serving_of(service.active_deployments);
        let is_deployed_as_it_is =
            |serving: &&Deployment| self.settings.redeploy == RailwayDeploy::Snapshot || serving.commit.is_none();
        if let Some(serving) = sight.serving.as_ref().filter(is_deployed_as_it_is) {
            self.check_can_be_deployed_again(&serving.id, until).await?;
        }
        // Lists may be late; without any they say nothing.
        let latest = service.latest_deployment.map(|raw| self.deployment_of(raw));
        let is_listed = |latest: &Deployment| recent.is_empty() || recent.iter().any(|it| it.id == latest.id);
        sight.recent = latest.filter(|latest| !is_listed(latest)).into_iter().collect();
        sight.recent.extend(recent);
        if let Some(serving) = &sight.serving {
            sight.ids.insert(SERVING.to_owned(), serving.id.clone());
            sight.ids.extend(serving.commit.clone().map(|commit| (COMMIT.to_owned(), commit)));
        }
        if service.healthcheck_path.is_some_and(|path| !path.is_empty()) {
            sight.ids.insert("health-check".to_owned(), "yes".to_owned());
        }
        Ok(sight)
    }

    async fn shows(&self, key: &str, until: Instant) -> Said<Shown> {
        Ok(match self.values(until).await?.remove(key) {
            Some(value) => Shown::of(value.map(Hidden::into_value)),
            // Not every sealed one is known to be listed among the values.
            None if self.record(key, until).await?.is_some() => Shown::Hidden,
            None => Shown::Gone,
        })
    }

    async fn write(&self, write: &Write<'_>, until: Instant) -> Said<Option<Timestamp>> {
        seen_to_change(write.differs, || self.upsert(write, until), || self.not_taken(write.key)).await
    }

    async fn written_at(&self, key: &str, until: Instant) -> Said<Option<Timestamp>> {
        Ok(self.record(key, until).await?.and_then(|record| record.updated()))
    }

    fn has_written(&self) -> bool {
        self.api.has_written()
    }

    async fn recent(&self, until: Instant) -> Said<Vec<Deployment>> {
        self.made_since(None, until).await
    }

    fn clock(&self) -> Option<Timestamp> {
        self.api.clock()
    }

    async fn made_since(&self, since: Option<Timestamp>, until: Instant) -> Said<Vec<Deployment>> {
        let mut list =
            pages(&self.label, |list: &[Deployment]| reaches(list, since), |after| self.page(after, until)).await?;
        list.retain(|it| since.is_none() || it.created >= since);
        list.sort_by_key(|it| std::cmp::Reverse(it.created));
        Ok(list)
    }

    async fn trigger(&self, wanted: &Wanted<'_>, until: Instant) -> Said<Option<Deployment>> {
        let service = self.look_at_service(until).await?;
        let mut known = service.active_deployments.iter().chain(&service.latest_deployment);
        let redeploy = if known.any(Raw::is_image) { documents::REDEPLOY_IMAGE } else { documents::REDEPLOY };
        let running = self.serving_of(service.active_deployments).filter(|it| it.state == State::Up);
        // Of what runs, or ran before anything was written. A service that runs an upload has none, or another one.
        let commit = running.as_ref().and_then(|running| running.commit.clone());
        let commit = commit.or_else(|| wanted.found.get(COMMIT).cloned());
        let deployed = match commit.filter(|_| self.settings.redeploy == RailwayDeploy::Commit) {
            Some(commit) => self.deploy_commit(&commit, until).await?,
            None => None,
        };
        let id = match deployed {
            Some(id) => id,
            None => {
                let id = self.original(wanted, running, service.latest_deployment)?;
                let again: Redeployed = self.ask(Intent::Trigger, redeploy, Id { id: &id }, until).await?;
                again.deployment_redeploy.id
            }
        };
        let raw = Raw { id, status: "QUEUED".to_owned(), ..Raw::default() };
        Ok(Some(self.deployment_of(raw)))
    }

    async fn deployment(&self, id: &str, until: Instant) -> Said<Deployment> {
        if self.is_cron.get().is_none() {
            self.look_at_service(until).await?;
        }
        let found: One = self.ask(Intent::Read, documents::DEPLOYMENT, Id { id }, until).await?;
        Ok(self.deployment_of(found.deployment))
    }

    async fn serves(&self, deployment: &Deployment, until: Instant) -> Said<bool> {
        let active = self.look_at_service(until).await?.active_deployments;
        Ok(active.iter().any(|it| it.id == deployment.id))
    }

    async fn serving(&self, until: Instant) -> Said<Option<Deployment>> {
        let active = self.look_at_service(until).await?.active_deployments;
        Ok(self.serving_of(active))
    }

    async fn publish(&self, _id: &str, _until: Instant) -> Said<()> {
        Ok(())
    }

    async fn cancel(&self, id: &str, until: Instant) -> Said<()> {
        let _: Canceled = self.ask(Intent::Write, documents::CANCEL, Id { id }, until).await?;
        Ok(())
    }

    fn pause(&self, _so_far: Duration) -> Duration {
        let is_scarce = self.api.bucket().is_some_and(|most| most <= FEW);
        Duration::from_secs(if is_scarce { 15 } else { 4 })
    }

    fn settle(&self, found: &Ids) -> Duration {
        if found.contains_key("health-check") { SETTLE } else { RAILWAY_SETTLE }
    }

    fn takes(&self, value: &str) -> bool {
        !value.contains("${{")
    }
}
