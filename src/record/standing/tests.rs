//! What ends of rotations add up to.

use super::*;
use crate::record::{Happening, Record};

/// What is said of a plan of the schedule's that came to its end so.
fn after(standing: &mut Standing, plan: Plan, outcome: Outcome) {
    let actor = Actor::Timer;
    let requested = Happening::Requested { plan, actor, reason: String::new(), batch: None };
    for what in [requested, Happening::Ended { outcome, took_us: 1 }] {
        let (seq, at) = (standing.seq + 1, Timestamp::UNIX_EPOCH);
        let (secret, rotation) =
            (SecretName::try_from("jwt".to_owned()).unwrap(), Some(RotationId::from_bytes([1; 16])));
        standing.apply(&Record { seq, at, secret, rotation, what }).unwrap();
    }
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
