//! The variables of a service: their values where they are shown, what is known of them, and writing one.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::shapes::{Input, OfEnvironment, OfProject, Record, Records, Upsert, Upserted, Values};
use super::{Railway, documents};
use crate::config::RailwayService;
use crate::rotation::FaultCode;
use crate::target::hosting::answer::Intent;
use crate::target::hosting::api::{Refusal, Said};
use crate::target::hosting::pages::pages;
use crate::target::hosting::platform::{Times, Write, has};
use crate::target::hosting::secrets::Hidden;
use crate::target::hosting::words::plain;
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
    pub(super) async fn record(&self, key: &str, until: Instant) -> Said<Option<Record>> {
        let is_ours = |it: &Record| it.name == key && it.service_id.as_deref() == Some(self.settings.service.as_str());
        Ok(self.records(until).await?.into_iter().find(is_ours))
    }

    /// Services that name the variable of this one would keep the old value.
    pub(super) fn check_references(&self, keys: &[&str], name: &str, records: &[Record]) -> Said<()> {
        let ours = [name, self.settings.service.as_str()];
        let is_of_another = |record: &&Record| record.service_id.as_deref() != Some(self.settings.service.as_str());
        let mention = |record: &Record| {
            let reference = record.references.iter().find(|reference| mentions(reference, &ours, keys))?;
            Some(format!("{} ({})", plain(&record.name), plain(reference)))
        };
        let others: Vec<String> = records.iter().filter(is_of_another).filter_map(mention).collect();
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
    pub(super) async fn upsert(&self, write: &Write<'_>, until: Instant) -> Said<Times> {
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
        let mut values = self.values(until).await.map_err(Refusal::taken)?;
        // A sealed one shows nothing.
        let is_it = match values.remove(key) {
            Some(Some(now)) => now.text() == text,
            Some(None) => true,
            None => false,
        };
        if !done.variable_upsert || !is_it {
            return Err(self.not_taken(key));
        }
        let now = self.record(key, until).await.map_err(Refusal::taken)?;
        if was.as_ref().zip(now.as_ref()).is_some_and(|(was, now)| was.is_sealed != now.is_sealed) {
            let text = format!("{} sealed or unsealed {key} with its value", self.label);
            return Err(Refusal::obstacle(FaultCode::ReadBackDiffers, text, "make it there what it was").taken());
        }
        let updated = |record: Option<Record>| record.and_then(|record| record.updated());
        let now = updated(now);
        Ok(Times { was: updated(was), now, at: now })
    }

    pub(super) fn not_taken(&self, key: &str) -> Refusal {
        let text = format!("{} says that {key} was written, and shows it otherwise", self.label);
        Refusal::obstacle(FaultCode::ReadBackDiffers, text, "see who else writes it").taken()
    }
}

/// Whether a reference is to one of these variables of the service that is called so. Another service, and what services
/// share, may have variables of the same name; without a name before it, it is one of the service that has the reference.
fn mentions(reference: &str, ours: &[&str], keys: &[&str]) -> bool {
    let is_key = |word: &str| keys.contains(&word.trim());
    let inner = reference.trim().strip_prefix("${{").and_then(|rest| rest.strip_suffix("}}"));
    match inner.unwrap_or(reference).rsplit_once('.') {
        Some((service, key)) => {
            let service = service.trim().trim_matches(['"', '\'']);
            is_key(key) && ours.iter().any(|it| it.eq_ignore_ascii_case(service))
        }
        // What has none of the forms that are known may be anything.
        None => inner.is_none() && is_key(reference),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_to_a_variable_of_ours_where_it_names_the_service_or_nobody_knows() {
        let mentions = |reference| mentions(reference, &["My App", "svc-1"], &["JWT_SECRET"]);
        for ours in ["${{My App.JWT_SECRET}}", "${{ my app.JWT_SECRET }}", "svc-1.JWT_SECRET", "JWT_SECRET"] {
            assert!(mentions(ours), "{ours}");
        }
        for other in ["${{shared.JWT_SECRET}}", "${{other.JWT_SECRET}}", "${{JWT_SECRET}}", "${{My App.JWT_SECRET_2}}"]
        {
            assert!(!mentions(other), "{other}");
        }
    }
}
