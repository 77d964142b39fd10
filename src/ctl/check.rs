//! `check`: the configuration, without the daemon; with `--host`, what this host says to it; with `--online`, what hosting
//! platforms say.

use std::path::PathBuf;
use std::process::Command;

use clap::Args;
use serde::Serialize;

use super::online::online;
use super::out::in_words;
use super::{Exit, Out, counted, daemon, document};
use crate::config::{self, Dirs, Loaded, SecretSettings, TargetSettings};
use crate::dbus::rekeyd1::{Error, ManagerProxy, SecretStatus};
use crate::dbus::systemd1::Systemd;
use crate::engine::Forecast;

/// `rekeyctl check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Files to check; the configuration of this host where none is named
    files: Vec<PathBuf>,
    /// Also ask this host: units, paths, and the schedules' calendar expressions
    #[arg(long)]
    host: bool,
    /// Also ask the hosting platforms: whether token, ids and variables are there, and what would happen. Touches nothing
    #[arg(long)]
    online: bool,
}

impl Check {
    pub(super) async fn run(self, out: &Out) -> Exit {
        let loaded =
            if self.files.is_empty() { config::load(&Dirs::default()) } else { config::check_files(&self.files) };
        let mistakes: Vec<String> = loaded.findings.iter().map(config::Finding::one_line).collect();
        let is_more = self.host || self.online;
        if out.json && !is_more {
            out.document(&mistakes);
        } else if !out.json && !loaded.findings.is_empty() {
            out.text(&config::render(&loaded.findings, out.color()));
        }
        if loaded.is_valid() && !out.json {
            out.text(&format!("{}, no mistakes", counted(loaded.settings.secrets.len())));
        }
        let (mut said, mut seen) = (Vec::new(), Vec::new());
        let mut worst = if loaded.is_valid() { Exit::Done } else { Exit::Configuration };
        if self.host && loaded.is_valid() {
            let (of_host, exit) = host(out, &loaded).await;
            (said, worst) = (of_host, worst.worse(exit));
        }
        if self.online && loaded.is_valid() {
            let (of_platforms, exit) = online(out, &loaded).await;
            (seen, worst) = (of_platforms, worst.worse(exit));
        }
        if out.json && is_more {
            let mut document = serde_json::json!({ "mistakes": mistakes });
            if self.host {
                document["host"] = serde_json::json!(said);
            }
            if self.online {
                document["online"] = serde_json::json!(seen);
            }
            out.document(&document);
        }
        worst
    }
}

/// What the host says of a secret.
#[derive(Serialize)]
struct Said {
    secret: String,
    /// Whether nothing speaks against it.
    well: bool,
    what: String,
}

/// Asks the daemon what it would say to a rotation of each secret: it has the rights to look everywhere.
async fn host(out: &Out, loaded: &Loaded) -> (Vec<Said>, Exit) {
    let daemon = match daemon().await {
        Ok(daemon) => daemon,
        Err(error) => return (Vec::new(), out.error(&error)),
    };
    let (mut all, mut worst) = (Vec::new(), Exit::Done);
    for (name, settings) in &loaded.settings.secrets {
        let mut told = Vec::new();
        for (_, calendar) in settings.calendars() {
            if let Err(problem) = calendar_is_valid(calendar) {
                told.push((Exit::Configuration, format!("{}: {problem}", settings.file.display())));
            }
        }
        match stands(&daemon, settings).await {
            Ok(text) => told.push((Exit::Done, text)),
            // Whoever may not look is told so once.
            Err(Error::Bus(error)) => return (all, out.error(&Error::Bus(error))),
            Err(error) => told.push((Exit::from(&error), in_words(&error))),
        }
        for (exit, what) in told {
            let well = exit == Exit::Done;
            if !out.json && well {
                out.text(&format!("{name}: {what}"));
            } else if !out.json {
                out.note(&format!("{name}: {what}"));
            }
            worst = worst.worse(exit);
            all.push(Said { secret: name.to_string(), well, what });
        }
    }
    (all, worst)
}

/// How a secret stands on this host, where nothing speaks against rotating it.
async fn stands(daemon: &ManagerProxy<'_>, settings: &SecretSettings) -> Result<String, Error> {
    let name = settings.name.as_str();
    let next = match daemon.get_secret(name).await {
        Err(Error::UnknownSecret(_)) => "not in force yet; next: rekeyctl reload".to_owned(),
        status => match document::<SecretStatus>(&status?)? {
            status if status.state == "not-adopted" => format!("not adopted yet; next: rekeyctl adopt {name}"),
            _ => {
                let forecast: Forecast = document(&daemon.forecast(name, vec!["on-disk".to_owned()]).await?)?;
                let edited = if forecast.is_edited { "; edited since: rekeyctl reload puts it in force" } else { "" };
                return Ok(format!("ready to be rotated{edited}"));
            }
        },
    };
    // Preflight says more, and needs the value in force.
    let systemd = Systemd::default();
    let units = settings.targets.iter().flat_map(TargetSettings::units);
    // A template cannot be loaded itself.
    for unit in units.filter(|unit| !unit.contains("@.")) {
        let status = systemd.unit(unit).await.map_err(|error| Error::Failed(error.to_string()))?;
        if matches!(status.load_state.as_str(), "not-found" | "masked" | "bad-setting" | "error") {
            let of_a_user = match status.load_state.as_str() {
                "not-found" => "; a unit of a user's own service manager (systemctl --user) cannot be rotated",
                _ => "",
            };
            let state = &status.load_state;
            return Err(Error::Refused(format!("{unit} is {state}; see systemctl status {unit}{of_a_user}")));
        }
    }
    Ok(next)
}

/// systemd parses calendars; nobody else does.
pub(super) fn calendar_is_valid(expression: &str) -> Result<(), String> {
    let ran = Command::new("/usr/bin/systemd-analyze").args(["calendar", "--", expression]).output();
    match ran {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(format!("cannot run systemd-analyze: {error}")),
    }
}
