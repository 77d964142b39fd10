//! The probe against small servers that are right or wrong in one way each.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::time::Instant;

use super::*;
use crate::config::{KeyEncoding, Protected};
use crate::secret::SecretValue;

const OLD: &str = "the old value, 32 bytes or longer";
const NEW: &str = "the new value, 32 bytes or longer";
const PASSWORD: &str = "swordfish";

/// How a server behaves.
#[derive(Clone, Copy, PartialEq)]
enum Server {
    Good,
    SignsWithOld,
    SignsWithOther,
    /// Answers 500 to this many logins.
    Fails(u32),
    Hangs,
    ProtectedRefuses,
    AcceptsAnySignature,
    AcceptsNone,
    AcceptsOld,
    Redirects,
    Cookie,
    Huge,
}

/// Serves on a port of its own until the test ends; the address.
fn serve(server: Server) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let logins = Arc::new(AtomicU32::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let logins = Arc::clone(&logins);
            std::thread::spawn(move || answer(server, stream, &logins));
        }
    });
    address
}

fn answer(server: Server, mut stream: TcpStream, logins: &AtomicU32) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut head, mut length) = (Vec::new(), 0);
    for line in reader.by_ref().lines().map_while(Result::ok) {
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head.push(line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let (status, headers, text) = if head[0].contains("/login") {
        let count = logins.fetch_add(1, Ordering::Relaxed);
        assert!(String::from_utf8(body).unwrap().contains(PASSWORD));
        let key = match server {
            Server::SignsWithOld => OLD,
            Server::SignsWithOther => "quite another one",
            _ => NEW,
        };
        let token = Token::mint(Algorithm::Hs256, r#"{"sub":"smoke"}"#, key.as_bytes()).to_string();
        match server {
            Server::Hangs => {
                // Until the client has had enough.
                let _ = reader.read(&mut [0]);
                return;
            }
            Server::Fails(times) if count < times => (500, String::new(), String::new()),
            Server::Redirects => (307, "Location: /elsewhere\r\n".to_owned(), String::new()),
            Server::Cookie => (303, format!("Set-Cookie: session={token}; HttpOnly\r\n"), String::new()),
            Server::Huge => (200, String::new(), "x".repeat(1 << 20)),
            _ => (200, String::new(), format!(r#"{{"data":{{"token":"{token}"}}}}"#)),
        }
    } else {
        let shown = head.iter().find_map(|line| {
            line.strip_prefix("authorization: Bearer ")
                .or_else(|| line.strip_prefix("Authorization: Bearer "))
                .or_else(|| line.split_once("session=").map(|(_, token)| token))
        });
        let shown = shown.unwrap_or_default();
        let signed = |key: &str| Token::parse(shown).is_ok_and(|token| token.is_signed_with(key.as_bytes()));
        let accepted = match server {
            Server::ProtectedRefuses => false,
            Server::AcceptsAnySignature => true,
            Server::AcceptsNone => signed(NEW) || shown.ends_with('.'),
            Server::AcceptsOld => signed(NEW) || signed(OLD),
            _ => signed(NEW),
        };
        (if accepted { 200 } else { 401 }, String::new(), String::new())
    };
    let _ = write!(
        stream,
        "HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
}

struct Asked {
    result: Result<Evidence, Fault>,
}

impl Asked {
    fn code(&self) -> FaultCode {
        let fault = self.result.as_ref().expect_err("a fault was expected");
        let text = format!("{} {}", fault.message, fault.advice);
        assert!(
            !text.contains(PASSWORD) && !text.contains(OLD) && !text.contains(NEW) && !text.contains("eyJ"),
            "{text}"
        );
        fault.code
    }
}

fn probe(address: &str, file: &Path, place: TokenPlace, carrier: TokenCarrier) -> JwtProbe {
    JwtProbe {
        token: TokenSource::Login(Login {
            url: format!("{address}/login"),
            method: "POST".to_owned(),
            body: LoginBody::Json(file.to_owned()),
            token: place,
        }),
        protected: Protected { url: format!("{address}/me"), method: "GET".to_owned(), carrier },
        key: KeyEncoding::Text,
        timeout: Duration::from_millis(600),
    }
}

async fn ask_with(server: Server, mode: u32, place: TokenPlace, carrier: TokenCarrier) -> Asked {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("login.json");
    std::fs::write(&file, format!(r#"{{"password":"{PASSWORD}"}}"#)).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    let (old, new) = (SecretValue::new(OLD.into()), SecretValue::new(NEW.into()));
    let question = Question {
        primary: (Generation(2), &new),
        accepted: Vec::new(),
        retired: vec![(Generation(1), &old)],
        deadline: Instant::now() + Duration::from_secs(20),
    };
    Asked { result: probe(&serve(server), &file, place, carrier).ask(&question).await }
}

async fn ask(server: Server) -> Asked {
    let carrier = TokenCarrier::Header { name: "Authorization".to_owned(), scheme: "Bearer".to_owned() };
    ask_with(server, 0o600, TokenPlace::Pointer("/data/token".to_owned()), carrier).await
}

#[tokio::test]
async fn a_good_backend_is_proven() {
    let Evidence::Jwt { signed_with, refused, algorithm, .. } = ask(Server::Good).await.result.unwrap() else {
        panic!()
    };
    assert_eq!((signed_with, algorithm.as_str()), (Generation(2), "HS256"));
    assert_eq!(refused, ["random-key", "alg-none", "no-signature", "generation-1"]);
}

#[tokio::test]
async fn a_backend_that_needs_a_moment_is_waited_for() {
    assert!(ask(Server::Fails(3)).await.result.is_ok());
}

#[tokio::test]
async fn a_token_in_a_cookie_is_proven() {
    let (place, carrier) = (TokenPlace::Cookie("session".to_owned()), TokenCarrier::Cookie("session".to_owned()));
    ask_with(Server::Cookie, 0o600, place, carrier).await.result.unwrap();
}

#[tokio::test]
async fn each_way_to_be_wrong_is_named() {
    for (server, code) in [
        (Server::SignsWithOld, FaultCode::SignedWithOld),
        (Server::SignsWithOther, FaultCode::SignedWithUnknown),
        (Server::Fails(u32::MAX), FaultCode::LoginFailed),
        (Server::Hangs, FaultCode::ProbeTimeout),
        (Server::ProtectedRefuses, FaultCode::ProtectedRefuses),
        (Server::AcceptsAnySignature, FaultCode::AcceptsRandomKey),
        (Server::AcceptsNone, FaultCode::AcceptsAlgNone),
        (Server::AcceptsOld, FaultCode::AcceptsRetired),
        (Server::Redirects, FaultCode::LoginFailed),
        (Server::Huge, FaultCode::LoginFailed),
    ] {
        assert_eq!(ask(server).await.code(), code);
    }
}

#[tokio::test]
async fn credentials_that_others_can_read_are_refused() {
    let carrier = TokenCarrier::Cookie("session".to_owned());
    let asked = ask_with(Server::Good, 0o644, TokenPlace::Pointer("/token".to_owned()), carrier).await;
    assert_eq!(asked.code(), FaultCode::LoginFailed);
    assert!(asked.result.unwrap_err().advice.starts_with("chmod 600 "));
}

#[tokio::test]
async fn a_minted_token_is_proven() {
    let (old, new) = (SecretValue::new(OLD.into()), SecretValue::new(NEW.into()));
    let carrier = TokenCarrier::Header { name: "Authorization".to_owned(), scheme: "Bearer".to_owned() };
    let mut probe = probe(&serve(Server::Good), Path::new("/"), TokenPlace::Cookie(String::new()), carrier);
    probe.token = TokenSource::Mint(Mint {
        claims: r#"{"sub":"rekeyd"}"#.to_owned(),
        algorithm: "HS512".to_owned(),
        lifetime: Duration::from_secs(60),
    });
    let question = Question {
        primary: (Generation(2), &new),
        accepted: Vec::new(),
        retired: vec![(Generation(1), &old)],
        deadline: Instant::now() + Duration::from_secs(20),
    };
    assert!(matches!(probe.ask(&question).await.unwrap(), Evidence::Jwt { algorithm, .. } if algorithm == "HS512"));
}
