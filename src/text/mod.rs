//! Pure readers and writers of the files' dialects.

pub mod compose_file;
pub mod ecosystem;
pub mod env_file;
mod refusal;
mod slot;
pub mod systemd;
pub mod unit;
mod yaml;

pub use refusal::Refusal;
pub use slot::Slot;
