//! What is written into each env file of the corpus.

/// The key.
pub const KEY: &str = "JWT_SECRET";
/// Its new value.
pub const VALUE: &str = "f00df00df00df00df00df00df00df00d";
