//! Who is told when a person is needed, and what a monitoring system reads.

#![allow(clippy::unwrap_used)]

use crate::support;

use serde_json::Value;
use support::rotation::{self, NAME, assert_says, rotate, status};
use support::{Backend, Builder, Debian, Machine, poll, seconds};

const TOLD: &str = "/var/lib/told";
const COMMAND: &str = "[notify]\ncommand = [\"/usr/local/bin/page-me\", \"loudly\"]\n";
/// A line for each notification: what the environment says of it, and the document.
const PAGE_ME: &str = "#!/bin/sh\nset -eu\ntest \"$1\" = loudly\ntest ! -e /run/deaf\n\
    echo \"$REKEYD_EVENT $REKEYD_SECRET\" \"$(cat)\" >>/var/lib/told\n";
const METRICS: &str = "/run/rekeyd/metrics/rekeyd.prom";

support::on_both_debians! {
    fn a_failure_is_told_once_and_its_end_once(debian) {
        let backend = Backend::good().fault("exits-at-once");
        let machine = adopted(debian, &backend, COMMAND, "");
        let said = rotate(&machine);
        assert_eq!(said.status, 1, "{said}");
        let told = told(&machine, 1);
        assert_eq!(told[0].0, format!("failure {NAME}"));
        let document = &told[0].1;
        assert_eq!((&document["event"], &document["secret"]), (&"failure".into(), &NAME.into()));
        assert!(document["reason"].as_str().unwrap().contains("rolled-back: "), "{document:#}");
        assert_eq!(document["rotation"], status(&machine)["last"]["id"]);
        assert!(document["text"].as_str().unwrap().contains("journalctl REKEYD_ROTATION="), "{document:#}");
        // It is the same trouble after a restart, which looks at once.
        machine.ok(&["systemctl", "restart", "rekeyd"]);
        backend.mend(&machine);
        rotation::commits(&machine, 3);
        let told = self::told(&machine, 2);
        assert_eq!(told[1].0, format!("recovery {NAME}"));
    }

    fn what_a_person_merely_releases_is_not_told_to_be_well(debian) {
        let backend = Backend::good().fault("fails-for-both");
        let machine = adopted(debian, &backend, COMMAND, "");
        assert_eq!(rotate(&machine).status, 2);
        assert_eq!(told(&machine, 1)[0].0, format!("hold {NAME}"));
        machine.ok(&["rekeyctl", "release", NAME]);
        let told = told(&machine, 2);
        assert_eq!(told[1].0, format!("recovery {NAME}"));
        let text = told[1].1["text"].as_str().unwrap();
        assert!(text.contains("not proven since") && text.contains(&format!("(rekeyctl verify {NAME})")), "{text}");
    }

    fn a_schedule_that_is_refused_is_told_until_its_cause_is_gone(debian) {
        let schedule = "[schedule]\non-calendar = \"2099-01-01\"\n";
        let machine = told_by(debian, &Backend::good(), COMMAND, schedule).boot();
        let service = format!("rekeyd-rotate@{NAME}.service");
        for _ in 0..2 {
            assert_ne!(machine.exec(&["systemctl", "start", &service]).status, 0);
        }
        let told = self::told(&machine, 1);
        assert_eq!(told[0].0, format!("failure {NAME}"));
        assert!(told[0].1["reason"].as_str().unwrap().contains("rekeyctl adopt"), "{told:#?}");
        assert_says(&machine.exec(&["rekeyctl", "status", NAME]), "Refused: to its timer since");
        assert_says(&machine.exec(&["rekeyctl", "doctor"]), "its timer was refused since");
        machine.ok(&["rekeyctl", "adopt", NAME]);
        let told = self::told(&machine, 2);
        assert_eq!(told.iter().map(|(line, _)| line.as_str()).collect::<Vec<_>>(), [
            format!("failure {NAME}"),
            format!("recovery {NAME}"),
        ]);
    }

    fn a_hold_is_told_again_while_it_lasts(debian) {
        let backend = Backend::good().fault("exits-at-once");
        let notify = format!("{COMMAND}on = [\"hold\"]\nrepeat = \"2s\"\nuser = \"nobody\"\n");
        let machine = adopted(debian, &backend, &notify, "");
        machine.sh(&format!("install -o nobody -m 600 /dev/null {TOLD}"));
        for _ in 0..3 {
            assert_eq!(rotate(&machine).status, 1);
        }
        poll(seconds(10), "the secret is on hold", || status(&machine)["hold"].is_string().then_some(()));
        // Nothing happens meanwhile, and something must: the ages are looked at once a minute.
        let told = poll(seconds(20), "it is told again", || {
            machine.ok(&["rekeyctl", "reload"]);
            Some(self::told(&machine, 1)).filter(|told| told.len() > 1)
        });
        assert!(told.iter().all(|(line, _)| *line == format!("hold {NAME}")), "{told:#?}");
        machine.ok(&["rekeyctl", "release", NAME]);
        // The recovery is not among what is to be told.
        let count = self::told(&machine, 1).len();
        machine.ok(&["rekeyctl", "notify"]);
        let told = self::told(&machine, count + 1);
        assert_eq!(told.last().unwrap().0, "test ");
    }

    fn a_value_that_is_overdue_is_told(debian) {
        let schedule = "[schedule]\non-calendar = \"2099-01-01\"\noverdue-after = \"2s\"\n";
        let machine = adopted(debian, &Backend::good(), COMMAND, schedule);
        let told = poll(seconds(20), "it is overdue", || {
            machine.ok(&["rekeyctl", "reload"]);
            Some(self::all_told(&machine)).filter(|told| !told.is_empty())
        });
        assert_eq!(told[0].0, format!("overdue {NAME}"));
        assert!(told[0].1["reason"].as_str().unwrap().contains("which is in force, is of"), "{told:#?}");
    }

    fn a_store_that_is_locked_is_told_and_that_it_is_open_again(debian) {
        let machine = adopted(debian, &Backend::good(), COMMAND, "");
        let id = machine.read("/etc/machine-id");
        machine.put("/etc/machine-id", 0o444, "0123456789abcdef0123456789abcdef\n");
        machine.ok(&["systemctl", "restart", "rekeyd"]);
        let told = self::told(&machine, 1);
        assert_eq!(told[0].0, "locked ");
        assert_eq!(told[0].1["advice"], "rekeyctl doctor");
        poll(seconds(10), "the metrics say so", || metric(&machine, "rekeyd_store_locked").filter(|value| value == "1"));
        machine.put("/etc/machine-id", 0o444, &id);
        machine.ok(&["rekeyctl", "reload"]);
        let told = self::told(&machine, 2);
        assert_eq!(told[1].0, "recovery ");
    }

    fn a_webhook_is_told_and_its_address_is_nobodys_business(debian) {
        let notify = "[notify]\nwebhook = \"http://127.0.0.1:9099/services/pa55-in-the-path\"\n\
            header-file = \"/etc/rekeyd/webhook.header\"\n";
        let backend = Backend::good().fault("exits-at-once");
        let machine = rotation::on(debian, &backend)
            .file("/etc/rekeyd/rekeyd.toml", 0o600, notify)
            .file("/etc/rekeyd/webhook.header", 0o600, "Authorization: Bearer let-me-tell\n");
        let machine = listening(machine);
        assert_eq!(rotate(&machine).status, 1);
        let request = poll(seconds(20), "it was posted", || {
            let request = machine.exec(&["cat", TOLD]).stdout;
            request.contains("\r\n\r\n{").then_some(request)
        });
        assert!(request.starts_with("POST /services/pa55-in-the-path HTTP/1.1\r\n"), "{request}");
        assert!(request.to_lowercase().contains("content-type: application/json"), "{request}");
        assert!(request.contains("Bearer let-me-tell"), "{request}");
        let document: Value = serde_json::from_str(request.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert_eq!(document["event"], "failure", "{document:#}");

        machine.put("/run/answer", 0o644, "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        let said = machine.exec(&["rekeyctl", "notify"]);
        assert_eq!(said.status, 1, "{said}");
        assert_says(&said, "the webhook at http://127.0.0.1:9099 answered 403");
        rotation::assert_never_told(&machine, &["pa55-in-the-path", "let-me-tell"]);
    }

    fn what_does_not_arrive_is_told_in_the_journal(debian) {
        let backend = Backend::good().fault("exits-at-once");
        let machine = adopted(debian, &backend, COMMAND, "");
        machine.put("/run/deaf", 0o600, "");
        assert_eq!(rotate(&machine).status, 1);
        let id = rekeyd::record::message_id::NOTIFY_FAILED;
        let entry = poll(seconds(20), "the journal says so", || machine.journal(&[&format!("MESSAGE_ID={id}")]).pop());
        assert!(entry["MESSAGE"].as_str().unwrap().contains("page-me ended with status 1"), "{entry:#}");
        assert!(entry["REKEYD_ADVICE"].as_str().unwrap().contains("journalctl -u rekeyd-notify-"), "{entry:#}");
        assert_eq!(entry["REKEYD_SECRET"], NAME);
        // What did not arrive is not taken for told.
        machine.sh("rm /run/deaf; systemctl restart rekeyd");
        assert_eq!(told(&machine, 1)[0].0, format!("failure {NAME}"));
    }

    fn nobody_to_tell_is_refused(debian) {
        let machine = adopted(debian, &Backend::good(), "", "");
        let said = machine.exec(&["rekeyctl", "notify"]);
        assert_eq!(said.status, 3, "{said}");
        assert_says(&said, "names neither `command` nor `webhook`");
    }

    fn the_metrics_say_how_each_secret_stands(debian) {
        let schedule = "[schedule]\non-calendar = \"2099-01-01\"\n";
        let backend = Backend::good();
        let machine = adopted(debian, &backend, "", schedule);
        rotation::commits(&machine, 2);
        let of = |metric: &str| format!("rekeyd_secret_{metric}{{secret=\"{NAME}\"");
        let is = |name: &str, wanted: &str| {
            poll(seconds(20), name, || metric(&machine, name).filter(|value| value == wanted));
        };
        is(&format!("{}}}", of("generation")), "2");
        is(&format!("{}}}", of("on_hold")), "0");
        is(&format!("{},outcome=\"committed\"}}", of("attempts_total")), "1");
        is(&format!("{},outcome=\"committed\"}}", of("last_result")), "1");
        let next: f64 = metric(&machine, &format!("{}}}", of("next_timestamp_seconds"))).unwrap().parse().unwrap();
        assert!((next - 4_070_908_800.0).abs() < 86_400.0, "{next}");
        backend.break_now(&machine, "login-500");
        assert_eq!(rotate(&machine).status, 1);
        is(&format!("{},outcome=\"rolled-back\"}}", of("attempts_total")), "1");
        is(&format!("{},outcome=\"rolled-back\"}}", of("last_result")), "1");
        is(&format!("{},outcome=\"committed\"}}", of("last_result")), "0");
        is(&format!("{}}}", of("probe_failures_total")), "1");
        machine.ok(&["rekeyctl", "pause", NAME]);
        is(&format!("{}}}", of("paused")), "1");
        assert_eq!(machine.ok(&["stat", "-c", "%a", METRICS]).trim(), "644");
        // A collector looks at any time, at what ends in .prom.
        assert_eq!(machine.ok(&["ls", "-A", "/run/rekeyd/metrics"]).trim(), "rekeyd.prom");
        rotation::assert_never_told(&machine, &[&rotation::value(&machine)]);
    }
}

fn adopted(debian: Debian, backend: &Backend, rekeyd_toml: &str, more: &str) -> Machine {
    rotation::adopt(told_by(debian, backend, rekeyd_toml, more).boot())
}

fn told_by(debian: Debian, backend: &Backend, rekeyd_toml: &str, more: &str) -> Builder {
    let machine = rotation::on_with(debian, backend, more);
    machine.file("/etc/rekeyd/rekeyd.toml", 0o600, rekeyd_toml).file("/usr/local/bin/page-me", 0o755, PAGE_ME)
}

/// With a webhook's receiver that answers what /run/answer says.
fn listening(machine: Builder) -> Machine {
    let script = "#!/bin/sh\nlength=0\nwhile read -r line; do\n\
        printf '%s\\n' \"$line\" >>/var/lib/told.new\n\
        case $line in [Cc]ontent-[Ll]ength:*) length=$(printf %s \"${line#*: }\" | tr -d '\\r') ;; esac\n\
        test \"$line\" != \"$(printf '\\r')\" || break\ndone\n\
        head -c \"$length\" >>/var/lib/told.new; cat /run/answer; mv /var/lib/told.new /var/lib/told\n";
    let answer = "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
    let machine = machine
        .file("/usr/local/bin/receive", 0o755, script)
        .file("/etc/systemd/system/hook.socket", 0o644, "[Socket]\nListenStream=127.0.0.1:9099\nAccept=yes\n")
        .file(
            "/etc/systemd/system/hook@.service",
            0o644,
            "[Service]\nExecStart=/usr/local/bin/receive\nStandardInput=socket\n",
        );
    let machine = machine.boot();
    machine.put("/run/answer", 0o644, answer);
    machine.ok(&["systemctl", "start", "hook.socket"]);
    rotation::adopt(machine)
}

/// What the command was told, once it is as much as this: the environment's line and the document.
fn told(machine: &Machine, count: usize) -> Vec<(String, Value)> {
    poll(seconds(30), &format!("{count} notifications"), || Some(all_told(machine)).filter(|told| told.len() >= count))
}

fn all_told(machine: &Machine) -> Vec<(String, Value)> {
    let text = machine.exec(&["cat", TOLD]).stdout;
    let parted = text.lines().map(|line| {
        let (line, document) = line.split_at(line.find(" {").unwrap());
        (line.to_owned(), serde_json::from_str(document).unwrap())
    });
    parted.collect()
}

fn metric(machine: &Machine, name: &str) -> Option<String> {
    let text = machine.exec(&["cat", METRICS]).stdout;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned))
}
