//! The main job: a running backend is taken over, rotated, proven, and keeps its value whatever becomes of rekeyd.

#![allow(clippy::unwrap_used)]

use crate::support;

use serde_json::Value;
use support::rotation::{self, NAME, UNIT};
use support::{Backend, Machine, backend::FIRST_VALUE, poll, seconds, token};

const DROP_IN: &str = "/etc/systemd/system/my-backend.service.d/90-rekeyd-my-backend-jwt.conf";

/// How often systemd has reloaded since the boot.
fn reloads(machine: &Machine) -> usize {
    let entries = machine.journal(&["-b", "_PID=1"]);
    let text = |entry: &Value| entry["MESSAGE"].as_str().unwrap_or_default().to_owned();
    entries.iter().map(text).filter(|text| text.starts_with("Reloading") && !text.contains("finished")).count()
}

support::on_both_debians! {
    fn adopting_restarts_nothing_and_writes_nothing_outside_the_store(debian) {
        let machine = rotation::on(debian, &Backend::good()).boot();
        let before = machine.unit(UNIT, "InvocationID");
        machine.ok(&["rekeyctl", "adopt", NAME]);
        assert_eq!(machine.unit(UNIT, "InvocationID"), before);
        machine.sh(&format!("! test -e {DROP_IN}; ! test -e /var/lib/rekeyd/delivered"));
        assert_eq!(rotation::status(&machine)["generation"], 1);
        assert!(machine.ok(&["rekeyctl", "adopt", NAME]).contains("nothing to do"));
    }

    fn without_adoption_a_rotation_is_refused_with_that_advice(debian) {
        let machine = rotation::on(debian, &Backend::good()).boot();
        let said = rotation::rotate(&machine);
        assert_eq!(said.status, 3, "{said}");
        assert!(said.stderr.contains("rekeyctl adopt my-backend-jwt"), "{said}");
        assert_eq!(rotation::value(&machine), FIRST_VALUE);
    }

    fn a_rotation_is_delivered_activated_proven_and_committed(debian) {
        let machine = rotation::adopted(debian, &Backend::good());
        let old_token = token::login(&machine);
        let reloads_before = reloads(&machine);
        rotation::rotate_ok(&machine);
        let first = rotation::assert_new_value(&machine);
        assert!(machine.read(DROP_IN).contains("EnvironmentFile=/var/lib/rekeyd/delivered/my-backend-jwt/current/env"));
        assert_eq!(reloads(&machine), reloads_before + 1, "the drop-in is new");
        assert_eq!(token::present(&machine, &old_token), 401, "a token of the old value is accepted");

        rotation::rotate_ok(&machine);
        assert_ne!(rotation::assert_new_value(&machine), first);
        assert_eq!(reloads(&machine), reloads_before + 1, "the second rotation needs no daemon-reload");

        let status = rotation::status(&machine);
        assert_eq!(status["generation"], 3);
        assert_eq!(status["last"]["outcome"]["outcome"], "committed");
        assert_eq!(status["generations"][1]["stage"], "previous");
    }

    fn a_backend_with_an_environment_file_is_taken_over_too(debian) {
        let machine = rotation::adopted(debian, &Backend::good().env_file());
        rotation::rotate_ok(&machine);
        rotation::assert_new_value(&machine);
    }

    fn daemon_reload_always_reloads_each_time(debian) {
        let machine = rotation::on(debian, &Backend::good()).boot();
        let toml = rotation::toml("").replace("[[target]]", "[[target]]\ndaemon-reload = \"always\"");
        machine.put("/etc/rekeyd/secrets.d/my-backend-jwt.toml", 0o644, toml);
        machine.ok(&["rekeyctl", "reload"]);
        machine.ok(&["rekeyctl", "adopt", NAME]);
        let before = reloads(&machine);
        rotation::rotate_ok(&machine);
        rotation::rotate_ok(&machine);
        assert_eq!(reloads(&machine), before + 2);
    }

    fn every_process_of_the_unit_is_looked_at(debian) {
        let machine = rotation::adopted(debian, &Backend::good().always("workers 3"));
        machine.ok(&["rekeyctl", "rotate", NAME]);
        let history = machine.ok(&["rekeyctl", "history", NAME]);
        assert!(history.contains("4 of 4 processes of my-backend.service have the value"), "{history}");
    }

    fn the_value_stays_in_force_after_a_reboot_and_without_rekeyd(debian) {
        let machine = rotation::adopted(debian, &Backend::good());
        rotation::rotate_ok(&machine);
        let value = rotation::assert_new_value(&machine);
        machine.reboot();
        assert_eq!(rotation::assert_new_value(&machine), value);
        machine.ok(&["rekeyctl", "verify", NAME]);

        machine.sh("systemctl mask --now rekeyd.service; systemctl restart my-backend.service");
        assert_eq!(rotation::assert_new_value(&machine), value, "rekeyd is masked");
        machine.sh("systemctl unmask rekeyd.service; DEBIAN_FRONTEND=noninteractive apt-get -qq -y remove rekeyd");
        machine.reboot();
        assert_eq!(rotation::assert_new_value(&machine), value, "rekeyd is removed");
    }

    fn a_person_goes_back_to_the_previous_value(debian) {
        let machine = rotation::adopted(debian, &Backend::good());
        rotation::rotate_ok(&machine);
        machine.ok(&["rekeyctl", "rollback", NAME, "--reason", "users are locked out"]);
        assert_eq!(rotation::value(&machine), FIRST_VALUE);
        let status = rotation::status(&machine);
        assert_eq!(status["generation"], 1);
        assert_eq!(status["generations"].as_array().unwrap().last().unwrap()["stage"], "rejected");
        let said = machine.exec(&["rekeyctl", "rollback", NAME]);
        assert_eq!(said.status, 3, "there is nothing to go back to: {said}");
    }

    fn a_dry_run_says_what_would_happen_and_touches_nothing(debian) {
        let machine = rotation::adopted(debian, &Backend::good());
        let before = machine.unit(UNIT, "InvocationID");
        let said = machine.ok(&["rekeyctl", "rotate", "--dry-run", NAME]);
        assert!(!said.contains("about 0"), "{said}");
        assert!(said.contains("{1} → {2}") && said.contains("the drop-in of my-backend.service is new"), "{said}");
        assert_eq!(machine.unit(UNIT, "InvocationID"), before);
        machine.sh(&format!("! test -e {DROP_IN}"));
    }

    fn who_does_not_wait_gets_the_id_and_others_are_told_busy_or_wait(debian) {
        let machine = rotation::adopted(debian, &Backend::good());
        let toml = rotation::toml("").replace("\"1s\"", "\"3s\"");
        machine.put("/etc/rekeyd/secrets.d/my-backend-jwt.toml", 0o644, toml);
        machine.ok(&["rekeyctl", "reload"]);
        let begun = machine.ok(&["rekeyctl", "--json", "rotate", "--no-wait", NAME]);
        let id = serde_json::from_str::<Value>(&begun).unwrap()["rotation"].as_str().unwrap().to_owned();
        assert_eq!(id.len(), 32);
        let said = rotation::rotate(&machine);
        assert_eq!(said.status, 75, "{said}");
        machine.ok(&["rekeyctl", "rotate", "--wait", NAME]);
        assert_eq!(rotation::status(&machine)["generation"], 3);
        assert!(machine.ok(&["rekeyctl", "history", NAME, "--rotation", &id]).contains("generation 2 "));
    }

    fn whoever_was_told_of_the_end_is_not_told_busy(debian) {
        let machine = rotation::adopted(debian, &Backend::good());
        rotation::rotate_ok(&machine);
        // What is left to be done after the end asks systemd, which takes its time now.
        machine.put("/etc/systemd/system-generators/slow", 0o755, "#!/bin/sh\nsleep 0.5\n");
        machine.sh("systemd-run -q --unit=reloads sh -c 'while :; do systemctl daemon-reload; done'");
        for generation in [3, 4] {
            let said = machine.exec(&["sh", "-c", &format!("rekeyctl rotate {NAME} && rekeyctl verify {NAME}")]);
            assert_eq!(said.status, 0, "{said}");
            assert_eq!(rotation::status(&machine)["generation"], generation);
        }
        let said = machine.exec(&["sh", "-c", &format!("rekeyctl rotate {NAME} && rekeyctl rollback {NAME}")]);
        assert_eq!(said.status, 0, "{said}");
    }

    fn a_unit_that_somebody_starts_in_mid_rotation_is_moved_and_proven_too(debian) {
        let side = Backend::named("my-side", 3001).stopped();
        // The first of them is slow to start again, so that there is time.
        let main = Backend::good().fault("slow-start 3000");
        let secret = rotation::SECRET.replace("\"my-backend.service\"", "\"my-backend.service\", \"my-side.service\"");
        let machine = rotation::adopt(rotation::on(debian, &main).backend(&side).secret(NAME, &secret).boot());
        // With the old value, which its own unit file still says: the drop-in is not loaded yet.
        machine.sh("rekeyctl rotate --no-wait my-backend-jwt; systemctl start my-side.service");
        poll(seconds(30), "it ends", || {
            let status = rotation::status(&machine);
            status["rotation"].is_null().then_some(())
        });
        assert_eq!(rotation::status(&machine)["last"]["outcome"]["outcome"], "committed");
        let value = rotation::value(&machine);
        assert_ne!(value, FIRST_VALUE);
        for (name, has) in machine.variable("my-side.service", "JWT_SECRET") {
            assert_eq!(has.as_deref(), Some(value.as_str()), "{name} has another value");
        }
        machine.ok(&["rekeyctl", "verify", NAME]);
    }

    fn a_terminal_shows_what_goes_on_and_a_pipe_has_plain_lines(debian) {
        let machine = rotation::adopted(debian, &Backend::good());
        let (overwritten, green) = ("\r\u{1b}[K", "\u{1b}[32m✓");
        let on_terminal = |environment: &str| {
            let command = format!("env -u NO_COLOR {environment} script -qec 'rekeyctl rotate {NAME}' /dev/null");
            machine.ok(&["sh", "-c", &command])
        };
        let said = on_terminal("TERM=xterm");
        assert!(said.contains("… prove") && said.contains(overwritten) && said.contains(green), "{said:?}");
        let said = on_terminal("TERM=xterm NO_COLOR=1");
        assert!(said.contains("… prove") && said.contains(overwritten) && !said.contains(green), "{said:?}");
        let said = machine.ok(&["sh", "-c", &format!("env -u NO_COLOR TERM=xterm rekeyctl rotate {NAME} | cat")]);
        assert!(said.contains("✓ ") && !said.contains(['\u{1b}', '\r', '…']), "{said:?}");
    }

    fn a_mistake_in_the_command_line_is_told_by_64_and_nothing_is_touched(debian) {
        let machine = rotation::adopted(debian, &Backend::good());
        let world = rotation::World::of(&machine);
        for mistake in [
            "rotate",
            "rotate my-backend-jwt --nonsense",
            "rotate --wait --no-wait my-backend-jwt",
            "rotate --reason \"$(printf 'two\\nlines')\" my-backend-jwt",
            "reveal my-backend-jwt --to-fd 77",
            "key export --to-fd 77",
            "history --rotation 0123456789abcdef0123456789abcdef",
            "history --json --rotation 0123456789abcdef0123456789abcdef",
            "new nonsense",
        ] {
            let said = machine.exec(&["sh", "-c", &format!("rekeyctl {mistake}")]);
            assert_eq!((said.status, said.stdout.as_str()), (64, ""), "{mistake}: {said}");
        }
        world.assert_same(&machine);
        assert_eq!(rotation::status(&machine)["generation"], 1);
    }

    fn the_host_is_checked_before_anything_is_in_force(debian) {
        let machine = rotation::on(debian, &Backend::good()).boot();
        let host = |machine: &Machine| {
            let said = machine.exec(&["rekeyctl", "check", "--host", "--json"]);
            (said.status, serde_json::from_str::<Value>(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said}")))
        };
        let (status, said) = host(&machine);
        assert_eq!((status, &said["host"][0]["well"]), (0, &true.into()), "{said:#}");
        machine.put("/etc/rekeyd/secrets.d/my-other-jwt.toml", 0o644, rotation::SECRET.replace("my-backend.service", "my-bakend.service"));
        let (status, said) = host(&machine);
        assert_eq!((status, &said["mistakes"]), (3, &serde_json::json!([])), "{said:#}");
        assert_eq!((&said["host"][1]["secret"], &said["host"][1]["well"]), (&"my-other-jwt".into(), &false.into()), "{said:#}");
        assert!(said["host"][1]["what"].as_str().unwrap().contains("my-bakend.service is not-found"), "{said:#}");
    }

    fn anybody_may_check_files(debian) {
        let machine = rotation::on(debian, &Backend::good()).boot();
        let said = machine.exec_as("nobody", &["rekeyctl", "check"]);
        assert_eq!(said.status, 0, "{said}");
        let said = machine.exec_as("nobody", &["rekeyctl", "status"]);
        assert_eq!(said.status, 77, "{said}");
    }

    fn a_program_that_hides_its_environment_is_proven_by_its_tokens(debian) {
        let secret = rotation::SECRET.replace("settle = \"1s\"", "settle = \"1s\"\nallow-without = [\"exe\"]");
        let backend = Backend::good().always("hides-environment");
        let machine = rotation::adopt(rotation::on(debian, &backend).secret(NAME, &secret).boot());
        let said = machine.ok(&["rekeyctl", "rotate", NAME]);
        assert!(said.contains("0 of 1 processes") && said.contains("signed with generation 2"), "{said}");
        assert!(token::is_signed_with(&token::login(&machine), &rotation::delivered(&machine)));

        let machine = rotation::on(debian, &backend).boot();
        let said = machine.exec(&["rekeyctl", "adopt", NAME]);
        assert_eq!(said.status, 3, "without allow-without nothing is known: {said}");
    }

    fn a_mistyped_name_is_found_before_any_other_is_rotated(debian) {
        let machine = rotation::adopted(debian, &Backend::good());
        let said = machine.exec(&["rekeyctl", "rotate", NAME, "no-such-secret"]);
        assert_eq!((said.status, &rotation::status(&machine)["generation"]), (64, &1.into()), "{said}");
    }

    fn following_in_json_is_a_line_a_step(debian) {
        let machine = rotation::adopted(debian, &Backend::good());
        let said = machine.ok(&["rekeyctl", "--json", "rotate", NAME, "--reason", "a test"]);
        let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["what"]["kind"], "requested");
        assert_eq!(lines[0]["what"]["reason"], "a test");
        assert_eq!(lines.last().unwrap()["what"]["outcome"]["outcome"], "committed");
    }

    fn a_unit_that_is_stopped_on_purpose_gets_the_value_and_stays_stopped(debian) {
        let machine = rotation::adopted(debian, &Backend::good());
        machine.ok(&["systemctl", "stop", UNIT]);
        rotation::rotate_ok(&machine);
        assert_eq!(machine.unit(UNIT, "ActiveState"), "inactive");
        machine.ok(&["systemctl", "start", UNIT]);
        rotation::assert_new_value(&machine);
    }

    fn nothing_but_root_may_use_it(debian) {
        let machine = rotation::adopted(debian, &Backend::good());
        let said = machine.exec_as("nobody", &["rekeyctl", "list"]);
        assert_eq!(said.status, 77, "{said}");
    }

    fn the_bus_is_restarted_in_mid_rotation_and_the_rotation_goes_on(debian) {
        let machine = rotation::adopted(debian, &Backend::good());
        let toml = rotation::toml("").replace("\"1s\"", "\"4s\"");
        machine.put("/etc/rekeyd/secrets.d/my-backend-jwt.toml", 0o644, toml);
        machine.ok(&["rekeyctl", "reload"]);
        machine.ok(&["rekeyctl", "rotate", "--no-wait", NAME]);
        poll(seconds(20), "the value is delivered", || rotation::new_value(&machine));
        machine.ok(&["systemctl", "kill", "--signal=KILL", "dbus.service"]);
        poll(seconds(40), "the rotation ends", || {
            let said = machine.exec(&["rekeyctl", "status", NAME, "--json"]);
            let status: Value = serde_json::from_str(&said.stdout).ok()?;
            (status["last"]["outcome"]["outcome"] == "committed").then_some(())
        });
        rotation::assert_new_value(&machine);
    }
}
