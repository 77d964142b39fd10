//! Taking over the value that is in force. Nothing is restarted and nothing outside the store is written.

use serde::{Deserialize, Serialize};

use super::Engine;
use crate::config::TargetSettings;
use crate::record::{Actor, Happening};
use crate::rotation::{Fault, FaultCode, Generation};
use crate::secret::{Fingerprint, SecretValue};
use crate::target::Target;

/// What came of an adoption.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adoption {
    /// The generation in force.
    pub generation: Generation,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// Whether it is new to the store.
    pub new: bool,
    /// Whether it is shorter, or simpler, than `bytes` asks for.
    #[serde(default)]
    pub weak: bool,
}

/// The store is older than what was delivered.
#[derive(Clone, Debug)]
pub struct Outdated {
    /// The newest generation that was delivered.
    pub delivered: Generation,
    /// What that means.
    pub fault: Fault,
}

impl Engine<'_> {
    /// Takes over the value in force, where the live consumers of all targets agree on one. An outdated store's numbers
    /// are skipped, and what it believes to be under way is not gone on with.
    ///
    /// # Errors
    /// Where there is none, they disagree, or it cannot be stored.
    pub async fn adopt(&mut self, actor: Actor, outdated: Option<Outdated>) -> Result<Adoption, Fault> {
        if outdated.is_none() {
            self.nothing_under_way()?;
        }
        let (value, source) = self.value_in_force().await?;
        let fingerprint = self.store.fingerprint(&value)?;
        let weak = value.is_weaker_than(self.settings.bytes);
        if let (Some((id, _)), Some(outdated)) = (self.under_way(), &outdated) {
            self.record(Some(&id), Happening::Abandoned { fault: outdated.fault.clone() })?;
        }
        let (name, standing) = (&self.settings.name, self.ledger.standing());
        if outdated.is_none()
            && let Some(view) = &standing.in_force
            && self.store.get(name, view.primary)?.is_same(&value)
        {
            return Ok(Adoption { generation: view.primary, fingerprint, new: false, weak });
        }
        let beyond = outdated.map_or(Generation::FIRST, |outdated| outdated.delivered.next());
        let generation = standing.next_generation().max(beyond);
        self.store.put(name, generation, &value)?;
        let what = Happening::Adopted { generation, fingerprint: fingerprint.clone(), source, actor, weak };
        self.record(None, what)?;
        Ok(Adoption { generation, fingerprint, new: true, weak })
    }

    /// What all targets agree on. A hosting platform is asked only whether it has the same: what it shows may be a mask.
    pub(super) async fn value_in_force(&self) -> Result<(SecretValue, String), Fault> {
        let mut agreed: Option<(SecretValue, String)> = None;
        for (target, is_elsewhere) in self.by_place() {
            let value = match target.value_in_force().await {
                // It cannot be compared, either.
                Err(fault) if fault.code == FaultCode::ValueHidden => continue,
                value => value?,
            };
            if is_elsewhere && agreed.is_none() {
                break;
            }
            match &agreed {
                None => agreed = Some((value, target.label())),
                Some((first, _)) if first.is_same(&value) => {}
                Some((_, first)) => {
                    let message =
                        format!("{first} and {} use different values of {}", target.label(), self.settings.env);
                    return Err(Fault::new(FaultCode::WrongValue, message)
                        .advise("give both the same value and restart them, or configure them as two secrets"));
                }
            }
        }
        agreed.ok_or_else(|| {
            let message = "the value is in force at hosting platforms alone, from which it is not taken over";
            Fault::new(FaultCode::ValueHidden, message)
                .advise(format!("begin with a new value: rekeyctl rotate --initial {}", self.settings.name))
        })
    }

    /// The targets, those at hosting platforms last.
    fn by_place(&self) -> Vec<(&dyn Target, bool)> {
        let is_elsewhere =
            |number: usize| matches!(self.settings.targets.get(number), Some(TargetSettings::Hosting(_)));
        let mut targets: Vec<_> =
            self.targets.iter().enumerate().map(|(number, target)| (&**target, is_elsewhere(number))).collect();
        targets.sort_by_key(|(_, is_elsewhere)| *is_elsewhere);
        targets
    }
}
