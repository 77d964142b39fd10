//! Why a file is left alone. Never a byte of what is in the file: any of it may be a secret.

use thiserror::Error;

/// What cannot be read or written with certainty, where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}{problem}: {advice}", self.place())]
pub struct Refusal {
    at: Option<(usize, usize)>,
    problem: String,
    advice: String,
}

impl Refusal {
    /// Line and column, both counted from 1, where the refusal has a place.
    pub fn at(&self) -> Option<(usize, usize)> {
        self.at
    }

    fn place(&self) -> String {
        self.at.map(|(line, column)| format!("line {line}, column {column}: ")).unwrap_or_default()
    }

    pub(in crate::text) fn general(problem: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { at: None, problem: problem.into(), advice: advice.into() }
    }

    /// A refusal of the byte at `offset` of `text`.
    pub(in crate::text) fn of(text: &[u8], offset: usize, problem: Problem) -> Self {
        let before = &text[..(offset + problem.at).min(text.len())];
        let start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        // A character of UTF-8 has one byte that does not go on with another one.
        let column = before[start..].iter().filter(|&&byte| byte & 0xC0 != 0x80).count() + 1;
        Self { at: Some((line, column)), problem: problem.what, advice: problem.advice.to_owned() }
    }
}

/// A refusal whose place is counted from the start of what was looked at.
#[derive(Clone, Debug)]
pub(in crate::text) struct Problem {
    pub at: usize,
    pub what: String,
    pub advice: &'static str,
}

/// A problem at a place, as an error.
pub(in crate::text) fn problem<T>(at: usize, what: impl Into<String>, advice: &'static str) -> Result<T, Problem> {
    Err(Problem { at, what: what.into(), advice })
}
