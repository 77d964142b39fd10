//! What a rotation that is asked for would be, or why it cannot even be planned.

use super::Engine;
use crate::config::{Course, SecretSettings};
use crate::record::Stage;
use crate::rotation::{Fault, FaultCode, Plan, View};

impl Engine<'_> {
    /// Why a rotation cannot even be planned, or its plan.
    ///
    /// # Errors
    /// The obstacle.
    pub async fn plan_rotation(&self, emergency: bool) -> Result<Plan, Fault> {
        let standing = self.ledger.standing();
        let in_force = self.free_to_move()?;
        let new = standing.next_generation();
        let Some(overlap) = self.settings.overlap.as_ref().filter(|_| !emergency) else {
            return Ok(Plan::replace(in_force, new));
        };
        if let Some(old) = in_force.accepted.first() {
            let until = standing.retire_at.map_or_else(String::new, |at| format!(" until {at:.0}"));
            let name = &self.settings.name;
            return Err(Fault::new(
                FaultCode::OverlapOpen,
                format!(
                    "tokens of generation {old} are still accepted{until}: the overlap of the last rotation is open"
                ),
            )
            .advise(format!(
                "end it with rekeyctl retire {name}, or drop both values with rekeyctl rotate --emergency {name}"
            )));
        }
        let publish_first = match overlap.strategy {
            Course::PublishFirst => true,
            Course::OneStep => false,
            Course::Auto => self.processes().await? > 1,
        };
        Ok(Plan::overlap(in_force, new, publish_first))
    }

    /// The plan of the end of an overlap.
    ///
    /// # Errors
    /// Where none is open.
    pub fn plan_retirement(&self) -> Result<Plan, Fault> {
        let in_force = self.free_to_move()?;
        if in_force.accepted.is_empty() {
            return Err(Fault::new(FaultCode::NothingToRetire, "no overlap is open: only one value is accepted"));
        }
        Ok(Plan::retire(in_force))
    }

    /// The view in force, unless a hold or a missing adoption forbids to move it.
    fn free_to_move(&self) -> Result<View, Fault> {
        let standing = self.ledger.standing();
        self.nothing_under_way()?;
        if let Some(hold) = &standing.hold {
            return Err(hold.fault(&self.settings.name));
        }
        standing.in_force.clone().ok_or_else(|| not_adopted(self.settings))
    }

    /// A rotation that was interrupted, and that nobody goes on with, comes first.
    pub(super) fn nothing_under_way(&self) -> Result<(), Fault> {
        let Some(transaction) = &self.ledger.standing().transaction else { return Ok(()) };
        let message = format!("the rotation {} of {} is not finished", transaction.id, self.settings.name);
        Err(Fault::new(FaultCode::UnderWay, message).advise("have it finished: rekeyctl reload, then rekeyctl status"))
    }

    /// How many processes read the secret now.
    async fn processes(&self) -> Result<usize, Fault> {
        let mut count = 0;
        for target in self.targets {
            count += target.processes().await?;
        }
        Ok(count)
    }

    /// The plan of a person's way back to the previous value.
    ///
    /// # Errors
    /// Where there is none, or its value is no longer kept.
    pub fn plan_rollback(&self) -> Result<Plan, Fault> {
        let standing = self.ledger.standing();
        let in_force = self.free_to_move()?;
        let previous = standing.newest(Stage::Previous).map(|generation| generation.number);
        match previous.filter(|number| self.store.has(&self.settings.name, *number)) {
            Some(number) => Ok(Plan::return_to(in_force, number, self.settings.overlap.is_some())),
            None => {
                Err(Fault::new(FaultCode::NothingToGoBackTo, "there is no previous value, or it is no longer kept")
                    .advise(format!("rekeyctl rotate {} makes a new one", self.settings.name)))
            }
        }
    }
}

pub(super) fn not_adopted(settings: &SecretSettings) -> Fault {
    Fault::new(FaultCode::NotAdopted, format!("the value of {} that is in force is not known yet", settings.env))
        .advise(format!("take it over first, which restarts nothing: rekeyctl adopt {}", settings.name))
}
