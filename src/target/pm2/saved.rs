//! The list that PM2 starts after a reboot: it holds the value where PM2 is what gives it to the apps, so that without
//! another `pm2 save` a reboot would bring the old one back.

use std::time::Duration;

use super::Pm2Target;
use super::daemon::{State, new_key};
use crate::helper::{Pm2, Saved};
use crate::record::{Evidence, Found};
use crate::rotation::{Fault, FaultCode};
use crate::secret::{SecretValue, digest, is_same_digest};
use crate::sys::command::End;
use crate::target::{Errand, Health};

/// How long `pm2 save` may take.
const SAVING: Duration = Duration::from_secs(60);

/// What is noted where other apps run than were saved.
const UNSAVED: &str = "unsaved";

impl Pm2Target {
    /// `pm2 save` saves all that runs: where that is not what was saved, it would change what a reboot starts.
    pub(super) fn check_saved(&self, state: &State) -> Result<(), Fault> {
        let Some(saved) = state.pm2.saved.as_ref().filter(|saved| self.settings.save && holds_value(saved)) else {
            return Ok(());
        };
        let mut names = saved.names.clone();
        let mut running: Vec<String> = state.all.iter().map(|instance| instance.app.clone()).collect();
        names.sort();
        running.sort();
        if names == running {
            return Ok(());
        }
        let message = format!(
            "PM2 of {} starts other apps after a reboot ({}) than it has now ({})",
            self.settings.user,
            names.join(", "),
            running.join(", ")
        );
        Err(Fault::new(FaultCode::NotConfigured, message).advise(format!(
            "save what it has now, as {}: pm2 save; or set `save = false`, and a reboot brings the old value back",
            self.settings.user
        )))
    }

    /// The same where all must be well; else it is noted, and keeps nobody from going back.
    pub(super) fn tell_unsaved(&self, state: &State, health: Health, found: &mut [Found]) -> Result<(), Fault> {
        match self.check_saved(state) {
            Err(fault) if health == Health::Needed => return Err(fault),
            Err(_) => {
                found.iter_mut().for_each(|found| drop(found.details.insert(UNSAVED.to_owned(), "yes".to_owned())))
            }
            Ok(()) => {}
        }
        Ok(())
    }

    /// Has a reboot bring the view, where PM2's list has a value of ours at all.
    pub(super) async fn save(&self, errand: &Errand<'_>) -> Result<Vec<Evidence>, Fault> {
        let key = new_key()?;
        let pm2 = self.ask(&[], &key, false).await?;
        let path = pm2.home.join("dump.pm2");
        let not = |why: String| Ok(vec![Evidence::NotSaved { why }]);
        let Some(saved) = &pm2.saved else {
            return not(format!("{} is not there, so PM2 starts nothing after a reboot", path.display()));
        };
        if saved.values.is_empty() {
            return not(format!("{} does not have the apps", path.display()));
        }
        if !holds_value(saved) {
            // What the apps read themselves is right after a reboot, too.
            return Ok(Vec::new());
        }
        if self.ours(errand.found).into_iter().all(|(_, found)| !found.running) {
            return not(format!("all of it is stopped, and {} may have the old value", path.display()));
        }
        if !self.settings.save {
            return not(format!("`save` is false, and {} may have the old value", path.display()));
        }
        // Before, too: what is there is written over with the mode that it has.
        let mut pm2 = self.ask(&[], &key, true).await?;
        if !self.is_saved(&pm2, &key, errand) {
            match self.check_saved(&self.state().await?) {
                Err(fault) if errand.back || may_be_unsaved(errand.found) => return not(fault.message),
                checked => checked?,
            }
            let ran = self.call(&pm2, &["save"], SAVING).await?;
            pm2 = self.ask(&[], &key, true).await?;
            if ran.end != End::Well || !self.is_saved(&pm2, &key, errand) {
                let message = format!("pm2 save did not put the value into {}", path.display());
                return Err(Fault::new(FaultCode::ReadBackDiffers, message)
                    .advise(format!("does it work as {}? pm2 save", self.settings.user)));
            }
            // PM2 keeps the list before the last one, which has the former value. Where that stays, nothing comes of it.
            let _ = self.call(&pm2, &["save"], SAVING).await?;
        }
        Ok(vec![Evidence::Saved { path: path.display().to_string() }])
    }

    fn is_saved(&self, pm2: &Pm2, key: &[u8; 32], errand: &Errand<'_>) -> bool {
        let told = |value: &SecretValue| hex::encode(digest(key, value.reveal()));
        let wanted = [Some(told(errand.view.primary)), errand.view.previous.map(told)];
        let empty = hex::encode(digest(key, b""));
        let has = |values: &Vec<Option<String>>| {
            let mut values = values.iter().map(|value| value.clone().filter(|value| *value != empty)).zip(&wanted);
            values.all(|(has, wanted)| is_same_digest(has.as_deref(), wanted.as_deref()))
        };
        // For one that is stopped PM2 keeps what it had.
        let running: Vec<&str> =
            self.ours(errand.found).into_iter().filter(|(_, found)| found.running).map(|(app, _)| app).collect();
        let mut ours =
            pm2.saved.iter().flat_map(|saved| &saved.values).filter(|(app, _)| running.contains(&app.as_str()));
        ours.all(|(_, values)| has(values))
    }
}

/// Whether it was known from the start that the list would not be saved.
pub(super) fn may_be_unsaved(found: &[Found]) -> bool {
    found.iter().any(|found| found.details.contains_key(UNSAVED))
}

fn holds_value(saved: &Saved) -> bool {
    saved.values.iter().any(|(_, values)| values.iter().any(Option::is_some))
}
