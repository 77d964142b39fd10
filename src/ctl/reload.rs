//! `reload`: the configuration on disk, put in force.

use super::acting::act;
use super::{Exit, Out, counted, daemon, document};
use crate::dbus::rekeyd1::{Error, Reloaded};

pub(super) async fn run(out: &Out) -> Exit {
    let reloaded: Result<Reloaded, Error> = async {
        let reloaded: String = act(&daemon().await?, "Reload", &()).await?;
        document(&reloaded)
    }
    .await;
    match reloaded {
        Ok(reloaded) if out.json => out.document(&reloaded),
        Ok(reloaded) => {
            out.text(&format!("in force: {}", counted(reloaded.secrets)));
            reloaded.started.iter().for_each(|timer| out.text(&format!("started {timer}")));
            reloaded.stopped.iter().for_each(|timer| out.text(&format!("stopped {timer}")));
            reloaded.warnings.iter().for_each(|warning| out.text(warning));
        }
        Err(error) => return out.error(&error),
    }
    Exit::Done
}
