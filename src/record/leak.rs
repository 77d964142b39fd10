//! Where on this host a value was found, and the words for it. Pure.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::rotation::Generation;
use crate::secret::{Fingerprint, Form};

/// A place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Spot {
    /// A regular file.
    File {
        /// Its path.
        path: String,
        /// The first lines that have it, from 1; none where the file is no text.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        lines: Vec<u64>,
    },
    /// The environment of a process.
    Environment {
        /// Its number.
        pid: u32,
        /// Its name.
        comm: String,
        /// Its control group.
        group: String,
    },
    /// The arguments of a process.
    Arguments {
        /// Its number.
        pid: u32,
        /// Its name.
        comm: String,
    },
    /// The journal.
    Journal {
        /// The unit of the entries, or who wrote them; empty where that is not said.
        unit: String,
        /// How many of them have it.
        entries: u64,
        /// When the last of them was written, in microseconds since 1970; 0 where that is not said.
        last_us: i64,
    },
}

/// A value at a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// Whose value.
    pub generation: Generation,
    /// How it is written there.
    pub form: Form,
    /// Where.
    pub spot: Spot,
    /// Who may read it there.
    pub readers: String,
}

/// The same, with what rekeyd makes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leak {
    /// What was seen.
    #[serde(flatten)]
    pub seen: Sighting,
    /// The value's fingerprint.
    pub fingerprint: Option<Fingerprint>,
    /// What rekeyd has to do with the place; none where it has nothing.
    pub ours: Option<String>,
    /// Whether the value belongs there.
    pub expected: bool,
}

/// How far a search came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// Files that were read.
    pub files: u64,
    /// Processes that were looked at.
    pub processes: u64,
    /// Entries of the journal that were read.
    pub entries: u64,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// Files of which only the beginning was read.
    pub cut: Vec<String>,
    /// Files that are compressed: what is in them was not seen.
    pub compressed: u64,
    /// Files and directories that could not be read.
    pub unreadable: u64,
    /// The first of them, but for entries of the journal.
    #[serde(default)]
    pub unreadable_at: Vec<String>,
    /// Directories on which another file system is mounted: it was not searched.
    pub mounts: Vec<String>,
    /// Where the time was over; none where all was searched.
    pub stopped_at: Option<String>,
    /// Whether there were more places than are told.
    pub is_crowded: bool,
}

/// What a search for the values of a secret came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaks {
    /// The secret.
    pub secret: String,
    /// The generations that were searched for.
    pub generations: Vec<Generation>,
    /// Those whose value is too short to be told from a word.
    pub too_short: Vec<Generation>,
    /// Where they were found.
    pub leaks: Vec<Leak>,
    /// The directories that were searched with all below them.
    #[serde(default)]
    pub roots: Vec<String>,
    /// What was searched.
    pub extent: Extent,
}

impl Leaks {
    /// Those where no value belongs.
    pub fn unexpected(&self) -> impl Iterator<Item = &Leak> {
        self.leaks.iter().filter(|leak| !leak.expected)
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, lines } if lines.is_empty() => f.write_str(path),
            Self::File { path, lines } => {
                let lines: Vec<String> = lines.iter().map(u64::to_string).collect();
                write!(f, "{path}:{}", lines.join(","))
            }
            Self::Environment { pid, comm, .. } => write!(f, "the environment of process {pid} ({comm})"),
            Self::Arguments { pid, comm } => write!(f, "the arguments of process {pid} ({comm})"),
            Self::Journal { unit, entries, last_us } => {
                let of = if unit.is_empty() { String::new() } else { format!(" of {unit}") };
                let word = if *entries == 1 { "entry" } else { "entries" };
                write!(f, "the journal, {entries} {word}{of}")?;
                match Timestamp::from_microsecond(*last_us) {
                    Ok(last) if *last_us > 0 => write!(f, ", the last of {last:.0}"),
                    _ => Ok(()),
                }
            }
        }
    }
}

/// A place where a value was found, in a line.
pub fn line(leak: &Leak) -> String {
    let Leak { seen: Sighting { generation, form, spot, readers }, fingerprint, ours, expected } = leak;
    let mark = if *expected { "✓" } else { "✗" };
    let fingerprint = fingerprint.as_ref().map_or_else(String::new, |of| format!(" (fingerprint {of})"));
    let form = if *form == Form::Plain { String::new() } else { format!(" {form}") };
    let ours = match (ours, expected) {
        (Some(ours), true) => format!("; {ours}"),
        (Some(ours), false) => format!("; {ours}, and this generation is not in force"),
        (None, _) => String::new(),
    };
    format!("{mark} {spot}: generation {generation}{fingerprint}{form}; readable by {readers}{ours}")
}

/// What was not searched, a line each.
pub fn limits(extent: &Extent) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(at) = &extent.stopped_at {
        lines.push(format!("! the time was over at {at}: what comes after it was not searched"));
    }
    if extent.is_crowded {
        lines.push("! there are more places than these: remove some, and search again".to_owned());
    }
    lines.extend(extent.cut.iter().map(|path| format!("! {path} is large: only its beginning was read")));
    if extent.unreadable > 0 {
        let some = if extent.unreadable_at.is_empty() { "" } else { ", such as " };
        let at = extent.unreadable_at.join(", ");
        lines.push(format!("! {} files or directories could not be read{some}{at}", extent.unreadable));
    }
    if !extent.mounts.is_empty() {
        lines.push(format!("· not searched: other file systems, at {}", extent.mounts.join(", ")));
    }
    let compressed =
        if extent.compressed > 0 { format!("{} compressed files, ", extent.compressed) } else { String::new() };
    lines.push(format!("· not searched: {compressed}the objects of git, memory, backups elsewhere"));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leak(spot: Spot, ours: Option<&str>, expected: bool) -> String {
        let seen = Sighting { generation: Generation(2), form: Form::Base64, spot, readers: "everyone".to_owned() };
        line(&Leak { seen, fingerprint: None, ours: ours.map(str::to_owned), expected })
    }

    #[test]
    fn a_place_is_told_in_a_line() {
        let file = |lines| Spot::File { path: "/a".to_owned(), lines };
        assert_eq!(leak(file(vec![3, 9]), None, false), "✗ /a:3,9: generation 2 as base64; readable by everyone");
        let ours = leak(file(Vec::new()), Some("the file of the target"), false);
        assert!(ours.ends_with("; the file of the target, and this generation is not in force"), "{ours}");
        let journal = Spot::Journal { unit: "a.service".to_owned(), entries: 2, last_us: 1_000_000 };
        let told = leak(journal, None, false);
        assert!(told.contains("the journal, 2 entries of a.service, the last of 1970-01-01T00:00:01Z"), "{told}");
        assert!(leak(file(Vec::new()), Some("x"), true).starts_with('✓'));
    }

    #[test]
    fn what_was_not_searched_is_said() {
        let extent = Extent { stopped_at: Some("/home".to_owned()), cut: vec!["/big".to_owned()], ..Extent::default() };
        let told = limits(&extent).join("\n");
        assert!(
            told.contains("over at /home") && told.contains("/big is large") && told.contains("objects of git"),
            "{told}"
        );
    }
}
