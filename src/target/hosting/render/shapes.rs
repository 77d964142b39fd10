//! What Render is sent, and what of its answers is read.

use serde::{Deserialize, Serialize};

use crate::target::hosting::secrets::Hidden;
use crate::target::hosting::words::page_at;

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
        let told = self.dashboard_url.as_ref().and_then(|url| page_at(url, &["render.com"]));
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
    pub(super) image: Option<Image>,
    pub(super) created_at: Option<String>,
}

impl Raw {
    /// What it was made of: a commit, or an image by its digest.
    pub(super) fn code(&self) -> Option<String> {
        let commit = self.commit.as_ref().and_then(|commit| commit.id.clone());
        commit.or_else(|| self.image.as_ref()?.pinned())
    }
}

#[derive(Deserialize)]
pub(super) struct Commit {
    pub(super) id: Option<String>,
}

/// An image, and the digest that its name stood for when it was deployed: a tag may stand for another one by now.
#[derive(Deserialize)]
pub(super) struct Image {
    #[serde(rename = "ref")]
    pub(super) name: Option<String>,
    pub(super) sha: Option<String>,
}

impl Image {
    fn pinned(&self) -> Option<String> {
        let (name, sha) = (self.name.as_deref()?, self.sha.as_deref()?);
        let name = name.split('@').next().unwrap_or_default();
        // What stands after the last colon may be a port.
        let name = name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(name, |(name, _)| name);
        let digest = sha.strip_prefix("sha256:").unwrap_or(sha);
        let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_digest && !name.is_empty()).then(|| format!("{name}@sha256:{digest}"))
    }
}

/// Whether what one was made of is an image.
pub(super) fn is_image(code: &str) -> bool {
    code.contains('@')
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) image_url: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_named_by_its_digest_whatever_its_tag_and_port() {
        let digest = "ab".repeat(32);
        let pinned = |name: &str, sha: &str| Image { name: Some(name.to_owned()), sha: Some(sha.to_owned()) }.pinned();
        let told = format!("sha256:{digest}");
        for name in ["r.test:5000/team/app:v1", "r.test:5000/team/app", "r.test:5000/team/app@sha256:00"] {
            assert_eq!(pinned(name, &told), Some(format!("r.test:5000/team/app@sha256:{digest}")));
        }
        assert_eq!(pinned("nginx", &digest), Some(format!("nginx@sha256:{digest}")));
        assert_eq!(pinned("nginx", "latest"), None);
    }

    #[test]
    fn the_page_of_a_service_is_the_one_that_is_told_or_that_of_its_kind() {
        let page = |kind: &str, url: Option<&str>| {
            let kind = Some(kind.to_owned());
            Service { kind, suspended: None, dashboard_url: url.map(str::to_owned) }.page("srv-1")
        };
        assert_eq!(
            page("web_service", Some("https://dashboard.render.com/w/srv-1")),
            "https://dashboard.render.com/w/srv-1"
        );
        assert_eq!(page("web_service", Some("https://r.test/web/srv-1")), "https://dashboard.render.com/web/srv-1");
        assert_eq!(page("background_worker", None), "https://dashboard.render.com/worker/srv-1");
        assert_eq!(page("something_new", Some("")), "https://dashboard.render.com/web/srv-1");
    }
}
