//! From a deployment that was made to what is served: followed to its end, or stopped.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::HostingTarget;
use super::answer::Kind;
use super::api::Refusal;
use super::course::Course;
use super::platform::{COMMIT, Deployment, State};
use super::step::{Known, Step, name, step, told};
use crate::rotation::{Fault, FaultCode};

/// How long a deployment that was just made may be unknown where it is asked for.
const UNKNOWN: Duration = Duration::from_secs(30);
/// How long one that was given up has to end.
const ENDS: Duration = Duration::from_secs(90);

impl HostingTarget {
    /// Follows one to its end.
    pub(super) async fn follow(&self, course: &Course<'_>, mut at: Deployment) -> Result<Deployment, Fault> {
        let began = Instant::now();
        let until = course.until.min(began + self.limit);
        let (mut told_last, mut state, mut published) = (String::new(), (at.state, began), false);
        loop {
            if let Some(now) = self.look_at(course, &at, began).await? {
                at = now;
            }
            let line = format!("{} is {} {}", name(&at), told(&at), at.page);
            if line != told_last {
                self.tell(course, line.trim_end());
                told_last = line;
            }
            if self.has_other_code(course, &at) {
                let text = format!("{} is of another commit than what is served, {}", name(&at), short(&at.commit));
                return self.give_up(course, at, FaultCode::NotLive, &text).await;
            }
            if at.state != state.0 {
                state = (at.state, Instant::now());
            }
            // What somebody else keeps aside is theirs to publish.
            let may_publish = self.platform.may_publish() && self.is_ours(course, &at);
            let mut known = Known { lasts: state.1.elapsed(), may_publish, published, ..Known::default() };
            let next = self.decide(course, &at, &mut known).await;
            let next = match next {
                Ok(next) => next,
                Err(Refusal { kind: Kind::Unavailable, .. }) => Step::Wait,
                Err(refusal) => return Err(self.after(refusal)),
            };
            match next {
                Step::Live(live) => return Ok(live),
                Step::Fail(code, text) => return Err(self.fault(code, &text, &at.page)),
                Step::GiveUp(code, text) => return self.give_up(course, at, code, &text).await,
                Step::Follow(newer) => {
                    self.tell(course, &format!("{} was replaced by {}", name(&at), name(&newer)));
                    (state, published) = ((newer.state, Instant::now()), false);
                    at = newer;
                    continue;
                }
                Step::Publish => {
                    self.tell(course, &format!("publishing {}", name(&at)));
                    match self.platform.publish(&at.id, until).await {
                        Ok(()) => published = true,
                        Err(Refusal { kind: Kind::Unavailable, .. }) => {}
                        Err(refusal) => return Err(self.after(refusal)),
                    }
                }
                Step::Wait | Step::AskWhetherItServes | Step::LookForNewer => {}
            }
            let pause = self.platform.pause(began.elapsed());
            if Instant::now() + pause >= until {
                let text = format!("{} was not live in time: it is {}", name(&at), told(&at));
                return self.give_up(course, at, FaultCode::NotLive, &text).await;
            }
            sleep(pause).await;
        }
    }

    /// How it stands now; none where that cannot be known at the moment.
    async fn look_at(&self, course: &Course<'_>, at: &Deployment, began: Instant) -> Result<Option<Deployment>, Fault> {
        match self.platform.deployment(&at.id, course.until).await {
            Ok(now) => {
                let commit = now.commit.clone().or(at.commit.clone());
                let page = if now.page.is_empty() { at.page.clone() } else { now.page.clone() };
                Ok(Some(Deployment { id: at.id.clone(), commit, page, ..now }))
            }
            Err(Refusal { kind: Kind::Unavailable, .. }) => Ok(None),
            Err(Refusal { kind: Kind::Missing, text, .. }) => {
                let listed = self.made_since(course).await;
                let listed = listed.map_err(|refusal| self.after(refusal))?;
                match listed.into_iter().find(|it| it.id == at.id) {
                    Some(now) => Ok(Some(now)),
                    None if began.elapsed() < UNKNOWN => Ok(None),
                    None => {
                        let text = format!("{} is not there any more: {text}", name(at));
                        Err(self.after(Refusal::of(Kind::Lost, text)))
                    }
                }
            }
            Err(refusal) => Err(self.after(refusal)),
        }
    }

    /// What follows, with all asked that must be known for it.
    async fn decide(&self, course: &Course<'_>, at: &Deployment, known: &mut Known) -> Result<Step, Refusal> {
        loop {
            match step(at, known) {
                Step::AskWhetherItServes => known.serves = Some(self.platform.serves(at, course.until).await?),
                Step::LookForNewer => known.newer = Some(self.newer(course, at).await?),
                decided => return Ok(decided),
            }
        }
    }

    /// The newest that is well, of those that were made after the write and after `at`. Somebody else's that is kept aside
    /// is none: it may never be served.
    async fn newer(&self, course: &Course<'_>, at: &Deployment) -> Result<Option<(Deployment, bool)>, Refusal> {
        let may_serve = |it: &Deployment| match it.state {
            State::Failed | State::Gone => false,
            State::Aside => self.is_ours(course, it),
            State::Going | State::Blocked | State::Up => true,
        };
        let is_well = |it: &Deployment| it.id != at.id && it.created >= at.created && may_serve(it);
        let Some(newer) = self.made_since(course).await?.into_iter().find(is_well) else { return Ok(None) };
        let serves = newer.state == State::Up && self.platform.serves(&newer, course.until).await?;
        Ok(Some((newer, serves)))
    }

    /// Sees to it that a deployment does not land any more. Where that cannot be known it is not undone.
    async fn give_up(
        &self,
        course: &Course<'_>,
        at: Deployment,
        code: FaultCode,
        text: &str,
    ) -> Result<Deployment, Fault> {
        match self.stop(course, &at).await? {
            Stopped::Ended => Err(self.fault(code, text, &at.page)),
            // It was quicker, and is to be taken back.
            Stopped::Live(live) if self.has_other_code(course, &live) => Err(self.fault(code, text, &live.page)),
            Stopped::Live(live) => Ok(live),
        }
    }

    /// Waits until a deployment has ended, after canceling it where it is ours. Somebody else's has more time.
    pub(super) async fn stop(&self, course: &Course<'_>, at: &Deployment) -> Result<Stopped, Fault> {
        let is_ours = self.is_ours(course, at);
        let is_over = |state: State| matches!(state, State::Failed | State::Gone | State::Aside);
        if is_over(at.state) {
            return Ok(Stopped::Ended);
        }
        let latest = if is_ours { course.errand.deadline } else { course.until };
        let mut refused = String::new();
        if is_ours {
            self.tell(course, &format!("canceling {}", name(at)));
            let canceled = self.answer(course, || self.platform.cancel(&at.id, latest)).await;
            refused = canceled.err().map_or_else(String::new, |refusal| format!(" ({})", refusal.text));
        } else {
            self.tell(course, &format!("waiting for the end of {}, which is not ours", name(at)));
        }
        let ends = || if is_ours { latest.min(Instant::now() + ENDS) } else { latest };
        let mut until = ends();
        loop {
            let why = match self.platform.deployment(&at.id, latest).await {
                Ok(now) if is_over(now.state) => return Ok(Stopped::Ended),
                Ok(now) if now.state == State::Up && self.platform.serves(&now, latest).await.unwrap_or(false) => {
                    return Ok(Stopped::Live(now));
                }
                Ok(now) => format!("{} is {}", name(&now), told(&now)),
                Err(refusal) if refusal.kind == Kind::Unavailable => {
                    // It may have ended meanwhile.
                    until = ends();
                    refusal.text
                }
                Err(refusal) => {
                    let text = format!("it is not known what became of {}: {}", name(at), refusal.text);
                    return Err(self.unsure(&text, &refusal.advice, &at.page));
                }
            };
            let pause = self.platform.pause(Duration::ZERO);
            if Instant::now() + pause >= until {
                let text = format!("{} could not be stopped, and may still land: {why}{refused}", name(at));
                return Err(self.unsure(&text, "", &at.page));
            }
            sleep(pause).await;
        }
    }

    /// Whether we are about to bring code into service that nobody has asked for. What somebody else pushes is theirs.
    fn has_other_code(&self, course: &Course<'_>, at: &Deployment) -> bool {
        let served = course.found.get(COMMIT);
        let differs = served.is_some() && at.commit.is_some() && at.commit.as_ref() != served;
        differs && self.platform.wants_same_code() && !course.errand.back && self.is_ours(course, at)
    }
}

/// What became of a deployment that was to be stopped.
pub(super) enum Stopped {
    /// It ended without being served.
    Ended,
    /// It was quicker.
    Live(Deployment),
}

fn short(commit: &Option<String>) -> String {
    commit.as_ref().map_or_else(String::new, |commit| commit.chars().take(12).collect())
}
