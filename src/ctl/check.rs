//! `check`: the configuration, without the daemon; with `--host`, what this host says to it.

use std::path::PathBuf;
use std::process::Command;

use clap::Args;

use super::{Exit, Out, counted, daemon, document};
use crate::config::{self, Dirs, Loaded};
use crate::dbus::rekeyd1::{Error, ManagerProxy, SecretStatus};

/// `rekeyctl check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Files to check; the configuration of this host where none is named
    files: Vec<PathBuf>,
    /// Also ask this host: units, paths, and the schedules' calendar expressions
    #[arg(long)]
    host: bool,
}

impl Check {
    pub(super) async fn run(self, out: &Out) -> Exit {
        let loaded =
            if self.files.is_empty() { config::load(&Dirs::default()) } else { config::check_files(&self.files) };
        if out.json {
            out.document(&loaded.findings.iter().map(config::Finding::one_line).collect::<Vec<_>>());
        } else if !loaded.findings.is_empty() {
            out.text(&config::render(&loaded.findings, out.color()));
        }
        if !loaded.is_valid() {
            return Exit::Configuration;
        }
        if !out.json {
            out.text(&format!("{}, no mistakes", counted(loaded.settings.secrets.len())));
        }
        if self.host { host(out, &loaded).await } else { Exit::Done }
    }
}

/// Asks the daemon what it would say to a rotation of each secret: it has the rights to look everywhere.
async fn host(out: &Out, loaded: &Loaded) -> Exit {
    let daemon = match daemon().await {
        Ok(daemon) => daemon,
        Err(error) => return out.error(&error),
    };
    let mut worst = Exit::Done;
    for (name, settings) in &loaded.settings.secrets {
        for calendar in settings.schedule.iter().flat_map(|schedule| &schedule.on_calendar) {
            if let Err(problem) = calendar_is_valid(calendar) {
                worst = worst.worse(out.fail(Exit::Configuration, &format!("{}: {problem}", settings.file.display())));
            }
        }
        match stands(&daemon, name.as_str()).await {
            Ok(text) => out.text(&format!("{name}: {text}")),
            Err(error) => worst = worst.worse(out.error(&error)),
        }
    }
    worst
}

/// How a secret stands on this host, where nothing speaks against rotating it.
async fn stands(daemon: &ManagerProxy<'_>, name: &str) -> Result<String, Error> {
    let status: SecretStatus = match daemon.get_secret(name).await {
        Err(Error::UnknownSecret(_)) => return Ok("not in force yet; next: rekeyctl reload".to_owned()),
        status => document(&status?)?,
    };
    if status.state == "not-adopted" {
        return Ok(format!("not adopted yet; next: rekeyctl adopt {name}"));
    }
    daemon.forecast(name).await?;
    Ok("ready to be rotated".to_owned())
}

/// systemd parses calendars; nobody else does.
fn calendar_is_valid(expression: &str) -> Result<(), String> {
    let ran = Command::new("/usr/bin/systemd-analyze").args(["calendar", "--", expression]).output();
    match ran {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(format!("cannot run systemd-analyze: {error}")),
    }
}
