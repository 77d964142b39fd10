//! Pure readers and writers of the files' dialects.

pub mod env_file;
pub mod systemd;
pub mod unit;
