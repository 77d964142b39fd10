//! What the processes of a unit have, compared with what they should have.

use std::time::Duration;

use super::SystemdTarget;
use super::way::credential_path;
use crate::config::Deliver;
use crate::dbus::unit::UnitStatus;
use crate::helper::{Answer, Process, Question};
use crate::rotation::{Fault, FaultCode};
use crate::secret::{digest, is_same_digest, random};
use crate::store::StoreError;
use crate::target::{Disclosed, counted};

/// systemd notes when a start began once it has started the first process, and processes' starts are counted in ticks.
const JUST_BEFORE: Duration = Duration::from_secs(1);

/// What the processes of a unit have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Whether it is a credential that was looked for, and not the variable.
    is_credential: bool,
    /// With what they should have.
    pub matching: u32,
    /// Of these, with a value to accept beside it that was retired, and that their next restart takes from them.
    keeping: u32,
    /// With another value.
    other: u32,
    /// Of these, processes that no restart has ended.
    left_over: Vec<LeftOver>,
    /// With the value, and another one to accept than they should have.
    accepts_others: u32,
    /// With the variable in their environment, though the credential replaces it.
    stale: u32,
    /// Without it, and allowed to be.
    pub without: u32,
    /// Without it though they should have it, by name.
    lacking: Vec<String>,
}

impl Tally {
    pub(super) fn is_proof(&self) -> bool {
        self.matching > 0 && self.other == 0 && self.accepts_others == 0 && self.stale == 0 && self.lacking.is_empty()
    }

    /// Whether every process has the view to the letter, and none a value that was retired.
    pub(super) fn is_exact(&self) -> bool {
        self.is_proof() && self.keeping == 0
    }

    /// Whether some of another value outlived a restart.
    pub(super) fn has_left_over(&self) -> bool {
        !self.left_over.is_empty()
    }

    /// Whether every process hides its environment (setproctitle(3) does), as the configuration says it may.
    fn is_hidden(&self) -> bool {
        self.without > 0 && self.without == self.of()
    }

    /// How many were looked at.
    pub(super) fn of(&self) -> u32 {
        self.matching
            + self.other
            + self.accepts_others
            + self.stale
            + self.without
            + u32::try_from(self.lacking.len()).unwrap_or(u32::MAX)
    }
}

/// A process from before the last start of its unit, which systemd does not end (`KillMode=`, or it ignores SIGTERM and no
/// SIGKILL follows).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LeftOver {
    pub pid: u32,
    comm: String,
}

impl LeftOver {
    /// A process of a unit, where it is one.
    pub fn of(process: &Process, status: &UnitStatus) -> Option<Self> {
        let (process_start, unit_start) =
            (Duration::from_micros(process.started_us), Duration::from_micros(status.started_us));
        let is_main = process.pid == status.main_pid;
        let is_older = !is_main && process.started_us > 0 && process_start + JUST_BEFORE < unit_start;
        is_older.then(|| Self { pid: process.pid, comm: process.comm.clone() })
    }

    /// Which it is, in the unit of this name.
    pub fn in_words(&self, unit: &str) -> String {
        format!("process {} ({}) of {unit}, which its last restart did not end,", self.pid, self.comm)
    }
}

type Digest = Option<String>;

impl SystemdTarget {
    /// Whether nothing speaks against the view. Where no process shows what it has, a probe that sees the value must tell.
    pub(super) fn suffices(&self, tally: &Tally) -> bool {
        tally.is_proof() || ((self.has_value_probe || !self.delivers) && tally.is_hidden())
    }

    /// Looks into every process of a unit: at its environment, or at the credentials that it sees where systemd has
    /// loaded the unit with them.
    pub(super) async fn tally(&self, status: &UnitStatus, view: &Disclosed<'_>) -> Result<Tally, Fault> {
        let pids = self.systemd.processes(&status.id).await?;
        let is_credential = self.loads_credential(status);
        let deliver = if is_credential { Deliver::Credential } else { Deliver::EnvironmentFile };
        let former = self.former_previous();
        let mut wanted = self.wanted(deliver, view);
        // Where that is gone, or given on by its new name, it is as it should be.
        let previous = wanted.get(1).and_then(|(_, value)| *value);
        wanted.extend(former.as_deref().map(|name| (name, previous)));
        let credentials = wanted.iter().filter(|_| is_credential).map(|(name, _)| credential_path(&status.id, name));
        let key: [u8; 32] = random().map_err(StoreError::from)?;
        let question = Question::Processes {
            control_group: status.control_group.clone(),
            pids,
            variables: wanted.iter().map(|(name, _)| (*name).to_owned()).collect(),
            credentials: credentials.collect(),
            key: hex::encode(key),
        };
        let Answer::Processes { processes } = self.helper.ask_one(question).await? else { return Ok(Tally::default()) };
        let wanted: Vec<Digest> =
            wanted.iter().map(|(_, value)| value.map(|value| hex::encode(digest(&key, value.reveal())))).collect();
        let mut tally = Tally { is_credential, ..Tally::default() };
        // A variable that is empty is as good as none; but what reads a file itself mostly leaves a variable as it is that is
        // set already, though it be empty (dotenv, and node's --env-file).
        let empty = Some(hex::encode(digest(&key, b"")));
        for mut process in processes {
            process
                .digests
                .iter_mut()
                .enumerate()
                .filter(|(at, has)| (self.delivers || *at > 0) && is_same_digest(has.as_deref(), empty.as_deref()))
                .for_each(|(_, has)| *has = None);
            let (left_over, others) = (LeftOver::of(&process, status), tally.other);
            self.count(&mut tally, process, &wanted);
            tally.left_over.extend(left_over.filter(|_| tally.other > others));
        }
        Ok(tally)
    }

    fn count(&self, tally: &mut Tally, process: Process, wanted: &[Digest]) {
        // A program may give its credential to itself, or to another one, as the variable.
        let is_stale =
            |(has, wanted): (&Digest, &Digest)| has.is_some() && !is_same_digest(has.as_deref(), wanted.as_deref());
        if tally.is_credential && process.digests.iter().zip(wanted).any(is_stale) {
            tally.stale += 1;
            return;
        }
        let has = if tally.is_credential { process.credentials } else { process.digests };
        let named = self.variables().count();
        let is_same = |(at, (has, wanted)): (usize, (&Digest, &Digest))| {
            is_same_digest(has.as_deref(), wanted.as_deref()) || (at >= named && has.is_none())
        };
        let same: Vec<bool> = has.iter().zip(wanted).enumerate().map(is_same).collect();
        match has.first().is_some_and(Option::is_some) {
            true if same.iter().all(|same| *same) => tally.matching += 1,
            // Until its next restart it may accept a value that was retired.
            true if same.first() == Some(&true) && self.keeps_retired => {
                tally.matching += 1;
                tally.keeping += 1;
            }
            // With the right value to sign with, and another one to accept.
            true if same.first() == Some(&true) => tally.accepts_others += 1,
            true => tally.other += 1,
            // A program that reads the file itself keeps what it reads to itself.
            false if !self.delivers || self.allow_without.contains(&process.comm) => tally.without += 1,
            false => tally.lacking.push(process.comm),
        }
    }

    /// Whether systemd has loaded the unit with the secret as a credential.
    pub(super) fn loads_credential(&self, status: &UnitStatus) -> bool {
        status.loads_credential(&self.env)
    }

    /// The path of the unit's credential, where it loads one.
    pub(super) fn credential(&self, status: &UnitStatus) -> Option<String> {
        self.loads_credential(status).then(|| credential_path(&status.id, &self.env))
    }

    /// What speaks against the view.
    pub(super) fn no_proof(&self, unit: &str, view: &Disclosed<'_>, tally: &Tally) -> Fault {
        let (env, generation, of) = (&self.env, view.view.primary, tally.of());
        if tally.stale > 0 {
            let message = format!("{} of {of} processes of {unit} still have {env} in their environment", tally.stale);
            return Fault::new(FaultCode::WrongValue, message)
                .advise(format!("the credential replaces it; see what sets it: systemctl cat {unit}"));
        }
        if let (1.., Some(previous)) = (tally.accepts_others, &self.previous_env) {
            let former = self.former_previous();
            let previous = former.as_ref().unwrap_or(previous);
            let message = format!(
                "{} of {of} processes of {unit} have another {previous} than the view {} says",
                tally.accepts_others, view.view
            );
            return Fault::new(FaultCode::WrongValue, message)
                .advise(format!("see what else sets {previous}: systemctl cat {unit}"));
        }
        if tally.matching == 0 && self.waits_for_its_first(unit) {
            return Fault::new(FaultCode::NoValue, format!("{unit} has joined, and was not given {env} yet"))
                .advise(format!("rekeyctl rotate {} gives it the new value", self.secret));
        }
        if tally.matching + tally.other == 0 && tally.is_credential {
            return Fault::new(FaultCode::NoValue, format!("no process of {unit} sees its credential {env}"))
                .advise(format!("see whether systemd could load it: journalctl -u {unit} -n 50"));
        }
        if tally.matching + tally.other == 0 {
            return Fault::new(FaultCode::NoValue, format!("no process of {unit} has {env} in its environment"))
                .advise(format!("does the unit start its program with a cleaned environment? systemctl cat {unit}"));
        }
        if let Some(one) = tally.left_over.first() {
            let message = format!("{} has another {env} than generation {generation}", one.in_words(unit));
            return Fault::new(FaultCode::WrongValue, message).advise(format!(
                "kill {}; and have systemd end all processes of the unit: systemctl show -p KillMode,SendSIGKILL {unit}",
                one.pid
            ));
        }
        if tally.other > 0 {
            let message =
                format!("{} of {of} processes of {unit} have another {env} than generation {generation}", tally.other);
            return Fault::new(FaultCode::WrongValue, message)
                .advise(format!("see what else sets {env}: systemctl cat {unit}, and the program's own start script"));
        }
        Fault::new(FaultCode::NoValue, format!("these processes of {unit} lack {env}: {}", counted(&tally.lacking))).advise(
            "if they need none, or overwrite their environment (setproctitle), name them in [proof] allow-without, and have a \
             [[probe]] prove it",
        )
    }
}
