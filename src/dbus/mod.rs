//! The bus: systemd's interface as a client, and our own, `org.rekeyd1`, from one definition for both sides.

pub mod rekeyd1;
pub mod systemd1;
pub mod unit;
