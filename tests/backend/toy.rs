//! A small backend to rotate the secret of, for tests and the demo: `POST /api/auth/login` gives a token that is signed
//! with `JWT_SECRET`, `GET /api/me` wants one. It can be told to misbehave, in general or with a new value only.
//!
//! | environment | |
//! |---|---|
//! | `JWT_SECRET_FILE` | file with the value that signs and verifies tokens |
//! | `TOY_DOTENV` | env file in which it reads `JWT_SECRET` and `JWT_SECRET_PREVIOUS` itself |
//! | `JWT_SECRET` | that value, where there is no such file |
//! | `JWT_SECRET_PREVIOUS` | where set, or a credential of that name is there, verifies tokens too; a list with commas |
//! | `TOY_REREADS` | file whose value takes the place of the first one as soon as it is there |
//! | `PORT` | on 127.0.0.1, default 3000 |
//! | `TOY` | how to misbehave: see [`fault`]; where it is not set, the file `mode` says it |
//! | `TOY_HOME` | directory of `mode` and `old-value-sha256`, default `/etc/toy` |
//! | `STATE_DIRECTORY` | from systemd, default `/var/lib/toy` |
//!
//! `POST /api/logout-everybody` with the bearer token `let-them-out`, or a higher number in the file `version` of the state
//! directory, ends all sessions.
//!
//! A value is old where its SHA-256 (hex) is in the file `old-value-sha256`. Login is user `smoke`, password `let-me-in`.

mod fault;
mod http;
mod jwt;
mod listen;

use std::borrow::Cow;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{env, fs, io, thread};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use fault::Fault;
use jwt::Token;

fn main() -> io::Result<()> {
    if env::args().nth(1).as_deref() == Some("worker") {
        loop {
            thread::park();
        }
    }
    let toy = Box::leak(Box::new(Toy::from_environment()));
    toy.before_listening();
    let port = env::var("PORT").unwrap_or("3000".to_owned()).parse().map_err(io::Error::other)?;
    let is_given = rustix::net::sockopt::socket_acceptconn(io::stdin()).unwrap_or(false);
    let listener = if is_given {
        // Socket activation, with StandardInput=socket.
        TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?)
    } else {
        TcpListener::bind(("127.0.0.1", port))?
    };
    toy.start_workers()?;
    if !toy.has(&Fault::NeverReady) {
        sd_notify::notify(&[sd_notify::NotifyState::Ready])?;
    }
    toy.exit_later();
    listen::serve(&listener, !toy.has(&Fault::Hangs), |stream| toy.serve(stream))
}

struct Toy {
    faults: Vec<Fault>,
    value: String,
    previous: Option<String>,
    rereads: Option<PathBuf>,
    first_value: Option<String>,
    state: PathBuf,
    fails_for_both: bool,
}

impl Toy {
    fn from_environment() -> Self {
        let directory = |name, default: &str| PathBuf::from(env::var(name).unwrap_or(default.to_owned()));
        let (home, state) = (directory("TOY_HOME", "/etc/toy"), directory("STATE_DIRECTORY", "/var/lib/toy"));
        let own = env::var("TOY_DOTENV").ok().and_then(|file| fs::read_to_string(file).ok());
        let read = |name: &str| own.as_ref().and_then(|text| assigned(text, name));
        let hidden = env::var("TOY_VALUE_FILE").ok().and_then(|file| fs::read_to_string(file).ok());
        let given = || match env::var("JWT_SECRET_FILE") {
            Ok(file) => fs::read_to_string(&file).unwrap_or_else(|error| give_up(78, &format!("{file}: {error}"))),
            Err(_) => env::var("JWT_SECRET").unwrap_or_default(),
        };
        let value = read("JWT_SECRET").or(hidden).unwrap_or_else(given);
        if value.is_empty() {
            give_up(78, "JWT_SECRET is not set");
        }
        let mode = env::var("TOY").or_else(|_| fs::read_to_string(home.join("mode"))).unwrap_or_default();
        let lines = fault::parse(&mode).unwrap_or_else(|error| give_up(64, &error));
        if lines.iter().any(|line| line.fault == Fault::HidesEnvironment) && env::var_os("JWT_SECRET").is_some() {
            hide(&state.join("hidden-value"), &value);
        }
        let old = fs::read_to_string(home.join("old-value-sha256")).unwrap_or_default();
        let is_new = !old.split_whitespace().any(|hash| hash == hex::encode(Sha256::digest(&value)));
        let first_value = lines
            .iter()
            .any(|line| line.fault.needs_first_value())
            .then(|| first_value(&state.join("first-value"), &value));
        Self {
            fails_for_both: lines.iter().any(|line| line.fault == Fault::FailsForBoth),
            faults: lines.into_iter().filter(|line| line.always || is_new).map(|line| line.fault).collect(),
            value,
            previous: read("JWT_SECRET_PREVIOUS")
                .or_else(|| env::var("JWT_SECRET_PREVIOUS").ok())
                .or_else(previous_credential)
                .filter(|value| !value.is_empty()),
            rereads: env::var_os("TOY_REREADS").map(PathBuf::from),
            first_value,
            state,
        }
    }

    fn has(&self, fault: &Fault) -> bool {
        self.faults.contains(fault)
    }

    fn before_listening(&self) {
        let obstacle = self.state.join("obstacle");
        if self.has(&Fault::FailsForBoth) {
            let _ = fs::create_dir_all(&self.state).and_then(|()| fs::write(&obstacle, ""));
        }
        if self.fails_for_both && obstacle.exists() {
            give_up(1, "something is in the way, whatever the value");
        }
        for fault in &self.faults {
            match fault {
                Fault::ExitsAtOnce => give_up(1, "exits at once, as told"),
                Fault::SlowStart(time) => thread::sleep(*time),
                _ => {}
            }
        }
    }

    fn start_workers(&self) -> io::Result<()> {
        let worker = || {
            let mut command = Command::new("/proc/self/exe");
            command.arg("worker");
            command
        };
        for fault in &self.faults {
            match fault {
                Fault::Workers(number) => {
                    for _ in 0..*number {
                        worker().spawn()?;
                    }
                }
                Fault::StaleWorker => drop(worker().env("JWT_SECRET", self.first_value()).spawn()?),
                Fault::BareWorker => drop(Command::new("/bin/sleep").arg("infinity").env_clear().spawn()?),
                _ => {}
            }
        }
        Ok(())
    }

    fn exit_later(&self) {
        for fault in &self.faults {
            if let Fault::ExitsAfterReady(time) | Fault::ExitsAfterSettle(time) = *fault {
                thread::spawn(move || {
                    thread::sleep(time);
                    give_up(1, "exits after a while, as told");
                });
            }
            if *fault == Fault::EndsAfterSettle {
                thread::spawn(|| {
                    thread::sleep(Duration::from_secs(3));
                    give_up(0, "ends after a while, as told");
                });
            }
        }
    }

    fn serve(&self, stream: &TcpStream) -> io::Result<()> {
        if self.has(&Fault::Hangs) {
            loop {
                thread::park();
            }
        }
        let request = http::read(stream)?;
        let (status, body) = match request.line.as_str() {
            "GET /healthz" => (200, json!({ "healthy": true })),
            "POST /api/auth/login" => self.login(&request.body),
            "POST /api/logout-everybody" => self.log_everybody_out(request.bearer.as_deref().unwrap_or_default()),
            "GET /api/me" => self.me(request.bearer.as_deref().unwrap_or_default()),
            _ => (404, json!({ "error": "there is nothing here" })),
        };
        http::answer(stream, status, &body)
    }

    fn login(&self, body: &[u8]) -> (u16, Value) {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        if self.has(&Fault::Login500) {
            return (500, json!({ "error": "the database is on fire" }));
        }
        if asked["user"] != "smoke" || asked["password"] != "let-me-in" {
            return (401, json!({ "error": "wrong user or password" }));
        }
        if self.has(&Fault::LoginOpaque) {
            return (200, json!({ "token": "0123456789abcdef" }));
        }
        let claims = json!({ "sub": "smoke", "iat": now(), "exp": now() + 900, "version": self.version() });
        (200, json!({ "token": jwt::sign(&claims, &self.signing_value()) }))
    }

    fn me(&self, token: &str) -> (u16, Value) {
        match Token::parse(token) {
            Some(token) if self.accepts(&token) => (200, json!({ "user": token.claims["sub"] })),
            _ => (401, json!({ "error": "log in first" })),
        }
    }

    /// The version of sessions: tokens of an earlier one are refused.
    fn version(&self) -> u64 {
        fs::read_to_string(self.state.join("version")).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    fn log_everybody_out(&self, token: &str) -> (u16, Value) {
        if token != "let-them-out" {
            return (403, json!({ "error": "who are you?" }));
        }
        let bumped = fs::write(self.state.join("version"), format!("{}", self.version() + 1));
        (if bumped.is_ok() { 204 } else { 500 }, json!({}))
    }

    fn accepts(&self, token: &Token) -> bool {
        if token.claims["version"].as_u64().is_some_and(|version| version < self.version()) {
            return false;
        }
        if self.has(&Fault::ProtectedRefuses) || token.claims["exp"].as_u64().is_some_and(|end| end <= now()) {
            return false;
        }
        if self.has(&Fault::VerifiesOnlyOld) {
            return token.is_signed_with(self.first_value());
        }
        if let Some(previous) = self.previous.as_deref().filter(|it| !it.is_empty() && self.has(&Fault::SwapsPrevious))
        {
            return token.is_signed_with(previous);
        }
        let previous = self.previous.as_deref().filter(|_| !self.has(&Fault::IgnoresPrevious)).unwrap_or_default();
        let old = self.has(&Fault::AcceptsOld).then(|| self.first_value());
        (token.algorithm == "none" && self.has(&Fault::AcceptsNone))
            || (token.algorithm == "HS256" && self.has(&Fault::AcceptsRandom))
            || token.is_signed_with(&self.signing_value())
            || previous.split(',').chain(old).any(|value| !value.is_empty() && token.is_signed_with(value))
    }

    fn signing_value(&self) -> Cow<'_, str> {
        let reread = self.rereads.as_ref().and_then(|file| fs::read_to_string(file).ok());
        Cow::Borrowed(if let Some(value) = reread {
            return Cow::Owned(value);
        } else if self.has(&Fault::SignsWithOld) {
            self.first_value()
        } else if self.has(&Fault::SignsWithOther) {
            "a value that nobody else knows, and long enough"
        } else {
            &self.value
        })
    }

    fn first_value(&self) -> &str {
        self.first_value.as_deref().unwrap_or(&self.value)
    }
}

/// What an env file assigns, as npm's dotenv reads plain lines.
fn assigned(text: &str, name: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    let value = value.split(" #").next().unwrap_or_default().trim();
    Some(value.trim_matches('"').to_owned())
}

fn previous_credential() -> Option<String> {
    let directory = PathBuf::from(env::var_os("CREDENTIALS_DIRECTORY")?);
    fs::read_to_string(directory.join("JWT_SECRET_PREVIOUS")).ok()
}

/// Remembers `value` in the file where it has none yet, and returns what the file has.
fn first_value(file: &Path, value: &str) -> String {
    fs::read_to_string(file).unwrap_or_else(|_| {
        let _ = file.parent().map(fs::create_dir_all);
        fs::write(file, value).unwrap_or_else(|error| give_up(1, &format!("{}: {error}", file.display())));
        value.to_owned()
    })
}

/// Goes on as a program without the variable.
fn hide(file: &Path, value: &str) -> ! {
    let _ = fs::write(file, value);
    let error = Command::new("/proc/self/exe").env_remove("JWT_SECRET").env("TOY_VALUE_FILE", file).exec();
    give_up(1, &error.to_string())
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

fn give_up(status: i32, why: &str) -> ! {
    eprintln!("toy-backend: {why}");
    exit(status)
}
