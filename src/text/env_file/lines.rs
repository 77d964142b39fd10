//! The lines of an env file: which of them assign what.

use std::ops::Range;

use super::characters::characters;
use super::dialect::Dialect;
use super::environment_file;
use super::node::Passed;
use super::value::{Shape, opened_inside, shape};
use crate::text::refusal::{Problem, Refusal, problem};

/// The byte order mark of UTF-8.
pub(super) const BOM: &[u8] = b"\xef\xbb\xbf";

/// An assignment, by the places of its parts in the text.
pub(super) struct Assignment {
    /// In which line it begins, counted from 1.
    pub line: usize,
    /// Where the line's first word begins.
    pub start: usize,
    /// Whether that word is `export`.
    pub exported: bool,
    pub key: Range<usize>,
    /// What follows the equals sign, up to the end of the line.
    pub rest: Range<usize>,
    /// The parts of that; an error, where it is certain only what the other lines are.
    pub shape: Result<Shape, Problem>,
    /// The further lines of a value that has several.
    pub more_lines: Option<Range<usize>>,
    /// Why our own line may not be such; of no matter in another one. Its place is counted from the start of the text.
    pub doubt: Option<Problem>,
}

/// All assignments of a file, in order.
///
/// # Errors
/// The first thing of which it is not certain what the dialect's parser makes of it, or that makes it give up.
pub(super) fn assignments(text: &[u8], dialect: Dialect) -> Result<Vec<Assignment>, Refusal> {
    if dialect == Dialect::Systemd {
        return environment_file::assignments(text);
    }
    let mut found: Vec<Assignment> = Vec::new();
    let mut start = 0;
    if text.starts_with(BOM) {
        if !dialect.skips_bom() {
            let what = format!("{} takes the byte order mark for a part of the first line", dialect.reader());
            let problem = Problem { at: 0, what, advice: "save the file as UTF-8 without it" };
            return Err(Refusal::of(text, 0, problem));
        }
        start = BOM.len();
    }
    let mut number = 0;
    let mut passed = Passed::default();
    // What dotenvy takes for more lines of a value, up to where, and why.
    let mut swallowed: Option<(usize, Problem)> = None;
    while start < text.len() {
        let (line, next) = physical(text, start);
        number += 1;
        let refused = |problem| Refusal::of(text, start, problem);
        let content = &text[line.clone()];
        characters(content, text[line.end..next].first() == Some(&b'\r'), dialect).map_err(refused)?;
        let Some(mut assignment) = assignment(content, dialect).map_err(refused)? else {
            passed.line(content, start, dialect).map_err(refused)?;
            start = next;
            continue;
        };
        if assignment.doubt.is_some() && dialect == Dialect::Compose && next == line.end {
            let what = "Docker Compose misreads a name without a value at the end of the file".to_owned();
            return Err(refused(Problem { at: content.len(), what, advice: "end the line" }));
        }
        assignment.line = number;
        assignment.shift(start);
        assignment.doubt = passed.hides().or(assignment.doubt);
        start = next;
        if let Some((_, swallowed)) = swallowed.as_ref().filter(|(end, _)| assignment.start < *end) {
            assignment.doubt = assignment.doubt.or_else(|| Some(swallowed.clone()));
        } else if dialect == Dialect::Dotenv {
            swallowed = swallows(text, &assignment, next);
        }
        if let Some(written) = assignment.shape.as_ref().ok().filter(|shape| shape.is_open).map(|shape| &shape.written)
        {
            let opened = assignment.rest.start + written.start - 1;
            let more = more_lines(text, opened, next, dialect).map_err(|p| Refusal::of(text, opened, p))?;
            number += text[more.clone()].split_inclusive(|&byte| byte == b'\n').count();
            start = more.end;
            assignment.more_lines = Some(more);
        }
        found.push(assignment);
    }
    Ok(found)
}

/// Where the value of this line ends to dotenvy, if it is to go on in the lines from `next` on for a quote within it.
fn swallows(text: &[u8], assignment: &Assignment, next: usize) -> Option<(usize, Problem)> {
    let (at, quote) = opened_inside(&text[assignment.rest.clone()], assignment.shape.as_ref().ok()?)?;
    let end = next + text[next..].iter().position(|&byte| byte == quote)?;
    let what = "dotenvy takes this quote for an opening one, and what follows up to the next such quote for the value";
    let advice = "put the whole value in quotes of the other kind";
    Some((end, Problem { at: assignment.rest.start + at, what: what.to_owned(), advice }))
}

/// The number of the line that the byte at `offset` is in.
pub(super) fn line_of(text: &[u8], offset: usize) -> usize {
    text[..offset].iter().filter(|&&byte| byte == b'\n').count() + 1
}

impl Assignment {
    fn shift(&mut self, by: usize) {
        self.start += by;
        for range in [&mut self.key, &mut self.rest] {
            *range = range.start + by..range.end + by;
        }
        self.doubt.iter_mut().for_each(|problem| problem.at += by);
    }
}

/// The line that starts at `start`, without its ending, and where the next one starts.
fn physical(text: &[u8], start: usize) -> (Range<usize>, usize) {
    match text[start..].iter().position(|&byte| byte == b'\n') {
        Some(length) => {
            let end = start + length;
            let has_cr = end > start && text[end - 1] == b'\r';
            (start..end - usize::from(has_cr), end + 1)
        }
        None => (start..text.len(), text.len()),
    }
}

/// The assignment of a line, by places counted from its start; none where it is blank or a comment.
fn assignment(line: &[u8], dialect: Dialect) -> Result<Option<Assignment>, Problem> {
    let start = line.len() - trimmed_start(line).len();
    let word = &line[start..];
    // Blanks at the end are dropped first.
    if dialect.joins_lines() && line.trim_ascii_end().ends_with(b"\\") {
        let what = format!("{} joins this line with the next one", dialect.reader());
        return problem(line.trim_ascii_end().len() - 1, what, "remove the backslash at its end");
    }
    match word.first() {
        None | Some(b'#') => return Ok(None),
        Some(b';') if dialect == Dialect::Pam => return Ok(None),
        Some(b';') => return problem(start, "a comment begins with «#» here", "write «#» for «;»"),
        Some(_) => {}
    }
    if dialect == Dialect::Shell && declares_only(word) {
        return Ok(None);
    }
    let exported = word.starts_with(b"export ");
    if exported && dialect == Dialect::Docker {
        return problem(start, "docker refuses the whole file for the word «export»", "remove the word");
    }
    let blanks = match dialect {
        Dialect::Compose | Dialect::Shell if exported => {
            word["export ".len()..].iter().take_while(|&&byte| byte == b' ').count()
        }
        _ => 0,
    };
    let key_start = start + if exported { b"export ".len() + blanks } else { 0 };
    let name = &line[key_start..];
    let length = name.iter().position(|&byte| !is_of_name(byte, dialect)).unwrap_or(name.len());
    let after = &name[length..];
    let equals = after.len() - trimmed_start(after).len();
    let key = key_start..key_start + length;
    if !is_name(&name[..length], dialect) || after.get(equals) != Some(&b'=') {
        let has_name = not_an_assignment(&name[..length], after, key_start, dialect)?;
        let rest = line.len()..line.len();
        let shape = shape(b"", dialect);
        let what = format!("the name stands here without a value: {} has that from elsewhere", dialect.reader());
        let doubt = Some(Problem { at: key.end, what, advice: "write «=» after it, or remove it" });
        return Ok(has_name.then_some(Assignment {
            line: 0,
            start,
            exported,
            key,
            rest,
            shape,
            more_lines: None,
            doubt,
        }));
    }
    let blanks_at = key.end;
    if equals > 0 && !dialect.skips_blanks_before_equals() && dialect != Dialect::Pam {
        let what = format!("{} does not take this for an assignment", dialect.reader());
        return problem(blanks_at, what, "remove the blank before the equals sign");
    }
    let rest = blanks_at + equals + 1..line.len();
    let doubt = doubt(&line[..rest.start], blanks_at, equals > 0, dialect);
    let moved = |problem: Problem| Problem { at: problem.at + rest.start, ..problem };
    let shape = Ok(shape(&line[rest.clone()], dialect).map_err(moved)?);
    Ok(Some(Assignment { line: 0, start, exported, key, rest, shape, more_lines: None, doubt }))
}

/// What is wrong with an assignment up to its equals sign, if it is ours; in others it is of no matter.
fn doubt(before: &[u8], blanks_at: usize, has_blanks: bool, dialect: Dialect) -> Option<Problem> {
    let tab = before.iter().position(|&byte| byte == b'\t');
    match (dialect, tab) {
        (Dialect::Dotenv, Some(at)) => {
            let what = "node takes this tab for a part of the key".to_owned();
            Some(Problem { at, what, advice: "write a blank for it, or nothing" })
        }
        (Dialect::Pam, _) if has_blanks => {
            let what = "pam_env does not take this for an assignment".to_owned();
            Some(Problem { at: blanks_at, what, advice: "remove the blank before the equals sign" })
        }
        _ => None,
    }
}

/// Whether a line without an assignment names a variable at least.
fn not_an_assignment(name: &[u8], after: &[u8], at: usize, dialect: Dialect) -> Result<bool, Problem> {
    let is_name = is_name(name, dialect);
    let is_blank = after.trim_ascii().is_empty();
    // docker gives up on the file for a blank after the name.
    if is_name && dialect.has_names_alone() && (after.is_empty() || is_blank && dialect != Dialect::Docker) {
        return Ok(true);
    }
    if dialect == Dialect::Pam {
        return Ok(false);
    }
    if is_name && after.starts_with(b":") {
        return problem(at + name.len(), "only some parsers read this as an assignment", "write «=» for «:»");
    }
    if is_name && is_blank {
        let what = "here is a name without a value; some parsers take it from their own environment, others give up";
        return problem(at + name.len(), what, "write «=» after it, or remove it");
    }
    let what = format!("this is no assignment, and {} may give up on the file for it", dialect.reader());
    problem(at, what, "make it a comment with «#», or write NAME=value")
}

/// The end of a value in quotes that were opened at `opened` and not closed in that line; and its lines from `next` on.
fn more_lines(text: &[u8], opened: usize, next: usize, dialect: Dialect) -> Result<Range<usize>, Problem> {
    let quote = text[opened];
    let unterminated = "these quotes are not closed; parsers differ in what they swallow, up to the rest of the file";
    let advice = "close them in the same line, or quote the value with the other kind";
    if !dialect.has_multi_line_quotes() {
        return problem(0, unterminated, advice);
    }
    let Some(length) = text[next..].iter().position(|&byte| byte == quote) else {
        return problem(0, unterminated, advice);
    };
    let (closed, in_lines) = (next + length, &text[opened + 1..next + length]);
    if let Some(at) = in_lines.iter().position(|byte| b"\\$`".contains(byte)) {
        let what = "parsers differ in what this is in a value of several lines";
        return problem(at + 1, what, "put the value in one line, in single quotes");
    }
    let (last, end) = physical(text, closed);
    let after = &text[closed + 1..last.end];
    let is_comment =
        dialect != Dialect::Systemd && after.starts_with(b" ") && after.trim_ascii_start().starts_with(b"#");
    if !after.trim_ascii().is_empty() && !is_comment {
        return problem(closed + 1 - opened, "something follows the closing quotes", "remove it");
    }
    let mut start = next;
    while start < end {
        let (line, after) = physical(text, start);
        let has_cr = text[line.end..after].first() == Some(&b'\r');
        characters(&text[line], has_cr, dialect).map_err(|p| Problem { at: p.at + start - opened, ..p })?;
        start = after;
    }
    Ok(next..end)
}

/// What scripts have beside assignments and changes no value: `export NAME…` and the switch to export all.
pub(super) fn declares_only(word: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(word) else { return false };
    let is_name = |word: &str| !word.is_empty() && word.bytes().all(|byte| is_of_name(byte, Dialect::Shell));
    let switch = ["set -a", "set +a", "set -o allexport", "set +o allexport"].contains(&text.trim_end());
    switch
        || text
            .strip_prefix("export ")
            .is_some_and(|names| !names.trim().is_empty() && names.split_ascii_whitespace().all(is_name))
}

fn is_name(name: &[u8], dialect: Dialect) -> bool {
    let may_begin_with_digit = matches!(dialect, Dialect::Dotenv | Dialect::Docker | Dialect::Pam);
    name.first().is_some_and(|first| may_begin_with_digit || !first.is_ascii_digit())
}

fn is_of_name(byte: u8, dialect: Dialect) -> bool {
    match byte {
        // It takes anything, as long as there is no blank.
        _ if dialect == Dialect::Docker => !b"= \t".contains(&byte),
        b'.' | b'-' => !matches!(dialect, Dialect::Shell | Dialect::Pam),
        _ => byte.is_ascii_alphanumeric() || byte == b'_',
    }
}

pub(super) fn trimmed_start(line: &[u8]) -> &[u8] {
    let from = line.iter().position(|byte| !b" \t".contains(byte)).unwrap_or(line.len());
    &line[from..]
}
