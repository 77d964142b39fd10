//! What Vercel is sent, and what of its answers is read.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::config::Environment;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Project {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) targets: Option<Targets>,
    pub(super) auto_assign_custom_domains: Option<bool>,
    pub(super) last_rollback_target: Option<Value>,
}

#[derive(Deserialize)]
pub(super) struct Targets {
    pub(super) production: Option<Production>,
}

#[derive(Deserialize)]
pub(super) struct Production {
    pub(super) id: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Envs {
    pub(super) envs: Vec<Record>,
    pub(super) pagination: Option<Value>,
}

/// A variable; its value is not read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) key: String,
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    pub(super) visibility: Option<String>,
    #[serde(default, deserialize_with = "one_or_more")]
    pub(super) target: Vec<String>,
    #[serde(default, deserialize_with = "one_or_more")]
    pub(super) custom_environment_ids: Vec<String>,
    pub(super) git_branch: Option<String>,
    pub(super) updated_at: Option<i64>,
    pub(super) created_at: Option<i64>,
}

impl Record {
    /// Whether both are for the same environments.
    pub(super) fn is_for_the_same(&self, other: &Self) -> bool {
        let are_same = |some: &[String], others: &[String]| {
            some.iter().all(|one| others.contains(one)) && others.iter().all(|one| some.contains(one))
        };
        self.git_branch == other.git_branch
            && are_same(&self.target, &other.target)
            && are_same(&self.custom_environment_ids, &other.custom_environment_ids)
    }

    pub(super) fn updated(&self) -> Option<Timestamp> {
        Timestamp::from_millisecond(self.updated_at.or(self.created_at)?).ok()
    }
}

pub(super) fn one_or_more<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        One(String),
        More(Vec<String>),
        None(()),
    }
    Ok(match Form::deserialize(from)? {
        Form::One(one) => vec![one],
        Form::More(more) => more,
        Form::None(()) => Vec::new(),
    })
}

#[derive(Deserialize)]
pub(super) struct List {
    pub(super) deployments: Vec<Raw>,
    pub(super) pagination: Option<Pagination>,
}

#[derive(Deserialize)]
pub(super) struct Pagination {
    pub(super) next: Option<i64>,
}

/// A deployment, as a list, an answer to a trigger, or a question for it alone has it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Raw {
    pub(super) id: Option<String>,
    pub(super) uid: Option<String>,
    pub(super) ready_state: Option<String>,
    pub(super) state: Option<String>,
    pub(super) ready_substate: Option<String>,
    pub(super) ready_state_reason: Option<String>,
    pub(super) alias_assigned: Option<Value>,
    pub(super) alias_error: Option<Value>,
    pub(super) checks_conclusion: Option<String>,
    pub(super) error_code: Option<String>,
    pub(super) error_message: Option<String>,
    pub(super) created_at: Option<i64>,
    pub(super) created: Option<i64>,
    pub(super) inspector_url: Option<String>,
    pub(super) url: Option<String>,
    pub(super) target: Option<String>,
    pub(super) custom_environment: Option<Custom>,
    pub(super) meta: Option<Value>,
}

/// An environment of the project's own.
#[derive(Deserialize)]
pub(super) struct Custom {
    pub(super) id: String,
    pub(super) slug: Option<String>,
}

impl Raw {
    /// Its id.
    pub(super) fn name(&self) -> Option<&str> {
        self.id.as_deref().or(self.uid.as_deref()).filter(|id| !id.is_empty())
    }

    /// The commit that it was made of, wherever the code is kept.
    pub(super) fn commit(&self) -> Option<&str> {
        ["githubCommitSha", "gitlabCommitSha", "bitbucketCommitSha"].into_iter().find_map(|key| self.meta_text(key))
    }

    /// Where a person can look at it: the page of its build, or what it serves itself.
    pub(super) fn page(&self) -> String {
        let has_text = |text: &&String| !text.is_empty();
        let itself = || self.url.as_ref().filter(has_text).map(|url| format!("https://{url}"));
        self.inspector_url.clone().filter(|url| !url.is_empty()).or_else(itself).unwrap_or_default()
    }

    /// Whether it is of this environment. A list can be had for production alone; a preview has no name for its own.
    pub(super) fn is_of(&self, environment: &Environment) -> bool {
        let target = self.target.as_deref();
        match (environment, &self.custom_environment) {
            (Environment::Production, _) => target.is_none_or(|target| target == "production"),
            (Environment::Preview { .. }, custom) => {
                custom.is_none() && target.is_none_or(|target| target == "preview")
            }
            (Environment::Custom(id), Some(custom)) => custom.id == *id || custom.slug.as_ref() == Some(id),
            (Environment::Custom(_), None) => false,
        }
    }

    /// Whether it is of this branch: made by a push to it, or by us for it.
    pub(super) fn is_of_branch(&self, branch: &str) -> bool {
        let refs = ["githubCommitRef", "gitlabCommitRef", "bitbucketCommitRef", BRANCH];
        refs.into_iter().any(|key| self.meta_text(key) == Some(branch))
    }

    pub(super) fn meta_text(&self, key: &str) -> Option<&str> {
        self.meta.as_ref()?.get(key)?.as_str()
    }
}

#[derive(Serialize)]
pub(super) struct Patch<'a> {
    pub(super) value: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FullPatch<'a> {
    pub(super) value: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<&'a str>,
    #[serde(rename = "type")]
    pub(super) kind: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub(super) target: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub(super) custom_environment_ids: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) git_branch: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Created<'a> {
    pub(super) key: &'a str,
    pub(super) value: &'a str,
    #[serde(rename = "type")]
    pub(super) kind: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) target: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) custom_environment_ids: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) git_branch: Option<&'a str>,
}

#[derive(Deserialize)]
pub(super) struct Upserted {
    #[serde(default)]
    pub(super) failed: Vec<FailedOne>,
}

#[derive(Deserialize)]
pub(super) struct FailedOne {
    pub(super) error: Option<FailedCode>,
}

#[derive(Deserialize)]
pub(super) struct FailedCode {
    pub(super) code: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Redeploy<'a> {
    pub(super) deployment_id: &'a str,
    pub(super) name: &'a str,
    pub(super) meta: Meta<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) target: Option<&'a str>,
    #[serde(rename = "customEnvironmentSlugOrId", skip_serializing_if = "Option::is_none")]
    pub(super) custom_environment: Option<&'a str>,
}

/// Under this name a deployment of ours says which branch it is for.
const BRANCH: &str = "rekeydBranch";
/// And under this one, of which one it was made.
pub(super) const ORIGINAL: &str = "rekeydOf";

#[derive(Serialize)]
pub(super) struct Meta<'a> {
    pub(super) action: &'a str,
    pub(super) rekeyd: &'a str,
    #[serde(rename = "rekeydOf")]
    pub(super) of: &'a str,
    #[serde(rename = "rekeydBranch", skip_serializing_if = "Option::is_none")]
    pub(super) branch: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct Nothing {}
