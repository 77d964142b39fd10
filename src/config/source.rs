//! A file's text, and how a span of its bytes is cited.

use std::ops::Range;
use std::path::PathBuf;

use super::findings::{Place, is_unprintable};

/// The most characters of a line that are cited.
const WIDEST: usize = 120;

/// A configuration file as it was read.
#[derive(Debug)]
pub(super) struct Source {
    /// Where it was read from.
    pub path: PathBuf,
    /// Its text, lossy where it was not UTF-8.
    pub text: String,
    /// The bytes that are not UTF-8 text, where there are some.
    pub not_utf8: Option<Range<usize>>,
    /// Of a developer's checkout: the directory that relative paths begin at. There is no systemd there.
    pub checkout: Option<PathBuf>,
}

impl Source {
    /// Takes the bytes of `path`.
    pub fn new(path: PathBuf, bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self { path, text, not_utf8: None, checkout: None },
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                let text = error.into_bytes();
                let text = String::from_utf8_lossy(&text).into_owned();
                Self { path, text, not_utf8: Some(at..at + '\u{fffd}'.len_utf8()), checkout: None }
            }
        }
    }

    /// The place of `span`; what `hidden` covers is shown as asterisks, as is a password in a URL.
    pub fn place(&self, span: Range<usize>, hidden: Option<Range<usize>>) -> Place {
        let start = self.boundary(span.start);
        let end = self.boundary(span.end).max(start);
        let line_start = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = self.text[start..].find('\n').map_or(self.text.len(), |at| start + at);
        let line = self.text[line_start..line_end].trim_end_matches('\r');
        let column = self.text[line_start..start].chars().count();

        let passwords = passwords(line);
        let skipped = if column > WIDEST * 3 / 4 { column - WIDEST / 4 } else { 0 };
        let mut cited = String::from(if skipped > 0 { "…" } else { "" });
        let mut underline = None;
        let mut underline_end = None;
        for (offset, c) in line.char_indices().skip(skipped).take(WIDEST) {
            let at = line_start + offset;
            if at >= start && underline.is_none() {
                underline = Some(cited.len());
            }
            let is_hidden = hidden.as_ref().is_some_and(|hidden| hidden.contains(&at))
                || passwords.as_ref().is_some_and(|passwords| passwords.contains(&offset));
            cited.push(match c {
                _ if is_hidden && !matches!(c, '"' | '\'') => '*',
                '\t' => ' ',
                c if is_unprintable(c) => '\u{fffd}',
                c => c,
            });
            if at < end {
                underline_end = Some(cited.len());
            }
        }
        let from = underline.unwrap_or(cited.len());
        let to = underline_end.unwrap_or(from).max(from);
        if line.chars().nth(skipped + WIDEST).is_some() {
            cited.push('…');
        }
        let line = self.text.as_bytes()[..line_start].iter().filter(|&&byte| byte == b'\n').count() + 1;
        Place { span: start..end, line, column: column + 1, cited, underline: from..to }
    }

    /// The number of the line of a byte, from 0.
    pub fn line_of(&self, offset: usize) -> usize {
        let offset = self.boundary(offset);
        self.text.as_bytes()[..offset].iter().filter(|&&byte| byte == b'\n').count()
    }

    fn boundary(&self, offset: usize) -> usize {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }
}

/// The part of a line between `://` and the last `@` of what follows without a blank: a user and a password.
fn passwords(line: &str) -> Option<Range<usize>> {
    let start = line.find("://")? + 3;
    let rest = &line[start..];
    let end = rest.find(|c: char| c.is_whitespace() || c == '"' || c == '\'').unwrap_or(rest.len());
    rest[..end].rfind('@').map(|at| start..start + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::new("x".into(), text.into())
    }

    #[test]
    fn line_and_column_count_characters() {
        let place = source("a = 1\r\nü\t= \"x\"\r\n").place(12..15, None);
        assert_eq!((place.line, place.column, place.cited.as_str()), (2, 5, "ü = \"x\""));
        assert_eq!(&place.cited[place.underline], "\"x\"");
    }

    #[test]
    fn a_span_over_lines_or_beyond_the_end_stays_inside() {
        let place = source("ab\ncd").place(1..4, None);
        assert_eq!((place.line, place.column, &place.cited[place.underline]), (1, 2, "b"));
        let place = source("ab\n").place(900..901, None);
        assert_eq!((place.line, place.column, place.underline), (2, 1, 0..0));
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("{}MARK{}", "x".repeat(1000), "y".repeat(1000));
        let place = source(&text).place(1000..1004, None);
        assert_eq!(&place.cited[place.underline.clone()], "MARK");
        assert!(place.cited.chars().count() <= WIDEST + 2 && place.cited.ends_with('…'), "{}", place.cited);
        assert_eq!(place.column, 1001);
    }

    #[test]
    fn hidden_parts_and_passwords_are_not_cited() {
        let place = source("value = \"geheim\"").place(0..5, Some(8..16));
        assert_eq!(place.cited, "value = \"******\"");
        let place = source("url = \"http://me:geheim@host/\"").place(0..3, None);
        assert_eq!(place.cited, "url = \"http://*********@host/\"");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_placed() {
        let source = Source::new("x".into(), b"a = 1\nb\xff\n".to_vec());
        assert_eq!(source.place(source.not_utf8.clone().unwrap(), None).column, 2);
    }
}
