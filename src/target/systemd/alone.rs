//! Units that nothing is done to, `activate = "none"`: the view is delivered for their next start, and what runs goes on with
//! what it has.

use tokio::time::{Instant, sleep};

use super::SystemdTarget;
use super::activate::is_down;
use super::evidence::{POLL, SLACK};
use super::template::is_template;
use super::way::Form;
use crate::record::{Activated, Evidence, Found};
use crate::rotation::{Fault, FaultCode};
use crate::target::{Disclosed, Errand};

/// What the processes of a unit have.
enum Runs {
    /// There are none.
    Nothing,
    /// All have the view.
    WithIt { of: u32, without: u32 },
    /// The same ones as before the rotation, with what they had.
    AsBefore,
    /// Others than before the rotation, with something else than the view.
    WithAnother,
}

impl SystemdTarget {
    /// Restarts nothing, and tells what that leaves as it is.
    pub(super) async fn leave_alone(&self, view: &Disclosed<'_>, consumers: &[Found]) -> Result<Vec<Activated>, Fault> {
        let mut activated = Vec::new();
        for consumer in consumers {
            let unit = consumer.unit.clone();
            activated.push(match self.what_runs(consumer, view, Instant::now()).await? {
                Runs::Nothing => Activated::LeftStopped { unit },
                Runs::WithIt { .. } => Activated::AlreadyRunning { unit },
                Runs::AsBefore | Runs::WithAnother => Activated::AtNextRestart { unit },
            });
        }
        Ok(activated)
    }

    /// That each unit would start with the view, and what runs until then.
    pub(super) async fn evidence_of_delivery(
        &self,
        errand: &Errand<'_>,
        consumers: &[Found],
    ) -> Result<Vec<Evidence>, Fault> {
        let mut evidence = self.files_that_have(errand.view)?;
        // Before the first rotation nothing of ours is there.
        if self.units.iter().all(|unit| self.drop_in_text(unit).is_some()) {
            self.check_in_force().await?;
        }
        for consumer in consumers {
            let unit = consumer.unit.clone();
            let limit = errand.deadline.min(Instant::now() + SLACK);
            evidence.push(match self.what_runs(consumer, errand.view, limit).await? {
                Runs::Nothing => Evidence::Stopped { unit },
                Runs::WithIt { of, without } => Evidence::Process { unit, matching: of - without, of, without },
                Runs::WithAnother if errand.back => return Err(has_what_is_taken_back(&unit)),
                Runs::AsBefore | Runs::WithAnother => Evidence::AtNextRestart { unit },
            });
        }
        Ok(evidence)
    }

    /// Reads again what was delivered.
    fn files_that_have(&self, view: &Disclosed<'_>) -> Result<Vec<Evidence>, Fault> {
        let current = self.root().join("current");
        let mut evidence = Vec::new();
        for form in self.forms_in(&current).into_iter().filter(|form| *form != Form::Sealed) {
            self.read_back(form, &current, view)?;
            evidence.push(Evidence::File { path: current.join(form.file(&self.env)).display().to_string() });
        }
        Ok(evidence)
    }

    /// A process that was just started has its own environment only a moment later: that is waited for, until `limit`.
    async fn what_runs(&self, consumer: &Found, view: &Disclosed<'_>, limit: Instant) -> Result<Runs, Fault> {
        let unit = &consumer.unit;
        if is_template(unit) {
            return Ok(Runs::Nothing);
        }
        loop {
            let status = self.systemd.unit(unit).await?;
            if is_down(&status) {
                return Ok(Runs::Nothing);
            }
            let tally = self.tally(&status, view).await?;
            if tally.is_proof() {
                return Ok(Runs::WithIt { of: tally.of(), without: tally.without });
            }
            if consumer.run() == Some(&status.invocation_id) {
                return Ok(Runs::AsBefore);
            }
            if Instant::now() >= limit {
                return Ok(Runs::WithAnother);
            }
            sleep(POLL).await;
        }
    }
}

fn has_what_is_taken_back(unit: &str) -> Fault {
    let message = format!("{unit} was started with the value that is taken back, and nothing here restarts it");
    Fault::new(FaultCode::WrongValue, message).advise(format!("systemctl restart {unit}"))
}
