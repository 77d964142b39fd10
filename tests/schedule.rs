//! Schedules: real timers that match the configuration, and nothing that is ever rotated because it was configured.

#![allow(clippy::unwrap_used)]

use crate::support;

use serde_json::Value;
use support::rotation::{self, NAME, UNIT};
use support::{Backend, Machine, backend::FIRST_VALUE, poll, seconds};

const FILE: &str = "/etc/rekeyd/secrets.d/my-backend-jwt.toml";
const TIMER: &str = "rekeyd-rotate@my-backend-jwt.timer";
const SERVICE: &str = "rekeyd-rotate@my-backend-jwt.service";
const MONTHLY: &str = "[schedule]\non-calendar = \"monthly\"\n";

fn timers(machine: &Machine) -> Vec<String> {
    let text = machine.ok(&["systemctl", "list-timers", "--all", "-o", "json", "rekeyd-*"]);
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    rows.iter().map(|row| row["unit"].as_str().unwrap().to_owned()).collect()
}

fn overlap() -> String {
    format!("{}{MONTHLY}", rotation::OVERLAP)
}

/// Puts a configuration in force.
fn configure(machine: &Machine, more: &str) {
    machine.put(FILE, 0o644, rotation::toml(more));
    machine.ok(&["rekeyctl", "reload"]);
}

support::on_both_debians! {
    fn a_schedule_is_a_row_in_list_timers_and_its_service_carries_the_outcome(debian) {
        let machine = rotation::adopted_with(debian, &Backend::good(), MONTHLY);
        assert_eq!(timers(&machine), [TIMER]);
        machine.ok(&["systemctl", "start", SERVICE]);
        rotation::assert_new_value(&machine);
        assert_eq!(rotation::status(&machine)["last"]["actor"]["by"], "timer");

        Backend::good().break_now(&machine, "exits-at-once");
        machine.put("/etc/systemd/system/alarm.service", 0o644, "[Service]\nType=oneshot\nExecStart=/bin/touch /run/alarm\n");
        machine.sh(&format!(
            "mkdir -p /etc/systemd/system/{SERVICE}.d; \
             printf '[Unit]\\nOnFailure=alarm.service\\n' > /etc/systemd/system/{SERVICE}.d/alarm.conf; systemctl daemon-reload"
        ));
        assert_ne!(machine.exec(&["systemctl", "start", SERVICE]).status, 0);
        assert_eq!(machine.unit(SERVICE, "Result"), "exit-code");
        assert_eq!(machine.unit(SERVICE, "ExecMainStatus"), "1");
        poll(seconds(10), "OnFailure= fires", || (machine.exec(&["test", "-e", "/run/alarm"]).status == 0).then_some(()));
        assert!(timers(&machine).contains(&"rekeyd-retry@my-backend-jwt.timer".to_owned()), "the next try is armed");
        machine.reboot();
        poll(seconds(10), "the next try is armed again", || {
            timers(&machine).contains(&"rekeyd-retry@my-backend-jwt.timer".to_owned()).then_some(())
        });
    }

    fn a_timer_that_elapses_rotates(debian) {
        let machine = rotation::adopted(debian, &Backend::good());
        configure(&machine, "[schedule]\non-calendar = \"*:*:0/5\"\n");
        poll(seconds(30), "the timer rotates", || {
            (rotation::status(&machine)["last"]["outcome"]["outcome"] == "committed").then_some(())
        });
        assert_eq!(rotation::status(&machine)["last"]["actor"]["by"], "timer");
    }

    fn configuring_changing_and_restarting_never_rotates(debian) {
        let machine = rotation::adopted(debian, &Backend::good());
        let before = machine.unit(UNIT, "InvocationID");
        configure(&machine, MONTHLY);
        // As if the timer had last run a year ago.
        machine.sh(&format!("systemctl stop {TIMER}; touch -d '1 year ago' /var/lib/systemd/timers/stamp-{TIMER}"));
        machine.ok(&["systemctl", "restart", "rekeyd.service"]);
        poll(seconds(10), "the timer runs again", || (machine.unit(TIMER, "ActiveState") == "active").then_some(()));
        machine.sh(&format!("touch -d '1 year ago' /var/lib/systemd/timers/stamp-{TIMER}"));
        configure(&machine, "[schedule]\non-calendar = \"weekly\"\n");
        let next = machine.unit(TIMER, "NextElapseUSecRealtime");
        machine.ok(&["systemctl", "reload", "rekeyd.service"]);
        assert!(!next.is_empty());
        assert_eq!(machine.unit(UNIT, "InvocationID"), before);
        assert_eq!(machine.unit(SERVICE, "ExecMainStartTimestampMonotonic"), "0", "the rotation was started");
        assert_eq!(rotation::value(&machine), FIRST_VALUE);
    }

    fn a_schedule_that_was_edited_rotates_nothing_before_it_is_applied(debian) {
        let machine = rotation::adopted_with(debian, &Backend::good(), MONTHLY);
        machine.sh(&format!("systemctl stop {TIMER}; touch -d '20 days ago' /var/lib/systemd/timers/stamp-{TIMER}; systemctl start {TIMER}"));
        let before = machine.unit(UNIT, "InvocationID");
        machine.sh(&format!("sed -i 's/^on-calendar.*/on-calendar = \"weekly\"/' /etc/rekeyd/secrets.d/{NAME}.toml"));
        // As another package may do: the timer has missed a date of the new schedule.
        machine.ok(&["systemctl", "daemon-reload"]);
        poll(seconds(20), "the timer has started it", || (machine.unit(SERVICE, "ExecMainExitTimestampMonotonic") != "0").then_some(()));
        assert_eq!(machine.unit(SERVICE, "Result"), "success");
        let said = machine.journal(&["-u", "rekeyd.service"]);
        let is_it = |entry: &serde_json::Value| entry["MESSAGE"].as_str().unwrap_or_default().contains("its schedule was edited and is not in force yet");
        assert!(said.iter().any(is_it), "{said:#?}");
        assert_eq!(machine.unit(UNIT, "InvocationID"), before);
        rotation::assert_says(&machine.exec(&["rekeyctl", "doctor"]), "its schedule was edited and is not in force yet");
        machine.ok(&["rekeyctl", "reload"]);
        assert_eq!(machine.unit(UNIT, "InvocationID"), before);
    }

    fn a_schedule_that_was_edited_rotates_nothing_when_the_daemon_or_the_machine_starts(debian) {
        let machine = rotation::adopted_with(debian, &Backend::good(), MONTHLY);
        let long_ago = || machine.sh(&format!("systemctl stop {TIMER}; touch -d '20 days ago' /var/lib/systemd/timers/stamp-{TIMER}; systemctl start {TIMER}"));
        let edited = |from: &str, to: &str| {
            machine.sh(&format!("sed -i 's/^on-calendar.*{from}.*/on-calendar = \"{to}\"/' /etc/rekeyd/secrets.d/{NAME}.toml"));
        };
        let is_fresh = |what: &str| {
            // For a moment there is none.
            let age = || machine.exec(&["sh", "-c", &format!("echo $(($(date +%s) - $(stat -c %Y /var/lib/systemd/timers/stamp-{TIMER})))")]);
            poll(seconds(20), what, || (age().stdout.trim().parse::<i64>().ok()? < 3600).then_some(()));
            poll(seconds(20), what, || (machine.unit(TIMER, "ActiveState") == "active").then_some(()));
            assert_eq!(rotation::value(&machine), FIRST_VALUE, "{what}");
        };
        long_ago();
        edited("monthly", "weekly");
        machine.ok(&["systemctl", "restart", "rekeyd"]);
        is_fresh("the timer counts from the start of the daemon");
        machine.ok(&["systemctl", "daemon-reload"]);
        assert_eq!(machine.unit(SERVICE, "ExecMainStartTimestampMonotonic"), "0");
        long_ago();
        edited("weekly", "daily");
        machine.reboot();
        is_fresh("the timer counts from the boot");
        assert_eq!(rotation::status(&machine)["generation"], 1);
        // What is in force by now is made up for like any other.
        machine.sh(&format!("touch -d '20 days ago' /var/lib/systemd/timers/stamp-{TIMER}"));
        machine.reboot();
        poll(seconds(30), "it is made up for", || rotation::new_value(&machine));
    }

    fn a_missed_rotation_is_made_up_for_where_the_schedule_is_persistent(debian) {
        let machine = rotation::adopted_with(debian, &Backend::good(), MONTHLY);
        machine.sh(&format!("touch -d '1 year ago' /var/lib/systemd/timers/stamp-{TIMER}"));
        machine.reboot();
        poll(seconds(30), "it is made up for", || rotation::new_value(&machine));

        let machine = rotation::adopted_with(debian, &Backend::good(), "[schedule]\non-calendar = \"monthly\"\npersistent = false\n");
        machine.sh(&format!("mkdir -p /var/lib/systemd/timers; touch -d '1 year ago' /var/lib/systemd/timers/stamp-{TIMER}"));
        machine.reboot();
        poll(seconds(10), "the timer runs", || (machine.unit(TIMER, "ActiveState") == "active").then_some(()));
        assert_eq!(machine.unit(SERVICE, "ExecMainStartTimestampMonotonic"), "0");
    }

    fn a_date_whose_window_is_over_is_not_made_up_for(debian) {
        // As if the timer elapsed now and its last date was weeks ago.
        let away = "[schedule]\non-calendar = \"2020-01-01\"\nwindow = \"1h\"\n";
        let machine = rotation::adopted_with(debian, &Backend::good(), away);
        machine.ok(&["systemctl", "start", SERVICE]);
        assert_eq!(rotation::value(&machine), FIRST_VALUE);
        let said = machine.journal(&["-u", SERVICE]);
        assert!(said.iter().any(|entry| entry["MESSAGE"].as_str().unwrap_or_default().contains("window is over")), "{said:#?}");

        configure(&machine, "[schedule]\non-calendar = \"*:*:0/10\"\nwindow = \"1h\"\nrandomized-delay = \"30min\"\n");
        machine.ok(&["systemctl", "start", SERVICE]);
        assert_eq!(rotation::status(&machine)["generation"], 2);
    }

    fn what_was_rolled_back_is_tried_again_within_its_window_alone(debian) {
        let machine = rotation::adopted_with(debian, &Backend::good().fault("exits-at-once"), MONTHLY);
        // Its window is open now, and not in an hour.
        let now = machine.sh("date -u '+*-*-* %H:%M'");
        let schedule = format!("[schedule]\non-calendar = \"{} UTC\"\nwindow = \"30min\"\n", now.trim());
        configure(&machine, &schedule);
        assert_eq!(machine.exec(&["systemctl", "start", SERVICE]).status, 1);
        assert_eq!(rotation::status(&machine)["retry-at"], Value::Null);
        assert_eq!(timers(&machine), [TIMER]);
        assert!(machine.ok(&["rekeyctl", "status", NAME]).contains(", tried again then)"));
        rotation::assert_says(&machine.exec(&["rekeyctl", "doctor"]), "the last rotation was rolled back");
        // One that comes later than it should is skipped, too.
        configure(&machine, &schedule.replace("30min", "8h"));
        assert_eq!(machine.exec(&["systemctl", "start", SERVICE]).status, 1);
        assert!(timers(&machine).contains(&"rekeyd-retry@my-backend-jwt.timer".to_owned()));
        configure(&machine, &schedule.replace(now.trim(), "2020-01-01 00:00"));
        machine.ok(&["systemctl", "start", "rekeyd-retry@my-backend-jwt.service"]);
        let told = rotation::status(&machine);
        assert_eq!((&told["retry-at"], &told["waits-for-schedule"]), (&Value::Null, &true.into()), "{told:#}");
    }

    fn the_next_try_waits_for_the_end_of_the_overlap_that_the_failed_one_opened(debian) {
        let machine = rotation::adopted_with(debian, &Backend::good().fault("protected-refuses"), &overlap());
        assert_eq!(machine.exec(&["systemctl", "start", SERVICE]).status, 1);
        let told = rotation::status(&machine);
        assert_eq!(told["accepted"], serde_json::json!([2]), "tokens may be signed with it: {told:#}");
        let seconds = |at: &str| told[at].as_str().map(|at| at[..19].to_owned()).unwrap();
        assert!(seconds("retry-at") > seconds("retire-at"), "{told:#}");
    }

    fn who_stops_all_schedules_and_starts_them_has_the_end_of_an_overlap_back(debian) {
        let machine = rotation::adopted_with(debian, &Backend::good(), &overlap());
        machine.ok(&["rekeyctl", "rotate", NAME]);
        let ends = || machine.unit("rekeyd-retire@my-backend-jwt.timer", "ActiveState") == "active";
        poll(seconds(10), "the end is armed", || ends().then_some(()));
        machine.ok(&["systemctl", "stop", "rekeyd-timers.target"]);
        assert!(!ends());
        machine.ok(&["systemctl", "start", "rekeyd-timers.target"]);
        poll(seconds(10), "the end is armed again", || ends().then_some(()));
    }

    fn what_a_timer_has_asked_for_is_not_lost_with_the_daemon(debian) {
        let machine = rotation::adopted_with(debian, &Backend::good(), MONTHLY);
        machine.ok(&["systemctl", "start", "--no-block", SERVICE]);
        poll(seconds(10), "it asks", || (machine.unit(SERVICE, "ActiveState") == "activating").then_some(()));
        machine.ok(&["systemctl", "kill", "--signal=KILL", "rekeyd.service"]);
        poll(seconds(60), "it ends", || (machine.unit(SERVICE, "ActiveState") != "activating").then_some(()));
        assert_eq!(machine.unit(SERVICE, "Result"), "success");
        assert_eq!(rotation::status(&machine)["generation"], 2);
    }

    fn a_calendar_that_systemd_does_not_take_is_a_mistake_of_the_configuration(debian) {
        let machine = rotation::adopted_with(debian, &Backend::good(), MONTHLY);
        machine.put(FILE, 0o644, rotation::toml("[schedule]\non-calendar = \"every now and then\"\n"));
        let said = machine.exec(&["rekeyctl", "reload"]);
        assert_eq!(said.status, 78, "{said}");
        rotation::assert_says(&said, "my-backend-jwt.toml:19:15: error: `on-calendar`");
        let end = "[invalidation]\nmode = \"overlap\"\nprevious-env = \"OLD\"\nretire-on-calendar = \"at night\"\n";
        machine.put(FILE, 0o644, rotation::toml(&format!("{MONTHLY}{end}")));
        rotation::assert_says(&machine.exec(&["rekeyctl", "reload"]), "23:22: error: `retire-on-calendar`");
        assert_eq!(timers(&machine), [TIMER], "the schedule before stays in force");
    }

    fn the_next_try_is_moot_once_a_person_has_rotated(debian) {
        let backend = Backend::good().fault("exits-at-once");
        let machine = rotation::adopted_with(debian, &backend, MONTHLY);
        let retry = "rekeyd-retry@my-backend-jwt.timer".to_owned();
        assert_ne!(machine.exec(&["systemctl", "start", SERVICE]).status, 0);
        assert!(timers(&machine).contains(&retry));
        backend.mend(&machine);
        rotation::rotate_ok(&machine);
        poll(seconds(10), "the timer is gone", || (!timers(&machine).contains(&retry)).then_some(()));
    }

    fn a_schedule_that_is_taken_out_leaves_nothing(debian) {
        let machine = rotation::adopted_with(debian, &Backend::good(), MONTHLY);
        assert_eq!(timers(&machine), [TIMER]);
        machine.put(FILE, 0o644, rotation::toml(""));
        let said = machine.ok(&["rekeyctl", "reload"]);
        assert!(said.contains(&format!("stopped {TIMER}")), "{said}");
        assert_eq!(timers(&machine), [""; 0]);
        machine.sh("rm /etc/rekeyd/secrets.d/my-backend-jwt.toml; rekeyctl reload");
        assert_eq!(timers(&machine), [""; 0]);
        assert_eq!(machine.ok(&["systemctl", "--failed", "--no-legend"]).trim(), "");
    }

    fn each_of_several_secrets_has_the_schedule_of_its_own_file(debian) {
        let secret = |unit: &str, schedule: &str| {
            format!("[secret]\nenv = \"A\"\n{schedule}[[target]]\ntype = \"systemd\"\nunits = [\"{unit}\"]\n")
        };
        let machine = rotation::on_with(debian, &Backend::good(), MONTHLY)
            .secret("same", &secret("same.service", MONTHLY))
            .secret("other", &secret("other.service", "[schedule]\non-calendar = \"yearly\"\n"))
            .secret("another", &secret("another.service", "[schedule]\non-calendar = \"yearly\"\n"))
            .secret("once-more", &secret("once-more.service", MONTHLY))
            .secret("by-hand", &secret("by-hand.service", ""))
            .secret("broken", &secret("not a unit", MONTHLY))
            .may_be_degraded()
            .boot();
        let calendar = |name: &str| {
            machine.ok(&["systemctl", "show", "-P", "TimersCalendar", &format!("rekeyd-rotate@{name}.timer")])
        };
        for name in ["my-backend-jwt", "same", "once-more"] {
            assert!(calendar(name).contains("OnCalendar=*-*-01 00:00:00"), "{name}");
        }
        for name in ["another", "other"] {
            let calendar = calendar(name);
            assert!(calendar.contains("OnCalendar=*-01-01 00:00:00") && !calendar.contains("*-*-01"), "{calendar}");
        }
        for name in ["by-hand", "broken"] {
            assert_eq!(calendar(name).trim(), "");
            assert_ne!(machine.exec(&["systemctl", "start", &format!("rekeyd-rotate@{name}.timer")]).status, 0);
        }
        let mut all = timers(&machine);
        all.sort();
        let wanted = ["another", "my-backend-jwt", "once-more", "other", "same"];
        assert_eq!(all, wanted.map(|name| format!("rekeyd-rotate@{name}.timer")));
    }

    fn a_secret_whose_file_is_gone_is_not_rotated_by_its_schedule(debian) {
        let machine = rotation::adopted_with(debian, &Backend::good(), MONTHLY);
        machine.sh(&format!("rm {FILE}; systemctl daemon-reload"));
        machine.ok(&["systemctl", "start", SERVICE]);
        assert_eq!(rotation::value(&machine), FIRST_VALUE);
    }

    fn a_paused_schedule_does_nothing_and_that_is_success(debian) {
        let machine = rotation::adopted_with(debian, &Backend::good(), MONTHLY);
        machine.ok(&["rekeyctl", "pause", NAME]);
        machine.ok(&["systemctl", "start", SERVICE]);
        assert_eq!(rotation::value(&machine), FIRST_VALUE);
        machine.ok(&["rekeyctl", "resume", NAME]);
        machine.ok(&["systemctl", "start", SERVICE]);
        rotation::assert_new_value(&machine);
    }

    fn a_broken_file_is_named_and_the_others_count(debian) {
        let machine = rotation::on_with(debian, &Backend::good(), MONTHLY).secret("broken", "[secret\nenv = ").may_be_degraded().boot();
        assert_eq!(timers(&machine), [TIMER]);
        machine.ok(&["systemctl", "daemon-reload"]);
        let named = |entry: &Value| entry["MESSAGE"].as_str().is_some_and(|text| text.contains("broken.toml:1:"));
        poll(seconds(10), "the broken file is named in the journal", || {
            machine.journal(&["-b", "-t", "rekeyd-generator"]).iter().any(named).then_some(())
        });
        let said = machine.exec(&["rekeyctl", "reload"]);
        assert_eq!(said.status, 78, "{said}");
        assert!(said.stderr.contains("broken.toml:1:"), "{said}");
        let said = rotation::rotate(&machine);
        assert_eq!(said.status, 78, "{said}");
    }
}
