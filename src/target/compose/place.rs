//! The file that the services have the secret from.

use super::ComposeTarget;
use crate::config::ComposePlace;
use crate::helper::Seen;
use crate::rotation::{Fault, FaultCode};
use crate::secret::SecretValue;
use crate::target::{Disclosed, file};
use crate::text::Slot;
use crate::text::env_file::Dialect;

impl ComposeTarget {
    /// The places of the value, and of the one that is accepted besides.
    fn slots(&self) -> Vec<(Slot, bool)> {
        let keys = || {
            let previous = self.previous_key.as_ref().map(|key| (key, true));
            std::iter::once((&self.key, false)).chain(previous)
        };
        match &self.settings.place {
            ComposePlace::EnvFile(_) => {
                keys().map(|(key, is)| (Slot::Env { key: key.clone(), dialect: Dialect::Compose }, is)).collect()
            }
            ComposePlace::Literal(_) => {
                let services = self.settings.services.iter();
                let slot =
                    |service: &String, key: &String| Slot::Compose { service: service.clone(), key: key.clone() };
                services.flat_map(|service| keys().map(move |(key, is)| (slot(service, key), is))).collect()
            }
            ComposePlace::SecretFile(_) => vec![(Slot::Whole, false)],
        }
    }

    pub(super) async fn read(&self) -> Result<Seen, Fault> {
        let slots: Vec<_> = self.slots().into_iter().map(|(slot, _)| (slot, None)).collect();
        self.files.put(self.path(), &slots).await?.map_err(Fault::from)
    }

    /// Gives the file the view, and reads it back.
    pub(super) async fn put(&self, view: &Disclosed<'_>) -> Result<(), Fault> {
        let previous = view.previous.map_or(&[][..], SecretValue::reveal);
        let value = |is_previous| if is_previous { previous } else { view.primary.reveal() };
        let slots: Vec<_> = self.slots().into_iter().map(|(slot, is)| (slot, Some(value(is)))).collect();
        let file = self.files.put(self.path(), &slots).await?.map_err(Fault::from)?;
        self.check(&file, view)
    }

    /// Whether the file has the view. A variable that is empty is one that is not there.
    pub(super) fn check(&self, seen: &Seen, view: &Disclosed<'_>) -> Result<(), Fault> {
        for ((slot, is_previous), has) in self.slots().iter().zip(&seen.values) {
            let wanted = if *is_previous { view.previous } else { Some(view.primary) };
            if !file::has(has.as_ref(), wanted) {
                let what = match slot {
                    Slot::Env { key, .. } => format!("{key} in {}", self.path().display()),
                    Slot::Compose { service, key } => format!("{key} of {service} in {}", self.path().display()),
                    Slot::Whole | Slot::Ecosystem(_) => self.path().display().to_string(),
                };
                let message = format!("{what} is not that of the view {}", view.view);
                return Err(Fault::new(FaultCode::WrongValue, message));
            }
        }
        Ok(())
    }

    /// Whether the file is as it was left, and can be written.
    pub(super) async fn check_file(&self, in_force: &Disclosed<'_>) -> Result<(), Fault> {
        let file = self.read().await?;
        self.check(&file, in_force).map_err(|fault| file::changed_by_hand(&fault, "", &self.secret))?;
        file::check_usable(file, self.path(), self.settings.expose)
    }

    /// The value that is in the file, in each of its places.
    pub(super) async fn value_in_file(&self) -> Result<SecretValue, Fault> {
        let file = self.read().await?;
        let mut agreed: Option<SecretValue> = None;
        let values = self.slots().into_iter().zip(file.values).filter(|((_, is_previous), _)| !is_previous);
        for (_, value) in values {
            let value = value.filter(|value| !value.is_empty()).ok_or_else(|| {
                Fault::new(FaultCode::NoValue, format!("{} in {} has no value", self.key, self.path().display()))
                    .advise("is it the right file, and the right key?")
            })?;
            match &agreed {
                Some(first) if !first.is_same(&value) => {
                    let message = format!("the services have different values of {} in their file", self.key);
                    return Err(Fault::new(FaultCode::WrongValue, message)
                        .advise("give them the same one, or configure them as two secrets"));
                }
                _ => agreed = Some(value),
            }
        }
        agreed.ok_or_else(|| Fault::new(FaultCode::NotConfigured, "the target has no service"))
    }
}
