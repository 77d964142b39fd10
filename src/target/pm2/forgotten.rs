//! Processes that PM2 does not know any more. It loses one at times, as after reloads of an app that ends again and again:
//! that one goes on serving with what it had, through every later reload.

use tokio::time::{Instant, sleep};

use super::Pm2Target;
use super::daemon::{POLL, State};
use crate::helper::Running;
use crate::rotation::{Fault, FaultCode};
use crate::secret::{digest, is_same_digest};
use crate::target::Disclosed;

impl Pm2Target {
    /// Whether all processes of the apps are in PM2's list. Those that are just ending are waited for; one that shows the
    /// value of the view `but_for` does no harm for now.
    pub(super) async fn check_forgotten(
        &self,
        state: &State,
        but_for: Option<&Disclosed<'_>>,
        code: FaultCode,
        limit: Instant,
    ) -> Result<(), Fault> {
        let mut later = None;
        loop {
            let state = later.as_ref().unwrap_or(state);
            let forgotten = self.forgotten(state, but_for);
            if forgotten.is_empty() {
                return Ok(());
            }
            if Instant::now() >= limit {
                // One that PM2 has replaced meanwhile is in neither its list nor among the processes.
                let now = self.ask(&[], &state.key, false).await?.running;
                let forgotten: Vec<_> =
                    forgotten.into_iter().filter(|one| now.iter().any(|it| it.pid == one.pid)).collect();
                return forgotten.first().map_or(Ok(()), |first| Err(self.tell(&forgotten, &first.app, code)));
            }
            sleep(POLL).await;
            later = Some(self.state_when_up(limit).await?);
        }
    }

    fn tell(&self, forgotten: &[&Running], app: &str, code: FaultCode) -> Fault {
        let pids: Vec<_> = forgotten.iter().map(|one| one.pid.to_string()).collect();
        let (processes, are, go, it, had) = match pids.len() {
            1 => ("process", "is", "goes", "it", "it had"),
            _ => ("processes", "are", "go", "them", "they had"),
        };
        let (all, unit) = (pids.join(", "), self.unit(app));
        let message =
            format!("{processes} {all} of {unit} {are} not in PM2's list any more, and {go} on with what {had}");
        Fault::new(code, message).advise(format!("end {it}, as {}: kill {}", self.settings.user, pids.join(" ")))
    }

    fn forgotten<'a>(&'a self, state: &'a State, but_for: Option<&Disclosed<'_>>) -> Vec<&'a Running> {
        let harmless = but_for.map(|view| hex::encode(digest(&state.key, view.primary.reveal())));
        let unlisted = self.settings.apps.iter().flat_map(|app| state.unlisted(app));
        unlisted.filter(|one| !shows(one, harmless.as_deref())).collect()
    }
}

fn shows(one: &Running, digest: Option<&str>) -> bool {
    digest.is_some() && is_same_digest(one.values.first().and_then(Option::as_deref), digest)
}
