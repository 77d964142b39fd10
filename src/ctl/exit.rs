//! Exit codes: the contract with scripts, in rekeyctl(1).

use std::process::ExitCode;

use crate::dbus::rekeyd1::Error;
use crate::rotation::Outcome;

/// How `rekeyctl` ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, or nothing to do.
    Done = 0,
    /// Failed and rolled back, or what was asked for does not hold.
    Failed = 1,
    /// The rollback failed; the secret is on hold.
    RollbackFailed = 2,
    /// Refused; nothing was touched.
    Refused = 3,
    /// The command line is wrong (`EX_USAGE` of sysexits.h).
    Usage = 64,
    /// The daemon cannot be reached (`EX_UNAVAILABLE`).
    Unreachable = 69,
    /// What was to be printed could not be written (`EX_IOERR`).
    Output = 74,
    /// Another rotation is at work (`EX_TEMPFAIL`).
    Busy = 75,
    /// Not allowed (`EX_NOPERM`).
    NotAllowed = 77,
    /// The configuration has mistakes (`EX_CONFIG`).
    Configuration = 78,
    /// Told to stop following by Ctrl-C; the rotation goes on.
    Interrupted = 130,
}

impl Exit {
    /// Of two ends the one that a person must hear of first.
    pub fn worse(self, other: Self) -> Self {
        let urgency = |exit: Self| match exit {
            Self::Done => 0,
            Self::Refused => 1,
            Self::Failed => 3,
            Self::RollbackFailed => 4,
            Self::Interrupted => 5,
            _ => 2,
        };
        if urgency(other) > urgency(self) { other } else { self }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<&Outcome> for Exit {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Committed => Self::Done,
            Outcome::RolledBack { .. } => Self::Failed,
            Outcome::RollbackFailed { .. } => Self::RollbackFailed,
            Outcome::Refused { .. } => Self::Refused,
        }
    }
}

impl From<&Error> for Exit {
    fn from(error: &Error) -> Self {
        match error {
            Error::Refused(_) => Self::Refused,
            Error::Busy(_) => Self::Busy,
            Error::UnknownSecret(_) => Self::Usage,
            Error::Configuration(_) => Self::Configuration,
            Error::NotAllowed(_) => Self::NotAllowed,
            Error::Skipped(_) => Self::Done,
            Error::Failed(_) => Self::Failed,
            Error::Bus(error) if is_denied(error) => Self::NotAllowed,
            Error::Bus(_) => Self::Unreachable,
        }
    }
}

/// Whether the bus itself kept the caller out.
pub fn is_denied(error: &zbus::Error) -> bool {
    match error {
        zbus::Error::MethodError(name, ..) => name.as_str() == "org.freedesktop.DBus.Error.AccessDenied",
        zbus::Error::FDO(error) => matches!(**error, zbus::fdo::Error::AccessDenied(_)),
        _ => false,
    }
}

/// The error of a verb that is for root alone, where the bus itself kept the caller out.
pub fn for_root(error: Error) -> Error {
    match error {
        Error::Bus(denied) if is_denied(&denied) => not_root(),
        error => error,
    }
}

/// Who asks is root. Looked at before the descriptors of a verb that is for root alone, which others might not open.
///
/// # Errors
/// Where that is somebody else.
pub fn be_root() -> Result<(), Error> {
    if rustix::process::geteuid().is_root() { Ok(()) } else { Err(not_root()) }
}

fn not_root() -> Error {
    Error::NotAllowed("only root may do this: use sudo".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_ends_the_worst_is_told_as_the_manual_says() {
        let ascending = [
            &[Exit::Done][..],
            &[Exit::Refused],
            &[Exit::Usage, Exit::Unreachable, Exit::Busy, Exit::NotAllowed, Exit::Configuration],
            &[Exit::Failed],
            &[Exit::RollbackFailed],
            &[Exit::Interrupted],
        ];
        for pair in ascending.windows(2) {
            for (&one, &other) in pair[0].iter().flat_map(|one| pair[1].iter().map(move |other| (one, other))) {
                assert_eq!((one.worse(other), other.worse(one)), (other, other));
            }
        }
    }
}
