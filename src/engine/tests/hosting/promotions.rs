//! Publishing what is kept aside: what was asked for once may come at any time.

use super::*;

fn publishing(kind: At) -> Lab {
    let lab = Lab::new(&[kind], |hosting| match &mut hosting.platform {
        HostingPlatform::Vercel(vercel) => vercel.promote = true,
        HostingPlatform::Netlify(netlify) => netlify.publish = true,
        _ => {}
    });
    lab.fake().with(platforms::World::keep_aside);
    lab.fake().next(&[kind.well()[1], kind.aside()]);
    lab
}

const BOTH: [At; 2] = [At::Vercel, At::Netlify];

fn refused() -> What {
    What::Answer(Answer::json(422, &serde_json::json!({"message": "no"})))
}

fn asked(lab: &Lab) -> usize {
    lab.fake().asked().iter().filter(|asked| asked.step == "publish").count()
}

#[test]
fn a_promotion_that_is_queued_or_was_not_heard_may_still_land() {
    for kind in BOTH {
        let lab = publishing(kind);
        lab.fake().with(|world| world.set.insert("queues-promotions".to_owned(), String::new()));
        let fault = lab.assert_unsure(&lab.rotate());
        assert!(fault.message.contains("may still land"), "{fault:?}");
        let lab = publishing(kind);
        lab.fake().fail_at("publish", 0, 9999, What::Unheard);
        lab.assert_unsure(&lab.rotate());
        assert_ne!(lab.fake().value("JWT_SECRET"), OLD, "nothing is guessed");
    }
}

#[test]
fn a_promotion_that_is_refused_once_it_was_done_is_done() {
    for kind in BOTH {
        let lab = publishing(kind);
        lab.fake().fail("publish", What::Lost);
        lab.fake().fail_at("publish", 0, 99, refused());
        lab.assert_committed(&lab.rotate());
        assert_eq!((asked(&lab), lab.triggers()), (2, 1));
    }
}

#[test]
fn a_promotion_that_is_refused_leaves_what_served() {
    for kind in BOTH {
        let lab = publishing(kind);
        lab.fake().fail_at("publish", 0, 99, refused());
        lab.assert_rolled_back(&lab.rotate(), FaultCode::PlatformRefused);
        assert_eq!((asked(&lab), lab.triggers()), (1, 1));
    }
}

/// Another life gives up what was begun.
#[track_caller]
fn assert_held_when_given_up(lab: &Lab) {
    let outcome = lab.run(lab.live(Wish::GiveUp)).unwrap();
    let Outcome::RollbackFailed { cause, rollback } = &outcome else { panic!("{outcome:?}") };
    assert_eq!((cause.code, rollback.code), (FaultCode::DeadlinePassed, FaultCode::Unsure), "{outcome:?}");
    assert!(rollback.message.contains("may still land"), "{rollback:?}");
}

#[test]
fn what_an_earlier_life_has_asked_for_may_still_land() {
    for kind in BOTH {
        let whole = publishing(kind);
        whole.rotate();
        let steps = whole.fake().asked();
        let lab = publishing(kind);
        lab.fake().with(|world| world.set.insert("queues-promotions".to_owned(), String::new()));
        assert!(kills::live_until(&lab, steps.iter().position(|asked| asked.step == "publish").unwrap() + 1));
        assert_held_when_given_up(&lab);
    }
}

#[test]
fn one_that_is_up_and_newer_than_what_serves_may_still_land() {
    let lab = at(At::Vercel);
    assert!(kills::live_until(&lab, lab.requests_until("trigger")));
    lab.fake().with(|world| {
        world.set.insert("never-serves".to_owned(), String::new());
        world.deployments.last_mut().unwrap().looks = 9;
    });
    assert_held_when_given_up(&lab);
}

#[test]
fn a_variable_that_was_made_unheard_is_written_over() {
    for kind in BOTH {
        let lab = Lab::new(&[kind], |hosting| hosting.create = true);
        lab.fake().with(|world| world.variables.remove("JWT_SECRET"));
        lab.fake().fail("create", What::Lost);
        lab.fake().fail("create", refused());
        lab.assert_committed(&lab.rotate());
    }
}
