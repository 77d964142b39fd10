//! Evidence from the live instances: what they show, and that they stay online.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Pm2Target;
use super::daemon::{POLL, REST, State, new_key};
use super::list::Instance;
use crate::helper::Looked;
use crate::record::{Evidence, Found};
use crate::rotation::{Fault, FaultCode};
use crate::target::Errand;

/// How long a process may take from its start to its own environment.
const SLACK: Duration = Duration::from_secs(5);

impl Pm2Target {
    /// All evidence for the apps that were found, watched side by side through `settle`.
    pub(super) async fn gather(&self, errand: &Errand<'_>) -> Result<Vec<Evidence>, Fault> {
        let limit = errand.deadline.min(Instant::now() + REST);
        let state = self.state_at_rest(limit).await?;
        let mut evidence = Vec::new();
        let mut watched: Vec<(&str, &Found, BTreeMap<String, u32>)> = Vec::new();
        for (app, found) in self.ours(errand.found) {
            let instances = state.of(app);
            if !found.running && instances.iter().all(|instance| instance.is_stopped()) {
                evidence
                    .push(Evidence::StoppedWithFormer { unit: found.unit.clone(), start: self.reload_by_hand(app) });
                continue;
            }
            self.check_online(&state, app, FaultCode::UnitFailed)?;
            watched.push((app, found, Self::pids(&instances)));
        }
        for (app, ..) in &watched {
            self.wait_for_value(&state, app, errand).await?;
        }
        let end = errand.deadline.min(Instant::now() + SLACK);
        self.check_forgotten(&state, Some(errand.view), FaultCode::WrongValue, end).await?;
        let began = Instant::now();
        let pids: Vec<u32> = watched.iter().flat_map(|(.., pids)| pids.values().copied()).collect();
        while began.elapsed() < self.settle && !watched.is_empty() {
            self.check_alive(&pids).await?;
            sleep(POLL.min(self.settle.saturating_sub(began.elapsed()))).await;
        }
        let settled_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let now = self.state().await?;
        for (app, found, pids) in watched {
            self.check_online(&now, app, FaultCode::Unsettled)?;
            let instances = now.of(app);
            let restarts = |state: &State| state.of(app).iter().map(|one| one.restarts).collect::<Vec<_>>();
            if Self::pids(&instances) != pids || restarts(&state) != restarts(&now) {
                let message = format!("instances of {} were started again while they were watched", found.unit);
                return Err(Fault::new(FaultCode::Unsettled, message).advise(self.logs(app)));
            }
            let tally = self.tally(&instances, errand.view).await?;
            if !self.suffices(&tally) {
                return Err(self.no_proof(app, errand.view, &tally));
            }
            let (unit, matching, of, without) = (found.unit.clone(), tally.matching, tally.of(), tally.hidden);
            if matching > 0 {
                evidence.push(Evidence::Process { unit: unit.clone(), matching, of, without });
            }
            evidence.push(Evidence::Instances { unit, pids, settled_ms });
        }
        self.check(&self.file(None).await?, errand.view)?;
        evidence.push(Evidence::File { path: self.path().display().to_string() });
        Ok(evidence)
    }

    /// Every instance is online, and none is being replaced.
    fn check_online(&self, state: &State, app: &str, code: FaultCode) -> Result<(), Fault> {
        let (unit, instances) = (self.unit(app), state.of(app));
        if instances.is_empty() {
            let message = format!("{unit} is gone from PM2");
            return Err(Fault::new(code, message).advise(self.logs(app)));
        }
        match instances.iter().find(|instance| !instance.is_online() || instance.id.is_none()) {
            Some(down) => {
                let id = down.id.map_or_else(|| "that is being replaced".to_owned(), |id| id.to_string());
                let message = format!("instance {id} of {unit} is {}: it did not stay up", down.status);
                Err(Fault::new(code, message).advise(self.logs(app)))
            }
            None => Ok(()),
        }
    }

    /// Right after a start a process has the environment of its parent still.
    async fn wait_for_value(&self, state: &State, app: &str, errand: &Errand<'_>) -> Result<(), Fault> {
        let limit = errand.deadline.min(Instant::now() + SLACK);
        loop {
            let tally = self.tally(&state.of(app), errand.view).await?;
            if self.suffices(&tally) {
                return Ok(());
            }
            if Instant::now() >= limit {
                return Err(self.no_proof(app, errand.view, &tally));
            }
            sleep(POLL).await;
        }
    }

    /// Whether the processes are still PM2's; cheaper than to ask PM2.
    pub(super) async fn check_alive(&self, pids: &[u32]) -> Result<(), Fault> {
        let processes = self.ask(pids, &new_key()?, false).await?.processes;
        match processes.iter().zip(pids).find(|(process, _)| **process == Looked::Gone) {
            Some((_, pid)) => {
                let message = format!("process {pid} of {} ended again soon after its start", self.label_of_all());
                let advice = format!("see what it says, as {}: pm2 logs --lines 50", self.settings.user);
                Err(Fault::new(FaultCode::Unsettled, message).advise(advice))
            }
            None => Ok(()),
        }
    }

    /// The same processes as in the evidence.
    pub(super) async fn check_same(&self, evidence: &[Evidence]) -> Result<(), Fault> {
        let mut pids = Vec::new();
        for evidence in evidence {
            if let Evidence::Instances { unit, pids: theirs, .. } = evidence
                && self.settings.apps.iter().any(|app| self.unit(app) == *unit)
            {
                pids.extend(theirs.values().copied());
            }
        }
        if pids.is_empty() { Ok(()) } else { self.check_alive(&pids).await }
    }

    /// What became of an app whose processes are gone, where one ended by itself, and PM2 starts it again, or does so no more.
    /// PM2 is asked only where not all are there still: what somebody restarts says nothing of the value.
    pub(super) async fn failure_since(&self, evidence: &[Evidence]) -> Option<String> {
        let pm2 = self.ask(&[], &new_key().ok()?, false).await.ok()?;
        for app in &self.settings.apps {
            let unit = self.unit(app);
            let proven = evidence.iter().find_map(|evidence| match evidence {
                Evidence::Instances { unit: other, pids, .. } if *other == unit => Some(pids),
                _ => None,
            });
            let Some(proven) = proven else { continue };
            let runs = |pid: &u32| pm2.running.iter().any(|one| one.app == *app && one.pid == *pid);
            if proven.values().all(runs) {
                continue;
            }
            let state = self.state().await.ok()?;
            if let Some(failed) = state.of(app).into_iter().find(|one| has_failed(one, proven)) {
                return Some(format!("an instance of {unit} ended by itself and is {}", failed.status));
            }
        }
        None
    }

    fn label_of_all(&self) -> String {
        self.unit(&self.settings.apps.join(", "))
    }
}

/// Whether one has ended by itself since these processes were proven, by their numbers.
fn has_failed(instance: &Instance, proven: &BTreeMap<String, u32>) -> bool {
    let is_another = instance.id.is_some_and(|id| proven.get(&id.to_string()).is_some_and(|pid| *pid != instance.pid));
    instance.status == "errored" || instance.unstable > 0 || is_another && instance.exit_code != 0
}

#[cfg(test)]
mod tests {
    use super::super::list::parse;
    use super::*;

    #[test]
    fn who_ended_by_itself_is_told_from_who_was_restarted() {
        let proven = BTreeMap::from([("3".to_owned(), 100)]);
        let failed = |pid: u32, rest: &str| {
            let list = format!("[{{\"name\":\"api\",\"pid\":{pid},\"pm_id\":3,\"pm2_env\":{{{rest}}}}}]");
            has_failed(&parse(list.as_bytes(), "K").unwrap()[0], &proven)
        };
        assert!(failed(101, r#""status":"online","restart_time":2,"exit_code":1"#));
        assert!(failed(0, r#""status":"waiting restart","exit_code":9"#));
        assert!(failed(0, r#""status":"errored","exit_code":0"#));
        assert!(failed(101, r#""status":"online","unstable_restarts":1,"exit_code":0"#));
        assert!(!failed(101, r#""status":"online","restart_time":2,"exit_code":0"#));
        assert!(!failed(100, r#""status":"online","exit_code":1"#));
        assert!(!failed(101, r#""status":"online""#));
    }
}
