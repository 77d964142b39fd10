//! Rotations that are due at the same time: those of one consumer share a restart, all share a daemon-reload and a sweep
//! for evidence.

#![allow(clippy::unwrap_used)]

use crate::support;

use std::collections::BTreeSet;

use serde_json::Value;
use support::backend::FIRST_VALUE;
use support::rotation::{self, NAME, UNIT};
use support::{Backend, Debian, Machine, poll, seconds};

const OTHER: &str = "my-backend-session";
const SESSION: &str = "[secret]\nenv = \"SESSION_SECRET\"\n[proof]\nsettle = \"1s\"\n\
    [[target]]\ntype = \"systemd\"\nunits = [\"my-backend.service\"]\n";

/// A backend with two secrets, both taken over.
fn with_two_secrets(debian: Debian, backend: Backend) -> Machine {
    let session = format!("Environment=SESSION_SECRET={FIRST_VALUE}-of-the-sessions");
    let machine = rotation::on(debian, &backend.service(&session)).secret(OTHER, SESSION).boot();
    machine.ok(&["rekeyctl", "adopt", OTHER]);
    rotation::adopt(machine)
}

/// The timers of both elapse at once. Whether both services ended well.
fn due_together(machine: &Machine) -> bool {
    let services = [NAME, OTHER].map(|name| format!("rekeyd-rotate@{name}.service"));
    machine.exec(&["systemctl", "start", &services[0], &services[1]]).status == 0
}

fn status(machine: &Machine, name: &str) -> Value {
    serde_json::from_str(&machine.ok(&["rekeyctl", "status", "--json", name])).unwrap()
}

fn outcome(machine: &Machine, name: &str) -> String {
    status(machine, name)["last"]["outcome"]["outcome"].as_str().unwrap_or_default().to_owned()
}

fn session(machine: &Machine) -> String {
    machine.variable(UNIT, "SESSION_SECRET").remove(0).1.unwrap()
}

support::on_both_debians! {
    fn two_secrets_of_one_unit_due_together_are_one_restart_and_one_batch(debian) {
        let machine = with_two_secrets(debian, Backend::good());
        assert!(due_together(&machine));
        rotation::assert_new_value(&machine);
        assert_ne!(session(&machine), format!("{FIRST_VALUE}-of-the-sessions"));
        let unit = format!("OBJECT_SYSTEMD_UNIT={UNIT}");
        let activated = machine.journal(&[&unit, "REKEYD_STEP=activate", "REKEYD_RESULT=passed"]);
        let restarts = activated.iter().filter(|entry| entry["MESSAGE"].as_str().unwrap().contains(" restarted in "));
        assert_eq!((activated.len(), restarts.count()), (2, 1));
        let started = machine.journal(&["_PID=1", &format!("UNIT={UNIT}"), "MESSAGE_ID=39f53479d3a045ac8e11786248231fbf"]);
        assert_eq!(started.len(), 2, "at boot, and once for both");
        let requests = machine.journal(&["REKEYD_RESULT=committed"]);
        let batches: BTreeSet<_> = requests.iter().map(|entry| entry["REKEYD_BATCH"].as_str().unwrap()).collect();
        assert_eq!((requests.len(), batches.len()), (2, 1));
        let story = machine.ok(&["rekeyctl", "history", NAME]);
        assert!(story.contains(&format!("together with {OTHER}")), "{story}");
    }

    fn where_one_of_a_batch_fails_both_go_back(debian) {
        let machine = with_two_secrets(debian, Backend::good());
        Backend::good().break_now(&machine, "login-500");
        assert!(!due_together(&machine));
        assert_eq!((outcome(&machine, NAME), outcome(&machine, OTHER)), ("rolled-back".into(), "rolled-back".into()));
        let cause = &status(&machine, OTHER)["last"]["outcome"]["cause"];
        assert_eq!(cause["code"], "batch-failed", "{cause:#}");
        assert!(cause["message"].as_str().unwrap().contains(NAME), "{cause:#}");
        assert_eq!(session(&machine), format!("{FIRST_VALUE}-of-the-sessions"));
        rotation::assert_serves_with(&machine, FIRST_VALUE);
        // The next try goes alone, so that the one which did nothing wrong comes through.
        machine.ok(&["rekeyctl", "rotate", "--scheduled", "--retry", OTHER]);
        assert_eq!(outcome(&machine, OTHER), "committed");
    }

    fn a_batch_that_is_killed_is_finished_as_one(debian) {
        let machine = with_two_secrets(debian, Backend::good());
        let services = [NAME, OTHER].map(|name| format!("rekeyd-rotate@{name}.service"));
        machine.ok(&["systemctl", "start", "--no-block", &services[0], &services[1]]);
        poll(seconds(15), "the backend is being restarted", || rotation::new_value(&machine));
        machine.kill_daemon();
        poll(seconds(30), "both are committed", || {
            let both = [NAME, OTHER].map(|name| outcome(&machine, name));
            (both == ["committed", "committed"]).then_some(())
        });
        assert_eq!(machine.unit(UNIT, "NRestarts"), "0");
        rotation::assert_new_value(&machine);
    }
}

support::on_one_debian! {
    Thirteen => fn a_hundred_units_due_at_once_share_one_reload_and_one_sweep(debian) {
        let _alone = support::one_at_a_time();
        const COUNT: usize = 100;
        let mut builder = Machine::on(debian);
        let names: Vec<String> = (0..COUNT).map(|number| format!("worker-{number:02}")).collect();
        for name in &names {
            let unit = format!("[Service]\nType=exec\nExecStart=/bin/sleep infinity\nEnvironment=TOKEN={FIRST_VALUE}{name}\n");
            let wants = format!("/etc/systemd/system/multi-user.target.wants/{name}.service");
            let secret = format!(
                "[secret]\nenv = \"TOKEN\"\n[proof]\nsettle = \"1s\"\n[[target]]\ntype = \"systemd\"\nunits = [\"{name}.service\"]\n"
            );
            builder = builder
                .file(&format!("/etc/systemd/system/{name}.service"), 0o644, unit)
                .link(&wants, &format!("../{name}.service"))
                .secret(name, &secret);
        }
        let machine = builder.boot();
        machine.ok(&["rekeyctl", "adopt", "--all"]);
        // The helper counts anew when it is started anew.
        poll(seconds(60), "the helper has ended", || (machine.unit("rekeyd-process.service", "ActiveState") == "inactive").then_some(()));
        machine.sh("journalctl --sync");
        machine.sh("systemctl start $(rekeyctl list --json | jq -r '.[].name' | sed 's/.*/rekeyd-rotate@&.service/')");
        // Before anybody asks how the secrets stand, which looks into processes too.
        let said = machine.unit("rekeyd-process.service", "StatusText");
        let calls: usize = said.split(' ').next().and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{said:?}"));
        for name in &names {
            assert_eq!(outcome(&machine, name), "committed", "{name}");
        }
        // Each rotation looks into processes four times at least: before, at the restart, and twice for the proof.
        assert!(calls < COUNT / 2, "{calls} calls of the helper for {COUNT} rotations");
        let reloads = machine.sh("journalctl -q -o cat _PID=1 | grep -cE '^Reloading(\\.|\\.\\.\\.)$'");
        assert_eq!(reloads.trim(), "1", "daemon-reloads since the boot");
    }
}
