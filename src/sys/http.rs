//! One HTTP request at a time: bounded in time and size, not redirected, nothing of it ever told in an error.

use std::io::Read as _;
use std::net::IpAddr;
use std::time::Duration;

use thiserror::Error;
use ureq::Agent;
use ureq::http::{HeaderMap, Request, Uri};
use ureq::tls::{RootCerts, TlsConfig};
use zeroize::Zeroizing;

/// What a probe reads of an answer at most; the rest is left.
const BODY: u64 = 64 * 1024;

/// A request.
pub struct Call {
    /// The method.
    pub method: String,
    /// The URL.
    pub url: String,
    /// Header names and values.
    pub headers: Vec<(String, Zeroizing<String>)>,
    /// The body.
    pub body: Zeroizing<Vec<u8>>,
}

impl Call {
    /// A request without headers and body.
    pub fn new(method: &str, url: &str) -> Self {
        Self { method: method.to_owned(), url: url.to_owned(), headers: Vec::new(), body: Zeroizing::default() }
    }
}

/// An answer. Its status is for the caller to judge.
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The first 64 KiB of the body: it may hold a token, so it is wiped.
    pub body: Zeroizing<Vec<u8>>,
}

/// There was no answer.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum HttpError {
    /// Not in time.
    #[error("did not answer in time")]
    TimedOut,
    /// The connection could not be made, or broke; or the answer was not HTTP.
    #[error("{0}")]
    Broken(String),
}

/// Sends a request and reads the answer, within `limit`. Where the caller stops waiting, a thread goes on until then.
///
/// # Errors
/// Where there is no answer. The text names neither headers nor bodies.
pub async fn send(call: Call, limit: Duration) -> Result<Reply, HttpError> {
    let blocking = tokio::task::spawn_blocking(move || exchange(&call, limit));
    // The client's own limit does not cover a name server that hangs.
    match tokio::time::timeout(limit + Duration::from_millis(250), blocking).await {
        Ok(Ok(reply)) => reply,
        Ok(Err(_)) => Err(HttpError::Broken("the request was given up".to_owned())),
        Err(_) => Err(HttpError::TimedOut),
    }
}

fn exchange(call: &Call, limit: Duration) -> Result<Reply, HttpError> {
    let broken = |error: ureq::http::Error| HttpError::Broken(format!("the request cannot be made: {error}"));
    let mut request = Request::builder().method(call.method.as_str()).uri(&call.url);
    for (name, value) in &call.headers {
        request = request.header(name.as_str(), value.as_str());
    }
    let request = request.body(call.body.as_slice()).map_err(broken)?;
    let reply = agent(request.uri(), limit).run(request).map_err(|error| told(&error))?;
    let (parts, body) = reply.into_parts();
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(BODY).unwrap_or(0)));
    body.into_reader().take(BODY).read_to_end(&mut bytes).map_err(|error| told(&ureq::Error::from(error)))?;
    Ok(Reply { status: parts.status.as_u16(), headers: parts.headers, body: bytes })
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
    if is_loopback(uri) {
        config = config.proxy(None);
    }
    config.build().new_agent()
}

fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn told(error: &ureq::Error) -> HttpError {
    match error {
        ureq::Error::Timeout(_) => HttpError::TimedOut,
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => HttpError::TimedOut,
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            HttpError::Broken("refused the connection".to_owned())
        }
        ureq::Error::Io(error) => HttpError::Broken(format!("broke the connection: {error}")),
        ureq::Error::HostNotFound => HttpError::Broken("has a host name that cannot be resolved".to_owned()),
        ureq::Error::Protocol(_) => HttpError::Broken("did not answer in HTTP".to_owned()),
        ureq::Error::Rustls(error) => HttpError::Broken(format!("failed in TLS: {error}")),
        _ => HttpError::Broken("could not be reached".to_owned()),
    }
}
