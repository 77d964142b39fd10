//! The journal tells the whole story, and nothing tells a value.

#![allow(clippy::unwrap_used)]

use crate::support;

use serde_json::Value;
use support::rotation::{self, NAME, UNIT};
use support::{Backend, backend::FIRST_VALUE, poll, seconds};

support::on_both_debians! {
    fn a_rotation_can_be_read_by_its_id_and_under_the_backend(debian) {
        let machine = rotation::adopted(debian, &Backend::good());
        machine.ok(&["rekeyctl", "rotate", NAME, "--reason", "the yearly audit"]);
        let id = rotation::status(&machine)["last"]["id"].as_str().unwrap().to_owned();
        let story = machine.journal(&[&format!("REKEYD_ROTATION={id}")]);
        let steps: Vec<&str> = story.iter().filter(|entry| entry["REKEYD_RESULT"] == "passed").filter_map(|entry| entry["REKEYD_STEP"].as_str()).collect();
        assert_eq!(steps, ["preflight", "generate", "deliver", "activate", "prove"]);
        assert_eq!(story[0]["REKEYD_REASON"], "the yearly audit");
        let end = story.last().unwrap();
        assert_eq!(end["REKEYD_RESULT"], "committed");
        assert_eq!(end["REKEYD_GENERATION"], "2");
        assert_eq!(end["REKEYD_FINGERPRINT"], rotation::status(&machine)["fingerprint"]);
        assert!(end["REKEYD_ACTOR"].as_str().unwrap().starts_with("uid 0 "));
        assert_eq!(end["REKEYD_CHAIN"].as_str().unwrap().len(), 64);
        assert!(end["REKEYD_DURATION_USEC"].as_str().unwrap().parse::<u64>().unwrap() > 0);
        for entry in &story {
            assert_eq!(entry["REKEYD_SECRET"], NAME);
            assert_eq!(entry["OBJECT_SYSTEMD_UNIT"], UNIT);
            assert_eq!(entry["SYSLOG_IDENTIFIER"], "rekeyd");
            assert_eq!(entry["MESSAGE_ID"].as_str().unwrap().len(), 32);
        }
        let under_the_backend = machine.journal(&["-u", UNIT]);
        assert!(under_the_backend.iter().any(|entry| entry["REKEYD_ROTATION"] == id.as_str()));
        let explained = machine.ok(&["journalctl", "-x", "--no-pager", &format!("REKEYD_ROTATION={id}")]);
        assert!(explained.contains("rekeyctl rollback my-backend-jwt"), "{explained}");
        let chain = machine.ok(&["sh", "-c", "tail -n 1 /var/lib/rekeyd/store/my-backend-jwt/records-* | cut -c 1-64"]);
        assert_eq!(end["REKEYD_CHAIN"], chain.trim());
    }

    fn what_is_gone_on_with_at_the_next_start_is_told_as_recovery(debian) {
        let machine = rotation::adopted(debian, &Backend::good().fault("slow-start 1500"));
        machine.ok(&["rekeyctl", "rotate", "--no-wait", NAME]);
        poll(seconds(20), "the backend is restarted", || rotation::new_value(&machine));
        machine.kill_daemon();
        poll(seconds(60), "it is over", || {
            let said = machine.exec(&["rekeyctl", "status", "--json", NAME]);
            let status: Value = serde_json::from_str(&said.stdout).ok()?;
            status["last"]["outcome"]["outcome"].as_str().map(str::to_owned)
        });
        let id = rotation::status(&machine)["last"]["id"].as_str().unwrap().to_owned();
        let story = machine.journal(&[&format!("REKEYD_ROTATION={id}")]);
        let resumed = story.iter().position(|entry| entry["MESSAGE"].as_str().unwrap().contains("that was interrupted")).unwrap();
        let (before, after) = story.split_at(resumed);
        let told = |entries: &[Value]| -> Vec<String> { entries.iter().map(|entry| entry["REKEYD_ACTOR"].to_string()).collect() };
        assert!(told(before).iter().all(|actor| actor.starts_with("\"uid 0 ")), "{:?}", told(before));
        assert!(after.len() > 2 && told(after).iter().all(|actor| actor == "\"recovery\""), "{:?}", told(after));
        // Who had asked for it is not forgotten.
        assert_eq!(rotation::status(&machine)["last"]["actor"]["uid"], 0);
    }

    fn no_value_is_found_anywhere_but_where_it_belongs(debian) {
        let machine = rotation::adopted(debian, &Backend::good().env_file());
        let pid = machine.unit("rekeyd.service", "MainPID");
        rotation::rotate_ok(&machine);
        let second = rotation::assert_new_value(&machine);
        Backend::good().break_now(&machine, "login-500");
        assert_eq!(rotation::rotate(&machine).status, 1);
        machine.ok(&["rekeyctl", "verify", NAME]);
        for value in [FIRST_VALUE, &second] {
            // Whoever searches must not have the value among its own arguments, or it would find itself.
            machine.put("/root/needle", 0o600, value);
            let search = "journalctl --sync; journalctl -a -o export | grep -c -a -F -f /root/needle || true";
            assert_eq!(machine.sh(search).trim(), "0", "in the journal");
            let search = "grep -l -a -s -r -F -f /root/needle /run /tmp /var /etc --exclude-dir=toy || true";
            let found = machine.sh(search);
            let allowed = |path: &str| {
                path.starts_with("/var/lib/rekeyd/delivered/my-backend-jwt/")
                    || path.starts_with("/var/lib/my-backend/")
                    || path == "/etc/my-backend.env"
            };
            let elsewhere: Vec<&str> = found.lines().filter(|path| !allowed(path)).collect();
            assert!(elsewhere.is_empty(), "in files: {elsewhere:?}");
            let search = "for pid in $(ls /proc | grep '^[0-9]'); do grep -q -a -s -F -f /root/needle /proc/$pid/cmdline && echo $pid; done; true";
            assert_eq!(machine.sh(search).trim(), "", "in a command line");
            let search = "systemctl show '*' | grep -c -F -f /root/needle || true";
            assert_eq!(machine.sh(search).trim(), "0", "in a unit's properties");
        }
        assert_eq!(machine.unit("rekeyd.service", "MainPID"), pid, "the daemon was restarted meanwhile");
        machine.sh("test $(stat -c %a /var/lib/rekeyd/delivered/my-backend-jwt/current/env) = 600; test $(stat -c %a /var/lib/rekeyd) = 700");
    }

    fn an_unreadable_record_is_a_hold_and_others_go_on(debian) {
        let machine = rotation::adopted(debian, &Backend::good());
        rotation::rotate_ok(&machine);
        let value = rotation::value(&machine);
        machine.sh("systemctl stop rekeyd; sed -i '3s/./X/100' /var/lib/rekeyd/store/my-backend-jwt/records-0000000001; systemctl start rekeyd");
        let said = rotation::rotate(&machine);
        assert_eq!(said.status, 3, "{said}");
        assert_eq!(rotation::status(&machine)["state"], "unreadable");
        assert_eq!(rotation::value(&machine), value);
        let told: Vec<Value> = machine.journal(&["-p", "crit", "-t", "rekeyd"]);
        assert!(!told.is_empty(), "it is told in the journal");
        machine.put("/etc/rekeyd/secrets.d/zz-other.toml", 0o644, rotation::SECRET.replace("JWT_SECRET", "OTHER_SECRET"));
        machine.ok(&["rekeyctl", "reload"]);
        let said = machine.exec(&["rekeyctl", "history"]);
        assert!(said.status == 3 && said.stderr.contains("cannot be read"), "{said}");
    }
}
