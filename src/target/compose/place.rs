//! The file that the services have the secret from.

use super::ComposeTarget;
use crate::config::ComposePlace;
use crate::helper::Seen;
use crate::record::Found;
use crate::rotation::{Fault, FaultCode};
use crate::secret::SecretValue;
use crate::target::{Disclosed, Errand, Health, file};
use crate::text::Slot;
use crate::text::compose_file::Quotes;

/// That a service's literal has no quotes.
const PLAIN: &str = "plain";

/// The services whose literals have no quotes.
pub(super) struct Written(Vec<String>);

impl Written {
    /// What is recorded of a service.
    pub(super) fn details(&self, service: &String) -> Option<(String, String)> {
        self.0.contains(service).then(|| (PLAIN.to_owned(), "yes".to_owned()))
    }
}

impl ComposeTarget {
    /// The places of the value, and of the one that is accepted besides.
    pub(super) fn slots(&self) -> Vec<(Slot, bool)> {
        let keys = || {
            let previous = self.previous_key.as_ref().map(|key| (key, true));
            std::iter::once((&self.key, false)).chain(previous)
        };
        match &self.settings.place {
            ComposePlace::EnvFile(_) => {
                keys().map(|(key, is)| (Slot::env(key, &self.key, self.settings.dialect), is)).collect()
            }
            ComposePlace::Literal(_) => {
                let services = self.settings.services.iter();
                let slot = |service: &String, key: &String| Slot::Compose {
                    service: service.clone(),
                    key: key.clone(),
                    quotes: Quotes::Always,
                };
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
    pub(super) async fn put(&self, errand: &Errand<'_>) -> Result<(), Fault> {
        let slot = |(mut slot, is_previous): (Slot, bool)| {
            if !is_previous {
                self.unquote(&mut slot, errand);
            }
            (slot, Some(file::wanted(errand, is_previous)))
        };
        let slots: Vec<_> = self.slots().into_iter().map(slot).collect();
        let file = self.files.put(self.path(), &slots).await?.map_err(Fault::from)?;
        let name = |number: usize| slots.get(number).map_or_else(String::new, |(slot, _)| self.name_of(slot));
        file::check_written(&file, &self.secret, name)?;
        self.check(&file, errand.view)
    }

    /// On the way back a literal that had no quotes, as preflight found it, is written as it was.
    fn unquote(&self, slot: &mut Slot, errand: &Errand<'_>) {
        let Slot::Compose { service, quotes, .. } = slot else { return };
        let was_plain = |(found, of): &(&Found, String)| of == service && found.details.contains_key(PLAIN);
        if errand.back && self.ours(errand.found).iter().any(was_plain) {
            *quotes = Quotes::IfNeeded;
        }
    }

    fn name_of(&self, slot: &Slot) -> String {
        let path = self.path().display();
        match slot {
            Slot::Env { key, .. } => format!("{key} in {path}"),
            Slot::Compose { service, key, .. } => format!("{key} of {service} in {path}"),
            Slot::Whole | Slot::Ecosystem(_) => path.to_string(),
        }
    }

    /// Whether the file has the view. A variable that is empty is one that is not there.
    pub(super) fn check(&self, seen: &Seen, view: &Disclosed<'_>) -> Result<(), Fault> {
        for ((slot, is_previous), has) in self.slots().iter().zip(&seen.values) {
            let wanted = if *is_previous { view.previous } else { Some(view.primary) };
            if !file::has(has.as_ref(), wanted) {
                return Err(file::differs(&self.name_of(slot), wanted, view.view));
            }
        }
        Ok(())
    }

    /// Whether the file is as it was left, where that counts, and can be written. What must be known of it later, by service.
    pub(super) async fn check_file(&self, in_force: &Disclosed<'_>, health: Health) -> Result<Written, Fault> {
        let file = self.read().await?;
        let plain =
            self.slots().into_iter().zip(&file.plain).filter(|((_, is_previous), plain)| !is_previous && **plain);
        let services = plain.filter_map(|((slot, _), _)| match slot {
            Slot::Compose { service, .. } => Some(service),
            _ => None,
        });
        let written = Written(services.collect());
        if health == Health::Needed {
            self.check(&file, in_force).map_err(|fault| file::changed_by_hand(&fault, "", &self.secret))?;
        }
        file::check_usable(file, self.path(), self.settings.expose)?;
        file::rehearse(&self.files, self.path(), &self.slots(), in_force, self.make).await?;
        Ok(written)
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
