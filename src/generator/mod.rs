//! `rekeyd-generator`: from the schedules to systemd timers (systemd.generator(7)).
//!
//! Each secret with a schedule gets the timer `rekeyd-rotate@NAME.timer`: the shipped template with what the schedule says.
//! A whole file, since a drop-in has a directory of its own, and to make these would take as long as all else; those with
//! the same text share one. One drop-in of `rekeyd-timers.target` wants all timers. The generator runs at each boot and
//! each daemon-reload, for everybody, so it does little and never fails: what is right counts, and what is wrong is told
//! to the journal.

use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::path::Path;
use std::time::Duration;

use crate::config::{self, Dirs, Finding, Schedule, Severity};

mod journal;
mod output;

pub use journal::complain;

use output::Output;

const TIMERS_TARGET: &str = "/usr/lib/systemd/system/rekeyd-timers.target";

/// What all timers have; it ends within `[Timer]`.
const TEMPLATE: &str = include_str!("../../systemd/rekeyd-rotate@.timer");

/// Writes the units for the configuration in `dirs` to the directory `out`. What could not be used or written is in
/// the complaints, a line each; everything else is done all the same.
pub fn generate(dirs: &Dirs, out: &Path) -> Vec<String> {
    // The process ends with it: to take it apart would be work for nothing.
    let loaded = ManuallyDrop::new(config::load(dirs));
    let errors = loaded.findings.iter().filter(|finding| finding.severity == Severity::Error);
    let mut complaints: Vec<String> = errors.map(Finding::one_line).collect();
    let scheduled: Vec<_> =
        loaded.settings.secrets.values().filter_map(|secret| Some((secret, secret.schedule.as_ref()?))).collect();
    if scheduled.is_empty() {
        return complaints;
    }
    let output = match Output::open(out) {
        Ok(output) => output,
        Err(error) => {
            complaints.push(error);
            return complaints;
        }
    };
    let mut wanted = String::from("# Made by rekeyd-generator\n[Unit]\n");
    let mut written: BTreeMap<(&Schedule, &Path), String> = BTreeMap::new();
    for (secret, schedule) in scheduled {
        let timer = format!("rekeyd-rotate@{}.timer", secret.name);
        setting(&mut wanted, "Wants", &timer);
        let directory = secret.file.parent().unwrap_or(&secret.file);
        let same = written.get(&(schedule, directory));
        if same.is_none_or(|same| output.hard_link(same, &timer).is_err()) {
            output.file(&timer, &timer_text(directory, schedule), &mut complaints);
            written.insert((schedule, directory), timer);
        }
    }
    output.drop_in("rekeyd-timers.target.d", "50-timers.conf", &wanted, &mut complaints);
    if let Some(wanted) = output.directory("timers.target.wants", &mut complaints) {
        wanted.link(TIMERS_TARGET, "rekeyd-timers.target", &mut complaints);
    }
    complaints
}

/// A timer of a secret whose file is in the directory.
fn timer_text(directory: &Path, schedule: &Schedule) -> String {
    let mut text = String::with_capacity(1024);
    text.push_str("# Made by rekeyd-generator from the secret's [schedule]\n[Unit]\nSourcePath=");
    push(&mut text, &config::findings::printable(directory));
    // The instance of the timer is the secret, which has the name of its file.
    text.push_str("/%i.toml\n\n");
    text.push_str(TEMPLATE);
    for calendar in &schedule.on_calendar {
        setting(&mut text, "OnCalendar", calendar);
    }
    setting(&mut text, "RandomizedDelaySec", &span(schedule.randomized_delay));
    setting(&mut text, "Persistent", if schedule.persistent { "yes" } else { "no" });
    text
}

/// One line of a unit file.
fn setting(text: &mut String, key: &str, value: &str) {
    text.push_str(key);
    text.push('=');
    push(text, value);
    text.push('\n');
}

/// A value in a unit file. A `%` would be a specifier (systemd.unit(5)); a control character would end the line.
fn push(text: &mut String, value: &str) {
    if value.contains(|c: char| c == '%' || c.is_control()) {
        text.extend(
            value.chars().filter(|c| !c.is_control()).flat_map(|c| [Some(c), (c == '%').then_some('%')]).flatten(),
        );
    } else {
        text.push_str(value);
    }
}

/// A time span as systemd.time(7) has it.
fn span(duration: Duration) -> String {
    match duration.subsec_micros() {
        0 => format!("{}s", duration.as_secs()),
        _ => format!("{}us", duration.as_micros()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    fn run(files: &[(&str, &str)]) -> (tempfile::TempDir, Vec<String>) {
        let root = tempfile::tempdir().unwrap();
        let secrets = root.path().join("etc/rekeyd/secrets.d");
        fs::create_dir_all(&secrets).unwrap();
        fs::create_dir(root.path().join("out")).unwrap();
        for (name, text) in files {
            fs::write(secrets.join(name), text).unwrap();
            fs::set_permissions(secrets.join(name), fs::Permissions::from_mode(0o644)).unwrap();
        }
        for dir in [secrets.clone(), root.path().join("etc/rekeyd")] {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let complaints = generate(&Dirs::under(root.path()), &root.path().join("out"));
        (root, complaints)
    }

    fn secret(unit: &str, schedule: &str) -> String {
        format!(
            "[secret]\nenv = \"A\"\n{schedule}\n[[target]]\ntype = \"systemd\"\nunits = [\"{unit}\", \"z@1.service\"]\n"
        )
    }

    #[test]
    fn a_schedule_becomes_a_timer_that_systemd_starts() {
        let schedule =
            "[schedule]\non-calendar = [\"Mon 03:00\", \"50%\"]\nrandomized-delay = \"10min\"\npersistent = false";
        let (root, complaints) = run(&[("my-key.toml", &secret("my-a.service", schedule))]);
        assert_eq!(complaints, [""; 0]);
        let out = root.path().join("out");
        let timer = fs::read_to_string(out.join("rekeyd-rotate@my-key.timer")).unwrap();
        assert!(timer.contains("/etc/rekeyd/secrets.d/%i.toml\n"), "{timer}");
        let last = timer.rsplit_once("[Timer]\n").unwrap().1;
        let end = "OnCalendar=Mon 03:00\nOnCalendar=50%%\nRandomizedDelaySec=600s\nPersistent=no\n";
        assert!(last.ends_with(end) && !last.contains('['), "{timer}");
        let link = |name: &str| fs::read_link(out.join(name)).unwrap();
        let wanted = fs::read_to_string(out.join("rekeyd-timers.target.d/50-timers.conf")).unwrap();
        assert!(wanted.ends_with("[Unit]\nWants=rekeyd-rotate@my-key.timer\n"), "{wanted}");
        assert_eq!(link("timers.target.wants/rekeyd-timers.target"), Path::new(TIMERS_TARGET));
        assert_eq!(fs::read_dir(&out).unwrap().count(), 3);
    }

    #[test]
    fn each_secret_has_the_timer_of_its_own_schedule() {
        let daily = "[schedule]\non-calendar = \"daily\"";
        let weekly = "[schedule]\non-calendar = \"weekly\"";
        let files = [
            ("a.toml", secret("a.service", daily)),
            ("b.toml", secret("b.service", weekly)),
            ("c.toml", secret("c.service", daily)),
            ("by-hand.toml", secret("f.service", "")),
            ("wrong.toml", secret("g", daily)),
            ("Not-A-Name.toml", secret("h.service", daily)),
        ]
        .map(|(name, text)| (name, text.replace(", \"z@1.service\"", "")));
        let (root, complaints) = run(&files.each_ref().map(|(name, text)| (*name, text.as_str())));
        assert_eq!(complaints.len(), 2, "{complaints:?}");
        let out = root.path().join("out");
        let read = |name: &str| fs::read_to_string(out.join(format!("rekeyd-rotate@{name}.timer"))).ok();
        assert!(["a", "c"].iter().all(|name| read(name).unwrap().contains("OnCalendar=daily")));
        assert!(read("b").unwrap().contains("OnCalendar=weekly"));
        assert!(["by-hand", "wrong", "Not-A-Name"].iter().all(|name| read(name).is_none()));
        assert_eq!(fs::read_dir(&out).unwrap().count(), 3 + 2);
    }

    #[test]
    fn without_schedules_nothing_is_made() {
        let (root, complaints) = run(&[("a.toml", &secret("a.service", ""))]);
        assert_eq!(complaints, [""; 0]);
        assert_eq!(fs::read_dir(root.path().join("out")).unwrap().count(), 0);
    }

    #[test]
    fn a_broken_file_is_named_and_the_good_ones_count() {
        let daily = "[schedule]\non-calendar = \"daily\"";
        let (root, complaints) = run(&[
            ("good.toml", &secret("a.service", daily)),
            ("bad.toml", &secret("b", daily)),
            ("worse.toml", "\0\n["),
        ]);
        assert_eq!(complaints.len(), 2, "{complaints:?}");
        assert!(complaints[0].contains("bad.toml:7:10") && complaints[1].contains("worse.toml:1:1"), "{complaints:?}");
        assert!(root.path().join("out/rekeyd-rotate@good.timer").exists());
        assert!(!root.path().join("out/rekeyd-rotate@bad.timer").exists());
    }

    #[test]
    fn an_output_that_cannot_be_written_is_a_complaint() {
        let (root, _) = run(&[("a.toml", &secret("a.service", "[schedule]\non-calendar = \"daily\""))]);
        let complaints = generate(&Dirs::under(root.path()), &root.path().join("none"));
        assert!(complaints.len() == 1 && complaints[0].contains("/none"), "{complaints:?}");
    }

    #[test]
    fn a_second_run_into_the_same_directory_changes_what_has_changed() {
        let secret = |unit: &str, when: &str| secret(unit, &format!("[schedule]\non-calendar = \"{when}\""));
        let secret = |unit: &str, when: &str| secret(unit, when).replace(", \"z@1.service\"", "");
        let (root, complaints) =
            run(&[("a.toml", &secret("a.service", "daily")), ("b.toml", &secret("b.service", "daily"))]);
        assert_eq!(complaints, [""; 0]);
        let out = root.path().join("out");
        let timer = |name: &str| out.join(format!("rekeyd-rotate@{name}.timer"));
        let of = |name: &str| (fs::metadata(timer(name)).unwrap().ino(), fs::read_to_string(timer(name)).unwrap());
        let before = (of("a"), of("b"));
        assert_eq!(before.0, before.1);
        let again = || generate(&Dirs::under(root.path()), &out);
        assert_eq!(again(), [""; 0]);
        assert_eq!((of("a"), of("b")), before);
        fs::write(root.path().join("etc/rekeyd/secrets.d/a.toml"), secret("a.service", "weekly")).unwrap();
        assert_eq!(again(), [""; 0]);
        assert!(of("a").1.contains("OnCalendar=weekly\n"));
        assert_eq!(of("b").1, before.1.1);
    }

    #[test]
    fn a_broken_file_is_named_and_takes_no_other_timer_along() {
        let scheduled = secret("my-a.service", "[schedule]\non-calendar = \"daily\"");
        let (root, complaints) = run(&[("emptied.toml", ""), ("good.toml", &scheduled)]);
        assert!(matches!(&complaints[..], [one] if one.contains("emptied.toml")), "{complaints:?}");
        let out = root.path().join("out");
        fs::remove_dir_all(&out).unwrap();
        fs::create_dir(&out).unwrap();
        std::os::unix::fs::symlink("/gone.toml", root.path().join("etc/rekeyd/secrets.d/lost.toml")).unwrap();
        let complaints = generate(&Dirs::under(root.path()), &out);
        assert!(complaints.len() == 2 && complaints[1].contains("secrets.d/lost.toml"), "{complaints:?}");
        assert!(out.join("rekeyd-rotate@good.timer").exists());
    }
}
