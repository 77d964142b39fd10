//! `doctor`: what is wrong here, and what to type next.

use std::time::Duration;

use futures_util::StreamExt as _;
use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::process::geteuid;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::check::calendar_is_valid;
use super::exit::is_denied;
use super::{Exit, Out, daemon, document};
use crate::config::{self, Dirs, Loaded, NotifySettings, SecretSettings};
use crate::dbus::rekeyd1::{Condition, Error, ManagerProxy, SecretStatus};
use crate::record::TurnedAway;
use crate::record::text::{WEAK, fault_in_words};

/// So many secrets are proven at once: most of a proof is waiting.
const AT_ONCE: usize = 8;
/// How long a secret may be busy, or its user have asked too often, and when that is asked again.
const PATIENCE: Duration = Duration::from_secs(30);
const LATER: Duration = Duration::from_millis(500);

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    /// The secret that it is about.
    secret: Option<String>,
    /// Whether all is well with it.
    well: bool,
    /// What was seen.
    what: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "String::is_empty")]
    advice: String,
}

impl Finding {
    fn well(what: impl Into<String>) -> Self {
        Self { secret: None, well: true, what: what.into(), advice: String::new() }
    }

    fn ill(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { secret: None, well: false, what: what.into(), advice: advice.into() }
    }

    fn of(mut self, name: &str) -> Self {
        self.secret = Some(name.to_owned());
        self
    }
}

pub(super) async fn run(out: &Out) -> Exit {
    let loaded = config::load(&Dirs::default());
    let mut findings = vec![on_disk(&loaded)];
    findings.extend(loaded.settings.secrets.values().flat_map(calendars));
    findings.extend(notifier(&loaded.settings.daemon.notify));
    let exit = match examine(&loaded, &mut findings).await {
        Ok(()) if findings.iter().all(|finding| finding.well) => Exit::Done,
        Ok(()) => Exit::Failed,
        Err(Error::Bus(error)) if !is_denied(&error) => {
            let what = format!("rekeyd cannot be reached: {error}");
            findings.push(Finding::ill(what, "systemctl status rekeyd; journalctl -b -u rekeyd"));
            Exit::Unreachable
        }
        Err(error) => return out.error(&error),
    };
    if out.json {
        out.document(&findings);
    } else {
        findings.iter().for_each(|finding| tell(out, finding));
    }
    exit
}

fn tell(out: &Out, finding: &Finding) {
    let about = finding.secret.as_ref().map_or_else(String::new, |secret| format!("{secret}: "));
    let mark = if finding.well { '✓' } else { '✗' };
    out.step(&format!("{mark} {about}{}", finding.what));
    if !finding.advice.is_empty() {
        out.text(&format!("    {}", finding.advice));
    }
}

fn on_disk(loaded: &Loaded) -> Finding {
    if loaded.is_valid() {
        Finding::well(format!("the configuration on disk is valid, secrets in it: {}", loaded.settings.secrets.len()))
    } else {
        let what = format!("the configuration on disk has mistakes: {}", loaded.findings.len());
        Finding::ill(what, "rekeyctl check shows them; mend them, then rekeyctl reload")
    }
}

/// The calendar expressions that systemd does not take: their timers would not run.
fn calendars(settings: &SecretSettings) -> Vec<Finding> {
    let mistaken = settings.calendars().filter_map(|(key, expression)| {
        let problem = calendar_is_valid(expression).err()?;
        let what = format!("`{key}`: systemd does not take {expression:?}: {problem}");
        let advice = format!("correct it in {}, then rekeyctl reload", settings.file.display());
        Some(Finding::ill(what, advice).of(settings.name.as_str()))
    });
    mistaken.collect()
}

/// A program that is to tell a person, and that nobody could run.
fn notifier(settings: &NotifySettings) -> Option<Finding> {
    let program = settings.command.as_ref()?.0.first()?;
    // Root alone may be let in where it is.
    let is_told = |error: &Errno| *error != Errno::ACCESS || geteuid().is_root();
    let error = access(program.as_str(), Access::EXEC_OK).err().filter(is_told)?;
    let what = format!("nobody would be told: {program} of [notify] cannot be run: {error}");
    Some(Finding::ill(what, "put it there, or correct `command` in rekeyd.toml; then try it: rekeyctl notify"))
}

async fn examine(loaded: &Loaded, findings: &mut Vec<Finding>) -> Result<(), Error> {
    let daemon = daemon().await?;
    let condition: Condition = document(&daemon.condition().await?)?;
    findings.push(running(&condition));
    findings.push(match &condition.locked {
        Some(fault) => Finding::ill(format!("the store is locked: {}", fault.message), &fault.advice),
        None => Finding::well("the store is open, and its key is there"),
    });
    if condition.configuration.is_some() {
        let what = "no configuration is in force: rekeyd was started with mistakes in it, and rotates nothing";
        findings.push(Finding::ill(what, "mend them, then rekeyctl reload"));
        return Ok(());
    }
    for name in &condition.edited {
        let what = "its schedule was edited and is not in force yet: until then its timer is ignored";
        findings.push(Finding::ill(what, "rekeyctl reload").of(name.as_str()));
    }
    for name in &condition.unconfigured {
        let advice = format!("put its file back, or let go of it: rekeyctl forget {name}");
        findings.push(Finding::ill("the store has its values, but it is not configured", advice).of(name.as_str()));
    }
    findings.extend(condition.left_open.iter().map(|what| Finding::ill(what, String::new())));
    let statuses: Vec<SecretStatus> = document(&daemon.list_secrets().await?)?;
    let is_in_force = |name: &str| statuses.iter().any(|status| status.name == name);
    for name in loaded.settings.secrets.keys().filter(|name| !is_in_force(name.as_str())) {
        findings.push(Finding::ill("it is configured on disk and not in force", "rekeyctl reload").of(name.as_str()));
    }
    let looks = statuses.iter().map(|status| secret(&daemon, loaded, status));
    let of_each: Vec<Vec<Finding>> = futures_util::stream::iter(looks).buffered(AT_ONCE).collect().await;
    findings.extend(of_each.into_iter().flatten());
    Ok(())
}

fn running(condition: &Condition) -> Finding {
    let installed = env!("CARGO_PKG_VERSION");
    if condition.version == installed {
        Finding::well(format!("rekeyd {installed} is running"))
    } else {
        let what = format!("rekeyd {} is running, and {installed} is installed", condition.version);
        Finding::ill(what, "systemctl restart rekeyd")
    }
}

/// What there is to say of a secret: that it is well, or everything that is not.
async fn secret(daemon: &ManagerProxy<'_>, loaded: &Loaded, status: &SecretStatus) -> Vec<Finding> {
    let name = &status.name;
    let mut findings = Vec::new();
    let mut ill = |what: &str, advice: String| findings.push(Finding::ill(what, advice).of(name));
    match (status.state.as_str(), &status.hold) {
        // The store as a whole has been told of.
        ("locked", _) => return Vec::new(),
        ("on-hold", Some(hold)) => {
            ill(&format!("on hold: {hold}"), format!("rekeyctl history {name}; mend it; then rekeyctl release {name}"));
        }
        (_, Some(trouble)) => ill(trouble, String::new()),
        ("not-adopted", None) => ill("the value in force is not known", format!("rekeyctl adopt {name}")),
        ("rotating", None) => {}
        _ => match verify(daemon, name).await {
            Ok(_) => findings.push(Finding::well("the value in force is proven").of(name)),
            Err(error) => ill(&format!("the value in force cannot be proven: {}", words(&error)), String::new()),
        },
    }
    // The list says what was noticed last; this looks.
    let now: Option<SecretStatus> = daemon.get_secret(name).await.ok().and_then(|text| document(&text).ok());
    for drift in now.as_ref().map_or(&status.drift, |now| &now.drift) {
        let (what, advice) = drift.split_once(" — ").unwrap_or((drift, ""));
        findings.push(Finding::ill(what, advice).of(name));
    }
    for waiting in now.iter().flat_map(|now| &now.waiting) {
        let (what, advice) = waiting.split_once(" — ").unwrap_or((waiting, ""));
        findings.push(Finding { advice: advice.to_owned(), ..Finding::well(what) }.of(name));
    }
    let is_scheduled = loaded.settings.secrets.values().any(|one| one.name.as_str() == name && one.schedule.is_some());
    if is_scheduled && status.next.is_none() {
        let advice = format!("rekeyctl reload; systemctl status rekeyd-rotate@{name}.timer");
        findings.push(Finding::ill("the timer of its schedule does not run", advice).of(name));
    }
    if status.weak {
        let finding = Finding::ill(format!("of the value in force: {WEAK}"), format!("rekeyctl rotate {name}"));
        findings.push(finding.of(name));
    }
    if status.paused {
        let finding = Finding::ill("its schedule is paused", format!("rekeyctl resume {name}"));
        findings.push(finding.of(name));
    }
    if let Some(last) = &status.last
        && let Some(at) = status.retry_at.or(status.next.filter(|_| status.waits_for_schedule))
    {
        let cause = last.outcome.cause().map(fault_in_words).unwrap_or_default();
        let finding = Finding::ill(format!("the last rotation was rolled back: {cause}"), format!("next try: {at:.0}"));
        findings.push(finding.of(name));
    }
    if let Some(fault) = status.last.as_ref().and_then(|last| last.hook_failed.as_ref()) {
        let what = format!("what was to follow the last rotation failed: {}", fault.message);
        findings.push(Finding::ill(what, fault.advice.clone()).of(name));
    }
    if let Some(TurnedAway { cause, since }) = &status.turned_away {
        let what = format!("its timer was refused since {since:.0}: {}", cause.message);
        findings.push(Finding::ill(what, cause.advice.clone()).of(name));
    }
    findings
}

/// Proves the value in force. Whoever asks for many is told to ask later, and does.
async fn verify(daemon: &ManagerProxy<'_>, name: &str) -> Result<String, Error> {
    let until = Instant::now() + PATIENCE;
    loop {
        match daemon.verify(name).await {
            Err(Error::Busy(_)) if Instant::now() < until => sleep(LATER).await,
            verified => return verified,
        }
    }
}

fn words(error: &Error) -> String {
    match error {
        Error::Refused(text) | Error::Busy(text) | Error::Failed(text) | Error::NotAllowed(text) => text.clone(),
        other => other.to_string(),
    }
}
