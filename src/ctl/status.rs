//! `status`: one secret, or all, in full.

use super::list::{NOTHING, ago, outcome, state, statuses};
use super::{Exit, Out, daemon, document};
use crate::dbus::rekeyd1::{Error, SecretStatus};
use crate::record::TurnedAway;
use crate::record::text::{WEAK, fault_in_words};
use crate::rotation::Outcome;

pub(super) async fn run(out: &Out, name: Option<&str>) -> Exit {
    let found = match name {
        Some(name) => one(name).await.map(|status| vec![status]),
        None => statuses().await,
    };
    match found {
        Ok(statuses) if out.json && name.is_some() => statuses.iter().for_each(|status| out.document(status)),
        Ok(statuses) if out.json => out.document(&statuses),
        Ok(statuses) if statuses.is_empty() => out.text(NOTHING),
        Ok(statuses) => out.text(&statuses.iter().map(in_words).collect::<Vec<_>>().join("\n\n")),
        Err(error) => return name.map_or_else(|| out.error(&error), |name| out.error_of(name, &error)),
    }
    Exit::Done
}

async fn one(name: &str) -> Result<SecretStatus, Error> {
    document(&daemon().await?.get_secret(name).await?)
}

/// Prints the status of one secret, in `words`.
pub(super) fn tell(out: &Out, status: &SecretStatus, words: &dyn Fn(&str) -> String) {
    if out.json { out.document(status) } else { out.text(&words(&in_words(status))) }
}

fn in_words(status: &SecretStatus) -> String {
    let mut lines = vec![format!("{} ({})", status.name, status.env)];
    let mut row = |title: &str, text: String| lines.push(format!("{title:>12}: {text}"));
    row("State", state(status));
    match &status.hold {
        Some(problem) if status.state != "on-hold" => row("Because", problem.clone()),
        Some(hold) => {
            let next = format!("rekeyctl verify {0}, then rekeyctl release {0}", status.name);
            row("Hold", format!("{hold}; see rekeyctl history {}, mend it, {next}", status.name));
        }
        None => {}
    }
    if status.state == "not-adopted" {
        row("Next step", format!("rekeyctl adopt {}", status.name));
    }
    if let Some(rotation) = &status.rotation {
        row("Rotating", format!("{} ({})", rotation.step, rotation.id));
    }
    if let (Some(generation), Some(fingerprint), Some(since)) = (status.generation, &status.fingerprint, status.since) {
        row(
            "In force",
            format!("generation {generation}, fingerprint {fingerprint}, since {since:.0} ({})", ago(since)),
        );
    }
    if status.weak {
        row("Weak", format!("{WEAK}; rekeyctl rotate {} gives it a new one", status.name));
    }
    for generation in
        status.generations.iter().rev().filter(|generation| Some(generation.number) != status.generation).take(5)
    {
        let (stage, since) = (generation.stage.as_str(), generation.since);
        row(
            "Other",
            format!(
                "generation {}, fingerprint {}, {stage} since {since:.0}",
                generation.number, generation.fingerprint
            ),
        );
    }
    if let Some(at) = status.retire_at {
        let accepted: Vec<String> = status.accepted.iter().map(ToString::to_string).collect();
        let until = format!("until {at:.0} ({})", ago(at));
        row(
            "Accepted",
            format!("generation {} too, {until}; rekeyctl retire {} ends it", accepted.join(", "), status.name),
        );
    }
    if let (None, false) = (status.retire_at, status.accepted.is_empty()) {
        let accepted: Vec<String> = status.accepted.iter().map(ToString::to_string).collect();
        row("Accepted", format!("generation {} too, until the next rotation", accepted.join(" and ")));
    }
    for target in &status.targets {
        row("Target", target.clone());
    }
    for drift in &status.drift {
        row("Drift", drift.clone());
    }
    for waiting in &status.waiting {
        row("Waiting", waiting.clone());
    }
    if let Some(next) = status.next {
        let how = match () {
            () if status.paused || status.hold.is_some() => ", will be skipped",
            () if status.waits_for_schedule => ", tried again then",
            () => "",
        };
        row("Next", format!("{next:.0} ({}{how})", ago(next)));
    }
    if let Some(at) = status.retry_at {
        row("Next try", format!("{at:.0} ({})", ago(at)));
    }
    if let Some(TurnedAway { cause, since }) = &status.turned_away {
        row("Refused", format!("to its timer since {since:.0}: {}", fault_in_words(cause)));
    }
    if let Some(last) = &status.last {
        row("Last", format!("{} {} ({}), rotation {}", outcome(last), ago(last.at), last.actor, last.id));
        let cause = last.outcome.cause().map(fault_in_words);
        if let Some(cause) = cause.or_else(|| last.taken_back_for.clone()) {
            row("Because", cause);
        }
        if let Some(fault) = &last.hook_failed {
            row("But then", fault_in_words(fault));
        }
        if let Outcome::RollbackFailed { rollback, .. } = &last.outcome {
            row("And then", fault_in_words(rollback));
        }
    }
    row("File", status.file.clone());
    lines.join("\n")
}
