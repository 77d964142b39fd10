//! rekeyd rotates the secrets that running services depend on, and proves it.
//!
//! The map of the house, from what is pure to what acts. A module may use those above it, never those below.
//!
//! - [`rotation`]: PURE. Views, movements, the state machine of one rotation, outcomes.
//! - [`policy`]: PURE. When to retry and when to stop, who may run.
//! - [`secret`]: values, fingerprints, sealing.
//! - [`text`]: PURE. The dialects of other programs' files.
//! - [`sys`]: the host: files, processes, clock, HTTP.
//! - [`config`]: from TOML to validated settings, or findings.
//! - [`record`]: the one enum of what happened, and its renderings.
//! - [`store`]: records, sealed values, the lock.
//! - [`dbus`]: systemd's interface and our own, `org.rekeyd1`.
//! - [`helper`]: `rekeyd helper …`, work done with other rights in units of its own.
//! - [`target`]: places that a view is delivered to, with the consumer behind each.
//! - [`proof`]: evidence that the live consumer uses the view.
//! - [`engine`]: performs rotations: records, acts, goes back, recovers.
//! - [`standalone`]: the engine in the caller's own process, for a developer's checkout.
//! - [`daemon`]: the program `rekeyd`.
//! - [`ctl`]: the program `rekeyctl`, one file a verb.
//! - [`generator`]: the program `rekeyd-generator`, from schedules to timers.

pub mod config;
pub mod ctl;
pub mod daemon;
pub mod dbus;
pub mod engine;
pub mod generator;
pub mod helper;
pub mod policy;
pub mod proof;
pub mod record;
pub mod rotation;
pub mod secret;
pub mod standalone;
pub mod store;
pub mod sys;
pub mod target;
pub mod text;
