//! The `jwt` probe: a token of the live consumer is signed with the value in force, its protected endpoint accepts it,
//! and refuses forged ones.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::token::{Token, key};
use super::{Moment, Patience, Probe, Question, Trouble};
use crate::config::{JwtProbe, TokenCarrier, TokenSource};
use crate::record::Evidence;
use crate::rotation::{Fault, FaultCode, Generation};
use crate::secret::{SecretValue, random};
use crate::sys::http::{Call, Reply, line, send, shown};

mod login;
mod workers;

use workers::Rounds;

/// What is said where a forged token makes the backend fail.
const FORGED: &str = "an answer of 5xx does not show that the token was refused: have the backend answer 401";

/// A token, and of which value.
type OfGeneration = (Generation, Zeroizing<String>);
type Tokens = Vec<OfGeneration>;

/// The probe of one rotation.
pub(super) struct Jwt {
    settings: JwtProbe,
    /// Tokens that were accepted before anything was touched: some backends remember what they have verified once. They
    /// are kept in memory alone.
    before: Mutex<Tokens>,
}

impl Jwt {
    pub(super) fn new(settings: &JwtProbe) -> Self {
        Self { settings: settings.clone(), before: Mutex::default() }
    }

    fn before(&self) -> Tokens {
        self.before.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Probe for Jwt {
    fn label(&self) -> String {
        format!("jwt {}", self.settings.source())
    }

    async fn ask(&self, question: &Question<'_>) -> Result<Evidence, Fault> {
        let mut patience = Patience::until(question.moment, question.deadline, self.settings.timeout);
        if question.at_leisure {
            patience = patience.until_the_end();
        }
        let (mut token, mut accepted, before) = (None, Vec::new(), self.before());
        let mut doubt: Option<Fault> = None;
        loop {
            let rounds = Rounds::new(question, doubt.as_ref(), &patience);
            let asked = self.settings.ask_once(question, &before, (&mut token, &mut accepted), (&rounds, &patience));
            match asked.await {
                Ok(evidence) => {
                    if question.moment == Moment::Before {
                        *self.before.lock().unwrap_or_else(PoisonError::into_inner) = accepted;
                    }
                    return Ok(evidence);
                }
                Err(trouble) => {
                    if let Trouble::Draining(fault) = &trouble {
                        doubt = Some(fault.clone());
                    }
                    // Whoever is asked too often is not asked for another token as well.
                    token = token.filter(|_| matches!(trouble, Trouble::TooOften(..)));
                    patience.endure(trouble).await?;
                }
            }
        }
    }

    async fn log_in(&self, deadline: Instant) -> Option<Zeroizing<String>> {
        let TokenSource::Login(login) = &self.settings.token else { return None };
        login::log_in(login, &Patience::until(Moment::AsItIs, deadline, self.settings.timeout)).await.ok()
    }

    async fn refuses(&self, token: &str, workers: u32, deadline: Instant) -> Result<Evidence, Fault> {
        let patience = Patience::until(Moment::Moved, deadline, self.settings.timeout);
        self.settings.check_logged_out(token, workers, patience).await
    }
}

/// How the protected endpoint takes a token.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Accepted,
    Refused(u16),
    /// An answer that says nothing about the token; and when to ask again, where it says that.
    Neither(u16, Option<Duration>),
}

impl Verdict {
    fn of(reply: &Reply) -> Self {
        let status = reply.status;
        match status {
            200..300 => Self::Accepted,
            // Too slow, too early, too often: said to any token.
            408 | 425 | 429 => Self::Neither(status, reply.retry_after()),
            400..500 => Self::Refused(status),
            _ => Self::Neither(status, None),
        }
    }
}

impl JwtProbe {
    fn source(&self) -> String {
        match &self.token {
            TokenSource::Login(login) => shown(&login.url),
            TokenSource::Mint(_) => "minted".to_owned(),
        }
    }

    /// The protected endpoint, as it is told.
    fn protected(&self) -> String {
        line(&self.protected.method, &self.protected.url)
    }

    async fn ask_once(
        &self,
        question: &Question<'_>,
        before: &[OfGeneration],
        (kept, good): (&mut Option<Zeroizing<String>>, &mut Tokens),
        (rounds, patience): (&Rounds, &Patience),
    ) -> Result<Evidence, Trouble> {
        let unreadable = |why: String| Trouble::Certain(Fault::new(FaultCode::TokenUnreadable, why));
        let (generation, value) = question.primary;
        let mut primary = key(value.reveal(), self.key).map_err(|encoding| {
            unreadable(format!("the value of generation {generation} is not {encoding}, as the probe's key = says"))
        })?;
        let text = match (kept.take(), &self.token) {
            (Some(text), _) => text,
            (None, TokenSource::Login(login)) => login::log_in(login, patience).await?,
            (None, TokenSource::Mint(mint)) => login::mint(mint, &primary).map_err(unreadable)?,
        };
        let text = kept.insert(text).clone();
        let token = Token::parse(&text)
            .map_err(|why| unreadable(format!("the token of {} cannot be judged: {why}", self.source())))?;
        if let Some(other) = self.keys(value).find(|key| token.is_signed_with(key)) {
            primary = other;
        }
        self.check_signature(question, &token, &primary)?;
        let retired = self.signed_with(&question.retired, &token);
        let accepted = self.signed_with(&question.accepted, &token);
        self.check_accepted((&token, &text), generation, (&retired, &accepted), patience).await?;
        self.check_still_accepted(&accepted, patience).await?;
        let mut refused = self.check_refused(&token, generation, &retired, (rounds, patience)).await?;
        refused.extend(self.check_forgotten(question, before, patience).await?);
        if question.moment != Moment::Before {
            self.check_every_worker(question, (&token, &text), &retired, (rounds, patience)).await?;
            self.check_every_signer(question, &primary, (rounds, patience)).await?;
        }
        *good = std::iter::once((generation, text)).chain(accepted).collect();
        Ok(Evidence::Jwt {
            source: self.source(),
            algorithm: token.algorithm.as_str().to_owned(),
            signed_with: generation,
            protected: shown(&self.protected.url),
            refused,
            accepted: good.iter().skip(1).map(|(generation, _)| *generation).collect(),
            // What the probe itself wrote into a token says nothing of those that the backend gives out.
            lifetime_s: token.lifetime().filter(|_| matches!(self.token, TokenSource::Login(_))),
        })
    }

    /// In an overlap, tokens of the other values of the view are good too.
    async fn check_still_accepted(&self, accepted: &[OfGeneration], patience: &Patience) -> Result<(), Trouble> {
        let protected = self.protected();
        for (generation, text) in accepted {
            let to = format!("to a token of generation {generation}, which is to be accepted in the overlap");
            match self.present(text, patience).await? {
                Verdict::Accepted => {}
                Verdict::Neither(status, wait) => return Err(neither(&protected, (status, wait), &to)),
                Verdict::Refused(status) => {
                    let fault = Fault::new(FaultCode::RefusesAccepted, format!("{protected} answered {status} {to}"));
                    return Err(Trouble::Draining(
                        fault.advise("does the backend verify with the variable that previous-env names as well?"),
                    ));
                }
            }
        }
        Ok(())
    }

    /// The keys that a consumer may make of a value: whoever reads it from a file mostly takes off the line feed at its end.
    fn keys<'v>(&self, value: &'v SecretValue) -> impl Iterator<Item = Zeroizing<Vec<u8>>> + use<'v> {
        let (whole, encoding) = (value.reveal(), self.key);
        std::iter::once(whole).chain(whole.strip_suffix(b"\n")).filter_map(move |value| key(value, encoding).ok())
    }

    fn check_signature(&self, question: &Question<'_>, token: &Token, primary: &[u8]) -> Result<(), Trouble> {
        let (source, generation) = (self.source(), question.primary.0);
        for (other, value) in question.retired.iter().chain(&question.accepted) {
            if self.keys(value).any(|key| token.is_signed_with(&key)) {
                let message = format!("the token of {source} is signed with generation {other}, not with {generation}");
                return Err(Trouble::Draining(Fault::new(FaultCode::SignedWithOld, message).advise(
                    "it was given the new value and does not sign with it: does it read the secret from another place, or \
                     keep it over a reload?",
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

    /// The same claims signed with each of these values.
    fn signed_with(&self, values: &[(Generation, &SecretValue)], token: &Token) -> Tokens {
        values
            .iter()
            .filter_map(|(generation, value)| {
                // A value that makes no key was never one.
                let key = self.keys(value).last()?;
                Some((*generation, token.signed_again_with(&key)))
            })
            .collect()
    }

    async fn check_accepted(
        &self,
        (token, text): (&Token, &str),
        generation: Generation,
        (retired, accepted): (&[OfGeneration], &[OfGeneration]),
        patience: &Patience,
    ) -> Result<(), Trouble> {
        let protected = self.protected();
        let to = format!("to a valid {} token of generation {generation}", token.algorithm.as_str());
        let status = match self.present(text, patience).await? {
            Verdict::Accepted => return Ok(()),
            Verdict::Neither(status, wait) => return Err(neither(&protected, (status, wait), &to)),
            Verdict::Refused(status) => status,
        };
        for (other, text) in retired.iter().chain(accepted) {
            if self.present(text, patience).await? == Verdict::Accepted {
                let message = format!("{protected} answered {status} {to}, and accepts one of generation {other}");
                let is_retired = retired.iter().any(|(retired, _)| retired == other);
                let (code, advice) = match (is_retired, *other < generation) {
                    (true, true) => (
                        FaultCode::AcceptsRetired,
                        "what answers there still has the old value: another service that reads the secret?",
                    ),
                    (true, false) => (
                        FaultCode::AcceptsRetired,
                        "what answers there still has the value that was taken back: another service that reads the secret?",
                    ),
                    (false, _) => (
                        FaultCode::ProtectedRefuses,
                        "it verifies with the other variable of the overlap alone: does it verify with both?",
                    ),
                };
                return Err(Trouble::Draining(Fault::new(code, message).advise(advice)));
            }
        }
        Err(Trouble::Answered(Fault::new(FaultCode::ProtectedRefuses, format!("{protected} answered {status} {to}"))))
    }

    /// Forged tokens must be refused, else the consumer checks nothing and nothing is proven.
    async fn check_refused(
        &self,
        token: &Token,
        generation: Generation,
        retired: &[OfGeneration],
        (rounds, patience): (&Rounds, &Patience),
    ) -> Result<Vec<String>, Trouble> {
        let random: [u8; 32] = random().map_err(|error| {
            let message = format!("there are no random bytes for a forged token: {error}");
            Trouble::Certain(Fault::new(FaultCode::ProbeFailed, message))
        })?;
        let mut forged = vec![
            ("random-key".to_owned(), FaultCode::AcceptsRandomKey, token.signed_again_with(&random)),
            ("alg-none".to_owned(), FaultCode::AcceptsAlgNone, token.unsigned("none")),
            // Who only looks for "none" lets this one in.
            ("alg-none".to_owned(), FaultCode::AcceptsAlgNone, token.unsigned("nOnE")),
            ("no-signature".to_owned(), FaultCode::AcceptsAlgNone, token.stripped()),
        ];
        for (of, text) in retired {
            forged.push((format!("generation-{of}"), FaultCode::AcceptsRetired, text.clone()));
        }
        let which = if retired.iter().all(|(of, _)| *of < generation) {
            "the old value"
        } else {
            "a value that was taken back"
        };
        let protected = self.protected();
        let mut refused = Vec::new();
        // One of several processes may be of another make. Whether all refuse retired values is asked apart.
        let again = forged.iter().filter(|(_, code, _)| *code != FaultCode::AcceptsRetired);
        let again = again.flat_map(|one| std::iter::repeat_n(one, rounds.forged as usize - 1));
        let shown = forged.iter().chain(again);
        let mut had_enough = false;
        for (what, code, text) in shown {
            if had_enough && refused.contains(what) {
                continue;
            }
            match self.present(text, patience).await? {
                Verdict::Refused(_) if refused.contains(what) => {}
                Verdict::Refused(_) => refused.push(what.clone()),
                Verdict::Neither(408 | 425 | 429, _) if refused.contains(what) => had_enough = true,
                Verdict::Neither(status, wait) => {
                    let trouble = neither(&protected, (status, wait), &format!("to a forged token ({what})"));
                    return Err(if (500..600).contains(&status) { trouble.advised(FORGED) } else { trouble });
                }
                Verdict::Accepted => {
                    let fault = Fault::new(*code, format!("{protected} accepts a forged token ({what})"));
                    return Err(match code {
                        // An old worker may be answering.
                        FaultCode::AcceptsRetired => Trouble::Draining(
                            fault.advise(format!("it goes on accepting {which}: does it keep a list of keys?")),
                        ),
                        _ => Trouble::Certain(fault.advise(
                            "this backend does not check its tokens, so that nothing can be proven with them, and \
                             whoever forges one is let in: mend that first, or name an endpoint that wants a token",
                        )),
                    });
                }
            }
        }
        Ok(refused)
    }

    /// A token from before the movement, of a value that is out of force now, must be refused as well.
    async fn check_forgotten(
        &self,
        question: &Question<'_>,
        before: &[OfGeneration],
        patience: &Patience,
    ) -> Result<Vec<String>, Trouble> {
        let is_retired = |of: Generation| question.retired.iter().any(|(retired, _)| *retired == of);
        let (protected, mut refused) = (self.protected(), Vec::new());
        for (generation, text) in before.iter().filter(|(of, _)| is_retired(*of)) {
            match self.present(text, patience).await? {
                Verdict::Refused(_) => refused.push(format!("generation-{generation}-from-before")),
                Verdict::Neither(status, wait) => {
                    let to = format!("to a token of generation {generation} from before");
                    return Err(neither(&protected, (status, wait), &to));
                }
                Verdict::Accepted => {
                    let message = format!(
                        "{protected} still accepts a token of generation {generation} that it had accepted before, and \
                         refuses a fresh one"
                    );
                    return Err(Trouble::Answered(Fault::new(FaultCode::AcceptsRetired, message).advise(
                        "it remembers tokens that it has verified once: have it forget them when it gets another value",
                    )));
                }
            }
        }
        Ok(refused)
    }

    /// Shows a token to the protected endpoint.
    async fn present(&self, token: &str, patience: &Patience) -> Result<Verdict, Trouble> {
        let protected = &self.protected;
        let mut call = Call::new(&protected.method, &protected.url);
        call.headers.push(match &protected.carrier {
            TokenCarrier::Header { name, scheme } if scheme.is_empty() => {
                (name.clone(), Zeroizing::new(token.to_owned()))
            }
            TokenCarrier::Header { name, scheme } => (name.clone(), Zeroizing::new(format!("{scheme} {token}"))),
            TokenCarrier::Cookie(name) => ("Cookie".to_owned(), Zeroizing::new(format!("{name}={token}"))),
        });
        let sent = send(call, patience.request()).await;
        sent.map(|reply| Verdict::of(&reply)).map_err(|error| Trouble::unanswered(&error, FaultCode::ProbeFailed))
    }
}

fn neither(protected: &str, (status, wait): (u16, Option<Duration>), to: &str) -> Trouble {
    let note = if (300..400).contains(&status) { ", a redirect, which is not followed," } else { "" };
    let fault = Fault::new(FaultCode::ProbeFailed, format!("{protected} answered {status}{note} {to}"));
    match status {
        300..400 => Trouble::Answered(
            fault.advise("protected should name an endpoint that answers 2xx to a token and 401 without"),
        ),
        _ => Trouble::of_status(status, wait, fault),
    }
}

#[cfg(test)]
mod tests;
