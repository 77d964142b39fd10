//! The package in the hands of apt, and what a machine looks like without it.

use std::collections::BTreeSet;
use std::fs;

use super::{Machine, host};

/// Installs the package under test.
#[track_caller]
pub fn install(machine: &Machine) -> String {
    machine.put("/root/rekeyd.deb", 0o644, fs::read(host::package()).expect("the package"));
    apt(machine, "install /root/rekeyd.deb")
}

/// Upgrades to a later version, which has the same files.
#[track_caller]
pub fn upgrade(machine: &Machine) -> String {
    make_later(machine);
    let said = apt(machine, "install /root/later.deb");
    assert_eq!(version(machine), LATER);
    said
}

/// Puts a package of a later version at `/root/later.deb`.
#[track_caller]
pub fn make_later(machine: &Machine) {
    machine.put("/root/rekeyd.deb", 0o644, fs::read(host::package()).expect("the package"));
    machine.sh(&format!(
        "cd /root; rm -rf later; dpkg-deb -R rekeyd.deb later; sed -i 's/^Version:.*/Version: {LATER}/' later/DEBIAN/control; \
         dpkg-deb -Znone -b later later.deb; rm -rf later rekeyd.deb"
    ));
}

/// Removes the package.
#[track_caller]
pub fn remove(machine: &Machine) -> String {
    apt(machine, "remove rekeyd")
}

/// Purges the package.
#[track_caller]
pub fn purge(machine: &Machine) -> String {
    apt(machine, "purge rekeyd")
}

/// The version that is installed.
#[track_caller]
pub fn version(machine: &Machine) -> String {
    machine.ok(&["dpkg-query", "-W", "-f", "${Version}", "rekeyd"])
}

/// The version of [`upgrade`].
pub const LATER: &str = "999.1";

/// `apt-get`, asking nothing, with what it says; a question of dpkg's would fail for want of an answer.
#[track_caller]
fn apt(machine: &Machine, verb: &str) -> String {
    machine.sh(&format!("DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 {verb} 2>&1 </dev/null"))
}

/// Every file of a machine with mode, owner and contents, and every unit that systemd knows, with its state.
#[derive(Debug, PartialEq, Eq)]
pub struct Inventory(BTreeSet<String>);

impl Inventory {
    /// As it is now.
    #[track_caller]
    pub fn of(machine: &Machine) -> Self {
        let lines = machine.sh(r"find / /run -xdev '(' -type f -o -type l -prune ')' -o -printf '%p %y %m %u:%g\n'
              find / /run -xdev -type l -printf '%p %y %l\n'
              find / /run -xdev -type f -printf '%p %y %m %u:%g\n'
              find / /run -xdev -type f -exec sha256sum {} + | sed 's/^\([0-9a-f]*\) *\(.*\)/\2 sha256 \1/'
              systemctl list-unit-files --plain --no-legend | sed 's/^/unit file /'
              systemctl list-units --all --plain --no-legend | awk '{ print $1, $2, $3, $4 }' | sed 's/^/unit /'");
        Self(lines.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect())
    }

    /// What has come, gone or changed since: lines that begin with `+ ` or `- `.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let gone = self.0.difference(&now.0).map(|line| format!("- {line}"));
        let come = now.0.difference(&self.0).map(|line| format!("+ {line}"));
        gone.chain(come).collect()
    }
}
