//! From TOML to validated settings, or findings: every mistake of every file at once, each with its place and advice.
//!
//! Raw text is parsed with spans (`source`, `toml`), read key by key (`reader`), each value checked by its rule
//! (`values`, `env_name`, `unit_name`, `claims`), and put together by section (`secret_file`, `target_section`,
//! `probe_section`, `daemon_file`). What comes out is [`Settings`], without anything that is "not checked yet".

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

mod claims;
mod command_section;
mod compose_section;
mod daemon_file;
mod daemon_settings;
mod dotenv_section;
mod env_name;
mod files;
pub mod findings;
mod hook_section;
mod hosting_section;
mod hosting_settings;
mod pm2_section;
mod probe_section;
mod probe_settings;
mod proof_section;
mod reader;
mod report;
mod secret_file;
mod settings;
mod source;
mod suggest;
mod target_section;
mod target_settings;
#[cfg(test)]
mod tests;
mod unit_name;
mod values;

pub use daemon_settings::{DaemonSettings, Event, NotifySettings};
pub use files::Dirs;
pub use findings::{Finding, Place, Severity, render};
pub use hosting_settings::{
    Context, Environment, Hosting, HostingPlatform, NetlifySite, RAILWAY_SETTLE, RailwayDeploy, RailwayService,
    RenderDeploy, RenderService, Token, VercelProject,
};
pub use probe_settings::*;
pub use settings::*;
pub use target_settings::{
    Activate, CommandTarget, ComposePlace, ComposeTarget, DaemonReload, Deliver, DotenvTarget, Pm2Target, Restart,
    SystemdTarget, TargetSettings, WakeSignal,
};
pub use unit_name::{instances_of, template_of, template_prefix};

use files::whole;
use findings::printable;
use reader::Reader;
use report::Report;
use secret_file::Described;
use source::Source;

/// What a configuration says, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// What is right. A secret whose file has an error is left out.
    pub settings: Settings,
    /// What is wrong, by file and place.
    pub findings: Vec<Finding>,
}

impl Loaded {
    /// Whether the configuration can be put in force: there is no error.
    pub fn is_valid(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity != Severity::Error)
    }
}

/// Loads the configuration of this host. A file, or a directory on the way to it, that somebody other than root (or
/// the user that asks) could change is refused with a finding.
pub fn load(dirs: &Dirs) -> Loaded {
    let mut loader = Loader::default();
    if let Some(source) = dirs.daemon_file(&mut loader.findings) {
        loader.daemon(&source);
    }
    for file in dirs.secret_files(&mut loader.findings) {
        match file {
            Ok(source) => loader.secret(&source, None),
            Err(finding) => loader.findings.push(*finding),
        }
    }
    loader.end()
}

/// Checks files wherever they are, whoever owns them: one that is called `rekeyd.toml` as the daemon's, every other as
/// the secret of its name.
pub fn check_files(paths: &[PathBuf]) -> Loaded {
    let mut loader = Loader::default();
    for path in paths {
        match files::read_untrusted(path) {
            Ok(source) if path.file_name().is_some_and(|name| name == "rekeyd.toml") => loader.daemon(&source),
            Ok(source) => loader.secret(&source, None),
            Err(finding) => loader.findings.push(*finding),
        }
    }
    loader.end()
}

/// Reads the file of one secret in a developer's checkout: without systemd, and with paths that begin where the file is.
/// The secret is called as `name` says, or as the file.
pub fn of_checkout(path: &Path, name: Option<&str>) -> Loaded {
    let mut loader = Loader::default();
    match files::read_untrusted(path) {
        Ok(mut source) => {
            let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            source.checkout = Some(directory.canonicalize().unwrap_or_else(|_| directory.to_owned()));
            loader.secret(&source, name);
        }
        Err(finding) => loader.findings.push(*finding),
    }
    loader.end()
}

/// The kinds of targets, each with a commented file to start from.
const TEMPLATES: [(&str, &str); 10] = [
    ("systemd", include_str!("../../packaging/examples/systemd.toml")),
    ("dotenv", include_str!("../../packaging/examples/dotenv.toml")),
    ("environment", include_str!("../../packaging/examples/environment.toml")),
    ("compose", include_str!("../../packaging/examples/compose.toml")),
    ("pm2", include_str!("../../packaging/examples/pm2.toml")),
    ("command", include_str!("../../packaging/examples/command.toml")),
    ("vercel", include_str!("../../packaging/examples/vercel.toml")),
    ("netlify", include_str!("../../packaging/examples/netlify.toml")),
    ("render", include_str!("../../packaging/examples/render.toml")),
    ("railway", include_str!("../../packaging/examples/railway.toml")),
];

/// The kinds of targets that there is a starting file for.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    TEMPLATES.iter().map(|(kind, _)| *kind)
}

/// A commented starting file for a kind of target.
pub fn template(kind: &str) -> Option<&'static str> {
    TEMPLATES.iter().find(|(name, _)| *name == kind).map(|(_, text)| *text)
}

#[derive(Default)]
struct Loader {
    settings: Settings,
    /// Which secret each place has.
    taken: HashMap<(String, String), SecretName>,
    findings: Vec<Finding>,
}

impl Loader {
    fn daemon(&mut self, source: &Source) {
        let mut report = Report::new(source);
        if let Some(table) = parse(source, &mut report) {
            self.settings.daemon = daemon_file::read(Reader::root(&table), &mut report);
        }
        self.findings.extend(report.into_findings());
    }

    fn secret(&mut self, source: &Source, name: Option<&str>) {
        let Some(name) = secret_name(&source.path, name, &mut self.findings) else { return };
        let mut report = Report::new(source);
        let described =
            parse(source, &mut report).and_then(|table| secret_file::read(Reader::root(&table), name, &mut report));
        if let Some(Described { settings, env }) = described.filter(|_| !report.has_failed()) {
            let places = places(&settings);
            if let Some((message, advice)) = self.conflict(&places, &settings) {
                report.error(env, message, advice);
            } else {
                self.taken.extend(places.into_iter().map(|place| (place, settings.name.clone())));
                self.settings.secrets.insert(settings.name.clone(), settings);
            }
        }
        self.findings.extend(report.into_findings());
    }

    /// What is wrong, and advice, where a place has another secret already.
    fn conflict(&self, places: &[(String, String)], settings: &SecretSettings) -> Option<(String, &'static str)> {
        let ((variable, place), rival) = places
            .iter()
            .filter_map(|place| Some((place, self.settings.secrets.get(self.taken.get(place)?)?)))
            .find(|(_, rival)| rival.name != settings.name)?;
        let variable = if variable.is_empty() { &settings.env } else { variable };
        let message = format!("{variable} of {place} is already rotated by {}", printable(&rival.file));
        Some((message, "keep one of the two files, or name another variable or unit"))
    }

    fn end(self) -> Loaded {
        Loaded { settings: self.settings, findings: self.findings }
    }
}

/// Where the secret is put: variables, each with its unit or file; the one of the previous value too.
fn places(secret: &SecretSettings) -> Vec<(String, String)> {
    let units = secret.targets.iter().flat_map(|target| target.units().iter().cloned());
    let files = secret.targets.iter().filter_map(|target| match target {
        TargetSettings::Dotenv(dotenv) | TargetSettings::Environment(dotenv) => {
            let key = dotenv.key.clone().unwrap_or_else(|| secret.env.clone());
            Some((key, dotenv.file.display().to_string()))
        }
        TargetSettings::Compose(compose) => {
            let key = match compose.place {
                ComposePlace::SecretFile(_) => String::new(),
                _ => compose.key.clone().unwrap_or_else(|| secret.env.clone()),
            };
            Some((key, compose.place.path().display().to_string()))
        }
        TargetSettings::Pm2(pm2) => {
            let key = pm2.key.clone().unwrap_or_else(|| secret.env.clone());
            Some((key, pm2.file().display().to_string()))
        }
        TargetSettings::Hosting(hosting) => {
            Some((hosting.key.clone().unwrap_or_else(|| secret.env.clone()), hosting.label()))
        }
        TargetSettings::Systemd(_) | TargetSettings::Command(_) => None,
    });
    let mut places: Vec<_> = units.map(|unit| (secret.env.clone(), unit)).chain(files).collect();
    if let Some(overlap) = &secret.overlap {
        let previous: Vec<_> = places
            .iter()
            .filter(|(variable, _)| !variable.is_empty())
            .map(|(_, place)| (overlap.previous_env.clone(), place.clone()))
            .collect();
        places.extend(previous);
    }
    places.sort();
    places.dedup();
    places
}

fn secret_name(path: &Path, name: Option<&str>, findings: &mut Vec<Finding>) -> Option<SecretName> {
    let stem = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.unwrap_or_else(|| stem.strip_suffix(".toml").unwrap_or(&stem));
    match SecretName::try_from(stem.to_owned()) {
        Ok(name) => Some(name),
        Err(reason) => {
            let advice = match name {
                Some(_) => "give --name another name",
                None => "rename the file: it is called NAME.toml after its secret (--standalone: or say --name)",
            };
            findings.push(whole(path, reason, advice));
            None
        }
    }
}

/// The table of a file; `None` where it is not text.
fn parse<'s>(source: &'s Source, report: &mut Report<'_>) -> Option<DeTable<'s>> {
    if let Some(span) = source.not_utf8.clone() {
        report.syntax(span, "this is not UTF-8 text", "save the file as UTF-8, without binary data");
        return None;
    }
    if let Some(at) = source.text.find('\0') {
        report.syntax(
            at..at + 1,
            "this is not text: it has a NUL byte",
            "replace the file; this one is damaged or binary",
        );
        return None;
    }
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    for error in &errors {
        let end = source.text.len();
        report.syntax(error.span().unwrap_or(end..end), error.message(), "correct it by the rules of https://toml.io");
    }
    Some(table.into_inner())
}
