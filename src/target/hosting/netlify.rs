//! Netlify: one context of a site's variable is patched, and the head of the branch is built: there is no other way.

use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::time::Instant;

use super::answer::Intent;
use super::api::{Api, Refusal, Request, Said};
use super::platform::{
    COMMIT, Deployment, Ids, Platform, SERVING, Shown, Sight, State, Wanted, Write, has, reaches, seen_to_change,
};
use super::secrets::Hidden;
use crate::config::{Hosting, NetlifySite};
use crate::rotation::FaultCode;

mod deployments;
mod shapes;
mod variables;

use shapes::{Build, Raw, Site, Variable};

/// One site, and the contexts of its variables that are written.
pub(super) struct Netlify {
    api: Api,
    label: String,
    settings: NetlifySite,
    create: bool,
    /// The team, once it is known.
    account: OnceLock<String>,
}

impl Netlify {
    pub fn new(settings: &Hosting, site: &NetlifySite) -> Self {
        let api = Api::new(settings, "https://api.netlify.com", "/api/v1", "Authorization", "Bearer ");
        let account = site.account.clone().map(OnceLock::from).unwrap_or_default();
        Self { api, label: settings.label(), settings: site.clone(), create: settings.create, account }
    }

    fn site(&self) -> &str {
        &self.settings.site
    }

    async fn look_at_site(&self, until: Instant) -> Said<Site> {
        let site: Site = self.api.ask(Request::get(&["sites", self.site()], &[]), until).await?.read()?;
        let _ = self.account.set(site.account_slug.clone().or(site.account_id.clone()).unwrap_or_default());
        Ok(site)
    }

    /// Whether this deploy, which is published, stays so until a person says otherwise.
    async fn is_locked(&self, id: &str, until: Instant) -> Said<bool> {
        let raw: Raw = self.api.ask(Request::get(&["deploys", id], &[]), until).await?.read()?;
        Ok(raw.locked == Some(true))
    }

    async fn account(&self, until: Instant) -> Said<String> {
        if self.account.get().is_none() {
            self.look_at_site(until).await?;
        }
        Ok(self.account.get().cloned().unwrap_or_default())
    }
}

#[async_trait]
impl Platform for Netlify {
    async fn survey(&self, keys: &[&str], until: Instant) -> Said<Sight> {
        let site = self.look_at_site(until).await?;
        if site.build_settings.as_ref().is_some_and(|build| build.stop_builds == Some(true)) {
            let text =
                format!("the builds of {} are stopped, so that a new value could not come into force", self.label);
            return Err(Refusal::obstacle(FaultCode::PlatformRefused, text, "activate its builds"));
        }
        let mut sight = Sight::default();
        for key in keys {
            let Some(variable) = self.variable(key, until).await? else {
                self.check_not_shared(key, until).await?;
                sight.missing.push((*key).to_owned());
                continue;
            };
            if let Some(absent) = self.settings.contexts.iter().find(|context| !variable.has(context)) {
                let text = format!("{key} of {} has no value of its own for {}", self.label, absent.shown());
                let advice = "give it one there, or name the contexts that it has: `contexts`";
                return Err(Refusal::obstacle(FaultCode::NotConfigured, text, advice));
            }
            if let Some(other) = variable.differing(&self.settings.contexts) {
                let text = format!(
                    "{key} of {} has another value for {} than for the first context",
                    self.label,
                    other.shown()
                );
                let advice = "make them the same there, or leave that one out of `contexts`: a secret has one value";
                return Err(Refusal::obstacle(FaultCode::WrongValue, text, advice));
            }
            let kind = if variable.is_secret { "a secret" } else { "readable" };
            sight.told.push(format!("{key} is there, {kind}"));
            if variable.is_secret && !variable.is_of_these_alone(&self.settings.contexts) {
                sight.told.push(format!(
                    "{key} has values for other contexts: who writes it in the middle of a rotation is told of, not known"
                ));
            }
            sight.ids.insert(has(key), "yes".to_owned());
        }
        sight.recent = self.recent(until).await?;
        sight.serving = self.serving(until).await?;
        if let Some(serving) = &sight.serving {
            if self.is_locked(&serving.id, until).await? && !self.settings.publish {
                let text = format!("what {} publishes is locked: a new deploy would not be published", self.label);
                let advice = "unlock it there; or let rekeyd publish the deploy that it makes: `publish = true`";
                return Err(Refusal::obstacle(FaultCode::PlatformRefused, text, advice));
            }
            if self.settings.same_code_only && serving.commit.is_none() {
                let text = format!(
                    "the commit of what {} serves is not known, so that a build cannot be compared",
                    self.label
                );
                let advice = "build it once from its repository; or do without `same-code-only`";
                return Err(Refusal::obstacle(FaultCode::NotConfigured, text, advice));
            }
            sight.ids.insert(SERVING.to_owned(), serving.id.clone());
            sight.ids.extend(serving.commit.clone().map(|commit| (COMMIT.to_owned(), commit)));
        }
        sight.told.push("a build takes the head of the branch, not the commit that is published".to_owned());
        Ok(sight)
    }

    async fn shows(&self, key: &str, until: Instant) -> Said<Shown> {
        let has_all = |it: &Variable| self.settings.contexts.iter().all(|context| it.has(context));
        let Some(variable) = self.variable(key, until).await?.filter(has_all) else {
            return Ok(Shown::Gone);
        };
        if variable.is_secret {
            return Ok(Shown::Hidden);
        }
        let first = self.settings.contexts.first();
        let value = variable.values.into_iter().find(|value| first.is_some_and(|context| value.is_of(context)));
        // A mask is no value.
        let value = value.and_then(|value| value.value).filter(|value| value.text().bytes().any(|byte| byte != b'*'));
        Ok(Shown::of(value.map(Hidden::into_value)))
    }

    async fn write(&self, write: &Write<'_>, until: Instant) -> Said<Option<Timestamp>> {
        let (key, value) = (write.key, super::text(write.value)?);
        let may_make = self.create && !write.found.contains_key(&has(key));
        if may_make && self.variable(key, until).await?.is_none() && self.create(key, value, until).await? {
            let made = self.variable(key, until).await.map_err(Refusal::taken)?;
            return Ok(made.and_then(|variable| variable.updated()));
        }
        seen_to_change(write.differs, || self.write_over(key, value, until), || self.not_taken(key)).await
    }

    async fn written_at(&self, key: &str, until: Instant) -> Said<Option<Timestamp>> {
        Ok(self.variable(key, until).await?.and_then(|variable| variable.updated()))
    }

    async fn tells_whose(&self, key: &str, until: Instant) -> Said<bool> {
        // One time is told for all contexts.
        let variable = self.variable(key, until).await?;
        Ok(variable.is_none_or(|it| it.is_of_these_alone(&self.settings.contexts)))
    }

    fn has_written(&self) -> bool {
        self.api.has_written()
    }

    async fn recent(&self, until: Instant) -> Said<Vec<Deployment>> {
        self.list(|_| true, until).await
    }

    fn clock(&self) -> Option<Timestamp> {
        self.api.clock()
    }

    async fn made_since(&self, since: Option<Timestamp>, until: Instant) -> Said<Vec<Deployment>> {
        let is_since = |it: &Deployment| since.is_none() || it.created >= since;
        let list = self.list(|list| reaches(list, since), until).await?;
        Ok(list.into_iter().filter(is_since).collect())
    }

    async fn trigger(&self, wanted: &Wanted<'_>, until: Instant) -> Said<Option<Deployment>> {
        let title = format!("rekeyd {}", wanted.mark);
        let mut query = vec![("title", title.as_str())];
        let branch = self.settings.branch();
        if let Some(branch) = branch.as_deref().filter(|_| !self.settings.is_published()) {
            query.push(("branch", branch));
        }
        let path = ["sites", self.site(), "builds"];
        let request = Request::to(Intent::Trigger, "POST", &path, &query);
        let build: Build = self.api.ask(request, until).await?.read()?;
        Ok(Some(Deployment {
            page: self.page_of(None, &build.deploy_id),
            id: build.deploy_id,
            state: State::Going,
            word: "new".to_owned(),
            why: String::new(),
            created: None,
            commit: build.sha.filter(|sha| deployments::is_commit(sha)),
            mark: Some(wanted.mark.to_owned()),
            of: None,
            by_us: true,
        }))
    }

    async fn deployment(&self, id: &str, until: Instant) -> Said<Deployment> {
        let path = ["sites", self.site(), "deploys", id];
        Ok(self.deployment_of(self.api.ask(Request::get(&path, &[]), until).await?.read()?))
    }

    async fn serves(&self, deployment: &Deployment, until: Instant) -> Said<bool> {
        if !self.settings.is_published() {
            return Ok(true);
        }
        let published = self.look_at_site(until).await?.published_deploy;
        Ok(published.is_some_and(|published| published.id == deployment.id))
    }

    async fn serving(&self, until: Instant) -> Said<Option<Deployment>> {
        if !self.settings.is_published() {
            let is_up = |it: &Deployment| it.state == State::Up;
            return Ok(self.list(|list| list.iter().any(is_up), until).await?.into_iter().find(is_up));
        }
        match self.look_at_site(until).await?.published_deploy {
            Some(published) => Ok(Some(self.deployment(&published.id, until).await?)),
            None => Ok(None),
        }
    }

    async fn publishes_by_itself(&self, until: Instant) -> Said<bool> {
        match self.look_at_site(until).await?.published_deploy {
            Some(published) => Ok(!self.is_locked(&published.id, until).await?),
            None => Ok(true),
        }
    }

    async fn publish(&self, id: &str, until: Instant) -> Said<()> {
        let path = ["sites", self.site(), "deploys", id, "restore"];
        self.api.ask(Request::to(Intent::Write, "POST", &path, &[]), until).await.map(drop)
    }

    async fn cancel(&self, id: &str, until: Instant) -> Said<()> {
        self.api.ask(Request::to(Intent::Write, "POST", &["deploys", id, "cancel"], &[]), until).await.map(drop)
    }

    fn pause(&self, so_far: Duration) -> Duration {
        Duration::from_secs(if so_far.as_secs() < 60 { 2 } else { 5 })
    }

    fn settle(&self, _found: &Ids) -> Duration {
        Duration::ZERO
    }

    fn marks(&self) -> bool {
        true
    }

    fn may_publish(&self) -> bool {
        self.settings.publish && self.settings.is_published()
    }

    fn wants_same_code(&self) -> bool {
        self.settings.same_code_only
    }

    fn restores(&self) -> bool {
        // To publish the deploy of a branch is to put it into production.
        self.settings.same_code_only && self.settings.is_published()
    }
}
