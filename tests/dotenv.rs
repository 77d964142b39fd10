//! Env files that programs read themselves: one line changed in place, as the file's owner.

#![allow(clippy::unwrap_used)]

use crate::support;

use support::backend::FIRST_VALUE;
use support::rotation::{self, NAME, UNIT, adopt, assert_says, rotate, stage, status};
use support::{Backend, Builder, Debian, Machine, poll, seconds, token};

pub(crate) const FILE: &str = "/srv/my-backend/.env";
pub(crate) const TEXT: &str = "# Ours. Mind the blank line.\n\nPORT=3000\nAPP_NAME=My Backend\nJWT_SECRET=first-value-of-the-backend # sessions\nLAST=1";
const UNITS: &str = "restart-units = [\"my-backend.service\"]\n";

const EDITOR: &str = "/usr/local/lib/rekeyd/editor";
/// Keeps the value itself; and where it is told to, it edits the file of the other target once it is given a new one.
const EDITOR_TEXT: &str = "#!/bin/sh\ncd /srv/editor\ncase $REKEYD_VERB in\n\
    adopt) printf '{\"value\": \"%s\"}' \"$(cat value)\" ;;\n\
    preflight | prove) cmp -s value \"$REKEYD_VALUE_FILE\" || exit 1 ;;\n\
    deliver) cat \"$REKEYD_VALUE_FILE\" >value\n\
    if test -e edits && test $REKEYD_BACK = 0; then sed -i 's/^JWT_SECRET=[^ ]*/JWT_SECRET=of-somebody/' /srv/my-backend/.env; fi ;;\n\
    esac\n";

support::on_both_debians! {
    fn one_line_is_changed_as_the_owner_and_the_program_that_reads_it_has_the_value(debian) {
        let machine = with_file(debian, &hidden(Backend::good()), TEXT, UNITS);
        machine.sh("ln -s ../my-backend/.env /srv/my-backend/link; setfattr -n user.note -v kept /srv/my-backend/.env || true");
        let machine = adopt(machine);
        let before = machine.sh(&format!("stat -c '%U:%G %a' {FILE}"));
        let said = rotate(&machine);
        assert_eq!(said.status, 0, "{said}");
        assert_says(&said, "dotenv /srv/my-backend/.env written and read back");
        assert_says(&said, "/srv/my-backend/.env has it");
        let first = serves(&machine, TEXT);
        assert_eq!(machine.sh(&format!("stat -c '%U:%G %a' {FILE}")), before);
        assert_eq!(machine.sh("ls -A /srv/my-backend"), ".env\nlink\n");
        assert_eq!(machine.sh("ls -A /etc/systemd/system/my-backend.service.d 2>/dev/null || true"), "", "no drop-in");
        assert_eq!(rotate(&machine).status, 0);
        assert_ne!(serves(&machine, TEXT), first);
        rotation::assert_never_told(&machine, &[&first, &serves(&machine, TEXT)]);
        machine.ok(&["rekeyctl", "verify", NAME]);
    }

    fn killed_in_mid_rotation_it_is_finished_or_undone(debian) {
        let backend = hidden(Backend::good().fault("slow-start 1500"));
        let machine = adopt(with_file(debian, &backend, TEXT, UNITS));
        machine.ok(&["rekeyctl", "rotate", "--no-wait", NAME]);
        poll(seconds(20), "the file is written", || (machine.read(FILE) != text_with(TEXT, FIRST_VALUE)).then_some(()));
        machine.kill_daemon();
        machine.ok(&["systemctl", "start", "rekeyd"]);
        poll(seconds(30), "it is over", || {
            let status = status(&machine);
            (status["rotation"].is_null() && status["last"]["outcome"]["outcome"].is_string()).then_some(())
        });
        assert_eq!(status(&machine)["last"]["outcome"]["outcome"], "committed");
        serves(&machine, TEXT);
        assert_eq!(machine.sh("ls -A /srv/my-backend"), ".env\n");
    }

    fn a_unit_and_a_file_are_one_transaction(debian) {
        let worker = Backend::named("worker", 3001);
        let more = "[[target]]\ntype = \"systemd\"\nunits = [\"worker.service\"]\n";
        let machine = builder(debian, &hidden(Backend::good()), TEXT, UNITS, more).backend(&worker);
        let machine = adopt(machine.boot());
        assert_eq!(rotate(&machine).status, 0);
        let value = serves(&machine, TEXT);
        assert_eq!(machine.variable("worker.service", "JWT_SECRET")[0].1.as_deref(), Some(value.as_str()));
        worker.break_now(&machine, "exits-at-once");
        let said = rotate(&machine);
        assert_eq!(said.status, 1, "{said}");
        assert_eq!(serves(&machine, TEXT), value);
        assert_eq!(machine.variable("worker.service", "JWT_SECRET")[0].1.as_deref(), Some(value.as_str()));
    }
}

support::on_one_debian! {
    Thirteen => fn a_unit_that_sets_another_value_itself_is_named(debian) {
        let machine = with_file(debian, &Backend::good(), &text_with(TEXT, "of-the-file-alone"), UNITS);
        let said = machine.exec(&["rekeyctl", "adopt", NAME]);
        assert_eq!(said.status, 3, "{said}");
        assert_says(&said, "my-backend.service sets it itself (Environment=), which counts before the file");
    }

    Twelve => fn what_the_processes_show_must_be_the_files_value(debian) {
        let backend = Backend::good().service(&format!("UnsetEnvironment=\nEnvironment=\nEnvironmentFile={FILE}\nEnvironment=PORT=3000 TOY_HOME=/etc/toy/my-backend"));
        let text = TEXT.replace(" # sessions", "");
        let machine = adopt(with_file(debian, &backend, &text, &format!("dialect = \"systemd\"\n{UNITS}")));
        let said = rotate(&machine);
        assert_eq!(said.status, 0, "{said}");
        assert_says(&said, "1 of 1 processes of my-backend.service have the value");
        serves(&machine, &text);
        // A variable that is inherited wins over the file in most programs.
        // So does one that is there and empty.
        for (value, program) in [("stale", "/usr/local/bin/toy-backend"), ("", "/usr/bin/sleep 1000")] {
            let start = format!("Type=exec\nExecStart=\nExecStart=/usr/bin/env JWT_SECRET={value} {program}\n");
            machine.put("/etc/systemd/system/my-backend.service.d/x.conf", 0o644, format!("[Service]\n{start}"));
            machine.ok(&["systemctl", "daemon-reload"]);
            machine.ok(&["systemctl", "restart", UNIT]);
            let said = rotate(&machine);
            assert_eq!(said.status, 3, "{value:?}: {said}");
            assert_says(&said, "have another JWT_SECRET");
        }
    }

    Thirteen => fn a_new_value_that_fails_is_taken_back_byte_for_byte(debian) {
        for fault in ["exits-at-once", "signs-with-old", "login-500"] {
            let backend = hidden(Backend::good().fault(fault));
            let machine = adopt(with_file(debian, &backend, TEXT, UNITS));
            let said = rotate(&machine);
            assert_eq!(said.status, 1, "{fault}: {said}");
            assert_eq!(machine.read(FILE), text_with(TEXT, FIRST_VALUE), "{fault}");
            assert_eq!(stage(&machine, 2), "rejected");
            assert!(token::is_signed_with(&token::login(&machine), FIRST_VALUE));
        }
    }

    Twelve => fn in_an_overlap_the_file_has_both_and_then_one(debian) {
        let machine = with_more(debian, &hidden(Backend::good()), TEXT, UNITS, rotation::OVERLAP);
        let machine = adopt(machine);
        let old = token::login(&machine);
        assert_eq!(rotate(&machine).status, 0);
        let text = machine.read(FILE);
        assert!(text.ends_with(&format!("LAST=1\nJWT_SECRET_PREVIOUS={FIRST_VALUE}\n")), "{text}");
        assert_eq!(token::present(&machine, &old), 200);
        machine.ok(&["rekeyctl", "retire", NAME]);
        assert!(machine.read(FILE).ends_with("LAST=1\nJWT_SECRET_PREVIOUS=\n"));
        assert_eq!(token::present(&machine, &old), 401);
    }

    Thirteen => fn a_file_is_touched_for_a_program_that_watches_it(debian) {
        let how = "touch = \"/srv/my-backend/server.js\"\n";
        let machine = builder(debian, &hidden(Backend::good()), TEXT, how, "").file("/srv/my-backend/server.js", 0o644, "//");
        let machine = adopt(unprobed(machine, how));
        machine.sh("chown app /srv/my-backend/server.js; touch -d 2001-01-01 /srv/my-backend/server.js");
        let said = rotate(&machine);
        assert_eq!(said.status, 0, "{said}");
        assert_says(&said, "what reads it was told by /srv/my-backend/server.js");
        assert_eq!(machine.sh("find /srv/my-backend/server.js -newermt 2020-01-01").trim(), "/srv/my-backend/server.js");
        machine.sh("rm /srv/my-backend/server.js");
        let said = rotate(&machine);
        assert_eq!(said.status, 3, "{said}");
        assert_says(&said, "cannot touch /srv/my-backend/server.js");
    }

    Twelve => fn a_signal_is_sent_to_the_process_that_is_meant_and_to_no_other(debian) {
        let how = "signal = \"SIGHUP\"\npid-file = \"/run/reader/pid\"\n";
        let reader = "#!/bin/sh\ntrap 'cp /srv/my-backend/.env /run/reader/seen' HUP\necho $$ >/run/reader/pid\n\
            while :; do sleep 1000 & wait $!; done\n";
        let unit = "[Service]\nUser=app\nRuntimeDirectory=reader\nExecStart=/usr/local/bin/reader\n";
        let machine = builder(debian, &hidden(Backend::good()), TEXT, how, "")
            .file("/usr/local/bin/reader", 0o755, reader)
            .file("/etc/systemd/system/reader.service", 0o644, unit);
        let machine = adopt(unprobed(machine, how));
        let said = rotate(&machine);
        assert_eq!(said.status, 3, "{said}");
        assert_says(&said, "cannot read /run/reader/pid");
        machine.ok(&["systemctl", "start", "reader.service"]);
        poll(seconds(10), "the reader is there", || (machine.exec(&["test", "-s", "/run/reader/pid"]).status == 0).then_some(()));
        let said = rotate(&machine);
        assert_eq!(said.status, 0, "{said}");
        let seen = poll(seconds(10), "it has read the file", || Some(machine.exec(&["cat", "/run/reader/seen"]).stdout).filter(|seen| !seen.is_empty()));
        assert_eq!(seen, machine.read(FILE));
        let refused = |make: &str, words: &str| {
            machine.sh(make);
            let said = rotate(&machine);
            assert_eq!(said.status, 3, "{make}: {said}");
            assert_says(&said, words);
        };
        let other = |handles: &str| {
            machine.put("/usr/local/bin/reader", 0o755, reader.replace("'cp /srv/my-backend/.env /run/reader/seen' HUP", handles));
            machine.sh("systemctl restart reader.service; systemctl reset-failed reader.service");
            poll(seconds(10), "it is there again", || (machine.exec(&["test", "-s", "/run/reader/pid"]).status == 0).then_some(()));
        };
        other("'' USR1");
        let old = machine.read(FILE);
        let said = rotate(&machine);
        assert_eq!(said.status, 3, "{said}");
        assert_says(&said, "does not handle SIGHUP, which would end it");
        // One that ends on it is not there any more: the file goes back, and a person is needed.
        other("'exit 0' HUP");
        let said = rotate(&machine);
        assert_eq!(said.status, 2, "{said}");
        assert_says(&said, "the program has ended after SIGHUP");
        assert_eq!(machine.read(FILE), old);
        other("'' HUP");
        machine.ok(&["rekeyctl", "release", NAME]);
        refused("touch -d '1 hour ago' /run/reader/pid", "is younger than that file");
        refused("systemctl show -P MainPID rekeyd >/run/reader/pid", "is not one of the env file's owner");
        refused("echo 4194303 >/run/reader/pid", "is not running");
        refused("echo none >/run/reader/pid", "has no process number in it");
    }

    Thirteen => fn where_nobody_is_restarted_that_is_said(debian) {
        let machine = adopt(unprobed(builder(debian, &hidden(Backend::good()), TEXT, "", ""), ""));
        let before = machine.unit(UNIT, "InvocationID");
        let said = rotate(&machine);
        assert_eq!(said.status, 0, "{said}");
        assert_says(&said, "what reads /srv/my-backend/.env takes it when it starts again");
        assert_eq!(machine.unit(UNIT, "InvocationID"), before);
        assert_ne!(value_in_file(&machine), FIRST_VALUE);
    }

    Twelve => fn what_is_not_safe_or_not_certain_is_refused_and_not_touched(debian) {
        let machine = adopt(with_file(debian, &hidden(Backend::good()), TEXT, UNITS));
        let refused = |make: &str, words: &str| {
            machine.sh(&format!("cd /srv/my-backend; cp -p .env /root/kept; {make}"));
            let look = || machine.sh("cd /srv/my-backend; ls -lA . && cat .env 2>&1 || true");
            let before = look();
            let said = rotate(&machine);
            assert_eq!(said.status, 3, "{make}: {said}");
            assert_says(&said, words);
            assert_eq!(look(), before, "{make}");
            machine.sh("cd /srv/my-backend; rm -rf .git other .env; chown app .; cp -p /root/kept .env");
        };
        refused("chmod o+r .env", "every local user can read");
        refused("sed -i s/JWT_SECRET=.*/JWT_SECRET=byhand/ .env", "it was changed by hand since");
        refused("echo; printf '\\nJWT_SECRET=again\\n' >>.env", "line 7, column 1: JWT_SECRET is assigned again");
        refused("ln .env other", "hard links");
        refused("rm .env; mkdir .env; chown app .env", "not a regular file");
        refused("mkdir .git", "is in a git work tree, and git cannot be asked about it");
        refused("chown root .; chmod 755 .", "its owner must be able to write the directory");
        refused("mkdir -p /home/nobody; cp .env /home/nobody/; chown -R nobody: /home/nobody; ln -sf /home/nobody/.env .env", "and on the way to it /srv/my-backend");
        refused("chown root .env", "is root's, and on the way to it /srv/my-backend is not");
    }

    Thirteen => fn a_link_on_the_way_that_somebody_else_may_replace_is_not_followed(debian) {
        let machine = adopt(with_file(debian, &hidden(Backend::good()), TEXT, UNITS));
        machine.sh("cd /srv; mv my-backend real; mkdir ways; ln -s ../real ways/link; ln -s ways/link my-backend");
        let refused = |make: &str, words: &str| {
            machine.sh(make);
            let before = machine.read(FILE);
            let said = rotate(&machine);
            assert_eq!(said.status, 3, "{make}: {said}");
            assert_says(&said, words);
            assert_eq!(machine.read(FILE), before, "{make}");
        };
        refused("chown -h nobody /srv/ways/link", "and on the way to it /srv/ways/link is not");
        refused("chown -h root /srv/ways/link; chmod 777 /srv/ways", "everybody may write /srv/ways — chmod o-w /srv/ways");
        refused("chgrp users /srv/ways; chmod 775 /srv/ways", "may replace the link /srv/ways/link — chmod g-w /srv/ways");
        // Root's and the owner's own links are as good as the directory.
        machine.sh("chmod 755 /srv/ways; chown -h app /srv/my-backend");
        let said = rotate(&machine);
        assert_eq!(said.status, 0, "{said}");
        serves(&machine, TEXT);
    }

    Twelve => fn what_is_edited_in_mid_rotation_stays_and_the_other_targets_go_back(debian) {
        let machine = builder(debian, &hidden(Backend::good()), TEXT, UNITS, "").file(EDITOR, 0o755, EDITOR_TEXT);
        let machine = machine.file("/srv/editor/value", 0o600, FIRST_VALUE).boot();
        let first = format!("[[target]]\ntype = \"command\"\ncommand = [\"{EDITOR}\"]\n");
        let path = format!("/etc/rekeyd/secrets.d/{NAME}.toml");
        machine.put(&path, 0o644, machine.read(&path).replacen("[[target]]", &format!("{first}[[target]]"), 1));
        machine.ok(&["rekeyctl", "reload"]);
        let machine = adopt(machine);
        let run = machine.unit(UNIT, "InvocationID");
        machine.put("/srv/editor/edits", 0o644, "");
        let said = rotate(&machine);
        assert_eq!(said.status, 2, "{said}");
        assert_says(&said, "JWT_SECRET in /srv/my-backend/.env, line 5: it was changed by hand");
        assert_says(&said, &format!("rekeyctl adopt {NAME}"));
        assert_eq!(machine.read(FILE), text_with(TEXT, "of-somebody"));
        assert_eq!(machine.read("/srv/editor/value"), FIRST_VALUE, "it went back");
        assert_eq!(machine.unit(UNIT, "InvocationID"), run, "what reads the file is left as it is");
        assert!(token::is_signed_with(&token::login(&machine), FIRST_VALUE));
        let status = status(&machine);
        assert_eq!((status["state"].as_str(), &status["generation"]), (Some("on-hold"), &serde_json::json!(1)));
        assert_eq!(status["last"]["outcome"]["rollback"]["code"], "changed-by-hand", "{status:#}");
        assert!(status["drift"].to_string().contains("was edited by hand"), "{status:#}");
        // As it says: the former value is written again.
        machine.sh(&format!("rm /srv/editor/edits; sed -i s/of-somebody/{FIRST_VALUE}/ {FILE}"));
        machine.ok(&["rekeyctl", "release", NAME]);
        let said = rotate(&machine);
        assert_eq!(said.status, 0, "{said}");
        let value = serves(&machine, TEXT);
        assert_eq!(machine.read("/srv/editor/value"), value);
    }

    Thirteen => fn a_weak_value_is_taken_over_with_a_warning_and_none_is_not(debian) {
        let machine = with_file(debian, &hidden(Backend::good()), TEXT, UNITS);
        let set = |value: &str| machine.sh(&format!("sed -i 's/^JWT_SECRET=.*/JWT_SECRET={value}/' {FILE}; systemctl reset-failed {UNIT}; systemctl restart {UNIT} || true"));
        set("");
        let said = machine.exec(&["rekeyctl", "adopt", NAME]);
        assert_eq!(said.status, 3, "{said}");
        assert_says(&said, "has no value");
        set("changeme-changeme-changeme-changeme-changeme-changeme");
        let said = machine.exec(&["rekeyctl", "adopt", NAME]);
        assert_eq!(said.status, 0, "{said}");
        assert_says(&said, "shorter or simpler than `bytes` asks for");
        assert_says(&said, &format!("rekeyctl rotate {NAME}"));
        assert_eq!(status(&machine)["weak"], true);
        assert_says(&machine.exec(&["rekeyctl", "status", NAME]), "Weak:");
        let said = machine.exec(&["rekeyctl", "doctor"]);
        assert_eq!(said.status, 1, "{said}");
        assert_says(&said, "shorter or simpler");
        assert_eq!(rotate(&machine).status, 0);
        assert_eq!(status(&machine)["weak"], false);
        machine.ok(&["rekeyctl", "doctor"]);
        rotation::assert_never_told(&machine, &["changeme-changeme"]);
    }

    Twelve => fn a_file_of_roots_that_another_group_may_read_keeps_both(debian) {
        let machine = adopt(with_file(debian, &hidden(Backend::good()), TEXT, UNITS));
        machine.sh("chown root:app /srv/my-backend; chmod 750 /srv/my-backend; chown root:app /srv/my-backend/.env");
        // Whoever may read a directory may lock it, for as long as they like.
        machine.sh("systemd-run --quiet --collect --uid=app --unit=locker flock /srv/my-backend sleep infinity");
        assert_eq!(rotate(&machine).status, 0);
        serves(&machine, TEXT);
        assert_eq!(machine.sh(&format!("stat -c '%U:%G %a' {FILE}")), "root:app 640\n");
        assert_eq!(machine.unit("locker.service", "ActiveState"), "active");
    }

    Thirteen => fn a_directory_that_lets_the_owner_in_by_a_group_is_written(debian) {
        let machine = adopt(with_file(debian, &hidden(Backend::good()), TEXT, UNITS));
        let share = |mode: &str| machine.sh(&format!("chown root:deploy /srv/my-backend; chmod {mode} /srv/my-backend"));
        machine.sh("echo 'g deploy -' | systemd-sysusers -");
        share("770");
        let said = rotate(&machine);
        assert_eq!(said.status, 3, "the owner is not of the group: {said}");
        machine.sh("echo 'm app deploy' | systemd-sysusers -; systemctl restart my-backend");
        poll(seconds(20), "it serves", || (token::ask(&machine, 3000, "/api/me", "", "").0 != 0).then_some(()));
        let said = rotate(&machine);
        assert_eq!(said.status, 0, "{said}");
        serves(&machine, TEXT);
        assert_eq!(machine.sh(&format!("stat -c '%U:%G %a' {FILE}")), "app:app 640\n");
        share("750");
        assert_eq!(rotate(&machine).status, 3, "the group may not write it");
        serves(&machine, TEXT);
    }

    Thirteen => fn where_there_is_no_room_or_nothing_may_be_written_the_file_stays_as_it_is(debian) {
        let machine = adopt(with_file(debian, &hidden(Backend::good()), TEXT, UNITS));
        machine.sh("cd /; cp -p /srv/my-backend/.env /root/kept; mount -t tmpfs -o size=64k,mode=750,uid=$(id -u app),gid=$(id -g app) full /srv/my-backend; cp -p /root/kept /srv/my-backend/.env; cat /dev/zero >/srv/my-backend/filler 2>/dev/null || true");
        let tried = |status: i32, words: &str| {
            let said = rotate(&machine);
            assert_eq!(said.status, status, "{said}");
            assert_says(&said, words);
            assert_eq!(machine.read(FILE), text_with(TEXT, FIRST_VALUE));
            assert_eq!(machine.sh("ls -A /srv/my-backend"), ".env\nfiller\n");
            assert!(token::is_signed_with(&token::login(&machine), FIRST_VALUE));
        };
        tried(3, "there is no room on its file system to write it anew");
        machine.sh("mount -o remount,ro /srv/my-backend");
        tried(3, "Read-only file system");
        machine.sh("mount -o remount,rw /srv/my-backend; rm /srv/my-backend/filler");
        assert_eq!(rotate(&machine).status, 0);
        serves(&machine, TEXT);
    }

    Twelve => fn two_keys_of_one_file_that_are_due_together_both_get_their_values(debian) {
        let schedule = "[schedule]\non-calendar = \"2099-01-01\"\n";
        let session = format!(
            "[secret]\nenv = \"SESSION_SECRET\"\n{schedule}[[target]]\ntype = \"dotenv\"\nfile = \"{FILE}\"\n"
        );
        let text = format!("{TEXT}\nSESSION_SECRET=of-the-sessions\n");
        let machine = builder(debian, &hidden(Backend::good()), &text, UNITS, schedule).secret("session", &session);
        let machine = adopt(machine.boot());
        machine.ok(&["rekeyctl", "adopt", "session"]);
        for _ in 0..3 {
            let before = machine.read(FILE);
            machine.ok(&["systemctl", "start", &format!("rekeyd-rotate@{NAME}.service"), "rekeyd-rotate@session.service"]);
            let after = machine.read(FILE);
            let changed = before.lines().zip(after.lines()).filter(|(before, after)| before != after).count();
            assert_eq!(changed, 2, "{before}\n{after}");
        }
    }
}

/// Reads the file itself, and shows nothing of it.
pub(crate) fn hidden(backend: Backend) -> Backend {
    backend.service(&format!("User=app\nUnsetEnvironment=JWT_SECRET\nEnvironment=TOY_DOTENV={FILE}"))
}

pub(crate) fn text_with(text: &str, value: &str) -> String {
    text.replace("first-value-of-the-backend", value)
}

pub(crate) fn toml(how: &str, more: &str) -> String {
    let target = format!("[[target]]\ntype = \"dotenv\"\nfile = \"{FILE}\"\n{how}\n");
    rotation::toml(more).replace("[[target]]\ntype = \"systemd\"\nunits = [\"my-backend.service\"]\n", &target)
}

pub(crate) fn builder(debian: Debian, backend: &Backend, text: &str, how: &str, more: &str) -> Builder {
    Machine::on(debian)
        .backend(backend)
        .secret(NAME, &toml(how, more))
        .file(FILE, 0o640, text_with(text, FIRST_VALUE))
        .file("/etc/sysusers.d/app.conf", 0o644, "u app - - /srv/my-backend\n")
        .file("/etc/tmpfiles.d/app.conf", 0o644, "Z /srv/my-backend - app app\nz /srv/my-backend/.env 0640 app app\n")
}

/// Without a probe: what proves that the program has taken the value is another's business.
pub(crate) fn unprobed(builder: Builder, how: &str) -> Machine {
    let toml = toml(how, "");
    builder.secret(NAME, toml.split("[[probe]]").next().unwrap()).boot()
}

fn with_file(debian: Debian, backend: &Backend, text: &str, how: &str) -> Machine {
    with_more(debian, backend, text, how, "")
}

fn with_more(debian: Debian, backend: &Backend, text: &str, how: &str, more: &str) -> Machine {
    builder(debian, backend, text, how, more).boot()
}

pub(crate) fn value_in_file(machine: &Machine) -> String {
    let text = machine.read(FILE);
    let line = text.lines().find_map(|line| line.strip_prefix("JWT_SECRET=")).unwrap().to_owned();
    line.split(' ').next().unwrap().to_owned()
}

/// The backend signs with the value of the file, where nothing but it is another one. Returns the value.
fn serves(machine: &Machine, text: &str) -> String {
    let value = value_in_file(machine);
    assert_ne!(value, FIRST_VALUE);
    assert_eq!(machine.read(FILE), text_with(text, &value));
    assert!(token::is_signed_with(&token::login(machine), &value));
    value
}
