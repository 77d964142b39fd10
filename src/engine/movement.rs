//! The movement to a view: it is delivered to every target, and every consumer is made to take it.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::Instant;

use super::{Engine, disclosed};
use crate::config::{Retire, TargetSettings};
use crate::record::{Activated, Found, Left, Seen};
use crate::rotation::{Fault, Phase, View};
use crate::target::{Errand, Target};

impl Engine<'_> {
    /// On the way back every target gets its due, whatever became of the others.
    pub(super) async fn deliver(
        &self,
        phase: &Phase,
        view: &View,
        deadline: Instant,
        is_home: &AtomicBool,
    ) -> Result<Seen, Fault> {
        let values = self.disclose(view)?;
        let (view, mark) = (values.of(view), self.mark(phase));
        let before = self.views_before(phase);
        let before = disclosed(before.as_deref());
        let errand = Errand { before: before.as_deref(), ..self.errand(&view, phase, &mark, deadline) };
        let (mut targets, mut exposed, mut noted, mut left) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        is_home.store(false, Ordering::Relaxed);
        let mut failed = None;
        for (_, target) in in_turn(phase, self.targets.iter().map(|target| &**target).enumerate()) {
            if phase.is_back() && !target.is_local() && left.is_empty() && failed.is_none() {
                is_home.store(true, Ordering::Relaxed);
            }
            match target.deliver(&errand).await {
                Ok(more) => {
                    noted.extend(more);
                    targets.push(target.label());
                    exposed.extend(target.exposes());
                }
                // What is at home comes up with its old value, also where a platform is away.
                Err(fault) if phase.is_back() && (fault.code.leaves_a_file() || !target.is_local()) => {
                    left.push(Left { target: target.label(), fault });
                }
                Err(fault) if phase.is_back() => failed = failed.or(Some(fault)),
                Err(fault) => return Err(fault),
            }
        }
        is_home.store(left.is_empty() && failed.is_none(), Ordering::Relaxed);
        failed.map_or(Ok(Seen::Delivered { targets, exposed, noted, left }), Err)
    }

    /// Makes each consumer take the view, but for those that were `restarted` for others of the batch since this view
    /// was delivered; adds those that it restarts.
    pub(super) async fn activate(
        &self,
        phase: &Phase,
        restarted: &mut Vec<String>,
        deadline: Instant,
    ) -> Result<Vec<Activated>, Fault> {
        if self.waits_for_restart(phase) {
            let left = |found: &Found| match found.running {
                true => Activated::AtNextRestart { unit: found.unit.clone() },
                false => Activated::LeftStopped { unit: found.unit.clone() },
            };
            return Ok(self.found().iter().map(left).collect());
        }
        let view = self.view_in(phase)?;
        let values = self.disclose(&view)?;
        let (done, due): (Vec<_>, Vec<_>) =
            self.found().iter().cloned().partition(|found| restarted.contains(&found.unit));
        let mut activated: Vec<_> = done.into_iter().map(|found| Activated::WithOthers { unit: found.unit }).collect();
        let (view, mark) = (values.of(&view), self.mark(phase));
        let errand = Errand { found: &due, ..self.errand(&view, phase, &mark, deadline) };
        let mut failed = None;
        for (number, target) in in_turn(phase, self.moving()) {
            let command = self.settings.targets.get(number).and_then(TargetSettings::restart_command);
            if let Some(command) = command.as_ref().filter(|command| restarted.contains(command)) {
                activated.push(Activated::WithOthers { unit: command.clone() });
                continue;
            }
            match target.activate(&errand).await {
                Ok(more) => {
                    activated.extend(more);
                    restarted.extend(command);
                }
                Err(fault) if phase.is_back() => failed = failed.or(Some(fault)),
                Err(fault) => return Err(fault),
            }
        }
        if let Some(fault) = failed {
            return Err(fault);
        }
        restarted.extend(activated.iter().filter_map(|activated| match activated {
            Activated::Restarted { unit, .. } | Activated::Deployed { consumer: unit, .. } => Some(unit.clone()),
            _ => None,
        }));
        Ok(activated)
    }

    /// Makes what is at home take the view that was delivered, and proves it, while others are waited for. What each
    /// then is told to do once more is done already; of commands nobody can see that, so that they are added to `ran`.
    pub(super) async fn bring_home(
        &self,
        phase: &Phase,
        ran: &mut Vec<String>,
        deadline: Instant,
    ) -> Result<Vec<String>, Fault> {
        let view = self.view_in(phase)?;
        let values = self.disclose(&view)?;
        let (view, mark) = (values.of(&view), self.mark(phase));
        let errand = self.errand(&view, phase, &mark, deadline);
        let mut home = Vec::new();
        for (number, target) in self.moving().filter(|(_, target)| target.is_local()) {
            let command = self.settings.targets.get(number).and_then(TargetSettings::restart_command);
            if command.as_ref().is_none_or(|command| !ran.contains(command)) {
                target.activate(&errand).await?;
                ran.extend(command);
            }
            home.push(target);
        }
        for target in &home {
            target.evidence(&errand).await?;
        }
        Ok(home.into_iter().map(|target| target.label()).collect())
    }

    /// Whether some targets are at home and others are not.
    pub(super) fn is_mixed(&self) -> bool {
        let mut at_home = self.targets.iter().map(|target| target.is_local());
        at_home.next().is_some_and(|first| at_home.any(|other| other != first))
    }

    /// The targets that go where the rotation goes, with their numbers: all but those that were left as they are.
    pub(super) fn moving(&self) -> impl Iterator<Item = (usize, &dyn Target)> {
        let left = self.ledger.standing().transaction.as_ref().map_or(&[][..], |transaction| &transaction.left);
        let targets = self.targets.iter().map(|target| &**target).enumerate();
        targets.filter(|(_, target)| left.iter().all(|left| left.target != target.label()))
    }

    /// Whether every consumer would now start with what was delivered.
    pub(super) async fn check_in_force(&self) -> Result<(), Fault> {
        for target in self.targets {
            target.in_force().await?;
        }
        Ok(())
    }

    /// Why a daemon-reload is needed, where one is.
    pub(super) async fn reload_reason(&self) -> Result<Option<String>, Fault> {
        for target in self.targets {
            if let Some(reason) = target.reload_reason().await? {
                return Ok(Some(reason));
            }
        }
        Ok(None)
    }

    /// Whether the consumers go on as they are, and take the view with their next restart.
    pub(super) fn waits_for_restart(&self, phase: &Phase) -> bool {
        let retires = self.ledger.standing().transaction.as_ref().is_some_and(|transaction| transaction.plan.retires());
        let wanted = self.settings.overlap.as_ref().is_some_and(|overlap| overlap.retire == Retire::WithNextRestart);
        retires && wanted && !phase.is_back()
    }
}

/// The targets in the order of their turns: on the way back those at home first, which come up in a moment.
fn in_turn<'t>(
    phase: &Phase,
    targets: impl Iterator<Item = (usize, &'t dyn Target)>,
) -> impl Iterator<Item = (usize, &'t dyn Target)> {
    let mut targets: Vec<_> = targets.collect();
    targets.sort_by_key(|(_, target)| phase.is_back() && !target.is_local());
    targets.into_iter()
}
