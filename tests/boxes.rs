//! The test ground itself: machines boot, and the backend does what it says, right and wrong.

use crate::support;

use std::time::Duration;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64, Engine as _};
use support::backend::FIRST_VALUE;
use support::{Backend, Debian, Machine, dependent, poll, seconds, token};

const NEW_VALUE: &str = "another-value-0123456789abcdef0123456789";

support::on_both_debians! {
    fn a_machine_boots_with_a_backend_that_serves(debian) {
        let machine = Machine::on(debian).bare().backend(&Backend::good()).boot();
        let release = match debian {
            Debian::Twelve => "VERSION_ID=\"12\"",
            Debian::Thirteen => "VERSION_ID=\"13\"",
        };
        assert!(machine.read("/etc/os-release").contains(release));

        let token = token::login(&machine);
        assert!(token::is_signed_with(&token, FIRST_VALUE));
        assert_eq!(token::present(&machine, &token), 200);
        assert_eq!(token::present(&machine, &token::forge(NEW_VALUE)), 401);
        assert_eq!(token::present(&machine, &unsigned()), 401);
        assert_eq!(token::ask(&machine, 3000, "/api/auth/login", "", r#"{"user":"smoke","password":"no"}"#).0, 401);

        let story = machine.journal(&["-u", "my-backend.service"]);
        assert!(story.iter().any(|entry| entry["MESSAGE"].as_str().is_some_and(|text| text.contains("Started my-backend.service"))));
    }

    fn files_outlive_a_reboot_and_a_crash(debian) {
        let machine = Machine::on(debian).bare().backend(&Backend::good()).boot();
        machine.put("/root/kept", 0o600, "kept");
        machine.reboot();
        assert_eq!(machine.read("/root/kept"), "kept");
        machine.crash();
        assert_eq!(machine.read("/root/kept"), "kept");
        assert!(token::is_signed_with(&token::login(&machine), FIRST_VALUE));
        assert_eq!(machine.ok(&["journalctl", "--list-boots", "-q", "--no-pager"]).lines().count(), 3);
    }

    fn a_command_that_runs_while_its_machine_goes_down_ends_with_it(debian) {
        let machine = Machine::on(debian).bare().boot();
        let said = std::thread::scope(|scope| {
            let running = scope.spawn(|| machine.exec(&["sleep", "290"]));
            poll(seconds(10), "it runs", || (machine.exec(&["pgrep", "-x", "sleep"]).status == 0).then_some(()));
            machine.reboot();
            running.join()
        });
        let said = said.unwrap_or_else(|_| panic!("nothing was said"));
        assert_ne!(said.status, 124, "it came to its own end: {said}");
    }

    fn a_dependent_unit_refuses_a_new_value(debian) {
        let unit = "/etc/systemd/system/my-worker.service";
        let machine = Machine::on(debian).bare().backend(&Backend::good().env_file()).file(unit, 0o644, dependent("PartOf")).boot();
        machine.ok(&["systemctl", "start", "my-worker.service"]);
        give(&machine, NEW_VALUE);
        poll(seconds(10), "my-worker fails", || (machine.unit("my-worker.service", "ActiveState") == "failed").then_some(()));
    }
}

#[test]
fn faults_of_a_start_show_with_a_new_value_only() {
    let backend = Backend::good().env_file().service("TimeoutStartSec=2");
    let machine = Machine::on(Debian::Twelve).bare().backend(&backend).boot();
    backend.break_now(&machine, "exits-at-once");
    assert_eq!(start(&machine, FIRST_VALUE), "active");
    assert_eq!(start(&machine, NEW_VALUE), "failed");

    backend_with(&machine, "never-ready");
    assert_eq!(start(&machine, NEW_VALUE), "failed");
    assert_eq!(machine.unit("my-backend.service", "Result"), "timeout");

    backend_with(&machine, "slow-start 300\nexits-after-ready");
    assert_eq!(start(&machine, NEW_VALUE), "active");
    poll(seconds(10), "it exits", || (machine.unit("my-backend.service", "ActiveState") == "failed").then_some(()));

    backend_with(&machine, "exits-after-settle 800");
    assert_eq!(start(&machine, NEW_VALUE), "active");
    poll(seconds(10), "it exits", || (machine.unit("my-backend.service", "ActiveState") == "failed").then_some(()));

    backend_with(&machine, "fails-for-both");
    assert_eq!(start(&machine, FIRST_VALUE), "active");
    assert_eq!(start(&machine, NEW_VALUE), "failed");
    assert_eq!(start(&machine, FIRST_VALUE), "failed");
}

#[test]
fn faults_of_the_login_show_with_a_new_value_only() {
    let machine =
        Machine::on(Debian::Twelve).bare().backend(&Backend::good().env_file().fault("signs-with-old")).boot();
    give(&machine, NEW_VALUE);
    let stale = token::login(&machine);
    assert!(token::is_signed_with(&stale, FIRST_VALUE));
    assert_eq!(token::present(&machine, &stale), 200);
    assert_eq!(token::present(&machine, &token::forge(NEW_VALUE)), 401);

    backend_with(&machine, "accepts-old");
    give(&machine, NEW_VALUE);
    assert!(token::is_signed_with(&token::login(&machine), NEW_VALUE));
    assert_eq!(token::present(&machine, &stale), 200);

    backend_with(&machine, "signs-with-other");
    give(&machine, NEW_VALUE);
    let other = token::login(&machine);
    assert!(!token::is_signed_with(&other, NEW_VALUE) && !token::is_signed_with(&other, FIRST_VALUE));

    let login = || token::ask(&machine, 3000, "/api/auth/login", "", support::backend::LOGIN);
    backend_with(&machine, "login-opaque");
    give(&machine, NEW_VALUE);
    assert_eq!(login().1["token"].as_str().map(|token| token.contains('.')), Some(false));

    backend_with(&machine, "login-500");
    give(&machine, NEW_VALUE);
    assert_eq!(login().0, 500);
    give(&machine, FIRST_VALUE);
    assert_eq!(login().0, 200);

    backend_with(&machine, "hangs");
    give(&machine, NEW_VALUE);
    assert_eq!(login().0, 0);
}

#[test]
fn faults_of_the_protected_endpoint_can_be_there_from_the_start() {
    let machine =
        Machine::on(Debian::Thirteen).bare().backend(&Backend::good().env_file().always("accepts-random")).boot();
    assert_eq!(token::present(&machine, &token::forge(NEW_VALUE)), 200);
    assert_eq!(token::present(&machine, &unsigned()), 401);

    backend_with(&machine, "always accepts-none");
    give(&machine, FIRST_VALUE);
    assert_eq!(token::present(&machine, &token::forge(NEW_VALUE)), 401);
    assert_eq!(token::present(&machine, &unsigned()), 200);

    backend_with(&machine, "protected-refuses");
    give(&machine, FIRST_VALUE);
    assert_eq!(token::present(&machine, &token::login(&machine)), 200);
    give(&machine, NEW_VALUE);
    assert_eq!(token::present(&machine, &token::login(&machine)), 401);
}

#[test]
fn worker_processes_have_the_value_or_a_stale_one_or_none() {
    let backend = Backend::good().env_file().always("workers 2").fault("stale-worker").always("bare-worker");
    let machine = Machine::on(Debian::Thirteen).bare().backend(&backend).boot();
    give(&machine, NEW_VALUE);
    let process = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
    // A worker has another name until it has become what it is to be.
    let found = poll(seconds(10), "all workers run", || {
        let mut found = machine.variable("my-backend.service", "JWT_SECRET");
        found.sort();
        (found.first()?.0 == "exe").then_some(found)
    });
    let new = Some(NEW_VALUE);
    assert_eq!(
        found,
        [
            process("exe", new),
            process("exe", new),
            process("exe", Some(FIRST_VALUE)),
            process("sleep", None),
            process("toy-backend", new)
        ]
    );
}

#[test]
fn polling_ends_as_soon_as_there_is_something() {
    let mut tries = 0;
    let found = poll(Duration::from_secs(60), "the third try", || {
        tries += 1;
        (tries == 3).then_some(tries)
    });
    assert_eq!(found, 3);
}

/// Gives the backend, whose value is in an environment file, another one as a person would.
fn start(machine: &Machine, value: &str) -> String {
    machine.put("/etc/my-backend.env", 0o600, format!("JWT_SECRET={value}\n"));
    machine.exec(&["sh", "-c", "systemctl reset-failed my-backend.service; exec systemctl restart my-backend.service"]);
    machine.unit("my-backend.service", "ActiveState")
}

fn give(machine: &Machine, value: &str) {
    assert_eq!(start(machine, value), "active");
}

fn backend_with(machine: &Machine, mode: &str) {
    machine.put("/etc/toy/my-backend/mode", 0o644, mode);
}

fn unsigned() -> String {
    let part = |text: &str| BASE64.encode(text);
    format!("{}.{}.", part(r#"{"alg":"none"}"#), part(r#"{"sub":"smoke","exp":99999999999}"#))
}
