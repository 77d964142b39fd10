//! systemd units: a drop-in that points to a stable path, below which the view is swapped; restarts as jobs.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::{Accepts, Disclosed, Errand, Health, Known, Means, Past, Target};
use crate::config::{
    Activate, DaemonReload, Deliver, ProbeSettings, Retire, SecretSettings, SystemdTarget as Settings, TargetSettings,
};
use crate::dbus::systemd1::Systemd;
use crate::helper::{KeyHelper, ProcessHelper};
use crate::policy::Sighting;
use crate::record::{Activated, Evidence, Found, Noted};
use crate::rotation::{Fault, FaultCode, Generation, View};
use crate::secret::SecretValue;
use crate::store;

mod activate;
mod adopt;
mod alone;
mod delivery;
mod evidence;
mod in_force;
mod listen;
mod look;
mod members;
mod names;
mod survey;
mod tally;
mod template;
mod unloaded;
mod way;

use survey::Survey;
use way::Way;

/// Values of the store, each with its number.
type Values = Arc<[(Generation, SecretValue)]>;

/// The directories that a systemd target writes to.
#[derive(Clone, Debug)]
pub struct Places {
    /// Where drop-ins go.
    pub units: PathBuf,
    /// Where views go.
    pub delivered: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self { units: "/etc/systemd/system".into(), delivered: store::DELIVERED.into() }
    }
}

/// One or several services that get a value from us, by a drop-in each.
#[derive(Clone)]
pub struct SystemdTarget {
    secret: String,
    env: String,
    /// The variable of the value that is accepted besides, where there may be one.
    previous_env: Option<String>,
    /// Whether running units go on accepting a value that was retired, until they are restarted.
    keeps_retired: bool,
    units: Vec<String>,
    /// Those of all targets of the secret.
    all_units: Vec<String>,
    /// The values that the store has.
    known: Arc<Mutex<Values>>,
    /// Whether the units get the value from us, by a drop-in; else another target puts it where they read it.
    delivers: bool,
    way: Way,
    activate: Activate,
    max_unavailable: usize,
    always_reload: bool,
    settle: Duration,
    allow_without: Vec<String>,
    has_value_probe: bool,
    places: Places,
    systemd: Systemd,
    helper: ProcessHelper,
    keys: KeyHelper,
}

impl SystemdTarget {
    /// The target that `settings` describes, of the secret `secret`.
    pub fn new(secret: &SecretSettings, settings: &Settings, means: &Means) -> Self {
        Self {
            secret: secret.name.to_string(),
            env: secret.env.clone(),
            previous_env: secret.overlap.as_ref().map(|overlap| overlap.previous_env.clone()),
            keeps_retired: secret.overlap.as_ref().is_some_and(|overlap| overlap.retire == Retire::WithNextRestart),
            units: settings.units.clone(),
            all_units: secret.targets.iter().flat_map(TargetSettings::units).cloned().collect(),
            known: Arc::new(Mutex::new(Arc::from([]))),
            delivers: true,
            way: Way { deliver: settings.deliver, path_env: settings.path_env.clone() },
            activate: settings.activate,
            max_unavailable: settings.max_unavailable,
            always_reload: settings.daemon_reload == DaemonReload::Always,
            settle: secret.settle,
            allow_without: secret.allow_without.clone(),
            has_value_probe: secret.probes.iter().any(ProbeSettings::sees_the_value),
            places: Places::default(),
            systemd: means.systemd.clone(),
            helper: means.processes.clone(),
            keys: KeyHelper::default(),
        }
    }

    /// Units that read the value where another target puts it, as the variable `key`: only restarted and looked at.
    pub(super) fn beside(
        secret: &SecretSettings,
        key: &str,
        units: &[String],
        max_unavailable: usize,
        means: &Means,
    ) -> Self {
        let settings = Settings {
            units: units.to_owned(),
            deliver: Deliver::EnvironmentFile,
            path_env: None,
            activate: Activate::Restart,
            max_unavailable,
            daemon_reload: DaemonReload::Auto,
        };
        Self { delivers: false, env: key.to_owned(), ..Self::new(secret, &settings, means) }
    }
}

#[async_trait]
impl Target for SystemdTarget {
    fn label(&self) -> String {
        format!("systemd {}", self.units.join(", "))
    }

    async fn value_in_force(&self) -> Result<SecretValue, Fault> {
        self.adopted_value().await
    }

    async fn accepted_in_force(&self) -> Result<Accepts, Fault> {
        let Some(env) = &self.previous_env else { return Ok(Accepts::Untold) };
        let mut all = Vec::new();
        for unit in &self.units {
            // The same questions, about the other variable.
            let other = Self { env: env.clone(), previous_env: None, units: vec![unit.clone()], ..self.clone() };
            let accepts = match other.adopted_value().await {
                Err(fault) if fault.code == FaultCode::NoValue => Accepts::Nothing,
                value => Accepts::This(value?),
            };
            all.push((unit.clone(), accepts));
        }
        Accepts::agreed(all)
    }

    async fn lies_open(&self, value: &SecretValue) -> Result<Option<String>, Fault> {
        let unit = self.sets_it_openly(value).await?;
        Ok(unit.map(|unit| format!("`systemctl show {unit}` tells the value to every local user")))
    }

    async fn processes(&self) -> Result<usize, Fault> {
        let mut count = 0;
        for unit in &self.units {
            for name in self.running_as(unit).await? {
                count += self.systemd.processes(&name).await?.len();
            }
        }
        Ok(count)
    }

    fn recognize(&self, past: &Past<'_>) {
        let copy =
            |(generation, value): &(Generation, SecretValue)| (*generation, SecretValue::new(value.reveal().to_vec()));
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = past.known.all().iter().map(copy).collect();
    }

    async fn survey(&self, in_force: &Disclosed<'_>, health: Health, deadline: Instant) -> Result<Vec<Found>, Fault> {
        let mut found = Survey { target: self, in_force, health, deadline }.units().await?;
        self.name_left_behind(&mut found).await?;
        Ok(found)
    }

    async fn deliver(&self, errand: &Errand<'_>) -> Result<Vec<Noted>, Fault> {
        self.put(errand.view, errand.back).await.map(|()| Vec::new())
    }

    fn exposes(&self) -> Option<String> {
        let is_exposed = |unit: &&String| self.way_of(unit).is_some_and(|way| way.deliver == Deliver::Environment);
        let units: Vec<&str> = self.units.iter().filter(is_exposed).map(String::as_str).collect();
        (!units.is_empty()).then(|| {
            format!(
                "WARNING: every local user can read {} of {} (`deliver = \"environment\"`)",
                self.env,
                units.join(", ")
            )
        })
    }

    async fn reload_reason(&self) -> Result<Option<String>, Fault> {
        self.in_place().why_reload().await
    }

    async fn in_force(&self) -> Result<(), Fault> {
        self.in_place().check_in_force().await
    }

    async fn activate(&self, errand: &Errand<'_>) -> Result<Vec<Activated>, Fault> {
        let target = self.in_place();
        let consumers = target.consumers(errand.found).await?;
        let (mut activated, mut failed) = (Vec::new(), None);
        if target.activate == Activate::None {
            return target.leave_alone(errand.view, &consumers).await;
        }
        for together in consumers.chunks(target.max_unavailable) {
            // The last ones are waited for by the proof. On the way back the others are not kept waiting.
            let is_followed = !errand.back && together.last() != consumers.last();
            let ports = if is_followed { target.listening(together).await? } else { Vec::new() };
            let jobs =
                together.iter().map(|unit| target.activate_unit(errand.view, unit, errand.back, errand.deadline));
            // All of them come to an end, also where one fails: the way back must not meet a job that is under way.
            for came in join_all(jobs).await {
                match came {
                    // On the way back one that does not come up keeps no other from the value before.
                    Err(fault) if errand.back => failed = failed.or(Some(fault)),
                    came => activated.push(came?),
                }
            }
            target.await_listening(&ports, &activated, errand.deadline).await?;
        }
        failed.map_or(Ok(activated), Err)
    }

    async fn evidence(&self, errand: &Errand<'_>) -> Result<Vec<Evidence>, Fault> {
        let target = self.in_place();
        let consumers = target.consumers(errand.found).await?;
        if target.activate == Activate::None {
            return target.evidence_of_delivery(errand, &consumers).await;
        }
        target.gather(errand.view, &consumers, errand.deadline).await
    }

    async fn is_still_there(&self, evidence: &[Evidence]) -> Result<(), Fault> {
        self.check_same(evidence).await
    }

    async fn look(&self, known: &Known<'_>) -> Result<Vec<Sighting>, Fault> {
        self.in_place().sightings(known).await
    }

    fn tidy(&self, keep: &View) {
        self.remove_leftovers(keep);
    }
}

impl SystemdTarget {
    /// The values that the store knows, as far as it was told of them.
    fn known_values(&self) -> Values {
        Arc::clone(&self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The variables that a view is told by, each with its value; none where it must not be set. A credential cannot be
    /// left out without a daemon-reload: where nothing else is accepted, the other one is the primary value again.
    fn wanted<'a>(&'a self, deliver: Deliver, view: &Disclosed<'a>) -> Vec<(&'a str, Option<&'a SecretValue>)> {
        let instead = deliver.is_credential().then_some(view.primary);
        let other = view.previous.or(instead);
        let previous = self.previous_env.as_deref().map(|name| (name, other));
        std::iter::once((self.env.as_str(), Some(view.primary))).chain(previous).collect()
    }

    /// The names of those variables.
    fn variables(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.env.as_str()).chain(self.previous_env.as_deref())
    }
}
