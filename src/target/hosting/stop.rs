//! What must not land any more: it is stopped, or it is said that nobody can know.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::answer::Kind;
use super::api::Said;
use super::course::Course;
use super::platform::{Deployment, NEWEST, SINCE, State};
use super::step::{name, told};
use super::{HostingTarget, Touched};
use crate::rotation::{Fault, FaultCode};

/// How long one that was given up has to end.
const ENDS: Duration = Duration::from_secs(90);
/// When the last request must have its answer before the movement's deadline: what is cut off there would count as a mere
/// want of time.
const LAST: Duration = Duration::from_secs(10);

impl HostingTarget {
    /// What was set going with the value that is taken back must not land any more: ours is canceled, and somebody else's
    /// is waited for. Where an earlier daemon may have asked for one a moment before it died, there is time to show it.
    pub(super) async fn let_none_land(&self, course: &Course<'_>, touched: Touched) -> Result<(), Fault> {
        let looks = if touched == Touched::Unknown { self.time_to_show() } else { Duration::ZERO };
        let began = Instant::now();
        let until = course.until.min(began + looks);
        loop {
            self.stop_what_is_going(course).await?;
            if Instant::now() >= until {
                return Ok(());
            }
            sleep(self.platform.pause(began.elapsed())).await;
        }
    }

    async fn stop_what_is_going(&self, course: &Course<'_>) -> Result<(), Fault> {
        let since = course.found.get(SINCE).and_then(|at| at.parse().ok());
        let made = self.answer(course, || self.listed_since(course, since)).await;
        let made = made.map_err(|refusal| self.after(refusal))?;
        for at in made {
            // What this way back has made itself, before it was interrupted, goes on.
            let is_of_this_way = at.mark.as_deref() == Some(course.errand.mark);
            let is_new = !is_of_this_way && course.found.get(NEWEST) != Some(&at.id);
            if is_new && self.may_land(course, &at).await? {
                self.stop(course, &at, self.limit).await?;
            }
        }
        Ok(())
    }

    async fn may_land(&self, course: &Course<'_>, at: &Deployment) -> Result<bool, Fault> {
        match at.state {
            State::Going | State::Blocked => Ok(true),
            State::Aside => {
                let may_be = self.answer(course, || self.may_be_published(course, at, course.until)).await;
                may_be.map_err(|refusal| self.after(refusal))
            }
            State::Failed | State::Gone => Ok(false),
            // Up, and newer than what serves: it may be about to.
            State::Up if self.is_ours(course, at) => {
                let is_newer = self.answer(course, || self.is_newer_than_what_serves(at, course.until)).await;
                is_newer.map_err(|refusal| self.after(refusal))
            }
            State::Up => Ok(false),
        }
    }

    async fn is_newer_than_what_serves(&self, at: &Deployment, until: Instant) -> Said<bool> {
        let serving = self.platform.serving(until).await?;
        Ok(serving.is_none_or(|serving| serving.id != at.id && at.created > serving.created))
    }

    /// Whether one that is kept aside may be published: because we have asked for it, now or in an earlier life; or by the
    /// platform itself, which takes its time for that, as long as nothing newer serves.
    async fn may_be_published(&self, course: &Course<'_>, at: &Deployment, until: Instant) -> Said<bool> {
        if self.platform.may_publish() && self.is_ours(course, at) && !self.is_unasked(&at.id) {
            return Ok(true);
        }
        Ok(self.platform.publishes_by_itself(until).await? && self.is_newer_than_what_serves(at, until).await?)
    }

    /// How it stands now, and whether that is the end of it.
    async fn how_it_ends(&self, course: &Course<'_>, id: &str, until: Instant) -> Said<(Deployment, bool)> {
        let now = self.platform.deployment(id, until).await?;
        let is_over = match now.state {
            State::Failed | State::Gone => true,
            State::Aside => !self.may_be_published(course, &now, until).await?,
            State::Going | State::Up | State::Blocked => false,
        };
        Ok((now, is_over))
    }

    /// Sees to it that a deployment does not land any more. Where that cannot be known it is not undone.
    pub(super) async fn give_up(
        &self,
        course: &Course<'_>,
        at: Deployment,
        code: FaultCode,
        text: &str,
    ) -> Result<Deployment, Fault> {
        match self.stop(course, &at, ENDS).await? {
            Stopped::Ended => Err(self.fault(code, text, &at.page)),
            // It was quicker, and is to be taken back.
            Stopped::Live(live) if self.has_other_code(course, &live) => Err(self.fault(code, text, &live.page)),
            Stopped::Live(live) => Ok(live),
        }
    }

    /// Cancels it: why that was refused, or nothing.
    async fn cancel(&self, course: &Course<'_>, at: &Deployment, latest: Instant) -> String {
        self.tell(course, &format!("canceling {}", name(at)));
        let canceled = self.answer(course, || self.platform.cancel(&at.id, latest)).await;
        canceled.err().map_or_else(String::new, |refusal| format!(" ({})", refusal.text))
    }

    /// Waits until a deployment has ended, after canceling it where it is ours. Somebody else's has more time; but what they
    /// keep aside for long, they mean to. One of ours that is built can be canceled no more: it has so long to be published.
    async fn stop(&self, course: &Course<'_>, at: &Deployment, aside: Duration) -> Result<Stopped, Fault> {
        let is_ours = self.is_ours(course, at);
        if matches!(at.state, State::Failed | State::Gone) {
            return Ok(Stopped::Ended);
        }
        let last = course.errand.deadline.checked_sub(LAST).unwrap_or(course.until);
        let latest = if is_ours { last.max(course.until) } else { course.until };
        let can_be_canceled = |at: &Deployment| is_ours && matches!(at.state, State::Going | State::Blocked);
        let (mut refused, mut asked_in) = (String::new(), at.word.clone());
        if can_be_canceled(at) {
            refused = self.cancel(course, at, latest).await;
        } else if is_ours {
            self.tell(course, &format!("waiting whether {} is served yet, which is {}", name(at), told(at)));
        } else {
            self.tell(course, &format!("waiting for the end of {}, which is not ours", name(at)));
        }
        let mut state = at.state;
        let ends = |state: State| match (is_ours, state) {
            (true, State::Aside) => latest.min(Instant::now() + aside),
            (true, _) | (false, State::Aside) => latest.min(Instant::now() + ENDS),
            (false, _) => latest,
        };
        let (mut until, began) = (ends(state), Instant::now());
        loop {
            let why = match self.how_it_ends(course, &at.id, latest).await {
                Ok((_, true)) => return Ok(Stopped::Ended),
                Ok((now, _)) if now.state == State::Up && self.platform.serves(&now, latest).await.unwrap_or(false) => {
                    return Ok(Stopped::Live(now));
                }
                Ok((now, _)) => {
                    if now.state == State::Aside && state != State::Aside {
                        until = ends(now.state);
                    }
                    state = now.state;
                    // Not every state is one in which it can be canceled.
                    if !refused.is_empty() && now.word != asked_in && can_be_canceled(&now) {
                        refused = self.cancel(course, &now, latest).await;
                        asked_in.clone_from(&now.word);
                    }
                    format!("{} is {}", name(&now), told(&now))
                }
                Err(refusal) if refusal.kind == Kind::Unavailable => {
                    // It may have ended meanwhile.
                    until = ends(state);
                    refusal.text
                }
                Err(refusal) => {
                    let text = format!("it is not known what became of {}: {}", name(at), refusal.text);
                    return Err(self.unsure(&text, &refusal.advice, &at.page));
                }
            };
            let pause = self.platform.pause(began.elapsed());
            if Instant::now() + pause >= until {
                if !is_ours && state == State::Aside {
                    self.tell(course, &format!("{} is kept aside by whoever made it", name(at)));
                    return Ok(Stopped::Ended);
                }
                let text = format!("{} could not be stopped, and may still land: {why}{refused}", name(at));
                return Err(self.unsure(&text, "", &at.page));
            }
            sleep(pause).await;
        }
    }
}

/// What became of a deployment that was to be stopped.
pub(super) enum Stopped {
    /// It ended without being served.
    Ended,
    /// It was quicker.
    Live(Deployment),
}
