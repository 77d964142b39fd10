//! What each phase of a rotation does.

use std::sync::atomic::AtomicBool;

use tokio::time::Instant;

use super::Engine;
use crate::record::{Found, NewValue, Seen};
use crate::rotation::{Fault, FaultCode, Generation, Intent, Phase, Step};
use crate::secret::{Fingerprint, generate};
use crate::store::StoreError;

impl Engine<'_> {
    /// Performs one phase but the activation, which a batch does together. Nothing is taken for granted but the ledger:
    /// the phase may have been performed before, by a daemon that was killed before it could say so.
    ///
    /// `is_home` is told once all that is at home has what is delivered.
    pub(super) async fn perform(&self, phase: &Phase, deadline: Instant, is_home: &AtomicBool) -> Result<Seen, Fault> {
        let view = self.view_in(phase)?;
        match phase {
            Phase::Preflight => {
                let seen = self.preflight(&view, self.health_needed(), deadline).await?;
                self.keep_tokens(deadline).await;
                let anew = self.encrypt_anew().await?;
                Ok(match seen {
                    Seen::Ready { found, evidence } => {
                        Seen::Ready { found, evidence: evidence.into_iter().chain(anew).collect() }
                    }
                    seen => seen,
                })
            }
            Phase::Generate => self.make(),
            Phase::Forth { step: Step::Deliver, .. } | Phase::Back { step: Step::Deliver, .. } => {
                self.deliver(phase, &view, deadline, is_home).await
            }
            Phase::Forth { step: Step::Prove, .. } | Phase::Back { step: Step::Prove, .. } => {
                if self.waits_for_restart(phase) {
                    self.prove_delivered(&view, deadline).await
                } else {
                    self.prove(phase, &view, deadline).await
                }
            }
            Phase::Forth { step: Step::Activate, .. } | Phase::Back { step: Step::Activate, .. } | Phase::Commit => {
                Err(Fault::new(FaultCode::StoreFailed, format!("{phase} is not for one rotation alone")))
            }
        }
    }

    /// Makes the new values. Those that were sealed before an interruption are kept.
    fn make(&self) -> Result<Seen, Fault> {
        let Some(transaction) = &self.ledger.standing().transaction else { return Ok(Seen::Made { made: Vec::new() }) };
        let make = |generation: &Generation| {
            let fingerprint = self.make_one(*generation, transaction.interruptions > 0)?;
            Ok(NewValue { generation: *generation, fingerprint })
        };
        let made: Result<_, Fault> = transaction.plan.makes.iter().map(make).collect();
        Ok(Seen::Made { made: made? })
    }

    fn make_one(&self, generation: Generation, was_interrupted: bool) -> Result<Fingerprint, Fault> {
        let name = &self.settings.name;
        let value = match self.store.get(name, generation) {
            Ok(kept) if was_interrupted => kept,
            _ => {
                let value = generate(self.settings.bytes, self.settings.format).map_err(StoreError::from)?;
                self.store.put(name, generation, &value)?;
                value
            }
        };
        Ok(self.store.fingerprint(&value)?)
    }

    /// Whether what is under way brings a value that was not in force.
    pub(super) fn makes_a_value(&self) -> bool {
        matches!(self.intent(), Some(Intent::Rotate | Intent::Initial))
    }

    pub(super) fn found(&self) -> &[Found] {
        self.ledger.standing().transaction.as_ref().map_or(&[], |transaction| &transaction.found)
    }
}
