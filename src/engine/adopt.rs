//! Taking over the value that is in force. Nothing is restarted and nothing outside the store is written.

use serde::{Deserialize, Serialize};

use super::Engine;
use crate::config::{Shape, TargetSettings};
use crate::record::{Actor, Happening, NewValue};
use crate::rotation::{Fault, FaultCode, Generation};
use crate::secret::{Fingerprint, SecretValue};
use crate::target::{Accepts, Target};

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
    /// Where every local user can read it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<String>,
    /// The former values that the consumers accept besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted: Vec<NewValue>,
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
        let former = self.accepted_in_force(&value).await?;
        let fingerprint = self.store.fingerprint(&value)?;
        let weak = value.is_weaker_than(self.settings.bytes);
        let mut open = Vec::new();
        for target in self.targets {
            open.extend(target.lies_open(&value).await?);
        }
        if let (Some((id, _)), Some(outdated)) = (self.under_way(), &outdated) {
            self.record(Some(&id), Happening::Abandoned { fault: outdated.fault.clone() })?;
        }
        let name = &self.settings.name;
        let mut known = None;
        if let Some(view) = self.ledger.standing().in_force.as_ref().filter(|_| outdated.is_none())
            && self.store.get(name, view.primary)?.is_same(&value)
        {
            if former.is_empty() || !view.accepted.is_empty() {
                let generation = view.primary;
                return Ok(Adoption { generation, fingerprint, new: false, weak, open, accepted: Vec::new() });
            }
            known = Some(view.primary);
        }
        let is_outdated = outdated.is_some();
        let beyond = outdated.map_or(Generation::FIRST, |outdated| outdated.delivered.next());
        let mut next = self.ledger.standing().next_generation().max(beyond);
        let mut accepted = Vec::new();
        for former in &former {
            let generation = self.known_as(former).unwrap_or(next);
            next = next.max(generation.next());
            self.store.put(name, generation, former)?;
            accepted.push(NewValue { generation, fingerprint: self.store.fingerprint(former)? });
        }
        // A value that is known under a number already keeps it, but for a store that is to be ahead of what was delivered.
        let generation = known.or_else(|| self.known_as(&value).filter(|_| !is_outdated)).unwrap_or(next);
        self.store.put(name, generation, &value)?;
        let adoption = Adoption {
            generation,
            fingerprint: fingerprint.clone(),
            new: true,
            weak,
            open,
            accepted: accepted.clone(),
        };
        self.record(None, Happening::Adopted { generation, fingerprint, source, actor, weak, accepted })?;
        self.arm_retirement(None).await?;
        Ok(adoption)
    }

    /// The number under which the store has a value that was in force.
    fn known_as(&self, value: &SecretValue) -> Option<Generation> {
        let generations = self.ledger.standing().generations.iter().map(|generation| generation.number);
        let is_same =
            |number: &Generation| self.store.get(&self.settings.name, *number).is_ok_and(|it| it.is_same(value));
        generations.rev().find(is_same)
    }

    /// The former values that all targets on this host accept besides; none where there is no overlap to be had.
    async fn accepted_in_force(&self, value: &SecretValue) -> Result<Vec<SecretValue>, Fault> {
        let Some(overlap) = &self.settings.overlap else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        for (target, _) in self.by_place().into_iter().filter(|(_, is_elsewhere)| !is_elsewhere) {
            let accepts = match target.accepted_in_force().await? {
                // A credential that has nothing else to say has the value itself.
                Accepts::This(former) if former.is_same(value) => Accepts::Nothing,
                accepts => accepts,
            };
            all.push((target.label(), accepts));
        }
        let Accepts::This(former) = Accepts::agreed(all)? else { return Ok(Vec::new()) };
        let former = if overlap.shape == Shape::List { former.parts() } else { vec![former] };
        Ok(former.into_iter().filter(|former| !former.is_empty() && !former.is_same(value)).collect())
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
