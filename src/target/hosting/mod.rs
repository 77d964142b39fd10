//! A variable at a hosting platform: written in place, what serves deployed anew, and followed until it is what is served.
//!
//! The course is the same for all platforms; what each says and wants is in its own file. Requests go through `api.rs`,
//! what follows on an answer is in the table of `answer.rs`, and what follows for a deployment in `step.rs`: both pure.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::time::Instant;

use super::{Disclosed, Errand, Health, Past, Target};
use crate::config::{Hosting, HostingPlatform, SecretSettings};
use crate::record::{Activated, Evidence, Found, Noted};
use crate::rotation::{Fault, FaultCode, View};
use crate::secret::SecretValue;

mod answer;
mod api;
mod clock;
mod course;
mod follow;
mod inspect;
mod netlify;
mod pages;
mod platform;
mod preflight;
mod railway;
mod render;
mod secrets;
mod settle;
mod step;
mod stop;
mod trigger;
mod variables;
mod vercel;
mod words;

use api::{Refusal, Said};
use platform::{Deployment, Ids, NEWEST, Platform, SINCE, Shown, State};

pub use inspect::inspect;

/// What preflight found the consumer to have.
const VIEW: &str = "view";
/// What was noted of the movement: its mark.
const MARK: &str = "mark";
/// What was noted on the way back of what served before anything was written: it has the value, although it is older.
const FORMER: &str = "former";
/// What was noted where nothing was written, so that nothing is to be undone.
const UNTOUCHED: &str = "untouched";

/// One variable at one platform.
pub struct HostingTarget {
    secret: String,
    label: String,
    platform: Box<dyn Platform>,
    key: String,
    /// The variable of the value that is accepted besides, where there may be one. While there is none it has the same
    /// value as the first: some platforms take no empty one, and none is removed.
    previous_key: Option<String>,
    create: bool,
    limit: Duration,
    settle: Duration,
    settle_set: Option<Duration>,
    touched: Mutex<Touched>,
    /// Every value that the store has or that was dealt with: none of them is told, whoever says it.
    values: Mutex<Vec<SecretValue>>,
    /// What each variable was last known to have, and when it was written for that.
    written: Mutex<BTreeMap<String, (SecretValue, Option<Timestamp>)>>,
    /// What was noted when a rotation was last committed, or proven to be undone.
    last: Mutex<Ids>,
    /// Whether what serves is known to have the view in force where the variables have it.
    certain: AtomicBool,
    /// The deployments that were asked for since the daemon was started: of others it is not known whose they are, unless
    /// they carry a mark.
    made: Mutex<Vec<String>>,
    /// Of these, the ones whose publication was certainly never asked for.
    unasked: Mutex<Vec<String>>,
}

/// Whether the variable was written in this rotation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Touched {
    /// The daemon was started anew since.
    Unknown,
    No,
    Yes,
}

impl HostingTarget {
    /// The target that `settings` describes.
    pub fn new(secret: &SecretSettings, settings: &Hosting) -> Self {
        Self {
            secret: secret.name.to_string(),
            label: settings.label(),
            platform: platform(settings),
            key: settings.key.clone().unwrap_or_else(|| secret.env.clone()),
            previous_key: secret.overlap.as_ref().map(|overlap| overlap.previous_env.clone()),
            create: settings.create,
            limit: settings.limit,
            settle: secret.settle,
            settle_set: settings.settle,
            touched: Mutex::new(Touched::Unknown),
            values: Mutex::default(),
            written: Mutex::default(),
            last: Mutex::default(),
            certain: AtomicBool::new(true),
            made: Mutex::default(),
            unasked: Mutex::default(),
        }
    }
}

#[async_trait]
impl Target for HostingTarget {
    fn label(&self) -> String {
        self.label.clone()
    }

    async fn value_in_force(&self) -> Result<SecretValue, Fault> {
        let until = Instant::now() + Duration::from_secs(30);
        match self.platform.shows(&self.key, until).await.map_err(|refusal| self.before(refusal))? {
            Shown::Value(value) => Ok(value),
            Shown::Gone if !self.create => Err(self.before(missing(&self.label, std::slice::from_ref(&self.key)))),
            Shown::Gone | Shown::Hidden => {
                let text = format!("{} does not show the value of {}", self.label, self.key);
                Err(Fault::new(FaultCode::ValueHidden, text)
                    .advise(format!("begin with a new value: rekeyctl rotate --initial {}", self.secret)))
            }
        }
    }

    async fn processes(&self) -> Result<usize, Fault> {
        // While it is rolled over, two versions serve side by side.
        Ok(2)
    }

    fn recognize(&self, past: &Past<'_>) {
        let Past { known, is_certain, noted, .. } = past;
        self.know_all(known.values());
        let last = noted.iter().find(|noted| noted.target == self.label).map(|noted| noted.details.clone());
        let mut last = last.unwrap_or_default();
        // That is of the movement of then.
        last.remove(UNTOUCHED);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = last;
        self.certain.store(*is_certain, Ordering::Relaxed);
    }

    async fn survey(&self, in_force: &Disclosed<'_>, health: Health, deadline: Instant) -> Result<Vec<Found>, Fault> {
        self.know(in_force);
        let found = self.sight(in_force, health, deadline).await;
        let found = found.map_err(|refusal| self.before(refusal))?;
        self.touch(Touched::No);
        Ok(vec![found])
    }

    fn is_local(&self) -> bool {
        false
    }

    async fn deliver(&self, errand: &Errand<'_>) -> Result<Vec<Noted>, Fault> {
        let course = self.course(errand);
        let mut details = Ids::new();
        if errand.back && self.touched() == Touched::No {
            // What was noted of the last write still holds.
            details.extend(self.last_noted());
            details.insert(UNTOUCHED.to_owned(), "yes".to_owned());
            return Ok(vec![Noted { target: self.label.clone(), details }]);
        }
        let touched = self.touched();
        let times = self.write(&course).await?;
        details.extend(times.keys().map(|key| (platform::has(key), "yes".to_owned())));
        details.extend(times.iter().filter_map(|(key, at)| Some((platform::written(key), (*at)?.to_string()))));
        let at = times.into_values().flatten().max();
        match errand.back {
            true => self.let_none_land(&course, touched).await?,
            false => self.let_others_end(&course, at).await?,
        }
        let mut since = at;
        if at.is_none() || !self.platform.marks() {
            let newest = self.answer(&course, || self.newest(&course)).await;
            if let Some(newest) = newest.map_err(|refusal| self.after(refusal))? {
                since = since.max(newest.created);
                details.insert(NEWEST.to_owned(), newest.id);
            }
        }
        details.insert(MARK.to_owned(), errand.mark.to_owned());
        details.extend(self.former(&course).map(|id| (FORMER.to_owned(), id.clone())));
        details.extend(since.map(|at| (SINCE.to_owned(), at.to_string())));
        Ok(vec![Noted { target: self.label.clone(), details }])
    }

    fn exposes(&self) -> Option<String> {
        None
    }

    async fn activate(&self, errand: &Errand<'_>) -> Result<Vec<Activated>, Fault> {
        let course = self.course(errand);
        let consumer = self.label.clone();
        if !errand.found.iter().any(|found| found.unit == self.label) {
            // Deployed for another secret of the batch a moment ago, with this one in place.
            return Ok(Vec::new());
        }
        if course.noted.contains_key(UNTOUCHED) {
            return Ok(vec![Activated::StillServes { consumer }]);
        }
        let began = Instant::now();
        if errand.back {
            let serving = self.answer(&course, || self.platform.serving(course.until)).await;
            let serving = serving.map_err(|refusal| self.after(refusal))?;
            let may_be_well = |serving: &&Deployment| matches!(serving.state, State::Up | State::Going);
            if serving.as_ref().filter(may_be_well).is_some_and(|serving| self.is_the_former(&course, serving)) {
                return Ok(vec![Activated::StillServes { consumer }]);
            }
        }
        let live = match self.former(&course).filter(|_| self.platform.restores()) {
            Some(former) => self.restore(&course, former).await?,
            None => self.deploy(&course).await?,
        };
        let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let replaced = if errand.back { None } else { self.replaced(&course, &live).await };
        let replaced = replaced.map(|theirs| Activated::Replaced {
            consumer: consumer.clone(),
            deployment: theirs.id,
            page: theirs.page,
        });
        let deployed = Activated::Deployed { consumer, deployment: live.id, page: live.page, took_us };
        Ok(std::iter::once(deployed).chain(replaced).collect())
    }

    async fn evidence(&self, errand: &Errand<'_>) -> Result<Vec<Evidence>, Fault> {
        let course = self.course(errand);
        let consumer = self.label.clone();
        if course.noted.contains_key(UNTOUCHED) {
            return Ok(vec![Evidence::Untouched { consumer }]);
        }
        let (serving, settled) = self.settled(&course).await?;
        self.check_shown(&course).await?;
        let settled_ms = u64::try_from(settled.as_millis()).unwrap_or(u64::MAX);
        Ok(vec![Evidence::Deployment {
            consumer,
            former: self.is_the_former(&course, &serving),
            other_code: course
                .found
                .get(platform::COMMIT)
                .zip(serving.commit.as_ref())
                .is_some_and(|(was, is)| was != is),
            deployment: serving.id,
            state: serving.word,
            page: serving.page,
            settled_ms,
        }])
    }

    async fn is_still_there(&self, _evidence: &[Evidence]) -> Result<(), Fault> {
        Ok(())
    }

    fn tidy(&self, _keep: &View) {}
}

fn platform(settings: &Hosting) -> Box<dyn Platform> {
    match &settings.platform {
        HostingPlatform::Vercel(project) => Box::new(vercel::Vercel::new(settings, project)),
        HostingPlatform::Netlify(site) => Box::new(netlify::Netlify::new(settings, site)),
        HostingPlatform::Render(service) => Box::new(render::Render::new(settings, service)),
        HostingPlatform::Railway(service) => Box::new(railway::Railway::new(settings, service)),
    }
}

/// A value as the platforms take it.
fn text(value: &SecretValue) -> Said<&str> {
    std::str::from_utf8(value.reveal()).map_err(|_| {
        let text = "the value is not text, which is all that a variable can hold";
        Refusal::obstacle(FaultCode::NotRepresentable, text, "choose a `format`")
    })
}

fn missing(label: &str, keys: &[String]) -> Refusal {
    let text = format!("{label} has no variable {}", keys.join(" and "));
    let advice =
        "make it there once, with any value, for the environment that is meant; or let rekeyd make it: `create = true`";
    Refusal::obstacle(FaultCode::NotConfigured, text, advice)
}
