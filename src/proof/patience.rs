//! Asking again until time is up: a consumer that was just restarted may need a moment.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Moment;
use crate::rotation::{Fault, FaultCode};
use crate::sys::http::{HttpError, NoAnswer};

/// No single request may take longer than this, or than a third of the whole time where that is longer: one that hangs
/// must not be the only one.
const REQUEST: Duration = Duration::from_secs(5);
/// How long an old worker may still turn up while a graceful restart drains.
const DRAINING: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// The same where each try may count: backends lock out who logs in in vain too often.
const LONGEST_REST: Duration = Duration::from_secs(5);
/// A consumer that has been running gives a clear answer so often before it is believed.
const CLEAR_ANSWERS: u32 = 2;
/// So long before the deadline of the rotation the last request has ended.
const BEFORE_DEADLINE: Duration = Duration::from_millis(500);
/// What is said of a consumer that does not answer yet.
const STARTING: &str = "if it takes longer to start, give the probe a longer `timeout`";
/// Who asks too often waits for so long at least.
const FIRST_REST: Duration = Duration::from_secs(1);
const TOO_OFTEN: &str = "it says that it is asked too often: try later, or allow the probe's user more";

/// A fault, and whether asking again may help.
pub(super) enum Trouble {
    /// The consumer may not be ready yet.
    NotYet(Fault),
    /// Nobody listens, or answers, or a proxy says so: it may be starting.
    Absent(Fault),
    /// It says no, clearly: one that is starting may change its mind.
    Answered(Fault),
    /// It does not want to be asked so often; for so long, where it says that.
    TooOften(Fault, Option<Duration>),
    /// Only for as long as an old worker may be answering.
    Draining(Fault),
    /// It will not change.
    Certain(Fault),
}

impl Trouble {
    /// There was no answer: a timeout, or else a fault of this kind.
    pub(super) fn unanswered(error: &HttpError, code: FaultCode) -> Self {
        match error.why {
            // Who forks workers listens before any of them is ready.
            NoAnswer::TimedOut => Self::Absent(Fault::new(FaultCode::ProbeTimeout, error.to_string())),
            NoAnswer::Unsendable(_) => Self::Certain(Fault::new(code, error.to_string())),
            NoAnswer::Refused | NoAnswer::Proxy(..) | NoAnswer::Broken(_) => {
                Self::Absent(Fault::new(code, error.to_string()))
            }
            _ => Self::NotYet(Fault::new(code, error.to_string())),
        }
    }

    /// It answered with a status other than wanted, and perhaps for how long it wants not to be asked: 429 (RFC 6585, 4) is
    /// too often, and 502 to 504 (RFC 9110, 15.6) have servers that are not ready, and proxies whose servers are not.
    pub(super) fn of_status(status: u16, wait: Option<Duration>, fault: Fault) -> Self {
        match status {
            429 => Self::TooOften(fault, wait),
            502..=504 => Self::Absent(fault),
            _ => Self::NotYet(fault),
        }
    }

    /// The same, with what to do.
    pub(super) fn advised(self, advice: &str) -> Self {
        match self {
            Self::NotYet(fault) => Self::NotYet(fault.advise(advice)),
            Self::Absent(fault) => Self::Absent(fault.advise(advice)),
            Self::Answered(fault) => Self::Answered(fault.advise(advice)),
            Self::TooOften(fault, pause) => Self::TooOften(fault.advise(advice), pause),
            Self::Draining(fault) => Self::Draining(fault.advise(advice)),
            Self::Certain(fault) => Self::Certain(fault.advise(advice)),
        }
    }
}

/// What was seen, from when to when.
struct Sighting {
    fault: Fault,
    since: Instant,
    until: Instant,
}

impl Sighting {
    fn lasted(&self) -> Duration {
        self.until - self.since
    }

    fn told(self) -> Fault {
        let seconds = self.lasted().as_secs_f64();
        match seconds {
            ..0.1 => self.fault,
            ..9.95 => Fault { message: format!("{}, for {seconds:.1} s", self.fault.message), ..self.fault },
            _ => Fault { message: format!("{}, for {seconds:.0} s", self.fault.message), ..self.fault },
        }
    }
}

/// How long a probe goes on asking, and what it saw meanwhile.
pub(super) struct Patience {
    moment: Moment,
    timeout: Duration,
    end: Instant,
    /// The latest end, of what waits for longer than the probe's own time.
    deadline: Instant,
    answered: u32,
    request: Duration,
    grace: Duration,
    pause: Duration,
    asked: Instant,
    seen: Option<Sighting>,
    draining: Option<Instant>,
}

impl Patience {
    /// Until the earlier of `deadline` and `timeout` from now.
    pub(super) fn until(moment: Moment, deadline: Instant, timeout: Duration) -> Self {
        let now = Instant::now();
        let end = deadline.min(now + timeout);
        let whole = end.saturating_duration_since(now);
        let (grace, request) = (DRAINING.min(whole / 4), REQUEST.max(whole / 3));
        let pause = FIRST_PAUSE;
        // What was seen is told before the deadline cuts it off.
        let deadline = deadline.checked_sub(BEFORE_DEADLINE).unwrap_or(deadline).max(end);
        Self {
            moment,
            timeout,
            end,
            deadline,
            answered: 0,
            request,
            grace,
            pause,
            asked: now,
            seen: None,
            draining: None,
        }
    }

    /// The same, with an old worker that may turn up until the end.
    pub(super) fn until_the_end(self) -> Self {
        Self { grace: self.remaining(), ..self }
    }

    /// The limit of the next request.
    pub(super) fn request(&self) -> Duration {
        self.remaining().clamp(Duration::from_millis(10), self.request)
    }

    /// Until when what is asked merely to be surer may go on.
    pub(super) fn surer(&self) -> Instant {
        Instant::now() + self.remaining() / 4
    }

    /// Waits a moment, each time a longer one, before the next try.
    ///
    /// # Errors
    /// The fault, where another try will not help or the time is up; then with how long it was seen.
    pub(super) async fn endure(&mut self, trouble: Trouble) -> Result<(), Fault> {
        let (mut longest, mut rest) = (LONGEST_PAUSE, None);
        let fault = match trouble {
            Trouble::Certain(fault) => return Err(fault),
            Trouble::Draining(fault) => {
                if self.draining.get_or_insert_with(Instant::now).elapsed() >= self.grace {
                    return Err(fault);
                }
                fault
            }
            Trouble::NotYet(fault) => fault,
            Trouble::Absent(fault) => {
                // Its time begins when it answers.
                if self.moment == Moment::Back {
                    self.prolong(Duration::ZERO);
                }
                if self.moment.may_be_starting() && fault.advice.is_empty() { fault.advise(STARTING) } else { fault }
            }
            Trouble::Answered(fault) => {
                self.answered += 1;
                if !self.moment.may_be_starting() && self.answered >= CLEAR_ANSWERS {
                    return Err(fault);
                }
                longest = LONGEST_REST;
                if !self.moment.may_be_starting() {
                    self.pause = FIRST_REST;
                }
                fault
            }
            Trouble::TooOften(fault, wanted) => {
                let fault = if fault.advice.is_empty() { fault.advise(TOO_OFTEN) } else { fault };
                let pause = wanted.unwrap_or(self.pause).max(FIRST_REST);
                // One that runs well is not gone back from because it is asked too often: there is time until the deadline.
                if !self.moment.may_be_starting() || Instant::now() + pause >= self.deadline {
                    return Err(fault);
                }
                self.prolong(pause);
                (longest, rest) = (LONGEST_REST, Some(pause));
                fault
            }
        };
        let sighting = self.sight(fault);
        let remaining = self.remaining();
        if remaining < FIRST_PAUSE {
            return Err(sighting.told());
        }
        self.seen = Some(sighting);
        // The last moments are used, too.
        let most = if longest == LONGEST_PAUSE { remaining / 2 } else { remaining - remaining / 4 };
        sleep(rest.unwrap_or(self.pause.min(most))).await;
        self.pause = (self.pause * 2).min(longest);
        self.asked = Instant::now();
        Ok(())
    }

    /// After a pause there is as much time as there was in the beginning, but for the deadline.
    fn prolong(&mut self, pause: Duration) {
        self.end = self.end.max(Instant::now() + pause + self.timeout).min(self.deadline);
    }

    /// What is left.
    pub(super) fn remaining(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    fn sight(&mut self, fault: Fault) -> Sighting {
        let until = Instant::now();
        let fresh = |fault, since| Sighting { fault, since, until };
        match self.seen.take() {
            Some(last) if last.fault == fault => fresh(fault, last.since),
            // A request that the end cut short says less than what was seen for longer.
            Some(last) if fault.code == FaultCode::ProbeTimeout && self.is_cut_short(&last, until) => last,
            _ => fresh(fault, self.asked),
        }
    }

    fn is_cut_short(&self, last: &Sighting, now: Instant) -> bool {
        let took = now - self.asked;
        self.remaining() < FIRST_PAUSE && took < self.request && took < last.lasted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(code: FaultCode, message: &str) -> Fault {
        Fault::new(code, message)
    }

    /// Endures what `trouble` makes, each after `each`, until it is given up.
    async fn give_up(timeout: u64, each: u64, mut trouble: impl FnMut(u32) -> Trouble) -> (Fault, Duration) {
        let began = Instant::now();
        let timeout = Duration::from_millis(timeout);
        let mut patience = Patience::until(Moment::Moved, began + Duration::from_secs(60), timeout);
        for count in 0.. {
            sleep(Duration::from_millis(each).min(patience.request())).await;
            if let Err(fault) = patience.endure(trouble(count)).await {
                return (fault, began.elapsed());
            }
        }
        unreachable!()
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_seen_last_is_told_with_its_own_time() {
        let began = Instant::now();
        let (fault, _) = give_up(900, 0, |_| {
            let early = began.elapsed() < Duration::from_millis(500);
            Trouble::NotYet(fault(FaultCode::LoginFailed, if early { "refused" } else { "answered 500" }))
        })
        .await;
        let seconds: f64 = fault.message.strip_prefix("answered 500, for ").unwrap()[..3].parse().unwrap();
        assert!(seconds < 0.8, "{fault}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_the_end_cuts_short_does_not_hide_what_was_seen_before() {
        let began = Instant::now();
        let (fault, _) = give_up(800, 150, |_| {
            let cut = began.elapsed() > Duration::from_millis(780);
            Trouble::NotYet(if cut {
                fault(FaultCode::ProbeTimeout, "got no answer in time")
            } else {
                fault(FaultCode::LoginFailed, "answered 500")
            })
        })
        .await;
        assert_eq!(fault.code, FaultCode::LoginFailed, "{fault}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_hang_that_lasted_longer_than_what_was_before_is_told() {
        let mut patience =
            Patience::until(Moment::Moved, Instant::now() + Duration::from_secs(9), Duration::from_millis(400));
        patience.endure(Trouble::NotYet(fault(FaultCode::LoginFailed, "answered 500"))).await.unwrap();
        sleep(patience.request()).await;
        let hang = fault(FaultCode::ProbeTimeout, "got no answer in time");
        assert_eq!(patience.endure(Trouble::NotYet(hang)).await.unwrap_err().code, FaultCode::ProbeTimeout);
    }

    #[tokio::test(start_paused = true)]
    async fn the_grace_for_an_old_worker_begins_when_it_is_seen_and_is_short() {
        let began = Instant::now();
        let mut first_seen = None;
        let (fault, took) = give_up(1600, 0, |_| {
            if began.elapsed() < Duration::from_millis(600) {
                return Trouble::NotYet(fault(FaultCode::LoginFailed, "refused"));
            }
            first_seen.get_or_insert(began.elapsed());
            Trouble::Draining(fault(FaultCode::SignedWithOld, "signed with 1"))
        })
        .await;
        assert_eq!(fault.message, "signed with 1");
        let grace = took - first_seen.unwrap();
        assert!(grace >= Duration::from_millis(400) && took < Duration::from_millis(1590), "{grace:?} {took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_certain_is_not_asked_again() {
        let (_, took) = give_up(5000, 0, |_| Trouble::Certain(fault(FaultCode::AcceptsAlgNone, "none"))).await;
        assert!(took < Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_rotations_deadline_ends_it_before_the_probes_timeout() {
        let began = Instant::now();
        let mut patience = Patience::until(Moment::Moved, began + Duration::from_millis(100), Duration::from_secs(60));
        while patience.endure(Trouble::NotYet(fault(FaultCode::ProbeFailed, "answered 503"))).await.is_ok() {}
        assert!(began.elapsed() < Duration::from_secs(2));
    }
}
