//! Who may read a file, by its mode and by the directories on the way to it. Access lists are not looked at.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

/// The names of users and groups, as the files in /etc have them.
pub(super) struct Names {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Names {
    /// Reads them.
    pub fn read() -> Self {
        let read = |path: &str| named(&fs::read_to_string(path).unwrap_or_default());
        Self { users: read("/etc/passwd"), groups: read("/etc/group") }
    }

    /// The user of this number.
    pub fn user(&self, uid: u32) -> String {
        self.users.get(&uid).cloned().unwrap_or_else(|| format!("user {uid}"))
    }

    /// Who may read a file, to which everybody can come or not.
    pub fn of_file(&self, stat: &fs::Metadata, is_open: bool) -> String {
        let owner = self.user(stat.uid());
        let group = self.groups.get(&stat.gid()).cloned().unwrap_or_else(|| stat.gid().to_string());
        match stat.mode() {
            mode if mode & 0o004 != 0 && is_open => "everyone".to_owned(),
            mode if mode & 0o040 != 0 && stat.gid() != 0 => format!("{owner} and the group {group}"),
            _ => owner,
        }
    }
}

/// `name:x:number:…`: passwd(5), group(5).
fn named(text: &str) -> HashMap<u32, String> {
    let entry = |line: &str| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?.parse().ok()?);
        Some((number, name.to_owned()))
    };
    text.lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn everyone_may_read_only_where_everyone_can_come() {
        let names = Names { users: named("root:x:0:0::/root:/bin/sh\n"), groups: named("adm:x:4:me\n") };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "").unwrap();
        let readers = |mode: u32, is_open: bool| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            names.of_file(&fs::metadata(&path).unwrap(), is_open)
        };
        assert_eq!(readers(0o644, true), "everyone");
        assert_ne!(readers(0o644, false), "everyone");
        assert_ne!(readers(0o640, true), "everyone");
        assert_eq!(readers(0o600, true), names.user(fs::metadata(&path).unwrap().uid()));
        assert_eq!(names.user(0), "root");
    }
}
