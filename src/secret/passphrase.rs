//! The store's keys behind a passphrase: what `rekeyctl key export` writes. Argon2id (RFC 9106) makes a key of the
//! passphrase, XChaCha20-Poly1305 seals with it.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;
use zeroize::Zeroizing;

use super::{SealingKey, SecretValue, random};

/// The first line of an export; what it says is authenticated.
const HEADER: &str = "rekeyd key export, format 1: argon2id m=65536 t=3 p=1, xchacha20-poly1305";
const MEMORY_KIB: u32 = 65_536;
const PASSES: u32 = 3;
const SALT: usize = 16;
/// So many characters to a line.
const WIDTH: usize = 76;
/// A shorter passphrase is tried out too soon.
pub const SHORTEST: usize = 12;

/// An export cannot be made, or not be opened.
#[derive(Debug, Error)]
pub enum PassphraseError {
    /// Too short.
    #[error("the passphrase has fewer than {SHORTEST} bytes")]
    TooShort,
    /// Not an export that this version knows.
    #[error("this is no key export of a known format")]
    Format,
    /// The passphrase is another one, or the text was altered.
    #[error("the passphrase is another one, or the export was altered")]
    Wrong,
    /// No random bytes, or no memory.
    #[error("it cannot be sealed: {0}")]
    Failed(String),
}

/// Seals `keys` with a passphrase, as text.
///
/// # Errors
/// Where the passphrase is too short, or there is no memory for it.
pub fn lock(passphrase: &[u8], keys: &[u8]) -> Result<String, PassphraseError> {
    if passphrase.len() < SHORTEST {
        return Err(PassphraseError::TooShort);
    }
    let failed = |error: &dyn std::fmt::Display| PassphraseError::Failed(error.to_string());
    let salt = random::<SALT>().map_err(|error| failed(&error))?;
    let sealed = key(passphrase, &salt)?.seal(HEADER, &SecretValue::new(keys.to_vec()));
    let text = STANDARD.encode([&salt[..], &sealed.map_err(|error| failed(&error))?].concat());
    let lines = text.as_bytes().chunks(WIDTH).map(String::from_utf8_lossy);
    Ok(format!("{HEADER}\n{}\n", lines.collect::<Vec<_>>().join("\n")))
}

/// Opens what [`lock`] made.
///
/// # Errors
/// Where it is none, or the passphrase another one.
pub fn open(passphrase: &[u8], text: &str) -> Result<Zeroizing<Vec<u8>>, PassphraseError> {
    let (header, body) = text.trim().split_once('\n').ok_or(PassphraseError::Format)?;
    let body: String = body.split_ascii_whitespace().collect();
    let bytes = STANDARD.decode(body).map_err(|_| PassphraseError::Format)?;
    let (salt, sealed) = bytes.split_first_chunk::<SALT>().ok_or(PassphraseError::Format)?;
    if header.trim_end() != HEADER {
        return Err(PassphraseError::Format);
    }
    let keys = key(passphrase, salt)?.unseal(HEADER, sealed).map_err(|_| PassphraseError::Wrong)?;
    Ok(Zeroizing::new(keys.reveal().to_vec()))
}

fn key(passphrase: &[u8], salt: &[u8]) -> Result<SealingKey, PassphraseError> {
    let failed = |error: argon2::Error| PassphraseError::Failed(error.to_string());
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).map_err(failed)?;
    let mut key = Zeroizing::new([0; 32]);
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password_into(passphrase, salt, &mut *key).map_err(failed)?;
    Ok(SealingKey::new(*key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_opens_with_its_passphrase_alone_and_unaltered() {
        let text = lock(b"correct horse battery", &[7; 64]).unwrap();
        assert_eq!(*open(b"correct horse battery", &text).unwrap(), [7; 64]);
        assert!(text.lines().all(|line| line.len() <= WIDTH) && !text.contains("horse"));
        assert!(matches!(open(b"correct horse batterx", &text), Err(PassphraseError::Wrong)));
        assert!(matches!(open(b"correct horse battery", &text.replace("t=3", "t=1")), Err(PassphraseError::Format)));
        let (header, body) = text.split_once('\n').unwrap();
        let altered = format!("{header}\n{}{}", if body.starts_with('A') { 'B' } else { 'A' }, &body[1..]);
        assert!(matches!(open(b"correct horse battery", &altered), Err(PassphraseError::Wrong)));
        assert!(matches!(open(b"correct horse battery", "something"), Err(PassphraseError::Format)));
        assert!(matches!(lock(b"short", &[7; 64]), Err(PassphraseError::TooShort)));
    }
}
