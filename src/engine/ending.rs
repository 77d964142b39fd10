//! The end of a rotation, and what is owed after it.

use std::time::Duration;

use super::{Engine, micros};
use crate::record::{Happening, Hold, RotationId};
use crate::rotation::{Outcome, View};
use crate::store::StoreError;

/// How much clocks may differ where a token's life is counted.
const SKEW: Duration = Duration::from_secs(60);
/// When the end of an overlap that failed is tried again.
const RETIRE_AGAIN: Duration = Duration::from_secs(3600);

impl Engine<'_> {
    pub(super) async fn end(&mut self, id: &RotationId, outcome: Outcome) -> Result<(), StoreError> {
        let now = jiff::Timestamp::now();
        let asked_at = self.ledger.standing().transaction.as_ref().map_or(now, |transaction| transaction.asked_at);
        let took = Duration::try_from(now.duration_since(asked_at)).unwrap_or_default();
        let touched = !matches!(outcome, Outcome::Refused { .. });
        self.record(Some(id), Happening::Ended { outcome, took_us: micros(took) })?;
        // One may be armed also where the configuration says no more that one is wanted.
        if touched {
            self.host.disarm_dead_man(id).await;
        }
        self.settle_accounts(Some(id)).await?;
        if let Some(view) = self.settled() {
            for target in self.targets {
                target.let_go(view, id.as_str(), self.host).await;
            }
        }
        Ok(())
    }

    /// The view in force, where it is for good and the last rotation may have left something behind.
    fn settled(&self) -> Option<&View> {
        let standing = self.ledger.standing();
        let touched_nothing = matches!(standing.last.as_ref().map(|last| &last.outcome), Some(Outcome::Refused { .. }));
        let is_free = standing.transaction.is_none() && matches!(&standing.hold, None | Some(Hold::RolledBack { .. }));
        standing.in_force.as_ref().filter(|_| is_free && !touched_nothing)
    }

    /// What is still owed once a rotation has ended: the hold that its end calls for, and tidying up. Done again at
    /// the next start where it was missed.
    ///
    /// # Errors
    /// Where the hold cannot be recorded.
    pub async fn settle_accounts(&mut self, id: Option<&RotationId>) -> Result<(), StoreError> {
        if let Some(hold) = self.ledger.standing().hold_owed() {
            self.record(id, Happening::Held { hold })?;
        }
        self.arm_retirement(id).await?;
        if let Some(view) = self.settled() {
            self.targets.iter().for_each(|target| target.tidy(view));
        }
        let standing = self.ledger.standing();
        self.store.prune(&self.settings.name, standing, self.settings.keep, jiff::Timestamp::now());
        Ok(())
    }

    /// Records when the overlap that is open is to be ended, where that is not known yet.
    pub(super) async fn arm_retirement(&mut self, id: Option<&RotationId>) -> Result<(), StoreError> {
        if self.ledger.standing().retire_owed() {
            let over = jiff::Timestamp::now() + self.overlap_left();
            let at = self.end_of_overlap(over).await;
            self.record(id, Happening::RetireArmed { at })?;
        }
        Ok(())
    }

    /// When an overlap is ended that is `over`.
    async fn end_of_overlap(&self, over: jiff::Timestamp) -> jiff::Timestamp {
        match &self.settings.overlap {
            Some(overlap) if !overlap.retire_on_calendar.is_empty() => {
                self.host.date(&overlap.retire_on_calendar, over).await.unwrap_or(over)
            }
            _ => over,
        }
    }

    /// How long the overlap that is open shall last; after an end that failed, how long until it is tried again.
    fn overlap_left(&self) -> Duration {
        let standing = self.ledger.standing();
        if standing.last.as_ref().is_some_and(|last| last.retires) {
            return RETIRE_AGAIN;
        }
        self.overlap_length().unwrap_or(RETIRE_AGAIN)
    }

    /// How long old tokens are to be accepted, where that is known.
    pub(super) fn overlap_length(&self) -> Option<Duration> {
        let length = self.settings.overlap.as_ref().and_then(|overlap| overlap.length);
        let longest = self.ledger.standing().longest_token_s;
        length.or_else(|| Some(Duration::from_secs(longest?) + SKEW))
    }
}
