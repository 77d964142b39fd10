//! Serving until SIGTERM: what was accepted is still answered, what was not waits in the socket for whoever has it too.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{io, thread};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::signal::unix::{SignalKind, signal};

/// Serves each connection in a thread; `drains` those that are left at the end.
pub fn serve(
    listener: &TcpListener,
    drains: bool,
    answer: impl Fn(&TcpStream) -> io::Result<()> + Copy + Send + 'static,
) -> io::Result<()> {
    let is_over = Arc::new(AtomicBool::new(false));
    terminates(Arc::clone(&is_over))?;
    let serving = Arc::new(());
    listener.set_nonblocking(true)?;
    while !is_over.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                let serving = Arc::clone(&serving);
                thread::spawn(move || {
                    let _ = answer(&stream);
                    drop(serving);
                });
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait(listener)?,
            Err(error) => return Err(error),
        }
    }
    while drains && Arc::strong_count(&serving) > 1 {
        thread::yield_now();
    }
    Ok(())
}

/// Sets `is_over` at SIGTERM.
fn terminates(is_over: Arc<AtomicBool>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let mut terminate = runtime.block_on(async { signal(SignalKind::terminate()) })?;
    thread::spawn(move || {
        runtime.block_on(terminate.recv());
        is_over.store(true, Ordering::Relaxed);
    });
    Ok(())
}

/// Returns when there is a connection, and from time to time.
fn wait(listener: &TcpListener) -> io::Result<()> {
    let soon = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
    match poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&soon)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
