//! Making a deployment once: it is found again where its answer was lost, or the daemon was killed.

use std::sync::PoisonError;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::answer::Kind;
use super::api::Refusal;
use super::course::Course;
use super::platform::{COMMIT, Deployment, NEWEST, SINCE, State, Wanted};
use super::step::name;
use super::{HostingTarget, Touched};
use crate::rotation::{Fault, FaultCode};

/// When a deployment is looked for whose answer was lost.
const LOOKS: [u64; 4] = [1, 3, 6, 10];
const LONGEST_LOOK: u64 = 10;
/// How long it is looked for, at least, before a trigger is sent again whose answers are lost and which seems to make
/// nothing.
const AGAIN: [u64; 3] = [0, 30, 60];
const LONGEST_AGAIN: u64 = 120;
/// How long a trigger that was taken without an id has to show what it makes.
const APPEARS: Duration = Duration::from_secs(60);

impl HostingTarget {
    /// The deployment of this movement, which was made before already or is made now, once it is live.
    pub(super) async fn deploy(&self, course: &Course<'_>) -> Result<Deployment, Fault> {
        // Other targets may have taken their time since the write.
        if !course.errand.back {
            let written = course.noted.get(SINCE).and_then(|at| at.parse().ok());
            self.let_others_end(course, written).await?;
        }
        let found = self.answer(course, || self.find(course)).await;
        match found.map_err(|refusal| self.after(refusal))? {
            Some(made) if self.may_be_ours(course, &made) => {
                self.tell(course, &format!("going on with {}", name(&made)));
                self.follow(course, self.remember(made)).await
            }
            Some(theirs) if !matches!(theirs.state, State::Failed | State::Gone) => self.share(course, theirs).await,
            _ => self.follow(course, self.make(course).await?).await,
        }
    }

    /// Without marks, one that was there before any was asked for in this life is somebody else's: it has what was written,
    /// too, but its failure is none of ours.
    async fn share(&self, course: &Course<'_>, theirs: Deployment) -> Result<Deployment, Fault> {
        self.tell(course, &format!("{} has what was written", name(&theirs)));
        match self.follow(course, theirs).await {
            Err(fault) if fault.code == FaultCode::DeployFailed => self.follow(course, self.make(course).await?).await,
            done => done,
        }
    }

    async fn make(&self, course: &Course<'_>) -> Result<Deployment, Fault> {
        if self.touched() != Touched::Unknown {
            return self.trigger(course).await;
        }
        // An earlier daemon may have asked for it a moment before it died.
        self.tell(course, "looking whether it was asked for already");
        match self.look_for(course, self.time_to_show()).await? {
            Some(Some(made)) if self.may_be_ours(course, &made) => Ok(self.remember(made)),
            Some(Some(theirs)) if !matches!(theirs.state, State::Failed | State::Gone) => Ok(theirs),
            Some(_) => self.trigger(course).await,
            None => {
                let text = "it is not known whether a deployment was made before";
                Err(self.after(Refusal::of(Kind::Lost, text)))
            }
        }
    }

    /// What somebody else made of other code between the last look and the trigger, and ours has replaced.
    pub(super) async fn replaced(&self, course: &Course<'_>, live: &Deployment) -> Option<Deployment> {
        if !self.is_ours(course, live) {
            return None;
        }
        let made = self.made_since(course).await.ok()?;
        let is_theirs = |it: &Deployment| it.id != live.id && !self.is_ours(course, it) && it.created <= live.created;
        let theirs = made.into_iter().find(|it| is_theirs(it) && matches!(it.state, State::Up | State::Gone))?;
        let ours = live.commit.as_ref().or_else(|| course.found.get(COMMIT));
        let differs = theirs.commit.as_ref().zip(ours).is_some_and(|(theirs, ours)| theirs != ours);
        (differs && live.of.as_ref() != Some(&theirs.id)).then_some(theirs)
    }

    /// The oldest one that can be ours; else the oldest that has what was written, too.
    async fn find(&self, course: &Course<'_>) -> Result<Option<Deployment>, Refusal> {
        if self.platform.marks() {
            // Variables may have another clock than deployments: a mark says more than any time.
            let since = course.found.get(SINCE).and_then(|at| at.parse().ok());
            let made = self.listed_since(course, since).await?;
            return Ok(made.into_iter().rfind(|it| it.mark.as_deref() == Some(course.errand.mark)));
        }
        let made = self.made_since(course).await?;
        let ours = made.iter().rfind(|it| it.by_us && self.has_served_code(course, it));
        Ok(ours.or_else(|| made.iter().rfind(|it| it.by_us)).cloned())
    }

    /// Those that have what was written, the newest first.
    pub(super) async fn made_since(&self, course: &Course<'_>) -> Result<Vec<Deployment>, Refusal> {
        let since: Option<Timestamp> = course.noted.get(SINCE).and_then(|at| at.parse().ok());
        let newest = course.noted.get(NEWEST);
        let mut made = self.platform.made_since(since, course.until).await?;
        made.retain(|it| Some(&it.id) != newest && since.is_none_or(|since| it.created.is_none_or(|at| at >= since)));
        Ok(made)
    }

    /// Makes one. Where the answer is lost, it is looked for before it is asked for again, for as long as there is time.
    async fn trigger(&self, course: &Course<'_>) -> Result<Deployment, Fault> {
        self.check_none_is_gone(course).await?;
        let wanted = Wanted { mark: course.errand.mark, found: course.found };
        let (mut pauses, began) = (AGAIN.iter().copied(), Instant::now());
        loop {
            let lost = match self.platform.trigger(&wanted, course.until).await {
                Ok(Some(made)) => return Ok(self.remember_new(made)),
                Ok(None) => return self.appears(course).await.map(|made| self.remember_found(course, made)),
                Err(refusal) if refusal.kind == Kind::Lost => refusal,
                Err(refusal) if refusal.kind == Kind::Unavailable && Instant::now() < course.until => {
                    // Nobody was there to take it.
                    sleep(self.platform.pause(began.elapsed())).await;
                    continue;
                }
                // It was not even sent, or nothing came of it.
                Err(refusal) => return Err(self.after(refusal)),
            };
            self.tell(course, "the answer to the trigger was lost; looking for what it made");
            let pause = Duration::from_secs(pauses.next().unwrap_or(LONGEST_AGAIN)).max(self.time_to_show());
            match self.look_for(course, pause.max(lost.wait.unwrap_or_default())).await? {
                Some(Some(made)) => return Ok(self.remember_found(course, made)),
                Some(None) => {}
                // It is not known that there is none.
                None => {
                    let text = format!("it is not known whether a deployment was made: {}", lost.text);
                    return Err(self.after(Refusal::of(Kind::Lost, text)));
                }
            }
        }
    }

    /// How long a list has to show what a trigger has made. Where that does not say whose it is, another one is not made
    /// lightly.
    pub(super) fn time_to_show(&self) -> Duration {
        if self.platform.marks() { Duration::from_secs(LOOKS.iter().sum()) } else { APPEARS }
    }

    /// Looks for what a trigger has made, for so long, and on until the platform has shown what there is; none where it
    /// never did.
    async fn look_for(&self, course: &Course<'_>, least: Duration) -> Result<Option<Option<Deployment>>, Fault> {
        let least = Instant::now() + least;
        let mut pauses = LOOKS.iter().copied();
        loop {
            let pause = Duration::from_secs(pauses.next().unwrap_or(LONGEST_LOOK));
            if Instant::now() + pause >= course.until {
                return Ok(None);
            }
            sleep(pause).await;
            match self.find(course).await {
                Ok(Some(made)) => return Ok(Some(Some(made))),
                Ok(None) if Instant::now() >= least => return Ok(Some(None)),
                Ok(None) | Err(Refusal { kind: Kind::Unavailable, .. }) => {}
                Err(refusal) => return Err(self.after(refusal)),
            }
        }
    }

    /// What a trigger whose answer says nothing has made, as far as that can be known: what somebody else pushes meanwhile
    /// has what was written, too, and stays theirs.
    fn remember_found(&self, course: &Course<'_>, made: Deployment) -> Deployment {
        if self.has_served_code(course, &made) { self.remember_new(made) } else { made }
    }

    fn remember(&self, made: Deployment) -> Deployment {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).push(made.id.clone());
        made
    }

    /// One of which it is certain that this daemon has asked for it, and for nothing beside.
    fn remember_new(&self, made: Deployment) -> Deployment {
        self.unasked().push(made.id.clone());
        self.remember(made)
    }

    /// The one that a trigger makes which was taken without saying which.
    async fn appears(&self, course: &Course<'_>) -> Result<Deployment, Fault> {
        match self.look_for(course, APPEARS).await? {
            Some(Some(made)) => Ok(made),
            Some(None) | None => {
                let text = format!("{} took the trigger, and shows no deployment for it", self.label);
                Err(self.after(Refusal::of(Kind::Lost, text)))
            }
        }
    }
}
