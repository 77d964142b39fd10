//! `check --online`: what the hosting platforms say, asked as a rotation would ask before it touches anything.

use serde::Serialize;

use super::{Exit, Out};
use crate::config::{Loaded, TargetSettings};
use crate::record::text::fault_in_words;
use crate::target::hosting;

/// What a platform says of a secret.
#[derive(Serialize)]
pub(super) struct Seen {
    secret: String,
    target: String,
    /// Whether nothing speaks against it.
    well: bool,
    what: Vec<String>,
}

/// Asks all platforms of all secrets, with the tokens that are configured.
pub(super) async fn online(out: &Out, loaded: &Loaded) -> (Vec<Seen>, Exit) {
    let (mut all, mut worst) = (Vec::new(), Exit::Done);
    for (name, settings) in &loaded.settings.secrets {
        for target in &settings.targets {
            let TargetSettings::Hosting(hosting) = target else { continue };
            let (well, what) = match hosting::inspect(settings, hosting).await {
                Ok(lines) => (true, lines),
                Err(fault) => (false, vec![fault_in_words(&fault)]),
            };
            if !out.json && well {
                let lines: Vec<String> = what.iter().map(|line| format!("\n  {line}")).collect();
                out.text(&format!("{name}: {}:{}", hosting.label(), lines.concat()));
            } else if !out.json {
                out.note(&format!("{name}: {}", what.concat()));
            }
            worst = worst.worse(if well { Exit::Done } else { Exit::Refused });
            all.push(Seen { secret: name.to_string(), target: hosting.label(), well, what });
        }
    }
    (all, worst)
}
