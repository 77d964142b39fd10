//! Whether a unit serves again, before the next one is stopped: most services are "started" long before they listen.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::SystemdTarget;
use super::evidence::POLL;
use super::template::is_template;
use crate::dbus::unit::UnitStatus;
use crate::helper::{Answer, Question};
use crate::record::{Activated, Found};
use crate::rotation::{Fault, FaultCode};

/// How long a unit may take from its start until it listens.
const LISTENS: Duration = Duration::from_secs(60);

/// The ports of a unit.
pub(super) type Ports = (String, BTreeSet<u16>);

impl SystemdTarget {
    /// On which ports the units listen of whose start systemd does not know when it is over.
    pub(super) async fn listening(&self, units: &[Found]) -> Result<Vec<Ports>, Fault> {
        let mut all = Vec::new();
        for unit in units.iter().map(|found| &found.unit).filter(|unit| !is_template(unit)) {
            let status = self.systemd.unit(unit).await?;
            if !status.says_when_ready {
                all.push((unit.clone(), self.ports(&status).await?));
            }
        }
        Ok(all)
    }

    async fn ports(&self, status: &UnitStatus) -> Result<BTreeSet<u16>, Fault> {
        let (control_group, pids) = (status.control_group.clone(), self.systemd.processes(&status.id).await?);
        match self.helper.ask_one(Question::Listening { control_group, pids }).await? {
            Answer::Listening { ports } => Ok(ports),
            _ => Ok(BTreeSet::new()),
        }
    }

    /// Waits until those units that were started again listen where they did before.
    pub(super) async fn await_listening(
        &self,
        before: &[Ports],
        activated: &[Activated],
        deadline: Instant,
    ) -> Result<(), Fault> {
        let limit = deadline.min(Instant::now() + LISTENS);
        let is_new =
            |unit: &str| activated.iter().any(|one| matches!(one, Activated::Restarted { unit: of, .. } if of == unit));
        for (unit, ports) in before.iter().filter(|(unit, _)| is_new(unit)) {
            loop {
                let now = self.ports(&self.systemd.unit(unit).await?).await?;
                let Some(port) = ports.difference(&now).next() else { break };
                if Instant::now() >= limit {
                    let message =
                        format!("{unit} does not listen on port {port} any more, as it did before its restart");
                    return Err(Fault::new(FaultCode::NotReady, message).advise(format!("journalctl -u {unit} -n 50")));
                }
                sleep(POLL).await;
            }
        }
        Ok(())
    }
}
