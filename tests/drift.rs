//! What was changed by hand is named, told apart, and never overwritten unasked.

#![allow(clippy::unwrap_used)]

use crate::support;

use support::rotation::{self, NAME, UNIT, adopted, assert_says, delivered, rotate, status, value};
use support::{Backend, Machine, poll, seconds};

/// A drift of which these words are told, by `status` and by the journal.
#[track_caller]
fn is_told(machine: &Machine, words: &str) {
    poll(seconds(20), words, || status(machine)["drift"].to_string().contains(words).then_some(()));
    let found = machine.journal(&["MESSAGE_ID=1f0a4f7d9f6b4f13a3fb1f36f1f9c2d4"]);
    assert!(found.iter().any(|entry| entry["MESSAGE"].as_str().unwrap().contains(words)), "{found:?}");
}

#[track_caller]
fn is_over(machine: &Machine) {
    poll(seconds(20), "no drift", || status(machine)["drift"].as_array().unwrap().is_empty().then_some(()));
}

fn rotated(debian: support::Debian) -> Machine {
    let machine = adopted(debian, &Backend::good());
    assert_eq!(rotate(&machine).status, 0);
    assert_eq!(status(&machine)["drift"], serde_json::json!([]));
    machine
}

support::on_both_debians! {
    fn a_file_that_was_edited_by_hand_is_named_and_then_that_it_was_taken(debian) {
        let machine = rotated(debian);
        let (file, before) = (format!("/var/lib/rekeyd/delivered/{NAME}/current/env"), delivered(&machine));
        machine.sh(&format!("sed -i s/{before}/edited-by-hand-edited-by-hand-edited/ $(readlink -f {file})"));
        is_told(&machine, "was edited by hand, and what runs has not taken that yet");
        let said = machine.ok(&["rekeyctl", "status", NAME]);
        assert!(said.contains("Drift:") && !said.contains("edited-by-hand"), "{said}");
        assert!(machine.ok(&["rekeyctl", "list"]).contains("in-force, drifted"));
        let said = rotate(&machine);
        assert_eq!(said.status, 3, "{said}");
        assert_says(&said, "env has a value that rekeyd does not know: it was edited by hand");
        // Nobody asks: the restart itself is noticed.
        machine.ok(&["systemctl", "restart", UNIT]);
        let words = "MESSAGE_ID=1f0a4f7d9f6b4f13a3fb1f36f1f9c2d4";
        poll(seconds(20), "the journal tells of it", || {
            let found = machine.journal(&[words]);
            found.iter().any(|entry| entry["MESSAGE"].as_str().unwrap().contains("what runs has taken that")).then_some(())
        });
        let said = rotate(&machine);
        assert_eq!(said.status, 3, "{said}");
        assert_says(&said, &format!("rekeyctl adopt {NAME}"));
        assert_eq!(value(&machine), "edited-by-hand-edited-by-hand-edited", "nothing was overwritten");
        machine.ok(&["rekeyctl", "adopt", NAME]);
        is_over(&machine);
        assert_eq!(machine.exec(&["rekeyctl", "rollback", NAME]).status, 0);
        assert_eq!(value(&machine), before);
        rotation::assert_never_told(&machine, &[&before]);
    }

    fn a_unit_that_reads_a_file_of_its_own_has_no_drop_in_to_lose(debian) {
        let side = Backend::named("my-side", 3001).env_file();
        let file = "\n[[target]]\ntype = \"dotenv\"\nfile = \"/etc/my-side.env\"\ndialect = \"systemd\"\nrestart-units = [\"my-side.service\"]\n";
        let secret = rotation::toml(file);
        let machine = rotation::adopt(rotation::on(debian, &Backend::good()).backend(&side).secret(NAME, &secret).boot());
        rotation::rotate_ok(&machine);
        assert_eq!(status(&machine)["drift"], serde_json::json!([]));
    }

    fn a_process_that_was_started_from_elsewhere_is_named_at_its_start_and_when_it_is_over(debian) {
        let machine = rotated(debian);
        let drop_in = "/run/systemd/system/my-backend.service.d/99-by-hand.conf";
        machine.put(drop_in, 0o644, "[Service]\nExecStart=\nExecStart=/usr/bin/env JWT_SECRET=of-somebody-of-somebody-of-somebody /usr/local/bin/toy-backend\n");
        machine.ok(&["systemctl", "daemon-reload"]);
        machine.ok(&["systemctl", "restart", UNIT]);
        is_told(&machine, "with a value that is in no file and not known here");
        machine.ok(&["rm", drop_in]);
        machine.ok(&["systemctl", "daemon-reload"]);
        machine.ok(&["systemctl", "restart", UNIT]);
        is_over(&machine);
        let over = machine.journal(&["MESSAGE_ID=8c61e2f24c0f4a44b7d3a0a94f4b1f5e"]);
        assert_eq!(over.len(), 1, "{over:?}");
    }

    fn an_earlier_value_that_was_restored_is_named_by_its_generation_also_after_a_start_of_the_daemon(debian) {
        let machine = rotated(debian);
        let file = machine.sh(&format!("readlink -f /var/lib/rekeyd/delivered/{NAME}/current/env"));
        let first = support::backend::FIRST_VALUE;
        machine.ok(&["systemctl", "stop", "rekeyd"]);
        machine.sh(&format!("sed -i s/{}/{first}/ {file}", delivered(&machine)));
        machine.ok(&["systemctl", "start", "rekeyd"]);
        is_told(&machine, "has generation 1 again");
    }

    fn what_we_delivered_and_is_gone_is_named_and_delivered_again(debian) {
        let machine = rotated(debian);
        machine.sh(&format!("rm -r /var/lib/rekeyd/delivered/{NAME}"));
        is_told(&machine, &format!("delivered/{NAME}/current/env no longer has the value"));
        assert!(machine.ok(&["rekeyctl", "status", NAME]).contains(&format!("rekeyctl rotate {NAME} delivers it again")));
        assert_eq!(rotate(&machine).status, 0);
        is_over(&machine);
        machine.ok(&["systemctl", "restart", UNIT]);
        assert_eq!(delivered(&machine), value(&machine));
    }

    fn a_drop_in_that_was_removed_is_named_while_the_process_still_has_the_value(debian) {
        let machine = rotated(debian);
        let before = value(&machine);
        let drop_in = machine.sh("ls /etc/systemd/system/my-backend.service.d/*rekeyd*").trim().to_owned();
        machine.sh(&format!("mv {drop_in} /root/"));
        is_told(&machine, &format!("{drop_in} no longer has the value"));
        // The unit runs with the value in force: a rotation writes it anew.
        let said = rotate(&machine);
        assert_eq!(said.status, 0, "{said}");
        is_over(&machine);
        assert_ne!(value(&machine), before);
    }

    fn an_env_file_that_is_not_certain_any_more_is_named_with_the_line(debian) {
        use crate::dotenv::{FILE, TEXT, builder, hidden};
        let units = "restart-units = [\"my-backend.service\"]\n";
        let machine = rotation::adopt(builder(debian, &hidden(Backend::good()), TEXT, units, "").boot());
        assert_eq!(rotate(&machine).status, 0);
        machine.sh(&format!("cp -p {FILE} /root/kept; printf '\\nJWT_SECRET=again\\n' >>{FILE}"));
        is_told(&machine, "line 7, column 1: JWT_SECRET is assigned again");
        machine.sh(&format!("cp -p /root/kept {FILE}"));
        is_over(&machine);
        machine.sh(&format!("rm {FILE}"));
        is_told(&machine, "No such file");
    }
}
