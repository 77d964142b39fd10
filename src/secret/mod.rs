//! Values: in memory, made, named by fingerprint, and sealed.

mod fingerprint;
mod generate;
pub mod passphrase;
mod seal;
mod strength;
mod value;

pub use fingerprint::{Fingerprint, FingerprintKey, digest, is_same_digest};
pub use generate::{Format, generate, random};
pub use seal::{Sealed, SealingKey, UnsealError};
pub use value::SecretValue;
