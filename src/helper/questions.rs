//! What the daemon asks of `rekeyd helper process`, and what it is told: many questions at once, one start of the unit.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::secret::SecretValue;

/// A question.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Question {
    /// Which values of some variables has each of these processes? Answered by HMAC-SHA-256 under `key`, so that the values
    /// stay where they are; and only for processes that are in the unit's control group, since a number may be used
    /// again.
    Processes {
        /// The control group of the unit, as systemd names it.
        control_group: String,
        /// The processes.
        pids: Vec<u32>,
        /// The variables.
        variables: Vec<String>,
        /// The paths of credentials that they should see, too.
        #[serde(default)]
        credentials: Vec<String>,
        /// 32 random bytes, in hex, of this request alone.
        key: String,
    },
    /// The same of all processes of a container: those whose control group bears its id.
    Container {
        /// Its id, 64 hex digits.
        id: String,
        /// As above.
        variables: Vec<String>,
        /// The paths of files that they should see, too.
        files: Vec<String>,
        /// As above.
        key: String,
    },
    /// The value itself of a variable of a process: for taking it over.
    ProcessValue {
        /// As above.
        control_group: String,
        /// The process.
        pid: u32,
        /// The variable.
        variable: String,
    },
    /// The value itself of a credential, as a process sees it: for taking it over.
    ProcessCredential {
        /// As above.
        control_group: String,
        /// The process.
        pid: u32,
        /// The path of the credential.
        path: String,
    },
    /// All that a file holds: for taking over a credential of a unit that is stopped.
    Whole {
        /// The file.
        path: String,
    },
    /// What an environment file says of a variable; its value only where `reveal` is set.
    File {
        /// The file.
        path: String,
        /// The variable.
        variable: String,
        /// Whether to tell the value.
        reveal: bool,
    },
    /// Whether a program is there and can be executed.
    Program {
        /// Its path.
        path: String,
    },
    /// Whether others than root and who runs it can change a program.
    Changeable {
        /// Its path.
        path: String,
        /// Who runs it, a name or a number; where it is left out, the helper's own user.
        user: Option<String>,
    },
    /// When one of these calendar expressions elapses first after a time.
    Calendar {
        /// systemd.time(7).
        expressions: Vec<String>,
        /// Seconds since 1970.
        after: i64,
    },
    /// On which TCP ports do these processes listen?
    Listening {
        /// As above.
        control_group: String,
        /// The processes.
        pids: Vec<u32>,
    },
    /// Whether all Condition= and Assert= of a unit hold now.
    Conditions {
        /// The unit.
        unit: String,
    },
}

/// The answer to the question at the same place.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// To `Processes` and `Container`. Those that ended meanwhile, or are in another control group, are left out.
    Processes {
        /// What was found.
        processes: Vec<Process>,
    },
    /// To `ProcessValue`, `ProcessCredential`, `Whole` and `File`.
    Variable {
        /// What was found.
        variable: Variable,
    },
    /// To `Program`.
    Program {
        /// How it stands.
        program: Program,
    },
    /// To `Changeable`.
    Changeable {
        /// How they can, and what to do about it.
        how: Option<(String, String)>,
    },
    /// To `Calendar`.
    Calendar {
        /// What systemd says.
        calendar: Calendar,
    },
    /// To `Listening`.
    Listening {
        /// Those that are below the range of which the kernel gives out ports by itself.
        ports: BTreeSet<u16>,
    },
    /// To `Conditions`.
    Condition {
        /// How they stand.
        condition: Condition,
    },
    /// To a question that cannot be answered.
    Failed {
        /// Why.
        reason: String,
    },
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its name: `/proc/PID/comm`.
    pub comm: String,
    /// When it was started, in microseconds since the boot; 0 where that is not known.
    #[serde(default)]
    pub started_us: u64,
    /// The HMAC of each variable's value, in hex; none where it is not in the environment.
    pub digests: Vec<Option<String>>,
    /// The HMAC of each credential that it sees, in hex; none where it does not.
    #[serde(default)]
    pub credentials: Vec<Option<String>>,
}

/// A variable in a process or file.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(rename_all = "kebab-case")]
pub enum Variable {
    /// There is no such file or process.
    Missing,
    /// It is not set there.
    Unset,
    /// It is set there.
    Set,
    /// It is set there to this, in base64.
    Value(String),
}

/// A program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Program {
    /// It can be executed.
    Fine,
    /// It does not exist.
    Missing,
    /// It is no executable file.
    NotExecutable,
    /// It is a script, and its interpreter does not exist.
    InterpreterMissing(String),
}

/// Calendar expressions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Calendar {
    /// The first time, in seconds since 1970; none where they never elapse again.
    Next(Option<i64>),
    /// systemd does not understand them: what it says.
    Invalid(String),
}

/// The conditions of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// All hold.
    Holds,
    /// These do not.
    Fails(String),
    /// It cannot be known.
    Unknown,
}

impl std::fmt::Debug for Variable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Missing => "Missing",
            Self::Unset => "Unset",
            Self::Set => "Set",
            Self::Value(_) => "Value(…)",
        })
    }
}

impl Variable {
    /// The value, where it was told.
    pub fn value(&self) -> Option<SecretValue> {
        match self {
            Self::Value(text) => STANDARD.decode(text).ok().map(SecretValue::new),
            _ => None,
        }
    }
}
