//! What tokens prove, made and carried in each way.

use super::*;

#[tokio::test]
async fn a_good_backend_is_proven() {
    let (address, logins) = serve(good, new_only);
    let evidence = Trial::of(&address).ask().await.unwrap();
    let refused = ["random-key", "alg-none", "no-signature", "generation-1"].map(str::to_owned).to_vec();
    let (source, protected) = (format!("http://{address}/login?…"), format!("http://{address}/me?…"));
    let (algorithm, signed_with) = ("HS256".to_owned(), Generation(2));
    assert_eq!(
        evidence,
        Evidence::Jwt { source, algorithm, signed_with, protected, refused, accepted: Vec::new(), lifetime_s: None }
    );
    let logins = logins.lock().unwrap();
    assert!(logins[0].0.to_lowercase().contains("content-type: application/json") && logins[0].1.contains(PASSWORD));
    assert_eq!(logins.len(), 1);
}

#[tokio::test]
async fn each_algorithm_and_each_way_to_make_a_key_is_known() {
    let (primary, retired) = ("5ec3e7".repeat(11), "01d01d".repeat(11));
    for (encoding, algorithm) in [
        (KeyEncoding::Text, Algorithm::Hs384),
        (KeyEncoding::Hex, Algorithm::Hs256),
        (KeyEncoding::Base64, Algorithm::Hs512),
    ] {
        let made = key(primary.as_bytes(), encoding).unwrap();
        let expected = made.to_vec();
        let accepts = move |token: &str| {
            if Token::parse(token).is_ok_and(|token| token.is_signed_with(&expected)) { 200 } else { 401 }
        };
        let (address, _) = serve(move |_| token_of(algorithm, &made), accepts);
        let mut trial = Trial::of(&address);
        trial.primary = SecretValue::new(primary.clone().into_bytes());
        trial.retired = SecretValue::new(retired.clone().into_bytes());
        trial.probe.settings.key = encoding;
        let Evidence::Jwt { algorithm: told, .. } = trial.ask().await.unwrap() else { panic!() };
        assert_eq!(told, algorithm.as_str());
    }
}

#[tokio::test]
async fn a_value_that_makes_no_key_is_told_by_its_generation() {
    let mut trial = Trial::of(&serve(good, new_only).0);
    trial.probe.settings.key = KeyEncoding::Hex;
    let fault = trial.early_fault().await;
    assert!(fault.code == FaultCode::TokenUnreadable && fault.message.contains("generation 2 is not hex"), "{fault}");
}

#[tokio::test]
async fn a_token_in_a_cookie_is_proven() {
    let login = |_| {
        let token = Token::mint(Algorithm::Hs256, CLAIMS, NEW.as_bytes());
        Says::Status(303, format!("Set-Cookie: session={}; HttpOnly\r\nLocation: /\r\n", *token), String::new())
    };
    let mut trial = Trial::of(&serve(login, new_only).0);
    trial.login().token = TokenPlace::Cookie("session".to_owned());
    trial.probe.settings.protected.carrier = TokenCarrier::Cookie("session".to_owned());
    trial.ask().await.unwrap();
}

#[tokio::test]
async fn a_token_without_a_scheme_in_a_header_of_its_own_is_proven() {
    let mut trial = Trial::of(&serve(good, new_only).0);
    trial.probe.settings.protected.carrier = TokenCarrier::Header { name: "X-Token".to_owned(), scheme: String::new() };
    trial.ask().await.unwrap();
}

#[tokio::test]
async fn a_minted_token_is_proven() {
    for algorithm in ["HS256", "HS384", "HS512"] {
        let trial = Trial::of(&serve(|_| status(500), new_only).0).mints(algorithm);
        let Evidence::Jwt { source, algorithm: told, .. } = trial.ask().await.unwrap() else { panic!() };
        assert_eq!((source.as_str(), told.as_str()), ("minted", algorithm));
    }
}

#[tokio::test]
async fn a_backend_that_still_has_the_old_value_is_found_out_by_a_minted_token() {
    let trial = Trial::of(&serve(good, |token| if signed(token, OLD) { 200 } else { 401 }).0).mints("HS256");
    let fault = trial.early_fault().await;
    assert_eq!(fault.code, FaultCode::AcceptsRetired);
    assert!(fault.message.contains("answered 401") && fault.message.contains("generation 1"), "{fault}");
}
