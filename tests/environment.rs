//! `/etc/environment`, as PAM reads it.

#![allow(clippy::unwrap_used)]

use crate::support;

use support::backend::FIRST_VALUE;
use support::rotation::{self, NAME, UNIT, adopt, assert_says, rotate, stage};
use support::{Backend, Debian, Machine, token};

const FILE: &str = "/etc/environment";
const TEXT: &str = "# Ours\nPATH=\"/usr/local/bin:/usr/bin:/bin\"\nJWT_SECRET=first-value-0123456789abcdef0123456789abcdef\nLANG=C.UTF-8\n";

support::on_both_debians! {
    fn a_new_session_and_the_units_that_follow_have_the_value(debian) {
        let machine = adopted(debian, Backend::good(), TEXT);
        let said = rotate(&machine);
        assert_eq!(said.status, 0, "{said}");
        assert_says(&said, "a new session has it");
        assert_says(&said, "sessions that are open keep the old value");
        assert_says(&said, "every local user may read /etc/environment");
        assert_says(&said, "1 of 1 processes of my-backend.service have the value");
        let value = session(&machine);
        assert_ne!(value, FIRST_VALUE);
        assert_eq!(machine.read(FILE), TEXT.replace(FIRST_VALUE, &value));
        assert_eq!(machine.ok(&["stat", "-c", "%U %a", FILE]).trim(), "root 644");
        assert!(token::is_signed_with(&token::login(&machine), &value));
        assert_eq!(machine.ok(&["systemctl", "list-units", "--all", "--no-legend", "rekeyd-session-*"]).trim(), "");
        rotation::assert_never_told(&machine, &[&value]);
        assert_eq!(rotate(&machine).status, 0);
        assert_ne!(session(&machine), value);
    }

    fn where_a_unit_fails_sessions_get_the_old_value_again(debian) {
        let machine = adopted(debian, Backend::good().fault("exits-at-once"), TEXT);
        let said = rotate(&machine);
        assert_eq!(said.status, 1, "{said}");
        assert_eq!(machine.read(FILE), TEXT);
        assert_eq!(session(&machine), FIRST_VALUE);
        assert_eq!(stage(&machine, 2), "rejected");
        assert_eq!(machine.unit(UNIT, "ActiveState"), "active");
    }

    fn a_session_that_gets_another_value_is_told(debian) {
        let machine = adopted(debian, Backend::good(), TEXT);
        machine.sh("echo 'session required pam_env.so envfile=/etc/other' >>/etc/pam.d/rekeyd; echo JWT_SECRET=other >/etc/other");
        let said = rotate(&machine);
        assert_eq!(said.status, 3, "{said}");
        assert_says(&said, "a new session does not have the JWT_SECRET of /etc/environment");
        assert_eq!(machine.read(FILE), TEXT);
    }

    fn what_pam_may_read_otherwise_is_refused_with_its_place(debian) {
        let machine = machine(debian, &follows(Backend::good()), &TEXT.replace('\n', "\r\n")).boot();
        let said = machine.exec(&["rekeyctl", "adopt", NAME]);
        assert_ne!(said.status, 0, "{said}");
        assert_says(&said, "/etc/environment: line 1, column 7: pam_env keeps the carriage return");
    }
}

fn follows(backend: Backend) -> Backend {
    backend
        .service("Environment=\nEnvironmentFile=/etc/environment\nEnvironment=PORT=3000 TOY_HOME=/etc/toy/my-backend")
}

fn machine(debian: Debian, backend: &Backend, text: &str) -> support::Builder {
    let target = "[[target]]\ntype = \"environment\"\nexpose = true\nrestart-units = [\"my-backend.service\"]\n";
    let toml = rotation::toml("").replace("[[target]]\ntype = \"systemd\"\nunits = [\"my-backend.service\"]\n", target);
    Machine::on(debian).backend(backend).secret(NAME, &toml).file(FILE, 0o644, text)
}

fn adopted(debian: Debian, backend: Backend, text: &str) -> Machine {
    adopt(machine(debian, &follows(backend), text).boot())
}

/// What a session has that su(1) opens.
fn session(machine: &Machine) -> String {
    machine.ok(&["su", "nobody", "-s", "/bin/sh", "-c", "printenv JWT_SECRET"]).trim().to_owned()
}
