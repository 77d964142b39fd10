//! The package is installed and upgraded: nothing rotates because of it, and the administrator's decisions stand.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use support::apt;
use support::rotation::{self, NAME, UNIT};
use support::{Backend, Machine, poll, seconds};

const CHANGED: &str = "# Ours.\n[daemon]\nstop-timeout = \"1s\"\n";
const FILE: &str = "/etc/rekeyd/rekeyd.toml";
const SCHEDULE: &str = "[schedule]\non-calendar = \"monthly\"\n";

support::on_both_debians! {
    fn installed_it_runs_and_what_runs_is_this(debian) {
        let machine = rotation::on_with(debian, &Backend::good(), SCHEDULE).bare().logind().boot();
        let run = || machine.ok(&["systemctl", "show", "-p", "InvocationID,NRestarts,DropInPaths,EnvironmentFiles", UNIT]);
        let before = (run(), units(&machine));
        apt::install(&machine);
        assert_eq!(run(), before.0, "the backend was touched");
        let now = units(&machine);
        let new: Vec<_> = now.iter().filter(|unit| !before.1.contains(unit)).map(String::as_str).collect();
        assert_eq!(new, [
            "active rekeyd-file.socket",
            "active rekeyd-key.socket",
            "active rekeyd-process.socket",
            "active rekeyd-rotate@my-backend-jwt.timer",
            "active rekeyd-search.socket",
            "active rekeyd-timers.target",
            "active rekeyd.service",
            "enabled rekeyd-rearm.service",
            "enabled rekeyd.service",
        ]);
        assert_nothing_failed(&machine);
        assert_eq!(rotation::status(&machine)["generations"], serde_json::json!([]));
    }

    fn installed_on_a_running_system_its_group_may_look(debian) {
        let machine = Machine::on(debian).bare().boot();
        apt::install(&machine);
        machine.ok(&["useradd", "--groups", "rekeyd", "looker"]);
        let said = machine.exec_as("looker", &["rekeyctl", "list"]);
        assert_eq!(said.status, 0, "{said}");
    }

    fn where_nothing_may_be_started_it_installs_and_starts_nothing(debian) {
        let machine = Machine::on(debian).bare().file("/usr/sbin/policy-rc.d", 0o755, "#!/bin/sh\nexit 101\n").boot();
        apt::install(&machine);
        assert!(!units(&machine).iter().any(|unit| unit.starts_with("active rekeyd")), "{:?}", units(&machine));
        assert_nothing_failed(&machine);
        machine.reboot();
        assert_eq!(machine.unit("rekeyd.service", "ActiveState"), "active");
    }

    fn upgraded_it_runs_anew_and_nothing_else_is_touched(debian) {
        let machine = rotation::adopt(rotation::on_with(debian, &Backend::good(), SCHEDULE).logind().boot());
        rotation::rotate_ok(&machine);
        machine.put(FILE, 0o640, CHANGED);
        let timer = format!("rekeyd-rotate@{NAME}.timer");
        let armed = || machine.ok(&["systemctl", "show", "-p", "ActiveState,ActiveEnterTimestamp,NextElapseUSecRealtime", &timer]);
        let before = (rotation::World::of(&machine), units(&machine), armed(), machine.unit("rekeyd.service", "MainPID"));
        apt::upgrade(&machine);
        before.0.assert_same(&machine);
        assert_eq!(units(&machine), before.1);
        assert_eq!(armed(), before.2);
        assert_ne!(machine.unit("rekeyd.service", "MainPID"), before.3, "it was not restarted");
        assert_nothing_failed(&machine);
        assert_eq!(machine.read(FILE), CHANGED);
        assert_eq!(machine.sh(&format!("stat -c %a {FILE}; ls /etc/rekeyd")), "640\nlogin.json\nrekeyd.toml\nsecrets.d\n");
        rotation::assert_committed(&machine, 2);
        rotation::commits(&machine, 3);
    }

    fn upgraded_in_a_rotation_that_takes_long_the_new_one_goes_on_with_it(debian) {
        let toml = rotation::toml("").replace("settle = \"1s\"", "settle = \"45s\"");
        let machine = Machine::on(debian).backend(&Backend::good()).secret(NAME, &toml).file(FILE, 0o644, CHANGED).boot();
        let machine = rotation::adopt(machine);
        apt::make_later(&machine);
        machine.ok(&["rekeyctl", "rotate", "--no-wait", NAME]);
        let value = poll(seconds(20), "the backend runs with the new value", || rotation::new_value(&machine));
        apt::upgrade(&machine);
        assert!(machine.journal(&["REKEYD_RESULT=committed"]).is_empty(), "it had ended before the upgrade");
        poll(seconds(120), "it is finished", || rotation::status(&machine)["rotation"].is_null().then_some(()));
        assert_eq!(rotation::assert_committed(&machine, 2), value);
        assert_nothing_failed(&machine);
    }

    fn stopped_and_disabled_it_stays_so_when_it_is_upgraded(debian) {
        let machine = rotation::adopted_with(debian, &Backend::good(), "[schedule]\non-calendar = \"monthly\"\n");
        machine.ok(&["systemctl", "disable", "--now", "rekeyd.service", "rekeyd-rearm.service"]);
        apt::upgrade(&machine);
        let units = units(&machine);
        // Schedules are configured, and paused with rekeyctl: their target is not what the decision was about.
        for unit in ["active rekeyd.service", "enabled rekeyd.service", "enabled rekeyd-rearm.service"] {
            assert!(!units.contains(&unit.to_owned()), "{unit}");
        }
        assert_nothing_failed(&machine);
    }
}

#[track_caller]
fn assert_nothing_failed(machine: &Machine) {
    assert_eq!(machine.ok(&["systemctl", "--failed", "--no-legend"]).trim(), "");
}

/// The units that are active or enabled, as `active NAME` and `enabled NAME`, in order.
fn units(machine: &Machine) -> Vec<String> {
    let said =
        machine.sh("{ systemctl list-units --plain --no-legend --state=active -t service,socket,target,timer,path | \
           awk '{ print \"active\", $1 }'; \
           systemctl list-unit-files --plain --no-legend --state=enabled | awk '{ print \"enabled\", $1 }'; } | sort");
    said.lines().map(str::to_owned).collect()
}
