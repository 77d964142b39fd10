//! The daemon dies in the middle of every single request, done by the platform and never answered: another life goes on,
//! and nothing is deployed twice.

use super::*;

/// Kills the first life when the `number`th request was done; whether it was still alive then.
pub(super) fn live_until(lab: &Lab, number: usize) -> bool {
    let (killed, notify) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
    let (flag, bell) = (Arc::clone(&killed), Arc::clone(&notify));
    lab.fake().watch(Some(Box::new(move |count| {
        if count == number {
            flag.store(true, Ordering::SeqCst);
            bell.notify_one();
        }
        // What is asked while it dies is done as well, and not heard of.
        flag.load(Ordering::SeqCst)
    })));
    let survived = lab.run(async {
        tokio::select! {
            biased;
            () = notify.notified() => false,
            _ = lab.live(Wish::Rotate) => true,
        }
    });
    lab.fake().watch(None);
    !survived
}

fn resume_to_the_end(lab: &Lab) -> Outcome {
    lab.run(lab.live(Wish::Nothing)).unwrap()
}

#[test]
fn killed_at_any_request_it_is_finished_with_one_deployment() {
    for kind in At::ALL {
        let whole = at(kind);
        whole.rotate();
        let total = whole.fake().asked().len();
        assert!(total > 8);
        for number in 1..=total {
            let lab = at(kind);
            assert!(live_until(&lab, number), "{kind:?} {number} of {total}");
            lab.assert_committed(&resume_to_the_end(&lab));
            assert_eq!(lab.triggers(), 1, "{kind:?}: killed at request {number}: {:#?}", lab.fake().lines());
            let generations = lab.store().ledger(&lab.settings.name).unwrap().standing().generations.len();
            assert_eq!(generations, 2, "a value was thrown away");
        }
    }
}

#[test]
fn killed_at_any_request_of_a_way_back_it_is_finished() {
    for kind in At::ALL {
        let fail = |lab: &Lab| {
            lab.fake().next(match kind {
                At::Vercel => &["BUILDING", "ERROR"],
                At::Netlify => &["building", "error"],
                At::Render => &["update_in_progress", "update_failed"],
                At::Railway => &["DEPLOYING", "FAILED"],
            })
        };
        let whole = at(kind);
        fail(&whole);
        whole.rotate();
        for number in 1..=whole.fake().asked().len() {
            let lab = at(kind);
            fail(&lab);
            assert!(live_until(&lab, number));
            lab.assert_rolled_back(&resume_to_the_end(&lab), FaultCode::DeployFailed);
            assert_eq!(lab.triggers(), 1, "{kind:?}: killed at request {number}");
        }
    }
}

#[test]
fn killed_at_the_trigger_and_gone_back_what_lists_show_late_does_not_land() {
    for kind in At::ALL {
        let lab = at(kind);
        lab.fake().next(&[kind.well()[1], kind.well()[1], broken(kind)]);
        assert!(live_until(&lab, lab.requests_until("trigger")));
        lab.fake().with(|world| world.set.insert("stale-lists".to_owned(), "2".to_owned()));
        lab.assert_rolled_back(&lab.run(lab.live(Wish::GiveUp)).unwrap(), FaultCode::DeadlinePassed);
        let has_ended = lab.fake().with(|world| {
            let made = &world.deployments[1];
            made.canceled || made.state() == broken(kind)
        });
        assert!(has_ended, "{kind:?}: it may still land");
    }
}

#[test]
fn what_is_found_again_is_ours_to_cancel() {
    for kind in At::ALL {
        let lab = at(kind);
        lab.fake().next(&[kind.well()[1]]);
        assert!(live_until(&lab, lab.requests_until("trigger")));
        lab.assert_rolled_back(&resume_to_the_end(&lab), FaultCode::NotLive);
        assert!(lab.fake().with(|world| world.deployments[1].canceled), "{kind:?}");
    }
}

#[test]
fn what_a_colleague_pushes_while_nobody_lives_stays_theirs() {
    for (kind, failed) in [(At::Render, "build_failed"), (At::Railway, "FAILED")] {
        let lab = at(kind);
        assert!(live_until(&lab, lab.requests_until("trigger") - 1));
        let theirs = lab.fake().with(|world| {
            world.set.insert("goes-on".to_owned(), String::new());
            world.head = world.id("beef");
            let theirs = world.deploy(None, false);
            let going = kind.well()[0];
            world.deployments.last_mut().unwrap().states = [going, going, going, failed].map(str::to_owned).to_vec();
            theirs
        });
        lab.assert_committed(&resume_to_the_end(&lab));
        assert_eq!(lab.triggers(), 1, "{kind:?}");
        assert!(!lab.fake().with(|world| world.find(&theirs).unwrap().canceled), "{kind:?}");
    }
}
