//! What Railway is sent, and what of its answers is read.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::secrets::Hidden;

#[derive(Serialize)]
pub(super) struct Document<'a, V> {
    pub(super) query: &'a str,
    pub(super) variables: V,
}

#[derive(Deserialize)]
pub(super) struct Answered<T> {
    pub(super) data: Option<T>,
}

#[derive(Deserialize)]
pub(super) struct Errors {
    pub(super) errors: Option<Vec<Problem>>,
    pub(super) data: Option<BTreeMap<String, Option<IgnoredAny>>>,
}

#[derive(Deserialize)]
pub(super) struct Problem {
    #[serde(default)]
    pub(super) message: String,
}

#[derive(Serialize)]
pub(super) struct Nothing {}

#[derive(Serialize)]
pub(super) struct Id<'a> {
    pub(super) id: &'a str,
}

#[derive(Serialize)]
pub(super) struct OfService<'a> {
    pub(super) e: &'a str,
    pub(super) s: &'a str,
}

#[derive(Serialize)]
pub(super) struct OfCommit<'a> {
    #[serde(flatten)]
    pub(super) of: OfService<'a>,
    pub(super) c: &'a str,
}

#[derive(Serialize)]
pub(super) struct OfProject<'a> {
    pub(super) p: &'a str,
    pub(super) e: &'a str,
    pub(super) s: &'a str,
}

#[derive(Serialize)]
pub(super) struct OfEnvironment<'a> {
    pub(super) e: &'a str,
    pub(super) p: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) after: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct Input<'a> {
    pub(super) input: Upsert<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Upsert<'a> {
    pub(super) project_id: &'a str,
    pub(super) environment_id: &'a str,
    pub(super) service_id: &'a str,
    pub(super) name: &'a str,
    pub(super) value: &'a str,
    pub(super) skip_deploys: bool,
}

#[derive(Serialize)]
pub(super) struct List<'a> {
    pub(super) input: ListInput<'a>,
    pub(super) first: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) after: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListInput<'a> {
    pub(super) project_id: &'a str,
    pub(super) environment_id: &'a str,
    pub(super) service_id: &'a str,
}

#[derive(Deserialize)]
pub(super) struct Values {
    pub(super) variables: BTreeMap<String, Option<Hidden>>,
}

#[derive(Deserialize)]
pub(super) struct Records {
    pub(super) environment: InEnvironment,
}

#[derive(Deserialize)]
pub(super) struct InEnvironment {
    pub(super) variables: Connection<Record>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Connection<T> {
    pub(super) edges: Vec<Edge<T>>,
    #[serde(default)]
    pub(super) page_info: PageInfo,
}

impl<T> Connection<T> {
    /// What it holds, and the place of the next page.
    pub(super) fn into_page(self) -> (Vec<T>, Option<String>) {
        let next = self.page_info.end_cursor.filter(|_| self.page_info.has_next_page);
        (self.edges.into_iter().map(|edge| edge.node).collect(), next)
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PageInfo {
    pub(super) has_next_page: bool,
    pub(super) end_cursor: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Edge<T> {
    pub(super) node: T,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub(super) name: String,
    pub(super) service_id: Option<String>,
    pub(super) updated_at: Option<String>,
    pub(super) is_sealed: Option<bool>,
    #[serde(default)]
    pub(super) references: Vec<String>,
}

impl Record {
    pub(super) fn updated(&self) -> Option<Timestamp> {
        self.updated_at.as_deref()?.parse().ok()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Found {
    pub(super) service_instance: Instance,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Instance {
    #[serde(default)]
    pub(super) service_name: String,
    pub(super) latest_deployment: Option<Raw>,
    #[serde(default)]
    pub(super) active_deployments: Vec<Raw>,
    pub(super) healthcheck_path: Option<String>,
    pub(super) cron_schedule: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Raw {
    pub(super) id: String,
    #[serde(default)]
    pub(super) status: String,
    pub(super) created_at: Option<String>,
    pub(super) deployment_stopped: Option<bool>,
    pub(super) can_redeploy: Option<bool>,
    pub(super) meta: Option<Value>,
}

impl Raw {
    /// The commit that it was made of, where it was made of one.
    pub(super) fn commit(&self) -> Option<&str> {
        self.meta.as_ref()?.get("commitHash")?.as_str().filter(|commit| !commit.is_empty())
    }

    /// Whether it runs an image that somebody else has made.
    pub(super) fn is_image(&self) -> bool {
        self.commit().is_none()
            && self.meta.as_ref().is_some_and(|meta| meta.get("image").is_some_and(Value::is_string))
    }
}

#[derive(Deserialize)]
pub(super) struct One {
    pub(super) deployment: Raw,
}

#[derive(Deserialize)]
pub(super) struct Deployments {
    pub(super) deployments: Connection<Raw>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Upserted {
    pub(super) variable_upsert: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Deployed {
    pub(super) service_instance_deploy_v2: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Redeployed {
    pub(super) deployment_redeploy: Again,
}

#[derive(Deserialize)]
pub(super) struct Again {
    pub(super) id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Canceled {
    #[serde(rename = "deploymentCancel")]
    pub(super) _done: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TokenOf {
    pub(super) project_token: OfToken,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OfToken {
    pub(super) project_id: String,
    pub(super) environment_id: String,
}
