//! Programs that are targets themselves: what they are asked and given, and what becomes of how they end.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use rekeyd::target::command::protocol::{Numbers, PROTOCOL, Request, Verb};
use serde_json::Value;
use support::backend::FIRST_VALUE;
use support::host;
use support::rotation::{assert_never_told, assert_says};
use support::{Builder, Debian, Machine, Output, poll, seconds};

const NAME: &str = "token";
const PROGRAM: &str = "/usr/local/lib/rekeyd/keeper";

/// Keeps the value in a file, tells what it was asked and given, and ends as `/srv/keeper/how` says: lines of a verb, and
/// what the shell is to do then.
const KEEPER: &str = r#"#!/bin/sh
set -eu
cd /srv/keeper
cat >asked/$REKEYD_VERB.json
env | sort >asked/$REKEYD_VERB.env
tr '\0' ' ' </proc/$$/cmdline >asked/$REKEYD_VERB.argv
id -un >asked/who
{ echo "$REKEYD_VERB $REKEYD_BACK $REKEYD_MARK ${REKEYD_PRIMARY-}:${REKEYD_ACCEPTED-} ${REKEYD_FOUND_COLOR-}/${REKEYD_NOTED_JOB-}"
  for file in $(echo "${REKEYD_ACCEPTED_FILES-}" | tr : ' '); do sha256sum <"$file"; done; } >>asked/all
stop() { printf '{"message": "%s"}\n' "$2"; exit "$1"; }
if [ "$REKEYD_BACK" = 0 ]; then eval "$(sed -n "s/^$REKEYD_VERB //p" how)"; fi
case $REKEYD_VERB in
adopt) printf '{"value": "%s"}\n' "$(cat value)" ;;
preflight) cmp -s value "$REKEYD_VALUE_FILE" || stop 3 'the file was changed by hand'
  echo '{"details": {"color": "blue"}}' ;;
deliver) cat "$REKEYD_VALUE_FILE" >value; echo '{"details": {"job": "seven"}}' ;;
activate) echo '{"message": "done"}' ;;
prove) cmp -s value "$REKEYD_VALUE_FILE" || stop 1 'it has another value'; echo '{"message": "the keeper has it"}' ;;
esac
"#;

fn keeper(debian: Debian, more: &str) -> Builder {
    let toml = format!(
        "[secret]\nenv = \"TOKEN\"\n{more}\n[[target]]\ntype = \"command\"\ncommand = [\"{PROGRAM}\"]\ntimeout = \"3s\"\n\
         settings = {{ color = \"red\", port = 5432 }}\n"
    );
    Machine::on(debian)
        .file(PROGRAM, 0o755, KEEPER)
        .secret(NAME, &toml)
        .file("/etc/sysusers.d/app.conf", 0o644, "u app - - /srv/keeper\n")
        .file("/srv/keeper/value", 0o600, FIRST_VALUE)
        .file("/srv/keeper/how", 0o644, "")
        .file("/srv/keeper/asked/all", 0o644, "")
        .file("/etc/tmpfiles.d/app.conf", 0o644, "Z /srv/keeper - app app\n")
}

#[track_caller]
fn adopt(machine: Machine) -> Machine {
    machine.ok(&["rekeyctl", "adopt", NAME]);
    machine
}

fn rotate(machine: &Machine) -> Output {
    machine.exec(&["rekeyctl", "rotate", NAME])
}

fn value(machine: &Machine) -> String {
    machine.read("/srv/keeper/value")
}

fn status(machine: &Machine) -> Value {
    serde_json::from_str(&machine.ok(&["rekeyctl", "status", "--json", NAME])).unwrap()
}

support::on_both_debians! {
    fn a_program_gets_the_value_in_a_file_and_nowhere_else(debian) {
        for user in ["", "user = \"app\"\n"] {
            let builder = keeper(debian, "");
            let machine = builder.boot();
            let file = format!("/etc/rekeyd/secrets.d/{NAME}.toml");
            let toml = machine.read(&file);
            machine.put(&file, 0o644, format!("{toml}{user}"));
            machine.ok(&["rekeyctl", "reload"]);
            let machine = adopt(machine);
            let said = rotate(&machine);
            assert_eq!(said.status, 0, "{said}");
            assert_says(&said, "command keeper: the keeper has it");
            // Who waits is told of the end before it is tidied up, which asks the keeper once more.
            poll(seconds(10), "it has tidied up", || machine.read("/srv/keeper/asked/all").contains("tidy 0 ").then_some(()));
            let new = value(&machine);
            assert!(new.len() == 64 && new != FIRST_VALUE, "{new}");
            assert_eq!(machine.read("/srv/keeper/asked/who").trim(), if user.is_empty() { "root" } else { "app" });
            let told = machine.sh("cat /srv/keeper/asked/*.env /srv/keeper/asked/*.argv /srv/keeper/asked/*.json");
            assert!(!told.contains(&new) && !told.contains(FIRST_VALUE), "{told}");
            for words in ["REKEYD_VALUE_FILE=/run/credentials/", "REKEYD_SETTING_COLOR=red", "REKEYD_SETTING_PORT=5432"]
                .into_iter()
                .chain(["REKEYD_FOUND_COLOR=blue", "REKEYD_NOTED_JOB=seven", "keeper deliver"])
            {
                assert!(told.contains(words), "{words}: {told}");
            }
            machine.ok(&["rekeyctl", "verify", NAME]);
            assert_never_told(&machine, &[FIRST_VALUE, &new]);
            let left = || machine.sh("ls -A /var/lib/rekeyd/values; ls -A /run/credentials | grep keeper || true");
            poll(seconds(10), "no value is left", || left().is_empty().then_some(()));
            assert!(machine.read("/srv/keeper/asked/all").contains("2: /"));
        }
    }

    fn two_roles_of_postgresql_take_turns(debian) {
        let machine = database(debian);
        let role = || machine.sh("sed -n s/^PGUSER=//p /etc/shop/database.env").trim().to_owned();
        let password = || machine.sh("sed -n s/^PGPASSWORD=//p /etc/shop/database.env").trim().to_owned();
        let logs_in = |role: &str, password: &str| {
            let psql = format!("PGPASSWORD={password} psql -h 127.0.0.1 -U {role} -d shop -Atc 'SELECT 1'");
            machine.exec(&["sh", "-c", &psql]).stdout == "1\n"
        };
        let machine = &machine;
        machine.ok(&["rekeyctl", "adopt", "shop-db"]);
        assert_eq!(role(), "shop_a");
        let said = machine.exec(&["rekeyctl", "rotate", "shop-db"]);
        assert_eq!(said.status, 0, "{said}");
        assert_says(&said, "shop_b logs in with it, and shop.service has");
        assert_eq!(role(), "shop_b");
        let second = password();
        assert!(logs_in("shop_b", &second));
        poll(seconds(20), "the old password is of no use", || (!logs_in("shop_a", FIRST_VALUE)).then_some(()));
        // While the new one is not proven, the old one is valid: the program cannot start with the new one.
        machine.sh("touch /etc/shop/broken");
        let said = machine.exec(&["rekeyctl", "rotate", "shop-db"]);
        assert_eq!(said.status, 1, "{said}");
        assert_eq!((role(), password()), ("shop_b".to_owned(), second.clone()));
        assert!(logs_in("shop_b", &second));
        assert_eq!(machine.unit("shop.service", "ActiveState"), "active");
        // Nor does a program serve anybody that ends with status 0 when it has the new one.
        machine.sh("mv /etc/shop/broken /etc/shop/ends");
        let said = machine.exec(&["rekeyctl", "rotate", "shop-db"]);
        assert_eq!(said.status, 1, "{said}");
        assert_says(&said, "shop.service has ended");
        assert_eq!((role(), password()), ("shop_b".to_owned(), second.clone()));
        assert!(logs_in("shop_b", &second));
        assert_eq!(machine.unit("shop.service", "ActiveState"), "active");
        machine.sh("rm /etc/shop/ends");
        let said = machine.exec(&["rekeyctl", "rotate", "shop-db"]);
        assert_eq!(said.status, 0, "{said}");
        assert_eq!(role(), "shop_a");
        let third = password();
        // A person goes back.
        let said = machine.exec(&["rekeyctl", "rollback", "shop-db"]);
        assert_eq!(said.status, 0, "{said}");
        assert_eq!((role(), password()), ("shop_b".to_owned(), second.clone()));
        assert!(logs_in("shop_b", &second));
        // Neither the server's log nor the journal has a password, nor is anything left beside the file.
        assert_never_told(machine, &[FIRST_VALUE, &second, &third]);
        let log = machine.sh("cat /var/log/postgresql/*.log");
        assert!(log.contains("ALTER USER") && !log.contains(&second) && !log.contains(&third), "{log}");
        assert_eq!(machine.sh("ls -A /etc/shop"), "database.env\n");
        // With the database gone, nothing is touched.
        machine.sh("systemctl stop 'postgresql@*'");
        let said = machine.exec(&["rekeyctl", "rotate", "shop-db"]);
        assert_eq!(said.status, 3, "{said}");
        assert_says(&said, "PostgreSQL does not answer");
    }
}

support::on_one_debian! {
    Thirteen => fn refused_failed_and_unsure_are_told_apart(debian) {
        let machine = adopt(keeper(debian, "").boot());
        let mut generation = 1;
        let mut ends = |how: &str, status: i32, words: &str, held: bool| {
            machine.put("/srv/keeper/how", 0o644, how);
            let said = rotate(&machine);
            assert_eq!(said.status, status, "{how}: {said}");
            assert_says(&said, words);
            assert_eq!(value(&machine), FIRST_VALUE, "{how}");
            let told = self::status(&machine);
            assert_eq!(told["state"] == "on-hold", held, "{how}: {told:#}");
            if status == 1 {
                generation += 1;
                assert_eq!(stage_of(&told, generation), "rejected", "{how}");
            }
            if held || status == 1 {
                // Three in a row would be a hold of another kind.
                machine.exec(&["rekeyctl", "release", NAME]);
            }
        };
        ends("preflight stop 3 'no keeper here'", 3, "`preflight` was refused: no keeper here", false);
        ends("preflight stop 1 'no keeper here'", 3, "`preflight` failed: no keeper here", false);
        ends("preflight exit 2", 3, "keeper ended with status 2 in `preflight`", false);
        ends("deliver stop 1 'it is full'", 1, "`deliver` failed: it is full", false);
        ends("deliver stop 3 'not this one'", 1, "`deliver` was refused: not this one", false);
        ends("deliver cat $REKEYD_VALUE_FILE >value; stop 4 'the line was lost'", 1, "whether `deliver` worked is not certain: the line was lost", true);
        ends("activate exit 1", 1, "how far it had come is not known", true);
        ends("activate kill -9 $$", 1, "how far it had come is not known", true);
        ends("deliver sleep 100", 1, "did not end within 3 s in `deliver`, and how far", true);
        ends("prove stop 1 'nobody has it'", 1, "`prove` failed: nobody has it", false);
        ends("prove stop 1 \"it has $(cat $REKEYD_VALUE_FILE)\"", 1, "is withheld", false);
        ends("activate exit 3", 1, "how far it had come is not known", true);
                ends("prove exit 4", 1, "keeper ended with status 4 in `prove`", false);
        ends("deliver echo '{\"detials\": {}}'; exit 0", 1, "has a wrong or unknown field", false);
        ends("activate exit 3", 1, "how far it had come is not known", true);
        ends("deliver printf '{\"details\": {\"x\": \"%s\"}}' $(cat $REKEYD_VALUE_FILE); exit 0", 1, "has the secret's value in it, and is dropped", false);
        ends("deliver echo no; exit 0", 1, "is not JSON (line 1", false);
        machine.put("/srv/keeper/how", 0o644, "");
        assert_eq!(rotate(&machine).status, 0);
        // What is left over of an old value cannot be ended: that is told, and changes nothing.
        machine.put("/srv/keeper/how", 0o644, "tidy stop 1 'the door is stuck'");
        assert_eq!(rotate(&machine).status, 0);
        poll(seconds(10), "it is told", || {
            let told = machine.journal(&["-u", "rekeyd", "REKEYD_SECRET=token"]);
            told.iter().any(|entry| entry["MESSAGE"].as_str().is_some_and(|text| text.contains("the door is stuck"))).then_some(())
        });
        assert_eq!(self::status(&machine)["state"], "in-force");
    }

    Twelve => fn a_way_back_that_is_not_certain_is_held(debian) {
        let machine = adopt(keeper(debian, "").boot());
        let program = KEEPER.replace("if [ \"$REKEYD_BACK\" = 0 ]; then", "if true; then");
        machine.put(PROGRAM, 0o755, program);
        machine.put("/srv/keeper/how", 0o644, "activate stop 4 'nobody answers'");
        let said = rotate(&machine);
        assert_eq!(said.status, 2, "{said}");
        poll(seconds(10), "it is held", || (status(&machine)["state"] == "on-hold").then_some(()));
        let said = rotate(&machine);
        assert_eq!(said.status, 3, "{said}");
        assert_says(&said, "rekeyctl release token");
    }

    Thirteen => fn killed_in_mid_way_it_is_asked_again_with_the_same_mark_and_what_it_had_told(debian) {
        let machine = adopt(keeper(debian, "").boot());
        machine.put("/srv/keeper/how", 0o644, "activate sleep 2");
        machine.ok(&["rekeyctl", "rotate", "--no-wait", NAME]);
        poll(seconds(20), "it is at it", || machine.read("/srv/keeper/asked/all").contains("activate").then_some(()));
        machine.kill_daemon();
        machine.ok(&["systemctl", "start", "rekeyd"]);
        poll(seconds(30), "it is over", || (status(&machine)["last"]["outcome"]["outcome"] == "committed").then_some(()));
        let all = machine.read("/srv/keeper/asked/all");
        let activated: Vec<&str> = all.lines().filter(|line| line.starts_with("activate")).collect();
        assert!(activated.len() == 2 && activated[0] == activated[1], "{all}");
        assert!(activated[0].ends_with("-1 2: blue/seven"), "{all}");
        assert_ne!(value(&machine), FIRST_VALUE);
    }

    Twelve => fn in_an_overlap_it_gets_the_other_values_too(debian) {
        let overlap = "[invalidation]\nmode = \"overlap\"\nprevious-env = \"TOKEN_PREVIOUS\"\noverlap = \"15m\"\n";
        let machine = adopt(keeper(debian, overlap).boot());
        let said = rotate(&machine);
        assert_eq!(said.status, 0, "{said}");
        let all = machine.read("/srv/keeper/asked/all");
        // First all learn to accept the new one.
        let first = all.lines().find(|line| line.starts_with("deliver")).unwrap();
        assert!(first.contains(" 1:2 "), "{all}");
        let hash = |value: &str| machine.sh(&format!("printf %s {value} | sha256sum"));
        assert!(all.contains(&hash(FIRST_VALUE)) && all.contains(&hash(&value(&machine))), "{all}");
        machine.ok(&["rekeyctl", "retire", NAME]);
        poll(seconds(10), "what is left of the old one is ended", || {
            let all = machine.read("/srv/keeper/asked/all");
            all.lines().any(|line| line.starts_with("tidy") && line.contains(" 2: ")).then_some(())
        });
    }

    Thirteen => fn a_program_that_cannot_be_run_is_found_beforehand(debian) {
        let machine = adopt(keeper(debian, "").boot());
        let refused = |make: &str, words: &str| {
            machine.sh(make);
            let said = machine.exec(&["rekeyctl", "check", "--host"]);
            assert_ne!(said.status, 0, "{make}: {said}");
            assert_says(&said, words);
            assert_eq!(rotate(&machine).status, 3, "{make}");
        };
        refused(&format!("chmod a-x {PROGRAM}"), &format!("nobody can execute {PROGRAM}"));
        refused(&format!("chmod a+x {PROGRAM}; sed -i '1s,.*,#!/no/such,' {PROGRAM}"), "/no/such is missing");
        refused(&format!("mv {PROGRAM} {PROGRAM}.away"), &format!("there is no {PROGRAM}"));
    }

    Twelve => fn a_value_in_a_yaml_file_is_changed_and_its_service_reloaded(debian) {
        let yaml = "# auth.token: not this one\nserver:\n  port: 3000   # http\n  notes: |\n    auth:\n      token: nor this\n\
            list:\n  - auth:\n      token: nor that\nauth:\n  token: 'first-value-0123456789abcdef0123456789abcdef' # the one\r\n  tokens: [a, b]\nlast: 1";
        let unit = "[Service]\nExecStart=/bin/sleep infinity\nExecReload=/bin/cp /etc/gateway/config.yaml /run/seen\n";
        let toml = "[secret]\nenv = \"TOKEN\"\n[[target]]\ntype = \"command\"\ncommand = [\"/usr/local/lib/rekeyd/yaml-value\"]\n\
            settings = { file = \"/etc/gateway/config.yaml\", key = \"auth.token\", unit = \"gateway.service\" }\n";
        let machine = Machine::on(debian)
            .file("/usr/local/lib/rekeyd/yaml-value", 0o755, fs::read(sample("yaml-value")).unwrap())
            .file("/etc/systemd/system/gateway.service", 0o644, unit)
            .file("/etc/gateway/config.yaml", 0o640, yaml)
            .secret(NAME, toml)
            .boot();
        machine.ok(&["systemctl", "start", "gateway"]);
        let machine = adopt(machine);
        let said = rotate(&machine);
        assert_eq!(said.status, 0, "{said}");
        let text = machine.read("/etc/gateway/config.yaml");
        let line = text.lines().find(|line| line.contains("# the one")).unwrap();
        let new = line.split('"').nth(1).unwrap();
        assert_eq!(text, yaml.replace("'first-value-0123456789abcdef0123456789abcdef'", &format!("\"{new}\"")));
        assert_eq!(machine.read("/run/seen"), text);
        assert_eq!(machine.sh("stat -c %a /etc/gateway/config.yaml; ls -A /etc/gateway"), "640\nconfig.yaml\n");
        // A reload that fails takes it back.
        machine.sh("mkdir -p /etc/systemd/system/gateway.service.d; printf '[Service]\\nExecReload=/bin/false\\n' >/etc/systemd/system/gateway.service.d/x.conf; systemctl daemon-reload");
        let said = rotate(&machine);
        assert_ne!(said.status, 0, "{said}");
        assert_eq!(machine.read("/etc/gateway/config.yaml"), text);
    }
}

fn stage_of(status: &Value, generation: u64) -> String {
    let all = status["generations"].as_array().unwrap();
    all.iter()
        .find(|it| it["number"] == generation)
        .map(|it| it["stage"].as_str().unwrap().to_owned())
        .unwrap_or_default()
}

/// A database with two roles, and a program that is logged in all the time.
fn database(debian: Debian) -> Machine {
    let unit = "[Service]\nType=exec\nEnvironmentFile=/etc/shop/database.env\nRestart=no\n\
        ExecStartPre=/bin/sh -c 'test ! -e /etc/shop/broken || test $PGUSER = shop_b'\n\
        ExecStart=/bin/sh -c 'test ! -e /etc/shop/ends || test $PGUSER = shop_b || exit 0; \
        exec psql -h 127.0.0.1 -d shop -c \"SELECT pg_sleep(100000)\"'\n";
    let env = format!("# of the shop\nPGUSER=shop_a\nPGPASSWORD={FIRST_VALUE}\nPGCONNECT_TIMEOUT=5\n");
    let toml = "[secret]\nenv = \"PGPASSWORD\"\nkind = \"password\"\n[[target]]\ntype = \"command\"\n\
        command = [\"/usr/local/lib/rekeyd/postgres-role\"]\ntimeout = \"30s\"\n\
        settings = { roles = \"shop_a shop_b\", database = \"shop\", file = \"/etc/shop/database.env\", unit = \"shop.service\" }\n";
    let machine = Machine::on(debian)
        .with("postgresql")
        .file("/usr/local/lib/rekeyd/postgres-role", 0o755, fs::read(sample("postgres-role")).unwrap())
        .file("/etc/systemd/system/shop.service", 0o644, unit)
        .file("/etc/shop/database.env", 0o640, env)
        .secret("shop-db", toml)
        .boot();
    // Its log has every statement, so that it can be seen that none has a password.
    machine.sh("for to in /etc/postgresql/*/main/conf.d; do echo \"log_statement = 'all'\" >$to/log.conf; done");
    let cluster = machine.sh("ls /etc/postgresql").trim().to_owned();
    machine.ok(&["systemctl", "start", &format!("postgresql@{cluster}-main.service")]);
    let sql = format!(
        "CREATE ROLE shop NOLOGIN; CREATE ROLE shop_a LOGIN IN ROLE shop; CREATE ROLE shop_b IN ROLE shop; \
         ALTER ROLE shop_a PASSWORD '{FIRST_VALUE}'; CREATE DATABASE shop OWNER shop"
    );
    // Not as an argument: the journal has those.
    machine.put("/run/setup.sql", 0o644, sql);
    machine.sh("runuser -u postgres -- psql -Xq -v ON_ERROR_STOP=1 -f /run/setup.sql");
    machine.sh("truncate -s 0 /var/log/postgresql/*.log");
    machine.ok(&["systemctl", "start", "shop.service"]);
    machine
}

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/examples").join(name)
}

#[test]
fn the_schema_has_what_is_sent_and_the_manual_every_verb() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let schema = fs::read_to_string(root.join("packaging/command-target.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let request = Request {
        protocol: PROTOCOL,
        verb: Verb::Deliver,
        secret: "a".to_owned(),
        env: "A".to_owned(),
        mark: String::new(),
        back: false,
        view: Some(Numbers { primary: rekeyd::rotation::Generation(1), accepted: Vec::new() }),
        settings: serde_json::Map::new(),
        found: std::collections::BTreeMap::new(),
        noted: std::collections::BTreeMap::new(),
        time_limit: 1,
    };
    let sent = serde_json::to_value(&request).unwrap();
    let question = &schema["$defs"]["question"];
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let mut described = keys(&question["properties"]);
    let mut all = keys(&sent);
    described.sort();
    all.sort();
    assert_eq!(described, all);
    let verbs: Vec<&str> = Verb::ALL.iter().map(|verb| verb.as_str()).collect();
    assert_eq!(question["properties"]["verb"]["enum"], serde_json::json!(verbs));
    let manual = fs::read_to_string(root.join("packaging/man/rekeyd-command.7.scd")).unwrap();
    for verb in verbs {
        assert!(manual.contains(&format!("\n*{verb}*\n")), "{verb}");
    }
}

#[test]
fn the_examples_are_clean_and_can_be_run() {
    for name in ["postgres-role", "yaml-value"] {
        let said = host::output_of(Command::new("shellcheck").arg(sample(name)), b"");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stdout));
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(sample(name)).unwrap().permissions().mode() & 0o111, 0o111, "{name}");
    }
}

/// Runs the YAML example on a file, beside any machine.
fn yaml(verb: &str, text: &str) -> (i32, String, String) {
    let directory = tempfile::tempdir().unwrap();
    let (file, value) = (directory.path().join("a.yaml"), directory.path().join("value"));
    fs::write(&file, text).unwrap();
    fs::write(&value, "NEW").unwrap();
    let mut example = Command::new(sample("yaml-value"));
    example
        .env("REKEYD_VERB", verb)
        .env("REKEYD_SECRET", NAME)
        .env("REKEYD_VALUE_FILE", &value)
        .env("REKEYD_SETTING_FILE", &file)
        .env("REKEYD_SETTING_KEY", "a.b")
        .env("REKEYD_SETTING_UNIT", "x.service")
        .env("REKEYD_BACK", "0")
        .env("REKEYD_ACCEPTED", "");
    let said = host::output_of(&mut example, b"");
    let entries = fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(entries, 2, "something is left beside the file");
    let said_text = String::from_utf8(said.stdout).unwrap();
    (said.status.code().unwrap(), said_text, fs::read_to_string(&file).unwrap())
}

#[test]
fn one_text_of_a_yaml_file_is_changed_and_every_other_byte_kept() {
    for (before, after) in [
        ("a:\n  b: x\n", "a:\n  b: \"NEW\"\n"),
        ("a:\n  b: x", "a:\n  b: \"NEW\""),
        ("a:\r\n  b: 'x'\t# y\r\n", ""),
        ("a:\r\n  b: 'x' # y\r\nc: 1\r\n", "a:\r\n  b: \"NEW\" # y\r\nc: 1\r\n"),
        (
            "---\n'a':   # z\n    \"b\":   x y  # b: z\n    c: [b, {b: 1}]\n",
            "---\n'a':   # z\n    \"b\":   \"NEW\"  # b: z\n    c: [b, {b: 1}]\n",
        ),
        ("b: 1\na:\n  c:\n    b: 2\n  b: \"x#y\"\n", "b: 1\na:\n  c:\n    b: 2\n  b: \"NEW\"\n"),
        ("t: >-\n\n  a:\n    b: 1\n\na:\n  b: x\n", "t: >-\n\n  a:\n    b: 1\n\na:\n  b: \"NEW\"\n"),
        ("l:\n- a:\n    b: 1\na:\n  b: x\n", "l:\n- a:\n    b: 1\na:\n  b: \"NEW\"\n"),
    ] {
        let (status, said, text) = yaml("deliver", before);
        if after.is_empty() {
            assert_eq!((status, text.as_str()), (3, before), "{before:?}: {said}");
        } else {
            assert_eq!((status, text.as_str()), (0, after), "{before:?}: {said}");
        }
    }
    assert_eq!(yaml("adopt", "a:\n  b: x-1 # y\n").1, "{\"value\": \"x-1\"}\n");
}

#[test]
fn a_yaml_file_that_was_changed_by_hand_is_refused_with_what_to_type() {
    let (status, said, _) = yaml("preflight", "a:\n  b: another\n");
    let problem: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!((status, &problem["advice"]), (3, &Value::from(format!("rekeyctl adopt {NAME}"))), "{said}");
}

#[test]
fn a_yaml_file_that_is_not_certain_is_refused_with_its_line_and_left_alone() {
    for (text, words) in [
        ("a:\n  c: x\n", "the key is not there"),
        ("a:\n  b: x\na:\n  b: y\n", "line 4: the key is there again"),
        ("a:\n  b: *x\n", "line 2: what the key has is not a text in one line"),
        ("a:\n  b: &x y\n", "line 2"),
        ("a:\n  b: |\n    x\n", "line 2"),
        ("a:\n  b: [x]\n", "line 2"),
        ("a:\n  b:\n", "line 2"),
        ("a:\n  b: \"x\\n\"\n", "line 2"),
        ("a:\n\tb: x\n", "tab"),
        ("a:\n  b: x\n---\nc: 1\n", "second document"),
        ("t: \"x\n  a:\n  b: 1\"\na:\n  b: x\n", "line 1: a text over several lines"),
        ("t: {x: 1,\n  a: 2}\na:\n  b: x\n", "line 1: a list or table over several lines"),
    ] {
        let (status, said, after) = yaml("deliver", text);
        assert_eq!((status, after.as_str()), (3, text), "{text:?}: {said}");
        let problem: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
        assert!(problem["message"].as_str().unwrap().contains(words), "{text:?}: {said}");
    }
}
