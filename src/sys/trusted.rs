//! Whether the way to a path is its owner's, or root's: every directory, and every link that is followed.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// So many links are followed, as path_resolution(7) says of the kernel.
const LINKS: u32 = 40;
const STICKY: u32 = 0o1000;

/// What somebody else has a say in, on the way to a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// The directory, link or file.
    pub place: PathBuf,
    why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// It is another user's.
    Owner,
    /// Everybody may put something else in it.
    Everybody,
    /// A link, that a group may put another one in the place of.
    Group(u32),
    /// A program that a group may write.
    Shared(u32),
}

impl Doubt {
    /// What to do about it.
    pub fn advice(&self) -> String {
        let (place, directory) = (self.place.display(), self.place.parent().unwrap_or(Path::new("/")).display());
        match self.why {
            Why::Owner => "give the file to the owner of its directory, or the directory to root".to_owned(),
            Why::Everybody => format!("chmod o-w {place}"),
            Why::Group(_) => format!("chmod g-w {directory}; or name the path without the link"),
            Why::Shared(_) => format!("chmod go-w {place}"),
        }
    }

    /// How others can change a program, in words of its own.
    pub fn how(&self) -> String {
        match self.why {
            Why::Owner => format!("{} is another user's", self.place.display()),
            _ => self.to_string(),
        }
    }

    /// What to do about that.
    pub fn remedy(&self) -> String {
        let place = self.place.display();
        match self.why {
            Why::Owner if self.place.is_symlink() => format!("chown -h root:root {place}"),
            Why::Owner if self.place.is_dir() => {
                "put it where root alone can change it, such as /usr/local/sbin".to_owned()
            }
            Why::Owner => format!("chown root:root {place}"),
            Why::Everybody => format!("chmod go-w {place}"),
            Why::Group(_) | Why::Shared(_) => self.advice(),
        }
    }
}

impl fmt::Display for Doubt {
    /// What is the matter, to follow on «is root's, and on the way to it».
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place.display();
        match self.why {
            Why::Owner => write!(f, "{place} is not"),
            Why::Everybody => write!(f, "everybody may write {place}"),
            Why::Group(gid) => write!(f, "the group {gid} may replace the link {place}"),
            Why::Shared(gid) => write!(f, "the group {gid} may write {place}"),
        }
    }
}

/// What on the way to a path, or there, others than root and `owner` have a say in: a directory or a link that is theirs, a
/// directory that everybody may write, or a link in one that a group may write which is not the file's own. What cannot be
/// looked at is left to whoever opens it.
pub fn doubt(path: &Path, owner: u32) -> Option<Doubt> {
    let path = std::path::absolute(path).ok()?;
    let groups = [0, fs::metadata(&path).map_or(0, |stat| stat.gid())];
    let mut at = PathBuf::from("/");
    let mut ahead: VecDeque<OsString> = names(&path).collect();
    let mut links = 0;
    while let Some(name) = ahead.pop_front() {
        let Ok(directory) = fs::symlink_metadata(&at) else { return None };
        if let Some(why) = of_another(&directory, owner).or_else(|| for_everybody(&directory)) {
            return Some(Doubt { place: at, why });
        }
        if name == ".." {
            at.pop();
            continue;
        }
        let place = at.join(name);
        let Ok(stat) = fs::symlink_metadata(&place) else { return None };
        if let Some(why) = of_another(&stat, owner) {
            return Some(Doubt { place, why });
        }
        if !stat.is_symlink() {
            at = place;
            continue;
        }
        if directory.mode() & (STICKY | 0o020) == 0o020 && !groups.contains(&directory.gid()) {
            return Some(Doubt { place, why: Why::Group(directory.gid()) });
        }
        links += 1;
        let Ok(target) = fs::read_link(&place) else { return None };
        if links > LINKS {
            return None;
        }
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        names(&target).rev().for_each(|name| ahead.push_front(name));
    }
    None
}

/// What others than root and `owner`, who runs it, can change of a program: it itself, or the way to it.
pub fn program(path: &Path, owner: u32) -> Option<Doubt> {
    doubt(path, owner).or_else(|| {
        let place = fs::canonicalize(path).ok()?;
        let stat = fs::metadata(&place).ok()?;
        // A group that has a user's number is that user's own.
        let is_shared = stat.mode() & 0o020 != 0 && ![0, owner].contains(&stat.gid());
        let why = match stat.mode() & 0o002 {
            0 if is_shared => Why::Shared(stat.gid()),
            0 => return None,
            _ => Why::Everybody,
        };
        Some(Doubt { place, why })
    })
}

/// The names in a path, `..` among them.
fn names(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    let is_name = |name: &&OsStr| !["", "/", "."].iter().any(|other| *name == OsStr::new(other));
    path.iter().filter(is_name).map(OsStr::to_owned).collect::<Vec<_>>().into_iter()
}

fn of_another(stat: &Metadata, owner: u32) -> Option<Why> {
    (![0, owner].contains(&stat.uid())).then_some(Why::Owner)
}

/// Where only owners may replace what is theirs, as in /tmp, the owner of each is what counts.
fn for_everybody(directory: &Metadata) -> Option<Why> {
    (directory.mode() & (STICKY | 0o002) == 0o002).then_some(Why::Everybody)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown, lchown, symlink};

    use super::*;

    const OWNER: u32 = 12345;
    const OTHER: u32 = 12346;

    /// A directory of the owner's with a file in it. Only root can give files away.
    fn home() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let home = dir.path().join("home");
        fs::create_dir(&home).unwrap();
        fs::write(home.join(".env"), "A=1\n").unwrap();
        for path in [home.clone(), home.join(".env")] {
            chown(path, Some(OWNER), Some(OWNER)).unwrap();
        }
        (dir, home)
    }

    fn said(path: &Path) -> Option<String> {
        doubt(path, OWNER).map(|doubt| doubt.to_string())
    }

    #[test]
    fn links_of_root_or_the_owner_are_followed_and_those_of_others_are_not() {
        let (dir, home) = home();
        let link = |name: &str, target: &Path, owner: u32| {
            let path = dir.path().join(name);
            symlink(target, &path).unwrap();
            lchown(&path, Some(owner), None).unwrap();
            path.join(".env")
        };
        assert_eq!(said(&home.join(".env")), None);
        assert_eq!(said(&link("of-root", &home, 0)), None);
        assert_eq!(said(&link("of-owner", Path::new("home/../home"), OWNER)), None);
        let theirs = link("theirs", &home, OTHER);
        let place = theirs.parent().unwrap().display().to_string();
        assert_eq!(said(&theirs), Some(format!("{place} is not")));
        assert_eq!(said(&link("by-way-of", Path::new("theirs"), 0)), Some(format!("{place} is not")));
        assert_eq!(said(&link("round", Path::new("round"), 0)), None);
    }

    #[test]
    fn what_others_may_replace_is_not_followed() {
        let (dir, home) = home();
        let shared = dir.path().join("shared");
        fs::create_dir(&shared).unwrap();
        symlink(&home, shared.join("link")).unwrap();
        let path = shared.join("link/.env");
        let with = |mode: u32, group: u32| {
            chown(&shared, Some(0), Some(group)).unwrap();
            fs::set_permissions(&shared, fs::Permissions::from_mode(mode)).unwrap();
            said(&path)
        };
        assert_eq!(with(0o755, 0), None);
        assert_eq!(with(0o1777, 0), None);
        assert_eq!(with(0o777, 0), Some(format!("everybody may write {}", shared.display())));
        assert_eq!(with(0o775, OWNER), None, "the group that the file is given to");
        let link = shared.join("link").display().to_string();
        assert_eq!(with(0o775, OTHER), Some(format!("the group {OTHER} may replace the link {link}")));
        assert_eq!(with(0o1775, OTHER), None);
    }
}
