//! What the users of a consumer notice of a rotation: requests at a steady rate, through all of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::config::{ErrorBudget, Watch};
use crate::record::Evidence;
use crate::rotation::{Fault, FaultCode};
use crate::sys::http::{Call, line, send, shown};

/// Right for any target: not all of them have the same settings.
const ADVICE: &str = "several instances behind a balancer that are restarted one after the other spare users the restart, and so \
                      does a socket that goes on listening, where the target knows these; or allow more";

/// Requests that go on until this is dropped.
pub struct Watching {
    watch: Watch,
    seen: Arc<Mutex<Seen>>,
    sender: JoinHandle<()>,
}

struct Seen {
    sent: u32,
    failed: u32,
    last_good: Instant,
    longest_gap: Duration,
}

impl Watching {
    /// Asks from now on.
    pub fn begin(watch: &Watch) -> Self {
        let seen = Seen { sent: 0, failed: 0, last_good: Instant::now(), longest_gap: Duration::ZERO };
        let seen = Arc::new(Mutex::new(seen));
        let sender = tokio::spawn(ask_steadily(watch.clone(), Arc::clone(&seen)));
        Self { watch: watch.clone(), seen, sender }
    }

    /// What came of the requests that are over.
    pub fn so_far(&self) -> Evidence {
        let seen = lock(&self.seen);
        // A gap that is still open counts as well.
        let longest_gap = seen.longest_gap.max(seen.last_good.elapsed());
        Evidence::Impact {
            url: shown(&self.watch.url),
            sent: seen.sent,
            failed: seen.failed,
            longest_gap_ms: u64::try_from(longest_gap.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Whether no more requests failed than are allowed to.
    ///
    /// # Errors
    /// Where more did.
    pub fn check_budget(&self) -> Result<(), Fault> {
        let Some(budget) = self.watch.error_budget else { return Ok(()) };
        let (sent, failed) = {
            let seen = lock(&self.seen);
            (seen.sent, seen.failed)
        };
        if u64::from(failed) <= budget.most(u64::from(sent)) {
            return Ok(());
        }
        let message = format!(
            "{failed} of {sent} requests to {} failed meanwhile, more than the error-budget of {budget}",
            shown(&self.watch.url)
        );
        Err(Fault::new(FaultCode::ErrorBudget, message).advise(ADVICE))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.sender.abort();
    }
}

/// Whether the URL is served now, or what is wrong.
///
/// # Errors
/// Where a request fails as one would in the rotation.
pub async fn check(watch: &Watch) -> Result<(), Fault> {
    match failure(watch).await {
        None => Ok(()),
        Some(what) => {
            let message = format!("{} {what}, and is to be watched", line("GET", &watch.url));
            Err(Fault::new(FaultCode::ProbeFailed, message).advise("[proof] watch should name a URL that is served"))
        }
    }
}

async fn ask_steadily(watch: Watch, seen: Arc<Mutex<Seen>>) {
    let mut ticks = interval(Duration::from_secs(1) / watch.rate.max(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (watch, seen) = (watch.clone(), Arc::clone(&seen));
        tokio::spawn(async move {
            let failure = failure(&watch).await;
            let mut seen = lock(&seen);
            seen.sent += 1;
            if failure.is_some() {
                seen.failed += 1;
                return;
            }
            seen.longest_gap = seen.longest_gap.max(seen.last_good.elapsed());
            seen.last_good = Instant::now();
        });
    }
}

/// What is wrong with one request, if anything: no answer in time, or one that says that the server has failed.
async fn failure(watch: &Watch) -> Option<String> {
    match send(Call::new("GET", &watch.url), watch.timeout).await {
        Ok(reply) if reply.status < 500 => None,
        Ok(reply) => Some(format!("answered {}", reply.status)),
        Err(error) => Some(error.why.to_string()),
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ErrorBudget {
    /// How many of so many requests may fail.
    pub fn most(self, sent: u64) -> u64 {
        match self {
            Self::Requests(most) => u64::from(most),
            Self::PerMille(most) => sent.saturating_mul(u64::from(most)) / 1000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_names_no_setting_that_a_target_may_not_have() {
        assert!(!ADVICE.contains('`') && !ADVICE.contains("max-unavailable"));
    }

    #[test]
    fn a_budget_is_a_number_of_requests_or_a_share_of_them() {
        assert_eq!((ErrorBudget::Requests(2).most(10), ErrorBudget::Requests(2).most(1000)), (2, 2));
        assert_eq!((ErrorBudget::PerMille(10).most(100), ErrorBudget::PerMille(10).most(99)), (1, 0));
        assert_eq!((ErrorBudget::Requests(0).most(0), ErrorBudget::PerMille(0).most(0)), (0, 0));
    }
}
