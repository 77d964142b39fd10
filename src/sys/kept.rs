//! What a program printed, in a file for its administrator alone. It stays where the program failed, and where something
//! that the program has started goes on writing to it.

use std::fs::{File, OpenOptions};
use std::path::Path;

use super::files::{self, FileError};

/// So much of what a failed program printed.
const KEPT: u64 = 256 * 1024;

/// An empty file to append to, in a directory that is made where it is missing.
///
/// # Errors
/// Where it cannot be written.
pub fn begin(path: &Path) -> Result<File, FileError> {
    if let Some(parent) = path.parent() {
        files::ensure_dir(parent, 0o700)?;
    }
    files::replace(path, b"", 0o600)?;
    OpenOptions::new().append(true).open(path).map_err(|error| FileError::new("open", path, error))
}

/// Keeps the beginning of the file, or removes it. Best effort: what cannot be shortened or removed is private all the same.
pub fn end(path: &Path, is_wanted: bool) {
    if !is_wanted {
        let _ = files::remove(path);
    } else if let Ok(file) = OpenOptions::new().write(true).open(path)
        && file.metadata().is_ok_and(|stat| stat.len() > KEPT)
    {
        let _ = file.set_len(KEPT);
    }
}
