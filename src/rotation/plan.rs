//! What a rotation intends: its movements, fixed when it is asked for.

use serde::{Deserialize, Serialize};

use super::{Generation, Phase, Step, View};

/// Taking all of a secret's consumers from one view to another. Its undo is the movement back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Movement {
    /// The view before.
    pub from: View,
    /// The view after.
    pub to: View,
}

/// A list of movements, each starting where the one before ended, and the value that must be made first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The first movement; a rotation has at least one.
    first: Movement,
    /// Those after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    then: Vec<Movement>,
    /// The generation that is made for it; none when it goes to a value that exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub makes: Option<Generation>,
}

impl Plan {
    /// To a new value, at once: `{old}` → `{new}`.
    pub fn replace(in_force: View, new: Generation) -> Self {
        Self { first: Movement { from: in_force, to: View::of(new) }, then: Vec::new(), makes: Some(new) }
    }

    /// To a new value, with the old one still accepted: `{old}` → `{new, accepts old}`. With `publish_first`,
    /// `{old, accepts new}` comes before it: with several processes none signs with a value that another one does not
    /// accept yet.
    pub fn overlap(in_force: View, new: Generation, publish_first: bool) -> Self {
        let old = in_force.primary;
        let goal = View { primary: new, accepted: vec![old] };
        let makes = Some(new);
        if !publish_first {
            return Self { first: Movement { from: in_force, to: goal }, then: Vec::new(), makes };
        }
        let published = View { primary: old, accepted: vec![new] };
        let first = Movement { from: in_force, to: published.clone() };
        Self { first, then: vec![Movement { from: published, to: goal }], makes }
    }

    /// The end of an overlap: only the primary value is accepted any more.
    pub fn retire(in_force: View) -> Self {
        let to = View::of(in_force.primary);
        Self { first: Movement { from: in_force, to }, then: Vec::new(), makes: None }
    }

    /// To a value that exists already: what a person's `rollback` asks for. `overlapping`, what was signed until now
    /// stays accepted.
    pub fn return_to(in_force: View, old: Generation, overlapping: bool) -> Self {
        let accepted = if overlapping { vec![in_force.primary] } else { Vec::new() };
        Self { first: Movement { from: in_force, to: View { primary: old, accepted } }, then: Vec::new(), makes: None }
    }

    /// Whether it only ends an overlap.
    pub fn retires(&self) -> bool {
        self.start().primary == self.goal().primary
    }

    /// The movement of this number, counted from 0; past the end it is the last one.
    pub fn movement(&self, number: u32) -> &Movement {
        let Some(after_first) = number.checked_sub(1) else { return &self.first };
        let after_first = usize::try_from(after_first).unwrap_or(usize::MAX);
        self.then.get(after_first).or(self.then.last()).unwrap_or(&self.first)
    }

    /// The number of the last movement.
    pub fn last_movement(&self) -> u32 {
        u32::try_from(self.then.len()).unwrap_or(u32::MAX)
    }

    /// The view that was in force before the rotation, and is again when it goes back.
    pub fn start(&self) -> &View {
        &self.first.from
    }

    /// The view that is in force when the rotation is committed.
    pub fn goal(&self) -> &View {
        &self.movement(self.last_movement()).to
    }

    /// The view that the consumers are being taken to in `phase`, or should have while it only looks.
    pub fn view_in(&self, phase: &Phase) -> View {
        match phase {
            Phase::Preflight | Phase::Generate => self.start().clone(),
            Phase::Back { signed: true, .. } => {
                View { primary: self.start().primary, accepted: vec![self.goal().primary] }
            }
            Phase::Back { .. } => self.start().clone(),
            Phase::Forth { movement, .. } => self.movement(*movement).to.clone(),
            Phase::Commit => self.goal().clone(),
        }
    }

    /// Whether a consumer may have signed with the new value when `step` of a movement fails, and its tokens are to
    /// be accepted for as long as they live.
    pub(super) fn may_have_signed(&self, movement: u32, step: Step) -> bool {
        let overlaps = !self.retires() && self.goal().accepted.contains(&self.start().primary);
        let signs = |number: u32| self.movement(number).to.primary == self.goal().primary;
        let earlier = movement.checked_sub(1).is_some_and(signs);
        overlaps && (earlier || (step != Step::Deliver && signs(movement)))
    }
}
