//! A rotation of the backend's secret with `rekeyctl`, and what the world looks like before and after it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::backend::FIRST_VALUE;
use super::{Backend, Builder, Debian, Machine, Output, token};

/// The secret of [`Backend::good`].
pub const NAME: &str = "my-backend-jwt";
/// Its consumer.
pub const UNIT: &str = "my-backend.service";
/// How the secret is rotated and proven, in little time.
pub const SECRET: &str = r#"
[secret]
env = "JWT_SECRET"

[proof]
settle = "1s"

[[target]]
type = "systemd"
units = ["my-backend.service"]

[[probe]]
type = "jwt"
login = { url = "http://127.0.0.1:3000/api/auth/login", json-file = "/etc/rekeyd/login.json", token = "/token" }
protected = { url = "http://127.0.0.1:3000/api/me" }
timeout = "3s"
"#;

/// At the end of the secret's file: the old value stays accepted for a while.
pub const OVERLAP: &str =
    "[invalidation]\nmode = \"overlap\"\nprevious-env = \"JWT_SECRET_PREVIOUS\"\noverlap = \"15m\"\n";

/// A machine to boot, with rekeyd, the backend and its secret.
pub fn on(debian: Debian, backend: &Backend) -> Builder {
    on_with(debian, backend, "")
}

/// The same, with `more` at the end of the secret's file.
pub fn on_with(debian: Debian, backend: &Backend, more: &str) -> Builder {
    Machine::on(debian).backend(backend).secret(NAME, &toml(more))
}

/// The secret's file, with `more` at its end.
pub fn toml(more: &str) -> String {
    format!("{SECRET}\n{more}")
}

/// A machine that has booted, the value in force taken over.
pub fn adopted(debian: Debian, backend: &Backend) -> Machine {
    adopted_with(debian, backend, "")
}

/// The same, with `more` at the end of the secret's file.
pub fn adopted_with(debian: Debian, backend: &Backend, more: &str) -> Machine {
    adopt(on_with(debian, backend, more).boot())
}

/// Takes over the value in force.
#[track_caller]
pub fn adopt(machine: Machine) -> Machine {
    machine.ok(&["rekeyctl", "adopt", NAME]);
    machine
}

/// `rekeyctl rotate`.
pub fn rotate(machine: &Machine) -> Output {
    machine.exec(&["rekeyctl", "rotate", NAME])
}

/// `rekeyctl status --json`.
#[track_caller]
pub fn status(machine: &Machine) -> Value {
    let text = machine.ok(&["rekeyctl", "status", "--json", NAME]);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The one value that all processes of the backend have.
#[track_caller]
pub fn value(machine: &Machine) -> String {
    let processes = machine.variable(UNIT, "JWT_SECRET");
    let values: Vec<_> = processes.iter().map(|(_, value)| value.clone()).collect();
    let first = values.first().cloned().flatten().expect("a running backend with a value");
    assert!(values.iter().all(|value| value.as_ref() == Some(&first)), "the processes differ: {processes:?}");
    first
}

/// A value of the backend that is not its first one, where it runs with one: it may be in the middle of a restart.
pub fn new_value(machine: &Machine) -> Option<String> {
    let mut values = machine.variable(UNIT, "JWT_SECRET").into_iter().filter_map(|(_, value)| value);
    values.rfind(|value| value != FIRST_VALUE)
}

/// The value that the backend would start with.
#[track_caller]
pub fn delivered(machine: &Machine) -> String {
    let text = machine.read(&format!("/var/lib/rekeyd/delivered/{NAME}/current/env"));
    let line = text.lines().find_map(|line| line.strip_prefix("JWT_SECRET="));
    line.unwrap_or_else(|| panic!("JWT_SECRET is not in {text}")).trim_matches('"').to_owned()
}

/// The stage of a generation; empty where there is no such one.
#[track_caller]
pub fn stage(machine: &Machine, generation: u64) -> String {
    let status = status(machine);
    let found = status["generations"].as_array().expect("generations").iter().find(|it| it["number"] == generation);
    found.map(|it| it["stage"].as_str().expect("a stage").to_owned()).unwrap_or_default()
}

/// The backend runs with this value, signs with it, and would start with it again.
#[track_caller]
pub fn assert_serves_with(machine: &Machine, wanted: &str) {
    assert_eq!(machine.unit(UNIT, "ActiveState"), "active");
    assert_eq!(value(machine), wanted);
    let token = token::login(machine);
    assert!(token::is_signed_with(&token, wanted), "{token} is signed with another value than {wanted}");
    assert_eq!(token::present(machine, &token), 200);
    assert_eq!(delivered(machine), wanted);
}

/// A rotation ended as rolled back for one of these reasons: the first value serves, and what was made is rejected.
#[track_caller]
pub fn assert_rolled_back(machine: &Machine, said: &Output, rejected: u64, codes: &[&str]) {
    assert_eq!(said.status, 1, "{said}");
    let status = status(machine);
    let outcome = &status["last"]["outcome"];
    assert_eq!(outcome["outcome"], "rolled-back", "{status:#}");
    let code = outcome["cause"]["code"].as_str().unwrap_or_default();
    assert!(codes.contains(&code), "{code} is none of {codes:?}: {outcome:#}");
    assert!(said.stdout.contains("rolled back"), "{said}");
    assert!(said.stdout.contains(outcome["cause"]["message"].as_str().expect("a message")), "{said}");
    assert_eq!(status["generation"], 1);
    assert_eq!(status["rotation"], Value::Null);
    assert_eq!(stage(machine, 1), "current");
    assert_eq!(stage(machine, rejected), "rejected");
    assert_serves_with(machine, FIRST_VALUE);
}

/// A rotation now commits this generation, and the backend serves with a new value, which is returned.
#[track_caller]
pub fn commits(machine: &Machine, generation: u64) -> String {
    let said = rotate(machine);
    assert_eq!(said.status, 0, "{said}");
    assert_committed(machine, generation)
}

/// The last rotation committed this generation, and the backend serves with a new value, which is returned.
#[track_caller]
pub fn assert_committed(machine: &Machine, generation: u64) -> String {
    let status = status(machine);
    assert_eq!(status["last"]["outcome"]["outcome"], "committed", "{status:#}");
    assert_eq!(status["state"], "in-force", "{status:#}");
    assert_eq!(status["generation"], generation, "{status:#}");
    assert_eq!(stage(machine, generation), "current");
    let value = value(machine);
    assert_ne!(value, FIRST_VALUE);
    assert_serves_with(machine, &value);
    assert_eq!(token::present(machine, &token::forge(FIRST_VALUE)), 401);
    value
}

/// Everything that a refused rotation leaves alone: unit files, delivered files, and the backend's run.
pub struct World {
    files: BTreeSet<String>,
    run: String,
}

impl World {
    /// As it is now.
    #[track_caller]
    pub fn of(machine: &Machine) -> Self {
        let find = r"find /etc/systemd/system /var/lib/rekeyd/delivered \
            '(' -type d -printf '%p/\n' ')' -o -printf '%p %l %i %C@\n' 2>/dev/null || test ! -e /var/lib/rekeyd/delivered";
        let run = "MainPID,InvocationID,ActiveState,SubState,NRestarts,DropInPaths,EnvironmentFiles";
        Self {
            files: machine.sh(find).lines().map(str::to_owned).collect(),
            run: machine.ok(&["systemctl", "show", "-p", run, UNIT]),
        }
    }

    /// Nothing was touched since.
    #[track_caller]
    pub fn assert_same(&self, machine: &Machine) {
        let now = Self::of(machine);
        let changed: Vec<_> = self.files.symmetric_difference(&now.files).collect();
        assert!(changed.is_empty(), "these files were touched: {changed:#?}");
        assert_eq!(self.run, now.run);
    }
}

/// A rotation is refused for this reason, nothing is touched, and what is printed has all these words in it.
#[track_caller]
pub fn is_refused(machine: &Machine, code: &str, words: &[&str]) {
    let (world, generations) = (World::of(machine), status(machine)["generations"].clone());
    let said = rotate(machine);
    assert_eq!(said.status, 3, "{said}");
    assert_says(&said, "nothing was touched");
    words.iter().for_each(|word| assert_says(&said, word));
    let outcome = &status(machine)["last"]["outcome"];
    assert_eq!(outcome["outcome"], "refused", "{outcome:#}");
    assert_eq!(outcome["cause"]["code"], code, "{outcome:#}");
    assert_eq!(status(machine)["generations"], generations);
    world.assert_same(machine);
}

/// A command's text has this in it.
#[track_caller]
pub fn assert_says(said: &Output, words: &str) {
    assert!(said.stdout.contains(words) || said.stderr.contains(words), "{words:?} is not said:\n{said}");
}

/// Neither of these values was ever told to the journal.
#[track_caller]
pub fn assert_never_told(machine: &Machine, values: &[&str]) {
    let journal = machine.sh("journalctl --sync; exec journalctl -q --no-pager --all -o export");
    assert!(journal.contains("REKEYD_ROTATION"));
    for value in values {
        assert!(!journal.contains(value), "{value} is in the journal");
    }
}

/// `rekeyctl rotate` that must commit.
#[track_caller]
pub fn rotate_ok(machine: &Machine) {
    machine.ok(&["rekeyctl", "rotate", NAME]);
}

/// The backend runs with a value that is not the first one, of 64 hex digits, and signs with it.
#[track_caller]
pub fn assert_new_value(machine: &Machine) -> String {
    let value = value(machine);
    assert_ne!(value, FIRST_VALUE);
    assert!(value.len() == 64 && value.bytes().all(|b| b.is_ascii_hexdigit()), "{value}");
    assert!(token::is_signed_with(&token::login(machine), &value), "the backend does not sign with its value");
    value
}
