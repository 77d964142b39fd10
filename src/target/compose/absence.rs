//! Docker's engine may be away for a while, as when its package is upgraded: in the middle of a movement it is waited for,
//! since without it neither the way there nor the way back has an end.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::ComposeTarget;
use crate::rotation::{Fault, FaultCode};
use crate::sys::docker::EngineError;
use crate::target::Errand;

/// How often it is asked.
const POLL: Duration = Duration::from_millis(200);
/// While it is on its way, systemd's socket takes questions that nobody answers yet.
const ANSWER: Duration = Duration::from_secs(2);
/// So long before the deadline it is said that it has not come back: at the deadline itself nobody could say why.
const BEFORE: Duration = Duration::from_secs(1);
/// How often in turn what failed for want of an answer is done again, where the engine is there at the next question.
const AGAIN: u32 = 3;

impl ComposeTarget {
    /// Does what a movement asks for, and does it again where the engine was away meanwhile and has come back.
    pub(super) async fn despite_absence<T, F>(
        &self,
        errand: &Errand<'_>,
        act: impl Fn() -> F + Send + Sync,
    ) -> Result<T, Fault>
    where
        T: Send,
        F: Future<Output = Result<T, Fault>> + Send,
    {
        if errand.mark.is_empty() {
            // Who only looks, and moves nothing, says at once that nobody answers.
            return act().await;
        }
        let mut again = 0;
        loop {
            let fault = match act().await {
                // Compose fails without it, and in words of its own.
                Err(fault) if matches!(fault.code, FaultCode::EngineUnreachable | FaultCode::ToolFailed) => fault,
                other => return other,
            };
            if self.was_away(errand).await? {
                again = 0;
                continue;
            }
            again += 1;
            if fault.code == FaultCode::ToolFailed || again > AGAIN {
                return Err(fault);
            }
            sleep(POLL).await;
        }
    }

    /// Waits for the engine; whether that was needed.
    async fn was_away(&self, errand: &Errand<'_>) -> Result<bool, Fault> {
        let began = Instant::now();
        let until = errand.deadline.checked_sub(BEFORE).unwrap_or(errand.deadline);
        let mut is_told = false;
        loop {
            let why = match timeout(ANSWER, self.engine.about()).await {
                Ok(Err(EngineError::Away { why, .. })) => why,
                Err(_) => "it is slow to answer, or on its way".to_owned(),
                Ok(_) => break,
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let message = format!(
                    "Docker's engine does not answer ({why}), and did not come back in the {} s until the rotation's \
                     deadline",
                    began.elapsed().as_secs()
                );
                return Err(Fault::new(FaultCode::EngineUnreachable, message).advise(
                    "see why, and start it: systemctl status docker.socket docker.service; how long it is waited for \
                     says [rotation] deadline",
                ));
            }
            if !is_told {
                errand.report.progress(&format!(
                    "{}: waiting for Docker's engine, which does not answer ({why}): for {} s at the most",
                    self.name(),
                    left.as_secs().max(1)
                ));
                is_told = true;
            }
            sleep(POLL.min(left)).await;
        }
        if is_told {
            let took = began.elapsed().as_secs_f64();
            errand.report.progress(&format!("{}: Docker's engine answers again, after {took:.1} s", self.name()));
        }
        Ok(is_told)
    }

    fn name(&self) -> String {
        format!("compose {}", self.settings.directory.display())
    }
}
