//! Values: in memory, made, named by fingerprint, and sealed.

mod fingerprint;
mod forms;
mod generate;
pub mod passphrase;
mod seal;
mod strength;
mod told;
mod value;

pub use fingerprint::{Fingerprint, FingerprintKey, digest, is_same_digest};
pub use forms::{Form, forms};
pub use generate::{Format, generate, random};
pub use seal::{Sealed, SealingKey, UnsealError};
pub use told::{has_value, last_line_told, told};
pub use value::SecretValue;
