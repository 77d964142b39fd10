//! What to do about a deployment that is followed, by what is known of it. Pure.

use std::time::Duration;

use super::platform::{Deployment, State};
use crate::rotation::FaultCode;

/// How long one that is up and kept aside is given to be published by itself, before that is asked for.
pub(super) const ASIDE: Duration = Duration::from_secs(20);

/// How long a list has to show the newer one that has replaced another.
const LISTED: Duration = Duration::from_secs(45);

/// What is known beside the deployment itself; what is not known yet is none.
#[derive(Default)]
pub(super) struct Known {
    /// Whether it is what is served.
    pub serves: Option<bool>,
    /// The newest well one that was made after the write and after it, and whether that is served.
    pub newer: Option<Option<(Deployment, bool)>>,
    /// How long it has been in the state that it is in.
    pub lasts: Duration,
    /// Whether it may be published.
    pub may_publish: bool,
    /// Whether that was asked for already.
    pub published: bool,
    /// Whether the platform itself publishes what is kept aside.
    pub by_itself: Option<bool>,
}

/// What follows.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Step {
    /// Look again in a while.
    Wait,
    /// Find out whether it is served.
    AskWhetherItServes,
    /// Look for newer ones.
    LookForNewer,
    /// Find out whether the platform publishes it by itself.
    AskWhetherItIsPublished,
    /// Publish it.
    Publish,
    /// Follow another one.
    Follow(Deployment),
    /// This one has what was written, and is served.
    Live(Deployment),
    /// It will never be.
    Fail(FaultCode, String),
    /// It will not be without a person: it must not land any more.
    GiveUp(FaultCode, String),
}

/// What follows for `at`.
pub(super) fn step(at: &Deployment, known: &Known) -> Step {
    if at.state == State::Up {
        match known.serves {
            None => return Step::AskWhetherItServes,
            Some(true) => return Step::Live(at.clone()),
            Some(false) => {}
        }
    }
    match at.state {
        State::Going => return Step::Wait,
        State::Blocked => {
            let why = format!("{} waits for a person: {}", name(at), told(at));
            return Step::GiveUp(FaultCode::DeployFailed, why);
        }
        State::Aside if known.lasts < ASIDE => return Step::Wait,
        State::Up | State::Aside | State::Failed | State::Gone => {}
    }
    let Some(newer) = &known.newer else { return Step::LookForNewer };
    match (at.state, newer) {
        // Somebody's own deployment has what was written, too.
        (_, Some((newer, true))) => Step::Live(newer.clone()),
        (State::Failed | State::Gone, Some((newer, false))) => Step::Follow(newer.clone()),
        (State::Gone, None) if known.lasts < LISTED => Step::Wait,
        (State::Failed | State::Gone, None) => {
            Step::Fail(FaultCode::DeployFailed, format!("{} ended as {}", name(at), told(at)))
        }
        (State::Aside, _) if known.published => Step::Wait,
        (State::Aside, _) if known.may_publish => Step::Publish,
        (State::Aside, _) => match known.by_itself {
            None => Step::AskWhetherItIsPublished,
            Some(true) => Step::Wait,
            Some(false) => Step::Fail(FaultCode::NotLive, format!("{} came up, but {}", name(at), told(at))),
        },
        _ => Step::Wait,
    }
}

/// A deployment by its name.
pub(super) fn name(at: &Deployment) -> String {
    format!("the deployment {}", at.id)
}

/// How it stands, in words.
pub(super) fn told(at: &Deployment) -> String {
    if at.why.is_empty() { at.word.clone() } else { format!("{}: {}", at.word, at.why) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A deployment for tests.
    pub fn deployment(id: &str, state: State) -> Deployment {
        Deployment {
            id: id.to_owned(),
            state,
            word: format!("{state:?}"),
            why: String::new(),
            created: None,
            page: String::new(),
            commit: None,
            mark: None,
            of: None,
            by_us: true,
        }
    }

    fn known() -> Known {
        Known { newer: Some(None), lasts: Duration::from_secs(60), ..Known::default() }
    }

    #[test]
    fn up_is_not_live_until_it_is_what_is_served() {
        let up = deployment("a", State::Up);
        assert_eq!(step(&up, &Known::default()), Step::AskWhetherItServes);
        assert_eq!(step(&up, &Known { serves: Some(true), ..Known::default() }), Step::Live(up.clone()));
        assert_eq!(step(&up, &Known { serves: Some(false), ..Known::default() }), Step::LookForNewer);
        assert_eq!(step(&up, &Known { serves: Some(false), ..known() }), Step::Wait);
        let newer = Some(Some((deployment("b", State::Up), true)));
        assert_eq!(step(&up, &Known { serves: Some(false), newer, ..known() }), Step::Live(deployment("b", State::Up)));
    }

    #[test]
    fn one_that_is_kept_aside_is_published_once_and_only_where_that_is_allowed() {
        let aside = deployment("a", State::Aside);
        assert_eq!(step(&aside, &Known { lasts: Duration::from_secs(3), ..known() }), Step::Wait);
        assert_eq!(step(&aside, &known()), Step::AskWhetherItIsPublished);
        assert_eq!(step(&aside, &Known { by_itself: Some(true), ..known() }), Step::Wait);
        let stays = Known { by_itself: Some(false), ..known() };
        assert!(matches!(step(&aside, &stays), Step::Fail(FaultCode::NotLive, _)));
        assert_eq!(step(&aside, &Known { may_publish: true, ..known() }), Step::Publish);
        assert_eq!(step(&aside, &Known { may_publish: true, published: true, ..known() }), Step::Wait);
    }

    #[test]
    fn one_that_was_replaced_is_no_failure_where_a_newer_one_is_well() {
        for state in [State::Gone, State::Failed] {
            let gone = deployment("a", state);
            assert_eq!(step(&gone, &Known::default()), Step::LookForNewer);
            assert!(matches!(step(&gone, &known()), Step::Fail(FaultCode::DeployFailed, _)));
            let newer = |serves| Known { newer: Some(Some((deployment("b", State::Up), serves))), ..known() };
            assert_eq!(step(&gone, &newer(true)), Step::Live(deployment("b", State::Up)));
            assert_eq!(step(&gone, &newer(false)), Step::Follow(deployment("b", State::Up)));
        }
    }

    #[test]
    fn a_list_has_time_to_show_what_has_replaced_another() {
        let known = |lasts| Known { newer: Some(None), lasts: Duration::from_secs(lasts), ..Known::default() };
        assert_eq!(step(&deployment("a", State::Gone), &known(30)), Step::Wait);
        assert!(matches!(step(&deployment("a", State::Gone), &known(50)), Step::Fail(FaultCode::DeployFailed, _)));
        assert!(matches!(step(&deployment("a", State::Failed), &known(0)), Step::Fail(FaultCode::DeployFailed, _)));
    }

    #[test]
    fn one_that_waits_for_a_person_is_given_up_and_an_unknown_state_is_waited_for() {
        assert!(matches!(step(&deployment("a", State::Blocked), &known()), Step::GiveUp(..)));
        assert_eq!(step(&deployment("a", State::Going), &known()), Step::Wait);
    }
}
