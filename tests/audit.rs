//! `rekeyctl audit`: the chain of records, and the journal beside it.

#![allow(clippy::unwrap_used)]

use crate::support;

use serde_json::Value;
use support::rotation::{self, NAME, assert_says};
use support::{Backend, Debian, Machine, Output};

const RECORDS: &str = "/var/lib/rekeyd/store/my-backend-jwt/records-0000000001";

support::on_both_debians! {
    fn what_is_whole_is_reported_and_said_so(debian) {
        let machine = rotated(debian);
        let said = audit(&machine);
        assert_eq!(said.status, 0, "{said}");
        for words in ["asked for by uid 0", "a reason", "signed with generation 2", "records is whole", "the journal has 3 of their ends", "generation 1 died"] {
            assert_says(&said, words);
        }
        let report: Value = serde_json::from_str(&machine.ok(&["rekeyctl", "--json", "audit", NAME])).unwrap();
        assert_eq!(report[0]["whole"], true);
        assert_eq!(report[0]["deaths"][0]["generation"], 1);
        let proof = report[0]["deaths"][0]["proof"].as_str().unwrap();
        assert!(proof.contains("/api/me refuses a token of it"), "{proof}");
        assert_eq!(report[0]["journal"]["in-both"], 3);
        let id = rotation::status(&machine)["last"]["id"].as_str().unwrap().to_owned();
        assert!(machine.ok(&["rekeyctl", "audit", "--rotation", &id]).contains(&id));
        let of_one: Value =
            serde_json::from_str(&machine.ok(&["rekeyctl", "--json", "audit", NAME, "--rotation", &id])).unwrap();
        let records = of_one[0]["records"].as_array().unwrap();
        assert!(!records.is_empty() && records.iter().all(|record| record["rotation"] == id.as_str()), "{of_one:#}");
        assert_eq!(machine.exec(&["rekeyctl", "audit", "--rotation", "ffff"]).status, 64);
    }

    fn it_tells_of_values_that_were_rejected_and_of_those_that_came_back(debian) {
        let machine = rotated(debian);
        let newest = rotation::status(&machine)["generation"].as_u64().unwrap();
        machine.ok(&["rekeyctl", "rollback", NAME]);
        Backend::good().break_now(&machine, "login-500");
        assert_eq!(rotation::rotate(&machine).status, 1);
        let said = audit(&machine);
        assert_eq!(said.status, 0, "{said}");
        assert_says(&said, &format!("generation {newest} died "));
        assert_says(&said, "; it came back into force ");
        assert_says(&said, &format!("generation {} was rejected and died ", newest + 1));
        assert_says(&said, "/api/me refuses a token of it");
    }

    fn who_may_not_read_the_journal_is_told_so_and_given_no_false_alarm(debian) {
        let machine = rotated(debian);
        machine.sh("useradd -G rekeyd reader");
        // Of their own journal everybody may read.
        machine.exec_as("reader", &["logger", "something"]);
        machine.sh("journalctl --sync");
        rotation::rotate_ok(&machine);
        let said = machine.exec_as("reader", &["rekeyctl", "audit", NAME]);
        assert_eq!(said.status, 0, "{said}");
        assert_says(&said, "nothing can be said, since the journal cannot be read");
    }

    fn a_record_that_was_altered_is_found(debian) {
        let machine = rotated(debian);
        meddle(&machine, &format!("sed -i '2s/a reason/no reason/' {RECORDS}"));
        let said = audit(&machine);
        assert_eq!(said.status, 1, "{said}");
        assert_says(&said, "line 2 was altered");
    }

    fn a_record_that_was_taken_out_is_found(debian) {
        let machine = rotated(debian);
        meddle(&machine, &format!("sed -i 3d {RECORDS}"));
        let said = audit(&machine);
        assert_eq!(said.status, 1, "{said}");
        assert_says(&said, "line 3 does not follow on the line before");
    }

    fn records_that_were_cut_off_are_found_by_the_journal(debian) {
        let machine = rotated(debian);
        meddle(&machine, &format!("sed -i '2,$d' {RECORDS}"));
        let said = audit(&machine);
        assert_eq!(said.status, 1, "{said}");
        assert_says(&said, "the chain of 1 records is whole");
        assert_says(&said, "what no record has");
    }

    fn what_is_older_than_the_journal_is_not_missing(debian) {
        let machine = rotated(debian);
        machine.sh("journalctl --rotate; journalctl --vacuum-time=1us");
        let said = audit(&machine);
        assert_eq!(said.status, 0, "{said}");
        assert_says(&said, "are older than the journal");
    }
}

fn rotated(debian: Debian) -> Machine {
    let machine = rotation::adopted(debian, &Backend::good());
    machine.ok(&["rekeyctl", "rotate", "--reason", "a reason", NAME]);
    machine.ok(&["journalctl", "--sync"]);
    machine
}

/// Changes the store behind the daemon's back.
fn meddle(machine: &Machine, how: &str) {
    machine.sh(&format!("systemctl stop rekeyd.service; {how}; systemctl start rekeyd.service"));
}

fn audit(machine: &Machine) -> Output {
    machine.exec(&["rekeyctl", "audit", NAME])
}
