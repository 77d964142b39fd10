//! The directory that a generator writes to: files, drop-ins and links, with few system calls.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, mkdirat, openat, statat, symlinkat, unlinkat};
use rustix::io::{Errno, read, write};

/// An open directory of the output.
pub(super) struct Output {
    path: PathBuf,
    handle: OwnedFd,
}

impl Output {
    /// Opens the directory that systemd gave.
    ///
    /// # Errors
    /// The complaint where there is none.
    pub fn open(path: &Path) -> Result<Self, String> {
        let handle = openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|error| complaint(path, error))?;
        Ok(Self { path: path.to_owned(), handle })
    }

    /// Makes and opens a directory below.
    pub fn directory(&self, name: &str, complaints: &mut Vec<String>) -> Option<Self> {
        let opened = self.make(name).and_then(|()| {
            openat(&self.handle, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        });
        let path = self.path.join(name);
        match opened {
            Ok(handle) => Some(Self { path, handle }),
            Err(error) => {
                complaints.push(complaint(&path, error));
                None
            }
        }
    }

    /// Writes the drop-in `file` in the directory `name`.
    pub fn drop_in(&self, name: &str, file: &str, text: &str, complaints: &mut Vec<String>) {
        let file = format!("{name}/{file}");
        if let Err(error) = self.make(name).and_then(|()| self.write(&file, text.as_bytes())) {
            complaints.push(complaint(&self.path.join(file), error));
        }
    }

    /// Writes a file.
    pub fn file(&self, name: &str, text: &str, complaints: &mut Vec<String>) {
        if let Err(error) = self.write(name, text.as_bytes()) {
            complaints.push(complaint(&self.path.join(name), error));
        }
    }

    /// Gives a file another name, too.
    pub fn hard_link(&self, file: &str, name: &str) -> Result<(), Errno> {
        let which = |name: &str| statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW).map(|it| (it.st_dev, it.st_ino));
        match linkat(&self.handle, file, &self.handle, name, AtFlags::empty()) {
            Err(Errno::EXIST) if which(file)? == which(name)? => Ok(()),
            linked => linked,
        }
    }

    /// Makes the link `name` to `target`.
    pub fn link(&self, target: &str, name: &str, complaints: &mut Vec<String>) {
        match symlinkat(target, &self.handle, name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => complaints.push(complaint(&self.path.join(name), error)),
        }
    }

    fn make(&self, name: &str) -> Result<(), Errno> {
        match mkdirat(&self.handle, name, Mode::from_raw_mode(0o755)) {
            Err(Errno::EXIST) => Ok(()),
            made => made,
        }
    }

    /// Whether a file is there already, as it is to be.
    fn has(&self, file: &str, bytes: &[u8]) -> bool {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(handle) = openat(&self.handle, file, flags, Mode::empty()) else { return false };
        let mut has = vec![0; bytes.len() + 1];
        read(&handle, &mut has).is_ok_and(|length| has[..length] == *bytes)
    }

    fn write(&self, file: &str, mut bytes: &[u8]) -> Result<(), Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let open = || openat(&self.handle, file, flags, Mode::from_raw_mode(0o644));
        let handle = match open() {
            Err(Errno::EXIST) if self.has(file, bytes) => return Ok(()),
            // It may have other names, which shall keep what they have.
            Err(Errno::EXIST) => unlinkat(&self.handle, file, AtFlags::empty()).and_then(|()| open())?,
            opened => opened?,
        };
        while !bytes.is_empty() {
            match write(&handle, bytes) {
                Ok(0) => return Err(Errno::IO),
                Ok(written) => bytes = &bytes[written..],
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn complaint(path: &Path, error: Errno) -> String {
    let reason = std::io::Error::from(error);
    format!("{}: cannot be written: {reason} (check the file system)", crate::config::findings::printable(path))
}
