//! What is waited for, what is not, and what is said of what failed.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

#[tokio::test]
async fn a_backend_that_needs_a_moment_is_waited_for() {
    for early in [500, 503, 404, 401, 429] {
        let login = move |count| if count < 3 { status(early) } else { good(count) };
        Trial::of(&serve(login, new_only).0).ask().await.unwrap();
    }
}

#[tokio::test]
async fn a_backend_that_does_not_listen_yet_is_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut trial = Trial::of(&address.to_string());
    trial.probe.settings.timeout = Duration::from_secs(10);
    let starts = async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        serve_on(TcpListener::bind(address).unwrap(), good, new_only)
    };
    let (result, _) = tokio::join!(trial.ask(), starts);
    result.unwrap();
}

#[tokio::test]
async fn an_old_worker_that_answers_while_it_drains_is_waited_for() {
    let login = |count| token_of(Algorithm::Hs256, if count < 2 { OLD } else { NEW }.as_bytes());
    Trial::of(&serve(login, new_only).0).ask().await.unwrap();
}

#[tokio::test]
async fn one_that_takes_up_the_values_at_leisure_may_have_the_old_ones_until_the_end() {
    let began = Instant::now();
    let is_old = move || began.elapsed() < Duration::from_secs(3);
    let login = move |_| token_of(Algorithm::Hs256, if is_old() { OLD } else { NEW }.as_bytes());
    let mut trial = Trial::of(&serve(login, new_only).0);
    assert_eq!(trial.ask().await.unwrap_err().code, FaultCode::SignedWithOld);
    trial.at_leisure = true;
    trial.ask().await.unwrap();
}

#[tokio::test]
async fn a_token_of_another_value_is_told_by_its_generation_and_soon() {
    for (key, code, told) in [
        (OLD, FaultCode::SignedWithOld, "is signed with generation 1, not with 2"),
        ("a third value", FaultCode::SignedWithOld, "is signed with generation 3, not with 2"),
        ("an unknown value", FaultCode::SignedWithUnknown, "none of the known values"),
    ] {
        let (address, _) = serve(move |_| token_of(Algorithm::Hs256, key.as_bytes()), |_| 200);
        let mut trial = Trial::of(&address);
        trial.accepted.push(SecretValue::new(b"a third value".to_vec()));
        let fault = trial.early_fault().await;
        assert_eq!(fault.code, code);
        assert!(fault.message.contains(told) && fault.message.contains(&address), "{fault}");
        assert!(!fault.advice.is_empty());
    }
}

#[tokio::test]
async fn a_login_that_fails_is_told_with_what_it_answered_and_for_how_long() {
    let huge = || Says::Status(200, String::new(), "x".repeat(1 << 20));
    let redirect = || Says::Status(307, "Location: /elsewhere\r\n".to_owned(), String::new());
    type Answers = fn() -> Says;
    let ways: [(Answers, &str); 5] = [
        (|| status(500), "answered 500, for 0."),
        (|| status(401), "answered 401, for 0."),
        (redirect, "answered 307, a redirect, which is not followed"),
        (huge, "answered 200 without a token at \"/data/token\" in its first 64 KiB"),
        (|| Says::Status(200, String::new(), r#"{"data":{"token":7}}"#.to_owned()), "without a token at"),
    ];
    for (login, told) in ways {
        let (address, _) = serve(move |_| login(), new_only);
        let fault = Trial::of(&address).fault().await;
        assert_eq!(fault.code, FaultCode::LoginFailed);
        assert!(fault.message.starts_with(&format!("POST http://{address}/login?… ")), "{fault}");
        assert!(fault.message.contains(told), "{fault}");
    }
}

#[tokio::test]
async fn a_backend_that_hangs_ends_with_the_timeout_or_the_deadline() {
    for (timeout, deadline) in [(300, 20_000), (20_000, 300)] {
        let mut trial = Trial::of(&serve(|_| Says::Nothing, new_only).0);
        trial.probe.settings.timeout = Duration::from_millis(timeout);
        trial.deadline = Duration::from_millis(deadline);
        let began = Instant::now();
        let fault = trial.fault().await;
        assert!(began.elapsed() < Duration::from_secs(15));
        assert_eq!(fault.code, FaultCode::ProbeTimeout);
        assert!(fault.message.contains("got no answer in time, for 0."), "{fault}");
    }
}

#[tokio::test]
async fn a_token_that_cannot_be_judged_is_told_by_its_kind() {
    let rs256 = "eyJhbGciOiJSUzI1NiJ9.e30.AA";
    for (token, told) in [(rs256, "signed by RS256"), ("opaque-session-id", "1 parts"), ("a.b.c.d.e", "5 parts")] {
        let (address, _) =
            serve(move |_| Says::Status(200, String::new(), format!(r#"{{"data":{{"token":"{token}"}}}}"#)), |_| 200);
        let fault = Trial::of(&address).early_fault().await;
        assert_eq!(fault.code, FaultCode::TokenUnreadable);
        assert!(fault.message.contains(told) && !fault.message.contains("opaque"), "{fault}");
    }
}

#[tokio::test]
async fn one_that_has_been_running_and_says_no_is_asked_twice_and_no_more() {
    for (says, words) in
        [(400, "are the credentials in"), (401, "are the credentials in"), (404, "see the url"), (429, "too often")]
    {
        for moment in [Moment::Before, Moment::AsItIs] {
            let (address, logins) = serve(move |_| status(says), new_only);
            let fault = Trial { moment, ..Trial::of(&address) }.early_fault().await;
            assert!(fault.message.contains(&format!("answered {says}")), "{fault}");
            assert!(fault.advice.contains(words), "{fault}");
            assert!(logins.lock().unwrap().len() <= 2, "it may lock out the test user");
        }
    }
}

#[tokio::test]
async fn one_that_starts_and_says_no_is_asked_ever_less_often() {
    let (address, logins) = serve(|_| status(401), new_only);
    let mut trial = Trial::of(&address);
    trial.probe.settings.timeout = Duration::from_secs(6);
    let fault = trial.ask().await.unwrap_err();
    assert!(fault.message.contains("answered 401, for"), "{fault}");
    assert!(logins.lock().unwrap().len() <= 12, "{}", logins.lock().unwrap().len());
}

#[tokio::test]
async fn one_that_is_asked_too_often_has_time_until_the_deadline_and_keeps_its_token() {
    let asked = AtomicUsize::new(0);
    let (address, logins) =
        serve(good, move |token| if asked.fetch_add(1, Ordering::Relaxed) < 2 { 429 } else { new_only(token) });
    let mut trial = Trial { moment: Moment::Back, ..Trial::of(&address) };
    trial.probe.settings.timeout = Duration::from_millis(300);
    trial.ask().await.unwrap();
    assert_eq!(logins.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn what_comes_up_late_is_waited_for_on_the_way_back_alone() {
    for moment in [Moment::Moved, Moment::Back] {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut trial = Trial { moment, ..Trial::of(&address.to_string()) };
        trial.probe.settings.timeout = Duration::from_millis(300);
        let later = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(1500));
            serve_on(TcpListener::bind(address).unwrap(), good, new_only)
        });
        match (trial.ask().await, moment) {
            (Ok(_), Moment::Back) => {}
            (Err(fault), Moment::Moved) => {
                assert!(fault.message.contains("nobody listening") && fault.advice.contains("`timeout`"), "{fault}");
            }
            (seen, _) => panic!("{moment:?}: {seen:?}"),
        }
        later.join().unwrap();
    }
}

#[tokio::test]
async fn who_listens_and_does_not_answer_yet_is_waited_for_in_the_same_way() {
    for (early, told) in [(None, "got no answer in time"), (Some(503), "answered 503")] {
        for moment in [Moment::Moved, Moment::Back] {
            let began = Instant::now();
            let says = move |count| match early {
                _ if began.elapsed() > Duration::from_millis(1500) => good(count),
                Some(early) => status(early),
                None => Says::Nothing,
            };
            let mut trial = Trial { moment, ..Trial::of(&serve(says, new_only).0) };
            trial.probe.settings.timeout = Duration::from_millis(300);
            match (trial.ask().await, moment) {
                (Ok(_), Moment::Back) => {}
                (Err(fault), Moment::Moved) => {
                    assert!(fault.message.contains(told) && fault.advice.contains("`timeout`"), "{fault}");
                }
                (seen, _) => panic!("{moment:?}: {seen:?}"),
            }
        }
    }
}

#[tokio::test]
async fn who_wants_more_time_than_there_is_does_not_get_it() {
    for seconds in ["18446744073709551615", "99999999999999999999999", "3600"] {
        let says = move |_| Says::Status(429, format!("Retry-After: {seconds}\r\n"), String::new());
        let mut trial = Trial::of(&serve(says, new_only).0);
        (trial.deadline, trial.probe.settings.timeout) = (Duration::from_secs(2), Duration::from_millis(300));
        assert!(trial.ask().await.unwrap_err().message.contains("answered 429"), "{seconds}");
    }
}
