//! Apps of a user's PM2: the real PM2 on Debian's Node, in cluster and in fork mode.

#![allow(clippy::unwrap_used)]

use crate::support;

use serde_json::Value;
use sha2::{Digest, Sha256};
use support::backend::FIRST_VALUE;
use support::rotation::{self, NAME, OVERLAP, adopt, assert_says, rotate, stage, status};
use support::{Builder, Debian, Machine, Output, poll, seconds, token};

const SERVER: &str = include_str!("pm2/server.cjs");
const ECOSYSTEM: &str = "/srv/app/ecosystem.config.cjs";
/// As `pm2 startup` writes it.
const UNIT: &str = "[Unit]\nAfter=network.target\n\n[Service]\nType=forking\nUser=app\nEnvironment=PATH=/usr/local/bin:/usr/bin:/bin\n\
    Environment=PM2_HOME=/home/app/.pm2 JWT_SECRET=stale-value-of-the-daemon\nPIDFile=/home/app/.pm2/pm2.pid\n\
    ExecStart=/usr/local/bin/pm2 resurrect\nExecStop=/usr/local/bin/pm2 kill\n\n[Install]\nWantedBy=multi-user.target\n";
const PROBE: &str = "[[probe]]\ntype = \"jwt\"\n\
    login = { url = \"http://127.0.0.1:3000/api/auth/login\", method = \"POST\", token = \"/token\" }\n\
    protected = { url = \"http://127.0.0.1:3000/api/me\" }\ntimeout = \"3s\"\n";
const ENV_FILE: &str = "env-file = \"/srv/app/.env\"\n";

/// The ecosystem file reads the env file itself.
const READS_FILE: &str = r#"const { readFileSync } = require('node:fs');
const lines = readFileSync('/srv/app/.env', 'utf8').split('\n').map((line) => line.split('='));
const env = Object.fromEntries(lines.filter((line) => line.length === 2));
const app = (name, more) => ({ name, script: '/srv/app/server.cjs', wait_ready: true, listen_timeout: 2000,
  max_restarts: 2, ...more, env_production: { ...env, PORT: '3000' } });
module.exports = { apps: [app('api', MODE), app('idle', { autorestart: false })] };
"#;
const CLUSTER: &str = "{ exec_mode: 'cluster', instances: 2 }";

support::on_one_debian! {
    Twelve => fn a_value_is_changed_wherever_an_ecosystem_file_has_it(debian) {
        // Debian 12's Node cannot read an env file by itself.
        let args = if debian == Debian::Twelve { "--require=/srv/app/load.cjs" } else { "--env-file=/srv/app/.env" };
        let builder = machine(debian)
            .file("/srv/app/literal.config.cjs", 0o640, ours(LITERAL))
            .file("/srv/app/eco.json", 0o640, ours(JSON))
            .file("/srv/app/eco.yaml", 0o640, ours(YAML))
            .file("/srv/app/args.config.cjs", 0o640, NODE_ARGS.replace("ARGS", args))
            .file("/srv/app/load.cjs", 0o644, LOADS_FILE)
            .file("/srv/app/.env", 0o640, env_text(FIRST_VALUE))
            .secret("literal", &secret("/srv/app/literal.config.cjs", "literal", "", ""))
            .secret("json", &secret("/srv/app/eco.json", "json", "", ""))
            .secret("yaml", &secret("/srv/app/eco.yaml", "yaml", "save = false\n", ""))
            .secret("args", &secret("/srv/app/args.config.cjs", "args", ENV_FILE, ""));
        let machine = builder.boot();
        for file in ["literal.config.cjs", "eco.json", "eco.yaml", "args.config.cjs"] {
            pm2(&machine, &format!("start /srv/app/{file} --env production"));
        }
        let literal = ("literal", "/srv/app/literal.config.cjs", LITERAL);
        let (json, yaml) = (("json", "/srv/app/eco.json", JSON), ("yaml", "/srv/app/eco.yaml", YAML));
        // Either Debian has its share of these, and both what Node reads.
        for (name, path, text) in if debian == Debian::Twelve { vec![literal] } else { vec![json, yaml] } {
            machine.ok(&["rekeyctl", "adopt", name]);
            if name == "json" {
                let old = hex::encode(Sha256::digest(FIRST_VALUE));
                machine.put("/srv/app/fault", 0o644, format!("exits {old}"));
                let said = machine.exec(&["rekeyctl", "rotate", name]);
                assert_eq!(said.status, 1, "{said}");
                assert_eq!((machine.read(path), value_of(&machine, name)), (ours(text), FIRST_VALUE.to_owned()));
                machine.sh("rm /srv/app/fault");
            }
            let said = machine.exec(&["rekeyctl", "rotate", name]);
            assert_eq!(said.status, 0, "{name}: {said}");
            assert_says(&said, &format!("1 of 1 processes of pm2 app/{name} have the value"));
            assert_says(&said, "nothing saved for the next boot: /home/app/.pm2/dump.pm2 is not there");
            let value = value_of(&machine, name);
            assert_ne!(value, FIRST_VALUE);
            let quoted = if name == "yaml" { format!("'{value}'") } else { value.clone() };
            assert_eq!(machine.read(path), ours(text).replace(FIRST_VALUE, &quoted));
            assert_eq!(machine.exec(&["test", "-e", "/home/app/.pm2/dump.pm2"]).status, 1, "none is made");
            rotation::assert_never_told(&machine, &[&value]);
        }
        // Node reads the file itself, and only a token can tell.
        machine.ok(&["rekeyctl", "adopt", "args"]);
        let said = machine.exec(&["rekeyctl", "rotate", "args"]);
        assert_eq!(said.status, 3, "{said}");
        assert_says(&said, "do not show what JWT_SECRET they have");
        assert_says(&said, "type = \"jwt\"");
        machine.put("/etc/rekeyd/secrets.d/args.toml", 0o644, secret("/srv/app/args.config.cjs", "args", ENV_FILE, PROBE));
        machine.ok(&["rekeyctl", "reload"]);
        let said = machine.exec(&["rekeyctl", "rotate", "args"]);
        assert_eq!(said.status, 0, "{said}");
        assert_says(&said, "token signed with generation 2");
        assert!(token::is_signed_with(&token::login(&machine), &value_in_file(&machine)));
    }

    Thirteen => fn a_value_that_fails_is_taken_back_and_proven(debian) {
        let machine = adopt(started(with_file(debian, CLUSTER, PROBE).boot()));
        pm2(&machine, "save");
        let old = hex::encode(Sha256::digest(FIRST_VALUE));
        // Either has its share: each of them takes minutes of Node's starts.
        let faults = match debian {
            Debian::Twelve => vec![("exits", "of pm2 app/api"), ("never-ready", "127.0.0.1:3000")],
            Debian::Thirteen => vec![("ends-later", "of pm2 app/api")],
        };
        for (number, (fault, words)) in faults.into_iter().enumerate() {
            machine.put("/srv/app/fault", 0o644, format!("{fault} {old}"));
            let said = rotate_all_listed(&machine);
            assert_eq!(said.status, 1, "{fault}: {said}");
            assert_says(&said, words);
            assert_eq!(stage(&machine, number as u64 + 2), "rejected");
            assert_eq!(machine.read("/srv/app/.env"), env_text(FIRST_VALUE));
            assert!(serves(&machine, FIRST_VALUE), "{fault}");
            assert!(machine.read("/home/app/.pm2/dump.pm2").contains(FIRST_VALUE));
        }
        machine.sh("rm /srv/app/fault");
        machine.ok(&["rekeyctl", "release", NAME]);
        let said = rotate_all_listed(&machine);
        assert_eq!(said.status, 0, "{said}");
    }

    Thirteen => fn in_a_cluster_all_instances_get_it_and_a_reboot_brings_it_again(debian) {
        let machine = started(with_file(debian, CLUSTER, &format!("{OVERLAP}{PROBE}")).boot());
        pm2(&machine, "stop idle");
        pm2(&machine, "save");
        assert_eq!(mode(&machine, "dump.pm2"), "644");
        let machine = adopt(machine);
        let old = token::login(&machine);
        let said = rotate(&machine);
        assert_eq!(said.status, 0, "{said}");
        assert_says(&said, "2 of 2 processes of pm2 app/api have the value");
        assert_says(&said, "2 instances of pm2 app/api stayed online");
        assert_says(&said, "pm2 app/idle is stopped on purpose");
        assert_says(&said, "saved for the next boot in /home/app/.pm2/dump.pm2, which holds the value");
        let movements = said.stdout.lines().filter(|line| line.starts_with("✓ deliver")).count();
        assert_eq!(movements, 2, "first all accept it, then all sign with it: {said}");
        let value = value_in_file(&machine);
        assert_eq!(machine.read("/srv/app/.env"), format!("# Ours\nJWT_SECRET={value}\nLAST=1\nJWT_SECRET_PREVIOUS={FIRST_VALUE}\n"));
        assert_eq!(machine.sh("stat -c '%U %a' /srv/app/.env"), "app 640\n");
        assert_eq!((mode(&machine, "dump.pm2"), mode(&machine, "dump.pm2.bak")), ("600".to_owned(), "600".to_owned()));
        assert_eq!(token::present(&machine, &old), 200);
        assert_eq!(list(&machine).iter().filter(|one| one["pm2_env"]["status"] == "online").count(), 2);
        machine.ok(&["rekeyctl", "retire", NAME]);
        assert_eq!(token::present(&machine, &old), 401, "PM2 never removes a variable: it is empty");
        machine.ok(&["rekeyctl", "verify", NAME]);
        // What a reboot does.
        machine.ok(&["systemctl", "restart", "pm2-app"]);
        poll(seconds(20), "the apps are up again", || serves(&machine, &value).then_some(()));
        machine.ok(&["rekeyctl", "verify", NAME]);
        rotation::assert_never_told(&machine, &[&value]);
    }

    Thirteen => fn what_would_go_wrong_is_refused_before(debian) {
        let machine = adopt(started(with_file(debian, "{}", PROBE).boot()));
        let refused = |make: &str, words: &str| {
            machine.sh(make);
            let look = || machine.sh("find /srv/app /home/app -user root; stat -c '%i %Y' /srv/app/.env; cat /srv/app/.env");
            let before = look();
            let said = rotate(&machine);
            assert_eq!(said.status, 3, "{make}: {said}");
            assert_says(&said, words);
            assert_eq!(look(), before, "{make}");
            let check = machine.exec(&["rekeyctl", "check", "--host"]);
            assert_ne!(check.status, 0, "{check}");
            assert_says(&check, words);
        };
        refused("chmod o+r /srv/app/.env", "every local user can read /srv/app/.env");
        refused("chmod o= /srv/app/.env; sed -i s/JWT_SECRET=.*/JWT_SECRET=byhand/ /srv/app/.env", "was changed by hand since");
        machine.sh(&format!("sed -i s/JWT_SECRET=.*/JWT_SECRET={FIRST_VALUE}/ /srv/app/.env"));
        // The processes are older than the file.
        pm2(&machine, "save");
        machine.sh("sed -i s/JWT_SECRET=.*/JWT_SECRET=another-value-of-somebody/ /srv/app/.env");
        pm2(&machine, &format!("reload {ECOSYSTEM} --env production --only api"));
        machine.sh(&format!("sed -i s/JWT_SECRET=.*/JWT_SECRET={FIRST_VALUE}/ /srv/app/.env"));
        refused(":", "have another JWT_SECRET than generation 1, which /srv/app/.env has");
        pm2(&machine, &format!("reload {ECOSYSTEM} --env production --only api"));
        pm2(&machine, "delete idle");
        refused(":", "starts other apps after a reboot (api, idle) than it has now (api)");
        pm2(&machine, "save");
        // Nobody's daemon is started, and root leaves nothing behind.
        machine.ok(&["systemctl", "stop", "pm2-app"]);
        refused(":", "no PM2 of app runs in /home/app/.pm2");
        assert_eq!(machine.sh("pgrep -f 'God Daemo[n]' || true"), "");
        assert_eq!(machine.sh("find /home/app/.pm2 /root/.pm2 -user root 2>/dev/null || true"), "");
        // Code is not edited.
        machine.ok(&["systemctl", "start", "pm2-app"]);
        let toml = secret(ECOSYSTEM, "api", "", "");
        machine.put(&format!("/etc/rekeyd/secrets.d/{NAME}.toml"), 0o644, toml);
        machine.ok(&["rekeyctl", "reload"]);
        refused(":", "/srv/app/ecosystem.config.cjs: line 6, column 26: no app of the name api is written out here");
    }

    Twelve => fn a_pm2_that_nobody_may_look_into_is_refused_before(debian) {
        let of_app = secret("/srv/app/eco.json", "json", "save = false\n", "");
        let of_root = of_app.replace("user = \"app\"", "user = \"root\"").replace("/srv/app", "/root");
        let builder = machine(debian)
            .file("/srv/app/eco.json", 0o640, ours(JSON))
            .file("/root/eco.json", 0o600, ours(JSON))
            .secret("of-app", &of_app)
            .secret("of-root", &of_root);
        let machine = builder.boot();
        machine.sh("HOME=/root pm2 start /root/eco.json --env production >/dev/null 2>&1");
        machine.put("/etc/systemd/system/pm2-app.service.d/group.conf", 0o644, "[Service]\nGroup=www-data\n");
        machine.sh("systemctl daemon-reload; systemctl restart pm2-app");
        let whys = [("of-root", "the processes of root's PM2"), ("of-app", "PM2 of app runs with the group 33 and not with")];
        for (name, why) in whys {
            let said = machine.exec(&["rekeyctl", "adopt", name]);
            assert_ne!(said.status, 0, "{said}");
            assert_says(&said, why);
            assert_says(&said, "type = \"command\"");
        }
    }

    Twelve => fn killed_in_mid_reload_it_is_finished(debian) {
        let machine = adopt(started(with_file(debian, CLUSTER, PROBE).boot()));
        machine.ok(&["rekeyctl", "rotate", "--no-wait", NAME]);
        let unit = format!("rekeyd-pm2-{NAME}.service");
        poll(seconds(20), "PM2 reloads", || {
            let is_written = value_in_file(&machine) != FIRST_VALUE;
            (is_written && machine.unit(&unit, "ActiveState") == "activating").then_some(())
        });
        machine.kill_daemon();
        machine.ok(&["systemctl", "start", "rekeyd"]);
        poll(seconds(150), "it is over", || {
            let status = status(&machine);
            (status["rotation"].is_null() && status["last"]["outcome"]["outcome"].is_string()).then_some(())
        });
        assert_eq!(status(&machine)["last"]["outcome"]["outcome"], "committed", "{:#}", status(&machine));
        assert!(serves(&machine, &value_in_file(&machine)));
        machine.ok(&["rekeyctl", "verify", NAME]);
        // PM2 was not ended with who reads what it prints, nor found a lock of one that was.
        let journal = machine.sh(&format!("journalctl --sync; journalctl -q -o cat -u {unit}"));
        assert!(!journal.contains("Main process exited"), "{journal}");
    }
}

const LITERAL: &str = "// Ours: JWT_SECRET: 'no'\nmodule.exports = {\n  apps: [{\n    name: 'literal', script: '/srv/app/server.cjs',\n\
    \x20   env_production: { PORT: 3001, JWT_SECRET: \"VALUE\", /* kept */ },\n  }],\n};\n";
const JSON: &str = "{\n  \"apps\": [ { \"name\": \"json\", \"script\": \"/srv/app/server.cjs\",\n\
    \"env_production\": {\"PORT\": 3002, \"JWT_SECRET\":\"VALUE\" } } ] }\n";
const YAML: &str = "apps:\n  - script: /srv/app/server.cjs # kept\n    name: yaml\n    env_production:\n      PORT: 3003\n\
    \x20     JWT_SECRET: VALUE # kept\n";
const NODE_ARGS: &str = "module.exports = { apps: [{ name: 'args', script: '/srv/app/server.cjs',\n\
    node_args: 'ARGS', env_production: { PORT: 3000 } }] };\n";

const LOADS_FILE: &str = "for (const line of require('node:fs').readFileSync('/srv/app/.env', 'utf8').split('\\n')) {\n\
    const [key, value] = line.split('=');\n  if (value) process.env[key] = value;\n}\n";

fn ours(text: &str) -> String {
    text.replace("VALUE", FIRST_VALUE)
}

fn env_text(value: &str) -> String {
    format!("# Ours\nJWT_SECRET={value}\nLAST=1\n")
}

fn secret(ecosystem: &str, app: &str, place: &str, more: &str) -> String {
    format!(
        "[secret]\nenv = \"JWT_SECRET\"\n[proof]\nsettle = \"1s\"\n[[target]]\ntype = \"pm2\"\necosystem = \"{ecosystem}\"\n\
         user = \"app\"\napps = [\"{app}\"]\nenvironment = \"production\"\ntimeout = \"3min\"\n{place}\n{more}"
    )
}

/// With the user's PM2 running, and no app yet.
fn machine(debian: Debian) -> Builder {
    Machine::on(debian)
        .with("node")
        .file("/srv/app/server.cjs", 0o644, SERVER)
        .file("/etc/systemd/system/pm2-app.service", 0o644, UNIT)
        .link("/etc/systemd/system/multi-user.target.wants/pm2-app.service", "../pm2-app.service")
        .file("/usr/lib/sysusers.d/app.conf", 0o644, "u app - - /home/app /bin/sh\n")
        .file("/etc/tmpfiles.d/app.conf", 0o644, "d /home/app 0750 app app\nZ /srv/app - app app\n")
}

/// The value in an env file that the ecosystem file reads.
fn with_file(debian: Debian, mode: &str, more: &str) -> Builder {
    let toml = secret(ECOSYSTEM, "api", ENV_FILE, more).replace("[\"api\"]", "[\"api\", \"idle\"]");
    let toml = if more.contains("overlap") { toml } else { toml.replace("[\"api\", \"idle\"]", "[\"api\"]") };
    machine(debian).secret(NAME, &toml).file(ECOSYSTEM, 0o644, READS_FILE.replace("MODE", mode)).file(
        "/srv/app/.env",
        0o640,
        env_text(FIRST_VALUE),
    )
}

fn started(machine: Machine) -> Machine {
    pm2(&machine, &format!("start {ECOSYSTEM} --env production --only api"));
    // On a port of its own, where it does not matter.
    let start = format!(
        "sed 's/3000/3009/' {ECOSYSTEM} >/tmp/idle.config.cjs; pm2 start /tmp/idle.config.cjs --env production --only idle"
    );
    as_app(&machine, &start);
    poll(seconds(20), "the app is up", || serves(&machine, FIRST_VALUE).then_some(()));
    machine
}

#[track_caller]
fn pm2(machine: &Machine, words: &str) {
    as_app(machine, &format!("pm2 {words}"));
}

#[track_caller]
fn as_app(machine: &Machine, script: &str) {
    let said: Output = machine.exec_as("app", &["env", "-u", "JWT_SECRET", "HOME=/home/app", "sh", "-c", script]);
    assert_eq!(said.status, 0, "{script}: {said}");
}

#[track_caller]
fn list(machine: &Machine) -> Vec<Value> {
    let said = machine.exec_as("app", &["env", "HOME=/home/app", "pm2", "-s", "jlist"]);
    serde_json::from_str(said.stdout.trim()).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// What PM2 gave an app.
#[track_caller]
fn value_of(machine: &Machine, app: &str) -> String {
    let all = list(machine);
    let app = all.iter().find(|one| one["name"] == app).unwrap();
    app["pm2_env"]["env"]["JWT_SECRET"].as_str().unwrap().to_owned()
}

fn value_in_file(machine: &Machine) -> String {
    let text = machine.read("/srv/app/.env");
    text.lines().find_map(|line| line.strip_prefix("JWT_SECRET=")).unwrap().to_owned()
}

fn mode(machine: &Machine, file: &str) -> String {
    machine.sh(&format!("stat -c %a /home/app/.pm2/{file}")).trim().to_owned()
}

/// PM2 loses a process at times, when an app ends again and again; that is said before anything is touched, with what to do.
fn rotate_all_listed(machine: &Machine) -> Output {
    let mut log = String::new();
    for _ in 0..5 {
        let said = rotate(machine);
        if said.status != 3 {
            return said;
        }
        assert_says(&said, "in PM2's list any more");
        let text = said.to_string();
        let (_, rest) = text.split_once("as app: kill ").unwrap_or_else(|| panic!("{said}"));
        let pids: String = rest.chars().take_while(|it| it.is_ascii_digit() || *it == ' ').collect();
        log = machine.sh("su app -c 'pm2 ls; tail -n 60 ~/.pm2/pm2.log'") + &text;
        // They may have ended since.
        machine.exec(&["sh", "-c", &format!("kill {pids}")]);
    }
    panic!("there is always another one:\n{log}");
}

/// Whether the app on port 3000 signs with a value; it may not be there yet.
fn serves(machine: &Machine, value: &str) -> bool {
    let (status, body) = token::ask(machine, 3000, "/api/auth/login", "", "{}");
    status == 200 && token::is_signed_with(body["token"].as_str().unwrap_or_default(), value)
}
