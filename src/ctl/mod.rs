//! `rekeyctl`: the hand tool. One file a verb; this one has what they share.

use std::process::ExitCode;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{CommandFactory as _, Parser, Subcommand};
use serde::de::DeserializeOwned;

use crate::config;
use crate::dbus::rekeyd1::{Error, ManagerProxy};

mod acting;
mod adopt;
mod audit;
mod check;
mod descriptor;
mod doctor;
mod exit;
mod follow;
mod forecast;
mod forget;
mod generate;
mod history;
mod key;
mod leaks;
mod list;
mod new;
mod notify;
mod online;
mod out;
mod release;
mod reload;
mod reveal;
mod rotate;
mod schedule;
mod standalone;
mod status;
mod verify;

pub use exit::Exit;
use out::Out;
use standalone::{Do, Here};

/// Rotates the secrets that running services depend on, and proves it.
#[derive(Debug, Parser)]
#[command(name = "rekeyctl", version, max_term_width = 100)]
pub struct Arguments {
    /// Print JSON instead of text; a line a step while following a rotation
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Verb {
    /// List the secrets: generation, age, next rotation, last outcome
    List,
    /// Show one secret, or all, in full
    Status {
        /// The secret
        #[arg(conflicts_with = "standalone")]
        name: Option<String>,
        #[command(flatten)]
        here: Here,
    },
    /// Rotate secrets now, and follow each to its end
    Rotate(rotate::Rotate),
    /// Go back to the previous value, and follow it to its end
    Rollback(rotate::Rollback),
    /// End the overlap now: only one value is accepted any more
    Retire(rotate::Retire),
    /// Show past rotations with their evidence
    History {
        /// The secret; all where it is left out
        #[arg(conflicts_with = "standalone")]
        name: Option<String>,
        /// Show only this rotation
        #[arg(long, value_name = "ID")]
        rotation: Option<String>,
        #[command(flatten)]
        here: Here,
    },
    /// Verify the chain of records, hold it against the journal, and report every rotation
    Audit {
        /// The secret; all where it is left out
        name: Option<String>,
        /// Report only this rotation
        #[arg(long, value_name = "ID")]
        rotation: Option<String>,
    },
    /// Take over the value in force, restarting nothing
    Adopt(adopt::Adopt),
    /// Gather the proof for the value in force, now
    Verify {
        /// The secret
        #[arg(required_unless_present = "standalone", conflicts_with = "standalone")]
        name: Option<String>,
        #[command(flatten)]
        here: Here,
    },
    /// Stop the schedule of a secret
    Pause {
        /// The secret
        name: String,
    },
    /// Let the schedule of a secret go on
    Resume {
        /// The secret
        name: String,
    },
    /// End a hold
    Release(release::Release),
    /// Let go of a secret: the services keep the value that they have
    Forget {
        /// The secret
        name: String,
    },
    /// Write the value of a generation to a descriptor; for root, and recorded
    Reveal {
        /// The secret
        name: String,
        /// Which generation; the one in force where it is left out
        #[arg(long, value_name = "N")]
        generation: Option<u32>,
        /// Where to write it: a descriptor that the shell has opened, and no terminal
        #[arg(long, value_name = "N")]
        to_fd: u32,
    },
    /// Search this host for the values: files, processes, the journal; for root, and recorded
    Leaks {
        /// The secret
        name: String,
    },
    /// Keep, restore or renew the key that the store's values are sealed with; for root
    #[command(subcommand)]
    Key(key::Key),
    /// Say what is wrong here, and what to type next
    Doctor,
    /// Write a new secret into an env file, and nowhere else; without the daemon and without being root
    Generate(generate::Generate),
    /// Check the configuration, without the daemon and without being root
    Check(check::Check),
    /// Print a commented starting file for a kind of target
    New {
        /// The kind of target
        #[arg(value_parser = PossibleValuesParser::new(config::kinds()))]
        kind: String,
    },
    /// Send a notification that says that it is a test
    Notify,
    /// Put the configuration on disk in force, with its schedules
    Reload,
}

/// Every verb with its options that are not hidden: what the manual must have.
pub fn verbs() -> Vec<(String, Vec<String>)> {
    let options = |verb: &clap::Command| {
        let shown = verb.get_arguments().filter(|argument| !argument.is_hide_set());
        shown.filter_map(|argument| argument.get_long().map(str::to_owned)).collect()
    };
    let command = Arguments::command();
    let both = command.get_subcommands().flat_map(|verb| std::iter::once(verb).chain(verb.get_subcommands()));
    both.map(|verb| (verb.get_name().to_owned(), options(verb))).collect()
}

/// Runs the command line.
pub fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            // `--help` and `--version` come this way too.
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    let out = Out::new(arguments.json);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return out.fail(Exit::Unreachable, &format!("cannot start: {error}")).into(),
    };
    let exit = runtime.block_on(perform(arguments.verb, &out));
    out.end(exit).into()
}

async fn perform(verb: Verb, out: &Out) -> Exit {
    match verb {
        Verb::Generate(generate) => generate.run(out),
        Verb::Check(check) => check.run(out).await,
        Verb::New { kind } => new::run(out, &kind),
        Verb::List => list::run(out).await,
        Verb::Status { here, .. } if here.standalone => here.run(out, Do::Status).await,
        Verb::Status { name, .. } => status::run(out, name.as_deref()).await,
        Verb::Rotate(rotate) => rotate.run(out).await,
        Verb::Rollback(rollback) => rollback.run(out).await,
        Verb::Retire(retire) => retire.run(out).await,
        Verb::History { rotation, here, .. } if here.standalone => {
            here.run(out, Do::History(rotation.as_deref())).await
        }
        Verb::History { name, rotation, .. } => history::run(out, name.as_deref(), rotation.as_deref()).await,
        Verb::Audit { name, rotation } => audit::run(out, name.as_deref(), rotation.as_deref()).await,
        Verb::Adopt(adopt) => adopt.run(out).await,
        Verb::Verify { here, .. } if here.standalone => here.run(out, Do::Verify).await,
        Verb::Verify { name, .. } => verify::run(out, &name.unwrap_or_default()).await,
        Verb::Pause { name } => schedule::pause(out, &name).await,
        Verb::Resume { name } => schedule::resume(out, &name).await,
        Verb::Release(release) => release.run(out).await,
        Verb::Forget { name } => forget::run(out, &name).await,
        Verb::Reveal { name, generation, to_fd } => reveal::run(out, &name, generation, to_fd).await,
        Verb::Leaks { name } => leaks::run(out, &name).await,
        Verb::Key(key) => key.run(out).await,
        Verb::Doctor => doctor::run(out).await,
        Verb::Notify => notify::run(out).await,
        Verb::Reload => reload::run(out).await,
    }
}

/// The daemon, over the system bus, which starts it where it does not run.
async fn daemon() -> Result<ManagerProxy<'static>, Error> {
    let connection = zbus::connection::Builder::system().method_timeout(Duration::from_secs(24 * 3600)).build().await?;
    Ok(ManagerProxy::builder(&connection).cache_properties(zbus::proxy::CacheProperties::No).build().await?)
}

/// A document that the daemon sent.
fn document<T: DeserializeOwned>(json: &str) -> Result<T, Error> {
    serde_json::from_str(json).map_err(|error| Error::Failed(format!("the daemon is of another version: {error}")))
}

/// So many secrets.
fn counted(secrets: usize) -> String {
    if secrets == 1 { "1 secret".to_owned() } else { format!("{secrets} secrets") }
}
