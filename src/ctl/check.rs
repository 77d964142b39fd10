//! `check`: the configuration, without the daemon; with `--host`, what this host says to it.

use std::path::PathBuf;
use std::process::Command;

use clap::Args;

use super::{Exit, Out, daemon};
use crate::config::{self, Dirs, Loaded};

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
            out.text(&format!("{} secrets, no mistakes", loaded.settings.secrets.len()));
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
                worst = worst.max(out.fail(Exit::Configuration, &format!("{}: {problem}", settings.file.display())));
            }
        }
        match daemon.forecast(name.as_str()).await {
            Ok(_) => out.text(&format!("{name}: ready to be rotated")),
            Err(error) => worst = worst.max(out.error(&error)),
        }
    }
    worst
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
