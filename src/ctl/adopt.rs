//! `adopt`: taking over the value in force.

use super::acting::act;
use super::{Exit, Out, daemon, document};
use crate::dbus::rekeyd1::Error;
use crate::engine::Adoption;

pub(super) async fn run(out: &Out, name: &str) -> Exit {
    let adopted: Result<Adoption, Error> = async {
        let adopted: String = act(&daemon().await?, "Adopt", &(name,)).await?;
        document(&adopted)
    }
    .await;
    match adopted {
        Ok(adoption) if out.json => out.document(&adoption),
        Ok(Adoption { generation, fingerprint, new: true }) => {
            out.text(&format!("{name}: the value in force is generation {generation}, fingerprint {fingerprint}"));
            out.text(&format!("nothing was restarted; rotate it with: rekeyctl rotate {name}"));
        }
        Ok(Adoption { generation, .. }) => {
            out.text(&format!("{name}: nothing to do, the value in force is generation {generation} already"));
        }
        Err(error) => return out.error(&error),
    }
    Exit::Done
}
