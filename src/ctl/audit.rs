//! `audit`: whether the records are whole and the journal tells the same, and a report of each rotation.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::list::statuses;
use super::{Exit, Out, daemon, document, history};
use crate::dbus::rekeyd1::Error;
use crate::record::Record;
use crate::record::audit::{Comparison, Told, Written, compare};
use crate::record::deaths::{Death, deaths};
use crate::store::Chained;

/// What is known of one secret.
#[derive(Serialize)]
struct Audit {
    secret: String,
    /// Whether nothing is wrong.
    whole: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    broken: Option<String>,
    journal: Comparison,
    #[serde(skip_serializing_if = "Option::is_none")]
    journal_from: Option<Timestamp>,
    /// The values that died, or are retired and wait for a restart.
    deaths: Vec<Death>,
    records: Vec<Record>,
}

pub(super) async fn run(out: &Out, name: Option<&str>, rotation: Option<&str>) -> Exit {
    let mut audits = match audits(name).await {
        Ok(audits) => audits,
        Err(error) => return out.error(&error),
    };
    let wanted = |record: &Record| rotation.is_none() || record.rotation.as_ref().map(|id| id.as_str()) == rotation;
    if let (Some(id), false) = (rotation, audits.iter().flat_map(|audit| &audit.records).any(wanted)) {
        return out.fail(Exit::Usage, &format!("there is no rotation {id}; rekeyctl history shows all"));
    }
    let exit = if audits.iter().all(|audit| audit.whole) { Exit::Done } else { Exit::Failed };
    let is_wanted = |death: &Death| rotation.is_none_or(|id| death.concerns(id));
    if out.json {
        for audit in &mut audits {
            audit.records.retain(wanted);
            audit.deaths.retain(is_wanted);
        }
        out.document(&audits);
    } else {
        for audit in &audits {
            history::tell(out, &audit.records, wanted);
            for death in audit.deaths.iter().filter(|death| is_wanted(death)) {
                out.text(&format!("{}: {death}", audit.secret));
            }
            judge(out, audit);
        }
    }
    exit
}

async fn audits(name: Option<&str>) -> Result<Vec<Audit>, Error> {
    let names = match name {
        Some(name) => vec![name.to_owned()],
        None => statuses().await?.into_iter().map(|status| status.name).collect(),
    };
    let daemon = daemon().await?;
    let journal_from = oldest_entry();
    let mut audits = Vec::new();
    for secret in names {
        let chained: Chained = document(&daemon.audit(&secret).await?)?;
        let mut journal = compare(&chained.records, &told(&secret)?, journal_from);
        if !journal.not_in_records.is_empty() {
            let since: Chained = document(&daemon.audit(&secret).await?)?;
            journal.leave_out(&since.records);
        }
        if !journal.not_in_journal.is_empty() {
            journal.explain(&written()?);
        }
        let records: Vec<Record> = chained.records.into_iter().map(|(record, _)| record).collect();
        audits.push(Audit {
            whole: chained.broken.is_none() && journal.is_whole(),
            broken: chained.broken,
            deaths: deaths(&records),
            records,
            secret,
            journal,
            journal_from,
        });
    }
    Ok(audits)
}

fn judge(out: &Out, audit: &Audit) {
    let Audit { secret, journal, .. } = audit;
    match &audit.broken {
        None => out.step(&format!("✓ {secret}: the chain of {} records is whole", audit.records.len())),
        Some(broken) => out.step(&format!(
            "✗ {secret}: the chain of records is broken after {} of them: {broken} — somebody changed the store, or its disk is faulty: \
             put it back from a backup",
            audit.records.len()
        )),
    }
    for missing in &journal.not_in_journal {
        out.step(&format!(
            "✗ {secret}: the journal lacks the entry of {:.0}, although it covers that time (REKEYD_CHAIN={}) — entries were \
             removed, or dropped: journalctl MESSAGE_ID={}",
            missing.at,
            missing.head,
            crate::record::message_id::ENTRIES_DROPPED
        ));
    }
    for missing in &journal.cut_short {
        out.step(&format!(
            "  {secret}: the journal lacks the entry of {:.0}: the daemon or the machine was ended before it was written",
            missing.at
        ));
    }
    for missing in &journal.not_in_records {
        out.step(&format!(
            "✗ {secret}: the journal tells of {:.0} what no record has — records were cut off, or an older store was put back: \
             journalctl REKEYD_CHAIN={}",
            missing.at, missing.head
        ));
    }
    if journal.is_whole() {
        let before = match (journal.before_journal, audit.journal_from) {
            (0, _) => String::new(),
            (count, Some(from)) => format!("; {count} are older than the journal, which reaches back to {from:.0}"),
            (count, None) => format!("; of {count} nothing can be said, since the journal cannot be read"),
        };
        out.step(&format!("✓ {secret}: the journal has {} of their ends{before}", journal.in_both));
    }
}

/// The ends of a secret that the journal was told of by root.
fn told(secret: &str) -> Result<Told, Error> {
    let secret = format!("REKEYD_SECRET={secret}");
    let entries = entries(&["--output-fields=REKEYD_CHAIN", "_UID=0", "SYSLOG_IDENTIFIER=rekeyd", &secret])?;
    let end = |entry: Value| Some((entry["REKEYD_CHAIN"].as_str()?.to_owned(), time(&entry)?));
    Ok(entries.into_iter().filter_map(end).collect::<BTreeMap<_, _>>())
}

/// All entries of the daemon.
fn written() -> Result<Vec<Written>, Error> {
    let entries = entries(&["--output-fields=_PID", "SYSLOG_IDENTIFIER=rekeyd", "_SYSTEMD_UNIT=rekeyd.service"])?;
    let process = |entry: &Value| Some(format!("{} {}", entry["_BOOT_ID"].as_str()?, entry["_PID"].as_str()?));
    let mut written: Vec<Written> = entries.iter().filter_map(|entry| Some((time(entry)?, process(entry)?))).collect();
    written.sort();
    Ok(written)
}

fn entries(arguments: &[&str]) -> Result<Vec<Value>, Error> {
    let ran = journalctl(arguments).output();
    let ran = ran.map_err(|error| Error::Failed(format!("journalctl cannot be run: {error}")))?;
    Ok(ran.stdout.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

/// When the oldest entry of the journal was written.
fn oldest_entry() -> Option<Timestamp> {
    let mut child = journalctl(&["--output-fields=MESSAGE_ID"]).stdout(Stdio::piped()).spawn().ok()?;
    let mut line = String::new();
    let read = BufReader::new(child.stdout.take()?).read_line(&mut line);
    let _ = child.kill();
    let _ = child.wait();
    read.ok()?;
    time(&serde_json::from_str(&line).ok()?)
}

fn time(entry: &Value) -> Option<Timestamp> {
    Timestamp::from_microsecond(entry["__REALTIME_TIMESTAMP"].as_str()?.parse().ok()?).ok()
}

fn journalctl(arguments: &[&str]) -> Command {
    let mut command = Command::new("/usr/bin/journalctl");
    // Without --system, whoever may not read the system's journal would be shown their own, which tells nothing of it.
    command.args(["--quiet", "--no-pager", "--output=json", "--system"]).args(arguments);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command
}
