//! A project's deployments: in what state each is, and which one serves.

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::Vercel;
use super::shapes::{Checks, List, ORIGINAL, Project, Raw};
use crate::rotation::FaultCode;
use crate::target::hosting::answer::Kind;
use crate::target::hosting::api::{Refusal, Request, Said};
use crate::target::hosting::pages::pages;
use crate::target::hosting::platform::{COMMIT, Deployment, Platform as _, SERVING, State, Wanted};
use crate::target::hosting::words::plain;

impl Vercel {
    /// The deployments up to the page that is `enough`, the newest first.
    pub(super) async fn list(
        &self,
        more: &[(&str, &str)],
        enough: impl Fn(&[Deployment]) -> bool,
        until: Instant,
    ) -> Said<Vec<Deployment>> {
        pages(&self.label, enough, |before| self.page(more, before, until)).await
    }

    /// A page of them, and the time before which those of the next one were made.
    async fn page(
        &self,
        more: &[(&str, &str)],
        before: Option<i64>,
        until: Instant,
    ) -> Said<(Vec<Deployment>, Option<i64>)> {
        let project = self.project_id(until).await?;
        let before = before.map(|before| before.to_string());
        let mut query = vec![("projectId", project.as_str()), ("limit", "20")];
        // Not every list is known to take the name of an environment of the project's own.
        query.extend((!self.is_custom()).then(|| ("target", self.environment())));
        query.extend(more);
        query.extend(before.as_deref().map(|before| ("until", before)));
        let answer = self.api.ask(Request::get(&["v7", "deployments"], &self.scope(&query)), until).await?;
        let list: List = answer.read()?;
        let next = list.pagination.and_then(|pages| pages.next);
        let is_of = |it: &Raw| it.is_of(&self.settings.environment);
        let of_branch = |it: &Raw| self.branch().is_none_or(|branch| it.is_of_branch(branch));
        // A list does not say of each whether its domain is assigned.
        let listed = |it: Raw| Raw { alias_assigned: it.alias_assigned.or(Some(Value::Bool(true))), ..it };
        let has_id = |it: &Raw| it.name().is_some();
        let raw = list.deployments.into_iter().filter(is_of).filter(of_branch).filter(has_id).map(listed);
        Ok((raw.map(|it| self.deployment_of(it)).collect(), next))
    }

    pub(super) fn deployment_of(&self, raw: Raw) -> Deployment {
        let word = raw.ready_state.clone().or(raw.state.clone()).unwrap_or_default();
        // Whatever is not of production was never published there, and is said to be staged for ever.
        let sub = raw.ready_substate.as_deref().filter(|_| self.is_production());
        let alias_failed = raw.alias_error.as_ref().filter(|error| !error.is_null());
        let is_aliased = match &raw.alias_assigned {
            Some(Value::Bool(is)) => *is,
            Some(Value::Number(at)) => at.as_f64() != Some(0.0),
            _ => false,
        };
        let is_served = if self.is_production() { sub == Some("PROMOTED") } else { is_aliased };
        let (state, why) = match word.as_str() {
            "READY" if alias_failed.is_some() => (State::Failed, "its domain could not be assigned"),
            "READY" if matches!(raw.checks(), Checks::Failed) => (State::Failed, "its checks failed"),
            // Those of one that serves hold nothing up.
            "READY" if matches!(raw.checks(), Checks::Running) && !is_served => (State::Going, "its checks run"),
            "READY" if sub == Some("STAGED") => (State::Aside, "it is built, and not what production serves"),
            "READY" if sub == Some("ROLLING") => (State::Going, "it is being rolled out"),
            // Unknown words are of something that goes on.
            "READY" if sub.is_some_and(|sub| sub != "PROMOTED") => (State::Going, ""),
            "READY" if !is_aliased => (State::Going, "its domain is not assigned yet"),
            "READY" => (State::Up, ""),
            "CANCELED" | "DELETED" => (State::Gone, ""),
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
            page: raw.page(),
            commit: raw.commit().map(str::to_owned),
            mark: raw.mark().map(str::to_owned),
            of: raw.meta_text(ORIGINAL).map(str::to_owned),
            by_us: raw.mark().is_some(),
            id: raw.name().unwrap_or_default().to_owned(),
        }
    }

    /// What is to be deployed anew: what serves. Where this rotation has made that, it is what that was made of, which has
    /// nothing of ours in it: somebody may have pushed since preflight, and ours is then of newer code than what served
    /// before.
    pub(super) async fn original(&self, wanted: &Wanted<'_>, until: Instant) -> Said<(String, String)> {
        let project = self.look_at_project(until).await?;
        let before = wanted.found.get(SERVING).cloned();
        let id = match self.serving_of(&project, until).await? {
            Some(ours) if ours.is_of_rotation(wanted.mark) => {
                // Its commit may not be known: not all projects are deployed from one.
                let code = wanted.found.get(COMMIT).zip(ours.commit.as_ref());
                let is_newer = code.is_some_and(|(was, is)| was != is);
                ours.of.or(before.filter(|_| !is_newer)).or(Some(ours.id))
            }
            Some(serving) => Some(serving.id),
            None => before,
        };
        let id = id.ok_or_else(|| self.serves_nothing())?;
        Ok((id, project.name))
    }

    pub(super) async fn serving_of(&self, project: &Project, until: Instant) -> Said<Option<Deployment>> {
        if !self.is_production() {
            let any = |list: &[Deployment]| !list.is_empty();
            return Ok(self.list(&[("state", "READY")], any, until).await?.into_iter().next());
        }
        match project.in_production() {
            Some(id) => Ok(Some(self.deployment(id, until).await?)),
            None => Ok(None),
        }
    }

    /// What it was taken for is not known without an id.
    pub(super) fn has_no_id(&self, kind: Kind) -> Refusal {
        Refusal::of(kind, format!("{} told of a deployment without its id", self.label))
    }

    pub(super) fn serves_nothing(&self) -> Refusal {
        let text = format!("{} has no deployment of {} that could be deployed anew", self.label, self.environment());
        Refusal::obstacle(FaultCode::PlatformRefused, text, "deploy it once")
    }
}
