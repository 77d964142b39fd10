//! Telling a program that its env file is another one now: by touching a file that it watches, or by a signal.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{Access, AtFlags, CWD, Timespec, Timestamps, UTIME_NOW};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, geteuid, pidfd_open, pidfd_send_signal};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::NotDone;
use super::file::of_root_alone;
use crate::config::WakeSignal;
use crate::sys::process;

/// How.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wake {
    /// The file's times become those of now.
    Touch(PathBuf),
    /// The process that the file names is sent the signal.
    Signal(WakeSignal, PathBuf),
}

impl Wake {
    /// Does it, as the user that this process is; or only looks whether it could.
    pub(super) fn perform(&self, really: bool) -> Result<(), NotDone> {
        if geteuid().is_root() {
            let (Self::Touch(path) | Self::Signal(_, path)) = self;
            of_root_alone(path)?;
        }
        match self {
            Self::Touch(path) if really => touch(path),
            Self::Touch(path) => rustix::fs::access(path, Access::WRITE_OK).map_err(|error| untouchable(path, error)),
            Self::Signal(signal, pid_file) => {
                let (process, pid) = process(pid_file)?;
                check_survives(pid, *signal, pid_file)?;
                if really { send(&process, *signal, pid_file) } else { Ok(()) }
            }
        }
    }
}

/// Only what is there: a new file would be a wrong path's.
fn touch(path: &Path) -> Result<(), NotDone> {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let times = Timestamps { last_access: now, last_modification: now };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::empty()).map_err(|error| untouchable(path, error))
}

fn untouchable(path: &Path, error: Errno) -> NotDone {
    not(format!("cannot touch {}: {error}", path.display()), "mend `touch`, or the file's owner")
}

/// A pid file may be an old one's, and its number another process' by now. So the process must be of this user, and older
/// than the file; and from the moment that it is looked at until it is told it is held by a descriptor: pidfd_open(2).
fn process(pid_file: &Path) -> Result<(OwnedFd, Pid), NotDone> {
    let shown = pid_file.display();
    let unreadable = |error| not(format!("cannot read {shown}: {error}"), "is the program running? mend `pid-file`");
    let text = fs::read_to_string(pid_file).map_err(unreadable)?;
    let written = fs::metadata(pid_file).and_then(|stat| stat.modified()).map_err(unreadable)?;
    let pid = text.trim().parse().ok().filter(|pid| *pid > 1).and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| not(format!("{shown} has no process number in it"), "mend `pid-file`"))?;
    let gone = |why: &str| {
        let advice = "start the program anew, so that it writes its own number";
        not(format!("process {} of {shown} {why}", pid.as_raw_nonzero()), advice)
    };
    let process = pidfd_open(pid, PidfdFlags::empty()).map_err(|_| gone("is not running"))?;
    let owner = fs::metadata(format!("/proc/{}", pid.as_raw_nonzero())).map_err(|_| gone("is not running"))?.uid();
    if owner != geteuid().as_raw() {
        return Err(gone("is not one of the env file's owner"));
    }
    let started = started(pid).ok_or_else(|| gone("is not running"))?;
    // Ticks are coarse, and the clock may have been set a little since.
    if started > written + Duration::from_secs(2) {
        return Err(gone("is younger than that file: it is another one"));
    }
    Ok((process, pid))
}

/// One that the signal would end does not read its file again. SIGTERM is for those that are started again.
fn check_survives(pid: Pid, signal: WakeSignal, pid_file: &Path) -> Result<(), NotDone> {
    if signal == WakeSignal::Sigterm || process::survives(pid, number(signal)) {
        return Ok(());
    }
    let (shown, name) = (pid_file.display(), signal.name());
    let problem = format!("process {} of {shown} does not handle {name}, which would end it", pid.as_raw_nonzero());
    Err(not(problem, "mend `signal`: it should be the one on which the program reads its file again"))
}

fn number(signal: WakeSignal) -> Signal {
    match signal {
        WakeSignal::Sighup => Signal::HUP,
        WakeSignal::Sigusr1 => Signal::USR1,
        WakeSignal::Sigusr2 => Signal::USR2,
        WakeSignal::Sigterm => Signal::TERM,
    }
}

fn send(process: &OwnedFd, signal: WakeSignal, pid_file: &Path) -> Result<(), NotDone> {
    pidfd_send_signal(process, number(signal)).map_err(|error| {
        let problem = format!("the process of {} cannot be sent a signal: {error}", pid_file.display());
        not(problem, "is it running?")
    })
}

/// When a process was started.
fn started(pid: Pid) -> Option<SystemTime> {
    let ticks = process::started(pid)?;
    let since_boot = Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second());
    let now = clock_gettime(ClockId::Boottime);
    let now = Duration::new(now.tv_sec.cast_unsigned(), 0);
    Some(SystemTime::now() - now.saturating_sub(since_boot))
}

fn not(problem: String, advice: &str) -> NotDone {
    NotDone { problem, advice: advice.to_owned() }
}
