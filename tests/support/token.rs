//! Tokens of the backend, from the outside.

use serde_json::{Value, json};

use super::jwt::Token;
use super::{Machine, backend};

/// Asks the backend on `port`; the status, 0 where there was no answer, and the body. `token` is presented where it is not
/// empty, `body` is posted where it is not.
pub fn ask(machine: &Machine, port: u16, path: &str, token: &str, body: &str) -> (u16, Value) {
    let url = format!("http://127.0.0.1:{port}{path}");
    let bearer = format!("Authorization: Bearer {token}");
    let mut command = vec!["curl", "-s", "-m", "2", "-w", "\n%{http_code}", &url];
    if !token.is_empty() {
        command.extend(["-H", &bearer]);
    }
    if !body.is_empty() {
        command.extend(["--json", body]);
    }
    let said = machine.exec(&command).stdout;
    let (body, status) = said.rsplit_once('\n').unwrap_or_default();
    (status.parse().unwrap_or_default(), serde_json::from_str(body).unwrap_or_default())
}

/// A token from the login of the backend on port 3000.
#[track_caller]
pub fn login(machine: &Machine) -> String {
    let (status, body) = ask(machine, 3000, "/api/auth/login", "", backend::LOGIN);
    assert_eq!(status, 200, "the login failed: {body}");
    body["token"].as_str().expect("a token").to_owned()
}

/// What the protected endpoint of the backend on port 3000 answers to a token.
pub fn present(machine: &Machine, token: &str) -> u16 {
    ask(machine, 3000, "/api/me", token, "").0
}

/// Whether a token is signed with a value.
#[track_caller]
pub fn is_signed_with(token: &str, value: &str) -> bool {
    Token::parse(token).unwrap_or_else(|| panic!("not a token: {token}")).is_signed_with(value)
}

/// A valid token of anybody's who knows the value.
pub fn forge(value: &str) -> String {
    super::jwt::sign(&json!({ "sub": "smoke", "exp": 99_999_999_999_u64 }), value)
}
