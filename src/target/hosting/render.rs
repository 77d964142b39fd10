//! Render: a service's variable is put, one alone, and its last build is deployed again. A trigger may be taken without
//! saying which deploy it makes.

use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::time::Instant;

use super::answer::{Intent, Kind};
use super::api::{Api, Refusal, Request, Said, json};
use super::pages::pages;
use super::platform::{COMMIT, Deployment, Ids, Platform, SERVING, Shown, Sight, State, Wanted, Write, has};
use super::secrets::Hidden;
use super::words::plain;
use crate::config::{Hosting, RenderDeploy, RenderService};
use crate::rotation::FaultCode;

mod shapes;

use shapes::{Deploy, Group, Listed, Put, Raw, Service, Variable, is_image};

/// How many deployments a page has.
const LIMIT: &str = "20";
/// States of deployments that were built and are not live.
const BUILT_ONLY: [&str; 3] = ["pre_deploy_failed", "update_failed", "deactivated"];
/// What is told of one that went back to an earlier build.
const ROLLED_BACK: &str = "by a rollback";
/// How long the page of the service is asked for, where it is not known yet.
const PAGE: Duration = Duration::from_secs(5);

/// One service.
pub(super) struct Render {
    api: Api,
    label: String,
    settings: RenderService,
    create: bool,
    /// Where a person can look at the service, once it is known.
    page: OnceLock<String>,
}

impl Render {
    pub fn new(settings: &Hosting, service: &RenderService) -> Self {
        let api = Api::new(settings, "https://api.render.com", "/v1", "Authorization", "Bearer ");
        Self { api, label: settings.label(), settings: service.clone(), create: settings.create, page: OnceLock::new() }
    }

    fn service(&self) -> &str {
        &self.settings.service
    }

    /// The variable in the group or the service that has it.
    fn variable<'a>(&'a self, key: &'a str) -> [&'a str; 4] {
        match &self.settings.group {
            Some(group) => ["env-groups", group, "env-vars", key],
            None => self.of_service(key),
        }
    }

    fn of_service<'a>(&'a self, key: &'a str) -> [&'a str; 4] {
        ["services", self.service(), "env-vars", key]
    }

    async fn value(&self, key: &str, until: Instant) -> Said<Option<Hidden>> {
        self.value_at(&self.variable(key), until).await
    }

    async fn value_at(&self, path: &[&str], until: Instant) -> Said<Option<Hidden>> {
        match self.api.ask(Request::get(path, &[]), until).await {
            Ok(answer) => Ok(Some(answer.read::<Variable>()?.value)),
            Err(Refusal { kind: Kind::Missing, .. }) => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// A variable of the service's own hides the one of its group: what is written there would reach nobody.
    async fn check_not_hidden(&self, key: &str, until: Instant) -> Said<()> {
        let Some(group) = &self.settings.group else { return Ok(()) };
        if self.value_at(&self.of_service(key), until).await?.is_none() {
            return Ok(());
        }
        let text = format!("{} has a variable {key} of its own, which hides the one of the group {group}", self.label);
        Err(Refusal::obstacle(FaultCode::NotConfigured, text, "remove one of the two there, or leave `group` out"))
    }

    /// All services of a group take its variables, so that it must be this one's alone.
    async fn check_group(&self, until: Instant) -> Said<()> {
        let Some(group) = &self.settings.group else { return Ok(()) };
        let answer = self.api.ask(Request::get(&["env-groups", group], &[]), until).await?;
        let linked: Group = answer.read()?;
        let others = linked.service_links.iter().filter(|link| link.id != self.service()).count();
        if others == 0 && linked.service_links.len() == 1 {
            return Ok(());
        }
        let text = match others {
            0 => format!("the group {group} is not linked to {}", self.label),
            _ => format!("the group {group} is of {others} other services as well, which would keep the old value"),
        };
        let advice = "give the service a variable or a group of its own";
        Err(Refusal::obstacle(FaultCode::NotConfigured, text, advice))
    }

    /// Why what would be deployed again without a build, the last build that succeeded, may be of other code than what is
    /// live: it need not have gone live.
    fn other_build(made: &[Deployment], live: &Deployment) -> Option<String> {
        let is_other = |it: &&Deployment| {
            let differs = it.commit.as_ref().zip(live.commit.as_ref()).is_some_and(|(its, of_live)| its != of_live);
            it.created > live.created && differs && BUILT_ONLY.contains(&it.word.as_str())
        };
        match made.iter().find(is_other) {
            Some(other) => Some(format!("{} ({}) is a later build, of another commit", other.id, other.word)),
            None => (live.why == ROLLED_BACK).then(|| "it was rolled back".to_owned()),
        }
    }

    /// The newest deployments, and which one is live.
    async fn newest_and_live(&self, until: Instant) -> Said<(Vec<Deployment>, Option<Deployment>)> {
        let is_live = |it: &&Deployment| it.state == State::Up;
        let newest = self.newest_of(&[], until).await?;
        let mut live = newest.iter().find(is_live).cloned();
        if live.is_none() {
            // Many that failed may have come after it.
            live = self.newest_of(&[("status", "live")], until).await?.iter().find(is_live).cloned();
        }
        Ok((newest, live))
    }

    /// The commit that is named where a new build is wanted, or needed; or the image that is live.
    async fn code_to_name(&self, wanted: &Wanted<'_>, until: Instant) -> Said<Option<String>> {
        let (newest, live) = self.newest_and_live(until).await?;
        let code = live.as_ref().and_then(|live| live.commit.as_ref()).or(wanted.found.get(COMMIT));
        if let Some(image) = code.filter(|code| is_image(code)) {
            // Without its name it would be whatever its tag stands for by now.
            return Ok(Some(image.clone()));
        }
        let other = match (&live, self.settings.redeploy) {
            (Some(live), RenderDeploy::Only) => Self::other_build(&newest, live),
            _ => None,
        };
        if self.settings.redeploy == RenderDeploy::Only && other.is_none() {
            return Ok(None);
        }
        let can_be_named = wanted.found.get("type").is_none_or(|kind| kind != "cron_job");
        let commit = live.and_then(|live| live.commit).or_else(|| wanted.found.get(COMMIT).cloned());
        match (commit.filter(|_| can_be_named), other) {
            (None, Some(why)) => {
                let text = format!("{}: {why}, and would be deployed", self.label);
                Err(Refusal::obstacle(FaultCode::PlatformRefused, text, "deploy what is to be live once by hand"))
            }
            (commit, _) => Ok(commit),
        }
    }

    async fn look_at_service(&self, until: Instant) -> Said<Service> {
        let service: Service = self.api.ask(Request::get(&["services", self.service()], &[]), until).await?.read()?;
        let _ = self.page.set(service.page(self.service()));
        Ok(service)
    }

    fn own_page(&self) -> String {
        let usual = || format!("https://dashboard.render.com/web/{}", self.service());
        self.page.get().cloned().unwrap_or_else(usual)
    }

    fn deployment_of(&self, raw: Raw) -> Deployment {
        let state = match raw.status.as_deref().unwrap_or_default() {
            "live" => State::Up,
            "build_failed" | "pre_deploy_failed" | "update_failed" => State::Failed,
            "canceled" | "deactivated" => State::Gone,
            _ => State::Going,
        };
        Deployment {
            state,
            word: plain(raw.status.as_deref().unwrap_or_default()),
            why: if raw.trigger.as_deref() == Some("rollback") { ROLLED_BACK.to_owned() } else { String::new() },
            created: raw.created_at.as_deref().and_then(|at| at.parse().ok()),
            page: plain(&format!("{}/deploys/{}", self.own_page(), raw.id)),
            commit: raw.code(),
            mark: None,
            of: None,
            by_us: raw.trigger.as_deref() == Some("api"),
            id: raw.id,
        }
    }

    /// A page of the list, and the place of the next one.
    async fn page(
        &self,
        more: &[(&str, &str)],
        cursor: Option<String>,
        until: Instant,
    ) -> Said<(Vec<Deployment>, Option<String>)> {
        let path = ["services", self.service(), "deploys"];
        let mut query = vec![("limit", LIMIT)];
        query.extend(more);
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let list: Vec<Listed> = self.api.ask(Request::get(&path, &query), until).await?.read()?;
        // A page that is not full is the last one.
        let is_full = list.len().to_string() == LIMIT;
        let next = list.last().and_then(|last| last.cursor.clone()).filter(|_| is_full);
        Ok((list.into_iter().map(|it| self.deployment_of(it.deploy)).collect(), next))
    }

    async fn newest_of(&self, more: &[(&str, &str)], until: Instant) -> Said<Vec<Deployment>> {
        let (mut list, _) = self.page(more, None, until).await?;
        list.sort_by_key(|it| std::cmp::Reverse(it.created));
        Ok(list)
    }
}

#[async_trait]
impl Platform for Render {
    async fn survey(&self, keys: &[&str], until: Instant) -> Said<Sight> {
        let service = self.look_at_service(until).await?;
        if service.suspended.as_deref() == Some("suspended") {
            let text = format!("{} is suspended", self.label);
            return Err(Refusal::obstacle(FaultCode::PlatformRefused, text, "resume it"));
        }
        if service.kind.as_deref() == Some("static_site") && self.settings.redeploy == RenderDeploy::Only {
            let text = format!("{} is a static site, which takes a variable when it is built", self.label);
            let advice = "have it built: `redeploy = \"build\"`";
            return Err(Refusal::obstacle(FaultCode::NotConfigured, text, advice));
        }
        self.check_group(until).await?;
        let mut sight = Sight::default();
        for key in keys {
            self.check_not_hidden(key, until).await?;
            if self.value(key, until).await?.is_some() {
                sight.told.push(format!("{key} is there, readable with the token as all variables are"));
                sight.ids.insert(has(key), "yes".to_owned());
            } else {
                sight.missing.push((*key).to_owned());
            }
        }
        if !sight.missing.is_empty() && self.settings.group.is_none() {
            let told =
                "a variable of a linked group is found with `group` alone: one of the service's own would hide it";
            sight.told.push(told.to_owned());
        }
        (sight.recent, sight.serving) = self.newest_and_live(until).await?;
        if let Some(serving) = &sight.serving {
            if self.settings.redeploy == RenderDeploy::Only {
                let why = Self::other_build(&sight.recent, serving);
                sight.told.extend(why.map(|why| format!("{why}: the commit that is live would be built anew")));
            }
            if let Some(image) = serving.commit.as_deref().filter(|code| is_image(code)) {
                sight.told.push(format!("it runs the image {}, which would be deployed again", plain(image)));
            }
            sight.ids.insert(SERVING.to_owned(), serving.id.clone());
            sight.ids.extend(serving.commit.clone().map(|commit| (COMMIT.to_owned(), commit)));
        }
        sight.ids.extend(service.kind.map(|kind| ("type".to_owned(), plain(&kind))));
        Ok(sight)
    }

    async fn shows(&self, key: &str, until: Instant) -> Said<Shown> {
        Ok(self.value(key, until).await?.map_or(Shown::Gone, |value| Shown::Value(value.into_value())))
    }

    async fn write(&self, write: &Write<'_>, until: Instant) -> Said<Option<Timestamp>> {
        let (key, value) = (write.key, super::text(write.value)?);
        if !self.create && !write.found.contains_key(&has(key)) && self.value(key, until).await?.is_none() {
            return Err(super::missing(&self.label, &[key.to_owned()]));
        }
        let path = self.variable(key);
        let request = Request::to(Intent::Write, "PUT", &path, &[]).with(json(&Put { value })?);
        self.api.ask(request, until).await?;
        let is_there = self.value(key, until).await.map_err(Refusal::taken)?.is_some_and(|now| now.text() == value);
        if is_there {
            return Ok(None);
        }
        let text = format!("{} says that {key} was written, and shows another value", self.label);
        Err(Refusal::obstacle(FaultCode::ReadBackDiffers, text, "see who else writes it: a blueprint may").taken())
    }

    fn has_written(&self) -> bool {
        self.api.has_written()
    }

    async fn recent(&self, until: Instant) -> Said<Vec<Deployment>> {
        self.newest_of(&[], until).await
    }

    fn clock(&self) -> Option<Timestamp> {
        self.api.clock()
    }

    async fn made_since(&self, since: Option<Timestamp>, until: Instant) -> Said<Vec<Deployment>> {
        let after = since.map(|at| at.to_string());
        let query: Vec<(&str, &str)> = after.as_deref().map(|after| ("createdAfter", after)).into_iter().collect();
        let is_enough = |_: &[Deployment]| since.is_none();
        let mut list = pages(&self.label, is_enough, |cursor| self.page(&query, cursor, until)).await?;
        list.sort_by_key(|it| std::cmp::Reverse(it.created));
        Ok(list)
    }

    async fn trigger(&self, wanted: &Wanted<'_>, until: Instant) -> Said<Option<Deployment>> {
        let code = self.code_to_name(wanted, until).await?;
        // Code is named without a mode: Render takes one of the two.
        let mode = if self.settings.redeploy == RenderDeploy::Only { "deploy_only" } else { "build_and_deploy" };
        let deploy_mode = code.is_none().then_some(mode);
        let (image, commit): (Vec<&str>, Vec<&str>) = code.as_deref().into_iter().partition(|code| is_image(code));
        let body = Deploy { deploy_mode, commit_id: commit.first().copied(), image_url: image.first().copied() };
        let path = ["services", self.service(), "deploys"];
        let request = Request::to(Intent::Trigger, "POST", &path, &[]).with(json(&body)?);
        let answer = self.api.ask(request, until).await?;
        if answer.status == 202 || answer.is_empty() {
            return Ok(None);
        }
        let raw: Raw = answer.read()?;
        Ok(Some(self.deployment_of(raw)))
    }

    async fn deployment(&self, id: &str, until: Instant) -> Said<Deployment> {
        if self.page.get().is_none() {
            // It is for people alone: what it is matters less than how the deployment stands.
            let _ = self.look_at_service(until.min(Instant::now() + PAGE)).await;
        }
        let path = ["services", self.service(), "deploys", id];
        Ok(self.deployment_of(self.api.ask(Request::get(&path, &[]), until).await?.read()?))
    }

    async fn serves(&self, deployment: &Deployment, _until: Instant) -> Said<bool> {
        // It was read a moment ago; there is one that is live at a time.
        Ok(deployment.state == State::Up)
    }

    async fn serving(&self, until: Instant) -> Said<Option<Deployment>> {
        Ok(self.newest_and_live(until).await?.1)
    }

    async fn publish(&self, _id: &str, _until: Instant) -> Said<()> {
        Ok(())
    }

    async fn cancel(&self, id: &str, until: Instant) -> Said<()> {
        let path = ["services", self.service(), "deploys", id, "cancel"];
        self.api.ask(Request::to(Intent::Write, "POST", &path, &[]), until).await.map(drop)
    }

    fn pause(&self, _so_far: Duration) -> Duration {
        Duration::from_secs(5)
    }

    fn settle(&self, _found: &Ids) -> Duration {
        Duration::ZERO
    }

    fn takes(&self, value: &str) -> bool {
        !value.is_empty()
    }
}
