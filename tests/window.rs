//! Overlaps that save restarts: a window in which the next value is accepted already, and an end that waits for the
//! next restart.

#![allow(clippy::unwrap_used)]

use crate::support;

use std::collections::BTreeSet;

use serde_json::json;
use support::backend::FIRST_VALUE;
use support::rotation::{self, NAME, UNIT, assert_says, stage, status, value};
use support::{Backend, Machine, poll, seconds, token};

const WINDOW: &str = "[invalidation]\nmode = \"overlap\"\nprevious-env = \"JWT_SECRET_PREVIOUS\"\nstrategy = \"window\"\noverlap = \"1m\"\n";
const WITH_NEXT_RESTART: &str = "[invalidation]\nmode = \"overlap\"\nprevious-env = \"JWT_SECRET_PREVIOUS\"\noverlap = \"15m\"\nretire = \"with-next-restart\"\n";

support::on_both_debians! {
    fn a_window_is_opened_once_and_then_moves_on_with_one_restart(debian) {
        let machine = rotation::adopted_with(debian, &Backend::good().always("workers 2"), WINDOW);
        let of_first = token::login(&machine);
        let said = machine.ok(&["rekeyctl", "rotate", NAME]);
        assert_eq!(said.matches("✓ activate").count(), 2, "{said}");
        let second = value(&machine);
        assert_eq!(status(&machine)["accepted"], json!([1, 3]));
        assert_eq!(stage(&machine, 3), "pending");
        let waiting = others(&machine).into_iter().find(|other| other != FIRST_VALUE).unwrap();
        assert_eq!(token::present(&machine, &token::forge(&waiting)), 200);
        assert_eq!(token::present(&machine, &of_first), 200);
        let timers = machine.ok(&["systemctl", "list-timers", "--all", "--no-legend", "rekeyd-retire@*"]);
        assert_eq!(timers.trim(), "", "the next rotation ends it");

        // What it would drop is too young.
        let said = machine.exec(&["rekeyctl", "rotate", NAME]);
        assert_eq!(said.status, 3, "{said}");
        assert_says(&said, "rekeyctl retire my-backend-jwt");
        machine.ok(&["rekeyctl", "retire", NAME]);
        assert_eq!(status(&machine)["accepted"], json!([3]));
        assert_eq!(token::present(&machine, &of_first), 401);

        let of_second = token::login(&machine);
        let said = machine.ok(&["rekeyctl", "rotate", NAME]);
        assert_eq!(said.matches("✓ activate").count(), 1, "{said}");
        assert_eq!(value(&machine), waiting, "the value that was waiting is in force");
        assert_eq!(others(&machine).len(), 2);
        assert!(others(&machine).contains(&second));
        assert_eq!(status(&machine)["accepted"], json!([2, 4]));
        assert_eq!((stage(&machine, 3), stage(&machine, 4)), ("current".to_owned(), "pending".to_owned()));
        assert_eq!(token::present(&machine, &of_second), 200);
    }

    fn an_emergency_replaces_the_waiting_value_too(debian) {
        let machine = rotation::adopted_with(debian, &Backend::good(), WINDOW);
        machine.ok(&["rekeyctl", "rotate", NAME]);
        let known: Vec<String> = others(&machine).into_iter().chain([value(&machine)]).collect();
        machine.ok(&["rekeyctl", "rotate", "--emergency", NAME]);
        for value in &known {
            assert_eq!(token::present(&machine, &token::forge(value)), 401);
        }
        assert!(others(&machine).is_empty());
        assert_eq!((stage(&machine, 3), stage(&machine, 4)), ("rejected".to_owned(), "current".to_owned()));
        let said = machine.ok(&["rekeyctl", "rotate", NAME]);
        assert_eq!(said.matches("✓ activate").count(), 2, "the window is opened again: {said}");
        assert_eq!(status(&machine)["accepted"], json!([4, 6]));
    }

    fn a_window_that_cannot_move_on_goes_back_to_what_it_was(debian) {
        let backend = Backend::good();
        let machine = rotation::adopted_with(debian, &backend, WINDOW);
        machine.ok(&["rekeyctl", "rotate", NAME]);
        machine.ok(&["rekeyctl", "retire", NAME]);
        let before = value(&machine);
        backend.break_now(&machine, "login-500");
        let said = machine.exec(&["rekeyctl", "rotate", NAME]);
        assert_eq!(said.status, 1, "{said}");
        assert_eq!(value(&machine), before);
        assert_eq!((stage(&machine, 3), stage(&machine, 4)), ("rejected".to_owned(), "rejected".to_owned()));
        assert_eq!(status(&machine)["accepted"], json!([3]), "what may have signed stays accepted");
        backend.mend(&machine);
        machine.ok(&["rekeyctl", "retire", NAME]);
        machine.ok(&["rekeyctl", "rotate", NAME]);
        assert_eq!(status(&machine)["generation"], 5);
        assert_eq!(status(&machine)["accepted"], json!([2, 6]));
    }

    fn several_processes_learn_the_new_value_first_also_where_an_end_waits_for_a_restart(debian) {
        let machine = rotation::adopted_with(debian, &Backend::good().always("workers 2"), WITH_NEXT_RESTART);
        let run = machine.unit(UNIT, "InvocationID");
        machine.ok(&["rekeyctl", "rotate", "--no-wait", NAME]);
        poll(seconds(20), "it is restarted to accept the new value", || (machine.unit(UNIT, "InvocationID") != run).then_some(()));
        assert_eq!(value(&machine), FIRST_VALUE, "it signs with the new value before all of it accept that");
        poll(seconds(40), "it ends", || status(&machine)["rotation"].is_null().then_some(()));
        assert_eq!(status(&machine)["generation"], 2, "{:#}", status(&machine));
    }

    fn an_overlap_ends_with_the_next_restart_where_that_is_wanted(debian) {
        let machine = rotation::adopted_with(debian, &Backend::good(), WITH_NEXT_RESTART);
        let of_first = token::login(&machine);
        machine.ok(&["rekeyctl", "rotate", NAME]);
        let run = machine.unit(UNIT, "InvocationID");
        let said = machine.ok(&["rekeyctl", "retire", NAME]);
        assert!(said.contains("takes it with its next restart"), "{said}");
        assert_eq!(machine.unit(UNIT, "InvocationID"), run, "it was restarted");
        assert_eq!(status(&machine)["accepted"], json!([]));
        assert_eq!(token::present(&machine, &of_first), 200);
        let keeps = format!("{UNIT} goes on accepting generation 1 until its next restart");
        assert_eq!(status(&machine)["waiting"], json!([format!("{keeps} — systemctl restart {UNIT}")]));
        for looks in [&["rekeyctl", "verify", NAME][..], &["rekeyctl", "doctor"]] {
            assert_says(&machine.exec(looks), &keeps);
        }
        let audit = machine.ok(&["rekeyctl", "audit", NAME]);
        assert!(audit.contains("generation 1 was retired ") && audit.contains(&format!("{UNIT} accepts it until its next restart")), "{audit}");
        machine.ok(&["systemctl", "restart", UNIT]);
        // What was seen a moment ago is not looked at again.
        poll(seconds(10), "nothing waits", || (status(&machine)["waiting"] == json!([])).then_some(()));
        assert!(others(&machine).is_empty());
        assert_eq!(token::present(&machine, &of_first), 401);
        machine.ok(&["rekeyctl", "verify", NAME]);
        machine.ok(&["rekeyctl", "rotate", NAME]);
        machine.ok(&["rekeyctl", "retire", NAME]);
        machine.ok(&["rekeyctl", "rotate", NAME]);
        assert_eq!(status(&machine)["generation"], 4);
    }
}

/// What the backend accepts besides its primary value.
fn others(machine: &Machine) -> BTreeSet<String> {
    let previous = machine.variable(UNIT, "JWT_SECRET_PREVIOUS").into_iter().filter_map(|(_, value)| value);
    previous.flat_map(|list| list.split(',').map(str::to_owned).collect::<Vec<_>>()).collect()
}
