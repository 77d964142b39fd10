//! The engine's host where there is none: nothing is reloaded or armed, and who runs it is told.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc::UnboundedSender;

use crate::config::{HookSettings, SecretName};
use crate::engine::Host;
use crate::engine::act::{self, Of};
use crate::helper::ProcessHelper;
use crate::record::chain::Head;
use crate::record::{Hook, Record, RotationId, Standing, text};
use crate::rotation::{Fault, FaultCode};
use crate::sys::command::Runner;
use crate::target::Report;

/// What happens meanwhile.
pub enum Told {
    /// A record, and its line for people, where they need one.
    Record(Box<Record>, Option<String>),
    /// What goes on in a step.
    Progress(String),
}

pub(super) struct StandaloneHost {
    secret: SecretName,
    runner: Arc<dyn Runner>,
    tell: UnboundedSender<Told>,
}

impl StandaloneHost {
    pub fn new(secret: &SecretName, runner: Arc<dyn Runner>, tell: UnboundedSender<Told>) -> Self {
        Self { secret: secret.clone(), runner, tell }
    }
}

impl Report for StandaloneHost {
    fn progress(&self, line: &str) {
        // Nobody may listen any more.
        let _ = self.tell.send(Told::Progress(line.to_owned()));
    }
}

#[async_trait]
impl Host for StandaloneHost {
    async fn daemon_reload(&self, needed: bool) -> Result<(), Fault> {
        // No target that needs it gets through the configuration.
        let fault = || Fault::new(FaultCode::ReloadFailed, "there is no systemd here");
        if needed { Err(fault()) } else { Ok(()) }
    }

    async fn before_evidence(&self) {}

    async fn arm_dead_man(&self, _rotation: &RotationId) {}

    async fn disarm_dead_man(&self, _rotation: &RotationId) {}

    async fn going_down(&self) -> bool {
        false
    }

    fn goes_back(&self) {}

    async fn hook(&self, hook: Hook, settings: &HookSettings) -> Result<(), Fault> {
        act::run(&*self.runner, Of { secret: &self.secret, rotation: "" }, hook, settings).await
    }

    async fn check_hook(&self, hook: Hook, settings: &HookSettings) -> Result<(), Fault> {
        act::check(&ProcessHelper::here(), hook, settings).await
    }

    fn publish(&self, record: &Record, _head: &Head, standing: &Standing) {
        let _ = self.tell.send(Told::Record(Box::new(record.clone()), text::line(record, standing)));
    }
}
