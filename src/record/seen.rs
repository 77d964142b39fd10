//! What a phase saw and did, as it is stored with the rotation.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Evidence;
use crate::rotation::{Fault, Generation};
use crate::secret::Fingerprint;

/// The detail of a consumer that is to run and does not.
const SICK: &str = "sick";
/// The detail that tells one run of a unit from the next.
const INVOCATION: &str = "invocation";

/// What preflight found of one consumer; recorded, because a restart after a crash must know what ran before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The unit, as it is configured: an alias may be.
    pub configured: String,
    /// The unit, by its real name.
    pub unit: String,
    /// Whether it runs; a unit that is stopped on purpose gets the value and stays stopped.
    pub running: bool,
    /// Whether it is not restarted, and takes the view with its next start.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub left_alone: bool,
    /// Units that depend on it (`PartOf=`, `Requires=`, `BindsTo=`, `Requisite=`) and were active.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependents: Vec<String>,
    /// How many processes it has, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<u32>,
    /// How long its last start took, in microseconds: about so long a restart takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_us: Option<u64>,
    /// Sockets of systemd in which connections wait while it restarts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sockets: Vec<String>,
    /// What those who use it notice of an activation.
    #[serde(default, skip_serializing_if = "Handover::is_break")]
    pub handover: Handover,
    /// How many of the target's consumers may be down at the same time, where that is more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub together: Option<usize>,
    /// Others that have the value from where the target does, and keep it as it is: nobody has said that they take part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bystanders: Vec<String>,
    /// What has the value, too, and keeps the old one until it ends by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passing: Vec<String>,
    /// What else its target must know of how it was: ids of what runs or serves, by their names there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

/// How a consumer comes from one view to the next, as those who use it notice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Handover {
    /// It ends, and starts again.
    #[default]
    Break,
    /// A new process listens before an old one ends.
    Overlapping,
    /// It reads the value again, and goes on.
    Reload,
    /// Only who wrote the program for it knows.
    Unknown,
}

impl Handover {
    fn is_break(&self) -> bool {
        *self == Self::Break
    }
}

impl Found {
    /// A detail: that it is to run and does not, in words that name it.
    pub fn sick(in_words: String) -> (String, String) {
        (SICK.to_owned(), in_words)
    }

    /// Those words.
    pub fn sick_in_words(&self) -> Option<&str> {
        self.details.get(SICK).map(String::as_str)
    }

    /// A detail: which run of the unit was found.
    pub fn of_run(invocation: String) -> (String, String) {
        (INVOCATION.to_owned(), invocation)
    }

    /// That run, where it was noted.
    pub fn run(&self) -> Option<&String> {
        self.details.get(INVOCATION)
    }

    /// Whether it is at a hosting platform, which deploys it anew.
    pub fn is_deployed(&self) -> bool {
        self.details.contains_key("serving")
    }
}

/// What a target must know, once it was delivered to, to go on: recorded, so that it is known after a crash too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// The target, by its label.
    pub target: String,
    /// Ids and times, by their names there.
    pub details: BTreeMap<String, String>,
}

/// A target that does not go back with the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// The target, by its label.
    pub target: String,
    /// Why it is left as it is.
    pub fault: Fault,
}

/// What an activation did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "did", rename_all = "kebab-case")]
pub enum Activated {
    /// The unit was restarted.
    Restarted {
        /// The unit.
        unit: String,
        /// From the request to the end of the job, in microseconds.
        took_us: u64,
    },
    /// The unit was reloaded.
    Reloaded {
        /// The unit.
        unit: String,
        /// From the request to the end of the job, in microseconds.
        took_us: u64,
    },
    /// The running processes already had the view: nothing was restarted.
    AlreadyRunning {
        /// The unit.
        unit: String,
    },
    /// The unit was restarted for another secret of the batch, with this view in place.
    WithOthers {
        /// The unit.
        unit: String,
    },
    /// The unit is not restarted: it takes the view with its next restart.
    AtNextRestart {
        /// The unit.
        unit: String,
    },
    /// A command of the administrator's was run, which makes the consumer take the view.
    Ran {
        /// The program.
        program: String,
        /// How long it took, in microseconds.
        took_us: u64,
    },
    /// What reads the file was told that it is another one, by a touched file or a signal.
    Told {
        /// The file that was touched, or that names the process.
        by: String,
    },
    /// A hosting platform deployed anew, and serves that.
    Deployed {
        /// The project, site or service.
        consumer: String,
        /// The deployment's id.
        deployment: String,
        /// Where a person can look at it.
        page: String,
        /// From the trigger to when it was live, in microseconds.
        took_us: u64,
    },
    /// A deployment that somebody else made at the same time, of other code, was replaced by ours.
    Replaced {
        /// The project, site or service.
        consumer: String,
        /// Its id.
        deployment: String,
        /// Where a person can look at it.
        page: String,
    },
    /// What served before never stopped serving.
    StillServes {
        /// The project, site or service.
        consumer: String,
    },
    /// Sessions that are open keep the value that they have.
    OpenSessionsKeepTheirs,
    /// Nobody was told: what reads the file takes the view when it reads it again.
    LeftAlone {
        /// The file.
        path: String,
    },
    /// The unit is stopped on purpose and stays so.
    LeftStopped {
        /// The unit.
        unit: String,
    },
}

/// A value that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewValue {
    /// Its number.
    pub generation: Generation,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
}

/// What a phase saw or did when it passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "saw", rename_all = "kebab-case")]
pub enum Seen {
    /// Preflight: the consumers, and what the probes said of the view in force.
    Ready {
        /// The consumers of all targets.
        found: Vec<Found>,
        /// Evidence for the view in force.
        evidence: Vec<Evidence>,
    },
    /// Generate: the new generations.
    Made {
        /// In the order of the plan.
        made: Vec<NewValue>,
    },
    /// Deliver: the targets that have the view now.
    Delivered {
        /// Their labels.
        targets: Vec<String>,
        /// Who else can read the value there, where the configuration allows that.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        exposed: Vec<String>,
        /// What they must know to go on.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        noted: Vec<Noted>,
        /// On the way back: those that are left as they are.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        left: Vec<Left>,
    },
    /// Activate.
    Active {
        /// Why there was a daemon-reload; none was needed where it is absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reload: Option<String>,
        /// What was done, in order.
        activated: Vec<Activated>,
    },
    /// Prove.
    Proven {
        /// The evidence.
        evidence: Vec<Evidence>,
    },
}
