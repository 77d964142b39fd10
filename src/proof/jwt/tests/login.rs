//! How the probe logs in, and with what.

use super::*;

#[tokio::test]
async fn credentials_are_read_from_a_file_of_their_owner_alone() {
    let (address, logins) = serve(good, new_only);
    for mode in [0o644, 0o640, 0o620, 0o602] {
        let trial = Trial::of(&address);
        trial.write(PASSWORD, mode);
        let fault = trial.early_fault().await;
        assert_eq!(fault.code, FaultCode::LoginFailed);
        assert!(fault.advice.starts_with("chmod 600 /"), "{fault}");
    }
    for what in [
        |file: &Path| std::fs::create_dir(file).unwrap(),
        |file: &Path| {
            let kind = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, file, kind, rustix::fs::Mode::from_raw_mode(0o600), 0).unwrap();
        },
        |_: &Path| (),
        |file: &Path| std::fs::write(file, "x".repeat(70_000)).unwrap(),
    ] {
        let trial = Trial::of(&address);
        std::fs::remove_file(trial.file()).unwrap();
        what(&trial.file());
        if trial.file().is_file() {
            std::fs::set_permissions(trial.file(), std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        let (file, fault) = (trial.file(), trial.early_fault().await);
        assert!(fault.code == FaultCode::LoginFailed && fault.message.contains(file.to_str().unwrap()), "{fault}");
    }
    assert!(logins.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_file_is_read_at_each_use_and_may_be_linked_to() {
    let (address, logins) = serve(good, new_only);
    let trial = Trial::of(&address);
    trial.ask().await.unwrap();
    let elsewhere = trial.dir.path().join("elsewhere");
    std::fs::rename(trial.file(), &elsewhere).unwrap();
    std::fs::write(&elsewhere, "[\"changed\"]").unwrap();
    symlink(&elsewhere, trial.file()).unwrap();
    trial.ask().await.unwrap();
    assert_eq!(logins.lock().unwrap()[1].1, "[\"changed\"]");
}

#[tokio::test]
async fn a_form_is_sent_without_the_newline_at_its_end() {
    let (address, logins) = serve(good, new_only);
    let mut trial = Trial::of(&address);
    trial.write("user=smoke&password=pass%20word\n", 0o600);
    trial.login().body = LoginBody::Form(trial.file());
    trial.ask().await.unwrap();
    let (head, body) = logins.lock().unwrap()[0].clone();
    assert!(head.to_lowercase().contains("content-type: application/x-www-form-urlencoded"), "{head}");
    assert_eq!(body, "user=smoke&password=pass%20word");
}

#[tokio::test]
async fn a_login_without_a_body_is_sent_as_one() {
    let (address, logins) = serve(good, new_only);
    let mut trial = Trial::of(&address);
    trial.login().body = LoginBody::Empty;
    trial.ask().await.unwrap();
    let (head, body) = logins.lock().unwrap()[0].clone();
    assert!(body.is_empty() && !head.to_lowercase().contains("content-type"), "{head}");
}

#[tokio::test]
async fn a_login_may_need_headers_of_its_own() {
    let (address, logins) = serve(good, new_only);
    let mut trial = Trial::of(&address);
    trial.write("X-Api-Key: swordfish\nAccept: application/json\n", 0o600);
    (trial.login().body, trial.login().headers) = (LoginBody::Empty, Some(trial.file()));
    assert!(trial.ask().await.is_ok());
    let head = logins.lock().unwrap()[0].0.to_lowercase();
    assert!(head.contains("x-api-key: swordfish") && head.contains("accept: application/json"), "{head}");
    trial.write("no header\n", 0o600);
    let fault = trial.ask().await.unwrap_err();
    assert!(fault.code == FaultCode::LoginFailed && fault.message.contains("Name: value"), "{fault}");
}

#[tokio::test]
async fn what_is_no_json_is_not_sent_and_a_token_elsewhere_is_named() {
    let (address, logins) = serve(good, new_only);
    let trial = Trial::of(&address);
    trial.write("{\"password\": ", 0o600);
    let fault = trial.early_fault().await;
    assert!(fault.message.contains("/login:1:13: this is no JSON"), "{fault}");
    assert!(logins.lock().unwrap().is_empty());
    let mut trial = Trial { moment: Moment::Before, ..Trial::of(&serve(good, new_only).0) };
    trial.login().token = TokenPlace::Pointer("/token".to_owned());
    let fault = trial.early_fault().await;
    assert!(fault.message.contains("without a token at \"/token\" (it has /data)"), "{fault}");
}
