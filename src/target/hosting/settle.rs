//! What serves: whether it has what was written, and stays so.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::answer::Kind;
use super::api::Refusal;
use super::course::Course;
use super::platform::{Deployment, Ids, NEWEST, SERVING, SINCE, Shown, State, written};
use super::step::{self, ASIDE};
use super::{FORMER, HostingTarget, MARK, VIEW};
use crate::rotation::{Fault, FaultCode};

/// Whether a deployment was made after what was noted of a write, or was there before with the same value. Where nothing was, nothing speaks against it.
pub(super) fn was_made_with(noted: &Ids, it: &Deployment) -> bool {
    let since: Option<Timestamp> = noted.get(SINCE).and_then(|at| at.parse().ok());
    let is_later = match (since, it.created) {
        (Some(since), Some(created)) => created >= since,
        (Some(_), None) => false,
        (None, _) => true,
    };
    // Variables may have another clock than deployments: a mark says more than any time.
    let is_marked = it.mark.is_some() && it.mark.as_ref() == noted.get(MARK);
    is_marked || is_later && noted.get(NEWEST) != Some(&it.id) || noted.get(FORMER) == Some(&it.id)
}

impl HostingTarget {
    /// On the way back, what served before anything was written, where that was with the view that is wanted.
    pub(super) fn former<'c>(&self, course: &'c Course<'_>) -> Option<&'c String> {
        let has_view = course.found.get(VIEW).is_some_and(|view| *view == course.errand.view.view.to_string());
        course.found.get(SERVING).filter(|_| course.errand.back && has_view)
    }

    /// Whether what serves is that.
    pub(super) fn is_the_former(&self, course: &Course<'_>, serving: &Deployment) -> bool {
        self.former(course) == Some(&serving.id)
    }

    /// Whether what serves has what was written.
    pub(super) fn has_it(&self, course: &Course<'_>, serving: &Deployment) -> bool {
        self.is_the_former(course, serving)
            || (serving.mark.is_some() && serving.mark.as_deref() == Some(course.errand.mark))
            || was_made_with(&course.noted, serving)
    }

    /// What serves, where it has what was written and may be well: it is up, or on its way to be so again.
    async fn proven_serving(&self, course: &Course<'_>) -> Result<Deployment, Fault> {
        let serving = self.answer(course, || self.platform.serving(course.until)).await;
        let serving = serving.map_err(|refusal| self.after(refusal))?;
        let Some(serving) = serving else {
            return Err(self.fault(FaultCode::NotLive, "nothing is served any more", ""));
        };
        if !matches!(serving.state, State::Up | State::Going) {
            return Err(self.is_unsettled(&serving));
        }
        if !self.has_it(course, &serving) {
            let text = format!("{} is served, which was made before the value was written", step::name(&serving));
            return Err(self.fault(FaultCode::NotLive, &text, &serving.page));
        }
        Ok(serving)
    }

    fn is_unsettled(&self, serving: &Deployment) -> Fault {
        let text = format!("{}, which is served, is {}", step::name(serving), step::told(serving));
        self.fault(FaultCode::Unsettled, &text, &serving.page)
    }

    /// Waits until what serves has been up for long enough. Where it is something else for a moment, or in a state that
    /// nobody knows, it is looked at from then on anew.
    pub(super) async fn settled(&self, course: &Course<'_>) -> Result<(Deployment, Duration), Fault> {
        let least = self.settle_set.unwrap_or_else(|| self.platform.settle(course.found));
        // Whoever merely looks does not wait.
        let looks_only = course.errand.mark.is_empty();
        let settle = if looks_only { Duration::ZERO } else { self.settle.max(least) };
        let began = Instant::now();
        let mut since = began;
        loop {
            let serving = self.proven_serving(course).await?;
            if serving.state == State::Going {
                let pause = self.platform.pause(began.elapsed());
                if looks_only || Instant::now() + pause >= course.until {
                    return Err(self.is_unsettled(&serving));
                }
                sleep(pause).await;
                since = Instant::now();
                continue;
            }
            let left = settle.saturating_sub(since.elapsed());
            if left.is_zero() {
                return Ok((serving, since.elapsed()));
            }
            sleep(left.min(self.platform.pause(since.elapsed()))).await;
        }
    }

    /// What the platform shows must be what was written, still.
    pub(super) async fn check_shown(&self, course: &Course<'_>) -> Result<(), Fault> {
        for (key, wanted) in self.wanted(course.errand.view) {
            // Without an overlap that was begun, nobody has written this one.
            let nobody_wrote =
                course.noted.is_empty() || course.errand.mark.is_empty() && course.errand.view.previous.is_none();
            if nobody_wrote && Some(key) == self.previous_key.as_deref() {
                continue;
            }
            let is_theirs = match self.shown(course, key).await? {
                Shown::Gone => return Err(self.is_gone(key)),
                Shown::Value(shown) => !shown.is_same(wanted),
                // Who merely looks may know the times of an earlier rotation alone, where the last one could not be undone.
                Shown::Hidden if course.errand.mark.is_empty() => false,
                Shown::Hidden => {
                    let ours = course.noted.get(&written(key)).and_then(|at| at.parse().ok());
                    self.is_written_since(course, key, ours).await?
                }
            };
            if is_theirs {
                let text = format!("{key} has another value than was written: somebody else writes it");
                return Err(self.fault(FaultCode::WrongValue, &text, ""));
            }
        }
        Ok(())
    }

    /// Publishes what served before, which has the code and the value of then.
    pub(super) async fn restore(&self, course: &Course<'_>, former: &str) -> Result<Deployment, Fault> {
        self.tell(course, &format!("publishing {former} again"));
        let published = self.answer(course, || self.platform.publish(former, course.until)).await;
        let (mut refused, began) = (published.err(), Instant::now());
        loop {
            match self.platform.serving(course.until).await {
                Ok(Some(serving)) if serving.id == former => return Ok(serving),
                Ok(_) | Err(Refusal { kind: Kind::Unavailable, .. }) => {}
                Err(refusal) => return Err(self.after(refusal)),
            }
            // What is refused when it is asked for again may have been done the first time.
            if let Some(refusal) = refused.take_if(|_| began.elapsed() >= ASIDE) {
                return Err(self.after(refusal));
            }
            let pause = self.platform.pause(began.elapsed());
            if Instant::now() + pause >= course.until {
                return Err(self.unsure(&format!("{former} was not published again in time"), "", ""));
            }
            sleep(pause).await;
        }
    }
}
