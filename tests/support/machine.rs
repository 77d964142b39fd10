//! A booted Debian that is thrown away at the end: `tests/box` in Rust.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{process, thread};

use serde_json::Value;
use tempfile::TempDir;

use super::host::{example, run, run_in};
use super::{Backend, Debian, Output, poll, seconds};

/// Seconds after which a command in the machine is ended, with status 124.
const LONGEST_COMMAND: &str = "300";

/// What to boot: files are put in place beforehand, so that the boot itself takes them up.
pub struct Builder {
    debian: Debian,
    bare: bool,
    with: &'static str,
    degraded: bool,
    files: TempDir,
}

impl Builder {
    /// Without rekeyd installed.
    pub fn bare(mut self) -> Self {
        self.bare = true;
        self
    }

    /// From an image that has more: `engine`, `node`, `postgresql`.
    pub fn with(mut self, more: &'static str) -> Self {
        self.with = more;
        self
    }

    /// With logind from the boot on, as where nobody has spared it: apt asks for it.
    pub fn logind(self) -> Self {
        let unit = "systemd-logind.service";
        self.link(
            &format!("/etc/systemd/system/multi-user.target.wants/{unit}"),
            &format!("/usr/lib/systemd/system/{unit}"),
        )
    }

    /// The boot may end with failed units.
    pub fn may_be_degraded(mut self) -> Self {
        self.degraded = true;
        self
    }

    /// A file, root's.
    pub fn file(self, path: &str, mode: u32, text: impl AsRef<[u8]>) -> Self {
        let file = self.staged(path);
        fs::write(&file, text).expect("a staged file");
        fs::set_permissions(file, Permissions::from_mode(mode)).expect("a staged file's mode");
        self
    }

    /// A symbolic link.
    pub fn link(self, path: &str, to: &str) -> Self {
        symlink(to, self.staged(path)).expect("a staged link");
        self
    }

    /// `/etc/rekeyd/secrets.d/NAME.toml`.
    pub fn secret(self, name: &str, toml: &str) -> Self {
        self.file(&format!("/etc/rekeyd/secrets.d/{name}.toml"), 0o644, toml)
    }

    /// A backend, running after the boot.
    pub fn backend(self, backend: &Backend) -> Self {
        backend.install(self)
    }

    /// A program that cargo built beside this test, as `/usr/local/bin/NAME`.
    pub fn example(self, name: &str) -> Self {
        let path = self.staged(&format!("/usr/local/bin/{name}"));
        if !path.exists() {
            fs::copy(example(name), &path).expect("a copy of an example");
        }
        self
    }

    /// Boots and waits until systemd says that it is running.
    pub fn boot(self) -> Machine {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("t{}-{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let image = match self.debian {
            Debian::Twelve => "12",
            Debian::Thirteen => "13",
        };
        let image = match (self.bare, self.with) {
            (true, _) => format!("{image}-bare"),
            (false, "") => image.to_owned(),
            (false, more) => format!("{image}-{more}"),
        };
        let files = self.files.path().to_str().expect("a path in UTF-8");
        let owner = process::id().to_string();
        let said = run(&["boot", &name, "--image", &image, "--files", files, "--owner", &owner]);
        assert!(said.status == 0, "no machine could be booted (have you run tests/run, as root?):\n{said}");
        let machine = Machine { name, debian: self.debian };
        machine.check_state(&said.stdout, self.degraded);
        machine
    }

    fn staged(&self, path: &str) -> PathBuf {
        let staged = self.files.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(staged.parent().expect("a file's directory")).expect("a staged directory");
        staged
    }
}

/// A running Debian. Dropping it ends it; in a test that panics, what it last said is printed first.
pub struct Machine {
    name: String,
    /// Which one.
    pub debian: Debian,
}

impl Machine {
    /// To be booted with more than is in the image.
    pub fn on(debian: Debian) -> Builder {
        let files = TempDir::new().expect("a temporary directory");
        Builder { debian, bare: false, with: "", degraded: false, files }
    }

    /// Boots the image as it is.
    pub fn boot(debian: Debian) -> Self {
        Self::on(debian).boot()
    }

    /// Runs a command as root.
    pub fn exec(&self, command: &[&str]) -> Output {
        self.exec_with(command, b"")
    }

    fn exec_with(&self, command: &[&str], input: &[u8]) -> Output {
        run_in(&self.name, &[&["timeout", "-k", "5", LONGEST_COMMAND], command].concat(), input)
    }

    /// Runs a command as another user.
    pub fn exec_as(&self, user: &str, command: &[&str]) -> Output {
        run(&[&["exec", &self.name, "-u", user, "timeout", "-k", "5", LONGEST_COMMAND], command].concat())
    }

    /// Runs a command that must succeed, and returns what it wrote to standard output.
    #[track_caller]
    pub fn ok(&self, command: &[&str]) -> String {
        let said = self.exec(command);
        assert!(said.status == 0, "{command:?} failed:\n{said}");
        said.stdout
    }

    /// Runs a shell script that must succeed.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        self.ok(&["sh", "-euc", script])
    }

    /// Writes a file of root's.
    #[track_caller]
    pub fn put(&self, path: &str, mode: u32, text: impl AsRef<[u8]>) {
        let said = self.exec_with(&["install", "-D", "-m", &format!("{mode:o}"), "/dev/stdin", path], text.as_ref());
        assert!(said.status == 0, "cannot put {path}:\n{said}");
    }

    /// A file's text.
    #[track_caller]
    pub fn read(&self, path: &str) -> String {
        self.ok(&["cat", path])
    }

    /// Entries of the journal, oldest first, complete up to now: `journal(&["-u", "my-backend"])`.
    pub fn journal(&self, arguments: &[&str]) -> Vec<Value> {
        let script = "journalctl --sync; exec journalctl -q --no-pager --all -o json \"$@\"";
        let text = self.ok(&[&["sh", "-c", script, "sh"], arguments].concat());
        text.lines().map(|line| serde_json::from_str(line).expect("a journal entry")).collect()
    }

    /// A property of a unit as `systemctl show` says it.
    pub fn unit(&self, unit: &str, property: &str) -> String {
        self.ok(&["systemctl", "show", "--value", "-p", property, unit]).trim_end().to_owned()
    }

    /// The value of a variable in each process of a unit, with the process' name, by number of process.
    pub fn variable(&self, unit: &str, variable: &str) -> Vec<(String, Option<String>)> {
        let script = r#"for pid in $(sort -n "/sys/fs/cgroup$1/cgroup.procs"); do
            printf '%s=' "$(cat "/proc/$pid/comm")"; tr '\0' '\n' < "/proc/$pid/environ" | grep "^$2=" || echo; done"#;
        let group = self.unit(unit, "ControlGroup");
        let processes = self.ok(&["sh", "-c", script, "sh", &group, variable]);
        let assignment = format!("{variable}=");
        let process = |line: &str| {
            let (name, rest) = line.split_once('=').expect("NAME=…");
            (name.to_owned(), rest.strip_prefix(&assignment).map(str::to_owned))
        };
        processes.lines().map(process).collect()
    }

    /// Kills rekeyd.service with SIGKILL and returns when its main process is gone. systemd may start it again.
    pub fn kill_daemon(&self) {
        let old = self.unit("rekeyd.service", "MainPID");
        assert_ne!(old, "0", "rekeyd.service does not run");
        self.ok(&["systemctl", "kill", "--signal=KILL", "rekeyd.service"]);
        poll(seconds(10), "rekeyd dies", || (self.unit("rekeyd.service", "MainPID") != old).then_some(()));
    }

    /// An orderly reboot; files stay.
    pub fn reboot(&self) {
        self.start_again("reboot");
    }

    /// Everything dies at one instant, and the machine boots again; what was written stays, synced or not.
    pub fn crash(&self) {
        self.start_again("crash");
    }

    fn start_again(&self, how: &str) {
        let said = run(&[how, &self.name]);
        assert!(said.status == 0, "{how} failed:\n{said}");
        self.check_state(&said.stdout, false);
    }

    fn check_state(&self, state: &str, degraded: bool) {
        let state = state.trim();
        if state == "running" || (degraded && state == "degraded") {
            return;
        }
        let failed = self.exec(&["systemctl", "--failed", "--no-legend", "--plain"]);
        panic!("the machine is {state:?} after its boot; failed units:\n{failed}");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if thread::panicking() {
            let journal = |arguments: &[&str]| {
                run(&[&["journal", &self.name, "-b", "-o", "short-precise"], arguments].concat()).stdout
            };
            let (rekeyd, all) = (journal(&["-n", "100", "-u", "rekeyd.service"]), journal(&["-n", "40"]));
            let console = run(&["console", &self.name]).stdout;
            println!("=== {} ({:?}): its journal of rekeyd.service\n{rekeyd}", self.name, self.debian);
            println!("=== the end of its whole journal\n{all}\n=== its console\n{console}===");
        }
        let _ = run(&["stop", &self.name]);
    }
}
