//! systemd's dialect of environment files, as `EnvironmentFile=` in systemd.exec(5) describes it and systemd 252 to 257
//! read it.

use std::ops::Range;

use zeroize::Zeroizing;

use crate::secret::SecretValue;

/// An assignment that was read.
pub type Assignment = (String, Zeroizing<Vec<u8>>);

/// Writes assignments so that every value is read back as it is: in double quotes, with what the shell would expand
/// escaped.
///
/// # Errors
/// The first value that the dialect cannot represent, and why. systemd would not start a unit that has it.
pub fn render(assignments: &[(&str, &SecretValue)]) -> Result<Zeroizing<Vec<u8>>, String> {
    let length = assignments.iter().map(|(name, value)| name.len() + 2 * value.len() + 4).sum();
    // Reserved at once, since a buffer that grows leaves copies of what it held.
    let mut text = Zeroizing::new(Vec::with_capacity(length));
    for (name, value) in assignments {
        representable(value.reveal()).map_err(|why| format!("the value of {name} {why}"))?;
        text.extend_from_slice(name.as_bytes());
        text.extend_from_slice(b"=\"");
        for &byte in value.reveal() {
            if matches!(byte, b'"' | b'\\' | b'$' | b'`') {
                text.push(b'\\');
            }
            text.push(byte);
        }
        text.extend_from_slice(b"\"\n");
    }
    Ok(text)
}

fn representable(value: &[u8]) -> Result<(), &'static str> {
    let text = std::str::from_utf8(value).map_err(|_| "is not UTF-8")?;
    if text.is_empty() {
        return Err("is empty");
    }
    if text.contains('\0') {
        return Err("has a NUL character");
    }
    let noncharacter = |c: char| (0xFDD0..=0xFDEF).contains(&u32::from(c)) || u32::from(c) & 0xFFFE == 0xFFFE;
    if text.chars().any(noncharacter) { Err("has a Unicode noncharacter") } else { Ok(()) }
}

/// The value of `name`: of several assignments the last one counts.
pub fn value_of(text: &[u8], name: &str) -> Option<Zeroizing<Vec<u8>>> {
    parse(text).into_iter().rev().find(|(assigned, _)| assigned == name).map(|(_, value)| value)
}

/// Reads all assignments, in order.
pub fn parse(text: &[u8]) -> Vec<Assignment> {
    read(text).assignments
}

/// Where an assignment stands in a text.
pub struct Place {
    /// From the first byte of its name, and what stands before it such as `export`, to the equals sign.
    pub name: Range<usize>,
    /// What follows the equals sign, to the end of the line, the last one where it has several.
    pub rest: Range<usize>,
}

/// The places of all assignments, in order.
///
/// # Errors
/// Where quotes are opened that are never closed, or a comment ends in a backslash: before version 254 it goes on in the
/// next line.
pub fn places(text: &[u8]) -> Result<Vec<Place>, Unclear> {
    let reader = read(text);
    match (reader.joined, reader.state) {
        (Some(at), _) => Err(Unclear::JoinedComment(at)),
        (None, State::SingleQuoted | State::DoubleQuoted | State::DoubleQuotedEscape) => {
            Err(Unclear::OpenQuotes(reader.opened))
        }
        _ => Ok(reader.places),
    }
}

/// What versions of systemd, or it and people, see differently; and where it begins.
#[derive(Debug)]
pub enum Unclear {
    /// Quotes that swallow the rest of the file.
    OpenQuotes(usize),
    /// The backslash at a comment's end.
    JoinedComment(usize),
}

fn read(text: &[u8]) -> Reader {
    let mut reader = Reader { capacity: text.len(), ..Reader::default() };
    for (at, &byte) in text.iter().enumerate() {
        reader.at = at;
        reader.state = reader.step(byte);
    }
    reader.at = text.len();
    match reader.state {
        State::BeforeKey | State::Key | State::Comment | State::CommentEscape => {}
        // What is left open is told by the state.
        State::SingleQuoted | State::DoubleQuoted | State::DoubleQuotedEscape => drop(reader.assign()),
        _ => reader.state = reader.assign(),
    }
    reader
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    BeforeKey,
    Key,
    BeforeValue,
    Value,
    ValueEscape,
    SingleQuoted,
    DoubleQuoted,
    DoubleQuotedEscape,
    Comment,
    CommentEscape,
}

#[derive(Default)]
struct Reader {
    state: State,
    capacity: usize,
    key: Vec<u8>,
    value: Zeroizing<Vec<u8>>,
    /// Where trailing white space of an unquoted value began.
    blank_from: Option<usize>,
    assignments: Vec<Assignment>,
    /// Of the byte that is read.
    at: usize,
    key_at: usize,
    equals_at: usize,
    /// Where the last quotes were opened.
    opened: usize,
    /// Where a comment ended in a backslash first.
    joined: Option<usize>,
    places: Vec<Place>,
}

impl Reader {
    fn step(&mut self, byte: u8) -> State {
        let newline = matches!(byte, b'\n' | b'\r');
        let blank = newline || matches!(byte, b' ' | b'\t');
        match self.state {
            State::BeforeKey => match byte {
                b'#' | b';' => return State::Comment,
                _ if blank => return State::BeforeKey,
                _ => {
                    self.key_at = self.at;
                    self.key = vec![byte];
                    return State::Key;
                }
            },
            State::Key => match byte {
                _ if newline => return State::BeforeKey,
                b'=' => {
                    self.equals_at = self.at;
                    self.value = Zeroizing::new(Vec::with_capacity(self.capacity));
                    self.blank_from = None;
                    return State::BeforeValue;
                }
                _ => self.key.push(byte),
            },
            State::BeforeValue => match byte {
                _ if newline => return self.assign(),
                b'\'' | b'"' => {
                    self.opened = self.at;
                    return if byte == b'"' { State::DoubleQuoted } else { State::SingleQuoted };
                }
                b'\\' => return State::ValueEscape,
                _ if blank => {}
                _ => {
                    self.value.push(byte);
                    return State::Value;
                }
            },
            State::Value => match byte {
                _ if newline => return self.assign(),
                b'\\' => {
                    self.blank_from = None;
                    return State::ValueEscape;
                }
                _ => {
                    self.blank_from = if blank { self.blank_from.or(Some(self.value.len())) } else { None };
                    self.value.push(byte);
                }
            },
            State::ValueEscape => {
                if !newline {
                    self.value.push(byte);
                }
                return State::Value;
            }
            State::SingleQuoted => match byte {
                b'\'' => return State::BeforeValue,
                _ => self.value.push(byte),
            },
            State::DoubleQuoted => match byte {
                b'"' => return State::BeforeValue,
                b'\\' => return State::DoubleQuotedEscape,
                _ => self.value.push(byte),
            },
            State::DoubleQuotedEscape => {
                match byte {
                    b'"' | b'\\' | b'`' | b'$' => self.value.push(byte),
                    b'\n' => {}
                    _ => self.value.extend_from_slice(&[b'\\', byte]),
                }
                return State::DoubleQuoted;
            }
            State::Comment => match byte {
                b'\\' => return State::CommentEscape,
                _ if newline => return State::BeforeKey,
                _ => {}
            },
            // Before version 254 a comment that ends in a backslash went on in the next line.
            State::CommentEscape => {
                if newline {
                    self.joined = self.joined.or(Some(self.at - 1));
                    return State::BeforeKey;
                }
                return State::Comment;
            }
        }
        self.state
    }

    fn assign(&mut self) -> State {
        if let Some(from) = self.blank_from.take() {
            self.value.truncate(from);
        }
        // WHITESPACE of its sources, which has no form feed.
        let length = self.key.iter().rposition(|byte| !b" \t\n\r".contains(byte)).map_or(0, |last| last + 1);
        let key = &self.key[..length];
        self.places.push(Place { name: self.key_at..self.key_at + key.len(), rest: self.equals_at + 1..self.at });
        if let Ok(key) = std::str::from_utf8(key) {
            let value = std::mem::take(&mut self.value);
            self.assignments.push((key.to_owned(), value));
        }
        State::BeforeKey
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What systemd 252 and 257 were seen to read.
    #[test]
    fn reads_what_systemd_reads() {
        for (text, value) in [
            ("K=abc", "abc"),
            ("K=abc\n", "abc"),
            ("K= abc  \n", "abc"),
            (" K =abc\n", "abc"),
            ("K=ab+/cd+/Zz==\n", "ab+/cd+/Zz=="),
            ("K=a$X-z\n", "a$X-z"),
            ("K='a $X'\n", "a $X"),
            ("K=\"a\\$X\\\"\\\\\\`\"\n", "a$X\"\\`"),
            ("K=\"a\\n\"\n", "a\\n"),
            ("K=a\\$b\n", "a$b"),
            ("K=a#b\n", "a#b"),
            ("K=abcd # note\n", "abcd # note"),
            ("K=\"ab\" # note\n", "ab# note"),
            ("K=a\\\nb\n", "ab"),
            ("K=\"a\nb\"\n", "a\nb"),
            ("K='ab", "ab"),
            ("# K=no\n; K=no\nK=yes\n", "yes"),
            ("K=one\nK=two\n", "two"),
            ("K=one\r\nL=x\r\n", "one"),
            ("L\nK=a b\n", "a b"),
        ] {
            assert_eq!(value_of(text.as_bytes(), "K").unwrap().as_slice(), value.as_bytes(), "{text:?}");
        }
        assert_eq!(value_of(b"export K=a\n", "K"), None);
        assert_eq!(value_of(b"K\n", "K"), None);
        assert_eq!(value_of(b"K=\n", "K").unwrap().as_slice(), b"");
    }

    #[test]
    fn refuses_what_systemd_would_not_start_with() {
        for bad in [&b""[..], b"a\0b", b"\xff\xfe", "\u{fffe}".as_bytes(), "\u{10ffff}".as_bytes()] {
            assert!(render(&[("K", &SecretValue::new(bad.to_vec()))]).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(first in "[^\0]{1,40}", second in "[^\0]{1,40}") {
            let (first, second) = (SecretValue::new(first.into_bytes()), SecretValue::new(second.into_bytes()));
            if let Ok(text) = render(&[("A", &first), ("B", &second)]) {
                prop_assert!(value_of(&text, "A").is_some_and(|value| *value == first.reveal()));
                prop_assert!(value_of(&text, "B").is_some_and(|value| *value == second.reveal()));
                prop_assert_eq!(parse(&text).len(), 2);
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
            parse(&text);
        }
    }
}
