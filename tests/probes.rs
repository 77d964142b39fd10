//! Programs of the administrator's as probes: when they are run, as whom, and what becomes of what they say.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use support::Backend;
use support::backend::FIRST_VALUE;
use support::rotation::{
    NAME, adopt, assert_never_told, assert_rolled_back, assert_says, commits, is_refused, on_with, rotate, value,
};

const PROGRAM: &str = "/usr/local/bin/check";
const PROBE: &str = "[[probe]]\ntype = \"command\"\ncommand = [\"/usr/local/bin/check\", \"it\"]\ntimeout = \"2s\"\n";
/// Does what `/srv/how` says; the value must be the backend's.
const CHECK: &str = r#"#!/bin/sh
set -eu
test "$1" = it
. /srv/how
echo "user $(id -u), secret $REKEYD_SECRET"
"#;

support::on_both_debians! {
    fn a_program_is_a_probe_before_and_after(debian) {
        let builder = on_with(debian, &Backend::good(), PROBE).file(PROGRAM, 0o755, CHECK).file("/srv/how", 0o644, "");
        let machine = adopt(builder.boot());
        let how = |how: &str| machine.put("/srv/how", 0o644, how);

        // A new value that it does not like is taken back, and what it says of it is told to nobody.
        how("if [ $REKEYD_PRIMARY != 1 ]; then cat $REKEYD_VALUE_FILE; cat $REKEYD_VALUE_FILE >&2; exit 1; fi");
        let said = rotate(&machine);
        assert_rolled_back(&machine, &said, 2, &["probe-failed"]);
        assert_says(&said, "command check: check ended with status 1: (its message has the secret's value in it, and is withheld)");
        let kept = format!("/var/lib/rekeyd/output/rekeyd-probe-{NAME}-2-2.service");
        assert_says(&said, &format!("less {kept}"));
        assert_eq!(machine.sh(&format!("stat -c '%a %U' {kept}")), "600 root\n");
        let rejected = machine.read(&kept);
        assert_eq!(rejected.len(), 64);
        assert_never_told(&machine, &[FIRST_VALUE, &rejected]);

        // Where the value in force is no good already, nothing is touched.
        how("echo no such role; exit 3");
        is_refused(&machine, "probe-failed", &["command check: check ended with status 3: no such role"]);
        how("sleep 100");
        is_refused(&machine, "probe-timeout", &["check did not end within"]);
        machine.sh(&format!("mv {PROGRAM} {PROGRAM}.away"));
        is_refused(&machine, "program-missing", &["there is no /usr/local/bin/check"]);
        machine.sh(&format!("mv {PROGRAM}.away {PROGRAM}"));

        // It is nobody who could write something or see what is not its own, and has the value in a file alone.
        how("if touch /srv/x 2>/dev/null || cat /etc/rekeyd/login.json 2>/dev/null; then exit 8; fi; \
             if env | grep -qF \"$(cat $REKEYD_VALUE_FILE)\"; then exit 9; fi");
        let said = rotate(&machine);
        assert_eq!(said.status, 0, "{said}");
        let user = said.stdout.split("check ended well with generation 3: user ").nth(1).unwrap_or_else(|| panic!("{said}"));
        let user: u32 = user.split(',').next().unwrap().parse().unwrap();
        assert!((61_184..=65_519).contains(&user), "{user} is not a user of its own");
        machine.ok(&["rekeyctl", "verify", NAME]);

        // Unless it is said as whom.
        let file = format!("/etc/rekeyd/secrets.d/{NAME}.toml");
        machine.put(&file, 0o644, machine.read(&file) + "user = \"root\"\n");
        machine.ok(&["rekeyctl", "reload"]);
        how("cat $REKEYD_VALUE_FILE >/root/$REKEYD_PRIMARY");
        let new = commits(&machine, 4);
        assert_eq!((machine.read("/root/4"), value(&machine)), (new.clone(), new.clone()));
        assert_never_told(&machine, &[FIRST_VALUE, &rejected, &new]);
        assert_eq!(machine.sh("ls -A /var/lib/rekeyd/values; systemctl list-units --all --plain --no-legend 'rekeyd-probe-*'"), "");
    }
}
