//! The processes of a PM2 daemon, as its user may see them.

use std::fs;
use std::io::{ErrorKind, Read as _, Result};

use zeroize::Zeroizing;

use crate::helper::process::stat;

/// A process.
pub(super) enum Look {
    /// It is none of the daemon's, or has ended.
    Gone,
    /// It is one, and its user may not look into it.
    Unreadable,
    /// What it was given.
    At(Zeroizing<Vec<u8>>),
}

pub(super) fn environment(pid: u32) -> Result<Zeroizing<Vec<u8>>> {
    let mut environment = Zeroizing::new(Vec::with_capacity(256 * 1024));
    fs::File::open(format!("/proc/{pid}/environ"))?.take(16 << 20).read_to_end(&mut environment)?;
    Ok(environment)
}

pub(super) fn all_processes() -> impl Iterator<Item = u32> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// A process of the daemon, before and after it was read: a number that is used again would be another's.
pub(super) fn look(pid: u32, daemon: u32) -> Look {
    if !is_of(pid, daemon) {
        return Look::Gone;
    }
    let looked = looked(environment(pid));
    if is_of(pid, daemon) { looked } else { Look::Gone }
}

/// Whether it is a child of the daemon, and not one that has ended and is not waited for yet.
fn is_of(pid: u32, daemon: u32) -> bool {
    let stat = stat(pid).unwrap_or_default();
    let [state, parent, ..] = &stat[..] else { return false };
    !matches!(state.as_str(), "Z" | "X" | "x") && parent.parse() == Ok(daemon)
}

fn looked(read: Result<Zeroizing<Vec<u8>>>) -> Look {
    match read {
        Ok(environment) => Look::At(environment),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Look::Unreadable,
        Err(_) => Look::Gone,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Error;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_that_cannot_be_read_is_not_taken_for_one_that_has_ended() {
        assert!(matches!(looked(Err(Error::from(ErrorKind::PermissionDenied))), Look::Unreadable));
        assert!(matches!(looked(Err(Error::from(ErrorKind::NotFound))), Look::Gone));
        let own = std::process::id();
        let mut child = Command::new("sleep").arg("60").env_clear().env("K", "seen").spawn().unwrap();
        let is_shown = || match look(child.id(), own) {
            Look::At(environment) => environment.starts_with(b"K=seen"),
            _ => false,
        };
        // Right after the fork it has that of its parent still.
        while !is_shown() {
            std::thread::yield_now();
        }
        assert!(matches!(look(child.id(), child.id()), Look::Gone), "of another parent");
        let pid = child.id();
        child.kill().unwrap();
        // Ended, but not waited for.
        while !matches!(look(pid, own), Look::Gone) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert!(matches!(look(pid, own), Look::Gone));
    }
}
