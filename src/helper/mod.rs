//! `rekeyd helper …`: what the daemon has no right to do itself, done in small units of their own.
//!
//! Each is a socket-activated service with one request a connection: `rekeyd-process.service` looks into other users'
//! processes and files, `rekeyd-key@.service` unseals the store's keys and seals the credentials of units,
//! `rekeyd-file.service` reads and writes files as their owner, and looks at a user's PM2 as that user,
//! `rekeyd-search@.service` looks for values where none should be. Requests and answers are lines of JSON on a socket in
//! /run/rekeyd that only root can open; values pass over it only where the daemon has to keep them, or the helper to find them.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};
use zeroize::Zeroizing;

use crate::rotation::{Fault, FaultCode};
use crate::secret::random;
use crate::store::{Keys, Locked};
use crate::text::Slot;

mod calendar;
mod file;
mod key;
mod listening;
mod pm2;
mod process;
mod questions;
mod queue;
mod search;
mod service;
mod startable;
mod wake;

pub use file::{ByHand, NotDone, Seen, Wanted};
pub use pm2::{Looked, Pm2, Pm2Question, Running, Saved};
pub use questions::{Answer, Calendar, Condition, Process, Program, Question, Variable};
pub use queue::{Company, ProcessHelper};
pub use search::{SearchHelper, Searched};
pub use wake::Wake;

/// No question takes this long; a helper that hangs must not hang the daemon.
const LIMIT: Duration = Duration::from_secs(20);
/// The kind of helper that answers one call about a file.
const ONE_FILE: &str = "one-file";
const COMING: Duration = Duration::from_secs(2);
/// A request or an answer for thousands of processes is smaller.
const LARGEST: u64 = 4 << 20;

/// A helper did not answer.
#[derive(Clone, Debug, Error)]
#[error("{socket}: {reason}", socket = socket.display())]
pub struct HelperError {
    socket: PathBuf,
    reason: String,
}

impl From<HelperError> for Fault {
    fn from(error: HelperError) -> Self {
        Self::new(FaultCode::HelperFailed, format!("rekeyd's helper does not answer: {error}"))
            .advise("systemctl status 'rekeyd-process*' 'rekeyd-key*' 'rekeyd-file*' 'rekeyd-search*'")
    }
}

/// Gets the store's keys, and seals credentials.
#[derive(Clone, Debug)]
pub struct KeyHelper(PathBuf);

impl Default for KeyHelper {
    fn default() -> Self {
        Self(PathBuf::from("/run/rekeyd/key.sock"))
    }
}

impl KeyHelper {
    /// The keys of the store; made where the store is new.
    ///
    /// # Errors
    /// Where they cannot be had, with the reason.
    pub async fn keys(&self) -> Result<Keys, Locked> {
        let answer: Result<key::Answer, _> = ask(&self.0, &key::Request::Keys).await;
        answer.map_err(|error| Locked::Unreachable(error.to_string()))?.keys()
    }

    /// Gives the store other keys, sealed to this machine; `keep` keeps those that it had beside them.
    ///
    /// # Errors
    /// Where they cannot be sealed or written, with the reason.
    pub async fn replace(&self, keys: &Keys, keep: bool) -> Result<(), HelperError> {
        let request = key::Request::Replace { keys: STANDARD.encode(&*keys.to_bytes()), keep };
        let answer: key::Answer = ask(&self.0, &request).await?;
        answer.replaced().map_err(|reason| HelperError { socket: self.0.clone(), reason })
    }

    /// A credential for `LoadCredentialEncrypted=` (systemd-creds(1)): sealed with the host's key, bound to its name.
    ///
    /// # Errors
    /// Where it cannot be sealed, with the reason.
    pub async fn seal(&self, name: &str, value: &[u8]) -> Result<String, HelperError> {
        let request = key::Request::Seal { name: name.to_owned(), value: STANDARD.encode(value) };
        let answer: key::Answer = ask(&self.0, &request).await?;
        answer.sealed().map_err(|reason| HelperError { socket: self.0.clone(), reason })
    }
}

/// Reads and writes files of other programs.
#[derive(Clone, Debug)]
pub enum FileHelper {
    /// As the owner of each: the helper that answers on this socket.
    Socket(PathBuf),
    /// In this process, as the user that it is.
    Here,
}

impl Default for FileHelper {
    fn default() -> Self {
        Self::Socket(PathBuf::from("/run/rekeyd/file.sock"))
    }
}

impl FileHelper {
    /// Gives the places in a file those values that there are, and reads all of them back by the rules of its reader. A
    /// place that is not in the file is added where it can be, but not to be empty. Where one has something else than it may
    /// have before, none is written.
    ///
    /// # Errors
    /// Where the helper does not answer; within, where the file is left as it is.
    pub async fn put(
        &self,
        path: &Path,
        slots: &[(Slot, Option<Wanted<'_>>)],
    ) -> Result<Result<Seen, NotDone>, HelperError> {
        let key = random().map_err(|error| HelperError { socket: path.to_owned(), reason: error.to_string() })?;
        self.ask(&file::Request::new(path, slots, &key)).await
    }

    /// Looks whether [`put`](Self::put) would do, and leaves the file as it is.
    ///
    /// # Errors
    /// Where the helper does not answer; within, why it would not.
    pub async fn rehearse(
        &self,
        path: &Path,
        slots: &[(Slot, Option<Wanted<'_>>)],
    ) -> Result<Result<Seen, NotDone>, HelperError> {
        self.ask(&file::Request::rehearsal(path, slots)).await
    }

    /// Tells what reads an env file that it is another one now, as the file's owner; or, where it is not `really` to be
    /// done, looks whether that would do.
    ///
    /// # Errors
    /// Where the helper does not answer; within, where that cannot be done.
    pub async fn wake(&self, path: &Path, wake: Wake, really: bool) -> Result<Result<Seen, NotDone>, HelperError> {
        self.ask(&file::Request::wake(path, wake, really)).await
    }

    /// Looks at a user's PM2, as that user.
    ///
    /// # Errors
    /// Where the helper does not answer; within, where it is not there as it should be.
    pub async fn pm2(&self, question: &Pm2Question) -> Result<Result<Pm2, NotDone>, HelperError> {
        let refused = |(problem, advice)| NotDone { problem, advice };
        match self {
            Self::Socket(socket) => {
                let asked = file::AskedOfPm2 { pm2: question.clone() };
                let answer: Result<Pm2, (String, String)> = ask(socket, &asked).await?;
                Ok(answer.map_err(refused))
            }
            Self::Here => Ok(pm2::answer(question, false)),
        }
    }

    async fn ask(&self, request: &file::Request) -> Result<Result<Seen, NotDone>, HelperError> {
        match self {
            Self::Socket(socket) => file::ask(socket, request).await,
            Self::Here => Ok(file::do_here(request)),
        }
    }
}

/// The command line `rekeyd helper KIND`: one request on standard input, one answer on standard output; or, for `process`
/// and `file`, many of them over the socket on standard input.
pub fn run(kind: &str) -> ExitCode {
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let done = match kind {
        "process" => service::serve(|call| process::run(&mut BufReader::new(&call), &mut &call)),
        "file" => service::serve(|call| service::hand_over(ONE_FILE, call)),
        ONE_FILE => file::run(&mut input, &mut output),
        "key" => key::run(Path::new(crate::store::ROOT), &mut input, &mut output),
        "search" => search::run(&mut input, &mut output),
        other => Err(std::io::Error::other(format!("there is no helper {other:?}: process, key, file, search"))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("<3>rekeyd helper {kind}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A socket unit that is just being restarted is there a moment later.
async fn connect(socket: &Path) -> std::io::Result<UnixStream> {
    let until = Instant::now() + COMING;
    loop {
        match UnixStream::connect(socket).await {
            Err(error) if is_coming(&error) && Instant::now() < until => sleep(COMING / 100).await,
            connected => return connected,
        }
    }
}

fn is_coming(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused)
}

/// One request, one answer.
async fn ask<Q: Serialize, A: DeserializeOwned>(socket: &Path, question: &Q) -> Result<A, HelperError> {
    ask_within(LIMIT, socket, question).await
}

/// The same, with another limit.
async fn ask_within<Q: Serialize, A: DeserializeOwned>(
    limit: Duration,
    socket: &Path,
    question: &Q,
) -> Result<A, HelperError> {
    let failed = |reason: String| HelperError { socket: socket.to_owned(), reason };
    let mut request = Zeroizing::new(serde_json::to_vec(question).map_err(|error| failed(error.to_string()))?);
    request.push(b'\n');
    let exchange = async {
        let mut stream = connect(socket).await?;
        stream.write_all(&request).await?;
        let mut answer = Zeroizing::new(Vec::with_capacity(64 * 1024));
        stream.take(LARGEST).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = match timeout(limit, exchange).await {
        Err(_) => return Err(failed(format!("no answer within {} s", limit.as_secs()))),
        Ok(answer) => answer.map_err(|error| failed(error.to_string()))?,
    };
    // serde's messages cite no values but those of the wrong type; the place is enough.
    serde_json::from_slice(&answer).map_err(|error| {
        failed(format!("the answer cannot be understood (line {}, column {})", error.line(), error.column()))
    })
}
