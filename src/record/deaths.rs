//! When values died, and how that was proven. Pure.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::{Activated, Evidence, Happening, Record, RotationId, Seen, Standing, Transaction};
use crate::rotation::{Generation, Outcome, Phase, View};

/// The death of a value: from then on no consumer accepts it, unless somebody goes back to it. Or the end that it was put
/// to, which waits for the next restart of consumers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Death {
    /// The value.
    pub generation: Generation,
    /// When that was proven; where consumers were left with it, when it was retired.
    pub at: Timestamp,
    /// The rotation that it died in.
    pub rotation: RotationId,
    /// How it was proven, in words; empty where consumers were left with it.
    pub proof: String,
    /// The consumers that were left with it until their next restart: it has not died before that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accepted_by: Vec<String>,
    /// Earlier rotations that gave it up: the one that replaced it, and the one that retired it while consumers kept it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub given_up_in: Vec<RotationId>,
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
    let mut replaced: BTreeMap<Generation, RotationId> = BTreeMap::new();
    for record in records {
        match &record.what {
            Happening::Requested { .. } => (proven, is_back) = (None, false),
            Happening::Passed { phase, seen: Seen::Proven { evidence }, .. } => {
                proven = Some((record.at, evidence));
                is_back = matches!(phase, Phase::Back { .. });
            }
            Happening::Passed { phase, seen: Seen::Active { activated, .. }, .. } => {
                if let Some(Transaction { id, plan, .. }) = &standing.transaction {
                    let view = plan.view_in(phase);
                    let out_of_it = deaths.iter_mut().filter(|death| !is_in(&view, death.generation));
                    out_of_it.for_each(|death| death.take_from(activated, record.at, id));
                }
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
        if before.primary != after.primary {
            replaced.insert(before.primary, rotation.clone());
        }
        let has_failed = is_back && matches!(record.what, Happening::Ended { outcome: Outcome::RolledBack { .. }, .. });
        let tried = tried.iter().filter(|_| has_failed).flat_map(View::generations);
        let tried = tried.filter(|generation| !is_in(&before, *generation)).map(|generation| (generation, true));
        let gone = before.generations().map(|generation| (generation, false)).chain(tried);
        deaths.extend(gone.filter(|(generation, _)| !is_in(after, *generation)).map(|(generation, rejected)| Death {
            generation,
            at,
            rotation: rotation.clone(),
            proof: match left_with_it(evidence).is_empty() || rejected {
                true => proof(generation, evidence),
                false => String::new(),
            },
            // What was rejected has been taken by none of those that go on as they were.
            accepted_by: if rejected { Vec::new() } else { left_with_it(evidence) },
            given_up_in: replaced.get(&generation).filter(|id| *id != rotation).cloned().into_iter().collect(),
            rejected,
            returned: None,
        }));
    }
    deaths
}

impl Death {
    /// Whether this rotation has to do with it.
    pub fn concerns(&self, rotation: &str) -> bool {
        self.given_up_in.iter().chain([&self.rotation]).any(|id| id.as_str() == rotation)
    }

    /// Takes it from the consumers that were restarted: with the last one it is dead.
    fn take_from(&mut self, activated: &[Activated], at: Timestamp, rotation: &RotationId) {
        let is_restarted = |kept: &String| {
            activated.iter().any(|activated| match activated {
                Activated::Restarted { unit, .. } | Activated::WithOthers { unit } => unit == kept,
                _ => false,
            })
        };
        let (restarted, left): (Vec<String>, Vec<String>) =
            std::mem::take(&mut self.accepted_by).into_iter().partition(is_restarted);
        if left.is_empty() && !restarted.is_empty() {
            self.given_up_in.push(std::mem::replace(&mut self.rotation, rotation.clone()));
            self.proof = format!("{} was restarted without it", restarted.join(", "));
            self.at = at;
        }
        self.accepted_by = left;
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { generation, at, proof, rotation, accepted_by, .. } = self;
        let ended = match (accepted_by.is_empty(), self.rejected) {
            (false, _) => "was retired",
            (true, true) => "was rejected and died",
            (true, false) => "died",
        };
        write!(f, "generation {generation} {ended} {at:.0}, in rotation {rotation}: ")?;
        match accepted_by.as_slice() {
            [] => f.write_str(proof)?,
            [unit] => write!(f, "{unit} accepts it until its next restart")?,
            units => write!(f, "{} accept it until their next restart", units.join(", "))?,
        }
        self.returned.map_or(Ok(()), |at| write!(f, "; it came back into force {at:.0}"))
    }
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
    let processes = evidence.iter().filter_map(|seen| match seen {
        // Processes that hide what they have say nothing of it.
        Evidence::Process { unit, of, matching: 1.., .. } => Some(format!("none of {of} processes of {unit} has it")),
        Evidence::Stopped { unit } | Evidence::StoppedWithFormer { unit, .. } => Some(format!("{unit} is stopped")),
        _ => None,
    });
    let processes: Vec<String> = processes.collect();
    refusal.unwrap_or_else(|| match processes.as_slice() {
        [] => "nothing has proven it: no process shows what it has, and no probe has seen it refused".to_owned(),
        processes => processes.join(", "),
    })
}

/// The units that go on as they were.
fn left_with_it(evidence: &[Evidence]) -> Vec<String> {
    let left = |seen: &Evidence| match seen {
        Evidence::AtNextRestart { unit } => Some(unit.clone()),
        _ => None,
    };
    evidence.iter().filter_map(left).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SecretName;
    use crate::record::{Actor, Found};
    use crate::rotation::{Plan, Step};

    const UNIT: &str = "nr.service";

    /// The records of rotations that are committed.
    struct Told(Vec<Record>, Standing);

    impl Told {
        fn of(generation: Generation) -> Self {
            let standing = Standing { seq: 1, in_force: Some(View::of(generation)), ..Standing::default() };
            let mut told = Self(Vec::new(), standing.clone());
            told.tell(None, Happening::CarriedOver { standing: Box::new(standing) });
            told
        }

        fn tell(&mut self, rotation: Option<&RotationId>, what: Happening) {
            let seq = u64::try_from(self.0.len()).unwrap() + 1;
            let at = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(60 * i64::try_from(seq).unwrap());
            let secret = SecretName::try_from("jwt".to_owned()).unwrap();
            let record = Record { seq, at, secret, rotation: rotation.cloned(), what };
            self.1.apply(&record).unwrap();
            self.0.push(record);
        }

        fn rotate(&mut self, number: u8, plan: Plan, activated: &Activated, evidence: &Evidence) -> RotationId {
            let id = RotationId::from_bytes([number; 16]);
            let actor = Actor::Timer;
            self.tell(Some(&id), Happening::Requested { plan, actor, reason: String::new(), batch: None });
            loop {
                let phase = self.1.transaction.as_ref().unwrap().phase().unwrap().clone();
                let found = Found { unit: UNIT.to_owned(), running: true, ..Found::default() };
                let found = Found { details: [Found::of_run("a-run".to_owned())].into(), ..found };
                let seen = match &phase {
                    Phase::Preflight => Seen::Ready { found: vec![found], evidence: Vec::new() },
                    Phase::Generate => Seen::Made { made: Vec::new() },
                    Phase::Forth { step: Step::Activate, .. } => {
                        Seen::Active { reload: None, activated: vec![activated.clone()] }
                    }
                    Phase::Forth { step: Step::Prove, .. } => Seen::Proven { evidence: vec![evidence.clone()] },
                    Phase::Forth { .. } | Phase::Back { .. } => {
                        Seen::Delivered { targets: vec![], exposed: vec![], noted: vec![], left: vec![] }
                    }
                    Phase::Commit => break,
                };
                self.tell(Some(&id), Happening::Passed { phase, seen, took_us: 1 });
            }
            self.tell(Some(&id), Happening::Ended { outcome: Outcome::Committed, took_us: 1 });
            id
        }
    }

    fn restarted() -> (Activated, Evidence) {
        let unit = || UNIT.to_owned();
        let evidence = Evidence::Process { unit: unit(), matching: 1, of: 1, without: 0 };
        (Activated::Restarted { unit: unit(), took_us: 1 }, evidence)
    }

    fn left_alone() -> (Activated, Evidence) {
        let unit = || UNIT.to_owned();
        (Activated::AtNextRestart { unit: unit() }, Evidence::AtNextRestart { unit: unit() })
    }

    #[test]
    fn what_consumers_accept_until_their_next_restart_has_not_died_before_that() {
        let [first, second] = [Generation::FIRST, Generation::FIRST.next()];
        let (mut told, (activated, evidence), (left, waits)) = (Told::of(first), restarted(), left_alone());
        let replaced_in = told.rotate(1, Plan::overlap(View::of(first), second, false), &activated, &evidence);
        assert_eq!(deaths(&told.0), []);
        let overlap = told.1.in_force.clone().unwrap();
        let retired_in = told.rotate(2, Plan::retire(overlap, Vec::new()), &left, &waits);

        let waiting = deaths(&told.0).remove(0);
        assert_eq!((&waiting.rotation, waiting.accepted_by.as_slice()), (&retired_in, &[UNIT.to_owned()][..]));
        let said = waiting.to_string();
        assert!(said.starts_with("generation 1 was retired "), "{said}");
        assert!(said.ends_with(": nr.service accepts it until its next restart"), "{said}");
        let json = serde_json::to_value(&waiting).unwrap();
        assert_eq!((&json["accepted_by"][0], &json["proof"]), (&UNIT.into(), &"".into()), "{json:#}");
        let kept = told.1.kept.clone().unwrap();
        let keeps = kept.by(UNIT, "a-run").unwrap();
        assert_eq!(keeps.to_string(), "nr.service goes on accepting generation 1 until its next restart");
        assert!(keeps.is_expected());
        assert_eq!(
            (keeps.advice("jwt", &[]), kept.by(UNIT, "a-later-run")),
            (format!("systemctl restart {UNIT}"), None)
        );

        let next = Plan::overlap(View::of(second), second.next(), false);
        let died_in = told.rotate(3, next, &activated, &evidence);
        let dead = deaths(&told.0).remove(0);
        assert_eq!((&dead.rotation, dead.accepted_by.as_slice()), (&died_in, &[][..]));
        assert!(dead.at > waiting.at && dead.to_string().contains("nr.service was restarted without it"), "{dead}");
        assert!([&replaced_in, &retired_in, &died_in].iter().all(|id| dead.concerns(id.as_str())), "{dead:?}");
        assert_eq!(told.1.kept, None);
    }

    #[test]
    fn a_value_that_comes_back_is_not_dead_by_the_restart_that_brings_it() {
        let [first, second] = [Generation::FIRST, Generation::FIRST.next()];
        let (mut told, (activated, evidence), (left, waits)) = (Told::of(first), restarted(), left_alone());
        told.rotate(1, Plan::overlap(View::of(first), second, false), &activated, &evidence);
        let overlap = told.1.in_force.clone().unwrap();
        let retired_in = told.rotate(2, Plan::retire(overlap, Vec::new()), &left, &waits);
        told.rotate(3, Plan::return_to(View::of(second), first, false), &activated, &evidence);
        let back = deaths(&told.0).remove(0);
        assert_eq!((&back.rotation, back.returned.is_some()), (&retired_in, true));
        assert!(!back.proof.contains("restarted"), "{back}");
    }

    #[test]
    fn the_end_of_a_value_concerns_the_rotation_that_replaced_it_too() {
        let [first, second] = [Generation::FIRST, Generation::FIRST.next()];
        let (mut told, (activated, evidence)) = (Told::of(first), restarted());
        let replaced_in = told.rotate(1, Plan::overlap(View::of(first), second, true), &activated, &evidence);
        let overlap = told.1.in_force.clone().unwrap();
        let died_in = told.rotate(2, Plan::retire(overlap, Vec::new()), &activated, &evidence);
        let dead = deaths(&told.0).remove(0);
        assert_eq!((dead.generation, &dead.rotation, &dead.given_up_in), (first, &died_in, &vec![replaced_in.clone()]));
        assert!(dead.concerns(replaced_in.as_str()) && dead.concerns(died_in.as_str()), "{dead:?}");
        assert!(!dead.concerns(RotationId::from_bytes([9; 16]).as_str()));
    }
}
