//! A site's deploys: in what state each is.

use tokio::time::Instant;

use super::Netlify;
use super::shapes::Raw;
use crate::target::hosting::api::{Request, Said};
use crate::target::hosting::pages::pages;
use crate::target::hosting::platform::{Deployment, State};
use crate::target::hosting::words::{page_at, plain};

/// How many deploys a page has.
const PER_PAGE: usize = 50;

/// Whether this names a commit: a branch or a pull request may be named in its place.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() >= 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl Netlify {
    pub(super) fn deployment_of(&self, raw: Raw) -> Deployment {
        let is_published = raw.published_at.is_some() || !self.settings.is_published();
        let state = match raw.state.as_str() {
            _ if raw.skipped == Some(true) => State::Gone,
            "ready" if is_published => State::Up,
            "ready" => State::Aside,
            "error" | "rejected" => State::Failed,
            "pending_review" => State::Blocked,
            _ => State::Going,
        };
        let why = raw.error_message.filter(|why| !why.is_empty());
        let aside = (state == State::Aside).then(|| "it is built, and not published".to_owned());
        let mark = raw.title.as_deref().and_then(|title| title.strip_prefix("rekeyd ")).map(str::to_owned);
        Deployment {
            state,
            word: plain(&raw.state),
            why: why.map(|why| self.api.told(&why)).or(aside).unwrap_or_default(),
            created: raw.created_at.as_deref().and_then(|at| at.parse().ok()),
            page: self.page_of(raw.admin_url.as_deref(), &raw.id),
            commit: raw.commit_ref.filter(|commit| is_commit(commit)),
            by_us: mark.is_some(),
            mark,
            of: None,
            id: raw.id,
        }
    }

    /// Where a person can look at a deploy.
    pub(super) fn page_of(&self, admin_url: Option<&str>, id: &str) -> String {
        let of_site = || format!("https://app.netlify.com/projects/{}", self.site());
        let site = admin_url.and_then(|url| page_at(url, &["app.netlify.com"])).unwrap_or_else(of_site);
        plain(&format!("{site}/deploys/{id}"))
    }

    /// The deploys up to the page that is `enough`, the newest first.
    pub(super) async fn list(&self, enough: impl Fn(&[Deployment]) -> bool, until: Instant) -> Said<Vec<Deployment>> {
        let mut list = pages(&self.label, enough, |page| self.page(page, until)).await?;
        list.sort_by_key(|it| std::cmp::Reverse(it.created));
        Ok(list)
    }

    /// A page of them, and the number of the next one.
    async fn page(&self, page: Option<usize>, until: Instant) -> Said<(Vec<Deployment>, Option<usize>)> {
        let (page, most) = (page.unwrap_or(1), PER_PAGE.to_string());
        let (path, number) = (["sites", self.site(), "deploys"], page.to_string());
        let mut query = vec![("per_page", most.as_str()), ("page", number.as_str())];
        let branch = self.settings.branch();
        match branch.as_deref() {
            Some(branch) if !self.settings.is_published() => query.push(("branch", branch)),
            _ => query.push(("production", "true")),
        }
        let list: Vec<Raw> = self.api.ask(Request::get(&path, &query), until).await?.read()?;
        // A page that is not full is the last one.
        let next = (list.len() >= PER_PAGE).then_some(page + 1);
        Ok((list.into_iter().map(|it| self.deployment_of(it)).collect(), next))
    }
}
