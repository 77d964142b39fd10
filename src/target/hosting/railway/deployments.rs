//! A service's deployments: in what state each is.

use tokio::time::Instant;

use super::shapes::{Deployments, List, ListInput, Raw};
use super::{Railway, documents};
use crate::config::RailwayService;
use crate::target::hosting::answer::Intent;
use crate::target::hosting::api::Said;
use crate::target::hosting::platform::{Deployment, State};
use crate::target::hosting::words::plain;

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
            commit: None,
            mark: None,
            by_us: true,
            id: raw.id,
        }
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
