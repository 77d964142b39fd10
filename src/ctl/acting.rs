//! Calls that polkit may be asked about: at a terminal, a person may be asked for a password, as systemctl(1) does it.

use std::io::{IsTerminal as _, Read as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::Serialize;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use zbus::DynamicType;
use zbus::proxy::MethodFlags;
use zbus::wire::DynamicDeserialize;

use crate::dbus::rekeyd1::{Error, ManagerProxy};

/// Asks for passwords at this terminal: pkttyagent(1).
const AGENT: &str = "/usr/bin/pkttyagent";
/// How long it may take to be ready.
const READY: Duration = Duration::from_secs(3);

/// Calls a method that acts. Where there is a person at a terminal who is not root, polkit may ask them.
///
/// # Errors
/// What the daemon answers.
pub(super) async fn act<B, R>(daemon: &ManagerProxy<'_>, method: &'static str, arguments: &B) -> Result<R, Error>
where
    B: Serialize + DynamicType,
    R: for<'d> DynamicDeserialize<'d>,
{
    let is_asked = std::io::stdin().is_terminal() && !rustix::process::geteuid().is_root();
    let _agent = if is_asked { Agent::start().await } else { None };
    let flags = if is_asked { MethodFlags::ALLOW_INTERACTIVE_AUTH } else { MethodFlags::empty() };
    let reply = daemon.inner().call_with_flags(method, flags, arguments).await?;
    reply.ok_or_else(|| Error::Failed("the daemon did not answer".to_owned()))
}

/// Ends with this value.
struct Agent(Child);

impl Agent {
    /// None where it is not installed: a desktop has an agent of its own.
    async fn start() -> Option<Self> {
        let mut command = Command::new(AGENT);
        command.args(["--notify-fd", "1", "--fallback"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().ok()?;
        let ready = child.stdout.take();
        let agent = Self(child);
        // It closes the descriptor when it is registered.
        let wait = spawn_blocking(move || ready.map(|mut ready| ready.read_to_end(&mut Vec::new())));
        let _ = timeout(READY, wait).await;
        Some(agent)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It puts the terminal's settings back on SIGTERM, and could not on SIGKILL.
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.0.wait();
    }
}
