//! `systemd-analyze calendar` (systemd-analyze(1)): when calendar expressions elapse.

use std::process::{Command, Stdio};

use jiff::Timestamp;

use super::questions::Calendar;

/// The first time at which one of the expressions elapses after `after`, in seconds since 1970.
pub(super) fn next(expressions: &[String], after: i64) -> Calendar {
    let said = Command::new("/usr/bin/systemd-analyze")
        .arg("calendar")
        .arg(format!("--base-time=@{after}"))
        .arg("--")
        .args(expressions)
        .env_clear()
        .env("LC_ALL", "C.UTF-8")
        .env("SYSTEMD_COLORS", "0")
        .stdin(Stdio::null())
        .output();
    match said {
        Ok(said) if said.status.success() => Calendar::Next(first(&String::from_utf8_lossy(&said.stdout))),
        Ok(said) => Calendar::Invalid(String::from_utf8_lossy(&said.stderr).trim().replace('\n', "; ")),
        Err(error) => Calendar::Invalid(format!("systemd-analyze cannot be run: {error}")),
    }
}

/// `Next elapse: Tue 2026-12-01 00:00:00 UTC`, or where the host has another time zone, `(in UTC): Mon …` after it.
fn first(text: &str) -> Option<i64> {
    let time = |line: &str| {
        let (title, rest) = line.trim().split_once(": ")?;
        let mut words = rest.split_whitespace();
        let (_, date, clock, zone) = (words.next()?, words.next()?, words.next()?, words.next()?);
        if !matches!(title, "Next elapse" | "(in UTC)") || zone != "UTC" {
            return None;
        }
        let time: Timestamp = format!("{date}T{clock}Z").parse().ok()?;
        Some(time.as_second())
    };
    text.lines().filter_map(time).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_time_is_found_in_what_systemd_says() {
        let utc = "  Original form: monthly\nNormalized form: *-*-01 00:00:00\n    Next elapse: Tue 2026-12-01 00:00:00 UTC\n       From now: 1 week left\n";
        assert_eq!(first(utc), Some(1_796_083_200));
        let local = "    Next elapse: Tue 2026-12-01 00:00:00 CET\n       (in UTC): Mon 2026-11-30 23:00:00 UTC\n       From now: 1 week\n";
        assert_eq!(first(local), Some(1_796_079_600));
        assert_eq!(first("    Next elapse: never\n"), None);
    }
}
