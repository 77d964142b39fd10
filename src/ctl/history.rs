//! `history`: past rotations, told from their records.

use super::list::statuses;
use super::{Exit, Out, daemon, document};
use crate::dbus::rekeyd1::Error;
use crate::record::{Record, Standing, text};

pub(super) async fn run(out: &Out, name: Option<&str>, rotation: Option<&str>) -> Exit {
    let records = match records(name).await {
        Ok(records) => records,
        Err(error) => return out.error(&error),
    };
    let wanted = |record: &Record| rotation.is_none() || record.rotation.as_ref().map(|id| id.as_str()) == rotation;
    if let (Some(id), false) = (rotation, records.iter().flatten().any(wanted)) {
        return out.fail(Exit::Usage, &format!("there is no rotation {id}; rekeyctl history shows all"));
    }
    if out.json {
        out.document(&records.iter().flatten().filter(|record| wanted(record)).collect::<Vec<_>>());
        return Exit::Done;
    }
    if !records.iter().flatten().any(wanted) {
        out.text("nothing has happened yet");
    }
    for of_secret in &records {
        tell(out, of_secret, wanted);
    }
    Exit::Done
}

async fn records(name: Option<&str>) -> Result<Vec<Vec<Record>>, Error> {
    let names = match name {
        Some(name) => vec![name.to_owned()],
        None => statuses().await?.into_iter().map(|status| status.name).collect(),
    };
    let daemon = daemon().await?;
    let mut records = Vec::new();
    for name in names {
        records.push(document(&daemon.history(&name).await?)?);
    }
    Ok(records)
}

pub(super) fn tell(out: &Out, records: &[Record], wanted: impl Fn(&Record) -> bool) {
    let mut standing = Standing::default();
    let mut told = None;
    for record in records {
        // A record that does not fit is shown all the same.
        let _ = standing.apply(record);
        let Some(line) = text::line(record, &standing).filter(|_| wanted(record)) else { continue };
        if told != Some(&record.rotation) {
            told = Some(&record.rotation);
            match &record.rotation {
                Some(id) => out.text(&format!("{}: rotation {id}", record.secret)),
                None => out.text(&format!("{}:", record.secret)),
            }
        }
        out.step(&line.replacen(' ', &format!(" {:.0} ", record.at), 1));
    }
}
