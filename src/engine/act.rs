//! What hooks do: the administrator's own commands and requests that follow on a rotation.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use crate::config::{HookAct, HookSettings, SecretName};
use crate::helper::ProcessHelper;
use crate::record::Hook;
use crate::rotation::{Fault, FaultCode};
use crate::store::DELIVERED;
use crate::sys::command::{Command, Prints, Runner};
use crate::sys::credentials;
use crate::sys::http::{Call, NoAnswer, send};
use crate::target::program;

/// How soon a request that was not answered is sent again.
const PAUSE: Duration = Duration::from_millis(500);
/// No single request may take longer.
const REQUEST: Duration = Duration::from_secs(30);

/// What a hook follows on.
#[derive(Clone, Copy)]
pub struct Of<'a> {
    /// The secret.
    pub secret: &'a SecretName,
    /// The rotation's id.
    pub rotation: &'a str,
}

/// Runs the command, or sends the request until it is answered.
///
/// # Errors
/// What went wrong.
pub async fn run(runner: &dyn Runner, of: Of<'_>, hook: Hook, settings: &HookSettings) -> Result<(), Fault> {
    match &settings.act {
        HookAct::Command { argv, user } => command(runner, of, hook, (argv, user.as_deref()), settings.timeout).await,
        HookAct::Http { url, method, headers } => request(method, url, headers.as_deref(), settings.timeout).await,
    }
}

/// Whether the command could be run, and nobody else could have it do something else.
///
/// # Errors
/// What is wrong with it.
pub async fn check(helper: &ProcessHelper, hook: Hook, settings: &HookSettings) -> Result<(), Fault> {
    let HookAct::Command { argv, user } = &settings.act else { return Ok(()) };
    program::check_own(helper, argv, user.as_deref(), "`command`", &format!("the {hook}")).await
}

async fn command(
    runner: &dyn Runner,
    Of { secret: name, rotation }: Of<'_>,
    hook: Hook,
    (argv, user): (&[String], Option<&str>),
    limit: Duration,
) -> Result<(), Fault> {
    let unit = format!("rekeyd-hook-{hook}-{}.service", rotation.get(..12).unwrap_or("0"));
    let environment = vec![
        format!("REKEYD_HOOK={hook}"),
        format!("REKEYD_SECRET={name}"),
        format!("REKEYD_ROTATION={rotation}"),
        format!("REKEYD_DELIVERED={DELIVERED}/{name}/current"),
    ];
    let description = format!("The {hook} after a rotation of the secret {name}");
    let (unit, description) = (unit.as_str(), description.as_str());
    let command = Command {
        unit,
        description,
        argv,
        directory: None,
        user: user.into(),
        environment,
        input: Vec::new(),
        value: None,
        limit,
        prints: Prints::ToJournal,
    };
    let advice = format!("see what it says: {}", runner.said(unit, Prints::ToJournal));
    let failed = |why: String| Fault::new(FaultCode::HookFailed, why).advise(advice);
    match runner.run(&command).await {
        Ok(ran) => ran.end.problem(argv).map_or(Ok(()), |why| Err(failed(why))),
        Err(error) => Err(failed(error.to_string())),
    }
}

async fn request(method: &str, url: &str, headers: Option<&Path>, limit: Duration) -> Result<(), Fault> {
    let headers = headers.map_or_else(|| Ok(Vec::new()), self::headers)?;
    let until = Instant::now() + limit;
    loop {
        let mut call = Call::new(method, url);
        call.headers.clone_from(&headers);
        let line = call.line();
        let left = until.saturating_duration_since(Instant::now());
        let (why, is_certain) = match send(call, left.clamp(PAUSE, REQUEST)).await {
            Ok(reply) if (200..300).contains(&reply.status) => return Ok(()),
            Ok(reply) => (format!("{line} answered {}", reply.status), reply.status < 500 && reply.status != 429),
            Err(error) => (error.to_string(), matches!(error.why, NoAnswer::Unsendable(_))),
        };
        if is_certain || Instant::now() + PAUSE >= until {
            return Err(Fault::new(FaultCode::HookFailed, why).advise("it should answer with a status of 200 to 299"));
        }
        sleep(PAUSE).await;
    }
}

/// The headers of a `header-file`, one a line.
///
/// # Errors
/// Why the file is not read, or what is wrong with it.
pub fn headers(path: &Path) -> Result<Vec<(String, Zeroizing<String>)>, Fault> {
    let read = credentials::headers(path);
    read.map_err(|(why, advice)| {
        let advice = advice.unwrap_or_else(|| "header-file names it".to_owned());
        Fault::new(FaultCode::HookFailed, why).advise(advice)
    })
}
