//! Characters that parsers disagree about.

use std::ops::Range;

use super::dialect::Dialect;
use super::lines::trimmed_start;
use crate::text::refusal::{Problem, problem};

/// What is wrong with the characters of a line, wherever they are.
pub(super) fn characters(line: &[u8], has_cr: bool, dialect: Dialect) -> Result<(), Problem> {
    if has_cr && !dialect.drops_cr() {
        let what = format!("{} keeps the carriage return at the end of the line as a part of it", dialect.reader());
        return problem(line.len(), what, "save the file with Unix line endings, as dos2unix does");
    }
    if line.len() > dialect.longest_line() {
        return problem(0, format!("the line is too long for {}", dialect.reader()), "shorten it");
    }
    if let Some(at) = line.iter().position(|&byte| byte.is_ascii_control() && byte != b'\t') {
        return problem(at, "here is a control character", "remove it");
    }
    let is_comment = line.trim_ascii_start().starts_with(b"#");
    let text = match std::str::from_utf8(line) {
        Ok(text) => text,
        Err(_) if is_comment && matches!(dialect, Dialect::Shell | Dialect::Pam) => return Ok(()),
        Err(error) => return problem(error.valid_up_to(), "the line is not UTF-8", "save the file as UTF-8"),
    };
    // To JavaScript these are line endings and blanks, to others letters. Within quotes all of them are letters to all.
    let (quoted, mut at) = (within_quotes(line), 0);
    let disputed = |c: char| {
        let is_quoted = quoted.contains(&at);
        at += c.len_utf8();
        match c {
            '\u{2028}' | '\u{2029}' | '\u{85}' => true,
            '\u{feff}' => !is_comment && !is_quoted,
            c => !is_comment && !is_quoted && !c.is_ascii() && c.is_whitespace(),
        }
    };
    match text.find(disputed) {
        Some(at) => problem(at, "here is a blank that is none of ASCII", "write a plain space, or none"),
        None => Ok(()),
    }
}

/// What the quotes after the first equals sign hold, if they end in this line.
fn within_quotes(line: &[u8]) -> Range<usize> {
    let equals = line.iter().position(|&byte| byte == b'=').unwrap_or(line.len());
    let value = trimmed_start(line.get(equals + 1..).unwrap_or_default());
    let from = line.len() - value.len();
    let closed = value
        .first()
        .filter(|quote| b"'\"".contains(quote))
        .and_then(|quote| value[1..].iter().position(|byte| byte == quote));
    closed.map_or(0..0, |length| from + 1..from + 1 + length)
}
