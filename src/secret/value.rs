//! A secret's value in memory: wiped when dropped, never printed, revealed by one named method.

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The bytes of one generation of a secret.
///
/// Neither `Debug`, `Display`, `Clone` nor `Serialize` exist for it, so it cannot end up in a log, an error text or a
/// record by accident. The buffer never grows, so no copy is left behind by a reallocation.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SecretValue(Box<[u8]>);

impl SecretValue {
    /// Takes over `bytes`. A `Vec` with spare capacity is copied to a buffer of the exact size and then wiped.
    pub fn new(mut bytes: Vec<u8>) -> Self {
        let exact: Box<[u8]> = bytes.as_slice().into();
        bytes.zeroize();
        Self(exact)
    }

    /// Values with commas between them, as one; none where one has a comma in it.
    pub fn list(values: &[Self]) -> Option<Self> {
        let parts: Vec<&[u8]> = values.iter().map(Self::reveal).collect();
        let is_plain = !parts.iter().any(|part| part.contains(&b','));
        is_plain.then(|| Self::new(parts.join(&b',')))
    }

    /// The values of such a list.
    pub fn parts(&self) -> Vec<Self> {
        self.reveal().split(|byte| *byte == b',').map(|part| Self::new(part.to_vec())).collect()
    }

    /// The value itself. Every use is a place to look at in a review: `grep -rn 'reveal()' src`.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }

    /// Whether both values are the same, in time that does not depend on where they differ.
    pub fn is_same(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// Whether it stands somewhere in a text.
    pub fn is_within(&self, text: &[u8]) -> bool {
        !self.is_empty() && text.windows(self.0.len()).any(|part| part.ct_eq(&self.0).into())
    }

    /// How many bytes the value has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the value is empty; an empty value is never delivered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_commas_between_its_values_and_nowhere_else() {
        let value = |text: &str| SecretValue::new(text.as_bytes().to_vec());
        assert!(SecretValue::list(&[value("a"), value("b")]).unwrap().is_same(&value("a,b")));
        let parts = value("a,b").parts();
        assert!(parts.len() == 2 && parts[0].is_same(&value("a")) && parts[1].is_same(&value("b")));
        assert!(SecretValue::list(&[value("a,b"), value("c")]).is_none());
    }

    #[test]
    fn equal_values_are_the_same_and_others_are_not() {
        let value = SecretValue::new(b"abc".to_vec());
        assert!(value.is_same(&SecretValue::new(b"abc".to_vec())));
        assert!(!value.is_same(&SecretValue::new(b"abd".to_vec())));
        assert!(!value.is_same(&SecretValue::new(b"abcd".to_vec())));
    }
}
