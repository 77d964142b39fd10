//! New values, from the operating system's generator and nowhere else.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rand::TryRng;
use rand::rngs::{SysError, SysRng};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::SecretValue;

/// How random bytes are written as text. All of them are read alike by every env-file dialect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Lower-case hexadecimal digits.
    #[default]
    Hex,
    /// URL-safe base64 without padding (RFC 4648, section 5).
    Base64url,
    /// Standard base64 with padding (RFC 4648, section 4).
    Base64,
    /// Letters and digits, as many as the entropy needs.
    Alphanumeric,
}

/// A new value with `bytes` bytes of entropy.
///
/// # Errors
/// Where the operating system gives no random bytes; there is no weaker source to fall back to.
pub fn generate(bytes: usize, format: Format) -> Result<SecretValue, SysError> {
    if format == Format::Alphanumeric {
        return alphanumeric(bytes);
    }
    let mut raw = Zeroizing::new(vec![0; bytes]);
    SysRng.try_fill_bytes(&mut raw)?;
    let text = match format {
        Format::Hex => hex::encode(&*raw),
        Format::Base64url => URL_SAFE_NO_PAD.encode(&*raw),
        Format::Base64 | Format::Alphanumeric => STANDARD.encode(&*raw),
    };
    Ok(SecretValue::new(text.into_bytes()))
}

/// Random bytes for a key, a nonce or a 128-bit id.
///
/// # Errors
/// As for [`generate`].
pub fn random<const N: usize>() -> Result<[u8; N], SysError> {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes)?;
    Ok(bytes)
}

/// A letter or digit carries log2(62) = 5.954 bits. Bytes from 248 on are thrown away, so that all 62 are as likely.
fn alphanumeric(bytes: usize) -> Result<SecretValue, SysError> {
    const SYMBOLS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let length = (bytes * 8 * 1000).div_ceil(5954);
    let mut text = Vec::with_capacity(length);
    let mut raw = Zeroizing::new([0_u8; 64]);
    while text.len() < length {
        SysRng.try_fill_bytes(&mut *raw)?;
        let fair = raw.iter().filter(|&&byte| byte < 248).map(|&byte| SYMBOLS[usize::from(byte % 62)]);
        text.extend(fair.take(length - text.len()));
    }
    Ok(SecretValue::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_has_the_length_and_alphabet_that_it_says() {
        for (format, length) in
            [(Format::Hex, 64), (Format::Base64url, 43), (Format::Base64, 44), (Format::Alphanumeric, 43)]
        {
            let value = generate(32, format).unwrap();
            assert_eq!(value.len(), length, "{format:?}");
            assert!(value.reveal().iter().all(|b| b.is_ascii_alphanumeric() || b"+/=-_".contains(b)), "{format:?}");
        }
        assert!(generate(32, Format::Alphanumeric).unwrap().reveal().iter().all(u8::is_ascii_alphanumeric));
    }

    #[test]
    fn two_values_differ() {
        assert!(!generate(32, Format::Hex).unwrap().is_same(&generate(32, Format::Hex).unwrap()));
    }
}
