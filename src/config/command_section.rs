//! `[[target]] type = "command"`: a program of the administrator's that is a target itself.

use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::DeValue;

use super::claims::{is_secret, json};
use super::hook_section::{argv, user};
use super::reader::{Reader, kind_of};
use super::report::{Mistake, Report};
use super::target_settings::CommandTarget;
use super::values::{Bounds, duration, human};

const COMMAND: &str = "command = [\"/usr/local/lib/rekeyd/my-database\"]";
const SETTINGS: &str = "settings = { database = \"app\" }";
const BOUNDS: Bounds = Bounds { least: Duration::from_secs(1), most: Duration::from_secs(3600) };
/// A name has room in a line.
const LONGEST: usize = 100;

pub(super) fn read(
    mut section: Reader<'_>,
    (named, deadline): (&mut Vec<String>, Duration),
    report: &mut Report<'_>,
) -> Option<CommandTarget> {
    let argv = argv(&mut section, "command", COMMAND, report);
    section.need("command", COMMAND, report);
    let name = section.text("name", "name = \"the database\"", report, name);
    let user = section.text("user", "user = \"postgres\"", report, user);
    if let Some(user) = user.as_ref().filter(|_| report.source.checkout.is_some()) {
        report.error(user.span(), "`user` needs the daemon: without it, programs run as you", "leave it out");
    }
    let timeout = section.text("timeout", "timeout = \"60s\"", report, |text| duration(text, BOUNDS));
    if let Some(timeout) = timeout.as_ref().filter(|timeout| *timeout.get_ref() >= deadline) {
        let message = format!("`timeout` is not shorter than the whole rotation's `deadline` of {}", human(deadline));
        report.warning(timeout.span(), message, "make it shorter, or `deadline` under [rotation] longer");
    }
    let settings = settings(&mut section, report);
    let span = section.span();
    section.finish(report);
    let argv = argv?.into_inner();
    let name = name.map_or_else(|| named_after(&argv), Spanned::into_inner);
    let consumer = format!("command {name}");
    if named.contains(&consumer) {
        report.error(span, format!("two targets are called {name}"), "give one of them a `name` of its own");
    }
    named.push(consumer);
    Some(CommandTarget {
        name,
        argv,
        user: user.map(Spanned::into_inner),
        timeout: timeout.map_or(Duration::from_secs(60), Spanned::into_inner),
        settings,
    })
}

/// The program's file, and its arguments.
fn named_after(argv: &[String]) -> String {
    let program = argv.first().map(Path::new).and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    let words: Vec<&str> = std::iter::once(&*program).chain(argv.iter().skip(1).map(String::as_str)).collect();
    words.join(" ").chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}

fn name(text: &str) -> Result<String, Mistake> {
    let fits = !text.trim().is_empty() && text.len() <= LONGEST && !text.chars().any(char::is_control);
    let mistake = || Mistake::new(format!("{text:?} is no name"), "write a few words, as \"the database\"");
    fits.then(|| text.to_owned()).ok_or_else(mistake)
}

/// What is passed on to the program as it is. Its names become those of variables as well.
fn settings(section: &mut Reader<'_>, report: &mut Report<'_>) -> Map<String, Value> {
    let mut settings = Map::new();
    let Some((_, value)) = section.take_raw("settings") else { return settings };
    let DeValue::Table(entries) = value.get_ref() else {
        let message = format!("`settings` wants a table, this is {}", kind_of(value.get_ref()));
        report.error(value.span(), message, format!("write it as in `{SETTINGS}`"));
        return settings;
    };
    for (key, value) in entries {
        let name = key.get_ref();
        let is_plain = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !is_plain {
            let advice = "use lower-case letters, digits and dashes";
            report.error(key.span(), format!("{name:?} cannot be the name of a setting"), advice);
        } else if is_secret(name) {
            let message = format!("the setting `{name}` looks like a secret, but everybody here can see settings");
            let advice = "put it into a file that the program's user alone can read, and name the file";
            report.error_hiding(key.span(), value.span(), message, advice);
        } else if let Some(value) = json(value, report) {
            settings.insert(name.to_string(), value);
        }
    }
    settings
}
