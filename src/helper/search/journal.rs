//! The journal, which has most of what is long compressed: journalctl(1) reads it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read as _};
use std::process::{Command, Stdio};

use zeroize::Zeroizing;

use super::Search;
use crate::record::leak::Spot;
use crate::rotation::Generation;
use crate::secret::Form;

const JOURNALCTL: &str = "/usr/bin/journalctl";
/// An entry is rarely larger; one that is, is looked at in parts.
const LARGEST: usize = 1 << 20;

/// What was found of one unit: how many entries, and when the last one was written.
type Of = BTreeMap<(String, Generation, Form), (u64, i64)>;

impl Search {
    pub(super) fn journal(&mut self) {
        if !self.has_time(&|| "the journal".to_owned()) {
            return;
        }
        // `--all` is for people: exported, every field is whole.
        let child = Command::new(JOURNALCTL)
            .args(["--quiet", "--no-pager", "--output=export"])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let Ok(mut child) = child else {
            self.searched.extent.unreadable += 1;
            return;
        };
        let mut of = Of::new();
        if let Some(stdout) = child.stdout.take() {
            self.entries(&mut BufReader::with_capacity(256 * 1024, stdout), &mut of);
        }
        let _ = child.kill().and_then(|()| child.wait());
        for ((unit, generation, form), (entries, last_us)) in of {
            let unit = self.shown(&unit);
            let readers = "root and the groups adm and systemd-journal".to_owned();
            self.note(generation, form, Spot::Journal { unit, entries, last_us }, readers);
        }
    }

    /// Entries are lines of fields, with an empty one between two of them.
    fn entries(&mut self, stream: &mut impl BufRead, of: &mut Of) {
        let mut entry = Zeroizing::new(Vec::with_capacity(2 * LARGEST));
        loop {
            let before = entry.len();
            let room = (2 * LARGEST - before) as u64;
            let Ok(count) = stream.by_ref().take(room).read_until(b'\n', &mut entry) else { return };
            let is_over = count == 0 || entry[before..] == *b"\n";
            if is_over || entry.len() >= LARGEST {
                self.entry(&entry, of);
                self.searched.extent.entries += u64::from(is_over && count > 0);
                entry.clear();
            }
            if count == 0 || (is_over && !self.has_time(&|| "the journal".to_owned())) {
                return;
            }
        }
    }

    fn entry(&self, entry: &[u8], of: &mut Of) {
        let mut found: Vec<(Generation, Form)> =
            self.needles.find(entry).map(|(_, needle)| (needle.generation, needle.form)).collect();
        found.sort();
        found.dedup();
        for (generation, form) in found {
            let unit = field(entry, "_SYSTEMD_UNIT").or_else(|| field(entry, "SYSLOG_IDENTIFIER")).unwrap_or_default();
            let at: i64 = field(entry, "__REALTIME_TIMESTAMP").and_then(|text| text.parse().ok()).unwrap_or_default();
            let (entries, last) = of.entry((unit, generation, form)).or_default();
            (*entries, *last) = (*entries + 1, at.max(*last));
        }
    }
}

/// A field of one line.
fn field(entry: &[u8], name: &str) -> Option<String> {
    let line =
        entry.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    line.map(|value| String::from_utf8_lossy(value).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helper::search::LONGEST;
    use crate::helper::search::needles::{Needle, Needles};

    #[test]
    fn entries_are_counted_by_their_unit() {
        let text = Zeroizing::new(b"s3cr3t-value".to_vec());
        let needle = Needle { generation: Generation(1), form: Form::Plain, text };
        let mut search = Search::new(Needles::new(vec![needle]), LONGEST);
        let export = "__REALTIME_TIMESTAMP=5\n_SYSTEMD_UNIT=a.service\nMESSAGE=s3cr3t-value s3cr3t-value\n\n\
                      __REALTIME_TIMESTAMP=9\n_SYSTEMD_UNIT=a.service\nMESSAGE=x\n_CMDLINE=x s3cr3t-value\n\n\
                      __REALTIME_TIMESTAMP=7\nSYSLOG_IDENTIFIER=su\nMESSAGE=s3cr3t-value\n\nMESSAGE=other\n\n";
        let mut of = Of::new();
        search.entries(&mut export.as_bytes(), &mut of);
        let told: Vec<_> = of.into_iter().map(|((unit, ..), (entries, last))| (unit, entries, last)).collect();
        assert_eq!(told, [("a.service".to_owned(), 2, 9), ("su".to_owned(), 1, 7)]);
        assert_eq!(search.searched.extent.entries, 4);
    }
}
