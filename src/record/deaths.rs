//! When values died, and how that was proven. Pure.

use jiff::Timestamp;
use serde::Serialize;

use super::{Evidence, Happening, Record, RotationId, Seen, Standing};
use crate::rotation::{Generation, Outcome, Phase, View};

/// The death of a value: from then on no consumer accepts it, unless somebody goes back to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Death {
    /// The value.
    pub generation: Generation,
    /// When that was proven.
    pub at: Timestamp,
    /// The rotation that it died in.
    pub rotation: RotationId,
    /// How it was proven, in words.
    pub proof: String,
    /// Whether it was new, found wanting, and never in force.
    pub rejected: bool,
    /// When it came back into force, since a person went back to it; then this was not its end.
    pub returned: Option<Timestamp>,
}

/// The values that died, in order. One that came back may die again.
pub fn deaths(records: &[Record]) -> Vec<Death> {
    let mut standing = Standing::default();
    let mut deaths: Vec<Death> = Vec::new();
    let mut proven: Option<(Timestamp, &[Evidence])> = None;
    let mut is_back = false;
    for record in records {
        match &record.what {
            Happening::Requested { .. } => (proven, is_back) = (None, false),
            Happening::Passed { phase, seen: Seen::Proven { evidence }, .. } => {
                proven = Some((record.at, evidence));
                is_back = matches!(phase, Phase::Back { .. });
            }
            _ => {}
        }
        let before = standing.in_force.clone();
        let tried = standing.transaction.as_ref().map(|transaction| transaction.plan.goal().clone());
        if standing.apply(record).is_err() {
            // What follows is told by the audit.
            break;
        }
        let (Some(before), Some(after)) = (before, &standing.in_force) else { continue };
        for death in deaths.iter_mut().filter(|death| death.returned.is_none() && is_in(after, death.generation)) {
            death.returned = Some(record.at);
        }
        let (Some(rotation), Some((at, evidence))) = (&record.rotation, proven) else { continue };
        let has_failed = is_back && matches!(record.what, Happening::Ended { outcome: Outcome::RolledBack { .. }, .. });
        let tried = tried.iter().filter(|_| has_failed).flat_map(View::generations);
        let tried = tried.filter(|generation| !is_in(&before, *generation)).map(|generation| (generation, true));
        let gone = before.generations().map(|generation| (generation, false)).chain(tried);
        deaths.extend(gone.filter(|(generation, _)| !is_in(after, *generation)).map(|(generation, rejected)| Death {
            generation,
            at,
            rotation: rotation.clone(),
            proof: proof(generation, evidence),
            rejected,
            returned: None,
        }));
    }
    deaths
}

fn is_in(view: &View, generation: Generation) -> bool {
    view.generations().any(|one| one == generation)
}

/// The strongest of what was seen.
fn proof(generation: Generation, evidence: &[Evidence]) -> String {
    let refused = format!("generation-{generation}");
    let refusal = evidence.iter().find_map(|seen| match seen {
        Evidence::Jwt { protected, refused: list, .. } if list.contains(&refused) => {
            Some(format!("{protected} refuses a token of it"))
        }
        _ => None,
    });
    let waiting = evidence.iter().filter_map(|seen| match seen {
        Evidence::AtNextRestart { unit } => Some(unit.as_str()),
        _ => None,
    });
    let waiting: Vec<&str> = waiting.collect();
    let lose = if waiting.len() == 1 { "loses it with its" } else { "lose it with their" };
    let waits =
        (!waiting.is_empty()).then(|| format!("nobody has proven it: {} {lose} next restart", waiting.join(", ")));
    let processes = evidence.iter().filter_map(|seen| match seen {
        // Processes that hide what they have say nothing of it.
        Evidence::Process { unit, of, matching: 1.., .. } => Some(format!("none of {of} processes of {unit} has it")),
        Evidence::Stopped { unit } | Evidence::StoppedWithFormer { unit, .. } => Some(format!("{unit} is stopped")),
        _ => None,
    });
    let processes: Vec<String> = processes.collect();
    waits.or(refusal).unwrap_or_else(|| match processes.as_slice() {
        [] => "nothing has proven it: no process shows what it has, and no probe has seen it refused".to_owned(),
        processes => processes.join(", "),
    })
}
