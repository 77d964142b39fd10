//! From a deployment that was made to what is served.

use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::HostingTarget;
use super::answer::Kind;
use super::api::Refusal;
use super::course::Course;
use super::platform::{COMMIT, Deployment, State};
use super::step::{ASIDE, Known, Step, name, step, told};
use crate::rotation::{Fault, FaultCode};

/// How long a deployment that was just made may be unknown where it is asked for.
const UNKNOWN: Duration = Duration::from_secs(30);

impl HostingTarget {
    /// Follows one to its end.
    pub(super) async fn follow(&self, course: &Course<'_>, mut at: Deployment) -> Result<Deployment, Fault> {
        let began = Instant::now();
        let until = course.until.min(began + self.limit);
        let (mut told_last, mut state, mut published) = (String::new(), (at.state, began), false);
        let mut refused: Option<(Refusal, Instant)> = None;
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
                let which = match &at.commit {
                    Some(commit) => format!("another commit, {},", commit.chars().take(12).collect::<String>()),
                    None => "a commit that is not told, so that it may be another".to_owned(),
                };
                let text = format!("{} is of {which} than what is served", name(&at));
                return self.give_up(course, at, FaultCode::NotLive, &text).await;
            }
            if at.state != state.0 {
                state = (at.state, Instant::now());
            }
            let is_due = refused.as_ref().is_some_and(|(_, when)| when.elapsed() >= ASIDE);
            if is_due
                && at.state == State::Aside
                && !self.is_published_by_itself(course).await?
                && let Some((refusal, _)) = refused.take()
            {
                if self.is_unasked(&at.id) {
                    return Err(self.after(refusal));
                }
                let text = format!("{} was not published: {}", name(&at), refusal.text);
                return self.give_up(course, at, FaultCode::NotLive, &text).await;
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
                    (state, published, refused) = ((newer.state, Instant::now()), false, None);
                    at = newer;
                    continue;
                }
                Step::Publish => {
                    self.tell(course, &format!("publishing {}", name(&at)));
                    match self.publish(&at.id, until).await {
                        Ok(()) => published = true,
                        Err(Refusal { kind: Kind::Unavailable, .. }) => {}
                        // It may have been done the first time that it was asked for.
                        Err(refusal) => {
                            self.tell(course, &format!("{} was not published: {}", name(&at), refusal.text));
                            (published, refused) = (true, Some((refusal, Instant::now())));
                        }
                    }
                }
                Step::Wait | Step::AskWhetherItServes | Step::AskWhetherItIsPublished | Step::LookForNewer => {}
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
                Step::AskWhetherItIsPublished => {
                    known.by_itself = Some(self.platform.publishes_by_itself(course.until).await?);
                }
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

    /// Whether the platform itself may still publish what is kept aside; where that is not told now, it may.
    async fn is_published_by_itself(&self, course: &Course<'_>) -> Result<bool, Fault> {
        match self.platform.publishes_by_itself(course.until).await {
            Err(Refusal { kind: Kind::Unavailable, .. }) => Ok(true),
            told => told.map_err(|refusal| self.after(refusal)),
        }
    }

    /// Publishes one. Whatever is answered, it may be published from then on, unless it is certain that nothing was done.
    async fn publish(&self, id: &str, until: Instant) -> Result<(), Refusal> {
        let was_unasked = self.is_unasked(id);
        self.unasked().retain(|it| it != id);
        let published = self.platform.publish(id, until).await;
        if published.as_ref().is_err_and(|refusal| was_unasked && refusal.kind.is_refusal() && !refusal.taken) {
            self.unasked().push(id.to_owned());
        }
        published
    }

    /// Whether we know that we have never asked for its publication.
    pub(super) fn is_unasked(&self, id: &str) -> bool {
        self.unasked().iter().any(|it| it == id)
    }

    pub(super) fn unasked(&self) -> MutexGuard<'_, Vec<String>> {
        self.unasked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether we are about to bring code into service that nobody has asked for. What somebody else pushes is theirs.
    pub(super) fn has_other_code(&self, course: &Course<'_>, at: &Deployment) -> bool {
        let Some(served) = course.found.get(COMMIT) else { return false };
        // It is told at the end at the latest.
        let differs = match &at.commit {
            Some(commit) => commit != served,
            None => matches!(at.state, State::Up | State::Aside),
        };
        differs && self.platform.wants_same_code() && !course.errand.back && self.is_ours(course, at)
    }
}
