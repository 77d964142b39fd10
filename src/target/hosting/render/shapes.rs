//! What Render is sent, and what of its answers is read.

use serde::{Deserialize, Serialize};

use crate::target::hosting::secrets::Hidden;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Service {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) suspended: Option<String>,
    pub(super) dashboard_url: Option<String>,
}

impl Service {
    /// Where a person can look at it. The dashboard has another path for each kind.
    pub(super) fn page(&self, id: &str) -> String {
        let kind = match self.kind.as_deref() {
            Some("static_site") => "static",
            Some("private_service") => "pserv",
            Some("background_worker") => "worker",
            Some("cron_job") => "cron",
            _ => "web",
        };
        let told = self.dashboard_url.clone().filter(|url| url.starts_with("https://"));
        told.unwrap_or_else(|| format!("https://dashboard.render.com/{kind}/{id}"))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_a_service_is_the_one_that_is_told_or_that_of_its_kind() {
        let page = |kind: &str, url: Option<&str>| {
            let kind = Some(kind.to_owned());
            Service { kind, suspended: None, dashboard_url: url.map(str::to_owned) }.page("srv-1")
        };
        assert_eq!(page("web_service", Some("https://r.test/web/srv-1")), "https://r.test/web/srv-1");
        assert_eq!(page("background_worker", None), "https://dashboard.render.com/worker/srv-1");
        assert_eq!(page("something_new", Some("")), "https://dashboard.render.com/web/srv-1");
    }
}
