//! Files in a directory of their own: what is kept, what is refused, what is left behind.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

fn dir(text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(".env");
    fs::write(&path, text).unwrap();
    (dir, path)
}

fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn a_file_keeps_its_mode_owner_and_attributes_and_leaves_nothing_beside_it() {
    let (dir, path) = dir("old");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::chown(&path, None, rustix::process::getgroups().unwrap().first().map(|gid| gid.as_raw()))
        .unwrap();
    let file = File::open(&path).unwrap();
    let has_attributes = rustix::fs::fsetxattr(&file, "user.note", b"kept", XattrFlags::empty()).is_ok();
    let before = file.metadata().unwrap();
    Original::open(&path).unwrap().replace(b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    let after = fs::metadata(&path).unwrap();
    assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
    if has_attributes {
        let mut value = [0; 16];
        let length = rustix::fs::getxattr(&path, "user.note", &mut value).unwrap();
        assert_eq!(&value[..length], b"kept");
    }
    assert_eq!(names(dir.path()), [".env"]);
}

#[test]
fn a_symbolic_link_stays_one() {
    let (dir, path) = dir("old");
    let link = dir.path().join("link");
    symlink(".env", &link).unwrap();
    Original::open(&link).unwrap().replace(b"new").unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read(&path).unwrap(), b"new");
}

#[test]
fn what_would_lose_something_is_refused() {
    let (dir, path) = dir("old");
    fs::hard_link(&path, dir.path().join("other")).unwrap();
    assert!(Original::open(&path).err().unwrap().to_string().contains("hard links"));
    assert!(Original::open(dir.path()).err().unwrap().to_string().contains("not a regular file"));
    assert!(Original::open(&dir.path().join("none")).err().unwrap().is_missing);
    let pipe = dir.path().join("pipe");
    rustix::fs::mknodat(CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
    assert!(Original::open(&pipe).is_err());
}

#[test]
fn what_somebody_else_wrote_meanwhile_stands() {
    let (dir, path) = dir("old");
    let original = Original::open(&path).unwrap();
    fs::write(&path, "theirs").unwrap();
    assert!(original.replace(b"new").unwrap_err().to_string().contains("changed meanwhile"));
    assert_eq!(fs::read(&path).unwrap(), b"theirs");
    assert_eq!(names(dir.path()), [".env"]);
}

#[test]
fn what_a_kill_left_behind_is_taken_away() {
    let (dir, path) = dir("old");
    let left = dir.path().join(".env.rekeyd");
    fs::write(&left, "left behind").unwrap();
    Original::open(&path).unwrap().replace(b"new").unwrap();
    assert_eq!(names(dir.path()), [".env"]);
    fs::write(&left, "left behind").unwrap();
    Original::open_alone(&path).unwrap();
    assert_eq!(names(dir.path()), [".env"], "where nothing is to be replaced");
}

#[test]
fn an_access_list_is_kept() {
    let (_dir, path) = dir("old");
    // Version 2; the owner, user 12345, the group, the mask and all others: acl(5), linux/posix_acl_xattr.h.
    let mut list = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in
        [(1u16, 6u16, u32::MAX), (2, 4, 12345), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)]
    {
        list.extend(tag.to_le_bytes().into_iter().chain(permissions.to_le_bytes()).chain(id.to_le_bytes()));
    }
    let name = "system.posix_acl_access";
    rustix::fs::setxattr(&path, name, &list, XattrFlags::empty()).expect("a file system with access lists");
    Original::open(&path).unwrap().replace(b"new").unwrap();
    let mut kept = [0; 64];
    let length = rustix::fs::getxattr(&path, name, &mut kept).unwrap();
    assert_eq!(kept[..length], list);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
}

#[test]
fn nobody_reads_a_part_of_a_file() {
    let (_dir, path) = dir(&"a".repeat(5000));
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut reads = 0;
                    while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                        let text = fs::read(&path).unwrap();
                        assert!(text.len() == 5000 && text.iter().all(|byte| *byte == text[0]), "{} bytes", text.len());
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        for letter in b'a'..=b'z' {
            for _ in 0..4 {
                Original::open(&path).unwrap().replace(&vec![letter; 5000]).unwrap();
            }
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(readers.into_iter().all(|reader| reader.join().unwrap() > 0));
    });
}

#[test]
fn a_new_file_is_its_owners_alone_and_never_takes_the_place_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(".env");
    create(&path, b"new").unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert!(create(&path, b"other").is_err());
    assert_eq!(fs::read(&path).unwrap(), b"new");
}

#[test]
fn a_file_that_is_a_mount_of_its_own_is_known_beforehand() {
    assert_eq!(kept_there(StatxAttributes::MOUNT_ROOT).map(|(_, advice)| advice), Some(MOUNTED));
    assert!(kept_there(StatxAttributes::IMMUTABLE).is_some() && kept_there(StatxAttributes::empty()).is_none());
    let (_dir, path) = dir("old");
    Original::open(&path).unwrap().check_replaceable().unwrap();
}

#[test]
fn of_changes_at_once_none_is_lost() {
    let (_dir, path) = dir("");
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let path = &path;
            scope.spawn(move || {
                for change in 0..25 {
                    let original = Original::open_alone(path).unwrap();
                    let line = format!("{writer} {change}\n");
                    original.replace(&[&original.text[..], line.as_bytes()].concat()).unwrap();
                }
            });
        }
    });
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 100);
}
