//! The daemon is killed at every system call by which a rotation changes anything or asks for anything, one after the
//! other: each time the rotation is finished, or was never asked for. Each Debian has every other one of the calls, which are
//! the same on both.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use support::rotation::{self, NAME, UNIT};
use support::{Backend, Debian, Machine};

/// Of how many points one command in the machine covers every other one.
const CHUNK: usize = 20;

support::on_both_debians! {
    fn killed_at_every_call_that_changes_files(debian) {
        let calls = ["pwrite64", "rename", "symlink", "mkdir", "unlink", "unlinkat", "fchmod", "ftruncate"];
        assert!(sweep(debian, &calls) > 10);
    }

    fn killed_at_every_call_that_makes_files_durable(debian) {
        assert!(sweep(debian, &["fsync"]) > 10);
    }

    fn killed_at_every_write(debian) {
        assert!(sweep(debian, &["write"]) > 5);
    }

    fn killed_at_every_message_on_the_bus_and_to_the_journal(debian) {
        assert!(sweep(debian, &["sendmsg"]) > 25);
    }

    fn killed_at_every_call_to_helpers_and_probes(debian) {
        assert!(sweep(debian, &["connect", "sendto"]) > 2);
    }

    fn a_planted_bug_is_seen(debian) {
        // As if nothing of a rotation had been recorded before it acted: what was is put back when the daemon comes back.
        let forget = "[Service]\nExecStartPre=-/bin/cp -a /var/lib/before/. /var/lib/rekeyd/store/my-backend-jwt/\n";
        let machine = to_sweep(debian, &[("/etc/systemd/system/rekeyd.service.d/planted.conf", forget)]);
        let found = (0..6).find_map(|part| {
            let (_, wrong) = points(&machine, "fsync", 8 + part * 4, 11 + part * 4);
            (!wrong.is_empty()).then_some(wrong)
        });
        assert!(found.is_some(), "the sweep sees nothing wrong with a daemon that forgets what it was doing");
    }
}

/// Kills at every other one of these calls; returns how many there were.
#[track_caller]
fn sweep(debian: Debian, calls: &[&str]) -> usize {
    let machine = to_sweep(debian, &[]);
    let mut count = 0;
    let start = if debian == Debian::Twelve { 1 } else { 2 };
    for call in calls {
        for first in (start..).step_by(CHUNK) {
            let (covered, wrong) = points(&machine, call, first, first + CHUNK - 1);
            assert!(wrong.is_empty(), "{wrong:#?}");
            count += covered;
            if covered < CHUNK / 2 {
                break;
            }
        }
    }
    count
}

/// A machine with a backend, and these files.
fn to_sweep(debian: Debian, files: &[(&str, &str)]) -> Machine {
    let secret = rotation::SECRET.replace("settle = \"1s\"", "settle = \"0s\"");
    let builder = rotation::on(debian, &Backend::good())
        .secret(NAME, &secret)
        .file("/root/sweep.sh", 0o755, include_str!("sweep.sh"))
        // So that it comes back at once, however often.
        .file("/etc/systemd/system/rekeyd.service.d/often.conf", 0o644, OFTEN);
    let builder = files.iter().fold(builder, |builder, (path, text)| builder.file(path, 0o644, text));
    let machine = rotation::adopt(builder.boot());
    // The first one makes the drop-in and reloads; those that are swept are all alike.
    rotation::commits(&machine, 2);
    machine
}

/// Kills at these points of a call: how many there were, and what was wrong.
#[track_caller]
fn points(machine: &Machine, call: &str, first: usize, last: usize) -> (usize, Vec<String>) {
    let said = machine.exec(&["/root/sweep.sh", NAME, UNIT, call, &first.to_string(), &last.to_string()]);
    assert_eq!(said.status, 0, "{said}");
    let told = |line: &&str| !line.starts_with("over ") && !line.starts_with("points ");
    let wrong = said.stdout.lines().filter(told).map(str::to_owned).collect();
    let count = said.stdout.lines().find_map(|line| line.strip_prefix("points ")?.parse().ok());
    (count.expect("a count of points"), wrong)
}

const OFTEN: &str = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestartSec=10ms\n";
