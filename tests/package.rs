//! The package and its units.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use std::path::Path;

use support::rotation::{self, NAME};
use support::{Backend, Machine, host};

support::on_both_debians! {
    fn the_daemon_is_ready_without_a_configuration_and_says_so(debian) {
        let machine = Machine::boot(debian);
        assert_eq!(machine.unit("rekeyd.service", "ActiveState"), "active");
        assert_eq!(machine.unit("rekeyd.service", "StatusText"), "no secret is configured");
        assert!(machine.ok(&["rekeyctl", "list"]).contains("rekeyctl new systemd"));
        assert_eq!(machine.ok(&["systemctl", "--failed", "--no-legend"]).trim(), "");
    }

    fn the_test_that_debian_runs_of_it_passes(debian) {
        let machine = Machine::boot(debian);
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("debian/tests");
        for name in ["rotate", "toy-backend"] {
            machine.put(&format!("/root/{name}"), 0o755, std::fs::read(here.join(name)).unwrap());
        }
        let said = machine.exec(&["/root/rotate"]);
        assert_eq!(said.status, 0, "{said}");
        assert!(said.stdout.contains("== passed"), "{said}");
    }

    fn the_sandbox_leaves_little_exposed_and_everything_works_in_it(debian) {
        let machine = rotation::adopted(debian, &Backend::good());
        let said = machine.ok(&["systemd-analyze", "security", "--no-pager", "rekeyd.service"]);
        let line = said.lines().find(|line| line.contains("Overall exposure level")).expect("the overall exposure");
        let exposure: f64 = line.split_whitespace().find_map(|word| word.parse().ok()).expect("a number");
        assert!(exposure <= 1.5, "{line}");
        rotation::rotate_ok(&machine);
        machine.ok(&["systemd-analyze", "verify", "--man=no", "rekeyd.service", "rekeyd-process.socket", "rekeyd-key.socket", "rekeyd-file.socket", "rekeyd-search.socket", "rekeyd-timers.target"]);
    }

    fn removing_purging_and_installing_again_keeps_the_consumer_and_fails_nowhere(debian) {
        let machine = rotation::adopted_with(debian, &Backend::good(), "[schedule]\non-calendar = \"monthly\"\n");
        rotation::rotate_ok(&machine);
        let value = rotation::assert_new_value(&machine);
        machine.put("/root/rekeyd.deb", 0o644, std::fs::read(host::package()).unwrap());
        for removal in ["remove", "purge"] {
            machine.sh(&format!("DEBIAN_FRONTEND=noninteractive apt-get -qq -y {removal} rekeyd; systemctl daemon-reload"));
            machine.sh("systemctl restart my-backend.service");
            assert_eq!(rotation::assert_new_value(&machine), value, "after {removal}");
            assert_eq!(machine.ok(&["systemctl", "--failed", "--no-legend"]).trim(), "");
            assert_eq!(machine.ok(&["systemctl", "list-timers", "--no-legend", "rekeyd-*"]).trim(), "");
            machine.sh("DEBIAN_FRONTEND=noninteractive apt-get -qq -y install /root/rekeyd.deb");
            assert_eq!(machine.unit("rekeyd.service", "ActiveState"), "active");
            assert_eq!(rotation::assert_new_value(&machine), value, "after it was installed again");
        }
        let said = machine.exec(&["rekeyctl", "adopt", NAME]);
        assert_eq!(said.status, 0, "{said}");
    }
}
