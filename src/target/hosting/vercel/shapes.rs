//! What Vercel is sent, and what of its answers is read.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::config::Environment;
use crate::target::hosting::words::page_at;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Project {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) targets: Option<Targets>,
    pub(super) auto_assign_custom_domains: Option<bool>,
    pub(super) last_alias_request: Option<AliasRequest>,
    pub(super) last_rollback_target: Option<Value>,
    pub(super) rolling_release: Option<RollingRelease>,
}

impl Project {
    pub(super) fn in_production(&self) -> Option<&str> {
        self.targets.as_ref()?.production.as_ref()?.id.as_deref()
    }

    /// Whether production was rolled back and is still: then what is deployed is built, and not published.
    pub(super) fn is_rolled_back(&self) -> bool {
        match &self.last_alias_request {
            Some(last) => {
                let is_done = last.job_status.as_deref() == Some("succeeded");
                let is_rollback = last.kind.as_deref() == Some("rollback");
                is_done && is_rollback && last.to_deployment_id.as_deref() == self.in_production()
            }
            None => self.last_rollback_target.as_ref().is_some_and(|target| !target.is_null()),
        }
    }

    /// Why new deployments are built and not published, where that is so.
    pub(super) fn keeps_aside(&self) -> Option<&'static str> {
        match self.auto_assign_custom_domains {
            Some(false) => Some("does not assign its domains to new deployments by itself"),
            _ if self.is_rolled_back() => Some("is rolled back, so that new deployments are not published"),
            _ => None,
        }
    }

    /// Whether a new deployment is given all requests only once a person has approved of it.
    pub(super) fn wants_approval(&self) -> bool {
        let stages = self.rolling_release.iter().flat_map(|release| &release.stages).flatten();
        stages.into_iter().any(|stage| stage.require_approval == Some(true))
    }
}

/// The last change by which the project's domains were given to another deployment.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AliasRequest {
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) job_status: Option<String>,
    pub(super) to_deployment_id: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct RollingRelease {
    pub(super) stages: Option<Vec<Stage>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stage {
    pub(super) require_approval: Option<bool>,
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

/// What the answer to a write says of the record.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Written {
    pub(super) updated_at: Option<i64>,
}

impl Record {
    /// Whether `other` is of the same type. A record that was made before there was a visibility may be given the one that
    /// its type has.
    pub(super) fn is_of_the_same_type(&self, other: &Self) -> bool {
        let of_type = if self.kind == "sensitive" { "secret" } else { "config" };
        self.kind == other.kind
            && (self.visibility == other.visibility
                || (self.visibility.is_none() && other.visibility.as_deref() == Some(of_type)))
    }

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
    pub(super) checks_state: Option<String>,
    pub(super) checks_conclusion: Option<String>,
    pub(super) checks: Option<Value>,
    pub(super) error_code: Option<String>,
    pub(super) error_message: Option<String>,
    pub(super) created_at: Option<i64>,
    pub(super) created: Option<i64>,
    pub(super) inspector_url: Option<String>,
    pub(super) url: Option<String>,
    pub(super) target: Option<String>,
    pub(super) custom_environment: Option<Custom>,
    pub(super) git_source: Option<GitSource>,
    pub(super) meta: Option<Value>,
}

/// What it was made of, where that is asked for it alone.
#[derive(Deserialize)]
pub(super) struct GitSource {
    pub(super) sha: Option<String>,
}

/// How the checks stand that a project has of its own.
pub(super) enum Checks {
    /// They run, or are to.
    Running,
    /// One has failed.
    Failed,
    /// There are none, or they have ended.
    Over,
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
        let keys = ["githubCommitSha", "gitlabCommitSha", "bitbucketCommitSha", "gitCommitSha"];
        let of_source = || self.git_source.as_ref()?.sha.as_deref().filter(|sha| !sha.is_empty());
        keys.into_iter().find_map(|key| self.meta_text(key)).or_else(of_source)
    }

    /// Which of our movements it was made for. Vercel copies what was said of a deployment to those that are made anew of
    /// it: of such a copy it says what it is of, and ours is of something else.
    pub(super) fn mark(&self) -> Option<&str> {
        let copied_of = self.meta_text("originalDeploymentId");
        let is_copy = copied_of.is_some_and(|of| self.meta_text(ORIGINAL) != Some(of));
        self.meta_text("rekeyd").filter(|_| !is_copy)
    }

    /// What checks of the project's own say of one that is built.
    pub(super) fn checks(&self) -> Checks {
        let before_its_domain = || self.checks.as_ref()?.get("deployment-alias")?.get("state")?.as_str();
        if self.checks_conclusion.as_deref() == Some("failed") || before_its_domain() == Some("failed") {
            return Checks::Failed;
        }
        match self.checks_state.as_deref() {
            Some("registered" | "running") => Checks::Running,
            _ => Checks::Over,
        }
    }

    /// Where a person can look at it: the page of its build, or what it serves itself.
    pub(super) fn page(&self) -> String {
        let page = |url: String| page_at(&url, &["vercel.com", "vercel.app"]);
        let itself = || self.url.as_ref().and_then(|url| page(format!("https://{url}")));
        self.inspector_url.clone().and_then(page).or_else(itself).unwrap_or_default()
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) visibility: Option<&'a str>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_deploys_anew_of_ours_is_not_ours() {
        let marked = |more: Value| {
            let meta = serde_json::json!({"action": "redeploy", "rekeyd": "id-1", "rekeydOf": "dpl_1"});
            let Value::Object(mut meta) = meta else { unreachable!() };
            meta.extend(more.as_object().cloned().unwrap_or_default());
            let raw: Raw = serde_json::from_value(serde_json::json!({"id": "dpl_3", "meta": meta})).unwrap();
            raw.mark().map(str::to_owned)
        };
        assert_eq!(marked(serde_json::json!({})).as_deref(), Some("id-1"));
        assert_eq!(marked(serde_json::json!({"originalDeploymentId": "dpl_1"})).as_deref(), Some("id-1"));
        assert_eq!(marked(serde_json::json!({"originalDeploymentId": "dpl_2"})), None);
    }
}
