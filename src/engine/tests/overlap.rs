//! Rotations with an overlap.

use super::*;

#[test]
fn an_overlap_keeps_the_old_value_accepted_and_its_end_is_owed() {
    for (course, restarts) in [(Course::OneStep, 1), (Course::PublishFirst, 2), (Course::Auto, 1)] {
        let ending = rotate_by(Some(course), &[], []);
        assert_eq!(ending.outcome, Outcome::Committed);
        assert_promise(&ending, "overlap");
        assert_eq!(lock(&ending.world).restarts, restarts);
        assert_eq!(ending.standing.in_force, Some(View { primary: Generation(2), accepted: vec![Generation(1)] }));
        assert!(ending.standing.retire_at.is_some());
    }
}

#[test]
fn killed_at_any_moment_an_overlap_is_finished_with_the_same_value() {
    quiet_kills();
    let course = Some(Course::PublishFirst);
    let total = lock(&rotate_by(course, &[], []).world).ticks;
    for at in 1..=total {
        let ending = rotate_by(course, &[], [at]);
        let what = format!("killed at {at}");
        assert_eq!(ending.outcome, Outcome::Committed, "{what}");
        assert_promise(&ending, &what);
        assert_eq!(lock(&ending.world).restarts, 2, "{what}");
        assert!(ending.standing.retire_at.is_some(), "{what}: the end of the overlap is forgotten");
    }
}

#[test]
fn what_was_signed_with_a_new_value_that_was_given_up_stays_accepted() {
    quiet_kills();
    for (step, accepted) in [("deliver", vec![]), ("activate", vec![Generation(2)]), ("prove", vec![Generation(2)])] {
        let total = lock(&rotate_by(Some(Course::OneStep), &[(step, true)], []).world).ticks;
        for kills in std::iter::once(None).chain((1..=total).map(Some)) {
            let ending = rotate_by(Some(Course::OneStep), &[(step, true)], kills);
            let what = format!("{step} fails, killed at {kills:?}");
            assert_eq!(ending.outcome.as_str(), "rolled-back", "{what}");
            assert_promise(&ending, &what);
            let view = View { primary: Generation(1), accepted: accepted.clone() };
            assert_eq!(ending.standing.in_force, Some(view), "{what}");
            assert_eq!(ending.standing.retire_at.is_some(), !accepted.is_empty(), "{what}");
        }
    }
}
