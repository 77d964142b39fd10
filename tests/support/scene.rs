//! The usual scene: one backend, one secret, and what a person does with them.

use serde_json::Value;

use super::backend::FIRST_VALUE;
use super::{Backend, Builder, Debian, Machine, Output, token};

/// The secret's name.
pub const SECRET: &str = "my-backend-jwt";
/// The backend's unit.
pub const UNIT: &str = "my-backend.service";

/// The secret's file, with probes that are patient for a short time only, and `more` at its end.
pub fn toml(more: &str) -> String {
    format!(
        r#"[secret]
env = "JWT_SECRET"

[proof]
settle = "300ms"

[[target]]
type = "systemd"
units = ["my-backend.service"]

[[probe]]
type = "jwt"
login = {{ url = "http://127.0.0.1:3000/api/auth/login", json-file = "/etc/rekeyd/login.json", token = "/token" }}
protected = {{ url = "http://127.0.0.1:3000/api/me" }}
timeout = "4s"
{more}"#
    )
}

/// A machine with the backend and its secret, ready to be booted.
pub fn stage(debian: Debian, backend: &Backend, more: &str) -> Builder {
    Machine::on(debian).backend(backend).secret(SECRET, &toml(more))
}

/// The same, booted, with the value in force adopted.
pub fn adopted(debian: Debian, backend: &Backend, more: &str) -> Machine {
    let machine = stage(debian, backend, more).boot();
    machine.ok(&["rekeyctl", "adopt", SECRET]);
    machine
}

/// `rekeyctl rotate`, with how it ended.
pub fn rotate(machine: &Machine) -> Output {
    machine.exec(&["rekeyctl", "rotate", SECRET])
}

/// `rekeyctl rotate` that must commit.
#[track_caller]
pub fn rotate_ok(machine: &Machine) {
    machine.ok(&["rekeyctl", "rotate", SECRET]);
}

/// `rekeyctl status --json`.
pub fn status(machine: &Machine) -> Value {
    serde_json::from_str(&machine.ok(&["rekeyctl", "status", SECRET, "--json"])).expect("a status in JSON")
}

/// The value that the backend's main process has.
#[track_caller]
pub fn value(machine: &Machine) -> String {
    let processes = machine.variable(UNIT, "JWT_SECRET");
    let (_, value) = processes.into_iter().next().expect("a process of the backend");
    value.expect("a value of the backend")
}

/// That the backend runs with a value that is not the first one, of 64 hex digits, and signs with it.
#[track_caller]
pub fn assert_new_value(machine: &Machine) -> String {
    let value = value(machine);
    assert_ne!(value, FIRST_VALUE);
    assert!(value.len() == 64 && value.bytes().all(|b| b.is_ascii_hexdigit()), "{value}");
    assert!(token::is_signed_with(&token::login(machine), &value), "the backend does not sign with its value");
    value
}
