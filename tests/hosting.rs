//! Secrets at hosting platforms, on booted Debians with stand-ins for the platforms.

#![allow(clippy::unwrap_used)]

use crate::support;

use serde_json::{Value, json};
use support::backend::FIRST_VALUE;
use support::rotation::{NAME, OVERLAP, adopt, assert_says, rotate, stage, status, value};
use support::{Backend, Builder, Debian, Machine, poll, seconds, token};

/// The stand-ins' token.
const TOKEN: &str = "token-that-is-nowhere-told-1234567890";
const VERCEL: u16 = 9001;
const RENDER: u16 = 9003;

const AT_VERCEL: &str = r#"
[[target]]
type = "vercel"
project = "my-app"
team = "team_1"
api = "http://127.0.0.1:9001"
"#;
const AT_RENDER: &str = r#"
[[target]]
type = "render"
service = "srv-1"
token-file = "/etc/rekeyd/platform.token"
api = "http://127.0.0.1:9003/v1"
"#;

support::on_both_debians! {
    fn one_secret_at_home_and_on_two_platforms_is_one_transaction(debian) {
        let home = support::rotation::toml("");
        let vercel = format!("{AT_VERCEL}token-file = \"/etc/rekeyd/platform.token\"\n");
        let file = format!("{home}\n{vercel}{AT_RENDER}{OVERLAP}");
        let machine = builder(debian).backend(&Backend::good()).secret(NAME, &file).boot();
        for port in [VERCEL, RENDER] {
            tell(&machine, port, "variable", &json!({"key": "JWT_SECRET_PREVIOUS", "value": "anything"}));
        }
        let machine = adopt(machine);
        let said = rotate(&machine);
        assert_eq!(said.status, 0, "{said}");
        let new = value(&machine);
        assert_ne!(new, FIRST_VALUE);
        for port in [VERCEL, RENDER] {
            let served = &seen(&machine, port)["served"];
            assert_eq!((&served["JWT_SECRET"], &served["JWT_SECRET_PREVIOUS"]), (&json!(new), &json!(FIRST_VALUE)));
        }
        assert!(token::is_signed_with(&token::login(&machine), &new));
        machine.ok(&["rekeyctl", "retire", NAME]);
        // One of them fails, in one step after the other: all have the old value again, and it is proven.
        for (generation, (port, verb, what)) in (3..).zip([
            (VERCEL, "fault", json!({"on": "write", "what": "422"})),
            (RENDER, "fault", json!({"on": "write", "what": "422"})),
            (VERCEL, "fault", json!({"on": "trigger", "what": "422"})),
            (RENDER, "fault", json!({"on": "trigger", "what": "422"})),
            (VERCEL, "next", json!({"states": ["BUILDING", "ERROR"]})),
            (RENDER, "next", json!({"states": ["created", "build_failed"]})),
        ]) {
            tell(&machine, port, verb, &what);
            let said = rotate(&machine);
            assert_eq!(said.status, 1, "{port} {what}: {said}");
            assert_eq!(value(&machine), new, "{port} {what}");
            for port in [VERCEL, RENDER] {
                let seen = seen(&machine, port);
                let has = (&seen["stored"]["JWT_SECRET"], &seen["served"]["JWT_SECRET"]);
                assert_eq!(has, (&json!(new), &json!(new)), "{port} {what}: {said}");
            }
            assert!(token::is_signed_with(&token::login(&machine), &new), "{port} {what}");
            assert_eq!(stage(&machine, generation), "rejected");
            machine.ok(&["rekeyctl", "verify", NAME]);
            // What may have been signed meanwhile stays accepted until then.
            machine.exec(&["rekeyctl", "retire", NAME]);
            machine.exec(&["rekeyctl", "release", NAME]);
        }
        assert_never_told(&machine, &[&new, FIRST_VALUE, TOKEN]);
    }
}

support::on_one_debian! {
    Twelve => fn a_secret_of_a_platform_alone_begins_with_a_first_value_and_is_rotated(debian) {
        let file = format!("[secret]\nenv = \"JWT_SECRET\"\n{AT_VERCEL}token-credential = \"vercel-token\"\n");
        let given = "[Service]\nLoadCredential=vercel-token:/etc/rekeyd/platform.token\n";
        let machine = builder(debian)
            .secret(NAME, &file)
            .file("/etc/systemd/system/rekeyd.service.d/token.conf", 0o644, given)
            .boot();
        let said = machine.exec(&["rekeyctl", "adopt", NAME]);
        assert_eq!(said.status, 3, "{said}");
        assert_says(&said, "rekeyctl rotate --initial my-backend-jwt");
        assert_eq!(rotate(&machine).status, 3, "no value is known");
        let said = machine.exec(&["rekeyctl", "check", "--online"]);
        assert_eq!(said.status, 0, "{said}");
        assert_says(&said, "JWT_SECRET is there, of the type sensitive");
        assert_eq!(seen(&machine, VERCEL)["writes"], 0);
        let said = machine.exec(&["rekeyctl", "rotate", "--initial", NAME]);
        assert_eq!(said.status, 0, "{said}");
        assert_says(&said, "https://vercel.com/my-team/my-app/dpl_");
        let first = served(&machine, VERCEL);
        assert!(first.len() == 64 && first != FIRST_VALUE, "{first}");
        let said = rotate(&machine);
        assert_eq!(said.status, 0, "{said}");
        assert_ne!(served(&machine, VERCEL), first);
        assert_eq!(machine.exec(&["rekeyctl", "rotate", "--initial", NAME]).status, 3);
        // A build that fails: back, with what serves left alone.
        let before = served(&machine, VERCEL);
        tell(&machine, VERCEL, "next", &json!({"states": ["BUILDING", "ERROR"]}));
        let said = rotate(&machine);
        assert_eq!(said.status, 1, "{said}");
        assert_says(&said, "serves what it served before");
        let seen = seen(&machine, VERCEL);
        assert_eq!((seen["stored"]["JWT_SECRET"].as_str(), seen["triggers"].as_u64()), (Some(before.as_str()), Some(3)));
        machine.ok(&["rekeyctl", "verify", NAME]);
        assert_never_told(&machine, &[&first, &before, TOKEN]);
    }

    Thirteen => fn a_token_that_dies_after_the_write_puts_the_secret_on_hold(debian) {
        let machine = builder(debian).secret(NAME, &format!("[secret]\nenv = \"JWT_SECRET\"\n{AT_RENDER}")).boot();
        machine.ok(&["rekeyctl", "rotate", "--initial", NAME]);
        tell(&machine, RENDER, "fault", &json!({"on": "deployment", "what": "403", "times": 99}));
        let said = rotate(&machine);
        assert_eq!(said.status, 2, "{said}");
        assert_says(&said, "rekeyctl release my-backend-jwt");
        assert_eq!(status(&machine)["last"]["outcome"]["cause"]["code"], "unsure");
        assert_eq!(status(&machine)["state"], "on-hold");
        assert_eq!(seen(&machine, RENDER)["writes"], 2, "nothing is written on a guess");
        tell(&machine, RENDER, "mend", &json!({}));
        machine.ok(&["rekeyctl", "release", NAME]);
    }

    Twelve => fn killed_while_a_platform_builds_it_goes_on_without_another_deployment(debian) {
        let machine = builder(debian).secret(NAME, &format!("[secret]\nenv = \"JWT_SECRET\"\n{AT_RENDER}")).boot();
        machine.ok(&["rekeyctl", "rotate", "--initial", NAME]);
        let before = served(&machine, RENDER);
        tell(&machine, RENDER, "next", &json!({"states": ["created", "update_in_progress", "update_in_progress", "live"]}));
        machine.ok(&["rekeyctl", "rotate", "--no-wait", NAME]);
        poll(seconds(30), "it is triggered", || (seen(&machine, RENDER)["triggers"] == 2).then_some(()));
        machine.kill_daemon();
        machine.ok(&["systemctl", "start", "rekeyd"]);
        poll(seconds(90), "it is over", || (status(&machine)["rotation"].is_null()).then_some(()));
        assert_eq!(status(&machine)["last"]["outcome"]["outcome"], "committed");
        assert_ne!(served(&machine, RENDER), before);
        assert_eq!(seen(&machine, RENDER)["triggers"], 2);
    }
}

fn builder(debian: Debian) -> Builder {
    let unit = format!(
        "[Service]\nExecStart=/usr/local/bin/platforms 9001 {FIRST_VALUE}\nStandardOutput=null\n\
         [Install]\nWantedBy=multi-user.target\n"
    );
    Machine::on(debian)
        .example("platforms")
        .file("/etc/systemd/system/platforms.service", 0o600, unit)
        .link("/etc/systemd/system/multi-user.target.wants/platforms.service", "../platforms.service")
        .file("/etc/rekeyd/platform.token", 0o600, format!("{TOKEN}\n"))
}

/// Tells a stand-in what to do.
#[track_caller]
fn tell(machine: &Machine, port: u16, verb: &str, what: &Value) {
    let url = format!("http://127.0.0.1:{port}/_fake/{verb}");
    machine.ok(&["curl", "-sf", "--retry", "5", "--retry-connrefused", "--json", &what.to_string(), &url]);
}

/// What a stand-in has seen.
#[track_caller]
fn seen(machine: &Machine, port: u16) -> Value {
    let url = format!("http://127.0.0.1:{port}/_fake/state");
    let seen: Value = serde_json::from_str(&machine.ok(&["curl", "-sf", &url])).unwrap();
    assert_eq!(seen["violations"], json!([]), "against the platform's schema");
    seen
}

#[track_caller]
fn served(machine: &Machine, port: u16) -> String {
    seen(machine, port)["served"]["JWT_SECRET"].as_str().unwrap().to_owned()
}

/// The unit of the stand-ins has the first value in its command line, which the journal of PID 1 does not tell.
#[track_caller]
fn assert_never_told(machine: &Machine, values: &[&str]) {
    support::rotation::assert_never_told(machine, values);
}
