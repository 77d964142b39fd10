//! What systemd says of a unit, read from its properties.

use std::collections::HashMap;
use std::time::Duration;

use zbus::wire::{OwnedVariant, Variant};

/// How a process ended, as in siginfo_t: sigaction(2).
const CLD_KILLED: i32 = 2;
const CLD_DUMPED: i32 = 3;
/// The types of services that tell, one way or the other (systemd.service(5)).
const SAYS_WHEN_READY: [&str; 5] = ["notify", "notify-reload", "dbus", "forking", "oneshot"];

/// A unit as systemd sees it: properties of `org.freedesktop.systemd1(5)` by their own names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "org.freedesktop.systemd1(5) documents them; what is derived is documented here")]
pub struct UnitStatus {
    pub id: String,
    pub load_state: String,
    pub load_error: String,
    pub active_state: String,
    pub sub_state: String,
    pub result: String,
    pub main_pid: u32,
    /// 32 hex digits; empty where the unit does not run.
    pub invocation_id: String,
    pub n_restarts: u32,
    /// Whether a job of the unit is queued or running.
    pub has_job: bool,
    pub drop_in_paths: Vec<String>,
    pub environment: Vec<String>,
    /// Paths, with whether a missing file is ignored.
    pub environment_files: Vec<(String, bool)>,
    pub unset_environment: Vec<String>,
    /// `LoadCredential=`: names, with where each is loaded from.
    pub credentials: Vec<(String, String)>,
    /// `LoadCredentialEncrypted=`, likewise.
    pub encrypted_credentials: Vec<(String, String)>,
    /// Whether a start lasts until the service itself says that it serves: `Type=`.
    pub says_when_ready: bool,
    /// Whether the unit can be reloaded now.
    pub can_reload: bool,
    /// Whether only other units may have it started or stopped: `RefuseManualStart=`, `RefuseManualStop=`.
    pub refuses_restart: bool,
    /// The programs that must be there for the unit to start, and whose failure is not ignored: paths, or names that systemd
    /// looks up when it starts them.
    pub programs: Vec<String>,
    /// Where names of programs are looked up instead of systemd's usual directories.
    pub exec_search_path: Vec<String>,
    /// Whether the unit sees other files than the machine has: in a root directory or by mounts of its own.
    pub has_own_files: bool,
    /// Whether a Condition= or Assert= made the last start do nothing.
    pub skipped_by_condition: bool,
    /// When its last start began, in microseconds since the boot, but for the time that the machine was suspended; 0 where it
    /// has not been started since the boot.
    pub started_us: u64,
    /// How long its last start took, in microseconds; none where it is not active.
    pub start_us: Option<u64>,
    pub triggered_by: Vec<String>,
    /// Whether the unit has any Condition= or Assert=.
    pub has_conditions: bool,
    pub consists_of: Vec<String>,
    pub required_by: Vec<String>,
    pub bound_by: Vec<String>,
    pub requisite_of: Vec<String>,
    pub control_group: String,
    pub exec_main_status: i32,
    pub exec_main_code: i32,
    /// `TimeoutStartSec=` and `TimeoutStopSec=` together; none where one is infinite.
    pub timeout: Option<Duration>,
}

impl UnitStatus {
    /// The units that systemd restarts with this one (`PartOf=`, `Requires=`, `BindsTo=`, `Requisite=` in them).
    pub fn dependents(&self) -> impl Iterator<Item = &String> {
        self.consists_of.iter().chain(&self.required_by).chain(&self.bound_by).chain(&self.requisite_of)
    }

    /// Whether the unit loads a credential of this name from a file or socket.
    pub fn loads_credential(&self, name: &str) -> bool {
        self.credentials.iter().chain(&self.encrypted_credentials).any(|(loaded, _)| loaded == name)
    }

    /// Whether the run that had this invocation has ended, and systemd starts or has started the unit again by itself:
    /// `Restart=`.
    pub fn was_started_again_since(&self, invocation: &str) -> bool {
        self.restarts_itself() || self.invocation_id != invocation && self.n_restarts > 0
    }

    /// Whether the unit has not been started since the boot.
    pub fn never_started(&self) -> bool {
        self.started_us == 0
    }

    /// Whether systemd is about to start it again by itself.
    pub fn restarts_itself(&self) -> bool {
        self.sub_state.starts_with("auto-restart")
    }

    /// Whether it runs no more, though nothing but a person or another unit should end it: what is started by a socket or
    /// a timer may well end when it has nothing to do.
    pub fn has_ended(&self) -> bool {
        self.active_state == "failed" || self.active_state == "inactive" && self.triggered_by.is_empty()
    }

    /// How it stands, in a few words.
    pub fn in_words(&self) -> String {
        let mut words = format!("{} is {}", self.id, self.active_state);
        if self.sub_state != self.active_state {
            words += &format!(" ({})", self.sub_state);
        }
        if !self.result.is_empty() && self.result != "success" {
            words += &format!(", result {}", self.result);
            if self.exec_main_status != 0 {
                let by_signal = matches!(self.exec_main_code, CLD_KILLED | CLD_DUMPED);
                let how = if by_signal { "killed by signal" } else { "exit status" };
                words += &format!(", {how} {}", self.exec_main_status);
            }
        }
        words
    }
}

type Properties = HashMap<String, OwnedVariant>;

/// Reads the properties of the Unit and Service interfaces. One that is missing or of another type is as if empty.
pub(super) fn properties(unit: &Properties, service: &Properties) -> UnitStatus {
    let condition = boolean(unit, "ConditionResult");
    let assertion = boolean(unit, "AssertResult");
    let was_checked = number(unit, "ConditionTimestampMonotonic") != 0;
    let timeouts = number(service, "TimeoutStartUSec").checked_add(number(service, "TimeoutStopUSec"));
    UnitStatus {
        id: text(unit, "Id"),
        load_state: text(unit, "LoadState"),
        load_error: second_text(unit, "LoadError"),
        active_state: text(unit, "ActiveState"),
        sub_state: text(unit, "SubState"),
        result: text(service, "Result"),
        main_pid: small_number(service, "MainPID"),
        invocation_id: bytes(unit, "InvocationID"),
        n_restarts: small_number(service, "NRestarts"),
        has_job: has_job(unit),
        drop_in_paths: texts(unit, "DropInPaths"),
        environment: texts(service, "Environment"),
        environment_files: environment_files(service),
        unset_environment: texts(service, "UnsetEnvironment"),
        credentials: credentials(service, "LoadCredential"),
        encrypted_credentials: credentials(service, "LoadCredentialEncrypted"),
        says_when_ready: SAYS_WHEN_READY.contains(&text(service, "Type").as_str()),
        can_reload: boolean(unit, "CanReload"),
        refuses_restart: boolean(unit, "RefuseManualStart") || boolean(unit, "RefuseManualStop"),
        programs: ["ExecStartPre", "ExecStart"].iter().flat_map(|name| programs(service, name)).collect(),
        exec_search_path: texts(service, "ExecSearchPath"),
        has_own_files: has_own_files(service),
        skipped_by_condition: was_checked && !(condition && assertion),
        started_us: number(unit, "InactiveExitTimestampMonotonic"),
        start_us: start(unit),
        triggered_by: texts(unit, "TriggeredBy"),
        has_conditions: elements(unit, "Conditions").len() + elements(unit, "Asserts").len() > 0,
        consists_of: texts(unit, "ConsistsOf"),
        required_by: texts(unit, "RequiredBy"),
        bound_by: texts(unit, "BoundBy"),
        requisite_of: texts(unit, "RequisiteOf"),
        control_group: text(service, "ControlGroup"),
        exec_main_status: integer(service, "ExecMainStatus"),
        exec_main_code: integer(service, "ExecMainCode"),
        timeout: timeouts.map(Duration::from_micros),
    }
}

fn has_own_files(service: &Properties) -> bool {
    let mounts = ["BindPaths", "BindReadOnlyPaths", "MountImages", "ExtensionImages", "ExtensionDirectories"];
    ["RootDirectory", "RootImage"].iter().any(|name| !text(service, name).is_empty())
        || mounts.iter().any(|name| !elements(service, name).is_empty())
}

fn start(unit: &Properties) -> Option<u64> {
    let [began, active] =
        ["InactiveExitTimestampMonotonic", "ActiveEnterTimestampMonotonic"].map(|name| number(unit, name));
    (text(unit, "ActiveState") == "active").then(|| active.checked_sub(began))?
}

fn value<'a>(properties: &'a Properties, name: &str) -> Option<&'a Variant<'a>> {
    properties.get(name).map(|value| &**value)
}

fn text(properties: &Properties, name: &str) -> String {
    match value(properties, name) {
        Some(Variant::Str(text)) => text.to_string(),
        _ => String::new(),
    }
}

fn boolean(properties: &Properties, name: &str) -> bool {
    matches!(value(properties, name), Some(Variant::Bool(true)))
}

fn number(properties: &Properties, name: &str) -> u64 {
    match value(properties, name) {
        Some(Variant::U64(number)) => *number,
        _ => 0,
    }
}

fn small_number(properties: &Properties, name: &str) -> u32 {
    match value(properties, name) {
        Some(Variant::U32(number)) => *number,
        _ => 0,
    }
}

fn integer(properties: &Properties, name: &str) -> i32 {
    match value(properties, name) {
        Some(Variant::I32(number)) => *number,
        _ => 0,
    }
}

fn elements<'a>(properties: &'a Properties, name: &str) -> Vec<&'a Variant<'a>> {
    match value(properties, name) {
        Some(Variant::Array(array)) => array.iter().collect(),
        _ => Vec::new(),
    }
}

fn texts(properties: &Properties, name: &str) -> Vec<String> {
    let text = |element: &Variant<'_>| match element {
        Variant::Str(text) => Some(text.to_string()),
        _ => None,
    };
    elements(properties, name).into_iter().filter_map(text).collect()
}

fn bytes(properties: &Properties, name: &str) -> String {
    let byte = |element: &Variant<'_>| match element {
        Variant::U8(byte) => Some(format!("{byte:02x}")),
        _ => None,
    };
    elements(properties, name).into_iter().filter_map(byte).collect()
}

fn fields<'a>(element: &'a Variant<'a>) -> &'a [Variant<'a>] {
    match element {
        Variant::Structure(structure) => structure.fields(),
        _ => &[],
    }
}

fn second_text(properties: &Properties, name: &str) -> String {
    match value(properties, name).map(fields) {
        Some([_, Variant::Str(text)]) => text.to_string(),
        _ => String::new(),
    }
}

fn has_job(unit: &Properties) -> bool {
    match value(unit, "Job").map(fields) {
        Some([Variant::U32(id), ..]) => *id != 0,
        _ => false,
    }
}

fn environment_files(service: &Properties) -> Vec<(String, bool)> {
    let file = |element: &Variant<'_>| match fields(element) {
        [Variant::Str(path), Variant::Bool(ignored)] => Some((path.to_string(), *ignored)),
        _ => None,
    };
    elements(service, "EnvironmentFiles").into_iter().filter_map(file).collect()
}

fn credentials(service: &Properties, name: &str) -> Vec<(String, String)> {
    let credential = |element: &Variant<'_>| match fields(element) {
        [Variant::Str(name), Variant::Str(source)] => Some((name.to_string(), source.to_string())),
        _ => None,
    };
    elements(service, name).into_iter().filter_map(credential).collect()
}

/// Of `a(sasbttttuii)`: the path, the arguments, and whether a failure is ignored.
fn programs(service: &Properties, name: &str) -> Vec<String> {
    let program = |element: &Variant<'_>| match fields(element) {
        [Variant::Str(path), _, Variant::Bool(false), ..] => Some(path.to_string()),
        _ => None,
    };
    elements(service, name).into_iter().filter_map(program).collect()
}
