//! A project's variables: which record is meant, and writing it.

use jiff::Timestamp;
use tokio::time::Instant;

use super::Vercel;
use super::shapes::{Created, Envs, FullPatch, Patch, Record, Upserted, Written};
use crate::config::Environment;
use crate::rotation::FaultCode;
use crate::target::hosting::answer::{Intent, Kind};
use crate::target::hosting::api::{Answer, Refusal, Request, Said, json};
use crate::target::hosting::missing;
use crate::target::hosting::platform::Times;
use crate::target::hosting::words::plain;

impl Vercel {
    async fn records(&self, until: Instant) -> Said<Vec<Record>> {
        let path = ["v10", "projects", self.project(), "env"];
        let answer = self.api.ask(Request::get(&path, &self.scope(&[])), until).await?;
        let envs: Envs = answer.read()?;
        if envs.pagination.is_some_and(|pages| !pages["next"].is_null()) {
            let text = format!("{} has more variables than Vercel lists at once", self.label);
            return Err(Refusal::obstacle(FaultCode::PlatformRefused, text, "remove those that are not used"));
        }
        Ok(envs.envs)
    }

    /// The record of a variable in the environment that is meant; none where there is none.
    pub(super) async fn record(&self, key: &str, until: Instant) -> Said<Option<Record>> {
        let records = self.records(until).await?;
        let mut fits: Vec<Record> = records.into_iter().filter(|it| it.key == key && self.is_meant(it)).collect();
        match (fits.pop(), fits.len()) {
            (None, _) => Ok(None),
            (Some(_), 1..) => {
                let text = format!("{} has several records of {key} for {}", self.label, self.environment());
                let advice = "say which one: `git-branch` names the branch of a preview";
                Err(Refusal::obstacle(FaultCode::NotConfigured, text, advice))
            }
            (Some(record), 0) => {
                self.check_scope(&record)?;
                Ok(Some(record))
            }
        }
    }

    fn is_meant(&self, record: &Record) -> bool {
        let has = |target: &str| record.target.iter().any(|it| it == target);
        match &self.settings.environment {
            Environment::Production => has("production"),
            Environment::Preview { branch } => has("preview") && record.git_branch == *branch,
            Environment::Custom(id) => record.custom_environment_ids.contains(id),
        }
    }

    /// A record may be for several environments, and writing it changes all of them.
    fn check_scope(&self, record: &Record) -> Said<()> {
        let others = record.target.iter().filter(|target| **target != self.environment());
        let others = others.chain(record.custom_environment_ids.iter().filter(|id| **id != self.environment()));
        let others: Vec<&str> =
            others.map(String::as_str).filter(|other| !self.settings.also.iter().any(|also| also == other)).collect();
        let missing = self
            .settings
            .also
            .iter()
            .find(|also| !record.target.contains(also) && !record.custom_environment_ids.contains(also));
        if let Some(missing) = missing {
            let text =
                format!("the record of {} at {} is not for {missing}, which `also` names", record.key, self.label);
            return Err(Refusal::obstacle(FaultCode::NotConfigured, text, "take it out of `also`, or add it there"));
        }
        if others.is_empty() {
            return Ok(());
        }
        let text = format!(
            "the record of {} at {} is for {} as well, and writing it would change that too",
            record.key,
            self.label,
            others.join(" and ")
        );
        let advice = "make a record of its own for each there; or name them, where they are to have the same value: `also = [\"preview\"]`";
        Err(Refusal::obstacle(FaultCode::NotConfigured, text, advice))
    }

    /// Makes the variable; or finds that it is there, where an earlier try that was not answered has made it.
    pub(super) async fn create(&self, key: &str, value: &str, until: Instant) -> Said<bool> {
        let path = ["v10", "projects", self.project(), "env"];
        let (mut target, mut custom) = match &self.settings.environment {
            Environment::Custom(id) => (Vec::new(), vec![id.as_str()]),
            _ => (vec![self.environment()], Vec::new()),
        };
        for also in self.settings.also.iter().map(String::as_str) {
            if ["production", "preview", "development"].contains(&also) { target.push(also) } else { custom.push(also) }
        }
        let custom = (!custom.is_empty()).then_some(custom);
        let git_branch = self.branch();
        let body = Created { key, value, kind: "sensitive", target, custom_environment_ids: custom, git_branch };
        let query = self.scope(&[]);
        let request = Request::to(Intent::Write, "POST", &path, &query).with(json(&body)?);
        let refusal = match self.api.ask(request, until).await {
            Ok(answer) => {
                let perhaps = answer.perhaps;
                let upserted: Upserted = answer.read()?;
                let Some(failed) = upserted.failed.first() else { return Ok(true) };
                let code = failed.error.as_ref().and_then(|error| error.code.clone()).unwrap_or_default();
                let text = format!("{} did not take the new variable {key}: {}", self.label, plain(&code));
                let refusal = Refusal::of(Kind::Invalid, text);
                if perhaps { refusal.taken() } else { refusal }
            }
            Err(refusal) => refusal,
        };
        let may_be_there = refusal.taken && refusal.kind.is_refusal();
        if may_be_there && self.record(key, until).await.is_ok_and(|record| record.is_some()) {
            return Ok(false);
        }
        Err(refusal)
    }

    /// Writes the variable that is there, and makes sure that nothing else of it is changed.
    pub(super) async fn write_over(&self, key: &str, value: &str, until: Instant) -> Said<Times> {
        let absent = || missing(&self.label, &[key.to_owned()]);
        let mut record = self.record(key, until).await?.ok_or_else(absent)?;
        let ours = match self.patch(&record, value, until).await {
            // It was replaced between the list and the patch.
            Err(Refusal { kind: Kind::Missing, .. }) => {
                record = self.record(key, until).await?.ok_or_else(absent)?;
                self.patch(&record, value, until).await?
            }
            said => said?,
        };
        let now = self.record(key, until).await.map_err(Refusal::taken)?.ok_or_else(|| self.not_taken(key))?;
        self.check_kind(&record, &now)?;
        let is_same = now.id == record.id;
        // What somebody else has written since is not ours.
        let at = ours.filter(|_| is_same).or(now.updated());
        Ok(Times { was: record.updated().filter(|_| is_same), now: now.updated(), at })
    }

    /// Writes a record: when that was, where the answer says so.
    async fn patch(&self, record: &Record, value: &str, until: Instant) -> Said<Option<Timestamp>> {
        let path = ["v9", "projects", self.project(), "env", &record.id];
        let query = self.scope(&[]);
        let request = |body| Request::to(Intent::Write, "PATCH", &path, &query).with(body);
        match self.api.ask(request(json(&Patch { value })?), until).await {
            Err(Refusal { status: 400, .. }) => {}
            said => return Ok(updated(&said?)),
        }
        // As Vercel's own command line does: what the record is, told again.
        let is_sensitive = record.kind == "sensitive" || record.visibility.as_deref() == Some("secret");
        let body = FullPatch {
            value,
            key: (!is_sensitive).then_some(&record.key),
            kind: &record.kind,
            target: &record.target,
            custom_environment_ids: &record.custom_environment_ids,
            git_branch: record.git_branch.as_deref(),
            visibility: record.visibility.as_deref(),
        };
        Ok(updated(&self.api.ask(request(json(&body)?), until).await?))
    }

    /// A write changes nothing but the value.
    pub(super) fn check_kind(&self, was: &Record, now: &Record) -> Said<()> {
        if was.is_of_the_same_type(now) && was.is_for_the_same(now) {
            return Ok(());
        }
        let text = format!("{} changed the type or the environments of {} with its value", self.label, now.key);
        let advice = format!(
            "it was of the type {}, and is of the type {}: see what it is for",
            plain(&was.kind),
            plain(&now.kind)
        );
        Err(Refusal::obstacle(FaultCode::ReadBackDiffers, text, advice).taken())
    }

    pub(super) fn not_taken(&self, key: &str) -> Refusal {
        let text = format!("{} says that {key} was written, and shows it unchanged", self.label);
        Refusal::obstacle(FaultCode::ReadBackDiffers, text, "see whether two projects or teams have the same name")
            .taken()
    }
}

/// When the record of an answer was written. What it says is compared with the list; it need not be understood.
fn updated(answer: &Answer) -> Option<Timestamp> {
    answer.read::<Written>().ok().and_then(|record| Timestamp::from_millisecond(record.updated_at?).ok())
}
