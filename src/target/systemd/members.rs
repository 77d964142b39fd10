//! Units that have joined the target, or left it, since something was delivered.

use super::SystemdTarget;
use super::delivery::not_writable;
use crate::config::template_of;
use crate::dbus::unit::UnitStatus;
use crate::policy::{Has, Sighting};
use crate::record::Found;
use crate::rotation::{Fault, FaultCode};
use crate::target::{BY_HAND, Known};

impl SystemdTarget {
    /// Whether the others were delivered to, and this one was not.
    fn is_new(&self, configured: &str) -> bool {
        let delivered = self.root().join("current").symlink_metadata().is_ok();
        self.delivers && delivered && self.drop_in(configured).symlink_metadata().is_err()
    }

    /// What it means that the processes of a unit do not have the value in force, for which `fault` is the reason.
    ///
    /// # Errors
    /// Where that is an obstacle.
    pub(super) async fn explain(&self, configured: &str, status: &UnitStatus, fault: Fault) -> Result<(), Fault> {
        let has: Vec<Has> = {
            let values = self.known_values();
            let known = Known::new(&values)?;
            self.running(status, &known).await?.into_iter().map(|sighting| sighting.has).collect()
        };
        let is_known = |has: &Has| matches!(has, Has::Generation(_) | Has::Nothing);
        let (unit, name) = (&status.id, &self.secret);
        match (self.is_new(configured), has.iter().all(is_known)) {
            // It gets it with this rotation.
            (true, true) => Ok(()),
            (true, false) => {
                let message = format!("{unit} has joined, and has a value of its own in {}, which is not known here", self.env);
                Err(Fault::new(FaultCode::WrongValue, message).advise(format!(
                    "to have it take the value of {name}, take out what gives it that one (systemctl cat {unit}) and restart it"
                )))
            }
            // A process that has none at all is no change by hand: it may legitimately need none.
            (false, _) if fault.code != FaultCode::WrongValue => Err(fault),
            (false, true) => {
                let message = format!("{}: it is one of before, and was not restarted since", fault.message);
                Err(Fault::new(fault.code, message)
                    .advise(format!("systemctl restart {unit} has it take the one that was delivered")))
            }
            (false, false) => Err(Fault::new(fault.code, format!("{}{BY_HAND}", fault.message)).advise(format!(
                "if that value is meant to stay, take it over: rekeyctl adopt {name}; if not, systemctl restart {unit} brings \
                 back the one that rekeyd knows"
            ))),
        }
    }

    /// Whether it is a unit, or an instance of one, that has not been delivered to yet, though others were.
    pub(super) fn waits_for_its_first(&self, unit: &str) -> bool {
        let is_it = |configured: &&String| *configured == unit || template_of(unit).as_ref() == Some(*configured);
        self.units.iter().find(is_it).is_some_and(|configured| self.is_new(configured))
    }

    /// What to do about a file that wins over what is delivered, where it is of another secret: one that is configured would
    /// not have been let in.
    pub(super) fn let_go_of_another(&self, path: &str) -> Option<String> {
        let drop_in = || path.split_once("90-rekeyd-")?.1.split_once(".conf");
        let delivered = self.places.delivered.display().to_string();
        let view = || path.split_once(&delivered)?.1.strip_prefix('/')?.split_once('/');
        let name = drop_in().or_else(view).map(|(name, _)| name).filter(|name| *name != self.secret)?;
        Some(format!(
            "that is of the secret {name}, which is not configured: rekeyctl forget {name} names its drop-ins, to be removed"
        ))
    }

    /// The units that have our drop-in and are in no target of the secret any more.
    pub(super) fn left_behind(&self) -> Result<Vec<String>, Fault> {
        let mut left = self.units_with_drop_ins().map_err(not_writable)?;
        left.retain(|unit| !self.all_units.contains(unit));
        Ok(left)
    }

    /// These, as what is not as it should be.
    pub(super) fn sightings_left_behind(&self) -> Vec<Sighting> {
        let units = self.left_behind().unwrap_or_default();
        units.into_iter().map(|unit| Sighting::left_behind(self.drop_in(&unit).display(), unit)).collect()
    }

    /// Names, in what was found, those of them that run: nothing restarts them.
    pub(super) async fn name_left_behind(&self, found: &mut [Found]) -> Result<(), Fault> {
        let Some(first) = found.first_mut().filter(|_| self.delivers) else { return Ok(()) };
        for unit in self.left_behind()? {
            for name in self.running_as(&unit).await? {
                if self.systemd.unit(&name).await?.active_state == "active" {
                    first.bystanders.push(name);
                }
            }
        }
        Ok(())
    }
}
