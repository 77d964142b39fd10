//! Programs that run in units of their own: not as children, which would inherit the daemon's sandbox.

use std::io::ErrorKind;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixListener;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, sleep};
use zbus::wire::{Fd, Variant};
use zeroize::Zeroizing;

use super::call::LOOK;
use super::job::JobEnd;
use super::{Systemd, SystemdError};
use crate::secret::SecretValue;
use crate::sys::command::{Command, End, NotRun, PRINTED, Prints, Ran, Runner, VALUE_FILE};
use crate::sys::files;

/// How long a session may take to open.
const SESSION: Duration = Duration::from_secs(10);
/// How long a program may take to end once its time is over, before it is killed.
const GRACE: Duration = Duration::from_secs(10);
/// The name of the credential that a value is.
const VALUE: &str = "value";
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
        while !self.active_units(&[command.unit]).await.map_err(not_run)?.is_empty() && Instant::now() < deadline {
            sleep(LOOK).await;
        }
        let offered = command.value.map(|value| Offered::begin(command.unit, value)).transpose();
        let offered = offered.map_err(|error| NotRun::new(command, error))?;
        let mut printed = None;
        if command.prints == Prints::ToCaller {
            let pipes = Printed::begin().and_then(|stdout| Ok((stdout, Printed::begin()?)));
            printed = Some(pipes.map_err(|error| NotRun::new(command, error.to_string()))?);
        }
        let end = self.run_unit(command, offered.as_ref(), printed.as_mut()).await.map_err(not_run)?;
        let mut ran = Ran { end, ..Ran::default() };
        if let Some((stdout, stderr)) = printed {
            (ran.stdout, ran.stderr) = (stdout.end().await, stderr.end().await);
        }
        Ok(ran)
    }
}

impl Systemd {
    async fn run_unit(
        &self,
        command: &Command<'_>,
        offered: Option<&Offered>,
        printed: Option<&mut (Printed, Printed)>,
    ) -> Result<End, SystemdError> {
        let micros = |time: Duration| Variant::from(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        let program = command.argv.first().map_or("", String::as_str);
        let argv: Vec<&str> = command.argv.iter().map(String::as_str).collect();
        let mut environment: Vec<&str> = command.environment.iter().map(String::as_str).collect();
        let value_file = format!("{VALUE_FILE}=/run/credentials/{}/{VALUE}", command.unit);
        let directory = command.directory.map(|directory| directory.display().to_string());
        let mut properties: Vec<(&str, Variant<'_>)> = vec![
            ("Description", Variant::from(command.description)),
            ("Type", Variant::from("oneshot")),
            ("ExecStart", Variant::from(vec![(program, argv, false)])),
            ("TimeoutStartUSec", micros(command.limit)),
            ("TimeoutStopUSec", micros(GRACE)),
            ("StandardInput", Variant::from("data")),
            ("StandardInputData", Variant::from(command.input.as_slice())),
            ("KillMode", Variant::from("control-group")),
            ("CollectMode", Variant::from("inactive-or-failed")),
            // It stays until it was asked how it ended.
            ("AddRef", Variant::from(true)),
        ];
        if command.prints == Prints::ToNobody {
            properties.extend(["StandardOutput", "StandardError"].map(|stream| (stream, Variant::from("null"))));
        }
        if let Some(user) = command.user {
            properties.push(("User", Variant::from(user)));
        }
        if let Some(directory) = &directory {
            properties.push(("WorkingDirectory", Variant::from(directory.as_str())));
        }
        if let Some(offered) = offered {
            environment.push(&value_file);
            properties
                .push(("LoadCredential", Variant::from(vec![(VALUE, offered.socket.to_str().unwrap_or_default())])));
        }
        properties.push(("Environment", Variant::from(environment)));
        let written = printed.map(|(stdout, stderr)| (stdout.writer.take(), stderr.writer.take()));
        if let Some((Some(stdout), Some(stderr))) = &written {
            properties.push(("StandardOutputFileDescriptor", Variant::from(Fd::from(stdout.as_fd()))));
            properties.push(("StandardErrorFileDescriptor", Variant::from(Fd::from(stderr.as_fd()))));
        }
        let aux: Vec<(&str, Vec<(&str, Variant<'_>)>)> = Vec::new();
        let mut ends = self.ends().await?;
        let reply = self.manager("StartTransientUnit", &(command.unit, "fail", properties, aux)).await?;
        drop(written);
        let end = self.follow(&reply, &mut ends, Instant::now() + command.limit + GRACE + 100 * LOOK).await?;
        let end = if end == JobEnd::Result("done".to_owned()) { End::Well } else { self.how_it_ended(command).await };
        let _ = self.manager("UnrefUnit", &command.unit).await;
        Ok(end)
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
    socket: PathBuf,
    server: AbortHandle,
}

impl Offered {
    /// # Errors
    /// Where no socket can be made.
    fn begin(unit: &str, value: &SecretValue) -> Result<Self, String> {
        let directory = Path::new(SOCKETS);
        files::ensure_dir(directory, 0o700).map_err(|error| error.to_string())?;
        let socket = directory.join(unit);
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
        Ok(Self { socket, server: server.abort_handle() })
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        self.server.abort();
        let _ = files::remove(&self.socket);
    }
}

/// One stream of what a program prints.
struct Printed {
    /// The program's end, until it is the program's.
    writer: Option<OwnedFd>,
    reader: JoinHandle<Zeroizing<Vec<u8>>>,
    over: Arc<Notify>,
}

impl Printed {
    fn begin() -> std::io::Result<Self> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        let over = Arc::new(Notify::new());
        let reader = tokio::spawn(read(Receiver::from_owned_fd(reader)?, Arc::clone(&over)));
        Ok(Self { writer: Some(writer), reader, over })
    }

    /// What was printed until now. systemd may hold the program's end of the pipe for longer than the program lives.
    async fn end(mut self) -> Zeroizing<Vec<u8>> {
        drop(self.writer.take());
        self.over.notify_one();
        self.reader.await.unwrap_or_default()
    }
}

/// Reads to the end, or, once all is over, what is there.
async fn read(pipe: Receiver, over: Arc<Notify>) -> Zeroizing<Vec<u8>> {
    // All at once, since a buffer that grows leaves copies of what it held.
    let mut printed = Zeroizing::new(Vec::with_capacity(PRINTED));
    let mut part = Zeroizing::new([0; 16 * 1024]);
    let mut is_over = false;
    loop {
        match pipe.try_read(&mut part[..]) {
            Ok(0) => return printed,
            Ok(count) => {
                let room = count.min(PRINTED - printed.len());
                printed.extend_from_slice(&part[..room]);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock && is_over => return printed,
            Err(error) if error.kind() == ErrorKind::WouldBlock => tokio::select! {
                _ = pipe.readable() => {}
                () = over.notified() => is_over = true,
            },
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return printed,
        }
    }
}
