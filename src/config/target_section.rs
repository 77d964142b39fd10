//! `[[target]]`: where a secret is delivered to.

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;

use super::command_section;
use super::compose_section;
use super::dotenv_section;
use super::env_name::env_name;
use super::hosting_section;
use super::pm2_section;
use super::reader::Reader;
use super::report::{Mistake, Report};
use super::target_settings::{Activate, DaemonReload, Deliver, SystemdTarget, TargetSettings};
use super::unit_name::{service_name, template_of};

/// The types.
const KINDS: &[&str] =
    &["systemd", "dotenv", "environment", "compose", "pm2", "command", "vercel", "netlify", "render", "railway"];

/// What the other sections say that matters here.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    /// The variable, where it is right.
    pub env: Option<&'a str>,
    /// Whether a probe sees which value the consumer uses.
    pub is_probed: bool,
    /// Whether one of them asks with tokens.
    pub asks_with_tokens: bool,
    /// Whether the old value stays accepted for a while.
    pub overlaps: bool,
    /// How long the whole rotation may take.
    pub deadline: Duration,
}

/// What the targets that were read so far say that matters to the next ones, or to all.
#[derive(Default)]
struct Read {
    /// The consumers that are named.
    named: Vec<String>,
    /// Where it is said that nothing is activated.
    left_alone: Vec<Range<usize>>,
}

/// Reads all targets of a secret.
pub(super) fn read(sections: Vec<Reader<'_>>, context: Context<'_>, report: &mut Report<'_>) -> Vec<TargetSettings> {
    let mut read = Read::default();
    let written = sections.len();
    let targets = sections.into_iter().filter_map(|section| target(section, context, &mut read, report)).collect();
    if let Some(first) =
        read.left_alone.first().filter(|_| context.asks_with_tokens && read.left_alone.len() == written)
    {
        let message = "the jwt probe is answered by processes that keep the value they were started with: it could never \
                       see the new one";
        let advice = "use `activate = \"restart\"`, or leave the probe out, or use one with `type = \"http\"`";
        report.error(first.clone(), message, advice);
    }
    targets
}

fn target(
    mut section: Reader<'_>,
    context: Context<'_>,
    read: &mut Read,
    report: &mut Report<'_>,
) -> Option<TargetSettings> {
    let kind = section.choice::<String>("type", KINDS, &[], report);
    section.need("type", "type = \"systemd\"", report);
    let kind = kind?;
    let kind_span = kind.span();
    if report.source.checkout.is_some() && !["dotenv", "command"].contains(&kind.get_ref().as_str()) {
        let message = format!("`type = \"{}\"` needs systemd and the daemon, and this is without them", kind.get_ref());
        report.error(kind_span, message, "use \"dotenv\" with a `restart-command`, or \"command\"");
        return None;
    }
    let named = &mut read.named;
    match kind.get_ref().as_str() {
        "compose" => compose_section::read(section, report).map(TargetSettings::Compose),
        "dotenv" => dotenv_section::read(section, named, report).map(TargetSettings::Dotenv),
        "environment" => {
            dotenv_section::environment(section, kind_span, named, report).map(TargetSettings::Environment)
        }
        "pm2" => pm2_section::read(section, named, report).map(TargetSettings::Pm2),
        "command" => command_section::read(section, (named, context.deadline), report).map(TargetSettings::Command),
        hosting if hosting_section::TYPES.contains(&hosting) => {
            hosting_section::read(hosting, section, report).map(TargetSettings::Hosting)
        }
        _ => systemd(section, context, read, report).map(TargetSettings::Systemd),
    }
}

fn systemd(
    mut section: Reader<'_>,
    context: Context<'_>,
    read: &mut Read,
    report: &mut Report<'_>,
) -> Option<SystemdTarget> {
    let example = "units = [\"my-backend.service\"]";
    let units = section.texts("units", example, report, service_name);
    section.need("units", example, report);
    let (deliver, path_env) = way(&mut section, context, report);
    let activate = activate(&mut section, deliver, context, read, report);
    let daemon_reload = section.choice::<DaemonReload>("daemon-reload", &["auto", "always"], &[], report);
    if let Some((span, _)) = section.take_raw("max-unavailable").filter(|_| activate == Activate::None) {
        let message = "`max-unavailable` means nothing with `activate = \"none\"`, which restarts nothing";
        report.error(span, message, "leave it out");
    }
    let max_unavailable = max_unavailable(&mut section, report);
    section.finish(report);
    let units = each_once("units", units?.into_inner(), &mut read.named, report);
    let daemon_reload = daemon_reload.map(|when| when.into_inner()).unwrap_or_default();
    Some(SystemdTarget { units, deliver, path_env, activate, max_unavailable, daemon_reload })
}

/// `max-unavailable`.
pub(super) fn max_unavailable(section: &mut Reader<'_>, report: &mut Report<'_>) -> usize {
    let number = section.take::<u32>("max-unavailable", "max-unavailable = 1", report);
    if let Some(none) = number.as_ref().filter(|number| *number.get_ref() == 0) {
        report.error(none.span(), "`max-unavailable` is 0: no unit could ever be restarted", "write 1 or more");
    }
    number.map_or(1, |number| number.into_inner().max(1) as usize)
}

/// The units of `key`; a mistake where one is named by another target already.
pub(super) fn each_once(
    key: &str,
    units: Vec<Spanned<String>>,
    named: &mut Vec<String>,
    report: &mut Report<'_>,
) -> Vec<String> {
    for unit in &units {
        if let Err(Mistake { message, advice }) = once(unit, named, report) {
            report.error(unit.span(), format!("`{key}`: {message}"), advice);
        }
    }
    units.into_iter().map(|unit| unit.into_inner()).collect()
}

/// `deliver`, with the keys that belong to some of its words.
fn way(section: &mut Reader<'_>, context: Context<'_>, report: &mut Report<'_>) -> (Deliver, Option<String>) {
    let words = ["environment-file", "credential", "encrypted-credential", "environment"];
    let written = section.choice::<Deliver>("deliver", &words, &["credential-socket"], report);
    let is_wrong = written.is_none() && section.had("deliver");
    let deliver = written.as_ref().map(|word| *word.get_ref()).unwrap_or_default();
    let expose = section.take::<bool>("expose", "expose = true", report);
    let exposed = expose.as_ref().is_some_and(|expose| *expose.get_ref());
    match &written {
        Some(word) if deliver == Deliver::Environment && !exposed => report.error(
            word.span(),
            "`deliver = \"environment\"` shows the value to every local user, by `systemctl show`",
            "use \"environment-file\" or \"credential\"; or add `expose = true` if everybody here may know it",
        ),
        Some(word) if deliver.is_credential() && context.env == Some("env") => report.error(
            word.span(),
            "a credential cannot be named `env`, which is the name of another file there",
            "give `env` under [secret] another name",
        ),
        _ => {}
    }
    if let Some(expose) = expose.filter(|expose| *expose.get_ref() && deliver != Deliver::Environment && !is_wrong) {
        let message = "`expose = true` is for `deliver = \"environment\"` alone: nothing else shows the value";
        report.error(expose.span(), message, "leave it out");
    }
    let path_env = section.text("path-env", "path-env = \"JWT_SECRET_FILE\"", report, env_name);
    if let Some(name) = &path_env {
        if !deliver.is_credential() && !is_wrong {
            let message = "`path-env` tells a unit where its credential is, and this one gets none";
            let advice = "leave it out, or use `deliver = \"credential\"`";
            report.error(name.span(), message, advice);
        } else if context.env == Some(name.get_ref()) {
            let message = format!("`path-env` and `env` are both {}", name.get_ref());
            report.error(name.span(), message, "name another variable, as \"JWT_SECRET_FILE\"");
        }
    }
    (deliver, path_env.map(|name| name.into_inner()))
}

/// `activate`: by a reload only where that can bring the value, and where something can see that it did; not at all only
/// where nobody is promised that the consumers know the value by a certain time.
fn activate(
    section: &mut Reader<'_>,
    deliver: Deliver,
    context: Context<'_>,
    read: &mut Read,
    report: &mut Report<'_>,
) -> Activate {
    let activate = section.choice::<Activate>("activate", &["restart", "reload", "none"], &[], report);
    if let Some(word) = activate.as_ref().filter(|word| *word.get_ref() == Activate::None) {
        read.left_alone.push(word.span());
        if context.overlaps {
            let message = "units that nothing restarts learn neither of a new value nor of the end of an overlap";
            let advice = "use `activate = \"restart\"`, or [invalidation] `mode = \"immediate\"`";
            report.error(word.span(), message, advice);
        }
    }
    if let Some(word) = activate.as_ref().filter(|word| *word.get_ref() == Activate::Reload) {
        if deliver.is_credential() {
            let message = "a reload brings no new credential: systemd loads credentials when a unit starts";
            report.error(word.span(), message, "use `activate = \"restart\"`, or another `deliver`");
        } else if !context.is_probed {
            let message =
                "processes keep their environment through a reload, so nothing here could prove the new value";
            report.error(
                word.span(),
                message,
                "add a [[probe]] with `type = \"jwt\"` or `\"command\"`, or use `activate = \"restart\"`",
            );
        }
    }
    activate.map(|word| word.into_inner()).unwrap_or_default()
}

/// Whether a unit is named for the first time, and as it was meant: TOML's `"\x2d"` is a dash and not systemd's
/// escape.
fn once(unit: &Spanned<String>, named: &mut Vec<String>, report: &Report<'_>) -> Result<(), Mistake> {
    let written = &report.source.text[unit.span()];
    if written.starts_with('"') && escapes(written).any(|escaped| escaped == 'x') {
        let advice = "write it in single quotes, which keep backslashes";
        return Err(Mistake::new("`\\x` in double quotes is TOML's escape and not systemd's", advice));
    }
    let name = unit.get_ref();
    let same = |other: &&String| {
        *other == name || template_of(other).as_ref() == Some(name) || template_of(name).as_ref() == Some(*other)
    };
    match named.iter().find(same) {
        Some(other) if other == name => {
            return Err(Mistake::new(format!("{name} is named twice"), "name each unit once in a file"));
        }
        Some(other) => {
            let message = format!("{name} and {other} are named: a template stands for all its instances");
            return Err(Mistake::new(message, "name the template or its instances, not both"));
        }
        None => {}
    }
    named.push(name.clone());
    Ok(())
}

/// What follows on each backslash of a TOML string in double quotes: a backslash itself is written as two.
fn escapes(written: &str) -> impl Iterator<Item = char> {
    let mut rest = written.chars();
    std::iter::from_fn(move || {
        rest.find(|&c| c == '\\')?;
        rest.next()
    })
}
