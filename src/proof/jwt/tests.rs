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
    probe: JwtProbe,
    primary: SecretValue,
    accepted: Vec<SecretValue>,
    retired: SecretValue,
    workers: u32,
    at_leisure: bool,
    deadline: Duration,
    dir: TempDir,
}

impl Trial {
    fn of(address: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let trial = Self {
            probe: JwtProbe {
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
            },
            primary: SecretValue::new(NEW.into()),
            accepted: Vec::new(),
            retired: SecretValue::new(OLD.into()),
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
        match &mut self.probe.token {
            TokenSource::Login(login) => login,
            TokenSource::Mint(_) => panic!("no login"),
        }
    }

    fn mints(mut self, algorithm: &str) -> Self {
        let (claims, lifetime) = (CLAIMS.to_owned(), Duration::from_secs(60));
        self.probe.token = TokenSource::Mint(Mint { claims, algorithm: algorithm.to_owned(), lifetime });
        self
    }

    async fn ask(&self) -> Result<Evidence, Fault> {
        let question = Question {
            primary: (Generation(2), &self.primary),
            accepted: self.accepted.iter().map(|value| (Generation(3), value)).collect(),
            retired: vec![(Generation(1), &self.retired)],
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
        self.probe.timeout = Duration::from_millis(600);
        self.ask().await.unwrap_err()
    }

    /// The fault, which came much earlier than the timeout.
    async fn early_fault(mut self) -> Fault {
        self.probe.timeout = Duration::from_secs(40);
        let began = Instant::now();
        let fault = self.ask().await.unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(20), "{fault} took {:?}", began.elapsed());
        fault
    }
}

#[tokio::test]
async fn a_good_backend_is_proven() {
    let (address, logins) = serve(good, new_only);
    let evidence = Trial::of(&address).ask().await.unwrap();
    let refused = ["random-key", "alg-none", "no-signature", "generation-1"].map(str::to_owned).to_vec();
    let (source, protected) = (format!("http://{address}/login?…"), format!("http://{address}/me?…"));
    let (algorithm, signed_with) = ("HS256".to_owned(), Generation(2));
    assert_eq!(
        evidence,
        Evidence::Jwt { source, algorithm, signed_with, protected, refused, accepted: Vec::new(), lifetime_s: None }
    );
    let logins = logins.lock().unwrap();
    assert!(logins[0].0.to_lowercase().contains("content-type: application/json") && logins[0].1.contains(PASSWORD));
    assert_eq!(logins.len(), 1);
}

#[tokio::test]
async fn each_algorithm_and_each_way_to_make_a_key_is_known() {
    let (primary, retired) = ("5ec3e7".repeat(11), "01d01d".repeat(11));
    for (encoding, algorithm) in [
        (KeyEncoding::Text, Algorithm::Hs384),
        (KeyEncoding::Hex, Algorithm::Hs256),
        (KeyEncoding::Base64, Algorithm::Hs512),
    ] {
        let made = key(primary.as_bytes(), encoding).unwrap();
        let expected = made.to_vec();
        let accepts = move |token: &str| {
            if Token::parse(token).is_ok_and(|token| token.is_signed_with(&expected)) { 200 } else { 401 }
        };
        let (address, _) = serve(move |_| token_of(algorithm, &made), accepts);
        let mut trial = Trial::of(&address);
        trial.primary = SecretValue::new(primary.clone().into_bytes());
        trial.retired = SecretValue::new(retired.clone().into_bytes());
        trial.probe.key = encoding;
        let Evidence::Jwt { algorithm: told, .. } = trial.ask().await.unwrap() else { panic!() };
        assert_eq!(told, algorithm.as_str());
    }
}

#[tokio::test]
async fn a_value_that_makes_no_key_is_told_by_its_generation() {
    let mut trial = Trial::of(&serve(good, new_only).0);
    trial.probe.key = KeyEncoding::Hex;
    let fault = trial.early_fault().await;
    assert!(fault.code == FaultCode::TokenUnreadable && fault.message.contains("generation 2 is not hex"), "{fault}");
}

#[tokio::test]
async fn a_token_in_a_cookie_is_proven() {
    let login = |_| {
        let token = Token::mint(Algorithm::Hs256, CLAIMS, NEW.as_bytes());
        Says::Status(303, format!("Set-Cookie: session={}; HttpOnly\r\nLocation: /\r\n", *token), String::new())
    };
    let mut trial = Trial::of(&serve(login, new_only).0);
    trial.login().token = TokenPlace::Cookie("session".to_owned());
    trial.probe.protected.carrier = TokenCarrier::Cookie("session".to_owned());
    trial.ask().await.unwrap();
}

#[tokio::test]
async fn a_token_without_a_scheme_in_a_header_of_its_own_is_proven() {
    let mut trial = Trial::of(&serve(good, new_only).0);
    trial.probe.protected.carrier = TokenCarrier::Header { name: "X-Token".to_owned(), scheme: String::new() };
    trial.ask().await.unwrap();
}

#[tokio::test]
async fn a_minted_token_is_proven() {
    for algorithm in ["HS256", "HS384", "HS512"] {
        let trial = Trial::of(&serve(|_| status(500), new_only).0).mints(algorithm);
        let Evidence::Jwt { source, algorithm: told, .. } = trial.ask().await.unwrap() else { panic!() };
        assert_eq!((source.as_str(), told.as_str()), ("minted", algorithm));
    }
}

#[tokio::test]
async fn a_backend_that_still_has_the_old_value_is_found_out_by_a_minted_token() {
    let trial = Trial::of(&serve(good, |token| if signed(token, OLD) { 200 } else { 401 }).0).mints("HS256");
    let fault = trial.early_fault().await;
    assert_eq!(fault.code, FaultCode::AcceptsRetired);
    assert!(fault.message.contains("answered 401") && fault.message.contains("generation 1"), "{fault}");
}

#[tokio::test]
async fn a_backend_that_needs_a_moment_is_waited_for() {
    for early in [500, 503, 404, 401, 429] {
        let login = move |count| if count < 3 { status(early) } else { good(count) };
        Trial::of(&serve(login, new_only).0).ask().await.unwrap();
    }
}

#[tokio::test]
async fn a_backend_that_does_not_listen_yet_is_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut trial = Trial::of(&address.to_string());
    trial.probe.timeout = Duration::from_secs(10);
    let starts = async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        serve_on(TcpListener::bind(address).unwrap(), good, new_only)
    };
    let (result, _) = tokio::join!(trial.ask(), starts);
    result.unwrap();
}

#[tokio::test]
async fn an_old_worker_that_answers_while_it_drains_is_waited_for() {
    let login = |count| token_of(Algorithm::Hs256, if count < 2 { OLD } else { NEW }.as_bytes());
    Trial::of(&serve(login, new_only).0).ask().await.unwrap();
}

#[tokio::test]
async fn one_that_takes_up_the_values_at_leisure_may_have_the_old_ones_until_the_end() {
    let began = Instant::now();
    let is_old = move || began.elapsed() < Duration::from_secs(3);
    let login = move |_| token_of(Algorithm::Hs256, if is_old() { OLD } else { NEW }.as_bytes());
    let mut trial = Trial::of(&serve(login, new_only).0);
    assert_eq!(trial.ask().await.unwrap_err().code, FaultCode::SignedWithOld);
    trial.at_leisure = true;
    trial.ask().await.unwrap();
}

#[tokio::test]
async fn a_token_of_another_value_is_told_by_its_generation_and_soon() {
    for (key, code, told) in [
        (OLD, FaultCode::SignedWithOld, "is signed with generation 1, not with 2"),
        ("a third value", FaultCode::SignedWithOld, "is signed with generation 3, not with 2"),
        ("an unknown value", FaultCode::SignedWithUnknown, "none of the known values"),
    ] {
        let (address, _) = serve(move |_| token_of(Algorithm::Hs256, key.as_bytes()), |_| 200);
        let mut trial = Trial::of(&address);
        trial.accepted.push(SecretValue::new(b"a third value".to_vec()));
        let fault = trial.early_fault().await;
        assert_eq!(fault.code, code);
        assert!(fault.message.contains(told) && fault.message.contains(&address), "{fault}");
        assert!(!fault.advice.is_empty());
    }
}

#[tokio::test]
async fn a_login_that_fails_is_told_with_what_it_answered_and_for_how_long() {
    let huge = || Says::Status(200, String::new(), "x".repeat(1 << 20));
    let redirect = || Says::Status(307, "Location: /elsewhere\r\n".to_owned(), String::new());
    type Answers = fn() -> Says;
    let ways: [(Answers, &str); 5] = [
        (|| status(500), "answered 500, for 0."),
        (|| status(401), "answered 401, for 0."),
        (redirect, "answered 307, a redirect, which is not followed"),
        (huge, "answered 200 without a token at \"/data/token\" in its first 64 KiB"),
        (|| Says::Status(200, String::new(), r#"{"data":{"token":7}}"#.to_owned()), "without a token at"),
    ];
    for (login, told) in ways {
        let (address, _) = serve(move |_| login(), new_only);
        let fault = Trial::of(&address).fault().await;
        assert_eq!(fault.code, FaultCode::LoginFailed);
        assert!(fault.message.starts_with(&format!("POST http://{address}/login?… ")), "{fault}");
        assert!(fault.message.contains(told), "{fault}");
    }
}

#[tokio::test]
async fn a_backend_that_hangs_ends_with_the_timeout_or_the_deadline() {
    for (timeout, deadline) in [(300, 20_000), (20_000, 300)] {
        let mut trial = Trial::of(&serve(|_| Says::Nothing, new_only).0);
        trial.probe.timeout = Duration::from_millis(timeout);
        trial.deadline = Duration::from_millis(deadline);
        let began = Instant::now();
        let fault = trial.fault().await;
        assert!(began.elapsed() < Duration::from_secs(15));
        assert_eq!(fault.code, FaultCode::ProbeTimeout);
        assert!(fault.message.contains("got no answer in time, for 0."), "{fault}");
    }
}

#[tokio::test]
async fn a_token_that_cannot_be_judged_is_told_by_its_kind() {
    let rs256 = "eyJhbGciOiJSUzI1NiJ9.e30.AA";
    for (token, told) in [(rs256, "signed by RS256"), ("opaque-session-id", "1 parts"), ("a.b.c.d.e", "5 parts")] {
        let (address, _) =
            serve(move |_| Says::Status(200, String::new(), format!(r#"{{"data":{{"token":"{token}"}}}}"#)), |_| 200);
        let fault = Trial::of(&address).early_fault().await;
        assert_eq!(fault.code, FaultCode::TokenUnreadable);
        assert!(fault.message.contains(told) && !fault.message.contains("opaque"), "{fault}");
    }
}

#[tokio::test]
async fn an_endpoint_that_refuses_the_right_token_is_told() {
    for (answers, code) in [
        (401, FaultCode::ProtectedRefuses),
        (403, FaultCode::ProtectedRefuses),
        (500, FaultCode::ProbeFailed),
        (302, FaultCode::ProbeFailed),
        (429, FaultCode::ProbeFailed),
    ] {
        let fault = Trial::of(&serve(good, move |_| answers).0).fault().await;
        assert_eq!(fault.code, code);
        assert!(fault.message.contains(&format!("/me?… answered {answers}")), "{fault}");
    }
}

#[tokio::test]
async fn an_endpoint_that_accepts_a_forged_token_is_told_at_once() {
    type Accepts = fn(&str) -> bool;
    let ways: [(Accepts, FaultCode, &str); 4] = [
        (|_| true, FaultCode::AcceptsRandomKey, "(random-key)"),
        (|token| Token::parse(token).is_err(), FaultCode::AcceptsAlgNone, "(alg-none)"),
        (|token| Token::parse(token).is_ok() && unsigned(token), FaultCode::AcceptsAlgNone, "(no-signature)"),
        (|token| signed(token, OLD), FaultCode::AcceptsRetired, "(generation-1)"),
    ];
    for (also, code, what) in ways {
        let (address, _) = serve(good, move |token| if also(token) { 200 } else { new_only(token) });
        let fault = Trial::of(&address).early_fault().await;
        assert_eq!(fault.code, code);
        assert!(fault.message.contains(what) && !fault.advice.is_empty(), "{fault}");
    }
}

#[tokio::test]
async fn an_answer_that_says_nothing_of_a_forged_token_is_no_refusal() {
    for answers in [500, 503, 302, 408, 429] {
        let (address, _) = serve(good, move |token| if signed(token, NEW) { 200 } else { answers });
        let fault = Trial::of(&address).fault().await;
        assert_eq!(fault.code, FaultCode::ProbeFailed, "{fault}");
        assert!(fault.message.contains(&answers.to_string()), "{fault}");
    }
}

#[tokio::test]
async fn credentials_are_read_from_a_file_of_their_owner_alone() {
    let (address, logins) = serve(good, new_only);
    for mode in [0o644, 0o640, 0o620, 0o602] {
        let trial = Trial::of(&address);
        trial.write(PASSWORD, mode);
        let fault = trial.early_fault().await;
        assert_eq!(fault.code, FaultCode::LoginFailed);
        assert!(fault.advice.starts_with("chmod 600 /"), "{fault}");
    }
    for what in [
        |file: &Path| std::fs::create_dir(file).unwrap(),
        |file: &Path| {
            let kind = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, file, kind, rustix::fs::Mode::from_raw_mode(0o600), 0).unwrap();
        },
        |_: &Path| (),
        |file: &Path| std::fs::write(file, "x".repeat(70_000)).unwrap(),
    ] {
        let trial = Trial::of(&address);
        std::fs::remove_file(trial.file()).unwrap();
        what(&trial.file());
        if trial.file().is_file() {
            std::fs::set_permissions(trial.file(), std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        let (file, fault) = (trial.file(), trial.early_fault().await);
        assert!(fault.code == FaultCode::LoginFailed && fault.message.contains(file.to_str().unwrap()), "{fault}");
    }
    assert!(logins.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_file_is_read_at_each_use_and_may_be_linked_to() {
    let (address, logins) = serve(good, new_only);
    let trial = Trial::of(&address);
    trial.ask().await.unwrap();
    let elsewhere = trial.dir.path().join("elsewhere");
    std::fs::rename(trial.file(), &elsewhere).unwrap();
    std::fs::write(&elsewhere, "changed").unwrap();
    symlink(&elsewhere, trial.file()).unwrap();
    trial.ask().await.unwrap();
    assert_eq!(logins.lock().unwrap()[1].1, "changed");
}

#[tokio::test]
async fn a_form_is_sent_without_the_newline_at_its_end() {
    let (address, logins) = serve(good, new_only);
    let mut trial = Trial::of(&address);
    trial.write("user=smoke&password=pass%20word\n", 0o600);
    trial.login().body = LoginBody::Form(trial.file());
    trial.ask().await.unwrap();
    let (head, body) = logins.lock().unwrap()[0].clone();
    assert!(head.to_lowercase().contains("content-type: application/x-www-form-urlencoded"), "{head}");
    assert_eq!(body, "user=smoke&password=pass%20word");
}

#[tokio::test]
async fn a_login_without_a_body_is_sent_as_one() {
    let (address, logins) = serve(good, new_only);
    let mut trial = Trial::of(&address);
    trial.login().body = LoginBody::Empty;
    trial.ask().await.unwrap();
    let (head, body) = logins.lock().unwrap()[0].clone();
    assert!(body.is_empty() && !head.to_lowercase().contains("content-type"), "{head}");
}

#[tokio::test]
async fn a_login_may_need_headers_of_its_own() {
    let (address, logins) = serve(good, new_only);
    let mut trial = Trial::of(&address);
    trial.write("X-Api-Key: swordfish\nAccept: application/json\n", 0o600);
    (trial.login().body, trial.login().headers) = (LoginBody::Empty, Some(trial.file()));
    assert!(trial.ask().await.is_ok());
    let head = logins.lock().unwrap()[0].0.to_lowercase();
    assert!(head.contains("x-api-key: swordfish") && head.contains("accept: application/json"), "{head}");
    trial.write("no header\n", 0o600);
    let fault = trial.ask().await.unwrap_err();
    assert!(fault.code == FaultCode::LoginFailed && fault.message.contains("Name: value"), "{fault}");
}

mod workers;
