//! The daemon is killed at every system call by which a rotation changes anything or asks for anything, one after the
//! other: each time the rotation is finished, or was never asked for.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use support::rotation::{self, NAME, UNIT};
use support::{Backend, Debian};

/// How many points one command in the machine covers.
const CHUNK: usize = 10;

support::on_both_debians! {
    fn killed_at_every_call_that_changes_files(debian) {
        let calls = ["pwrite64", "rename", "symlink", "mkdir", "unlink", "unlinkat", "fchmod", "ftruncate"];
        assert!(sweep(debian, &calls) > 20);
    }

    fn killed_at_every_call_that_makes_files_durable(debian) {
        assert!(sweep(debian, &["fsync"]) > 20);
    }

    fn killed_at_every_write(debian) {
        assert!(sweep(debian, &["write"]) > 10);
    }

    fn killed_at_every_message_on_the_bus_and_to_the_journal(debian) {
        assert!(sweep(debian, &["sendmsg"]) > 50);
    }

    fn killed_at_every_call_to_helpers_and_probes(debian) {
        assert!(sweep(debian, &["connect", "sendto"]) > 5);
    }
}

/// Kills at every one of these calls; returns how many there were.
#[track_caller]
fn sweep(debian: Debian, calls: &[&str]) -> usize {
    let secret = rotation::SECRET.replace("settle = \"1s\"", "settle = \"0s\"");
    let machine = rotation::on(debian, &Backend::good())
        .secret(NAME, &secret)
        .file("/root/sweep.sh", 0o755, include_str!("sweep.sh"))
        // So that it comes back at once, however often.
        .file("/etc/systemd/system/rekeyd.service.d/often.conf", 0o644, OFTEN)
        .boot();
    let machine = rotation::adopt(machine);
    // The first one makes the drop-in and reloads; those that are swept are all alike.
    rotation::commits(&machine, 2);
    let mut points = 0;
    for call in calls {
        for first in (1..).step_by(CHUNK) {
            let (from, to) = (first.to_string(), (first + CHUNK - 1).to_string());
            let said = machine.exec(&["/root/sweep.sh", NAME, UNIT, call, &from, &to]);
            assert_eq!(said.status, 0, "{said}");
            let told = |line: &&str| !line.starts_with("over ") && !line.starts_with("points ");
            let wrong: Vec<&str> = said.stdout.lines().filter(told).collect();
            assert!(wrong.is_empty(), "{wrong:#?}\n{}", said.stderr);
            let count = said.stdout.lines().find_map(|line| line.strip_prefix("points ")?.parse::<usize>().ok());
            points += count.expect("a count of points");
            if said.stdout.contains("over ") {
                break;
            }
        }
    }
    points
}

const OFTEN: &str = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestartSec=10ms\n";
