//! What is looked for before anything is touched.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::answer::Kind;
use super::api::{Refusal, Said};
use super::platform::{Deployment, NEWEST, SINCE, Shown, Sight, State};
use super::settle::was_made_with;
use super::{HostingTarget, VIEW, step};
use crate::record::Found;
use crate::rotation::FaultCode;
use crate::sys::http::time_left;
use crate::target::{Disclosed, Health};

/// How long deployments of somebody else are waited for.
const UNDER_WAY: Duration = Duration::from_secs(5 * 60);
/// No build takes as long. What seems to be on its way since, under newer ones, was given up: it will not come up.
const GIVEN_UP: Duration = Duration::from_secs(24 * 60 * 60);

impl HostingTarget {
    /// What there is once no deployment of somebody else is under way: what served before one was waited for may not
    /// serve any more.
    async fn survey_at_rest(&self, deadline: Instant) -> Said<Sight> {
        let until = deadline.min(Instant::now() + UNDER_WAY);
        let began = Instant::now();
        loop {
            let sight = self.platform.survey(&self.keys(), deadline).await?;
            if !sight.missing.is_empty() && !self.create {
                return Err(super::missing(&self.label, &sight.missing));
            }
            if sight.recent.is_empty() && sight.serving.is_some() {
                let pause = self.platform.pause(began.elapsed());
                if Instant::now() + pause >= until {
                    return Err(self.shows_none());
                }
                sleep(pause).await;
                continue;
            }
            match self.in_the_way(&sight.recent) {
                Some(at) => self.wait_for_others(at.clone(), until).await?,
                None => return Ok(sight),
            }
        }
    }

    async fn wait_for_others(&self, mut at: Deployment, until: Instant) -> Said<()> {
        let began = Instant::now();
        loop {
            let pause = self.platform.pause(began.elapsed());
            if at.state == State::Blocked || Instant::now() + pause >= until {
                return Err(self.is_under_way(&at));
            }
            sleep(pause).await;
            let recent = self.platform.recent(until).await?;
            match self.in_the_way(&recent) {
                Some(now) => at = now.clone(),
                None if recent.is_empty() => {}
                None => return Ok(()),
            }
        }
    }

    /// What may still become what serves: the newest one, or an older one, which need not have ended before it.
    pub(super) fn in_the_way<'d>(&self, recent: &'d [Deployment]) -> Option<&'d Deployment> {
        // The platform's clock, as far as it is known.
        let now = recent.iter().filter_map(|it| it.created).max().max(self.platform.clock());
        let is_given_up =
            |it: &Deployment| it.created.zip(now).is_some_and(|(created, now)| time_left(created, now) >= GIVEN_UP);
        let newest = recent.first().map(|it| &it.id);
        recent.iter().find(|it| is_pending(it) && (Some(&it.id) == newest || !is_given_up(it)))
    }

    /// That a service which has deployments shows none is no answer.
    pub(super) fn shows_none(&self) -> Refusal {
        let text = format!("{} shows no deployment, although it has some", self.label);
        let advice = "see whether its page there shows them, and ask again later";
        Refusal { advice: advice.to_owned(), ..Refusal::of(Kind::Unavailable, text) }
    }

    pub(super) fn is_under_way(&self, at: &Deployment) -> Refusal {
        let text = format!("{} of {} is under way: {}", step::name(at), self.label, step::told(at));
        Refusal::obstacle(FaultCode::PlatformRefused, text, format!("let it end first: {}", at.page))
    }

    /// What serves and is sick would not be better with another value, and is nothing to go back to.
    pub(super) fn check_is_well(&self, serving: &Deployment) -> Said<()> {
        if serving.state == State::Up {
            return Ok(());
        }
        let text = format!("{}, which {} serves, is {}", step::name(serving), self.label, step::told(serving));
        let advice = format!("see to it that it works first: {}", serving.page);
        Err(Refusal::obstacle(FaultCode::PlatformRefused, text, advice))
    }

    /// What serves must have been made with the value in force, as far as that is known: somebody may have published an
    /// older one.
    fn check_is_of_the_last(&self, serving: &Deployment) -> Said<()> {
        if !self.certain.load(Ordering::Relaxed) || was_made_with(&self.last_noted(), serving) {
            return Ok(());
        }
        let text = format!(
            "{}, which {} serves, was made before the value in force was written last, and may have another one",
            step::name(serving),
            self.label
        );
        let advice = format!("deploy it anew there, with the variables as they are now: {}", serving.page);
        Err(Refusal::obstacle(FaultCode::NotLive, text, advice))
    }

    pub(super) fn serves_nothing(&self) -> Refusal {
        let text = format!("{} serves nothing that could be deployed anew", self.label);
        Refusal::obstacle(FaultCode::PlatformRefused, text, "deploy it once, and see that it works")
    }

    pub(super) async fn sight(&self, view: &Disclosed<'_>, health: Health, deadline: Instant) -> Said<Found> {
        self.forget_all_written();
        let Sight { mut ids, serving, recent, missing, .. } = self.survey_at_rest(deadline).await?;
        if health == Health::Needed {
            let serving = serving.as_ref().ok_or_else(|| self.serves_nothing())?;
            self.check_is_well(serving)?;
            self.check_is_of_the_last(serving)?;
        }
        if serving.is_none() && self.platform.redeploys() {
            return Err(self.serves_nothing());
        }
        // Where an earlier rotation has left another value, what serves may have it, too: it is not gone back to as it is.
        let has_view = health != Health::Needed || self.has_view(view, &missing, deadline).await?;
        if has_view && self.certain.load(Ordering::Relaxed) {
            ids.insert(VIEW.to_owned(), view.view.to_string());
        }
        if let Some(newest) = recent.first().or(serving.as_ref()) {
            ids.insert(NEWEST.to_owned(), newest.id.clone());
            ids.extend(newest.created.map(|at| (SINCE.to_owned(), at.to_string())));
        }
        Ok(Found {
            configured: self.label.clone(),
            unit: self.label.clone(),
            running: serving.is_some(),
            details: ids,
            ..Found::default()
        })
    }

    /// Whether the variables have the values of the view, as far as they can be seen: they must have those or others that
    /// rekeyd knows.
    async fn has_view(&self, view: &Disclosed<'_>, missing: &[String], deadline: Instant) -> Said<bool> {
        let mut has_all = true;
        for (key, wanted) in self.wanted(view) {
            // Nobody has said yet what this one was to have.
            let is_unknown = Some(key) == self.previous_key.as_deref() && view.previous.is_none();
            if is_unknown || missing.iter().any(|missing| missing == key) {
                continue;
            }
            let shown = match self.platform.shows(key, deadline).await? {
                Shown::Gone => return Err(super::missing(&self.label, &[key.to_owned()])),
                Shown::Value(shown) if !shown.is_same(wanted) => shown,
                Shown::Value(_) | Shown::Hidden => {
                    self.remember_written(key, wanted, None);
                    continue;
                }
            };
            has_all = false;
            if !self.is_known(&shown) {
                let text = format!("{key} at {} was changed by hand since rekeyd last knew it", self.label);
                let advice =
                    "write the former value there, or go on from it: rekeyctl forget, then rekeyctl rotate --initial";
                return Err(Refusal::obstacle(FaultCode::WrongValue, text, advice));
            }
        }
        Ok(has_all)
    }
}

/// Whether it may still become what serves.
pub(super) fn is_pending(at: &Deployment) -> bool {
    matches!(at.state, State::Going | State::Blocked)
}
