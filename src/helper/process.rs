//! `rekeyd helper process`: looks into processes and files of other users. Only looks: it changes nothing.

use std::fs;
use std::io::{BufRead, Read as _, Write};
use std::path::Path;
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::param::clock_ticks_per_second;
use zeroize::Zeroizing;

use super::questions::{Answer, Process, Question, Variable};
use super::{LARGEST, calendar, listening, startable};
use crate::secret::digest;
use crate::sys::files;
use crate::text::systemd;

/// An environment is at most a quarter of the stack limit; this is generous.
const ENVIRONMENT: u64 = 16 << 20;
/// Answers are mostly smaller.
const LINE: usize = 256 * 1024;
/// systemd takes no credential that is larger.
const CREDENTIAL: u64 = 1 << 20;

/// Reads a line with questions, writes a line with answers.
///
/// # Errors
/// Where the request cannot be understood, or the answer not be written.
pub(super) fn run(input: &mut impl BufRead, output: &mut impl Write) -> std::io::Result<()> {
    let mut request = String::new();
    input.take(LARGEST).read_line(&mut request)?;
    let questions: Vec<Question> = serde_json::from_str(&request)?;
    let answers = answers(&questions);
    // Room for all of it, since a buffer that grows leaves copies behind.
    let mut line = Zeroizing::new(Vec::with_capacity(LINE));
    serde_json::to_writer(&mut *line, &answers)?;
    line.push(b'\n');
    output.write_all(&line)?;
    output.flush()
}

/// The answers, in the order of the questions. Those that take a program, which mostly wait, go side by side.
pub(super) fn answers(questions: &[Question]) -> Vec<Answer> {
    thread::scope(|scope| {
        let answered = |question| answer(question).unwrap_or_else(|reason| Answer::Failed { reason });
        let begun: Vec<_> = questions
            .iter()
            .map(|question| match question {
                Question::Conditions { .. } => Err(scope.spawn(move || answered(question))),
                _ => Ok(answered(question)),
            })
            .collect();
        let ended = |begun: Result<Answer, thread::ScopedJoinHandle<'_, Answer>>| {
            begun.unwrap_or_else(|thread| {
                thread.join().unwrap_or_else(|_| Answer::Failed { reason: "it was not answered".to_owned() })
            })
        };
        begun.into_iter().map(ended).collect()
    })
}

fn answer(question: &Question) -> Result<Answer, String> {
    Ok(match question {
        Question::Processes { control_group, pids, variables, credentials, key } => {
            let (key, group) = (key_of(key)?, Group::Below(control_group));
            let look = |&pid: &u32| process(pid, group, variables, credentials, &key);
            Answer::Processes { processes: pids.iter().filter_map(look).collect() }
        }
        Question::Container { id, variables, files, key } => {
            if id.len() != 64 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err("this is no container's id".to_owned());
            }
            let (key, group) = (key_of(key)?, Group::Of(id));
            let look = |pid: u32| process(pid, group, variables, files, &key);
            Answer::Processes { processes: pids().filter(|pid| is_in(*pid, group)).filter_map(look).collect() }
        }
        Question::ProcessValue { control_group, pid, variable } => {
            let found = environment(*pid, Group::Below(control_group)).map_or(Variable::Missing, |environment| {
                assigned(&environment, variable).map_or(Variable::Unset, told)
            });
            Answer::Variable { variable: found }
        }
        Question::ProcessCredential { control_group, pid, path } => Answer::Variable {
            variable: seen(*pid, Group::Below(control_group), path).map_or(Variable::Missing, |value| told(&value)),
        },
        Question::Whole { path } => Answer::Variable {
            variable: match files::read(Path::new(path), CREDENTIAL).map(Zeroizing::new) {
                Ok(value) => told(&value),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Variable::Missing,
                Err(error) => return Err(error.to_string()),
            },
        },
        Question::File { path, variable, reveal } => {
            Answer::Variable { variable: variable_in_files(path, variable, *reveal)? }
        }
        Question::Program { path } => Answer::Program { program: startable::program(path) },
        Question::Changeable { path, user } => Answer::Changeable { how: startable::changeable(path, user.as_deref()) },
        Question::Calendar { expressions, after } => Answer::Calendar { calendar: calendar::next(expressions, *after) },
        Question::Conditions { unit } => Answer::Condition { condition: startable::conditions(unit) },
        Question::Listening { control_group, pids } => {
            let ours = pids.iter().filter(|pid| is_in(**pid, Group::Below(control_group)));
            Answer::Listening { ports: listening::ports(ours.copied()) }
        }
    })
}

fn key_of(text: &str) -> Result<[u8; 32], String> {
    let key = hex::decode(text).ok().and_then(|key| key.try_into().ok());
    key.ok_or_else(|| "the key is not 32 bytes".to_owned())
}

/// All processes that there are.
fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Control groups that a process may be in.
#[derive(Clone, Copy)]
enum Group<'a> {
    /// One, and those below it.
    Below(&'a str),
    /// Those of a container, whoever made them and wherever: its id is in the path.
    Of(&'a str),
}

impl Group<'_> {
    fn has(self, path: &str) -> bool {
        match self {
            Self::Below(group) => {
                path.strip_prefix(group).is_some_and(|below| below.is_empty() || below.starts_with('/'))
            }
            Self::Of(id) => path.contains(id),
        }
    }
}

fn process(
    pid: u32,
    control_group: Group<'_>,
    variables: &[String],
    credentials: &[String],
    key: &[u8; 32],
) -> Option<Process> {
    let environment = environment(pid, control_group)?;
    // Cut after 15 bytes, also in the middle of a character (proc(5)).
    let comm = String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/comm")).ok()?).into_owned();
    let told = |value: &[u8]| hex::encode(digest(key, value));
    let seen = |path: &String| seen(pid, control_group, path).map(|value| told(&value));
    Some(Process {
        pid,
        comm: comm.trim_end().to_owned(),
        started_us: started_us(pid).unwrap_or_default(),
        digests: variables.iter().map(|variable| assigned(&environment, variable).map(told)).collect(),
        credentials: credentials.iter().map(seen).collect(),
    })
}

/// A regular file as a process sees it: by its own root directory and mounts. No link is followed, so that a path of the
/// process' making leads nowhere out of there. (openat2(2), which could do that in one call, is not there for a service
/// with RestrictSUIDSGID=.)
fn seen(pid: u32, control_group: Group<'_>, path: &str) -> Option<Zeroizing<Vec<u8>>> {
    use rustix::fs::{FileType, Mode, OFlags, fstat, open, openat};
    if !is_in(pid, control_group) {
        return None;
    }
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = open(format!("/proc/{pid}/root"), directory, Mode::empty()).ok()?;
    let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let name = parts.pop().filter(|_| !path.contains(".."))?;
    for part in parts {
        at = openat(&at, part, directory | OFlags::NOFOLLOW, Mode::empty()).ok()?;
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
    let file = openat(&at, name, flags, Mode::empty()).ok()?;
    if FileType::from_raw_mode(fstat(&file).ok()?.st_mode) != FileType::RegularFile {
        return None;
    }
    let mut value = Zeroizing::new(Vec::with_capacity(64 * 1024));
    fs::File::from(file).take(CREDENTIAL).read_to_end(&mut value).ok()?;
    is_in(pid, control_group).then_some(value)
}

/// The environment of a process that is in the control group before and after it was read: a number that was used again
/// in between would be another process. A process that has ended and not been waited for has none.
fn environment(pid: u32, control_group: Group<'_>) -> Option<Zeroizing<Vec<u8>>> {
    let inside = || is_in(pid, control_group);
    if !inside() {
        return None;
    }
    let mut environment = Zeroizing::new(Vec::with_capacity(256 * 1024));
    let file = fs::File::open(format!("/proc/{pid}/environ")).ok()?;
    file.take(ENVIRONMENT).read_to_end(&mut environment).ok()?;
    let lives = !matches!(stat(pid)?.first().map(String::as_str), Some("Z" | "X" | "x") | None);
    (lives && inside()).then_some(environment)
}

/// The fields of `/proc/PID/stat` from the third one on, the state: before it is the name, which is in parentheses and may
/// hold anything (proc_pid_stat(5)).
pub(super) fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/stat")).ok()?).into_owned();
    Some(stat.rsplit_once(')')?.1.split_ascii_whitespace().map(str::to_owned).collect())
}

/// When a process was started, in microseconds since the boot: the 22nd field counts clock ticks.
fn started_us(pid: u32) -> Option<u64> {
    let ticks: u64 = stat(pid)?.get(19)?.parse().ok()?;
    ticks.checked_mul(1_000_000)?.checked_div(clock_ticks_per_second())
}

fn is_in(pid: u32, control_group: Group<'_>) -> bool {
    let Ok(groups) = fs::read_to_string(format!("/proc/{pid}/cgroup")) else { return false };
    // `0::/path` (v2), `1:name=systemd:/path` (v1): see cgroups(7).
    groups.lines().filter_map(|line| line.splitn(3, ':').nth(2)).any(|path| control_group.has(path))
}

/// The first assignment, which is the one that getenv(3) returns.
fn assigned<'a>(environment: &'a [u8], variable: &str) -> Option<&'a [u8]> {
    let value = |entry: &'a [u8]| entry.strip_prefix(variable.as_bytes())?.strip_prefix(b"=");
    environment.split(|&byte| byte == 0).find_map(value)
}

fn told(value: &[u8]) -> Variable {
    Variable::Value(STANDARD.encode(value))
}

/// Of a pattern (glob(7)), as `EnvironmentFile=` takes it, the last file that sets the variable counts.
fn variable_in_files(pattern: &str, variable: &str, reveal: bool) -> Result<Variable, String> {
    let mut found = Variable::Missing;
    for path in glob::glob(pattern).map_err(|error| error.to_string())? {
        let path = path.map_err(|error| error.to_string())?;
        match variable_in_file(&path, variable, reveal)? {
            Variable::Unset if !matches!(found, Variable::Missing) => {}
            other => found = other,
        }
    }
    Ok(found)
}

fn variable_in_file(path: &Path, variable: &str, reveal: bool) -> Result<Variable, String> {
    let text = Zeroizing::new(files::read(path, 1 << 20).map_err(|error| error.to_string())?);
    Ok(match systemd::value_of(&text, variable) {
        None => Variable::Unset,
        Some(value) if reveal => told(&value),
        Some(_) => Variable::Set,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_two_assignments_counts_and_a_longer_name_does_not() {
        let environment = b"JWT=x\0JWT_SECRET=one\0JWT_SECRET=two\0";
        assert_eq!(assigned(environment, "JWT_SECRET"), Some(&b"one"[..]));
        assert_eq!(assigned(environment, "SECRET"), None);
    }

    #[test]
    fn a_process_of_another_control_group_is_not_looked_at() {
        let own = std::process::id();
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap();
        let group = groups.lines().next().and_then(|line| line.splitn(3, ':').nth(2)).unwrap();
        let group = if group == "/" { "" } else { group };
        assert!(environment(own, Group::Below(group)).is_some());
        assert!(environment(own, Group::Below("/no-such-group")).is_none());
    }

    #[test]
    fn a_file_is_seen_as_its_process_sees_it_and_links_are_not_followed() {
        let own = std::process::id();
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap();
        let group = groups.lines().next().and_then(|line| line.splitn(3, ':').nth(2)).unwrap();
        let group = if group == "/" { "" } else { group };
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "value").unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        let look = |path: &Path, group: &str| {
            seen(own, Group::Below(group), path.to_str().unwrap()).map(|value| value.to_vec())
        };
        assert_eq!(look(&file, group).as_deref(), Some(&b"value"[..]));
        assert_eq!(look(&link, group), None);
        assert_eq!(look(dir.path(), group), None);
        assert_eq!(look(&file, "/no-such-group"), None);
    }
}
