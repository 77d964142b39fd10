//! `release`: ending a hold, that of one secret or that of a machine which is a copy of another.

use clap::Args;

use super::acting::act;
use super::exit::for_root;
use super::standalone::{Do, Here};
use super::{Exit, Out, daemon};
use crate::dbus::rekeyd1::Error;

/// `rekeyctl release`.
#[derive(Debug, Args)]
pub struct Release {
    /// The secret
    #[arg(required_unless_present_any = ["clone", "standalone"], conflicts_with = "standalone")]
    name: Option<String>,
    /// On a copy of another machine: set the store of that one aside, and begin a new one
    #[arg(long, conflicts_with_all = ["name", "standalone"])]
    clone: bool,
    #[command(flatten)]
    here: Here,
}

impl Release {
    pub(super) async fn run(self, out: &Out) -> Exit {
        if self.here.standalone {
            return self.here.run(out, Do::Release).await;
        }
        let done: Result<String, Error> = async {
            let daemon = daemon().await?;
            let Some(name) = &self.name else {
                let aside = daemon.begin_anew().await.map_err(for_root)?;
                return Ok(format!("the other machine's store is now {aside}\nnext: rekeyctl adopt --all"));
            };
            let () = act(&daemon, "Release", &(name,)).await?;
            Ok(format!("{name}: released; rekeyctl verify {name} says how it stands"))
        }
        .await;
        match done {
            Ok(_) if out.json => {}
            Ok(text) => out.text(&text),
            Err(error) => return out.error(&error),
        }
        Exit::Done
    }
}
