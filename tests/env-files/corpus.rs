//! The corpus: some thousand env files, with what each real reader reads of them before and after our edit. `record` says
//! how they are written down.

#![allow(dead_code, clippy::unwrap_used)]

use std::ops::Range;

#[path = "new.rs"]
mod new;
pub use new::{KEY, VALUE};

const CORPUS: &str = include_str!("corpus");

/// A file, and what was made of it.
pub struct Case {
    /// What is in it.
    pub text: Vec<u8>,
    /// Who reads which value of the key; none where there is none to them.
    pub read: Vec<(String, Option<Vec<u8>>)>,
    /// Who gives up on it.
    pub gave_up: String,
    /// Our edits.
    pub edits: Vec<Edit>,
}

/// Which bytes were replaced, by whom, and who reads it then as it is meant.
pub struct Edit {
    /// The initials of the dialects.
    pub dialects: String,
    /// Which bytes.
    pub range: Range<usize>,
    /// Who reads it then as it is meant.
    pub kept: String,
}

/// All cases.
pub fn cases() -> Vec<Case> {
    CORPUS.lines().map(case).collect()
}

impl Case {
    /// To be printed.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.text).into_owned()
    }

    /// What a reader reads, if it does not give up.
    pub fn read_by(&self, reader: char) -> Option<Option<&[u8]>> {
        self.read.iter().find(|(letters, _)| letters.contains(reader)).map(|(_, value)| value.as_deref())
    }

    /// The text after an edit in place; none where a line is added.
    pub fn edited(&self, edit: &Edit) -> Option<Vec<u8>> {
        let (before, after) = (&self.text[..edit.range.start], &self.text[edit.range.end..]);
        (edit.range.start < self.text.len()).then(|| [before, VALUE.as_bytes(), after].concat())
    }

    /// The recorded edit of a dialect that is this one.
    pub fn edit(&self, edited: &[u8], dialect: char) -> Option<&Edit> {
        let added = format!("{KEY}={VALUE}");
        self.edits.iter().filter(|edit| edit.dialects.contains(dialect)).find(|edit| {
            let (before, after) = (&self.text[..edit.range.start], &self.text[edit.range.end..]);
            let Some(rest) = edited.strip_prefix(before) else { return false };
            let Some(written) = rest.strip_suffix(after) else { return false };
            let line = written.trim_ascii();
            let line = line.strip_prefix(b"export ").unwrap_or(line);
            let is_added = edit.range.start == self.text.len() && line == added.as_bytes();
            is_added || written == VALUE.as_bytes()
        })
    }
}

fn bytes(string: &str) -> Vec<u8> {
    let text: String = serde_json::from_str(string).unwrap();
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
}

fn case(line: &str) -> Case {
    let mut fields = line.split('\t');
    let text = bytes(fields.next().unwrap());
    let mut case = Case { text, read: Vec::new(), gave_up: String::new(), edits: Vec::new() };
    for field in fields {
        let (kind, rest) = field.split_at(1);
        match kind {
            "=" => {
                let (letters, value) = rest.split_once(' ').unwrap();
                case.read.push((letters.to_owned(), Some(bytes(value))));
            }
            "-" => case.read.push((rest.to_owned(), None)),
            "!" => rest.clone_into(&mut case.gave_up),
            _ => {
                let (dialects, rest) = rest.split_once(' ').unwrap();
                let (range, kept) = rest.split_once(' ').unwrap();
                let (from, to) = range.split_once("..").unwrap();
                let (dialects, kept) = (dialects.to_owned(), kept.to_owned());
                case.edits.push(Edit { dialects, range: from.parse().unwrap()..to.parse().unwrap(), kept });
            }
        }
    }
    case
}
