//! `--standalone`: in this process, for a developer's checkout.

use std::path::PathBuf;

use clap::Args;
use tokio::sync::mpsc::UnboundedReceiver;

use super::{Exit, Out, adopt, forecast, history, status, verify};
use crate::config::{self, SecretSettings};
use crate::daemon::summary;
use crate::record::text::fault_in_words;
use crate::record::{Happening, HookCame};
use crate::rotation::{Fault, FaultCode, Intent};
use crate::standalone::{self, NotBegun, Standalone, State, Stopped, Told, Unusable, Wish};
use crate::sys::process;

/// Where and what.
#[derive(Clone, Debug, Args)]
pub(super) struct Here {
    /// In this process, for a developer's checkout: without the daemon, systemd or root
    #[arg(long)]
    pub standalone: bool,
    /// The secret's file; paths in it begin where it is
    #[arg(long, value_name = "FILE", default_value = "rekeyd.toml", requires = "standalone")]
    config: PathBuf,
    /// What the secret is called, where it is not called as the file
    #[arg(id = "secret_name", long = "name", value_name = "NAME", requires = "standalone")]
    name: Option<String>,
    /// Where records and sealed values are kept [default: a directory in $XDG_STATE_HOME/rekeyd]
    #[arg(long, value_name = "DIR", requires = "standalone")]
    state_dir: Option<PathBuf>,
}

/// What to do.
pub(super) enum Do<'a> {
    /// Something that ends in an outcome.
    Perform(Wish, &'a str),
    /// Say what a rotation would do.
    Forecast { emergency: bool },
    /// Take over the value in force.
    Adopt,
    /// Gather the proof.
    Verify,
    /// End a hold.
    Release,
    /// Say how it stands.
    Status,
    /// Say what happened.
    History(Option<&'a str>),
}

struct Teller<'a> {
    out: &'a Out,
    here: &'a Here,
    name: String,
}

impl Here {
    /// Does it.
    pub(super) async fn run(&self, out: &Out, what: Do<'_>) -> Exit {
        if let Err(error) = process::hide_memory() {
            return out.fail(Exit::Refused, &format!("core dumps cannot be turned off: {error}"));
        }
        let loaded = config::of_checkout(&self.config, self.name.as_deref());
        if !loaded.findings.is_empty() {
            out.note(&format!("the configuration has mistakes:\n{}", config::render(&loaded.findings, out.color())));
        }
        let Some(settings) =
            loaded.settings.secrets.into_values().next().filter(|_| !loaded.findings.iter().any(is_error))
        else {
            return Exit::Configuration;
        };
        let state = match State::of(&settings.file, self.state_dir.as_deref()) {
            Ok(state) => state,
            Err(Unusable { problem, advice }) => return out.fail(Exit::Refused, &format!("{problem} — {advice}")),
        };
        let teller = Teller { out, here: self, name: settings.name.to_string() };
        match what {
            Do::Status => match standalone::standing(&settings, &state) {
                Ok(standing) => {
                    status::tell(out, &summary(&settings, standing), &|text| teller.words(text));
                    Exit::Done
                }
                Err(fault) => teller.fail(Exit::Failed, &fault),
            },
            Do::History(rotation) => match standalone::history(&settings, &state) {
                Ok(records) => history::show(out, &[records], rotation),
                Err(fault) => teller.fail(Exit::Failed, &fault),
            },
            what => teller.act(settings, &state, what).await,
        }
    }
}

fn is_error(finding: &config::Finding) -> bool {
    finding.severity == config::Severity::Error
}

impl Teller<'_> {
    async fn act(&self, settings: SecretSettings, state: &State, what: Do<'_>) -> Exit {
        let (mut standalone, mut told) = match Standalone::open(settings, state) {
            Ok(opened) => opened,
            Err(NotBegun::Busy(path)) => {
                let text = format!("another run has {}; wait for it, and ask again", path.display());
                return self.out.fail(Exit::Busy, &text);
            }
            Err(NotBegun::Fault(fault)) => return self.fail(Exit::Refused, &fault),
        };
        let mut worst = Exit::Done;
        if standalone.is_unfinished() {
            self.out.note("an earlier run did not come to its end: what it left is finished or undone first");
            match self.follow(standalone.recover(), &mut told).await {
                // What it left has come to an end, whichever it was.
                Exit::Done | Exit::Failed | Exit::Refused => {}
                exit => return exit,
            }
        }
        let is_for_a_value = matches!(what, Do::Perform(..) | Do::Forecast { .. } | Do::Verify);
        if is_for_a_value && standalone.is_new() {
            match self.during(standalone.adopt(), &mut told).await {
                Ok(_) => {}
                Err(fault) => return self.unknown(&fault),
            }
        }
        match what {
            Do::Perform(wish, reason) => {
                worst = worst.worse(self.follow(standalone.perform(wish, reason), &mut told).await)
            }
            Do::Forecast { emergency } => match standalone.forecast(emergency).await {
                Ok(forecast) => forecast::tell(self.out, &self.name, &forecast),
                Err(fault) => worst = self.fail(Exit::Refused, &fault),
            },
            Do::Adopt => match self.during(standalone.adopt(), &mut told).await {
                Ok(adoption) if adoption.new && !self.out.json => {}
                Ok(adoption) => adopt::tell(self.out, &self.name, &adoption),
                Err(fault) => worst = self.unknown(&fault),
            },
            Do::Verify => match standalone.verify().await {
                Ok(verdict) => verify::tell(self.out, &self.name, &verdict),
                Err(fault) => worst = self.fail(Exit::Failed, &fault),
            },
            Do::Release => match standalone.release() {
                Ok(()) => self.drain(&mut told),
                Err(fault) => worst = self.fail(Exit::Failed, &fault),
            },
            Do::Status | Do::History(_) => {}
        }
        if let (Some(at), Do::Perform(..), false) = (standalone.standing().retire_at, what, self.out.json) {
            let name = &self.name;
            let text = format!("nothing ends the overlap by itself here: after {at:.0}, rekeyctl retire {name}");
            self.out.note(&self.words(&text));
        }
        worst
    }

    /// Tells what happens while it is done.
    async fn during<T>(&self, work: impl Future<Output = T>, told: &mut UnboundedReceiver<Told>) -> T {
        let mut work = std::pin::pin!(work);
        let done = loop {
            tokio::select! {
                biased;
                Some(told) = told.recv() => self.tell(told),
                done = &mut work => break done,
            }
        };
        self.drain(told);
        done
    }

    fn drain(&self, told: &mut UnboundedReceiver<Told>) {
        while let Ok(told) = told.try_recv() {
            self.tell(told);
        }
    }

    async fn follow(&self, work: impl Future<Output = standalone::Ended>, told: &mut UnboundedReceiver<Told>) -> Exit {
        let mut work = std::pin::pin!(work);
        let mut worst = Exit::Done;
        let ended = loop {
            tokio::select! {
                biased;
                Some(told) = told.recv() => worst = worst.worse(self.tell_hook(told)),
                ended = &mut work => break ended,
            }
        };
        while let Ok(told) = told.try_recv() {
            worst = worst.worse(self.tell_hook(told));
        }
        match ended {
            Ok(Ok(outcome)) => Exit::from(&outcome).worse(worst),
            Ok(Err(Stopped)) => {
                self.out.fail(Exit::Interrupted, "stopped; the next run finishes or undoes what was begun")
            }
            // What was begun waits for the next run.
            Err(fault) if fault.code == FaultCode::StoreFailed => self.fail(Exit::Failed, &fault),
            Err(fault) => self.fail(Exit::Refused, &fault),
        }
    }

    fn tell_hook(&self, told: Told) -> Exit {
        let failed = matches!(&told, Told::Record(record, _)
            if matches!(record.what, Happening::Hook { came: HookCame::Failed { .. }, .. }));
        self.tell(told);
        if failed { Exit::Failed } else { Exit::Done }
    }

    fn tell(&self, told: Told) {
        match told {
            Told::Record(record, _) if self.out.json => self.out.document(&*record),
            Told::Record(record, line) => match (&record.what, line) {
                (Happening::Began { phase }, _) => self.out.progress(phase.step_name()),
                (Happening::Requested { plan, .. }, Some(line)) => {
                    let doing = match plan.intent {
                        Intent::Rotate | Intent::Initial => "rotating",
                        Intent::Return => "rolling back",
                        Intent::Retire => "ending the overlap of",
                    };
                    let rotation = record.rotation.as_ref().map_or_else(String::new, ToString::to_string);
                    self.out.text(&format!("{doing} {}, rotation {rotation}", self.name));
                    self.out.step(&self.words(&line));
                }
                (_, Some(line)) => self.out.step(&self.words(&line)),
                _ => {}
            },
            Told::Progress(_) if self.out.json => {}
            Told::Progress(line) => self.out.goes_on(&self.words(&line)),
        }
    }

    fn fail(&self, exit: Exit, fault: &Fault) -> Exit {
        let what = if exit == Exit::Refused { "refused, nothing was touched: " } else { "" };
        self.out.fail(exit, &self.words(&format!("{what}{}", fault_in_words(fault))))
    }

    /// The value in force cannot be taken over: it is not there yet, most of the time.
    fn unknown(&self, fault: &Fault) -> Exit {
        let make = "one that is not there yet is made by: rekeyctl generate NAME --env-file FILE";
        self.fail(Exit::Refused, &Fault { advice: format!("{}; {make}", fault.advice), ..fault.clone() })
    }

    /// What is said of a secret in the daemon's care, as it is typed here.
    fn words(&self, text: &str) -> String {
        let (name, config) = (&self.name, self.here.config.display());
        let verbs =
            ["adopt", "history", "release", "retire", "rollback", "rotate", "rotate --emergency", "status", "verify"];
        // There is no such thing here.
        let text = text.replace("no daemon-reload needed; ", "");
        verbs.iter().fold(text, |text, verb| {
            text.replace(&format!("rekeyctl {verb} {name}"), &format!("rekeyctl {verb} --standalone --config {config}"))
        })
    }
}
