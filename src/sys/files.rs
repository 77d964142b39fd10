//! Files that are either whole or not there: written beside, synced, renamed, and their directory synced.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, MemfdFlags, OFlags, accessat, memfd_create, statvfs};
use thiserror::Error;

/// A file operation that failed: what was tried, where, and what the system says.
#[derive(Debug, Error)]
#[error("cannot {operation} {path}: {source}", path = path.display())]
pub struct FileError {
    operation: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl FileError {
    /// An error of `operation`, a verb.
    pub fn new(operation: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self { operation, path: path.to_owned(), source: source.into() }
    }

    /// What the system says.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

/// Whether an idempotent operation had anything to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It stood there already.
    Unchanged,
    /// It stands there now.
    Written,
}

/// Replaces what stands at `path` by `bytes`, unless that is what stands there, with this mode.
///
/// # Errors
/// Whatever fails; then the old content stands, whole.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<Change, FileError> {
    if is_already(path, bytes, mode) {
        // A run that was killed after the rename and before the sync leaves a name that is not durable yet.
        sync_parent(path)?;
        return Ok(Change::Unchanged);
    }
    let temporary = temporary_name(path);
    remove(&temporary)?;
    let written = write_new(&temporary, bytes, mode)
        .and_then(|()| fs::rename(&temporary, path).map_err(|error| FileError::new("replace", path, error)));
    if written.is_err() {
        let _ = remove(&temporary);
    }
    written?;
    sync_parent(path)?;
    Ok(Change::Written)
}

/// Makes `path` a symbolic link to `target`, in one step for whoever reads through it.
///
/// # Errors
/// Whatever fails; then the old link stands.
pub fn replace_link(path: &Path, target: &Path) -> Result<Change, FileError> {
    if fs::read_link(path).is_ok_and(|standing| standing == target) {
        sync_parent(path)?;
        return Ok(Change::Unchanged);
    }
    let temporary = temporary_name(path);
    remove(&temporary)?;
    symlink(target, &temporary).map_err(|error| FileError::new("link", &temporary, error))?;
    fs::rename(&temporary, path).map_err(|error| FileError::new("replace", path, error))?;
    sync_parent(path)?;
    Ok(Change::Written)
}

/// Makes a directory, and those above it, where they are missing.
///
/// # Errors
/// Where one cannot be made, or something else stands there.
pub fn ensure_dir(path: &Path, mode: u32) -> Result<(), FileError> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        ensure_dir(parent, mode)?;
    }
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => sync_parent(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(FileError::new("create the directory", path, error)),
    }
}

/// Opens a regular file to read and write, and makes it where it is missing.
///
/// # Errors
/// Where it cannot be opened.
pub fn open_or_create(path: &Path, mode: u32) -> Result<File, FileError> {
    let nofollow = OFlags::NOFOLLOW.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(mode)
        .custom_flags(nofollow)
        .open(path);
    file.map_err(|error| FileError::new("open", path, error))
}

/// An empty file of no file system, to be sealed: memfd_create(2). Nobody can execute it where the kernel knows of that, and
/// some kernels are told to make no others.
///
/// # Errors
/// What the kernel says.
pub fn in_memory(name: &str) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL).or_else(|_| memfd_create(name, flags))?;
    Ok(file.into())
}

/// Reads a file of at most `limit` bytes.
///
/// # Errors
/// Where it cannot be read, or is longer.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let failed = |error| FileError::new("read", path, error);
    let file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    if length > limit {
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {limit} bytes"))));
    }
    // All at once, since a buffer that grows leaves copies of what it held.
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1);
    file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Removes a file or link. That it is not there is no error.
///
/// # Errors
/// Where it is there and cannot be removed.
pub fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::new("remove", path, error)),
        _ => Ok(()),
    }
}

/// What is in a directory, sorted; nothing where it does not exist.
///
/// # Errors
/// Where it cannot be read.
pub fn list(dir: &Path) -> Result<Vec<PathBuf>, FileError> {
    let failed = |error| FileError::new("list", dir, error);
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut paths =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    paths.sort();
    Ok(paths)
}

/// Makes the name of `path` durable.
///
/// # Errors
/// What the file system says.
pub fn sync_parent(path: &Path) -> Result<(), FileError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(|error| FileError::new("sync", parent, error))
}

/// Whether a file could be made or replaced at `path`, judged by the nearest directory above that exists; touches
/// nothing.
///
/// # Errors
/// Why not.
pub fn writable(path: &Path) -> Result<(), FileError> {
    let dir = nearest_dir(path);
    accessat(CWD, dir, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
        .map_err(|error| FileError::new("write to", dir, error))
}

/// How many bytes are free where `path` is, or would be; as many as there can be where the file system does not tell how
/// large it is.
///
/// # Errors
/// Where the file system does not say.
pub fn free_bytes(path: &Path) -> Result<u64, FileError> {
    let dir = nearest_dir(path);
    let stat = statvfs(dir).map_err(|error| FileError::new("measure the free space of", dir, error))?;
    Ok(if stat.f_blocks == 0 { u64::MAX } else { stat.f_bavail.saturating_mul(stat.f_frsize) })
}

fn nearest_dir(path: &Path) -> &Path {
    path.ancestors().skip(1).find(|dir| dir.is_dir()).unwrap_or(Path::new("/"))
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".rekeyd-new");
    path.with_file_name(name)
}

fn is_already(path: &Path, bytes: &[u8], mode: u32) -> bool {
    let same_mode = fs::symlink_metadata(path).is_ok_and(|stat| {
        stat.is_file() && stat.permissions().mode() & 0o7777 == mode && stat.len() == bytes.len() as u64
    });
    same_mode && fs::read(path).map(zeroize::Zeroizing::new).is_ok_and(|standing| *standing == bytes)
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let failed = |error| FileError::new("write", path, error);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(failed)?;
    // The mode at creation was cut by the umask.
    file.set_permissions(Permissions::from_mode(mode)).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.sync_all().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_with_its_mode_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("env");
        fs::write(temporary_name(&path), "left by a run that was killed").unwrap();
        assert_eq!(replace(&path, b"one", 0o600).unwrap(), Change::Written);
        assert_eq!(replace(&path, b"one", 0o600).unwrap(), Change::Unchanged);
        assert_eq!(replace(&path, b"two", 0o644).unwrap(), Change::Written);
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(list(dir.path()).unwrap(), [path]);
    }

    #[test]
    fn a_link_is_replaced_in_one_step() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("current");
        assert_eq!(replace_link(&path, Path::new("1")).unwrap(), Change::Written);
        assert_eq!(replace_link(&path, Path::new("2")).unwrap(), Change::Written);
        assert_eq!(replace_link(&path, Path::new("2")).unwrap(), Change::Unchanged);
        assert_eq!(fs::read_link(&path).unwrap(), Path::new("2"));
    }

    #[test]
    fn an_error_names_the_operation_and_the_place() {
        let error = replace(Path::new("/nowhere/at/all"), b"", 0o600).unwrap_err().to_string();
        assert!(error.contains("/nowhere/at"), "{error}");
        assert!(read(Path::new("/nowhere"), 9).unwrap_err().to_string().starts_with("cannot read /nowhere"));
    }

    #[test]
    fn a_file_that_is_too_long_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        fs::write(&path, "123456").unwrap();
        assert!(read(&path, 5).is_err());
        assert_eq!(read(&path, 6).unwrap(), b"123456");
    }
}
