//! Other people's files, changed in place: whole or not at all, and with all that belongs to them but their content.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Access, AtFlags, CWD, FlockOperation, Mode, OFlags, StatxAttributes, StatxFlags, XattrFlags};
use rustix::io::Errno;
use thiserror::Error;
use zeroize::Zeroizing;

/// Where a file has its access list: acl(5), xattr(7).
const ACCESS_LIST: &str = "system.posix_acl_access";
/// So long another one of us may be at work in the same directory.
const LOCKED: Duration = Duration::from_secs(5);
/// What a new file needs besides its text.
const ROOM: u64 = 4096;
/// What to do about a file that is a mount.
const MOUNTED: &str = "it is mounted there by itself, as in containers: mount its directory instead";
/// No file of settings is larger.
const LARGEST: u64 = 1 << 20;

/// Why a file is left as it is: what is wrong, and what to do about it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{}: {problem}", path.display())]
pub struct EditError {
    path: PathBuf,
    problem: String,
    /// What to do about it.
    pub advice: String,
    /// Whether there is no file.
    pub is_missing: bool,
}

impl EditError {
    fn new(path: &Path, problem: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { path: path.to_owned(), problem: problem.into(), advice: advice.into(), is_missing: false }
    }

    fn io(path: &Path, what: &str, error: impl Into<std::io::Error>) -> Self {
        let error = error.into();
        let is_missing = error.kind() == std::io::ErrorKind::NotFound;
        let advice = match error.kind() {
            // EPERM, where even root may not: EACCES is what modes forbid.
            std::io::ErrorKind::PermissionDenied if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {
                "see whether it is immutable (lsattr), or in a directory where only owners may replace files"
            }
            std::io::ErrorKind::ResourceBusy => MOUNTED,
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => "make room on its file system",
            std::io::ErrorKind::ReadOnlyFilesystem => "have its file system mounted writable",
            std::io::ErrorKind::PermissionDenied if ["find it", "open it", "read it"].contains(&what) => {
                "do it as its owner, or as root"
            }
            std::io::ErrorKind::PermissionDenied => {
                "its owner must be able to write the directory that it is in, since it is replaced there as a whole"
            }
            std::io::ErrorKind::WouldBlock => "another program holds a lock on it: lsof shows which; try again",
            std::io::ErrorKind::NotFound => "create it, or mend the path",
            _ => "see what is the matter with the file system",
        };
        Self { is_missing, ..Self::new(path, format!("cannot {what}: {error}"), advice) }
    }
}

/// A file as it stands, to be replaced by another text or left alone.
pub struct Original {
    path: PathBuf,
    file: File,
    stat: fs::Metadata,
    /// Keeps others of us out.
    _lock: Option<File>,
    /// What is in it.
    pub text: Zeroizing<Vec<u8>>,
}

impl Original {
    /// Opens a file, through symbolic links.
    ///
    /// # Errors
    /// Where it cannot be read, or could not be replaced without losing something.
    pub fn open(path: &Path) -> Result<Self, EditError> {
        let real = fs::canonicalize(path).map_err(|error| EditError::io(path, "find it", error))?;
        // Opening a pipe would otherwise wait for who writes to it.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&real, flags, Mode::empty());
        let file = File::from(opened.map_err(|error| EditError::io(&real, "open it", error))?);
        let stat = file.metadata().map_err(|error| EditError::io(&real, "look at it", error))?;
        if !stat.is_file() {
            return Err(EditError::new(&real, "it is not a regular file", "name a file"));
        }
        if stat.nlink() > 1 {
            let problem =
                format!("it has {} names (hard links), and the others would keep the old value", stat.nlink());
            return Err(EditError::new(&real, problem, "make a copy of it, or a symbolic link"));
        }
        if stat.mode() & 0o6000 != 0 {
            let problem = "it is set-user-ID or set-group-ID, which no env file needs and which cannot be kept";
            return Err(EditError::new(&real, problem, format!("chmod ug-s {}", real.display())));
        }
        if stat.len() > LARGEST {
            return Err(EditError::new(&real, "it is larger than 1 MiB", "name another file"));
        }
        // All at once, since a buffer that grows leaves copies of what it held.
        let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(stat.len()).unwrap_or(0) + 1));
        (&file).take(LARGEST).read_to_end(&mut text).map_err(|error| EditError::io(&real, "read it", error))?;
        Ok(Self { path: real, file, stat, _lock: None, text })
    }

    /// The same, once nobody else who opens it so is at work in its directory: of two changes at once, one would be lost.
    ///
    /// # Errors
    /// As for [`Original::open`].
    pub fn open_alone(path: &Path) -> Result<Self, EditError> {
        let real = fs::canonicalize(path).map_err(|error| EditError::io(path, "find it", error))?;
        let directory = File::open(real.parent().unwrap_or(Path::new("/")));
        let lock = directory.map_err(|error| EditError::io(&real, "open its directory", error))?;
        let is_alone = lock_alone(&lock).map_err(|error| EditError::io(&real, "lock its directory", error))?;
        let original = Self { _lock: Some(lock), ..Self::open(&real)? };
        if is_alone {
            // It is of one of us that was killed. It may not be ours to remove: then it is told later.
            let _ = remove(&original.beside().1);
        }
        Ok(original)
    }

    /// Where it really is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its mode.
    pub fn mode(&self) -> u32 {
        self.stat.mode()
    }

    /// Its owner's number.
    pub fn owner(&self) -> u32 {
        self.stat.uid()
    }

    /// Whether it could be replaced now.
    ///
    /// # Errors
    /// What is in the way.
    pub fn check_replaceable(&self) -> Result<(), EditError> {
        let looked = rustix::fs::statx(&self.file, "", AtFlags::EMPTY_PATH, StatxFlags::empty());
        if let Some((problem, advice)) = looked.ok().and_then(|looked| kept_there(looked.stx_attributes)) {
            return Err(EditError::new(&self.path, problem, advice));
        }
        let (directory, new) = self.beside();
        self.check_group(&directory)?;
        let writable = rustix::fs::access(&directory, Access::WRITE_OK | Access::EXEC_OK);
        writable.map_err(|error| EditError::io(&self.path, "replace it", error))?;
        let needed = self.text.len() as u64 + ROOM;
        if super::files::free_bytes(&new).is_ok_and(|free| free < needed) {
            return Err(EditError::new(
                &self.path,
                "there is no room on its file system to write it anew",
                "make room there",
            ));
        }
        Ok(())
    }

    /// Puts another text in its place, with its owner, mode, access list and extended attributes. Whoever reads it reads
    /// the one or the other, whole. Where a kill comes in between, a file of the name `.NAME.rekeyd` may stay, which the
    /// next [`Original::open_alone`] takes away.
    ///
    /// # Errors
    /// Where it cannot, or somebody else has changed the file meanwhile; then that stands.
    pub fn replace(&self, text: &[u8]) -> Result<(), EditError> {
        let (directory, new) = self.beside();
        remove(&new).map_err(|error| EditError::io(&new, "remove what was left there", error))?;
        let failed = |what: &'static str| move |error: Errno| EditError::io(&self.path, what, error);
        let (mut file, is_named) = unnamed(&directory, &new).map_err(failed("make a new file beside it"))?;
        let mut replaced = || {
            file.write_all(text).map_err(|error| EditError::io(&self.path, "write it anew", error))?;
            self.dress(&file)?;
            file.sync_all().map_err(|error| EditError::io(&self.path, "write it anew", error))?;
            self.unchanged()?;
            if !is_named {
                let this = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
                let flags = AtFlags::SYMLINK_FOLLOW;
                rustix::fs::linkat(CWD, this, CWD, &new, flags).map_err(failed("name the new file"))?;
            }
            fs::rename(&new, &self.path)
                .map_err(|error| EditError::io(&self.path, "put the new file in its place", error))
        };
        replaced().inspect_err(|_| drop(remove(&new)))?;
        super::files::sync_parent(&self.path)
            .map_err(|error| EditError::new(&self.path, error.to_string(), "try again"))
    }

    /// Whether the new file can have the group of this one: nobody but root gives a file to a group that is not theirs.
    fn check_group(&self, directory: &Path) -> Result<(), EditError> {
        let gid = self.stat.gid();
        let groups = rustix::process::getgroups().unwrap_or_default();
        let is_ours = rustix::process::getegid().as_raw() == gid || groups.iter().any(|group| group.as_raw() == gid);
        // What is made in a directory with this bit has the group of the directory.
        let comes_by_itself = || fs::metadata(directory).is_ok_and(|it| it.mode() & 0o2000 != 0 && it.gid() == gid);
        if rustix::process::geteuid().is_root() || is_ours || comes_by_itself() {
            return Ok(());
        }
        let problem = format!("it is of the group {gid}, which is none of yours, and that could not be kept");
        Err(EditError::new(
            &self.path,
            problem,
            format!("chgrp \"$(id -g)\" {}; or do it as root", self.path.display()),
        ))
    }

    /// The directory, and the name that the new file has for a moment.
    fn beside(&self) -> (PathBuf, PathBuf) {
        let directory = self.path.parent().unwrap_or(Path::new("/")).to_owned();
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let new = directory.join(format!(".{}.rekeyd", name.trim_start_matches('.')));
        (directory, new)
    }

    /// Owner, mode and attributes. The owner first: a change of it takes set-user-ID bits away.
    fn dress(&self, new: &File) -> Result<(), EditError> {
        let (uid, gid) = (self.stat.uid(), self.stat.gid());
        let is = new.metadata().map_err(|error| EditError::io(&self.path, "look at the new file", error))?;
        if (is.uid(), is.gid()) != (uid, gid) {
            std::os::unix::fs::fchown(new, Some(uid), Some(gid)).map_err(|_| {
                let problem = format!("its owner {uid}:{gid} would change");
                EditError::new(&self.path, problem, "do it as that user, or as root")
            })?;
        }
        self.attributes(new).map_err(|error| EditError::io(&self.path, "keep its extended attributes", error))?;
        let mode = Mode::from_raw_mode(self.stat.mode() & 0o7777);
        rustix::fs::fchmod(new, mode).map_err(|error| EditError::io(&self.path, "set the new file's mode", error))
    }

    /// Access lists are among them: acl(5).
    fn attributes(&self, new: &File) -> Result<(), Errno> {
        let mut names = vec![0; 64 * 1024];
        let length = match rustix::fs::flistxattr(&self.file, &mut names) {
            Err(Errno::NOTSUP) => return Ok(()),
            length => length?,
        };
        // The directory may have given it an access list (acl(5), default ACL) that the file never had.
        match rustix::fs::fremovexattr(new, ACCESS_LIST) {
            Ok(()) | Err(Errno::NODATA | Errno::NOTSUP) => {}
            removed => return removed,
        }
        for name in names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
            let mut value = vec![0; 64 * 1024];
            let length = rustix::fs::fgetxattr(&self.file, name, &mut value)?;
            let set = rustix::fs::fsetxattr(new, name, &value[..length], XattrFlags::empty());
            // A label of a security module is set by its policy where it may not be set by hand.
            if set.is_err() && !name.starts_with(b"security.") {
                return set;
            }
        }
        Ok(())
    }

    fn unchanged(&self) -> Result<(), EditError> {
        let is_same = Self::open(&self.path).is_ok_and(|now| {
            now.stat.ino() == self.stat.ino() && now.stat.dev() == self.stat.dev() && now.text == self.text
        });
        let advice = "try again, once nobody else writes it";
        if is_same { Ok(()) } else { Err(EditError::new(&self.path, "it was changed meanwhile", advice)) }
    }
}

/// Makes a file that nobody but its owner may read.
///
/// # Errors
/// Where it is there already, or cannot be made.
pub fn create(path: &Path, text: &[u8]) -> Result<(), EditError> {
    let failed = |error: std::io::Error| EditError::io(path, "make it", error);
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let path = &fs::canonicalize(directory).map_err(failed)?.join(path.file_name().unwrap_or_default());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR);
    let mut file = File::from(opened.map_err(|error| failed(error.into()))?);
    let written = file.write_all(text).and_then(|()| file.sync_all()).map_err(failed);
    let synced =
        || super::files::sync_parent(path).map_err(|error| EditError::new(path, error.to_string(), "try again"));
    // A part of it would be in the way of the next try, and read as if it were all.
    written.and_then(|()| synced()).inspect_err(|_| drop(remove(path)))
}

/// What keeps a file in its place, and what to do about it.
fn kept_there(has: StatxAttributes) -> Option<(&'static str, &'static str)> {
    if has.intersects(StatxAttributes::IMMUTABLE | StatxAttributes::APPEND) {
        return Some(("it is immutable", "chattr -i -a it, if it is meant to be changed"));
    }
    // Nothing can be put in the place of such a one: rename(2), EBUSY.
    has.contains(StatxAttributes::MOUNT_ROOT).then_some(("it is a mount of its own, and cannot be replaced", MOUNTED))
}

/// Whether it came to be ours alone. Whoever may read a directory may lock it and need not let go, and must not keep us from
/// the file: that nobody has changed it meanwhile is seen before it is replaced.
fn lock_alone(directory: &File) -> Result<bool, Errno> {
    let until = Instant::now() + LOCKED;
    loop {
        match rustix::fs::flock(directory, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if Instant::now() < until => std::thread::sleep(LOCKED / 100),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            locked => return locked.map(|()| true),
        }
    }
}

/// A file that has no name yet, so that a kill leaves nothing behind; with its name, where the file system cannot have
/// such: open(2), `O_TMPFILE`.
fn unnamed(directory: &Path, name: &Path) -> Result<(File, bool), Errno> {
    let mode = Mode::RUSR | Mode::WUSR;
    match rustix::fs::open(directory, OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC, mode) {
        Ok(file) => Ok((file.into(), false)),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT) => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            rustix::fs::open(name, flags, mode).map(|file| (file.into(), true))
        }
        Err(error) => Err(error),
    }
}

fn remove(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
