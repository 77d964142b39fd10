//! journald's own interface, as `journalctl --sync` uses it.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const SOCKET: &str = "/run/systemd/journal/io.systemd.journal";
/// A call of Varlink (<https://varlink.org>): JSON, and a NUL at its end.
const SYNCHRONIZE: &[u8] = b"{\"method\":\"io.systemd.Journal.Synchronize\"}\0";
/// Its answer has nothing in it.
const LONGEST: u64 = 4096;

/// Returns once journald has taken in, and written, all that was sent to it before; for root alone.
///
/// # Errors
/// Where it is not there, refuses, or takes longer than `limit`.
pub fn synchronize(limit: Duration) -> io::Result<()> {
    let mut stream = UnixStream::connect(SOCKET)?;
    // None would be no limit at all.
    let limit = limit.max(Duration::from_millis(1));
    stream.set_write_timeout(Some(limit))?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(SYNCHRONIZE)?;
    let mut answer = Vec::new();
    BufReader::new(stream).take(LONGEST).read_until(0, &mut answer)?;
    let text = answer.strip_suffix(b"\0").ok_or(io::ErrorKind::UnexpectedEof)?;
    let answer: serde_json::Value = serde_json::from_slice(text)?;
    match answer.get("error") {
        Some(error) => Err(io::Error::other(error.to_string())),
        None => Ok(()),
    }
}
