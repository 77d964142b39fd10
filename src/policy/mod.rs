//! PURE: when a failed rotation is tried again and when a person is needed; who goes together; what is not as it was
//! left; where a value belongs.

use std::time::Duration;

mod batch;
mod drift;
mod leak;

pub use batch::batches;
pub use drift::{Drift, Has, Kind, Mark, Sighting, drift, with_former};
pub use leak::{Ours, Spot, ours};

/// What follows when a rotation was rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum AfterRollback {
    /// The schedule tries again after this time.
    RetryIn(Duration),
    /// It goes on failing: the secret is held for a person.
    Hold,
}

const HOUR: Duration = Duration::from_secs(3600);

/// What follows on the `in_a_row`-th rotation (from 1) that was rolled back without a committed one between:
/// again in one hour, again in six, then hold.
pub fn after_rollback(in_a_row: u32) -> AfterRollback {
    match in_a_row {
        0 | 1 => AfterRollback::RetryIn(HOUR),
        2 => AfterRollback::RetryIn(6 * HOUR),
        _ => AfterRollback::Hold,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tries_again_twice_and_then_holds() {
        assert_eq!(after_rollback(1), AfterRollback::RetryIn(HOUR));
        assert_eq!(after_rollback(2), AfterRollback::RetryIn(6 * HOUR));
        assert_eq!(after_rollback(3), AfterRollback::Hold);
        assert_eq!(after_rollback(30), AfterRollback::Hold);
    }
}
