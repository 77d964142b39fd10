//! Values in a platform's answers: wiped, and not shown.

use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use crate::secret::SecretValue;

/// A value as it was read.
pub(super) struct Hidden(Zeroizing<String>);

impl Hidden {
    /// For the rules of the platform that it is of.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The value.
    pub fn into_value(self) -> SecretValue {
        SecretValue::new(self.0.as_bytes().to_vec())
    }
}

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|text| Self(Zeroizing::new(text)))
    }
}
