//! How deployments end: ready is not live, canceled is not always a failure, and what cannot be known is held.

use super::*;

fn last(kind: At) -> &'static str {
    kind.well().last().unwrap()
}

#[test]
fn a_deployment_that_fails_is_taken_back_without_another_one() {
    for (kind, states) in [
        (At::Vercel, ["BUILDING", "ERROR"]),
        (At::Netlify, ["building", "error"]),
        (At::Render, ["build_in_progress", "update_failed"]),
        (At::Railway, ["BUILDING", "FAILED"]),
    ] {
        let lab = at(kind);
        lab.fake().next(&states);
        lab.assert_rolled_back(&lab.rotate(), FaultCode::DeployFailed);
        assert_eq!(lab.triggers(), 1, "{kind:?}: what serves never had another value");
    }
}

#[test]
fn one_that_a_push_has_replaced_is_done_where_the_newer_one_is_live() {
    for (kind, state) in [
        (At::Vercel, "CANCELED newer"),
        (At::Netlify, "error newer"),
        (At::Render, "canceled newer"),
        (At::Railway, "REMOVED newer"),
    ] {
        let lab = at(kind);
        lab.fake().next(&[kind.well()[0], state]);
        lab.assert_committed(&lab.rotate());
        assert_eq!(lab.triggers(), 1);
    }
}

#[test]
fn a_list_that_does_not_show_the_newer_one_yet_is_asked_again() {
    for (kind, state) in
        [(At::Vercel, "CANCELED newer"), (At::Render, "canceled newer"), (At::Railway, "REMOVED newer")]
    {
        let lab = at(kind);
        lab.fake().with(|world| world.set.insert("stale-lists".to_owned(), "3".to_owned()));
        lab.fake().next(&[kind.well()[0], state]);
        lab.assert_committed(&lab.rotate());
        assert_eq!(lab.triggers(), 1);
    }
}

/// A project of Vercel whose deployments rekeyd may promote.
fn promoting() -> Lab {
    Lab::new(&[At::Vercel], |hosting| {
        let HostingPlatform::Vercel(vercel) = &mut hosting.platform else { return };
        vercel.promote = true;
    })
}

#[test]
fn ready_is_not_live() {
    for (kind, state) in [At::Vercel, At::Netlify].map(|kind| (kind, kind.aside())) {
        let lab = at(kind);
        lab.fake().next(&[kind.well()[1], state]);
        lab.fake().with(|world| world.set.insert("stops-publishing-at".to_owned(), "trigger".to_owned()));
        lab.assert_rolled_back(&lab.rotate(), FaultCode::NotLive);
        assert_eq!(lab.triggers(), 1);
        // Published by rekeyd where that is allowed.
        let lab = Lab::new(&[kind], |hosting| match &mut hosting.platform {
            HostingPlatform::Vercel(vercel) => vercel.promote = true,
            HostingPlatform::Netlify(netlify) => netlify.publish = true,
            _ => {}
        });
        lab.fake().next(&[kind.well()[1], state]);
        lab.assert_committed(&lab.rotate());
        let published = lab.fake().asked().into_iter().filter(|asked| asked.step == "publish").count();
        assert_eq!((published, lab.triggers()), (1, 1));
    }
    for state in ["READY ALIAS_ERROR", "READY CHECKS_FAILED", "READY ALIAS_CHECK_FAILED"] {
        let lab = promoting();
        lab.fake().next(&["BUILDING", state]);
        lab.assert_rolled_back(&lab.rotate(), FaultCode::DeployFailed);
        assert!(lab.fake().asked().iter().all(|asked| asked.step != "publish"), "{state}");
    }
    let lab = promoting();
    lab.fake().next(&[&["READY CHECKS_RUNNING"; 40][..], &["READY PROMOTED"]].concat());
    lab.assert_committed(&lab.rotate());
    assert!(lab.fake().asked().iter().all(|asked| asked.step != "publish"), "its checks were not waited for");
    let lab = at(At::Vercel);
    lab.fake().next(&["READY UNASSIGNED", "READY UNASSIGNED", "READY ROLLING", "READY PROMOTED"]);
    lab.assert_committed(&lab.rotate());
}

#[test]
fn a_state_that_is_not_known_is_waited_for() {
    for kind in At::ALL {
        let lab = at(kind);
        lab.fake().next(&["SOMETHING_NEW", "something_else", last(kind)]);
        lab.assert_committed(&lab.rotate());
    }
}

#[test]
fn one_that_waits_for_a_person_is_canceled_and_taken_back() {
    for (kind, state) in [(At::Vercel, "BLOCKED"), (At::Netlify, "pending_review"), (At::Railway, "NEEDS_APPROVAL")] {
        let lab = at(kind);
        lab.fake().next(&[kind.well()[0], state]);
        lab.assert_rolled_back(&lab.rotate(), FaultCode::DeployFailed);
        assert!(lab.fake().asked().iter().any(|asked| asked.step == "cancel"));
    }
}

#[test]
fn one_that_never_ends_is_canceled_and_taken_back_or_held_where_it_may_still_land() {
    for kind in At::ALL {
        let lab = at(kind);
        lab.fake().next(&[kind.well()[1]]);
        lab.assert_rolled_back(&lab.rotate(), FaultCode::NotLive);
        assert_eq!(lab.triggers(), 1);
        let lab = at(kind);
        lab.fake().next(&[kind.well()[1]]);
        lab.fake().with(|world| world.set.insert("cannot-cancel".to_owned(), String::new()));
        let fault = lab.assert_unsure(&lab.rotate());
        assert!(fault.message.contains("may still land"), "{fault:?}");
        // Nothing is guessed: neither written back nor deployed again.
        assert_eq!(lab.triggers(), 1);
        assert_ne!(lab.fake().value("JWT_SECRET"), OLD);
        assert!(fault.advice.contains("https://"), "{fault:?}");
    }
}

#[test]
fn one_that_crashes_after_it_was_up_is_taken_back_by_another_deployment() {
    let lab = at(At::Railway);
    lab.fake().next(&["DEPLOYING", "SUCCESS", "SUCCESS", "SUCCESS", "CRASHED"]);
    let outcome = lab.rotate();
    assert!(
        matches!(&outcome, Outcome::RolledBack { cause } if matches!(cause.code, FaultCode::NotLive | FaultCode::Unsettled)),
        "{outcome:?}"
    );
    assert_eq!((lab.fake().served("JWT_SECRET").as_str(), lab.triggers()), (OLD, 2));
}

#[test]
fn a_trigger_that_is_queued_without_an_id_is_found() {
    let lab = at(At::Render);
    lab.fake().with(|world| world.set.insert("queues".to_owned(), String::new()));
    lab.assert_committed(&lab.rotate());
    assert_eq!(lab.triggers(), 1);
}

#[test]
fn a_build_of_other_code_is_told_or_stopped() {
    let lab = at(At::Netlify);
    lab.fake().with(|world| world.head = "feed".repeat(10));
    lab.assert_committed(&lab.rotate());
    assert!(lab.told.lock().unwrap().iter().any(|line| line.contains("of another commit")));
    for is_quicker in [false, true] {
        let lab = same_code();
        lab.fake().with(|world| {
            world.head = "feed".repeat(10);
            if is_quicker {
                world.set.insert("cannot-cancel".to_owned(), String::new());
            }
        });
        lab.assert_rolled_back(&lab.rotate(), FaultCode::NotLive);
        assert_eq!(lab.triggers(), 1);
        let (served, pushed) = code(&lab);
        assert_ne!(served, pushed, "what was quicker than its cancellation is taken back");
    }
}

/// A site of Netlify with `same-code-only`.
fn same_code() -> Lab {
    Lab::new(&[At::Netlify], |hosting| {
        let HostingPlatform::Netlify(netlify) = &mut hosting.platform else { return };
        netlify.same_code_only = true;
    })
}

#[test]
fn where_the_code_that_is_served_is_not_known_it_is_not_promised_to_stay() {
    let lab = same_code();
    lab.fake().with(|world| world.deployments[0].commit.clear());
    let Outcome::Refused { cause } = lab.rotate() else { panic!() };
    assert_eq!(cause.code, FaultCode::NotConfigured, "{cause:?}");
    assert_eq!(lab.triggers(), 0);
}

#[test]
fn what_the_new_value_breaks_is_taken_back_by_deploying_what_served_before() {
    for kind in At::ALL {
        let mut lab = at(kind);
        lab.fails_to_prove();
        lab.assert_rolled_back(&lab.rotate(), FaultCode::UnitFailed);
        assert_eq!(lab.triggers(), 2, "{kind:?}");
    }
}

/// The commit of what is served, and that of the newest code.
pub(super) fn code(lab: &Lab) -> (String, String) {
    lab.fake().with(|world| (world.find(&world.serving).unwrap().commit.clone(), world.head.clone()))
}

#[test]
fn code_that_is_pushed_after_preflight_is_deployed_anew_by_every_movement_and_way_back() {
    for (course, fails) in [(Course::PublishFirst, false), (Course::PublishFirst, true), (Course::OneStep, true)] {
        let mut lab = at(At::Vercel).overlapping(course);
        lab.fake().with(|world| world.set.insert("push-at".to_owned(), "write".to_owned()));
        if fails {
            lab.fails_to_prove();
        }
        let outcome = lab.rotate();
        assert_eq!(outcome == Outcome::Committed, !fails, "{outcome:?}");
        assert!(fails == matches!(outcome, Outcome::RolledBack { .. }), "{outcome:?}");
        let (served, pushed) = code(&lab);
        assert_eq!(served, pushed, "{course:?} {fails}");
    }
}

#[test]
fn one_under_way_is_waited_for_and_what_it_made_live_is_what_counts() {
    for (kind, fails) in At::ALL.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        let mut lab = Lab::new(&[kind], |hosting| {
            let HostingPlatform::Netlify(netlify) = &mut hosting.platform else { return };
            netlify.same_code_only = true;
        });
        let under_way = lab.fake().with(|world| {
            world.set.insert("goes-on".to_owned(), String::new());
            world.head = "feed".repeat(10);
            world.deploy(None, false)
        });
        if fails {
            lab.fails_to_prove();
            lab.assert_rolled_back(&lab.rotate(), FaultCode::UnitFailed);
        } else {
            lab.assert_committed(&lab.rotate());
        }
        let (served, pushed) = code(&lab);
        assert_eq!(served, pushed, "{kind:?} {fails}");
        if kind == At::Netlify && fails {
            assert_eq!(lab.fake().with(|world| world.serving.clone()), under_way, "it is published again");
        }
    }
}

#[test]
fn what_somebody_else_keeps_aside_is_never_published() {
    for (kind, state) in [(At::Vercel, "CANCELED staged"), (At::Netlify, "error staged")] {
        let lab = Lab::new(&[kind], |hosting| match &mut hosting.platform {
            HostingPlatform::Vercel(vercel) => vercel.promote = true,
            HostingPlatform::Netlify(netlify) => netlify.publish = true,
            _ => {}
        });
        lab.fake().next(&[kind.well()[1], state]);
        lab.assert_rolled_back(&lab.rotate(), FaultCode::DeployFailed);
        assert!(lab.fake().asked().iter().all(|asked| asked.step != "publish"), "{kind:?}");
    }
}

#[test]
fn what_nobody_could_know_is_mended_by_a_release_and_another_rotation() {
    for kind in At::ALL {
        for fails in [false, true] {
            let lab = at(kind);
            lab.fake().with(|world| world.variables.get_mut("JWT_SECRET").unwrap().secret = false);
            lab.fake().next(&[kind.well()[1]]);
            lab.fake().with(|world| world.set.insert("cannot-cancel".to_owned(), String::new()));
            lab.assert_unsure(&lab.rotate());
            // What was not canceled lands after all.
            lab.fake().with(|world| {
                world.set.remove("cannot-cancel");
                let last = world.deployments.last_mut().unwrap();
                last.states = vec![(*kind.well().last().unwrap()).to_owned()];
                let last = last.id.clone();
                world.look(&last);
            });
            assert_ne!(lab.fake().served("JWT_SECRET"), OLD);
            lab.release();
            if fails {
                // What serves has the value that was given up: it is not what to go back to.
                lab.fake().next(&[kind.well()[1], broken(kind)]);
                lab.assert_rolled_back(&lab.rotate(), FaultCode::DeployFailed);
            } else {
                lab.assert_committed(&lab.rotate());
            }
        }
    }
}

#[test]
fn what_somebody_else_failed_to_deploy_in_between_is_none_of_ours() {
    for (kind, slowly) in [At::Render, At::Railway].into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        let lab = at(kind);
        lab.fake().with(|world| {
            world.set.insert("fails-after-lists".to_owned(), "1".to_owned());
            if slowly {
                world.set.insert("fails-slowly".to_owned(), String::new());
                world.set.insert("goes-on".to_owned(), String::new());
            }
        });
        lab.assert_committed(&lab.rotate());
        assert_eq!(lab.triggers(), 1, "{kind:?} {slowly}");
    }
}

#[test]
fn a_build_of_netlify_whose_commit_is_not_told_is_not_taken_for_the_same_code() {
    for sha in ["", "pull/1/head"] {
        for same_code_only in [false, true] {
            let lab = Lab::new(&[At::Netlify], |hosting| {
                let HostingPlatform::Netlify(netlify) = &mut hosting.platform else { return };
                netlify.same_code_only = same_code_only;
            });
            lab.fake().with(|world| world.set.insert("tells-no-commits".to_owned(), sha.to_owned()));
            for _ in 0..2 {
                let outcome = lab.rotate();
                if same_code_only {
                    lab.assert_rolled_back(&outcome, FaultCode::NotLive);
                } else {
                    lab.assert_committed(&outcome);
                }
            }
        }
    }
}
