//! What is built and not published yet: the platform may publish it at any time, and with it the value that was given up.

use super::*;

const BOTH: [At; 2] = [At::Vercel, At::Netlify];

/// A deployment that is published by itself, after so many looks.
fn slowly(lab: &Lab, looks: usize) {
    let kind = lab.fake().kind;
    let [_, builds, well] = kind.well() else { panic!() };
    let aside = std::iter::repeat_n(kind.aside(), looks);
    let states: Vec<&str> = std::iter::once(*builds).chain(aside).chain([*well]).collect();
    lab.fake().next(&states);
}

fn refused(kind: At) -> What {
    let status = if kind == At::Vercel { 400 } else { 422 };
    What::Answer(Answer::json(status, &serde_json::json!({"message": "no"})))
}

fn published(lab: &Lab) -> usize {
    lab.fake().asked().iter().filter(|asked| asked.step == "publish").count()
}

/// Nothing that is not published yet would be, once it is over.
#[track_caller]
fn assert_none_is_left(lab: &Lab) {
    let left = lab.fake().with(|world| world.deployments.iter().any(|it| it.state() == world.kind.aside()));
    assert!(!left, "{:?}: it would land after the end", lab.fake().kind);
}

#[test]
fn one_that_the_platform_publishes_slowly_is_waited_for() {
    for kind in BOTH {
        let lab = at(kind);
        slowly(&lab, 40);
        lab.assert_committed(&lab.rotate());
        assert_eq!((published(&lab), lab.triggers()), (0, 1), "{kind:?}");
    }
}

#[test]
fn one_whose_publication_is_refused_may_be_published_by_itself() {
    for kind in BOTH {
        let lab = Lab::new(&[kind], |hosting| match &mut hosting.platform {
            HostingPlatform::Vercel(vercel) => vercel.promote = true,
            HostingPlatform::Netlify(netlify) => netlify.publish = true,
            _ => {}
        });
        slowly(&lab, 60);
        lab.fake().fail_at("publish", 0, 99, refused(kind));
        lab.assert_committed(&lab.rotate());
        assert_eq!((published(&lab), lab.triggers()), (1, 1), "{kind:?}");
    }
}

#[test]
fn one_that_is_published_while_it_is_taken_back_is_deployed_over() {
    for kind in BOTH {
        for looks in [3, 60] {
            let lab = at(kind);
            slowly(&lab, looks);
            lab.fake().fail_at("poll", 2, 1, refused(kind));
            lab.assert_rolled_back(&lab.rotate(), FaultCode::PlatformRefused);
            assert_eq!(lab.triggers(), 2, "{kind:?}");
            assert_none_is_left(&lab);
        }
    }
}

#[test]
fn one_that_an_earlier_life_has_made_is_waited_for_on_the_way_back() {
    for kind in BOTH {
        let lab = at(kind);
        slowly(&lab, 30);
        assert!(kills::live_until(&lab, lab.requests_until("trigger")));
        lab.fake().with(|world| world.deployments.last_mut().unwrap().looks = 1);
        let outcome = lab.run(lab.live(Wish::GiveUp)).unwrap();
        lab.assert_rolled_back(&outcome, FaultCode::DeadlinePassed);
        assert_none_is_left(&lab);
    }
}

#[test]
fn one_that_is_never_published_and_may_be_is_held() {
    for kind in BOTH {
        for is_refused in [false, true] {
            let lab = at(kind);
            lab.fake().next(&[kind.well()[1], kind.aside()]);
            if is_refused {
                lab.fake().fail_at("poll", 2, 1, refused(kind));
            }
            let Outcome::RollbackFailed { cause, rollback } = lab.rotate() else { panic!("{kind:?}") };
            let fault = if is_refused { rollback } else { cause };
            assert_eq!(fault.code, FaultCode::Unsure, "{kind:?}: {fault}");
            assert!(fault.message.contains("may still land"), "{kind:?}: {fault}");
            assert_eq!((published(&lab), lab.fake().served("JWT_SECRET").as_str()), (0, OLD));
        }
    }
}

#[test]
fn one_that_a_person_is_to_publish_is_taken_back_at_once() {
    for kind in BOTH {
        let lab = at(kind);
        lab.fake().next(&[kind.well()[1], kind.aside()]);
        lab.fake().with(|world| world.set.insert("stops-publishing-at".to_owned(), "trigger".to_owned()));
        let (outcome, lasts) = lab.run(async {
            let began = tokio::time::Instant::now();
            (lab.live(Wish::Rotate).await.unwrap(), began.elapsed())
        });
        lab.assert_rolled_back(&outcome, FaultCode::NotLive);
        assert!(lasts < Duration::from_secs(60), "{kind:?} {lasts:?}");
    }
}
