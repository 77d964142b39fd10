//! Apps of a user's PM2: the value in the env file or the ecosystem file that they are reloaded from, and the reload, all as
//! that user. PM2's own word counts for little: it ends with status 0 whatever becomes of a reload.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::file;
use super::{Accepts, Disclosed, Errand, Health, Known, Means, Target};
use crate::config::{Pm2Target as Settings, ProbeSettings, SecretSettings};
use crate::helper::{FileHelper, Seen};
use crate::policy::Sighting;
use crate::record::{Activated, Evidence, Found, Noted};
use crate::rotation::{Fault, FaultCode, View};
use crate::secret::{Format, SecretValue};
use crate::sys::command::Runner;
use crate::text::Slot;
use crate::text::compose_file::Quotes;
use crate::text::ecosystem::Variable;

mod activate;
mod daemon;
mod evidence;
mod forgotten;
mod list;
mod saved;
mod survey;
mod tally;
#[cfg(test)]
mod tests;

/// That an app's value in the ecosystem file has no quotes.
const PLAIN: &str = "plain";

/// Some apps of one user.
pub struct Pm2Target {
    secret: String,
    settings: Settings,
    /// The variable that the apps read.
    env: String,
    previous_env: Option<String>,
    /// Its name in the file.
    key: String,
    /// How values are made.
    make: (usize, Format),
    settle: Duration,
    has_value_probe: bool,
    files: FileHelper,
    runner: Arc<dyn Runner>,
}

impl Pm2Target {
    /// The target that `settings` describes, of the secret `secret`.
    pub fn new(secret: &SecretSettings, settings: &Settings, means: &Means) -> Self {
        Self {
            secret: secret.name.to_string(),
            env: secret.env.clone(),
            previous_env: secret.overlap.as_ref().map(|overlap| overlap.previous_env.clone()),
            key: settings.key.clone().unwrap_or_else(|| secret.env.clone()),
            settings: settings.clone(),
            make: (secret.bytes, secret.format),
            settle: secret.settle,
            has_value_probe: secret.probes.iter().any(ProbeSettings::sees_the_value),
            files: means.files.clone(),
            runner: Arc::clone(&means.runner),
        }
    }

    fn path(&self) -> &Path {
        self.settings.file()
    }

    /// The places of a variable in the file: one for all apps in an env file, one for each in an ecosystem file.
    fn slots(&self, key: &str) -> Vec<Slot> {
        if self.settings.env_file.is_some() {
            return vec![Slot::env(key, &self.key, self.settings.dialect)];
        }
        let variable = |app: &String| {
            Slot::Ecosystem(Variable {
                app: app.clone(),
                environment: self.settings.environment.clone(),
                key: key.to_owned(),
                format: self.settings.format,
                quotes: Quotes::Always,
            })
        };
        self.settings.apps.iter().map(variable).collect()
    }

    /// The keys in the file.
    fn keys(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.key.as_str()).chain(self.previous_env.as_deref())
    }

    /// All places, each with whether it is for the other value.
    fn places(&self) -> Vec<(Slot, bool)> {
        let of = |(key, is_other)| self.slots(key).into_iter().map(move |slot| (slot, is_other));
        self.keys().zip([false, true]).flat_map(of).collect()
    }

    /// Gives each key what there is for it, and reads all back.
    async fn file(&self, errand: Option<&Errand<'_>>) -> Result<Seen, Fault> {
        let slot = |(mut slot, is_previous): (Slot, bool)| {
            if let (Some(errand), false) = (errand, is_previous) {
                self.unquote(&mut slot, errand);
            }
            (slot, errand.map(|errand| file::wanted(errand, is_previous)))
        };
        let slots: Vec<_> = self.places().into_iter().map(slot).collect();
        self.files.put(self.path(), &slots).await?.map_err(Fault::from)
    }

    /// On the way back a value that had no quotes, as preflight found it, is written as it was.
    fn unquote(&self, slot: &mut Slot, errand: &Errand<'_>) {
        let Slot::Ecosystem(variable) = slot else { return };
        let was_plain = |(app, found): &(&str, &Found)| *app == variable.app && found.details.contains_key(PLAIN);
        if errand.back && self.ours(errand.found).iter().any(was_plain) {
            variable.quotes = Quotes::IfNeeded;
        }
    }

    /// Gives the file the view, and reads it back.
    async fn write(&self, errand: &Errand<'_>) -> Result<(), Fault> {
        let file = self.file(Some(errand)).await?;
        let places = self.slots("").len();
        let key = |number: usize| self.keys().nth(number / places).unwrap_or_default();
        file::check_written(&file, &self.secret, |number| format!("{} in {}", key(number), self.path().display()))?;
        self.check(&file, errand.view)
    }

    /// What the file has for each key, by place. A key that is empty is one that is not there.
    fn by_key<'s>(&'s self, file: &'s Seen) -> Vec<(&'s str, Vec<Option<&'s SecretValue>>)> {
        let places = self.slots("").len();
        let values: Vec<Option<&SecretValue>> =
            file.values.iter().map(|value| value.as_ref().filter(|value| !value.is_empty())).collect();
        self.keys().zip(values.chunks(places).map(<[_]>::to_vec)).collect()
    }

    /// Whether the file has the view.
    fn check(&self, seen: &Seen, view: &Disclosed<'_>) -> Result<(), Fault> {
        let wanted = [Some(view.primary), view.previous];
        for ((key, values), wanted) in self.by_key(seen).into_iter().zip(wanted) {
            if !values.iter().all(|value| file::has(*value, wanted)) {
                return Err(file::differs(&format!("{key} in {}", self.path().display()), wanted, view.view));
            }
        }
        Ok(())
    }

    /// The value in the file.
    fn value(&self, file: &Seen) -> Result<SecretValue, Fault> {
        let values = self.by_key(file).into_iter().next().map(|(_, values)| values).unwrap_or_default();
        let shown = self.path().display();
        let Some(first) = values.first().copied().flatten() else {
            return Err(Fault::new(FaultCode::NoValue, format!("{} in {shown} has no value", self.key))
                .advise("is it the right file, and the right key?"));
        };
        if !values.iter().all(|value| value.is_some_and(|value| value.is_same(first))) {
            let message = format!("the apps in {shown} have different values of {}", self.key);
            return Err(Fault::new(FaultCode::WrongValue, message).advise("give them the same, and reload them"));
        }
        Ok(SecretValue::new(first.reveal().to_vec()))
    }

    fn unit(&self, app: &str) -> String {
        self.settings.consumer(app)
    }

    /// What is ours of what was found, with the app's name.
    fn ours<'f>(&'f self, found: &'f [Found]) -> Vec<(&'f str, &'f Found)> {
        let of = |app: &'f String| {
            let unit = self.unit(app);
            found.iter().find(|found| found.unit == unit).map(|found| (app.as_str(), found))
        };
        self.settings.apps.iter().filter_map(of).collect()
    }

    /// What a person types to see more of an app.
    fn logs(&self, app: &str) -> String {
        format!("see what it says, as {}: pm2 logs {app} --lines 50", self.settings.user)
    }
}

#[async_trait]
impl Target for Pm2Target {
    fn label(&self) -> String {
        self.unit(&self.settings.apps.join(", "))
    }

    async fn accepted_in_force(&self) -> Result<Accepts, Fault> {
        let mut file = self.file(None).await?;
        let former = file.values.split_off(self.slots("").len());
        file::accepts(self.path(), former)
    }

    async fn value_in_force(&self) -> Result<SecretValue, Fault> {
        self.adopted_value().await
    }

    async fn processes(&self) -> Result<usize, Fault> {
        Ok(self.ask(&[], &daemon::new_key()?, false).await?.running.len())
    }

    async fn survey(&self, in_force: &Disclosed<'_>, health: Health, deadline: Instant) -> Result<Vec<Found>, Fault> {
        self.preflight(in_force, health, deadline).await
    }

    async fn deliver(&self, errand: &Errand<'_>) -> Result<Vec<Noted>, Fault> {
        self.write(errand).await.map(|()| Vec::new())
    }

    fn exposes(&self) -> Option<String> {
        self.settings.expose.then(|| format!("WARNING: every local user may read {}", self.path().display()))
    }

    async fn activate(&self, errand: &Errand<'_>) -> Result<Vec<Activated>, Fault> {
        self.reload(errand).await
    }

    async fn evidence(&self, errand: &Errand<'_>) -> Result<Vec<Evidence>, Fault> {
        self.gather(errand).await
    }

    async fn is_still_there(&self, evidence: &[Evidence]) -> Result<(), Fault> {
        self.check_same(evidence).await
    }

    async fn failed_since(&self, evidence: &[Evidence]) -> Option<String> {
        self.failure_since(evidence).await
    }

    async fn make_last(&self, errand: &Errand<'_>) -> Result<Vec<Evidence>, Fault> {
        self.save(errand).await
    }

    async fn look(&self, known: &Known<'_>) -> Result<Vec<Sighting>, Fault> {
        self.sightings(known).await
    }

    fn tidy(&self, _keep: &View) {}
}
