//! What users of the backend notice of a rotation: nothing, where there is a socket or a second instance; what was foretold,
//! where the one process is restarted.

#![allow(clippy::unwrap_used)]

use crate::support;

use serde_json::Value;
use support::rotation::{self, NAME};
use support::{Backend, Builder, Debian, Machine, poll, seconds, token};

const OVERLAP: &str = "[invalidation]\nmode = \"overlap\"\nprevious-env = \"JWT_SECRET_PREVIOUS\"\noverlap = \"15m\"\n\
    strategy = \"publish-first\"\n";
const SOCKET: &str = "[Socket]\nListenStream=127.0.0.1:3000\nBacklog=4096\n[Install]\nWantedBy=sockets.target\n";
const INSTANCE: &str = "[Service]\nType=notify\nEnvironment=JWT_SECRET=first-value-0123456789abcdef0123456789abcdef\n\
    Environment=PORT=%i TOY_HOME=/etc/toy/my-backend\nExecStart=/usr/local/bin/toy-backend\nTimeoutStopSec=5\n";

/// A backend behind a socket of systemd.
fn behind_a_socket(debian: Debian, more: &str) -> Machine {
    let backend = Backend::good()
        .unit("Requires=my-backend.socket\nAfter=my-backend.socket")
        .service("StandardInput=socket\nStandardOutput=journal\nStandardError=journal");
    let builder = rotation::on_with(debian, &backend, more).example("load");
    let builder = builder.file("/etc/systemd/system/my-backend.socket", 0o644, SOCKET);
    rotation::adopt(
        builder.link("/etc/systemd/system/sockets.target.wants/my-backend.socket", "../my-backend.socket").boot(),
    )
}

/// Three instances.
fn instances(builder: Builder, more: &str) -> Machine {
    instances_of(builder, Backend::good(), INSTANCE, more)
}

fn instances_of(builder: Builder, backend: Backend, unit: &str, more: &str) -> Machine {
    let toml = rotation::toml(more).replace("my-backend.service", "pool@.service");
    let machine = builder
        .backend(&backend.stopped())
        .example("load")
        .file("/etc/systemd/system/pool@.service", 0o644, unit)
        .secret(NAME, &toml)
        .boot();
    machine.sh("systemctl start pool@3000 pool@3001 pool@3002");
    for port in [3000, 3001, 3002] {
        poll(seconds(10), "an instance serves", || {
            (token::ask(&machine, port, "/healthz", "", "").0 == 200).then_some(())
        });
    }
    rotation::adopt(machine)
}

/// What came of a steady load through what is `done`.
fn under_load(machine: &Machine, ports: &str, done: impl FnOnce()) -> Value {
    machine.sh(&format!(
        "rm -f /run/stop /run/load.json; systemd-run -q --unit=load -p StandardOutput=file:/run/load.json /usr/local/bin/load {ports} 500 /run/stop"
    ));
    poll(seconds(10), "the load is there", || (machine.unit("load.service", "ActiveState") == "active").then_some(()));
    done();
    machine.sh("touch /run/stop");
    poll(seconds(20), "the load is over", || (machine.unit("load.service", "ActiveState") != "active").then_some(()));
    serde_json::from_str(&machine.read("/run/load.json")).unwrap()
}

#[track_caller]
fn assert_nobody_noticed(load: &Value) {
    assert_eq!(load["failed"], 0, "{load:#}");
    assert!(load["sent"].as_u64().unwrap() >= 500, "{load:#}");
}

/// The secret's file, with the backend watched.
fn watched(more: &str) -> String {
    rotation::toml("").replace("[proof]\n", &format!("[proof]\nwatch = \"http://127.0.0.1:3000/healthz\"\n{more}"))
}

/// What the rotation's proof says of the users.
fn impact(records: &Value) -> Option<Value> {
    let mut evidence =
        records.as_array()?.iter().filter_map(|record| record["what"]["seen"]["evidence"].as_array()).flatten();
    evidence.rfind(|evidence| evidence["kind"] == "impact").cloned()
}

support::on_both_debians! {
    fn behind_a_socket_nobody_notices_a_rotation_and_the_end_of_its_overlap(debian) {
        let machine = behind_a_socket(debian, OVERLAP);
        assert_nobody_noticed(&under_load(&machine, "3000", || rotation::rotate_ok(&machine)));
        // Those who are logged in by now have tokens of the new value.
        let load = under_load(&machine, "3000", || drop(machine.ok(&["rekeyctl", "retire", NAME])));
        assert_nobody_noticed(&load);
    }

    fn with_instances_one_at_a_time_nobody_notices_a_rotation(debian) {
        let machine = instances(Machine::on(debian), OVERLAP);
        let load = under_load(&machine, "3000,3001,3002", || rotation::rotate_ok(&machine));
        assert_nobody_noticed(&load);
    }

    fn instances_that_do_not_say_when_they_are_ready_are_waited_for(debian) {
        let slow = Backend::good().always("slow-start 300");
        let machine = instances_of(Machine::on(debian), slow, &INSTANCE.replace("Type=notify", "Type=exec"), OVERLAP);
        let load = under_load(&machine, "3000,3001,3002", || rotation::rotate_ok(&machine));
        assert_nobody_noticed(&load);
    }

    fn a_plain_restart_is_foretold_measured_and_told(debian) {
        let machine = rotation::adopted_with(debian, &Backend::good().always("slow-start 400"), "");
        machine.put("/etc/rekeyd/secrets.d/my-backend-jwt.toml", 0o644, watched(""));
        machine.ok(&["rekeyctl", "reload"]);
        let plan = machine.ok(&["rekeyctl", "rotate", "--dry-run", NAME]);
        let foretold = plan.lines().find(|line| line.contains("outage")).unwrap();
        assert!(foretold.contains("my-backend.service answers nobody for about "), "{plan}");
        let long = |of: &str| of.split_once("nobody for about ").unwrap().1.split_once(' ').unwrap().0.parse::<f64>().unwrap();
        assert!(foretold.contains(" s and ") || foretold.contains(" ms and ") && long(foretold) >= 300.0, "{plan}");
        assert!(foretold.ends_with("for as long as it takes to stop (which was not seen yet)"), "{plan}");
        let told = machine.ok(&["rekeyctl", "rotate", NAME]);
        let records: Value = serde_json::from_str(&machine.ok(&["rekeyctl", "history", "--json", NAME])).unwrap();
        let impact = impact(&records).unwrap();
        assert!(impact["failed"].as_u64().unwrap() >= 3 && impact["longest_gap_ms"].as_u64().unwrap() >= 400, "{impact:#}");
        assert!(told.contains(&format!("{} of {} requests to", impact["failed"], impact["sent"])), "{told}");
    }

    fn over_the_error_budget_the_rotation_goes_back(debian) {
        let machine = rotation::adopted_with(debian, &Backend::good().always("slow-start 400"), "");
        machine.put("/etc/rekeyd/secrets.d/my-backend-jwt.toml", 0o644, watched("error-budget = 2\n"));
        machine.ok(&["rekeyctl", "reload"]);
        let plan = machine.ok(&["rekeyctl", "rotate", "--dry-run", NAME]);
        assert!(plan.contains("more than the error-budget of 2: it would be rolled back"), "{plan}");
        let said = rotation::rotate(&machine);
        rotation::assert_rolled_back(&machine, &said, 2, &["error-budget"]);
    }

    fn behind_a_socket_no_error_budget_is_spent(debian) {
        let machine = behind_a_socket(debian, OVERLAP);
        let plan = machine.ok(&["rekeyctl", "rotate", "--dry-run", NAME]);
        assert!(plan.contains("outage    none: connections wait in my-backend.socket"), "{plan}");
        machine.put("/etc/rekeyd/secrets.d/my-backend-jwt.toml", 0o644, watched("error-budget = 0\n") + OVERLAP);
        machine.ok(&["rekeyctl", "reload"]);
        rotation::rotate_ok(&machine);
    }
}
