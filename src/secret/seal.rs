//! Values at rest: encrypted and bound to the secret and generation that they belong to.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use rand::rngs::SysError;
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::SecretValue;
use super::generate::random;

/// The key that values are sealed with.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SealingKey([u8; 32]);

/// A sealed value: a format byte, a random nonce, and the ciphertext with its tag.
pub type Sealed = Vec<u8>;

/// The value cannot be had from its sealed form.
#[derive(Debug, Error)]
pub enum UnsealError {
    /// Not something that this version wrote.
    #[error("it is not a sealed value of a known format")]
    Format,
    /// Another key, another secret or generation, or a changed byte.
    #[error("it was sealed with another key or for another place, or has been altered")]
    Authentication,
}

const FORMAT: u8 = 1;
const NONCE: usize = 24;

impl SealingKey {
    /// Uses these 32 bytes as the key.
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// The key itself, to be kept or sealed.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Seals `value` for `place`, e.g. `my-backend-jwt/3`.
    ///
    /// # Errors
    /// Where the operating system gives no random bytes for the nonce.
    pub fn seal(&self, place: &str, value: &SecretValue) -> Result<Sealed, SysError> {
        let nonce = random::<NONCE>()?;
        let payload = Payload { msg: value.reveal(), aad: place.as_bytes() };
        let mut sealed = Vec::with_capacity(1 + NONCE + value.len() + 16);
        sealed.push(FORMAT);
        sealed.extend_from_slice(&nonce);
        // Encryption fails only beyond 256 GiB; an empty ciphertext would be refused when it is read back.
        sealed.extend(self.cipher().encrypt(&XNonce::from(nonce), payload).unwrap_or_default());
        Ok(sealed)
    }

    /// The value that was sealed for `place`.
    ///
    /// # Errors
    /// Where it is not one, or not for this place and key.
    pub fn unseal(&self, place: &str, sealed: &[u8]) -> Result<SecretValue, UnsealError> {
        let (&FORMAT, rest) = sealed.split_first().ok_or(UnsealError::Format)? else {
            return Err(UnsealError::Format);
        };
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE>().ok_or(UnsealError::Format)?;
        let payload = Payload { msg: ciphertext, aad: place.as_bytes() };
        let value = self.cipher().decrypt(&XNonce::from(*nonce), payload);
        value.map(SecretValue::new).map_err(|_| UnsealError::Authentication)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.0.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_value_opens_only_with_its_key_at_its_place_and_unaltered() {
        let key = SealingKey::new([7; 32]);
        let value = SecretValue::new(b"0123456789abcdef".to_vec());
        let sealed = key.seal("jwt/1", &value).unwrap();
        assert!(key.unseal("jwt/1", &sealed).unwrap().is_same(&value));
        assert!(key.unseal("jwt/2", &sealed).is_err());
        assert!(SealingKey::new([8; 32]).unseal("jwt/1", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(key.unseal("jwt/1", &altered).is_err(), "byte {at}");
            assert!(key.unseal("jwt/1", &sealed[..at]).is_err(), "cut at {at}");
        }
    }
}
