//! What follows on a proven rotation: a logout with its receipt, and encrypting data anew.

#![allow(clippy::unwrap_used)]

use crate::support;

use serde_json::json;
use support::rotation::{self, NAME, OVERLAP, UNIT, World, assert_says, status, value};
use support::{Backend, Builder, Debian, Machine, token};

const BUMP: &str = "#!/bin/sh\nset -eu\ntest \"$(id -un)\" = root\ntest \"$REKEYD_SECRET\" = my-backend-jwt\n\
    test -z \"${JWT_SECRET-}\"\necho $(($(cat /var/lib/my-backend/version 2>/dev/null || echo 0) + 1)) >/var/lib/my-backend/version\n";

support::on_both_debians! {
    fn a_command_logs_everybody_out_and_the_receipt_proves_it(debian) {
        let logout = "[logout]\ncommand = [\"/usr/local/bin/bump\"]\n";
        let machine = adopted(with(debian, logout).file("/usr/local/bin/bump", 0o755, BUMP));
        let before = token::login(&machine);
        let said = machine.ok(&["rekeyctl", "rotate", NAME]);
        assert!(said.contains("✓ logout") && said.contains("refuses a token from before the rotation"), "{said}");
        assert_eq!(token::present(&machine, &before), 401, "though the old value is accepted in the overlap");
        assert_eq!(status(&machine)["accepted"], json!([1]));
        assert_eq!(token::present(&machine, &token::login(&machine)), 200);
        machine.ok(&["rekeyctl", "audit", NAME]);
        // The end of the overlap logs nobody out again.
        let now = token::login(&machine);
        machine.ok(&["rekeyctl", "retire", NAME]);
        assert_eq!(token::present(&machine, &now), 200);
    }

    fn a_request_logs_everybody_out(debian) {
        let logout = "[logout]\nurl = \"http://127.0.0.1:3000/api/logout-everybody\"\nheader-file = \"/etc/rekeyd/logout.header\"\n";
        let machine = with(debian, logout).file("/etc/rekeyd/logout.header", 0o600, "Authorization: Bearer let-them-out\n");
        let machine = adopted(machine);
        let before = token::login(&machine);
        machine.ok(&["rekeyctl", "rotate", NAME]);
        assert_eq!(token::present(&machine, &before), 401);
        machine.put("/etc/rekeyd/logout.header", 0o644, "Authorization: Bearer let-them-out\n");
        machine.ok(&["rekeyctl", "retire", NAME]);
        let said = machine.exec(&["rekeyctl", "rotate", NAME]);
        assert_eq!(said.status, 1, "{said}");
        assert_says(&said, "chmod 600 /etc/rekeyd/logout.header");
        rotation::assert_never_told(&machine, &["let-them-out"]);
    }

    fn a_logout_that_fails_is_told_and_the_new_value_stays(debian) {
        let logout = "[logout]\ncommand = [\"/usr/bin/false\"]\n";
        let machine = adopted(with(debian, logout));
        let said = machine.exec(&["rekeyctl", "rotate", NAME]);
        assert_eq!(said.status, 1, "{said}");
        assert_says(&said, "false ended with status 1");
        let status = status(&machine);
        assert_eq!(status["last"]["outcome"]["outcome"], "committed");
        assert_eq!(status["last"]["hook_failed"]["code"], "hook-failed", "{status:#}");
        assert_eq!(status["generation"], 2);
        assert_eq!(machine.ok(&["systemctl", "--failed", "--no-legend"]).trim(), "");
        assert_ne!(value(&machine), support::backend::FIRST_VALUE);
    }

    fn a_logout_that_does_nothing_is_caught_by_its_receipt(debian) {
        let logout = "[logout]\ncommand = [\"/usr/bin/true\"]\ntimeout = \"2s\"\n";
        let machine = adopted(with(debian, logout));
        let said = machine.exec(&["rekeyctl", "rotate", NAME]);
        assert_eq!(said.status, 1, "{said}");
        assert_says(&said, "accepts a token from before the rotation");
        assert_eq!(status(&machine)["last"]["hook_failed"]["code"], "logout-ineffective");
        assert_eq!(status(&machine)["generation"], 2);
    }

    fn a_program_that_others_can_change_is_refused_before_anything_is_touched(debian) {
        let logout = "[logout]\ncommand = [\"/usr/local/bin/bump\"]\n";
        let machine = adopted(with(debian, logout).file("/usr/local/bin/bump", 0o757, BUMP));
        let world = World::of(&machine);
        let said = machine.exec(&["rekeyctl", "rotate", NAME]);
        assert_eq!(said.status, 3, "{said}");
        assert_says(&said, "others can change /usr/local/bin/bump");
        assert_says(&said, "chmod go-w /usr/local/bin/bump");
        world.assert_same(&machine);
        machine.ok(&["chmod", "o-w", "/usr/local/bin/bump"]);
        machine.ok(&["rekeyctl", "rotate", NAME]);
    }

    fn a_logout_that_hangs_ends_and_leaves_nothing_behind(debian) {
        let logout = "[logout]\ncommand = [\"/usr/bin/sleep\", \"infinity\"]\ntimeout = \"1s\"\n";
        let machine = adopted(with(debian, logout));
        let said = machine.exec(&["rekeyctl", "rotate", NAME]);
        assert_eq!(said.status, 1, "{said}");
        assert_says(&said, "did not end within 1 s");
        assert_eq!(machine.ok(&["systemctl", "list-units", "--all", "--no-legend", "rekeyd-hook-*"]).trim(), "");
    }

    fn a_daemon_that_is_killed_in_the_logout_does_it_at_the_next_start(debian) {
        let slow = format!("{BUMP}test -e /run/second || {{ touch /run/second; systemctl kill -s KILL rekeyd.service; sleep 2; }}\n");
        let machine = adopted(with(debian, "[logout]\ncommand = [\"/usr/local/bin/bump\"]\n").file("/usr/local/bin/bump", 0o755, slow));
        let said = machine.exec(&["rekeyctl", "rotate", NAME]);
        assert_eq!(said.status, 0, "{said}");
        assert_eq!(machine.read("/var/lib/my-backend/version").trim(), "2", "it was run twice");
        assert_eq!(status(&machine)["generation"], 2);
    }

    fn data_is_encrypted_anew_before_the_old_value_is_retired(debian) {
        let script = "#!/bin/sh\nset -eu\n. \"$REKEYD_DELIVERED/env\"\ntest -n \"$JWT_SECRET_PREVIOUS\"\necho \"$JWT_SECRET\" >>/root/encrypted-with\ntest ! -e /run/broken\n";
        let toml = rotation::toml(OVERLAP)
            .replace("[secret]\n", "[secret]\nkind = \"encryption\"\nre-encrypt = [\"/usr/local/bin/re-encrypt\"]\n");
        let machine = Machine::on(debian).backend(&Backend::good()).secret(NAME, &toml);
        let machine = adopted(machine.file("/usr/local/bin/re-encrypt", 0o700, script));
        machine.put("/run/broken", 0o600, "");
        let plan = machine.ok(&["rekeyctl", "rotate", "--dry-run", NAME]);
        assert!(plan.contains("encrypt   all anew, by /usr/local/bin/re-encrypt") && !plan.contains("tokens"), "{plan}");
        let said = machine.exec(&["rekeyctl", "rotate", NAME]);
        assert_eq!(said.status, 1, "{said}");
        assert_says(&said, "re-encrypt ended with status 1");
        let said = machine.exec(&["rekeyctl", "retire", NAME]);
        assert_eq!(said.status, 3, "{said}");
        assert_eq!(status(&machine)["accepted"], json!([1]), "the old value can still decrypt");
        assert_eq!(machine.exec(&["rekeyctl", "rotate", "--emergency", NAME]).status, 3);
        machine.sh("rm /run/broken");
        let said = machine.ok(&["rekeyctl", "retire", NAME]);
        assert!(said.contains("all data was encrypted anew"), "{said}");
        assert_eq!(status(&machine)["accepted"], json!([]));
        assert!(machine.read("/root/encrypted-with").lines().all(|line| line == value(&machine)));

        machine.ok(&["rekeyctl", "rotate", NAME]);
        let times = machine.read("/root/encrypted-with").lines().count();
        machine.ok(&["rekeyctl", "retire", NAME]);
        assert_eq!(machine.read("/root/encrypted-with").lines().count(), times, "it was done after the rotation");
        assert_eq!(machine.unit(UNIT, "ActiveState"), "active");
    }
}

fn with(debian: Debian, logout: &str) -> Builder {
    rotation::on_with(debian, &Backend::good(), &format!("{OVERLAP}{logout}"))
}

fn adopted(machine: Builder) -> Machine {
    rotation::adopt(machine.boot())
}
