//! Whether a unit could be started again: its programs, and its conditions.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::questions::{Condition, Program};
use super::{LIMIT, pm2};
use crate::sys::trusted;

/// What this unit's own sandbox makes fail, whatever holds for the unit that is asked about.
const SEEN_OTHERWISE_HERE: [&str; 4] = ["PathIsReadWrite=", "Capability=", "NeedsUpdate=", "Environment="];
/// What `systemd-analyze condition` says at its end, of all conditions together.
const SUMMARIES: [&str; 2] = ["Conditions failed.", "Asserts failed."];
/// `DEFAULT_PATH` of systemd.
const SEARCH_PATH: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
const SYSTEMD_ANALYZE: &str = "/usr/bin/systemd-analyze";

/// Whether a program is there and can be executed; one that is only named, where systemd finds it.
pub(super) fn program(path: &str) -> Program {
    program_at(&found_as(path))
}

/// Where systemd finds a program that is only named: in the first of its directories that has it (systemd.service(5),
/// "Command lines").
fn found_as(path: &str) -> PathBuf {
    let is_name = !path.contains('/');
    let places = SEARCH_PATH.iter().filter(|_| is_name).map(|directory| Path::new(directory).join(path));
    places.into_iter().find(|place| place.is_file()).unwrap_or_else(|| path.into())
}

fn program_at(path: &Path) -> Program {
    let Ok(stat) = fs::metadata(path) else { return Program::Missing };
    if !stat.is_file() || stat.permissions().mode() & 0o111 == 0 {
        return Program::NotExecutable;
    }
    match interpreter(path) {
        Some(interpreter) if !Path::new(&interpreter).exists() => Program::InterpreterMissing(interpreter),
        _ => Program::Fine,
    }
}

/// How others than root and `user`, who runs it, can change a program, and what to do about it. Of a user whom nobody knows it
/// is not told here: nothing is run as one.
pub(super) fn changeable(path: &str, user: Option<&str>) -> Option<(String, String)> {
    let owner = match user {
        None => rustix::process::geteuid().as_raw(),
        Some(user) => user.parse().ok().or_else(|| pm2::user(user).ok().map(|user| user.uid))?,
    };
    let doubt = trusted::program(Path::new(path), owner)?;
    Some((doubt.how(), doubt.remedy()))
}

/// The interpreter of a script: the first word after `#!` (execve(2)).
fn interpreter(path: &Path) -> Option<String> {
    let mut start = Vec::new();
    fs::File::open(path).ok()?.take(256).read_to_end(&mut start).ok()?;
    let line = start.strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?;
    let text = String::from_utf8_lossy(line);
    text.split_whitespace().next().map(str::to_owned)
}

/// systemd evaluates its own conditions: `systemd-analyze condition --unit=` (systemd-analyze(1)).
pub(super) fn conditions(unit: &str) -> Condition {
    let child = Command::new(SYSTEMD_ANALYZE)
        .args(["condition", &format!("--unit={unit}")])
        .env_clear()
        .env("SYSTEMD_COLORS", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else { return Condition::Unknown };
    let until = Instant::now() + LIMIT / 2;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < until => thread::sleep(Duration::from_millis(2)),
            _ => {
                let _ = child.kill().and_then(|()| child.wait());
                return Condition::Unknown;
            }
        }
    };
    let mut text = String::new();
    let read = child.stderr.take().map(|stderr| stderr.take(16 * 1024).read_to_string(&mut text));
    if status.success() {
        return Condition::Holds;
    }
    if read.is_none() { Condition::Unknown } else { failed(&text) }
}

/// Which conditions the tool says do not hold. Without any it has failed itself, and says nothing about the unit.
fn failed(told: &str) -> Condition {
    let is_one = |line: &&str| (line.contains("failed.") || line.contains("not met")) && !SUMMARIES.contains(line);
    let is_seen_here = |line: &&str| !SEEN_OTHERWISE_HERE.iter().any(|name| line.contains(name));
    // Of those with a pipe symbol one is enough (systemd.unit(5)).
    let is_enough = told.lines().any(|line| line.contains("=|") && line.ends_with("succeeded."));
    let counts = |line: &&str| !(is_enough && line.contains("=|"));
    let lines = told.lines().map(str::trim).filter(is_one).filter(is_seen_here).filter(counts);
    let lines: Vec<&str> = lines.collect();
    if lines.is_empty() { Condition::Unknown } else { Condition::Fails(lines.join(" ")) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    #[test]
    fn a_condition_that_this_sandbox_alone_fails_is_no_failure() {
        let own = "test.service: ConditionPathIsReadWrite=/srv failed.\nConditions failed.\n";
        assert_eq!(failed(own), Condition::Unknown);
        let theirs = "test.service: ConditionPathExists=/x failed.\nConditions failed.\n";
        assert_eq!(failed(theirs), Condition::Fails("test.service: ConditionPathExists=/x failed.".to_owned()));
        assert_eq!(failed("Failed to load unit.\n"), Condition::Unknown);
    }

    #[test]
    fn a_program_that_is_only_named_is_where_systemd_finds_it() {
        assert_eq!(program("sh"), Program::Fine);
        assert_eq!(program("no-such-program"), Program::Missing);
    }

    /// Only root can give files away.
    #[test]
    fn a_program_that_others_can_change_is_told_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let (path, link) = (dir.path().join("a"), dir.path().join("link"));
        fs::write(&path, "#!/bin/sh\n").unwrap();
        symlink("a", &link).unwrap();
        let shown = path.display();
        let with = |owner: u32, group: u32, mode: u32, user: &str| {
            chown(&path, Some(owner), Some(group)).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            changeable(link.to_str().unwrap(), Some(user))
        };
        for (owner, group, mode, user) in
            [(0, 0, 0o755, "0"), (0, 0, 0o775, "root"), (12345, 12345, 0o775, "12345"), (12345, 7, 0o755, "12345")]
        {
            assert_eq!(with(owner, group, mode, user), None, "{owner} {group} {mode:o} {user}");
        }
        let theirs = (format!("{shown} is another user's"), format!("chown root:root {shown}"));
        assert_eq!(with(12345, 0, 0o755, "root"), Some(theirs.clone()));
        assert_eq!(with(12345, 0, 0o755, "12346"), Some(theirs));
        let open = (format!("everybody may write {shown}"), format!("chmod go-w {shown}"));
        assert_eq!(with(0, 0, 0o777, "root"), Some(open));
        let open = (format!("the group 12345 may write {shown}"), format!("chmod go-w {shown}"));
        assert_eq!(with(0, 12345, 0o775, "0"), Some(open));
        assert_eq!(with(0, 0, 0o755, "root"), None);
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let place = dir.path().display();
        let open = (format!("everybody may write {place}"), format!("chmod go-w {place}"));
        assert_eq!(changeable(path.to_str().unwrap(), None), Some(open));
    }

    #[test]
    fn programs_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let script = |name: &str, text: &str, mode: u32| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            program_at(&path)
        };
        assert_eq!(script("a", "#!/bin/sh\n", 0o755), Program::Fine);
        assert_eq!(script("b", "#!/bin/sh\n", 0o644), Program::NotExecutable);
        assert_eq!(script("c", "#!/no/such -x\n", 0o755), Program::InterpreterMissing("/no/such".to_owned()));
        assert_eq!(program_at(&dir.path().join("d")), Program::Missing);
    }
}
