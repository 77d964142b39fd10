//! Rotations that fail on a booted Debian: the value that was in force serves again, or a person is called.

use crate::support;

use serde_json::Value;
use support::backend::FIRST_VALUE;
use support::rotation::{
    NAME, SECRET, UNIT, adopt, adopted, assert_committed, assert_never_told, assert_rolled_back, assert_says,
    assert_serves_with, commits, delivered, is_refused, on, rotate, stage, status,
};
use support::{Backend, Debian, Machine, dependent, poll, seconds};

support::on_both_debians! {
    fn the_new_process_exits_at_once(debian) {
        goes_back_and_commits_once_mended(debian, Backend::good().fault("exits-at-once"), &["unit-failed"]);
    }

    fn the_new_process_exits_soon_after_it_was_ready(debian) {
        let backend = Backend::good().fault("exits-after-ready 300");
        goes_back_and_commits_once_mended(debian, backend, &["unsettled", "unit-failed"]);
    }

    fn the_new_process_exits_a_little_after_the_commit(debian) {
        let machine = adopted(debian, &Backend::good().fault("exits-after-settle 2500"));
        let said = rotate(&machine);
        assert_eq!(said.status, 0, "it stayed up for `settle`: {said}");
        poll(seconds(20), "the first value is in force again", || (status(&machine)["generation"] == 1).then_some(()));
        poll(seconds(20), "it is over", || status(&machine)["rotation"].is_null().then_some(()));
        assert_serves_with(&machine, FIRST_VALUE);
        assert_eq!(stage(&machine, 2), "rejected");
        let status = status(&machine);
        assert_eq!((&status["last"]["actor"]["by"], &status["last"]["outcome"]["outcome"]), (&"aftercare".into(), &"committed".into()));
        let story = machine.ok(&["rekeyctl", "history", NAME]);
        assert!(story.contains("looking after a consumer") && story.contains("exit status 1"), "{story}");
        let steps = machine.ok(&["rekeyctl", "audit", NAME]);
        assert!(steps.contains("preflight my-backend.service is failed, result exit-code, exit status 1"), "{steps}");
    }

    fn what_systemd_has_started_again_after_the_commit_has_ended_all_the_same(debian) {
        let backend = Backend::good().fault("exits-after-settle 2500").service("Restart=always\nRestartSec=20ms");
        let machine = adopted(debian, &backend);
        assert_eq!(rotate(&machine).status, 0);
        poll(seconds(20), "the first value is in force again", || (status(&machine)["generation"] == 1).then_some(()));
        poll(seconds(20), "it is over", || status(&machine)["rotation"].is_null().then_some(()));
        let said = machine.ok(&["rekeyctl", "status", NAME]);
        let because = said.lines().find(|line| line.trim_start().starts_with("Because")).unwrap_or_else(|| panic!("{said}"));
        let is_told = ["ended and was started again by systemd", "auto-restart"].iter().any(|words| because.contains(words));
        assert!(is_told, "{said}");
    }

    fn a_process_that_no_restart_ends_is_named_with_what_ends_it(debian) {
        let started = "ExecStartPost=/bin/sh -c 'exec setsid --fork sleep 1000'";
        let machine = adopted(debian, &Backend::good().service(&format!("KillMode=process\n{started}")));
        // What was started less than a second before the unit's start is not told from what that start has begun with.
        let age = || machine.sh("ps -o etimes= -C sleep").trim().parse::<u32>().ok();
        poll(seconds(10), "it has been there for a while", || age().filter(|age| *age >= 2));
        let said = rotate(&machine);
        assert_eq!(said.status, 2, "{said}");
        assert_says(&said, "(sleep) of my-backend.service, which its last restart did not end, has another JWT_SECRET than generation 2");
        assert_says(&said, "KillMode");
        // What is advised helps.
        for _ in 0..5 {
            let said = machine.exec(&["rekeyctl", "verify", NAME]);
            let text = said.to_string();
            let Some((_, rest)) = text.split_once("kill ") else { break };
            let pid: String = rest.chars().take_while(char::is_ascii_digit).collect();
            machine.ok(&["kill", &pid]);
        }
        machine.ok(&["rekeyctl", "verify", NAME]);
        assert_serves_with(&machine, FIRST_VALUE);
    }

    fn the_new_process_ends_well_but_unasked_a_little_after_the_commit(debian) {
        let machine = adopted(debian, &Backend::good().fault("ends-after-settle"));
        let said = rotate(&machine);
        assert_eq!(said.status, 0, "it stayed up for `settle`: {said}");
        poll(seconds(20), "the first value is in force again", || (status(&machine)["generation"] == 1).then_some(()));
        poll(seconds(20), "it is over", || status(&machine)["rotation"].is_null().then_some(()));
        assert_serves_with(&machine, FIRST_VALUE);
    }

    fn after_an_emergency_the_former_value_does_not_come_back_by_itself(debian) {
        let machine = adopted(debian, &Backend::good().fault("exits-after-settle 2500"));
        machine.ok(&["rekeyctl", "rotate", "--emergency", NAME]);
        let told = || machine.journal(&["REKEYD_SECRET=my-backend-jwt", "PRIORITY=3"]);
        poll(seconds(20), "it is told", || told().iter().any(|entry| entry.to_string().contains("put back by a person alone")).then_some(()));
        assert_eq!((&status(&machine)["generation"], &status(&machine)["rotation"]), (&2.into(), &serde_json::Value::Null));
        machine.ok(&["rekeyctl", "rollback", NAME]);
        assert_serves_with(&machine, FIRST_VALUE);
    }

    fn what_a_person_stops_after_the_commit_stays_stopped(debian) {
        // It does not even end well when it is told to.
        let backend = Backend::good().service("ExecStopPost=/bin/false");
        let machine = adopted(debian, &backend);
        commits(&machine, 2);
        machine.sh("systemctl stop my-backend.service || true");
        // Longer than aftercare takes to act: its own tests end within this.
        let until = std::time::Instant::now() + seconds(6);
        poll(seconds(10), "nothing else happens", || (std::time::Instant::now() > until).then_some(()));
        assert_ne!(machine.unit(UNIT, "ActiveState"), "active");
        assert_eq!(status(&machine)["generation"], 2);
    }

    fn a_person_takes_back_a_backend_that_has_failed_since(debian) {
        let machine = adopted(debian, &Backend::good());
        commits(&machine, 2);
        machine.sh("systemctl kill -s KILL my-backend.service");
        poll(seconds(10), "it has failed", || (machine.unit(UNIT, "ActiveState") == "failed").then_some(()));
        // Whoever comes first: rekeyd, which looks after it, or a person.
        let _ = machine.exec(&["rekeyctl", "rollback", "--wait", NAME]);
        poll(seconds(20), "it is over", || status(&machine)["rotation"].is_null().then_some(()));
        assert_serves_with(&machine, FIRST_VALUE);
    }

    fn the_new_process_is_never_ready(debian) {
        let backend = Backend::good().fault("never-ready").service("TimeoutStartSec=2");
        goes_back_and_commits_once_mended(debian, backend, &["not-ready"]);
    }

    fn a_start_that_would_never_end_is_ended_by_the_way_back(debian) {
        let backend = Backend::good().fault("never-ready").service("TimeoutStartSec=infinity");
        let machine = support::rotation::adopted_with(debian, &backend, "[rotation]\ndeadline = \"10s\"\n");
        assert_rolled_back(&machine, &rotate(&machine), 2, &["not-ready", "deadline-passed"]);
        assert_serves_with(&machine, FIRST_VALUE);
    }

    fn the_new_process_runs_into_its_start_limit(debian) {
        let backend = Backend::good()
            .fault("exits-at-once")
            .unit("StartLimitIntervalSec=1h\nStartLimitBurst=1")
            .service("Restart=always\nRestartSec=0");
        let machine = goes_back_and_commits_once_mended(debian, backend, &["start-limit", "unit-failed"]);
        let story = machine.journal(&["-u", UNIT]);
        assert!(story.iter().any(|entry| entry["MESSAGE"] == "my-backend.service: Start request repeated too quickly."));
    }

    fn the_new_process_dies_again_and_again(debian) {
        let backend = Backend::good().fault("exits-after-ready 50").service("Restart=always\nRestartSec=0");
        goes_back_and_commits_once_mended(debian, backend, &["unsettled", "start-limit", "unit-failed"]);
    }

    fn a_unit_that_is_part_of_the_backend_fails(debian) {
        a_dependent_fails(debian, "PartOf");
    }

    fn a_unit_that_requires_the_backend_fails(debian) {
        a_dependent_fails(debian, "Requires");
    }

    fn a_unit_that_is_bound_to_the_backend_fails(debian) {
        a_dependent_fails(debian, "BindsTo");
    }

    fn a_unit_whose_requisite_the_backend_is_fails(debian) {
        a_dependent_fails(debian, "Requisite");
    }

    fn the_units_own_command_sets_another_value(debian) {
        let backend = Backend::good();
        let command = format!("ExecStart=\nExecStart=/usr/bin/env JWT_SECRET={FIRST_VALUE} /usr/local/bin/toy-backend");
        let machine = adopted(debian, &backend.service(&command));
        assert_rolled_back(&machine, &rotate(&machine), 2, &["wrong-value"]);
    }

    fn something_that_the_daemon_reload_brings_wins_over_the_new_value(debian) {
        let generator = format!(
            "#!/bin/sh\ntest -e /etc/systemd/system/my-backend.service.d/90-rekeyd-{NAME}.conf || exit 0\n\
             mkdir \"$3/my-backend.service.d\"\n\
             printf '[Service]\\nEnvironmentFile=/etc/late.env\\n' > \"$3/my-backend.service.d/zz-late.conf\"\n"
        );
        let builder = on(debian, &Backend::good())
            .file("/etc/late.env", 0o600, "JWT_SECRET=something-else-0123456789abcdef0123456789\n")
            .file("/etc/systemd/system-generators/late", 0o755, generator);
        let machine = adopt(builder.boot());
        let process = machine.unit(UNIT, "MainPID");
        assert_rolled_back(&machine, &rotate(&machine), 2, &["overridden"]);
        assert_eq!(machine.unit(UNIT, "MainPID"), process, "it was restarted");

        machine.sh("rm /etc/systemd/system-generators/late; systemctl daemon-reload");
        commits(&machine, 3);
    }

    fn the_deadline_passes(debian) {
        let secret = SECRET.replace(r#"timeout = "3s""#, r#"timeout = "9s""#) + "[rotation]\ndeadline = \"10s\"\n";
        let machine = adopt(on(debian, &Backend::good().fault("hangs")).secret(NAME, &secret).boot());
        assert_rolled_back(&machine, &rotate(&machine), 2, &["deadline-passed"]);
    }

    fn the_login_answers_500(debian) {
        goes_back_and_commits_once_mended(debian, Backend::good().fault("login-500"), &["login-failed"]);
    }

    fn the_login_gives_no_jwt(debian) {
        goes_back_and_commits_once_mended(debian, Backend::good().fault("login-opaque"), &["token-unreadable"]);
    }

    fn tokens_are_still_signed_with_the_old_value(debian) {
        goes_back_and_commits_once_mended(debian, Backend::good().fault("signs-with-old"), &["signed-with-old"]);
    }

    fn tokens_of_the_old_value_are_still_accepted(debian) {
        goes_back_and_commits_once_mended(debian, Backend::good().fault("accepts-old"), &["accepts-retired"]);
    }

    fn the_protected_endpoint_refuses_its_own_tokens(debian) {
        goes_back_and_commits_once_mended(debian, Backend::good().fault("protected-refuses"), &["protected-refuses"]);
    }

    fn the_backend_accepts_connections_and_never_answers(debian) {
        goes_back_and_commits_once_mended(debian, Backend::good().fault("hangs"), &["probe-timeout"]);
    }

    fn a_worker_keeps_the_old_value(debian) {
        goes_back_and_commits_once_mended(debian, Backend::good().fault("stale-worker"), &["wrong-value"]);
    }

    fn the_second_of_two_backends_fails(debian) {
        let second = Backend::named("my-api", 3001).fault("exits-at-once");
        let secret = SECRET.replace(r#""my-backend.service""#, r#""my-backend.service", "my-api.service""#);
        let machine = adopt(on(debian, &Backend::good()).backend(&second).secret(NAME, &secret).boot());
        assert_rolled_back(&machine, &rotate(&machine), 2, &["unit-failed"]);
        let values = || machine.variable("my-api.service", "JWT_SECRET").into_iter().map(|(_, value)| value);
        assert_eq!(values().collect::<Vec<_>>(), [Some(FIRST_VALUE.to_owned())]);

        second.mend(&machine);
        let third = commits(&machine, 3);
        assert_eq!(values().collect::<Vec<_>>(), [Some(third)]);
    }

    fn a_fault_of_old_and_new_alike_calls_a_person(debian) {
        let backend = Backend::good().fault("fails-for-both");
        let machine = adopted(debian, &backend);
        let said = rotate(&machine);
        assert_eq!(said.status, 2, "{said}");
        let held = status(&machine);
        let outcome = &held["last"]["outcome"];
        assert_eq!(outcome["outcome"], "rollback-failed", "{held:#}");
        for fault in ["cause", "rollback"] {
            assert_eq!(outcome[fault]["code"], "unit-failed", "{held:#}");
            assert_says(&said, outcome[fault]["message"].as_str().unwrap_or("a message"));
        }
        assert_eq!(held["state"], "on-hold");
        assert_ne!(held["hold"], Value::Null);
        assert_eq!(held["generation"], 1);
        assert_eq!(stage(&machine, 2), "rejected");
        assert_eq!(delivered(&machine), FIRST_VALUE);
        assert_eq!(machine.unit(UNIT, "ActiveState"), "failed");
        is_on_hold(&machine);

        // Released before it is mended, it is refused as any sick backend is.
        machine.ok(&["rekeyctl", "release", NAME]);
        assert_eq!(status(&machine)["hold"], Value::Null);
        is_refused(&machine, "unit-sick", &[UNIT]);
        backend.mend(&machine);
        machine.sh("systemctl reset-failed my-backend.service; systemctl start my-backend.service");
        assert_serves_with(&machine, FIRST_VALUE);
        commits(&machine, 3);
    }

    fn a_consumer_that_ends_while_it_is_asked_is_the_reason(debian) {
        let machine = adopted(debian, &Backend::good().fault("hangs"));
        // By the proof: the preflight's questions come before the restart.
        let is_asked = format!(
            "old=$(systemctl show --value -p MainPID {UNIT}); until [ $(systemctl show --value -p MainPID {UNIT}) != $old ]; do :; done; \
             until ss -Htn state established '( dport = :3000 )' | grep -q .; do :; done"
        );
        let said = machine.exec(&[
            "sh",
            "-c",
            &format!("({is_asked}; systemctl kill --signal=KILL {UNIT}) & exec rekeyctl rotate {NAME}"),
        ]);
        assert_rolled_back(&machine, &said, 2, &["unsettled"]);
        assert_says(&said, "killed by signal 9");
    }

    fn after_three_rollbacks_in_a_row_a_person_is_called(debian) {
        let backend = Backend::good().fault("exits-at-once");
        let machine = adopted(debian, &backend);
        for generation in 2..=4 {
            assert_eq!(status(&machine)["state"], "in-force");
            let said = rotate(&machine);
            assert_rolled_back(&machine, &said, generation, &["unit-failed"]);
            let is_told = said.stdout.contains("on hold: 3 rotations in a row were rolled back; nothing rotates until");
            assert_eq!(is_told, generation == 4, "{said}");
        }
        assert_eq!(status(&machine)["state"], "on-hold");
        is_on_hold(&machine);
        // The schedule fails visibly too.
        let scheduled = format!("rekeyd-rotate@{NAME}.service");
        assert_ne!(machine.exec(&["systemctl", "start", &scheduled]).status, 0);
        assert_eq!(machine.unit(&scheduled, "ExecMainStatus"), "3");
        assert_serves_with(&machine, FIRST_VALUE);

        backend.mend(&machine);
        machine.ok(&["rekeyctl", "release", NAME]);
        commits(&machine, 5);
    }

    fn a_scheduled_rotation_that_fails_tells_and_tries_again(debian) {
        let backend = Backend::good().fault("exits-at-once");
        let schedule = "[schedule]\non-calendar = \"monthly\"\n";
        let tell = "[Unit]\nOnFailure=tell-somebody.service\n";
        let machine = adopt(
            on(debian, &backend)
                .secret(NAME, &format!("{SECRET}\n{schedule}"))
                .file("/etc/systemd/system/rekeyd-rotate@.service.d/tell.conf", 0o644, tell)
                .file("/etc/systemd/system/tell-somebody.service", 0o644, "[Service]\nExecStart=/bin/touch /root/told\n")
                .boot(),
        );
        let rotation = format!("rekeyd-rotate@{NAME}.service");
        let retry = format!("rekeyd-retry@{NAME}.timer");
        assert_eq!(machine.unit(&retry, "ActiveState"), "inactive");

        let said = machine.exec(&["systemctl", "start", &rotation]);
        assert_ne!(said.status, 0, "{said}");
        assert_eq!(machine.unit(&rotation, "Result"), "exit-code");
        assert_eq!(machine.unit(&rotation, "ExecMainStatus"), "1");
        assert_eq!(status(&machine)["last"]["actor"]["by"], "timer");
        assert_eq!(status(&machine)["last"]["outcome"]["outcome"], "rolled-back");
        assert_serves_with(&machine, FIRST_VALUE);
        poll(seconds(10), "somebody is told", || (machine.exec(&["test", "-e", "/root/told"]).status == 0).then_some(()));

        poll(seconds(10), "the retry is armed", || (machine.unit(&retry, "ActiveState") == "active").then_some(()));
        assert_ne!(machine.unit(&retry, "NextElapseUSecRealtime"), "");
        assert_ne!(status(&machine)["retry-at"], Value::Null);
        machine.sh("systemctl reset-failed");
        machine.reboot();
        poll(seconds(10), "it is armed again", || (machine.unit(&retry, "ActiveState") == "active").then_some(()));

        backend.mend(&machine);
        machine.ok(&["systemctl", "start", &format!("rekeyd-retry@{NAME}.service")]);
        assert_committed(&machine, 3);
        assert_eq!(status(&machine)["last"]["actor"]["by"], "retry");
        assert_eq!(status(&machine)["retry-at"], Value::Null);
    }
}

/// A fault of the new value only: everything is as before, and once the fault is gone a rotation commits.
fn goes_back_and_commits_once_mended(debian: Debian, backend: Backend, codes: &[&str]) -> Machine {
    let machine = adopted(debian, &backend);
    assert_rolled_back(&machine, &rotate(&machine), 2, codes);
    assert_eq!(status(&machine)["state"], "in-force");
    backend.mend(&machine);
    let third = commits(&machine, 3);
    assert_eq!(stage(&machine, 2), "rejected");
    assert_never_told(&machine, &[FIRST_VALUE, &third]);
    machine
}

fn a_dependent_fails(debian: Debian, how: &str) {
    let machine = on(debian, &Backend::good())
        .file("/etc/systemd/system/my-worker.service", 0o644, dependent(how))
        .link("/etc/systemd/system/multi-user.target.wants/my-worker.service", "../my-worker.service")
        .boot();
    let machine = adopt(machine);
    assert_eq!(machine.unit("my-worker.service", "ActiveState"), "active");
    assert_rolled_back(&machine, &rotate(&machine), 2, &["dependent-failed"]);
    assert_eq!(machine.unit("my-worker.service", "ActiveState"), "active");

    machine.put("/etc/systemd/system/my-worker.service.d/mended.conf", 0o644, "[Service]\nExecStartPre=\n");
    machine.ok(&["systemctl", "daemon-reload"]);
    commits(&machine, 3);
    assert_eq!(machine.unit("my-worker.service", "ActiveState"), "active");
}

/// A rotation is refused, and the way out is named.
fn is_on_hold(machine: &Machine) {
    let last = status(machine)["last"].clone();
    let run = || machine.ok(&["systemctl", "show", "-p", "InvocationID,ActiveState", UNIT]);
    let before = run();
    let said = rotate(machine);
    assert_eq!(said.status, 3, "{said}");
    assert_says(&said, "on hold");
    assert_says(&said, &format!("rekeyctl release {NAME}"));
    assert_eq!(status(machine)["last"], last);
    assert_eq!(run(), before);
}
