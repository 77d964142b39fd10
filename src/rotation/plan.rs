//! What a rotation intends: its movements, fixed when it is asked for.

use serde::{Deserialize, Serialize};

use super::{Generation, Phase, View};

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

    /// To a value that exists already: what a person's `rollback` asks for.
    pub fn return_to(in_force: View, old: Generation) -> Self {
        Self { first: Movement { from: in_force, to: View::of(old) }, then: Vec::new(), makes: None }
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
    pub fn view_in(&self, phase: &Phase) -> &View {
        match phase {
            Phase::Preflight | Phase::Generate | Phase::Back { .. } => self.start(),
            Phase::Forth { movement, .. } => &self.movement(*movement).to,
            Phase::Commit => self.goal(),
        }
    }

    #[cfg(test)]
    pub(super) fn in_two_movements(old: Generation, new: Generation) -> Self {
        let between = View { primary: old, accepted: vec![new] };
        Self {
            first: Movement { from: View::of(old), to: between.clone() },
            then: vec![Movement { from: between, to: View { primary: new, accepted: vec![old] } }],
            makes: Some(new),
        }
    }
}
