//! `/etc/environment`: an env file by pam_env's rules, and a session that PAM opens to see that new ones have the value.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};

use super::dotenv::DotenvTarget;
use super::{Accepts, Disclosed, Errand, Health, Known, Means, Target};
use crate::config::{DotenvTarget as Settings, SecretSettings};
use crate::dbus::systemd1::Systemd;
use crate::helper::{Answer, ProcessHelper, Question};
use crate::policy::Sighting;
use crate::record::{Activated, Evidence, Found, Noted};
use crate::rotation::{Fault, FaultCode, View};
use crate::secret::{SecretValue, digest, random};
use crate::store::StoreError;

/// The rules that the session is opened by: pam_env(8) alone, of /etc/pam.d/rekeyd.
const PAM: &str = "rekeyd";

/// How long a session may take to open.
const LIMIT: Duration = Duration::from_secs(10);
/// A process has its name a moment before it has its environment.
const NAMED: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(20);

/// `/etc/environment`.
pub struct EnvironmentTarget {
    file: DotenvTarget,
    systemd: Systemd,
    helper: ProcessHelper,
}

impl EnvironmentTarget {
    /// The target that `settings` describes, of the secret `secret`.
    pub fn new(secret: &SecretSettings, settings: &Settings, means: &Means) -> Self {
        let file = DotenvTarget::new(secret, settings, means);
        Self { file, systemd: means.systemd.clone(), helper: means.processes.clone() }
    }

    /// Whether a session that is opened now has the value.
    async fn look_into_a_session(&self, value: &SecretValue) -> Result<Evidence, Fault> {
        let unit = format!("rekeyd-session-{}.service", self.file.secret());
        self.systemd.open_session(&unit, PAM).await?;
        let has = self.has(&unit, value).await;
        let _ = self.systemd.stop(&unit).await;
        if has? {
            return Ok(Evidence::Session);
        }
        let message = format!("a new session does not have the {} of /etc/environment", self.file.key());
        Err(Fault::new(FaultCode::WrongValue, message)
            .advise("what else sets it? see /etc/security/pam_env.conf and man pam_env"))
    }

    /// Waits for the session's process: before it there is only systemd's own one, which keeps the session open.
    async fn has(&self, unit: &str, value: &SecretValue) -> Result<bool, Fault> {
        let until = Instant::now() + LIMIT;
        let key: [u8; 32] = random().map_err(StoreError::from)?;
        let wanted = hex::encode(digest(&key, value.reveal()));
        let mut named: Option<Instant> = None;
        loop {
            let question = Question::Processes {
                control_group: self.systemd.unit(unit).await?.control_group,
                pids: self.systemd.processes(unit).await?,
                variables: vec![self.file.key().to_owned()],
                credentials: Vec::new(),
                key: hex::encode(key),
            };
            let Answer::Processes { processes } = self.helper.ask_one(question).await? else { return Ok(false) };
            if let Some(process) = processes.iter().find(|process| process.comm == "sleep") {
                let is_new = named.get_or_insert_with(Instant::now).elapsed() < NAMED;
                match process.digests.first() {
                    Some(Some(digest)) => return Ok(*digest == wanted),
                    _ if !is_new => return Ok(false),
                    _ => {}
                }
            }
            if Instant::now() >= until {
                let message = "no session could be opened by the rules of /etc/pam.d/rekeyd";
                return Err(Fault::new(FaultCode::NoValue, message).advise(format!("journalctl -u {unit}")));
            }
            sleep(POLL).await;
        }
    }
}

#[async_trait]
impl Target for EnvironmentTarget {
    fn label(&self) -> String {
        "environment".to_owned()
    }

    async fn accepted_in_force(&self) -> Result<Accepts, Fault> {
        self.file.accepted_in_force().await
    }

    async fn value_in_force(&self) -> Result<SecretValue, Fault> {
        self.file.value_in_force().await
    }

    async fn processes(&self) -> Result<usize, Fault> {
        self.file.processes().await
    }

    async fn survey(&self, in_force: &Disclosed<'_>, health: Health, deadline: Instant) -> Result<Vec<Found>, Fault> {
        let found = self.file.survey(in_force, health, deadline).await?;
        if health == Health::Needed {
            self.look_into_a_session(in_force.primary).await?;
        }
        Ok(found)
    }

    async fn deliver(&self, errand: &Errand<'_>) -> Result<Vec<Noted>, Fault> {
        self.file.deliver(errand).await
    }

    fn exposes(&self) -> Option<String> {
        self.file.exposes()
    }

    async fn activate(&self, errand: &Errand<'_>) -> Result<Vec<Activated>, Fault> {
        let mut activated = self.file.activate(errand).await?;
        activated.retain(|did| !matches!(did, Activated::LeftAlone { .. }));
        activated.push(Activated::OpenSessionsKeepTheirs);
        Ok(activated)
    }

    async fn evidence(&self, errand: &Errand<'_>) -> Result<Vec<Evidence>, Fault> {
        let mut evidence = self.file.evidence(errand).await?;
        evidence.push(self.look_into_a_session(errand.view.primary).await?);
        Ok(evidence)
    }

    async fn is_still_there(&self, evidence: &[Evidence]) -> Result<(), Fault> {
        self.file.is_still_there(evidence).await
    }

    async fn look(&self, known: &Known<'_>) -> Result<Vec<Sighting>, Fault> {
        self.file.look(known).await
    }

    fn tidy(&self, keep: &View) {
        self.file.tidy(keep);
    }
}
