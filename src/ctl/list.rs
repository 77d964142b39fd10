//! `list`: a row a secret.

use jiff::Timestamp;

use super::{Exit, Out, daemon, document};
use crate::config::{self, Dirs};
use crate::dbus::rekeyd1::{Error, SecretStatus};
use crate::record::LastRotation;

/// What is said where there is nothing to say anything of.
pub(super) const NOTHING: &str = "no secret is configured; rekeyctl new systemd prints a file to start with";

pub(super) async fn run(out: &Out) -> Exit {
    match statuses().await {
        Ok(statuses) if out.json => out.document(&statuses),
        Ok(statuses) if statuses.is_empty() => {
            let on_disk = config::load(&Dirs::default()).settings.secrets.len();
            out.text(if on_disk == 0 {
                NOTHING
            } else {
                "no secret is in force yet, and there are files: rekeyctl reload"
            });
        }
        Ok(statuses) => out.text(&table(&statuses)),
        Err(error) => return out.error(&error),
    }
    Exit::Done
}

pub(super) async fn statuses() -> Result<Vec<SecretStatus>, Error> {
    document(&daemon().await?.list_secrets().await?)
}

/// How long ago, or in how long.
pub(super) fn ago(at: Timestamp) -> String {
    let seconds = Timestamp::now().duration_since(at).as_secs();
    let (seconds, past) = (seconds.unsigned_abs(), seconds >= 0);
    let length = match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    };
    if past { format!("{length} ago") } else { format!("in {length}") }
}

/// A state with what goes with it.
pub(super) fn state(status: &SecretStatus) -> String {
    let paused = if status.paused { ", paused" } else { "" };
    let drifted = if status.drift.is_empty() { "" } else { ", drifted" };
    format!("{}{drifted}{paused}", status.state)
}

/// How the last rotation ended. One that took back another is no success to a person.
pub(super) fn outcome(last: &LastRotation) -> &'static str {
    if last.took_back() { "taken back" } else { last.outcome.as_str() }
}

fn table(statuses: &[SecretStatus]) -> String {
    let mut rows = vec![["NAME", "STATE", "GENERATION", "AGE", "NEXT", "LAST"].map(str::to_owned)];
    for status in statuses {
        rows.push([
            status.name.clone(),
            state(status),
            status.generation.map_or_else(|| "-".to_owned(), |generation| generation.to_string()),
            status.since.map_or_else(|| "-".to_owned(), |since| ago(since).trim_end_matches(" ago").to_owned()),
            status.next.map_or_else(|| "-".to_owned(), ago),
            status.last.as_ref().map_or_else(|| "-".to_owned(), |last| format!("{} {}", outcome(last), ago(last.at))),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
