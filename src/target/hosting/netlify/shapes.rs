//! What Netlify is sent, and what of its answers is read.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::Context;
use crate::target::hosting::secrets::Hidden;

#[derive(Deserialize)]
pub(super) struct Site {
    pub(super) account_slug: Option<String>,
    pub(super) account_id: Option<String>,
    pub(super) published_deploy: Option<Published>,
    pub(super) build_settings: Option<BuildSettings>,
}

#[derive(Deserialize)]
pub(super) struct Published {
    pub(super) id: String,
}

#[derive(Deserialize)]
pub(super) struct BuildSettings {
    pub(super) stop_builds: Option<bool>,
}

#[derive(Deserialize)]
pub(super) struct Variable {
    #[serde(default)]
    pub(super) values: Vec<OneValue>,
    #[serde(default)]
    pub(super) is_secret: bool,
    pub(super) updated_at: Option<String>,
}

impl Variable {
    pub(super) fn has(&self, context: &Context) -> bool {
        self.values.iter().any(|value| value.is_of(context))
    }

    /// Whether it has values for no other contexts.
    pub(super) fn is_of_these_alone(&self, contexts: &[Context]) -> bool {
        self.values.iter().all(|value| contexts.iter().any(|context| value.is_of(context)))
    }

    /// The first context that has another value than the first of them, where values can be read.
    pub(super) fn differing<'c>(&self, contexts: &'c [Context]) -> Option<&'c Context> {
        let of = |context: &Context| self.values.iter().find(|value| value.is_of(context))?.value.as_ref();
        let first = of(contexts.first()?)?.text();
        let is_other = |context: &&Context| !self.is_secret && of(context).is_some_and(|value| value.text() != first);
        contexts.iter().find(is_other)
    }

    pub(super) fn updated(&self) -> Option<Timestamp> {
        self.updated_at.as_deref()?.parse().ok()
    }
}

#[derive(Deserialize)]
pub(super) struct OneValue {
    pub(super) value: Option<Hidden>,
    pub(super) context: String,
    pub(super) context_parameter: Option<String>,
}

impl OneValue {
    pub(super) fn is_of(&self, wanted: &Context) -> bool {
        let (context, parameter) = wanted.wire();
        self.context == context && parameter.is_none_or(|branch| self.context_parameter.as_deref() == Some(branch))
    }
}

#[derive(Deserialize)]
pub(super) struct Raw {
    pub(super) id: String,
    #[serde(default)]
    pub(super) state: String,
    pub(super) error_message: Option<String>,
    pub(super) published_at: Option<Value>,
    pub(super) created_at: Option<String>,
    pub(super) title: Option<String>,
    pub(super) locked: Option<bool>,
    pub(super) skipped: Option<bool>,
    pub(super) commit_ref: Option<String>,
    pub(super) admin_url: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Build {
    pub(super) deploy_id: String,
    pub(super) sha: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Patch<'a> {
    pub(super) context: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) context_parameter: Option<&'a str>,
    pub(super) value: &'a str,
}

#[derive(Serialize)]
pub(super) struct Created<'a> {
    pub(super) key: &'a str,
    pub(super) values: Vec<Patch<'a>>,
    pub(super) is_secret: bool,
}
