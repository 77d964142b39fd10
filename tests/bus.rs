//! The bus for others than root: who may look, who may act, and who can do harm.

#![allow(clippy::unwrap_used)]

use crate::support;

use serde_json::Value;
use support::rotation::{self, NAME};
use support::{Backend, Debian, Machine, Output, poll, seconds};

const OBJECT: &str = "/org/rekeyd1/secret/my_2dbackend_2djwt";

/// A machine with the secret adopted; alice is of the group rekeyd, bob and carol are not.
fn machine(debian: Debian) -> Machine {
    let machine = rotation::adopted(debian, &Backend::good());
    machine.sh("useradd -m -G rekeyd alice; useradd -m bob; useradd -m carol");
    machine
}

/// Has polkit follow this: the body of a rule for rekeyd's actions.
fn rule(machine: &Machine, body: &str) {
    let text = format!(
        "polkit.addRule(function(action, subject) {{\n  if (action.id.indexOf('org.rekeyd1.') == 0) {{ {body} }}\n}});\n"
    );
    machine.put("/etc/polkit-1/rules.d/50-test.rules", 0o644, text);
    machine.ok(&["systemctl", "restart", "polkit.service"]);
}

#[track_caller]
fn is_denied(said: &Output) {
    assert_eq!(said.status, 77, "{said}");
}

/// `busctl call` of a method of the manager.
fn call(machine: &Machine, user: &str, method: &str, arguments: &[&str]) -> Output {
    let call = ["busctl", "call", "--timeout=30", "org.rekeyd1", "/org/rekeyd1", "org.rekeyd1.Manager", method];
    machine.exec_as(user, &[&call, arguments].concat())
}

support::on_both_debians! {
    fn a_member_of_the_group_looks_at_everything_and_acts_on_nothing(debian) {
        let machine = machine(debian);
        let looks: [&[&str]; 7] = [&["list"], &["audit", NAME], &["status", NAME], &["history"], &["verify", NAME], &["rotate", "--dry-run", NAME], &["check", "--host"]];
        for verb in looks {
            let said = machine.exec_as("alice", &[&["rekeyctl"], verb].concat());
            assert_eq!(said.status, 0, "{verb:?}: {said}");
        }
        let acts: [&[&str]; 8] = [&["rotate", NAME], &["retire", NAME], &["rollback", NAME], &["adopt", NAME], &["pause", NAME], &["resume", NAME], &["release", NAME], &["reload"]];
        for verb in acts {
            let said = machine.exec_as("alice", &[&["rekeyctl"], verb].concat());
            is_denied(&said);
            assert!(said.stderr.contains("/etc/polkit-1/rules.d") && said.stderr.contains("org.rekeyd1."), "{said}");
        }
        let status = rotation::status(&machine);
        assert_eq!((&status["generation"], &status["paused"]), (&Value::from(1), &Value::from(false)));
    }

    fn what_is_for_root_alone_is_said_so(debian) {
        let machine = machine(debian);
        for verb in ["key rotate", "release --clone", "reveal my-backend-jwt --to-fd 3 3>/dev/null"] {
            let said = machine.exec_as("alice", &["sh", "-c", &format!("rekeyctl {verb}")]);
            assert_eq!(said.status, 77, "{verb}: {said}");
            assert!(said.stderr.contains("only root may do this"), "{said}");
        }
    }

    fn whoever_is_not_of_the_group_sees_nothing(debian) {
        let machine = machine(debian);
        for verb in [&["list"][..], &["status", NAME], &["history", NAME], &["verify", NAME], &["rotate", "--dry-run", NAME]] {
            let said = machine.exec_as("bob", &[&["rekeyctl"], verb].concat());
            is_denied(&said);
            assert!(said.stderr.contains("group rekeyd"), "{said}");
        }
        for method in ["ListSecrets", "Subscribe"] {
            assert!(call(&machine, "bob", method, &[]).stderr.contains("denied"), "{method}");
        }
        let introspected = machine.exec_as("bob", &["busctl", "introspect", "org.rekeyd1", "/org/rekeyd1"]);
        assert_ne!(introspected.status, 0, "{introspected}");
        let property = machine.exec_as("bob", &["busctl", "get-property", "org.rekeyd1", OBJECT, "org.rekeyd1.Secret", "State"]);
        assert_ne!(property.status, 0, "{property}");
        // Nor does it learn from an error which secrets there are.
        let said = call(&machine, "bob", "Rotate", &["ssas", "other", "", "0"]);
        assert!(said.status != 0 && !said.stderr.contains(NAME), "{said}");
    }

    fn a_rule_lets_a_user_rotate_and_nothing_else_and_the_record_names_the_user(debian) {
        let machine = machine(debian);
        rule(&machine, &format!("if (action.id == 'org.rekeyd1.rotate' && action.lookup('secret') == '{NAME}' && subject.user == 'alice') return polkit.Result.YES;"));
        let said = machine.exec_as("alice", &["rekeyctl", "rotate", NAME, "--reason", "a former employee"]);
        assert_eq!(said.status, 0, "{said}");
        assert!(said.stdout.contains("is in force and proven"), "{said}");
        rotation::assert_committed(&machine, 2);
        let uid = machine.ok(&["id", "-u", "alice"]);
        let entries = machine.journal(&["REKEYD_STEP=preflight"]);
        assert!(!entries.is_empty());
        let last = &rotation::status(&machine)["last"];
        assert_eq!(last["actor"]["uid"].to_string(), uid.trim(), "{last}");
        for verb in ["rollback", "pause", "adopt"] {
            is_denied(&machine.exec_as("alice", &["rekeyctl", verb, NAME]));
        }
        is_denied(&machine.exec_as("bob", &["rekeyctl", "rotate", NAME]));
    }

    fn who_may_rotate_but_not_look_follows_the_own_rotation_alone(debian) {
        let machine = machine(debian);
        rule(&machine, "if (subject.user == 'bob') return polkit.Result.YES;");
        let said = machine.exec_as("bob", &["rekeyctl", "rotate", NAME]);
        assert_eq!(said.status, 0, "{said}");
        assert!(said.stdout.contains("is in force and proven"), "{said}");
        is_denied(&machine.exec_as("bob", &["rekeyctl", "history", NAME]));
        for verb in [&["pause", NAME][..], &["resume", NAME], &["reload"]] {
            assert_eq!(machine.exec_as("bob", &[&["rekeyctl"], verb].concat()).status, 0, "{verb:?}");
        }
    }

    fn polkit_is_asked_about_the_sender_and_not_about_the_daemon(debian) {
        let machine = machine(debian);
        rule(&machine, "return subject.user == 'root' ? polkit.Result.YES : polkit.Result.NO;");
        is_denied(&machine.exec_as("alice", &["rekeyctl", "rotate", NAME]));
        assert_eq!(rotation::status(&machine)["generation"], 1);
        rule(&machine, "return subject.user == 'alice' ? polkit.Result.YES : polkit.Result.NO;");
        machine.ok(&["rekeyctl", "pause", NAME]);
        assert_eq!(machine.exec_as("alice", &["rekeyctl", "resume", NAME]).status, 0);
        is_denied(&machine.exec_as("carol", &["rekeyctl", "pause", NAME]));
    }

    fn without_polkit_root_acts_and_others_are_told_why_not(debian) {
        let machine = machine(debian);
        machine.sh("systemctl mask --now polkit.service");
        let said = machine.exec_as("alice", &["rekeyctl", "rotate", NAME]);
        is_denied(&said);
        assert!(said.stderr.contains("polkit cannot be asked") && said.stderr.contains("polkitd"), "{said}");
        machine.ok(&["rekeyctl", "rotate", NAME]);
        machine.sh("DEBIAN_FRONTEND=noninteractive apt-get -qq -y purge polkitd >/dev/null 2>&1; systemctl reload dbus.service");
        is_denied(&machine.exec_as("alice", &["rekeyctl", "pause", NAME]));
        machine.ok(&["rekeyctl", "rotate", NAME]);
        assert_eq!(rotation::status(&machine)["generation"], 3);
    }

    fn polkit_that_never_answers_is_given_up(debian) {
        let machine = machine(debian);
        machine.sh("systemctl start polkit.service; systemctl kill --signal=STOP polkit.service");
        let said = machine.exec_as("alice", &["rekeyctl", "pause", NAME]);
        machine.sh("systemctl kill --signal=CONT polkit.service");
        is_denied(&said);
        assert!(said.stderr.contains("no answer within"), "{said}");
        assert_eq!(rotation::status(&machine)["paused"], false);
    }

    fn a_person_at_a_terminal_is_asked_for_a_password_and_nobody_else_is(debian) {
        let machine = machine(debian);
        machine.sh("echo root:open-sesame | chpasswd");
        rule(&machine, "return polkit.Result.AUTH_ADMIN;");
        // An agent is for a session, and polkit knows those that began with a login.
        let once = |what: &str| format!("until {what}; do sleep 0.1; done");
        let (asked, ended) = (once("grep -qs Password: /root/seen"), once("test -e /root/ended"));
        let session = format!("su -l alice --session-command 'rekeyctl pause {NAME}'; touch /root/ended");
        let script = format!("({asked}; echo open-sesame; {ended}) | script -qefc \"{session}\" /root/seen");
        let said = machine.exec(&["timeout", "60", "sh", "-c", &script]);
        assert_eq!(rotation::status(&machine)["paused"], true, "{said}");
        let said = machine.exec_as("alice", &["rekeyctl", "resume", NAME]);
        is_denied(&said);
        assert!(said.stderr.contains("authenticate"), "{said}");
    }

    fn only_root_speaks_for_the_schedule(debian) {
        let machine = machine(debian);
        rule(&machine, "return polkit.Result.YES;");
        is_denied(&machine.exec_as("alice", &["rekeyctl", "rotate", "--scheduled", NAME]));
        is_denied(&machine.exec_as("alice", &["rekeyctl", "rotate", "--scheduled", "--retry", NAME]));
        assert_eq!(rotation::status(&machine)["generation"], 1);
    }

    fn a_secret_is_an_object_whose_properties_a_member_reads(debian) {
        let machine = machine(debian);
        let tree = machine.exec_as("alice", &["busctl", "--list", "tree", "org.rekeyd1"]);
        assert!(tree.stdout.lines().any(|line| line == OBJECT), "{tree}");
        let shown = machine.exec_as("alice", &["busctl", "introspect", "org.rekeyd1", OBJECT, "org.rekeyd1.Secret"]);
        for (property, value) in [(".State", "\"in-force\""), (".Generation", "1"), (".Paused", "false"), (".Environment", "\"JWT_SECRET\""), (".LastOutcome", "\"\"")] {
            let line = shown.stdout.lines().find(|line| line.starts_with(&format!("{property} "))).unwrap_or_else(|| panic!("{property}: {shown}"));
            assert!(line.contains(value), "{line}");
        }
        let manager = machine.exec_as("alice", &["busctl", "introspect", "org.rekeyd1", "/org/rekeyd1", "org.rekeyd1.Manager"]);
        for method in [".Rotate", ".ListSecrets", ".Happened"] {
            assert!(manager.stdout.lines().any(|line| line.starts_with(method)), "{method}: {manager}");
        }
        let xml = machine.ok(&["busctl", "introspect", "--xml-interface", "org.rekeyd1", OBJECT]);
        assert!(xml.contains("Why the secret is on hold"), "{xml}");

        machine.ok(&["rekeyctl", "rotate", NAME]);
        let property = |name| machine.ok(&["busctl", "get-property", "org.rekeyd1", OBJECT, "org.rekeyd1.Secret", name]);
        assert_eq!(property("LastOutcome").trim(), "s \"committed\"");
        assert_eq!(property("Generation").trim(), "u 2");
        let fingerprint = rotation::status(&machine)["fingerprint"].as_str().unwrap().to_owned();
        assert_eq!(property("Fingerprint").trim(), format!("s \"{fingerprint}\""));
    }

    fn objects_come_and_go_with_the_configuration(debian) {
        let machine = machine(debian);
        let other = rotation::toml("").replace("JWT_SECRET", "OTHER_SECRET");
        machine.put("/etc/rekeyd/secrets.d/2nd.toml", 0o644, other);
        machine.ok(&["rekeyctl", "reload"]);
        let listed = || machine.ok(&["busctl", "--list", "tree", "org.rekeyd1"]);
        assert!(listed().contains("/org/rekeyd1/secret/_32nd"), "{}", listed());
        machine.sh("rm /etc/rekeyd/secrets.d/2nd.toml; rekeyctl reload");
        assert!(!listed().contains("/org/rekeyd1/secret/_32nd") && listed().contains(OBJECT), "{}", listed());
        machine.ok(&["systemctl", "kill", "--signal=KILL", "dbus.service"]);
        poll(seconds(20), "the objects are on the new bus", || machine.exec(&["busctl", "--list", "tree", "org.rekeyd1"]).stdout.contains(OBJECT).then_some(()));
    }

    fn changes_are_told_to_subscribers_alone(debian) {
        let machine = rotation::adopt(rotation::on(debian, &Backend::good()).example("bus-client").boot());
        machine.sh("useradd carol");
        machine.sh("systemd-run -q --unit=dropper -p User=carol -p StandardOutput=file:/tmp/carol dbus-monitor --system \"type='signal',interface='org.rekeyd1.Manager'\" \"type='signal',interface='org.freedesktop.DBus.Properties',path_namespace='/org/rekeyd1'\"");
        machine.sh("systemd-run -q --unit=witness -p StandardOutput=file:/tmp/root busctl --json=short monitor org.rekeyd1");
        poll(seconds(10), "all listen", || (machine.unit("witness.service", "ActiveState") == "active").then_some(()));
        machine.sh("for i in $(seq 100); do grep -q . /tmp/root 2>/dev/null && break; rekeyctl list >/dev/null; done");
        machine.sh("systemd-run -q --unit=listener -p StandardOutput=file:/tmp/listener /usr/local/bin/bus-client listen");
        poll(seconds(10), "one has subscribed", || (machine.exec(&["test", "-s", "/tmp/listener"]).status == 0).then_some(()));
        machine.ok(&["rekeyctl", "rotate", NAME]);
        let heard = poll(seconds(10), "the witness hears of the end", || {
            let heard = machine.read("/tmp/root");
            heard.contains("\"LastOutcome\"").then_some(heard)
        });
        let signals: Vec<Value> = heard.lines().filter_map(|line| serde_json::from_str(line).ok()).filter(|message: &Value| message["type"] == "signal" && message["interface"] != "org.freedesktop.DBus").collect();
        assert!(signals.iter().any(|signal| signal["member"] == "PropertiesChanged" && signal["path"] == OBJECT), "{heard}");
        assert!(signals.iter().any(|signal| signal["member"] == "Happened"), "{heard}");
        assert!(signals.iter().all(|signal| signal["destination"].is_string()), "a broadcast: {signals:#?}");
        let carol = machine.read("/tmp/carol");
        assert!(!carol.contains("Happened") && !carol.contains("org.rekeyd1.Secret"), "{carol}");
    }

    fn lies_are_turned_away_and_the_daemon_lives_on(debian) {
        let machine = machine(debian);
        rule(&machine, "return polkit.Result.YES;");
        let pid = machine.unit("rekeyd.service", "MainPID");
        let control = "red \u{1b}[31m";
        for arguments in [
            &["ssas", NAME, control, "0"][..],
            &["ssas", "../../etc/shadow", "", "0"],
            &["ssas", "", "", "0"],
            &["ssas", NAME, "", "1", "sudo"],
            &["s", NAME],
            &["ssas", NAME, "", "9", "wait", "wait", "wait", "wait", "wait", "wait", "wait", "wait", "wait"],
        ] {
            let said = call(&machine, "alice", "Rotate", arguments);
            assert_ne!(said.status, 0, "{arguments:?}: {said}");
        }
        machine.sh("head -c 100000 /dev/zero | tr '\\0' x > /tmp/huge");
        let said = machine.exec_as("alice", &["sh", "-c", &format!("busctl call org.rekeyd1 /org/rekeyd1 org.rekeyd1.Manager Rotate ssas {NAME} \"$(cat /tmp/huge)\" 0")]);
        assert!(said.status != 0 && said.stderr.len() < 1000, "{said}");
        let said = machine.exec_as("alice", &["sh", "-c", "busctl call org.rekeyd1 /org/rekeyd1 org.rekeyd1.Manager GetSecret s \"$(cat /tmp/huge)\""]);
        assert!(said.status != 0 && said.stderr.len() < 1000, "{said}");
        assert_eq!(rotation::status(&machine)["generation"], 1);
        assert_eq!(machine.unit("rekeyd.service", "MainPID"), pid);
    }

    fn others_are_served_while_one_user_floods(debian) {
        let _alone = support::one_at_a_time();
        let machine = machine(debian);
        let pid = machine.unit("rekeyd.service", "MainPID");
        // More at a time than are let in, however long each takes; with pauses, since it is the daemon that is to be flooded
        // and not the machine.
        let flood = "for i in $(seq 24); do (while :; do busctl call org.rekeyd1 /org/rekeyd1 org.rekeyd1.Manager Verify s my-backend-jwt; sleep 1; done) & done; wait";
        machine.sh(&format!("systemd-run -q --unit=flood -p User=alice -p StandardOutput=null -p StandardError=file:/tmp/flood sh -c '{flood}'"));
        machine.sh(&format!("systemd-run -q --unit=strangers -p User=bob -p StandardOutput=null -p StandardError=null sh -c '{}'", flood.replace("Verify s my-backend-jwt", "Pause s my-backend-jwt")));
        poll(seconds(30), "alice is told that it is too much", || ["asks too often", "under way already"].iter().any(|told| machine.read("/tmp/flood").contains(told)).then_some(()));
        machine.ok(&["timeout", "60", "rekeyctl", "pause", NAME]);
        machine.ok(&["timeout", "60", "rekeyctl", "resume", NAME]);
        machine.ok(&["timeout", "60", "rekeyctl", "rotate", NAME]);
        machine.ok(&["systemctl", "stop", "flood.service", "strangers.service"]);
        assert_eq!(machine.unit("rekeyd.service", "MainPID"), pid);
        poll(seconds(20), "alice is served again", || (machine.exec_as("alice", &["rekeyctl", "list"]).status == 0).then_some(()));
    }

    fn what_is_sent_as_fast_as_can_be_by_one_who_vanishes_costs_little_memory(debian) {
        let _alone = support::one_at_a_time();
        let builder = rotation::on(debian, &Backend::good()).example("bus-client");
        let machine = rotation::adopt(builder.boot());
        machine.sh("useradd -G rekeyd alice; useradd bob");
        let pid = machine.unit("rekeyd.service", "MainPID");
        for (user, unit) in [("alice", "flood-alice"), ("bob", "flood-bob")] {
            machine.sh(&format!("systemd-run -q --unit={unit} -p User={user} -p RuntimeMaxSec=60 /usr/local/bin/bus-client flood"));
        }
        // While it lasts, root is served.
        for _ in 0..5 {
            machine.ok(&["timeout", "60", "rekeyctl", "status", NAME]);
        }
        machine.ok(&["timeout", "60", "rekeyctl", "rotate", NAME]);
        poll(seconds(90), "the flood is over", || ["flood-alice", "flood-bob"].iter().all(|unit| machine.unit(&format!("{unit}.service"), "ActiveState") != "active").then_some(()));
        assert_eq!(machine.unit("rekeyd.service", "MainPID"), pid);
        let status = machine.read(&format!("/proc/{pid}/status"));
        let peak: u64 = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok()).unwrap();
        assert!(peak < 256 * 1024, "the daemon has used {peak} kB");
        poll(seconds(20), "alice is served again", || (machine.exec_as("alice", &["rekeyctl", "list"]).status == 0).then_some(()));
    }

    fn who_waits_and_leaves_wishes_no_more(debian) {
        let machine = machine(debian);
        rule(&machine, "return polkit.Result.YES;");
        let toml = rotation::toml("").replace("\"1s\"", "\"6s\"");
        machine.put("/etc/rekeyd/secrets.d/my-backend-jwt.toml", 0o644, toml);
        machine.ok(&["rekeyctl", "reload"]);
        machine.ok(&["rekeyctl", "rotate", "--no-wait", NAME]);
        let said = machine.exec_as("alice", &["timeout", "-s", "KILL", "2", "rekeyctl", "rotate", "--wait", NAME]);
        assert_ne!(said.status, 0, "{said}");
        poll(seconds(30), "the first ends", || (rotation::status(&machine)["state"] == "in-force").then_some(()));
        machine.ok(&["rekeyctl", "rotate", "--wait", NAME]);
        assert_eq!(rotation::status(&machine)["generation"], 3, "the one who left has rotated");
    }

    fn the_group_is_there_when_the_package_is_installed_on_a_running_system(debian) {
        let machine = Machine::on(debian).bare().boot();
        machine.put("/root/rekeyd.deb", 0o644, std::fs::read(support::host::package()).unwrap());
        machine.sh("DEBIAN_FRONTEND=noninteractive apt-get -qq -y install /root/rekeyd.deb; useradd -G rekeyd alice");
        let said = machine.exec_as("alice", &["rekeyctl", "list"]);
        assert_eq!(said.status, 0, "{said}");
        machine.ok(&["useradd", "bob"]);
        is_denied(&machine.exec_as("bob", &["rekeyctl", "list"]));
        machine.ok(&["usermod", "-aG", "rekeyd", "bob"]);
        assert_eq!(machine.exec_as("bob", &["rekeyctl", "list"]).status, 0, "a member from the next login on");
    }
}
