//! The course of a movement at a platform: what is written, and what each refusal means.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::answer::Kind;
use super::api::{Refusal, Said};
use super::platform::{COMMIT, Deployment, Ids, NEWEST, SINCE, State, Write};
use super::preflight::is_pending;
use super::step::name;
use super::words::hiding;
use super::{HostingTarget, Touched, text};
use crate::record::Found;
use crate::rotation::{Fault, FaultCode};
use crate::secret::SecretValue;
use crate::target::{Disclosed, Errand};

/// What is kept of a movement's time to stop what does not come up.
const RESERVE: Duration = Duration::from_secs(120);

/// An errand, with what was recorded of this target.
pub(super) struct Course<'a> {
    pub(super) errand: &'a Errand<'a>,
    pub(super) found: &'a Ids,
    pub(super) noted: Ids,
    /// When following ends, so that there is time to stop what was followed.
    pub(super) until: Instant,
}

static NOTHING: Ids = BTreeMap::new();

impl HostingTarget {
    pub(super) fn keys(&self) -> Vec<&str> {
        std::iter::once(self.key.as_str()).chain(self.previous_key.as_deref()).collect()
    }

    /// The variables with what they are to have, the one that is accepted besides first: nobody may sign with a value
    /// that is not accepted yet.
    pub(super) fn wanted<'v>(&'v self, view: &'v Disclosed<'v>) -> Vec<(&'v str, &'v SecretValue)> {
        let previous = self.previous_key.as_deref().map(|key| (key, view.previous.unwrap_or(view.primary)));
        previous.into_iter().chain(std::iter::once((self.key.as_str(), view.primary))).collect()
    }

    /// Takes note of the values that are not to be told.
    pub(super) fn know(&self, view: &Disclosed<'_>) {
        self.know_all(std::iter::once(view.primary).chain(view.accepted.iter().copied()).chain(view.previous));
    }

    pub(super) fn know_all<'v>(&self, values: impl Iterator<Item = &'v SecretValue>) {
        let mut known = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        for value in values {
            if !known.iter().any(|known| known.is_same(value)) {
                known.push(SecretValue::new(value.reveal().to_vec()));
            }
        }
    }

    /// Whether rekeyd has made or taken over this value, or each one of this list of values.
    pub(super) fn is_known(&self, value: &SecretValue) -> bool {
        let known = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = |value: &SecretValue| known.iter().any(|known| known.is_same(value));
        is_known(value) || value.parts().iter().all(is_known)
    }

    /// Takes note of what a variable has and, where we have written it, since when, for as long as nobody else writes it.
    pub(super) fn remember_written(&self, key: &str, value: &SecretValue, at: Option<Timestamp>) {
        let value = SecretValue::new(value.reveal().to_vec());
        self.written.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), (value, at));
    }

    pub(super) fn forget_all_written(&self) {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn was_written(&self, key: &str) -> bool {
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.contains_key(key)
    }

    pub(super) fn last_written_at(&self, key: &str) -> Option<Timestamp> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).get(key)?.1
    }

    fn forget_written(&self, key: &str) -> Option<SecretValue> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).remove(key).map(|(value, _)| value)
    }

    fn hide(&self, text: &str) -> String {
        let known = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        hiding(text, &known.iter().collect::<Vec<_>>())
    }

    pub(super) fn course<'a>(&self, errand: &'a Errand<'a>) -> Course<'a> {
        self.know(errand.view);
        let is_ours = |found: &&Found| found.unit == self.label;
        let found = errand.found.iter().find(is_ours).map_or(&NOTHING, |found| &found.details);
        let noted = match errand.noted.iter().find(|noted| noted.target == self.label) {
            Some(noted) => noted.details.clone(),
            // Who merely looks holds what serves against the last rotation.
            None if errand.mark.is_empty() => self.last_noted(),
            None => Ids::new(),
        };
        let left = errand.deadline.saturating_duration_since(Instant::now());
        let until = errand.deadline - RESERVE.min(left / 4);
        Course { errand, found, noted, until }
    }

    /// What was noted of this target when a rotation was last committed, or proven to be undone.
    pub(super) fn last_noted(&self) -> Ids {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn touched(&self) -> Touched {
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn touch(&self, touched: Touched) {
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner) = touched;
    }

    pub(super) fn tell(&self, course: &Course<'_>, line: &str) {
        course.errand.report.progress(&self.hide(&format!("{}: {line}", self.label)));
    }

    /// A fault that was told by the platform.
    pub(super) fn fault(&self, code: FaultCode, text: &str, page: &str) -> Fault {
        let fault = Fault::new(code, self.hide(&format!("{}: {text}", self.label)));
        if page.is_empty() { fault } else { fault.advise(format!("see why: {page}")) }
    }

    /// It is not known what is served, or will be.
    pub(super) fn unsure(&self, text: &str, advice: &str, page: &str) -> Fault {
        let first = if advice.is_empty() { String::new() } else { format!("{advice}; ") };
        let look =
            if page.is_empty() { "look at its newest deployment there".to_owned() } else { format!("look at {page}") };
        let secret = &self.secret;
        let advice = format!(
            "{first}{look}: which one serves, and from when is it? then rekeyctl release {secret}, and rekeyctl rotate {secret}"
        );
        let text = format!("{}: {text}", self.label);
        Fault::new(FaultCode::Unsure, self.hide(&text)).advise(advice)
    }

    /// What a refusal means once a value was written.
    pub(super) fn after(&self, refusal: Refusal) -> Fault {
        match refusal.kind {
            Kind::Credential | Kind::Forbidden | Kind::Lost => self.unsure(&refusal.text, &refusal.advice, ""),
            _ => self.before(refusal),
        }
    }

    /// What a refusal means where nothing was written.
    pub(super) fn before(&self, refusal: Refusal) -> Fault {
        let Refusal { kind, text, advice, .. } = refusal;
        let code = match kind {
            Kind::Credential => FaultCode::CredentialRefused,
            Kind::Unavailable | Kind::NoTime | Kind::Lost => FaultCode::PlatformUnreachable,
            Kind::Obstacle(code) => code,
            _ => FaultCode::PlatformRefused,
        };
        let text = if text.contains(&self.label) { text } else { format!("{}: {text}", self.label) };
        Fault::new(code, self.hide(&text)).advise(advice)
    }

    /// Writes all variables: each with when that was, where the platform tells.
    pub(super) async fn write(&self, course: &Course<'_>) -> Result<BTreeMap<String, Option<Timestamp>>, Fault> {
        let wanted = self.wanted(course.errand.view);
        for (key, value) in &wanted {
            if !text(value).is_ok_and(|value| self.platform.takes(value)) {
                let message = format!("{} would read the value of {key} as something else", self.label);
                return Err(Fault::new(FaultCode::NotRepresentable, message).advise("choose another `format`"));
            }
        }
        let mut times = BTreeMap::new();
        for (key, value) in wanted {
            self.check_before_writing(course, key).await?;
            let was = self.touched();
            self.touch(Touched::Yes);
            self.platform.has_written();
            // Once it was sent, it may be there already.
            let differs = AtomicBool::new(self.forget_written(key).is_some_and(|last| !last.is_same(value)));
            let write = || async {
                let differs = differs.swap(false, Ordering::Relaxed);
                let write = Write { key, value, found: course.found, differs };
                self.platform.write(&write, course.until).await
            };
            // On the way back there is no other way out than to wait for the platform.
            let written = if course.errand.back { self.answer(course, write).await } else { write().await };
            match written {
                Ok(now) => {
                    self.remember_written(key, value, now);
                    times.insert(key.to_owned(), now);
                }
                Err(refusal)
                    if was == Touched::No
                        && (!self.platform.has_written() || refusal.kind.is_refusal() && !refusal.taken) =>
                {
                    self.touch(Touched::No);
                    return Err(self.before(refusal));
                }
                Err(refusal) => return Err(self.after(refusal)),
            }
        }
        Ok(times)
    }

    /// Waits until nothing of others is under way any more. What was made before the write would come up with the former
    /// value when this rotation has ended; what was made since, a push, would be undone or cancelled by a deployment of the
    /// code from before it. Only what was made since and waits for a person may wait on: it has what was `written` then.
    pub(super) async fn let_others_end(&self, course: &Course<'_>, written: Option<Timestamp>) -> Result<(), Fault> {
        let since = course.found.get(SINCE).and_then(|at| at.parse().ok());
        let waits_for_long =
            |it: &Deployment| it.state == State::Blocked && written.is_some_and(|at| it.created >= Some(at));
        let began = Instant::now();
        loop {
            let made = self.answer(course, || self.listed_since(course, since)).await;
            let made = made.map_err(|refusal| self.after(refusal))?;
            let is_in_the_way =
                |it: &Deployment| is_pending(it) && !self.may_be_ours(course, it) && !waits_for_long(it);
            let going = made.into_iter().find(is_in_the_way);
            let Some(going) = going else { return Ok(()) };
            self.tell(course, &format!("waiting for {}, which somebody else has made", name(&going)));
            let pause = self.platform.pause(began.elapsed());
            if going.state == State::Blocked || Instant::now() + pause >= course.until {
                return Err(self.after(self.is_under_way(&going)));
            }
            sleep(pause).await;
        }
    }

    /// The newest deployment. That there is none any more is no answer.
    pub(super) async fn newest(&self, course: &Course<'_>) -> Said<Option<Deployment>> {
        let newest = self.platform.newest(course.until).await?;
        if newest.is_none() && course.found.contains_key(NEWEST) {
            return Err(self.shows_none());
        }
        Ok(newest)
    }

    /// Deployments that were made at that time or later, the newest first. That there is none is no answer as long as the
    /// newest one is of later.
    pub(super) async fn listed_since(&self, course: &Course<'_>, since: Option<Timestamp>) -> Said<Vec<Deployment>> {
        let made = self.platform.made_since(since, course.until).await?;
        if made.is_empty() {
            let newest = self.newest(course).await?;
            let is_later = |it: &Deployment| course.found.get(NEWEST) != Some(&it.id) && it.created > since;
            if newest.as_ref().is_some_and(is_later) {
                return Err(self.shows_none());
            }
        }
        Ok(made)
    }

    /// Whether a deployment was certainly made for this rotation.
    pub(super) fn is_ours(&self, course: &Course<'_>, at: &Deployment) -> bool {
        at.is_of_rotation(course.errand.mark)
            || self.made.lock().unwrap_or_else(PoisonError::into_inner).contains(&at.id)
    }

    /// Whether one may have been made for this rotation: where it carries no mark, an earlier daemon may have asked for it,
    /// and we ask for the code that is served alone.
    pub(super) fn may_be_ours(&self, course: &Course<'_>, at: &Deployment) -> bool {
        let is_unknown = self.touched() == Touched::Unknown && !self.platform.marks() && at.by_us;
        self.is_ours(course, at) || is_unknown && self.has_served_code(course, at)
    }

    /// Whether one may be of the code that was served when the rotation began.
    pub(super) fn has_served_code(&self, course: &Course<'_>, at: &Deployment) -> bool {
        course.found.get(COMMIT).zip(at.commit.as_ref()).is_none_or(|(served, its)| served == its)
    }

    /// Asks until there is an answer, for as long as there is time: a platform that is away for minutes is no reason to
    /// tear down what serves, nor to give up what is half done.
    pub(super) async fn answer<T, F: Future<Output = Said<T>>>(
        &self,
        course: &Course<'_>,
        ask: impl Fn() -> F,
    ) -> Said<T> {
        let began = Instant::now();
        loop {
            match ask().await {
                Err(Refusal { kind: Kind::Unavailable, .. }) if Instant::now() < course.until => {
                    sleep(self.platform.pause(began.elapsed())).await;
                }
                // Nobody can say what was done.
                Err(refusal) if refusal.kind == Kind::Unavailable => {
                    return Err(Refusal { kind: Kind::Lost, ..refusal });
                }
                said => return said,
            }
        }
    }
}
