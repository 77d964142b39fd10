//! What stands after the equals sign: where the value ends, and whether all parsers of a dialect read it alike.

use std::ops::Range;

use super::dialect::Dialect;
use super::shell_word;
use crate::text::refusal::{Problem, problem};

/// The parts of what follows an equals sign, by places counted from there.
#[derive(Debug, Default)]
pub(super) struct Shape {
    /// The value without quotes.
    pub written: Range<usize>,
    pub quote: Option<u8>,
    /// Whether something follows that looks like a comment.
    pub has_comment: bool,
    /// Whether the quotes are not closed in this line.
    pub is_open: bool,
}

/// What the value of our line must be known for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To be put back one day.
    Read,
    /// Only where it ends, since another one is put in its place.
    Overwrite,
}

/// Where the value of a line, ours or another one, ends.
///
/// # Errors
/// Where that is not certain, or where a parser of the dialect gives up.
pub(super) fn shape(rest: &[u8], dialect: Dialect) -> Result<Shape, Problem> {
    let from = rest.iter().position(|byte| !b" \t".contains(byte)).unwrap_or(rest.len());
    match rest.get(from) {
        Some(_) if dialect == Dialect::Shell => shell_word::shape(rest),
        None => Ok(Shape { written: 0..0, quote: None, has_comment: false, is_open: false }),
        Some(quote @ (b'\'' | b'"')) if dialect != Dialect::Docker => quoted(rest, from + 1, *quote, dialect),
        Some(quote @ b'`') if dialect == Dialect::Dotenv => quoted(rest, from + 1, *quote, dialect),
        Some(_) => bare(rest, from, dialect),
    }
}

/// The value of our own line.
///
/// # Errors
/// Where the dialect's parsers do not read exactly the bytes of [`Shape::written`].
pub(super) fn certain(rest: &[u8], shape: &Shape, dialect: Dialect, purpose: Purpose) -> Result<Range<usize>, Problem> {
    let written = shape.written.clone();
    let value = &rest[written.clone()];
    let reader = dialect.reader();
    let keeps_blanks = matches!(dialect, Dialect::Docker | Dialect::Pam);
    let is_bare = shape.quote.is_none();
    // Compose takes a comment where a value should be for one.
    let comment_is_value =
        keeps_blanks || dialect == Dialect::Systemd || dialect == Dialect::Compose && value.is_empty() && is_bare;
    if shape.has_comment && comment_is_value {
        let what = format!("{reader} may take the comment for a part of the value");
        return problem(written.end, what, "put the comment in a line of its own");
    }
    if shape.quote == Some(b'`') {
        return problem(written.start, "only some parsers take backticks for quotes", "take other quotes");
    }
    let outer = usize::from(shape.quote.is_some());
    let leading = written.start - outer;
    let trailing = rest.len().saturating_sub(written.end + outer);
    let touches_nothing = written.is_empty() && is_bare && !rest.is_empty() && !shape.has_comment;
    // Node keeps tabs where it drops blanks.
    let has_tab = dialect == Dialect::Dotenv && rest.contains(&b'\t');
    let is_misread = leading > 0 && dialect == Dialect::Shell || touches_nothing || has_tab;
    if keeps_blanks && leading + trailing > 0 || is_misread {
        return problem(0, format!("{reader} may keep the blanks around the value"), "remove the blanks");
    }
    if dialect == Dialect::Docker && matches!(value.first(), Some(b'\'' | b'"')) {
        return problem(written.start, "docker takes the quotes for a part of the value", "remove the quotes");
    }
    if let Some(at) = value.iter().position(|&byte| byte.is_ascii_control() && byte != b'\t') {
        return problem(written.start + at, "here is a control character", "remove it");
    }
    let disputed: &[u8] = match (dialect, shape.quote) {
        // Who gives up on blanks there gives up on the whole file: nobody reads it by them.
        (Dialect::Dotenv, None) => b"\t#$\\'\"`",
        (Dialect::Dotenv, Some(_)) => b"$\\`",
        (Dialect::Compose, None) => b"$\\'\"`",
        (Dialect::Compose, Some(_)) => b"$\\",
        (Dialect::Shell, None) => b"~$\\'\"`",
        (Dialect::Shell, Some(b'"')) => b"$\\`",
        (Dialect::Pam, None) => b"#",
        (Dialect::Pam, Some(_)) => b"#\\",
        // In its escapes it could not be put back as it was.
        (Dialect::Systemd, None | Some(b'"')) => b"\\",
        (Dialect::Systemd | Dialect::Docker, _) | (Dialect::Shell, Some(_)) => b"",
    };
    // What is expanded ends where it is written.
    let is_gone = |byte: u8| purpose == Purpose::Overwrite && b"$~".contains(&byte);
    if let Some(at) = value.iter().position(|byte| disputed.contains(byte) && !is_gone(*byte)) {
        let what = format!("{reader} may take this character of the value for something else");
        return problem(written.start + at, what, "take a value of letters and digits, such as hex, or set it by hand");
    }
    if shape.quote.is_none() && value.starts_with(b"#") && dialect != Dialect::Docker {
        return problem(written.start, format!("{reader} may take the value for a comment"), "put it in quotes");
    }
    Ok(written)
}

fn quoted(rest: &[u8], from: usize, quote: u8, dialect: Dialect) -> Result<Shape, Problem> {
    let mut at = from;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { escape(rest, at, quote, dialect)? } else { 1 };
    }
    if at >= rest.len() {
        return Ok(Shape { written: from..rest.len(), quote: Some(quote), has_comment: false, is_open: true });
    }
    let after = &rest[at + 1..];
    let tail = after.trim_ascii_start();
    let has_comment = tail.starts_with(b"#") && tail.len() < after.len();
    if !tail.is_empty() && !has_comment {
        return problem(at + 1, "something follows the closing quotes", "remove it, or put all of the value in quotes");
    }
    Ok(Shape { written: from..at, quote: Some(quote), has_comment, is_open: false })
}

/// How many bytes a backslash in quotes and what belongs to it take.
fn escape(rest: &[u8], at: usize, quote: u8, dialect: Dialect) -> Result<usize, Problem> {
    let next = rest.get(at + 1);
    let unclear = "parsers differ in what the backslash means here";
    let advice = "put the value in single quotes, without a backslash before the last one";
    match (dialect, quote) {
        (Dialect::Systemd, b'\'') => Ok(1),
        (Dialect::Compose, b'"') if rest[at..].starts_with(b"\\\\\"") => problem(at, unclear, advice),
        (Dialect::Systemd, _) | (Dialect::Compose, b'"') if next.is_some() => Ok(2),
        (Dialect::Docker | Dialect::Pam, _) => Ok(1),
        (Dialect::Dotenv, _) if next.is_some_and(|&byte| byte != quote) => Ok(1),
        (Dialect::Compose, b'\'') if next.is_some_and(|byte| !b"'\\".contains(byte)) => Ok(1),
        _ => problem(at, unclear, advice),
    }
}

fn bare(rest: &[u8], from: usize, dialect: Dialect) -> Result<Shape, Problem> {
    let is_blank = |at: usize| matches!(rest[at], b' ' | b'\t');
    let comment = (from..rest.len()).find(|&at| rest[at] == b'#' && at > 0 && is_blank(at - 1));
    let to = comment.unwrap_or(rest.len());
    let length = rest[from..to].iter().rposition(|byte| !b" \t".contains(byte)).map_or(0, |last| last + 1);
    let value = &rest[from..from + length];
    let moved = |problem: Problem| Problem { at: problem.at + from, ..problem };
    // dotenvy expands more than others, but the value's end is the same to it.
    if dialect == Dialect::Compose {
        expansions(value).map_err(moved)?;
    }
    // Before a comment a value goes where it touches the equals sign.
    let written = if value.is_empty() { 0..0 } else { from..from + value.len() };
    Ok(Shape { written, quote: None, has_comment: comment.is_some(), is_open: false })
}

/// The quote that dotenvy takes for an opening one in a value that begins without; with it begins what may go on in the
/// lines that follow. To all others of the dialect it is a character.
pub(super) fn opened_inside(rest: &[u8], shape: &Shape) -> Option<(usize, u8)> {
    if shape.quote.is_some() {
        return None;
    }
    let mut open: Option<(usize, u8)> = None;
    let mut at = shape.written.start;
    while at < shape.written.end {
        match (rest[at], open) {
            (b'\\', _) => at += 1,
            (quote @ (b'\'' | b'"'), None) => open = Some((at, quote)),
            (byte, Some((_, quote))) if byte == quote => open = None,
            _ => {}
        }
        at += 1;
    }
    open
}

/// A variable's expansion may stand in other values, where it ends with certainty.
fn expansions(value: &[u8]) -> Result<(), Problem> {
    for (at, _) in value.iter().enumerate().filter(|(_, byte)| **byte == b'$') {
        let after = &value[at + 1..];
        let ends = after.iter().position(|&byte| byte == b'}');
        let is_plain = |end: usize| end > 1 && !after[1..end].iter().any(|byte| b"${'\"\\".contains(byte));
        if after.starts_with(b"{") && !ends.is_some_and(is_plain) {
            return problem(at, "parsers differ in what they make of this «$»", "put the value in single quotes");
        }
    }
    Ok(())
}
