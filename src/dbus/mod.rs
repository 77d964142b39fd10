//! The bus: systemd's interface as a client, and our own, `org.rekeyd1`, from one definition for both sides.

pub mod polkit;
pub mod rekeyd1;
pub mod rights;
pub mod secret;
pub mod systemd1;
pub mod unit;
