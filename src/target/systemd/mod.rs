//! systemd units: a drop-in that points to a stable path, below which the view is swapped; restarts as jobs.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::{Disclosed, Target};
use crate::config::{DaemonReload, ProbeSettings, SecretSettings, SystemdTarget as Settings};
use crate::dbus::systemd1::Systemd;
use crate::helper::ProcessHelper;
use crate::record::{Activated, Evidence, Found};
use crate::rotation::{Fault, View};
use crate::secret::SecretValue;

mod activate;
mod adopt;
mod delivery;
mod evidence;
mod in_force;
mod survey;
mod unloaded;

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
        Self { units: "/etc/systemd/system".into(), delivered: "/var/lib/rekeyd/delivered".into() }
    }
}

/// One or several services that read a variable from an environment file of ours.
pub struct SystemdTarget {
    secret: String,
    env: String,
    /// The variable of the value that is accepted besides, where there may be one.
    previous_env: Option<String>,
    units: Vec<String>,
    always_reload: bool,
    settle: Duration,
    allow_without: Vec<String>,
    has_token_probe: bool,
    places: Places,
    systemd: Systemd,
    helper: ProcessHelper,
}

impl SystemdTarget {
    /// The target that `settings` describes, of the secret `secret`.
    pub fn new(secret: &SecretSettings, settings: &Settings, systemd: Systemd, helper: ProcessHelper) -> Self {
        Self {
            secret: secret.name.to_string(),
            env: secret.env.clone(),
            previous_env: secret.overlap.as_ref().map(|overlap| overlap.previous_env.clone()),
            units: settings.units.clone(),
            always_reload: settings.daemon_reload == DaemonReload::Always,
            settle: secret.settle,
            allow_without: secret.allow_without.clone(),
            has_token_probe: secret.probes.iter().any(|probe| matches!(probe, ProbeSettings::Jwt(_))),
            places: Places::default(),
            systemd,
            helper,
        }
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

    async fn processes(&self) -> Result<usize, Fault> {
        let mut count = 0;
        for unit in &self.units {
            count += self.systemd.processes(unit).await?.len();
        }
        Ok(count)
    }

    async fn survey(&self, in_force: &Disclosed<'_>, deadline: Instant) -> Result<Vec<Found>, Fault> {
        self.survey_units(in_force, deadline).await
    }

    fn deliver(&self, view: &Disclosed<'_>) -> Result<(), Fault> {
        self.put(view)
    }

    async fn reload_reason(&self) -> Result<Option<String>, Fault> {
        self.why_reload().await
    }

    async fn in_force(&self) -> Result<(), Fault> {
        self.check_in_force().await
    }

    async fn activate(
        &self,
        view: &Disclosed<'_>,
        found: &[Found],
        deadline: Instant,
    ) -> Result<Vec<Activated>, Fault> {
        let mut activated = Vec::new();
        for unit in self.own(found) {
            activated.push(self.activate_unit(view, unit, deadline).await?);
        }
        Ok(activated)
    }

    async fn evidence(&self, view: &Disclosed<'_>, found: &[Found], deadline: Instant) -> Result<Vec<Evidence>, Fault> {
        self.gather(view, &self.own(found).collect::<Vec<_>>(), deadline).await
    }

    fn tidy(&self, keep: &View) {
        self.remove_other_views(keep);
    }
}

impl SystemdTarget {
    /// The variables that a view is told by, each with its value; none where it must not be set.
    fn wanted<'a>(&'a self, view: &Disclosed<'a>) -> Vec<(&'a str, Option<&'a SecretValue>)> {
        let previous = self.previous_env.as_deref().map(|name| (name, view.accepted.first().copied()));
        std::iter::once((self.env.as_str(), Some(view.primary))).chain(previous).collect()
    }

    /// The names of those variables.
    fn variables(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.env.as_str()).chain(self.previous_env.as_deref())
    }

    /// Of what preflight found, the units of this target.
    fn own<'a>(&'a self, found: &'a [Found]) -> impl Iterator<Item = &'a Found> {
        found.iter().filter(|found| self.units.contains(&found.configured))
    }
}
