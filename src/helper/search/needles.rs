//! Finding any of several texts in a stream, at the speed of reading it. Pure.

use std::collections::BTreeMap;
use std::io::Read;

use zeroize::Zeroizing;

use crate::rotation::Generation;
use crate::secret::Form;

/// So much is looked at at a time.
const PART: usize = 256 * 1024;
/// More lines of a file are not told.
const LINES: usize = 5;

/// One text, with what it is.
pub(super) struct Needle {
    pub generation: Generation,
    pub form: Form,
    pub text: Zeroizing<Vec<u8>>,
}

/// All of them.
pub(super) struct Needles {
    all: Vec<Needle>,
    /// Which pairs of bytes one of them begins with, a bit each.
    begins: Vec<u64>,
    longest: usize,
}

/// The lines of a text that have something, from 1; none where it is no text.
pub(super) type Lines = Vec<u64>;

/// What was found in a stream.
#[derive(Default)]
pub(super) struct Found {
    /// What, and in which lines first.
    pub what: BTreeMap<(Generation, Form), Lines>,
    /// Whether there was more to read.
    pub is_cut: bool,
}

impl Needles {
    /// Texts of at least two bytes.
    pub fn new(all: Vec<Needle>) -> Self {
        let all: Vec<Needle> = all.into_iter().filter(|needle| needle.text.len() >= 2).collect();
        let mut begins = vec![0; 1024];
        for needle in &all {
            let pair = pair(needle.text[0], needle.text[1]);
            begins[pair / 64] |= 1 << (pair % 64);
        }
        let longest = all.iter().map(|needle| needle.text.len()).max().unwrap_or_default();
        Self { all, begins, longest }
    }

    /// Each place at which one of them begins, in order.
    pub fn find<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = (usize, &'a Needle)> {
        let begins = |two: &[u8]| {
            let pair = pair(two[0], two[1]);
            self.begins[pair / 64] >> (pair % 64) & 1 == 1
        };
        let places = text.windows(2).enumerate().filter(move |(_, two)| begins(two)).map(|(at, _)| at);
        places.flat_map(move |at| {
            self.all.iter().filter(move |needle| text[at..].starts_with(&needle.text)).map(move |needle| (at, needle))
        })
    }

    /// Whether one of them is in it.
    pub fn are_in(&self, text: &[u8]) -> bool {
        self.find(text).next().is_some()
    }

    /// Reads a stream to its end, or the first `limit` bytes of it, for as long as `goes_on`.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn find_in(
        &self,
        stream: impl Read,
        limit: u64,
        buffer: &mut Zeroizing<Vec<u8>>,
        goes_on: &dyn Fn() -> bool,
    ) -> std::io::Result<Found> {
        let mut found = Found::default();
        let mut stream = stream.take(limit);
        let (mut lines_before, mut is_text) = (1, true);
        // What may be the beginning of one that goes on in the next part.
        let mut kept = 0;
        buffer.resize(PART + self.longest, 0);
        loop {
            let count = stream.read(&mut buffer[kept..kept + PART])?;
            if count == 0 || !goes_on() {
                found.is_cut = stream.limit() == 0 || count > 0;
                break;
            }
            let text = &buffer[..kept + count];
            is_text &= !text[kept..].contains(&0);
            for (at, needle) in self.find(text).filter(|(at, needle)| at + needle.text.len() > kept) {
                let lines = found.what.entry((needle.generation, needle.form)).or_default();
                let line = lines_before + newlines(&text[..at]);
                if lines.len() < LINES && lines.last() != Some(&line) {
                    lines.push(line);
                }
            }
            let keep = self.longest.saturating_sub(1).min(text.len());
            let dropped = text.len() - keep;
            lines_before += newlines(&text[..dropped]);
            buffer.copy_within(dropped..kept + count, 0);
            kept = keep;
        }
        if !is_text {
            found.what.values_mut().for_each(Vec::clear);
        }
        Ok(found)
    }
}

fn pair(one: u8, other: u8) -> usize {
    usize::from(one) << 8 | usize::from(other)
}

fn newlines(text: &[u8]) -> u64 {
    text.iter().map(|&byte| u64::from(byte == b'\n')).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn needles(texts: &[&str]) -> Needles {
        let needle = |(number, text): (usize, &&str)| Needle {
            generation: Generation(u32::try_from(number).unwrap() + 1),
            form: Form::Plain,
            text: Zeroizing::new(text.as_bytes().to_vec()),
        };
        Needles::new(texts.iter().enumerate().map(needle).collect())
    }

    /// A stream that gives so many bytes at a time.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn found(texts: &[&str], text: &[u8], at_a_time: usize) -> Vec<(u32, Lines)> {
        let mut buffer = Zeroizing::new(Vec::new());
        let found = needles(texts).find_in(Drip(text, at_a_time), 1 << 20, &mut buffer, &|| true).unwrap();
        assert!(!found.is_cut);
        found.what.into_iter().map(|((generation, _), lines)| (generation.0, lines)).collect()
    }

    #[test]
    fn lines_are_told_however_the_stream_is_cut() {
        let text = b"one\nKEY=first-value x\nsecond-value second-value\n\nfirst-value";
        for at_a_time in [1, 2, 3, 7, 1000] {
            let wanted = [(1, vec![2, 5]), (2, vec![3])];
            assert_eq!(found(&["first-value", "second-value"], text, at_a_time), wanted, "{at_a_time}");
        }
    }

    #[test]
    fn what_is_no_text_has_no_lines() {
        assert_eq!(found(&["first-value"], b"\0\nfirst-value", 4), [(1, vec![])]);
    }

    #[test]
    fn a_stream_that_is_longer_than_the_limit_is_cut() {
        let mut buffer = Zeroizing::new(Vec::new());
        let found = needles(&["value"]).find_in(&b"value value"[..], 5, &mut buffer, &|| true).unwrap();
        assert!(found.is_cut && found.what.len() == 1);
    }

    proptest! {
        #[test]
        fn none_is_missed(before in "[ab\n]{0,40}", after in "[ab\n]{0,40}", at_a_time in 1_usize..20) {
            let text = format!("{before}abba\n{after}");
            let found = found(&["abba"], text.as_bytes(), at_a_time);
            let wanted: Vec<u64> = text.lines().enumerate().filter(|(_, line)| line.contains("abba")).map(|(number, _)| number as u64 + 1).take(LINES).collect();
            prop_assert_eq!(found, [(1, wanted)]);
        }
    }
}
