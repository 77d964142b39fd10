//! Following a rotation to its end, step by step. Ctrl-C only stops following.

use std::future::Future;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep, timeout};

use super::{Exit, Out, daemon, document};
use crate::dbus::rekeyd1::{Error, ManagerProxy, SecretStatus};
use crate::record::{Happening, Record};

/// How long a daemon that has gone away, to be restarted or upgraded, may take to come back.
const GONE: Duration = Duration::from_secs(120);
/// Signals are not relied on alone: how often the state is read besides.
const LOOK: Duration = Duration::from_secs(2);

/// Starts a rotation with `start`, which returns its id, and prints every step until it ends.
///
/// # Errors
/// Where it is not accepted, or the daemon is gone for good.
pub(super) async fn follow(
    out: &Out,
    daemon: &ManagerProxy<'_>,
    name: &str,
    no_wait: bool,
    start: impl Future<Output = Result<String, Error>>,
) -> Result<Exit, Error> {
    if no_wait {
        let id = start.await?;
        if out.json {
            out.document(&serde_json::json!({ "rotation": id }));
        } else {
            out.text(&format!("rotation {id} of {name} has begun; follow it with: journalctl -f REKEYD_ROTATION={id}"));
        }
        return Ok(Exit::Done);
    }
    let mut signals = daemon.receive_happened().await?;
    daemon.subscribe().await?;
    let id = start.await?;
    if !out.json {
        out.text(&format!("rotating {name}, rotation {id}"));
    }
    loop {
        tokio::select! {
            signal = signals.next() => {
                let Some(signal) = signal else { return wait_for_end(out, name, &id).await };
                let Ok(happened) = signal.args() else { continue };
                if *happened.rotation() != id {
                    continue;
                }
                let record: Record = document(happened.record())?;
                print(out, happened.line(), happened.record());
                if let Happening::Ended { outcome, .. } = &record.what {
                    // The hold, if there is one, is told right after.
                    if let Ok(Some(next)) = timeout(Duration::from_millis(200), signals.next()).await
                        && let Ok(happened) = next.args()
                        && *happened.rotation() == id
                    {
                        print(out, happened.line(), happened.record());
                    }
                    return Ok(outcome.into());
                }
            }
            () = sleep(LOOK) => {
                match ended(daemon, name, &id).await {
                    Ok(Some(exit)) => return Ok(exit),
                    Ok(None) => {}
                    Err(Error::Bus(_)) => return wait_for_end(out, name, &id).await,
                    Err(error) => return Err(error),
                }
            }
            _ = tokio::signal::ctrl_c() => {
                out.fail(Exit::Done, &format!("no longer following; the rotation goes on: rekeyctl status {name}"));
                return Ok(Exit::Done);
            }
        }
    }
}

fn print(out: &Out, line: &str, record: &str) {
    if out.json {
        if let Ok(record) = serde_json::from_str::<&RawValue>(record) {
            out.document(&record);
        }
    } else if !line.is_empty() {
        out.step(line);
    }
}

/// The daemon has gone; the rotation is taken up by the next one.
async fn wait_for_end(out: &Out, name: &str, id: &str) -> Result<Exit, Error> {
    out.fail(Exit::Done, "rekeyd has gone away; waiting for it to come back and go on");
    let until = Instant::now() + GONE;
    loop {
        let looked = match daemon().await {
            Ok(daemon) => ended(&daemon, name, id).await,
            Err(error) => Err(error),
        };
        match looked {
            Ok(Some(exit)) => return Ok(exit),
            Err(error) if Instant::now() > until => return Err(error),
            Ok(None) | Err(_) => sleep(Duration::from_millis(500)).await,
        }
    }
}

async fn ended(daemon: &ManagerProxy<'_>, name: &str, id: &str) -> Result<Option<Exit>, Error> {
    let status: SecretStatus = document(&daemon.get_secret(name).await?)?;
    let last = status.last.filter(|last| last.id.as_str() == id);
    Ok(last.map(|last| Exit::from(&last.outcome)))
}
