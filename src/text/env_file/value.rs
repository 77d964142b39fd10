//! What stands after the equals sign: where the value ends, and whether all parsers of a dialect read it alike.

use std::ops::Range;

use super::dialect::Dialect;
use crate::text::refusal::{Problem, problem};

/// The parts of what follows an equals sign, by places counted from there.
#[derive(Debug)]
pub(super) struct Shape {
    /// The value without quotes.
    pub written: Range<usize>,
    pub quote: Option<u8>,
    /// Whether something follows that looks like a comment.
    pub has_comment: bool,
    /// Whether the quotes are not closed in this line.
    pub is_open: bool,
}

/// Where the value of a line, ours or another one, ends.
///
/// # Errors
/// Where that is not certain, or where a parser of the dialect gives up.
pub(super) fn shape(rest: &[u8], dialect: Dialect) -> Result<Shape, Problem> {
    let from = rest.iter().position(|byte| !b" \t".contains(byte)).unwrap_or(rest.len());
    match rest.get(from) {
        None => Ok(Shape { written: 0..0, quote: None, has_comment: false, is_open: false }),
        Some(quote @ (b'\'' | b'"')) if dialect != Dialect::Docker => quoted(rest, from + 1, *quote, dialect),
        Some(_) => bare(rest, from, dialect),
    }
}

/// The value of our own line.
///
/// # Errors
/// Where the dialect's parsers do not read exactly the bytes of [`Shape::written`] (systemd: with its escapes).
pub(super) fn certain(rest: &[u8], shape: &Shape, dialect: Dialect) -> Result<Range<usize>, Problem> {
    let written = shape.written.clone();
    let value = &rest[written.clone()];
    let reader = dialect.reader();
    let keeps_blanks = matches!(dialect, Dialect::Docker | Dialect::Pam);
    if shape.has_comment && (keeps_blanks || dialect == Dialect::Systemd || value.is_empty()) {
        let what = format!("{reader} may take the comment for a part of the value");
        return problem(written.end, what, "put the comment in a line of its own");
    }
    let outer = usize::from(shape.quote.is_some());
    let leading = written.start - outer;
    let trailing = rest.len().saturating_sub(written.end + outer);
    let in_the_way = keeps_blanks || (leading > 0 && (dialect == Dialect::Shell || shape.quote.is_some()));
    let touches_nothing = written.is_empty() && shape.quote.is_none() && !rest.is_empty();
    if (leading > 0 && in_the_way) || (trailing > 0 && keeps_blanks) || touches_nothing {
        return problem(0, format!("{reader} may keep the blanks around the value"), "remove the blanks");
    }
    if dialect == Dialect::Docker && matches!(value.first(), Some(b'\'' | b'"')) {
        return problem(written.start, "docker takes the quotes for a part of the value", "remove the quotes");
    }
    let disputed: &[u8] = match (dialect, shape.quote) {
        (Dialect::Dotenv, None) => b" \t#$\\'\"`",
        (Dialect::Dotenv, Some(_)) => b"$\\`",
        (Dialect::Compose, None) => b"$\\'\"`",
        (Dialect::Compose, Some(_)) => b"$\\",
        (Dialect::Shell, None) => b"~$\\'\"`",
        (Dialect::Shell, Some(b'"')) => b"$\\`",
        (Dialect::Pam, None) => b"#",
        (Dialect::Pam, Some(_)) => b"#\\",
        (Dialect::Systemd | Dialect::Docker, _) | (Dialect::Shell, Some(_)) => b"",
    };
    if let Some(at) = value.iter().position(|byte| disputed.contains(byte)) {
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
    if dialect == Dialect::Shell && quote == b'"' {
        expansions(&rest[from..at], dialect).map_err(|p| Problem { at: p.at + from, ..p })?;
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
        (Dialect::Shell | Dialect::Systemd, b'\'') => Ok(1),
        (Dialect::Shell | Dialect::Systemd, _) | (Dialect::Compose, b'"') if next.is_some() => Ok(2),
        (Dialect::Dotenv, b'"') if next == Some(&b'n') => Ok(2),
        (Dialect::Dotenv | Dialect::Compose, b'\'') if next.is_some_and(|byte| !b"'\\".contains(byte)) => Ok(1),
        _ => problem(at, unclear, advice),
    }
}

fn bare(rest: &[u8], from: usize, dialect: Dialect) -> Result<Shape, Problem> {
    let is_blank = |at: usize| matches!(rest[at], b' ' | b'\t');
    let comment = (from..rest.len()).find(|&at| rest[at] == b'#' && at > 0 && is_blank(at - 1));
    let to = comment.unwrap_or(rest.len());
    let value = rest[from..to].trim_ascii_end();
    let moved = |problem: Problem| Problem { at: problem.at + from, ..problem };
    match dialect {
        Dialect::Dotenv => {
            // Those that are strict give up on the whole file, before and after: nobody reads it by them.
            expansions(value, dialect).map_err(moved)?;
        }
        Dialect::Shell => {
            one_word(value, b"'\"`\\&;()<>|").and_then(|()| expansions(value, dialect)).map_err(moved)?;
        }
        Dialect::Compose => expansions(value, dialect).map_err(moved)?,
        Dialect::Systemd | Dialect::Docker | Dialect::Pam => {}
    }
    let written = from..from + value.len();
    Ok(Shape { written, quote: None, has_comment: comment.is_some(), is_open: false })
}

/// What strict parsers give up on in a value without quotes.
fn one_word(value: &[u8], forbidden: &[u8]) -> Result<(), Problem> {
    match value.iter().position(|byte| b" \t".contains(byte) || forbidden.contains(byte)) {
        Some(at) => {
            problem(at, "strict parsers give up on this character in a value without quotes", "put the value in quotes")
        }
        None => Ok(()),
    }
}

/// A variable's expansion may stand in other values, where it ends with certainty.
fn expansions(value: &[u8], dialect: Dialect) -> Result<(), Problem> {
    for (at, _) in value.iter().enumerate().filter(|(_, byte)| **byte == b'$') {
        let after = &value[at + 1..];
        let is_plain = match after.first() {
            None => true,
            Some(b'{') => after.iter().position(|&byte| byte == b'}').is_some_and(|end| {
                let inside = &after[1..end];
                let plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
                !inside.is_empty()
                    && (inside.iter().all(plain)
                        || dialect == Dialect::Compose && !inside.iter().any(|b| b"${'\"\\".contains(b)))
            }),
            Some(byte) => byte.is_ascii_alphanumeric() || *byte == b'_' || dialect == Dialect::Compose,
        };
        if !is_plain {
            return problem(at, "parsers differ in what they make of this «$»", "put the value in single quotes");
        }
    }
    if dialect == Dialect::Shell && value.contains(&b'`') {
        return problem(0, "a shell runs a command for this value", "put the value in single quotes");
    }
    Ok(())
}
