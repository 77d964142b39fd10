//! The ways in which the backend can misbehave.

use std::time::Duration;

/// One misbehaviour: a line of the mode file.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// `exits-at-once`: never listens.
    ExitsAtOnce,
    /// `exits-after-ready [MS]`: serves that long, 300 ms where it is not said.
    ExitsAfterReady(Duration),
    /// `exits-after-settle [MS]`: the same, 3 s where it is not said, which is longer than rekeyd's default `settle`.
    ExitsAfterSettle(Duration),
    /// `ends-after-settle`: after 3 s it exits with status 0.
    EndsAfterSettle,
    /// `never-ready`: serves, and never says READY=1.
    NeverReady,
    /// `slow-start [MS]`: takes that long to listen, 1 s where it is not said.
    SlowStart(Duration),
    /// `fails-for-both`: from its first start with a new value on no start succeeds, with whatever value.
    FailsForBoth,
    /// `login-500`.
    Login500,
    /// `login-opaque`: the token of a login is no JWT.
    LoginOpaque,
    /// `signs-with-old`: all it does is done with the value of its first start.
    SignsWithOld,
    /// `signs-with-other`: with a value that nobody knows.
    SignsWithOther,
    /// `accepts-old`: also accepts tokens signed with the value of its first start.
    AcceptsOld,
    /// `ignores-previous`: accepts no token of `JWT_SECRET_PREVIOUS`.
    IgnoresPrevious,
    /// `swaps-previous`: verifies with `JWT_SECRET_PREVIOUS` alone, where that is set.
    SwapsPrevious,
    /// `verifies-only-old`: signs with its value, and accepts tokens of the value of its first start alone.
    VerifiesOnlyOld,
    /// `accepts-random`: does not look at signatures.
    AcceptsRandom,
    /// `accepts-none`: takes `alg: none`.
    AcceptsNone,
    /// `protected-refuses`: 401 for every token.
    ProtectedRefuses,
    /// `hangs`: accepts connections and never answers.
    Hangs,
    /// `workers [N]`: has that many processes with its environment, 3 where it is not said.
    Workers(u64),
    /// `stale-worker`: has a process whose environment has the value of the backend's first start.
    StaleWorker,
    /// `hides-environment`: runs as a program whose environment cannot be seen.
    HidesEnvironment,
    /// `bare-worker`: has a process, `sleep`, with an empty environment.
    BareWorker,
}

impl Fault {
    /// Whether the backend must keep the value of its first start in order to misbehave so.
    pub fn needs_first_value(&self) -> bool {
        matches!(self, Self::SignsWithOld | Self::AcceptsOld | Self::VerifiesOnlyOld | Self::StaleWorker)
    }

    fn parse(name: &str, number: Option<u64>) -> Option<Self> {
        let millis = |default| Duration::from_millis(number.unwrap_or(default));
        Some(match name {
            "exits-at-once" => Self::ExitsAtOnce,
            "exits-after-ready" => Self::ExitsAfterReady(millis(300)),
            "exits-after-settle" => Self::ExitsAfterSettle(millis(3000)),
            "ends-after-settle" => Self::EndsAfterSettle,
            "never-ready" => Self::NeverReady,
            "slow-start" => Self::SlowStart(millis(1000)),
            "fails-for-both" => Self::FailsForBoth,
            "login-500" => Self::Login500,
            "login-opaque" => Self::LoginOpaque,
            "signs-with-old" => Self::SignsWithOld,
            "signs-with-other" => Self::SignsWithOther,
            "accepts-old" => Self::AcceptsOld,
            "ignores-previous" => Self::IgnoresPrevious,
            "swaps-previous" => Self::SwapsPrevious,
            "verifies-only-old" => Self::VerifiesOnlyOld,
            "accepts-random" => Self::AcceptsRandom,
            "accepts-none" => Self::AcceptsNone,
            "protected-refuses" => Self::ProtectedRefuses,
            "hangs" => Self::Hangs,
            "workers" => Self::Workers(number.unwrap_or(3)),
            "stale-worker" => Self::StaleWorker,
            "hides-environment" => Self::HidesEnvironment,
            "bare-worker" => Self::BareWorker,
            _ => return None,
        })
    }
}

/// A fault, and whether it is there with the old value too.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The fault.
    pub fault: Fault,
    /// `always` stands before it.
    pub always: bool,
}

/// Reads a mode: lines of `[always] FAULT [NUMBER]`.
pub fn parse(mode: &str) -> Result<Vec<Line>, String> {
    mode.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (always, rest) = line.strip_prefix("always ").map_or((false, line), |rest| (true, rest.trim()));
            let (name, number) = match rest.split_once(' ') {
                Some((name, number)) => {
                    (name, Some(number.trim().parse().map_err(|_| format!("not a number: {line}"))?))
                }
                None => (rest, None),
            };
            let fault = Fault::parse(name, number).ok_or_else(|| format!("no such fault: {line}"))?;
            Ok(Line { fault, always })
        })
        .collect()
}
