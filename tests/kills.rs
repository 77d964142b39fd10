//! The daemon dies, is stopped, upgraded or loses its machine in the middle of a rotation: the rotation is finished or
//! undone without a hand.
//!
//! Between two steps lies one record, and each record is one `pwrite64` to the ledger, which nothing else in the daemon
//! calls: killing it at the n-th is killing it between two steps. `sweep.rs` kills it anywhere else.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use std::fs;

use serde_json::Value;
use support::backend::FIRST_VALUE;
use support::rotation::{self, NAME, adopted, assert_committed, assert_says, stage, status, value};
use support::{Backend, Debian, Machine, Output, host, poll, seconds, trap};

/// The records of a rotation that commits, in order.
const FORTH: [&str; 12] = [
    "requested",
    "preflight begins",
    "preflight passed",
    "generate begins",
    "generate passed",
    "deliver begins",
    "deliver passed",
    "activate begins",
    "activate passed",
    "prove begins",
    "prove passed",
    "committed",
];

/// Those that follow on a failed proof, in order.
const BACK: [&str; 7] = [
    "deliver back begins",
    "deliver back passed",
    "activate back begins",
    "activate back passed",
    "prove back begins",
    "prove back passed",
    "rolled back",
];

support::on_both_debians! {
    fn killed_before_the_request_is_recorded_nothing_was_asked_for(debian) {
        let machine = adopted(debian, &Backend::good());
        let world = rotation::World::of(&machine);
        let said = killed_before(&machine, "requested");
        assert_eq!(said.status, 75, "{said}");
        assert_says(&said, "ask again");
        is_up_again(&machine);
        assert_eq!(status(&machine)["generation"], 1);
        assert_eq!(status(&machine)["last"], Value::Null);
        world.assert_same(&machine);
        rotation::commits(&machine, 2);
    }

    fn killed_in_preflight(debian) {
        goes_on_when_killed(debian, &["preflight begins", "preflight passed"]);
    }

    fn killed_in_generate(debian) {
        goes_on_when_killed(debian, &["generate begins", "generate passed"]);
    }

    fn killed_in_deliver(debian) {
        goes_on_when_killed(debian, &["deliver begins", "deliver passed"]);
    }

    fn killed_in_activate(debian) {
        goes_on_when_killed(debian, &["activate begins", "activate passed"]);
    }

    fn killed_in_prove(debian) {
        goes_on_when_killed(debian, &["prove begins", "prove passed"]);
    }

    fn killed_in_commit(debian) {
        goes_on_when_killed(debian, &["committed"]);
    }

    fn killed_on_the_way_back_in_deliver(debian) {
        goes_on_back_when_killed(debian, &["deliver back begins", "deliver back passed"]);
    }

    fn killed_on_the_way_back_in_activate(debian) {
        goes_on_back_when_killed(debian, &["activate back begins", "activate back passed"]);
    }

    fn killed_on_the_way_back_in_prove(debian) {
        goes_on_back_when_killed(debian, &["prove back begins", "prove back passed", "rolled back"]);
    }

    fn killed_again_and_again_it_still_ends(debian) {
        let machine = adopted(debian, &Backend::good());
        machine.ok(&["rekeyctl", "rotate", "--no-wait", NAME]);
        for _ in 0..4 {
            machine.kill_daemon();
            is_up_again(&machine);
        }
        let outcome = ended(&machine);
        assert!(outcome == "committed" || outcome == "rolled-back", "{outcome}");
        assert_eq!(status(&machine)["hold"], Value::Null);
        rotation::commits(&machine, 3);
    }

    fn killed_more_often_than_systemd_would_bear_it_comes_back(debian) {
        let machine = adopted(debian, &Backend::good());
        for _ in 0..24 {
            machine.kill_daemon();
            is_up_again(&machine);
        }
        rotation::commits(&machine, 2);
    }

    fn a_daemon_that_cannot_come_up_gives_up(debian) {
        let machine = Machine::boot(debian);
        machine.put("/etc/systemd/system/rekeyd.service.d/broken.conf", 0o644, "[Service]\nExecStart=\nExecStart=/bin/false\nRestartSec=50ms\n");
        machine.sh("systemctl daemon-reload; systemctl restart rekeyd.service || true");
        poll(seconds(120), "it gives up", || (machine.unit("rekeyd.service", "ActiveState") == "failed").then_some(()));
    }

    fn a_daemon_that_hangs_is_ended_by_its_watchdog_and_goes_on(debian) {
        let machine = in_prove(debian, 8);
        let before = machine.unit("rekeyd.service", "MainPID");
        machine.put("/etc/systemd/system/rekeyd.service.d/watchdog.conf", 0o644, "[Service]\nWatchdogSec=3s\n");
        machine.ok(&["systemctl", "daemon-reload"]);
        machine.sh(&format!("kill -STOP {before}"));
        poll(seconds(60), "it is another process", || {
            let now = machine.unit("rekeyd.service", "MainPID");
            (now != before && now != "0").then_some(())
        });
        settle_for(&machine, 1);
        assert_eq!(ended(&machine), "committed");
        assert_committed(&machine, 2);
        assert!(machine.journal(&["-u", "init.scope", "-g", "rekeyd.service: Watchdog timeout"]).len() == 1);
    }

    fn killed_and_without_its_file_it_waits_and_is_finished_once_the_file_is_back(debian) {
        let machine = in_prove(debian, 8);
        let file = format!("/etc/rekeyd/secrets.d/{NAME}.toml");
        machine.ok(&["mv", &file, "/root/away"]);
        machine.kill_daemon();
        poll(seconds(20), "it says that it cannot go on", || {
            let said = machine.journal(&["-u", "rekeyd.service", "-p", "crit"]);
            said.iter().any(|entry| entry["MESSAGE"].as_str().unwrap_or_default().contains("rekeyctl reload")).then_some(())
        });
        machine.ok(&["mv", "/root/away", &file]);
        settle_for(&machine, 1);
        machine.ok(&["rekeyctl", "reload"]);
        assert_eq!(ended(&machine), "committed");
        assert_committed(&machine, 2);
    }

    fn stopped_in_mid_rotation_it_finishes_first(debian) {
        let machine = in_prove(debian, 5);
        machine.ok(&["systemctl", "stop", "rekeyd.service"]);
        let story = machine.journal(&["-u", "rekeyd.service", "REKEYD_RESULT=committed"]);
        assert_eq!(story.len(), 1, "it was stopped before it had committed");
        machine.ok(&["systemctl", "start", "rekeyd.service"]);
        assert_committed(&machine, 2);
    }

    fn who_follows_a_rotation_is_told_of_its_end_while_the_daemon_stops_and_starts_none(debian) {
        let machine = adopted(debian, &Backend::good());
        settle_for(&machine, 4);
        machine.ok(&["rekeyctl", "reload"]);
        machine.sh(&format!("systemd-run -q --unit=follower -p StandardOutput=file:/run/told -p RemainAfterExit=yes rekeyctl rotate {NAME}"));
        poll(seconds(20), "the backend runs with the new value", || rotation::new_value(&machine));
        machine.ok(&["systemctl", "stop", "rekeyd.service"]);
        let follower = |property: &str| machine.unit("follower.service", property);
        poll(seconds(10), "who follows has ended", || (follower("SubState") == "exited").then_some(()));
        let told = machine.read("/run/told");
        assert_eq!(follower("ExecMainStatus"), "0", "{told}");
        assert!(told.contains("in force and proven"), "{told}");
        assert_eq!(machine.unit("rekeyd.service", "ActiveState"), "inactive", "it was started again by who followed");
    }

    fn stopped_in_a_rotation_that_takes_long_it_goes_on_at_the_next_start(debian) {
        let machine = in_prove(debian, 75);
        machine.ok(&["systemctl", "stop", "rekeyd.service"]);
        assert_eq!(machine.unit("rekeyd.service", "Result"), "success");
        assert!(machine.journal(&["-u", "rekeyd.service", "REKEYD_RESULT=committed"]).is_empty());
        settle_for(&machine, 1);
        machine.ok(&["systemctl", "start", "rekeyd.service"]);
        assert_eq!(ended(&machine), "committed");
        assert_committed(&machine, 2);
    }

    fn upgraded_in_mid_rotation_it_finishes_and_the_new_one_runs(debian) {
        let machine = in_prove(debian, 5);
        machine.put("/root/rekeyd.deb", 0o644, fs::read(host::package()).unwrap());
        let before = machine.unit("rekeyd.service", "MainPID");
        machine.sh("DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --reinstall /root/rekeyd.deb");
        assert_eq!(ended(&machine), "committed");
        assert_ne!(machine.unit("rekeyd.service", "MainPID"), before, "it was not restarted");
        assert_eq!(machine.ok(&["systemctl", "--failed", "--no-legend"]).trim(), "");
        assert_committed(&machine, 2);
        assert_eq!(machine.journal(&["-u", "rekeyd.service", "REKEYD_RESULT=committed"]).len(), 1);
    }

    fn the_system_is_rebooted_in_mid_rotation(debian) {
        let machine = in_prove(debian, 10);
        let before = value(&machine);
        machine.reboot();
        assert_eq!(value(&machine), before, "the backend started with another value");
        settle_for(&machine, 1);
        assert_eq!(ended(&machine), "committed");
        assert_eq!(assert_committed(&machine, 2), before);
    }

    fn the_machine_dies_in_mid_rotation(debian) {
        let machine = in_prove(debian, 10);
        let before = value(&machine);
        machine.crash();
        assert_eq!(ended(&machine), "committed");
        assert_eq!(assert_committed(&machine, 2), before);
    }

    fn the_machine_dies_on_the_way_back(debian) {
        let machine = adopted(debian, &Backend::good().fault("signs-with-old"));
        machine.put("/etc/systemd/system/rekeyd.service.d/stay-dead.conf", 0o644, "[Service]\nRestart=no\n");
        machine.ok(&["systemctl", "daemon-reload"]);
        trap::set(&machine, "pwrite64", number("activate back begins"));
        machine.ok(&["rekeyctl", "rotate", "--no-wait", NAME]);
        poll(seconds(20), "the daemon is killed", || trap::is_sprung(&machine).then_some(()));
        machine.crash();
        assert_eq!(ended(&machine), "rolled-back");
        is_back(&machine, 2);
    }
}

/// Which record this is, from 1.
fn number(record: &str) -> usize {
    let failed = FORTH.iter().filter(|record| **record != "committed").chain(&BACK);
    let mut all = if FORTH.contains(&record) { FORTH.to_vec() } else { failed.copied().collect() }.into_iter();
    1 + all.position(|known| known == record).unwrap_or_else(|| panic!("no record {record:?}"))
}

/// Rotates, and kills the daemon before it can write a record.
fn killed_before(machine: &Machine, record: &str) -> Output {
    trap::set(machine, "pwrite64", number(record));
    let said = rotation::rotate(machine);
    assert!(trap::is_sprung(machine), "{record}: the daemon was not killed: {said}");
    said
}

/// The daemon is killed before each of these records of a rotation, which is finished all the same, with the value that
/// was made first.
#[track_caller]
fn goes_on_when_killed(debian: Debian, records: &[&str]) {
    let machine = adopted(debian, &Backend::good());
    for (generation, record) in (2..).zip(records) {
        let said = killed_before(&machine, record);
        assert_eq!(said.status, 0, "killed before {record:?}: {said}");
        assert_says(&said, "is in force and proven");
        assert_committed(&machine, generation);
        assert_eq!(machine.journal(&["REKEYD_RESULT=committed"]).len() as u64, generation - 1, "{record}");
        if number(record) > number("generate begins") {
            was_sealed_before_the_daemon_started(&machine, generation);
        }
    }
}

/// As [`goes_on_when_killed`], for a rotation whose proof fails: it is undone all the same.
#[track_caller]
fn goes_on_back_when_killed(debian: Debian, records: &[&str]) {
    let machine = adopted(debian, &Backend::good().fault("signs-with-old"));
    for (generation, record) in (2..).zip(records) {
        let said = killed_before(&machine, record);
        assert_eq!(said.status, 1, "killed before {record:?}: {said}");
        is_back(&machine, generation);
    }
}

/// The first value is in force, and the one that was tried is never offered again.
#[track_caller]
fn is_back(machine: &Machine, tried: u64) {
    assert_eq!(status(machine)["generation"], 1);
    assert_eq!(stage(machine, tried), "rejected");
    assert_eq!(value(machine), FIRST_VALUE);
    rotation::assert_serves_with(machine, FIRST_VALUE);
    machine.ok(&["rekeyctl", "verify", NAME]);
}

/// A resumed rotation keeps its value: nothing was sealed again.
#[track_caller]
fn was_sealed_before_the_daemon_started(machine: &Machine, generation: u64) {
    machine.sh(&format!(
        "file=/var/lib/rekeyd/store/{NAME}/generation-{generation}; test -e $file; \
         test -z \"$(find $file -newermt \"$(systemctl show --timestamp=us --value -p ExecMainStartTimestamp rekeyd.service)\")\""
    ));
}

/// A machine that is proving generation 2, for so many seconds.
fn in_prove(debian: Debian, settle: u32) -> Machine {
    let machine = adopted(debian, &Backend::good());
    settle_for(&machine, settle);
    machine.ok(&["rekeyctl", "reload"]);
    machine.ok(&["rekeyctl", "rotate", "--no-wait", NAME]);
    poll(seconds(20), "the backend runs with the new value", || rotation::new_value(&machine));
    machine
}

fn settle_for(machine: &Machine, settle: u32) {
    let toml = rotation::toml("").replace("settle = \"1s\"", &format!("settle = \"{settle}s\""));
    machine.put(&format!("/etc/rekeyd/secrets.d/{NAME}.toml"), 0o644, toml);
}

#[track_caller]
fn is_up_again(machine: &Machine) {
    poll(seconds(20), "rekeyd runs again", || (machine.exec(&["rekeyctl", "status", NAME]).status == 0).then_some(()));
}

/// How the rotation ended.
#[track_caller]
fn ended(machine: &Machine) -> String {
    poll(seconds(60), "the rotation ends", || {
        let said = machine.exec(&["rekeyctl", "status", "--json", NAME]);
        let status: Value = serde_json::from_str(&said.stdout).ok()?;
        status["last"]["outcome"]["outcome"].as_str().filter(|_| status["rotation"].is_null()).map(str::to_owned)
    })
}
