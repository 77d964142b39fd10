//! The probe against small servers that are right or wrong in one way each.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;

use super::super::token::Algorithm;
use super::*;
use crate::config::{KeyEncoding, Login, LoginBody, Mint, Protected, TokenPlace};
use crate::secret::SecretValue;

const OLD: &str = "the old value, 32 bytes or longer";
const NEW: &str = "the new value, 32 bytes or longer";
const PASSWORD: &str = "swordfish";
const CLAIMS: &str = r#"{"sub":"smoke"}"#;

/// What a server says to a login.
enum Says {
    Status(u16, String, String),
    Nothing,
}

fn token_of(algorithm: Algorithm, key: &[u8]) -> Says {
    let token = Token::mint(algorithm, CLAIMS, key);
    Says::Status(200, String::new(), format!(r#"{{"data":{{"token":"{}"}}}}"#, *token))
}

fn status(status: u16) -> Says {
    Says::Status(status, String::new(), String::new())
}

fn good(_: usize) -> Says {
    token_of(Algorithm::Hs256, NEW.as_bytes())
}

fn signed(token: &str, key: &str) -> bool {
    Token::parse(token).is_ok_and(|token| token.is_signed_with(key.as_bytes()))
}

fn new_only(token: &str) -> u16 {
    if signed(token, NEW) { 200 } else { 401 }
}

fn unsigned(token: &str) -> bool {
    token.ends_with('.')
}

/// What was asked of `/login`: head and body.
type Logins = Arc<Mutex<Vec<(String, String)>>>;

fn serve(
    login: impl Fn(usize) -> Says + Send + Sync + 'static,
    protected: impl Fn(&str) -> u16 + Send + Sync + 'static,
) -> (String, Logins) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    serve_on(listener, login, protected)
}

fn serve_on(
    listener: TcpListener,
    login: impl Fn(usize) -> Says + Send + Sync + 'static,
    protected: impl Fn(&str) -> u16 + Send + Sync + 'static,
) -> (String, Logins) {
    let address = listener.local_addr().unwrap().to_string();
    let logins = Logins::default();
    let (behaviour, seen) = (Arc::new((login, protected)), Arc::clone(&logins));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (behaviour, seen) = (Arc::clone(&behaviour), Arc::clone(&seen));
            std::thread::spawn(move || answer(stream, &behaviour.0, &behaviour.1, &seen));
        }
    });
    (address, logins)
}

fn answer(mut stream: TcpStream, login: &dyn Fn(usize) -> Says, protected: &dyn Fn(&str) -> u16, seen: &Logins) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let lines = reader.by_ref().lines().map_while(Result::ok);
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let field = |name: &str| {
        head.iter().filter_map(|line| line.split_once(": ")).find(|(key, _)| key.eq_ignore_ascii_case(name))
    };
    let length = field("content-length").map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let says = if head[0].contains("/login") {
        let mut seen = seen.lock().unwrap();
        seen.push((head.join("\n"), String::from_utf8(body).unwrap()));
        let count = seen.len() - 1;
        drop(seen);
        login(count)
    } else {
        let shown = [("authorization", "Bearer "), ("x-token", ""), ("cookie", "session=")];
        let token = shown.into_iter().find_map(|(name, start)| field(name)?.1.strip_prefix(start));
        status(protected(token.unwrap_or_default()))
    };
    let Says::Status(status, headers, text) = says else {
        // Until the client has had enough.
        let _ = reader.read(&mut [0]);
        return;
    };
    let length = text.len();
    let _ =
        write!(stream, "HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{text}");
}

/// A probe of a server, in the middle of a rotation from generation 1 to 2.
struct Trial {
    probe: Jwt,
    primary: SecretValue,
    accepted: Vec<SecretValue>,
    retired: SecretValue,
    retired_generation: Generation,
    moment: Moment,
    workers: u32,
    at_leisure: bool,
    deadline: Duration,
    dir: TempDir,
}

impl Trial {
    fn of(address: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let trial = Self {
            probe: Jwt::new(&JwtProbe {
                token: TokenSource::Login(Login {
                    url: format!("http://{address}/login?key={PASSWORD}"),
                    method: "POST".to_owned(),
                    body: LoginBody::Json(dir.path().join("login")),
                    headers: None,
                    token: TokenPlace::Pointer("/data/token".to_owned()),
                }),
                protected: Protected {
                    url: format!("http://{address}/me?key={PASSWORD}"),
                    method: "GET".to_owned(),
                    carrier: TokenCarrier::Header { name: "Authorization".to_owned(), scheme: "Bearer".to_owned() },
                },
                key: KeyEncoding::Text,
                timeout: Duration::from_secs(20),
            }),
            primary: SecretValue::new(NEW.into()),
            accepted: Vec::new(),
            retired: SecretValue::new(OLD.into()),
            retired_generation: Generation(1),
            moment: Moment::Moved,
            workers: 1,
            at_leisure: false,
            deadline: Duration::from_secs(60),
            dir,
        };
        trial.write(&format!(r#"{{"password":"{PASSWORD}"}}"#), 0o600);
        trial
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("login")
    }

    fn write(&self, text: &str, mode: u32) {
        std::fs::write(self.file(), text).unwrap();
        std::fs::set_permissions(self.file(), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn login(&mut self) -> &mut Login {
        match &mut self.probe.settings.token {
            TokenSource::Login(login) => login,
            TokenSource::Mint(_) => panic!("no login"),
        }
    }

    fn mints(mut self, algorithm: &str) -> Self {
        let (claims, lifetime) = (CLAIMS.to_owned(), Duration::from_secs(60));
        self.probe.settings.token = TokenSource::Mint(Mint { claims, algorithm: algorithm.to_owned(), lifetime });
        self
    }

    async fn ask(&self) -> Result<Evidence, Fault> {
        let question = Question {
            moment: self.moment,
            primary: (Generation(2), &self.primary),
            accepted: self.accepted.iter().map(|value| (Generation(3), value)).collect(),
            retired: vec![(self.retired_generation, &self.retired)],
            workers: self.workers,
            at_leisure: self.at_leisure,
            deadline: Instant::now() + self.deadline,
        };
        let result = self.probe.ask(&question).await;
        let text = format!("{result:?} {}", self.probe.label());
        for secret in [PASSWORD, OLD, NEW, "eyJ"] {
            assert!(!text.contains(secret), "{text}");
        }
        result
    }

    /// The fault that is told when patience is over.
    async fn fault(mut self) -> Fault {
        self.probe.settings.timeout = Duration::from_millis(600);
        self.ask().await.unwrap_err()
    }

    /// The fault, which came much earlier than the timeout.
    async fn early_fault(mut self) -> Fault {
        self.probe.settings.timeout = Duration::from_secs(40);
        let began = Instant::now();
        let fault = self.ask().await.unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(20), "{fault} took {:?}", began.elapsed());
        fault
    }
}

mod forged;
mod login;
mod tokens;
mod waiting;
mod workers;
