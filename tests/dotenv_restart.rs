//! Commands that make a program take its env file: whose they are, what they leave running, and how often they run.

#![allow(clippy::unwrap_used)]

use crate::dotenv::{FILE, TEXT, builder, hidden, text_with, unprobed, value_in_file};
use crate::support;

use support::backend::FIRST_VALUE;
use support::rotation::{self, NAME, adopt, assert_says, rotate, status};
use support::{Backend, poll, seconds};

const RESTART: &str = "restart-command = [\"/usr/local/bin/restart\"]\nrestart-timeout = \"5s\"\n";
const SCHEDULE: &str = "[schedule]\non-calendar = \"2099-01-01\"\n";

support::on_both_debians! {
    fn a_command_is_run_as_the_owner_in_an_environment_that_has_nothing_of_the_secret(debian) {
        let script = "#!/bin/sh\nset -eu\nenv >/tmp/environment; id -un >/tmp/who\ncat /srv/my-backend/.env\ntest ! -e /srv/my-backend/broken\n";
        let how = "restart-command = [\"/usr/local/bin/restart\"]\nrestart-timeout = \"5s\"\n";
        let machine = builder(debian, &hidden(Backend::good()), TEXT, how, "").file("/usr/local/bin/restart", 0o755, script);
        // What restarts it is another's business here.
        let machine = adopt(unprobed(machine, how));
        // What somebody has set for every service would win over the file.
        machine.ok(&["systemctl", "set-environment", "JWT_SECRET=stale", "OTHER=thing"]);
        let said = rotate(&machine);
        assert_eq!(said.status, 0, "{said}");
        assert_says(&said, "/usr/local/bin/restart was run");
        assert_eq!(machine.read("/tmp/who"), "app\n");
        let environment = machine.read("/tmp/environment");
        assert!(environment.contains(&format!("REKEYD_FILE={FILE}")) && !environment.contains("JWT_SECRET"), "{environment}");
        assert!(!environment.contains("OTHER=thing"), "{environment}");
        let value = value_in_file(&machine);
        machine.sh("touch /srv/my-backend/broken");
        let said = rotate(&machine);
        assert_eq!(said.status, 2, "the way back fails as well: {said}");
        assert_says(&said, "restart ended with status 1");
        assert_eq!(value_in_file(&machine), value);
        // It has printed the file, which is root's to read.
        let kept = "/var/lib/rekeyd/output/rekeyd-restart-my-backend-jwt.service";
        assert_says(&said, &format!("see what it says: less {kept}"));
        assert!(machine.read(kept).contains(&value));
        assert_eq!(machine.sh(&format!("stat -c '%U %a' {kept} /var/lib/rekeyd/output")), "root 600\nroot 700\n");
        rotation::assert_never_told(&machine, &[&value]);
    }

}

support::on_one_debian! {
    Thirteen => fn what_a_way_back_that_failed_has_left_is_written_over_by_a_rollback(debian) {
        // What restarts it finds the new value wanting, and nobody can write to the directory any more.
        let script = format!("#!/bin/sh\ngrep -q {FIRST_VALUE} /srv/my-backend/.env || {{ chmod a-w /srv/my-backend; exit 1; }}\n");
        let machine = builder(debian, &hidden(Backend::good()), TEXT, RESTART, "").file("/usr/local/bin/restart", 0o755, script);
        let machine = adopt(unprobed(machine, RESTART));
        let said = rotate(&machine);
        assert_eq!(said.status, 2, "{said}");
        assert_says(&said, "✗ deliver");
        assert_ne!(value_in_file(&machine), FIRST_VALUE);
        machine.ok(&["chmod", "u+w", "/srv/my-backend"]);
        machine.ok(&["rekeyctl", "release", NAME]);
        for verb in ["verify", "rotate"] {
            let said = machine.exec(&["rekeyctl", verb, NAME]);
            assert_ne!(said.status, 0, "{said}");
            assert_says(&said, "the way back of the last rotation failed, and may have left it so");
            assert_says(&said, "rekeyctl rollback my-backend-jwt brings back the view {1}");
        }
        let said = machine.exec(&["rekeyctl", "rollback", NAME]);
        assert_eq!(said.status, 0, "{said}");
        assert_eq!(value_in_file(&machine), FIRST_VALUE);
        assert_eq!(status(&machine)["generation"], 1);
        machine.ok(&["rekeyctl", "verify", NAME]);
        machine.ok(&["rekeyctl", "audit", NAME]);
    }

    Thirteen => fn what_it_leaves_running_goes_on_and_is_told(debian) {
        let script = "#!/bin/sh\npkill -f 'sleep 54321'\nsleep 54321 &\n";
        let machine = builder(debian, &hidden(Backend::good()), TEXT, RESTART, "").file("/usr/local/bin/restart", 0o755, script);
        let machine = adopt(unprobed(machine, RESTART));
        for _ in 0..2 {
            let said = rotate(&machine);
            assert_eq!(said.status, 0, "{said}");
            assert_eq!(machine.sh("pgrep -u app -fc '^sleep 54321'").trim(), "1");
        }
        let kept = "/var/lib/rekeyd/output/rekeyd-restart-my-backend-jwt.service";
        let told = machine.journal(&[&format!("REKEYD_SECRET={NAME}")]);
        assert!(told.iter().any(|entry| entry["MESSAGE"].as_str().unwrap().contains("has left processes running")), "{told:#?}");
        machine.ok(&["test", "-e", kept]);
    }

    Twelve => fn one_that_cannot_be_run_is_found_beforehand(debian) {
        let machine = builder(debian, &hidden(Backend::good()), TEXT, RESTART, "").file("/usr/local/bin/restart", 0o755, "#!/bin/sh\n");
        let machine = adopt(unprobed(machine, RESTART));
        machine.ok(&["rm", "/usr/local/bin/restart"]);
        rotation::is_refused(&machine, "program-missing", &["there is no /usr/local/bin/restart", "`restart-command`"]);
        assert_eq!(machine.read(FILE), text_with(TEXT, FIRST_VALUE));
    }

    Thirteen => fn two_keys_of_one_file_that_are_due_together_are_one_restart_and_who_comes_meanwhile_is_told_busy(debian) {
        let session =
            format!("[secret]\nenv = \"SESSION_SECRET\"\n{SCHEDULE}[[target]]\ntype = \"dotenv\"\nfile = \"{FILE}\"\n{RESTART}");
        let script = "#!/bin/sh\necho once >>/tmp/restarts\nsleep 2\n";
        let text = format!("{TEXT}\nSESSION_SECRET=of-the-sessions\n");
        let machine = builder(debian, &hidden(Backend::good()), &text, RESTART, SCHEDULE)
            .secret("session", &session)
            .file("/usr/local/bin/restart", 0o755, script);
        let toml = crate::dotenv::toml(RESTART, SCHEDULE);
        let machine = adopt(machine.secret(NAME, toml.split("[[probe]]").next().unwrap()).boot());
        machine.ok(&["rekeyctl", "adopt", "session"]);
        let services = format!("rekeyd-rotate@{NAME}.service rekeyd-rotate@session.service");
        machine.sh(&format!("systemctl start --no-block {services}"));
        poll(seconds(20), "it restarts", || machine.exec(&["test", "-e", "/tmp/restarts"]).status.eq(&0).then_some(()));
        let said = machine.exec(&["rekeyctl", "rotate", "session"]);
        assert_eq!(said.status, 75, "{said}");
        let ended = |name: &str| machine.ok(&["rekeyctl", "history", name]).contains("is delivered and read back");
        poll(seconds(30), "both are committed", || (ended(NAME) && ended("session")).then_some(()));
        assert_eq!(machine.read("/tmp/restarts"), "once\n");
        let audit = machine.ok(&["rekeyctl", "audit", NAME]);
        assert!(audit.contains("generation 1 died") && audit.contains("nothing has proven it: no process shows"), "{audit}");
        assert_ne!(value_in_file(&machine), FIRST_VALUE);
        assert_eq!(status(&machine)["last"]["outcome"]["outcome"], "committed");
    }
}
