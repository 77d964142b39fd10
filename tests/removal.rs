//! The package is removed, purged and installed again: consumers keep their values, and nothing is left that should not
//! be.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use serde_json::Value;
use support::apt::{self, Inventory};
use support::rotation::{self, NAME, UNIT};
use support::{Backend, Debian, Machine, poll, seconds, token};

/// What may differ after a purge, by the beginning of a line of [`Inventory::differences`] without its sign, and why.
const MAY_DIFFER: [(&str, &str); 17] = [
    ("/etc/group", "a group is never removed: files may be left that have its number"),
    ("/etc/gshadow", "as /etc/group"),
    ("/etc/systemd/system/getty.target.wants d", "Debian's deb-systemd-helper removes empty directories of links"),
    ("/root/rekeyd.deb ", "the test's"),
    ("/run/systemd/journal/seqnum ", "journald's, in Debian 13"),
    ("/run/systemd/journal/streams/", "the backend was restarted by the test"),
    ("/run/systemd/journal/synced ", "journald's: the daemon sees to it that its last words are in the journal"),
    ("/run/systemd/transient d", "systemd's, made for the first transient unit"),
    ("/run/systemd/units/invocation:my-backend.service ", "the backend was restarted by the test"),
    ("/var/cache/apt/", "apt's"),
    ("/var/cache/debconf/", "debconf's"),
    ("/var/lib/apt/", "apt's"),
    ("/var/lib/dpkg/status-old ", "dpkg's copy of its database before its last change"),
    (
        "/var/lib/systemd/credential.secret ",
        "the host's key is systemd's, made by systemd-creds: others may have used it",
    ),
    ("/var/lib/systemd/timers d", "systemd's, made for the first stamp of a timer"),
    ("/var/log/", "logs of apt, dpkg and systemd"),
    ("unit system-rekeyd\\x2d", "a slice without anything in it, which systemd keeps until the next boot"),
];

support::on_both_debians! {
    fn purged_without_having_been_used_it_leaves_nothing_behind(debian) {
        let machine = Machine::on(debian).bare().logind().boot();
        let before = Inventory::of(&machine);
        apt::install(&machine);
        assert_eq!(machine.unit("rekeyd.service", "ActiveState"), "active");
        apt::purge(&machine);
        assert_nothing_left(&machine, &before);
    }

    fn purged_after_its_last_secret_was_forgotten_it_leaves_nothing_behind(debian) {
        let machine = rotation::on_with(debian, &Backend::good(), SCHEDULE).bare().logind().boot();
        let before = Inventory::of(&machine);
        apt::install(&machine);
        machine.ok(&["rekeyctl", "adopt", NAME]);
        rotation::rotate_ok(&machine);
        machine.sh(&format!("rm -r /etc/systemd/system/{UNIT}.d; systemctl daemon-reload; systemctl restart {UNIT}"));
        apt::purge(&machine);
        assert_nothing_left(&machine, &before);
    }

    fn removed_with_an_open_overlap_no_timer_of_it_is_left(debian) {
        let overlap = rotation::OVERLAP;
        let machine = rotation::adopted_with(debian, &Backend::good(), overlap);
        rotation::rotate_ok(&machine);
        poll(seconds(10), "its end is set", || (timers(&machine) == [format!("rekeyd-retire@{NAME}.timer")]).then_some(()));
        let world = rotation::World::of(&machine);
        apt::remove(&machine);
        assert_eq!(timers(&machine), [""; 0]);
        assert_nothing_failed(&machine);
        world.assert_same(&machine);
        apt::install(&machine);
        assert_eq!(timers(&machine), [format!("rekeyd-retire@{NAME}.timer")]);
        world.assert_same(&machine);
    }

    fn removed_in_mid_rotation_it_finishes_first(debian) {
        let machine = in_prove(debian, 5, 60);
        apt::remove(&machine);
        assert_eq!(machine.journal(&["-u", "rekeyd.service", "REKEYD_RESULT=committed"]).len(), 1);
        assert_is_gone_and_serves(&machine);
        apt::install(&machine);
        rotation::assert_committed(&machine, 2);
    }

    fn removed_in_a_rotation_that_takes_long_it_leaves_a_working_consumer(debian) {
        let machine = in_prove(debian, 30, 1);
        apt::remove(&machine);
        assert!(machine.journal(&["-u", "rekeyd.service", "REKEYD_RESULT=committed"]).is_empty());
        assert_is_gone_and_serves(&machine);
        machine.put("/etc/rekeyd/secrets.d/my-backend-jwt.toml", 0o644, rotation::toml(""));
        apt::install(&machine);
        poll(seconds(30), "it is finished", || rotation::status(&machine)["rotation"].is_null().then_some(()));
        rotation::assert_committed(&machine, 2);
    }

    fn removed_while_it_comes_to_the_restart_it_leaves_no_dead_man(debian) {
        let machine = boot(debian, 30, 4);
        let freeze = |signal: &str| machine.ok(&["systemctl", "kill", "-s", signal, UNIT]);
        freeze("STOP");
        machine.ok(&["rekeyctl", "rotate", "--no-wait", NAME]);
        machine.sh("systemd-run -q --unit=removal sh -c 'DEBIAN_FRONTEND=noninteractive apt-get -q -y remove rekeyd'");
        poll(seconds(20), "rekeyd is told to stop", || {
            machine.journal(&["-u", "rekeyd.service"]).iter().any(|entry| says(entry, "rekeyd stops once")).then_some(())
        });
        freeze("CONT");
        poll(seconds(60), "apt has ended", || (machine.unit("removal.service", "ActiveState") == "inactive").then_some(()));
        assert!(machine.journal(&["-u", "init.scope"]).iter().any(|entry| says(entry, "Started rekeyd-recover@")));
        assert_is_gone_and_serves(&machine);
    }
}

const SCHEDULE: &str = "[schedule]\non-calendar = \"monthly\"\n";

fn says(entry: &Value, words: &str) -> bool {
    entry["MESSAGE"].as_str().is_some_and(|message| message.starts_with(words))
}

/// A machine that proves for so many seconds, and may take so many to stop.
fn boot(debian: Debian, settle: u32, stop: u32) -> Machine {
    let toml = rotation::toml("").replace("settle = \"1s\"", &format!("settle = \"{settle}s\""));
    let machine = Machine::on(debian)
        .backend(&Backend::good())
        .secret(NAME, &toml.replace("timeout = \"3s\"", "timeout = \"20s\""))
        .file("/etc/rekeyd/rekeyd.toml", 0o644, format!("[daemon]\nstop-timeout = \"{stop}s\"\n"))
        .boot();
    rotation::adopt(machine)
}

/// The same, while it proves generation 2.
fn in_prove(debian: Debian, settle: u32, stop: u32) -> Machine {
    let machine = boot(debian, settle, stop);
    machine.ok(&["rekeyctl", "rotate", "--no-wait", NAME]);
    poll(seconds(20), "the backend runs with the new value", || rotation::new_value(&machine));
    machine
}

/// Nothing of rekeyd runs or waits, and the consumer has one value, also after it is restarted.
#[track_caller]
fn assert_is_gone_and_serves(machine: &Machine) {
    assert!(!machine.sh("dpkg-query -W -f '${Status}' rekeyd || true").contains("ok installed"));
    assert_eq!(machine.sh("pgrep -a rekey || true"), "");
    assert_eq!(timers(machine), [""; 0]);
    let value = rotation::assert_new_value(machine);
    machine.ok(&["systemctl", "restart", UNIT]);
    assert_eq!(rotation::assert_new_value(machine), value);
    assert_eq!(token::present(machine, &token::login(machine)), 200);
    assert_nothing_failed(machine);
}

#[track_caller]
fn assert_nothing_failed(machine: &Machine) {
    assert_eq!(machine.ok(&["systemctl", "--failed", "--no-legend"]).trim(), "");
}

/// The timers of rekeyd that wait.
fn timers(machine: &Machine) -> Vec<String> {
    let said = machine.ok(&["systemctl", "list-units", "--plain", "--no-legend", "--all", "-t", "timer", "rekeyd-*"]);
    said.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[track_caller]
fn assert_nothing_left(machine: &Machine, before: &Inventory) {
    let differences = before.differences(&Inventory::of(machine));
    let is_allowed = |line: &&String| MAY_DIFFER.iter().any(|(start, _)| line[2..].starts_with(start));
    let left: Vec<_> = differences.iter().filter(|line| !is_allowed(line)).collect();
    assert!(left.is_empty(), "{left:#?}");
    assert_nothing_failed(machine);
}
