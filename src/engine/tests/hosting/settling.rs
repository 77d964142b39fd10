//! What serves must stay so, and must be well: what is unknown for a moment is no failure.

use super::*;

#[test]
fn one_that_is_stopped_while_it_settles_is_taken_back() {
    let lab = at(At::Railway);
    lab.fake().next(&["DEPLOYING", "SUCCESS", "SUCCESS", "SUCCESS stopped"]);
    lab.assert_rolled_back(&lab.rotate(), FaultCode::Unsettled);
    assert_eq!(lab.triggers(), 2);
}

#[test]
fn what_nobody_knows_of_what_serves_is_waited_for() {
    let lab = at(At::Railway);
    lab.fake().next(&["QUEUED", "DEPLOYING", "SUCCESS", "SUCCESS", "SOMETHING_NEW", "DEPLOYING", "SUCCESS"]);
    lab.assert_committed(&lab.rotate());
    assert_eq!(lab.triggers(), 1);
    let lab = at(At::Railway);
    lab.fake().next(&["QUEUED", "DEPLOYING", "SUCCESS", "SUCCESS", "SOMETHING_NEW"]);
    lab.assert_rolled_back(&lab.rotate(), FaultCode::Unsettled);
}

#[test]
fn the_push_of_somebody_else_that_has_the_value_may_come_up_while_it_settles() {
    for kind in [At::Vercel, At::Netlify] {
        let mut lab = at(kind);
        lab.settings.settle = Duration::from_secs(60);
        lab.fake().with(|world| world.set.insert("push-when-live".to_owned(), "1".to_owned()));
        let began = lab.fake().with(|world| world.deployments.len());
        lab.assert_committed(&lab.rotate());
        assert_eq!((lab.triggers(), lab.fake().with(|world| world.deployments.len())), (1, began + 2), "{kind:?}");
    }
}
