//! The groups of a file's owner: a directory that root shares with a group lets them in by one of these.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// All groups of the owner, where one of them may count on the way to the file; else none, since to ask for them takes two
/// programs, and on some hosts a directory service. Root's own are not needed.
pub(super) fn that_count(path: &Path, owner: u32, gid: u32) -> Vec<u32> {
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let counts = |directory: &Path| {
        let stat = fs::metadata(directory);
        stat.is_ok_and(|stat| stat.uid() != owner && stat.gid() != gid && is_shared(stat.mode()))
    };
    let mut directories = path.ancestors().skip(1).chain(real.ancestors().skip(1));
    if owner == 0 || !directories.any(counts) {
        return Vec::new();
    }
    of(owner).unwrap_or_default()
}

/// Whether a group may do more than everybody.
fn is_shared(mode: u32) -> bool {
    (mode >> 3) & 0o7 & !mode != 0
}

/// As initgroups(3) takes them, by all sources of the host: getent(1). None of a user without a name.
fn of(uid: u32) -> Option<Vec<u32>> {
    let (name, gid) = entry(&said("passwd", &uid.to_string())?, uid)?;
    let others = said("initgroups", &name)?;
    Some(std::iter::once(gid).chain(numbers(&others, &name)).collect())
}

fn said(database: &str, key: &str) -> Option<String> {
    let ran = Command::new("/usr/bin/getent").args([database, "--", key]).env_clear().stdin(Stdio::null()).output();
    ran.ok().filter(|ran| ran.status.success()).map(|ran| String::from_utf8_lossy(&ran.stdout).into_owned())
}

/// Name and group in an entry of passwd(5), where it is that of the user.
fn entry(text: &str, uid: u32) -> Option<(String, u32)> {
    let fields: Vec<&str> = text.lines().next()?.split(':').collect();
    let [name, _, number, gid, ..] = fields[..] else { return None };
    (number.parse::<u32>() == Ok(uid)).then_some((name.to_owned(), gid.parse().ok()?))
}

/// The groups after a name.
fn numbers(text: &str, name: &str) -> Vec<u32> {
    let rest = text.lines().next().and_then(|line| line.strip_prefix(name)).unwrap_or_default();
    rest.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_read_as_getent_prints_them() {
        assert_eq!(entry("alice:x:1000:1001:A:/home/alice:/bin/sh\n", 1000), Some(("alice".to_owned(), 1001)));
        assert_eq!(entry("1000:x:7:7::/:/bin/sh\n", 1000), None, "somebody with that name");
        assert_eq!(entry("", 1000), None);
        assert_eq!(numbers("alice                 4 27 999\n", "alice"), [4, 27, 999]);
        assert!(numbers("alice\n", "alice").is_empty() && numbers("", "alice").is_empty());
    }

    #[test]
    fn a_group_counts_where_it_may_do_more_than_everybody() {
        for mode in [0o770, 0o750, 0o775, 0o2770, 0o771] {
            assert!(is_shared(mode), "{mode:o}");
        }
        for mode in [0o755, 0o700, 0o777, 0o1777, 0o711] {
            assert!(!is_shared(mode), "{mode:o}");
        }
    }

    #[test]
    fn nobody_is_asked_where_only_the_owner_and_the_files_group_count() {
        let dir = tempfile::tempdir().unwrap();
        let stat = fs::metadata(dir.path()).unwrap();
        assert!(that_count(&dir.path().join(".env"), stat.uid(), stat.gid()).is_empty());
    }
}
