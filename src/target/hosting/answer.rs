//! The error table: what follows on an answer of a platform's API. Pure.

use std::time::Duration;

use crate::rotation::FaultCode;

/// What a request is for, as far as its repetition is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    /// Only looks.
    Read,
    /// Can be done twice: a variable that is written, a deployment that is canceled.
    Write,
    /// Makes another deployment each time.
    Trigger,
}

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// An answer with this status; whether it says when to come again.
    Status(u16, bool),
    /// None, or not all of it.
    Nothing,
    /// Nobody was there to take the request.
    Unsent,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Next {
    /// It is an answer.
    Take,
    /// The same again, when the answer says.
    AsTold,
    /// The same again after this time.
    Again(Duration),
    /// No more of it.
    Stop(Kind),
}

/// Why a request came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The platform does not take what was sent.
    Invalid,
    /// The token is not accepted.
    Credential,
    /// The token may not do this, or the plan does not have it.
    Forbidden,
    /// There is no such thing, or it is not shown to this token.
    Missing,
    /// Something else is at it.
    Conflict,
    /// The thing, or this version of the interface, is gone for good.
    Gone,
    /// The platform wants something else first.
    Locked,
    /// There is no code there that could be deployed in this way.
    NoCommit,
    /// No answer, or none that is one, for too long.
    Unavailable,
    /// It was told to wait for longer than there is time.
    NoTime,
    /// It may have been done, or not.
    Lost,
    /// What was found there is an obstacle.
    Obstacle(FaultCode),
}

impl Kind {
    /// Whether it is certain that nothing was done.
    pub fn is_refusal(self) -> bool {
        !matches!(self, Self::Unavailable | Self::Lost)
    }
}

const CONFLICTS: [u64; 3] = [10, 30, 60];
const BACKOFF: [u64; 5] = [1, 2, 4, 8, 16];

/// What follows on an answer to the same request, of which `tries` came before to nothing.
pub(super) fn next(came: Came, intent: Intent, tries: usize) -> Next {
    let again =
        |after: &[u64], or: Kind| after.get(tries).map_or(Next::Stop(or), |s| Next::Again(Duration::from_secs(*s)));
    match came {
        Came::Status(200..300, _) => Next::Take,
        Came::Status(429, _) => Next::AsTold,
        Came::Status(401, _) => Next::Stop(Kind::Credential),
        Came::Status(402 | 403, _) => Next::Stop(Kind::Forbidden),
        Came::Status(404, _) => Next::Stop(Kind::Missing),
        Came::Status(409, _) => again(&CONFLICTS, Kind::Conflict),
        Came::Status(410, _) => Next::Stop(Kind::Gone),
        Came::Status(423 | 426, _) => Next::Stop(Kind::Locked),
        Came::Status(408 | 500.., _) | Came::Nothing if intent == Intent::Trigger => Next::Stop(Kind::Lost),
        Came::Status(503, true) if tries < BACKOFF.len() => Next::AsTold,
        Came::Status(408 | 500.., _) | Came::Nothing | Came::Unsent => again(&BACKOFF, Kind::Unavailable),
        Came::Status(..) => Next::Stop(Kind::Invalid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_is_as_it_was_written() {
        use Intent::{Read, Trigger, Write};
        for (status, kind) in [
            (302, Kind::Invalid),
            (400, Kind::Invalid),
            (401, Kind::Credential),
            (402, Kind::Forbidden),
            (403, Kind::Forbidden),
            (404, Kind::Missing),
            (405, Kind::Invalid),
            (410, Kind::Gone),
            (422, Kind::Invalid),
            (423, Kind::Locked),
            (426, Kind::Locked),
        ] {
            for intent in [Read, Write, Trigger] {
                assert_eq!(next(Came::Status(status, false), intent, 0), Next::Stop(kind), "{status}");
            }
        }
        for intent in [Read, Write, Trigger] {
            assert_eq!(next(Came::Status(201, false), intent, 0), Next::Take);
            assert_eq!(next(Came::Status(429, false), intent, 9), Next::AsTold);
            assert_eq!(next(Came::Status(409, false), intent, 1), Next::Again(Duration::from_secs(30)));
            assert_eq!(next(Came::Status(409, false), intent, 3), Next::Stop(Kind::Conflict));
        }
    }

    #[test]
    fn a_trigger_that_got_no_answer_is_never_sent_again_blindly() {
        for came in [Came::Status(500, false), Came::Status(503, true), Came::Status(502, false), Came::Nothing] {
            assert_eq!(next(came, Intent::Trigger, 0), Next::Stop(Kind::Lost));
            assert!(matches!(next(Came::Unsent, Intent::Trigger, 0), Next::Again(_)));
            for intent in [Intent::Read, Intent::Write] {
                assert!(matches!(next(came, intent, 0), Next::Again(_) | Next::AsTold));
                assert_eq!(next(came, intent, 5), Next::Stop(Kind::Unavailable));
            }
        }
        assert!(!Kind::Lost.is_refusal() && !Kind::Unavailable.is_refusal() && Kind::Forbidden.is_refusal());
    }
}
