//! Complaints of a program that runs before the journal may, and must not wait for it.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use rustix::fs::OFlags;

use crate::record::message_id::GENERATOR_SKIPPED;

/// The longest complaint, in bytes: a line of the kernel's log holds little more.
const LONGEST: usize = 800;

/// Tells complaints to the journal, else to the kernel's log (which the journal takes over), else to standard error.
/// Never waits and never fails.
pub fn complain(complaints: &[String]) {
    complain_to(complaints, Path::new("/run/systemd/journal/socket"), Path::new("/dev/kmsg"));
}

fn complain_to(complaints: &[String], journal: &Path, kernel: &Path) {
    if complaints.is_empty() {
        return;
    }
    let socket = UnixDatagram::unbound().and_then(|socket| {
        socket.set_nonblocking(true)?;
        socket.connect(journal)?;
        Ok(socket)
    });
    for complaint in complaints {
        let line = sanitised(complaint);
        let sent = socket.as_ref().is_ok_and(|socket| socket.send(datagram(&line).as_bytes()).is_ok());
        if !sent && to_kernel(&line, kernel).is_err() {
            let _ = writeln!(std::io::stderr(), "rekeyd-generator: {line}");
        }
    }
}

/// The native protocol of the journal: `FIELD=value` lines (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL>).
fn datagram(line: &str) -> String {
    format!("MESSAGE={line}\nPRIORITY=4\nSYSLOG_IDENTIFIER=rekeyd-generator\nMESSAGE_ID={GENERATOR_SKIPPED}\n")
}

fn to_kernel(line: &str, kernel: &Path) -> std::io::Result<()> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let mut log = OpenOptions::new().write(true).custom_flags(flags).open(kernel)?;
    log.write_all(format!("<4>rekeyd-generator: {line}\n").as_bytes())
}

fn sanitised(complaint: &str) -> String {
    let mut line = String::with_capacity(complaint.len().min(LONGEST));
    for c in complaint.chars().take_while({
        let mut length = 0;
        move |c| {
            length += c.len_utf8();
            length <= LONGEST
        }
    }) {
        line.push(if c.is_control() { ' ' } else { c });
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_one_journal_entry_whatever_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journal = UnixDatagram::bind(&path).unwrap();
        let long = "ü".repeat(5000);
        complain_to(&["bad\nPRIORITY=0\0".to_owned(), long], &path, &dir.path().join("kmsg"));
        let mut buffer = [0; 4096];
        let length = journal.recv(&mut buffer).unwrap();
        let entry = std::str::from_utf8(&buffer[..length]).unwrap();
        let fields: Vec<_> = entry.lines().collect();
        assert_eq!(fields[..3], ["MESSAGE=bad PRIORITY=0 ", "PRIORITY=4", "SYSLOG_IDENTIFIER=rekeyd-generator"]);
        assert_eq!(fields[3..], [format!("MESSAGE_ID={GENERATOR_SKIPPED}")]);
        assert!(journal.recv(&mut buffer).unwrap() < 1000);
    }

    #[test]
    fn without_a_journal_the_kernels_log_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let kernel = dir.path().join("kmsg");
        std::fs::write(&kernel, "").unwrap();
        complain_to(&["bad".to_owned()], &dir.path().join("none"), &kernel);
        assert_eq!(std::fs::read_to_string(&kernel).unwrap(), "<4>rekeyd-generator: bad\n");
    }
}
