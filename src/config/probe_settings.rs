//! What `[[probe]]` and `[proof]` set.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[[probe]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeSettings {
    /// `type = "jwt"`.
    Jwt(JwtProbe),
    /// `type = "http"`.
    Http(HttpProbe),
    /// `type = "command"`.
    Command(CommandProbe),
}

impl ProbeSettings {
    /// Whether it can tell which value the consumer uses.
    pub fn sees_the_value(&self) -> bool {
        matches!(self, Self::Jwt(_) | Self::Command(_))
    }
}

/// `type = "jwt"`: a token of the consumer is verified and its protected endpoint is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtProbe {
    /// `login` or `mint`, exactly one of them.
    pub token: TokenSource,
    /// `protected`: the endpoint that wants a token.
    pub protected: Protected,
    /// `key`: how the consumer makes the HMAC key from the variable, default `text`.
    pub key: KeyEncoding,
    /// `timeout`, default 20 s: until when the consumer must have answered as it should.
    pub timeout: Duration,
}

/// Where the probe's token comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// A real login.
    Login(Login),
    /// Made by the probe: `mint = { claims = { sub = "rekeyd" }, algorithm = "HS256", lifetime = "60s" }`. `iat` and
    /// `exp` are added.
    Mint(Mint),
}

/// `login = { url = …, json-file = …, token = "/token" }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// `url`, http or https.
    pub url: String,
    /// `method`, default `POST`.
    pub method: String,
    /// `json-file` or `form-file`: the body; root-only files with the credentials of a test user. Read at each use.
    pub body: LoginBody,
    /// `header-file`: headers as `Name: value`, one a line, readable by root only. Read at each use.
    pub headers: Option<PathBuf>,
    /// `token` or `token-cookie`, default `token = "/token"`.
    pub token: TokenPlace,
}

/// The body of a login request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginBody {
    /// None.
    Empty,
    /// `json-file`: sent as `application/json`.
    Json(PathBuf),
    /// `form-file`: sent as `application/x-www-form-urlencoded`.
    Form(PathBuf),
}

/// Where a login's answer carries the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenPlace {
    /// A JSON Pointer (RFC 6901) into the body; empty means that the body is a JSON string or the token itself.
    Pointer(String),
    /// The name of a cookie that is set.
    Cookie(String),
}

/// `mint = { … }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mint {
    /// `claims`: a JSON object, as text.
    pub claims: String,
    /// `algorithm`: HS256 (default), HS384 or HS512.
    pub algorithm: String,
    /// `lifetime`, default 60 s.
    pub lifetime: Duration,
}

/// `protected = { url = … }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protected {
    /// `url`.
    pub url: String,
    /// `method`, default `GET`.
    pub method: String,
    /// `header` (default `Authorization`) with `scheme` (default `Bearer`, may be empty), or `cookie`.
    pub carrier: TokenCarrier,
}

/// How the token is presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenCarrier {
    /// In a header, after the scheme and a blank where the scheme is not empty.
    Header {
        /// The header's name.
        name: String,
        /// The scheme.
        scheme: String,
    },
    /// In a cookie of this name.
    Cookie(String),
}

/// `key`: how the consumer makes an HMAC key from the variable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyEncoding {
    /// The bytes of the text itself: what nearly all libraries do.
    #[default]
    Text,
    /// The text is hex and is decoded.
    Hex,
    /// The text is base64 (standard or URL-safe, padded or not) and is decoded.
    Base64,
}

/// `type = "http"`: a URL answers with a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpProbe {
    /// `url`.
    pub url: String,
    /// `method`, default `GET`.
    pub method: String,
    /// `status`, default 200.
    pub status: u16,
    /// `timeout`, default 20 s.
    pub timeout: Duration,
}

/// `type = "command"`: a program of the administrator's that ends with 0 where the consumer works with the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandProbe {
    /// `command`: the program, an absolute path, and its arguments.
    pub argv: Vec<String>,
    /// `user`; one of its own for each run where it is left out.
    pub user: Option<String>,
    /// `timeout`, default 20 s: until when it must have ended with 0; it is run again until then.
    pub timeout: Duration,
}

/// `[proof] watch`: what the consumer's users notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// `watch`, http or https.
    pub url: String,
    /// `watch-rate`, requests a second, 1 to 200, default 20.
    pub rate: u32,
    /// After this time a request has failed: 2 s.
    pub timeout: Duration,
    /// `error-budget`: more failures are a reason to go back; none where they are only told.
    pub error_budget: Option<ErrorBudget>,
}

/// `error-budget`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorBudget {
    /// So many requests.
    Requests(u32),
    /// So many of a thousand.
    PerMille(u16),
}

impl fmt::Display for ErrorBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requests(number) => number.fmt(f),
            Self::PerMille(number) => write!(f, "{}%", f64::from(*number) / 10.0),
        }
    }
}
