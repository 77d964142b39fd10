//! The environment and the arguments of every process.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use super::Search;
use crate::record::leak::Spot;

/// An environment is at most a quarter of the stack limit; this is generous.
const LARGEST: u64 = 16 << 20;

impl Search {
    pub(super) fn processes(&mut self) {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids: Vec<u32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        for pid in pids {
            if !self.has_time(&|| format!("process {pid}")) {
                return;
            }
            self.process(pid);
        }
    }

    /// One that ends meanwhile has nothing any more.
    fn process(&mut self, pid: u32) {
        let directory = PathBuf::from(format!("/proc/{pid}"));
        let Ok(stat) = fs::metadata(&directory) else { return };
        let text = |name: &str| fs::read(directory.join(name)).map(|text| String::from_utf8_lossy(&text).into_owned());
        let comm = self.shown(text("comm").unwrap_or_default().trim_end());
        let groups = text("cgroup").unwrap_or_default();
        // `0::/path` (v2), `1:name=systemd:/path` (v1): see cgroups(7).
        let group = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2)).max_by_key(|path| path.len());
        let group = self.shown(group.unwrap_or_default());
        self.searched.extent.processes += 1;
        for (name, is_environment) in [("environ", true), ("cmdline", false)] {
            let Some(found) = File::open(directory.join(name)).ok().and_then(|file| self.read(file, LARGEST).ok())
            else {
                continue;
            };
            for ((generation, form), _) in found.what {
                let comm = comm.clone();
                let (spot, readers) = if is_environment {
                    (Spot::Environment { pid, comm, group: group.clone() }, self.names.user(stat.uid()))
                } else {
                    (Spot::Arguments { pid, comm }, "everyone".to_owned())
                };
                self.note(generation, form, spot, readers);
            }
        }
    }
}
