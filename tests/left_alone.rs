//! Units that nothing restarts, `activate = "none"`: they get a new value with their next start, and until then nobody says
//! that they have it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use support::backend::FIRST_VALUE;
use support::rotation::{NAME, UNIT, adopt, assert_says, delivered, rotate, status, value};
use support::{Backend, Builder, Debian, Machine, poll, seconds};

/// It works for as long as a test lasts: it is "activating" all the time.
const JOB: &str = "[Service]\nType=oneshot\nEnvironment=JWT_SECRET=first-value-0123456789abcdef0123456789abcdef\nExecStart=/bin/sleep 10000\n";
const CHECK: &str = "#!/bin/sh\nset -eu\n. /srv/how\n";

fn left_alone(debian: Debian) -> Builder {
    let toml = "[secret]\nenv = \"JWT_SECRET\"\n[[target]]\ntype = \"systemd\"\nunits = [\"my-backend.service\", \"job.service\"]\n\
                activate = \"none\"\n[[probe]]\ntype = \"command\"\ncommand = [\"/usr/local/bin/check\"]\nuser = \"root\"\ntimeout = \"5s\"\n";
    Machine::on(debian)
        .backend(&Backend::good())
        .secret(NAME, toml)
        .file("/etc/systemd/system/job.service", 0o644, JOB)
        .file("/usr/local/bin/check", 0o755, CHECK)
        .file("/srv/how", 0o644, "")
}

fn booted(debian: Debian) -> Machine {
    let machine = left_alone(debian).boot();
    machine.ok(&["systemctl", "start", "--no-block", "job.service"]);
    poll(seconds(10), "the job works", || (machine.unit("job.service", "ActiveState") == "activating").then_some(()));
    adopt(machine)
}

fn run(machine: &Machine) -> [String; 2] {
    [UNIT, "job.service"].map(|unit| machine.unit(unit, "InvocationID"))
}

support::on_both_debians! {
    fn a_unit_that_is_left_alone_takes_the_value_with_its_next_start(debian) {
        let machine = booted(debian);
        let before = run(&machine);
        let said = machine.ok(&["rekeyctl", "rotate", "--dry-run", NAME]);
        assert!(said.contains("restart   none: job.service takes it with its next start"), "{said}");
        for generation in [2, 3] {
            let said = rotate(&machine);
            assert_eq!(said.status, 0, "{said}");
            assert_says(&said, "my-backend.service is not restarted for it; job.service is not restarted for it");
            assert_says(&said, "/current/env has it; my-backend.service goes on as it is");
            assert_says(&said, "my-backend.service, job.service go on with what they had until their next start");
            assert!(!said.stdout.contains("in force and proven"), "{said}");
            assert_eq!((run(&machine), value(&machine).as_str()), (before.clone(), FIRST_VALUE));
            assert_ne!(delivered(&machine), FIRST_VALUE);
            let told = status(&machine);
            assert_eq!((&told["generation"], &told["drift"]), (&generation.into(), &serde_json::json!([])), "{told:#}");
            assert_eq!(told["waiting"].as_array().unwrap().len(), 2, "{told:#}");
        }
        assert!(machine.ok(&["rekeyctl", "audit", NAME]).contains("my-backend.service, job.service accept it until their next restart"));
        machine.ok(&["systemctl", "restart", UNIT]);
        poll(seconds(10), "it has the new value", || (value(&machine) == delivered(&machine)).then_some(()));
        // The start is looked at a moment after it.
        poll(seconds(20), "the job alone waits", || {
            let waiting = status(&machine)["waiting"].clone();
            (waiting.as_array()?.len() == 1 && waiting[0].as_str()?.contains("job.service")).then_some(())
        });
        let said = machine.ok(&["rekeyctl", "verify", NAME]);
        assert!(said.contains("1 of 1 processes of my-backend.service have the value"), "{said}");
        let told = machine.journal(&["REKEYD_SECRET=my-backend-jwt", "PRIORITY=4"]);
        assert!(told.is_empty(), "{told:#?}");
    }

    fn one_that_still_has_another_value_is_restarted_by_a_person_before_rotations_do_it(debian) {
        let machine = booted(debian);
        assert_eq!(rotate(&machine).status, 0);
        machine.sh(&format!("sed -i 's/^activate.*/deliver = \"credential\"\\n&/' /etc/rekeyd/secrets.d/{NAME}.toml; rekeyctl reload"));
        assert_eq!(rotate(&machine).status, 0);
        let told = status(&machine);
        assert_eq!((told["waiting"].as_array().unwrap().len(), &told["drift"]), (2, &serde_json::json!([])), "{told:#}");
        machine.sh(&format!("systemctl stop job.service; systemctl reset-failed job.service; sed -i '/^activate/d; /^deliver/d' /etc/rekeyd/secrets.d/{NAME}.toml; rekeyctl reload"));
        let said = rotate(&machine);
        assert_eq!(said.status, 3, "{said}");
        assert_says(&said, "it is one of before, and was not restarted since");
        assert_says(&said, "systemctl restart my-backend.service has it take the one that was delivered");
        machine.sh("mkdir -p /etc/systemd/system/my-backend.service.d; printf '[Service]\\nEnvironment=JWT_SECRET_FILE=%%d/JWT_SECRET\\n' > /etc/systemd/system/my-backend.service.d/path.conf");
        machine.sh("systemctl daemon-reload; systemctl restart my-backend.service; rm /etc/systemd/system/my-backend.service.d/path.conf");
        let said = rotate(&machine);
        assert_eq!(said.status, 0, "{said}");
        assert_eq!(value(&machine), delivered(&machine));
    }

    fn what_is_taken_back_was_in_use_by_nobody_or_that_is_said(debian) {
        let machine = booted(debian);
        let before = run(&machine);
        machine.put("/srv/how", 0o644, "test $REKEYD_PRIMARY = 1");
        let said = rotate(&machine);
        assert_eq!(said.status, 1, "{said}");
        assert_says(&said, "rolled back: generation 1");
        assert_eq!((run(&machine), delivered(&machine).as_str()), (before, FIRST_VALUE));
        machine.put("/srv/how", 0o644, "test $REKEYD_PRIMARY = 1 || { test -e /run/once || systemctl restart my-backend; touch /run/once; exit 1; }");
        let said = rotate(&machine);
        assert_eq!(said.status, 2, "{said}");
        assert_says(&said, "my-backend.service was started with the value that is taken back");
        assert_says(&said, "systemctl restart my-backend.service");
        machine.ok(&["systemctl", "restart", UNIT]);
        assert_eq!(value(&machine), FIRST_VALUE);
    }
}
