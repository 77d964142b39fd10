//! `rekeyd helper file`: reads and writes env files of other programs, as the owner of each.
//!
//! The owner may do with the file and its directory whatever they want, also while this looks at them; as that owner
//! nothing can be reached here that they could not reach themselves.

use std::fs;
use std::io::{BufRead, Read as _, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::pm2::{self, Pm2Question};
use super::wake::Wake;
use super::{HelperError, LIMIT};
use crate::secret::SecretValue;
use crate::sys::edit::{EditError, Original};
use crate::sys::{git, trusted};
use crate::text::{Refusal, Slot};

/// A question about a user's PM2, a line of JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AskedOfPm2 {
    pub(super) pm2: Pm2Question,
}

/// A file, with what is to be done with it: a line of JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Request {
    path: PathBuf,
    /// The places, each with the value that it is to have, in base64; none where it is only read.
    slots: Vec<(Slot, Option<String>)>,
    /// What is done afterwards, as the file's owner too; whether really, or only looked at.
    wake: Option<(Wake, bool)>,
    /// When whoever asks gives up, as a time since the boot: after that nothing may be changed any more, since they count
    /// on that.
    until: Duration,
}

impl Drop for Request {
    fn drop(&mut self) {
        self.slots.iter_mut().for_each(|(_, value)| value.zeroize());
    }
}

/// The answer, a line of JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Answer {
    /// What the file has.
    Has(Told),
    /// It is left as it is: the problem, and what to do about it.
    Refused(String, String),
}

/// What was seen of a file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Told {
    /// In base64.
    values: Vec<Option<String>>,
    mode: u32,
    owner: u32,
    obstacle: Option<(String, String)>,
}

impl Drop for Told {
    fn drop(&mut self) {
        self.values.zeroize();
    }
}

/// A file, as its own reader reads it.
pub struct Seen {
    /// What it has in each place that was asked for.
    pub values: Vec<Option<SecretValue>>,
    /// Whether others than its owner and group may read it.
    pub is_open: bool,
    /// Its owner's number.
    pub owner: u32,
    /// Why it could not be written.
    pub obstacle: Option<NotDone>,
}

/// Why a file is left as it is.
pub struct NotDone {
    /// What is wrong, and where.
    pub problem: String,
    /// What to do about it.
    pub advice: String,
}

impl NotDone {
    fn into_parts(self) -> (String, String) {
        (self.problem, self.advice)
    }
}

impl From<EditError> for NotDone {
    fn from(error: EditError) -> Self {
        Self { problem: error.to_string(), advice: error.advice }
    }
}

impl Request {
    pub(super) fn new(path: &Path, slots: &[(Slot, Option<&[u8]>)]) -> Self {
        let encoded = slots.iter().map(|(slot, value)| (slot.clone(), value.map(|value| STANDARD.encode(value))));
        Self { path: path.to_owned(), slots: encoded.collect(), wake: None, until: since_boot() + LIMIT }
    }

    pub(super) fn wake(path: &Path, wake: Wake, really: bool) -> Self {
        Self { path: path.to_owned(), slots: Vec::new(), wake: Some((wake, really)), until: since_boot() + LIMIT }
    }

    fn check_wanted(&self) -> Result<(), NotDone> {
        if since_boot() <= self.until {
            return Ok(());
        }
        let problem = format!("{}: it took longer than {} s", self.path.display(), LIMIT.as_secs());
        Err(NotDone { problem, advice: "see what keeps its file system busy, and try again".to_owned() })
    }
}

impl Answer {
    pub(super) fn seen(self) -> Result<Seen, NotDone> {
        match self {
            Self::Has(told) => {
                let decoded = told.values.iter().map(|value| {
                    let bytes = value.as_ref().map(|value| STANDARD.decode(value).unwrap_or_default());
                    bytes.map(SecretValue::new)
                });
                let obstacle = told.obstacle.clone().map(|(problem, advice)| NotDone { problem, advice });
                Ok(Seen { values: decoded.collect(), is_open: told.mode & 0o007 != 0, owner: told.owner, obstacle })
            }
            Self::Refused(problem, advice) => Err(NotDone { problem, advice }),
        }
    }
}

/// Answers on `output` with what the file has once it was written.
///
/// # Errors
/// Where the request cannot be understood, or the answer not be written.
pub(super) fn run(input: &mut impl BufRead, output: &mut impl Write) -> std::io::Result<()> {
    let mut text = Zeroizing::new(String::with_capacity(64 * 1024));
    input.take(super::LARGEST).read_line(&mut text)?;
    // One that is about a file ends the first attempt at its first key, before a value is read.
    let answer = match serde_json::from_str::<AskedOfPm2>(&text) {
        Ok(AskedOfPm2 { pm2 }) => serde_json::to_vec(&pm2::answer(&pm2, true).map_err(NotDone::into_parts))?,
        Err(_) => {
            let request: Request = serde_json::from_str(&text)?;
            serde_json::to_vec(&answer(become_owner(&request.path).and_then(|()| perform(&request))))?
        }
    };
    let mut line = Zeroizing::new(answer);
    line.push(b'\n');
    output.write_all(&line)?;
    output.flush()
}

fn answer(told: Result<Told, NotDone>) -> Answer {
    match told {
        Ok(told) => Answer::Has(told),
        Err(NotDone { problem, advice }) => Answer::Refused(problem, advice),
    }
}

/// From now on this process is the owner of the file, with the file's group and no other: for good, since without root's
/// number its capabilities are gone as well (capabilities(7)).
fn become_owner(path: &Path) -> Result<(), NotDone> {
    let failed = |problem: String, advice: &str| NotDone { problem, advice: advice.to_owned() };
    let stat = fs::metadata(path)
        .map_err(|error| failed(format!("{}: {error}", path.display()), "create it, or mend the path"))?;
    of_one_alone(path, stat.uid())?;
    become_user(stat.uid(), stat.gid())
        .map_err(|error| failed(format!("cannot become the owner of {}: {error}", path.display()), "see rekeyd(8)"))
}

/// Root stays root.
///
/// Root's own files have groups as well, and nobody without a capability gives a file to a group that is not theirs.
pub(super) fn become_user(uid: u32, gid: u32) -> rustix::io::Result<()> {
    if (uid, gid) == (0, 0) {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    set_thread_groups(&[gid]).and_then(|()| set_thread_gid(gid))?;
    if uid.is_root() { Ok(()) } else { set_thread_uid(uid) }
}

/// Root's own file must not be another user's to choose.
pub(super) fn of_root_alone(path: &Path) -> Result<(), NotDone> {
    of_one_alone(path, 0)
}

/// Nobody but its owner, or root, may have a say in which file is found at a path: whoever could put a link there would
/// have us act as somebody else.
fn of_one_alone(path: &Path, owner: u32) -> Result<(), NotDone> {
    let Some(doubt) = trusted::doubt(path, owner) else { return Ok(()) };
    let whose = if owner == 0 { "root's".to_owned() } else { format!("of the user {owner}") };
    let problem = format!("{} is {whose}, and on the way to it {doubt}", path.display());
    Err(NotDone { problem, advice: doubt.advice() })
}

fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs().try_into().unwrap_or_default())
}

fn perform(request: &Request) -> Result<Told, NotDone> {
    let writes = request.slots.iter().any(|(_, value)| value.is_some());
    let original = if writes { Original::open_alone(&request.path) } else { Original::open(&request.path) }?;
    let placed =
        |refusal: Refusal| NotDone { problem: format!("{}: {refusal}", request.path.display()), advice: String::new() };
    let mut text = Zeroizing::new(original.text.to_vec());
    for (slot, value) in &request.slots {
        let Some(value) = value else { continue };
        let value = SecretValue::new(STANDARD.decode(value).unwrap_or_default());
        if let Some(edited) = slot.put(&text, &value).map_err(placed)? {
            text = edited;
        }
    }
    if *text != *original.text {
        out_of_git(&request.path)?;
        request.check_wanted()?;
        original.replace(&text)?;
    }
    if let Some((wake, really)) = &request.wake {
        request.check_wanted()?;
        wake.perform(*really)?;
    }
    let now = Original::open(&request.path)?;
    let mut values = Vec::new();
    for (slot, _) in &request.slots {
        let value = slot.value_in(&now.text).map_err(placed)?;
        values.push(value.map(|value| STANDARD.encode(value.reveal())));
    }
    let obstacle = out_of_git(&request.path).and_then(|()| Ok(now.check_replaceable()?)).err();
    let obstacle = obstacle.map(|NotDone { problem, advice }| (problem, advice));
    Ok(Told { values, mode: now.mode(), owner: now.owner(), obstacle })
}

/// A secret that git takes is everybody's.
fn out_of_git(path: &Path) -> Result<(), NotDone> {
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let standing = git::standing(&real).map_err(|(problem, advice)| NotDone { problem, advice })?;
    standing.problem(&real).map_or(Ok(()), |(problem, advice)| Err(NotDone { problem, advice }))
}

/// Asks for a file to be read or written.
///
/// # Errors
/// Where the helper does not answer; within, where the file is left as it is.
pub(super) async fn ask(socket: &Path, request: &Request) -> Result<Result<Seen, NotDone>, HelperError> {
    let answer: Answer = super::ask(socket, request).await?;
    Ok(answer.seen())
}

/// Reads or writes a file in this process, as the user that it is.
///
/// # Errors
/// Where the file is left as it is.
pub(super) fn do_here(request: &Request) -> Result<Seen, NotDone> {
    answer(perform(request)).seen()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_waits_for_any_more_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".env");
        fs::write(&path, "A=first\n").unwrap();
        let slot = Slot::Env { key: "A".to_owned(), dialect: crate::text::env_file::Dialect::Dotenv };
        let request = |until: Duration| {
            let mut request = Request::new(&path, &[(slot.clone(), Some(b"second"))]);
            request.until = until;
            do_here(&request)
        };
        let late = request(since_boot().saturating_sub(Duration::from_millis(1)));
        assert!(late.is_err_and(|refused| refused.problem.contains("longer than 20 s")));
        assert_eq!(fs::read_to_string(&path).unwrap(), "A=first\n");
        assert!(request(since_boot() + LIMIT).is_ok());
        assert_eq!(fs::read_to_string(&path).unwrap(), "A=second\n");
    }
}
