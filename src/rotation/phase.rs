//! The state machine: in which phase a rotation is, and what follows when the phase passed or failed.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Fault, FaultCode, Intent, Outcome, Plan};

/// A step of a movement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Write the view to every target and read it back.
    Deliver,
    /// Make every consumer take it.
    Activate,
    /// Gather the evidence that they did.
    Prove,
}

/// Where a rotation is. The intent to be in a phase is recorded before the phase acts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "kebab-case")]
pub enum Phase {
    /// Look for every obstacle; touch nothing.
    Preflight,
    /// Make the new value and seal it into the store.
    Generate,
    /// Take the consumers to the view of a movement.
    Forth {
        /// The movement's number in the plan, from 0.
        movement: u32,
        /// The step of it.
        step: Step,
    },
    /// Take the consumers back to the view that was in force before the rotation.
    Back {
        /// The movement that was given up.
        movement: u32,
        /// The step of the way back.
        step: Step,
        /// Why it was given up.
        cause: Fault,
        /// Whether something may have been signed with the new value, which then stays accepted; not any more where the
        /// consumers failed with both.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        signed: bool,
        /// Why some targets were left as they are: the others go back all the same.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        left: Option<Fault>,
    },
    /// Record that the new view is the one in force.
    Commit,
}

/// What a phase came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It did what it was for.
    Passed,
    /// It did so but for targets that are to be left as they are, for this reason.
    Partly(Fault),
    /// It could not.
    Failed(Fault),
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Next {
    /// Another phase.
    Enter(Phase),
    /// The rotation is over.
    End(Outcome),
}

/// What follows on `phase` when `event` came of it. Total: every phase can pass and fail, and each leads somewhere.
pub fn advance(plan: &Plan, phase: Phase, event: Event) -> Next {
    use Next::{End, Enter};
    use Phase::{Back, Commit, Forth, Generate, Preflight};
    use Step::{Activate, Deliver, Prove};

    match (phase, event) {
        (Preflight, Event::Passed) if !plan.makes.is_empty() => Enter(Generate),
        (Preflight | Generate, Event::Passed) => Enter(Forth { movement: 0, step: Deliver }),
        (Preflight | Generate, Event::Failed(cause)) => End(Outcome::Refused { cause }),

        (Forth { movement, step: Deliver }, Event::Passed) => Enter(Forth { movement, step: Activate }),
        (Forth { movement, step: Activate }, Event::Passed) => Enter(Forth { movement, step: Prove }),
        (Forth { movement, step: Prove }, Event::Passed) if movement < plan.last_movement() => {
            Enter(Forth { movement: movement + 1, step: Deliver })
        }
        (Forth { step: Prove, .. }, Event::Passed) => Enter(Commit),
        (Forth { .. } | Commit, Event::Failed(cause)) if plan.intent == Intent::Initial => {
            End(Outcome::RollbackFailed { cause, rollback: no_way_back() })
        }
        (Forth { .. }, Event::Failed(cause)) if cause.code == FaultCode::Unsure => {
            End(Outcome::RollbackFailed { cause, rollback: not_on_a_guess() })
        }
        (Forth { movement, step }, Event::Failed(cause)) => {
            Enter(Back { movement, step: Deliver, cause, signed: plan.may_have_signed(movement, step), left: None })
        }

        (Back { movement, step: Deliver, cause, signed, .. }, Event::Passed) => {
            Enter(Back { movement, step: Activate, cause, signed, left: None })
        }
        (Back { movement, step: Deliver, cause, signed, .. }, Event::Partly(left)) => {
            Enter(Back { movement, step: Activate, cause, signed, left: Some(left) })
        }
        (Back { movement, step: Activate, cause, signed, left }, Event::Passed) => {
            Enter(Back { movement, step: Prove, cause, signed, left })
        }
        (Back { step: Prove, cause, left: None, .. }, Event::Passed) => End(Outcome::RolledBack { cause }),
        // That view is not in force where a target was left.
        (Back { step: Prove, cause, left: Some(rollback), .. }, Event::Passed) => {
            End(Outcome::RollbackFailed { cause, rollback })
        }
        // A consumer that cannot live with both was proven with the start alone, before anything was touched.
        (Back { movement, step: Activate | Prove, cause, signed: true, left: None }, Event::Failed(fault))
            if fault.code != FaultCode::Unsure =>
        {
            Enter(Back { movement, step: Deliver, cause, signed: false, left: None })
        }
        (Back { cause, left, .. }, Event::Failed(fault)) => {
            let rollback = left.iter().fold(fault, Fault::and);
            End(Outcome::RollbackFailed { cause, rollback })
        }

        (Commit, Event::Passed) => End(Outcome::Committed),
        (Commit, Event::Failed(cause)) => {
            let movement = plan.last_movement();
            let signed = plan.may_have_signed(movement, Prove);
            Enter(Back { movement, step: Deliver, cause, signed, left: None })
        }
        // Only on the way back is something left.
        (phase, Event::Partly(fault)) => advance(plan, phase, Event::Failed(fault)),
    }
}

fn no_way_back() -> Fault {
    let message = "no earlier value is known that could be put back: what was delivered stays where it is";
    Fault::new(FaultCode::NothingToGoBackTo, message)
        .advise("mend what is wrong, release the secret, and begin once more with rekeyctl rotate --initial")
}

/// As long as it is not known what serves, going back could make things worse.
fn not_on_a_guess() -> Fault {
    Fault::new(FaultCode::Unsure, "nothing was taken back, since that would be a guess; all values are kept")
}

/// How often a rotation may be interrupted before it is no longer resumed in the same direction: a rotation that
/// brings its daemon down each time must not do so for ever.
const INTERRUPTIONS: u32 = 5;

/// Whether a rotation that was interrupted `times` times goes on (`None`), or what is wrong with it. Where nothing
/// has been touched yet it may be resumed any number of times.
pub fn after_interruption(phase: &Phase, times: u32) -> Option<Fault> {
    let allowed = match phase {
        Phase::Preflight | Phase::Generate | Phase::Commit => return None,
        Phase::Forth { .. } => INTERRUPTIONS,
        Phase::Back { .. } => 2 * INTERRUPTIONS,
    };
    (times > allowed).then(|| {
        Fault::new(FaultCode::InterruptedTooOften, format!("the rotation was interrupted {times} times while it moved"))
            .advise("see why rekeyd was killed: journalctl -u rekeyd")
    })
}

impl Step {
    /// The step's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deliver => "deliver",
            Self::Activate => "activate",
            Self::Prove => "prove",
        }
    }
}

impl Phase {
    /// The name of the step that the phase performs, as in `REKEYD_STEP`.
    pub fn step_name(&self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::Generate => "generate",
            Self::Forth { step, .. } | Self::Back { step, .. } => step.as_str(),
            Self::Commit => "commit",
        }
    }

    /// Whether the consumers may have been touched when the rotation is in this phase.
    pub fn may_have_touched(&self) -> bool {
        !matches!(self, Self::Preflight | Self::Generate)
    }

    /// Whether it is on its way back.
    pub fn is_back(&self) -> bool {
        matches!(self, Self::Back { .. })
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forth { movement, step } => write!(f, "{} ({})", step.as_str(), movement + 1),
            Self::Back { step, signed, left, .. } => {
                let accepted = if *signed { ", both accepted" } else { "" };
                let left = if left.is_some() { ", some left" } else { "" };
                write!(f, "{} (back{accepted}{left})", step.as_str())
            }
            other => f.write_str(other.step_name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;
    use crate::rotation::{Generation, View};

    fn fault(text: &str) -> Fault {
        Fault::new(FaultCode::UnitFailed, text)
    }

    /// How many of them have a value to go back to: all but the last.
    const WITH_A_WAY_BACK: usize = 7;

    fn plans() -> [(&'static str, Plan); 8] {
        let (old, new) = (Generation(1), Generation(2));
        [
            ("one movement", Plan::replace(View::of(old), new)),
            ("two movements", Plan::overlap(View::of(old), new, true)),
            ("no new value", Plan::return_to(View::of(new), old, false)),
            ("overlap in one movement", Plan::overlap(View::of(old), new, false)),
            ("the end of an overlap", Plan::retire(View { primary: new, accepted: vec![old] }, Vec::new())),
            ("a window opened", Plan::open_window(View::of(old), new)),
            ("a window moved on", Plan::slide(View { primary: old, accepted: vec![new] }, new, new.next())),
            ("the first value", Plan::initial(new)),
        ]
    }

    fn name(next: &Next) -> String {
        match next {
            Next::Enter(phase) => phase.to_string(),
            Next::End(outcome) => outcome.as_str().to_owned(),
        }
    }

    /// Every edge that can be reached from the start, in the order of a walk.
    fn edges(plan: &Plan) -> Vec<String> {
        let mut edges = Vec::new();
        let mut to_visit = VecDeque::from([Phase::Preflight]);
        while let Some(phase) = to_visit.pop_front() {
            let unsure = matches!(phase, Phase::Forth { .. })
                .then(|| ("unsure", Event::Failed(Fault::new(FaultCode::Unsure, "x"))));
            let partly =
                matches!(phase, Phase::Back { step: Step::Deliver, .. }).then(|| ("partly", Event::Partly(fault("x"))));
            let events = [("passed", Event::Passed), ("failed", Event::Failed(fault("x")))];
            for (label, event) in events.into_iter().chain(unsure).chain(partly) {
                let next = advance(plan, phase.clone(), event);
                let edge = format!("{phase} --{label}--> {}", name(&next));
                if !edges.contains(&edge) {
                    edges.push(edge);
                    if let Next::Enter(entered) = next {
                        to_visit.push_back(entered);
                    }
                }
            }
        }
        edges
    }

    #[test]
    fn the_committed_diagram_is_the_code() {
        let mut drawn = String::new();
        for (title, plan) in plans() {
            drawn += &format!("# {title}\n");
            for edge in edges(&plan) {
                drawn += &format!("{edge}\n");
            }
            drawn += "\n";
        }
        let committed = include_str!("transitions.txt");
        let diagram: String =
            committed.lines().skip_while(|line| !line.starts_with("# ")).map(|l| format!("{l}\n")).collect();
        assert_eq!(
            drawn.trim_end(),
            diagram.trim_end(),
            "src/rotation/transitions.txt is out of date; it should be:\n{drawn}"
        );
    }

    #[test]
    fn every_walk_without_failure_commits() {
        for (title, plan) in plans() {
            let mut phase = Phase::Preflight;
            let outcome = loop {
                match advance(&plan, phase, Event::Passed) {
                    Next::Enter(next) => phase = next,
                    Next::End(outcome) => break outcome,
                }
            };
            assert_eq!(outcome, Outcome::Committed, "{title}");
        }
    }

    #[test]
    fn where_a_target_was_left_the_others_go_back_and_the_end_says_so() {
        let plan = Plan::replace(View::of(Generation(1)), Generation(2));
        let back = |step, left| Phase::Back { movement: 0, step, cause: fault("cause"), signed: false, left };
        let left = Some(fault("left"));
        let next = advance(&plan, back(Step::Deliver, None), Event::Partly(fault("left")));
        assert_eq!(next, Next::Enter(back(Step::Activate, left.clone())));
        let next = advance(&plan, back(Step::Activate, left.clone()), Event::Passed);
        assert_eq!(next, Next::Enter(back(Step::Prove, left.clone())));
        let ended = |event| match advance(&plan, back(Step::Prove, left.clone()), event) {
            Next::End(Outcome::RollbackFailed { cause, rollback }) => (cause.message, rollback.message),
            next => panic!("{next:?}"),
        };
        assert_eq!(ended(Event::Passed), ("cause".to_owned(), "left".to_owned()));
        assert_eq!(ended(Event::Failed(fault("x"))), ("cause".to_owned(), "x; and left".to_owned()));
    }

    #[test]
    fn any_two_neighbours_of_a_window_accept_each_other() {
        let mut in_force = View::of(Generation(1));
        let mut next = Generation(2);
        for _ in 0..5 {
            let waiting = in_force.generations().max().filter(|newest| *newest > in_force.primary);
            let plan = match waiting {
                Some(waiting) => Plan::slide(in_force.clone(), waiting, next),
                None => Plan::open_window(in_force.clone(), next),
            };
            let views = [plan.start().clone()].into_iter();
            let views: Vec<View> =
                views.chain((0..=plan.last_movement()).map(|n| plan.movement(n).to.clone())).collect();
            for pair in views.windows(2) {
                assert!(pair[0].generations().any(|one| one == pair[1].primary), "{pair:?}");
                assert!(pair[1].generations().any(|one| one == pair[0].primary), "{pair:?}");
            }
            next = plan.makes.last().unwrap().next();
            in_force = plan.goal().clone();
        }
        assert_eq!(in_force, View { primary: Generation(6), accepted: vec![Generation(5), Generation(7)] });
    }

    proptest! {
        /// Whatever happens, a rotation ends, in few phases; nothing is touched before `refused`; both errors are told;
        /// it never goes forth again once it went back.
        #[test]
        fn every_walk_ends_and_tells_the_truth(which in 0..WITH_A_WAY_BACK, fails in prop::collection::vec(any::<bool>(), 40)) {
            let plan = plans()[which].1.clone();
            let mut phase = Phase::Preflight;
            let mut touched = false;
            let mut failures = 0;
            for (count, fail) in fails.into_iter().enumerate() {
                touched |= phase.may_have_touched();
                let back = phase.is_back();
                failures += u32::from(fail);
                let event = if fail { Event::Failed(fault(&count.to_string())) } else { Event::Passed };
                match advance(&plan, phase, event) {
                    Next::Enter(next) => {
                        prop_assert!(!back || next.is_back());
                        phase = next;
                    }
                    Next::End(outcome) => {
                        match outcome {
                            Outcome::Committed => prop_assert_eq!(failures, 0),
                            Outcome::Refused { .. } => prop_assert!(!touched && failures == 1),
                            // A way back with both values accepted may fail, and one with the start alone follows.
                            Outcome::RolledBack { .. } => prop_assert!(touched && (1..=2).contains(&failures)),
                            Outcome::RollbackFailed { cause, rollback } => {
                                prop_assert!(touched && (2..=3).contains(&failures));
                                prop_assert_ne!(cause.message, rollback.message);
                            }
                        }
                        return Ok(());
                    }
                }
            }
            prop_assert!(false, "did not end");
        }

        /// The way back leads to the view that was in force before, from wherever it is taken; what may have been
        /// signed with the new value stays accepted.
        #[test]
        fn every_way_back_leads_to_the_start(which in 0..WITH_A_WAY_BACK, steps in 0_usize..9) {
            let plan = plans()[which].1.clone();
            let mut phase = Phase::Preflight;
            for _ in 0..steps {
                if let Next::Enter(next) = advance(&plan, phase.clone(), Event::Passed) { phase = next }
            }
            let touched = phase.may_have_touched();
            match advance(&plan, phase, Event::Failed(fault("x"))) {
                Next::Enter(back) => {
                    prop_assert!(touched && back.is_back());
                    let view = plan.view_in(&back);
                    prop_assert_eq!(view.primary, plan.start().primary);
                    let signed = matches!(back, Phase::Back { signed: true, .. });
                    let new = plan.goal().primary;
                    let kept = plan.start().accepted.iter().all(|accepted| view.accepted.contains(accepted));
                    let more = view.accepted.iter().filter(|accepted| !plan.start().accepted.contains(accepted));
                    prop_assert!(kept && more.copied().all(|more| signed && more == new));
                    prop_assert!(!signed || view.accepted.contains(&new));
                }
                Next::End(outcome) => prop_assert!(!touched && outcome.as_str() == "refused"),
            }
        }
    }

    #[test]
    fn a_rotation_that_kills_its_daemon_each_time_goes_back_and_then_gives_up() {
        let forth = Phase::Forth { movement: 0, step: Step::Activate };
        let back = Phase::Back { movement: 0, step: Step::Activate, cause: fault("x"), signed: false, left: None };
        assert_eq!(after_interruption(&forth, 5), None);
        assert!(after_interruption(&forth, 6).is_some());
        assert_eq!(after_interruption(&back, 6), None);
        assert!(after_interruption(&back, 11).is_some());
        assert_eq!(after_interruption(&Phase::Preflight, 100), None);
    }
}
