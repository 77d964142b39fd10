//! The reload, and what really came of it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Pm2Target;
use super::daemon::{POLL, REST, State};
use super::list::Instance;
use crate::record::{Activated, Found};
use crate::rotation::{Fault, FaultCode};
use crate::sys::command::{End, Ran};
use crate::target::Errand;

/// PM2 says so where the reload of somebody else is not over.
const IN_PROGRESS: &[u8] = b"Reload already in progress";
/// And so, and nothing else, where the ecosystem file does not have the environment.
const NO_ENVIRONMENT: &[u8] = b"is not defined in process file";
/// On the way back, what is left in between, or errored, is reloaded once more.
const TRIES_BACK: u32 = 3;
/// How long they must have been there.
const STEADY: Duration = Duration::from_secs(2);
/// How long after a reload its processes may be on their way, at the least.
const COMING: Duration = Duration::from_secs(15);

impl Pm2Target {
    /// Has PM2 reload those apps that run and do not have the view yet.
    pub(super) async fn reload(&self, errand: &Errand<'_>) -> Result<Vec<Activated>, Fault> {
        let limit = errand.deadline.min(Instant::now() + self.settings.timeout);
        let ours = self.ours(errand.found);
        let left = |found: &Found| Activated::LeftStopped { unit: found.unit.clone() };
        let mut activated: Vec<Activated> =
            ours.iter().filter(|(_, found)| !found.running).map(|(_, found)| left(found)).collect();
        let running: Vec<_> = ours.into_iter().filter(|(_, found)| found.running).collect();
        if running.is_empty() {
            return Ok(activated);
        }
        // What an earlier daemon of ours, or somebody else, has set going comes to its end first. On the way back nobody
        // waits for an app that ends again and again.
        let mut before = match errand.back {
            true => self.state_between_reloads(limit).await?,
            false => self.state_at_rest(limit.min(Instant::now() + REST)).await?,
        };
        if !before.are_all(&self.settings.apps, Instance::is_settled) {
            before = self.state_between_reloads(limit).await?;
        }
        let mut due = Vec::new();
        for (app, found) in running {
            if self.has_it(&before, app, found, errand).await? {
                activated.push(Activated::AlreadyRunning { unit: found.unit.clone() });
            } else {
                due.push(app);
            }
        }
        if due.is_empty() {
            return Ok(activated);
        }
        let began = Instant::now();
        let mut tries = if errand.back { TRIES_BACK } else { 1 };
        let took = loop {
            tries -= 1;
            if errand.back {
                before = self.stop_restless(before, &due, errand, limit).await?;
            }
            let (was, ran) = self.run_reload(before, &due, limit).await?;
            let took = began.elapsed();
            let coming = Instant::now() + COMING;
            let until = if tries > 0 { coming.min(errand.deadline) } else { errand.deadline.min(limit.max(coming)) };
            let came = match self.check_end(&ran, &due) {
                Ok(()) => self.wait_until_there(&was, &due, errand, until).await,
                failed => failed,
            };
            match came {
                Ok(()) => break took,
                Err(fault) if tries == 0 || Instant::now() >= limit => return Err(fault),
                Err(_) => before = self.state_between_reloads(limit).await?,
            }
        };
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        activated.extend(due.into_iter().map(|app| Activated::Restarted { unit: self.unit(app), took_us }));
        Ok(activated)
    }

    /// Whether every instance has the view, and would be started with it again. One that shows nothing and is the same
    /// process as before the rotation has, on the way back, what it had then.
    async fn has_it(&self, state: &State, app: &str, found: &Found, errand: &Errand<'_>) -> Result<bool, Fault> {
        let instances = state.of(app);
        let is_stored = |one: &&Instance| one.stored.as_ref().is_none_or(|stored| stored.is_same(errand.view.primary));
        if !instances.iter().all(|one| one.is_online() && is_stored(one)) {
            return Ok(false);
        }
        let tally = self.tally(&instances, errand.view).await?;
        let pids: Vec<String> = instances.iter().map(|one| one.pid.to_string()).collect();
        let are_untouched = found.details.get("pids").is_some_and(|before| *before == pids.join(","));
        let is_hidden = tally.hidden > 0 && tally.hidden == tally.of();
        Ok(tally.matching > 0 && tally.matching == tally.of() || is_hidden && errand.back && are_untouched)
    }

    /// Stops the instances of an app that ends again and again: PM2 would start them itself in the middle of the reload, and
    /// leave them in between. Those that have the wanted value go on.
    async fn stop_restless(
        &self,
        state: State,
        apps: &[&str],
        errand: &Errand<'_>,
        limit: Instant,
    ) -> Result<State, Fault> {
        let found = self.ours(errand.found);
        let is_restless = |app: &str| state.of(app).into_iter().any(|instance| is_restless(instance, &found));
        let is_stored = |one: &Instance| one.stored.as_ref().is_some_and(|stored| stored.is_same(errand.view.primary));
        let mut ids = Vec::new();
        for app in apps.iter().filter(|app| is_restless(app)) {
            // Those that still seem to be well with the same value may be the next.
            let due = |one: &&Instance| !one.is_stopped() && (!is_stored(one) || !one.is_online());
            ids.extend(state.of(app).into_iter().filter(due).filter_map(|one| Some(one.id?.to_string())));
        }
        if ids.is_empty() {
            return Ok(state);
        }
        let words: Vec<&str> = std::iter::once("stop").chain(ids.iter().map(String::as_str)).collect();
        // What came of it is seen afterwards.
        self.call(&state.pm2, &words, limit.saturating_duration_since(Instant::now())).await?;
        self.state_between_reloads(limit).await
    }

    /// The reload of an app as a person types it.
    pub(super) fn reload_by_hand(&self, app: &str) -> String {
        let settings = &self.settings;
        let environment = settings.environment.iter().map(|environment| format!(" --env {environment}"));
        let environment: String = environment.collect();
        format!("as {}: pm2 reload {} --only {app}{environment}", settings.user, settings.ecosystem.display())
    }

    /// Runs `pm2 reload`, once no other one is under way: PM2's lock lasts for half a minute after one that was killed, and
    /// where an instance of an earlier one is still ending, PM2 leaves that instance alone, and ends with status 0. Returns
    /// what was there before, too.
    async fn run_reload(&self, state: State, apps: &[&str], limit: Instant) -> Result<(State, Ran), Fault> {
        let ecosystem = self.settings.ecosystem.display().to_string();
        let only = apps.join(",");
        let mut words = vec!["reload", &ecosystem, "--only", &only];
        if let Some(environment) = &self.settings.environment {
            words.extend(["--env", environment]);
        }
        let mut before = state;
        loop {
            let ran = self.call(&before.pm2, &words, limit.saturating_duration_since(Instant::now())).await?;
            let is_busy = has(&ran.stdout, IN_PROGRESS) || has(&ran.stderr, IN_PROGRESS);
            if !is_busy || Instant::now() >= limit {
                return Ok((before, ran));
            }
            sleep(POLL).await;
            before = self.state_between_reloads(limit).await?;
        }
    }

    /// What PM2 says of the reload by itself. What it prints may have the value in it, and is only searched.
    fn check_end(&self, ran: &Ran, apps: &[&str]) -> Result<(), Fault> {
        let ecosystem = self.settings.ecosystem.display();
        let environment = self.settings.environment.as_deref().unwrap_or_default();
        if has(&ran.stdout, NO_ENVIRONMENT) {
            let message = format!("{ecosystem} has no env_{environment}, so PM2 reloaded with what it had before");
            return Err(Fault::new(FaultCode::NotConfigured, message).advise("mend `environment`, or add it there"));
        }
        let why = match &ran.end {
            _ if has(&ran.stdout, IN_PROGRESS) || has(&ran.stderr, IN_PROGRESS) => {
                "another reload of PM2 does not come to its end".to_owned()
            }
            End::Well => return Ok(()),
            End::TooLong(limit) => {
                format!("pm2 reload of {} did not end within {} s", apps.join(", "), limit.as_secs())
            }
            end => end.problem(&["pm2 reload".to_owned()]).unwrap_or_default(),
        };
        let advice = format!("see what it says, {}", self.reload_by_hand(&apps.join(",")));
        Err(Fault::new(FaultCode::UnitFailed, why).advise(advice))
    }

    /// Until every instance is there; on the way back, where PM2 may be starting some again by itself, for a moment longer.
    async fn wait_until_there(
        &self,
        before: &State,
        apps: &[&str],
        errand: &Errand<'_>,
        limit: Instant,
    ) -> Result<(), Fault> {
        let now = self.wait_for(before, apps, errand, limit).await?;
        let pids: Vec<u32> = apps.iter().flat_map(|app| now.of(app)).map(|instance| instance.pid).collect();
        let until = Instant::now() + STEADY;
        while errand.back && Instant::now() < until {
            self.check_alive(&pids).await?;
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Until every instance is another process than before, and online.
    async fn wait_for(
        &self,
        before: &State,
        apps: &[&str],
        errand: &Errand<'_>,
        limit: Instant,
    ) -> Result<State, Fault> {
        loop {
            let now = self.state_when_up(limit).await?;
            let mut late = None;
            for app in apps {
                for was in before.of(app).into_iter().filter(|was| was.id.is_some()) {
                    if let Some(why) = self.check_instance(&now, was, errand)? {
                        late = Some((*app, why));
                    }
                }
            }
            let Some((app, why)) = late else { return Ok(now) };
            if Instant::now() >= limit {
                return Err(Fault::new(FaultCode::NotReady, why).advise(self.logs(app)));
            }
            sleep(POLL).await;
        }
    }

    /// Why an instance is not there yet; none where it is.
    fn check_instance(&self, now: &State, was: &Instance, errand: &Errand<'_>) -> Result<Option<String>, Fault> {
        let (unit, id) = (self.unit(&was.app), was.id.unwrap_or_default());
        let failed = |code, message: String| Err(Fault::new(code, message).advise(self.logs(&was.app)));
        let instances = now.of(&was.app);
        let Some(is) = instances.iter().find(|is| is.id == was.id) else {
            return failed(FaultCode::UnitFailed, format!("instance {id} of {unit} is gone after the reload"));
        };
        if is.status == "errored" || is.status == "stopped" {
            let message = format!("instance {id} of {unit} is {}: it ended after it was started with it", is.status);
            return failed(FaultCode::UnitFailed, message);
        }
        // On the way back the count may go on from a crash loop.
        if is.restarts > was.restarts + 1 && !is.is_watched && !errand.back {
            let times = is.restarts - was.restarts;
            let message = format!("instance {id} of {unit} was started {times} times: it ended again after its start");
            return failed(FaultCode::Unsettled, message);
        }
        if instances.iter().any(|is| is.id.is_none()) {
            return Ok(Some(format!("instances of {unit} are still being replaced")));
        }
        if !is.is_online() {
            return Ok(Some(format!("instance {id} of {unit} is {} after the reload", is.status)));
        }
        let is_same = is.pid == was.pid;
        Ok(is_same.then(|| format!("instance {id} of {unit} is still the process {} after the reload", is.pid)))
    }

    /// The instances by number, with their processes.
    pub(super) fn pids(instances: &[&Instance]) -> BTreeMap<String, u32> {
        instances.iter().filter_map(|instance| Some((instance.id?.to_string(), instance.pid))).collect()
    }
}

/// Whether an instance is not online, or was started more often than by a rotation's movements.
fn is_restless(instance: &Instance, found: &[(&str, &Found)]) -> bool {
    let before = found.iter().find(|(app, _)| *app == instance.app).and_then(|(_, found)| {
        let at = found.details.get("ids")?.split(',').position(|id| id.parse().ok() == instance.id)?;
        found.details.get("restarts")?.split(',').nth(at)?.parse::<u32>().ok()
    });
    let is_often = before.is_some_and(|before| instance.restarts > before + 2);
    !instance.is_stopped() && (!instance.is_online() || instance.unstable > 0 || is_often)
}

fn has(printed: &[u8], words: &[u8]) -> bool {
    printed.windows(words.len()).any(|part| part == words)
}
