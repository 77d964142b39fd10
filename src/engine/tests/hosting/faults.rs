//! What goes wrong between us and a platform: rows of the error table, rate limits, lost answers.

use serde_json::json;

use super::*;

/// The steps of a rotation at every platform.
const STEPS: [&str; 4] = ["write", "trigger", "deployment", "project"];

fn refusal(kind: At, status: u16) -> What {
    What::Answer(match kind {
        At::Vercel => Answer::json(
            status,
            &json!({"error": {"code": "forbidden", "message": "no", "invalidToken": status == 403}}),
        ),
        At::Railway if status != 429 => {
            Answer::json(200, &json!({"errors": [{"message": "Not Authorized"}], "data": null}))
        }
        At::Netlify => Answer::json(status, &json!({"code": status, "message": "no"})),
        _ => Answer::json(status, &json!({"message": "no"})),
    })
}

/// Too many requests, without saying for how long.
pub(super) fn limited(kind: At) -> Answer {
    let body = match kind {
        At::Vercel => json!({"error": {"code": "rate_limited", "message": "too many requests"}}),
        _ => json!({"message": "too many requests"}),
    };
    Answer::json(429, &body)
}

#[test]
fn too_many_requests_are_waited_for_by_every_clock() {
    for kind in At::ALL {
        let soon = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 40;
        let told = |name: &str, value: &str| limited(kind).with(name, value);
        let in_body = json!({"error": {"code": "rate_limited", "message": "x", "limit": {"reset": soon}}});
        let clocks = [
            told("Retry-After", "30"),
            told("X-RateLimit-Reset", &soon.to_string()),
            told("Ratelimit-Reset", "42"),
            if kind == At::Vercel { Answer::json(429, &in_body) } else { limited(kind) },
            Answer::empty(429),
        ];
        let lab = at(kind);
        for (on, clock) in STEPS.iter().cycle().zip(&clocks) {
            lab.fake().fail(on, What::Answer(clock.clone()));
        }
        let began = std::time::Instant::now();
        lab.assert_committed(&lab.rotate());
        assert_eq!(lab.triggers(), 1, "{kind:?}");
        assert!(began.elapsed() < Duration::from_secs(30), "the test itself waits for nobody");
    }
}

#[test]
fn servers_that_fail_for_a_while_are_asked_again() {
    for kind in At::ALL {
        for fault in [What::Answer(Answer::html(502)), What::Answer(Answer::empty(503)), What::Unheard] {
            for on in ["project", "variables", "write", "deployment", "list"] {
                let lab = at(kind);
                lab.fake().fail_at(on, 0, 2, fault.clone());
                lab.assert_committed(&lab.rotate());
                assert_eq!(lab.triggers(), 1, "{kind:?} {on}");
            }
        }
    }
}

#[test]
fn a_trigger_whose_answer_is_lost_is_found_and_not_made_again() {
    for kind in At::ALL {
        for lost in [What::Lost, What::Unheard, What::Answer(Answer::html(502)), What::Answer(Answer::html(200))] {
            let was_done = lost == What::Lost;
            let lab = at(kind);
            lab.fake().fail("trigger", lost.clone());
            lab.assert_committed(&lab.rotate());
            assert_eq!(lab.triggers(), 1, "{kind:?} {lost:?}");
            let sent = lab.fake().asked().into_iter().filter(|asked| asked.step == "trigger").count();
            assert_eq!(sent, if was_done { 1 } else { 2 }, "{kind:?} {lost:?}");
        }
    }
}

#[test]
fn a_mark_is_found_whatever_the_clocks_of_a_platform_say() {
    for kind in [At::Vercel, At::Netlify] {
        let lab = at(kind);
        lab.fake().with(|world| {
            world.set.insert("clock-behind".to_owned(), String::new());
            world.deployments[0].created -= 3_600_000;
        });
        lab.fake().fail("trigger", What::Lost);
        lab.assert_committed(&lab.rotate());
        assert_eq!(lab.triggers(), 1, "{kind:?}");
        // Nor is it taken for an older one afterwards.
        lab.verify().unwrap();
        lab.assert_committed(&lab.rotate());
    }
}

#[test]
fn where_there_are_no_marks_a_trigger_waits_a_minute_for_what_it_made() {
    for kind in [At::Render, At::Railway] {
        let lab = at(kind);
        lab.fake().with(|world| world.set.insert("stale-lists".to_owned(), "5".to_owned()));
        lab.fake().fail("trigger", What::Lost);
        lab.assert_committed(&lab.rotate());
        assert_eq!(lab.triggers(), 1, "{kind:?}");
    }
}

#[test]
fn an_answer_of_vercel_without_an_id_is_none() {
    let nameless = || What::Answer(Answer::json(200, &json!({"readyState": "ERROR", "readySubstate": null})));
    let lab = at(At::Vercel);
    lab.fake().fail("trigger", nameless());
    lab.fake().fail_at("poll", 0, 2, nameless());
    lab.assert_committed(&lab.rotate());
    assert_eq!(lab.triggers(), 1);
}

#[test]
fn an_error_of_railway_that_is_not_known_says_nothing_of_what_was_done() {
    let strange = |words: &str| What::Answer(Answer::json(200, &json!({"errors": [{"message": words}], "data": null})));
    for words in ["Something went sideways", "Cannot commit the transaction"] {
        let lab = at(At::Railway);
        lab.fake().fail("trigger", strange(words));
        lab.fake().fail_at("poll", 0, 2, strange(words));
        lab.assert_committed(&lab.rotate());
        let sent: Vec<String> =
            lab.fake().asked().into_iter().filter(|asked| asked.step == "trigger").map(|asked| asked.line).collect();
        assert!(sent.len() == 2 && sent.iter().all(|line| line.contains("DeployV2")), "{sent:#?}");
    }
}

#[test]
fn an_error_of_railway_to_a_write_that_is_not_known_may_have_taken_and_is_taken_back() {
    let lab = at(At::Railway);
    let errors =
        json!({"errors": [{"message": "the connection to the store was closed"}], "data": {"variableUpsert": true}});
    lab.fake().fail("write", What::Answer(Answer::json(200, &errors)));
    lab.assert_rolled_back(&lab.rotate(), FaultCode::PlatformRefused);
    let writes = lab.fake().asked().into_iter().filter(|asked| asked.step == "write").count();
    assert_eq!(writes, 2, "the old value is written again");
}

#[test]
fn the_list_of_a_window_is_not_taken_for_what_somebody_else_wrote() {
    for kind in [At::Render, At::Railway] {
        let lab = at(kind).overlapping(Course::Window);
        lab.fake().next(kind.well());
        lab.fake().next(&[broken(kind)]);
        lab.assert_rolled_back(&lab.rotate(), FaultCode::DeployFailed);
    }
}

#[test]
fn while_nobody_can_see_what_a_trigger_made_it_is_not_sent_again() {
    for kind in At::ALL {
        let usual = at(kind);
        usual.assert_committed(&usual.rotate());
        let before = usual.fake().asked().into_iter().take_while(|asked| asked.step != "trigger");
        let lists = before.filter(|asked| asked.step == "list").count();
        let lab = at(kind);
        lab.fake().fail("trigger", What::Lost);
        lab.fake().fail_at("list", lists.try_into().unwrap(), 30, What::Answer(Answer::html(502)));
        lab.rotate();
        let sent = lab.fake().asked().into_iter().filter(|asked| asked.step == "trigger").count();
        assert_eq!((sent, lab.triggers()), (1, 1), "{kind:?}");
    }
}

#[test]
fn a_write_whose_answer_was_lost_may_have_been_done_whatever_its_repetition_is_told() {
    for kind in At::ALL {
        for status in [401, 403] {
            let lab = at(kind);
            lab.fake().fail_at("write", 0, 1, What::Lost);
            lab.fake().fail_at("write", 0, 99, refusal(kind, status));
            lab.assert_unsure(&lab.rotate());
        }
    }
}

#[test]
fn a_write_that_must_wait_for_longer_than_there_is_time_leaves_nothing_to_undo() {
    for kind in At::ALL {
        let lab = at(kind);
        let for_days = limited(kind).with("Retry-After", "999999");
        lab.fake().fail_at("write", 0, 99, What::Answer(for_days));
        lab.assert_rolled_back(&lab.rotate(), FaultCode::PlatformUnreachable);
        assert_eq!((lab.fake().with(|world| world.writes), lab.triggers()), (0, 0), "{kind:?}");
    }
}

#[test]
fn a_token_that_dies_before_the_write_leaves_nothing_to_undo() {
    for kind in At::ALL {
        for status in [401, 403] {
            let lab = at(kind);
            lab.fake().fail_at("write", 0, 99, refusal(kind, status));
            let outcome = lab.rotate();
            let Outcome::RolledBack { cause } = &outcome else { panic!("{outcome:?}") };
            assert!(matches!(cause.code, FaultCode::CredentialRefused | FaultCode::PlatformRefused), "{cause:?}");
            lab.assert_rolled_back(&outcome, cause.code);
            let (writes, sent) = (lab.fake().with(|world| world.writes), lab.fake().asked());
            assert_eq!((writes, lab.triggers()), (0, 0));
            assert_eq!(sent.iter().filter(|asked| asked.step == "write").count(), 1, "it is not asked again");
        }
    }
}

#[test]
fn a_token_that_dies_after_the_write_is_never_called_rolled_back() {
    for kind in At::ALL {
        for on in ["trigger", "poll"] {
            for status in [401, 402, 403] {
                let lab = at(kind);
                lab.fake().fail_at(on, 0, 99, refusal(kind, status));
                lab.assert_unsure(&lab.rotate());
                assert_eq!(lab.fake().with(|world| world.writes), 1, "{kind:?}: nothing is written on a guess");
                assert!(lab.triggers() <= 1);
            }
        }
    }
}

#[test]
fn what_is_refused_for_good_is_not_sent_again_and_taken_back() {
    for (kind, status) in
        At::ALL.into_iter().flat_map(|kind| [400, 404, 410, 422, 423, 426].map(|status| (kind, status)))
    {
        for on in ["write", "trigger"] {
            if kind == At::Vercel && on == "write" && [400, 404].contains(&status) {
                // Told again in full, or looked up again, as its own client does.
                continue;
            }
            let lab = at(kind);
            lab.fake().fail(on, What::Answer(Answer::json(status, &json!({"message": "no"}))));
            let outcome = lab.rotate();
            lab.assert_rolled_back(&outcome, FaultCode::PlatformRefused);
            let sent = lab.fake().asked().into_iter().filter(|asked| asked.step == "trigger").count();
            assert_eq!(sent, usize::from(on == "trigger"), "{kind:?} {status} {on}");
        }
    }
}

#[test]
fn a_conflict_is_tried_again_a_few_times() {
    for kind in At::ALL {
        for on in ["write", "trigger"] {
            let conflict = What::Answer(Answer::json(409, &json!({"message": "busy"})));
            let lab = at(kind);
            lab.fake().fail_at(on, 0, 3, conflict.clone());
            lab.assert_committed(&lab.rotate());
            let lab = at(kind);
            lab.fake().fail_at(on, 0, 4, conflict);
            lab.assert_rolled_back(&lab.rotate(), FaultCode::PlatformRefused);
        }
    }
}

#[test]
fn a_platform_that_is_gone_after_the_trigger_is_held_and_before_it_undone() {
    for kind in At::ALL {
        let lab = at(kind);
        lab.fake().fail_at("poll", 0, 9999, What::Unheard);
        lab.assert_unsure(&lab.rotate());
        assert_eq!(lab.triggers(), 1);
        let lab = at(kind);
        lab.fake().fail_at("write", 0, 6, What::Unheard);
        lab.assert_rolled_back(&lab.rotate(), FaultCode::PlatformUnreachable);
    }
}

#[test]
fn a_way_back_that_fails_too_tells_both_errors() {
    for kind in At::ALL {
        let lab = at(kind);
        lab.fake().next(&[broken(kind)]);
        lab.fake().fail_at("write", 1, 99, refusal(kind, 401));
        let outcome = lab.rotate();
        let Outcome::RollbackFailed { cause, rollback } = &outcome else { panic!("{outcome:?}") };
        assert_eq!((cause.code, rollback.code), (FaultCode::DeployFailed, FaultCode::Unsure), "{outcome:?}");
        lab.assert_nothing_told();
    }
}

#[test]
fn a_record_of_vercel_that_is_replaced_between_list_and_patch_is_found_again() {
    let lab = at(At::Vercel);
    // The fourth list is that of the write; two of preflight, and the look before it, come before.
    lab.fake().with(|world| world.set.insert("replace-record".to_owned(), "3".to_owned()));
    lab.assert_committed(&lab.rotate());
    let writes: Vec<String> =
        lab.fake().asked().into_iter().filter(|it| it.step == "write").map(|it| it.line).collect();
    assert!(writes[0].contains("/env_JWT_SECRET?") && writes[1].contains("/env_JWT_SECRETnew?"), "{writes:#?}");
}

#[test]
fn a_patch_that_wants_to_be_told_all_is_told_all_but_the_key_of_a_sensitive_one() {
    let lab = at(At::Vercel);
    lab.fake().with(|world| world.set.insert("wants-all".to_owned(), String::new()));
    lab.assert_committed(&lab.rotate());
    let writes: Vec<String> =
        lab.fake().asked().into_iter().filter(|it| it.step == "write").map(|it| it.line).collect();
    assert!(
        writes[1].ends_with(",\"type\":\"sensitive\",\"target\":[\"production\"],\"visibility\":\"secret\"}"),
        "{writes:#?}"
    );
}

#[test]
fn a_write_that_is_not_seen_afterwards_is_none() {
    for kind in At::ALL {
        let lab = at(kind);
        lab.fake().with(|world| world.set.insert("ignores-writes".to_owned(), String::new()));
        lab.assert_rolled_back(&lab.rotate(), FaultCode::ReadBackDiffers);
        assert_eq!(lab.triggers(), 0, "{kind:?}");
    }
}

#[test]
fn a_write_of_a_later_movement_is_to_be_seen_as_well() {
    for kind in At::ALL {
        let lab = at(kind).overlapping(Course::PublishFirst);
        // Two variables have been written in the first one; where nothing but a time is shown it is written twice.
        let ignored = if kind == At::Render { "4" } else { "4 5" };
        lab.fake().with(|world| world.set.insert("ignores-writes-of".to_owned(), ignored.to_owned()));
        lab.assert_rolled_back(&lab.rotate(), FaultCode::ReadBackDiffers);
    }
}

#[test]
fn a_write_that_changes_more_than_the_value_is_taken_back() {
    for kind in [At::Vercel, At::Netlify, At::Railway] {
        let lab = at(kind);
        lab.fake().with(|world| world.set.insert("changes-kind".to_owned(), String::new()));
        lab.assert_rolled_back(&lab.rotate(), FaultCode::ReadBackDiffers);
        assert_eq!(lab.triggers(), 0, "{kind:?}");
    }
}

#[test]
fn what_a_platform_says_of_a_value_is_not_told() {
    for kind in At::ALL {
        let lab = at(kind);
        let fake = lab.fake().clone();
        let text = format!("the value {OLD} is bad");
        let body = match kind {
            At::Vercel => json!({"error": {"code": "bad", "message": text}}),
            At::Railway => json!({"errors": [{"message": text}], "data": null}),
            At::Netlify | At::Render => json!({"message": text}),
        };
        for on in ["write", "trigger", "poll"] {
            fake.fail(on, What::Answer(Answer::json(if kind == At::Railway { 200 } else { 400 }, &body)));
        }
        lab.rotate();
        lab.assert_nothing_told();
    }
}

/// So many requests in a row come to nothing while a platform is away for more than two minutes.
const MINUTES: u32 = 24;

#[test]
fn a_platform_that_is_away_for_minutes_in_mid_way_is_waited_for() {
    for (kind, fails) in At::ALL.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        let begin = |lab: &Lab| {
            if fails {
                lab.fake().next(&[kind.well()[0], broken(kind)]);
            }
        };
        let whole = at(kind);
        begin(&whole);
        whole.rotate();
        let asked = whole.fake().asked();
        let write = asked.iter().position(|asked| asked.step == "write").unwrap();
        // Several in a row are of the same kind.
        let is_first = |number: &usize| asked[*number].step != asked[*number - 1].step;
        for number in (write..asked.len()).filter(is_first) {
            let lab = at(kind);
            begin(&lab);
            lab.fake().fail_at("any", number.try_into().unwrap(), MINUTES, What::Unheard);
            match lab.rotate() {
                Outcome::RolledBack { cause } => {
                    lab.assert_rolled_back(&Outcome::RolledBack { cause: cause.clone() }, cause.code)
                }
                outcome => lab.assert_committed(&outcome),
            }
            assert!(lab.triggers() <= 1, "{kind:?}: away from request {number} on");
        }
    }
}

#[test]
fn a_platform_that_is_away_for_minutes_when_the_daemon_comes_back_is_waited_for() {
    for kind in At::ALL {
        let lab = at(kind);
        lab.fake().next(&[kind.well()[1]; 2]);
        assert!(kills::live_until(&lab, lab.requests_until("trigger")));
        lab.fake().fail_at("any", 0, MINUTES, What::Unheard);
        lab.fake().with(|world| {
            world.deployments.last_mut().unwrap().states = kind.well().iter().map(|it| (*it).to_owned()).collect()
        });
        lab.assert_committed(&lab.run(lab.live(Wish::Nothing)).unwrap());
        assert_eq!(lab.triggers(), 1, "{kind:?}");
    }
}

#[test]
fn a_write_that_is_answered_with_a_page_of_a_gateway_is_judged_by_its_status() {
    for kind in [At::Vercel, At::Netlify, At::Render] {
        let lab = at(kind);
        lab.fake().fail("write", What::Garbled);
        lab.assert_committed(&lab.rotate());
    }
}
