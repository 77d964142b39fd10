//! Pure readers and writers of the files' dialects.

pub mod systemd;
pub mod unit;
