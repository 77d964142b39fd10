//! What `[[target]]` sets for hosting platforms.

use std::path::PathBuf;
use std::time::Duration;

/// A variable at a hosting platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosting {
    /// Where, and what is deployed there.
    pub platform: HostingPlatform,
    /// `key`: its name there, the secret's `env` where it is left out.
    pub key: Option<String>,
    /// Where the API's token is.
    pub token: Token,
    /// `api`: another base URL than the platform's own.
    pub api: Option<String>,
    /// `create`, default false: variables that are missing are made.
    pub create: bool,
    /// `limit`: how long one deployment may take, default 20 min; an hour at Render.
    pub limit: Duration,
    /// `settle`: how long what serves must stay so. None is what the platform needs.
    pub settle: Option<Duration>,
}

/// Which platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostingPlatform {
    /// `type = "vercel"`.
    Vercel(VercelProject),
    /// `type = "netlify"`.
    Netlify(NetlifySite),
    /// `type = "render"`.
    Render(RenderService),
    /// `type = "railway"`.
    Railway(RailwayService),
}

/// Where a token is kept; it is read at each use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// `token-file`: only root may read it.
    File(PathBuf),
    /// `token-credential`: a credential of rekeyd.service.
    Credential(String),
}

/// A project of Vercel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VercelProject {
    /// `project`: its id or its name.
    pub project: String,
    /// `team`: its id or its slug; none for a personal account.
    pub team: Option<String>,
    /// `environment`, with `git-branch`.
    pub environment: Environment,
    /// `also`: other environments of the same record, which change with it.
    pub also: Vec<String>,
    /// `promote`, default false: a deployment that is not published by itself may be.
    pub promote: bool,
}

impl VercelProject {
    /// The project, with its team: another one may have a project of the same name.
    fn shown(&self) -> String {
        self.team.as_ref().map_or_else(|| self.project.clone(), |team| format!("{team}/{}", self.project))
    }
}

/// `environment`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Environment {
    /// `production`, the default.
    Production,
    /// `preview`.
    Preview {
        /// `git-branch`.
        branch: Option<String>,
    },
    /// The id of one of the project's own.
    Custom(String),
}

/// A site of Netlify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetlifySite {
    /// `site`: its id.
    pub site: String,
    /// `account`: the team's slug or id; none is what the site says.
    pub account: Option<String>,
    /// `contexts`, default `production`.
    pub contexts: Vec<Context>,
    /// `publish`, default false: a deploy that is not published by itself may be.
    pub publish: bool,
    /// `same-code-only`, default false: a build of another commit than what is published is canceled.
    pub same_code_only: bool,
}

/// One of `contexts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Context {
    /// One that Netlify has.
    Named(String),
    /// `branch:NAME`.
    Branch(String),
}

impl Context {
    /// How it is sent.
    pub fn wire(&self) -> (&str, Option<&str>) {
        match self {
            Self::Named(name) => (name, None),
            Self::Branch(branch) => ("branch", Some(branch)),
        }
    }

    /// How it is written.
    pub fn shown(&self) -> String {
        match self {
            Self::Named(name) => name.clone(),
            Self::Branch(branch) => format!("branch:{branch}"),
        }
    }
}

impl NetlifySite {
    /// Whether what is built is what production publishes.
    pub fn is_published(&self) -> bool {
        self.contexts
            .iter()
            .any(|context| matches!(context, Context::Named(name) if name == "production" || name == "all"))
    }

    /// The branch that is built where production is not.
    pub fn branch(&self) -> Option<String> {
        self.contexts.iter().find_map(|context| match context {
            Context::Branch(branch) => Some(branch.clone()),
            Context::Named(_) => None,
        })
    }

    /// Whether a new variable can be a secret there.
    pub fn may_be_secret(&self) -> bool {
        let is_open = |context: &Context| matches!(context, Context::Named(name) if name == "all" || name == "dev");
        !self.contexts.iter().any(is_open)
    }
}

/// A service of Render.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderService {
    /// `service`: its id.
    pub service: String,
    /// `group`: the id of the environment group that has the variable, where it is not the service itself.
    pub group: Option<String>,
    /// `redeploy`.
    pub redeploy: RenderDeploy,
}

/// `redeploy` at Render.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub enum RenderDeploy {
    /// The last build again.
    #[default]
    #[serde(rename = "deploy-only")]
    Only,
    /// A new build of the commit that is live.
    #[serde(rename = "build")]
    Build,
}

/// A service of Railway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RailwayService {
    /// `project`: its id.
    pub project: String,
    /// `environment`: its id.
    pub environment: String,
    /// `service`: its id.
    pub service: String,
    /// `token-kind = "project"`, the default: the token is of one environment of the project.
    pub project_token: bool,
    /// `redeploy`.
    pub redeploy: RailwayDeploy,
    /// `ignore-references`, default false: other services that refer to the variable may keep the old value.
    pub ignore_references: bool,
}

/// `redeploy` at Railway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RailwayDeploy {
    /// The commit that the service has.
    #[default]
    Commit,
    /// The running deployment's own code.
    Snapshot,
}

/// A deployment at Railway that is up without a health check says that its container started, and no more: so long it must
/// stay so, where nothing else is set.
pub const RAILWAY_SETTLE: Duration = Duration::from_secs(60);

impl HostingPlatform {
    /// As the secret's file calls it: `type`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Vercel(_) => "vercel",
            Self::Netlify(_) => "netlify",
            Self::Render(_) => "render",
            Self::Railway(_) => "railway",
        }
    }
}

impl Hosting {
    /// How long what serves there may have to stay so, where `proof` is what `[proof]` says.
    pub fn settles(&self, proof: Duration) -> Duration {
        let least = match self.platform {
            HostingPlatform::Railway(_) => RAILWAY_SETTLE,
            _ => Duration::ZERO,
        };
        proof.max(self.settle.unwrap_or(least))
    }

    /// How records and people name it.
    pub fn label(&self) -> String {
        match &self.platform {
            HostingPlatform::Vercel(vercel) => match &vercel.environment {
                Environment::Production => format!("vercel {}", vercel.shown()),
                Environment::Preview { branch: None } => format!("vercel {} preview", vercel.shown()),
                Environment::Preview { branch: Some(branch) } => format!("vercel {} preview {branch}", vercel.shown()),
                Environment::Custom(id) => format!("vercel {} {id}", vercel.shown()),
            },
            HostingPlatform::Netlify(netlify) => match netlify.branch() {
                _ if netlify.is_published() => format!("netlify {}", netlify.site),
                Some(branch) => format!("netlify {} branch {branch}", netlify.site),
                None => {
                    let contexts: Vec<String> = netlify.contexts.iter().map(Context::shown).collect();
                    format!("netlify {} {}", netlify.site, contexts.join(" "))
                }
            },
            HostingPlatform::Render(render) => format!("render {}", render.service),
            HostingPlatform::Railway(railway) => format!("railway {} {}", railway.service, railway.environment),
        }
    }
}
