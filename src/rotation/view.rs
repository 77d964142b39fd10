//! What a consumer is given: the generation it signs with and those it also accepts.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of one value of a secret, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u32);

impl Generation {
    /// The first one: what `adopt` takes over.
    pub const FIRST: Self = Self(1);

    /// The one that is made after this one.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `{primary, accepted[]}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The generation that the consumer signs with.
    pub primary: Generation,
    /// Others that it accepts too, in order; empty in immediate mode.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted: Vec<Generation>,
}

impl View {
    /// A view with one generation alone.
    pub fn of(primary: Generation) -> Self {
        Self { primary, accepted: Vec::new() }
    }

    /// Every generation in it, the primary one first.
    pub fn generations(&self) -> impl Iterator<Item = Generation> + '_ {
        std::iter::once(self.primary).chain(self.accepted.iter().copied())
    }

    /// A name that is fit for a directory and the same whenever the view is: `2`, or `2+1`.
    pub fn slug(&self) -> String {
        let names: Vec<String> = self.generations().map(|generation| generation.to_string()).collect();
        names.join("+")
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}", self.primary)?;
        if !self.accepted.is_empty() {
            let accepted: Vec<String> = self.accepted.iter().map(Generation::to_string).collect();
            write!(f, ", accepts {}", accepted.join(" and "))?;
        }
        f.write_str("}")
    }
}
