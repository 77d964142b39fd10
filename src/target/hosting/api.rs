//! Requests to a platform's API: one host, the token in its header, answers that are bounded and repeated as they say,
//! and errors that tell nothing but what may be told.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, sleep_until};
use zeroize::Zeroizing;

use super::answer::{Came, Intent, Kind, Next, next};
use super::clock;
use super::words::{Trouble, cut, in_one_line, without_opaque};
use crate::config::{Hosting, Token};
use crate::rotation::FaultCode;
use crate::sys::credentials;
use crate::sys::http::{self, Call, HttpError, Reply, send};

/// One answer may take as long.
const REQUEST: Duration = Duration::from_secs(30);
/// Lists are long.
const MOST: usize = 8 * 1024 * 1024;
/// Where systemd keeps the credentials of the daemon.
const CREDENTIALS: &str = "/run/credentials/rekeyd.service";

/// Why a request came to nothing, in words that hold no token. Whoever turns them into a fault hides the values.
#[derive(Debug)]
pub(super) struct Refusal {
    /// Why.
    pub kind: Kind,
    /// The status of the answer; 0 where there is none.
    pub status: u16,
    /// What was asked, and what came back.
    pub text: String,
    /// What to do about it; may be empty.
    pub advice: String,
    /// Whether something was written before.
    pub taken: bool,
    /// How long to wait before it is asked for again, where that was said.
    pub wait: Option<Duration>,
}

impl Refusal {
    /// Something that was found there is in the way.
    pub fn obstacle(code: FaultCode, text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { advice: advice.into(), ..Self::of(Kind::Obstacle(code), text) }
    }

    /// One without advice.
    pub fn of(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, status: 0, text: text.into(), advice: String::new(), taken: false, wait: None }
    }

    /// It came after a write that took.
    #[must_use]
    pub fn taken(mut self) -> Self {
        self.taken = true;
        self
    }
}

/// What a platform says, or why it says nothing.
pub(super) type Said<T> = Result<T, Refusal>;

/// One platform's API.
pub(super) struct Api {
    base: String,
    /// The header that has the token, and what stands before it.
    header: &'static str,
    scheme: &'static str,
    token: Token,
    /// The most requests in a while, as the last answer said; 0 where it did not.
    bucket: AtomicU64,
    /// Whether a write was sent since somebody last looked.
    has_written: AtomicBool,
    /// Its own time at its last answer, in seconds; 0 where that was not told.
    clock: AtomicI64,
}

/// A request to it.
pub(super) struct Request<'a> {
    pub intent: Intent,
    pub method: &'a str,
    /// Its parts between the slashes; what is special in them is encoded.
    pub path: &'a [&'a str],
    pub query: &'a [(&'a str, &'a str)],
    pub body: Option<Zeroizing<Vec<u8>>>,
}

impl<'a> Request<'a> {
    pub fn get(path: &'a [&'a str], query: &'a [(&'a str, &'a str)]) -> Self {
        Self { intent: Intent::Read, method: "GET", path, query, body: None }
    }

    pub fn to(intent: Intent, method: &'a str, path: &'a [&'a str], query: &'a [(&'a str, &'a str)]) -> Self {
        Self { intent, method, path, query, body: None }
    }

    #[must_use]
    pub fn with(mut self, body: Zeroizing<Vec<u8>>) -> Self {
        self.body = Some(body);
        self
    }
}

/// A body in JSON. There is room for it from the beginning, since a buffer that grows leaves copies.
pub(super) fn json(content: &impl Serialize) -> Said<Zeroizing<Vec<u8>>> {
    let mut body = Zeroizing::new(Vec::with_capacity(256 * 1024));
    serde_json::to_writer(&mut *body, content).map_err(|error| Refusal::of(Kind::Invalid, error.to_string()))?;
    Ok(body)
}

/// An answer that is one.
pub(super) struct Answer {
    pub status: u16,
    body: Zeroizing<Vec<u8>>,
    line: String,
    intent: Intent,
    /// Whether an earlier sending of the same got no answer, and may have been done.
    pub perhaps: bool,
}

impl Answer {
    pub fn is_empty(&self) -> bool {
        self.body.iter().all(u8::is_ascii_whitespace)
    }

    /// What it says.
    pub fn read<T: DeserializeOwned>(&self) -> Said<T> {
        serde_json::from_slice(&self.body).map_err(|error| {
            // The place of the mistake says enough; its words may hold what was read.
            let at = format!("line {}, column {}", error.line(), error.column());
            let kind = if self.intent == Intent::Trigger { Kind::Lost } else { Kind::Unavailable };
            let text = format!("{} answered {} with something else than expected ({at})", self.line, self.status);
            Refusal::of(kind, text)
        })
    }
}

impl Api {
    /// The API that `settings` name, at `base` with `path` where they say nothing else.
    pub fn new(settings: &Hosting, host: &str, path: &str, header: &'static str, scheme: &'static str) -> Self {
        let base = settings.api.as_deref().unwrap_or(host).trim_end_matches('/');
        let has_path = base.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
        let base = if has_path { base.to_owned() } else { format!("{base}{path}") };
        Self {
            base,
            header,
            scheme,
            token: settings.token.clone(),
            bucket: AtomicU64::new(0),
            has_written: AtomicBool::new(false),
            clock: AtomicI64::new(0),
        }
    }

    /// Whether a write was sent, be it in vain, since this was last asked.
    pub fn has_written(&self) -> bool {
        self.has_written.swap(false, Ordering::Relaxed)
    }

    /// Its own time at its last answer, where that was told.
    pub fn clock(&self) -> Option<Timestamp> {
        let second = self.clock.load(Ordering::Relaxed);
        Timestamp::from_second(second).ok().filter(|_| second > 0)
    }

    /// How many requests there may be in a while, where the last answer said.
    pub fn bucket(&self) -> Option<u64> {
        Some(self.bucket.load(Ordering::Relaxed)).filter(|most| *most > 0)
    }

    /// Asks, and again as often as the table says, until `until`.
    pub async fn ask(&self, request: Request<'_>, until: Instant) -> Said<Answer> {
        let (mut tries, mut waits) = (0, 0);
        // A write that got no answer may have been done, whatever is answered to its repetition.
        let mut perhaps = false;
        let after = |perhaps: bool, refusal: Refusal| if perhaps { refusal.taken() } else { refusal };
        loop {
            let reply = self.once(&request, until).await.map_err(|refusal| after(perhaps, refusal))?;
            let is_answer = match &reply {
                Ok(reply) => reply.status != 408 && reply.status < 500,
                Err((came, _)) => *came == Came::Unsent,
            };
            let (came, why) = match reply {
                Ok(reply) => match self.judge(&request, reply, tries, waits).map_err(|it| after(perhaps, it))? {
                    Ok(answer) => return Ok(Answer { perhaps, ..answer }),
                    Err(later) => later,
                },
                Err((came, text)) => match next(came, request.intent, tries) {
                    Next::Stop(kind) => return Err(after(perhaps, Refusal::of(kind, text))),
                    Next::Again(pause) => (Pause::Tried(pause), text),
                    Next::Take | Next::AsTold => (Pause::Tried(Duration::from_secs(1)), text),
                },
            };
            perhaps |= request.intent == Intent::Write && !is_answer;
            let is_told = matches!(came, Pause::Told(_));
            let pause = match came {
                Pause::Told(pause) => {
                    waits += 1;
                    clock::with_skew(pause)
                }
                Pause::Tried(pause) => {
                    tries += 1;
                    pause
                }
            };
            if Instant::now() + pause >= until {
                let text = format!("{why}, and there is no time to ask again");
                if is_told && request.intent != Intent::Write {
                    // Whoever asks for as long as there is time would ask again within what was told.
                    sleep_until(until).await;
                }
                let is_certain = request.intent == Intent::Write && !perhaps;
                return Err(Refusal::of(if is_certain { Kind::NoTime } else { Kind::Unavailable }, text));
            }
            sleep(pause).await;
        }
    }

    async fn once(&self, request: &Request<'_>, until: Instant) -> Said<Result<Reply, (Came, String)>> {
        let limit = until.saturating_duration_since(Instant::now()).min(REQUEST);
        let mut call = Call::new(request.method, &self.url(request));
        if limit.is_zero() {
            let text = format!("there was no time left for {}", call.line());
            return Err(Refusal::of(Kind::Unavailable, text));
        }
        let token = token(&self.token)?;
        let secret = |text: String| Zeroizing::new(text);
        call.headers.push((self.header.to_owned(), secret(format!("{}{}", self.scheme, token.as_str()))));
        call.headers.push(("Accept".to_owned(), secret("application/json".to_owned())));
        if let Some(body) = &request.body {
            call.headers.push(("Content-Type".to_owned(), secret("application/json".to_owned())));
            call.body = Some(body.clone());
        }
        call.most = MOST;
        if request.intent == Intent::Write {
            self.has_written.store(true, Ordering::Relaxed);
        }
        let came = |error: &HttpError| if error.is_unsent() { Came::Unsent } else { Came::Nothing };
        Ok(send(call, limit).await.map_err(|error| (came(&error), error.to_string())))
    }

    /// The answer; or how long to wait for another one.
    fn judge(
        &self,
        request: &Request<'_>,
        reply: Reply,
        tries: usize,
        waits: u32,
    ) -> Said<Result<Answer, (Pause, String)>> {
        let Reply { status, headers, body } = reply;
        let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse().ok();
        if let Some(most) = number("x-ratelimit-limit") {
            self.bucket.store(most, Ordering::Relaxed);
        }
        if let Some(now) = http::its_clock(&headers) {
            self.clock.store(now.as_second(), Ordering::Relaxed);
        }
        let line = http::line(request.method, &self.url(request));
        let came = Came::Status(status, headers.contains_key("retry-after"));
        let next = next(came, request.intent, tries);
        if next == Next::Take {
            return Ok(Ok(Answer { status, body, line, intent: request.intent, perhaps: false }));
        }
        let said: Trouble = serde_json::from_slice(&body).unwrap_or_default();
        let mut text = format!("{line} answered {status}");
        let code = said.code();
        let carries_value = request.body.is_some() && request.intent == Intent::Write;
        // What is said about a value that was sent may hold it.
        let words = if carries_value { String::new() } else { self.told(&said.words()) };
        for part in [code.as_str(), words.as_str()].into_iter().filter(|part| !part.is_empty()) {
            let _ = write!(text, ": {part}");
        }
        let kind = match next {
            Next::Stop(Kind::Forbidden) if said.is_of_the_token() => Kind::Credential,
            Next::Stop(kind) => kind,
            Next::Again(pause) => return Ok(Err((Pause::Tried(pause), text))),
            Next::AsTold | Next::Take => {
                let pause = clock::wait(&headers, said.reset(), waits, jiff::Timestamp::now());
                return Ok(Err((Pause::Told(pause), text)));
            }
        };
        let wait = || clock::wait(&headers, said.reset(), waits, jiff::Timestamp::now());
        let wait = (kind == Kind::Lost && headers.contains_key("retry-after")).then(wait);
        Err(Refusal { status, advice: advice(kind).to_owned(), wait, ..Refusal::of(kind, text) })
    }

    fn url(&self, request: &Request<'_>) -> String {
        let mut url = self.base.clone();
        for part in request.path {
            url.push('/');
            url.push_str(&encoded(part));
        }
        for (count, (name, value)) in request.query.iter().enumerate() {
            let _ = write!(url, "{}{}={}", if count == 0 { '?' } else { '&' }, encoded(name), encoded(value));
        }
        url
    }

    /// What a platform says, as far as it may be told: in one line, not too long, without the token and without words that
    /// could be a value of old.
    pub fn told(&self, text: &str) -> String {
        let text = without_opaque(&in_one_line(text));
        let token = token(&self.token).map(|token| token.to_string()).unwrap_or_default();
        if !token.is_empty() && text.contains(token.as_str()) {
            "(not told: it has the token in it)".to_owned()
        } else {
            cut(text)
        }
    }
}

/// How long to wait, and why.
enum Pause {
    /// As the platform said.
    Told(Duration),
    /// As is our habit.
    Tried(Duration),
}

fn advice(kind: Kind) -> &'static str {
    match kind {
        Kind::Credential => "make a new token there, and put it where `token-file` or `token-credential` says",
        Kind::Forbidden => "see whether the token's role and team, and the plan, allow it",
        Kind::Missing => "see whether the ids in the secret's file are right, and whether the token reaches them",
        Kind::Gone => "see whether it still exists, and whether there is a newer rekeyd",
        Kind::Locked => "see what the platform wants first",
        _ => "",
    }
}

/// A part of a URL.
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// The token, read anew each time: it may have been replaced.
pub(super) fn token(token: &Token) -> Said<Zeroizing<String>> {
    let bytes = match token {
        Token::File(path) => credentials::read(path),
        Token::Credential(name) => {
            let dir = std::env::var_os("CREDENTIALS_DIRECTORY").unwrap_or_else(|| CREDENTIALS.into());
            credentials::read(&Path::new(&dir).join(name)).map_err(|(problem, advice)| {
                let given = format!(
                    "give it to the daemon: LoadCredential={name}:/a/file, by systemctl edit rekeyd rekeyd-recover@"
                );
                (problem, advice.or(Some(given)))
            })
        }
    };
    let bytes = bytes.map_err(|(problem, advice)| Refusal {
        advice: advice.unwrap_or_default(),
        ..Refusal::of(Kind::Credential, format!("the token is not there: {problem}"))
    })?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default().trim();
    if text.is_empty() || text.bytes().any(|byte| !byte.is_ascii_graphic()) {
        let text = "the token is not there: the file should hold it alone, one word of printable ASCII in one line";
        return Err(Refusal {
            advice: "it is to hold the token, and nothing else".to_owned(),
            ..Refusal::of(Kind::Credential, text)
        });
    }
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_break_out_of_its_place() {
        assert_eq!(encoded("../a b?c#d&e"), "..%2Fa%20b%3Fc%23d%26e");
    }
}
