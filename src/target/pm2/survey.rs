//! Preflight, and taking over the value in force.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::daemon::{REST, State, new_key};
use super::list::Instance;
use super::{PLAIN, Pm2Target};
use crate::record::{Found, Handover};
use crate::rotation::{Fault, FaultCode, Generation, View};
use crate::secret::SecretValue;
use crate::target::{Disclosed, Health, file};
use crate::text::Slot;

impl Pm2Target {
    pub(super) async fn preflight(
        &self,
        in_force: &Disclosed<'_>,
        health: Health,
        deadline: Instant,
    ) -> Result<Vec<Found>, Fault> {
        // Without a daemon that answers nothing else matters.
        self.ask(&[], &new_key()?, false).await?;
        let state = self.state_at_rest(deadline.min(Instant::now() + REST)).await?;
        let mut found = Vec::new();
        for app in &self.settings.apps {
            found.push(self.found(&state, app, health)?);
        }
        let plain = self.check_file(in_force, health).await?;
        for found in found.iter_mut().filter(|found| plain.contains(&found.unit)) {
            found.details.insert(PLAIN.to_owned(), "yes".to_owned());
        }
        for app in self.settings.apps.iter().filter(|_| health == Health::Needed) {
            let running: Vec<_> = state.of(app).into_iter().filter(|instance| instance.is_online()).collect();
            if running.is_empty() {
                continue;
            }
            let tally = self.tally(&running, in_force).await?;
            if !self.suffices(&tally) {
                let fault = self.no_proof(app, in_force, &tally);
                return Err(if fault.code == FaultCode::WrongValue {
                    self.older_than_the_file(app, fault)
                } else {
                    fault
                });
            }
        }
        self.tell_unsaved(&state, health, &mut found)?;
        if health == Health::Needed {
            self.check_forgotten(&state, None, FaultCode::UnitSick, deadline.min(Instant::now() + REST)).await?;
        }
        Ok(found)
    }

    /// How an app is.
    fn found(&self, state: &State, app: &str, health: Health) -> Result<Found, Fault> {
        let (unit, instances) = (self.unit(app), state.of(app));
        let user = &self.settings.user;
        if instances.is_empty() {
            let names: std::collections::BTreeSet<&str> = state.all.iter().map(|one| one.app.as_str()).collect();
            let names = names.into_iter().collect::<Vec<_>>().join(", ");
            let message = format!("PM2 of {user} has no app {app}; it has: {names}");
            return Err(Fault::new(FaultCode::UnitUnusable, message).advise("mend `apps`; or start it first"));
        }
        let is_stopped = instances.iter().all(|instance| instance.is_stopped());
        let sick = instances.iter().find(|instance| !instance.is_online() || instance.id.is_none());
        if let Some(sick) = sick.filter(|_| !is_stopped && health == Health::Needed) {
            let id = sick.id.map_or_else(|| "that is being replaced".to_owned(), |id| id.to_string());
            let message = format!("instance {id} of {unit} is {}", sick.status);
            let advice = format!("{}; it must be well before its secret is rotated", self.logs(app));
            return Err(Fault::new(FaultCode::UnitSick, message).advise(advice));
        }
        let listed = |of: &dyn Fn(&Instance) -> String| {
            instances.iter().filter(|one| one.id.is_some()).map(|one| of(one)).collect::<Vec<_>>().join(",")
        };
        let (mode, handover) = match instances.iter().any(|instance| instance.is_cluster) {
            true => ("cluster", Handover::Overlapping),
            false => ("fork", Handover::Break),
        };
        let details = BTreeMap::from([
            ("ids".to_owned(), listed(&|one| one.id.unwrap_or_default().to_string())),
            ("pids".to_owned(), listed(&|one| one.pid.to_string())),
            ("restarts".to_owned(), listed(&|one| one.restarts.to_string())),
            ("mode".to_owned(), mode.to_owned()),
        ]);
        Ok(Found { configured: unit.clone(), unit, running: !is_stopped, handover, details, ..Found::default() })
    }

    /// Whether the file is as it was left, and can be written. The consumers whose values have no quotes there.
    pub(super) async fn check_file(&self, in_force: &Disclosed<'_>, health: Health) -> Result<Vec<String>, Fault> {
        let file = self.file(None).await?;
        let places = self.places().into_iter().zip(&file.plain);
        let plain = places.filter_map(|((slot, is_other), plain)| match slot {
            Slot::Ecosystem(variable) if *plain && !is_other => Some(self.unit(&variable.app)),
            _ => None,
        });
        let plain = plain.collect();
        let shown = self.path().display();
        if self.settings.env_file.is_none() {
            let missing = self
                .keys()
                .zip(file.values.chunks(self.slots("").len()))
                .find(|(_, values)| values.iter().any(Option::is_none));
            if let Some((key, _)) = missing {
                let message = format!("{key} is not among the variables of each app in {shown}");
                return Err(Fault::new(FaultCode::NoValue, message).advise(format!("add it there, empty: {key}: \"\"")));
            }
        }
        if health == Health::Needed {
            self.check(&file, in_force)
                .map_err(|fault| file::changed_by_hand(&fault, "reload the apps and ", &self.secret))?;
        }
        file::check_usable(file, self.path(), self.settings.expose)?;
        file::rehearse(&self.files, self.path(), &self.places(), in_force, self.make).await?;
        Ok(plain)
    }

    /// The file is right, and the processes are not.
    fn older_than_the_file(&self, app: &str, fault: Fault) -> Fault {
        let env = self.settings.environment.as_ref().map_or_else(String::new, |name| format!(" --env {name}"));
        let message = format!("{}, which {} has", fault.message, self.path().display());
        let reload = format!("pm2 reload {} --only {app}{env}", self.settings.ecosystem.display());
        let advice = format!("reload it as {}: {reload}; if that does not help, {}", self.settings.user, fault.advice);
        Fault::new(fault.code, message).advise(advice)
    }

    /// The value in the file, which all processes that show theirs must have.
    pub(super) async fn adopted_value(&self) -> Result<SecretValue, Fault> {
        self.ask(&[], &new_key()?, false).await?;
        let state = self.state_at_rest(Instant::now() + REST).await?;
        let file = self.file(None).await?;
        let value = self.value(&file)?;
        let view = View::of(Generation::FIRST);
        let disclosed = Disclosed { view: &view, primary: &value, accepted: Vec::new(), previous: None };
        for app in &self.settings.apps {
            self.found(&state, app, Health::Needed)?;
            let running: Vec<_> = state.of(app).into_iter().filter(|instance| instance.is_online()).collect();
            let tally = self.tally(&running, &disclosed).await?;
            if tally.other > 0 {
                let message = format!(
                    "{} of {} instances of {} have another {} than {}",
                    tally.other,
                    tally.of(),
                    self.unit(app),
                    self.env,
                    self.path().display()
                );
                return Err(Fault::new(FaultCode::WrongValue, message)
                    .advise("reload them, so that they have what the file says, then adopt it"));
            }
        }
        Ok(value)
    }
}
