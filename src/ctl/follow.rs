//! Following a rotation to its end, step by step. Ctrl-C only stops following.

use std::future::Future;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::{Instant, sleep};

use zbus::fdo::DBusProxy;
use zbus::names::WellKnownName;
use zbus::proxy::MethodFlags;

use super::exit::is_denied;
use super::{Exit, Out, document};
use crate::dbus::rekeyd1::{Error, ManagerProxy, NAME};
use crate::record::{Actor, Happening, HookCame, Record, RotationId, Standing, text};
use crate::rotation::Outcome;

/// How long a daemon that has gone away, to be restarted or upgraded, may take to come back.
const GONE: Duration = Duration::from_secs(120);
/// A signal is not relied on alone, and none comes from a daemon that took over: how often it is asked besides.
const LOOK: Duration = Duration::from_secs(1);
/// How long what follows on the end may take to be recorded.
const OWED: Duration = Duration::from_secs(5);
/// How often it is asked for.
const SOON: Duration = Duration::from_millis(100);

/// Starts `doing` a rotation with `start`, which returns its id, and prints every step until it ends.
///
/// # Errors
/// Where it is not accepted, or the daemon is gone for good.
pub(super) async fn follow(
    out: &Out,
    daemon: &ManagerProxy<'_>,
    name: &str,
    doing: &str,
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
    let mut progress = daemon.receive_progressed().await?;
    // The daemon that begins the rotation tells of it. Whoever may look asks another one, that goes on with it.
    let mut reader = match history(daemon, name).await {
        Err(Error::Bus(error)) if is_denied(&error) => Reader::Guest(owner(daemon).await),
        _ => Reader::Member,
    };
    let asked_at = jiff::Timestamp::now();
    let id = match start.await {
        Err(error) if is_lost(&error) && reader == Reader::Member => requested(out, daemon, name, asked_at).await?,
        id => id?,
    };
    if reader == Reader::Guest(None) {
        // The daemon was started by the request itself.
        reader = Reader::Guest(owner(daemon).await);
    }
    if !out.json {
        out.text(&format!("{doing} {name}, rotation {id}"));
    }
    let mut story =
        Story { out, daemon, name, id: &id, told: 0, hook_failed: false, outcome: None, is_forgotten: false };
    let mut seen = Instant::now();
    let mut is_gone = false;
    loop {
        tokio::select! {
            Some(signal) = signals.next() => {
                let Ok(happened) = signal.args() else { continue };
                if *happened.rotation() == id {
                    story.hear(&document(happened.record())?, happened.line()).await;
                }
            }
            Some(signal) = progress.next() => {
                let Ok(progressed) = signal.args() else { continue };
                if *progressed.rotation() == id && !out.json {
                    out.goes_on(progressed.line());
                }
            }
            () = sleep(LOOK), if reader != Reader::Member => {
                if reader != Reader::Guest(owner(daemon).await) {
                    return Err(lost_sight(&id));
                }
            }
            () = sleep(LOOK), if reader == Reader::Member => match story.catch_up().await {
                Ok(_) => (seen, is_gone) = (Instant::now(), false),
                Err(error) if seen.elapsed() > GONE => return Err(error),
                Err(_) if !is_gone => {
                    is_gone = true;
                    out.note("rekeyd has gone away; waiting for it to come back and go on");
                }
                Err(_) => {}
            },
            _ = tokio::signal::ctrl_c() => {
                out.note(&format!("no longer following; the rotation goes on: rekeyctl status {name}"));
                return Ok(Exit::Interrupted);
            }
        }
        if story.is_forgotten {
            out.note(&format!(
                "rotation {id} is not in the records any more: the store of {name} was lost, or restored from an earlier \
                 time; what to do says: rekeyctl status {name}"
            ));
            return Ok(Exit::RollbackFailed);
        }
        if let Some(outcome) = &story.outcome {
            let exit = Exit::from(outcome).worse(if story.hook_failed { Exit::Failed } else { Exit::Done });
            if reader == Reader::Member {
                story.hear_out().await;
            }
            return Ok(exit);
        }
    }
}

/// What the follower may see.
#[derive(PartialEq, Eq)]
enum Reader {
    /// Everything: root, or of the group.
    Member,
    /// The signals of its own rotation, from the daemon of this name.
    Guest(Option<String>),
}

/// Who the daemon is on the bus now.
async fn owner(daemon: &ManagerProxy<'_>) -> Option<String> {
    let bus = DBusProxy::new(daemon.inner().connection()).await.ok()?;
    let name = WellKnownName::try_from(NAME).ok()?;
    bus.get_name_owner(name.into()).await.ok().map(|owner| owner.to_string())
}

fn lost_sight(id: &str) -> Error {
    Error::Bus(zbus::Error::Failure(format!(
        "it has gone away, and ends rotation {id} when it is back; root and the group rekeyd can see how"
    )))
}

/// Does so for a timer: where the daemon ended before it had recorded what the timer asked for, the next one is asked. Nobody
/// else would until the next date.
///
/// # Errors
/// Where it is not accepted, or no daemon comes back.
pub(super) async fn follow_scheduled<S: Future<Output = Result<String, Error>>>(
    out: &Out,
    daemon: &ManagerProxy<'_>,
    name: &str,
    doing: &str,
    start: impl Fn() -> S,
) -> Result<Exit, Error> {
    loop {
        let former = owner(daemon).await;
        let ended = follow(out, daemon, name, doing, false, start()).await;
        if !matches!(ended, Err(Error::Busy(_))) || !is_replaced(daemon, former).await {
            return ended;
        }
    }
}

/// Whether another daemon than `former` comes. It is not started for this: somebody may have stopped it.
async fn is_replaced(daemon: &ManagerProxy<'_>, former: Option<String>) -> bool {
    let until = Instant::now() + GONE;
    while Instant::now() < until {
        let now = owner(daemon).await;
        if now.is_some() && now != former {
            return true;
        }
        sleep(LOOK).await;
    }
    false
}

/// Whether the daemon died between the request and its answer: what became of the request is in the records.
fn is_lost(error: &Error) -> bool {
    match error {
        Error::Bus(zbus::Error::MethodError(name, ..)) => name.as_str() == "org.freedesktop.DBus.Error.NoReply",
        Error::Bus(zbus::Error::FDO(error)) => matches!(**error, zbus::fdo::Error::NoReply(_)),
        _ => false,
    }
}

/// The rotation that this program asked for, from the records.
async fn requested(
    out: &Out,
    asker: &ManagerProxy<'_>,
    name: &str,
    asked_at: jiff::Timestamp,
) -> Result<String, Error> {
    out.note("rekeyd has gone away; waiting for it to come back");
    let own = asker.inner().connection().unique_name().map(|name| name.to_string());
    let is_own = |record: &Record| match &record.what {
        Happening::Requested { actor: Actor::Person { sender, .. }, .. } => Some(sender) == own.as_ref(),
        // No two timers of a secret ask at once.
        Happening::Requested { actor: Actor::Timer | Actor::Retry, .. } => record.at >= asked_at,
        _ => false,
    };
    let until = Instant::now() + GONE;
    loop {
        match history_where_it_runs(asker, name).await {
            Ok(records) => {
                let asked = records.iter().rev().find(|record| is_own(record));
                return asked.and_then(|record| record.rotation.as_ref()).map(ToString::to_string).ok_or_else(|| {
                    Error::Busy(format!("rekeyd died before it recorded the request: nothing was touched; ask again: rekeyctl rotate {name}"))
                });
            }
            Err(error) if Instant::now() > until => return Err(error),
            Err(_) => sleep(LOOK).await,
        }
    }
}

async fn history(daemon: &ManagerProxy<'_>, name: &str) -> Result<Vec<Record>, Error> {
    document(&daemon.history(name).await?)
}

/// The same, of a daemon that runs: who has stopped it does not want it started for this.
async fn history_where_it_runs(daemon: &ManagerProxy<'_>, name: &str) -> Result<Vec<Record>, Error> {
    let said: Option<String> = daemon.inner().call_with_flags("History", MethodFlags::NO_AUTO_START, &name).await?;
    document(&said.unwrap_or_default())
}

/// What was told of a rotation so far.
struct Story<'a> {
    out: &'a Out,
    daemon: &'a ManagerProxy<'a>,
    name: &'a str,
    id: &'a str,
    /// The last record's number.
    told: u64,
    hook_failed: bool,
    outcome: Option<Outcome>,
    /// Whether the records know nothing of it any more.
    is_forgotten: bool,
}

impl Story<'_> {
    /// Tells a record that a signal brought. After one that was missed, all are asked for, so that none is left out.
    async fn hear(&mut self, record: &Record, line: &str) {
        let is_next = record.seq == self.told + 1 || matches!(record.what, Happening::Requested { .. });
        if is_next || self.catch_up().await.is_err() {
            self.tell(record, line);
        }
    }

    fn tell(&mut self, record: &Record, line: &str) {
        if record.seq <= self.told {
            return;
        }
        self.told = record.seq;
        if self.out.json {
            self.out.document(record);
        } else if let Happening::Began { phase } = &record.what {
            self.out.progress(phase.step_name());
        } else if !line.is_empty() {
            self.out.step(line);
        }
        match &record.what {
            Happening::Hook { came: HookCame::Failed { .. }, .. } => self.hook_failed = true,
            Happening::Ended { outcome, .. } => self.outcome = Some(outcome.clone()),
            _ => {}
        }
    }

    /// Tells what follows on the end, too: a hold, and when the overlap ends.
    async fn hear_out(&mut self) {
        let until = Instant::now() + OWED;
        while let Ok(standing) = self.catch_up().await
            && owes(&standing)
            && Instant::now() < until
        {
            sleep(SOON).await;
        }
    }

    /// Asks for the records, and tells what was missed. Returns what they add up to.
    async fn catch_up(&mut self) -> Result<Standing, Error> {
        let records = history_where_it_runs(self.daemon, self.name).await?;
        let mut standing = Standing::default();
        // It was recorded before its id was told.
        self.is_forgotten = true;
        for record in &records {
            let _ = standing.apply(record);
            if record.rotation.as_ref().map(RotationId::as_str) == Some(self.id) {
                self.is_forgotten = false;
                self.tell(record, &text::line(record, &standing).unwrap_or_default());
            }
        }
        Ok(standing)
    }
}

/// Whether what follows on the end of a rotation is not recorded yet.
fn owes(standing: &Standing) -> bool {
    standing.hold_owed().is_some() || standing.retire_owed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Hold;
    use crate::rotation::{Generation, View};

    #[test]
    fn the_end_of_an_overlap_is_waited_for_until_it_is_recorded() {
        let overlap = View { primary: Generation::FIRST.next(), accepted: vec![Generation::FIRST] };
        let open = Standing { in_force: Some(overlap), ..Standing::default() };
        assert!(owes(&open));
        assert!(!owes(&Standing { retire_at: Some(jiff::Timestamp::UNIX_EPOCH), ..open }));
        let plain = Standing { in_force: Some(View::of(Generation::FIRST)), ..Standing::default() };
        assert!(!owes(&plain));
        assert!(!owes(&Standing { hold: Some(Hold::RollbackFailed), ..plain }));
    }
}
