//! Regular files below a directory, on its own file system alone.

use std::fs::{self, File};
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::Search;
use crate::record::leak::Spot;

/// What of a file is read.
const LARGEST: u64 = 16 << 20;
/// Of so many files it is told by name that they are larger, or cannot be read, and of so many directories that something is
/// mounted there.
const NAMED: usize = 20;
/// What has a way of its own, or is not what is stored: the journal is asked of journalctl(1).
const ELSEWHERE: [&str; 5] = ["/proc", "/sys", "/dev", "/var/log/journal", "/run/log/journal"];
/// What is compressed shows nothing of what is in it.
const COMPRESSED: [&str; 9] = ["gz", "xz", "zst", "bz2", "lz4", "zip", "tgz", "7z", "deb"];

/// A directory that is to be read.
struct Directory {
    path: PathBuf,
    /// Whether everybody can come so far.
    is_open: bool,
}

impl Search {
    /// Links are not followed: what they lead to is met where it is.
    pub(super) fn files(&mut self, root: &Path) {
        let Ok(stat) = fs::symlink_metadata(root) else { return };
        if stat.is_file() {
            return self.file(root, is_open_to(root.parent()));
        }
        if !stat.is_dir() {
            return;
        }
        let device = stat.dev();
        let mut left = vec![Directory { path: root.to_owned(), is_open: is_open_to(Some(root)) }];
        while let Some(Directory { path, is_open }) = left.pop() {
            if !self.has_time(&|| path.display().to_string()) {
                return;
            }
            let Ok(entries) = fs::read_dir(&path) else {
                self.is_unreadable(&path);
                continue;
            };
            let mut entries: Vec<_> = entries.flatten().collect();
            entries.sort_by_key(|entry| entry.ino());
            for entry in entries {
                let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
                if kind.is_file() {
                    self.file(&path, is_open);
                } else if kind.is_dir() && !is_elsewhere(&path) {
                    left.extend(self.directory(path, is_open, device));
                }
            }
        }
    }

    fn directory(&mut self, path: PathBuf, is_open: bool, device: u64) -> Option<Directory> {
        let stat = fs::symlink_metadata(&path).ok()?;
        if stat.dev() != device {
            let mount = self.shown_path(&path);
            let mounts = &mut self.searched.extent.mounts;
            if mounts.len() < NAMED && !path.starts_with("/run") {
                mounts.push(mount);
            }
            return None;
        }
        Some(Directory { path, is_open: is_open && stat.mode() & 0o001 != 0 })
    }

    fn is_unreadable(&mut self, path: &Path) {
        let shown = self.shown_path(path);
        let extent = &mut self.searched.extent;
        extent.unreadable += 1;
        if extent.unreadable_at.len() < NAMED {
            extent.unreadable_at.push(shown);
        }
    }

    fn file(&mut self, path: &Path, is_open: bool) {
        if !self.has_time(&|| path.display().to_string()) {
            return;
        }
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
        let opened = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path);
        // It may have become something else since it was listed.
        let opened = opened.and_then(|file| file.metadata().map(|stat| (file, stat)));
        let Ok((file, stat)) = opened else {
            self.is_unreadable(path);
            return;
        };
        if !stat.is_file() || is_of_the_kernel(&file) {
            return;
        }
        if path.extension().is_some_and(|extension| COMPRESSED.iter().any(|of| extension == *of)) {
            self.searched.extent.compressed += 1;
            return;
        }
        let Ok(found) = self.read(file, LARGEST) else {
            self.is_unreadable(path);
            return;
        };
        self.searched.extent.files += 1;
        if found.is_cut && self.searched.extent.cut.len() < NAMED && stat.size() > LARGEST {
            let path = self.shown_path(path);
            self.searched.extent.cut.push(path);
        }
        for ((generation, form), lines) in found.what {
            let readers = self.names.of_file(&stat, is_open);
            self.note(generation, form, Spot::File { path: self.shown_path(path), lines }, readers);
        }
    }
}

/// A file of the kernel's own, of which a read may never end: a directory may have been exchanged for a link to there.
fn is_of_the_kernel(file: &File) -> bool {
    // proc, sysfs, debugfs, tracefs, cgroup, cgroup2: statfs(2).
    let is_one = |kind| matches!(kind, 0x9fa0 | 0x6265_6572 | 0x6462_6720 | 0x7472_6163 | 0x0027_e0eb | 0x6367_7270);
    rustix::fs::fstatfs(file).is_ok_and(|of| is_one(of.f_type))
}

fn is_elsewhere(path: &Path) -> bool {
    let is_of_git = path.ends_with(".git/objects") || path.ends_with("objects/pack");
    is_of_git || ELSEWHERE.iter().any(|elsewhere| path == Path::new(elsewhere))
}

/// Whether everybody can go into all directories down to this one.
fn is_open_to(directory: Option<&Path>) -> bool {
    let is_open = |path: &Path| fs::metadata(path).is_ok_and(|stat| stat.mode() & 0o001 != 0);
    directory.is_some_and(|directory| directory.ancestors().all(is_open))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use zeroize::Zeroizing;

    use super::*;
    use crate::helper::search::LONGEST;
    use crate::helper::search::needles::{Needle, Needles};
    use crate::rotation::Generation;
    use crate::secret::Form;

    fn search(limit: std::time::Duration) -> Search {
        let text = Zeroizing::new(b"s3cr3t-value".to_vec());
        Search::new(Needles::new(vec![Needle { generation: Generation(1), form: Form::Plain, text }]), limit)
    }

    #[test]
    fn files_are_found_by_what_is_in_them_and_told_without_it() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x\ns3cr3t-value").unwrap();
        };
        ["a/.env", "s3cr3t-value/b", "x.gz", ".git/objects/ab/c", ".git/config"].into_iter().for_each(put);
        symlink("a", dir.path().join("link")).unwrap();
        symlink("a/.env", dir.path().join("other")).unwrap();
        let mut search = search(LONGEST);
        search.files(dir.path());
        let mut told: Vec<String> = search.searched.found.iter().map(|seen| seen.spot.to_string()).collect();
        told.sort();
        let wanted = ["(a name that has the value in it)/b:2", ".git/config:2", "a/.env:2"];
        assert_eq!(told, wanted.map(|name| format!("{}/{name}", dir.path().display())));
        assert_eq!((search.searched.extent.files, search.searched.extent.compressed), (3, 1));
        assert_eq!(search.searched.extent.stopped_at, None);
    }

    #[test]
    fn where_the_time_is_over_it_is_said_where() {
        let dir = tempfile::tempdir().unwrap();
        let mut search = search(std::time::Duration::ZERO);
        search.files(dir.path());
        assert_eq!(search.searched.extent.stopped_at, Some(dir.path().display().to_string()));
    }

    #[test]
    fn what_the_kernel_makes_up_is_no_file() {
        assert!(is_of_the_kernel(&File::open("/proc/self/status").unwrap()));
        assert!(!is_of_the_kernel(&File::open("/etc/passwd").unwrap()));
    }
}
