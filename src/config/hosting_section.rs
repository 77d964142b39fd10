//! `[[target]]` of type "vercel", "netlify", "render" or "railway".

use std::time::Duration;

use toml::Spanned;

use super::env_name::env_name;
use super::hosting_settings::{
    Context, Environment, Hosting, HostingPlatform, NetlifySite, RailwayDeploy, RailwayService, RenderDeploy,
    RenderService, Token, VercelProject,
};
use super::reader::Reader;
use super::report::{Mistake, Report};
use super::target_settings::TargetSettings;
use super::values::{Bounds, DAY, absolute, duration, url};

/// The types that are read here.
pub(super) const TYPES: [&str; 4] = ["vercel", "netlify", "render", "railway"];

const MINUTE: Duration = Duration::from_secs(60);
const TOKEN_FILE: &str = "token-file = \"/etc/rekeyd/vercel.token\"";
const CONTEXTS: [&str; 6] = ["all", "production", "deploy-preview", "branch-deploy", "dev", "dev-server"];

/// Reads a section of the type `kind`.
pub(super) fn read(kind: &str, mut section: Reader<'_>, report: &mut Report<'_>) -> Option<Hosting> {
    let platform = match kind {
        "vercel" => vercel(&mut section, report).map(HostingPlatform::Vercel),
        "netlify" => netlify(&mut section, report).map(HostingPlatform::Netlify),
        "render" => render(&mut section, report).map(HostingPlatform::Render),
        _ => railway(&mut section, report).map(HostingPlatform::Railway),
    };
    let key = section.text("key", "key = \"JWT_SECRET\"", report, env_name);
    if let Some(key) = key.as_ref().filter(|key| kind == "railway" && key.get_ref().starts_with("RAILWAY_")) {
        report.error(key.span(), "`key`: names that begin with RAILWAY_ are Railway's own", "choose another name");
    }
    let token = token(&mut section, report);
    let api = section.text("api", "api = \"https://api.example.com\"", report, api);
    let create = flag(&mut section, "create", "create = true", report);
    let bounds = Bounds { least: MINUTE, most: MINUTE * 24 * 60 };
    let limit = section.text("limit", "limit = \"20min\"", report, |text| duration(text, bounds));
    let bounds = Bounds { least: Duration::ZERO, most: MINUTE * 60 };
    let settle = section.text("settle", "settle = \"30s\"", report, |text| duration(text, bounds));
    section.finish(report);
    let usual = if kind == "render" { MINUTE * 60 } else { MINUTE * 20 };
    Some(Hosting {
        platform: platform?,
        key: key.map(Spanned::into_inner),
        token: token?,
        api: api.map(Spanned::into_inner),
        create,
        limit: limit.map_or(usual, Spanned::into_inner),
        settle: settle.map(Spanned::into_inner),
    })
}

/// How long the deployments of a rotation may take at platforms, and how long what they serve must stay so: with an overlap
/// there may be two of each.
pub(super) fn times(targets: &[TargetSettings], settle: Duration, overlaps: bool) -> (Duration, Duration) {
    let hosting = || {
        targets.iter().filter_map(|target| match target {
            TargetSettings::Hosting(hosting) => Some(hosting),
            _ => None,
        })
    };
    let times = if overlaps { 2 } else { 1 };
    let deploying: Duration = hosting().map(|it| it.limit).sum();
    let settling: Duration = hosting().map(|it| it.settles(settle)).sum();
    ((deploying * times).min(DAY), (settling * times).min(DAY))
}

fn vercel(section: &mut Reader<'_>, report: &mut Report<'_>) -> Option<VercelProject> {
    let project = needed(section, "project", "project = \"my-app\"", report);
    let team = section.text("team", "team = \"team_…\"", report, id);
    let environment = section.text("environment", "environment = \"production\"", report, |text| match text {
        "development" => Err(Mistake::new(
            "nothing is deployed in the environment \"development\"",
            "write \"production\", \"preview\", or the id of an environment of your own",
        )),
        text => id(text),
    });
    let branch = section.text("git-branch", "git-branch = \"staging\"", report, branch);
    let also = section.texts("also", "also = [\"preview\"]", report, id);
    let promote = flag(section, "promote", "promote = true", report);
    let environment = environment.map_or_else(|| "production".to_owned(), Spanned::into_inner);
    if let Some(branch) = branch.as_ref().filter(|_| environment != "preview") {
        report.error(
            branch.span(),
            "`git-branch` means nothing but for previews",
            "add `environment = \"preview\"`, or leave it out",
        );
    }
    Some(VercelProject {
        project: project?,
        team: team.map(Spanned::into_inner),
        environment: match environment.as_str() {
            "production" => Environment::Production,
            "preview" => Environment::Preview { branch: branch.map(Spanned::into_inner) },
            _ => Environment::Custom(environment),
        },
        also: also.map_or_else(Vec::new, |also| also.into_inner().into_iter().map(Spanned::into_inner).collect()),
        promote,
    })
}

fn netlify(section: &mut Reader<'_>, report: &mut Report<'_>) -> Option<NetlifySite> {
    let site = needed(section, "site", "site = \"1f2e3d4c-…\"", report);
    let account = section.text("account", "account = \"my-team\"", report, id);
    let contexts = section.texts("contexts", "contexts = [\"production\"]", report, context);
    let publish = flag(section, "publish", "publish = true", report);
    let same_code_only = flag(section, "same-code-only", "same-code-only = true", report);
    let span = contexts.as_ref().map(Spanned::span);
    let contexts = contexts.map_or_else(
        || vec![Context::Named("production".to_owned())],
        |contexts| contexts.into_inner().into_iter().map(Spanned::into_inner).collect(),
    );
    let site =
        NetlifySite { site: site?, account: account.map(Spanned::into_inner), contexts, publish, same_code_only };
    if let (Some(span), false, None) = (span, site.is_published(), site.branch()) {
        let message = "`contexts`: none of these is deployed by rekeyd";
        report.error(span, message, "name \"production\", \"all\", or a branch as \"branch:staging\"");
    }
    Some(site)
}

fn render(section: &mut Reader<'_>, report: &mut Report<'_>) -> Option<RenderService> {
    let service = needed(section, "service", "service = \"srv-…\"", report);
    let group = section.text("group", "group = \"evg-…\"", report, id);
    let redeploy = section.choice::<RenderDeploy>("redeploy", &["deploy-only", "build"], &[], report);
    Some(RenderService {
        service: service?,
        group: group.map(Spanned::into_inner),
        redeploy: redeploy.map(Spanned::into_inner).unwrap_or_default(),
    })
}

fn railway(section: &mut Reader<'_>, report: &mut Report<'_>) -> Option<RailwayService> {
    let project = needed(section, "project", "project = \"0a1b2c3d-…\"", report);
    let environment = needed(section, "environment", "environment = \"0a1b2c3d-…\"", report);
    let service = needed(section, "service", "service = \"0a1b2c3d-…\"", report);
    let kind = section.choice::<String>("token-kind", &["project", "account"], &[], report);
    let redeploy = section.choice::<RailwayDeploy>("redeploy", &["commit", "snapshot"], &[], report);
    let ignore_references = flag(section, "ignore-references", "ignore-references = true", report);
    Some(RailwayService {
        project: project?,
        environment: environment?,
        service: service?,
        project_token: kind.is_none_or(|kind| kind.get_ref() == "project"),
        redeploy: redeploy.map(Spanned::into_inner).unwrap_or_default(),
        ignore_references,
    })
}

fn token(section: &mut Reader<'_>, report: &mut Report<'_>) -> Option<Token> {
    let file = section.text("token-file", TOKEN_FILE, report, absolute);
    let credential = section.text("token-credential", "token-credential = \"vercel-token\"", report, credential);
    match (section.had("token-file"), section.had("token-credential")) {
        (false, false) => report.missing(
            section.span(),
            "the token for the platform's API is not named",
            format!("add `{TOKEN_FILE}`, a file that only root may read, or `token-credential`"),
        ),
        (true, true) => {
            let span = credential.as_ref().map_or(section.span(), Spanned::span);
            report.error(span, "`token-file` and `token-credential` exclude each other", "keep one of them");
        }
        _ => {}
    }
    let file = file.map(|file| Token::File(file.into_inner()));
    file.or(credential.map(|name| Token::Credential(name.into_inner())))
}

fn needed(section: &mut Reader<'_>, key: &'static str, example: &str, report: &mut Report<'_>) -> Option<String> {
    let text = section.text(key, example, report, id);
    section.need(key, example, report);
    text.map(Spanned::into_inner)
}

fn flag(section: &mut Reader<'_>, key: &'static str, example: &str, report: &mut Report<'_>) -> bool {
    section.take::<bool>(key, example, report).is_some_and(Spanned::into_inner)
}

/// An id or a name of the platform's.
fn id(text: &str) -> Result<String, Mistake> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if (1..=128).contains(&text.len()) && text.bytes().all(is_plain) && text.bytes().any(|byte| byte != b'.') {
        return Ok(text.to_owned());
    }
    Err(Mistake::new(
        "this is not an id or a name there",
        "copy it from the platform: letters, digits, `-`, `_` and `.`",
    ))
}

fn branch(text: &str) -> Result<String, Mistake> {
    if (1..=250).contains(&text.len()) && !text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Ok(text.to_owned());
    }
    Err(Mistake::new("this is not the name of a branch", "write it as git has it, as \"staging\""))
}

fn context(text: &str) -> Result<Context, Mistake> {
    if let Some(name) = text.strip_prefix("branch:") {
        return branch(name).map(Context::Branch);
    }
    if CONTEXTS.contains(&text) {
        return Ok(Context::Named(text.to_owned()));
    }
    let advice = format!("use one of {}, or \"branch:NAME\"", CONTEXTS.join(", "));
    Err(Mistake::new(format!("{text:?} is no context of Netlify"), advice))
}

/// The name of a credential, as systemd takes it.
fn credential(text: &str) -> Result<String, Mistake> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if (1..=255).contains(&text.len()) && text.bytes().all(is_plain) && !text.starts_with('.') {
        return Ok(text.to_owned());
    }
    Err(Mistake::new("this is not the name of a credential", "write the name before the `:` of LoadCredential="))
}

/// The base of an API. In plain text a token only goes to this host itself.
fn api(text: &str) -> Result<String, Mistake> {
    let checked = url(text)?;
    if checked.contains('?') {
        return Err(Mistake::new("a base URL has no `?`", "leave out the `?` and what follows"));
    }
    if checked.to_ascii_lowercase().starts_with("https://") || crate::sys::http::is_loopback(&checked) {
        return Ok(checked);
    }
    Err(Mistake::new("the token would be sent unencrypted", "write https://; http:// is for this host alone"))
}
