//! `leaks`: where on this host the values of a secret lie; for root.

use super::exit::for_root;
use super::{Exit, Out, daemon, document};
use crate::dbus::rekeyd1::Error;
use crate::record::leak::{Leaks, limits, line};
use crate::record::text::duration;

pub(super) async fn run(out: &Out, name: &str) -> Exit {
    out.progress("searching files, processes and the journal, which may take some minutes");
    let found: Result<Leaks, Error> = async { document(&daemon().await?.search(name).await.map_err(for_root)?) }.await;
    match found {
        Ok(leaks) => tell(out, &leaks),
        Err(error) => out.error(&error),
    }
}

fn tell(out: &Out, leaks: &Leaks) -> Exit {
    let count = leaks.unexpected().count();
    if out.json {
        out.document(leaks);
    } else {
        let (extent, numbers) = (&leaks.extent, numbers(leaks));
        let took = duration(extent.took_ms.saturating_mul(1000));
        out.text(&format!(
            "{}: {numbers} searched for in {} files, {} processes and {} entries of the journal, in {took}",
            leaks.secret, extent.files, extent.processes, extent.entries
        ));
        leaks.leaks.iter().for_each(|leak| out.step(&line(leak)));
        limits(extent).iter().for_each(|limit| out.text(limit));
        out.text(&format!("· not searched: what is not below {}", leaks.roots.join(", ")));
        out.text(&verdict(leaks, count));
    }
    if count == 0 && leaks.extent.stopped_at.is_none() { Exit::Done } else { Exit::Failed }
}

fn numbers(leaks: &Leaks) -> String {
    let list: Vec<String> = leaks.generations.iter().map(ToString::to_string).collect();
    let word = if list.len() == 1 { "generation" } else { "generations" };
    format!("{word} {}", list.join(", "))
}

fn verdict(leaks: &Leaks, count: usize) -> String {
    let short: Vec<String> = leaks.too_short.iter().map(ToString::to_string).collect();
    let short = match short.is_empty() {
        true => String::new(),
        false => format!("; too short to be searched for: generation {}", short.join(", ")),
    };
    match count {
        0 if leaks.extent.stopped_at.is_some() => {
            format!("found nowhere it does not belong, as far as it was searched{short}")
        }
        0 => format!("found nowhere it does not belong{short}"),
        _ => {
            let places = if count == 1 { "1 place".to_owned() } else { format!("{count} places") };
            format!(
                "found in {places} where it does not belong{short}: remove it there, and where others could read a value \
                 that is in force, replace it: rekeyctl rotate {}",
                leaks.secret
            )
        }
    }
}
