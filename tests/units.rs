//! Several units of one secret, and units that change under a rotation's hands.

#![allow(clippy::unwrap_used)]

use crate::support;

use support::backend::FIRST_VALUE;
use support::rotation::{self, NAME, UNIT};
use support::{Backend, Debian, Machine, poll, seconds};

const WORKER: &str = "my-worker.service";
const FILE: &str = "/etc/rekeyd/secrets.d/my-backend-jwt.toml";

/// A backend and a worker, restarted in this order; the backend takes a while.
fn with_worker(debian: Debian, units: &str) -> Machine {
    let toml = rotation::toml("").replace("[\"my-backend.service\"]", units);
    let machine = Machine::on(debian)
        .backend(&Backend::good().always("slow-start 1500"))
        .backend(&Backend::named("my-worker", 3001))
        .secret(NAME, &toml)
        .boot();
    rotation::adopt(machine)
}

#[track_caller]
fn value_of(machine: &Machine, unit: &str) -> Option<String> {
    machine.variable(unit, "JWT_SECRET").into_iter().find_map(|(_, value)| value)
}

/// A rotation is begun; this returns while the backend is being restarted, before it is the worker's turn.
fn begin(machine: &Machine) {
    machine.ok(&["rekeyctl", "rotate", "--no-wait", NAME]);
    poll(seconds(10), "the backend is being restarted", || {
        (machine.unit(UNIT, "ActiveState") == "activating").then_some(())
    });
}

#[track_caller]
fn ends_as(machine: &Machine, outcome: &str) {
    poll(seconds(40), "it ends", || rotation::status(machine)["rotation"].is_null().then_some(()));
    let status = rotation::status(machine);
    assert_eq!(status["last"]["outcome"]["outcome"], outcome, "{status:#}");
}

support::on_both_debians! {
    fn units_are_restarted_in_the_order_in_which_they_are_named(debian) {
        for (units, order) in [("[\"my-backend.service\", \"my-worker.service\"]", [UNIT, WORKER]), ("[\"my-worker.service\", \"my-backend.service\"]", [WORKER, UNIT])] {
            let machine = with_worker(debian, units);
            rotation::rotate_ok(&machine);
            let value = rotation::assert_new_value(&machine);
            assert_eq!(value_of(&machine, WORKER).as_deref(), Some(&*value));
            let started = order.map(|unit| machine.unit(unit, "InactiveExitTimestampMonotonic").parse::<u64>().unwrap());
            let up = machine.unit(order[0], "ActiveEnterTimestampMonotonic").parse::<u64>().unwrap();
            assert!(started[0] < up && up <= started[1], "the second was restarted before the first was up again");
        }
    }

    fn one_that_stays_down_on_the_way_back_keeps_no_other_from_the_old_value(debian) {
        let machine = with_worker(debian, "[\"my-worker.service\", \"my-backend.service\"]");
        Backend::good().break_now(&machine, "login-500");
        machine.put(
            "/etc/systemd/system/my-worker.service.d/once.conf",
            0o644,
            "[Service]\nExecStartPre=sh -c 'test ! -e /run/was-started && touch /run/was-started'\n",
        );
        machine.sh("systemctl daemon-reload");
        let said = rotation::rotate(&machine);
        assert_eq!(said.status, 2, "{said}");
        assert_eq!(machine.unit(WORKER, "ActiveState"), "failed");
        assert_eq!(value_of(&machine, UNIT).as_deref(), Some(FIRST_VALUE), "{said}");
    }

    fn interrupted_it_waits_for_the_unit_that_was_taken_out_of_the_file_meanwhile(debian) {
        let both = "[\"my-backend.service\", \"my-worker.service\"]";
        let machine = with_worker(debian, both);
        begin(&machine);
        machine.put(FILE, 0o644, rotation::toml(""));
        machine.ok(&["systemctl", "kill", "--signal=KILL", "rekeyd.service"]);
        poll(seconds(20), "it is told", || {
            let told = machine.journal(&["-u", "rekeyd.service"]);
            told.iter().any(|entry| entry["MESSAGE"].as_str().unwrap_or_default().contains("my-worker.service is gone")).then_some(())
        });
        assert!(!rotation::status(&machine)["rotation"].is_null(), "it went on without the worker");
        machine.put(FILE, 0o644, rotation::toml("").replace("[\"my-backend.service\"]", both));
        machine.ok(&["rekeyctl", "reload"]);
        ends_as(&machine, "committed");
        assert_eq!(value_of(&machine, WORKER).as_deref(), Some(&*rotation::assert_new_value(&machine)));
    }

    fn where_the_second_unit_fails_the_first_goes_back_too(debian) {
        let machine = with_worker(debian, "[\"my-backend.service\", \"my-worker.service\"]");
        Backend::named("my-worker", 3001).break_now(&machine, "exits-at-once");
        let said = rotation::rotate(&machine);
        rotation::assert_rolled_back(&machine, &said, 2, &["unit-failed"]);
        assert_eq!(value_of(&machine, WORKER).as_deref(), Some(FIRST_VALUE));
    }

    fn a_unit_that_joins_gets_the_value_with_the_next_rotation_and_one_that_leaves_is_named(debian) {
        let machine = with_worker(debian, "[\"my-backend.service\"]");
        let units = |units: &str| machine.put(FILE, 0o644, rotation::toml("").replace("[\"my-backend.service\"]", units));
        let plain = "[Service]\nExecStart=sleep infinity\n";
        machine.put("/etc/systemd/system/plain.service", 0o644, format!("{plain}Environment=JWT_SECRET=its-own\n"));
        machine.sh("systemctl daemon-reload; systemctl start plain.service");
        rotation::rotate_ok(&machine);
        // One has a value that is not known, one had the value of before, and one has none.
        units("[\"my-backend.service\", \"my-worker.service\", \"plain.service\"]");
        machine.ok(&["rekeyctl", "reload"]);
        let said = rotation::rotate(&machine);
        assert_eq!(said.status, 3, "{said}");
        rotation::assert_says(&said, "plain.service has joined, and has a value of its own in JWT_SECRET");
        machine.put("/etc/systemd/system/plain.service", 0o644, plain);
        machine.sh("systemctl daemon-reload; systemctl restart plain.service");
        assert!(machine.ok(&["rekeyctl", "status", NAME]).contains("rekeyctl rotate my-backend-jwt delivers it"));
        rotation::rotate_ok(&machine);
        let value = rotation::assert_new_value(&machine);
        for unit in [WORKER, "plain.service"] {
            assert_eq!(value_of(&machine, unit).as_deref(), Some(&*value), "{unit}");
        }
        poll(seconds(10), "all is well", || (machine.exec(&["rekeyctl", "doctor"]).status == 0).then_some(()));

        units("[\"my-backend.service\", \"plain.service\"]");
        machine.ok(&["rekeyctl", "reload"]);
        let told = "gives the value to my-worker.service, which is in no target";
        poll(seconds(10), "it is told", || machine.ok(&["rekeyctl", "status", NAME]).contains(told).then_some(()));
        let said = machine.exec(&["rekeyctl", "doctor"]);
        assert!(said.status == 1 && said.stdout.contains(told), "{said}");
        rotation::assert_says(&rotation::rotate(&machine), "WARNING: my-worker.service has the value too, and keeps the old one");
        assert_eq!(value_of(&machine, WORKER).as_deref(), Some(&*value));
        machine.sh("rm /etc/systemd/system/my-worker.service.d/90-rekeyd-*; systemctl daemon-reload");
        // Who asks at once may be told what was seen a moment ago.
        poll(seconds(10), "all is well", || (machine.exec(&["rekeyctl", "doctor"]).status == 0).then_some(()));
    }

    fn a_unit_that_is_masked_meanwhile_keeps_the_old_value_and_so_do_the_others(debian) {
        let machine = with_worker(debian, "[\"my-backend.service\", \"my-worker.service\"]");
        begin(&machine);
        machine.sh("mv /etc/systemd/system/my-worker.service /root; systemctl mask my-worker.service");
        ends_as(&machine, "rolled-back");
        rotation::assert_serves_with(&machine, FIRST_VALUE);
        assert_eq!(value_of(&machine, WORKER).as_deref(), Some(FIRST_VALUE));
        rotation::is_refused(&machine, "unit-unusable", &["masked"]);
    }

    fn one_that_is_masked_and_stopped_while_it_is_watched_is_named_and_not_waited_for(debian) {
        let units = "[\"my-backend.service\", \"my-worker.service\"]";
        let toml = rotation::toml("").replace("[\"my-backend.service\"]", units).replace("settle = \"1s\"", "settle = \"8s\"");
        let machine = Machine::on(debian)
            .backend(&Backend::good())
            .backend(&Backend::named("my-worker", 3001))
            .secret(NAME, &toml)
            .boot();
        let machine = rotation::adopt(machine);
        machine.ok(&["rekeyctl", "rotate", "--no-wait", NAME]);
        let has_new = || value_of(&machine, WORKER).is_some_and(|value| value != FIRST_VALUE);
        poll(seconds(10), "both are watched", || has_new().then_some(()));
        machine.sh("mv /etc/systemd/system/my-backend.service /root; systemctl mask my-backend.service; systemctl stop my-backend.service");
        // The deadline is ten minutes.
        ends_as(&machine, "rollback-failed");
        let outcome = rotation::status(&machine)["last"]["outcome"].to_string();
        assert!(outcome.contains("my-backend.service is masked by now"), "{outcome}");
        assert!(outcome.contains("my-backend.service was stopped in mid-rotation"), "{outcome}");
        assert_eq!(value_of(&machine, WORKER).as_deref(), Some(FIRST_VALUE));
    }

    fn a_unit_that_is_removed_or_renamed_meanwhile_keeps_the_old_value_and_so_do_the_others(debian) {
        let machine = with_worker(debian, "[\"my-backend.service\", \"my-worker.service\"]");
        begin(&machine);
        machine.sh("cd /etc/systemd/system; mv my-worker.service my-other.service; systemctl daemon-reload");
        ends_as(&machine, "rolled-back");
        rotation::assert_serves_with(&machine, FIRST_VALUE);
        assert_eq!(value_of(&machine, WORKER).as_deref(), Some(FIRST_VALUE));
        rotation::is_refused(&machine, "unit-unusable", &[WORKER]);
    }

    fn programs_by_name_and_instances_that_could_not_start_are_no_obstacle(debian) {
        let pool = format!(
            "[Unit]\nConditionPathExists=/etc/pool/%i\nConditionPathIsReadWrite=/srv\n[Service]\nType=exec\nEnvironment=PORT=%i TOY_HOME=/etc/toy/my-backend\n\
             Environment=JWT_SECRET={FIRST_VALUE}\nExecStartPre=mkdir -p /run/pool\nExecStart=toy-backend\n"
        );
        let machine = Machine::on(debian)
            .backend(&Backend::good().stopped())
            .file("/etc/pool/3000", 0o644, "")
            .file("/etc/systemd/system/pool@.service", 0o644, pool)
            .secret(NAME, &rotation::toml("").replace("my-backend.service", "pool@.service"))
            .boot();
        // The second one is loaded, and would not start: its condition does not hold.
        machine.sh("systemctl start pool@3000 pool@9999; systemctl show -P LoadState pool@9999");
        poll(seconds(10), "it serves", || (support::token::ask(&machine, 3000, "/healthz", "", "").0 == 200).then_some(()));
        let machine = rotation::adopt(machine);
        let said = rotation::rotate(&machine);
        assert_eq!(said.status, 0, "{said}");
        assert_ne!(value_of(&machine, "pool@3000.service").as_deref(), Some(FIRST_VALUE));
        // What would keep it from starting again is still found.
        machine.sh("sed -i /ReadWrite/d /etc/systemd/system/pool@.service; systemctl daemon-reload; rm /etc/pool/3000");
        let said = rotation::rotate(&machine);
        assert_eq!(said.status, 3, "{said}");
        rotation::assert_says(&said, "ConditionPathExists=/etc/pool/3000");
    }

    fn a_unit_behind_a_socket_that_waits_for_its_first_connection_is_not_started(debian) {
        let socket = "[Socket]\nListenStream=127.0.0.1:3000\n[Install]\nWantedBy=sockets.target\n";
        let backend = Backend::good().stopped().service("StandardInput=socket\nStandardOutput=journal\nStandardError=journal");
        let machine = rotation::on(debian, &backend)
            .file("/etc/systemd/system/my-backend.socket", 0o644, socket)
            .link("/etc/systemd/system/sockets.target.wants/my-backend.socket", "../my-backend.socket")
            .boot();
        let machine = rotation::adopt(machine);
        rotation::rotate_ok(&machine);
        assert_eq!(machine.unit(UNIT, "ActiveState"), "inactive");
        assert_eq!(machine.unit("my-backend.socket", "ActiveState"), "active");
        // The first connection starts it, with the new value.
        drop(support::token::login(&machine));
        rotation::assert_new_value(&machine);
    }
}
