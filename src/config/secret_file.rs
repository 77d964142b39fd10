//! One secret's file: its sections become [`SecretSettings`].

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;

use super::env_name::{assigned, env_name};
use super::hook_section;
use super::hosting_section;
use super::probe_section;
use super::probe_settings::{ProbeSettings, TokenSource};
use super::proof_section::{self, Proof};
use super::reader::Reader;
use super::report::{Mistake, Report};
use super::settings::{Course, HookSettings, Kind, Overlap, Retire, Schedule, SecretName, SecretSettings, Shape};
use super::target_section;
use super::target_settings::{ComposePlace, Deliver, TargetSettings};
use super::values::{Bounds, DAY, duration, human, on_calendar};
use crate::secret::Format;

const MINUTE: Duration = Duration::from_secs(60);
const YEAR: Duration = DAY.saturating_mul(365);

/// A secret as it was read, with where its variable is named.
pub(super) struct Described {
    /// The settings.
    pub settings: SecretSettings,
    /// The span of the value of `env`.
    pub env: Range<usize>,
}

/// Reads the file of `name`; `None` where a part that has no default is missing or wrong.
pub(super) fn read(mut root: Reader<'_>, name: SecretName, report: &mut Report<'_>) -> Option<Described> {
    let secret = root.table("secret", "[secret]", report);
    root.need("secret", "[secret]", report);
    let schedule = root.table("schedule", "[schedule]", report);
    let rotation = root.table("rotation", "[rotation]", report);
    let proof = root.table("proof", "[proof]", report);
    let invalidation = root.table("invalidation", "[invalidation]", report);
    let targets = root.tables("target", report);
    root.need("target", "[[target]]", report);
    let probes = root.tables("probe", report);
    let logout = root.table("logout", "[logout]", report);
    root.later(&["hook"], "leave it out", report);
    root.finish(report);

    let identity = secret.map(|section| identity(section, report));
    let schedule = schedule.and_then(|section| self::schedule(section, report));
    let (said, dead_man) = rotation.map_or((None, true), |section| self::rotation(section, report));
    let deadline = said.as_ref().map_or(MINUTE * 10, |said| *said.get_ref());
    let Proof { settle, allow_without, aftercare, watch } =
        proof.map_or_else(Proof::default, |section| proof_section::read(section, deadline, report));
    let overlap = invalidation.and_then(|section| self::overlap(section, report));
    let logout = logout.and_then(|section| hook_section::logout(section, report));
    let written = probes.len();
    let probes = probe_section::read(probes, deadline, report);
    // A probe that is written but wrong has findings of its own.
    let is_probed = probes.len() < written || probes.iter().any(ProbeSettings::sees_the_value);
    let asks_with_tokens = probes.iter().any(|probe| matches!(probe, ProbeSettings::Jwt(_)));
    let env = identity.as_ref().and_then(|identity| identity.env.as_ref()).map(|(name, _)| name.as_str());
    let context = target_section::Context { env, is_probed, asks_with_tokens, overlaps: overlap.is_some(), deadline };
    let targets = target_section::read(targets, context, report);

    let (deploying, settling) = hosting_section::times(&targets, settle, overlap.is_some());
    if let Some(said) = said.as_ref().filter(|said| !settling.is_zero() && *said.get_ref() <= settling) {
        let message = format!(
            "`deadline` is not longer than the {} that what platforms serve must stay so, without their deployments",
            human(settling)
        );
        report.error(said.span(), message, "make it longer, or `settle` of the targets shorter");
    }
    let deadline = if said.is_some() { deadline } else { deadline + deploying + settling };
    let Identity { env, kind, bytes, format, keep, re_encrypt } = identity?;
    let (env, span) = env?;
    if let Some((span, _)) = re_encrypt.as_ref().filter(|_| overlap.is_none()) {
        let message = "data that is encrypted with the old value must be readable until all of it is encrypted anew";
        report.error(span.clone(), message, "add [invalidation] with `mode = \"overlap\"`");
    }
    if let Some((span, _)) = re_encrypt.as_ref().filter(|_| !targets.iter().any(has_files_of_ours)) {
        let message =
            "`re-encrypt` is given the values as a systemd target delivers them, and none does so in plain files";
        let advice =
            "add the systemd target of what encrypts, with `deliver = \"environment-file\"` or `\"credential\"`";
        report.error(span.clone(), message, advice);
    }
    let overlap = overlap.map(|(overlap, Places { previous, with_next_restart })| {
        if let Some((place, kind)) = with_next_restart.zip(targets.iter().find_map(kind_that_restarts)) {
            let message = format!(
                "`retire = \"with-next-restart\"` leaves the old value with what runs, and with `type = \"{kind}\"` that \
                 must have what its file says"
            );
            report.error(place, message, "leave `retire` out: then they are restarted at the end of the overlap");
        }
        if overlap.previous_env == env {
            let message = format!("`previous-env`: {env} is the variable of the value itself");
            report.error(previous.clone(), message, "name another variable, such as JWT_SECRET_PREVIOUS");
        }
        let whole = |target: &TargetSettings| {
            matches!(target, TargetSettings::Compose(compose) if matches!(compose.place, ComposePlace::SecretFile(_)))
        };
        if targets.iter().any(whole) {
            let message = "`previous-env`: a target has the value as the whole of a `secret-file`, with no place for another";
            report.error(previous.clone(), message, "use `mode = \"immediate\"`, or an `env-file`");
        }
        if overlap.length.is_none() && sees_only_its_own_tokens(&probes) {
            let message = "no probe sees a token of the backend's, and `overlap = \"auto\"` is as long as these live";
            let advice = "write how long they live, as `overlap = \"15m\"`, or let the probe log in instead of `mint`";
            report.error(previous, message, advice);
        }
        overlap
    });
    let file = report.source.path.clone();
    let settings = SecretSettings {
        name,
        file,
        env,
        kind,
        bytes,
        format,
        keep,
        schedule,
        deadline,
        dead_man,
        overlap,
        logout,
        re_encrypt: re_encrypt.map(|(_, hook)| hook),
        settle,
        allow_without,
        aftercare,
        watch,
        targets,
        probes,
    };
    Some(Described { settings, env: span })
}

/// The type of a target whose consumers cannot go on with what is not delivered any more.
fn kind_that_restarts(target: &TargetSettings) -> Option<&'static str> {
    match target {
        TargetSettings::Compose(_) => Some("compose"),
        TargetSettings::Pm2(_) => Some("pm2"),
        TargetSettings::Hosting(hosting) => Some(hosting.platform.kind()),
        _ => None,
    }
}

/// Whether values are delivered to it in files that a program of the administrator's can read.
fn has_files_of_ours(target: &TargetSettings) -> bool {
    matches!(target, TargetSettings::Systemd(systemd)
        if matches!(systemd.deliver, Deliver::EnvironmentFile | Deliver::Credential))
}

/// Whether there are probes that ask with tokens, and all make these themselves.
fn sees_only_its_own_tokens(probes: &[ProbeSettings]) -> bool {
    let mut of_tokens = probes.iter().filter_map(|probe| match probe {
        ProbeSettings::Jwt(jwt) => Some(matches!(jwt.token, TokenSource::Mint(_))),
        ProbeSettings::Http(_) | ProbeSettings::Command(_) => None,
    });
    let first = of_tokens.next();
    first == Some(true) && of_tokens.all(|mints| mints)
}

struct Identity {
    env: Option<(String, Range<usize>)>,
    kind: Kind,
    bytes: usize,
    format: Format,
    keep: Duration,
    re_encrypt: Option<(Range<usize>, HookSettings)>,
}

fn identity(mut section: Reader<'_>, report: &mut Report<'_>) -> Identity {
    let env = variable(&mut section, report);
    let kind =
        section.choice::<Kind>("kind", &["signing", "session", "password", "api-token", "encryption"], &[], report);
    let is_encryption = kind.as_ref().is_some_and(|kind| *kind.get_ref() == Kind::Encryption);
    let re_encrypt = hook_section::re_encrypt(&mut section, report);
    match (&kind, &re_encrypt) {
        (Some(kind), None) if is_encryption && !section.had("re-encrypt") => {
            let message = "`kind = \"encryption\"`: data encrypted with the old key would be lost";
            let advice = "name the command that encrypts it anew, as `re-encrypt = [\"/usr/local/bin/re-encrypt\"]`, or \
                          leave this key alone and remove this file";
            report.error(kind.span(), message, advice);
        }
        (_, Some((span, _))) if !is_encryption => {
            let message = "`re-encrypt` means nothing without `kind = \"encryption\"`";
            report.error(span.clone(), message, "leave it out, or write the kind");
        }
        _ => {}
    }
    let bytes = entropy(&mut section, report);
    let format = section.choice::<Format>("format", &["hex", "base64url", "base64", "alphanumeric"], &[], report);
    let keep =
        length(&mut section, "keep", "keep = \"30d\"", Bounds { least: Duration::ZERO, most: YEAR * 10 }, report);
    section.finish(report);
    Identity {
        env,
        kind: kind.map(|kind| kind.into_inner()).unwrap_or_default(),
        bytes: bytes.unwrap_or(32),
        format: format.map(|format| format.into_inner()).unwrap_or_default(),
        keep: keep.unwrap_or(DAY * 30),
        re_encrypt,
    }
}

fn variable(section: &mut Reader<'_>, report: &mut Report<'_>) -> Option<(String, Range<usize>)> {
    let example = "env = \"JWT_SECRET\"";
    let given = section.word("env", || example.to_owned(), report);
    section.need("env", example, report);
    let given = given?;
    let span = given.span();
    match env_name(given.into_inner()) {
        Ok(name) => Some((name, span)),
        Err(Mistake { message, advice }) => {
            let hidden = assigned(&report.source.text[span.clone()]).map(|part| span.start + part.start..span.end);
            report.error_hiding(span, hidden.unwrap_or(0..0), format!("`env`: {message}"), advice);
            None
        }
    }
}

fn entropy(section: &mut Reader<'_>, report: &mut Report<'_>) -> Option<usize> {
    let given = section.take::<u32>("bytes", "bytes = 32", report)?;
    let bytes = *given.get_ref();
    if bytes < 32 {
        report.error(given.span(), format!("`bytes = {bytes}` is too little: 32 is the least"), "write `bytes = 32`");
        return None;
    }
    if bytes > 1024 {
        report.error(given.span(), format!("`bytes = {bytes}` is too much: 1024 is the most"), "write `bytes = 32`");
        return None;
    }
    usize::try_from(bytes).ok()
}

fn schedule(mut section: Reader<'_>, report: &mut Report<'_>) -> Option<Schedule> {
    let example = "on-calendar = \"monthly\"";
    let on_calendar = section.texts("on-calendar", example, report, on_calendar);
    section.need("on-calendar", example, report);
    let any = Bounds { least: Duration::ZERO, most: YEAR };
    let delay = section.text("randomized-delay", "randomized-delay = \"10min\"", report, |text| duration(text, any));
    let persistent = section.take::<bool>("persistent", "persistent = true", report);
    let window = length(&mut section, "window", "window = \"3h\"", any, report).unwrap_or_default();
    let least = Bounds { least: Duration::from_secs(1), most: YEAR * 10 };
    let overdue_after = length(&mut section, "overdue-after", "overdue-after = \"45d\"", least, report);
    section.later(&["paused"], "leave it out", report);
    if let Some(delay) = delay.as_ref().filter(|delay| !window.is_zero() && *delay.get_ref() >= window) {
        let message = format!("`randomized-delay` leaves nothing of the `window` of {}", human(window));
        report.error(delay.span(), message, "make the delay shorter than the window");
    }
    section.finish(report);
    Some(Schedule {
        on_calendar: words(on_calendar?).collect(),
        randomized_delay: delay.map(|delay| delay.into_inner()).unwrap_or_default(),
        persistent: persistent.is_none_or(|persistent| persistent.into_inner()),
        window,
        overdue_after,
    })
}

fn rotation(mut section: Reader<'_>, report: &mut Report<'_>) -> (Option<Spanned<Duration>>, bool) {
    let bounds = Bounds { least: Duration::from_secs(5), most: DAY };
    let deadline = section.text("deadline", "deadline = \"10min\"", report, |text| duration(text, bounds));
    let dead_man = section.take::<bool>("dead-man", "dead-man = true", report);
    section.later(&["retry"], "leave it out", report);
    section.finish(report);
    (deadline, dead_man.is_none_or(|dead_man| dead_man.into_inner()))
}

fn words(texts: Spanned<Vec<Spanned<String>>>) -> impl Iterator<Item = String> {
    texts.into_inner().into_iter().map(Spanned::into_inner)
}

/// Where an overlap says what does not go with some targets and probes.
struct Places {
    /// The value of `previous-env`.
    previous: Range<usize>,
    /// That of `retire`, where it is `with-next-restart`.
    with_next_restart: Option<Range<usize>>,
}

fn overlap(mut section: Reader<'_>, report: &mut Report<'_>) -> Option<(Overlap, Places)> {
    let mode = section.choice::<Mode>("mode", &["immediate", "overlap"], &[], report).map(|mode| mode.into_inner());
    section.later(&["skew"], "leave it out", report);
    if mode != Some(Mode::Overlap) {
        for key in ["previous-env", "overlap", "strategy", "shape", "retire", "retire-on-calendar"] {
            if let Some((span, _)) = section.take_raw(key) {
                let message = format!("`{key}` means nothing without an overlap");
                report.error(span, message, "write `mode = \"overlap\"` as well, or leave it out");
            }
        }
        section.finish(report);
        return None;
    }
    let example = "previous-env = \"JWT_SECRET_PREVIOUS\"";
    let previous = section.text("previous-env", example, report, env_name);
    section.need("previous-env", example, report);
    let bounds = Bounds { least: MINUTE, most: YEAR };
    let length = section.text("overlap", "overlap = \"15m\"", report, |text| match text {
        "auto" => Ok(None),
        text => duration(text, bounds).map(Some),
    });
    let strategy = section.choice::<Course>("strategy", &["auto", "publish-first", "one-step", "window"], &[], report);
    let strategy = strategy.map(|strategy| strategy.into_inner()).unwrap_or_default();
    let shape = section.choice::<Shape>("shape", &["single", "list"], &[], report);
    let retire = section.choice::<Retire>("retire", &["restart", "with-next-restart"], &[], report);
    let dates = section.texts("retire-on-calendar", "retire-on-calendar = \"*-*-* 03:00\"", report, on_calendar);
    section.finish(report);
    let is_ended =
        strategy != Course::Window && retire.as_ref().is_none_or(|retire| *retire.get_ref() != Retire::WithNextRestart);
    if let Some(dates) = dates.as_ref().filter(|_| !is_ended) {
        let message = "`retire-on-calendar` means nothing where nothing is restarted for the end of the overlap";
        report.error(dates.span(), message, "leave it out");
    }
    if strategy == Course::Window {
        if let Some(shape) = shape.as_ref().filter(|shape| *shape.get_ref() == Shape::Single) {
            let message = "with `strategy = \"window\"` two other values are accepted, and `shape` is for one";
            report.error(shape.span(), message, "write `shape = \"list\"`, and have the program split it at commas");
        }
        if let Some(retire) = &retire {
            let message =
                "`retire` means nothing with `strategy = \"window\"`, where the next rotation drops the value";
            report.error(retire.span(), message, "leave it out");
        }
    }
    let default_shape = if strategy == Course::Window { Shape::List } else { Shape::Single };
    let previous = previous?;
    let late = retire.as_ref().filter(|retire| *retire.get_ref() == Retire::WithNextRestart);
    let places = Places { previous: previous.span(), with_next_restart: late.map(|retire| retire.span()) };
    let overlap = Overlap {
        previous_env: previous.into_inner(),
        length: length.and_then(|length| length.into_inner()),
        strategy,
        shape: shape.map_or(default_shape, |shape| shape.into_inner()),
        retire: retire.map(|retire| retire.into_inner()).unwrap_or_default(),
        retire_on_calendar: dates.into_iter().flat_map(words).collect(),
    };
    Some((overlap, places))
}

#[derive(Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    Immediate,
    Overlap,
}

fn length(
    section: &mut Reader<'_>,
    key: &'static str,
    example: &str,
    bounds: Bounds,
    report: &mut Report<'_>,
) -> Option<Duration> {
    section.text(key, example, report, |text| duration(text, bounds)).map(|length| length.into_inner())
}
