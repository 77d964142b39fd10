//! A service's deployments: in what state each is.

use tokio::time::Instant;

use super::shapes::{Deployments, Id, List, ListInput, One, Raw};
use super::{Railway, documents};
use crate::config::RailwayService;
use crate::rotation::FaultCode;
use crate::target::hosting::answer::Intent;
use crate::target::hosting::api::{Refusal, Said};
use crate::target::hosting::platform::{Deployment, SERVING, State, Wanted};
use crate::target::hosting::words::plain;

/// Words of what is known not to serve yet.
const ON_ITS_WAY: [&str; 5] = ["INITIALIZING", "QUEUED", "WAITING", "BUILDING", "DEPLOYING"];

impl Railway {
    pub(super) fn deployment_of(&self, raw: Raw) -> Deployment {
        let state = match raw.status.as_str() {
            "SUCCESS" if raw.deployment_stopped == Some(true) && self.is_cron.get() != Some(&true) => State::Failed,
            "SUCCESS" | "SLEEPING" => State::Up,
            "FAILED" | "CRASHED" | "SKIPPED" => State::Failed,
            "REMOVED" | "REMOVING" => State::Gone,
            "NEEDS_APPROVAL" => State::Blocked,
            _ => State::Going,
        };
        let RailwayService { project, service, environment, .. } = &self.settings;
        Deployment {
            state,
            word: plain(&raw.status),
            why: if raw.deployment_stopped == Some(true) { "it is stopped".to_owned() } else { String::new() },
            created: raw.created_at.as_deref().and_then(|at| at.parse().ok()),
            page: format!(
                "https://railway.com/project/{project}/service/{service}?environmentId={environment}&id={}",
                plain(&raw.id)
            ),
            commit: raw.commit().map(str::to_owned),
            mark: None,
            of: None,
            by_us: true,
            id: raw.id,
        }
    }

    /// Which of the active ones serves: the newest that is up, or of which nobody knows how it is. One on its way does so
    /// only where there is no other, and one that ended only where there is not even that.
    pub(super) fn serving_of(&self, active: Vec<Raw>) -> Option<Deployment> {
        let rank = |it: &Deployment| match it.state {
            State::Up => 2,
            State::Going if !ON_ITS_WAY.contains(&it.word.as_str()) => 2,
            State::Going => 1,
            State::Aside | State::Blocked | State::Failed | State::Gone => 0,
        };
        active.into_iter().map(|raw| self.deployment_of(raw)).max_by_key(|it| (rank(it), it.created))
    }

    /// What is deployed again: what runs. Where the new one has crashed nothing does: then it is the newest one of which
    /// Railway has kept the code, which is the same, or what served before.
    pub(super) fn original(
        &self,
        wanted: &Wanted<'_>,
        running: Option<Deployment>,
        newest: Option<Raw>,
    ) -> Said<String> {
        let newest = newest.filter(|it| it.can_redeploy == Some(true)).map(|it| it.id);
        let before = wanted.found.get(SERVING).cloned();
        running.map(|it| it.id).or(newest).or(before).ok_or_else(|| {
            let text = format!("{} has no running deployment that could be deployed again", self.label);
            Refusal::obstacle(FaultCode::PlatformRefused, text, "deploy it once")
        })
    }

    /// Railway does not keep the code of every deployment for ever.
    pub(super) async fn check_can_be_deployed_again(&self, id: &str, until: Instant) -> Said<()> {
        let found: One = self.ask(Intent::Read, documents::DEPLOYMENT, Id { id }, until).await?;
        if found.deployment.can_redeploy != Some(false) {
            return Ok(());
        }
        let text =
            format!("{} keeps no snapshot of the deployment {id}, which could not be deployed again", self.label);
        let advice =
            "deploy it once by its usual way; or, where it is made of a repository, use `redeploy = \"commit\"`";
        Err(Refusal::obstacle(FaultCode::PlatformRefused, text, advice))
    }

    /// A page of the list of deployments, and the place of the next one.
    pub(super) async fn page(&self, after: Option<String>, until: Instant) -> Said<(Vec<Deployment>, Option<String>)> {
        let RailwayService { project, environment, service, .. } = &self.settings;
        let input = ListInput { project_id: project, environment_id: environment, service_id: service };
        let list = List { input, first: 20, after: after.as_deref() };
        let found: Deployments = self.ask(Intent::Read, documents::DEPLOYMENTS, list, until).await?;
        let (list, next) = found.deployments.into_page();
        Ok((list.into_iter().map(|raw| self.deployment_of(raw)).collect(), next))
    }
}
