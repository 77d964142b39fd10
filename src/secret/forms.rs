//! The ways in which a value is written down by others: as it is, as hex, as base64.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::SecretValue;

/// What is shorter may be a word, and says nothing where it is found.
pub const SHORTEST: usize = 8;

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// As it is.
    Plain,
    /// Its bytes as hexadecimal digits.
    Hex,
    /// As base64 (RFC 4648, with either alphabet), by itself or in the midst of other text, as in `Authorization: Basic`.
    Base64,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "as it is",
            Self::Hex => "as hex",
            Self::Base64 => "as base64",
        })
    }
}

/// What stands in a text that has the value in it, for each way of writing it; none for a value that is too short.
pub fn forms(value: &SecretValue) -> Vec<(Form, Zeroizing<Vec<u8>>)> {
    if value.len() < SHORTEST {
        return Vec::new();
    }
    let plain = value.reveal();
    let mut forms = vec![
        (Form::Plain, Zeroizing::new(plain.to_vec())),
        (Form::Hex, Zeroizing::new(hex::encode(plain).into_bytes())),
        (Form::Hex, Zeroizing::new(hex::encode_upper(plain).into_bytes())),
    ];
    // What stands before the value in the encoded text decides how its bytes fall on the digits.
    for before in 0..3 {
        for alphabet in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let text = Zeroizing::new([&[0; 2][..before], plain].concat());
            let encoded = Zeroizing::new(alphabet.encode(&*text).into_bytes());
            // Digits that are of the value alone.
            let (from, to) = ((before * 8).div_ceil(6), text.len() * 8 / 6);
            forms.push((Form::Base64, Zeroizing::new(encoded[from..to].to_vec())));
        }
    }
    forms.sort_by(|one, other| (one.0, &*one.1).cmp(&(other.0, &*other.1)));
    forms.dedup();
    forms
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn value(text: &[u8]) -> SecretValue {
        SecretValue::new(text.to_vec())
    }

    fn found(value: &SecretValue, text: &str) -> Vec<Form> {
        let is_in = |form: &[u8]| text.as_bytes().windows(form.len()).any(|part| part == form);
        let mut found: Vec<Form> =
            forms(value).into_iter().filter(|(_, form)| is_in(form)).map(|(form, _)| form).collect();
        found.dedup();
        found
    }

    #[test]
    fn a_value_is_found_as_it_is_and_as_it_is_encoded_wherever_it_stands() {
        let secret = value(b"s3cr\xfft>?~value");
        assert_eq!(found(&value(b"s3cr3t-value"), "KEY=s3cr3t-value\n"), [Form::Plain]);
        assert_eq!(found(&secret, &hex::encode(secret.reveal())), [Form::Hex]);
        assert_eq!(found(&secret, &hex::encode_upper(secret.reveal())), [Form::Hex]);
        for before in ["", "u", "us", "use", "user:"] {
            for after in ["", "x", "xy"] {
                let text = [before.as_bytes(), secret.reveal(), after.as_bytes()].concat();
                assert_eq!(found(&secret, &STANDARD.encode(&text)), [Form::Base64], "{before:?} {after:?}");
                assert_eq!(found(&secret, &URL_SAFE_NO_PAD.encode(&text)), [Form::Base64], "{before:?} {after:?}");
            }
        }
        assert_eq!(found(&secret, &STANDARD.encode("another value of this length")), []);
    }

    #[test]
    fn what_is_as_short_as_a_word_has_none() {
        assert!(forms(&value(b"hunter2")).is_empty());
    }
}
