//! `[[target]] type = "compose"`: services of a Docker Compose project.

use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;

use super::env_name::env_name;
use super::hook_section::user;
use super::reader::Reader;
use super::report::{Mistake, Report};
use super::target_settings::{ComposePlace, ComposeTarget};
use super::values::{Bounds, absolute, duration};
use crate::text::env_file::Dialect;

const DIRECTORY: &str = "project-directory = \"/srv/my-backend\"";
const SERVICES: &str = "services = [\"web\", \"worker\"]";
const ENV_FILE: &str = "env-file = \"/srv/my-backend/web.env\"";
const BOUNDS: Bounds = Bounds { least: Duration::from_secs(1), most: Duration::from_secs(3600) };

pub(super) fn read(mut section: Reader<'_>, report: &mut Report<'_>) -> Option<ComposeTarget> {
    let directory = section.text("project-directory", DIRECTORY, report, directory);
    section.need("project-directory", DIRECTORY, report);
    let project = section.text("project", "project = \"my-backend\"", report, project);
    let files = section.texts("files", "files = [\"compose.yaml\"]", report, file);
    let services = section.texts("services", SERVICES, report, service);
    section.need("services", SERVICES, report);
    let place = place(&mut section, report);
    let key = section.text("key", "key = \"JWT_SECRET\"", report, env_name);
    if let Some((key, (_, ComposePlace::SecretFile(_)))) = key.as_ref().zip(place.as_ref()) {
        let message = "`key` means nothing with `secret-file`, all of which is the value";
        report.error(key.span(), message, "leave it out");
    }
    let dialect = section.text("dialect", "dialect = \"docker\"", report, dialect);
    if let Some(dialect) = dialect.as_ref().filter(|_| !section.had("env-file")) {
        report.error(dialect.span(), "`dialect` means nothing without `env-file`", "leave it out");
    }
    let expose = section.take::<bool>("expose", "expose = true", report);
    let build = section.take::<bool>("build", "build = true", report);
    let user = section.text("user", "user = \"deploy\"", report, user);
    let timeout = section.text("timeout", "timeout = \"2min\"", report, |text| duration(text, BOUNDS));
    section.finish(report);
    let directory = directory?.into_inner();
    let services = once(services?.into_inner(), report);
    Some(ComposeTarget {
        files: files.into_iter().flat_map(Spanned::into_inner).map(|file| directory.join(file.into_inner())).collect(),
        directory,
        project: project.map(Spanned::into_inner),
        services,
        place: place?.1,
        key: key.map(Spanned::into_inner),
        dialect: dialect.map_or(Dialect::Compose, Spanned::into_inner),
        expose: expose.is_some_and(Spanned::into_inner),
        build: build.is_some_and(Spanned::into_inner),
        user: user.map(Spanned::into_inner),
        timeout: timeout.map_or(Duration::from_secs(120), Spanned::into_inner),
    })
}

/// By whose rules Compose reads an env file: its own, or, where the file has `format: raw`, those of docker.
fn dialect(text: &str) -> Result<Dialect, Mistake> {
    let known = [Dialect::Compose, Dialect::Docker].into_iter().find(|dialect| dialect.name() == text);
    let mistake = || {
        Mistake::new(format!("Compose reads no file as {text:?}"), "write \"compose\", or \"docker\" for `format: raw`")
    };
    known.ok_or_else(mistake)
}

/// Where the value stands: exactly one of three.
fn place(section: &mut Reader<'_>, report: &mut Report<'_>) -> Option<(&'static str, ComposePlace)> {
    let env_file = section.text("env-file", ENV_FILE, report, absolute);
    let literal = section.text("environment-in", "environment-in = \"/srv/my-backend/compose.yaml\"", report, absolute);
    let secret_file = section.text("secret-file", "secret-file = \"/srv/my-backend/jwt.secret\"", report, absolute);
    if !["env-file", "environment-in", "secret-file"].iter().any(|key| section.had(key)) {
        let message = "nothing says where the value stands: `env-file`, `environment-in` or `secret-file`";
        report.missing(section.span(), message, format!("add `{ENV_FILE}`"));
    }
    let (mut first, mut second) = (None, None);
    let places = [
        env_file.map(|path| (path.span(), "env-file", ComposePlace::EnvFile(path.into_inner()))),
        literal.map(|path| (path.span(), "environment-in", ComposePlace::Literal(path.into_inner()))),
        secret_file.map(|path| (path.span(), "secret-file", ComposePlace::SecretFile(path.into_inner()))),
    ];
    for (span, key, place) in places.into_iter().flatten() {
        match &first {
            None => first = Some((key, place)),
            Some((other, _)) if second.is_none() => {
                report.error(span, format!("`{other}` and `{key}` exclude each other"), "keep one of them");
                second = Some(key);
            }
            Some(_) => {}
        }
    }
    first
}

fn once(services: Vec<Spanned<String>>, report: &mut Report<'_>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for service in services {
        if names.contains(service.get_ref()) {
            let message = format!("{} is named twice", service.get_ref());
            report.error(service.span(), message, "name each service once");
        } else {
            names.push(service.into_inner());
        }
    }
    names
}

fn directory(text: &str) -> Result<PathBuf, Mistake> {
    let plain = text.trim_end_matches('/');
    absolute(if plain.is_empty() { text } else { plain })
}

/// A Compose file, by itself or in the project's directory.
fn file(text: &str) -> Result<PathBuf, Mistake> {
    let is_plain = !text.is_empty() && !text.contains(',') && !text.chars().any(char::is_control);
    if is_plain && !text.split('/').any(|part| part == "..") {
        return Ok(text.into());
    }
    Err(Mistake::new(format!("{text:?} is no Compose file"), "write it as in \"compose.yaml\""))
}

/// What Compose takes for the name of a project.
fn project(text: &str) -> Result<String, Mistake> {
    let fits = text.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte));
    let advice = "write it as `docker compose ls` shows it";
    if fits { Ok(text.to_owned()) } else { Err(Mistake::new(format!("{text:?} is no name of a project"), advice)) }
}

fn service(text: &str) -> Result<String, Mistake> {
    let fits = !text.starts_with(['-', '.'])
        && !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    let advice = "write it as it is called under `services:`";
    if fits { Ok(text.to_owned()) } else { Err(Mistake::new(format!("{text:?} is no name of a service"), advice)) }
}
