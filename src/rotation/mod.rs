//! PURE: what a rotation is and what follows what. No I/O, no clock, no async; only std and serde's derives.
//!
//! A rotation is a [`Plan`] (a short list of movements from view to view) that is walked [`Phase`] by phase. Each
//! phase passes or fails; [`advance`] says what comes next. The whole graph is drawn in `transitions.txt`.

mod fault;
mod outcome;
mod phase;
mod plan;
mod view;

pub use fault::{Fault, FaultCode};
pub use outcome::Outcome;
pub use phase::{Event, Next, Phase, Step, advance, after_interruption};
pub use plan::{Intent, Movement, Plan};
pub use view::{Generation, View};
