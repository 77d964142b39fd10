//! What the host gives: `tests/box`, and what cargo built beside the test.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use rustix::process::{Pid, Signal, kill_process};

const BOX: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/box");
/// How long anything may run: more than a command in a machine may. One that hangs is a failure that names it.
const LONGEST: Duration = Duration::from_secs(400);
/// Goes into a machine: its group of control groups, the host's number of its PID 1, and the command.
const ENTER: &str = r#"{ [ -d "$0" ] || mkdir -p "$0"; } && echo $$ > "$0/cgroup.procs" && exec nsenter -t "$@""#;

/// What a command said and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The exit status; 128 and the signal's number where one ended it.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "exit status {}\n--- stdout\n{}\n--- stderr\n{}",
            self.status,
            self.stdout.trim_end(),
            self.stderr.trim_end()
        )
    }
}

/// Runs `tests/box`.
pub fn run(arguments: &[&str]) -> Output {
    run_with(arguments, b"")
}

/// Runs `tests/box` with something on its standard input.
pub fn run_with(arguments: &[&str], input: &[u8]) -> Output {
    let target = profile_directory();
    output(
        Command::new(BOX).args(arguments).env("CARGO_TARGET_DIR", target.parent().expect("the target directory")),
        input,
    )
}

/// `tests/box exec`, by the shortest way: tests do it thousands of times, most of them to see whether something happened.
pub fn run_in(machine: &str, command: &[&str], input: &[u8]) -> Output {
    let runs = env::var_os("REKEYD_TEST_RUN").unwrap_or_else(|| "/run/rekeyd-tests".into());
    let of = |file: &str| fs::read_to_string(Path::new(&runs).join(machine).join(file));
    let is_there = |leader: &str| Path::new("/proc").join(leader).join("root/run/host/container-manager").exists();
    match (of("group"), of("leader")) {
        (Ok(group), Ok(leader)) if is_there(leader.trim()) => {
            let group = format!("{}/payload/exec", group.trim());
            let namespaces = ["-m", "-r", "-w", "-u", "-i", "-n", "-p", "-C", "--"];
            // By its path: else the whole of this process would be copied first (fork(2) in place of vfork(2)).
            let mut enter = Command::new("/bin/sh");
            enter.args(["-c", ENTER, &group, leader.trim()]).args(namespaces).args(command);
            enter.env_clear().envs([
                ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
                ("HOME", "/root"),
                ("LANG", "C.UTF-8"),
                ("TERM", "dumb"),
                ("SYSTEMD_PAGER", "cat"),
                ("SYSTEMD_COLORS", "0"),
            ]);
            output(&mut enter, input)
        }
        // It has rebooted by itself, or is gone.
        _ => run_with(&[&["exec", machine], command].concat(), input),
    }
}

fn output(command: &mut Command, input: &[u8]) -> Output {
    let said = output_of(command, input);
    Output {
        status: said.status.code().unwrap_or_else(|| 128 + said.status.signal().unwrap_or_default()),
        stdout: String::from_utf8_lossy(&said.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&said.stderr).into_owned(),
    }
}

/// What a command of the host said and how it ended, as [`Command::output`] has it, within [`LONGEST`].
pub fn output_of(command: &mut Command, input: &[u8]) -> process::Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    // A command that does not read its input is no error.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input));
    end_of(child, &format!("{command:?}"))
}

/// The same of one that was started before.
pub fn end_of(child: Child, command: &str) -> process::Output {
    let (start, pid) = (Instant::now(), child.id());
    let (tell, told) = mpsc::channel();
    thread::spawn(move || tell.send(child.wait_with_output()));
    loop {
        match told.recv_timeout(Duration::from_secs(1)) {
            Ok(said) => return said.expect("its end"),
            Err(_) => wake(pid),
        }
        assert!(start.elapsed() < LONGEST, "after {LONGEST:?} it still runs: {command}");
    }
}

/// A machine that goes down stops all of its processes before it ends them, and nsenter(1) stops itself with the command
/// that it has started: nobody in the machine could ever wake it, since it is outside.
fn wake(pid: u32) {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    if stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')) {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let _ = pid.map(|pid| kill_process(pid, Signal::CONT));
    }
}

/// `target/debug`: this test is `target/debug/deps/NAME-HASH`.
fn profile_directory() -> PathBuf {
    let test = env::current_exe().expect("this test's path");
    test.ancestors().nth(2).expect("target/debug").to_owned()
}

/// A built example. `cargo test` builds it, `cargo test --test NAME` does not.
pub fn example(name: &str) -> PathBuf {
    let built = profile_directory().join("examples").join(name);
    let age = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified());
    let of = match name {
        "toy-backend" => "backend",
        "bus-client" => "bus",
        other => other,
    };
    let sources = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(of)).expect("its sources");
    let newest = sources.filter_map(|source| age(&source.ok()?.path()).ok()).max().expect("its sources");
    let fresh = age(&built).is_ok_and(|age| age >= newest);
    assert!(fresh, "{} is missing or old: run tests/run, or cargo build --example {name}", built.display());
    built
}

/// The package that `tests/setup` built.
pub fn package() -> PathBuf {
    let dir = profile_directory().with_file_name("deb");
    let files = fs::read_dir(&dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut packages = files.filter(|path| path.extension().is_some_and(|extension| extension == "deb"));
    packages.next().unwrap_or_else(|| panic!("no .deb in {}: run tests/run", dir.display()))
}
