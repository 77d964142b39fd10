//! Servers of several processes, or threads, that do not agree.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// One process of several goes on with this value, and every so-manieth request is its own.
fn one_has(value: &'static str, every: usize) -> impl Fn(&str) -> u16 + Send + Sync {
    let asked = AtomicUsize::new(0);
    move |token: &str| {
        let turn = asked.fetch_add(1, Ordering::Relaxed);
        let value = if turn % every == every - 1 { value } else { NEW };
        if signed(token, value) { 200 } else { 401 }
    }
}

#[tokio::test]
async fn one_process_of_several_that_keeps_another_value_in_memory_is_found() {
    // Whoever takes turns with three others meets one of two tokens alone, where these are shown in turns.
    for (value, every) in [(OLD, 7), (OLD, 4), ("a value of long ago, 32 bytes or longer", 4)] {
        let mut trial = Trial::of(&serve(good, one_has(value, every)).0);
        trial.workers = 4;
        let fault = trial.early_fault().await;
        let codes = [FaultCode::AcceptsRetired, FaultCode::ProtectedRefuses];
        assert!(codes.contains(&fault.code), "{fault}");
    }
}

#[tokio::test]
async fn one_process_of_several_that_does_not_accept_the_other_value_of_an_overlap_is_found() {
    let asked = AtomicUsize::new(0);
    let other = "the value before, 32 bytes or longer";
    let accepts = move |token: &str| {
        let turn = asked.fetch_add(1, Ordering::Relaxed);
        let knows_other = turn % 9 != 8;
        if signed(token, NEW) || knows_other && signed(token, other) { 200 } else { 401 }
    };
    let mut trial = Trial::of(&serve(good, accepts).0);
    trial.accepted.push(SecretValue::new(other.into()));
    trial.workers = 4;
    let fault = trial.early_fault().await;
    assert!(fault.code == FaultCode::RefusesAccepted, "{fault}");
}

#[tokio::test]
async fn an_endpoint_that_has_had_enough_of_being_asked_is_left_in_peace() {
    let asked = AtomicUsize::new(0);
    let limited = move |token: &str| match asked.fetch_add(1, Ordering::Relaxed) {
        0..12 => new_only(token),
        _ => 429,
    };
    let mut trial = Trial::of(&serve(good, limited).0);
    trial.workers = 4;
    let began = Instant::now();
    assert!(trial.ask().await.is_ok());
    assert!(began.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn a_part_of_a_single_process_that_keeps_another_value_is_found() {
    let mut trial = Trial::of(&serve(good, one_has(OLD, 7)).0);
    trial.workers = 1;
    let fault = trial.early_fault().await;
    assert!(fault.code == FaultCode::AcceptsRetired || fault.code == FaultCode::ProtectedRefuses, "{fault}");
}

#[tokio::test]
async fn one_process_of_several_that_signs_with_the_other_value_of_an_overlap_is_found() {
    let other = "the value before, 32 bytes or longer";
    let accepts = move |token: &str| if signed(token, NEW) || signed(token, other) { 200 } else { 401 };
    let signs = move |count: usize| token_of(Algorithm::Hs256, if count % 4 == 3 { other } else { NEW }.as_bytes());
    let mut trial = Trial::of(&serve(signs, accepts).0);
    trial.accepted.push(SecretValue::new(other.into()));
    trial.workers = 4;
    let fault = trial.early_fault().await;
    assert!(fault.code == FaultCode::SignedWithOld, "{fault}");
}

#[tokio::test]
async fn one_process_of_several_that_signs_with_the_retired_value_is_found() {
    let signs = move |count: usize| token_of(Algorithm::Hs256, if count % 4 == 3 { OLD } else { NEW }.as_bytes());
    let mut trial = Trial::of(&serve(signs, new_only).0);
    trial.workers = 4;
    let fault = trial.early_fault().await;
    assert!(fault.code == FaultCode::SignedWithOld && fault.message.contains("generation 1 at times"), "{fault}");
}

#[tokio::test]
async fn one_that_signs_with_the_retired_value_is_not_forgotten_where_others_answer_next() {
    let signs = |count: usize| token_of(Algorithm::Hs256, if count % 40 == 1 { OLD } else { NEW }.as_bytes());
    let mut trial = Trial::of(&serve(signs, new_only).0);
    trial.workers = 8;
    let fault = trial.early_fault().await;
    assert!(fault.code == FaultCode::SignedWithOld && fault.message.contains("generation 1"), "{fault}");
}

#[tokio::test]
async fn an_old_process_that_answers_once_more_is_waited_for() {
    let signs = |count: usize| token_of(Algorithm::Hs256, if count < 3 { OLD } else { NEW }.as_bytes());
    let mut trial = Trial::of(&serve(signs, new_only).0);
    trial.workers = 4;
    trial.ask().await.unwrap();
}

#[tokio::test]
async fn one_process_of_several_that_lets_a_forged_token_in_is_found() {
    let asked = AtomicUsize::new(0);
    let accepts = move |token: &str| {
        // Connections go to processes as it happens.
        let turn = asked.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        if signed(token, NEW) || turn.is_multiple_of(8) && Token::parse(token).is_err() { 200 } else { 401 }
    };
    let mut trial = Trial::of(&serve(good, accepts).0);
    trial.workers = 8;
    let fault = trial.early_fault().await;
    assert_eq!(fault.code, FaultCode::AcceptsAlgNone, "{fault}");
}

#[tokio::test]
async fn a_logout_that_does_nothing_is_told_as_that() {
    let mut trial = Trial::of(&serve(good, |_| 200).0);
    trial.probe.settings.timeout = Duration::from_secs(1);
    let fault = trial.probe.refuses("a token", 1, Instant::now() + Duration::from_secs(60)).await.unwrap_err();
    assert!(!fault.message.contains("at times") && fault.advice.contains("changed nothing"), "{fault}");
}

/// One process of so many does not know of a logout.
fn one_missed_the_logout(every: usize) -> impl Fn(&str) -> u16 + Send + Sync {
    let asked = AtomicUsize::new(0);
    move |_: &str| {
        // Connections go to processes as it happens.
        let turn = asked.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        if turn.is_multiple_of(every) { 200 } else { 401 }
    }
}

#[tokio::test]
async fn one_process_of_several_that_missed_the_logout_is_found() {
    for _ in 0..3 {
        let mut trial = Trial::of(&serve(good, one_missed_the_logout(8)).0);
        trial.probe.settings.timeout = Duration::from_secs(5);
        let fault = trial.probe.refuses("a token", 8, Instant::now() + Duration::from_secs(60)).await.unwrap_err();
        assert_eq!(fault.code, FaultCode::LogoutIneffective, "{fault}");
        assert!(fault.message.contains("at times, and refuses it at others"), "{fault}");
    }
}

#[tokio::test]
async fn a_logout_that_reached_all_is_believed() {
    let trial = Trial::of(&serve(good, |_| 401).0);
    trial.probe.refuses("a token", 8, Instant::now() + Duration::from_secs(60)).await.unwrap();
}
