//! What the protected endpoint says to the right token, and to forged ones.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;

/// One that is told after a while anyhow.
fn impatient(address: &str) -> Trial {
    let mut trial = Trial::of(address);
    (trial.probe.settings.timeout, trial.deadline) = (Duration::from_secs(4), Duration::from_secs(8));
    trial
}

#[tokio::test]
async fn an_endpoint_that_refuses_the_right_token_is_told() {
    for (answers, code) in [
        (401, FaultCode::ProtectedRefuses),
        (403, FaultCode::ProtectedRefuses),
        (500, FaultCode::ProbeFailed),
        (302, FaultCode::ProbeFailed),
        (429, FaultCode::ProbeFailed),
    ] {
        let fault = impatient(&serve(good, move |_| answers).0).fault().await;
        assert_eq!(fault.code, code);
        assert!(fault.message.contains(&format!("/me?… answered {answers}")), "{fault}");
    }
}

fn headed(token: &str) -> String {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap_or_default();
    String::from_utf8_lossy(&header).into_owned()
}

#[tokio::test]
async fn an_endpoint_that_accepts_a_forged_token_is_told_at_once() {
    type Accepts = fn(&str) -> bool;
    let ways: [(Accepts, FaultCode, &str); 5] = [
        (|_| true, FaultCode::AcceptsRandomKey, "(random-key)"),
        (|token| Token::parse(token).is_err(), FaultCode::AcceptsAlgNone, "(alg-none)"),
        (|token| headed(token).contains("nOnE"), FaultCode::AcceptsAlgNone, "(alg-none)"),
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
        let fault = impatient(&address).fault().await;
        assert_eq!(fault.code, FaultCode::ProbeFailed, "{fault}");
        assert!(fault.message.contains(&answers.to_string()), "{fault}");
    }
}

/// A backend that has this value, and lets in for good whoever it has let in once.
fn remembers(value: &Arc<Mutex<&'static str>>) -> impl Fn(&str) -> u16 + Send + Sync + use<> {
    let (value, known) = (Arc::clone(value), Mutex::new(Vec::new()));
    move |token: &str| {
        let mut known = known.lock().unwrap();
        if known.iter().any(|it| it == token) {
            return 200;
        }
        let is_good = signed(token, *value.lock().unwrap());
        if is_good {
            known.push(token.to_owned());
        }
        if is_good { 200 } else { 401 }
    }
}

#[tokio::test]
async fn an_endpoint_that_remembers_a_token_of_the_old_value_is_found() {
    let value = Arc::new(Mutex::new(OLD));
    let (signing, verifying) = (Arc::clone(&value), remembers(&value));
    let signs = move |count: usize| {
        let key = signing.lock().unwrap();
        let token = Token::mint(Algorithm::Hs256, &format!(r#"{{"sub":"smoke","jti":{count}}}"#), key.as_bytes());
        Says::Status(200, String::new(), format!(r#"{{"data":{{"token":"{}"}}}}"#, *token))
    };
    let mut trial = Trial::of(&serve(signs, verifying).0);
    trial.probe.settings.timeout = Duration::from_millis(600);
    let (old, new) = (SecretValue::new(OLD.into()), SecretValue::new(NEW.into()));
    let question = |moment, primary, retired: Vec<_>| Question {
        moment,
        primary,
        accepted: Vec::new(),
        retired,
        workers: 1,
        at_leisure: false,
        deadline: Instant::now() + Duration::from_secs(60),
    };
    trial.probe.ask(&question(Moment::Before, (Generation(1), &old), Vec::new())).await.unwrap();
    *value.lock().unwrap() = NEW;
    let moved = question(Moment::Moved, (Generation(2), &new), vec![(Generation(1), &old)]);
    let fault = trial.probe.ask(&moved).await.unwrap_err();
    assert_eq!(fault.code, FaultCode::AcceptsRetired);
    assert!(fault.message.contains("still accepts a token of generation 1 that it had accepted before"), "{fault}");
    // Going back to the value is no way of accepting a retired one.
    *value.lock().unwrap() = OLD;
    let back = question(Moment::Back, (Generation(1), &old), vec![(Generation(2), &new)]);
    trial.probe.ask(&back).await.unwrap();
}

#[tokio::test]
async fn a_token_from_before_that_is_refused_is_told() {
    let value = Arc::new(Mutex::new(NEW));
    let (signing, verifying) = (Arc::clone(&value), Arc::clone(&value));
    let signs = move |_| token_of(Algorithm::Hs256, signing.lock().unwrap().as_bytes());
    let trial =
        Trial::of(&serve(signs, move |token| if signed(token, *verifying.lock().unwrap()) { 200 } else { 401 }).0);
    *value.lock().unwrap() = OLD;
    let old = SecretValue::new(OLD.into());
    let before = Question {
        moment: Moment::Before,
        primary: (Generation(1), &old),
        accepted: Vec::new(),
        retired: Vec::new(),
        workers: 1,
        at_leisure: false,
        deadline: Instant::now() + Duration::from_secs(60),
    };
    trial.probe.ask(&before).await.unwrap();
    *value.lock().unwrap() = NEW;
    let Evidence::Jwt { refused, .. } = trial.ask().await.unwrap() else { panic!("a token") };
    assert_eq!(refused.last().map(String::as_str), Some("generation-1-from-before"), "{refused:?}");
}

#[tokio::test]
async fn what_verifies_with_the_other_value_of_an_overlap_alone_is_told_so() {
    let other = "the value before, 32 bytes or longer";
    let mut trial = Trial::of(&serve(good, move |token| if signed(token, other) { 200 } else { 401 }).0);
    trial.accepted.push(SecretValue::new(other.into()));
    let fault = trial.early_fault().await;
    assert_eq!(fault.code, FaultCode::ProtectedRefuses);
    assert!(fault.message.contains("and accepts one of generation 3"), "{fault}");
    assert!(fault.advice.contains("does it verify with both"), "{fault}");
}

#[tokio::test]
async fn on_the_way_back_it_is_not_the_old_value_that_lives_on() {
    let mut trial = Trial::of(&serve(good, |token| if signed(token, NEW) || signed(token, OLD) { 200 } else { 401 }).0);
    trial.retired_generation = Generation(3);
    let fault = trial.early_fault().await;
    assert!(fault.advice.contains("it goes on accepting a value that was taken back"), "{fault}");
}
