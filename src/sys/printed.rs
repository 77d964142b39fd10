//! What a program prints, read while it runs: in memory, bounded, and wiped.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::pipe::{PipeFlags, pipe_with};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use super::command::PRINTED;

/// One stream of what a program prints.
pub struct Printed {
    /// The program's end, until it is the program's.
    writer: Option<OwnedFd>,
    reader: JoinHandle<Zeroizing<Vec<u8>>>,
    over: Arc<Notify>,
}

impl Printed {
    /// # Errors
    /// Where there are no more descriptors.
    pub fn begin() -> std::io::Result<Self> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        let over = Arc::new(Notify::new());
        let reader = tokio::spawn(read(Receiver::from_owned_fd(reader)?, Arc::clone(&over)));
        Ok(Self { writer: Some(writer), reader, over })
    }

    /// The program's end; there is one.
    pub fn writer(&mut self) -> Option<OwnedFd> {
        self.writer.take()
    }

    /// What was printed until now. Others may hold the program's end of the pipe for longer than the program lives.
    pub async fn end(mut self) -> Zeroizing<Vec<u8>> {
        drop(self.writer.take());
        self.over.notify_one();
        self.reader.await.unwrap_or_default()
    }
}

/// Reads to the end, or, once all is over, what is there.
async fn read(pipe: Receiver, over: Arc<Notify>) -> Zeroizing<Vec<u8>> {
    // All at once, since a buffer that grows leaves copies of what it held.
    let mut printed = Zeroizing::new(Vec::with_capacity(PRINTED));
    let mut part = Zeroizing::new([0; 16 * 1024]);
    let mut is_over = false;
    loop {
        match pipe.try_read(&mut part[..]) {
            Ok(0) => return printed,
            Ok(count) => {
                let room = count.min(PRINTED - printed.len());
                printed.extend_from_slice(&part[..room]);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock && is_over => return printed,
            Err(error) if error.kind() == ErrorKind::WouldBlock => tokio::select! {
                _ = pipe.readable() => {}
                () = over.notified() => is_over = true,
            },
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return printed,
        }
    }
}
