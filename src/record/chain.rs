//! Records as lines of a file: each names the hash of the one before, so that none can be changed or dropped unseen.
//!
//! A line is the SHA-256 of the rest in hex, a blank, and a JSON object with the record and `prev`, the hash of the
//! line before. `head` is the hash of the last line.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::Record;

/// The hash of a line, 64 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Head(String);

impl Default for Head {
    /// What the first line of all has as its predecessor.
    fn default() -> Self {
        Self("0".repeat(64))
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A line that is not a record of this chain.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ChainError {
    /// The line's hash is not that of its text.
    #[error("line {line} was altered: its hash does not match")]
    Altered {
        /// The line's number in the file, from 1.
        line: usize,
    },
    /// The line does not follow on the one before.
    #[error("line {line} does not follow on the line before: lines are missing or were exchanged")]
    Broken {
        /// The line's number in the file, from 1.
        line: usize,
    },
    /// The line is intact but of a form that this version does not know.
    #[error("line {line} is of a form that this version of rekeyd does not know: {reason}")]
    Unknown {
        /// The line's number in the file, from 1.
        line: usize,
        /// What the parser says.
        reason: String,
    },
}

#[derive(Serialize)]
struct LineOut<'a> {
    prev: &'a Head,
    #[serde(flatten)]
    record: &'a Record,
}

#[derive(Deserialize)]
struct LineIn {
    prev: Head,
    #[serde(flatten)]
    record: Record,
}

/// The line of `record` after `prev`, newline included, and the new head.
///
/// # Errors
/// Never for a record that can be read back; serde's signature wants it.
pub fn line(prev: &Head, record: &Record) -> Result<(Vec<u8>, Head), serde_json::Error> {
    let json = serde_json::to_string(&LineOut { prev, record })?;
    let head = hash(json.as_bytes());
    Ok((format!("{head} {json}\n").into_bytes(), head))
}

impl ChainError {
    /// The line's number in the file, from 1.
    pub fn line(&self) -> usize {
        let (Self::Altered { line } | Self::Broken { line } | Self::Unknown { line, .. }) = self;
        *line
    }
}

/// What was read from a file of records.
#[derive(Debug, Default)]
pub struct Lines {
    /// The records, in order.
    pub records: Vec<Record>,
    /// The hash of each record's line.
    pub heads: Vec<Head>,
    /// How many bytes the whole lines take. What follows is a line that was never finished: its write was cut off
    /// before it was acknowledged, so nothing was done on the strength of it.
    pub whole: usize,
}

/// Reads the lines of a file. `prev` is the hash that the first line must follow on; `None` takes it as it is.
///
/// # Errors
/// The first line that is not a record of this chain.
pub fn parse(bytes: &[u8], prev: Option<Head>) -> Result<Lines, ChainError> {
    let mut lines = Lines::default();
    let mut prev = prev;
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    for (index, text) in bytes[..whole].split_inclusive(|&byte| byte == b'\n').enumerate() {
        let number = index + 1;
        let (head, record) = one(&text[..text.len() - 1], prev.as_ref(), number)?;
        lines.records.push(record);
        lines.heads.push(head.clone());
        prev = Some(head);
    }
    lines.whole = whole;
    Ok(lines)
}

fn one(text: &[u8], prev: Option<&Head>, line: usize) -> Result<(Head, Record), ChainError> {
    let altered = || ChainError::Altered { line };
    let (claimed, json) = text.split_at_checked(64).ok_or_else(altered)?;
    let json = json.strip_prefix(b" ").ok_or_else(altered)?;
    let head = hash(json);
    if claimed != head.0.as_bytes() {
        return Err(altered());
    }
    let parsed: LineIn =
        serde_json::from_slice(json).map_err(|error| ChainError::Unknown { line, reason: error.to_string() })?;
    if prev.is_some_and(|prev| *prev != parsed.prev) {
        return Err(ChainError::Broken { line });
    }
    Ok((head, parsed.record))
}

fn hash(json: &[u8]) -> Head {
    Head(hex::encode(Sha256::digest(json)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::{Actor, Happening};

    fn chain(length: u64) -> (Vec<u8>, Head) {
        let mut bytes = Vec::new();
        let mut head = Head::default();
        for seq in 1..=length {
            let what = Happening::Paused { actor: Actor::Timer };
            let secret = "jwt".to_owned().try_into().unwrap();
            let record = Record { seq, at: jiff::Timestamp::UNIX_EPOCH, secret, rotation: None, what };
            let (text, next) = line(&head, &record).unwrap();
            bytes.extend(text);
            head = next;
        }
        (bytes, head)
    }

    #[test]
    fn what_was_written_is_read_back() {
        let (bytes, head) = chain(3);
        let lines = parse(&bytes, Some(Head::default())).unwrap();
        assert_eq!(lines.records.len(), 3);
        assert_eq!(lines.heads.last(), Some(&head));
        assert_eq!(lines.whole, bytes.len());
    }

    #[test]
    fn a_line_that_was_never_finished_is_not_there() {
        let (bytes, _) = chain(3);
        let two = chain(2).0.len();
        for cut in two..bytes.len() {
            let lines = parse(&bytes[..cut], None).unwrap();
            assert_eq!((lines.records.len(), lines.whole), (2, two), "cut at {cut}");
        }
    }

    #[test]
    fn a_dropped_line_breaks_the_chain() {
        let (bytes, _) = chain(3);
        let first = chain(1).0.len();
        assert_eq!(parse(&bytes[first..], Some(Head::default())).unwrap_err(), ChainError::Broken { line: 1 });
    }

    proptest! {
        #[test]
        fn no_altered_byte_goes_unseen(at in 0_usize..600, bit in 0_u8..8) {
            let (mut bytes, head) = chain(3);
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            let read = parse(&bytes, Some(Head::default()));
            // The only thing that cannot be told from a cut write is a damaged last newline.
            let same = read.is_ok_and(|lines| lines.heads.last() == Some(&head));
            prop_assert!(!same);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes, None);
        }
    }
}
