//! Docker's engine and Compose, and what happens beside a rotation: an engine that goes away, and what others have started.

#![allow(clippy::unwrap_used)]

use crate::{compose, support};

use compose::{ENV_FILE, PROBE, ends, serves, stack, started, yaml};
use support::backend::FIRST_VALUE;
use support::rotation::NAME;
use support::{poll, seconds};

support::on_one_debian! {
    Twelve => fn an_engine_that_goes_away_in_mid_rotation_is_waited_for(debian) {
        let machine = started(stack(debian, &yaml("env_file: [web.env]", "env_file: [web.env]"), ENV_FILE, PROBE));
        // The containers go on without it.
        machine.sh("sed -i 's/{/{ \"live-restore\": true,/' /etc/docker/daemon.json; systemctl reload docker");
        poll(seconds(10), "they do", || machine.sh("docker info 2>&1").contains("Live Restore Enabled: true").then_some(()));
        machine.sh(&format!("sed -i 's/^settle = .*/settle = \"4s\"/' /etc/rekeyd/secrets.d/{NAME}.toml; rekeyctl reload"));
        machine.ok(&["rekeyctl", "rotate", "--no-wait", NAME]);
        poll(seconds(60), "the containers are made anew", || {
            let said = machine.exec(&["docker", "inspect", "app-web-1", "app-worker-1"]);
            (said.status == 0 && said.stdout.contains("JWT_SECRET=") && !said.stdout.contains(FIRST_VALUE)).then_some(())
        });
        machine.sh("systemctl stop docker.socket docker.service");
        let told = |words: &str| machine.sh("journalctl -q -o cat").contains(words).then_some(());
        poll(seconds(60), "it is waited for", || told("waiting for Docker's engine"));
        machine.sh("systemctl start docker.socket docker.service");
        poll(seconds(60), "it is told that it is back", || told("Docker's engine answers again"));
        ends(&machine, "committed");
        serves(&machine);
    }
}
