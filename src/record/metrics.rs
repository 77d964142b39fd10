//! What a monitoring system is told: the text format that node_exporter's textfile collector reads. Pure.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>

use std::fmt::Write as _;

use jiff::Timestamp;

use super::Standing;
use crate::config::SecretName;
use crate::rotation::Outcome;

/// One secret as it stands.
pub struct Measured {
    /// Its name.
    pub name: SecretName,
    /// What its records add up to.
    pub standing: Standing,
    /// When its schedule rotates next.
    pub next: Option<Timestamp>,
    /// Whether its records cannot be read, or are not of this time, or the store is locked.
    pub is_stuck: bool,
}

/// What a metric is of one secret: the labels beside its name, and the value.
type Samples = Vec<(Vec<(&'static str, String)>, f64)>;

/// A metric: its name, type, what it means, and how it is had of a secret.
type Metric = (&'static str, &'static str, &'static str, fn(&Measured) -> Samples);

const METRICS: [Metric; 10] = [
    ("in_force_timestamp_seconds", "gauge", "Since when the value in force is in force.", |of| {
        let primary = of.standing.in_force.as_ref().map(|view| view.primary);
        let since = primary.and_then(|primary| of.standing.generation(primary)).map(|generation| generation.since);
        since.map(|since| (vec![], seconds(since))).into_iter().collect()
    }),
    ("generation", "gauge", "The number of the value in force.", |of| {
        of.standing.in_force.iter().map(|view| (vec![], f64::from(view.primary.0))).collect()
    }),
    ("next_timestamp_seconds", "gauge", "When the schedule rotates next.", |of| {
        of.next.map(|next| (vec![], seconds(next))).into_iter().collect()
    }),
    ("last_result", "gauge", "How the last rotation ended: 1 for its outcome, 0 for the others.", |of| {
        let last = of.standing.last.as_ref().map(|last| last.outcome.as_str());
        let sample = |outcome: &'static str| (vec![("outcome", outcome.to_owned())], flag(last == Some(outcome)));
        last.map(|_| Outcome::NAMES.into_iter().map(sample).collect()).unwrap_or_default()
    }),
    ("last_timestamp_seconds", "gauge", "When the last rotation ended.", |of| {
        of.standing.last.iter().map(|last| (vec![], seconds(last.at))).collect()
    }),
    ("on_hold", "gauge", "Whether nothing rotates until a person releases it.", |of| {
        vec![(vec![], flag(of.is_stuck || of.standing.hold.is_some()))]
    }),
    ("paused", "gauge", "Whether the schedule is paused.", |of| vec![(vec![], flag(of.standing.paused))]),
    ("overlap_open", "gauge", "Whether other values are accepted besides the one in force.", |of| {
        let open = of.standing.in_force.as_ref().is_some_and(|view| !view.accepted.is_empty());
        vec![(vec![], flag(open))]
    }),
    ("attempts_total", "counter", "Rotations that have ended, by outcome.", |of| {
        let counts = &of.standing.counts;
        let counted = [counts.committed, counts.rolled_back, counts.rollback_failed, counts.refused];
        let sample = |(outcome, count): (&str, u64)| (vec![("outcome", outcome.to_owned())], number(count));
        Outcome::NAMES.into_iter().zip(counted).map(sample).collect()
    }),
    ("probe_failures_total", "counter", "Steps that a probe failed.", |of| {
        vec![(vec![], number(of.standing.counts.probe_failures))]
    }),
];

/// The whole file.
pub fn render(version: &str, now: Timestamp, locked: bool, secrets: &[Measured]) -> String {
    let mut text = String::new();
    let mut whole = |name: &str, help: &str, labels: &str, value: f64| {
        let _ =
            writeln!(text, "# HELP rekeyd_{name} {help}\n# TYPE rekeyd_{name} gauge\nrekeyd_{name}{labels} {value}");
    };
    whole("build_info", "The version that runs.", &format!("{{version=\"{}\"}}", escaped(version)), 1.0);
    whole("written_timestamp_seconds", "When this file was written.", "", seconds(now));
    whole("store_locked", "Whether the store's key cannot be had.", "", flag(locked));
    for (name, kind, help, samples) in METRICS {
        let _ = writeln!(text, "# HELP rekeyd_secret_{name} {help}\n# TYPE rekeyd_secret_{name} {kind}");
        for secret in secrets {
            for (labels, value) in samples(secret) {
                let mut all = format!("secret=\"{}\"", escaped(secret.name.as_str()));
                for (label, of) in labels {
                    let _ = write!(all, ",{label}=\"{}\"", escaped(&of));
                }
                let _ = writeln!(text, "rekeyd_secret_{name}{{{all}}} {value}");
            }
        }
    }
    text
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn flag(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

#[allow(clippy::cast_precision_loss, reason = "counters and seconds of this age are exact")]
fn number(count: u64) -> f64 {
    count as f64
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds since 1970 are exact")]
fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_its_help_and_type_before_its_samples_and_labels_are_escaped() {
        let name = SecretName::try_from("jwt".to_owned()).unwrap();
        let text = render(
            "1\"2",
            Timestamp::UNIX_EPOCH,
            false,
            &[Measured { name, standing: Standing::default(), next: None, is_stuck: false }],
        );
        assert!(text.contains("rekeyd_build_info{version=\"1\\\"2\"} 1\n"), "{text}");
        assert!(text.contains("rekeyd_secret_on_hold{secret=\"jwt\"} 0\n"), "{text}");
        assert!(text.contains("rekeyd_secret_attempts_total{secret=\"jwt\",outcome=\"rolled-back\"} 0\n"), "{text}");
        let mut known = String::new();
        for line in text.lines() {
            match line.strip_prefix("# TYPE ") {
                Some(of) => known = of.split(' ').next().unwrap().to_owned(),
                None if line.starts_with("# HELP ") => {}
                None => assert!(line.starts_with(&known) && !known.is_empty(), "{line}"),
            }
        }
    }
}
