//! Programs that run as children of this process: where there is no systemd, as in a developer's checkout.
//!
//! Each is in a process group of its own, so that Ctrl-C is for who runs it alone, and its time limit for all that it has
//! started. What it prints is kept in a file where it failed, and shown nowhere.

use std::io::ErrorKind;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rustix::fs::{SealFlags, fcntl_add_seals};
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child as Process, Command as Start};
use tokio::time::{sleep, timeout};

use super::command::{ACCEPTED_FILES, Command, End, NotRun, Prints, Ran, Runner, Shown, User, VALUE_FILE};
use super::printed::Printed;
use super::{files, kept, process};
use crate::secret::SecretValue;

/// How long a program may take to end once its time is over, before it is killed.
const GRACE: Duration = Duration::from_secs(5);
/// How long what is dead may take to be gone.
const BURIAL: Duration = Duration::from_secs(1);
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(20);
/// Shells name descriptors up to 9 themselves.
const FIRST_DESCRIPTOR: i32 = 20;
/// What is passed on of this process' own environment.
const PASSED_ON: [&str; 6] = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ"];

/// Runs programs as children, as the user that this process is.
pub struct Child {
    /// Where they run, unless it is said.
    pub directory: PathBuf,
    /// Where what they printed is kept; for this user alone.
    pub output: PathBuf,
}

#[async_trait]
impl Runner for Child {
    /// The value is in a sealed memory file that is passed on, named as `/proc/self/fd/N`.
    async fn run(&self, command: &Command<'_>) -> Result<Ran, NotRun> {
        let not_run = |error: std::io::Error| NotRun::new(command, error.to_string());
        self.check_user(command)?;
        let (program, arguments) =
            command.argv.split_first().ok_or_else(|| NotRun::new(command, "no program is named"))?;
        self.await_former(command).await;
        let values = command.value.as_ref().map_or_else(|| Ok(Vec::new()), memory_files).map_err(not_run)?;
        let stdout = Printed::begin().map_err(not_run)?;
        let stderr = Printed::begin().map_err(not_run)?;
        let output = self.output.join(command.unit);
        let file = (command.prints == Prints::ToFile).then(|| kept::begin(&output)).transpose();
        let file = file.map_err(|error| NotRun::new(command, error.to_string()))?;
        let stdio = |printed: &Printed| {
            let to = match (&file, command.prints) {
                (Some(file), _) => file.as_fd(),
                (None, Prints::ToNobody) => return Stdio::null(),
                (None, _) => printed.as_fd(),
            };
            to.try_clone_to_owned().map_or_else(|_| Stdio::null(), Stdio::from)
        };
        let mut start = Start::new(program);
        start.args(arguments).current_dir(command.directory.unwrap_or(&self.directory)).process_group(0).env_clear();
        start.envs(PASSED_ON.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        start.envs(command.environment.iter().filter_map(|assignment| assignment.split_once('=')));
        if let [value, accepted @ ..] = values.as_slice() {
            let path = |file: &OwnedFd| format!("/proc/self/fd/{}", file.as_raw_fd());
            start.env(VALUE_FILE, path(value));
            start.env(ACCEPTED_FILES, accepted.iter().map(path).collect::<Vec<_>>().join(":"));
        }
        start.stdin(Stdio::piped()).stdout(stdio(&stdout)).stderr(stdio(&stderr));
        let process = passing_on(&values, || start.spawn()).map_err(not_run)?;
        drop((start, values));
        let mut group = Group::of(process);
        self.note(command, group.pid);
        let end = group.end(command).await;
        let _ = files::remove(&self.running(command));
        let (stdout, stderr) = (stdout.end(), stderr.end());
        let mut ran = Ran { end, is_survived: group.is_there(), ..Ran::default() };
        match command.prints {
            Prints::ToFile => kept::end(&output, ran.end != End::Well || ran.is_survived),
            prints => self.keep(command, &ran.end, [(prints == Prints::ToJournal, &stdout), (true, &stderr)]),
        }
        (ran.stdout, ran.stderr) = (stdout, stderr);
        Ok(ran)
    }

    fn said(&self, unit: &str, _prints: Prints) -> String {
        format!("less {}", self.output.join(unit).display())
    }
}

impl Child {
    /// Nobody but root could become somebody else, and this is not for root.
    fn check_user(&self, command: &Command<'_>) -> Result<(), NotRun> {
        let own = rustix::process::geteuid().as_raw();
        let is_own = |user: &str| match user.parse::<u32>() {
            Ok(number) => number == own,
            Err(_) => std::env::var_os("USER").is_some_and(|name| name == user),
        };
        let named = match command.user {
            User::Named(user) => Some(user),
            User::Caller | User::OfItsOwn => None,
        };
        match named.filter(|user| !is_own(user)) {
            Some(user) => Err(NotRun::new(
                command,
                format!("it is to run as user {user}, and this is user {own}: become that user"),
            )),
            None => Ok(()),
        }
    }

    /// Where it is noted which process a unit's program is.
    fn running(&self, command: &Command<'_>) -> PathBuf {
        self.output.join(format!("{}.pid", command.unit))
    }

    fn note(&self, command: &Command<'_>, pid: Pid) {
        let noted = format!("{} {}\n", pid.as_raw_nonzero(), started(pid).unwrap_or_default());
        // Without the note, nobody waits for it.
        let _ = files::ensure_dir(&self.output, 0o700);
        let _ = files::replace(&self.running(command), noted.as_bytes(), 0o600);
    }

    /// One that was begun by a run that was killed ends first, in the time that it has.
    async fn await_former(&self, command: &Command<'_>) {
        let Ok(noted) = std::fs::read_to_string(self.running(command)) else { return };
        let mut words = noted.split_whitespace().map(str::parse::<i32>);
        let (Some(Ok(pid)), Some(Ok(start))) = (words.next(), words.next()) else { return };
        let Some(pid) = Pid::from_raw(pid) else { return };
        let is_it = || started(pid) == Some(start);
        let until = Instant::now() + command.limit;
        while is_it() && Instant::now() < until {
            sleep(LOOK).await;
        }
        if is_it() {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }

    /// Keeps what a program said that failed, for its administrator; what it said before is gone.
    fn keep(&self, command: &Command<'_>, end: &End, parts: [(bool, &[u8]); 2]) {
        let path = self.output.join(command.unit);
        let said: zeroize::Zeroizing<Vec<u8>> = zeroize::Zeroizing::new(
            parts.into_iter().filter(|(is_kept, _)| *is_kept).flat_map(|(_, text)| text).copied().collect(),
        );
        let is_kept = *end != End::Well && matches!(command.prints, Prints::ToJournal | Prints::Answer);
        // Best effort: it is what went wrong that counts.
        if is_kept && let Ok(mut file) = kept::begin(&path) {
            let _ = std::io::Write::write_all(&mut file, &said);
        }
        kept::end(&path, is_kept);
    }
}

/// A program with all that it has started; what is left of it when this is dropped is ended.
struct Group {
    pid: Pid,
    process: Process,
    is_over: bool,
}

impl Group {
    fn of(process: Process) -> Self {
        let pid = process.id().and_then(|id| Pid::from_raw(id.cast_signed())).unwrap_or(Pid::INIT);
        Self { pid, process, is_over: false }
    }

    async fn end(&mut self, command: &Command<'_>) -> End {
        if let Some(mut input) = self.process.stdin.take() {
            let bytes = command.input.clone();
            // A program need not read it.
            tokio::spawn(async move {
                let _ = input.write_all(&bytes).await;
            });
        }
        let ended = timeout(command.limit, self.process.wait()).await;
        match ended {
            Ok(Ok(status)) => {
                // What it leaves running, such as the server that it has started, goes on.
                self.is_over = true;
                how(status)
            }
            Ok(Err(error)) => End::Otherwise(error.to_string()),
            Err(_) => {
                self.tell(Signal::TERM);
                self.is_gone(GRACE).await;
                self.tell(Signal::KILL);
                let _ = self.process.wait().await;
                // What it has started dies a moment later; what is dead and buried by nobody is not waited for.
                self.is_gone(BURIAL).await;
                self.is_over = true;
                End::TooLong(command.limit)
            }
        }
    }

    async fn is_gone(&mut self, limit: Duration) {
        let until = Instant::now() + limit;
        while self.is_there() && Instant::now() < until {
            sleep(LOOK).await;
        }
    }

    fn tell(&self, signal: Signal) {
        if self.pid != Pid::INIT {
            let _ = kill_process_group(self.pid, signal);
        }
    }

    fn is_there(&mut self) -> bool {
        let _ = self.process.try_wait();
        self.pid != Pid::INIT && test_kill_process_group(self.pid).is_ok()
    }
}

impl Drop for Group {
    /// Only where whoever waited for it gave up: then nothing of it may act any more.
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        self.tell(Signal::TERM);
        let until = Instant::now() + GRACE;
        while self.is_there() && Instant::now() < until {
            thread::sleep(LOOK);
        }
        self.tell(Signal::KILL);
    }
}

fn how(status: ExitStatus) -> End {
    match (status.code(), status.signal()) {
        (Some(0), _) => End::Well,
        (Some(code), _) => End::Status(code),
        (None, Some(signal)) => End::Otherwise(format!("signal {signal}")),
        (None, None) => End::Otherwise("it is not known how".to_owned()),
    }
}

/// When a process was started. Told apart is enough: a count of ticks that does not fit is cut.
fn started(pid: Pid) -> Option<i32> {
    process::started(pid).map(|ticks| (ticks & 0x7fff_ffff) as i32)
}

/// The value first, then those that are accepted besides.
fn memory_files(shown: &Shown<'_>) -> std::io::Result<Vec<OwnedFd>> {
    std::iter::once(&shown.value).chain(&shown.accepted).map(|value| memory_file(value)).collect()
}

/// A file of no file system, which nobody can change.
fn memory_file(value: &SecretValue) -> std::io::Result<OwnedFd> {
    let file = files::in_memory("rekeyd-value")?;
    let file = std::fs::File::from(fcntl_dupfd_cloexec(&file, FIRST_DESCRIPTOR)?);
    file.write_all_at(value.reveal(), 0)?;
    fcntl_add_seals(&file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    Ok(file.into())
}

/// Starts something that gets these descriptors; nothing else does, since this thread starts nothing meanwhile.
fn passing_on<T>(passed: &[OwnedFd], start: impl FnOnce() -> std::io::Result<T>) -> std::io::Result<T> {
    passed.iter().try_for_each(|fd| fcntl_setfd(fd, FdFlags::empty()))?;
    let started = start();
    passed.iter().try_for_each(|fd| fcntl_setfd(fd, FdFlags::CLOEXEC))?;
    started.map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            std::io::Error::new(ErrorKind::NotFound, "there is no such program, or directory to run it in")
        }
        _ => error,
    })
}

#[cfg(test)]
mod tests;
