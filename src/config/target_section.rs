//! `[[target]]`: where a secret is delivered to.

use toml::Spanned;

use super::reader::Reader;
use super::report::{Mistake, Report};
use super::settings::{DaemonReload, SystemdTarget, TargetSettings};
use super::unit_name::service_name;

/// The types that a coming version will know.
const LATER: &[&str] =
    &["environment", "dotenv", "compose", "pm2", "vercel", "netlify", "render", "railway", "command"];

/// Reads all targets of a secret.
pub(super) fn read(sections: Vec<Reader<'_>>, report: &mut Report<'_>) -> Vec<TargetSettings> {
    let mut named = Vec::new();
    sections.into_iter().filter_map(|section| target(section, &mut named, report)).collect()
}

fn target(mut section: Reader<'_>, named: &mut Vec<String>, report: &mut Report<'_>) -> Option<TargetSettings> {
    let kind = section.choice::<String>("type", &["systemd"], LATER, report);
    section.need("type", "type = \"systemd\"", report);
    kind?;
    systemd(section, named, report).map(TargetSettings::Systemd)
}

fn systemd(mut section: Reader<'_>, named: &mut Vec<String>, report: &mut Report<'_>) -> Option<SystemdTarget> {
    let example = "units = [\"my-backend.service\"]";
    let units = section.texts("units", example, report, service_name);
    section.need("units", example, report);
    section.choice::<String>(
        "deliver",
        &["environment-file"],
        &["credential", "encrypted-credential", "environment", "credential-socket"],
        report,
    );
    section.choice::<String>("activate", &["restart"], &["reload", "none"], report);
    let daemon_reload = section.choice::<DaemonReload>("daemon-reload", &["auto", "always"], &[], report);
    section.later(&["max-unavailable", "path-env", "expose"], "leave it out: units are restarted in order", report);
    section.finish(report);
    let units = units?.into_inner();
    for unit in &units {
        if let Err(Mistake { message, advice }) = once(unit, named, report) {
            report.error(unit.span(), format!("`units`: {message}"), advice);
        }
    }
    let units = units.into_iter().map(|unit| unit.into_inner()).collect();
    let daemon_reload = daemon_reload.map(|when| when.into_inner()).unwrap_or_default();
    Some(SystemdTarget { units, daemon_reload })
}

/// Whether a unit is named for the first time, and as it was meant: TOML's `"\x2d"` is a dash and not systemd's
/// escape.
fn once(unit: &Spanned<String>, named: &mut Vec<String>, report: &Report<'_>) -> Result<(), Mistake> {
    let written = &report.source.text[unit.span()];
    if written.starts_with('"') && written.contains("\\x") {
        let advice = "write it in single quotes, which keep backslashes";
        return Err(Mistake::new("`\\x` in double quotes is TOML's escape and not systemd's", advice));
    }
    let name = unit.get_ref();
    if named.contains(name) {
        return Err(Mistake::new(format!("{name} is named twice"), "name each unit once in a file"));
    }
    named.push(name.clone());
    Ok(())
}
