//! Naming a value without telling it: a keyed fingerprint.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::SecretValue;

/// The first 12 hex digits of HMAC-SHA-256(fingerprint key, value).
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

/// The key of the fingerprints: the host's own, and not the sealing key, so that equal values on two hosts, or a
/// guessed value, cannot be recognised by their fingerprint.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct FingerprintKey([u8; 32]);

impl FingerprintKey {
    /// Uses these 32 bytes as the key.
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The key itself, to be kept or sealed.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The fingerprint of `value`.
    pub fn of(&self, value: &SecretValue) -> Fingerprint {
        Fingerprint(hex::encode(&digest(&self.0, value.reveal())[..6]))
    }
}

/// HMAC-SHA-256 of `data`: what fingerprints are cut from, and how a helper names a value that it may not send.
pub fn digest(key: &[u8; 32], data: &[u8]) -> [u8; 32] {
    // HMAC pads a key to the block size with zeros (RFC 2104); doing so here leaves no error to handle.
    let mut block = Zeroizing::new([0; 64]);
    block[..32].copy_from_slice(key);
    let mut mac = Hmac::<Sha256>::new((&*block).into());
    mac.update(data);
    mac.finalize().into_bytes().into()
}

/// Whether two digests in hex, or the lack of them, are the same; takes as long wherever they differ.
pub fn is_same_digest(one: Option<&str>, other: Option<&str>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => bool::from(one.as_bytes().ct_eq(other.as_bytes())),
        (None, None) => true,
        _ => false,
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_depends_on_value_and_key_and_tells_neither() {
        let value = SecretValue::new(b"value".to_vec());
        let one = FingerprintKey::new([1; 32]).of(&value);
        assert_eq!(one.to_string().len(), 12);
        assert_eq!(one, FingerprintKey::new([1; 32]).of(&value));
        assert_ne!(one, FingerprintKey::new([2; 32]).of(&value));
    }
}
