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
            let Some(one) = self.forgotten(state, but_for) else { return Ok(()) };
            if Instant::now() >= limit {
                let (pid, unit, user) = (one.pid, self.unit(&one.app), &self.settings.user);
                let message =
                    format!("process {pid} of {unit} is not in PM2's list any more, and goes on with what it had");
                return Err(Fault::new(code, message).advise(format!("end it, as {user}: kill {pid}")));
            }
            sleep(POLL).await;
            later = Some(self.state_when_up(limit).await?);
        }
    }

    fn forgotten<'a>(&'a self, state: &'a State, but_for: Option<&Disclosed<'_>>) -> Option<&'a Running> {
        let harmless = but_for.map(|view| hex::encode(digest(&state.key, view.primary.reveal())));
        let mut unlisted = self.settings.apps.iter().flat_map(|app| state.unlisted(app));
        unlisted.find(|one| !shows(one, harmless.as_deref()))
    }
}

fn shows(one: &Running, digest: Option<&str>) -> bool {
    digest.is_some() && is_same_digest(one.values.first().and_then(Option::as_deref), digest)
}
