//! The dead man's rollback: rekeyd is gone in mid-rotation and does not come back.

#![allow(clippy::unwrap_used)]

use crate::support;

use serde_json::Value;
use support::backend::FIRST_VALUE;
use support::rotation::{self, NAME, UNIT};
use support::{Backend, Machine, poll, seconds, token, trap};

support::on_both_debians! {
    fn killed_and_masked_in_mid_rotation_the_old_value_is_restored(debian) {
        let machine = in_prove(rotation::adopted(debian, &Backend::good()));
        let id = under_way(&machine);
        machine.ok(&["systemctl", "stop", "rekeyd-timers.target"]);
        gone(&machine);
        poll(seconds(60), "the old value is back", || (value_of_process(&machine) == Some(FIRST_VALUE.to_owned())).then_some(()));
        poll(seconds(20), "the rollback has ended", || timers(&machine).is_empty().then_some(()));
        assert_eq!(token::present(&machine, &token::login(&machine)), 200);
        assert_eq!(rotation::delivered(&machine), FIRST_VALUE);
        let story = machine.journal(&[&format!("REKEYD_ROTATION={id}"), "REKEYD_RESULT=rolled-back"]);
        assert_eq!(story.len(), 1);
        assert!(story[0]["MESSAGE"].as_str().unwrap().contains("did not come back"), "{story:#?}");

        machine.ok(&["systemctl", "unmask", "rekeyd.service"]);
        machine.ok(&["systemctl", "start", "rekeyd.service"]);
        let status = rotation::status(&machine);
        assert_eq!(status["last"]["outcome"]["cause"]["code"], "daemon-gone");
        assert_eq!(status["generation"], 1);
        settle_for(&machine, 1);
        machine.ok(&["rekeyctl", "reload"]);
        rotation::commits(&machine, 3);
    }

    fn killed_and_masked_between_delivery_and_restart_the_file_goes_back_too(debian) {
        let machine = rotation::adopted(debian, &Backend::good());
        settle_for(&machine, 1);
        machine.ok(&["rekeyctl", "reload"]);
        rotation::rotate_ok(&machine);
        let serving = rotation::value(&machine);
        let before = machine.unit(UNIT, "InvocationID");
        machine.ok(&["systemctl", "mask", "rekeyd.service"]);
        // Of the records: that the activation begins. Each is one such call (tests/kills.rs).
        trap::set(&machine, "pwrite64", 8);
        machine.ok(&["rekeyctl", "rotate", "--no-wait", NAME]);
        poll(seconds(20), "another value is delivered and nobody goes on", || {
            (trap::is_sprung(&machine) && rotation::delivered(&machine) != serving).then_some(())
        });
        poll(seconds(60), "the value in force is delivered again", || (rotation::delivered(&machine) == serving).then_some(()));
        poll(seconds(20), "the rollback has ended", || timers(&machine).is_empty().then_some(()));
        assert_eq!(rotation::value(&machine), serving);
        machine.ok(&["systemctl", "restart", UNIT]);
        assert_ne!(machine.unit(UNIT, "InvocationID"), before);
        rotation::assert_serves_with(&machine, &serving);
    }

    fn of_an_overlap_the_view_goes_back_and_nobody_is_locked_out(debian) {
        let overlap = rotation::OVERLAP;
        let machine = in_prove_with(rotation::adopted(debian, &Backend::good()), overlap);
        let (before, after) = (token::forge(FIRST_VALUE), token::login(&machine));
        gone(&machine);
        poll(seconds(60), "the old value is back", || (value_of_process(&machine) == Some(FIRST_VALUE.to_owned())).then_some(()));
        poll(seconds(20), "the rollback has ended", || timers(&machine).is_empty().then_some(()));
        assert!(token::is_signed_with(&token::login(&machine), FIRST_VALUE));
        for token in [&before, &after] {
            assert_eq!(token::present(&machine, token), 200, "who was logged in is logged out");
        }
    }

    fn of_a_batch_all_go_back(debian) {
        let session = format!("{FIRST_VALUE}-of-the-sessions");
        let other = "[secret]\nenv = \"SESSION_SECRET\"\n[rotation]\ndeadline = \"15s\"\n[proof]\nsettle = \"6s\"\n\
                     [[target]]\ntype = \"systemd\"\nunits = [\"my-backend.service\"]\n";
        let backend = Backend::good().service(&format!("Environment=SESSION_SECRET={session}"));
        let machine = rotation::adopt(rotation::on(debian, &backend).secret("session", other).boot());
        machine.ok(&["rekeyctl", "adopt", "session"]);
        settle_for(&machine, 6);
        machine.ok(&["rekeyctl", "reload"]);
        let services = [NAME, "session"].map(|name| format!("rekeyd-rotate@{name}.service"));
        machine.ok(&["systemctl", "start", "--no-block", &services[0], &services[1]]);
        poll(seconds(20), "the backend runs with the new value", || rotation::new_value(&machine));
        gone(&machine);
        let both = || ["JWT_SECRET", "SESSION_SECRET"].map(|name| machine.variable(UNIT, name).into_iter().find_map(|(_, value)| value));
        let wanted = [FIRST_VALUE, &session].map(|value| Some(value.to_owned()));
        poll(seconds(90), "both old values are back", || (both() == wanted).then_some(()));
        poll(seconds(20), "the rollbacks have ended", || timers(&machine).is_empty().then_some(()));
        assert_eq!(both(), wanted);
        assert_eq!(token::present(&machine, &token::login(&machine)), 200);
    }

    fn it_does_nothing_while_rekeyd_lives(debian) {
        let machine = in_prove(rotation::adopted(debian, &Backend::good()));
        let id = under_way(&machine);
        machine.ok(&["systemctl", "start", &format!("rekeyd-recover@{id}.service")]);
        assert_eq!(machine.unit(&format!("rekeyd-recover@{id}.service"), "Result"), "success");
        poll(seconds(30), "it commits", || {
            (rotation::status(&machine)["last"]["outcome"]["outcome"] == "committed").then_some(())
        });
        assert_eq!(timers(&machine), [""; 0], "it was not disarmed");
    }

    fn its_timer_ends_with_the_rotation_also_while_rekeyd_lives(debian) {
        let machine = rotation::adopted(debian, &Backend::good());
        rotation::rotate_ok(&machine);
        let id = rotation::status(&machine)["last"]["id"].as_str().unwrap().to_owned();
        // As it is left by a daemon that was killed right after the end.
        machine.ok(&["systemd-run", "-q", "--on-active=1h", &format!("--unit=rekeyd-recover@{id}.service")]);
        assert_eq!(timers(&machine).len(), 1);
        machine.ok(&["systemctl", "start", &format!("rekeyd-recover@{id}.service")]);
        assert_eq!(timers(&machine), [""; 0]);
    }

    fn it_is_not_armed_where_it_is_not_wanted_also_after_a_kill(debian) {
        let machine = rotation::adopted_with(debian, &Backend::good().fault("slow-start 3000"), "[rotation]\ndead-man = false\n");
        machine.ok(&["rekeyctl", "rotate", "--no-wait", NAME]);
        poll(seconds(10), "it is being restarted", || (machine.unit(UNIT, "ActiveState") == "activating").then_some(()));
        machine.ok(&["systemctl", "kill", "--signal=KILL", "rekeyd.service"]);
        poll(seconds(30), "it goes on and commits", || {
            assert_eq!(timers(&machine), [""; 0]);
            (rotation::status(&machine)["last"]["outcome"]["outcome"] == "committed").then_some(())
        });
    }

    fn it_does_nothing_when_the_rotation_has_ended(debian) {
        let machine = rotation::adopted(debian, &Backend::good());
        rotation::rotate_ok(&machine);
        let value = rotation::assert_new_value(&machine);
        let id = rotation::status(&machine)["last"]["id"].as_str().unwrap().to_owned();
        machine.ok(&["systemctl", "mask", "--now", "rekeyd.service"]);
        machine.ok(&["systemctl", "start", &format!("rekeyd-recover@{id}.service")]);
        assert_eq!(rotation::assert_new_value(&machine), value);
    }

    fn where_it_fails_its_unit_fails_and_a_person_is_told_though_rekeyd_is_gone(debian) {
        let notify = "[notify]\ncommand = [\"/usr/local/bin/page-me\"]\n";
        let machine = rotation::on(debian, &Backend::good())
            .file("/etc/rekeyd/rekeyd.toml", 0o600, notify)
            .file("/usr/local/bin/page-me", 0o755, "#!/bin/sh\necho \"$REKEYD_EVENT $REKEYD_SECRET\" >>/var/lib/told\n")
            .may_be_degraded()
            .boot();
        machine.sh("install -o nobody -m 600 /dev/null /var/lib/told");
        let machine = in_prove(rotation::adopt(machine));
        let rescue = format!("rekeyd-recover@{}.service", under_way(&machine));
        machine.put("/etc/toy/my-backend/mode", 0o644, "always exits-at-once\n");
        gone(&machine);
        assert_ne!(machine.exec(&["systemctl", "start", &rescue]).status, 0);
        assert_eq!(machine.unit(&rescue, "ExecMainStatus"), "2");
        assert!(machine.ok(&["systemctl", "--failed", "--plain", "--no-legend"]).contains(&rescue));
        assert_eq!(machine.read("/var/lib/told"), format!("hold {NAME}\n"));
    }

    fn after_a_reboot_without_rekeyd_it_is_armed_again(debian) {
        let machine = in_prove(rotation::adopted(debian, &Backend::good()));
        gone(&machine);
        machine.reboot();
        assert_ne!(value_of_process(&machine), Some(FIRST_VALUE.to_owned()));
        poll(seconds(90), "the old value is back", || (value_of_process(&machine) == Some(FIRST_VALUE.to_owned())).then_some(()));
    }
}

/// A machine that is proving a new value, and would for 6 s.
fn in_prove(machine: Machine) -> Machine {
    in_prove_with(machine, "")
}

/// The same, with `more` at the end of the secret's file.
fn in_prove_with(machine: Machine, more: &str) -> Machine {
    settle_for_with(&machine, 6, more);
    machine.ok(&["rekeyctl", "reload"]);
    machine.ok(&["rekeyctl", "rotate", "--no-wait", NAME]);
    poll(seconds(20), "the backend runs with the new value", || rotation::new_value(&machine));
    machine
}

fn settle_for(machine: &Machine, settle: u32) {
    settle_for_with(machine, settle, "");
}

fn settle_for_with(machine: &Machine, settle: u32, more: &str) {
    let toml = rotation::toml(&format!("[rotation]\ndeadline = \"15s\"\n{more}"));
    let toml = toml.replace("settle = \"1s\"", &format!("settle = \"{settle}s\"")).replace("\"3s\"", "\"2s\"");
    machine.put(&format!("/etc/rekeyd/secrets.d/{NAME}.toml"), 0o644, toml);
}

fn under_way(machine: &Machine) -> String {
    rotation::status(machine)["rotation"]["id"].as_str().unwrap().to_owned()
}

/// Killed, and never to come back.
fn gone(machine: &Machine) {
    machine.ok(&["systemctl", "mask", "rekeyd.service"]);
    machine.ok(&["systemctl", "kill", "--signal=KILL", "rekeyd.service"]);
}

fn value_of_process(machine: &Machine) -> Option<String> {
    machine.variable(UNIT, "JWT_SECRET").into_iter().find_map(|(_, value)| value)
}

fn timers(machine: &Machine) -> Vec<String> {
    let text = machine.ok(&["systemctl", "list-timers", "--all", "-o", "json", "rekeyd-recover@*"]);
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    rows.iter().map(|row| row["unit"].as_str().unwrap().to_owned()).collect()
}
