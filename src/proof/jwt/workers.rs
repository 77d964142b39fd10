//! Whether all that answer agree: of several processes, or parts of one, some may have kept another value in memory.

use tokio::time::Instant;
use zeroize::Zeroizing;

use super::super::token::Token;
use super::super::{Moment, Patience, Question, Trouble};
use super::{Verdict, login, neither};
use crate::config::{JwtProbe, TokenSource};
use crate::record::Evidence;
use crate::rotation::{Fault, FaultCode, Generation};
use crate::secret::SecretValue;
use crate::sys::http::shown;

/// How often each of several processes is to be met with each token, on average.
const TIMES: u32 = 8;
/// More of them are not counted.
const MOST: u32 = 16;
/// A single process may have threads that do not agree.
const LEAST: u32 = 2;
/// How often each of several processes is to be met by a login. That is where people are told that they come too often.
const LOGINS: u32 = 3;
/// So many logins at most.
const MOST_LOGINS: u32 = 24;
/// So many at most where one of them was not as it should be.
const MOST_LOGINS_IN_DOUBT: u32 = 64;
/// So many refusals in a row are enough where there is no time for more.
const LEAST_REFUSALS: u32 = 16;
/// What is said of a token that some processes accept.
const AT_TIMES: &str = "refuses at times, and accepts at others,";
const ADVICE: &str =
    "one of several processes has another value than the rest: does each of them read it when it starts?";

/// How often a probe asks before it believes what it is answered.
pub(super) struct Rounds {
    /// With each token whose verdict depends on the value.
    tokens: u32,
    /// With each forged token.
    pub(super) forged: u32,
    logins: u32,
    /// What else is asked for no longer than until then.
    until: Instant,
    /// What was seen before, of a consumer that has answered well since. One of several processes that has another value
    /// would be missed in the end by who merely asks again: more is asked of it, and none of that is left out.
    doubt: Option<Fault>,
}

impl Rounds {
    pub(super) fn new(question: &Question<'_>, doubt: Option<&Fault>, patience: &Patience) -> Self {
        let workers = question.workers;
        let tokens = workers.clamp(LEAST, MOST) * TIMES;
        let forged = match (workers, question.moment) {
            (..2, _) => 1,
            (_, Moment::Before) => workers.min(MOST),
            _ => tokens,
        };
        match doubt {
            Some(doubt) => Self {
                tokens: tokens * 2,
                forged,
                logins: (workers.max(LEAST) * TIMES).min(MOST_LOGINS_IN_DOUBT),
                until: Instant::now() + patience.remaining(),
                doubt: Some(doubt.clone()),
            },
            None => Self {
                tokens,
                forged,
                logins: if workers < 2 { 0 } else { (workers * LOGINS).min(MOST_LOGINS) },
                until: patience.surer(),
                doubt: None,
            },
        }
    }

    /// That nothing more is asked: where there is no doubt, that is well.
    fn ends(&self, trouble: impl FnOnce(&Fault) -> Trouble) -> Result<(), Trouble> {
        self.doubt.as_ref().map_or(Ok(()), |doubt| Err(trouble(doubt)))
    }

    /// The time is up.
    fn is_over(&self) -> Option<Result<(), Trouble>> {
        (Instant::now() > self.until).then(|| self.ends(|doubt| Trouble::Draining(doubt.clone())))
    }
}

impl JwtProbe {
    /// Asks until a token from before a logout is refused: many times in a row, each time over another connection, since one
    /// worker of several may know of the logout before the others. Once it was accepted, by one that does not, twice as
    /// often: else asking again and again would meet a row of refusals by chance.
    pub(super) async fn check_logged_out(
        &self,
        token: &str,
        workers: u32,
        mut patience: Patience,
    ) -> Result<Evidence, Fault> {
        let protected = self.protected();
        let (times, until) = (workers.clamp(LEAST, MOST) * TIMES, patience.surer());
        let (mut refused, mut was_accepted, mut was_refused) = (0, false, false);
        loop {
            let enough = match was_accepted {
                true => times * 2,
                false if Instant::now() > until => LEAST_REFUSALS,
                false => times,
            };
            let trouble = match self.present(token, &patience).await {
                Ok(Verdict::Refused(_)) if refused + 1 < enough => {
                    (refused, was_refused) = (refused + 1, true);
                    continue;
                }
                Ok(Verdict::Neither(408 | 425 | 429, _)) if refused > 0 && !was_accepted => break,
                Ok(Verdict::Refused(_)) => break,
                Ok(Verdict::Accepted) => {
                    was_accepted = true;
                    let (at_times, advice) = match was_refused {
                        true => (
                            " at times, and refuses it at others",
                            "the logout did not reach all of it: does each process check what the logout changes?",
                        ),
                        false => ("", "the logout changed nothing: does the backend check what it changes?"),
                    };
                    let message = format!("{protected} accepts a token from before the rotation{at_times}");
                    Trouble::NotYet(Fault::new(FaultCode::LogoutIneffective, message).advise(advice))
                }
                Ok(Verdict::Neither(status, wait)) => {
                    neither(&protected, (status, wait), "to a token from before the rotation")
                }
                Err(trouble) => trouble,
            };
            refused = 0;
            patience.endure(trouble).await?;
        }
        Ok(Evidence::LoggedOut { protected: shown(&self.protected.url) })
    }

    /// They are asked, each time over another connection, until it is unlikely that one of them never was. Each token many
    /// times in a row: processes that take turns would meet one of two tokens alone.
    pub(super) async fn check_every_worker(
        &self,
        question: &Question<'_>,
        (token, text): (&Token, &str),
        retired: &[(Generation, Zeroizing<String>)],
        (rounds, patience): (&Rounds, &Patience),
    ) -> Result<(), Trouble> {
        let (protected, generation) = (self.protected(), question.primary.0);
        let accepted = self.signed_with(&question.accepted, token);
        let good = std::iter::once((generation, text)).chain(accepted.iter().map(|(of, text)| (*of, text.as_str())));
        let bad = retired.iter().map(|(of, text)| (*of, text.as_str()));
        for ((of, text), is_good) in good.map(|one| (one, true)).chain(bad.map(|one| (one, false))) {
            for _ in 0..rounds.tokens {
                if let Some(end) = rounds.is_over() {
                    return end;
                }
                let (code, what) = match (self.present(text, patience).await?, is_good) {
                    (Verdict::Accepted, true) | (Verdict::Refused(_), false) => continue,
                    // It has had enough of being asked.
                    (Verdict::Neither(status @ (408 | 425 | 429), wait), _) => {
                        return rounds
                            .ends(|_| neither(&protected, (status, wait), &format!("to a token of generation {of}")));
                    }
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

    /// Nothing but a token's signature tells which value a process signs with: it may verify with another one. A few more
    /// logins, until one of them is not answered.
    pub(super) async fn check_every_signer(
        &self,
        question: &Question<'_>,
        primary: &[u8],
        (rounds, patience): (&Rounds, &Patience),
    ) -> Result<(), Trouble> {
        let TokenSource::Login(login) = &self.token else { return Ok(()) };
        for _ in 0..rounds.logins {
            if let Some(end) = rounds.is_over() {
                return end;
            }
            let text = match login::log_in(login, patience).await {
                Ok(text) => text,
                Err(trouble) => return rounds.ends(|_| trouble),
            };
            let Ok(token) = Token::parse(&text) else { return rounds.ends(|doubt| Trouble::Draining(doubt.clone())) };
            if token.is_signed_with(primary) {
                continue;
            }
            let is_of = |value: &SecretValue| self.keys(value).any(|key| token.is_signed_with(&key));
            let other = question.accepted.iter().chain(&question.retired).find(|(_, value)| is_of(value));
            let other = other.map_or("another value".to_owned(), |(generation, _)| format!("generation {generation}"));
            let (source, generation) = (self.source(), question.primary.0);
            let message = format!("tokens of {source} are signed with {other} at times, and not with {generation}");
            return Err(Trouble::Draining(Fault::new(FaultCode::SignedWithOld, message).advise(ADVICE)));
        }
        Ok(())
    }
}
