//! Pure readers and writers of the files' dialects.

pub mod env_file;
mod refusal;
mod slot;
pub mod systemd;
pub mod unit;

pub use refusal::Refusal;
pub use slot::Slot;
