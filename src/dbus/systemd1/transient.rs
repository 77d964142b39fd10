//! Programs that run in units of their own: not as children, which would inherit the daemon's sandbox.

use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use rustix::process::Signal;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixListener;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};
use zbus::wire::{Fd, Variant};

use super::call::LOOK;
use super::job::JobEnd;
use super::{MANAGER, PATH, Systemd, SystemdError};
use crate::secret::SecretValue;
use crate::sys::command::{ACCEPTED_FILES, Command, End, NotRun, Prints, Ran, Runner, Shown, User, VALUE_FILE};
use crate::sys::printed::Printed;
use crate::sys::{files, kept};

/// How long a session may take to open.
const SESSION: Duration = Duration::from_secs(10);
/// How long a program may take to end once its time is over, before it is killed.
const GRACE: Duration = Duration::from_secs(10);
/// The name of the credential that a value is.
const VALUE: &str = "value";
/// Those of the values that are accepted besides have numbers from 1.
const ACCEPTED: &str = "accepted";
/// Where it is kept what programs printed that failed: for root alone.
pub const OUTPUT: &str = "/var/lib/rekeyd/output";
/// So many former runs may have left something that lives on.
const FORMER: u32 = 16;
/// In these states of a unit there is something of it still.
const BUSY: [&str; 3] = ["active", "activating", "deactivating"];
/// What systemd says to a program besides; the rest of the manager's environment is taken away.
const BASE: [&str; 3] = ["PATH", "LANG", "LC_ALL"];
/// Where the sockets are that systemd reads values from.
const SOCKETS: &str = "/var/lib/rekeyd/values";

#[async_trait]
impl Runner for Systemd {
    /// In a transient unit; a value is a credential of the unit (systemd.exec(5)), which systemd reads from a socket of ours,
    /// so that it stands in no file and on no bus.
    async fn run(&self, command: &Command<'_>) -> Result<Ran, NotRun> {
        let not_run = |error: SystemdError| NotRun::new(command, error.to_string());
        let deadline = Instant::now() + command.limit;
        // One that an earlier daemon has begun ends first.
        let former = [command.unit, &numbered(command.unit, "*")];
        while !self.units_that_are(&BUSY, &former).await.map_err(not_run)?.is_empty() && Instant::now() < deadline {
            sleep(LOOK).await;
        }
        let kept = output(command.unit);
        let unit = match command.prints {
            Prints::ToFile => self.free_unit(command.unit).await,
            _ => command.unit.to_owned(),
        };
        let command = &Command { unit: &unit, ..command.clone() };
        let offered = command.value.as_ref().map(|shown| Offered::begin(command.unit, shown)).transpose();
        let offered = offered.map_err(|error| NotRun::new(command, error))?.unwrap_or_default();
        let begin = |wanted: bool| wanted.then(Printed::begin).transpose();
        let printed = begin(matches!(command.prints, Prints::ToCaller | Prints::Answer))
            .and_then(|stdout| Ok((stdout, begin(command.prints == Prints::ToCaller)?)));
        let (stdout, stderr) = printed.map_err(|error| NotRun::new(command, error.to_string()))?;
        if command.prints.is_kept() {
            kept::begin(&kept).map_err(|error| NotRun::new(command, error.to_string()))?;
        }
        let ran = self.run_unit(command, &offered, &kept, (stdout.as_ref(), stderr.as_ref())).await;
        let mut ran = ran.map_err(not_run)?;
        if command.prints.is_kept() {
            kept::end(&kept, ran.end != End::Well || ran.is_survived);
        }
        if let Some(stdout) = stdout {
            ran.stdout = stdout.end();
        }
        if let Some(stderr) = stderr {
            ran.stderr = stderr.end();
        }
        Ok(ran)
    }

    fn said(&self, unit: &str, prints: Prints) -> String {
        match prints {
            prints if prints.is_kept() => format!("less {}", output(unit).display()),
            _ => format!("journalctl -u {unit}"),
        }
    }
}

/// The name of one of several units for the same; no secret and no target has a colon in its name.
fn numbered(unit: &str, number: &str) -> String {
    format!("{}:{number}.service", unit.strip_suffix(".service").unwrap_or(unit))
}

fn output(unit: &str) -> PathBuf {
    Path::new(OUTPUT).join(unit)
}

impl Systemd {
    async fn run_unit(
        &self,
        command: &Command<'_>,
        offered: &[Offered],
        kept: &Path,
        (stdout, stderr): (Option<&Printed>, Option<&Printed>),
    ) -> Result<Ran, SystemdError> {
        let micros = |time: Duration| Variant::from(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        let inherited = self.inherited(&command.environment).await?;
        let inherited: Vec<&str> = inherited.iter().map(String::as_str).collect();
        let program = command.argv.first().map_or("", String::as_str);
        let argv: Vec<&str> = command.argv.iter().map(String::as_str).collect();
        let mut environment: Vec<&str> = command.environment.iter().map(String::as_str).collect();
        let files = |of: &[Offered]| {
            let paths = of.iter().map(|offered| format!("/run/credentials/{}/{}", command.unit, offered.name));
            paths.collect::<Vec<_>>().join(":")
        };
        let (value, accepted) = offered.split_at(offered.len().min(1));
        let value_file = format!("{VALUE_FILE}={}", files(value));
        let accepted_files = format!("{ACCEPTED_FILES}={}", files(accepted));
        let directory = command.directory.map(|directory| directory.display().to_string());
        let mut properties: Vec<(&str, Variant<'_>)> = vec![
            ("Description", Variant::from(command.description)),
            ("Type", Variant::from("oneshot")),
            ("ExecStart", Variant::from(vec![(program, argv, false)])),
            ("TimeoutStartUSec", micros(command.limit)),
            ("TimeoutStopUSec", micros(GRACE)),
            ("StandardInput", Variant::from("data")),
            ("StandardInputData", Variant::from(command.input.as_slice())),
            ("KillMode", Variant::from(if command.prints == Prints::ToFile { "process" } else { "control-group" })),
            ("CollectMode", Variant::from("inactive-or-failed")),
            // It stays until it was asked how it ended.
            ("AddRef", Variant::from(true)),
        ];
        if command.prints == Prints::ToNobody {
            properties.extend(["StandardOutput", "StandardError"].map(|stream| (stream, Variant::from("null"))));
        }
        let kept = kept::meanwhile(kept);
        let kept = || Variant::from(kept.to_str().unwrap_or_default());
        if command.prints == Prints::ToFile {
            properties.push(("StandardOutputFileToAppend", kept()));
        }
        if command.prints.is_kept() {
            properties.push(("StandardErrorFileToAppend", kept()));
        }
        match command.user {
            User::Caller => {}
            User::Named(user) => properties.push(("User", Variant::from(user))),
            User::OfItsOwn => properties.push(("DynamicUser", Variant::from(true))),
        }
        if let Some(directory) = &directory {
            properties.push(("WorkingDirectory", Variant::from(directory.as_str())));
        }
        if !offered.is_empty() {
            environment.extend([value_file.as_str(), accepted_files.as_str()]);
            let credentials: Vec<(&str, &str)> = offered
                .iter()
                .map(|offered| (offered.name.as_str(), offered.socket.to_str().unwrap_or_default()))
                .collect();
            properties.push(("LoadCredential", Variant::from(credentials)));
        }
        properties.push(("Environment", Variant::from(environment)));
        properties.push(("UnsetEnvironment", Variant::from(inherited)));
        if let Some(stdout) = stdout {
            properties.push(("StandardOutputFileDescriptor", Variant::from(Fd::from(stdout.as_fd()))));
            // Two that are said to go the same way do so, and the descriptor is where the first one goes.
            properties.push(("StandardOutput", Variant::from("null")));
            if !command.prints.is_kept() {
                properties.push(("StandardError", Variant::from("journal")));
            }
        }
        if let Some(stderr) = stderr {
            properties.push(("StandardErrorFileDescriptor", Variant::from(Fd::from(stderr.as_fd()))));
        }
        let aux: Vec<(&str, Vec<(&str, Variant<'_>)>)> = Vec::new();
        // One whose end nobody waited for, since the deadline was over, would stay for as long as it is ours.
        let _ = self.manager("UnrefUnit", &command.unit).await;
        let mut ends = self.ends().await?;
        let reply = self.manager("StartTransientUnit", &(command.unit, "fail", properties, aux)).await;
        let reply = reply.map_err(|error| match error {
            SystemdError::Refused { name, .. } if name.ends_with(".UnitExists") => {
                SystemdError::StillRuns { unit: command.unit.to_owned() }
            }
            error => error,
        })?;
        let end = self.follow(&reply, &mut ends, Instant::now() + command.limit + GRACE + 100 * LOOK).await?;
        let end = if end == JobEnd::Result("done".to_owned()) { End::Well } else { self.how_it_ended(command).await };
        if matches!(end, End::TooLong(_)) {
            // Where nothing is left of it, that is said to be an error.
            let _ = self.manager("KillUnit", &(command.unit, "all", Signal::KILL.as_raw())).await;
        }
        let is_survived = command.prints == Prints::ToFile && self.has_processes(command.unit).await;
        let _ = self.manager("UnrefUnit", &command.unit).await;
        Ok(Ran { end, is_survived, ..Ran::default() })
    }

    /// As long as processes live on that a former run has left, its unit stays, and the next one needs another name.
    async fn free_unit(&self, unit: &str) -> String {
        let mut free = unit.to_owned();
        for number in 2..FORMER {
            let loaded = self.manager("GetUnit", &free.as_str()).await;
            if loaded.is_err_and(|error| error.is_not_loaded()) {
                return free;
            }
            free = numbered(unit, &number.to_string());
        }
        unit.to_owned()
    }

    async fn has_processes(&self, unit: &str) -> bool {
        let asked = self.manager("GetUnitProcesses", &unit).await;
        asked.is_ok_and(|reply| {
            reply.body().deserialize::<Vec<(String, u32, String)>>().is_ok_and(|processes| !processes.is_empty())
        })
    }

    /// The variables that a unit would inherit from the manager: what somebody has set there, as with `systemctl
    /// set-environment`, would win over a file that a tool reads.
    async fn inherited(&self, own: &[String]) -> Result<Vec<String>, SystemdError> {
        let all = self.property(PATH, MANAGER, "Environment").await?;
        let all: Vec<String> = all.try_into().unwrap_or_default();
        let name = |assignment: &str| assignment.split('=').next().unwrap_or_default().to_owned();
        let is_wanted = |variable: &String| {
            BASE.contains(&variable.as_str()) || own.iter().any(|assignment| name(assignment) == *variable)
        };
        Ok(all.iter().map(|assignment| name(assignment)).filter(|variable| !is_wanted(variable)).collect())
    }

    async fn how_it_ended(&self, command: &Command<'_>) -> End {
        let asked = async {
            let path = self.unit_path(command.unit).await?;
            let service = "org.freedesktop.systemd1.Service";
            let result = self.property(&path, service, "Result").await?;
            let status = self.property(&path, service, "ExecMainStatus").await?;
            Ok::<_, SystemdError>((String::try_from(result).unwrap_or_default(), i32::try_from(status).unwrap_or(-1)))
        };
        match asked.await {
            Ok((result, _)) if result == "success" => End::Well,
            Ok((result, status)) if result == "exit-code" => End::Status(status),
            Ok((result, _)) if result == "timeout" => End::TooLong(command.limit),
            Ok((result, _)) => End::Otherwise(result),
            Err(error) => End::Otherwise(format!("how it ended cannot be known: {error}")),
        }
    }

    /// Starts a process, sleep(1), in a session that PAM opens by the rules of `service`; [`Systemd::stop`] ends it. It may
    /// be on its way still.
    ///
    /// # Errors
    /// Where systemd does not start it.
    pub async fn open_session(&self, unit: &str, service: &str) -> Result<(), SystemdError> {
        let argv = vec!["/usr/bin/sleep", "60"];
        let properties: Vec<(&str, Variant<'_>)> = vec![
            ("Description", Variant::from("A session to see what a new one gets")),
            // With `exec`, systemd 252 waits for its own process that keeps the session open as well.
            ("Type", Variant::from("simple")),
            ("ExecStart", Variant::from(vec![("/usr/bin/sleep", argv, false)])),
            ("User", Variant::from("nobody")),
            ("PAMName", Variant::from(service)),
            ("CollectMode", Variant::from("inactive-or-failed")),
            ("RuntimeMaxUSec", Variant::from(60_000_000_u64)),
        ];
        let aux: Vec<(&str, Vec<(&str, Variant<'_>)>)> = Vec::new();
        let mut ends = self.ends().await?;
        let reply = self.manager("StartTransientUnit", &(unit, "replace", properties, aux)).await?;
        let end = self.follow(&reply, &mut ends, Instant::now() + SESSION).await?;
        super::job::ended_well("StartTransientUnit", unit, &end)
    }
}

/// A value that systemd may read from a socket, as often as it connects, until this is dropped.
struct Offered {
    /// The credential's name.
    name: String,
    socket: PathBuf,
    server: AbortHandle,
}

impl Offered {
    /// The value first, then those that are accepted besides.
    ///
    /// # Errors
    /// Where no socket can be made.
    fn begin(unit: &str, shown: &Shown<'_>) -> Result<Vec<Self>, String> {
        let accepted = shown.accepted.iter().enumerate();
        let accepted = accepted.map(|(number, value)| (format!("{ACCEPTED}-{}", number + 1), *value));
        let all = std::iter::once((VALUE.to_owned(), shown.value)).chain(accepted);
        all.map(|(name, value)| Self::one(unit, name, value)).collect()
    }

    fn one(unit: &str, name: String, value: &SecretValue) -> Result<Self, String> {
        let directory = Path::new(SOCKETS);
        files::ensure_dir(directory, 0o700).map_err(|error| error.to_string())?;
        // The path of a socket has room for 107 bytes, and a unit's name may have more.
        let short = hex::encode(&Sha256::digest(format!("{unit} {name}"))[..12]);
        let socket = directory.join(short);
        files::remove(&socket).map_err(|error| error.to_string())?;
        let failed = |error: std::io::Error| format!("{}: {error}", socket.display());
        let listener = UnixListener::bind(&socket).map_err(failed)?;
        let value = SecretValue::new(value.reveal().to_vec());
        let server = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                // Who hangs up has got it, or wants none.
                let _ = stream.write_all(value.reveal()).await;
            }
        });
        Ok(Self { name, socket, server: server.abort_handle() })
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        self.server.abort();
        let _ = files::remove(&self.socket);
    }
}
