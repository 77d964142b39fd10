//! How long is waited: for a platform that is away, for as long as it says, and never to the very end.

use super::*;

/// How long a rotation takes by the clock that the daemon sees.
fn lasts(lab: &Lab) -> (Outcome, Duration) {
    lab.run(async {
        let began = tokio::time::Instant::now();
        (lab.live(Wish::Rotate).await.unwrap(), began.elapsed())
    })
}

fn sent(lab: &Lab, step: &str) -> usize {
    lab.fake().asked().iter().filter(|asked| asked.step == step).count()
}

#[test]
fn a_trigger_is_sent_again_for_as_long_as_there_is_time() {
    for kind in At::ALL {
        let lab = at(kind);
        lab.fake().fail_at("trigger", 0, 5, What::Answer(Answer::empty(503)));
        let (outcome, _) = lasts(&lab);
        lab.assert_committed(&outcome);
        assert_eq!((sent(&lab, "trigger"), lab.triggers()), (6, 1), "{kind:?}");
        let lab = at(kind);
        lab.fake().fail("trigger", What::Answer(Answer::empty(503).with("Retry-After", "400")));
        let (outcome, lasts) = lasts(&lab);
        lab.assert_committed(&outcome);
        assert_eq!((sent(&lab, "trigger"), lab.triggers()), (2, 1), "{kind:?}");
        assert!(lasts >= Duration::from_secs(400), "{lasts:?}");
    }
}

#[test]
fn a_trigger_that_is_never_answered_is_held_at_the_end() {
    for kind in At::ALL {
        let mut lab = at(kind);
        lab.settings.deadline = Duration::from_secs(1000);
        lab.fake().fail_at("trigger", 0, 9999, What::Unheard);
        let (outcome, lasts) = lasts(&lab);
        lab.assert_unsure(&outcome);
        assert!(lasts > Duration::from_secs(700) && lab.triggers() == 0, "{kind:?} {lasts:?}");
    }
}

#[test]
fn what_cannot_be_stopped_is_told_before_the_deadline_is_there() {
    for kind in At::ALL {
        let mut lab = at(kind);
        lab.settings.deadline = Duration::from_secs(200);
        lab.fake().next(&[kind.well()[1]]);
        lab.fake().with(|world| world.set.insert("cannot-cancel".to_owned(), String::new()));
        let (outcome, lasts) = lasts(&lab);
        lab.assert_unsure(&outcome);
        assert!(lasts <= Duration::from_secs(191), "{kind:?} {lasts:?}");
    }
}

#[test]
fn nobody_is_asked_again_within_the_time_that_they_told() {
    for kind in At::ALL {
        let mut lab = at(kind);
        lab.settings.deadline = Duration::from_secs(600);
        let limited = faults::limited(kind).with("Retry-After", "999999");
        lab.fake().fail_at("poll", 0, 9999, What::Answer(limited));
        let (outcome, _) = lasts(&lab);
        lab.assert_unsure(&outcome);
        assert!(sent(&lab, "deployment") < 6, "{kind:?} {:#?}", lab.fake().lines());
    }
}

#[test]
fn two_writes_in_one_second_are_told_apart_by_a_third() {
    for kind in [At::Vercel, At::Netlify, At::Railway] {
        let lab = at(kind);
        lab.fake().with(|world| world.set.insert("same-second".to_owned(), "1".to_owned()));
        lab.assert_committed(&lab.rotate());
        assert_eq!(sent(&lab, "write"), 2, "{kind:?}");
        let lab = at(kind);
        lab.fake().with(|world| world.set.insert("writes-earlier".to_owned(), String::new()));
        lab.assert_rolled_back(&lab.rotate(), FaultCode::ReadBackDiffers);
        assert_eq!(sent(&lab, "write"), 2, "{kind:?}: one forth and one back");
    }
}
