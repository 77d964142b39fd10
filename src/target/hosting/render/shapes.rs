//! What Render is sent, and what of its answers is read.

use serde::{Deserialize, Serialize};

use crate::target::hosting::secrets::Hidden;

#[derive(Deserialize)]
pub(super) struct Service {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) suspended: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Group {
    #[serde(default)]
    pub(super) service_links: Vec<Link>,
}

#[derive(Deserialize)]
pub(super) struct Link {
    pub(super) id: String,
}

#[derive(Deserialize)]
pub(super) struct Variable {
    pub(super) value: Hidden,
}

#[derive(Deserialize)]
pub(super) struct Listed {
    pub(super) deploy: Raw,
    pub(super) cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Raw {
    pub(super) id: String,
    pub(super) status: Option<String>,
    pub(super) trigger: Option<String>,
    pub(super) commit: Option<Commit>,
    pub(super) created_at: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Commit {
    pub(super) id: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Put<'a> {
    pub(super) value: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Deploy<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) deploy_mode: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) commit_id: Option<&'a str>,
}
