//! Docker's engine and Compose, and what happens beside a rotation: an engine that goes away, and what others have started.

#![allow(clippy::unwrap_used)]

use crate::{compose, support};

use compose::{ENV_FILE, PROBE, ends, serves, stack, started, yaml};
use support::backend::FIRST_VALUE;
use support::rotation::{NAME, assert_says, rotate};
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
            let is_new = said.stdout.contains("JWT_SECRET=") && !said.stdout.contains(FIRST_VALUE);
            // One that it was about to ask how it is, it never asks again after its own start.
            (said.status == 0 && is_new && said.stdout.contains("\"Status\": \"healthy\"")).then_some(())
        });
        machine.sh("systemctl stop docker.socket docker.service");
        let told = |words: &str| machine.sh("journalctl -q -o cat").contains(words).then_some(());
        poll(seconds(60), "it is waited for", || told("waiting for Docker's engine"));
        machine.sh("systemctl start docker.socket docker.service");
        poll(seconds(60), "it is told that it is back", || told("Docker's engine answers again"));
        ends(&machine, "committed");
        serves(&machine);
    }

    Thirteen => fn what_compose_run_started_keeps_the_old_value_and_is_told_of(debian) {
        let machine = started(stack(debian, &yaml("env_file: [web.env]", "env_file: [web.env]"), ENV_FILE, PROBE));
        machine.sh("cd /srv/app && docker compose run -d --no-deps --entrypoint /bin/sleep worker infinity 2>&1");
        let run = || machine.sh("docker ps -q --no-trunc --filter label=com.docker.compose.oneoff=True");
        let before = run();
        assert!(!before.trim().is_empty());
        let foretold = machine.ok(&["rekeyctl", "rotate", "--dry-run", NAME]);
        assert!(foretold.contains("keeps the old one until it ends"), "{foretold}");
        let said = rotate(&machine);
        assert_eq!(said.status, 0, "{said}");
        assert_says(&said, "--scale web=1 --scale worker=1 web worker");
        assert_says(&said, "WARNING: the container app-worker-run-");
        assert_says(&said, "(JWT_SECRET) keeps the old value until it ends");
        assert_eq!(run(), before);
        serves(&machine);
    }
}
