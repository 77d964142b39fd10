//! Obstacles that are there before a rotation, on a booted Debian: it is refused, nothing is touched, and what is said
//! names the reason and the next command. Once the obstacle is gone, a rotation commits.

use crate::support;

use support::backend::FIRST_VALUE;
use support::rotation::{
    NAME, SECRET, UNIT, World, adopt, adopted, assert_committed, assert_says, assert_serves_with, commits, delivered,
    is_refused, on, rotate, stage, status, value,
};
use support::{Backend, Debian, poll, seconds, token};

const OVERRIDE: &str = "/etc/systemd/system/my-backend.service.d/zz-override.conf";

support::on_both_debians! {
    fn a_secret_that_was_not_adopted(debian) {
        let machine = on(debian, &Backend::good()).boot();
        assert_eq!(status(&machine)["state"], "not-adopted");
        let world = World::of(&machine);
        let said = rotate(&machine);
        assert_eq!(said.status, 3, "{said}");
        assert_says(&said, "nothing was touched");
        assert_says(&said, &format!("rekeyctl adopt {NAME}"));
        world.assert_same(&machine);
        assert_eq!(machine.exec(&["test", "-e", &format!("/var/lib/rekeyd/delivered/{NAME}")]).status, 1);

        let machine = adopt(machine);
        world.assert_same(&machine);
        commits(&machine, 2);
    }

    fn a_backend_that_has_failed(debian) {
        let machine = adopted(debian, &Backend::good());
        machine.ok(&["systemctl", "kill", "--signal=KILL", UNIT]);
        poll(seconds(10), "it has failed", || (machine.unit(UNIT, "ActiveState") == "failed").then_some(()));
        is_refused(&machine, "unit-sick", &["my-backend.service is failed", "journalctl -u my-backend.service"]);

        machine.sh("systemctl reset-failed my-backend.service; systemctl start my-backend.service");
        commits(&machine, 2);
    }

    fn a_backend_that_systemd_restarts_again_and_again(debian) {
        let backend = Backend::good().service("Restart=always\nRestartSec=1h");
        let machine = adopted(debian, &backend);
        machine.ok(&["systemctl", "kill", "--signal=KILL", UNIT]);
        poll(seconds(10), "it waits", || (machine.unit(UNIT, "SubState") == "auto-restart").then_some(()));
        is_refused(&machine, "unit-sick", &["auto-restart", "journalctl -u my-backend.service"]);
    }

    fn a_backend_whose_login_fails_already(debian) {
        let backend = Backend::good().always("login-500");
        let machine = adopted(debian, &backend);
        is_refused(&machine, "login-failed", &["/api/auth/login", "500"]);
        assert_eq!(value(&machine), FIRST_VALUE);
    }

    fn a_missing_program(debian) {
        let machine = adopted(debian, &Backend::good());
        machine.sh("mv /usr/local/bin/toy-backend /usr/local/bin/gone");
        is_refused(&machine, "program-missing", &["/usr/local/bin/toy-backend", "does not exist", "install it again"]);

        machine.sh("mv /usr/local/bin/gone /usr/local/bin/toy-backend; chmod -x /usr/local/bin/toy-backend");
        is_refused(&machine, "program-missing", &["/usr/local/bin/toy-backend", "cannot be executed"]);
        machine.sh("chmod +x /usr/local/bin/toy-backend");
        commits(&machine, 2);
    }

    fn a_condition_that_does_not_hold_any_more(debian) {
        for line in ["ConditionPathExists=/etc/go", "AssertPathExists=/etc/go"] {
            let machine = adopt(on(debian, &Backend::good().unit(line)).file("/etc/go", 0o644, "").boot());
            machine.sh("rm /etc/go");
            is_refused(&machine, "condition-fails", &["/etc/go", UNIT]);
            machine.sh("touch /etc/go");
            commits(&machine, 2);
        }
    }

    fn a_drop_in_of_the_administrator_that_sets_the_value_too(debian) {
        let drop_in = "[Service]\nEnvironmentFile=/etc/override.env\n";
        let machine = on(debian, &Backend::good())
            .file(OVERRIDE, 0o644, drop_in)
            .file("/etc/override.env", 0o600, format!("JWT_SECRET={FIRST_VALUE}\n"))
            .boot();
        let machine = adopt(machine);
        is_refused(&machine, "overridden", &["/etc/override.env", "JWT_SECRET", "90-rekeyd"]);

        machine.put("/etc/override.env", 0o600, "OTHER=kept\n");
        commits(&machine, 2);
    }

    fn a_drop_in_of_the_administrator_that_sets_the_value_too_since_the_last_rotation(debian) {
        let machine = adopted(debian, &Backend::good());
        let second = commits(&machine, 2);
        machine.put(OVERRIDE, 0o644, "[Service]\nEnvironmentFile=/etc/override.env\n");
        machine.put("/etc/override.env", 0o600, "JWT_SECRET=something-else-0123456789abcdef0123456789\n");
        machine.ok(&["systemctl", "daemon-reload"]);
        is_refused(&machine, "overridden", &["/etc/override.env", "JWT_SECRET", "systemctl cat my-backend.service"]);
        assert_serves_with(&machine, &second);

        machine.sh(&format!("rm {OVERRIDE}; systemctl daemon-reload"));
        assert_ne!(commits(&machine, 3), second);
    }

    fn a_drop_in_of_the_administrator_that_unsets_the_variable(debian) {
        let machine = adopted(debian, &Backend::good());
        machine.put(OVERRIDE, 0o644, "[Service]\nUnsetEnvironment=JWT_SECRET\n");
        is_refused(&machine, "overridden", &[OVERRIDE, "UnsetEnvironment", "JWT_SECRET"]);
        machine.ok(&["systemctl", "daemon-reload"]);
        is_refused(&machine, "overridden", &["UnsetEnvironment", "JWT_SECRET", "systemctl cat my-backend.service"]);

        machine.sh(&format!("rm {OVERRIDE}; systemctl daemon-reload"));
        commits(&machine, 2);
    }

    fn a_drop_in_of_the_administrator_that_empties_the_list_of_files(debian) {
        let machine = adopted(debian, &Backend::good());
        machine.put(OVERRIDE, 0o644, "[Service]\nEnvironmentFile=\n");
        is_refused(&machine, "overridden", &[OVERRIDE, "EnvironmentFile="]);
        machine.sh(&format!("rm {OVERRIDE}"));
        commits(&machine, 2);
    }

    fn drop_ins_that_win_over_ours_wherever_they_stand(debian) {
        let drop_in = "[Service]\nEnvironmentFile=/etc/override.env\n";
        is_seen(debian, "/etc/systemd/system/service.d/zz-override.conf", drop_in);
        is_seen(debian, "/run/systemd/system/my-backend.service.d/zz-override.conf", drop_in);
        is_seen(debian, "/usr/lib/systemd/system/my-backend.service.d/zz-override.conf", drop_in);
    }

    fn drop_ins_that_win_over_ours_however_they_are_spelled(debian) {
        is_seen(debian, OVERRIDE, "[Service]\nEnvironmentFile=-/etc/override.env\n");
        is_seen(debian, OVERRIDE, "[Service]\nEnvironmentFile = /etc/override.env\n");
        is_seen(debian, OVERRIDE, "[Service]\nEnvironmentFile=%E/override.env\n");
        is_seen(debian, OVERRIDE, "[Service]\nUnsetEnvironment=OTHER \"JWT_SECRET=something-else\"\n");
    }

    fn a_drop_in_that_wins_over_ours_with_a_pattern_of_files(debian) {
        is_seen(debian, OVERRIDE, "[Service]\nEnvironmentFile=/etc/over*.env\n");
    }

    fn a_value_that_was_changed_by_hand(debian) {
        let by_hand = "changed-by-hand-0123456789abcdef0123456789";
        let machine = adopted(debian, &Backend::good());
        let drop_in = format!("[Service]\nEnvironment=JWT_SECRET={by_hand}\n");
        machine.put("/etc/systemd/system/my-backend.service.d/50-mine.conf", 0o644, drop_in);
        machine.sh("systemctl daemon-reload; systemctl restart my-backend.service");
        is_refused(&machine, "wrong-value", &["changed by hand", &format!("rekeyctl adopt {NAME}")]);
        assert_eq!(value(&machine), by_hand);

        let machine = adopt(machine);
        assert_eq!(status(&machine)["generation"], 2);
        let third = commits(&machine, 3);
        assert_ne!(third, by_hand);
        assert_eq!(token::present(&machine, &token::forge(by_hand)), 401);
    }

    fn a_helper_process_without_the_variable_is_named_and_not_taken_for_a_change_by_hand(debian) {
        let machine = adopted(debian, &Backend::good().always("bare-worker"));
        is_refused(&machine, "no-value", &["lack JWT_SECRET: \"sleep\"", "allow-without"]);
        let said = rotate(&machine);
        assert!(!said.stdout.contains("by hand"), "{said}");
        let allowed = SECRET.replace("[proof]\n", "[proof]\nallow-without = [\"sleep\"]\n");
        machine.put(&format!("/etc/rekeyd/secrets.d/{NAME}.toml"), 0o644, allowed);
        machine.ok(&["rekeyctl", "reload"]);
        assert_eq!(rotate(&machine).status, 0);
    }

    fn a_backend_that_accepts_tokens_of_anybody(debian) {
        let backend = Backend::good().always("accepts-random");
        let machine = adopted(debian, &backend);
        is_refused(&machine, "accepts-random-key", &["/api/me", "forged", "does not check"]);
        backend.mend(&machine);
        machine.ok(&["systemctl", "restart", UNIT]);
        commits(&machine, 2);
    }

    fn a_backend_that_accepts_unsigned_tokens(debian) {
        let backend = Backend::good().always("accepts-none");
        let machine = adopted(debian, &backend);
        is_refused(&machine, "accepts-alg-none", &["/api/me", "forged", "does not check"]);
        backend.mend(&machine);
        machine.ok(&["systemctl", "restart", UNIT]);
        commits(&machine, 2);
    }

    fn unit_files_that_cannot_be_written(debian) {
        let machine = adopted(debian, &Backend::good());
        // The mount namespace of the daemon is made when it starts.
        machine.sh("systemctl stop rekeyd.service
            mount --bind /etc/systemd/system /etc/systemd/system
            mount -o remount,bind,ro /etc/systemd/system
            systemctl start rekeyd.service");
        is_refused(&machine, "not-writable", &["/etc/systemd/system", "read-only", "when the image is made"]);

        machine.sh("systemctl stop rekeyd.service; umount /etc/systemd/system; systemctl start rekeyd.service");
        commits(&machine, 2);
    }

    fn a_masked_unit(debian) {
        let machine = adopted(debian, &Backend::good());
        let file = format!("/etc/systemd/system/{UNIT}");
        machine.sh(&format!("mv {file} /root/unit; ln -s /dev/null {file}; systemctl daemon-reload"));
        is_refused(&machine, "unit-unusable", &["my-backend.service: it is masked", "systemctl status"]);
        machine.sh(&format!("mv -f /root/unit {file}; systemctl daemon-reload"));
        commits(&machine, 2);
    }

    fn a_unit_that_refuses_to_be_restarted(debian) {
        let machine = adopted(debian, &Backend::good());
        machine.put(OVERRIDE, 0o644, "[Unit]\nRefuseManualStop=yes\n");
        machine.ok(&["systemctl", "daemon-reload"]);
        is_refused(&machine, "unit-unusable", &["my-backend.service refuses to be restarted", "systemctl cat"]);
        machine.sh(&format!("rm {OVERRIDE}; systemctl daemon-reload"));
        commits(&machine, 2);
    }

    fn a_unit_that_is_gone(debian) {
        let machine = adopted(debian, &Backend::good());
        let file = format!("/etc/systemd/system/{UNIT}");
        machine.sh(&format!("mv {file} /root/unit; systemctl daemon-reload"));
        is_refused(&machine, "unit-unusable", &["my-backend.service: there is no such unit", "systemctl status"]);
        machine.sh(&format!("mv /root/unit {file}; systemctl daemon-reload"));
        commits(&machine, 2);
    }

    fn a_secret_that_nobody_configured(debian) {
        let machine = adopted(debian, &Backend::good());
        let world = World::of(&machine);
        for verb in ["rotate", "adopt", "status", "release"] {
            let said = machine.exec(&["rekeyctl", verb, "my-frontend-jwt"]);
            assert_eq!(said.status, 64, "{verb}: {said}");
            assert!(said.stderr.contains("my-frontend-jwt") && said.stderr.contains(NAME), "{said}");
        }
        world.assert_same(&machine);
    }

    fn a_configuration_with_a_mistake(debian) {
        let file = format!("/etc/rekeyd/secrets.d/{NAME}.toml");
        let machine = adopted(debian, &Backend::good());
        let mistaken = SECRET.replace("settle = \"1s\"", "setle = \"1s\"");
        let line = 1 + mistaken.lines().take_while(|line| !line.starts_with("setle")).count();
        let place = format!("{file}:{line}:1");
        machine.put(&file, 0o644, mistaken);
        let world = World::of(&machine);
        for verb in ["check", "reload"] {
            let said = machine.exec(&["rekeyctl", verb]);
            assert_eq!(said.status, 78, "{verb}: {said}");
            assert_says(&said, &place);
            assert_says(&said, "settle");
        }
        assert_ne!(machine.exec(&["systemctl", "reload", "rekeyd.service"]).status, 0);
        world.assert_same(&machine);
        // The configuration that was valid stays in force.
        commits(&machine, 2);

        machine.ok(&["systemctl", "restart", "rekeyd.service"]);
        let said = rotate(&machine);
        assert_eq!(said.status, 78, "{said}");
        assert_says(&said, &place);
        let second = value(&machine);
        machine.put(&file, 0o644, SECRET);
        machine.ok(&["rekeyctl", "reload"]);
        assert_serves_with(&machine, &second);
        commits(&machine, 3);
    }

    fn a_backend_that_was_stopped_on_purpose_gets_the_value_and_stays_stopped(debian) {
        let machine = adopted(debian, &Backend::good());
        machine.ok(&["systemctl", "stop", UNIT]);
        let said = rotate(&machine);
        assert_eq!(said.status, 0, "{said}");
        assert_eq!(machine.unit(UNIT, "ActiveState"), "inactive");
        assert_eq!(machine.unit(UNIT, "Result"), "success");
        assert_eq!(status(&machine)["last"]["outcome"]["outcome"], "committed");
        assert_eq!(stage(&machine, 1), "previous");
        let second = delivered(&machine);
        assert_ne!(second, FIRST_VALUE);

        machine.ok(&["systemctl", "start", UNIT]);
        assert_eq!(assert_committed(&machine, 2), second);
        commits(&machine, 3);
    }
}

/// A drop-in that comes after ours and has another value is an obstacle, before and after a daemon-reload.
#[track_caller]
fn is_seen(debian: Debian, path: &str, drop_in: &str) {
    let other = "JWT_SECRET=something-else-0123456789abcdef0123456789\n";
    let machine = adopt(on(debian, &Backend::good()).file("/etc/override.env", 0o600, other).boot());
    machine.put(path, 0o644, drop_in);
    is_refused(&machine, "overridden", &["JWT_SECRET"]);
    machine.ok(&["systemctl", "daemon-reload"]);
    is_refused(&machine, "overridden", &["JWT_SECRET"]);
}
