//! Looking without touching: the proof now, and what a rotation would do.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};

use super::Engine;
use super::plans::not_adopted;
use super::preflight::may_serve;
use super::prove::workers;
use crate::config::{HookSettings, SecretName, Watch};
use crate::policy::{self, Drift};
use crate::proof::Moment;
use crate::record::{Evidence, Found, Seen, Standing};
use crate::rotation::{Fault, FaultCode, Generation, Plan};
use crate::secret::SecretValue;
use crate::store::{Store, StoreError};
use crate::target::{BY_HAND, Disclosed, Errand, Health, Known, Past, Target};

/// What speaks for the view in force, now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The generation that should be in force.
    pub generation: Generation,
    /// The evidence that it is.
    pub evidence: Vec<Evidence>,
    /// What is accepted besides until a consumer is restarted, as it is meant to be, with what restarts it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<String>,
}

/// What a rotation would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forecast {
    /// The movements, targets and steps.
    pub plan: Plan,
    /// The targets, in order.
    pub targets: Vec<String>,
    /// The consumers as they are now.
    pub found: Vec<Found>,
    /// Why there would be a daemon-reload; none where it is absent.
    pub reload: Option<String>,
    /// How long the last restart of a consumer took, where rekeyd has restarted it, in microseconds.
    #[serde(default)]
    pub restart_us: BTreeMap<String, u64>,
    /// What may fail meanwhile, where the users' requests are watched and held against a budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowance: Option<Allowance>,
    /// The probes that would be asked.
    pub probes: Vec<String>,
    /// What the probes say of the view in force.
    pub evidence: Vec<Evidence>,
    /// Whether all sessions are ended once the new value is proven.
    #[serde(default)]
    pub logout: bool,
    /// Of a secret that encrypts: what encrypts all anew once the new value is proven.
    #[serde(default)]
    pub re_encrypt: Option<String>,
    /// Whether it is of a configuration that was edited and is not in force yet.
    #[serde(default)]
    pub is_edited: bool,
}

/// What `[proof] watch` and `error-budget` allow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// Requests a second.
    pub rate: u32,
    /// So many of them may fail, should the rotation take all the time that it may.
    pub most: u64,
    /// The budget, as it is configured.
    pub budget: String,
}

/// Who asks how a secret stands waits for it. A target that cannot be looked at for as long does not hide what is to be said of the others.
const LOOK: Duration = Duration::from_secs(4);

/// What is not as it was left: the files and processes of all targets, held against the view in force; and whether all of
/// them could be looked at.
///
/// # Errors
/// Where a value of the store cannot be read.
pub async fn drift(
    name: &SecretName,
    standing: &Standing,
    store: &Store,
    targets: &[Box<dyn Target>],
) -> Result<(Vec<Drift>, bool), Fault> {
    let Some(view) = standing.in_force.as_ref().filter(|_| standing.transaction.is_none()) else {
        return Ok((Vec::new(), true));
    };
    let known = values(name, standing, store)?;
    let known = Known::new(&known)?;
    let looks = join_all(targets.iter().map(|target| timeout(LOOK, target.look(&known)))).await;
    let (mut drift, mut is_whole) = (Vec::new(), true);
    for look in looks {
        match look {
            Ok(Ok(sightings)) => {
                is_whole &= sightings.iter().all(|sighting| sighting.kind != policy::Kind::Unseen);
                for new in policy::drift(view.primary, &sightings) {
                    // Several targets may come upon the same.
                    if !drift.contains(&new) {
                        drift.push(new);
                    }
                }
            }
            Ok(Err(fault)) if fault.code == FaultCode::FileUnusable => {
                drift.push(Drift::Uncertain(fault.message, fault.advice));
            }
            Ok(Err(_)) | Err(_) => is_whole = false,
        }
    }
    Ok((drift, is_whole))
}

/// All values that the store has of a secret.
pub(super) fn values(
    name: &SecretName,
    standing: &Standing,
    store: &Store,
) -> Result<Vec<(Generation, SecretValue)>, StoreError> {
    let kept = standing.generations.iter().filter(|generation| store.has(name, generation.number));
    kept.map(|generation| Ok((generation.number, store.get(name, generation.number)?))).collect()
}

impl Engine<'_> {
    /// Gathers the proof for the view in force.
    ///
    /// # Errors
    /// What speaks against it.
    pub async fn verify(&self) -> Result<Verdict, Fault> {
        let deadline = Instant::now() + self.settings.deadline;
        let view = self.ledger.standing().in_force.clone().ok_or_else(|| not_adopted(self.settings))?;
        let values = self.disclose(&view)?;
        let found = self.survey(&values.of(&view), Health::Needed, deadline).await?;
        let mut evidence = Vec::new();
        let disclosed = values.of(&view);
        let report = self.host;
        let errand = Errand {
            view: &disclosed,
            before: None,
            back: false,
            found: &found,
            noted: &[],
            mark: "",
            deadline,
            report,
        };
        for target in self.targets {
            evidence.extend(target.evidence(&errand).await?);
        }
        let anyone = may_serve(&found);
        evidence.extend(
            self.ask_probes((Moment::AsItIs, anyone, workers(&evidence)), &view, (&values, Vec::new()), deadline)
                .await?,
        );
        let kept = self.ledger.standing().kept.as_ref();
        let running = found.iter().filter(|found| found.running);
        let keeps = running.filter_map(|found| kept?.by(&found.unit, found.run()?));
        let name = self.settings.name.as_str();
        let waiting = keeps.map(|keeps| format!("{keeps} — {}", keeps.advice(name, &[]))).collect();
        Ok(Verdict { generation: view.primary, evidence, waiting })
    }

    /// What all targets find of their consumers, once they are told of earlier rotations.
    pub(super) async fn survey(
        &self,
        in_force: &Disclosed<'_>,
        health: Health,
        deadline: Instant,
    ) -> Result<Vec<Found>, Fault> {
        let standing = self.ledger.standing();
        let known = values(&self.settings.name, standing, self.store)?;
        let (known, is_certain) = (Known::new(&known)?, !standing.left_half_way);
        let past = Past { known, is_certain, noted: &standing.noted, stopped: &standing.stopped };
        let mut found = Vec::new();
        for target in self.targets {
            target.recognize(&past);
            let surveyed = target.survey(in_force, health, deadline).await;
            found.extend(surveyed.map_err(|fault| self.after_a_failed_way_back(fault))?);
        }
        Ok(found)
    }

    /// An obstacle that is perhaps none but what the last way back left.
    fn after_a_failed_way_back(&self, fault: Fault) -> Fault {
        let standing = self.ledger.standing();
        let may_be_of_it = matches!(fault.code, FaultCode::WrongValue | FaultCode::UnitSick | FaultCode::NoValue);
        let Some(view) = standing.in_force.as_ref().filter(|_| may_be_of_it && standing.left_half_way) else {
            return fault;
        };
        let (name, message) = (&self.settings.name, fault.message.replace(BY_HAND, ""));
        Fault::new(fault.code, format!("{message}: the way back of the last rotation failed, and may have left it so"))
            .advise(format!("rekeyctl rollback {name} brings back the view {view}; or {}", fault.advice))
    }

    /// Does the preflight of a rotation, or of one in an emergency, and says what would follow.
    ///
    /// # Errors
    /// The obstacle that it would be refused for.
    pub async fn forecast(&self, emergency: bool) -> Result<Forecast, Fault> {
        let plan = self.plan_rotation(emergency).await?;
        let deadline = Instant::now() + self.settings.deadline;
        let (found, evidence) = match self.preflight(plan.start(), Health::Needed, deadline).await? {
            Seen::Ready { found, evidence } => (found, evidence),
            _ => (Vec::new(), Vec::new()),
        };
        let reload = self.reload_reason().await?;
        let targets = self.targets.iter().map(|target| target.label()).collect();
        let probes = self.probes.iter().map(|probe| probe.label()).collect();
        let restart_us = self.ledger.standing().restart_us.clone();
        let allowance = self.settings.watch.as_ref().and_then(|watch| Allowance::of(watch, self.settings.deadline));
        let logout = self.settings.logout.is_some();
        let re_encrypt = self.settings.re_encrypt.as_ref().and_then(HookSettings::command);
        let is_edited = false;
        Ok(Forecast {
            plan,
            targets,
            found,
            reload,
            restart_us,
            allowance,
            probes,
            evidence,
            logout,
            re_encrypt,
            is_edited,
        })
    }
}

impl Allowance {
    fn of(watch: &Watch, deadline: Duration) -> Option<Self> {
        let budget = watch.error_budget?;
        let sent = u64::from(watch.rate) * deadline.as_secs();
        Some(Self { rate: watch.rate, most: budget.most(sent), budget: budget.to_string() })
    }
}
