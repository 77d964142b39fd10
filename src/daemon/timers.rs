//! Transient timers, whose times only the records know: the next try of a rotation, the end of an overlap, the dead
//! man's rollback. No template of any of them may exist: systemd refuses a transient unit that has a file.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use crate::config::SecretName;
use crate::dbus::systemd1::{Elapse, Systemd, SystemdError};
use crate::record::{RotationId, Standing};
use crate::rotation::Phase;

/// How soon a transient timer elapses whose time has passed.
const SOON: Duration = Duration::from_secs(30);

/// A timer that was stopped is known to systemd for a moment longer, in which none of its name can be made.
const GONE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(50);

/// How often it is seen whether the daemon is still there.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Makes the transient timers that the records call for, where they are not there, and stops those that they do not: of the
/// next try, of the end of an overlap, and, with `dead_man`, of the rollback of what is under way.
///
/// # Errors
/// What could not be armed, and why.
pub async fn arm(systemd: &Systemd, name: &SecretName, standing: &Standing, dead_man: bool) -> Result<(), String> {
    let (retry, retire) = (retry_timer(name), retire_timer(name));
    for (timer, at) in [(&retry, standing.retry_at), (&retire, standing.retire_at)] {
        if at.is_none() && !systemd.active_units(&[timer]).await.unwrap_or_default().is_empty() {
            // A rotation was committed meanwhile, or the secret is on hold, or a person has ended the overlap.
            let _ = systemd.stop(timer).await;
        }
    }
    if let Some(at) = standing.retry_at {
        let armed = start_at(systemd, &retry, &format!("Next try to rotate the secret {name}"), at).await;
        armed.map_err(|error| format!("the next try cannot be armed: {error}"))?;
    }
    if let Some(transaction) = &standing.transaction
        && dead_man
        && transaction.phase().is_some_and(Phase::may_have_touched)
    {
        let armed = arm_dead_man(systemd, &transaction.id, SOON).await;
        armed.map_err(|error| format!("the dead man's rollback cannot be armed: {error}"))?;
    }
    if let Some(at) = standing.retire_at {
        let description = format!("End of the overlap of the secret {name}");
        start_at(systemd, &retire, &description, at).await.map_err(|error| {
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

/// Has a transient timer elapse at `at`, also where there is one that elapses at another time, or has elapsed and waits for
/// the end of what it started, which may be who asks. One whose time has passed is not run at once: the machine may just be
/// booting.
async fn start_at(systemd: &Systemd, timer: &str, description: &str, at: Timestamp) -> Result<(), SystemdError> {
    let (now, until) = (Timestamp::now(), Instant::now() + GONE);
    let calendar = at.max(now + SOON).strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    loop {
        if !systemd.active_units(&[timer]).await?.is_empty() {
            let is_right = |next: u64| at < now || i64::try_from(next / 1_000_000) == Ok(at.as_second());
            if systemd.next_elapse(timer).await?.is_some_and(is_right) {
                return Ok(());
            }
            systemd.stop(timer).await?;
        }
        let elapse = Elapse::At { calendar: calendar.clone() };
        match systemd.start_transient_timer(timer, description, &elapse).await {
            Err(error) if is_known(&error) && Instant::now() < until => sleep(LOOK).await,
            started => return started,
        }
    }
}

fn made(started: Result<(), SystemdError>) -> Result<(), SystemdError> {
    match started {
        // Somebody else was faster.
        Err(error) if is_known(&error) => Ok(()),
        started => started,
    }
}

fn is_known(error: &SystemdError) -> bool {
    matches!(error, SystemdError::Refused { name, .. } if name.ends_with(".UnitExists"))
}
