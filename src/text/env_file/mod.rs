//! Env files of other programs: one key read or replaced, and every other byte kept.
//!
//! The parsers of the world agree on plain lines and on little else. So a file is read only where it is certain what the
//! dialect's own parser makes of it, all of it up to its end, and refused elsewhere, with the place and advice.

use std::ops::Range;

use zeroize::Zeroizing;

use crate::secret::SecretValue;

mod characters;
mod dialect;
mod environment_file;
mod lines;
mod node;
mod shell_word;
mod value;

#[cfg(test)]
mod tests;

use super::refusal::{self, Refusal, problem};
pub use dialect::Dialect;
use lines::{Assignment, assignments};
use value::Purpose;

/// A file's new text.
pub struct Edited {
    /// All of it: it holds secrets, not only the one that was written.
    pub text: Zeroizing<Vec<u8>>,
    /// In which line the key is, counted from 1.
    pub line: usize,
}

/// A key's value, and where it is.
pub struct Found {
    /// What the dialect's parser reads.
    pub value: SecretValue,
    /// In which line, counted from 1.
    pub line: usize,
    /// The bytes of the value, without quotes.
    written: Range<usize>,
    style: Style,
}

/// How a line is written.
#[derive(Clone, Copy, Default)]
struct Style {
    quote: Option<u8>,
    /// Whether it begins with `export`.
    exported: bool,
}

/// What the dialect's parser reads for `key`; `None` where the file does not assign it.
///
/// # Errors
/// Where that is not certain.
pub fn value_of(text: &[u8], key: &str, dialect: Dialect) -> Result<Option<SecretValue>, Refusal> {
    Ok(find(text, key, dialect)?.map(|found| found.value))
}

/// The same, with its place.
///
/// # Errors
/// As for [`value_of`].
pub fn find(text: &[u8], key: &str, dialect: Dialect) -> Result<Option<Found>, Refusal> {
    found(text, key, dialect, Purpose::Read)
}

fn found(text: &[u8], key: &str, dialect: Dialect, purpose: Purpose) -> Result<Option<Found>, Refusal> {
    name_of_a_variable(key)?;
    let all = assignments(text, dialect)?;
    // It may be meant as ours, in quotes that end somewhere else than they should.
    for lines in all.iter().filter_map(|other| other.more_lines.clone()) {
        in_the_way(text, lines, key)?;
    }
    let mut ours = all.iter().filter(|assignment| text[assignment.key.clone()] == *key.as_bytes());
    let Some(assignment) = ours.next() else {
        return Ok(None);
    };
    if let Some(second) = ours.next() {
        let what = format!("{key} is assigned again, after line {}", assignment.line);
        let advice = "keep one of them: parsers differ in which one counts, and the other would keep the old value";
        return problem(0, what, advice).map_err(|problem| Refusal::of(text, second.key.start, problem));
    }
    let (written, quote) = read(text, key, assignment, dialect, purpose)?;
    let value = SecretValue::new(text[written.clone()].to_vec());
    let style = Style { quote, exported: assignment.exported };
    Ok(Some(Found { value, line: assignment.line, written, style }))
}

/// The text with `value` in the place of the value of `key`, in the quotes that are there; where there are none, in those
/// of the key that it is to be written `like`.
///
/// # Errors
/// Where the file cannot be read with certainty, the key is not in it, or the value cannot be written in its place.
pub fn replace(
    text: &[u8],
    key: &str,
    value: &SecretValue,
    dialect: Dialect,
    like: Option<&str>,
) -> Result<Edited, Refusal> {
    let Some(found) = find(text, key, dialect)? else {
        return Err(Refusal::general(format!("{key} is not in the file"), "have it appended"));
    };
    let model = like.map(|key| find(text, key, dialect)).transpose()?.flatten();
    let (mut range, mut quote) = (found.written.clone(), None);
    if let Some(model) = model.filter(|_| found.value.is_empty() && !value.is_empty() || found.style.quote.is_none()) {
        // Empty quotes have no say.
        let outer = usize::from(found.style.quote.is_some());
        (range, quote) = (range.start - outer..range.end + outer, model.style.quote.filter(|_| !value.is_empty()));
    }
    put_over(text, &found, (range, quote), (key, value), dialect)
}

/// The text with `value` in the place of whatever value `key` has: that need not be known, only where it ends.
///
/// # Errors
/// As for [`replace`].
pub fn overwrite(text: &[u8], key: &str, value: &SecretValue, dialect: Dialect) -> Result<Option<Edited>, Refusal> {
    let Some(found) = found(text, key, dialect, Purpose::Overwrite)? else { return Ok(None) };
    put_over(text, &found, (found.written.clone(), None), (key, value), dialect).map(Some)
}

/// The text with `value` in these quotes in the place of these bytes.
fn put_over(
    text: &[u8],
    found: &Found,
    (range, quote): (Range<usize>, Option<u8>),
    (key, value): (&str, &SecretValue),
    dialect: Dialect,
) -> Result<Edited, Refusal> {
    let quotes = quote.as_slice();
    let edited = spliced(text, range, &[quotes, value.reveal(), quotes]);
    let unwritable = Refusal::of(text, found.written.start, unwritable(dialect, "as the line stands"));
    confirmed(edited, key, value, dialect, unwritable)
}

/// The text with `key` added at its end, in the quotes of the key that it is to be written `like`, and exported where that
/// is; without such a key exported where all others are. A last line that is not ended is ended first.
///
/// # Errors
/// Where the file cannot be read with certainty, the key is in it already, or the dialect cannot write the value so.
pub fn append(
    text: &[u8],
    key: &str,
    value: &SecretValue,
    dialect: Dialect,
    like: Option<&str>,
) -> Result<Edited, Refusal> {
    if let Some(found) = find(text, key, dialect)? {
        return Err(Refusal::general(format!("{key} is in line {} already", found.line), "have it replaced"));
    }
    let end = text.len()..text.len();
    if dialect == Dialect::Systemd && text.ends_with(b"\\") {
        let what = "systemd joins this line with the next one";
        return problem(0, what, "remove the backslash at its end").map_err(|p| Refusal::of(text, text.len() - 1, p));
    }
    let Style { quote, exported } = style_of(text, like, dialect)?;
    let first_line = text.split_inclusive(|&byte| byte == b'\n').next().unwrap_or_default();
    let ending: &[u8] = if first_line.ends_with(b"\r\n") { b"\r\n" } else { b"\n" };
    let is_ended = text.is_empty() || text.ends_with(b"\n") || text == lines::BOM;
    let before = if is_ended { b"" } else { ending };
    let (export, quotes) = (if exported { &b"export "[..] } else { b"" }, quote.as_slice());
    let edited = spliced(text, end, &[before, export, key.as_bytes(), b"=", quotes, value.reveal(), quotes, ending]);
    let unwritable = Refusal::of(text, text.len(), unwritable(dialect, "so"));
    confirmed(edited, key, value, dialect, unwritable)
}

/// How the line of a key is written, and how all others are, where there is no such key.
fn style_of(text: &[u8], like: Option<&str>, dialect: Dialect) -> Result<Style, Refusal> {
    let model = like.map(|key| find(text, key, dialect)).transpose()?.flatten();
    if let (Some(model), Some(key)) = (model, like) {
        let exported = model.style.exported || dialect == Dialect::Shell && is_exported_apart(text, key);
        return Ok(Style { exported, ..model.style });
    }
    let all = assignments(text, dialect)?;
    let exported = dialect == Dialect::Shell && !all.is_empty() && all.iter().all(|assignment| assignment.exported);
    Ok(Style { quote: None, exported })
}

/// Whether a script exports the variable in words of their own: `export KEY`, in a line or after the assignment.
fn is_exported_apart(text: &[u8], key: &str) -> bool {
    let names_it = |words: &[u8]| {
        lines::declares_only(words) && words.split(u8::is_ascii_whitespace).any(|word| word == key.as_bytes())
    };
    text.split(|byte| b"\n;".contains(byte)).any(|words| names_it(words.trim_ascii()))
}

/// Where the value in the line of our key is, and its quotes: what a parser reads is exactly these bytes.
fn read(
    text: &[u8],
    key: &str,
    assignment: &Assignment,
    dialect: Dialect,
    purpose: Purpose,
) -> Result<(Range<usize>, Option<u8>), Refusal> {
    let refused = |problem| Refusal::of(text, assignment.rest.start, problem);
    if assignment.more_lines.is_some() {
        let advice = "put the value in one line";
        return problem(0, format!("the value of {key} has several lines"), advice).map_err(refused);
    }
    if assignment.exported && dialect == Dialect::Systemd {
        let what = format!("systemd ignores the line of {key} for its «export», and tells the journal its value");
        let place = Refusal::of(text, assignment.start, refusal::Problem { at: 0, what, advice: "remove the word" });
        return Err(place);
    }
    if let Some(doubt) = &assignment.doubt {
        return Err(Refusal::of(text, 0, doubt.clone()));
    }
    let rest = &text[assignment.rest.clone()];
    let shape = assignment.shape.as_ref().map_err(|problem| refused(problem.clone()))?;
    let written = value::certain(rest, shape, dialect, purpose).map_err(refused)?;
    let from = assignment.rest.start;
    Ok((from + written.start..from + written.end, shape.quote))
}

/// The edited text, if it is read as it was meant: what a dialect can write is what it reads back.
///
/// # Errors
/// What stands before the value and is in its way; else that it is `unwritable`.
fn confirmed(
    text: Zeroizing<Vec<u8>>,
    key: &str,
    value: &SecretValue,
    dialect: Dialect,
    unwritable: Refusal,
) -> Result<Edited, Refusal> {
    match find(&text, key, dialect) {
        Ok(Some(found)) if found.value.is_same(value) => Ok(Edited { line: found.line, text }),
        Err(refusal) if refusal.at() < unwritable.at() => Err(refusal),
        _ => Err(unwritable),
    }
}

fn unwritable(dialect: Dialect, how: &str) -> refusal::Problem {
    let what = format!("{} would not read the value back if it were written {how}", dialect.reader());
    refusal::Problem {
        at: 0,
        what,
        advice: "put a value in single quotes there; or take one of letters and digits, such as hex",
    }
}

/// The text with the bytes of `range` replaced. Reserved at once, since a buffer that grows leaves copies of what it held.
pub(in crate::text) fn spliced(text: &[u8], range: Range<usize>, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let added: usize = parts.iter().map(|part| part.len()).sum();
    let mut edited = Zeroizing::new(Vec::with_capacity(text.len() + added));
    edited.extend_from_slice(&text[..range.start]);
    for part in parts {
        edited.extend_from_slice(part);
    }
    edited.extend_from_slice(&text[range.end..]);
    edited
}

/// Lines inside of another value that look like ours: what is meant by them is a matter of opinion.
fn in_the_way(text: &[u8], lines: Range<usize>, key: &str) -> Result<(), Refusal> {
    let mut start = lines.start;
    for line in text[lines].split_inclusive(|&byte| byte == b'\n') {
        let trimmed = line.trim_ascii_start();
        let named = trimmed.strip_prefix(b"export ").unwrap_or(trimmed).trim_ascii_start().strip_prefix(key.as_bytes());
        if named.is_some_and(|after| matches!(after.trim_ascii_start().first(), Some(b'=' | b':'))) {
            let advice = "put the other value in one line, or end its quotes where they should end";
            let what = format!("{key} stands inside of another value, which has several lines");
            return problem(0, what, advice).map_err(|problem| Refusal::of(text, start, problem));
        }
        start += line.len();
    }
    Ok(())
}

/// Whether a variable can be called so, as POSIX has it (POSIX.1-2024, XBD 3.206).
pub fn is_name(key: &str) -> bool {
    let starts = key.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    starts && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn name_of_a_variable(key: &str) -> Result<(), Refusal> {
    if is_name(key) {
        return Ok(());
    }
    Err(Refusal::general("this is not the name of a variable", "letters, digits and «_», such as JWT_SECRET"))
}
