//! Every way to deliver to a systemd unit, on booted Debians: each rotates a backend, and none but the exposed one lets
//! an ordinary user see the value.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use support::rotation::{self, NAME, UNIT};
use support::{Backend, Debian, Machine, backend::FIRST_VALUE, poll, seconds, token};

const CREDENTIAL: &str = "deliver = \"credential\"\npath-env = \"JWT_SECRET_FILE\"";
const ENCRYPTED: &str = "deliver = \"encrypted-credential\"\npath-env = \"JWT_SECRET_FILE\"";
const INLINE: &str = "deliver = \"environment\"\nexpose = true";
const FILE: &str = "deliver = \"environment-file\"";
const DELIVERED: &str = "/var/lib/rekeyd/delivered/my-backend-jwt";
const DROP_IN: &str = "/etc/systemd/system/my-backend.service.d/90-rekeyd-my-backend-jwt.conf";

/// The secret's file with these lines in its target.
fn toml(target: &str) -> String {
    rotation::toml("").replace("[[target]]\n", &format!("[[target]]\n{target}\n"))
}

fn adopted(debian: Debian, target: &str, backend: &Backend) -> Machine {
    rotation::adopt(Machine::on(debian).backend(backend).secret(NAME, &toml(target)).boot())
}

/// From now on the secret is delivered so.
fn reconfigure(machine: &Machine, target: &str) {
    machine.put("/etc/rekeyd/secrets.d/my-backend-jwt.toml", 0o644, toml(target));
    machine.ok(&["rekeyctl", "reload"]);
}

fn credential_of(machine: &Machine, unit: &str) -> String {
    machine.read(&format!("/run/credentials/{unit}/JWT_SECRET"))
}

/// The backend runs with a new credential and without the variable, signs with it, and refuses the first value.
#[track_caller]
fn assert_new_credential(machine: &Machine) -> String {
    let value = assert_new_value_of_credential(machine);
    assert_eq!(token::present(machine, &token::forge(FIRST_VALUE)), 401);
    value
}

#[track_caller]
fn assert_new_value_of_credential(machine: &Machine) -> String {
    let value = credential_of(machine, UNIT);
    assert_ne!(value, FIRST_VALUE);
    assert!(value.len() == 64 && value.bytes().all(|b| b.is_ascii_hexdigit()), "{value}");
    assert!(
        machine.variable(UNIT, "JWT_SECRET").iter().all(|(_, value)| value.is_none()),
        "the variable is still there"
    );
    assert!(token::is_signed_with(&token::login(machine), &value), "the backend does not sign with its credential");
    value
}

/// What the views, links resolved, have in them.
fn files(machine: &Machine) -> Vec<String> {
    let found = machine.sh(&format!(
        "cd {DELIVERED}; find . ! -name . | sed 's|^./||' | grep -v '^[0-9+]*$' | sed 's|^[0-9+]*/||' | LC_ALL=C sort"
    ));
    found.lines().map(str::to_owned).collect()
}

/// All that an ordinary user can get to know of the unit, its processes and files.
fn seen_by_others(machine: &Machine) -> String {
    let script = "for pid in /proc/[0-9]*; do cat $pid/environ $pid/cmdline; done; \
        systemctl show my-backend.service; systemctl cat my-backend.service; systemctl status my-backend.service; \
        systemctl show-environment; systemctl show rekeyd.service 'rekeyd-*'; \
        path=/org/freedesktop/systemd1/unit/my_2dbackend_2eservice; \
        busctl introspect --full org.freedesktop.systemd1 $path; \
        busctl call --json=short org.freedesktop.systemd1 $path org.freedesktop.DBus.Properties GetAll s ''; \
        find /etc /var/lib /run /tmp /var/tmp -xdev -type f -exec cat {} +; \
        find /run/credentials -type f -exec cat {} +; journalctl --all -o export; true";
    let said = machine.exec_as("nobody", &["sh", "-c", script]);
    assert_eq!(said.status, 0, "{said}");
    assert!(
        said.stdout.contains("90-rekeyd-my-backend-jwt.conf") && said.stdout.contains("FragmentPath"),
        "nothing was seen"
    );
    said.stdout + &said.stderr
}

#[track_caller]
fn assert_hidden(machine: &Machine, value: &str) {
    assert!(!seen_by_others(machine).contains(value), "an ordinary user can read the value");
}

#[track_caller]
fn rotated_history(machine: &Machine) -> String {
    rotation::rotate_ok(machine);
    machine.ok(&["rekeyctl", "history", NAME])
}

fn template(debian: Debian, more: &str) -> Machine {
    let unit = "[Service]\nType=notify\nEnvironment=JWT_SECRET=first-value-0123456789abcdef0123456789abcdef\n\
        Environment=PORT=%i TOY_HOME=/etc/toy/my-backend\nExecStart=/usr/local/bin/toy-backend\nTimeoutStopSec=5\n";
    let toml = rotation::toml("")
        .replace("my-backend.service", "pool@.service")
        .replace("[[target]]\n", &format!("[[target]]\n{more}\n"));
    let machine = Machine::on(debian)
        .backend(&Backend::good().stopped())
        .file("/etc/systemd/system/pool@.service", 0o644, unit)
        .secret(NAME, &toml)
        .boot();
    machine.sh("systemctl start pool@3000 pool@3001 pool@3002");
    rotation::adopt(machine)
}

#[track_caller]
fn value_of(machine: &Machine, unit: &str) -> String {
    machine.variable(unit, "JWT_SECRET").into_iter().find_map(|(_, value)| value).expect("a value")
}

support::on_both_debians! {
    fn a_credential_is_rotated_and_seen_by_nobody_else(debian) {
        let machine = adopted(debian, CREDENTIAL, &Backend::good());
        let history = rotated_history(&machine);
        let first = assert_new_credential(&machine);
        assert!(history.contains("1 of 1 processes of my-backend.service have the value"), "{history}");
        assert_hidden(&machine, &first);
        assert_eq!(files(&machine), ["JWT_SECRET", "current"]);

        let reloads = machine.sh("journalctl -b _PID=1 -o cat | grep -c ^Reloading");
        rotation::rotate_ok(&machine);
        assert_ne!(assert_new_credential(&machine), first);
        assert_eq!(machine.sh("journalctl -b _PID=1 -o cat | grep -c ^Reloading"), reloads, "no daemon-reload is needed");
        machine.ok(&["rekeyctl", "verify", NAME]);
        machine.ok(&["rekeyctl", "rollback", NAME]);
        assert_eq!(credential_of(&machine, UNIT), first);
    }

    fn a_credential_is_seen_by_a_unit_of_another_user_with_mounts_of_its_own(debian) {
        let backend = Backend::good().service("DynamicUser=yes\nPrivateTmp=yes\nProtectSystem=strict").always("workers 2");
        let machine = adopted(debian, CREDENTIAL, &backend);
        let history = rotated_history(&machine);
        assert_new_credential(&machine);
        assert!(history.contains("3 of 3 processes of my-backend.service have the value"), "{history}");
    }

    fn an_encrypted_credential_is_rotated_and_nowhere_in_the_clear(debian) {
        let machine = adopted(debian, ENCRYPTED, &Backend::good());
        rotation::rotate_ok(&machine);
        let value = assert_new_credential(&machine);
        assert_hidden(&machine, &value);
        assert_eq!(files(&machine), ["JWT_SECRET.cred", "current"]);
        assert_eq!(rotation::status(&machine)["drift"], serde_json::json!([]));
        machine.sh(&format!("! grep -rqF {value} /var/lib /etc"));
        machine.sh(&format!("systemd-creds decrypt --name=JWT_SECRET {DELIVERED}/current/JWT_SECRET.cred - | grep -qx {value}"));
        machine.sh(&format!("! systemd-creds decrypt --name=OTHER {DELIVERED}/current/JWT_SECRET.cred -"));
        machine.reboot();
        assert_eq!(assert_new_credential(&machine), value);
        rotation::rotate_ok(&machine);
        assert_ne!(assert_new_credential(&machine), value);
    }

    fn an_environment_file_is_seen_by_nobody_else(debian) {
        let machine = adopted(debian, FILE, &Backend::good());
        rotation::rotate_ok(&machine);
        assert_hidden(&machine, &rotation::assert_new_value(&machine));
    }

    fn an_exposed_value_is_rotated_and_each_time_the_journal_warns(debian) {
        let machine = adopted(debian, INLINE, &Backend::good());
        for _ in 0..2 {
            rotation::rotate_ok(&machine);
            let value = rotation::assert_new_value(&machine);
            assert!(seen_by_others(&machine).contains(&value), "that is what `expose` is about");
            assert_eq!(machine.sh(&format!("stat -c %a {DROP_IN}")).trim(), "644");
        }
        let warnings = machine.journal(&["MESSAGE_ID=0412b3f7c3cf4cedb1d0e0c77bcb1edf", "PRIORITY=4"]);
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0]["MESSAGE"].as_str().unwrap().contains("every local user can read JWT_SECRET of my-backend.service"));
        rotation::assert_never_told(&machine, &[&rotation::value(&machine)]);
    }

    fn an_environment_file_of_the_administrator_would_win_over_an_exposed_value(debian) {
        let machine = adopted(debian, INLINE, &Backend::good().env_file());
        rotation::is_refused(&machine, "overridden", &["/etc/my-backend.env"]);
    }

    fn another_way_takes_over_and_leaves_nothing_of_the_one_before(debian) {
        let machine = adopted(debian, FILE, &Backend::good());
        rotation::rotate_ok(&machine);
        for (target, left) in [
            (CREDENTIAL, &["JWT_SECRET", "current"][..]),
            (ENCRYPTED, &["JWT_SECRET.cred", "current"]),
            (INLINE, &["current"]),
            (CREDENTIAL, &["JWT_SECRET", "current"]),
            (FILE, &["current", "env"]),
            (INLINE, &["current"]),
            (FILE, &["current", "env"]),
        ] {
            reconfigure(&machine, target);
            machine.ok(&["rekeyctl", "verify", NAME]);
            rotation::rotate_ok(&machine);
            if target.contains("credential") { drop(assert_new_credential(&machine)) } else { drop(rotation::assert_new_value(&machine)) }
            assert_eq!(files(&machine), left, "after {target}");
            let drop_ins = machine.sh("ls /etc/systemd/system/my-backend.service.d");
            assert_eq!(drop_ins.trim(), "90-rekeyd-my-backend-jwt.conf");
        }
    }

    fn a_backend_that_cannot_read_a_credential_goes_back_to_its_variable(debian) {
        // Without `path-env` the backend looks for the variable, and finds nothing.
        let machine = adopted(debian, "deliver = \"credential\"", &Backend::good());
        let said = rotation::rotate(&machine);
        rotation::assert_rolled_back(&machine, &said, 2, &["unit-failed"]);
        assert!(machine.read(DROP_IN).contains("EnvironmentFile="), "the way of before is restored");
        assert_eq!(files(&machine), ["current", "env"]);
        machine.ok(&["rekeyctl", "verify", NAME]);
    }

    fn a_failed_change_restores_the_way_of_before(debian) {
        let backend = Backend::good();
        let machine = adopted(debian, CREDENTIAL, &backend);
        rotation::rotate_ok(&machine);
        let value = assert_new_credential(&machine);
        reconfigure(&machine, "deliver = \"encrypted-credential\"");
        let said = rotation::rotate(&machine);
        assert_eq!(said.status, 1, "{said}");
        assert_eq!(assert_new_credential(&machine), value);
        assert!(machine.read(DROP_IN).contains("\nLoadCredential="));
        assert_eq!(files(&machine), ["JWT_SECRET", "current"]);
        reconfigure(&machine, ENCRYPTED);
        rotation::rotate_ok(&machine);
        assert_ne!(assert_new_credential(&machine), value);
    }

    fn a_unit_that_restarts_in_the_middle_of_a_change_still_finds_its_files(debian) {
        let machine = adopted(debian, FILE, &Backend::good());
        rotation::rotate_ok(&machine);
        reconfigure(&machine, CREDENTIAL);
        // A daemon-reload that takes long: all is delivered, and the old drop-in still loaded.
        machine.put("/etc/systemd/system-generators/slow", 0o755, "#!/bin/sh\nsleep 3\n");
        // systemd says nothing while it reloads.
        let pid = machine.unit(UNIT, "MainPID");
        let script = format!("rekeyctl rotate --no-wait {NAME}; until [ -e {DELIVERED}/current/JWT_SECRET ]; do sleep 0.05; done");
        machine.sh(&script);
        machine.sh(&format!("kill -KILL {pid}; rm /etc/systemd/system-generators/slow"));
        poll(seconds(30), "it is committed", || {
            (rotation::status(&machine)["last"]["outcome"]["outcome"] != "refused" && rotation::status(&machine)["rotation"].is_null()).then_some(())
        });
        assert_eq!(rotation::status(&machine)["generation"], 3);
        assert_new_credential(&machine);
    }

    fn in_an_overlap_both_are_credentials_and_the_end_of_it_needs_no_daemon_reload(debian) {
        let overlap = "\n[invalidation]\nmode = \"overlap\"\nprevious-env = \"JWT_SECRET_PREVIOUS\"\noverlap = \"1h\"\n";
        let toml = toml(CREDENTIAL) + overlap;
        let machine = rotation::adopt(Machine::on(debian).backend(&Backend::good()).secret(NAME, &toml).boot());
        let old = token::login(&machine);
        rotation::rotate_ok(&machine);
        let value = assert_new_value_of_credential(&machine);
        assert_eq!(token::present(&machine, &old), 200, "in the overlap the old one is accepted");
        assert_eq!(machine.read(&format!("/run/credentials/{UNIT}/JWT_SECRET_PREVIOUS")), FIRST_VALUE);
        let reloads = machine.sh("journalctl -b _PID=1 -o cat | grep -c ^Reloading");
        machine.ok(&["rekeyctl", "retire", NAME]);
        assert_eq!(token::present(&machine, &old), 401);
        assert_eq!(machine.read(&format!("/run/credentials/{UNIT}/JWT_SECRET_PREVIOUS")), value);
        assert_eq!(machine.sh("journalctl -b _PID=1 -o cat | grep -c ^Reloading"), reloads);
        machine.ok(&["rekeyctl", "verify", NAME]);
    }

    fn a_credential_of_the_unit_itself_is_taken_over(debian) {
        let unit = "[Service]\nLoadCredential=JWT_SECRET:/etc/own-credential\nUnsetEnvironment=JWT_SECRET\n\
            Environment=JWT_SECRET_FILE=%d/JWT_SECRET\n";
        let machine = Machine::on(debian)
            .backend(&Backend::good())
            .file("/etc/own-credential", 0o600, FIRST_VALUE)
            .file("/etc/systemd/system/my-backend.service.d/50-own.conf", 0o644, unit)
            .secret(NAME, &toml(CREDENTIAL))
            .boot();
        machine.ok(&["rekeyctl", "adopt", NAME]);
        assert!(machine.ok(&["rekeyctl", "adopt", NAME]).contains("nothing to do"));
        rotation::rotate_ok(&machine);
        assert_new_credential(&machine);
    }

    fn a_later_drop_in_with_the_same_credential_is_refused(debian) {
        let machine = adopted(debian, CREDENTIAL, &Backend::good());
        let own = "/etc/systemd/system/my-backend.service.d/95-own.conf";
        machine.put(own, 0o644, "[Service]\nLoadCredential=JWT_SECRET:/etc/hostname\n");
        rotation::is_refused(&machine, "overridden", &[own]);
    }

    fn all_running_instances_of_a_template_are_restarted_one_at_a_time(debian) {
        let machine = template(debian, "");
        machine.ok(&["systemctl", "stop", "pool@3002.service"]);
        let history = rotated_history(&machine);
        let value = value_of(&machine, "pool@3000.service");
        assert_ne!(value, FIRST_VALUE);
        assert_eq!(value_of(&machine, "pool@3001.service"), value);
        assert!(machine.read("/etc/systemd/system/pool@.service.d/90-rekeyd-my-backend-jwt.conf").contains("EnvironmentFile="));
        assert_eq!(machine.unit("pool@3002.service", "ActiveState"), "inactive", "{history}");
        machine.sh("systemctl start pool@3002 pool@3003");
        assert_eq!(value_of(&machine, "pool@3002.service"), value);
        assert_eq!(value_of(&machine, "pool@3003.service"), value);

        // No instance was stopped before the one before it was up again.
        let script = "journalctl -b -o json _PID=1 | jq -r 'select(.MESSAGE | test(\"^(Stopping|Started) pool@300[01]\")) | .MESSAGE' | tail -4 | cut -d' ' -f1 | tr '\\n' ' '";
        assert_eq!(machine.sh(script).trim(), "Stopping Started Stopping Started");
    }

    fn instances_of_a_template_get_credentials(debian) {
        let machine = template(debian, &format!("{CREDENTIAL}\nmax-unavailable = 2"));
        rotation::rotate_ok(&machine);
        let value = credential_of(&machine, "pool@3000.service");
        assert_ne!(value, FIRST_VALUE);
        assert_eq!(credential_of(&machine, "pool@3002.service"), value);
        rotation::rotate_ok(&machine);
        assert_ne!(credential_of(&machine, "pool@3000.service"), value);
    }

    fn a_template_without_a_running_instance_gets_the_value_for_its_next_one(debian) {
        let machine = template(debian, "");
        machine.sh("systemctl stop pool@3000 pool@3001 pool@3002");
        rotation::rotate_ok(&machine);
        machine.ok(&["systemctl", "start", "pool@3007.service"]);
        assert_ne!(value_of(&machine, "pool@3007.service"), FIRST_VALUE);
    }

    fn a_unit_that_cannot_be_reloaded_is_refused(debian) {
        let machine = adopted(debian, "activate = \"reload\"", &Backend::good());
        rotation::is_refused(&machine, "unit-unusable", &["ExecReload="]);
    }

    fn a_reload_brings_the_value_and_the_probe_proves_it(debian) {
        let reload = "ExecReload=/bin/sh -c 'printf %%s \"$JWT_SECRET\" > /run/toy-value'\nEnvironment=TOY_REREADS=/run/toy-value";
        let machine = adopted(debian, "activate = \"reload\"", &Backend::good().service(reload));
        let before = machine.unit(UNIT, "InvocationID");
        let history = rotated_history(&machine);
        assert_eq!(machine.unit(UNIT, "InvocationID"), before, "it was not restarted");
        assert!(history.contains("my-backend.service reloaded in"), "{history}");
        let value = machine.read("/run/toy-value");
        assert_ne!(value, FIRST_VALUE);
        assert!(token::is_signed_with(&token::login(&machine), &value));
        rotation::rotate_ok(&machine);
        assert_ne!(machine.read("/run/toy-value"), value);
        // Its process has the value that it was started with, as it should.
        let drift = rotation::status(&machine)["drift"].clone();
        assert!(drift.as_array().is_none_or(Vec::is_empty), "{drift:#}");
        assert!(machine.ok(&["rekeyctl", "rotate", "--dry-run", NAME]).contains("none foretold of my-backend.service, which is reloaded"));
        // And what it has read again is what is taken over.
        machine.ok(&["rekeyctl", "forget", NAME]);
        machine.ok(&["rekeyctl", "adopt", NAME]);
        machine.ok(&["rekeyctl", "verify", NAME]);
    }
}
