//! What a person is to be told of a secret, and when again. Pure.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::text::fault_in_words;
use super::{Actor, Standing, TurnedAway};
use crate::config::Event;
use crate::rotation::Outcome;

/// Something that a person should know of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What.
    pub event: Event,
    /// What tells this one from the next: a rotation's id, or the time since when.
    pub key: String,
    /// The rotation, where it is one's.
    pub rotation: Option<String>,
    /// In words.
    pub reason: String,
}

/// What was told, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// What.
    pub trouble: Trouble,
    /// When, for the last time.
    pub at: Timestamp,
}

/// The trouble that a secret is in, the worst where there are several.
pub fn trouble(standing: &Standing, overdue_after: Option<Duration>, now: Timestamp) -> Option<Trouble> {
    let last = standing.last.as_ref();
    let rotation = last.map(|last| last.id.to_string());
    if let Some(hold) = &standing.hold {
        let cause = last.and_then(|last| last.outcome.cause()).map(fault_in_words).unwrap_or_default();
        let key = format!("hold {}", rotation.as_deref().unwrap_or_default());
        return Some(Trouble { event: Event::Hold, key, rotation, reason: format!("{}: {cause}", hold.sentence()) });
    }
    let failed = last.and_then(|last| {
        let by_schedule = matches!(last.actor, Actor::Timer | Actor::Retry);
        match &last.outcome {
            Outcome::Refused { cause } if by_schedule => Some(format!("refused: {}", fault_in_words(cause))),
            Outcome::RolledBack { cause } | Outcome::RollbackFailed { cause, .. } if standing.failed_in_a_row() > 0 => {
                Some(format!("{}: {}", last.outcome.as_str(), fault_in_words(cause)))
            }
            Outcome::Committed if last.took_back() => {
                Some("it failed soon after its rotation, and was taken back to the previous value".to_owned())
            }
            _ => last.hook_failed.as_ref().map(fault_in_words),
        }
    });
    if let Some(reason) = failed {
        let key = rotation.clone().unwrap_or_default();
        return Some(Trouble { event: Event::Failure, key, rotation, reason });
    }
    if let Some(TurnedAway { cause, since }) = &standing.turned_away {
        let (event, key, reason) = (Event::Failure, since.to_string(), format!("refused: {}", fault_in_words(cause)));
        return Some(Trouble { event, key, rotation: None, reason });
    }
    let primary = standing.in_force.as_ref().map(|view| view.primary)?;
    let since = standing.generation(primary)?.born();
    let age = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    (overdue_after.is_some_and(|limit| age > limit)).then(|| Trouble {
        event: Event::Overdue,
        key: format!("generation {primary}"),
        rotation: None,
        reason: format!("generation {primary}, which is in force, is of {since:.0}"),
    })
}

/// Whether the end of this trouble is no more than a person's word: the hold after a rotation was released, and nothing was
/// rotated, and so proven, since.
pub fn is_merely_released(trouble: &Trouble, standing: &Standing) -> bool {
    let last = standing.last.as_ref().filter(|last| last.outcome != Outcome::Committed);
    last.is_some_and(|last| trouble.rotation.as_deref() == Some(last.id.as_str()))
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing: there is no trouble, or it was told.
    Nothing,
    /// It is to be told, for the first time or again.
    Tell,
    /// It is over, which is to be told.
    Recovered,
}

/// What is to be done about the trouble that there is now, after what was told.
pub fn due(trouble: Option<&Trouble>, told: Option<&Told>, repeat: Duration, now: Timestamp) -> Due {
    let Some(trouble) = trouble else { return if told.is_some() { Due::Recovered } else { Due::Nothing } };
    // A value is overdue behind every other trouble: where that is seen, the other one is over, which is told first.
    if trouble.event == Event::Overdue && told.is_some_and(|told| told.trouble.event != Event::Overdue) {
        return Due::Recovered;
    }
    let Some(told) = told.filter(|told| told.trouble.event == trouble.event && told.trouble.key == trouble.key) else {
        return Due::Tell;
    };
    let waited = Duration::try_from(now.duration_since(told.at)).unwrap_or_default();
    if !repeat.is_zero() && waited >= repeat { Due::Tell } else { Due::Nothing }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_told_once_and_again_after_a_while_and_its_end_once() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let of =
            |key: &str| Trouble { event: Event::Failure, key: key.to_owned(), rotation: None, reason: String::new() };
        let (day, told) = (Duration::from_secs(100), Told { trouble: of("a"), at: at(1000) });
        assert_eq!(due(None, None, day, at(1)), Due::Nothing);
        assert_eq!(due(Some(&of("a")), None, day, at(1)), Due::Tell);
        assert_eq!(due(Some(&of("a")), Some(&told), day, at(1099)), Due::Nothing);
        assert_eq!(due(Some(&of("a")), Some(&told), day, at(1100)), Due::Tell);
        assert_eq!(due(Some(&of("a")), Some(&told), Duration::ZERO, at(9999)), Due::Nothing);
        assert_eq!(due(Some(&of("b")), Some(&told), day, at(1001)), Due::Tell);
        assert_eq!(due(None, Some(&told), day, at(1001)), Due::Recovered);
        let overdue = Trouble { event: Event::Overdue, ..of("generation 1") };
        assert_eq!(due(Some(&overdue), Some(&told), day, at(1001)), Due::Recovered);
        assert_eq!(due(Some(&overdue), None, day, at(1001)), Due::Tell);
        // A clock that was set back tells nothing twice.
        assert_eq!(due(Some(&of("a")), Some(&told), day, at(10)), Due::Nothing);
    }
}
