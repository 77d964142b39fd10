//! `adopt`: taking over the value in force.

use clap::Args;
use serde_json::Value;

use super::acting::act;
use super::list::statuses;
use super::out::not_done;
use super::standalone::{Do, Here};
use super::{Exit, Out, daemon, document};
use crate::dbus::rekeyd1::{Error, ManagerProxy, SecretStatus};
use crate::engine::Adoption;
use crate::record::NewValue;
use crate::record::text::WEAK;

/// `rekeyctl adopt`.
#[derive(Debug, Args)]
pub struct Adopt {
    /// The secret
    #[arg(required_unless_present_any = ["all", "standalone"], conflicts_with = "standalone")]
    name: Option<String>,
    /// Every secret whose value in force the store does not know
    #[arg(long, conflicts_with_all = ["name", "standalone"])]
    all: bool,
    #[command(flatten)]
    here: Here,
}

impl Adopt {
    pub(super) async fn run(self, out: &Out) -> Exit {
        if self.here.standalone {
            return self.here.run(out, Do::Adopt).await;
        }
        let names = match self.name {
            Some(name) => Ok(vec![name]),
            None => statuses().await.map(unknown),
        };
        let (names, daemon) = match (names, daemon().await) {
            (Ok(names), Ok(daemon)) => (names, daemon),
            (Err(error), _) | (_, Err(error)) => return out.error(&error),
        };
        if names.is_empty() && !out.json {
            out.text("nothing to do: the value in force of every secret is known");
        }
        let mut worst = Exit::Done;
        let mut documents = Vec::new();
        for name in names {
            let adopted = adopt(&daemon, &name).await;
            if out.json {
                documents.push(match &adopted {
                    Ok(adoption) => document_of(&name, adoption),
                    Err(error) => not_done(&name, error),
                });
            }
            worst = worst.worse(match adopted {
                Ok(_) if out.json => Exit::Done,
                Ok(adoption) => {
                    tell(out, &name, &adoption);
                    Exit::Done
                }
                Err(error) => {
                    if self.all {
                        out.note(&format!("{name}:"));
                    }
                    out.error(&error)
                }
            });
        }
        match documents.as_slice() {
            [only] if !self.all => out.document(only),
            all if out.json => out.document(&all),
            _ => {}
        }
        worst
    }
}

fn unknown(statuses: Vec<SecretStatus>) -> Vec<String> {
    let unknown =
        statuses.into_iter().filter(|status| matches!(status.state.as_str(), "not-adopted" | "outdated" | "locked"));
    unknown.map(|status| status.name).collect()
}

async fn adopt(daemon: &ManagerProxy<'_>, name: &str) -> Result<Adoption, Error> {
    let adopted: String = act(daemon, "Adopt", &(name,)).await?;
    document(&adopted)
}

fn document_of(name: &str, adoption: &Adoption) -> Value {
    let mut document = serde_json::to_value(adoption).unwrap_or_default();
    document["secret"] = name.into();
    document
}

pub(super) fn tell(out: &Out, name: &str, adoption: &Adoption) {
    let Adoption { generation, fingerprint, new, weak, open, accepted } = adoption;
    match new {
        _ if out.json => out.document(&document_of(name, adoption)),
        true => {
            out.text(&format!("{name}: the value in force is generation {generation}, fingerprint {fingerprint}"));
            out.text(&format!("nothing was restarted; rotate it with: rekeyctl rotate {name}"));
        }
        false => out.text(&format!("{name}: nothing to do, the value in force is generation {generation} already")),
    }
    for NewValue { generation, fingerprint } in accepted.iter().filter(|_| !out.json) {
        out.text(&format!(
            "{name}: generation {generation}, fingerprint {fingerprint}, is still accepted besides; rekeyctl retire {name} ends that"
        ));
    }
    for why in weak.then(|| WEAK.to_owned()).iter().chain(open).filter(|_| !out.json) {
        out.note(&format!("{name}: {why}: rotate it soon, rekeyctl rotate {name}"));
    }
}
