//! One secret at home and on two platforms: all have the new value, or all have the old one again.

use super::*;

/// At home, at Vercel and at Render, in an overlap.
fn mixed(course: Course) -> Lab {
    let mut lab = Lab::new(&[At::Vercel, At::Render], |_| {}).overlapping(course);
    lab.beside = true;
    let old = OLD.as_bytes().to_vec();
    let mut world = lock(&lab.world);
    (world.delivered, world.process, world.old) = ((old.clone(), Vec::new()), (old.clone(), Vec::new()), old);
    drop(world);
    lab
}

fn at_home(lab: &Lab) -> String {
    String::from_utf8(lock(&lab.world).process.0.clone()).unwrap()
}

#[test]
fn all_of_them_get_the_new_value() {
    for course in [Course::OneStep, Course::PublishFirst] {
        let lab = mixed(course);
        lab.assert_committed(&lab.rotate());
        assert_eq!(at_home(&lab), lab.in_force());
        for fake in &lab.fakes {
            assert_eq!(fake.served("JWT_SECRET_PREVIOUS"), OLD);
            assert_eq!(fake.triggers(), if course == Course::OneStep { 1 } else { 2 });
        }
    }
}

#[test]
fn where_one_fails_in_any_step_all_have_the_old_value_again() {
    let refused = || What::Answer(Answer::json(422, &serde_json::json!({"message": "no"})));
    for course in [Course::OneStep, Course::PublishFirst] {
        for (which, on) in [(0, "write"), (0, "trigger"), (1, "write"), (1, "trigger")] {
            for skip in 0..2 {
                let lab = mixed(course);
                if course == Course::OneStep && skip > 0 && on == "trigger" {
                    continue;
                }
                lab.fakes[which].fail_at(on, skip, 1, refused());
                let outcome = lab.rotate();
                assert_back(&lab, &outcome, &format!("{course:?} {which} {on} {skip}"));
            }
        }
        for which in [0, 1] {
            let lab = mixed(course);
            lab.fakes[which].next(if which == 0 { &["BUILDING", "ERROR"] } else { &["created", "build_failed"] });
            let outcome = lab.rotate();
            assert_back(&lab, &outcome, &format!("{course:?} {which} build"));
        }
    }
}

#[test]
fn what_is_at_home_has_the_old_value_again_also_where_a_platform_is_gone_on_the_way_back() {
    for (which, on) in [(0, "write"), (1, "write")] {
        let lab = mixed(Course::OneStep);
        lock(&lab.world).fails = vec![("prove", true)];
        // The two variables are written; from then on none.
        lab.fakes[which].fail_at(on, 2, 99, What::Answer(Answer::json(404, &serde_json::json!({"message": "gone"}))));
        let outcome = lab.rotate();
        assert!(matches!(outcome, Outcome::RollbackFailed { .. }), "{which}: {outcome:?}");
        assert_eq!(at_home(&lab), OLD, "{which}");
        let other = &lab.fakes[1 - which];
        assert_eq!((other.value("JWT_SECRET").as_str(), other.served("JWT_SECRET").as_str()), (OLD, OLD), "{which}");
    }
}

/// One of which a platform is away for minutes, from the first request of the way back on.
fn away_on_the_way_back(course: Course) -> Lab {
    let lab = mixed(course);
    lock(&lab.world).fails = vec![("prove", true)];
    lab.fakes[0].fail_at("write", if course == Course::OneStep { 2 } else { 4 }, 60, What::Unheard);
    lab
}

const WENT_BACK: &str = "went back already; the others are waited for";

#[test]
fn what_is_at_home_goes_back_without_waiting_for_a_platform_that_is_away() {
    for course in [Course::OneStep, Course::PublishFirst] {
        let lab = away_on_the_way_back(course);
        assert_back(&lab, &lab.rotate(), &format!("{course:?}"));
        let told = lab.told.lock().unwrap().clone();
        let went_back = told.iter().position(|line| line.contains(WENT_BACK)).unwrap();
        let delivered = told.iter().rposition(|line| line.contains("\"delivered\"")).unwrap();
        assert!(went_back < delivered, "{course:?}: {told:#?}");
        if course == Course::OneStep {
            assert_eq!(lock(&lab.world).restarts, 2, "once forth and once back");
        }
    }
    // Where nothing holds it up, it has its usual turn.
    let lab = mixed(Course::OneStep);
    lock(&lab.world).fails = vec![("prove", true)];
    assert_back(&lab, &lab.rotate(), "at once");
    assert!(lab.told.lock().unwrap().iter().all(|line| !line.contains(WENT_BACK)));
}

#[test]
fn killed_at_any_moment_of_such_a_way_back_it_is_finished_without_another_deployment() {
    let whole = away_on_the_way_back(Course::OneStep);
    whole.rotate();
    let (total, triggers) = (lock(&whole.world).ticks, whole.triggers());
    for at in total - 14..=total {
        let lab = away_on_the_way_back(Course::OneStep);
        lock(&lab.world).kill_at = BTreeSet::from([at]);
        let first = std::panic::catch_unwind(AssertUnwindSafe(|| lab.rotate()));
        assert!(first.is_err(), "killed at {at} of {total}");
        assert_back(&lab, &lab.run(lab.live(Wish::Nothing)).unwrap(), &format!("killed at {at} of {total}"));
        assert_eq!((lock(&lab.world).restarts, lab.triggers()), (2, triggers), "killed at {at} of {total}");
    }
}

#[track_caller]
fn assert_back(lab: &Lab, outcome: &Outcome, what: &str) {
    assert!(matches!(outcome, Outcome::RolledBack { .. }), "{what}: {outcome:?}");
    assert_eq!((lab.in_force().as_str(), at_home(lab).as_str()), (OLD, OLD), "{what}");
    for fake in &lab.fakes {
        assert_eq!((fake.value("JWT_SECRET").as_str(), fake.served("JWT_SECRET").as_str()), (OLD, OLD), "{what}");
    }
    lab.assert_nothing_told();
}
