//! A helper that answers many calls, one a connection, and ends when none has come for a while. To start it once a
//! rotation rather than once a look spares the making of its sandbox, which takes longer than the look.

use std::io::{BufReader, Error, ErrorKind, Result};
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sd_notify::NotifyState;

/// Without a call for so long it ends.
const IDLE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);
/// Who asked has long given up.
const STUCK: Duration = Duration::from_secs(60);

/// Answers one call.
type Answer = fn(&mut BufReader<&UnixStream>, &mut &UnixStream) -> Result<()>;

/// Serves the socket on standard input until nobody calls any more, or the program was replaced by another version: a
/// call that waits then is for the next instance, which systemd starts.
///
/// # Errors
/// Where the socket is none, or a call never ends.
pub(super) fn serve(answer: Answer) -> Result<()> {
    let listener = UnixListener::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let mut calls: Vec<(Instant, Arc<()>)> = Vec::new();
    let (mut last, mut count) = (Instant::now(), 0_u64);
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    loop {
        let is_called = is_called(&listener)?;
        calls.retain(|(_, call)| Arc::strong_count(call) > 1);
        if calls.iter().any(|(began, _)| began.elapsed() > STUCK) {
            return Err(Error::new(ErrorKind::TimedOut, "a call did not end"));
        }
        if is_called && !is_replaced() {
            let (stream, _) = listener.accept()?;
            let call = Arc::new(());
            calls.push((Instant::now(), Arc::clone(&call)));
            thread::Builder::new().spawn(move || {
                if let Err(error) = answer(&mut BufReader::new(&stream), &mut &stream) {
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
