//! What tests on booted Debians are made of: `use crate::support;`, then `support::on_both_debians! { … }`.
//!
//! - [`apt`]: installs, upgrades, removes and purges the package.
//! - [`machine`]: boots one, runs commands in it, reads its journal, reboots or crashes it.
//! - [`backend`]: the units that are rotated: good ones, and ones that break in a chosen way.
//! - [`host`]: what runs outside of them.
//! - [`rotation`]: the usual backend's secret: rotates it and looks at what came of it.
//! - [`token`]: logs in at the backend and looks at what it gives.
//! - [`trap`]: kills the daemon at a chosen system call.
//!
//! Nothing is ever skipped: what is missing on the host is a failure that says what to run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

pub mod apt;
pub mod backend;
pub mod host;
// The backend's own, of which tests need a part.
#[allow(dead_code)]
#[path = "../backend/jwt.rs"]
pub mod jwt;
pub mod machine;
pub mod rotation;
pub mod token;
pub mod trap;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

pub use backend::{Backend, dependent};
pub use host::Output;
pub use machine::{Builder, Machine};

/// The Debians that rekeyd is tested on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Debian {
    /// bookworm, systemd 252.
    Twelve,
    /// trixie, systemd 257.
    Thirteen,
}

/// Makes two tests of each `fn name(debian) { … }`: `name::debian_12` and `name::debian_13`.
macro_rules! on_both_debians {
    ($($(#[$attribute:meta])* fn $name:ident($debian:ident) $body:block)+) => {
        $(
            $(#[$attribute])*
            mod $name {
                use super::*;

                fn test($debian: support::Debian) $body

                #[test]
                fn debian_12() {
                    test(support::Debian::Twelve);
                }

                #[test]
                fn debian_13() {
                    test(support::Debian::Thirteen);
                }
            }
        )+
    };
}
pub(crate) use on_both_debians;

/// The same on one of them, for what depends on neither's systemd: both have their share of it.
macro_rules! on_one_debian {
    ($($which:ident => fn $name:ident($debian:ident) $body:block)+) => {
        $(
            #[test]
            fn $name() {
                let $debian = support::Debian::$which;
                $body
            }
        )+
    };
}
pub(crate) use on_one_debian;

/// Asks again and again until `found` has something; panics with `what` when `limit` is over, which is that of an idle
/// machine: a busy one is given three times as long.
pub fn poll<T>(limit: Duration, what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let (start, limit) = (Instant::now(), limit * 3);
    loop {
        if let Some(thing) = found() {
            return thing;
        }
        assert!(start.elapsed() < limit, "within {limit:?} it did not happen: {what}");
        // What comes late is looked for less often: many tests wait at the same time.
        sleep((start.elapsed() / 5).clamp(Duration::from_millis(50), Duration::from_millis(400)));
    }
}

/// Held by a test that takes all the power that there is: those go one after the other.
pub fn one_at_a_time() -> MutexGuard<'static, ()> {
    static HEAVY: Mutex<()> = Mutex::new(());
    HEAVY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// So many seconds.
pub const fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}
