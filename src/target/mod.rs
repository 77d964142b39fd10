//! Places a view is delivered to, with the consumer behind each: one file per system.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::config::{SecretSettings, TargetSettings};
use crate::dbus::systemd1::Systemd;
use crate::helper::{FileHelper, ProcessHelper};
use crate::policy::{Has, Mark, Sighting};
use crate::record::{Activated, Evidence, Found, Noted};
use crate::rotation::{Fault, FaultCode, Generation, View};
use crate::secret::{SecretValue, digest, is_same_digest, random};
use crate::store::StoreError;
use crate::sys::command::Runner;

pub mod command;
pub mod compose;
pub mod dotenv;
pub mod environment;
mod file;
pub mod hosting;
pub mod pm2;
pub(crate) mod program;
pub mod systemd;

/// What targets act with.
#[derive(Clone)]
pub struct Means {
    /// systemd.
    pub systemd: Systemd,
    /// Looks into other users' processes.
    pub processes: ProcessHelper,
    /// Reads and writes other users' files.
    pub files: FileHelper,
    /// Runs other people's tools.
    pub runner: Arc<dyn Runner>,
}

impl Means {
    /// The daemon's: helpers and tools are units of their own.
    pub fn of_daemon(systemd: Systemd, processes: ProcessHelper) -> Self {
        let runner = Arc::new(systemd.clone());
        Self { systemd, processes, files: FileHelper::default(), runner }
    }

    /// Those of this very process: files and processes of its own user, and children. There is no systemd.
    pub fn here(runner: Arc<dyn Runner>) -> Self {
        Self { systemd: Systemd::default(), processes: ProcessHelper::here(), files: FileHelper::Here, runner }
    }
}

/// The targets of a secret, in order.
pub fn from_settings(secret: &SecretSettings, means: &Means) -> Vec<Box<dyn Target>> {
    let target = |settings: &TargetSettings| -> Box<dyn Target> {
        match settings {
            TargetSettings::Systemd(settings) => Box::new(systemd::SystemdTarget::new(secret, settings, means)),
            TargetSettings::Dotenv(settings) => Box::new(dotenv::DotenvTarget::new(secret, settings, means)),
            TargetSettings::Environment(settings) => {
                Box::new(environment::EnvironmentTarget::new(secret, settings, means))
            }
            TargetSettings::Compose(settings) => Box::new(compose::ComposeTarget::new(secret, settings, means)),
            TargetSettings::Pm2(settings) => Box::new(pm2::Pm2Target::new(secret, settings, means)),
            TargetSettings::Command(settings) => Box::new(command::CommandTarget::new(secret, settings, means)),
            TargetSettings::Hosting(settings) => Box::new(hosting::HostingTarget::new(secret, settings)),
        }
    };
    secret.targets.iter().map(target).collect()
}

/// A view with its values, for the moment of delivery and comparison.
pub struct Disclosed<'a> {
    /// The view.
    pub view: &'a View,
    /// The value of its primary generation.
    pub primary: &'a SecretValue,
    /// The values of the accepted generations, in the view's order.
    pub accepted: Vec<&'a SecretValue>,
    /// What the variable of the accepted ones holds, where there are any.
    pub previous: Option<&'a SecretValue>,
}

/// The values that the store has, to recognise them elsewhere.
pub struct Known<'a> {
    values: &'a [(Generation, SecretValue)],
    /// What others are told under, of this look alone.
    key: [u8; 32],
}

impl<'a> Known<'a> {
    /// These.
    ///
    /// # Errors
    /// Where the system gives no random bytes.
    pub fn new(values: &'a [(Generation, SecretValue)]) -> Result<Self, Fault> {
        Ok(Self { values, key: random().map_err(StoreError::from)? })
    }

    /// Which one this is.
    pub fn which(&self, value: Option<&SecretValue>) -> Has {
        let Some(value) = value.filter(|value| !value.is_empty()) else { return Has::Nothing };
        // A value that has several numbers goes by the newest.
        let found = self.values.iter().rfind(|(_, known)| known.is_same(value));
        let unknown = || Has::Unknown(Mark::of(digest(&self.key, value.reveal())));
        found.map_or_else(unknown, |(generation, _)| Has::Generation(*generation))
    }

    /// Which one it is that is told by its digest under [`key`](Self::key), in hex.
    pub fn told(&self, told: Option<&str>) -> Has {
        let of = |value: &[u8]| hex::encode(digest(&self.key, value));
        let Some(told) = told.filter(|told| !is_same_digest(Some(told), Some(&of(b"")))) else { return Has::Nothing };
        let is = |(_, known): &&(_, SecretValue)| is_same_digest(Some(&of(known.reveal())), Some(told));
        match (self.values.iter().rfind(is), hex::decode(told).ok().and_then(|told| told.try_into().ok())) {
            (Some((generation, _)), _) => Has::Generation(*generation),
            (None, Some(digest)) => Has::Unknown(Mark::of(digest)),
            (None, None) => Has::Nothing,
        }
    }

    /// What the values of processes are told under, so that they can be told apart from each other and from those of files.
    pub fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// The values, each with its number.
    pub fn all(&self) -> &'a [(Generation, SecretValue)] {
        self.values
    }

    /// The values.
    pub fn values(&self) -> impl Iterator<Item = &'a SecretValue> {
        self.values.iter().map(|(_, value)| value)
    }
}

/// What a target is to bring about: one step of a movement.
#[derive(Clone, Copy)]
pub struct Errand<'a> {
    /// The view.
    pub view: &'a Disclosed<'a>,
    /// The views that may have been in place before: of files, what else stands there is left. None where whatever stands
    /// there is to be replaced.
    pub before: Option<&'a [Disclosed<'a>]>,
    /// Whether a movement is undone: the way in which the consumer got the value before is restored, too.
    pub back: bool,
    /// What preflight found of all consumers of the secret, as it was recorded before anything was touched.
    pub found: &'a [Found],
    /// What all targets noted when they were last delivered to, as it was recorded before anything was activated.
    pub noted: &'a [Noted],
    /// Names the rotation and the movement, and is the same when the step is done again after a crash: what is set going
    /// elsewhere is marked with it, so that it is found again and not set going twice.
    pub mark: &'a str,
    /// When the movement must have ended.
    pub deadline: Instant,
    /// Is told what goes on meanwhile.
    pub report: &'a dyn Report,
}

/// Is told what goes on during a step that takes long.
pub trait Report: Send + Sync {
    /// A line for people, without the value of anything.
    fn progress(&self, line: &str);
}

/// What is asked of a consumer before anything is touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It is well, and has the value in force: what fails later is then the new value's fault.
    Needed,
    /// It may have failed: an earlier value is to mend it.
    Irrelevant,
}

/// What is said of a value that is another one than rekeyd left.
pub const BY_HAND: &str = ": it was changed by hand since rekeyd last knew it";

/// What a consumer has in the place of the value that is accepted besides.
pub enum Accepts {
    /// It cannot be told.
    Untold,
    /// Nothing.
    Nothing,
    /// This: one value, or a list of them.
    This(SecretValue),
}

impl Accepts {
    /// What is in one place; an empty one is as good as none.
    pub fn of(value: Option<SecretValue>) -> Self {
        value.filter(|value| !value.is_empty()).map_or(Self::Nothing, Self::This)
    }

    /// Whether two places say the same, as far as both tell.
    pub fn agrees_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::This(one), Self::This(other)) => one.is_same(other),
            (Self::Untold, _) | (_, Self::Untold) | (Self::Nothing, Self::Nothing) => true,
            (Self::This(_), Self::Nothing) | (Self::Nothing, Self::This(_)) => false,
        }
    }

    /// What all of these say.
    ///
    /// # Errors
    /// Where two of them, which are named, do not agree.
    pub fn agreed(all: impl IntoIterator<Item = (String, Self)>) -> Result<Self, Fault> {
        let mut agreed = (String::new(), Self::Untold);
        for (name, accepts) in all {
            if !agreed.1.agrees_with(&accepts) {
                let message = format!("{} and {name} do not accept the same former value", agreed.0);
                return Err(Fault::new(FaultCode::WrongValue, message)
                    .advise("give both the same one, or none, restart them, and adopt again"));
            }
            if matches!(agreed.1, Self::Untold) {
                agreed = (name, accepts);
            }
        }
        Ok(agreed.1)
    }
}

/// What is known of earlier rotations.
pub struct Past<'a> {
    /// Which values the store has: one of them where another should be was left there by an earlier rotation, and not made by
    /// hand.
    pub known: Known<'a>,
    /// Whether it is certain that consumers have the view in force: where the last way back failed it is not.
    pub is_certain: bool,
    /// What was noted when a rotation was last committed, or proven to be undone.
    pub noted: &'a [Noted],
    /// The consumers that the last rotation found stopped on purpose, as they are configured.
    pub stopped: &'a [String],
}

/// A place for a secret, and what reads it there. All acts are idempotent: after a crash they are done again.
#[async_trait]
pub trait Target: Send + Sync {
    /// How the target is named in records: `systemd my-backend.service`.
    fn label(&self) -> String;

    /// The value that the live consumer uses now, for `adopt`.
    ///
    /// # Errors
    /// Where there is none, or its processes do not agree.
    async fn value_in_force(&self) -> Result<SecretValue, Fault>;

    /// What the live consumer accepts besides, for `adopt`: an overlap of which nothing is known here.
    ///
    /// # Errors
    /// Where its places or processes do not agree.
    async fn accepted_in_force(&self) -> Result<Accepts, Fault> {
        Ok(Accepts::Untold)
    }

    /// Where the value that was taken over stands so that every local user can read it: a warning.
    ///
    /// # Errors
    /// Where that cannot be looked at.
    async fn lies_open(&self, _value: &SecretValue) -> Result<Option<String>, Fault> {
        Ok(None)
    }

    /// How many processes read the secret now.
    ///
    /// # Errors
    /// Where that cannot be asked.
    async fn processes(&self) -> Result<usize, Fault>;

    /// Is told before a [`Self::survey`] what is known of earlier rotations.
    fn recognize(&self, past: &Past<'_>) {
        let _ = past;
    }

    /// Preflight: everything that can be known to fail beforehand, touching nothing. `in_force` is what the consumer
    /// should have now; whether it has it, and is well, counts unless it is to be taken back to an earlier value.
    ///
    /// # Errors
    /// The obstacle.
    async fn survey(&self, in_force: &Disclosed<'_>, health: Health, deadline: Instant) -> Result<Vec<Found>, Fault>;

    /// Whether delivering touches nothing but files of this host: then recovery does it before the daemon is ready.
    fn is_local(&self) -> bool {
        true
    }

    /// Puts the view in place and reads it back by the rules of the consumer's own parser. What must be known to
    /// activate it, also after a crash, is returned, and recorded before that.
    ///
    /// # Errors
    /// What could not be written or read back.
    async fn deliver(&self, errand: &Errand<'_>) -> Result<Vec<Noted>, Fault>;

    /// Who else can read what was delivered, where the configuration allows that: a warning.
    fn exposes(&self) -> Option<String>;

    /// Why the service manager must read its files again before the delivered view can take effect; `None` where it
    /// need not.
    ///
    /// # Errors
    /// Where the manager cannot be asked.
    async fn reload_reason(&self) -> Result<Option<String>, Fault> {
        Ok(None)
    }

    /// Whether the manager would now start the consumer with what was delivered. Asked after the reload and before
    /// anything is restarted.
    ///
    /// # Errors
    /// What is in the way.
    async fn in_force(&self) -> Result<(), Fault> {
        Ok(())
    }

    /// Makes the consumer take the view. Looks first whether it already has it.
    ///
    /// # Errors
    /// What kept the consumer from coming up.
    async fn activate(&self, errand: &Errand<'_>) -> Result<Vec<Activated>, Fault>;

    /// Process and unit evidence, through `settle`.
    ///
    /// # Errors
    /// What speaks against it.
    async fn evidence(&self, errand: &Errand<'_>) -> Result<Vec<Evidence>, Fault>;

    /// Whether the consumer is still the one that this evidence is about: every other second while probes ask it, and once
    /// all else has been proven.
    ///
    /// # Errors
    /// What became of it.
    async fn is_still_there(&self, evidence: &[Evidence]) -> Result<(), Fault>;

    /// What became of consumers since this evidence was gathered that have failed by themselves, neither stopped nor
    /// replaced by anybody: of those that systemd does not tell of.
    async fn failed_since(&self, evidence: &[Evidence]) -> Option<String> {
        let _ = evidence;
        None
    }

    /// Has what was proven last beyond a reboot, where that does not come by itself. Asked once all else has been proven.
    ///
    /// # Errors
    /// What was in the way.
    async fn make_last(&self, _errand: &Errand<'_>) -> Result<Vec<Evidence>, Fault> {
        Ok(Vec::new())
    }

    /// What its files and processes have now, as far as that is known without asking anybody else; `known` are the values
    /// that the store has.
    ///
    /// # Errors
    /// Where it cannot be looked at.
    async fn look(&self, known: &Known<'_>) -> Result<Vec<Sighting>, Fault> {
        let _ = known;
        Ok(Vec::new())
    }

    /// Removes what earlier views left behind, once `keep` is the one in force. Best effort.
    fn tidy(&self, keep: &View);

    /// Ends what earlier views still allow elsewhere, such as logins with an old value, once `keep` is the one in force and
    /// the rotation is over. Best effort: what cannot be done is told.
    async fn let_go(&self, keep: &View, mark: &str, report: &dyn Report) {
        let _ = (keep, mark, report);
    }
}

/// Names of processes, each once and with how many there are of it.
fn counted(names: &[String]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    let told = counts.into_iter().map(|(name, count)| match count {
        1 => format!("{name:?}"),
        _ => format!("{name:?} ({count} of them)"),
    });
    told.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_the_same_in_a_file_and_in_a_process() {
        let value = |text: &str| SecretValue::new(text.as_bytes().to_vec());
        let numbers = [Generation::FIRST, Generation::FIRST.next(), Generation::FIRST.next().next()];
        let values = [(numbers[0], value("a")), (numbers[1], value("b")), (numbers[2], value("a"))];
        let known = Known::new(&values).unwrap();
        let told = |text: &str| known.told(Some(&hex::encode(digest(known.key(), text.as_bytes()))));
        for text in ["a", "b", "c", "d", ""] {
            assert_eq!(told(text), known.which(Some(&value(text))), "{text}");
        }
        assert_eq!(told("a"), Has::Generation(numbers[2]), "it goes by its newest number");
        assert!(told("c") != told("d") && matches!(told("c"), Has::Unknown(_)));
        assert_eq!((told(""), known.told(None)), (Has::Nothing, Has::Nothing));
    }
}
