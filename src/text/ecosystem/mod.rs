//! Ecosystem files of PM2: the value of one variable of one app, read or replaced, and every other byte kept.
//!
//! They are programs (`.config.js`, `.config.cjs`), JavaScript's literals (`.json`) or YAML. A value is read where it is
//! written out, and refused, with its place, where it comes from code.

use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::compose_file::Quotes;
use super::env_file::spliced;
use super::refusal::{self, Problem, Refusal, problem};
use crate::secret::SecretValue;

mod literal;
mod tokens;
mod yaml;

#[cfg(test)]
mod tests;

/// What an ecosystem file is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// A literal of JavaScript, as which PM2 evaluates it.
    Json,
    /// YAML.
    Yaml,
    /// A module of JavaScript.
    Module,
}

impl Format {
    /// What PM2 takes the file for, which goes by these parts of its path; none where it takes it for the name of an app.
    pub fn of(path: &Path) -> Option<Self> {
        let known = [
            (".json", Self::Json),
            (".yml", Self::Yaml),
            (".yaml", Self::Yaml),
            (".config.js", Self::Module),
            (".config.cjs", Self::Module),
            (".config.mjs", Self::Module),
        ];
        let path = path.to_string_lossy();
        known.into_iter().find(|(part, _)| path.contains(part)).map(|(_, format)| format)
    }
}

/// A variable in an ecosystem file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Variable {
    /// The app's name.
    pub app: String,
    /// The environment, as `--env` names it: `env_NAME` counts, and else `env`.
    pub environment: Option<String>,
    /// The variable's name.
    pub key: String,
    /// What the file is written in.
    pub format: Format,
    /// How the value is written: in the quotes that are there; where YAML has none, in single ones, or without.
    #[serde(default)]
    pub quotes: Quotes,
}

/// A value, and where it is written.
struct Found {
    value: SecretValue,
    /// Without quotes.
    written: Range<usize>,
    quote: Quote,
}

impl Found {
    /// Where it is written, with its quotes.
    fn with_quotes(&self) -> Range<usize> {
        let one = usize::from(self.quote != Quote::None);
        self.written.start - one..self.written.end + one
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quote {
    /// Single ones; whether a quote is doubled or has a backslash before it.
    Single {
        doubled: bool,
    },
    Double,
    /// None, as YAML allows; then single ones are written.
    None,
}

/// What PM2 reads for the variable; `None` where its app does not have it.
///
/// # Errors
/// Where the app is not in the file, or the value is not written out.
pub fn value_of(text: &[u8], variable: &Variable) -> Result<Option<SecretValue>, Refusal> {
    Ok(find(text, variable)?.map(|found| found.value))
}

/// At which byte the value of the variable is written; `None` where its app does not have it.
///
/// # Errors
/// As for [`value_of`].
pub fn offset_of(text: &[u8], variable: &Variable) -> Result<Option<usize>, Refusal> {
    Ok(find(text, variable)?.map(|found| found.written.start))
}

/// Whether the value of the variable is written without quotes.
///
/// # Errors
/// As for [`value_of`].
pub fn is_plain(text: &[u8], variable: &Variable) -> Result<bool, Refusal> {
    Ok(find(text, variable)?.is_some_and(|found| found.quote == Quote::None))
}

/// The text with `value` in the place of the value of the variable.
///
/// # Errors
/// As for [`value_of`]; and where the variable is not there, or the value cannot be written there.
pub fn replace(text: &[u8], variable: &Variable, value: &SecretValue) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let Some(found) = find(text, variable)? else {
        let what = format!("{} is not among the variables of the app {}", variable.key, variable.app);
        return Err(Refusal::general(what, format!("add it there, empty: {}: \"\"", variable.key)));
    };
    let unwritable = || {
        let what = "the new value cannot be written here".to_owned();
        let advice = "take a value of letters and digits, such as hex";
        Refusal::of(text, found.written.start, refusal::Problem { at: 0, what, advice })
    };
    let written = written(value, found.quote).ok_or_else(unwritable)?;
    let with = |range: Range<usize>, new: &[u8]| {
        let edited = spliced(text, range, &[new]);
        let again = find(&edited, variable);
        matches!(again, Ok(Some(again)) if again.value.is_same(value)).then_some(edited)
    };
    if variable.quotes == Quotes::IfNeeded
        && variable.format == Format::Yaml
        && let Some(edited) = with(found.with_quotes(), value.reveal())
    {
        return Ok(edited);
    }
    with(found.written.clone(), &written).ok_or_else(unwritable)
}

fn find(text: &[u8], variable: &Variable) -> Result<Option<Found>, Refusal> {
    let found = match variable.format {
        Format::Yaml => yaml::find(text, variable),
        Format::Json | Format::Module => literal::find(text, variable),
    };
    found.map_err(|problem| Refusal::of(text, 0, problem))
}

/// The bytes between the quotes; none where there are characters that readers differ about.
fn written(value: &SecretValue, quote: Quote) -> Option<Zeroizing<Vec<u8>>> {
    let text = std::str::from_utf8(value.reveal()).ok()?;
    let disputed = |c: char| {
        let code = u32::from(c);
        c.is_control() || matches!(code, 0x2028 | 0x2029 | 0xFEFF | 0xFDD0..=0xFDEF) || code & 0xFFFE == 0xFFFE
    };
    if text.chars().any(disputed) {
        return None;
    }
    // Reserved at once, since a buffer that grows leaves copies of what it held.
    let mut written = Zeroizing::new(Vec::with_capacity(2 * text.len() + 2));
    let (outer, doubled) = match quote {
        Quote::None => (&b"'"[..], true),
        Quote::Single { doubled } => (&b""[..], doubled),
        Quote::Double => (&b""[..], false),
    };
    let inner = if quote == Quote::Double { b'"' } else { b'\'' };
    written.extend_from_slice(outer);
    for &byte in text.as_bytes() {
        match byte {
            _ if byte == inner => written.extend_from_slice(&[if doubled { inner } else { b'\\' }, inner]),
            b'\\' if !doubled => written.extend_from_slice(b"\\\\"),
            _ => written.push(byte),
        }
    }
    written.extend_from_slice(outer);
    Some(written)
}

const IN_QUOTES: &str = "write the value there, in quotes; or put it in an env file and name that: `env-file`";

/// The app is not written out in the file.
fn no_app<T>(at: usize, app: &str) -> Result<T, Problem> {
    problem(at, format!("no app of the name {app} is written out here"), "mend `apps`, or write out the app's `name`")
}

/// The app has no variables for the environment.
fn no_environment<T>(at: usize, app: &str, name: &str) -> Result<T, Problem> {
    problem(at, format!("the app {app} has no {name}"), "mend `environment`, or add it")
}

/// Something is there twice.
fn twice<T>(at: usize, what: &str) -> Result<T, Problem> {
    problem(at, format!("{what} is there twice"), "keep one of them")
}
