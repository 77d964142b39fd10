//! Whether the records and the journal tell the same story. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::chain::Head;
use super::{Happening, Record};

/// An end that the journal was told of: `REKEYD_CHAIN`, and when.
pub type Told = BTreeMap<String, Timestamp>;

/// What an audit of one secret found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Comparison {
    /// Ends that are in both.
    pub in_both: usize,
    /// Records whose entry is missing although the journal covers their time.
    pub not_in_journal: Vec<Missing>,
    /// Records whose entry is missing since the daemon or the machine was ended as soon as they were written.
    pub cut_short: Vec<Missing>,
    /// Records from before the journal's oldest entry: nothing can be said of them.
    pub before_journal: usize,
    /// Hashes that the journal was told of and that no record has: records were cut off or exchanged.
    pub not_in_records: Vec<Missing>,
}

/// An end that one side lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// The hash.
    pub head: String,
    /// When it was written.
    pub at: Timestamp,
}

/// For how long what the daemon had sent before a record may be taken in after it: a thread of its own sends it.
const ON_ITS_WAY: SignedDuration = SignedDuration::from_secs(5);

/// An entry of the daemon's: when it was taken in, and which process wrote it.
pub type Written = (Timestamp, String);

impl Comparison {
    /// Takes from what is missing in the journal what is explained by `written`, all entries of the daemon in the order of
    /// time: a daemon that goes on, or is told to stop, writes more than what was on its way.
    pub fn explain(&mut self, written: &[Written]) {
        let ended = |missing: &Missing| {
            let (before, after) = written.split_at(written.partition_point(|(at, _)| *at <= missing.at));
            let latest = missing.at.saturating_add(ON_ITS_WAY).unwrap_or(Timestamp::MAX);
            // The process that wrote the record: the last one that there was before it.
            let writer = before.last().map(|(_, process)| process);
            let mut more = after.iter().skip_while(|(at, process)| Some(process) == writer && *at <= latest);
            more.next().is_some_and(|(_, process)| before.iter().all(|(_, other)| other != process))
        };
        (self.cut_short, self.not_in_journal) = std::mem::take(&mut self.not_in_journal).into_iter().partition(ended);
    }

    /// Takes from what no record has what was recorded since: `records` were read after the journal.
    pub fn leave_out(&mut self, records: &[(Record, Head)]) {
        self.not_in_records.retain(|missing| records.iter().all(|(_, head)| head.to_string() != missing.head));
    }

    /// Whether nothing is missing on either side.
    pub fn is_whole(&self) -> bool {
        self.not_in_journal.is_empty() && self.not_in_records.is_empty()
    }
}

/// Holds the records against the journal, whose oldest entry is of `oldest`.
pub fn compare(records: &[(Record, Head)], told: &Told, oldest: Option<Timestamp>) -> Comparison {
    let mut comparison = Comparison::default();
    for (record, head) in records.iter().filter(|(record, _)| is_end(record)) {
        let missing = || Missing { head: head.to_string(), at: record.at };
        if told.contains_key(&head.to_string()) {
            comparison.in_both += 1;
        } else if oldest.is_none_or(|oldest| record.at < oldest) {
            comparison.before_journal += 1;
        } else {
            comparison.not_in_journal.push(missing());
        }
    }
    let known = |head: &str| records.iter().any(|(_, known)| known.to_string() == head);
    let unknown = told.iter().filter(|(head, _)| !known(head));
    comparison.not_in_records = unknown.map(|(head, &at)| Missing { head: head.clone(), at }).collect();
    comparison
}

/// The records that the journal is told the hash of: all but the steps of a rotation, so that none that stands last can be
/// cut off unseen.
pub(super) fn is_end(record: &Record) -> bool {
    !matches!(
        record.what,
        Happening::Began { .. }
            | Happening::Passed { .. }
            | Happening::Failed { .. }
            | Happening::Hook { .. }
            | Happening::Resumed
            | Happening::CarriedOver { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SecretName;
    use crate::record::chain;
    use crate::rotation::Outcome;

    fn chain_of(count: i64) -> Vec<(Record, Head)> {
        let mut head = Head::default();
        let mut record = |seq: i64| {
            let record = Record {
                seq: u64::try_from(seq).unwrap(),
                at: Timestamp::from_second(1000 * seq).unwrap(),
                secret: SecretName::try_from("jwt".to_owned()).unwrap(),
                rotation: None,
                what: Happening::Ended { outcome: Outcome::Committed, took_us: 1 },
            };
            head = chain::line(&head, &record).unwrap().1;
            (record, head.clone())
        };
        (1..=count).map(&mut record).collect()
    }

    fn told(records: &[(Record, Head)]) -> Told {
        records.iter().map(|(record, head)| (head.to_string(), record.at)).collect()
    }

    #[test]
    fn what_is_in_both_is_whole_and_what_is_older_than_the_journal_is_not_missing() {
        let records = chain_of(3);
        let comparison = compare(&records, &told(&records[1..]), Some(records[1].0.at));
        assert_eq!((comparison.in_both, comparison.before_journal, comparison.is_whole()), (2, 1, true));
    }

    #[test]
    fn an_entry_that_was_taken_from_the_journal_is_missing() {
        let records = chain_of(3);
        let mut told = told(&records);
        told.remove(&records[1].1.to_string());
        let comparison = compare(&records, &told, Some(records[0].0.at));
        assert_eq!(comparison.not_in_journal, [Missing { head: records[1].1.to_string(), at: records[1].0.at }]);
    }

    #[test]
    fn what_was_recorded_between_the_two_readings_is_not_cut_off() {
        let records = chain_of(3);
        let mut told = told(&records);
        told.insert("cut off".to_owned(), records[1].0.at);
        let mut comparison = compare(&records[..2], &told, Some(records[0].0.at));
        assert_eq!(comparison.not_in_records.len(), 2);
        comparison.leave_out(&records);
        assert_eq!(comparison.not_in_records, [Missing { head: "cut off".to_owned(), at: records[1].0.at }]);
    }

    #[test]
    fn an_entry_is_not_missed_where_the_daemon_was_ended_at_once() {
        let records = chain_of(3);
        let at = |second: i64, process: &str| (Timestamp::from_second(second).unwrap(), process.to_owned());
        let explained = |written: &[Written]| {
            let mut comparison = compare(&records, &told(&records[2..]), Some(records[1].0.at));
            comparison.explain(written);
            (comparison.cut_short.len(), comparison.is_whole())
        };
        assert_eq!(explained(&[at(1000, "a"), at(2001, "b"), at(3001, "b")]), (1, true));
        // What was sent before it, and taken in after it.
        assert_eq!(explained(&[at(1000, "a"), at(2001, "a"), at(2002, "b")]), (1, true));
        assert_eq!(explained(&[at(1000, "a"), at(2001, "a"), at(2010, "a"), at(2011, "b")]), (0, false));
        assert_eq!(explained(&[at(1000, "a"), at(2001, "a")]), (0, false));
        assert_eq!(explained(&[at(1000, "a")]), (0, false));
    }

    #[test]
    fn records_that_were_cut_off_are_known_by_the_journal() {
        let records = chain_of(3);
        let comparison = compare(&records[..2], &told(&records), Some(records[0].0.at));
        assert_eq!(comparison.not_in_records.len(), 1);
        assert!(!comparison.is_whole());
    }
}
