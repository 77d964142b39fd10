//! `history`: past rotations, told from their records.

use super::list::statuses;
use super::{Exit, Out, daemon, document};
use crate::dbus::rekeyd1::Error;
use crate::record::{Record, Standing, text};

pub(super) async fn run(out: &Out, name: Option<&str>, rotation: Option<&str>) -> Exit {
    let (records, worst) = match records(out, name).await {
        Ok(read) => read,
        Err(error) => return name.map_or_else(|| out.error(&error), |name| out.error_of(name, &error)),
    };
    show(out, &records, rotation).worse(worst)
}

/// Prints the records of each secret, or those of one rotation.
pub(super) fn show(out: &Out, records: &[Vec<Record>], rotation: Option<&str>) -> Exit {
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
    for of_secret in records {
        tell(out, of_secret, wanted);
    }
    Exit::Done
}

/// Of all secrets, those whose records cannot be read are told, and do not hide the others.
async fn records(out: &Out, name: Option<&str>) -> Result<(Vec<Vec<Record>>, Exit), Error> {
    let names = match name {
        Some(name) => vec![name.to_owned()],
        None => statuses().await?.into_iter().map(|status| status.name).collect(),
    };
    let daemon = daemon().await?;
    let (mut records, mut worst) = (Vec::new(), Exit::Done);
    for of in names {
        match daemon.history(&of).await {
            Ok(read) => records.push(document(&read)?),
            Err(error) if name.is_none() => worst = worst.worse(out.error(&error)),
            Err(error) => return Err(error),
        }
    }
    Ok((records, worst))
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
