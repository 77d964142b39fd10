//! Whether all that answer agree: of several processes, or parts of one, some may have kept another value in memory.

use tokio::time::Instant;
use zeroize::Zeroizing;

use super::super::token::Token;
use super::super::{Patience, Question, Trouble};
use super::{Verdict, login, neither};
use crate::config::{JwtProbe, TokenSource};
use crate::rotation::{Fault, FaultCode, Generation};
use crate::secret::SecretValue;

/// How often each of several processes is to be met with each token, on average.
const TIMES: u32 = 8;
/// More of them are not counted.
const MOST: u32 = 16;
/// A single process may have threads that do not agree.
const LEAST: u32 = 2;
/// How often each of several processes is to be met by a login. That is where people are told that they come too often.
const LOGINS: u32 = 2;
/// So many logins at most.
const MOST_LOGINS: u32 = 8;
/// What is said of a token that some processes accept.
const AT_TIMES: &str = "refuses at times, and accepts at others,";
const ADVICE: &str =
    "one of several processes has another value than the rest: does each of them read it when it starts?";

impl JwtProbe {
    /// They are asked, each time over another connection, until it is unlikely that one of them never was. Each token many
    /// times in a row: processes that take turns would meet one of two tokens alone.
    pub(super) async fn check_every_worker(
        &self,
        question: &Question<'_>,
        (token, text): (&Token, &str),
        retired: &[(Generation, Zeroizing<String>)],
        patience: &Patience,
    ) -> Result<(), Trouble> {
        let (protected, generation, until) = (self.protected(), question.primary.0, patience.surer());
        let times = question.workers.clamp(LEAST, MOST) * TIMES;
        let accepted = self.signed_with(&question.accepted, token);
        let good = std::iter::once((generation, text)).chain(accepted.iter().map(|(of, text)| (*of, text.as_str())));
        let bad = retired.iter().map(|(of, text)| (*of, text.as_str()));
        for ((of, text), is_good) in good.map(|one| (one, true)).chain(bad.map(|one| (one, false))) {
            for _ in 0..times {
                if Instant::now() > until {
                    return Ok(());
                }
                let (code, what) = match (self.present(text, patience).await?, is_good) {
                    (Verdict::Accepted, true) | (Verdict::Refused(_), false) => continue,
                    // It has had enough of being asked.
                    (Verdict::Neither(408 | 425 | 429, _), _) => return Ok(()),
                    (Verdict::Neither(status, wait), _) => {
                        return Err(neither(&protected, (status, wait), &format!("to a token of generation {of}")));
                    }
                    (Verdict::Accepted, false) => {
                        (FaultCode::AcceptsRetired, "accepts at times, and refuses at others,")
                    }
                    (Verdict::Refused(_), true) if of == generation => (FaultCode::ProtectedRefuses, AT_TIMES),
                    (Verdict::Refused(_), true) => (FaultCode::RefusesAccepted, AT_TIMES),
                };
                let message = format!("{protected} {what} a token of generation {of}");
                return Err(Trouble::Draining(Fault::new(code, message).advise(ADVICE)));
            }
        }
        Ok(())
    }

    /// While several values are accepted, nothing but a token's signature tells which one a process signs with. A few more
    /// logins, until one of them is not answered.
    pub(super) async fn check_every_signer(
        &self,
        question: &Question<'_>,
        primary: &[u8],
        patience: &Patience,
    ) -> Result<(), Trouble> {
        let TokenSource::Login(login) = &self.token else { return Ok(()) };
        if question.accepted.is_empty() || question.workers < 2 {
            return Ok(());
        }
        let until = patience.surer();
        for _ in 0..(question.workers * LOGINS).min(MOST_LOGINS) {
            if Instant::now() > until {
                return Ok(());
            }
            let Ok(text) = login::log_in(login, patience).await else { return Ok(()) };
            let Ok(token) = Token::parse(&text) else { return Ok(()) };
            if token.is_signed_with(primary) {
                continue;
            }
            let is_of = |value: &SecretValue| self.keys(value).any(|key| token.is_signed_with(&key));
            let other = question.accepted.iter().find(|(_, value)| is_of(value));
            let other = other.map_or("another value".to_owned(), |(generation, _)| format!("generation {generation}"));
            let (source, generation) = (self.source(), question.primary.0);
            let message = format!("tokens of {source} are signed with {other} at times, and not with {generation}");
            return Err(Trouble::Draining(Fault::new(FaultCode::SignedWithOld, message).advise(ADVICE)));
        }
        Ok(())
    }
}
