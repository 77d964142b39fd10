//! `verify`: the proof, now.

use super::{Exit, Out, daemon, document};
use crate::dbus::rekeyd1::Error;
use crate::engine::Verdict;
use crate::record::text::evidence_in_words;

pub(super) async fn run(out: &Out, name: &str) -> Exit {
    let verdict: Result<Verdict, Error> = async { document(&daemon().await?.verify(name).await?) }.await;
    match verdict {
        Ok(verdict) => tell(out, name, &verdict),
        Err(error) => return out.error_of(name, &error),
    }
    Exit::Done
}

pub(super) fn tell(out: &Out, name: &str, verdict: &Verdict) {
    if out.json {
        return out.document(verdict);
    }
    out.text(&format!("{name}: generation {} is in force", verdict.generation));
    for evidence in &verdict.evidence {
        out.step(&format!("✓ {}", evidence_in_words(evidence)));
    }
    for waiting in &verdict.waiting {
        out.step(&format!("  {waiting}"));
    }
}
