//! Descriptors that the caller has opened, as `--to-fd 3` names them.

use std::fs::{File, OpenOptions};
use std::io::IsTerminal as _;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use crate::dbus::rekeyd1::Error;

/// Asks a person at the terminal: systemd-ask-password(1).
const ASK: &str = "/usr/bin/systemd-ask-password";

/// A descriptor to read from.
///
/// # Errors
/// Where it is not open for that, or a terminal.
pub(super) fn to_read(number: u32) -> Result<OwnedFd, String> {
    opened(number, OpenOptions::new().read(true))
}

/// A descriptor to write to, after what is in it.
///
/// # Errors
/// Where it is not open for that, or a terminal.
pub(super) fn to_write(number: u32) -> Result<OwnedFd, String> {
    opened(number, OpenOptions::new().append(true))
}

fn opened(number: u32, how: &OpenOptions) -> Result<OwnedFd, String> {
    // proc_pid_fd(5): what is behind it is opened once more.
    let file = how.open(format!("/proc/self/fd/{number}"));
    let file = file.map_err(|error| format!("descriptor {number}: {error}; have the shell open it"))?;
    if file.is_terminal() {
        return Err(format!("descriptor {number} is a terminal: redirect it to a file or a pipe"));
    }
    Ok(file.into())
}

/// A passphrase: from a descriptor, or asked for at the terminal, twice where it is a new one.
///
/// # Errors
/// Where there is none, or the two differ.
pub(super) fn passphrase(descriptor: Option<u32>, is_new: bool) -> Result<OwnedFd, Error> {
    if let Some(number) = descriptor {
        return to_read(number).map_err(Error::Failed);
    }
    let first = ask("Passphrase of the key export:")?;
    if is_new && ask("The same passphrase again:")? != first {
        return Err(Error::Failed("these were two different passphrases: type it again".to_owned()));
    }
    let (read, write) = std::io::pipe().map_err(|error| Error::Failed(error.to_string()))?;
    // A passphrase fits into a pipe, which holds 4096 bytes at the least: nobody has to read meanwhile.
    let written = std::io::Write::write_all(&mut File::from(OwnedFd::from(write)), &first[..first.len().min(4096)]);
    written.map_err(|error| Error::Failed(error.to_string()))?;
    Ok(read.into())
}

fn ask(what: &str) -> Result<zeroize::Zeroizing<Vec<u8>>, Error> {
    // Without a terminal it would wait for an agent that might never come.
    if File::open("/dev/tty").is_err() {
        return Err(Error::Failed("there is no terminal to ask for the passphrase at: use --passphrase-fd".to_owned()));
    }
    let asked = Command::new(ASK).args(["--timeout=0", what]).stderr(Stdio::inherit()).output();
    let asked = asked.map_err(|error| Error::Failed(format!("{ASK}: {error}; use --passphrase-fd")))?;
    if asked.status.success() && !asked.stdout.is_empty() {
        Ok(zeroize::Zeroizing::new(asked.stdout))
    } else {
        Err(Error::Failed("no passphrase was given; use --passphrase-fd where there is no terminal".to_owned()))
    }
}
