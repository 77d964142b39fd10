//! What a program printed, in a file for its administrator alone. It stays where the program failed, and where something
//! that the program has started goes on writing to it; also when the same program ends well a little later, on the way back.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::files::{self, FileError};

/// So much of what a failed program printed.
const KEPT: u64 = 256 * 1024;
/// What is older is not of this rotation.
const RECENT: Duration = Duration::from_secs(24 * 3600);

/// Where it is while the program runs.
pub fn meanwhile(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".now");
    path.with_file_name(name)
}

/// An empty file to append to, beside `path`, in a directory that is made where it is missing.
///
/// # Errors
/// Where it cannot be written.
pub fn begin(path: &Path) -> Result<File, FileError> {
    if let Some(parent) = path.parent() {
        files::ensure_dir(parent, 0o700)?;
    }
    let path = meanwhile(path);
    files::replace(&path, b"", 0o600)?;
    OpenOptions::new().append(true).open(&path).map_err(|error| FileError::new("open", &path, error))
}

/// Keeps the beginning of what was printed at `path`, or removes it. Best effort: what cannot be shortened or removed is
/// private all the same.
pub fn end(path: &Path, is_wanted: bool) {
    let printed = meanwhile(path);
    if !is_wanted {
        let _ = files::remove(&printed);
        let age = |path: &Path| path.metadata().and_then(|stat| stat.modified()).ok()?.elapsed().ok();
        if age(path).is_some_and(|age| age > RECENT) {
            let _ = files::remove(path);
        }
        return;
    }
    if let Ok(file) = OpenOptions::new().write(true).open(&printed)
        && file.metadata().is_ok_and(|stat| stat.len() > KEPT)
    {
        let _ = file.set_len(KEPT);
    }
    let _ = std::fs::rename(&printed, path);
}
