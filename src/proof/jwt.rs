//! The `jwt` probe: a token of the live consumer is signed with the value in force, its protected endpoint accepts it,
//! and refuses forged ones.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use ureq::http::HeaderMap;
use zeroize::Zeroizing;

use super::token::{Algorithm, Token, key};
use super::{Patience, Probe, Question};
use crate::config::{JwtProbe, Login, LoginBody, Mint, TokenCarrier, TokenPlace, TokenSource};
use crate::record::Evidence;
use crate::rotation::{Fault, FaultCode, Generation};
use crate::secret::random;
use crate::store::StoreError;
use crate::sys::http::{Call, HttpError, send};

/// How long a token of an old worker may still turn up while a graceful restart drains.
const DRAINING: Duration = Duration::from_secs(2);
const CREDENTIALS: u64 = 64 * 1024;

/// A fault, and whether asking again may help.
enum Trouble {
    /// The consumer may not be ready yet.
    NotYet(Fault),
    /// Only for as long as an old worker may be answering.
    Draining(Fault),
    /// It will not change.
    Certain(Fault),
}

#[async_trait]
impl Probe for JwtProbe {
    fn label(&self) -> String {
        format!("jwt {}", self.source())
    }

    async fn ask(&self, question: &Question<'_>) -> Result<Evidence, Fault> {
        let mut patience = Patience::until(question.deadline, self.timeout);
        let draining = DRAINING.min(patience.quarter());
        loop {
            match self.ask_once(question, &patience).await {
                Ok(evidence) => return Ok(evidence),
                Err(Trouble::Certain(fault)) => return Err(fault),
                Err(Trouble::Draining(fault)) if patience.has_waited(draining) => return Err(fault),
                Err(Trouble::Draining(fault) | Trouble::NotYet(fault)) => patience.again_after(fault).await?,
            }
        }
    }
}

impl JwtProbe {
    fn source(&self) -> String {
        match &self.token {
            TokenSource::Login(login) => login.url.clone(),
            TokenSource::Mint(_) => "minted".to_owned(),
        }
    }

    async fn ask_once(&self, question: &Question<'_>, patience: &Patience) -> Result<Evidence, Trouble> {
        let certain = |why: String| Trouble::Certain(Fault::new(FaultCode::TokenUnreadable, why));
        let (generation, value) = question.primary;
        let primary = key(value.reveal(), self.key).map_err(certain)?;
        let text = match &self.token {
            TokenSource::Login(login) => log_in(login, patience).await?,
            TokenSource::Mint(mint) => minted(mint, &primary).map_err(certain)?,
        };
        let token = Token::parse(&text).map_err(|why| {
            let message = format!("the token of {} cannot be judged: {why}", self.source());
            Trouble::Certain(Fault::new(FaultCode::TokenUnreadable, message))
        })?;
        self.check_signature(question, &token, &primary, generation)?;
        self.check_accepted(&token, &text, generation, patience).await?;
        let refused = self.check_refused(question, &token, patience).await?;
        Ok(Evidence::Jwt {
            source: self.source(),
            algorithm: token.algorithm.as_str().to_owned(),
            signed_with: generation,
            protected: self.protected.url.clone(),
            refused,
        })
    }

    fn check_signature(
        &self,
        question: &Question<'_>,
        token: &Token,
        primary: &[u8],
        generation: Generation,
    ) -> Result<(), Trouble> {
        let source = self.source();
        for (other, value) in question.retired.iter().chain(&question.accepted) {
            if key(value.reveal(), self.key).is_ok_and(|key| token.is_signed_with(&key)) {
                let message = format!("the token of {source} is signed with generation {other}, not with {generation}");
                return Err(Trouble::Draining(Fault::new(FaultCode::SignedWithOld, message).advise(
                    "the backend has the new value in its environment and does not sign with it: \
                     does it read the secret from a file, or keep it elsewhere?",
                )));
            }
        }
        if token.is_signed_with(primary) {
            return Ok(());
        }
        let message = format!("the token of {source} is signed with none of the known values");
        Err(Trouble::Draining(
            Fault::new(FaultCode::SignedWithUnknown, message).advise(
                "does the backend derive its key from the variable (see the probe's key =), or read another one?",
            ),
        ))
    }

    async fn check_accepted(
        &self,
        token: &Token,
        text: &str,
        generation: Generation,
        patience: &Patience,
    ) -> Result<(), Trouble> {
        let status = self.present(text, patience).await?;
        if (200..300).contains(&status) {
            return Ok(());
        }
        let message = format!(
            "{} {} answered {status} to a valid {} token signed with generation {generation}",
            self.protected.method,
            self.protected.url,
            token.algorithm.as_str()
        );
        Err(Trouble::NotYet(Fault::new(FaultCode::ProtectedRefuses, message)))
    }

    /// Forged tokens must be refused, else the consumer checks nothing and nothing is proven.
    async fn check_refused(
        &self,
        question: &Question<'_>,
        token: &Token,
        patience: &Patience,
    ) -> Result<Vec<String>, Trouble> {
        let random: [u8; 32] = random().map_err(|error| Trouble::Certain(StoreError::from(error).into()))?;
        let checks_nothing = "this backend does not check its tokens: whoever forges one is let in. Mend that first";
        let mut forged = vec![
            ("random-key".to_owned(), FaultCode::AcceptsRandomKey, token.signed_again_with(&random), checks_nothing),
            ("alg-none".to_owned(), FaultCode::AcceptsAlgNone, token.unsigned(), checks_nothing),
            ("no-signature".to_owned(), FaultCode::AcceptsAlgNone, token.stripped(), checks_nothing),
        ];
        for (generation, value) in &question.retired {
            if let Ok(key) = key(value.reveal(), self.key) {
                let advice = "it goes on accepting the old value: does it keep a list of keys?";
                let text = token.signed_again_with(&key);
                forged.push((format!("generation-{generation}"), FaultCode::AcceptsRetired, text, advice));
            }
        }
        let mut refused = Vec::new();
        for (what, code, text, advice) in forged {
            let status = self.present(&text, patience).await?;
            let (method, url) = (&self.protected.method, &self.protected.url);
            match status {
                400..500 => refused.push(what),
                200..300 => {
                    let fault =
                        Fault::new(code, format!("{method} {url} accepts a forged token ({what})")).advise(advice);
                    return Err(if code == FaultCode::AcceptsRetired {
                        Trouble::Draining(fault)
                    } else {
                        Trouble::Certain(fault)
                    });
                }
                _ => {
                    let message = format!("{method} {url} answered {status} to a forged token ({what}), not 401");
                    return Err(Trouble::NotYet(Fault::new(FaultCode::ProbeFailed, message)));
                }
            }
        }
        Ok(refused)
    }

    /// Shows a token to the protected endpoint; the status of the answer.
    async fn present(&self, token: &str, patience: &Patience) -> Result<u16, Trouble> {
        let protected = &self.protected;
        let mut call = Call::new(&protected.method, &protected.url);
        call.headers.push(match &protected.carrier {
            TokenCarrier::Header { name, scheme } if scheme.is_empty() => {
                (name.clone(), Zeroizing::new(token.to_owned()))
            }
            TokenCarrier::Header { name, scheme } => (name.clone(), Zeroizing::new(format!("{scheme} {token}"))),
            TokenCarrier::Cookie(name) => ("Cookie".to_owned(), Zeroizing::new(format!("{name}={token}"))),
        });
        let what = format!("{} {}", protected.method, protected.url);
        let sent = send(call, patience.request()).await;
        sent.map(|reply| reply.status).map_err(|error| unanswered(&what, &error, FaultCode::ProbeFailed))
    }
}

/// A real login, with the credentials of a test user.
async fn log_in(login: &Login, patience: &Patience) -> Result<Zeroizing<String>, Trouble> {
    let mut call = Call::new(&login.method, &login.url);
    let (file, content_type) = match &login.body {
        LoginBody::Empty => (None, ""),
        LoginBody::Json(file) => (Some(file), "application/json"),
        LoginBody::Form(file) => (Some(file), "application/x-www-form-urlencoded"),
    };
    if let Some(file) = file {
        call.headers.push(("Content-Type".to_owned(), Zeroizing::new(content_type.to_owned())));
        call.body = credentials(file).map_err(Trouble::Certain)?;
    }
    let what = format!("{} {}", login.method, login.url);
    let reply =
        send(call, patience.request()).await.map_err(|error| unanswered(&what, &error, FaultCode::LoginFailed))?;
    let failed = |why: String| Trouble::NotYet(Fault::new(FaultCode::LoginFailed, format!("{what} {why}")));
    match reply.status {
        200..300 => {}
        // Many backends set their cookie and send the browser on.
        302 | 303 if matches!(login.token, TokenPlace::Cookie(_)) => {}
        300..400 => return Err(failed(format!("answered {}, a redirect, which is not followed", reply.status))),
        status => return Err(failed(format!("answered {status}"))),
    }
    let token = match &login.token {
        TokenPlace::Pointer(pointer) => at_pointer(&reply.body, pointer),
        TokenPlace::Cookie(name) => cookie(&reply.headers, name),
    };
    token.ok_or_else(|| match &login.token {
        TokenPlace::Pointer(pointer) => failed(format!("answered {} without a token at {pointer:?}", reply.status)),
        TokenPlace::Cookie(name) => failed(format!("answered {} without a cookie {name}", reply.status)),
    })
}

/// The body of a login, from a file that only its owner can read.
fn credentials(path: &Path) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let refused = |why: String, advice: String| Err(Fault::new(FaultCode::LoginFailed, why).advise(advice));
    let shown = path.display();
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) => {
            return refused(
                format!("cannot read {shown}: {error}"),
                "json-file or form-file of the probe names it".to_owned(),
            );
        }
    };
    // Judged on the open file: another may stand there a moment later.
    let Ok(stat) = file.metadata() else { return refused(format!("cannot examine {shown}"), String::new()) };
    let own = rustix::process::geteuid().as_raw();
    if !stat.is_file() || (stat.uid() != 0 && stat.uid() != own) {
        return refused(format!("{shown} is no regular file of root"), format!("chown root: {shown}"));
    }
    if stat.mode() & 0o077 != 0 {
        return refused(format!("{shown} holds credentials, and others can read it"), format!("chmod 600 {shown}"));
    }
    let mut body = Zeroizing::new(Vec::with_capacity(4096));
    match file.take(CREDENTIALS).read_to_end(&mut body) {
        Ok(_) => Ok(body),
        Err(error) => refused(format!("cannot read {shown}: {error}"), String::new()),
    }
}

fn minted(mint: &Mint, key: &[u8]) -> Result<Zeroizing<String>, String> {
    let algorithm =
        Algorithm::from_name(&mint.algorithm).ok_or_else(|| format!("{} is no HMAC algorithm", mint.algorithm))?;
    let mut claims: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&mint.claims).map_err(|_| "the claims are no JSON object".to_owned())?;
    let now = jiff::Timestamp::now().as_second();
    let lifetime = i64::try_from(mint.lifetime.as_secs()).unwrap_or(60);
    claims.insert("iat".to_owned(), now.into());
    claims.insert("exp".to_owned(), now.saturating_add(lifetime).into());
    Ok(Token::mint(algorithm, &serde_json::Value::Object(claims).to_string(), key))
}

/// Where the body is no JSON and the pointer is empty, the body is the token.
fn at_pointer(body: &[u8], pointer: &str) -> Option<Zeroizing<String>> {
    match serde_json::from_slice::<serde_json::Value>(body) {
        Ok(json) => json.pointer(pointer)?.as_str().map(|text| Zeroizing::new(text.to_owned())),
        Err(_) if pointer.is_empty() => {
            std::str::from_utf8(body).ok().map(|text| Zeroizing::new(text.trim().to_owned()))
        }
        Err(_) => None,
    }
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<Zeroizing<String>> {
    let cookies = headers.get_all("set-cookie").iter().filter_map(|value| value.to_str().ok());
    let mut values = cookies.filter_map(|text| {
        let (key, value) = text.split(';').next()?.split_once('=')?;
        (key.trim() == name).then(|| Zeroizing::new(value.trim().trim_matches('"').to_owned()))
    });
    values.next()
}

fn unanswered(what: &str, error: &HttpError, code: FaultCode) -> Trouble {
    let code = if *error == HttpError::TimedOut { FaultCode::ProbeTimeout } else { code };
    Trouble::NotYet(Fault::new(code, format!("{what} {error}")))
}

#[cfg(test)]
mod tests;
