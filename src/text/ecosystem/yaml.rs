//! Ecosystem files in YAML, in block style: lines that are indented, as people write them.

use std::ops::Range;

use zeroize::Zeroizing;

use super::{Found, IN_QUOTES, Problem, Quote, Variable, no_app, no_environment, problem, twice};
use crate::secret::SecretValue;

/// Finds the value of a variable.
///
/// # Errors
/// Where it is not certain what it is.
pub(super) fn find(text: &[u8], variable: &Variable) -> Result<Option<Found>, Problem> {
    let lines = lines(text)?;
    let file = File { text };
    let app = file.app(&lines, &variable.app)?;
    if let Some(name) = variable.environment.as_ref().map(|name| format!("env_{name}")) {
        let Some(environment) = file.entry(&app, &name)? else {
            return no_environment(app.first().map_or(0, |line| line.start), &variable.app, &name);
        };
        if let Some(entry) = file.entry(&file.block(&environment)?, &variable.key)? {
            return file.value(&entry, &variable.key).map(Some);
        }
    }
    let Some(environment) = file.entry(&app, "env")? else { return Ok(None) };
    match file.entry(&file.block(&environment)?, &variable.key)? {
        Some(entry) => file.value(&entry, &variable.key).map(Some),
        None => Ok(None),
    }
}

/// A line with something on it.
#[derive(Clone, Debug)]
struct Line {
    /// How far its first character is from the margin.
    indent: usize,
    /// Where that is in the text.
    start: usize,
    end: usize,
}

/// A key with what belongs to it.
struct Entry {
    /// What follows the colon in the same line.
    rest: Range<usize>,
    indent: usize,
    below: Vec<Line>,
}

struct File<'t> {
    text: &'t [u8],
}

fn lines(text: &[u8]) -> Result<Vec<Line>, Problem> {
    let mut lines = Vec::new();
    let mut start = if text.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
    while start < text.len() {
        let end = text[start..].iter().position(|&byte| byte == b'\n').map_or(text.len(), |at| start + at);
        let line = &text[start..end];
        let indent = line.iter().position(|&byte| byte != b' ').unwrap_or(line.len());
        let content = line[indent..].trim_ascii_end();
        match content {
            _ if content.is_empty() || content.starts_with(b"#") => {}
            _ if content.starts_with(b"\t") => {
                return problem(start + indent, "a tab stands where YAML wants blanks", "write blanks");
            }
            b"---" if indent == 0 && lines.is_empty() => {}
            _ if indent == 0 && (content.starts_with(b"---") || content.starts_with(b"%") || content == b"...") => {
                return problem(start, "more than one document is in the file", "keep one of them");
            }
            _ => lines.push(Line { indent, start: start + indent, end: start + indent + content.len() }),
        }
        start = end + 1;
    }
    Ok(lines)
}

impl File<'_> {
    fn app(&self, lines: &[Line], name: &str) -> Result<Vec<Line>, Problem> {
        let mut apps = lines.to_vec();
        if !lines.first().is_some_and(|line| self.is_item(line)) {
            for key in ["apps", "pm2"] {
                if let Some(entry) = self.entry(lines, key)? {
                    apps = self.block(&entry)?;
                    break;
                }
            }
        }
        let is_list = apps.first().is_some_and(|line| self.is_item(line));
        let all = if is_list { self.items(&apps)? } else { vec![apps.clone()] };
        let mut found = None;
        for app in all {
            let Some(entry) = self.entry(&app, "name")? else { continue };
            let is_named = self.scalar(&entry).is_ok_and(|scalar| scalar.value.reveal() == name.as_bytes());
            if is_named && found.is_some() {
                return twice(entry.rest.start, &format!("the app {name}"));
            }
            if is_named {
                found = Some(app);
            }
        }
        found.map_or_else(|| no_app(apps.first().map_or(0, |line| line.start), name), Ok)
    }

    fn is_item(&self, line: &Line) -> bool {
        let text = &self.text[line.start..line.end];
        text == b"-" || text.starts_with(b"- ")
    }

    /// The items of a list, each as the lines of what it is.
    fn items(&self, lines: &[Line]) -> Result<Vec<Vec<Line>>, Problem> {
        let margin = lines.first().map_or(0, |line| line.indent);
        let mut items: Vec<Vec<Line>> = Vec::new();
        for line in lines {
            if line.indent == margin && self.is_item(line) {
                let text = &self.text[line.start + 1..line.end];
                let blanks = text.iter().position(|&byte| byte != b' ').unwrap_or(text.len());
                let start = line.start + 1 + blanks;
                let first = Line { indent: line.indent + 1 + blanks, start, end: line.end };
                items.push(if start < line.end && self.text[start] != b'#' { vec![first] } else { Vec::new() });
            } else if let Some(item) = items.last_mut().filter(|_| line.indent > margin) {
                item.push(line.clone());
            } else {
                return unclear(line.start);
            }
        }
        Ok(items)
    }

    /// What a mapping has under a key.
    fn entry(&self, lines: &[Line], key: &str) -> Result<Option<Entry>, Problem> {
        let margin = lines.first().map_or(0, |line| line.indent);
        let mut entries: Vec<(bool, Entry)> = Vec::new();
        for line in lines {
            let below = entries.last_mut().filter(|_| line.indent > margin || self.is_item(line));
            if let (Some((_, entry)), true) = (below, line.indent >= margin) {
                entry.below.push(line.clone());
                continue;
            }
            if line.indent != margin {
                return unclear(line.start);
            }
            let (name, rest) = self.key(line)?;
            let is_ours = *name == *key.as_bytes();
            if is_ours && entries.iter().any(|(is_ours, _)| *is_ours) {
                return twice(line.start, key);
            }
            if *name == *b"<<" {
                let what = format!("{key} may be merged in from elsewhere here");
                return problem(line.start, what, "write out what is merged; or use `env-file`");
            }
            entries.push((is_ours, Entry { rest, indent: margin, below: Vec::new() }));
        }
        Ok(entries.into_iter().find(|(is_ours, _)| *is_ours).map(|(_, entry)| entry))
    }

    /// The key of a line, and what follows its colon.
    fn key(&self, line: &Line) -> Result<(Zeroizing<Vec<u8>>, Range<usize>), Problem> {
        let text = &self.text[line.start..line.end];
        let (name, after) = match text[0] {
            b'\'' | b'"' => {
                let Some((value, length)) = quoted(text) else { return unclear(line.start) };
                (value, length)
            }
            b'[' | b'{' | b'&' | b'*' | b'!' | b'|' | b'>' | b'?' | b'@' | b'`' | b'%' => return unclear(line.start),
            _ => {
                let ends = |at: &usize| text[*at] == b':' && matches!(text.get(at + 1), None | Some(b' ' | b'\t'));
                let Some(colon) = (0..text.len()).find(ends) else { return unclear(line.start) };
                (Zeroizing::new(text[..colon].trim_ascii_end().to_vec()), colon)
            }
        };
        let rest = &text[after..];
        let blanks = rest.iter().position(|&byte| byte != b' ').unwrap_or(0);
        let colon = after + blanks;
        if text.get(colon) != Some(&b':') || !matches!(text.get(colon + 1), None | Some(b' ' | b'\t')) {
            return unclear(line.start);
        }
        let value = &text[colon + 1..];
        let skipped = value.iter().position(|byte| !b" \t".contains(byte)).unwrap_or(value.len());
        let start = line.start + colon + 1 + skipped;
        let is_comment = skipped > 0 && self.text[start..line.end].starts_with(b"#");
        Ok((name, if is_comment { start..start } else { start..line.end }))
    }

    /// The lines below a key, which has nothing in its own.
    fn block(&self, entry: &Entry) -> Result<Vec<Line>, Problem> {
        if !entry.rest.is_empty() {
            let advice = "write it in lines of its own, one below the other; or use `env-file`";
            return problem(entry.rest.start, "this is not in YAML's block style", advice);
        }
        let is_inside = |line: &Line| line.indent > entry.indent || self.is_item(line);
        match entry.below.iter().find(|line| !is_inside(line)) {
            Some(line) => unclear(line.start),
            None => Ok(entry.below.clone()),
        }
    }

    fn value(&self, entry: &Entry, key: &str) -> Result<Found, Problem> {
        let refused = |what: &str| problem(entry.rest.start, format!("the value of {key} {what}"), IN_QUOTES);
        if let Some(line) = entry.below.first() {
            return problem(line.start, format!("the value of {key} has several lines"), "put it in one line");
        }
        let found = self.scalar(entry).or_else(|()| refused("is not a plain text here"))?;
        if found.quote == Quote::None && !is_text(found.value.reveal()) {
            return refused("is something else than a text for YAML");
        }
        Ok(found)
    }

    fn scalar(&self, entry: &Entry) -> Result<Found, ()> {
        let text = &self.text[entry.rest.clone()];
        let start = entry.rest.start;
        match text.first() {
            Some(quote @ (b'\'' | b'"')) => {
                let (value, length) = quoted(text).ok_or(())?;
                let tail = &text[length..];
                let is_comment =
                    |tail: &[u8]| tail[0].is_ascii_whitespace() && tail.trim_ascii_start().starts_with(b"#");
                if !tail.is_empty() && !is_comment(tail) {
                    return Err(());
                }
                let quote = if *quote == b'"' { Quote::Double } else { Quote::Single { doubled: true } };
                let value = SecretValue::new(value.to_vec());
                Ok(Found { value, written: start + 1..start + length - 1, quote })
            }
            Some(
                b'[' | b'{' | b'&' | b'*' | b'!' | b'|' | b'>' | b'?' | b'@' | b'`' | b'%' | b'#' | b',' | b']' | b'}',
            )
            | None => Err(()),
            Some(_) => {
                let comment = (1..text.len()).find(|&at| text[at] == b'#' && b" \t".contains(&text[at - 1]));
                let value = text[..comment.unwrap_or(text.len())].trim_ascii_end();
                let is_key = |at: usize| value[at] == b':' && matches!(value.get(at + 1), None | Some(b' ' | b'\t'));
                if (0..value.len()).any(is_key) || value.starts_with(b"- ") || value == b"-" {
                    return Err(());
                }
                let written = start..start + value.len();
                Ok(Found { value: SecretValue::new(value.to_vec()), written, quote: Quote::None })
            }
        }
    }
}

fn unclear<T>(at: usize) -> Result<T, Problem> {
    let advice = "write keys and values in lines of their own, indented by blanks; or use `env-file`";
    problem(at, "it is not certain what YAML makes of this line", advice)
}

/// What a text in quotes stands for, and how long it is with them; none where that is not certain, or it does not end.
fn quoted(text: &[u8]) -> Option<(Zeroizing<Vec<u8>>, usize)> {
    let quote = *text.first()?;
    let mut value = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut at = 1;
    loop {
        match *text.get(at)? {
            byte if byte == quote && quote == b'\'' && text.get(at + 1) == Some(&b'\'') => {
                value.push(byte);
                at += 2;
            }
            byte if byte == quote => return Some((value, at + 1)),
            b'\\' if quote == b'"' => {
                value.push(match *text.get(at + 1)? {
                    byte @ (b'"' | b'\\' | b'/') => byte,
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'r' => b'\r',
                    _ => return None,
                });
                at += 2;
            }
            byte => {
                value.push(byte);
                at += 1;
            }
        }
    }
}

/// Whether YAML reads a text, and not a number, a date, or a word with a meaning of its own.
fn is_text(value: &[u8]) -> bool {
    let unsigned = value.strip_prefix(b"-").or_else(|| value.strip_prefix(b"+")).unwrap_or(value);
    let word = value.to_ascii_lowercase();
    let words: [&[u8]; 8] = [b"null", b"~", b"true", b"false", b"yes", b"no", b"on", b"off"];
    let special: [&[u8]; 4] = [b"y", b"n", b".inf", b".nan"];
    let begins_number = unsigned.first().is_some_and(|byte| byte.is_ascii_digit() || *byte == b'.');
    let has_base = [b"0x", b"0o", b"0b"].iter().any(|base| unsigned.to_ascii_lowercase().starts_with(*base));
    let like_number = unsigned.iter().all(|byte| byte.is_ascii_digit() || b"_.+-:eETtZz ".contains(byte));
    !words.contains(&&*word)
        && !special.contains(&&*word)
        && !(begins_number && (has_base || like_number))
        && !unsigned.to_ascii_lowercase().ends_with(b".inf")
}
