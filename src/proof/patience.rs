//! Asking again until time is up: a consumer that was just restarted may need a moment.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::rotation::Fault;

/// No single request may take longer.
const REQUEST: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How long a probe goes on asking.
pub(super) struct Patience {
    began: Instant,
    end: Instant,
    pause: Duration,
}

impl Patience {
    /// Until the earlier of `deadline` and `timeout` from now.
    pub(super) fn until(deadline: Instant, timeout: Duration) -> Self {
        let began = Instant::now();
        Self { began, end: deadline.min(began + timeout), pause: FIRST_PAUSE }
    }

    /// The limit of the next request.
    pub(super) fn request(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now()).clamp(Duration::from_millis(10), REQUEST)
    }

    /// Whether this much time has gone by.
    pub(super) fn has_waited(&self, time: Duration) -> bool {
        self.began.elapsed() >= time
    }

    /// A quarter of all the time there is.
    pub(super) fn quarter(&self) -> Duration {
        self.end.saturating_duration_since(self.began) / 4
    }

    /// Waits a moment, each time a longer one, before `fault` is tried again.
    ///
    /// # Errors
    /// `fault`, where the time is up, with how long it was tried.
    pub(super) async fn again_after(&mut self, fault: Fault) -> Result<(), Fault> {
        if Instant::now() + self.pause >= self.end {
            let waited = self.began.elapsed().as_secs_f64();
            return Err(Fault { message: format!("{}, for {waited:.1} s", fault.message), ..fault });
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}
