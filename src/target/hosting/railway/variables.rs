//! The variables of a service: their values where they are shown, what is known of them, and writing one.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tokio::time::Instant;

use super::shapes::{Input, OfEnvironment, OfProject, Record, Records, Upsert, Upserted, Values};
use super::{Railway, documents};
use crate::config::RailwayService;
use crate::rotation::FaultCode;
use crate::target::hosting::answer::Intent;
use crate::target::hosting::api::{Refusal, Said};
use crate::target::hosting::pages::pages;
use crate::target::hosting::platform::{Write, has, stands};
use crate::target::hosting::secrets::Hidden;
use crate::target::hosting::{missing, text as text_of};

impl Railway {
    pub(super) async fn values(&self, until: Instant) -> Said<BTreeMap<String, Option<Hidden>>> {
        let RailwayService { project: p, environment: e, service: s, .. } = &self.settings;
        let values: Values = self.ask(Intent::Read, documents::VALUES, OfProject { p, e, s }, until).await?;
        Ok(values.variables)
    }

    pub(super) async fn records(&self, until: Instant) -> Said<Vec<Record>> {
        let of = format!("the environment of {}", self.label);
        pages(&of, |_: &[Record]| false, |after| self.page_of_records(after, until)).await
    }

    async fn page_of_records(&self, after: Option<String>, until: Instant) -> Said<(Vec<Record>, Option<String>)> {
        let RailwayService { project: p, environment: e, .. } = &self.settings;
        let of = OfEnvironment { e, p, after: after.as_deref() };
        let found: Records = self.ask(Intent::Read, documents::RECORDS, of, until).await?;
        Ok(found.environment.variables.into_page())
    }

    /// The service's own variable of this name.
    async fn record(&self, key: &str, until: Instant) -> Said<Option<Record>> {
        let is_ours = |it: &Record| it.name == key && it.service_id.as_deref() == Some(self.settings.service.as_str());
        Ok(self.records(until).await?.into_iter().find(is_ours))
    }

    /// Services that name the variable of this one would keep the old value.
    pub(super) fn check_references(&self, keys: &[&str], records: &[Record]) -> Said<()> {
        let mentions =
            |reference: &String| keys.iter().any(|key| reference.split(['.', '{', '}', ' ']).any(|word| word == *key));
        let is_of_another = |record: &&Record| record.service_id.as_deref() != Some(self.settings.service.as_str());
        let others: Vec<&str> = records
            .iter()
            .filter(is_of_another)
            .filter(|record| record.references.iter().any(mentions))
            .map(|record| record.name.as_str())
            .collect();
        if others.is_empty() || self.settings.ignore_references {
            return Ok(());
        }
        let text = format!(
            "other services of the environment refer to the variable of {} and would keep the old value, in {}",
            self.label,
            others.join(", ")
        );
        let advice = "make them targets of the secret with a variable of their own; or say `ignore-references = true`";
        Err(Refusal::obstacle(FaultCode::NotConfigured, text, advice))
    }

    /// Writes the variable, and reads what is to be seen of it.
    pub(super) async fn upsert(&self, write: &Write<'_>, until: Instant) -> Said<Option<Timestamp>> {
        let (key, text) = (write.key, text_of(write.value)?);
        let was = self.record(key, until).await?;
        if !self.create && !write.found.contains_key(&has(key)) && !self.values(until).await?.contains_key(key) {
            return Err(missing(&self.label, &[key.to_owned()]));
        }
        let RailwayService { project, environment, service, .. } = &self.settings;
        let input = Upsert {
            project_id: project,
            environment_id: environment,
            service_id: service,
            name: key,
            value: text,
            skip_deploys: true,
        };
        let done: Upserted = self.ask(Intent::Write, documents::WRITE, Input { input }, until).await?;
        let not_taken = || {
            let text = format!("{} says that {key} was written, and shows it otherwise", self.label);
            Refusal::obstacle(FaultCode::ReadBackDiffers, text, "see who else writes it").taken()
        };
        let mut values = self.values(until).await.map_err(Refusal::taken)?;
        // A sealed one shows nothing.
        let is_it = match values.remove(key) {
            Some(Some(now)) => now.text() == text,
            Some(None) => true,
            None => false,
        };
        if !done.variable_upsert || !is_it {
            return Err(not_taken());
        }
        let now = self.record(key, until).await.map_err(Refusal::taken)?;
        if let Some((was, now)) = was.as_ref().zip(now.as_ref()) {
            if write.differs && stands(was.updated(), now.updated()) {
                return Err(not_taken());
            }
            if was.is_sealed != now.is_sealed {
                let text = format!("{} sealed or unsealed {key} with its value", self.label);
                return Err(Refusal::obstacle(FaultCode::ReadBackDiffers, text, "make it there what it was").taken());
            }
        }
        Ok(now.and_then(|now| now.updated()))
    }
}
