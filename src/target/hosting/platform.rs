//! What the course of a hosting target needs to know of a platform, and the words in which the platforms are compared.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::api::{Refusal, Said};
use crate::secret::SecretValue;

/// What is kept in the records of what a platform says: ids and times, never a value.
pub(super) type Ids = BTreeMap<String, String>;

/// The deployment that serves.
pub(super) const SERVING: &str = "serving";
/// The commit that it was made of.
pub(super) const COMMIT: &str = "commit";
/// The time, by the platform's clock, after which a deployment has what was written.
pub(super) const SINCE: &str = "since";
/// The newest deployment at that time: it has not.
pub(super) const NEWEST: &str = "newest";

/// When a variable was written last, once it was written for this movement.
pub(super) fn written(key: &str) -> String {
    format!("written {key}")
}

/// After so long a clock of whole seconds has moved on.
const NEXT_SECOND: Duration = Duration::from_millis(1200);

/// Says of a variable that it was there: preflight has seen it, or it was written.
pub(super) fn has(key: &str) -> String {
    format!("has {key}")
}

/// What preflight sees.
#[derive(Default)]
pub(super) struct Sight {
    /// What is recorded of it.
    pub ids: Ids,
    /// What serves now; none where nothing does.
    pub serving: Option<Deployment>,
    /// A page of the list of deployments, the newest first.
    pub recent: Vec<Deployment>,
    /// Variables that are not there.
    pub missing: Vec<String>,
    /// What a person who looks should know, beside that.
    pub told: Vec<String>,
}

/// How a deployment stands, in words of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// On its way. A state that is not known here is one of these.
    Going,
    /// It has come up; whether it is what is served is another question.
    Up,
    /// It has come up, and is kept aside until somebody publishes it.
    Aside,
    /// It waits for a person.
    Blocked,
    /// It failed.
    Failed,
    /// It was canceled, skipped or replaced: perhaps by a newer one that is well.
    Gone,
}

/// One deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Deployment {
    /// Its id.
    pub id: String,
    /// How it stands.
    pub state: State,
    /// The same in the platform's word.
    pub word: String,
    /// Why, where the platform says so.
    pub why: String,
    /// When it was made, by the platform's clock.
    pub created: Option<Timestamp>,
    /// Where a person can look at it.
    pub page: String,
    /// What it was made of.
    pub commit: Option<String>,
    /// Which of our movements it was made for, where it says so.
    pub mark: Option<String>,
    /// Which one it was made anew of, where we said so.
    pub of: Option<String>,
    /// Whether it may be one of ours at all.
    pub by_us: bool,
}

impl Deployment {
    /// Whether it was made for the rotation of this mark: that is the rotation's id, a dash, and the movement.
    pub fn is_of_rotation(&self, mark: &str) -> bool {
        let rotation = mark.split('-').next().filter(|id| !id.is_empty());
        self.mark.as_deref().zip(rotation).is_some_and(|(its, rotation)| its.split('-').next() == Some(rotation))
    }
}

/// Whether a list whose page this is, the newest first, has gone back to that time. Without one nobody asks for more than
/// the newest. A page in another order says nothing of the next one.
pub(super) fn reaches(page: &[Deployment], since: Option<Timestamp>) -> bool {
    let is_older = |since| page.last().is_some_and(|last| last.created.is_some_and(|at| at < since));
    since.is_none_or(|since| page.is_sorted_by(|one, next| one.created >= next.created) && is_older(since))
}

/// What a new deployment is to be.
pub(super) struct Wanted<'a> {
    /// Names the movement.
    pub mark: &'a str,
    /// What preflight saw.
    pub found: &'a Ids,
}

/// What a platform shows of a variable.
pub(super) enum Shown {
    /// There is none, or none for what is meant.
    Gone,
    /// It is there; its value is not told.
    Hidden,
    Value(SecretValue),
}

impl Shown {
    /// What is told of one that is there, or may be.
    pub fn of(value: Option<SecretValue>) -> Self {
        value.map_or(Self::Hidden, Self::Value)
    }
}

/// What is to be written.
pub(super) struct Write<'a> {
    pub key: &'a str,
    pub value: &'a SecretValue,
    /// What preflight saw.
    pub found: &'a Ids,
    /// Whether it is certain that the variable had another value: then it must be seen to change.
    pub differs: bool,
}

/// What a platform says of when a variable was written, before a write and after it; nothing where that is not told or is of
/// another record.
pub(super) struct Times {
    pub was: Option<Timestamp>,
    pub now: Option<Timestamp>,
    /// When the last of it was written.
    pub at: Option<Timestamp>,
}

impl Times {
    /// How the second compares to the first: it must be later.
    fn compared(&self) -> Ordering {
        self.was.zip(self.now).map_or(Ordering::Greater, |(was, now)| now.cmp(&was))
    }
}

/// Writes with `once`, and makes sure by the times that the value has changed, where it must. Some clocks know whole
/// seconds alone: where the time is the same it is written once more, in the next one.
pub(super) async fn seen_to_change<F: Future<Output = Said<Times>>>(
    must: bool,
    once: impl Fn() -> F,
    not_taken: impl Fn() -> Refusal,
) -> Said<Option<Timestamp>> {
    let mut times = once().await?;
    if must && times.compared() == Ordering::Equal {
        sleep(NEXT_SECOND).await;
        times = once().await.map_err(Refusal::taken)?;
    }
    if must && times.compared() != Ordering::Greater { Err(not_taken()) } else { Ok(times.at) }
}

/// One platform. Every call asks it anew and remembers nothing, so that a daemon that was killed knows as much.
#[async_trait]
pub(super) trait Platform: Send + Sync {
    /// Looks for all that can be known to fail beforehand; for the newest deployments before it looks for what serves, so
    /// that what comes up in between is not taken for what served before.
    async fn survey(&self, keys: &[&str], until: Instant) -> Said<Sight>;

    /// Whether a variable is there, and its value where the platform shows it.
    async fn shows(&self, key: &str, until: Instant) -> Said<Shown>;

    /// Writes one variable in place, makes sure by what is no secret that it took and is as it was in all else, and says
    /// when that was where the platform tells.
    async fn write(&self, write: &Write<'_>, until: Instant) -> Said<Option<Timestamp>>;

    /// When a variable was written last; none where that is not told.
    async fn written_at(&self, _key: &str, _until: Instant) -> Said<Option<Timestamp>> {
        Ok(None)
    }

    /// Whether that time is of the values that are written here alone, and of no other context's.
    async fn tells_whose(&self, _key: &str, _until: Instant) -> Said<bool> {
        Ok(true)
    }

    /// Whether a write was sent, be it in vain, since this was last asked.
    fn has_written(&self) -> bool;

    /// A page of the list of deployments, the newest first.
    async fn recent(&self, until: Instant) -> Said<Vec<Deployment>>;

    /// The newest deployment.
    async fn newest(&self, until: Instant) -> Said<Option<Deployment>> {
        Ok(self.recent(until).await?.into_iter().next())
    }

    /// The time by the platform's own clock, as its last answer tells it.
    fn clock(&self) -> Option<Timestamp>;

    /// Deployments that were made at that time or later, the newest first.
    async fn made_since(&self, since: Option<Timestamp>, until: Instant) -> Said<Vec<Deployment>>;

    /// Makes a new deployment of the code that is served; none where the platform takes that without saying which.
    async fn trigger(&self, wanted: &Wanted<'_>, until: Instant) -> Said<Option<Deployment>>;

    /// One deployment.
    async fn deployment(&self, id: &str, until: Instant) -> Said<Deployment>;

    /// Whether this deployment, which is up, is what is served.
    async fn serves(&self, deployment: &Deployment, until: Instant) -> Said<bool>;

    /// What is served now.
    async fn serving(&self, until: Instant) -> Said<Option<Deployment>>;

    /// Whether the platform itself may still publish what is built and kept aside, by how it is set up now. Without that
    /// it stays aside until a person, or we, publish it.
    async fn publishes_by_itself(&self, _until: Instant) -> Said<bool> {
        Ok(true)
    }

    /// Publishes a deployment that is kept aside.
    async fn publish(&self, id: &str, until: Instant) -> Said<()>;

    /// Stops a deployment on its way.
    async fn cancel(&self, id: &str, until: Instant) -> Said<()>;

    /// How long to wait before a deployment that was followed for `so_far` is looked at again.
    fn pause(&self, so_far: Duration) -> Duration;

    /// How long a deployment that is up must stay so, at least.
    fn settle(&self, found: &Ids) -> Duration;

    /// Whether deployments carry the mark of whoever asked for them.
    fn marks(&self) -> bool {
        false
    }

    /// Whether a deployment that is kept aside may be published.
    fn may_publish(&self) -> bool {
        false
    }

    /// Whether other code than what is served is a reason to stop.
    fn wants_same_code(&self) -> bool {
        false
    }

    /// Whether what served before is published again on the way back, instead of a new deployment that would be of
    /// other code.
    fn restores(&self) -> bool {
        false
    }

    /// Whether what it deploys is always made of an earlier deployment.
    fn redeploys(&self) -> bool {
        false
    }

    /// Whether a value is one that the platform would read as something else.
    fn takes(&self, _value: &str) -> bool {
        true
    }
}
