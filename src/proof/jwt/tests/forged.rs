//! What the protected endpoint says to the right token, and to forged ones.

use super::*;

#[tokio::test]
async fn an_endpoint_that_refuses_the_right_token_is_told() {
    for (answers, code) in [
        (401, FaultCode::ProtectedRefuses),
        (403, FaultCode::ProtectedRefuses),
        (500, FaultCode::ProbeFailed),
        (302, FaultCode::ProbeFailed),
        (429, FaultCode::ProbeFailed),
    ] {
        let fault = Trial::of(&serve(good, move |_| answers).0).fault().await;
        assert_eq!(fault.code, code);
        assert!(fault.message.contains(&format!("/me?… answered {answers}")), "{fault}");
    }
}

#[tokio::test]
async fn an_endpoint_that_accepts_a_forged_token_is_told_at_once() {
    type Accepts = fn(&str) -> bool;
    let ways: [(Accepts, FaultCode, &str); 4] = [
        (|_| true, FaultCode::AcceptsRandomKey, "(random-key)"),
        (|token| Token::parse(token).is_err(), FaultCode::AcceptsAlgNone, "(alg-none)"),
        (|token| Token::parse(token).is_ok() && unsigned(token), FaultCode::AcceptsAlgNone, "(no-signature)"),
        (|token| signed(token, OLD), FaultCode::AcceptsRetired, "(generation-1)"),
    ];
    for (also, code, what) in ways {
        let (address, _) = serve(good, move |token| if also(token) { 200 } else { new_only(token) });
        let fault = Trial::of(&address).early_fault().await;
        assert_eq!(fault.code, code);
        assert!(fault.message.contains(what) && !fault.advice.is_empty(), "{fault}");
    }
}

#[tokio::test]
async fn an_answer_that_says_nothing_of_a_forged_token_is_no_refusal() {
    for answers in [500, 503, 302, 408, 429] {
        let (address, _) = serve(good, move |token| if signed(token, NEW) { 200 } else { answers });
        let fault = Trial::of(&address).fault().await;
        assert_eq!(fault.code, FaultCode::ProbeFailed, "{fault}");
        assert!(fault.message.contains(&answers.to_string()), "{fault}");
    }
}
