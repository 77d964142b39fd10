//! `rekeyctl rotate --standalone` in a developer's checkout, with a real server: no daemon, no systemd, no root needed.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use support::host::{self, example};
use support::jwt::Token;
use support::{poll, seconds};

const FIRST: &str = "first-value-0123456789abcdef0123456789abcdef";
const ENV: &str = "# mine\nPORT=3000\n\nJWT_SECRET=first-value-0123456789abcdef0123456789abcdef # sessions\nLAST='x'";

/// A git work tree with an env file, a server that reads it, and the file that says how it is rotated.
struct Checkout {
    directory: tempfile::TempDir,
    port: u16,
}

impl Checkout {
    /// With the server running, and `more` in the target.
    fn new(more: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let checkout = Self { directory: tempfile::tempdir().unwrap(), port };
        let git = checkout.command("git").args(["init", "--quiet"]).output();
        assert!(git.expect("git is not installed: apt install git").status.success());
        checkout.put(".gitignore", 0o644, "/.env\n/run/\n/state/\n");
        checkout.put(".env", 0o600, ENV);
        checkout.put("login.json", 0o600, r#"{"user":"smoke","password":"let-me-in"}"#);
        checkout.put("rekeyd.toml", 0o644, &checkout.toml(more));
        checkout.put("run/toy/old-value-sha256", 0o644, &hex::encode(Sha256::digest(FIRST)));
        checkout.put("run/toy/mode", 0o644, "");
        fs::create_dir(checkout.path("run/state")).unwrap();
        // As a developer writes it: the server goes on in the background.
        let script = format!(
            "#!/bin/sh\nset -eu\ncd \"$(dirname \"$0\")\"\n\
             env >run/environment\ntest ! -e run/broken || {{ cat .env; exit 7; }}\n\
             if test -s run/pid; then kill \"$(cat run/pid)\" 2>/dev/null || :; fi\n\
             while test -s run/pid && kill -0 \"$(cat run/pid)\" 2>/dev/null; do sleep 0.02; done\n\
             n=0; while test -e run/slow && test $n -lt 1200; do sleep 0.05; n=$((n+1)); done\n\
             PORT={port} TOY_DOTENV=$PWD/.env TOY_HOME=$PWD/run/toy STATE_DIRECTORY=$PWD/run/state \
             setsid {} >run/log 2>&1 </dev/null & echo $! >run/pid\n",
            example("toy-backend").display()
        );
        checkout.put("restart.sh", 0o755, &script);
        assert!(checkout.command("./restart.sh").status().unwrap().success());
        poll(seconds(20), "the server is there", || checkout.login());
        checkout
    }

    fn toml(&self, more: &str) -> String {
        let url = format!("http://127.0.0.1:{}/api", self.port);
        format!(
            "[secret]\nenv = \"JWT_SECRET\"\n{more}\n[proof]\nsettle = \"0s\"\n[[target]]\ntype = \"dotenv\"\nfile = \".env\"\n\
             restart-command = [\"./restart.sh\"]\n[[probe]]\ntype = \"jwt\"\ntimeout = \"5s\"\n\
             login = {{ url = \"{url}/auth/login\", json-file = \"login.json\", token = \"/token\" }}\n\
             protected = {{ url = \"{url}/me\" }}\n"
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn put(&self, name: &str, mode: u32, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.directory.path()).env("XDG_STATE_HOME", self.path("state")).stdin(Stdio::null());
        command
    }

    fn rekeyctl(&self, arguments: &[&str]) -> Command {
        self.program(env!("CARGO_BIN_EXE_rekeyctl"), arguments)
    }

    fn program(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = self.command(program);
        // What the shell of a developer has in it must not get into a command's.
        command.args(arguments).env("JWT_SECRET", "stale");
        command
    }

    fn run(&self, arguments: &[&str]) -> (i32, String) {
        said(&host::output_of(&mut self.rekeyctl(arguments), b""))
    }

    fn rotate(&self) -> (i32, String) {
        self.run(&["rotate", "--standalone"])
    }

    /// One that must end so, and say this.
    #[track_caller]
    fn ends(&self, arguments: &[&str], status: i32, words: &str) -> String {
        let (ended, text) = self.run(arguments);
        assert_eq!(ended, status, "{text}");
        assert!(text.contains(words), "{words:?} is not in {text}");
        text
    }

    fn value(&self) -> String {
        let text = self.read(".env");
        let line = text.lines().find_map(|line| line.strip_prefix("JWT_SECRET=")).unwrap();
        line.split(' ').next().unwrap().to_owned()
    }

    /// The value of the file is that of the server, and every other byte is as it was.
    #[track_caller]
    fn serves(&self, value: &str) {
        assert_eq!(self.value(), value);
        assert_eq!(self.read(".env"), ENV.replace(FIRST, value));
        let token = poll(seconds(10), "the server is there", || self.login());
        assert!(Token::parse(&token).unwrap().is_signed_with(value));
        assert_eq!(fs::metadata(self.path(".env")).unwrap().mode() & 0o777, 0o600);
    }

    fn login(&self) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(seconds(2))).unwrap();
        let body = self.read("login.json");
        let head =
            "POST /api/auth/login HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n";
        write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let body = answer.split_once("\r\n\r\n")?.1;
        let json: Value = serde_json::from_str(&body[body.find('{')?..=body.rfind('}')?]).ok()?;
        json["token"].as_str().map(str::to_owned)
    }

    fn status(&self) -> Value {
        let (ended, text) = self.run(&["status", "--standalone", "--json"]);
        assert_eq!(ended, 0, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    fn state(&self) -> PathBuf {
        let found: Vec<PathBuf> =
            fs::read_dir(self.path("state/rekeyd")).unwrap().map(|it| it.unwrap().path()).collect();
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].clone()
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        let pid = fs::read_to_string(self.path("run/pid")).unwrap_or_default();
        let _ = Command::new("kill").args(["-KILL", pid.trim()]).stderr(Stdio::null()).status();
    }
}

fn said(output: &Output) -> (i32, String) {
    let text = [output.stdout.clone(), output.stderr.clone()].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8(text).unwrap())
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn a_program_of_the_checkout_can_be_the_probe() {
    let checkout = Checkout::new("");
    let probe = "[[probe]]\ntype = \"command\"\ncommand = [\"./check.sh\", \"now\"]\ntimeout = \"1s\"\n";
    checkout.put("rekeyd.toml", 0o644, &(checkout.toml("") + probe));
    let check = |more: &str| {
        let script =
            format!("#!/bin/sh\ngrep -qF \"$(cat $REKEYD_VALUE_FILE)\" .env || exit 9\n{more}\necho $1 it has it\n");
        checkout.put("check.sh", 0o755, &script);
    };
    check("");
    checkout.ends(&["rotate", "--standalone"], 0, "check.sh ended well with generation 2: now it has it");
    let value = checkout.value();
    check("test $REKEYD_PRIMARY = 2 || { cat $REKEYD_VALUE_FILE; exit 1; }");
    let said = checkout.ends(&["rotate", "--standalone"], 1, "check.sh ended with status 1: (its message has");
    assert!(said.contains("rolled back") && checkout.value() == value, "{said}");
    check("echo broken; exit 1");
    checkout.ends(&["rotate", "--standalone"], 3, "check.sh ended with status 1: broken");
    checkout.put("rekeyd.toml", 0o644, &(checkout.toml("") + probe + "user = \"app\"\n"));
    checkout.ends(&["rotate", "--standalone"], 78, "`user` needs the daemon");
}

#[test]
fn a_server_gets_a_new_value_that_is_proven_and_nothing_tells_it() {
    let checkout = Checkout::new("");
    let first =
        checkout.ends(&["rotate", "--standalone", "--reason", "try"], 0, "adopted the value in force at dotenv");
    for words in [
        "deliver   dotenv",
        "/.env written and read back",
        "restart.sh was run",
        "HS256 token signed with generation 2",
    ] {
        assert!(first.contains(words), "{words}: {first}");
    }
    let value = checkout.value();
    assert!(value.len() == 64 && value != FIRST, "{value}");
    checkout.serves(&value);
    let second = checkout.ends(&["rotate", "--standalone", "--config", "rekeyd.toml", "--json"], 0, "");
    let records: Vec<Value> = second.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.last().unwrap()["what"]["kind"], "ended");
    let newest = checkout.value();
    checkout.serves(&newest);
    let environment = checkout.read("run/environment");
    assert!(environment.contains("REKEYD_FILE=") && !environment.contains("JWT_SECRET"), "{environment}");
    // Nothing but the env file has a value: no output, no record, nothing that was left beside it.
    for path in files(checkout.directory.path()) {
        let bytes = fs::read(&path).unwrap();
        let has = [FIRST, &value, &newest]
            .iter()
            .any(|value| bytes.windows(value.len()).any(|part| part == value.as_bytes()));
        assert!(!has || path.ends_with(".env"), "{}", path.display());
    }
    assert!(!first.contains(&value) && !second.contains(&newest));
    assert_eq!(checkout.status()["generation"], 3);
    checkout.ends(&["history", "--standalone"], 0, "try");
    checkout.ends(&["verify", "--standalone"], 0, "generation 3 is in force");
}

#[test]
fn what_fails_with_the_new_value_is_taken_back_byte_for_byte() {
    for fault in ["exits-at-once", "signs-with-other", "login-500"] {
        let checkout = Checkout::new("");
        checkout.put("run/toy/mode", 0o644, fault);
        let text = checkout.ends(&["rotate", "--standalone"], 1, "rolled back: generation 1");
        assert!(text.contains("back: "), "{text}");
        checkout.serves(FIRST);
        assert_eq!(checkout.status()["generations"][1]["stage"], "rejected", "{fault}");
    }
}

#[test]
fn what_is_not_well_before_is_refused_and_not_touched() {
    let checkout = Checkout::new("");
    checkout.put("run/toy/mode", 0o644, "always login-500");
    assert!(checkout.command("./restart.sh").status().unwrap().success());
    checkout.ends(&["rotate", "--standalone"], 3, "nothing was touched");
    assert_eq!(checkout.read(".env"), ENV);
}

#[test]
fn killed_anywhere_it_is_finished_or_undone_by_the_next_run() {
    let checkout = Checkout::new("");
    checkout.put("run/slow", 0o644, "");
    checkout.ends(&["adopt", "--standalone"], 0, "adopted");
    let mut child = begun(&checkout);
    poll(seconds(30), "the file is written", || (checkout.read(".env") != ENV).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    let status = checkout.status();
    assert_eq!(status["state"], "rotating", "{status:#}");
    fs::remove_file(checkout.path("run/slow")).unwrap();
    let text = checkout.ends(&["rotate", "--standalone"], 0, "an earlier run did not come to its end");
    assert!(text.contains("going on with the rotation that was interrupted"), "{text}");
    checkout.serves(&checkout.value());
    let status = checkout.status();
    assert_eq!(
        (status["state"].as_str(), status["last"]["outcome"]["outcome"].as_str()),
        (Some("in-force"), Some("committed"))
    );
    assert_eq!(
        names(checkout.directory.path()),
        [".env", ".git", ".gitignore", "login.json", "rekeyd.toml", "restart.sh", "run", "state"]
    );
}

#[test]
fn ctrl_c_takes_it_back_and_the_command_that_runs_is_ended_first() {
    let checkout = Checkout::new("");
    checkout.put("run/slow", 0o644, "");
    let child = begun(&checkout);
    poll(seconds(30), "the file is written", || (checkout.read(".env") != ENV).then_some(()));
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    fs::remove_file(checkout.path("run/slow")).unwrap();
    let (status, text) = said(&host::end_of(child, "rekeyctl"));
    assert_eq!(status, 1, "{text}");
    assert!(text.contains("told to stop") && text.contains("rolled back"), "{text}");
    checkout.serves(FIRST);
}

#[test]
fn nobody_but_root_sees_the_memory_of_a_run_and_what_it_starts_is_as_ever() {
    const NOBODY: u32 = 65534;
    let checkout = Checkout::new("");
    checkout.put("run/slow", 0o644, "");
    // Not everybody can reach where it was built.
    let program = checkout.path("run/rekeyctl");
    fs::copy(env!("CARGO_BIN_EXE_rekeyctl"), &program).unwrap();
    let all = checkout.directory.path();
    assert!(
        Command::new("chown").args(["-R", &format!("{NOBODY}:{NOBODY}")]).arg(all).status().unwrap().success(),
        "as root"
    );
    let mut run = checkout.program(program.to_str().unwrap(), &["rotate", "--standalone"]);
    let run = run.uid(NOBODY).gid(NOBODY).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    poll(seconds(30), "the file is written", || (checkout.read(".env") != ENV).then_some(()));
    // proc(5): of a process that makes no core dump, all is root's.
    let owner = |pid: u32| Some(fs::metadata(format!("/proc/{pid}/environ")).ok()?.uid());
    assert_eq!(owner(run.id()), Some(0));
    poll(seconds(10), "what it starts is as ever", || {
        let tasks = fs::read_dir(format!("/proc/{}/task", run.id())).unwrap();
        let children = tasks.flatten().map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
        let is_as_ever = |pid: &str| owner(pid.parse().unwrap()) == Some(NOBODY);
        children.into_iter().any(|pids| pids.split_whitespace().any(is_as_ever)).then_some(())
    });
    fs::remove_file(checkout.path("run/slow")).unwrap();
    host::end_of(run, "rekeyctl");
}

#[test]
fn two_runs_at_once_are_one_rotation() {
    let checkout = Checkout::new("");
    checkout.put("run/slow", 0o644, "");
    let child = begun(&checkout);
    poll(seconds(30), "the file is written", || (checkout.read(".env") != ENV).then_some(()));
    checkout.ends(&["rotate", "--standalone"], 75, "another run has");
    fs::remove_file(checkout.path("run/slow")).unwrap();
    let (status, text) = said(&host::end_of(child, "rekeyctl"));
    assert_eq!(status, 0, "{text}");
    checkout.serves(&checkout.value());
}

#[test]
fn what_a_command_printed_is_kept_from_view_and_the_message_says_where() {
    let checkout = Checkout::new("");
    checkout.put("run/broken", 0o644, "");
    let text = checkout.ends(&["rotate", "--standalone"], 2, "restart.sh ended with status 7");
    let kept = checkout.state().join("output/rekeyd-restart-rekeyd.service");
    assert!(text.contains(&format!("less {}", kept.display())) && !text.contains(FIRST), "{text}");
    assert!(fs::read_to_string(&kept).unwrap().contains(FIRST), "it printed the file");
    assert_eq!(fs::metadata(&kept).unwrap().mode() & 0o777, 0o600);
    assert_eq!(checkout.read(".env"), ENV);
    checkout.ends(&["rotate", "--standalone"], 3, "rekeyctl release --standalone --config rekeyd.toml");
    fs::remove_file(checkout.path("run/broken")).unwrap();
    checkout.ends(&["release", "--standalone"], 0, "hold released");
    assert_eq!(checkout.rotate().0, 0);
    checkout.serves(&checkout.value());
}

#[test]
fn neither_git_nor_anybody_else_gets_what_is_kept() {
    let checkout = Checkout::new("");
    assert_eq!(checkout.rotate().0, 0);
    let state = checkout.state();
    assert_eq!(fs::metadata(&state).unwrap().mode() & 0o777, 0o700);
    for path in files(&state).iter().filter(|path| !path.ends_with("lock")) {
        assert_eq!(fs::metadata(path).unwrap().mode() & 0o077, 0, "{}", path.display());
    }
    // In the work tree, where somebody wants it there.
    checkout.put(".gitignore", 0o644, "/.env\n");
    assert_eq!(checkout.run(&["rotate", "--standalone", "--state-dir", ".rekeyd"]).0, 0);
    let (_, seen) =
        said(&checkout.command("git").args(["status", "--porcelain", "--untracked-files=all"]).output().unwrap());
    assert!(!seen.contains(".rekeyd") && !seen.contains(".env"), "{seen}");
    // An env file that git would take.
    checkout.put(".gitignore", 0o644, "");
    checkout.ends(&["rotate", "--standalone", "--state-dir", ".rekeyd"], 3, "git does not ignore it");
    // A key that is gone is not made anew over values that it has sealed.
    checkout.put(".gitignore", 0o644, "/.env\n");
    fs::remove_file(checkout.path(".rekeyd/key")).unwrap();
    checkout.ends(&["rotate", "--standalone", "--state-dir", ".rekeyd"], 3, "to begin anew");
}

#[test]
fn what_needs_the_daemon_is_a_mistake_with_its_place_and_what_to_write() {
    let checkout = Checkout::new("");
    let toml = checkout.read("rekeyd.toml");
    let with = |of: &str, by: &str| checkout.put("rekeyd.toml", 0o644, &toml.replace(of, by));
    with(
        "type = \"dotenv\"\nfile = \".env\"\nrestart-command = [\"./restart.sh\"]",
        "type = \"systemd\"\nunits = [\"a.service\"]",
    );
    let text = checkout.ends(&["rotate", "--standalone"], 78, "needs systemd and the daemon");
    assert!(text.contains("rekeyd.toml:") && text.contains("restart-command"), "{text}");
    with("restart-command = [\"./restart.sh\"]", "restart-units = [\"a.service\"]");
    checkout.ends(&["rotate", "--standalone"], 78, "`restart-units` needs systemd");
    with("env = ", "emv = ");
    checkout.ends(&["rotate", "--standalone"], 78, "did you mean `env`?");
    checkout.ends(&["rotate", "--standalone", "my-backend"], 64, "cannot be used with");
    checkout.ends(&["rotate", "--config", "rekeyd.toml"], 64, "--standalone");
    assert_eq!(checkout.read(".env"), ENV);
}

#[test]
fn a_program_of_ones_own_is_a_target_here_too() {
    let checkout = Checkout::new("");
    let script = "#!/bin/sh\nset -eu\ncd \"$(dirname \"$0\")\"\ncase $REKEYD_VERB in\nadopt) printf '{\"value\": \"%s\"}' \"$(cat run/token)\" ;;\n\
        preflight|prove) cmp -s run/token \"$REKEYD_VALUE_FILE\" || { echo '{\"message\": \"it differs\"}'; exit 1; } ;;\n\
        deliver) cat \"$REKEYD_VALUE_FILE\" >run/token; echo \"$REKEYD_VERB $REKEYD_MARK $REKEYD_VALUE_FILE $*\" >>run/asked ;;\nesac\n";
    checkout.put("target.sh", 0o755, script);
    checkout.put("run/token", 0o600, FIRST);
    let toml = checkout
        .read("rekeyd.toml")
        .replace("[[probe]]", "[[target]]\ntype = \"command\"\ncommand = [\"./target.sh\"]\n[[probe]]");
    checkout.put("rekeyd.toml", 0o644, &toml);
    let text = checkout.ends(&["rotate", "--standalone"], 0, "command target.sh written and read back");
    checkout.serves(&checkout.value());
    assert_eq!(checkout.read("run/token"), checkout.value());
    assert!(checkout.read("run/asked").contains("/proc/self/fd/"), "{text}");
    // One that fails takes the other with it.
    checkout.put("run/toy/mode", 0o644, "login-500");
    checkout.put("run/toy/old-value-sha256", 0o644, &hex::encode(Sha256::digest(checkout.value())));
    let value = checkout.value();
    assert_eq!(checkout.rotate().0, 1);
    assert_eq!(checkout.read("run/token"), value);
    checkout.serves(&value);
}

#[test]
fn nothing_is_touched_by_asking_what_would_happen() {
    let checkout = Checkout::new("");
    let text = checkout.ends(&["rotate", "--standalone", "--dry-run"], 0, "nothing was touched");
    assert!(text.contains("deliver   dotenv"), "{text}");
    checkout.serves(FIRST);
    fs::write(checkout.path(".env"), ENV.replace(FIRST, "")).unwrap();
    checkout.ends(&["rotate", "--standalone", "--state-dir", "run/other"], 3, "rekeyctl generate");
}

fn begun(checkout: &Checkout) -> Child {
    checkout.rekeyctl(&["rotate", "--standalone"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn names(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}
