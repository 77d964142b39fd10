//! A key of an env file that another program reads, changed in place; what reads it is restarted, or left alone.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};

use super::systemd::SystemdTarget;
use super::{Accepts, Disclosed, Errand, Health, Known, Means, Report, Target};
use super::{file, program};
use crate::config::{DotenvTarget as Settings, HookAct, HookSettings, Restart, SecretSettings, WakeSignal};
use crate::helper::{FileHelper, NotDone, ProcessHelper, Seen, Wake};
use crate::policy::Sighting;
use crate::record::{Activated, Evidence, Found, Noted};
use crate::rotation::{Fault, FaultCode, View};
use crate::secret::{Format, SecretValue};
use crate::sys::command::{Command, End, Prints, Runner};
use crate::text::Slot;

/// How often it is looked whether a program still runs.
const POLL: Duration = Duration::from_millis(100);
/// How long one that ends on a signal may take to be there again.
const RETURN: Duration = Duration::from_secs(30);

/// One file, with what reads it.
pub struct DotenvTarget {
    secret: String,
    settings: Settings,
    key: String,
    /// The key of the value that is accepted besides, where there may be one.
    previous_key: Option<String>,
    /// How values are made.
    make: (usize, Format),
    settle: Duration,
    /// The units that are restarted.
    units: Option<SystemdTarget>,
    files: FileHelper,
    processes: ProcessHelper,
    runner: Arc<dyn Runner>,
}

impl DotenvTarget {
    /// The target that `settings` describes, of the secret `secret`.
    pub fn new(secret: &SecretSettings, settings: &Settings, means: &Means) -> Self {
        let key = settings.key.clone().unwrap_or_else(|| secret.env.clone());
        let units = match &settings.restart {
            Restart::Units { units, max_unavailable } => {
                Some(SystemdTarget::beside(secret, &key, units, *max_unavailable, means))
            }
            Restart::Command(_) | Restart::Touch(_) | Restart::Signal { .. } | Restart::Nothing => None,
        };
        Self {
            secret: secret.name.to_string(),
            key,
            previous_key: secret.overlap.as_ref().map(|overlap| overlap.previous_env.clone()),
            settings: settings.clone(),
            make: (secret.bytes, secret.format),
            settle: secret.settle,
            units,
            files: means.files.clone(),
            processes: means.processes.clone(),
            runner: Arc::clone(&means.runner),
        }
    }

    fn path(&self) -> &Path {
        &self.settings.file
    }

    /// The secret.
    pub(super) fn secret(&self) -> &str {
        &self.secret
    }

    /// The variable's name in the file.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// The places in the file, each with whether it is for the value that is accepted besides.
    fn places(&self) -> impl Iterator<Item = (Slot, bool)> {
        let slot = |key: &str| Slot::env(key, &self.key, self.settings.dialect);
        self.names().map(slot).zip([false, true])
    }

    /// Gives the file what there is for it, and reads all keys back.
    async fn keys(&self, errand: Option<&Errand<'_>>) -> Result<Seen, Fault> {
        let wanted = |is_previous| errand.map(|errand| file::wanted(errand, is_previous));
        let slots: Vec<_> = self.places().map(|(slot, is_previous)| (slot, wanted(is_previous))).collect();
        self.files.put(self.path(), &slots).await?.map_err(Fault::from)
    }

    async fn read(&self) -> Result<Seen, Fault> {
        self.keys(None).await
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.key.as_str()).chain(self.previous_key.as_deref())
    }

    /// Whether the file has the view. A key that is empty is one that is not there.
    fn check(&self, seen: &Seen, view: &Disclosed<'_>) -> Result<(), Fault> {
        let wanted = std::iter::once(Some(view.primary)).chain(std::iter::once(view.previous));
        for ((name, has), wanted) in self.names().zip(&seen.values).zip(wanted) {
            if !file::has(has.as_ref(), wanted) {
                return Err(file::differs(&format!("{name} in {}", self.path().display()), wanted, view.view));
            }
        }
        Ok(())
    }

    /// Whether the file is as it was left, and can be written.
    async fn check_file(&self, in_force: &Disclosed<'_>) -> Result<(), Fault> {
        let file = self.read().await?;
        self.check(&file, in_force).map_err(|fault| file::changed_by_hand(&fault, "", &self.secret))?;
        file::check_usable(file, self.path(), self.settings.expose)
    }

    /// What tells the program, and the file that it is told by; none where something else, or nothing, makes it take the
    /// value.
    fn wake(&self) -> Option<(Wake, &Path)> {
        match &self.settings.restart {
            Restart::Touch(path) => Some((Wake::Touch(path.clone()), path)),
            Restart::Signal { signal, pid_file } => Some((Wake::Signal(*signal, pid_file.clone()), pid_file)),
            Restart::Units { .. } | Restart::Command(_) | Restart::Nothing => None,
        }
    }

    /// Whether the program still runs that was sent a signal, once `settle` is over: who does not handle one is ended by it, and
    /// who becomes another by it writes the other's number.
    async fn check_alive(&self, wake: Wake, errand: &Errand<'_>) -> Result<(), Fault> {
        let Wake::Signal(signal, _) = &wake else { return Ok(()) };
        let name = signal.name();
        let is_end = *signal == WakeSignal::Sigterm;
        let over = Instant::now() + self.settle;
        // Whoever ends it on purpose has it started again, which may take longer.
        let limit = if is_end { errand.deadline.min(over + RETURN) } else { over.min(errand.deadline) };
        loop {
            let alive = self.tell(wake.clone(), false).await;
            let now = Instant::now();
            match alive {
                Ok(()) if now >= over => return Ok(()),
                Err(fault) if now >= limit => {
                    let message = format!("the program has ended after {name}: {}", fault.message);
                    return Err(Fault::new(FaultCode::Unsettled, message)
                        .advise("does it handle that signal? start it again, and mend `signal`"));
                }
                _ => sleep(POLL).await,
            }
        }
    }

    /// Tells the program; or only looks whether it could be told.
    async fn tell(&self, wake: Wake, really: bool) -> Result<(), Fault> {
        let done = self.files.wake(self.path(), wake, really).await?;
        let not_told = |NotDone { problem, advice }| Fault::new(FaultCode::NotTold, problem).advise(advice);
        done.map(drop).map_err(not_told)
    }

    /// As the file's owner, in an environment that has nothing of the secret.
    async fn run(&self, hook: &HookSettings, report: &dyn Report) -> Result<Activated, Fault> {
        let HookAct::Command { argv, .. } = &hook.act else {
            return Err(Fault::new(FaultCode::NotConfigured, "the target has no command"));
        };
        let owner = self.read().await?.owner.to_string();
        let unit = format!("rekeyd-restart-{}.service", self.secret);
        let program = argv.first().cloned().unwrap_or_default();
        let began = Instant::now();
        let command = Command {
            unit: &unit,
            description: &format!("Restarting what reads {}", self.path().display()),
            argv,
            directory: None,
            user: (owner != "0").then_some(owner.as_str()).into(),
            environment: vec![
                format!("REKEYD_SECRET={}", self.secret),
                format!("REKEYD_FILE={}", self.path().display()),
            ],
            input: Vec::new(),
            value: None,
            limit: hook.timeout,
            prints: Prints::ToFile,
        };
        let said = self.runner.said(&unit, Prints::ToFile);
        let why = match self.runner.run(&command).await {
            Ok(ran) if ran.end == End::Well && ran.is_survived => {
                report.progress(&format!("{program} has left processes running; see what they print: {said}"));
                None
            }
            Ok(ran) => ran.end.problem(argv),
            Err(error) => Some(error.to_string()),
        };
        let Some(why) = why else {
            let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            return Ok(Activated::Ran { program, took_us });
        };
        Err(Fault::new(FaultCode::UnitFailed, why).advise(format!("see what it says: {said}")))
    }
}

impl From<NotDone> for Fault {
    fn from(NotDone { problem, advice }: NotDone) -> Self {
        let fault = Self::new(FaultCode::FileUnusable, problem);
        if advice.is_empty() { fault } else { fault.advise(advice) }
    }
}

#[async_trait]
impl Target for DotenvTarget {
    fn label(&self) -> String {
        format!("dotenv {}", self.path().display())
    }

    async fn accepted_in_force(&self) -> Result<Accepts, Fault> {
        Ok(Accepts::of(self.read().await?.values.into_iter().nth(1).flatten()))
    }

    async fn value_in_force(&self) -> Result<SecretValue, Fault> {
        let file = self.read().await?;
        let value = file.values.into_iter().next().flatten().filter(|value| !value.is_empty());
        let value = value.ok_or_else(|| {
            Fault::new(FaultCode::NoValue, format!("{} in {} has no value", self.key, self.path().display()))
                .advise("is it the right file, and the right key?")
        })?;
        if let Some(units) = &self.units {
            match units.value_in_force().await {
                Ok(theirs) if !theirs.is_same(&value) => {
                    let message = format!("what reads {} has another {} than it", self.path().display(), self.key);
                    let advice = match units.sets_another(&value).await? {
                        Some(unit) => format!(
                            "{unit} sets it itself (Environment=), which counts before the file: take it out there, or \
                             make the unit a target of the type systemd; systemctl cat {unit}"
                        ),
                        None => "restart it, so that it has what the file says, then adopt it".to_owned(),
                    };
                    return Err(Fault::new(FaultCode::WrongValue, message).advise(advice));
                }
                // A program that reads the file itself does not show what it has.
                Err(fault) if fault.code != FaultCode::NoValue => return Err(fault),
                _ => {}
            }
        }
        Ok(value)
    }

    async fn processes(&self) -> Result<usize, Fault> {
        match &self.units {
            Some(units) => units.processes().await,
            // Nobody knows how many read the file, and with several the new value must be accepted everywhere first.
            None => Ok(2),
        }
    }

    async fn survey(&self, in_force: &Disclosed<'_>, health: Health, deadline: Instant) -> Result<Vec<Found>, Fault> {
        match health {
            Health::Needed => self.check_file(in_force).await?,
            Health::Irrelevant => file::check_usable(self.read().await?, self.path(), self.settings.expose)?,
        }
        file::rehearse(&self.files, self.path(), &self.places().collect::<Vec<_>>(), in_force, self.make).await?;
        if let Some((wake, _)) = self.wake() {
            self.tell(wake, false).await?;
        }
        if let Restart::Command(HookSettings { act: HookAct::Command { argv, .. }, .. }) = &self.settings.restart {
            let owner = self.read().await?.owner.to_string();
            program::check_own(&self.processes, argv, Some(&owner), "`restart-command`", &self.label()).await?;
        }
        match &self.units {
            Some(units) => units.survey(in_force, health, deadline).await,
            None => Ok(Vec::new()),
        }
    }

    async fn deliver(&self, errand: &Errand<'_>) -> Result<Vec<Noted>, Fault> {
        let file = self.keys(Some(errand)).await?;
        let name = |number| format!("{} in {}", self.names().nth(number).unwrap_or_default(), self.path().display());
        file::check_written(&file, &self.secret, name)?;
        self.check(&file, errand.view).map(|()| Vec::new())
    }

    fn exposes(&self) -> Option<String> {
        self.settings.expose.then(|| format!("WARNING: every local user may read {}", self.path().display()))
    }

    async fn activate(&self, errand: &Errand<'_>) -> Result<Vec<Activated>, Fault> {
        if let Some((wake, by)) = self.wake() {
            let is_signal = matches!(wake, Wake::Signal(..));
            match self.tell(wake, true).await {
                // What the signal has ended reads the file when it is started again. That it has ended is told by the proof.
                Err(fault) if errand.back && is_signal => {
                    errand.report.progress(&format!("{}: {}", fault.message, fault.advice));
                    return Ok(vec![Activated::LeftAlone { path: self.path().display().to_string() }]);
                }
                told => told?,
            }
            return Ok(vec![Activated::Told { by: by.display().to_string() }]);
        }
        match (&self.units, &self.settings.restart) {
            (Some(units), _) => units.activate(errand).await,
            (None, Restart::Command(hook)) => Ok(vec![self.run(hook, errand.report).await?]),
            _ => Ok(vec![Activated::LeftAlone { path: self.path().display().to_string() }]),
        }
    }

    async fn evidence(&self, errand: &Errand<'_>) -> Result<Vec<Evidence>, Fault> {
        let mut evidence = match &self.units {
            Some(units) => units.evidence(errand).await?,
            None => Vec::new(),
        };
        // Who only looks has sent none.
        let was_told = !errand.mark.is_empty();
        if let Some((wake, _)) = self.wake().filter(|_| was_told) {
            self.check_alive(wake, errand).await?;
        }
        self.check(&self.read().await?, errand.view)?;
        evidence.push(Evidence::File { path: self.path().display().to_string() });
        Ok(evidence)
    }

    async fn is_still_there(&self, evidence: &[Evidence]) -> Result<(), Fault> {
        match &self.units {
            Some(units) => units.is_still_there(evidence).await,
            None => Ok(()),
        }
    }

    async fn look(&self, known: &Known<'_>) -> Result<Vec<Sighting>, Fault> {
        let file = self.read().await?;
        let has = known.which(file.values.first().and_then(Option::as_ref));
        let mut seen = vec![Sighting::file(self.path().display(), has)];
        if let Some(units) = &self.units {
            seen.extend(units.look(known).await?);
        }
        Ok(seen)
    }

    fn tidy(&self, _keep: &View) {}
}
