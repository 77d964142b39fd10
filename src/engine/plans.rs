//! What a rotation that is asked for would be, or why it cannot even be planned.

use super::Engine;
use crate::config::{Course, Kind, SecretSettings, TargetSettings};
use crate::record::Stage;
use crate::rotation::{Fault, FaultCode, Generation, Plan, View};

impl Engine<'_> {
    /// Why a rotation cannot even be planned, or its plan.
    ///
    /// # Errors
    /// The obstacle.
    pub async fn plan_rotation(&self, emergency: bool) -> Result<Plan, Fault> {
        let standing = self.ledger.standing();
        let in_force = self.free_to_move()?;
        let new = standing.next_generation();
        if emergency && self.settings.kind == Kind::Encryption {
            let message = "the value encrypts data, and what is encrypted with it would be lost without an overlap";
            return Err(Fault::new(FaultCode::NotConfigured, message).advise(format!(
                "rekeyctl rotate {}, and once its data is encrypted anew, rekeyctl retire",
                self.settings.name
            )));
        }
        if emergency {
            return Ok(Plan::replace_in_an_emergency(in_force, new));
        }
        let Some(overlap) = self.settings.overlap.as_ref() else {
            return Ok(Plan::replace(in_force, new));
        };
        if overlap.strategy == Course::Window {
            return self.plan_window(in_force);
        }
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
            Course::OneStep | Course::Window => false,
            Course::Auto => self.processes().await? > 1,
        };
        Ok(Plan::overlap(in_force, new, publish_first))
    }

    /// The plan of the first rotation where no value is known to be in force.
    ///
    /// # Errors
    /// Where one is known, or could be: it would be lost without need.
    pub async fn plan_initial(&self) -> Result<Plan, Fault> {
        let (standing, name) = (self.ledger.standing(), &self.settings.name);
        self.nothing_under_way()?;
        if let Some(hold) = &standing.hold {
            return Err(hold.fault(name));
        }
        if let Some(view) = &standing.in_force {
            let message = format!("the value in force is known: generation {}", view.primary);
            return Err(Fault::new(FaultCode::NotConfigured, message).advise(format!("rekeyctl rotate {name}")));
        }
        if self.settings.kind == Kind::Encryption {
            let message = "the value encrypts data, and what is encrypted with one that is not known would be lost";
            return Err(Fault::new(FaultCode::NotConfigured, message).advise(format!("rekeyctl adopt {name}")));
        }
        if self.value_in_force().await.is_ok() {
            let message = "the value in force can be taken over, and is then the way back";
            return Err(Fault::new(FaultCode::NotConfigured, message).advise(format!("rekeyctl adopt {name}")));
        }
        Ok(Plan::initial(standing.next_generation()))
    }

    /// The window moves on by one value, or is opened. What it drops must have lived as long as its tokens.
    fn plan_window(&self, in_force: View) -> Result<Plan, Fault> {
        let standing = self.ledger.standing();
        let waiting = standing.waiting();
        let drops = in_force.accepted.iter().any(|accepted| Some(*accepted) != waiting);
        if drops && self.settings.re_encrypt.is_some() && standing.re_encrypted != Some(in_force.primary) {
            return Err(Fault::new(FaultCode::OverlapOpen, "data may still be encrypted with the value before")
                .advise(format!("have it encrypted anew: rekeyctl retire {}", self.settings.name)));
        }
        let length = self.overlap_length().unwrap_or_default();
        for old in in_force.accepted.iter().filter(|accepted| Some(**accepted) != waiting) {
            let since = standing.generation(*old).map(|generation| generation.since).unwrap_or_default();
            let until = since + length;
            if until > jiff::Timestamp::now() {
                let name = &self.settings.name;
                let message = format!("tokens of generation {old} are still accepted, until {until:.0}");
                return Err(Fault::new(FaultCode::OverlapOpen, message).advise(format!(
                    "end it with rekeyctl retire {name}, or drop all values with rekeyctl rotate --emergency {name}"
                )));
            }
        }
        let next = standing.next_generation();
        Ok(match waiting {
            Some(waiting) => Plan::slide(in_force, waiting, next),
            None => Plan::open_window(in_force, next),
        })
    }

    /// The plan of the end of an overlap.
    ///
    /// # Errors
    /// Where none is open.
    pub fn plan_retirement(&self) -> Result<Plan, Fault> {
        let in_force = self.free_to_move()?;
        let waiting: Vec<Generation> = self.ledger.standing().waiting().into_iter().collect();
        if in_force.accepted == waiting {
            return Err(Fault::new(FaultCode::NothingToRetire, "no overlap is open: no former value is accepted"));
        }
        Ok(Plan::retire(in_force, waiting))
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

    /// The plan of a person's way back to the previous value; where the last way back failed, to the one in force.
    ///
    /// # Errors
    /// Where there is none, or its value is no longer kept.
    pub fn plan_rollback(&self) -> Result<Plan, Fault> {
        let standing = self.ledger.standing();
        let in_force = self.free_to_move()?;
        if standing.left_half_way && !standing.returned_in_vain {
            return Ok(Plan::again(in_force));
        }
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
    if settings.targets.iter().all(|target| matches!(target, TargetSettings::Hosting(_)))
        && !settings.targets.is_empty()
    {
        let message =
            format!("the value of {} that is in force is not known, and the platforms do not show it", settings.env);
        return Fault::new(FaultCode::NotAdopted, message).advise(format!(
            "begin with a new one, which has no way back: rekeyctl rotate --initial {}",
            settings.name
        ));
    }
    Fault::new(FaultCode::NotAdopted, format!("the value of {} that is in force is not known yet", settings.env))
        .advise(format!("take it over first, which restarts nothing: rekeyctl adopt {}", settings.name))
}
