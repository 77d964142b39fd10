//! What somebody else does to a variable in the middle of a rotation: it is neither made again nor written over.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::api::Said;
use super::course::Course;
use super::platform::{Shown, has};
use super::{HostingTarget, Touched};
use crate::rotation::{Fault, FaultCode};

/// For so long a variable must be gone before that is believed.
const GONE: Duration = Duration::from_secs(10);

impl HostingTarget {
    /// What a platform shows of a variable now, waited for.
    pub(super) async fn shown(&self, course: &Course<'_>, key: &str) -> Result<Shown, Fault> {
        let shown = self.answer(course, || self.shown_until(key, course.until)).await;
        shown.map_err(|refusal| self.after(refusal))
    }

    /// The same; that a variable is gone is believed once that lasts.
    async fn shown_until(&self, key: &str, until: Instant) -> Said<Shown> {
        let began = Instant::now();
        loop {
            let shown = self.platform.shows(key, until).await?;
            let pause = self.platform.pause(began.elapsed());
            if !matches!(shown, Shown::Gone) || began.elapsed() >= GONE || Instant::now() + pause >= until {
                return Ok(shown);
            }
            sleep(pause).await;
        }
    }

    /// Somebody has removed a variable. It is theirs to say whether it is to be there, and which value is wanted by then.
    pub(super) fn is_gone(&self, key: &str) -> Fault {
        let text =
            format!("{}: the variable {key} is gone, which somebody has removed; it is not made again", self.label);
        let secret = &self.secret;
        Fault::new(FaultCode::ChangedByHand, text).advise(format!(
            "see there who removed it, and why; where it is wanted, make it again with the former value, which rekeyctl \
             reveal gives, and deploy it; else take this target out of the secret's file; then rekeyctl release {secret}, \
             where it is held"
        ))
    }

    /// No deployment is made of a service that lacks a variable which was written.
    pub(super) async fn check_none_is_gone(&self, course: &Course<'_>) -> Result<(), Fault> {
        for (key, _) in self.wanted(course.errand.view) {
            if matches!(self.shown(course, key).await?, Shown::Gone) {
                return Err(self.is_gone(key));
            }
        }
        Ok(())
    }

    /// Whether somebody has written a variable since we did, at a time that is known. Where that may be another context's
    /// value, which is theirs to write, it is told and no more.
    pub(super) async fn is_written_since(
        &self,
        course: &Course<'_>,
        key: &str,
        ours: Option<Timestamp>,
    ) -> Result<bool, Fault> {
        let Some(ours) = ours else { return Ok(false) };
        let at = self.answer(course, || self.platform.written_at(key, course.until)).await;
        if at.map_err(|refusal| self.after(refusal))?.is_none_or(|at| at <= ours) {
            return Ok(false);
        }
        let tells_whose = self.answer(course, || self.platform.tells_whose(key, course.until)).await;
        let tells_whose = tells_whose.map_err(|refusal| self.after(refusal))?;
        if !tells_whose {
            self.tell(
                course,
                &format!(
                    "somebody has written {key} since, and it is not told for which of its contexts: see there whether it \
                     was for one of those that are rotated; if so, write and deploy the value anew by rekeyctl rotate {}",
                    self.secret
                ),
            );
        }
        Ok(tells_whose)
    }

    /// What somebody removed since it was seen is not made again, and on the way back a value that somebody wrote
    /// meanwhile is not written over, where it can be seen.
    pub(super) async fn check_before_writing(&self, course: &Course<'_>, key: &str) -> Result<(), Fault> {
        // What stands in the place of a value that nobody accepts is of no matter.
        let is_idle = Some(key) == self.previous_key.as_deref() && course.errand.view.previous.is_none();
        let may_be_theirs = course.errand.back && self.touched() == Touched::Yes && !is_idle;
        let was_there = [course.found, &course.noted].iter().any(|ids| ids.contains_key(&has(key)));
        if !was_there && !may_be_theirs {
            return Ok(());
        }
        let shown = match course.errand.back {
            true => self.shown(course, key).await?,
            false => self.shown_until(key, course.until).await.map_err(|refusal| match self.touched() {
                Touched::No => self.before(refusal),
                Touched::Unknown | Touched::Yes => self.after(refusal),
            })?,
        };
        let is_theirs = match shown {
            Shown::Gone if was_there || self.was_written(key) => return Err(self.is_gone(key)),
            Shown::Value(shown) => may_be_theirs && !self.is_known(&shown),
            // Of a write of ours that was not answered nobody knows when it was.
            Shown::Hidden | Shown::Gone => {
                may_be_theirs && self.is_written_since(course, key, self.last_written_at(key)).await?
            }
        };
        if !is_theirs {
            return Ok(());
        }
        let text = format!("{}: {key} was changed by hand since the rotation began, and is left so", self.label);
        let secret = &self.secret;
        Err(Fault::new(FaultCode::ChangedByHand, text).advise(format!(
            "write the former value there and deploy it, then rekeyctl release {secret}; or go on from what is there: \
             rekeyctl forget {secret}, then rekeyctl rotate --initial {secret}"
        )))
    }
}
