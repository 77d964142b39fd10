//! One HTTP request at a time: bounded in time and size, not redirected, nothing of it ever told in an error.

use std::fmt;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use thiserror::Error;
use ureq::Agent;
use ureq::http::{HeaderMap, HeaderValue, Method, Request, Uri, uri::Scheme};
use ureq::tls::{RootCerts, TlsConfig};
use zeroize::Zeroizing;

/// What is read of an answer's body at most, unless the call says more; the rest is left.
pub const BODY: usize = 64 * 1024;

/// A request.
pub struct Call {
    /// The method.
    pub method: String,
    /// The URL.
    pub url: String,
    /// Header names and values.
    pub headers: Vec<(String, Zeroizing<String>)>,
    /// The body, where there is one.
    pub body: Option<Zeroizing<Vec<u8>>>,
    /// How much is read of the answer's body.
    pub most: usize,
}

impl Call {
    /// A request without headers and body.
    pub fn new(method: &str, url: &str) -> Self {
        Self { method: method.to_owned(), url: url.to_owned(), headers: Vec::new(), body: None, most: BODY }
    }

    /// The method and the URL, as they may be told: `POST http://127.0.0.1:3000/login`.
    pub fn line(&self) -> String {
        line(&self.method, &self.url)
    }
}

/// A method and a URL, as they may be told.
pub fn line(method: &str, url: &str) -> String {
    format!("{method} {}", shown(url))
}

/// A URL as it may be told and recorded: without user, password, query and fragment, where secrets are often put.
pub fn shown(url: &str) -> String {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let query = if url[end..].starts_with('?') { "?…" } else { "" };
    let (scheme, rest) = url[..end].split_once("://").unwrap_or(("", &url[..end]));
    let separator = if scheme.is_empty() { "" } else { "://" };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}{separator}{host}{path}{query}")
}

/// A URL's scheme, host and port: what may be told of one whose path is a password.
pub fn origin(url: &str) -> String {
    let shown = shown(url);
    let host = shown.find("://").map_or(0, |at| at + 3);
    let end = shown[host..].find('/').map_or(shown.len(), |at| host + at);
    shown[..end].to_owned()
}

/// Whether a URL is of this host itself.
pub fn is_loopback(url: &str) -> bool {
    url.parse().is_ok_and(|uri| leads_here(&uri))
}

/// An answer. Its status is for the caller to judge.
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, or as much of it as was wanted: it may hold a token, so it is wiped.
    pub body: Zeroizing<Vec<u8>>,
}

impl Reply {
    /// How long one should wait before the next request, where it says so. More than a day is a day.
    pub fn retry_after(&self) -> Option<Duration> {
        let now = its_clock(&self.headers).unwrap_or_else(Timestamp::now);
        retry_after(&self.headers, now).map(|wait| wait.min(Duration::from_secs(24 * 60 * 60)))
    }
}

/// A header as text, without blanks around it.
pub fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// The time of an answer by its own clock, where it shows it: ours may be wrong.
pub fn its_clock(headers: &HeaderMap) -> Option<Timestamp> {
    header(headers, "date").and_then(date)
}

/// From `now` to then; nothing where that is over.
pub fn time_left(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or_default()
}

/// What `Retry-After` says: a number of seconds, or a date (RFC 9110, 10.2.3).
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = header(headers, "retry-after")?;
    match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds.max(0.0)).ok(),
        Err(_) => date(text).map(|at| time_left(now, at)),
    }
}

fn date(text: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

/// The status alone: headers and body may hold tokens.
impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("status", &self.status).finish_non_exhaustive()
    }
}

/// There was no answer: a sentence that names method and URL, and nothing that was sent or received.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{line} {why}")]
pub struct HttpError {
    line: String,
    /// What kept the answer away.
    pub why: NoAnswer,
}

impl HttpError {
    /// Whether it is certain that nothing of the request was sent.
    pub fn is_unsent(&self) -> bool {
        matches!(self.why, NoAnswer::Refused | NoAnswer::Unresolved | NoAnswer::Proxy(..) | NoAnswer::Unsendable(_))
    }
}

/// What kept an answer away.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NoAnswer {
    /// Nobody listens.
    #[error("found nobody listening (connection refused)")]
    Refused,
    /// There was none, or not all of it, in time.
    #[error("got no answer in time")]
    TimedOut,
    /// The name server does not know the host.
    #[error("names a host that cannot be resolved")]
    Unresolved,
    /// The proxy that the environment names, `HOST:PORT`, made no connection.
    #[error("did not get through the proxy {0}: {1}")]
    Proxy(String, &'static str),
    /// The server could not be trusted, or does not speak TLS.
    #[error("failed in TLS: {0}")]
    Tls(String),
    /// What came is not HTTP.
    #[error("got an answer that is not HTTP")]
    NotHttp,
    /// The connection could not be made, or broke.
    #[error("failed: {0}")]
    Broken(String),
    /// A method, URL or header is not valid.
    #[error("cannot be sent: {0}")]
    Unsendable(&'static str),
}

impl NoAnswer {
    /// The same, where it was a proxy that was spoken to.
    fn at(self, proxy: Option<String>) -> Self {
        match (self, proxy) {
            (Self::Refused, Some(proxy)) => Self::Proxy(proxy, "it refuses connections"),
            (Self::Unresolved, Some(proxy)) => Self::Proxy(proxy, "its name cannot be resolved"),
            (Self::Proxy(_, why), Some(proxy)) => Self::Proxy(proxy, why),
            (why, _) => why,
        }
    }
}

/// Sends a request and reads the answer, within `limit`. Where the caller stops waiting, the connection is closed, and
/// the thread behind it ends.
///
/// # Errors
/// Where there is no answer.
pub async fn send(call: Call, limit: Duration) -> Result<Reply, HttpError> {
    let line = call.line();
    exchange_apart(call, limit).await.map_err(|why| HttpError { line, why })
}

async fn exchange_apart(call: Call, limit: Duration) -> Result<Reply, NoAnswer> {
    let uri: Uri = call.url.parse().map_err(|_| NoAnswer::Unsendable("the URL is not valid"))?;
    let agent = agent(&uri, limit);
    let proxy = if leads_here(&uri) { None } else { proxy::on_the_way(&agent, &uri)? };
    let _hang_up = HangUp(agent.clone());
    let blocking = tokio::task::spawn_blocking(move || exchange(&agent, uri, &call).map_err(|why| why.at(proxy)));
    // The client's own limit does not cover a thread that starts late.
    match tokio::time::timeout(limit + Duration::from_millis(250), blocking).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(_)) => Err(NoAnswer::Broken("the request was given up".to_owned())),
        Err(_) => Err(NoAnswer::TimedOut),
    }
}

/// Closes the connection when the caller no longer waits.
struct HangUp(Agent);

impl Drop for HangUp {
    fn drop(&mut self) {
        self.0.clone().shutdown();
    }
}

fn exchange(agent: &Agent, uri: Uri, call: &Call) -> Result<Reply, NoAnswer> {
    let is_tls = uri.scheme() == Some(&Scheme::HTTPS);
    let mut request = Request::builder().method(call.method.as_str()).uri(uri);
    for (name, value) in &call.headers {
        let mut value = HeaderValue::from_str(value).map_err(|_| NoAnswer::Unsendable("a header is not valid"))?;
        value.set_sensitive(true);
        request = request.header(name.as_str(), value);
    }
    // A method that is meant to have a body says that it has none by a length of zero (RFC 9110, 8.6).
    let empty = Method::from_bytes(call.method.as_bytes())
        .is_ok_and(|method| [Method::POST, Method::PUT, Method::PATCH].contains(&method))
        .then_some(&[][..]);
    let invalid = |_| NoAnswer::Unsendable("the method or a header is not valid");
    let told = |error: ureq::Error| why(&error, is_tls);
    let reply = match call.body.as_ref().map(|body| body.as_slice()).or(empty) {
        Some(body) => agent.run(request.body(body).map_err(invalid)?),
        None => agent.run(request.body(()).map_err(invalid)?),
    };
    let (parts, body) = reply.map_err(told)?.into_parts();
    let bytes = read(body.into_reader(), call.most).map_err(|error| told(error.into()))?;
    Ok(Reply { status: parts.status.as_u16(), headers: parts.headers, body: bytes })
}

/// Reads up to `most` bytes. A buffer that grows by itself would leave copies of what it held.
fn read(mut body: impl io::Read, most: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(most.min(BODY)));
    loop {
        let room = bytes.capacity() - bytes.len();
        let came = body.by_ref().take(room as u64).read_to_end(&mut bytes)?;
        if came < room || bytes.len() >= most {
            return Ok(bytes);
        }
        let mut larger = Zeroizing::new(Vec::with_capacity((bytes.capacity() * 4).min(most)));
        larger.extend_from_slice(&bytes);
        bytes = larger;
    }
}

/// A new one for each request: a connection that was kept could lead to a process that is being replaced.
fn agent(uri: &Uri, limit: Duration) -> Agent {
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
    let mut config = Agent::config_builder()
        .timeout_global(Some(limit))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .allow_non_standard_methods(true)
        .user_agent(concat!("rekeyd/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls);
    if leads_here(uri) {
        config = config.proxy(None);
    }
    config.build().new_agent()
}

fn leads_here(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
    let is_name = host == "localhost" || host.ends_with(".localhost");
    is_name || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

fn why(error: &ureq::Error, is_tls: bool) -> NoAnswer {
    match error {
        ureq::Error::Timeout(_) => NoAnswer::TimedOut,
        ureq::Error::HostNotFound => NoAnswer::Unresolved,
        ureq::Error::Io(error) => why_io(error, is_tls),
        ureq::Error::Rustls(error) => tls(error.to_string()),
        ureq::Error::Tls(error) => NoAnswer::Tls((*error).to_owned()),
        ureq::Error::Protocol(_) | ureq::Error::LargeResponseHeader(..) => NoAnswer::NotHttp,
        ureq::Error::Http(_) | ureq::Error::BadUri(_) => NoAnswer::Unsendable("the method, URL or a header is invalid"),
        ureq::Error::ConnectProxyFailed(_) => NoAnswer::Proxy(String::new(), "it does not make the connection"),
        _ => NoAnswer::Broken("the server could not be reached".to_owned()),
    }
}

/// Without certificates of authorities nobody can be trusted.
fn tls(why: String) -> NoAnswer {
    NoAnswer::Tls(if why.contains("No CA certificates") { format!("{why}: apt install ca-certificates") } else { why })
}

fn why_io(error: &io::Error, is_tls: bool) -> NoAnswer {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => NoAnswer::TimedOut,
        io::ErrorKind::ConnectionRefused => NoAnswer::Refused,
        // rustls speaks through the transport's errors.
        io::ErrorKind::InvalidData if is_tls => tls(error.to_string()),
        io::ErrorKind::InvalidData => NoAnswer::NotHttp,
        io::ErrorKind::UnexpectedEof => NoAnswer::Broken("the server closed the connection".to_owned()),
        // The standard library has no kind for it.
        _ if error.to_string().starts_with("failed to lookup address") => NoAnswer::Unresolved,
        _ => NoAnswer::Broken(error.to_string()),
    }
}

mod proxy;
#[cfg(test)]
mod tests;
