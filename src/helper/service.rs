//! A helper that answers many calls, one a connection, and ends when none has come for a while. To start it once a
//! rotation rather than once a look spares the making of its sandbox, which takes longer than the look.

use std::io::{Error, Result};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sd_notify::NotifyState;

/// Without a call for so long it ends.
const IDLE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);
/// Who asked has long given up: such a call doesn't keep the helper from ending, or from making way for another version.
const STUCK: Duration = Duration::from_secs(60);

/// Answers one call.
type Answer = fn(UnixStream) -> Result<()>;

/// Serves the socket on standard input until nobody calls any more, or the program was replaced by another version: a
/// call that waits then is for the next instance, which systemd starts.
///
/// # Errors
/// Where the socket is none.
pub(super) fn serve(answer: Answer) -> Result<()> {
    let listener = UnixListener::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let mut calls: Vec<(Instant, Arc<()>)> = Vec::new();
    let (mut last, mut count) = (Instant::now(), 0_u64);
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    loop {
        let is_called = is_called(&listener)?;
        calls.retain(|(began, call)| Arc::strong_count(call) > 1 && began.elapsed() < STUCK);
        if is_called && !is_replaced() {
            let (stream, _) = listener.accept()?;
            let call = Arc::new(());
            calls.push((Instant::now(), Arc::clone(&call)));
            thread::Builder::new().spawn(move || {
                if let Err(error) = answer(stream) {
                    eprintln!("<3>rekeyd helper: {error}");
                }
                drop(call);
            })?;
            (last, count) = (Instant::now(), count + 1);
            let _ = sd_notify::notify(&[NotifyState::Status(&format!("{count} calls answered"))]);
        } else if is_called && !calls.is_empty() {
            // For the next instance, once those have ended.
            thread::sleep(LOOK);
        } else if calls.is_empty() && (is_called || last.elapsed() >= IDLE) {
            return Ok(());
        }
    }
}

/// Has a call answered by a process of its own, which may become another user for it: `rekeyd helper KIND`.
///
/// # Errors
/// Where that cannot be started. What it makes of the call, it tells itself.
pub(super) fn hand_over(kind: &str, call: UnixStream) -> Result<()> {
    let call = OwnedFd::from(call);
    let mut helper = Command::new("/proc/self/exe");
    helper.args(["helper", kind]).stdin(Stdio::from(call.try_clone()?)).stdout(Stdio::from(call));
    let mut process = helper.spawn()?;
    // Its copies of the connection.
    drop(helper);
    process.wait().map(drop)
}

/// Whether somebody calls; asked for at most a tenth of the time that there is.
fn is_called(listener: &UnixListener) -> Result<bool> {
    let limit = Timespec::try_from(IDLE / 10).map_err(Error::other)?;
    match poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&limit)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// As proc(5) shows it of a program whose file is gone.
fn is_replaced() -> bool {
    std::fs::read_link("/proc/self/exe").is_ok_and(|path| path.to_string_lossy().ends_with(" (deleted)"))
}
