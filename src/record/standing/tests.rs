//! What ends of rotations add up to.

use super::*;
use crate::record::{Happening, Record};

/// What is said of a plan of the schedule's that came to its end so.
fn after(standing: &mut Standing, plan: Plan, outcome: Outcome) {
    after_asked_by(standing, Actor::Timer, plan, outcome);
}

fn after_asked_by(standing: &mut Standing, actor: Actor, plan: Plan, outcome: Outcome) {
    let requested = Happening::Requested { plan, actor, reason: String::new(), batch: None };
    for what in [requested, Happening::Ended { outcome, took_us: 1 }] {
        apply(standing, Some(RotationId::from_bytes([1; 16])), what);
    }
}

fn apply(standing: &mut Standing, rotation: Option<RotationId>, what: Happening) {
    let (seq, at) = (standing.seq + 1, Timestamp::UNIX_EPOCH);
    let secret = SecretName::try_from("jwt".to_owned()).unwrap();
    standing.apply(&Record { seq, at, secret, rotation, what }).unwrap();
}

fn rolled_back() -> Outcome {
    Outcome::RolledBack { cause: Fault::new(FaultCode::UnitFailed, "it failed") }
}

#[test]
fn the_end_of_an_overlap_says_nothing_of_rotations_that_fail() {
    let (first, second) = (Generation::FIRST, Generation::FIRST.next());
    let overlap = View { primary: first, accepted: vec![second] };
    let mut standing = Standing { in_force: Some(overlap.clone()), ..Standing::default() };
    for times in 1..3 {
        after(&mut standing, Plan::replace(View::of(first), second), rolled_back());
        after(&mut standing, Plan::retire(overlap.clone(), vec![]), Outcome::Committed);
        assert_eq!((standing.rolled_back_in_a_row, standing.hold_owed()), (times, None));
    }
    after(&mut standing, Plan::replace(View::of(first), second), rolled_back());
    assert_eq!(standing.hold_owed(), Some(Hold::RolledBack { times: 3 }));
}

#[test]
fn a_next_try_that_is_refused_is_followed_by_another() {
    let (first, second) = (Generation::FIRST, Generation::FIRST.next());
    let mut standing = Standing { in_force: Some(View::of(first)), ..Standing::default() };
    after(&mut standing, Plan::replace(View::of(first), second), rolled_back());
    assert!(standing.retry_owed());
    apply(&mut standing, None, Happening::RetryArmed { at: Some(Timestamp::UNIX_EPOCH) });
    let cause = Fault::new(FaultCode::OverlapOpen, "tokens are still accepted");
    apply(&mut standing, None, Happening::TurnedAway { actor: Actor::Retry, cause: cause.clone() });
    assert!(standing.retry_owed());
    apply(&mut standing, None, Happening::RetryArmed { at: Some(Timestamp::UNIX_EPOCH) });
    after_asked_by(&mut standing, Actor::Retry, Plan::replace(View::of(first), second), Outcome::Refused { cause });
    assert_eq!((standing.retry_owed(), standing.rolled_back_in_a_row), (true, 1));
    assert_eq!(standing.turned_away, None);
    apply(&mut standing, None, Happening::RetryArmed { at: None });
    assert_eq!((standing.retry_owed(), standing.retry_at), (false, None));
    after(&mut standing, Plan::replace(View::of(first), second), rolled_back());
    assert!(standing.retry_owed());
}

#[test]
fn ends_of_overlaps_that_fail_are_counted_by_themselves() {
    let overlap = View { primary: Generation::FIRST, accepted: vec![Generation::FIRST.next()] };
    let mut standing = Standing { in_force: Some(overlap.clone()), ..Standing::default() };
    for times in 1..=3 {
        assert_eq!(standing.hold_owed(), None);
        after(&mut standing, Plan::retire(overlap.clone(), vec![]), rolled_back());
        assert_eq!((standing.rolled_back_in_a_row, standing.retire_failed_in_a_row), (0, times));
        assert!(!standing.retry_owed());
    }
    assert_eq!(standing.hold_owed(), Some(Hold::RolledBack { times: 3 }));
}

#[test]
fn rotations_that_are_taken_back_soon_after_are_counted_until_one_lasts() {
    let (first, second) = (Generation::FIRST, Generation::FIRST.next());
    let mut standing = Standing { in_force: Some(View::of(first)), ..Standing::default() };
    let back = || Plan::return_to(View::of(second), first, false);
    for times in 1..=2 {
        after(&mut standing, Plan::replace(View::of(first), second), Outcome::Committed);
        assert_eq!(standing.hold_owed(), None);
        after_asked_by(&mut standing, Actor::Aftercare, back(), Outcome::Committed);
        assert_eq!((standing.failed_in_a_row(), standing.hold_owed()), (times, None));
    }
    let mut lasting = standing.clone();
    after(&mut lasting, Plan::replace(View::of(first), second), Outcome::Committed);
    after(&mut lasting, Plan::replace(View::of(second), second.next()), rolled_back());
    assert_eq!(lasting.failed_in_a_row(), 1);
    after(&mut standing, Plan::replace(View::of(first), second), Outcome::Committed);
    after_asked_by(&mut standing, Actor::Aftercare, back(), Outcome::Committed);
    assert_eq!(standing.hold_owed(), Some(Hold::RolledBack { times: 3 }));
    apply(&mut standing, None, Happening::Released { actor: Actor::Timer });
    assert_eq!(standing.hold_owed(), None);
}
