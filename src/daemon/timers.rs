//! Transient timers, whose times only the records know: the next try of a rotation, the end of an overlap, the dead
//! man's rollback. No template of any of them may exist: systemd refuses a transient unit that has a file.

use std::time::Duration;

use jiff::Timestamp;

use crate::config::SecretName;
use crate::dbus::systemd1::{Elapse, Systemd, SystemdError};
use crate::record::{RotationId, Standing};
use crate::rotation::Phase;

/// How soon a transient timer elapses whose time has passed.
const SOON: Duration = Duration::from_secs(30);

/// How often it is seen whether the daemon is still there.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Makes the transient timers that the records call for, where they are not there: of the next try, and of the end of
/// an overlap.
///
/// # Errors
/// What could not be armed, and why.
pub async fn arm(systemd: &Systemd, name: &SecretName, standing: &Standing) -> Result<(), String> {
    let retry = retry_timer(name);
    if standing.retry_at.is_none() && !systemd.active_units(&[&retry]).await.unwrap_or_default().is_empty() {
        // A rotation was committed meanwhile, or the secret is on hold.
        let _ = systemd.stop(&retry).await;
    }
    if let Some(at) = standing.retry_at {
        let armed = start_once(systemd, &retry, &format!("Next try to rotate the secret {name}"), at).await;
        armed.map_err(|error| format!("the next try cannot be armed: {error}"))?;
    }
    if let Some(transaction) = &standing.transaction
        && transaction.phase().is_some_and(Phase::may_have_touched)
    {
        let armed = arm_dead_man(systemd, &transaction.id, SOON).await;
        armed.map_err(|error| format!("the dead man's rollback cannot be armed: {error}"))?;
    }
    if let Some(at) = standing.retire_at {
        let description = format!("End of the overlap of the secret {name}");
        start_once(systemd, &retire_timer(name), &description, at).await.map_err(|error| {
            format!("the end of the overlap cannot be armed: {error}; end it with rekeyctl retire {name}")
        })?;
    }
    Ok(())
}

/// Stops the transient timers of a secret. Best effort: what stays finds nothing to do.
pub async fn disarm(systemd: &Systemd, name: &SecretName) {
    for timer in [retry_timer(name), retire_timer(name)] {
        let _ = systemd.stop(&timer).await;
    }
}

/// Makes the timer that has a rotation undone should no rekeyd be there to go on with it. While one is, it does
/// nothing, and looks again a minute later.
///
/// # Errors
/// Where systemd refuses.
pub async fn arm_dead_man(systemd: &Systemd, rotation: &RotationId, after: Duration) -> Result<(), SystemdError> {
    let timer = recover_timer(rotation);
    if !systemd.active_units(&[&timer]).await?.is_empty() {
        return Ok(());
    }
    let description = format!("Rollback of the rotation {rotation}, should rekeyd be gone");
    made(systemd.start_transient_timer(&timer, &description, &Elapse::Again { after, every: LOOK_AGAIN }).await)
}

/// Stops that timer.
///
/// # Errors
/// Where systemd does not answer.
pub async fn disarm_dead_man(systemd: &Systemd, rotation: &RotationId) -> Result<(), SystemdError> {
    systemd.stop(&recover_timer(rotation)).await
}

fn recover_timer(rotation: &RotationId) -> String {
    format!("rekeyd-recover@{rotation}.timer")
}

/// The timer of a secret's retry.
fn retry_timer(name: &SecretName) -> String {
    format!("rekeyd-retry@{name}.timer")
}

/// The timer of the end of a secret's overlap.
fn retire_timer(name: &SecretName) -> String {
    format!("rekeyd-retire@{name}.timer")
}

/// Starts a transient timer that does not run yet. One whose time has passed is not run at once: the machine may just
/// be booting.
async fn start_once(systemd: &Systemd, timer: &str, description: &str, at: Timestamp) -> Result<(), SystemdError> {
    if !systemd.active_units(&[timer]).await?.is_empty() {
        return Ok(());
    }
    let at = at.max(Timestamp::now() + SOON);
    let calendar = at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    made(systemd.start_transient_timer(timer, description, &Elapse::At { calendar }).await)
}

fn made(started: Result<(), SystemdError>) -> Result<(), SystemdError> {
    match started {
        // Somebody else was faster.
        Err(SystemdError::Refused { name, .. }) if name.ends_with(".UnitExists") => Ok(()),
        started => started,
    }
}
