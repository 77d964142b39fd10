//! `rotate`, `rollback`: start and follow, or say what would happen.

use clap::Args;

use super::acting::act;
use super::follow::follow;
use super::{Exit, Out, daemon, document};
use crate::dbus::rekeyd1::{Error, ManagerProxy, RotateFlags};
use crate::engine::Forecast;
use crate::record::text;

/// `rekeyctl rotate`.
#[derive(Debug, Args)]
pub struct Rotate {
    /// The secrets, one after the other
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Touch nothing: do the preflight and print what a rotation would do
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    how: How,
    /// Without an overlap: the old value dies at the restart
    #[arg(long)]
    emergency: bool,
    /// As the schedule's timer asks: paused is nothing to do
    #[arg(long, hide = true)]
    scheduled: bool,
    /// As the timer of a retry asks
    #[arg(long, hide = true, requires = "scheduled")]
    retry: bool,
}

/// `rekeyctl retire`.
#[derive(Debug, Args)]
pub struct Retire {
    /// The secret
    name: String,
    #[command(flatten)]
    how: How,
    /// As the timer asks: where the overlap is over already there is nothing to do
    #[arg(long, hide = true)]
    scheduled: bool,
}

/// `rekeyctl rollback`.
#[derive(Debug, Args)]
pub struct Rollback {
    /// The secret
    name: String,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
struct How {
    /// Why, for the records and the journal
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Return as soon as it is accepted
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
    /// Where a consumer is being moved by another rotation, wait for it instead of failing with 75
    #[arg(long)]
    wait: bool,
}

impl Rotate {
    pub(super) async fn run(self, out: &Out) -> Exit {
        let daemon = match daemon().await {
            Ok(daemon) => daemon,
            Err(error) => return out.error(&error),
        };
        let mut worst = Exit::Done;
        let mut names: Vec<&String> = Vec::new();
        self.names.iter().for_each(|name| {
            if !names.contains(&name) {
                names.push(name);
            }
        });
        for (done, name) in names.iter().enumerate() {
            let ended =
                if self.dry_run { forecast(out, &daemon, name).await } else { self.one(out, &daemon, name).await };
            worst = worst.worse(ended.unwrap_or_else(|error| out.error(&error)));
            if let (Exit::Interrupted, [_, ..]) = (worst, &names[done + 1..]) {
                let left: Vec<&str> = names[done + 1..].iter().map(|name| name.as_str()).collect();
                out.note(&format!("not begun: {}", left.join(", ")));
                break;
            }
        }
        worst
    }

    async fn one(&self, out: &Out, daemon: &ManagerProxy<'_>, name: &str) -> Result<Exit, Error> {
        let flags = RotateFlags {
            wait: self.how.wait,
            scheduled: self.scheduled,
            retry: self.retry,
            emergency: self.emergency,
            follow: !self.how.no_wait,
        };
        let arguments = (name, &self.how.reason, flags.names());
        let start = act(daemon, "Rotate", &arguments);
        follow(out, daemon, name, "rotating", self.how.no_wait, start).await
    }
}

impl Rollback {
    pub(super) async fn run(self, out: &Out) -> Exit {
        let flags = RotateFlags { wait: self.how.wait, follow: !self.how.no_wait, ..RotateFlags::default() };
        let done = async {
            let daemon = daemon().await?;
            let arguments = (&self.name, &self.how.reason, flags.names());
            let start = act(&daemon, "Rollback", &arguments);
            follow(out, &daemon, &self.name, "rolling back", self.how.no_wait, start).await
        };
        done.await.unwrap_or_else(|error| out.error(&error))
    }
}

impl Retire {
    pub(super) async fn run(self, out: &Out) -> Exit {
        let flags = RotateFlags {
            wait: self.how.wait,
            scheduled: self.scheduled,
            follow: !self.how.no_wait,
            ..RotateFlags::default()
        };
        let done = async {
            let daemon = daemon().await?;
            let arguments = (&self.name, &self.how.reason, flags.names());
            let start = act(&daemon, "Retire", &arguments);
            follow(out, &daemon, &self.name, "ending the overlap of", self.how.no_wait, start).await
        };
        done.await.unwrap_or_else(|error| out.error(&error))
    }
}

async fn forecast(out: &Out, daemon: &ManagerProxy<'_>, name: &str) -> Result<Exit, Error> {
    let forecast: Forecast = document(&daemon.forecast(name).await?)?;
    if out.json {
        out.document(&forecast);
    } else {
        out.text(&in_words(name, &forecast));
    }
    Ok(Exit::Done)
}

fn in_words(name: &str, forecast: &Forecast) -> String {
    let plan = &forecast.plan;
    let mut lines = vec![format!("{name}: a rotation would take the consumers {} → {}", plan.start(), plan.goal())];
    lines.extend(forecast.targets.iter().map(|target| format!("  deliver   {target}")));
    lines.push(match &forecast.reload {
        Some(reason) => format!("  reload    daemon-reload, because {reason}"),
        None => "  reload    none needed".to_owned(),
    });
    let restarts = plan.last_movement() + 1;
    let times = if restarts > 1 { format!(", {restarts} times") } else { String::new() };
    for found in &forecast.found {
        lines.push(if found.running {
            format!("  restart   {}{times}", found.unit)
        } else {
            format!("  restart   none: {} is stopped on purpose and stays so", found.unit)
        });
        lines
            .extend(found.dependents.iter().map(|unit| format!("  restart   {unit}, which depends on {}", found.unit)));
    }
    lines.extend(forecast.probes.iter().map(|probe| format!("  prove     {probe}")));
    lines.push(match plan.goal().accepted.first() {
        Some(old) => format!("  tokens    those of generation {old} stay accepted until the overlap is over"),
        None => "  tokens    those signed with the old value are refused after the restart".to_owned(),
    });
    lines.extend(forecast.evidence.iter().map(|evidence| format!("  now       {}", text::evidence_in_words(evidence))));
    lines.push("nothing was touched".to_owned());
    lines.join("\n")
}
