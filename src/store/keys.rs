//! The keys of a store.

use rand::rngs::SysError;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::rotation::{Fault, FaultCode};
use crate::secret::{Fingerprint, FingerprintKey, Sealed, SealingKey, SecretValue, UnsealError, random};

const KEY: usize = 32;

/// What values are sealed with, and what names them.
pub struct Keys {
    sealing: SealingKey,
    fingerprint: FingerprintKey,
    /// While values are sealed anew: the key that some still have.
    former: Option<SealingKey>,
}

impl Keys {
    /// New ones.
    ///
    /// # Errors
    /// Where the operating system gives no random bytes.
    pub fn make() -> Result<Self, SysError> {
        let (sealing, fingerprint) = (random::<KEY>()?, random::<KEY>()?);
        Ok(Self { sealing: SealingKey::new(sealing), fingerprint: FingerprintKey::new(fingerprint), former: None })
    }

    /// The keys that are kept as these bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (keys, rest) = bytes.as_chunks::<KEY>();
        let (sealing, fingerprint, former) = match keys {
            [sealing, fingerprint] => (sealing, fingerprint, None),
            [sealing, fingerprint, former] => (sealing, fingerprint, Some(SealingKey::new(*former))),
            _ => return None,
        };
        let (sealing, fingerprint) = (SealingKey::new(*sealing), FingerprintKey::new(*fingerprint));
        rest.is_empty().then_some(Self { sealing, fingerprint, former })
    }

    /// As which they are kept: the sealing key, that of the fingerprints, and the former sealing key where there is one.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let former = self.former.as_ref().map_or(&[][..], |former| former.bytes());
        Zeroizing::new([self.sealing.bytes(), self.fingerprint.bytes(), former].concat())
    }

    /// These with a new sealing key, which open what was sealed with the one before.
    ///
    /// # Errors
    /// Where the operating system gives no random bytes.
    pub fn renewed(&self) -> Result<Self, SysError> {
        let former = Some(SealingKey::new(*self.sealing.bytes()));
        let fingerprint = FingerprintKey::new(*self.fingerprint.bytes());
        Ok(Self { sealing: SealingKey::new(random()?), fingerprint, former })
    }

    /// Whether some values may still be sealed with a former key.
    pub fn have_former(&self) -> bool {
        self.former.is_some()
    }

    /// These without the former key.
    #[must_use]
    pub fn without_former(&self) -> Self {
        let fingerprint = FingerprintKey::new(*self.fingerprint.bytes());
        Self { sealing: SealingKey::new(*self.sealing.bytes()), fingerprint, former: None }
    }

    /// The name of `value` that does not tell it.
    pub fn fingerprint(&self, value: &SecretValue) -> Fingerprint {
        self.fingerprint.of(value)
    }

    pub(super) fn seal(&self, place: &str, value: &SecretValue) -> Result<Sealed, SysError> {
        self.sealing.seal(place, value)
    }

    pub(super) fn unseal(&self, place: &str, sealed: &[u8]) -> Result<SecretValue, UnsealError> {
        let opened = self.sealing.unseal(place, sealed);
        match &self.former {
            Some(former) if opened.is_err() => former.unseal(place, sealed),
            _ => opened,
        }
    }
}

/// Why the keys cannot be had: nothing can be done with values until they can, and nothing is overwritten.
#[derive(Clone, Debug, Error)]
pub enum Locked {
    /// A clone, or a machine with a new machine-id.
    #[error("the store was made on another machine (the machine-id differs), and its key is sealed to that one")]
    MadeElsewhere,
    /// They cannot be unsealed, or are missing.
    #[error("the store's key cannot be had: {0}")]
    NoKey(String),
    /// The key helper does not answer.
    #[error("rekeyd's key helper does not answer: {0}")]
    Unreachable(String),
    /// Somebody has removed the store, or put another one in its place, while it was open.
    #[error("the store at /var/lib/rekeyd/store was removed or replaced while rekeyd ran")]
    Gone,
}

impl From<Locked> for Fault {
    fn from(locked: Locked) -> Self {
        let advice = match &locked {
            Locked::MadeElsewhere => {
                "on a copy of that machine: rekeyctl release --clone, then rekeyctl adopt --all; with an export of the \
                 key: rekeyctl key import"
            }
            Locked::NoKey(_) => {
                "with an export of the key: rekeyctl key import; without one, move /var/lib/rekeyd/store away, restart \
                 rekeyd, and type rekeyctl adopt --all: the services keep the values that they have"
            }
            Locked::Unreachable(_) => "systemctl status 'rekeyd-key*'; rekeyd asks again every minute",
            Locked::Gone => {
                "systemctl restart rekeyd; then rekeyctl doctor says what to do: the services keep the values that they have"
            }
        };
        Self::new(FaultCode::StoreLocked, locked.to_string()).advise(advice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewed_keys_open_what_the_former_sealed_until_that_one_is_dropped() {
        let old = Keys::from_bytes(&[7; 64]).unwrap();
        let value = SecretValue::new(b"value".to_vec());
        let sealed = old.seal("a/1", &value).unwrap();
        let both = old.renewed().unwrap();
        assert!(both.unseal("a/1", &sealed).unwrap().is_same(&value));
        let again = both.seal("a/1", &value).unwrap();
        assert!(old.unseal("a/1", &again).is_err());
        let new = Keys::from_bytes(&both.to_bytes()).unwrap().without_former();
        assert!(new.unseal("a/1", &again).is_ok() && new.unseal("a/1", &sealed).is_err());
        assert_eq!(old.fingerprint(&value), new.fingerprint(&value));
        assert!(both.have_former() && !new.have_former());
    }

    #[test]
    fn bytes_of_another_length_are_no_keys() {
        for length in [0, 32, 63, 65, 95, 97, 128] {
            assert!(Keys::from_bytes(&vec![1; length]).is_none(), "{length}");
        }
    }
}
