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

/// What a rotation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Intent {
    /// Another primary value, which the consumers had not before.
    Rotate,
    /// An earlier value again: what a person's `rollback` asks for.
    Return,
    /// The end of an overlap.
    Retire,
    /// The first value: none is known to be in force, so that there is no way back.
    Initial,
}

/// A list of movements, each starting where the one before ended, and the values that must be made first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What it is for.
    pub intent: Intent,
    /// The first movement; a rotation has at least one.
    first: Movement,
    /// Those after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    then: Vec<Movement>,
    /// The generations that are made for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub makes: Vec<Generation>,
    /// Whether the value before is not to come back by itself: it may be in the wrong hands.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub emergency: bool,
}

impl Plan {
    fn of(intent: Intent, from: View, to: View) -> Self {
        Self { intent, first: Movement { from, to }, then: Vec::new(), makes: Vec::new(), emergency: false }
    }

    /// Goes by way of `between`.
    fn by_way_of(mut self, between: View) -> Self {
        let to = std::mem::replace(&mut self.first.to, between.clone());
        self.then.push(Movement { from: between, to });
        self
    }

    fn making(mut self, makes: &[Generation]) -> Self {
        self.makes = makes.to_vec();
        self
    }

    /// To a new value, at once: `{old}` → `{new}`.
    pub fn replace(in_force: View, new: Generation) -> Self {
        Self::of(Intent::Rotate, in_force, View::of(new)).making(&[new])
    }

    /// The same, in an emergency.
    pub fn replace_in_an_emergency(in_force: View, new: Generation) -> Self {
        Self { emergency: true, ..Self::replace(in_force, new) }
    }

    /// To the first value, where none is known: `{new}` from nowhere. What is its start is never gone back to.
    pub fn initial(new: Generation) -> Self {
        Self::of(Intent::Initial, View::of(new), View::of(new)).making(&[new])
    }

    /// To a new value, with the old one still accepted: `{old}` → `{new, accepts old}`. With `publish_first`,
    /// `{old, accepts new}` comes before it: with several processes none signs with a value that another one does not
    /// accept yet.
    pub fn overlap(in_force: View, new: Generation, publish_first: bool) -> Self {
        let old = in_force.primary;
        let plan = Self::of(Intent::Rotate, in_force, View { primary: new, accepted: vec![old] }).making(&[new]);
        if publish_first { plan.by_way_of(View { primary: old, accepted: vec![new] }) } else { plan }
    }

    /// To the value that all have accepted for a while, `waiting`, with the next one accepted from now on:
    /// `{old, accepts older and waiting}` → `{waiting, accepts old and next}`. Any two neighbours accept each other, so
    /// that one restart is enough for any number of processes.
    pub fn slide(in_force: View, waiting: Generation, next: Generation) -> Self {
        let to = View { primary: waiting, accepted: vec![in_force.primary, next] };
        Self::of(Intent::Rotate, in_force, to).making(&[next])
    }

    /// The same where no value is waiting yet: the new one is published first.
    pub fn open_window(in_force: View, new: Generation) -> Self {
        let (old, next) = (in_force.primary, new.next());
        let published = View { primary: old, accepted: in_force.accepted.iter().copied().chain([new]).collect() };
        let to = View { primary: new, accepted: vec![old, next] };
        Self::of(Intent::Rotate, in_force, to).by_way_of(published).making(&[new, next])
    }

    /// The end of an overlap: besides the primary value only `waiting` ones are accepted any more.
    pub fn retire(in_force: View, waiting: Vec<Generation>) -> Self {
        let to = View { primary: in_force.primary, accepted: waiting };
        Self::of(Intent::Retire, in_force, to)
    }

    /// To a value that exists already. `overlapping`, what was signed until now stays accepted.
    pub fn return_to(in_force: View, old: Generation, overlapping: bool) -> Self {
        let accepted = if overlapping { vec![in_force.primary] } else { Vec::new() };
        Self::of(Intent::Return, in_force, View { primary: old, accepted })
    }

    /// To the view in force itself: what a way back that failed has left is written over.
    pub fn again(in_force: View) -> Self {
        Self::of(Intent::Return, in_force.clone(), in_force)
    }

    /// Whether it is [`Plan::again`].
    pub fn is_again(&self) -> bool {
        self.intent == Intent::Return && self.goal() == self.start()
    }

    /// Whether it only ends an overlap.
    pub fn retires(&self) -> bool {
        self.intent == Intent::Retire
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
            Phase::Back { signed: true, .. } => self.start_with_new_accepted(),
            Phase::Back { .. } => self.start().clone(),
            Phase::Forth { movement, .. } => self.movement(*movement).to.clone(),
            Phase::Commit => self.goal().clone(),
        }
    }

    fn start_with_new_accepted(&self) -> View {
        let (start, new) = (self.start(), self.goal().primary);
        let others = start.accepted.iter().copied().filter(|accepted| *accepted != new);
        View { primary: start.primary, accepted: others.chain([new]).collect() }
    }

    /// The views that places may have had when `phase` writes its own: what else stands there is somebody else's. None where
    /// whatever stands there is to be replaced: a person asked for an earlier value (`by_person`), or no value is known.
    pub fn views_before(&self, phase: &Phase, by_person: bool) -> Option<Vec<View>> {
        let asked_for = self.intent == Intent::Initial || self.intent == Intent::Return && by_person;
        match phase {
            Phase::Preflight | Phase::Generate => None,
            Phase::Forth { step: Step::Deliver, .. } if asked_for => None,
            Phase::Commit => Some(vec![self.goal().clone()]),
            Phase::Forth { movement, .. } => {
                let Movement { from, to } = self.movement(*movement);
                Some(vec![from.clone(), to.clone()])
            }
            Phase::Back { movement, .. } => {
                let reached = (0..=*movement).map(|number| self.movement(number).to.clone());
                let start = std::iter::once(self.start().clone());
                // Of this way back, or of one that failed.
                let both = (self.goal().primary != self.start().primary).then(|| self.start_with_new_accepted());
                Some(start.chain(reached).chain(both).collect())
            }
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
