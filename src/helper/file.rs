//! `rekeyd helper one-file`: reads and writes env files of other programs, as the owner of each.
//!
//! The owner may do with the file and its directory whatever they want, also while this looks at them; as that owner
//! nothing can be reached here that they could not reach themselves.

use std::fs;
use std::io::{BufRead, Read as _, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};
use rustix::time::{ClockId, clock_gettime};
use zeroize::Zeroizing;

use super::{HelperError, pm2};
use crate::secret::SecretValue;
use crate::sys::edit::Original;
use crate::sys::{git, trusted};
use crate::text::{Refusal, Slot};

mod groups;
mod message;

use message::{Answer, Asked, Told};
pub(super) use message::{AskedOfPm2, Request};
pub use message::{ByHand, NotDone, Seen, Wanted};

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

/// From now on this process is the owner of the file, with the file's group, and with those of the owner's where these may
/// be what lets them in: for good, since without root's number its capabilities are gone as well (capabilities(7)).
fn become_owner(path: &Path) -> Result<(), NotDone> {
    let failed = |problem: String, advice: &str| NotDone { problem, advice: advice.to_owned() };
    let stat = fs::metadata(path)
        .map_err(|error| failed(format!("{}: {error}", path.display()), "create it, or mend the path"))?;
    of_one_alone(path, stat.uid())?;
    let more = groups::that_count(path, stat.uid(), stat.gid());
    become_user(stat.uid(), stat.gid(), &more)
        .map_err(|error| failed(format!("cannot become the owner of {}: {error}", path.display()), "see rekeyd(8)"))
}

/// Root stays root.
///
/// Root's own files have groups as well, and nobody without a capability gives a file to a group that is not theirs.
pub(super) fn become_user(uid: u32, gid: u32, more: &[u32]) -> rustix::io::Result<()> {
    if (uid, gid) == (0, 0) {
        return Ok(());
    }
    let groups: Vec<Gid> = std::iter::once(&gid).chain(more).copied().map(Gid::from_raw).collect();
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    set_thread_groups(&groups).and_then(|()| set_thread_gid(gid))?;
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
    let by_hand = by_hand(&request.slots, &original.text).map_err(placed)?;
    let mut text = Zeroizing::new(original.text.to_vec());
    for (slot, asked) in request.slots.iter().filter(|_| by_hand.is_none()) {
        let Some(asked) = asked else { continue };
        let value = SecretValue::new(STANDARD.decode(&asked.value).unwrap_or_default());
        if let Some(edited) = slot.put(&text, &value).map_err(placed)? {
            text = edited;
        }
    }
    // What is written anew is the text that was looked at, and no other.
    if *text != *original.text && !request.rehearsed {
        out_of_git(&request.path)?;
        request.check_wanted()?;
        original.replace(&text)?;
    }
    if let Some((wake, really)) = &request.wake {
        request.check_wanted()?;
        wake.perform(*really)?;
    }
    let now = Original::open(&request.path)?;
    let (mut values, mut plain) = (Vec::new(), Vec::new());
    for (slot, _) in &request.slots {
        plain.push(slot.is_plain_in(&now.text).map_err(placed)?);
        let value = slot.value_in(&now.text).map_err(placed)?;
        values.push(value.map(|value| STANDARD.encode(value.reveal())));
    }
    let obstacle = out_of_git(&request.path).and_then(|()| Ok(now.check_replaceable()?)).err();
    let obstacle = obstacle.map(|NotDone { problem, advice }| (problem, advice));
    Ok(Told { values, plain, mode: now.mode(), owner: now.owner(), obstacle, by_hand })
}

/// The first place that has something else than it may have before it is written.
fn by_hand(slots: &[(Slot, Option<Asked>)], text: &[u8]) -> Result<Option<ByHand>, Refusal> {
    for (number, (slot, asked)) in slots.iter().enumerate() {
        let Some(only_over) = asked.as_ref().and_then(|asked| asked.only_over.as_ref()) else { continue };
        if !only_over.has(slot.value_in(text)?.as_ref()) {
            return Ok(Some(ByHand { slot: number, line: slot.line_in(text)? }));
        }
    }
    Ok(None)
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
    use super::super::LIMIT;
    use super::*;

    fn slot(key: &str) -> Slot {
        Slot::env(key, key, crate::text::env_file::Dialect::Dotenv)
    }

    #[test]
    fn what_nobody_waits_for_any_more_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".env");
        fs::write(&path, "A=first\n").unwrap();
        let request = |until: Duration| {
            let wanted = Wanted { value: b"second", only_over: None };
            let mut request = Request::new(&path, &[(slot("A"), Some(wanted))], &[0; 32]);
            request.until = until;
            do_here(&request)
        };
        let late = request(since_boot().saturating_sub(Duration::from_millis(1)));
        assert!(late.is_err_and(|refused| refused.problem.contains("longer than 20 s")));
        assert_eq!(fs::read_to_string(&path).unwrap(), "A=first\n");
        assert!(request(since_boot() + LIMIT).is_ok());
        assert_eq!(fs::read_to_string(&path).unwrap(), "A=second\n");
    }

    #[test]
    fn what_could_not_be_written_is_found_without_writing_anything() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".env");
        let rehearse = |text: &str, previous: &'static [u8]| {
            fs::write(&path, text).unwrap();
            let wanted = |value| Some(Wanted { value, only_over: None });
            let slots = [(slot("A"), wanted(b"new")), (slot("B"), wanted(previous))];
            let said = do_here(&Request::rehearsal(&path, &slots)).err().map(|why| why.problem);
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            said
        };
        assert_eq!(rehearse("A=old\nC=1\n", b"new"), None);
        assert!(rehearse("A=old\n   \n", b"new").is_some_and(|why| why.contains("next key")));
        assert_eq!(rehearse("A=old\n   \n", b""), None);
    }

    #[test]
    fn what_somebody_wrote_by_hand_is_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".env");
        let put = |text: &str, known: &'static [u8]| {
            fs::write(&path, text).unwrap();
            let wanted = |value| Some(Wanted { value, only_over: Some(vec![known]) });
            let slots = [(slot("A"), wanted(b"new")), (slot("B"), wanted(b""))];
            let seen = do_here(&Request::new(&path, &slots, &[7; 32])).unwrap_or_else(|why| panic!("{}", why.problem));
            (seen.by_hand, fs::read_to_string(&path).unwrap())
        };
        let by_hand = |slot, line| Some(ByHand { slot, line });
        assert_eq!(put("# x\nA=theirs\n", b"old"), (by_hand(0, Some(2)), "# x\nA=theirs\n".to_owned()));
        assert_eq!(put("A=old\nB=theirs\n", b"old"), (by_hand(1, Some(2)), "A=old\nB=theirs\n".to_owned()));
        assert_eq!(put("B=\n", b"old"), (by_hand(0, None), "B=\n".to_owned()), "it was removed");
        assert_eq!(put("X=1\nA=old\nB=old\n", b"old"), (None, "X=1\nA=new\nB=\n".to_owned()));
        assert_eq!(put("A=new\n", b"old"), (None, "A=new\n".to_owned()), "a delivery that is taken up again");
    }
}
