//! Overlap: the old value stays accepted for a while, then it is retired in a rotation of its own.

#![allow(clippy::unwrap_used)]

use crate::support;

use serde_json::Value;
use support::backend::FIRST_VALUE;
use support::rotation::{self, NAME, UNIT, assert_says, status, value};
use support::{Backend, Debian, Machine, poll, seconds, token};

const TIMER: &str = "rekeyd-retire@my-backend-jwt.timer";

support::on_both_debians! {
    fn nobody_is_logged_out_until_the_overlap_is_over(debian) {
        let machine = overlapping(debian, &Backend::good());
        let before = token::login(&machine);
        let said = machine.ok(&["rekeyctl", "rotate", NAME]);
        assert!(said.contains("{1} → {2, accepts 1}") && said.contains("generation 1 accepted too"), "{said}");
        assert!(said.contains("the overlap ends at "), "{said}");
        let replaced_in = status(&machine)["last"]["id"].as_str().unwrap().to_owned();
        let new = value(&machine);
        assert_ne!(new, FIRST_VALUE);
        assert!(token::is_signed_with(&token::login(&machine), &new));
        assert_eq!(token::present(&machine, &before), 200, "who was logged in is logged out");
        assert_eq!(previous(&machine).as_deref(), Some(FIRST_VALUE));
        assert!(timers(&machine).contains(&TIMER.to_owned()), "{:?}", timers(&machine));
        assert_eq!(status(&machine)["accepted"], serde_json::json!([1]));

        let said = machine.ok(&["rekeyctl", "retire", NAME]);
        assert!(said.contains("refused: random-key, alg-none, no-signature, generation-1"), "{said}");
        assert_eq!(token::present(&machine, &before), 401, "the old value is still accepted");
        assert_eq!(previous(&machine), None);
        assert_eq!(value(&machine), new);
        assert_eq!(status(&machine)["generation"], 2);
        let died_in = status(&machine)["last"]["id"].as_str().unwrap().to_owned();
        let audit = machine.ok(&["rekeyctl", "audit", NAME, "--rotation", &replaced_in]);
        assert!(audit.contains("generation 1 died ") && audit.contains(&format!("in rotation {died_in}")), "{audit}");
        assert_eq!(machine.exec(&["rekeyctl", "retire", NAME]).status, 3);
    }

    fn a_backend_that_cannot_live_with_both_values_gets_the_old_one_alone_again(debian) {
        let machine = overlapping(debian, &Backend::good().always("swaps-previous"));
        let before = token::login(&machine);
        let said = machine.exec(&["rekeyctl", "rotate", NAME]);
        assert_eq!(said.status, 1, "{said}");
        assert_eq!((status(&machine)["hold"].clone(), status(&machine)["accepted"].clone()), (Value::Null, serde_json::json!([])));
        assert_eq!((value(&machine).as_str(), previous(&machine)), (FIRST_VALUE, None));
        assert_eq!(token::present(&machine, &before), 200);
        rotation::assert_serves_with(&machine, FIRST_VALUE);
        assert_eq!(machine.exec(&["rekeyctl", "verify", NAME]).status, 0);
    }

    fn variables_are_renamed_with_the_next_delivery_and_back_with_the_way_back(debian) {
        let machine = overlapping(debian, &Backend::good());
        machine.ok(&["rekeyctl", "rotate", NAME]);
        let is_now = |from: &str, to: &str| {
            machine.sh(&format!("sed -i 's/\"{from}\"/\"{to}\"/' /etc/rekeyd/secrets.d/{NAME}.toml; rekeyctl reload"));
        };
        // What is accepted has its former name until something is delivered, and can be ended in an emergency.
        is_now("JWT_SECRET_PREVIOUS", "JWT_SECRET_FORMER");
        machine.ok(&["rekeyctl", "verify", NAME]);
        assert_eq!((status(&machine)["drift"].clone(), previous(&machine).as_deref()), (serde_json::json!([]), Some(FIRST_VALUE)));
        machine.ok(&["rekeyctl", "rotate", "--emergency", NAME]);
        let (emergency, name) = (value(&machine), |name: &str| machine.variable(UNIT, name).remove(0).1);
        assert_eq!((previous(&machine), name("JWT_SECRET_FORMER")), (None, None));
        // The backend does not know the new name.
        assert_eq!(rotation::rotate(&machine).status, 1);
        assert_eq!((value(&machine), name("JWT_SECRET_FORMER")), (emergency.clone(), None));
        is_now("JWT_SECRET_FORMER", "JWT_SECRET_PREVIOUS");
        machine.ok(&["rekeyctl", "rotate", NAME]);
        assert_eq!(previous(&machine).as_ref(), Some(&emergency));
        // And now that of the value itself, in the middle of an overlap: first it does not know it either.
        let before = value(&machine);
        is_now("JWT_SECRET", "APP_SECRET");
        machine.ok(&["rekeyctl", "verify", NAME]);
        assert_eq!(machine.exec(&["rekeyctl", "retire", NAME]).status, 1);
        assert_eq!((value(&machine), name("APP_SECRET"), previous(&machine)), (before.clone(), None, Some(emergency)));
        let maps = "[Service]\nExecStart=\nExecStart=/bin/sh -c 'export JWT_SECRET=\"$APP_SECRET\"; exec toy-backend'\n";
        machine.put(&format!("/etc/systemd/system/{UNIT}.d/10-maps.conf"), 0o644, maps);
        machine.ok(&["systemctl", "daemon-reload"]);
        machine.ok(&["rekeyctl", "retire", NAME]);
        assert_eq!((value(&machine), name("APP_SECRET"), previous(&machine)), (before.clone(), Some(before.clone()), None));
        machine.ok(&["rekeyctl", "rotate", NAME]);
        assert_eq!((name("APP_SECRET"), previous(&machine)), (Some(value(&machine)), Some(before)));
        machine.ok(&["rekeyctl", "audit", NAME]);
    }

    fn the_timer_ends_the_overlap_also_after_a_reboot(debian) {
        let machine = overlapping_for(debian, &Backend::good(), "1m");
        machine.ok(&["rekeyctl", "rotate", NAME]);
        machine.reboot();
        poll(seconds(20), "the timer is there again", || timers(&machine).contains(&TIMER.to_owned()).then_some(()));
        poll(seconds(90), "it has ended the overlap", || (status(&machine)["accepted"] == serde_json::json!([])).then_some(()));
        assert_eq!(status(&machine)["accepted"], serde_json::json!([]));
        assert_eq!(status(&machine)["last"]["actor"]["by"], "timer");
        assert_eq!(previous(&machine), None);
        // It is over already: nothing to do, and no failure.
        machine.ok(&["systemctl", "start", "rekeyd-retire@my-backend-jwt.service"]);
    }

    fn the_timer_itself_ends_it_and_comes_again_where_that_fails(debian) {
        let backend = Backend::good().fault("accepts-old");
        let machine = overlapping_for(debian, &backend, "1m");
        machine.ok(&["rekeyctl", "rotate", NAME]);
        poll(seconds(90), "the timer has tried", || (status(&machine)["last"]["retires"] == true).then_some(()));
        assert_eq!(status(&machine)["last"]["outcome"]["outcome"], "rolled-back");
        assert_eq!(status(&machine)["accepted"], serde_json::json!([1]));
        poll(seconds(10), "it comes again", || (is_to_come(&machine) > 3000).then_some(()));
        backend.mend(&machine);
        machine.ok(&["rekeyctl", "retire", NAME]);
        assert_eq!(status(&machine)["accepted"], serde_json::json!([]));
        poll(seconds(10), "no timer is left", || (!timers(&machine).contains(&TIMER.to_owned())).then_some(()));
    }

    fn an_overlap_that_the_store_does_not_know_is_taken_over_and_ended(debian) {
        let machine = overlapping(debian, &Backend::good());
        machine.ok(&["rekeyctl", "rotate", NAME]);
        let new = value(&machine);
        machine.ok(&["rekeyctl", "forget", NAME]);
        let said = machine.ok(&["rekeyctl", "adopt", NAME]);
        assert!(said.contains("is still accepted besides; rekeyctl retire my-backend-jwt ends that"), "{said}");
        assert_eq!(status(&machine)["accepted"].as_array().map(Vec::len), Some(1));
        machine.ok(&["rekeyctl", "verify", NAME]);
        poll(seconds(10), "its end is to come", || timers(&machine).contains(&TIMER.to_owned()).then_some(()));
        assert!(machine.ok(&["rekeyctl", "adopt", NAME]).contains("nothing to do"));
        machine.ok(&["rekeyctl", "retire", NAME]);
        assert_eq!((value(&machine), previous(&machine)), (new, None));
        machine.ok(&["rekeyctl", "audit", NAME]);
    }

    fn the_timer_of_an_overlap_goes_with_its_secret_and_comes_back_with_it(debian) {
        let machine = overlapping(debian, &Backend::good());
        machine.ok(&["rekeyctl", "rotate", NAME]);
        poll(seconds(10), "its end is to come", || timers(&machine).contains(&TIMER.to_owned()).then_some(()));
        let said = machine.sh(&format!("mv /etc/rekeyd/secrets.d/{NAME}.toml /root; rekeyctl reload; rekeyd rearm"));
        assert!(said.contains("is still accepted, and nothing ends that") && said.contains(&format!("stopped {TIMER}")), "{said}");
        assert!(!timers(&machine).contains(&TIMER.to_owned()));
        machine.sh(&format!("mv /root/{NAME}.toml /etc/rekeyd/secrets.d; rekeyctl reload"));
        assert!(timers(&machine).contains(&TIMER.to_owned()));
    }

    fn who_tries_in_vain_to_end_it_early_does_not_put_its_end_off(debian) {
        let machine = overlapping(debian, &Backend::good().fault("accepts-old"));
        machine.ok(&["rekeyctl", "rotate", NAME]);
        let end = status(&machine)["retire-at"].clone();
        assert_eq!(machine.exec(&["rekeyctl", "retire", NAME]).status, 1);
        assert_eq!((status(&machine)["retire-at"].clone(), status(&machine)["accepted"].clone()), (end, serde_json::json!([1])));
        poll(seconds(10), "the timer is there again", || (1..=900).contains(&is_to_come(&machine)).then_some(()));
    }

    fn an_overlap_is_ended_at_a_date_where_one_is_said(debian) {
        let dates = "retire-on-calendar = [\"2001-01-01\", \"2098-03-04 03:00 UTC\"]\n";
        let backend = Backend::good().fault("accepts-old");
        let machine = rotation::adopted_with(debian, &backend, &format!("{}{dates}", rotation::OVERLAP));
        machine.ok(&["rekeyctl", "rotate", NAME]);
        assert_eq!(status(&machine)["retire-at"], "2098-03-04T03:00:00Z");
        poll(seconds(10), "its timer", || machine.unit(TIMER, "NextElapseUSecRealtime").contains("2098-03-04 03:00:00").then_some(()));
        // By hand it is at once; what fails comes again at the date.
        assert_eq!(machine.exec(&["rekeyctl", "retire", NAME]).status, 1);
        assert_eq!(status(&machine)["retire-at"], "2098-03-04T03:00:00Z");
        // Where none of the dates is to come, an overlap does not stay open for ever.
        backend.mend(&machine);
        machine.sh(&format!("sed -i 's/2098/2002/' /etc/rekeyd/secrets.d/{NAME}.toml; rekeyctl reload"));
        machine.ok(&["rekeyctl", "rotate", "--emergency", NAME]);
        machine.ok(&["rekeyctl", "rotate", NAME]);
        poll(seconds(10), "it ends as if no date were said", || (1..=900).contains(&is_to_come(&machine)).then_some(()));
    }

    fn the_timer_of_an_overlap_that_a_person_has_ended_does_not_end_the_next_one(debian) {
        let machine = overlapping(debian, &Backend::good());
        machine.ok(&["rekeyctl", "rotate", NAME]);
        poll(seconds(10), "the timer is there", || timers(&machine).contains(&TIMER.to_owned()).then_some(()));
        machine.ok(&["rekeyctl", "retire", NAME]);
        poll(seconds(10), "the timer is gone", || (!timers(&machine).contains(&TIMER.to_owned())).then_some(()));
        machine.sh(&format!("sed -i 's/^overlap = .*/overlap = \"5h\"/' /etc/rekeyd/secrets.d/{NAME}.toml; rekeyctl reload"));
        machine.ok(&["rekeyctl", "rotate", NAME]);
        poll(seconds(10), "the timer is that of the new overlap", || (is_to_come(&machine) > 4 * 3600).then_some(()));
        // Started too early, it ends nothing.
        machine.ok(&["systemctl", "start", "rekeyd-retire@my-backend-jwt.service"]);
        assert_eq!(status(&machine)["accepted"], serde_json::json!([2]));
    }

    fn the_timer_is_armed_at_boot_without_the_daemon(debian) {
        let machine = overlapping(debian, &Backend::good());
        machine.ok(&["rekeyctl", "rotate", NAME]);
        machine.ok(&["systemctl", "mask", "rekeyd.service"]);
        machine.reboot();
        poll(seconds(20), "the timer is there again", || timers(&machine).contains(&TIMER.to_owned()).then_some(()));
        assert_eq!(previous(&machine).as_deref(), Some(FIRST_VALUE));
    }

    fn with_several_processes_all_accept_the_new_value_before_any_signs_with_it(debian) {
        let machine = overlapping(debian, &Backend::good().always("workers 2"));
        let said = machine.ok(&["rekeyctl", "rotate", NAME]);
        assert_eq!(said.matches("✓ prove").count(), 2, "{said}");
        assert!(said.contains("signed with generation 1, accepted, generation 2 accepted too"), "{said}");
        assert!(said.contains("signed with generation 2, accepted, generation 1 accepted too"), "{said}");
    }

    fn the_length_is_that_of_the_tokens_where_it_is_auto(debian) {
        let machine = overlapping_for(debian, &Backend::good(), "auto");
        machine.ok(&["rekeyctl", "rotate", NAME]);
        let status = status(&machine);
        let time = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        let length = time(&status["retire-at"]).duration_since(time(&status["last"]["at"])).as_secs();
        // The backend's tokens live for 900 s.
        assert!((955..=965).contains(&length), "{length} s");
    }

    fn while_an_overlap_is_open_only_an_emergency_rotates(debian) {
        let machine = overlapping(debian, &Backend::good());
        machine.ok(&["rekeyctl", "rotate", NAME]);
        let second = value(&machine);
        let said = machine.exec(&["rekeyctl", "rotate", NAME]);
        assert_eq!(said.status, 3, "{said}");
        assert_says(&said, "rekeyctl retire my-backend-jwt");
        assert_eq!(machine.exec(&["rekeyctl", "rotate", "--dry-run", NAME]).status, 3);
        let plan = machine.ok(&["rekeyctl", "rotate", "--dry-run", "--emergency", NAME]);
        assert!(plan.contains("{2, accepts 1} → {3}") && plan.contains("are refused after the restart"), "{plan}");
        machine.ok(&["rekeyctl", "rotate", "--emergency", NAME]);
        assert_eq!(previous(&machine), None);
        for old in [FIRST_VALUE, &second] {
            assert_eq!(token::present(&machine, &token::forge(old)), 401);
        }
    }

    fn a_person_goes_back_and_tokens_of_both_values_stay_good(debian) {
        let machine = overlapping(debian, &Backend::good());
        machine.ok(&["rekeyctl", "rotate", NAME]);
        let of_new = token::login(&machine);
        machine.ok(&["rekeyctl", "rollback", NAME]);
        assert_eq!(value(&machine), FIRST_VALUE);
        assert_eq!(token::present(&machine, &of_new), 200);
    }

    fn what_was_signed_with_a_value_that_is_given_up_stays_accepted(debian) {
        let machine = overlapping(debian, &Backend::good().fault("exits-after-ready 300"));
        let said = machine.exec(&["rekeyctl", "rotate", NAME]);
        assert_eq!(said.status, 1, "{said}");
        assert_eq!(value(&machine), FIRST_VALUE);
        assert_eq!(status(&machine)["accepted"], serde_json::json!([2]));
        assert_eq!(token::present(&machine, &token::forge(&previous(&machine).unwrap())), 200);
        assert!(timers(&machine).contains(&TIMER.to_owned()));
        machine.ok(&["rekeyctl", "retire", NAME]);
        assert_eq!(previous(&machine), None);
    }

    fn a_backend_that_ignores_the_previous_value_is_caught(debian) {
        is_caught(debian, "ignores-previous", "refuses-accepted");
    }

    fn a_backend_that_signs_with_the_new_value_and_verifies_the_old_one_is_caught(debian) {
        is_caught(debian, "verifies-only-old", "protected-refuses");
    }

    fn a_backend_that_goes_on_accepting_the_retired_value_is_caught(debian) {
        let machine = overlapping(debian, &Backend::good().fault("accepts-old"));
        machine.ok(&["rekeyctl", "rotate", NAME]);
        let said = machine.exec(&["rekeyctl", "retire", NAME]);
        assert_eq!(said.status, 1, "{said}");
        let status = status(&machine);
        assert_eq!(status["last"]["outcome"]["cause"]["code"], "accepts-retired");
        assert_eq!(status["accepted"], serde_json::json!([1]), "both stay accepted");
        assert!(timers(&machine).contains(&TIMER.to_owned()), "it is tried again");
    }
}

/// In how many seconds the timer elapses; none is 0.
fn is_to_come(machine: &Machine) -> i64 {
    let next = machine.unit(TIMER, "NextElapseUSecRealtime");
    let there = machine.exec(&["date", "-d", &next, "+%s"]);
    let now = machine.ok(&["date", "+%s"]);
    let seconds = |text: &str| text.trim().parse::<i64>().ok();
    seconds(&there.stdout).filter(|_| !next.is_empty()).map_or(0, |next| next - seconds(&now).unwrap())
}

fn overlapping(debian: Debian, backend: &Backend) -> Machine {
    overlapping_for(debian, backend, "15m")
}

fn overlapping_for(debian: Debian, backend: &Backend, length: &str) -> Machine {
    rotation::adopted_with(debian, backend, &rotation::OVERLAP.replace("15m", length))
}

/// What the backend accepts besides.
fn previous(machine: &Machine) -> Option<String> {
    machine.variable(UNIT, "JWT_SECRET_PREVIOUS").into_iter().find_map(|(_, value)| value)
}

fn timers(machine: &Machine) -> Vec<String> {
    let text = machine.ok(&["systemctl", "list-timers", "--all", "-o", "json", "rekeyd-*"]);
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    rows.iter().map(|row| row["unit"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn is_caught(debian: Debian, fault: &str, code: &str) {
    let machine = overlapping(debian, &Backend::good().fault(fault));
    let said = machine.exec(&["rekeyctl", "rotate", NAME]);
    assert_eq!(said.status, 1, "{said}");
    assert_eq!(status(&machine)["last"]["outcome"]["cause"]["code"], code);
    assert_eq!(value(&machine), FIRST_VALUE);
    assert_eq!(token::present(&machine, &token::login(&machine)), 200);
}
