//! Commands of the administrator's, each run in a unit of its own: not as children, which would inherit the daemon's
//! sandbox.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use zbus::wire::Variant;

use super::call::LOOK;
use super::job::JobEnd;
use super::{Systemd, SystemdError};

/// How long a session may take to open.
const SESSION: Duration = Duration::from_secs(10);

/// A command.
#[derive(Clone, Debug)]
pub struct Command<'a> {
    /// The unit that it runs in: `rekeyd-….service`.
    pub unit: &'a str,
    /// What `systemctl status` says of it.
    pub description: &'a str,
    /// The program, an absolute path, and its arguments.
    pub argv: &'a [String],
    /// As whom; root where it is left out.
    pub user: Option<&'a str>,
    /// Its environment, besides what systemd gives to every service.
    pub environment: Vec<String>,
    /// What it reads on its standard input.
    pub input: Vec<u8>,
    /// How long it may take.
    pub limit: Duration,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ran {
    /// With exit status 0.
    Well,
    /// In another way, in words.
    Badly(String),
}

impl Systemd {
    /// Runs a command to its end. What it prints goes to the journal, under the unit's name.
    ///
    /// # Errors
    /// Where systemd does not start it.
    pub async fn run(&self, command: &Command<'_>) -> Result<Ran, SystemdError> {
        let deadline = Instant::now() + command.limit;
        // One that an earlier daemon has begun ends first.
        while !self.active_units(&[command.unit]).await?.is_empty() && Instant::now() < deadline {
            sleep(LOOK).await;
        }
        let micros = u64::try_from(command.limit.as_micros()).unwrap_or(u64::MAX);
        let program = command.argv.first().map_or("", String::as_str);
        let argv: Vec<&str> = command.argv.iter().map(String::as_str).collect();
        let environment: Vec<&str> = command.environment.iter().map(String::as_str).collect();
        let mut properties: Vec<(&str, Variant<'_>)> = vec![
            ("Description", Variant::from(command.description)),
            ("Type", Variant::from("oneshot")),
            ("ExecStart", Variant::from(vec![(program, argv, false)])),
            ("Environment", Variant::from(environment)),
            ("TimeoutStartUSec", Variant::from(micros)),
            ("StandardInput", Variant::from("data")),
            ("StandardInputData", Variant::from(command.input.as_slice())),
            ("KillMode", Variant::from("control-group")),
            ("CollectMode", Variant::from("inactive-or-failed")),
            // It stays until it was asked how it ended.
            ("AddRef", Variant::from(true)),
        ];
        if let Some(user) = command.user {
            properties.push(("User", Variant::from(user)));
        }
        let aux: Vec<(&str, Vec<(&str, Variant<'_>)>)> = Vec::new();
        let mut ends = self.ends().await?;
        let reply = self.manager("StartTransientUnit", &(command.unit, "fail", properties, aux)).await?;
        let end = self.follow(&reply, &mut ends, Instant::now() + command.limit + 100 * LOOK).await?;
        let ran = if end == JobEnd::Result("done".to_owned()) { Ran::Well } else { self.how_it_ended(command).await };
        let _ = self.manager("UnrefUnit", &command.unit).await;
        Ok(ran)
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

    async fn how_it_ended(&self, command: &Command<'_>) -> Ran {
        let asked = async {
            let path = self.unit_path(command.unit).await?;
            let service = "org.freedesktop.systemd1.Service";
            let result = self.property(&path, service, "Result").await?;
            let status = self.property(&path, service, "ExecMainStatus").await?;
            Ok::<_, SystemdError>((String::try_from(result).unwrap_or_default(), i32::try_from(status).unwrap_or(-1)))
        };
        let program = command.argv.first().map(Path::new).and_then(Path::file_name).unwrap_or_default();
        let program = program.to_string_lossy();
        match asked.await {
            Ok((result, _)) if result == "success" => Ran::Well,
            Ok((result, status)) if result == "exit-code" => {
                Ran::Badly(format!("{program} ended with status {status}"))
            }
            Ok((result, _)) if result == "timeout" => {
                Ran::Badly(format!("{program} did not end within {} s", command.limit.as_secs()))
            }
            Ok((result, _)) => Ran::Badly(format!("{program} failed ({result})")),
            Err(error) => Ran::Badly(format!("how {program} ended cannot be known: {error}")),
        }
    }
}
