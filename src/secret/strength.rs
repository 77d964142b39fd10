//! How much there is to guess in a value that somebody else has chosen.

use std::collections::BTreeMap;

use super::SecretValue;

impl SecretValue {
    /// Whether it cannot have as much entropy as `bytes` random bytes: it is too short for the characters that it is made
    /// of, or repeats itself. What generators make is not weak, and nobody can tell it from what only looks so.
    pub fn is_weaker_than(&self, bytes: usize) -> bool {
        let wanted = bytes as f64 * 8.0;
        let value = once(without_padding(self.reveal()));
        let room = value.len() as f64 * alphabet(value).log2();
        // What is random has some characters more often than others, but not by far.
        room + 0.5 < wanted || value.len() as f64 * variety(value) < wanted / 2.0
    }
}

fn without_padding(value: &[u8]) -> &[u8] {
    let end = value.iter().rposition(|&byte| byte != b'=').map_or(0, |last| last + 1);
    value.get(..end).unwrap_or(value)
}

/// What is repeated, of a value that is a repetition.
fn once(value: &[u8]) -> &[u8] {
    let repeats = |length: &usize| value.iter().zip(value.iter().skip(*length)).all(|(one, again)| one == again);
    let length = (1..=value.len() / 2).find(repeats).unwrap_or(value.len());
    value.get(..length).unwrap_or(value)
}

/// How many characters it may have been chosen from.
fn alphabet(value: &[u8]) -> f64 {
    let all = |is: fn(&u8) -> bool| value.iter().all(is);
    let any = |is: fn(&u8) -> bool| value.iter().any(is);
    let is_hex =
        all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) || all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'));
    if all(u8::is_ascii_digit) {
        10.0
    } else if is_hex {
        16.0
    } else if any(|byte| !byte.is_ascii_graphic()) {
        256.0
    } else if any(u8::is_ascii_lowercase) && any(u8::is_ascii_uppercase) {
        if all(|byte| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte)) { 64.0 } else { 94.0 }
    } else {
        let digits = if any(u8::is_ascii_digit) { 10.0 } else { 0.0 };
        let others = if any(u8::is_ascii_punctuation) { 32.0 } else { 0.0 };
        26.0 + digits + others
    }
}

/// How much its characters differ: the entropy of how often each of them is there, in bits.
fn variety(value: &[u8]) -> f64 {
    let mut counts: BTreeMap<u8, u32> = BTreeMap::new();
    value.iter().for_each(|byte| *counts.entry(*byte).or_default() += 1);
    let part = |count: &u32| f64::from(*count) / value.len() as f64;
    counts.values().map(part).map(|part| -part * part.log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::{Format, generate};

    fn is_weak(value: &str) -> bool {
        SecretValue::new(value.as_bytes().to_vec()).is_weaker_than(32)
    }

    #[test]
    fn what_is_made_here_is_never_weak() {
        for format in [Format::Hex, Format::Base64, Format::Base64url, Format::Alphanumeric] {
            for bytes in [32, 48, 64] {
                assert!((0..50).all(|_| !generate(bytes, format).unwrap().is_weaker_than(bytes)), "{format:?} {bytes}");
                assert!(generate(bytes - 2, format).unwrap().is_weaker_than(bytes), "{format:?} {bytes}");
            }
        }
    }

    #[test]
    fn what_is_short_or_regular_is_weak() {
        for weak in [
            "",
            "secret",
            "changeme-changeme-changeme-changeme-changeme-changeme",
            "correct-horse-battery-staple",
            "your-256-bit-secret",
            "0123456789012345678901234567890123456789012345678901234567890123456789",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab",
            "9f86d081884c7d659a2feaa0c55ad015",
        ] {
            assert!(is_weak(weak), "{weak}");
        }
        for strong in [
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=",
            "T#9v!qZ2@xL7m$Rk4&Wc8*Yp5^Bn1%Hd6(Gs3)Ju",
        ] {
            assert!(!is_weak(strong), "{strong}");
        }
    }
}
