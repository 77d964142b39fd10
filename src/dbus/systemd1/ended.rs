//! The ends of jobs, as `JobRemoved` tells them: one reader for all who wait.
//!
//! The reader never waits for anybody. Were each who waits a reader, one that is slow would keep the replies to all others
//! from being read, since they come over the same connection.

use futures_util::StreamExt as _;
use tokio::sync::broadcast;
use zbus::wire::OwnedObjectPath;
use zbus::{Connection, MatchRule, MessageStream};

use super::{DESTINATION, MANAGER, Systemd, SystemdError};

/// So many ends are kept for one who is slow; who misses one looks at the job instead.
const KEPT: usize = 1024;

/// A job that was removed: its path, its unit, and its result.
type Ended = (OwnedObjectPath, String, String);

/// The ends of jobs from now on.
pub struct Ends(broadcast::Receiver<Ended>);

impl Ends {
    /// The result of this job, once it has ended; none where nobody will tell it any more.
    pub(super) async fn of(&mut self, job: &OwnedObjectPath) -> Option<String> {
        loop {
            match self.0.recv().await {
                Ok((path, _, result)) if path == *job => return Some(result),
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// The next unit whose job ends; none where nobody will tell it any more.
    pub async fn next_unit(&mut self) -> Option<String> {
        loop {
            match self.0.recv().await {
                Ok((_, unit, _)) => return Some(unit),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// The units whose jobs have ended since this was asked last; none where some were missed.
    pub fn units(&mut self) -> Option<Vec<String>> {
        let mut units = Vec::new();
        loop {
            match self.0.try_recv() {
                Ok((_, unit, _)) => units.push(unit),
                Err(broadcast::error::TryRecvError::Empty) => return Some(units),
                Err(_) => return None,
            }
        }
    }
}

/// Those who wait for the ends of jobs on one connection.
pub(super) struct Reader {
    connection: Connection,
    ends: broadcast::WeakSender<Ended>,
}

impl Systemd {
    /// Listens from now on: to be called before the job is queued, which may be over before that is answered.
    ///
    /// # Errors
    /// Where the bus is gone.
    pub async fn ends(&self) -> Result<Ends, SystemdError> {
        let connection = self.connect().await?;
        let mut reader = self.reader.lock().await;
        let is_of_this = |reader: &&Reader| reader.connection.unique_name() == connection.unique_name();
        if let Some(ends) = reader.as_ref().filter(is_of_this).and_then(|reader| reader.ends.upgrade()) {
            return Ok(Ends(ends.subscribe()));
        }
        // systemd sends no signals where nobody has subscribed.
        let _ = self.manager("Subscribe", &()).await;
        let removed = removed_jobs(&connection).await.map_err(SystemdError::Unreachable)?;
        let (sender, ends) = broadcast::channel(KEPT);
        *reader = Some(Reader { connection, ends: sender.downgrade() });
        tokio::spawn(read(removed, sender));
        Ok(Ends(ends))
    }
}

/// Until the connection ends.
async fn read(mut removed: MessageStream, ends: broadcast::Sender<Ended>) {
    while let Some(message) = removed.next().await {
        let Ok(message) = message else { continue };
        if let Ok((_, path, unit, result)) = message.body().deserialize::<(u32, OwnedObjectPath, String, String)>() {
            // Nobody may be waiting.
            let _ = ends.send((path, unit, result));
        }
    }
}

async fn removed_jobs(connection: &Connection) -> zbus::Result<MessageStream> {
    let rule = MatchRule::builder()
        .msg_type(zbus::message::Type::Signal)
        .sender(DESTINATION)
        .interface(MANAGER)
        .member("JobRemoved")
        .build()?;
    MessageStream::for_match_rule(rule, connection, None).await
}
