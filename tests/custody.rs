//! The store and its key: when they are lost, old, or of another machine; and what root may ask of them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use support::backend::FIRST_VALUE;
use support::rotation::{self, NAME, UNIT, World, adopted, assert_says, commits, status, value};
use support::{Backend, Debian, Machine, Output, poll, seconds};

const OTHER_MACHINE: &str = "0123456789abcdef0123456789abcdef";

support::on_both_debians! {
    fn on_a_copy_of_a_machine_all_is_locked_until_it_is_released(debian) {
        let machine = adopted(debian, &Backend::good());
        let before = commits(&machine, 2);
        let (world, host_key) = (World::of(&machine), host_key(&machine));
        become_another_machine(&machine);
        assert_locked(&machine, "made on another machine");
        assert_eq!(machine.unit("rekeyd.service", "ActiveState"), "active");
        assert_says(&machine.exec(&["rekeyctl", "doctor"]), "rekeyctl release --clone");
        assert!(machine.ok(&["rekeyctl", "history", NAME]).contains("generation 2"));
        machine.ok(&["rekeyctl", "audit", NAME]);
        // systemd would have deleted it, had it been asked.
        assert_eq!(host_key, self::host_key(&machine));
        world.assert_same(&machine);

        machine.ok(&["rekeyctl", "release", "--clone"]);
        assert_eq!(status(&machine)["state"], "outdated");
        assert!(machine.sh("ls /var/lib/rekeyd/set-aside/*").contains(NAME));
        world.assert_same(&machine);
        machine.ok(&["rekeyctl", "adopt", "--all"]);
        world.assert_same(&machine);
        assert_eq!(value(&machine), before);
        // Numbers that were delivered are not used again.
        commits(&machine, 4);
        assert_eq!(machine.exec(&["rekeyctl", "release", "--clone"]).status, 0);
        assert_eq!(status(&machine)["generation"], 4);
    }

    fn a_value_whose_file_is_gone_is_told_and_its_consumers_keep_it(debian) {
        let machine = adopted(debian, &Backend::good());
        let before = commits(&machine, 2);
        machine.sh(&format!("mv /var/lib/rekeyd/store/{NAME}/generation-2 /root"));
        let world = World::of(&machine);
        let status = self::status(&machine);
        assert_eq!((&status["state"], &status["drift"]), (&"unreadable".into(), &serde_json::json!([])), "{status}");
        for act in [&["doctor"][..], &["verify", NAME], &["rotate", NAME]] {
            let said = machine.exec(&[&["rekeyctl"], act].concat());
            assert_ne!(said.status, 0, "{said}");
            assert_says(&said, &format!("rekeyctl forget {NAME}, then rekeyctl adopt {NAME}"));
        }
        world.assert_same(&machine);
        machine.sh(&format!("mv /root/generation-2 /var/lib/rekeyd/store/{NAME}"));
        assert_eq!(self::status(&machine)["state"], "in-force");
        machine.sh(&format!("rm /var/lib/rekeyd/store/{NAME}/generation-2; rekeyctl forget {NAME}; rekeyctl adopt {NAME}"));
        assert_eq!((value(&machine), &self::status(&machine)["state"]), (before, &"in-force".into()));
        commits(&machine, 4);
    }

    fn a_store_that_is_removed_under_a_running_rekeyd_is_missed(debian) {
        let machine = adopted(debian, &Backend::good());
        let before = commits(&machine, 2);
        let world = World::of(&machine);
        machine.sh("rm -r /var/lib/rekeyd/store");
        assert_locked(&machine, "was removed or replaced while rekeyd ran");
        let said = machine.exec(&["rekeyctl", "adopt", "--all"]);
        assert_ne!(said.status, 0, "{said}");
        assert_says(&said, "systemctl restart rekeyd");
        machine.sh("systemctl restart rekeyd.service");
        assert_eq!(status(&machine)["state"], "outdated");
        machine.ok(&["rekeyctl", "adopt", "--all"]);
        assert_eq!(value(&machine), before);
        world.assert_same(&machine);
        commits(&machine, 4);
    }

    fn a_machine_that_is_itself_again_goes_on_as_if_nothing_had_been(debian) {
        let machine = adopted(debian, &Backend::good());
        let id = machine.read("/etc/machine-id");
        become_another_machine(&machine);
        assert_locked(&machine, "made on another machine");
        machine.put("/etc/machine-id", 0o444, &id);
        machine.ok(&["rekeyctl", "reload"]);
        commits(&machine, 2);
    }

    fn an_exported_key_opens_the_store_elsewhere_with_its_passphrase_alone(debian) {
        let machine = adopted(debian, &Backend::good());
        let before = commits(&machine, 2);
        export(&machine, "/root/export");
        machine.put("/root/short", 0o600, "short\n");
        let said = machine.exec(&["sh", "-c", "rekeyctl key export --passphrase-fd 3 3</root/short"]);
        assert_eq!((said.status, said.stdout.as_str()), (1, ""));
        assert_says(&said, "fewer than 12");
        become_another_machine(&machine);
        assert_locked(&machine, "made on another machine");
        machine.put("/root/wrong", 0o600, "correct horse battery stapler\n");
        let said = machine.exec(&["sh", "-c", "rekeyctl key import --passphrase-fd 3 3</root/wrong </root/export"]);
        assert_eq!(said.status, 1, "{said}");
        assert_says(&said, "the passphrase is another one");
        assert_locked(&machine, "made on another machine");
        import(&machine, "/root/export");
        assert_eq!(status(&machine)["generation"], 2);
        assert_eq!(value(&machine), before);
        commits(&machine, 3);
        machine.ok(&["systemctl", "restart", "rekeyd.service"]);
        commits(&machine, 4);
        let journal = machine.sh("journalctl --sync; exec journalctl -q --no-pager --merge --all -o export");
        assert!(journal.contains("the store's key was exported"));
        assert!(!journal.contains(&before) && !journal.contains("correct horse"));
    }

    fn a_renewed_key_seals_every_value_and_the_former_opens_none(debian) {
        let machine = adopted(debian, &Backend::good());
        commits(&machine, 2);
        export(&machine, "/root/former");
        let sealed = || machine.sh(&format!("sha256sum /var/lib/rekeyd/store/{NAME}/generation-*"));
        let before = sealed();
        machine.ok(&["rekeyctl", "key", "rotate"]);
        let now = sealed();
        assert!(before.lines().zip(now.lines()).all(|(before, now)| before != now) && before.lines().count() == 2);
        assert_eq!(reveal(&machine, "--generation 1"), FIRST_VALUE);
        let said = machine.exec(&["sh", "-c", "rekeyctl key import --passphrase-fd 3 3</root/passphrase </root/former"]);
        assert_eq!(said.status, 1, "{said}");
        assert_says(&said, "another store");
        machine.ok(&["systemctl", "restart", "rekeyd.service"]);
        commits(&machine, 3);
    }

    fn without_its_key_the_store_is_locked_and_nothing_is_overwritten(debian) {
        let machine = adopted(debian, &Backend::good());
        commits(&machine, 2);
        export(&machine, "/root/export");
        let kept = machine.sh("cd /var/lib/rekeyd/store; sha256sum */*");
        let world = World::of(&machine);
        machine.sh("mv /var/lib/rekeyd/store/keys.cred /root; systemctl restart rekeyd.service");
        assert_locked(&machine, "keys.cred is missing");
        machine.sh("head -c 400 /dev/urandom | base64 >/var/lib/rekeyd/store/keys.cred; systemctl restart rekeyd.service");
        assert_locked(&machine, "rekeyctl key import");
        assert_eq!(machine.sh("cd /var/lib/rekeyd/store; sha256sum */*"), kept);
        world.assert_same(&machine);
        import(&machine, "/root/export");
        commits(&machine, 3);
    }

    fn a_key_helper_that_is_away_locks_the_store_until_it_is_back(debian) {
        let machine = adopted(debian, &Backend::good());
        machine.sh("systemctl mask --runtime --now rekeyd-key.socket; systemctl restart rekeyd.service");
        assert_locked(&machine, "key helper does not answer");
        machine.sh("systemctl unmask --runtime rekeyd-key.socket; systemctl start rekeyd-key.socket; rekeyctl reload");
        commits(&machine, 2);
    }

    fn a_store_that_was_deleted_is_told_of_and_rebuilt(debian) {
        let machine = adopted(debian, &Backend::good());
        let before = commits(&machine, 2);
        let world = World::of(&machine);
        machine.sh("systemctl stop rekeyd.service; rm -r /var/lib/rekeyd/store; systemctl start rekeyd.service");
        assert_outdated(&machine, "generation 2 was delivered, and the store knows none");
        world.assert_same(&machine);
        machine.ok(&["rekeyctl", "adopt", "--all"]);
        world.assert_same(&machine);
        assert_eq!(value(&machine), before);
        commits(&machine, 4);
    }

    fn an_older_store_is_recognised_and_takes_nothing_back(debian) {
        let machine = adopted(debian, &Backend::good());
        machine.sh("cp -a /var/lib/rekeyd/store /root/old");
        commits(&machine, 2);
        commits(&machine, 3);
        restore(&machine, "/root/old");
        assert_outdated(&machine, "generation 3 was delivered, and the store knows only 1");
        machine.ok(&["rekeyctl", "adopt", NAME]);
        commits(&machine, 5);
        machine.reboot();
        commits(&machine, 6);
    }

    fn a_rotation_that_an_older_store_believes_under_way_is_not_gone_on_with(debian) {
        let backend = Backend::good().fault("hangs");
        let machine = adopted(debian, &backend);
        machine.ok(&["rekeyctl", "rotate", "--no-wait", NAME]);
        let rotation = poll(seconds(20), "the proof is being gathered", || {
            let rotation = status(&machine)["rotation"].clone();
            let proves = rotation["step"].as_str().is_some_and(|step| step.contains("prove"));
            proves.then(|| rotation["id"].as_str().unwrap().to_owned())
        });
        machine.sh("cp -a /var/lib/rekeyd/store /root/old");
        poll(seconds(30), "it is rolled back", || status(&machine)["rotation"].is_null().then_some(()));
        backend.mend(&machine);
        commits(&machine, 3);
        let world = World::of(&machine);
        restore(&machine, "/root/old");
        assert_outdated(&machine, "generation 3 was delivered");
        world.assert_same(&machine);
        machine.ok(&["rekeyctl", "adopt", NAME]);
        world.assert_same(&machine);
        let story = machine.ok(&["journalctl", "-q", "--no-pager", &format!("REKEYD_ROTATION={rotation}")]);
        assert!(story.contains("was abandoned"), "{story}");
        commits(&machine, 5);
    }

    fn a_value_is_revealed_to_root_alone_and_never_to_a_terminal(debian) {
        let machine = adopted(debian, &Backend::good());
        let new = commits(&machine, 2);
        assert_eq!(reveal(&machine, ""), new);
        assert_eq!(reveal(&machine, "--generation 1"), FIRST_VALUE);
        let said = machine.exec(&["sh", "-c", &format!("rekeyctl reveal {NAME} --generation 7 --to-fd 1 | cat; exit $?")]);
        assert!(said.stdout.is_empty(), "{said}");
        assert_says(&said, "no such generation");
        let said = machine.exec(&["script", "-qec", &format!("rekeyctl reveal {NAME} --to-fd 1"), "/dev/null"]);
        assert!(said.status != 0 && !said.stdout.contains(&new), "{said}");
        assert_says(&said, "is a terminal");
        machine.sh("useradd -G rekeyd reader");
        let said = machine.exec_as("reader", &["sh", "-c", &format!("rekeyctl reveal {NAME} --to-fd 1 | cat")]);
        assert!(!said.stdout.contains(&new), "{said}");
        let told = machine.journal(&["-t", "rekeyd"]);
        let told = told.iter().filter(|entry| entry["MESSAGE"].as_str().is_some_and(|text| text.contains("was given to uid 0")));
        assert_eq!(told.count(), 2);
        rotation::assert_never_told(&machine, &[&new, FIRST_VALUE]);
        machine.ok(&["rekeyctl", "audit", NAME]);
    }

    fn a_secret_is_let_go_of_and_the_service_keeps_its_value(debian) {
        let machine = adopted(debian, &Backend::good());
        let before = commits(&machine, 2);
        let world = World::of(&machine);
        let said = machine.ok(&["rekeyctl", "forget", NAME]);
        for words in ["/var/lib/rekeyd/delivered", "90-rekeyd-my-backend-jwt.conf", "still configures it"] {
            assert!(said.contains(words), "{words}: {said}");
        }
        assert_eq!(machine.sh(&format!("ls /var/lib/rekeyd/store/{NAME} | grep -c generation || true")).trim(), "0");
        world.assert_same(&machine);
        assert_eq!(rotation::rotate(&machine).status, 3);
        machine.ok(&["systemctl", "restart", UNIT]);
        assert_eq!(value(&machine), before);
        machine.ok(&["rekeyctl", "audit", NAME]);
        machine.ok(&["rekeyctl", "adopt", NAME]);
        commits(&machine, 4);

        // The same for one that is not configured any more.
        machine.sh(&format!("rm /etc/rekeyd/secrets.d/{NAME}.toml; rekeyctl reload"));
        let said = machine.exec(&["rekeyctl", "doctor"]);
        assert_eq!(said.status, 1, "{said}");
        assert_says(&said, &format!("rekeyctl forget {NAME}"));
        machine.ok(&["rekeyctl", "forget", NAME]);

        // Once the value stands somewhere else, the rest goes too, and no sooner.
        let kept = value(&machine);
        machine.put("/etc/own.env", 0o600, format!("JWT_SECRET={kept}\n"));
        machine.sh(&format!("cd /etc/systemd/system/{UNIT}.d; rm 90-rekeyd-{NAME}.conf; printf '[Service]\nEnvironmentFile=/etc/own.env\n' >own.conf"));
        assert!(machine.ok(&["rekeyctl", "forget", NAME]).contains("my-backend.service, until a daemon-reload"));
        machine.ok(&["systemctl", "daemon-reload"]);
        machine.ok(&["rekeyctl", "forget", NAME]);
        assert_eq!(machine.sh("ls -A /var/lib/rekeyd/delivered"), "");
        machine.ok(&["systemctl", "restart", UNIT]);
        assert_eq!(value(&machine), kept);
        assert_eq!(machine.exec(&["rekeyctl", "forget", NAME]).status, 64);
        // Its records are kept, and can be read.
        assert_says(&machine.exec(&["rekeyctl", "history", NAME]), "let go of by uid 0");
        assert_says(&machine.exec(&["rekeyctl", "audit", NAME]), "records is whole");
        assert_eq!(machine.exec(&["rekeyctl", "history", "never-was"]).status, 64);
        machine.ok(&["rekeyctl", "doctor"]);
    }

    fn what_is_let_go_of_in_an_overlap_or_in_a_file_is_told_and_stays(debian) {
        let overlap = rotation::OVERLAP;
        let target = "[[target]]\ntype = \"dotenv\"\nfile = \"/srv/more.env\"\n";
        let builder = rotation::on_with(debian, &Backend::good(), &format!("{overlap}{target}"));
        let machine = rotation::adopt(builder.file("/srv/more.env", 0o600, format!("JWT_SECRET={FIRST_VALUE}\n")).boot());
        assert_eq!(rotation::rotate(&machine).status, 0);
        let (delivered, file) = (rotation::delivered(&machine), machine.read("/srv/more.env"));
        // What a program of its printed may be a value.
        machine.put(&format!("/var/lib/rekeyd/output/rekeyd-restart-{NAME}.service"), 0o600, FIRST_VALUE);
        let said = machine.ok(&["rekeyctl", "forget", NAME]);
        for words in ["stays as it is at: dotenv /srv/more.env", "generation 1 stays accepted beside it"] {
            assert!(said.contains(words), "{words}: {said}");
        }
        assert_eq!(rotation::delivered(&machine), delivered);
        assert_eq!(machine.read("/srv/more.env"), file);
        assert_eq!(machine.sh("ls -A /var/lib/rekeyd/output"), "");
        assert!(!machine.sh("systemctl list-timers --all --no-legend").contains("rekeyd-retire@"));
        machine.ok(&["systemctl", "restart", UNIT]);
        assert!(file.contains(&value(&machine)));
    }

    fn doctor_says_what_is_wrong_and_what_to_type(debian) {
        let machine = rotation::on_with(debian, &Backend::good(), "[schedule]\non-calendar = \"monthly\"\n").boot();
        let finds = |words: &[&str]| {
            let said = machine.exec(&["rekeyctl", "doctor"]);
            assert_eq!(said.status, 1, "{said}");
            words.iter().for_each(|word| assert_says(&said, word));
        };
        finds(&["the value in force is not known", "rekeyctl adopt my-backend-jwt"]);
        machine.ok(&["rekeyctl", "adopt", NAME]);
        let said = machine.ok(&["rekeyctl", "doctor"]);
        assert!(said.contains("the value in force is proven") && !said.contains('✗'), "{said}");
        machine.ok(&["rekeyctl", "pause", NAME]);
        machine.ok(&["systemctl", "stop", &format!("rekeyd-rotate@{NAME}.timer")]);
        finds(&["its schedule is paused", "rekeyctl resume", "the timer of its schedule does not run", "rekeyctl reload"]);
        machine.sh("printf 'nonsense = 1\\n' >>/etc/rekeyd/rekeyd.toml");
        finds(&["has mistakes", "rekeyctl check"]);
        // Started with a mistake, it has no configuration at all.
        machine.sh("systemctl restart rekeyd.service");
        finds(&["no configuration is in force"]);
        let said = machine.exec(&["rekeyctl", "doctor"]);
        assert!(!said.stdout.contains("rekeyctl forget"), "{said}");
        machine.sh("sed -i /nonsense/d /etc/rekeyd/rekeyd.toml; rekeyctl reload; rekeyctl resume my-backend-jwt");
        machine.sh("cp /etc/rekeyd/secrets.d/my-backend-jwt.toml /etc/rekeyd/secrets.d/another.toml");
        let said = machine.exec(&["rekeyctl", "status", "another"]);
        assert_eq!(said.status, 64, "{said}");
        assert_says(&said, "its file is there, and not in force yet: rekeyctl reload");
        machine.ok(&["rm", "/etc/rekeyd/secrets.d/another.toml"]);
        machine.ok(&["systemctl", "stop", UNIT]);
        machine.ok(&["rekeyctl", "doctor"]);
        machine.sh("systemctl mask --runtime --now rekeyd.service");
        let said = machine.exec(&["rekeyctl", "doctor"]);
        assert_eq!(said.status, 69, "{said}");
        assert_says(&said, "systemctl status rekeyd");
    }
}

#[test]
fn a_store_of_debian_12_opens_on_13() {
    let old = adopted(Debian::Twelve, &Backend::good());
    let before = commits(&old, 2);
    let archive = old.sh("cd /; tar c var/lib/rekeyd var/lib/systemd/credential.secret etc/machine-id etc/systemd/system/my-backend.service.d | base64");
    let new = rotation::on(Debian::Thirteen, &Backend::good()).boot();
    new.put("/root/archive", 0o600, archive);
    new.sh("systemctl stop rekeyd.service my-backend.service; rm -rf /var/lib/rekeyd; base64 -d /root/archive | tar x -C /; \
            systemctl daemon-reload; systemctl start my-backend.service rekeyd.service");
    assert_eq!(value(&new), before);
    new.ok(&["rekeyctl", "verify", NAME]);
    assert_eq!(reveal(&new, "--generation 1"), FIRST_VALUE);
    commits(&new, 3);
    new.ok(&["rekeyctl", "audit", NAME]);
}

/// As a copied image is after its first boot.
fn become_another_machine(machine: &Machine) {
    machine.sh(&format!(
        "chmod u+w /etc/machine-id; echo {OTHER_MACHINE} >/etc/machine-id; systemctl restart rekeyd.service"
    ));
}

fn host_key(machine: &Machine) -> String {
    machine.sh("sha256sum /var/lib/systemd/credential.secret; stat -c %i%Y /var/lib/systemd/credential.secret")
}

fn restore(machine: &Machine, from: &str) {
    machine.sh(&format!(
        "systemctl stop rekeyd.service; rm -r /var/lib/rekeyd/store; cp -a {from} /var/lib/rekeyd/store; systemctl start rekeyd.service"
    ));
}

#[track_caller]
fn assert_locked(machine: &Machine, words: &str) {
    let status = status(machine);
    assert_eq!(status["state"], "locked", "{status:#}");
    assert!(status["hold"].as_str().is_some_and(|hold| hold.contains(words)), "{words}: {status:#}");
    assert_refused(machine, words);
    assert_eq!(machine.exec(&["rekeyctl", "adopt", NAME]).status, 3);
}

#[track_caller]
fn assert_outdated(machine: &Machine, words: &str) {
    let status = status(machine);
    assert_eq!(status["state"], "outdated", "{status:#}");
    assert!(status["hold"].as_str().is_some_and(|hold| hold.contains(words)), "{words}: {status:#}");
    assert_eq!(status["drift"], serde_json::json!([]), "{status:#}");
    assert_refused(machine, &format!("rekeyctl adopt {NAME}"));
}

#[track_caller]
fn assert_refused(machine: &Machine, words: &str) {
    let world = World::of(machine);
    let said: Output = rotation::rotate(machine);
    assert_eq!(said.status, 3, "{said}");
    assert_says(&said, words);
    assert_says(&said, "nothing was touched");
    world.assert_same(machine);
}

/// What is revealed, as it arrives in a file.
#[track_caller]
fn reveal(machine: &Machine, options: &str) -> String {
    machine.sh(&format!(
        "umask 077; rm -f /root/value; rekeyctl reveal {NAME} {options} --to-fd 3 3>/root/value; cat /root/value"
    ))
}

#[track_caller]
fn export(machine: &Machine, to: &str) {
    machine.put("/root/passphrase", 0o600, "correct horse battery staple\n");
    machine.sh(&format!("rekeyctl key export --passphrase-fd 3 3</root/passphrase >{to}"));
}

#[track_caller]
fn import(machine: &Machine, from: &str) {
    machine.sh(&format!("rekeyctl key import --passphrase-fd 3 3</root/passphrase <{from}"));
}
