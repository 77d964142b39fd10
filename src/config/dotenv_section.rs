//! `[[target]] type = "dotenv"`: a key of an env file that another program reads.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;

use super::env_name::env_name;
use super::hook_section;
use super::reader::Reader;
use super::report::{Mistake, Report};
use super::settings::{HookAct, HookSettings};
use super::target_section::{each_once, max_unavailable};
use super::target_settings::{DotenvTarget, Restart, WakeSignal};
use super::unit_name::service_name;
use super::values::{Bounds, duration};
use crate::text::env_file::Dialect;

const FILE: &str = "file = \"/srv/my-backend/.env\"";
const COMMAND: &str = "restart-command = [\"/usr/local/bin/restart-my-backend\"]";

pub(super) fn read(mut section: Reader<'_>, named: &mut Vec<String>, report: &mut Report<'_>) -> Option<DotenvTarget> {
    let file = section.path("file", FILE, report);
    section.need("file", FILE, report);
    let key = section.text("key", "key = \"JWT_SECRET\"", report, env_name);
    let dialect = section.text("dialect", "dialect = \"dotenv\"", report, dialect);
    let expose = section.take::<bool>("expose", "expose = true", report);
    let restart = restart(&mut section, named, report);
    section.finish(report);
    Some(DotenvTarget {
        file: file?.into_inner(),
        key: key.map(Spanned::into_inner),
        dialect: dialect.map(Spanned::into_inner).unwrap_or_default(),
        expose: expose.is_some_and(Spanned::into_inner),
        restart,
    })
}

/// `type = "environment"`: the file is `/etc/environment`, and nothing runs but units.
pub(super) fn environment(
    mut section: Reader<'_>,
    kind: Range<usize>,
    named: &mut Vec<String>,
    report: &mut Report<'_>,
) -> Option<DotenvTarget> {
    let key = section.text("key", "key = \"JWT_SECRET\"", report, env_name);
    let expose = section.take::<bool>("expose", "expose = true", report);
    let restart = restart(&mut section, named, report);
    if !matches!(restart, Restart::Units { .. } | Restart::Nothing) {
        let message = "nothing but units can follow /etc/environment; the rest is for `type = \"dotenv\"`";
        report.error(kind.clone(), message, "name `restart-units`, or none");
    }
    let is_exposed = expose.is_some_and(Spanned::into_inner);
    if !is_exposed {
        let message = "every local user can read /etc/environment, and every session has what is in it";
        let advice = "use another type; or add `expose = true` if everybody here may know it";
        report.error(kind, message, advice);
    }
    section.finish(report);
    let (file, dialect) = (PathBuf::from("/etc/environment"), Dialect::Pam);
    let key = key.map(Spanned::into_inner);
    is_exposed.then_some(DotenvTarget { file, key, dialect, expose: true, restart })
}

fn restart(section: &mut Reader<'_>, named: &mut Vec<String>, report: &mut Report<'_>) -> Restart {
    let units = section.texts("restart-units", "restart-units = [\"my-backend.service\"]", report, service_name);
    let has_units = section.had("restart-units");
    let max_unavailable = section.had("max-unavailable").then(|| (section.span(), max_unavailable(section, report)));
    if let Some((span, _)) = max_unavailable.as_ref().filter(|_| !has_units) {
        report.error(span.clone(), "`max-unavailable` means nothing without `restart-units`", "leave it out");
    }
    let command = hook_section::argv(section, "restart-command", COMMAND, report);
    let bounds = Bounds { least: Duration::from_secs(1), most: Duration::from_secs(600) };
    let timeout = section.text("restart-timeout", "restart-timeout = \"60s\"", report, |text| duration(text, bounds));
    if let Some(timeout) = timeout.as_ref().filter(|_| !section.had("restart-command")) {
        report.error(timeout.span(), "`restart-timeout` means nothing without `restart-command`", "leave it out");
    }
    let touch = section.path("touch", "touch = \"/srv/my-backend/server.js\"", report);
    let signal = section.choice::<WakeSignal>("signal", &["SIGHUP", "SIGUSR1", "SIGUSR2", "SIGTERM"], &[], report);
    let pid_file = section.path("pid-file", "pid-file = \"/run/my-backend/pid\"", report);
    match (&signal, &pid_file) {
        (Some(signal), None) if !section.had("pid-file") => {
            report.error(signal.span(), "`signal` needs the process that it is for", "add `pid-file`");
        }
        (None, Some(pid_file)) if !section.had("signal") => {
            report.error(pid_file.span(), "`pid-file` means nothing without `signal`", "leave it out");
        }
        _ => {}
    }
    let ways = ["restart-units", "restart-command", "touch", "signal"];
    let spans = [
        units.as_ref().map(Spanned::span),
        command.as_ref().map(Spanned::span),
        touch.as_ref().map(Spanned::span),
        signal.as_ref().map(Spanned::span),
    ];
    let mut named_ways = ways.into_iter().zip(spans).filter_map(|(way, span)| Some((way, span?)));
    if let (Some((first, _)), Some((second, span))) = (named_ways.next(), named_ways.next()) {
        report.error(span, format!("`{first}` and `{second}` exclude each other"), "keep one of them");
    }
    if let Some(units) = units.as_ref().filter(|_| report.source.checkout.is_some()) {
        let advice = "name a `restart-command`, a `touch` or a `signal`";
        report.error(units.span(), "`restart-units` needs systemd and the daemon, and this is without them", advice);
    }
    if let Some(units) = units {
        let units = each_once("restart-units", units.into_inner(), named, report);
        return Restart::Units { units, max_unavailable: max_unavailable.map_or(1, |(_, number)| number) };
    }
    match (command, touch, signal.zip(pid_file)) {
        (Some(argv), ..) => Restart::Command(HookSettings {
            act: HookAct::Command { argv: argv.into_inner(), user: None },
            timeout: timeout.map_or(Duration::from_secs(60), Spanned::into_inner),
        }),
        (None, Some(touch), _) => Restart::Touch(touch.into_inner()),
        (None, None, Some((signal, pid_file))) => {
            Restart::Signal { signal: signal.into_inner(), pid_file: pid_file.into_inner() }
        }
        (None, None, None) => Restart::Nothing,
    }
}

pub(super) fn dialect(text: &str) -> Result<Dialect, Mistake> {
    text.parse().map_err(|known| Mistake::new(format!("{text:?} is no dialect of env files"), format!("write {known}")))
}
