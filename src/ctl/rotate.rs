//! `rotate`, `rollback`, `retire`: start and follow, or say what would happen.

use clap::Args;

use super::acting::act;
use super::follow::{follow, follow_scheduled};
use super::forecast::forecast;
use super::standalone::{Do, Here};
use super::{Exit, Out, daemon};
use crate::dbus::rekeyd1::{Error, ManagerProxy, RotateFlags};
use crate::dbus::rights::check_words;
use crate::standalone::Wish;

/// `rekeyctl rotate`.
#[derive(Debug, Args)]
pub struct Rotate {
    /// The secrets, one after the other
    #[arg(required_unless_present = "standalone", conflicts_with = "standalone", value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    here: Here,
    /// Touch nothing: do the preflight and print what a rotation would do
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    how: How,
    /// Without an overlap: the old value dies at the restart
    #[arg(long)]
    emergency: bool,
    /// The first value, where the one in force is not known: nothing can be put back if it fails
    #[arg(long, conflicts_with_all = ["emergency", "dry_run"])]
    initial: bool,
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
    #[arg(required_unless_present = "standalone", conflicts_with = "standalone")]
    name: Option<String>,
    #[command(flatten)]
    here: Here,
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
    #[arg(required_unless_present = "standalone", conflicts_with = "standalone")]
    name: Option<String>,
    #[command(flatten)]
    here: Here,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
struct How {
    /// Why, for the records and the journal
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true, value_parser = reason)]
    reason: String,
    /// Return as soon as it is accepted
    #[arg(long, conflicts_with_all = ["wait", "standalone"])]
    no_wait: bool,
    /// Where a consumer is being moved by another rotation, wait for it instead of failing with 75
    #[arg(long, conflicts_with = "standalone")]
    wait: bool,
}

/// A reason as the daemon takes it.
fn reason(text: &str) -> Result<String, String> {
    match check_words("", text, &[]) {
        Ok(()) => Ok(text.to_owned()),
        Err(Error::Failed(why)) => Err(why),
        Err(other) => Err(other.to_string()),
    }
}

impl Rotate {
    pub(super) async fn run(self, out: &Out) -> Exit {
        if self.here.standalone {
            let what = match self.dry_run {
                true => Do::Forecast { emergency: self.emergency },
                false => Do::Perform(Wish::Rotate { emergency: self.emergency }, &self.how.reason),
            };
            return self.here.run(out, what).await;
        }
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
        // A name that is mistyped is found before any other is rotated.
        if let [_, _, ..] = names[..] {
            for name in &names {
                if let Err(error @ Error::UnknownSecret(_)) = daemon.get_secret(name).await {
                    out.note("nothing was begun");
                    return out.error_of(name, &error);
                }
            }
        }
        for (done, name) in names.iter().enumerate() {
            let ended =
                if self.dry_run { self.foretold(out, &daemon, name).await } else { self.one(out, &daemon, name).await };
            worst = worst.worse(ended.unwrap_or_else(|error| out.error_of(name, &error)));
            if let (Exit::Interrupted, [_, ..]) = (worst, &names[done + 1..]) {
                let left: Vec<&str> = names[done + 1..].iter().map(|name| name.as_str()).collect();
                out.note(&format!("not begun: {}", left.join(", ")));
                break;
            }
        }
        worst
    }

    async fn foretold(&self, out: &Out, daemon: &ManagerProxy<'_>, name: &str) -> Result<Exit, Error> {
        let flags = RotateFlags { emergency: self.emergency, ..RotateFlags::default() };
        forecast(out, daemon, name, flags).await
    }

    async fn one(&self, out: &Out, daemon: &ManagerProxy<'_>, name: &str) -> Result<Exit, Error> {
        let flags = RotateFlags {
            wait: self.how.wait,
            scheduled: self.scheduled,
            retry: self.retry,
            emergency: self.emergency,
            initial: self.initial,
            follow: !self.how.no_wait,
        };
        let arguments = (name, &self.how.reason, flags.names());
        let start = || act(daemon, "Rotate", &arguments);
        match self.scheduled && !self.how.no_wait {
            true => follow_scheduled(out, daemon, name, "rotating", start).await,
            false => follow(out, daemon, name, "rotating", self.how.no_wait, start()).await,
        }
    }
}

impl Rollback {
    pub(super) async fn run(self, out: &Out) -> Exit {
        if self.here.standalone {
            return self.here.run(out, Do::Perform(Wish::Rollback, &self.how.reason)).await;
        }
        let name = self.name.unwrap_or_default();
        let flags = RotateFlags { wait: self.how.wait, follow: !self.how.no_wait, ..RotateFlags::default() };
        let done = async {
            let daemon = daemon().await?;
            let arguments = (&name, &self.how.reason, flags.names());
            let start = act(&daemon, "Rollback", &arguments);
            follow(out, &daemon, &name, "rolling back", self.how.no_wait, start).await
        };
        done.await.unwrap_or_else(|error| out.error_of(&name, &error))
    }
}

impl Retire {
    pub(super) async fn run(self, out: &Out) -> Exit {
        if self.here.standalone {
            return self.here.run(out, Do::Perform(Wish::Retire, &self.how.reason)).await;
        }
        let name = self.name.unwrap_or_default();
        let flags = RotateFlags {
            wait: self.how.wait,
            scheduled: self.scheduled,
            follow: !self.how.no_wait,
            ..RotateFlags::default()
        };
        let done = async {
            let daemon = daemon().await?;
            let arguments = (&name, &self.how.reason, flags.names());
            let start = || act(&daemon, "Retire", &arguments);
            match self.scheduled && !self.how.no_wait {
                true => follow_scheduled(out, &daemon, &name, "ending the overlap of", start).await,
                false => follow(out, &daemon, &name, "ending the overlap of", self.how.no_wait, start()).await,
            }
        };
        done.await.unwrap_or_else(|error| out.error_of(&name, &error))
    }
}
