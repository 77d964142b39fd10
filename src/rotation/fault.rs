//! What went wrong in a step, in the form in which it is recorded, told and acted upon.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Declares [`FaultCode`] with the name that users, tests and journal filters see.
macro_rules! fault_codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// The kind of a failure, stable for machines.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum FaultCode {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)+
        }

        impl FaultCode {
            /// The name in kebab-case.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

fault_codes! {
    /// The value in force is not known: `rekeyctl adopt` comes first.
    NotAdopted = "not-adopted",
    /// The secret is on hold.
    OnHold = "on-hold",
    /// The unit does not exist, is masked, or cannot be loaded.
    UnitUnusable = "unit-unusable",
    /// The unit is failed or restarts again and again.
    UnitSick = "unit-sick",
    /// A Condition= or Assert= of the unit does not hold, so that a restart would leave it inactive.
    ConditionFails = "condition-fails",
    /// A program of the unit is missing or not executable.
    ProgramMissing = "program-missing",
    /// Something of the administrator's overrides what rekeyd delivers.
    Overridden = "overridden",
    /// A place that must be written cannot be.
    NotWritable = "not-writable",
    /// There is too little free space.
    NoSpace = "no-space",
    /// The value cannot be represented where it must be written.
    NotRepresentable = "not-representable",
    /// What was written was not read back.
    ReadBackDiffers = "read-back-differs",
    /// The process does not have the value that the view says, or another than known.
    WrongValue = "wrong-value",
    /// No process of the consumer has the variable.
    NoValue = "no-value",
    /// The unit's process ended, or the unit failed, after the restart.
    UnitFailed = "unit-failed",
    /// The unit ended again before `settle` was over.
    Unsettled = "unsettled",
    /// The unit was not ready in time.
    NotReady = "not-ready",
    /// The unit's start limit was reached.
    StartLimit = "start-limit",
    /// A unit that depends on the consumer did not come back.
    DependentFailed = "dependent-failed",
    /// systemd refused or failed the daemon-reload.
    ReloadFailed = "reload-failed",
    /// systemd or the bus did not answer.
    ManagerUnreachable = "manager-unreachable",
    /// A helper unit could not be reached or failed.
    HelperFailed = "helper-failed",
    /// The engine of the containers did not answer.
    EngineUnreachable = "engine-unreachable",
    /// A tool of somebody else's, which makes the consumer take the value, failed.
    ToolFailed = "tool-failed",
    /// The login did not give a token.
    LoginFailed = "login-failed",
    /// The token is not what the probe can judge.
    TokenUnreadable = "token-unreadable",
    /// The token is signed with a value that should no longer be in use.
    SignedWithOld = "signed-with-old",
    /// The token is signed with none of the known values.
    SignedWithUnknown = "signed-with-unknown",
    /// The protected endpoint refuses a token that it should accept.
    ProtectedRefuses = "protected-refuses",
    /// The protected endpoint accepts a token that is signed with a random key.
    AcceptsRandomKey = "accepts-random-key",
    /// The protected endpoint accepts an unsigned token.
    AcceptsAlgNone = "accepts-alg-none",
    /// The protected endpoint goes on accepting a value that was retired.
    AcceptsRetired = "accepts-retired",
    /// A probe did not end in time.
    ProbeTimeout = "probe-timeout",
    /// A probe's request failed.
    ProbeFailed = "probe-failed",
    /// The store cannot be read or written.
    StoreFailed = "store-failed",
    /// The store's key cannot be had.
    StoreLocked = "store-locked",
    /// The store is older than what was delivered.
    StoreOutdated = "store-outdated",
    /// The rotation took longer than its deadline.
    DeadlinePassed = "deadline-passed",
    /// rekeyd was interrupted too often in this rotation.
    InterruptedTooOften = "interrupted-too-often",
    /// A rotation of the secret is under way.
    UnderWay = "under-way",
    /// rekeyd was gone for good in the middle of the rotation.
    DaemonGone = "daemon-gone",
    /// The configuration no longer allows it.
    NotConfigured = "not-configured",
    /// There is no earlier generation to go back to.
    NothingToGoBackTo = "nothing-to-go-back-to",
    /// The overlap of the last rotation is still open.
    OverlapOpen = "overlap-open",
    /// No overlap is open that could be ended.
    NothingToRetire = "nothing-to-retire",
    /// The protected endpoint refuses a value that it should still accept.
    RefusesAccepted = "refuses-accepted",
    /// More requests failed meanwhile than the error budget allows.
    ErrorBudget = "error-budget",
    /// An env file cannot be read or changed with certainty.
    FileUnusable = "file-unusable",
    /// What stands in a file was written by hand during the rotation, and is left there.
    ChangedByHand = "changed-by-hand",
    /// What reads an env file could not be told that it is another one.
    NotTold = "not-told",
    /// A program that is a target refused what it was asked, and touched nothing.
    ProgramRefused = "program-refused",
    /// A program that is a target could not do what it was asked.
    ProgramFailed = "program-failed",
    /// A program that is a target cannot tell whether it did what it was asked.
    ProgramUnsure = "program-unsure",
    /// A hosting platform does not take what is asked of it, or is not as it must be.
    PlatformRefused = "platform-refused",
    /// A hosting platform does not answer.
    PlatformUnreachable = "platform-unreachable",
    /// A hosting platform does not accept the token, or there is none.
    CredentialRefused = "credential-refused",
    /// A deployment failed.
    DeployFailed = "deploy-failed",
    /// A deployment did not become what is served.
    NotLive = "not-live",
    /// A value cannot be read where it is in force.
    ValueHidden = "value-hidden",
    /// It is not known what is served, or will be: nothing is undone on a guess.
    Unsure = "unsure",
    /// Nobody could be told.
    NotifyFailed = "notify-failed",
    /// A command or request that follows on a rotation failed.
    HookFailed = "hook-failed",
    /// After the logout, a token from before the rotation is still accepted.
    LogoutIneffective = "logout-ineffective",
    /// Another rotation of the same batch failed.
    BatchFailed = "batch-failed",
    /// Tokens do not say how long they live, so that the overlap's length is unknown.
    LifetimeUnknown = "lifetime-unknown",
}

impl FaultCode {
    /// Whether a file is left as it is, since what stands there is not rekeyd's to replace or cannot be replaced.
    pub fn leaves_a_file(self) -> bool {
        matches!(self, Self::FileUnusable | Self::ChangedByHand)
    }

    /// Whether a probe has found it.
    pub fn is_of_a_probe(self) -> bool {
        matches!(
            self,
            Self::LoginFailed
                | Self::TokenUnreadable
                | Self::SignedWithOld
                | Self::SignedWithUnknown
                | Self::ProtectedRefuses
                | Self::AcceptsRandomKey
                | Self::AcceptsAlgNone
                | Self::AcceptsRetired
                | Self::RefusesAccepted
                | Self::ProbeTimeout
                | Self::ProbeFailed
        )
    }
}

/// One failure: its kind, what is wrong and where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The kind.
    pub code: FaultCode,
    /// What is wrong and where: a sentence without a full stop. Never contains a secret's value.
    pub message: String,
    /// What the reader can do: a sentence or a command. May be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub advice: String,
}

impl Fault {
    /// A fault without advice.
    pub fn new(code: FaultCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), advice: String::new() }
    }

    /// With another one that was there besides, so that none is lost where one alone can be told.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        for (all, more) in [(&mut self.message, &other.message), (&mut self.advice, &other.advice)] {
            if !all.is_empty() && !more.is_empty() {
                all.push_str("; and ");
            }
            all.push_str(more);
        }
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = advice.into();
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}
