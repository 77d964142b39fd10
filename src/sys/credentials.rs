//! Files with credentials in them: only their owner may be able to read them.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;
use zeroize::Zeroizing;

/// The longest that is read.
const LONGEST: u64 = 64 * 1024;

/// Why a file is not read, and what to do about it where that is known.
pub type Unread = (String, Option<String>);

/// The headers in such a file, as `Name: value`, one a line.
///
/// # Errors
/// As for [`read`]; and where a line has another form.
pub fn headers(path: &Path) -> Result<Vec<(String, Zeroizing<String>)>, Unread> {
    let bytes = read(path)?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.trim().to_owned(), Zeroizing::new(value.trim().to_owned())))
    };
    let headers: Option<Vec<_>> = lines.map(header).collect();
    let headers = headers.filter(|headers| !headers.is_empty());
    headers.ok_or_else(|| (format!("{} has no lines of the form Name: value", path.display()), None))
}

/// Reads a file that root or this process' user owns and nobody else may use.
///
/// # Errors
/// Why it is not read, and what to do about it where that is known.
pub fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Unread> {
    let shown = path.display();
    let unreadable = |error| (format!("cannot read {shown}: {error}"), None);
    // Opening a pipe would otherwise wait for who writes to it.
    let careful = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(careful).open(path).map_err(unreadable)?;
    // Judged on the open file: another may stand there a moment later.
    let stat = file.metadata().map_err(unreadable)?;
    if !stat.is_file() {
        return Err((format!("{shown} holds no credentials: it is not a regular file"), None));
    }
    let own = rustix::process::geteuid().as_raw();
    if stat.uid() != 0 && stat.uid() != own {
        let why = format!("{shown} holds credentials, and belongs to user {}", stat.uid());
        return Err((why, Some(format!("chown root: {shown}"))));
    }
    if stat.mode() & 0o077 != 0 {
        let why = format!("{shown} holds credentials, and others than its owner may use it");
        return Err((why, Some(format!("chmod 600 {shown}"))));
    }
    if stat.len() > LONGEST {
        return Err((format!("{shown} is longer than 64 KiB"), None));
    }
    // All at once, since a buffer that grows leaves copies of what it held.
    let mut body = Zeroizing::new(Vec::with_capacity(usize::try_from(stat.len()).unwrap_or(0) + 1));
    file.take(stat.len()).read_to_end(&mut body).map_err(unreadable)?;
    Ok(body)
}
