//! The look before a rotation: every obstacle is found while nothing is touched.

use tokio::time::Instant;

use super::prove::found_workers;
use super::{Engine, Values};
use crate::proof::{Moment, impact};
use crate::record::{Evidence, Found, Hook, Seen};
use crate::rotation::{Fault, FaultCode, Intent, View};
use crate::secret::generate;
use crate::store::StoreError;
use crate::target::Health;

impl Engine<'_> {
    /// Looks for every obstacle, touching nothing.
    pub(super) async fn preflight(&self, in_force: &View, health: Health, deadline: Instant) -> Result<Seen, Fault> {
        self.check_hooks().await?;
        let is_first = self.intent() == Some(Intent::Initial);
        let values = if is_first { self.placeholder()? } else { self.disclose(in_force)? };
        let found = self.survey(&values.of(in_force), health, deadline).await?;
        // Of some consumers nothing is known but what probes say.
        let anyone = health == Health::Needed && may_serve(&found);
        let evidence = self
            .ask_probes((Moment::Before, anyone, found_workers(&found)), in_force, (&values, Vec::new()), deadline)
            .await?;
        if let Some(watch) = self.settings.watch.as_ref().filter(|_| anyone) {
            impact::check(watch).await?;
        }
        if !is_first {
            self.check_overlap_length(&evidence)?;
        }
        Ok(Seen::Ready { found, evidence })
    }

    /// Whether what is to follow on a new value could be run.
    async fn check_hooks(&self) -> Result<(), Fault> {
        // Without any, somebody only asks what a rotation would do.
        if self.intent().is_some_and(|intent| intent != Intent::Rotate) {
            return Ok(());
        }
        for (hook, of) in [(Hook::ReEncrypt, &self.settings.re_encrypt), (Hook::Logout, &self.settings.logout)] {
            if let Some(of) = of {
                self.host.check_hook(hook, of).await?;
            }
        }
        Ok(())
    }

    /// Whether users may be served by the consumers that preflight found.
    pub(super) fn may_serve(&self) -> bool {
        may_serve(self.found())
    }

    /// Going back to an earlier value is also the way out for a consumer that has failed with this one.
    pub(super) fn health_needed(&self) -> Health {
        let plan = self.ledger.standing().transaction.as_ref().map(|transaction| &transaction.plan);
        let knows_none = plan.is_some_and(|plan| matches!(plan.intent, Intent::Return | Intent::Initial));
        if knows_none { Health::Irrelevant } else { Health::Needed }
    }

    /// A value that nobody has: for a look at targets of which no value is known, and where none counts.
    fn placeholder(&self) -> Result<Values, Fault> {
        let primary = generate(self.settings.bytes, self.settings.format).map_err(StoreError::from)?;
        Ok(Values { primary, accepted: Vec::new(), list: None })
    }

    /// Whether it is known how long an overlap has to last.
    fn check_overlap_length(&self, evidence: &[Evidence]) -> Result<(), Fault> {
        let is_auto = self.settings.overlap.as_ref().is_some_and(|overlap| overlap.length.is_none());
        let is_told = |seen: &Evidence| matches!(seen, Evidence::Jwt { lifetime_s: Some(_), .. });
        if !is_auto || self.ledger.standing().longest_token_s.is_some() || evidence.iter().any(is_told) {
            return Ok(());
        }
        let message = "no probe has seen a token that says how long it lives (exp and iat)";
        Err(Fault::new(FaultCode::LifetimeUnknown, message)
            .advise("say how long old tokens are to be accepted: [invalidation] overlap = \"15m\""))
    }
}

/// Whether users may be served. Where no consumer is known, somebody may serve all the same.
pub(super) fn may_serve(found: &[Found]) -> bool {
    found.is_empty() || found.iter().any(|consumer| consumer.running)
}
