//! A typed reader of one TOML table: each key is taken once, every mistake is recorded, and what was not taken in the
//! end is unknown.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, IntoDeserializer};
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::report::{Mistake, Report};
use super::suggest::nearest;
use super::values::path;

/// Which section each key belongs to, to tell where a misplaced one should stand.
const HOMES: &[(&str, &[&str])] = &[
    ("[secret]", &["env", "kind", "bytes", "format", "keep", "re-encrypt"]),
    ("[schedule]", &["on-calendar", "randomized-delay", "persistent", "window", "overdue-after"]),
    ("[rotation]", &["deadline", "dead-man"]),
    ("[proof]", &["settle", "allow-without", "aftercare", "watch", "watch-rate", "error-budget"]),
    ("[invalidation]", &["mode", "previous-env", "overlap", "strategy", "shape", "retire", "retire-on-calendar"]),
    ("[logout]", &["command", "user", "url", "method", "header-file", "timeout"]),
    ("[[target]]", &["units", "deliver", "path-env", "expose", "activate", "max-unavailable", "daemon-reload"]),
    (
        "[[target]] of type \"dotenv\"",
        &["file", "dialect", "restart-units", "restart-command", "restart-timeout", "touch", "signal", "pid-file"],
    ),
    (
        "[[target]] of type \"compose\"",
        &["project-directory", "project", "files", "services", "env-file", "environment-in", "secret-file", "build"],
    ),
    ("[[target]] of type \"pm2\"", &["ecosystem", "home", "apps", "environment", "env-file", "pm2", "node", "save"]),
    ("[[target]] of type \"command\"", &["name", "settings"]),
    (
        "[[target]] of a hosting platform",
        &[
            "token-file",
            "token-credential",
            "api",
            "create",
            "limit",
            "project",
            "team",
            "environment",
            "git-branch",
            "also",
            "promote",
            "site",
            "account",
            "contexts",
            "publish",
            "same-code-only",
            "service",
            "group",
            "redeploy",
            "token-kind",
            "ignore-references",
        ],
    ),
    ("[[probe]]", &["login", "mint", "protected", "key", "url", "method", "status", "timeout"]),
    ("[daemon] of rekeyd.toml", &["stop-timeout"]),
    ("[notify] of rekeyd.toml", &["webhook", "on", "repeat"]),
    ("[metrics] of rekeyd.toml", &["file"]),
];

/// A value that serde reads as it is, with the words for it.
pub(super) trait Plain: DeserializeOwned {
    /// What a person is told to write.
    const WANTED: &'static str;
}

impl Plain for bool {
    const WANTED: &'static str = "true or false, without quotes";
}
impl Plain for u32 {
    const WANTED: &'static str = "a whole number, without quotes";
}

/// One table.
pub(super) struct Reader<'t> {
    entries: &'t DeTable<'t>,
    span: Range<usize>,
    label: Label,
    known: Vec<&'static str>,
    later: Vec<&'static str>,
}

/// How a table is called.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Label {
    /// The whole file.
    Root,
    /// `[key]`.
    Section(&'static str),
    /// One of `[[key]]`.
    Item(&'static str),
    /// A table in a section.
    Inline(&'static str),
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("the file"),
            Self::Section(key) => write!(f, "[{key}]"),
            Self::Item(key) => write!(f, "[[{key}]]"),
            Self::Inline(key) => write!(f, "`{key}`"),
        }
    }
}

impl<'t> Reader<'t> {
    /// The table of a whole file.
    pub fn root(entries: &'t DeTable<'t>) -> Self {
        Self::new(entries, 0..0, Label::Root)
    }

    fn new(entries: &'t DeTable<'t>, span: Range<usize>, label: Label) -> Self {
        Self { entries, span, label, known: Vec::with_capacity(16), later: Vec::new() }
    }

    /// Where the table stands: its header, or the whole of an inline table.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Whether a key is there, be it right or wrong.
    pub fn had(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Takes the value of `key` without looking at it, and the key's own span.
    pub fn take_raw(&mut self, key: &'static str) -> Option<(Range<usize>, &'t Spanned<DeValue<'t>>)> {
        self.known.push(key);
        let (name, value) = self.entries.get_key_value(key)?;
        Some((name.span(), value))
    }

    /// Takes a value of a plain type; `example` is a whole line that would be right.
    pub fn take<T: Plain>(&mut self, key: &'static str, example: &str, report: &mut Report<'_>) -> Option<Spanned<T>> {
        let (_, value) = self.take_raw(key)?;
        let (span, found) = (value.span(), kind_of(value.get_ref()));
        match T::deserialize(ValueDeserializer::from(value.clone())) {
            Ok(value) => Some(Spanned::new(span, value)),
            Err(_) => {
                let message = format!("`{key}` wants {}, this is {found}", T::WANTED);
                report.error(span, message, format!("write it as in `{example}`"));
                None
            }
        }
    }

    /// Takes a text as it is.
    pub fn word(
        &mut self,
        key: &'static str,
        example: impl FnOnce() -> String,
        report: &mut Report<'_>,
    ) -> Option<Spanned<&'t str>> {
        let (_, value) = self.take_raw(key)?;
        let span = value.span();
        match value.get_ref() {
            DeValue::String(text) => Some(Spanned::new(span, text.as_ref())),
            other => {
                let message = format!("`{key}` wants text in quotes, this is {}", kind_of(other));
                report.error(span, message, format!("write it as in `{}`", example()));
                None
            }
        }
    }

    /// Takes a text that `check` accepts.
    pub fn text<U>(
        &mut self,
        key: &'static str,
        example: &str,
        report: &mut Report<'_>,
        check: impl FnOnce(&str) -> Result<U, Mistake>,
    ) -> Option<Spanned<U>> {
        let text = self.word(key, || example.to_owned(), report)?;
        let span = text.span();
        match check(text.get_ref()) {
            Ok(value) => Some(Spanned::new(span, value)),
            Err(Mistake { message, advice }) => {
                report.error(span, format!("`{key}`: {message}"), advice);
                None
            }
        }
    }

    /// Takes a path: absolute, or, in a developer's checkout, from there.
    pub fn path(&mut self, key: &'static str, example: &str, report: &mut Report<'_>) -> Option<Spanned<PathBuf>> {
        let checkout = report.source.checkout.clone();
        self.text(key, example, report, |text| path(text, checkout.as_deref()))
    }

    /// Takes a list of texts that `check` accepts; a single text counts as a list of one.
    pub fn texts<U>(
        &mut self,
        key: &'static str,
        example: &str,
        report: &mut Report<'_>,
        check: impl Fn(&str) -> Result<U, Mistake>,
    ) -> Option<Spanned<Vec<Spanned<U>>>> {
        let (_, value) = self.take_raw(key)?;
        let span = value.span();
        let values: Vec<&Spanned<DeValue<'_>>> = match value.get_ref() {
            DeValue::Array(values) => values.iter().collect(),
            DeValue::String(_) => vec![value],
            other => {
                let message = format!("`{key}` wants a list of texts, this is {}", kind_of(other));
                report.error(span, message, format!("write it as in `{example}`"));
                return None;
            }
        };
        if values.is_empty() {
            report.error(span, format!("`{key}` is empty"), format!("write it as in `{example}`"));
            return None;
        }
        let mut texts = Vec::with_capacity(values.len());
        for value in values {
            let span = value.span();
            let checked = match value.get_ref() {
                DeValue::String(text) => check(text),
                other => {
                    let message = format!("each entry is a text in quotes, this is {}", kind_of(other));
                    Err(Mistake::new(message, format!("write it as in `{example}`")))
                }
            };
            match checked {
                Ok(value) => texts.push(Spanned::new(span, value)),
                Err(Mistake { message, advice }) => report.error(span, format!("`{key}`: {message}"), advice),
            }
        }
        Some(Spanned::new(span, texts))
    }

    /// Takes one of some words. `available` are those of `T`, `later` those that a coming version will know.
    pub fn choice<T: DeserializeOwned>(
        &mut self,
        key: &'static str,
        available: &[&str],
        later: &[&str],
        report: &mut Report<'_>,
    ) -> Option<Spanned<T>> {
        let example = || format!("{key} = \"{}\"", available.first().unwrap_or(&""));
        let word = self.word(key, example, report)?;
        let span = word.span();
        let word = word.into_inner();
        if available.contains(&word) {
            let word: StrDeserializer<'_, serde::de::value::Error> = word.into_deserializer();
            if let Ok(value) = T::deserialize(word) {
                return Some(Spanned::new(span, value));
            }
        }
        if later.contains(&word) {
            report.error(span, format!("`{key} = \"{word}\"` is not available in this version yet"), only(available));
            return None;
        }
        let advice = match nearest(word, available) {
            Some(word) => format!("did you mean \"{word}\"?"),
            None => only(available),
        };
        report.error(span, format!("`{key}` cannot be {word:?}"), advice);
        None
    }

    /// Takes a table, be it a section or inline.
    pub fn table(&mut self, key: &'static str, example: &str, report: &mut Report<'_>) -> Option<Self> {
        let label = if self.label == Label::Root { Label::Section(key) } else { Label::Inline(key) };
        let (name, value) = self.take_raw(key)?;
        let span = value.span();
        match value.get_ref() {
            DeValue::Table(entries) => Some(Self::new(entries, if span.is_empty() { name } else { span }, label)),
            DeValue::Array(values) if values.iter().all(|value| value.get_ref().is_table()) && !values.is_empty() => {
                report.error(name, format!("{label} can be given once only"), format!("write `{example}`, once"));
                None
            }
            other => {
                report.error(
                    span,
                    format!("{label} is a table, this is {}", kind_of(other)),
                    format!("write `{example}`"),
                );
                None
            }
        }
    }

    /// Takes a list of tables: `[[key]]`.
    pub fn tables(&mut self, key: &'static str, report: &mut Report<'_>) -> Vec<Self> {
        let label = Label::Item(key);
        let Some((name, value)) = self.take_raw(key) else { return Vec::new() };
        let span = value.span();
        let advice = || format!("write `{label}` with double brackets: there may be several");
        match value.get_ref() {
            DeValue::Array(values) => values
                .iter()
                .filter_map(|value| {
                    let span = value.span();
                    match value.get_ref() {
                        DeValue::Table(entries) => Some(Self::new(entries, span, label)),
                        other => {
                            let message = format!("each {label} is a table, this is {}", kind_of(other));
                            report.error(span, message, advice());
                            None
                        }
                    }
                })
                .collect(),
            DeValue::Table(_) => {
                report.error(name, format!("[{key}] is one table, but a list of tables is wanted"), advice());
                Vec::new()
            }
            other => {
                report.error(span, format!("{label} is a list of tables, this is {}", kind_of(other)), advice());
                Vec::new()
            }
        }
    }

    /// Keys that a coming version will know.
    pub fn later(&mut self, keys: &[&'static str], works: &str, report: &mut Report<'_>) {
        for key in keys {
            if let Some((name, _)) = self.entries.get_key_value(*key) {
                self.later.push(key);
                let name = name.span();
                let label = self.label_with_blank();
                report.error(name, format!("`{key}`{label} is not available in this version yet"), works);
            }
        }
    }

    /// Records that `key` must be there, unless it was.
    pub fn need(&self, key: &str, example: &str, report: &mut Report<'_>) {
        if !self.had(key) {
            let label = self.label_with_blank();
            report.missing(self.span(), format!("`{key}` is missing{label}"), format!("add `{example}`"));
        }
    }

    /// Ends the reading: what is left over is unknown.
    pub fn finish(self, report: &mut Report<'_>) {
        for (name, value) in self.entries {
            let key = name.get_ref().as_ref();
            if self.known.contains(&key) || self.later.contains(&key) {
                continue;
            }
            let label = self.label_with_blank();
            let is_section = self.label == Label::Root && (value.get_ref().is_table() || value.get_ref().is_array());
            let home = HOMES.iter().find(|(home, keys)| *home != self.label.to_string() && keys.contains(&key));
            let advice = match (nearest(key, &self.known), home) {
                (_, Some((home, _))) if !is_section => format!("`{key}` belongs under {home}"),
                (Some(known), _) => format!("did you mean `{known}`?"),
                (None, _) if self.label == Label::Root => format!("the sections are: {}", self.known.join(", ")),
                (None, _) => format!("the keys here are: {}", self.known.join(", ")),
            };
            let what = if is_section { "section" } else { "key" };
            let may_be_secret = value.get_ref().is_str() || value.get_ref().is_array();
            let hidden = if may_be_secret { value.span() } else { 0..0 };
            report.error_hiding(name.span(), hidden, format!("unknown {what} `{key}`{label}"), advice);
        }
    }

    fn label_with_blank(&self) -> String {
        if self.label == Label::Root { String::new() } else { format!(" in {}", self.label) }
    }
}

/// What a value is, in a person's words.
pub(super) fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a decimal number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn only(words: &[&str]) -> String {
    match words {
        [word] => format!("use \"{word}\""),
        words => format!("use one of \"{}\"", words.join("\", \"")),
    }
}
