//! Where the configuration's files are, which of them count, and whether they can be trusted.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, Stat, fstat, major, minor, openat, readlinkat, stat};
use rustix::io::Errno;

use super::findings::{Finding, Severity, printable};
use super::source::Source;

/// The largest file that is read.
const LARGEST: usize = 1 << 20;

/// The directories of the configuration, the strongest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dirs {
    /// The administrator's.
    pub etc: PathBuf,
    /// The running system's.
    pub run: PathBuf,
    /// The packages'.
    pub usr: PathBuf,
}

impl Default for Dirs {
    fn default() -> Self {
        Self::under(Path::new("/"))
    }
}

impl Dirs {
    /// The directories under another root.
    pub fn under(root: &Path) -> Self {
        Self { etc: root.join("etc/rekeyd"), run: root.join("run/rekeyd"), usr: root.join("usr/lib/rekeyd") }
    }

    /// `rekeyd.toml`: the administrator's, else the packages'.
    pub(super) fn daemon_file(&self, findings: &mut Vec<Finding>) -> Option<Source> {
        let name = c"rekeyd.toml";
        for path in [&self.etc, &self.usr] {
            if let Some(dir) = Directory::open(path, findings) {
                match dir.read(name, true) {
                    // An empty one leaves all as it is by default.
                    Ok(source) => return source,
                    Err(Unread::Absent) => {}
                    Err(Unread::Refused(finding)) => {
                        findings.push(*finding);
                        return None;
                    }
                }
            }
        }
        None
    }

    /// Whether there is a file that configures a secret of this name, be it in force or not.
    pub fn has_secret(&self, name: &super::SecretName) -> bool {
        [&self.etc, &self.run, &self.usr]
            .iter()
            .any(|dir| dir.join("secrets.d").join(format!("{name}.toml")).symlink_metadata().is_ok())
    }

    /// The files of `secrets.d`, by name, each read when it is asked for; of several with the same name the strongest
    /// counts, and none where that one is a link to /dev/null. One that is empty or a link that leads nowhere is a mistake:
    /// it was hardly meant to end a secret's rotations.
    pub(super) fn secret_files(
        &self,
        findings: &mut Vec<Finding>,
    ) -> impl Iterator<Item = Result<Source, Box<Finding>>> + use<> {
        let dirs: Vec<Rc<Directory>> = [&self.etc, &self.run, &self.usr]
            .into_iter()
            .filter_map(|dir| Directory::open(&dir.join("secrets.d"), findings).map(Rc::new))
            .collect();
        let mut files: BTreeMap<CString, (Rc<Directory>, bool)> = BTreeMap::new();
        for dir in &dirs {
            for (name, may_be_link) in dir.list(findings) {
                files.entry(name).or_insert_with(|| (dir.clone(), may_be_link));
            }
        }
        files.into_iter().filter_map(|(name, (dir, may_be_link))| match dir.read(&name, may_be_link) {
            Ok(Some(source)) if source.text.is_empty() => {
                let file = printable(&source.path);
                let advice = format!("write it again, remove it, or hide the secret: ln -sf /dev/null {file}");
                Some(Err(Box::new(whole(&source.path, "the file is empty", advice))))
            }
            Ok(source) => source.map(Ok),
            // It was removed since the directory was listed.
            Err(Unread::Absent) => None,
            Err(Unread::Refused(finding)) => Some(Err(finding)),
        })
    }
}

/// Reads a file that somebody wants checked: any that they may read, whoever owns it.
pub(super) fn read_untrusted(path: &Path) -> Result<Source, Box<Finding>> {
    let advice = "name a readable file";
    let refuse = |error: std::io::Error| {
        let why = match error.kind() {
            ErrorKind::NotFound => "there is no such file".to_owned(),
            ErrorKind::IsADirectory => "this is a directory".to_owned(),
            _ => format!("cannot be read: {error}"),
        };
        Box::new(whole(path, why, advice))
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(refuse)?;
    std::io::Read::read_to_end(&mut std::io::Read::take(file, LARGEST as u64 + 1), &mut bytes).map_err(refuse)?;
    if bytes.len() > LARGEST {
        return Err(Box::new(too_large(path)));
    }
    Ok(Source::new(path.to_owned(), bytes))
}

/// An error about a file as a whole.
pub(super) fn whole(path: &Path, message: impl AsRef<str>, advice: impl AsRef<str>) -> Finding {
    Finding::new(Severity::Error, path, None, message, advice)
}

/// Why there is nothing to read.
enum Unread {
    /// There is no such file.
    Absent,
    /// There is one, but it cannot be used.
    Refused(Box<Finding>),
}

impl Unread {
    fn refused(path: &Path, message: impl AsRef<str>, advice: impl AsRef<str>) -> Self {
        Self::Refused(Box::new(whole(path, message, advice)))
    }
}

/// A directory that was opened. One that cannot be trusted still hides what weaker ones have, but is not read.
struct Directory {
    path: PathBuf,
    handle: OwnedFd,
    is_trusted: bool,
}

impl Directory {
    fn open(path: &Path, findings: &mut Vec<Finding>) -> Option<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = match openat(CWD, path, flags, Mode::empty()) {
            Ok(handle) => handle,
            Err(Errno::NOENT) => return None,
            Err(error) => {
                let message = format!("the directory cannot be read: {}", std::io::Error::from(error));
                findings.push(whole(path, message, "make it a directory that root can read"));
                return None;
            }
        };
        let trust = distrust_of_way(path, Some(&handle));
        let is_trusted = trust.is_none();
        if let Some(finding) = trust.filter(|finding| !findings.contains(finding)) {
            findings.push(finding);
        }
        Some(Self { path: path.to_owned(), handle, is_trusted })
    }

    fn list(&self, findings: &mut Vec<Finding>) -> Vec<(CString, bool)> {
        let mut names = Vec::new();
        let entries = match Dir::read_from(&self.handle) {
            Ok(entries) => entries,
            Err(error) => {
                let message = format!("the directory cannot be listed: {}", std::io::Error::from(error));
                findings.push(whole(&self.path, message, "check the file system"));
                return names;
            }
        };
        for entry in entries {
            let Ok(entry) = entry else { break };
            let name = entry.file_name();
            let bytes = name.to_bytes();
            if bytes.ends_with(b".toml") && !bytes.starts_with(b".") {
                let may_be_link = matches!(entry.file_type(), FileType::Symlink | FileType::Unknown);
                names.push((name.to_owned(), may_be_link));
            }
        }
        names
    }

    /// The file `name`; `None` where it masks.
    fn read(&self, name: &CStr, may_be_link: bool) -> Result<Option<Source>, Unread> {
        if !self.is_trusted {
            return Ok(None);
        }
        let path = || self.path.join(std::ffi::OsStr::from_bytes(name.to_bytes()));
        let io = |error: Errno| match error {
            Errno::NOENT => self.dangling(name, &path()).unwrap_or(Unread::Absent),
            error => Unread::refused(
                &path(),
                format!("cannot be read: {}", std::io::Error::from(error)),
                "mend or remove it",
            ),
        };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = openat(&self.handle, name, flags, Mode::empty()).map_err(io)?;
        let status = fstat(&file).map_err(io)?;
        if is_null_device(&status) {
            return Ok(None);
        }
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
            return Err(Unread::refused(&path(), "this is not a regular file", "replace it by one, or remove it"));
        }
        if let Some(finding) = distrust(&path, &status, false) {
            return Err(Unread::Refused(Box::new(finding)));
        }
        if may_be_link {
            let real = std::fs::canonicalize(path()).unwrap_or_else(|_| path());
            if let Some(finding) = real.parent().and_then(|parent| distrust_of_way(parent, None)) {
                return Err(Unread::Refused(Box::new(finding)));
            }
        }
        let bytes = contents(&file, &status).map_err(io)?;
        if bytes.len() > LARGEST {
            return Err(Unread::Refused(Box::new(too_large(&path()))));
        }
        Ok(Some(Source::new(path(), bytes)))
    }

    /// What is wrong with a link that leads nowhere; `None` where it is no link.
    fn dangling(&self, name: &CStr, path: &Path) -> Option<Unread> {
        let target = readlinkat(&self.handle, name, Vec::new()).ok()?;
        let target = printable(Path::new(std::ffi::OsStr::from_bytes(target.to_bytes())));
        let link = printable(path);
        Some(Unread::refused(
            path,
            format!("is a link to {target}, which leads to no file"),
            format!("put that file back, mend or remove the link, or hide what it configures: ln -sf /dev/null {link}"),
        ))
    }
}

fn contents(file: &OwnedFd, status: &Stat) -> Result<Vec<u8>, Errno> {
    let expected = usize::try_from(status.st_size).unwrap_or(LARGEST).min(LARGEST);
    let mut bytes = vec![0; expected + 1];
    let mut filled = 0;
    loop {
        let room = bytes.len() - filled;
        let read = rustix::io::read(file, &mut bytes[filled..])?;
        filled += read;
        if read < room || filled > LARGEST {
            bytes.truncate(filled);
            return Ok(bytes);
        }
        bytes.resize((bytes.len() * 2).min(LARGEST + 1), 0);
    }
}

/// Why a directory or one above it cannot be trusted, links resolved: somebody else could put other files there.
fn distrust_of_way(path: &Path, handle: Option<&OwnedFd>) -> Option<Finding> {
    if let Some(Ok(status)) = handle.map(fstat)
        && let Some(finding) = distrust(&|| path.to_owned(), &status, false)
    {
        return Some(finding);
    }
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    real.ancestors().skip(usize::from(handle.is_some())).find_map(|above| {
        let status = stat(above).ok()?;
        distrust(&|| above.to_owned(), &status, true)
    })
}

/// Why a file or directory cannot be trusted: its owner, or who may write it. Above the directory that is meant, a
/// sticky one is safe enough: what is ours in it cannot be replaced by others.
fn distrust(path: &dyn Fn() -> PathBuf, status: &Stat, sticky_is_fine: bool) -> Option<Finding> {
    let mode = Mode::from_raw_mode(status.st_mode);
    if status.st_uid != 0 && status.st_uid != rustix::process::geteuid().as_raw() {
        let path = path();
        let message = format!("belongs to user {}: whoever that is could have secrets rotated", status.st_uid);
        return Some(whole(&path, message, format!("chown root:root {}", printable(&path))));
    }
    if mode.intersects(Mode::WGRP | Mode::WOTH) && !(sticky_is_fine && mode.contains(Mode::SVTX)) {
        let path = path();
        let who = if mode.contains(Mode::WOTH) { "everybody" } else { "its group" };
        return Some(whole(&path, format!("can be changed by {who}"), format!("chmod go-w {}", printable(&path))));
    }
    None
}

fn is_null_device(status: &Stat) -> bool {
    FileType::from_raw_mode(status.st_mode) == FileType::CharacterDevice
        && (major(status.st_rdev), minor(status.st_rdev)) == (1, 3)
}

fn too_large(path: &Path) -> Finding {
    whole(path, "is larger than 1 MiB", "this is not a configuration: remove it")
}
