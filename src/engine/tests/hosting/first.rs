//! The first rotation where no value is known: there is no way back, and that is said.

use super::*;

#[test]
fn the_first_value_is_made_where_the_platform_does_not_show_the_one_in_force() {
    for kind in At::ALL {
        let lab = at(kind);
        let outcome = lab.run(lab.live(Wish::Initial)).unwrap();
        lab.assert_committed(&outcome);
        // From then on it is known.
        let outcome = lab.rotate();
        assert_eq!(outcome, Outcome::Committed);
        let fault = lab.run(lab.live(Wish::Initial)).unwrap_err();
        assert!(fault.message.contains("is known: generation 2"), "{fault:?}");
    }
}

#[test]
fn a_first_value_that_fails_has_no_way_back_and_that_is_said() {
    let lab = at(At::Vercel);
    lab.fake().next(&["BUILDING", "ERROR"]);
    let outcome = lab.run(lab.live(Wish::Initial)).unwrap();
    let Outcome::RollbackFailed { cause, rollback } = &outcome else { panic!("{outcome:?}") };
    assert_eq!((cause.code, rollback.code), (FaultCode::DeployFailed, FaultCode::NothingToGoBackTo));
    let standing = lab.store().ledger(&lab.settings.name).unwrap().standing().clone();
    assert_eq!((standing.in_force, standing.hold), (None, Some(Hold::RollbackFailed)));
    // What was delivered is kept.
    assert_eq!(lab.value(1), lab.fake().value("JWT_SECRET"));
}

#[test]
fn what_can_only_be_deployed_anew_is_not_written_where_it_never_was_deployed() {
    let lab = at(At::Vercel);
    lab.fake().with(|world| {
        world.set.insert("serves-nothing".to_owned(), String::new());
        world.deployments.clear();
    });
    let outcome = lab.run(lab.live(Wish::Initial)).unwrap();
    let Outcome::Refused { cause } = &outcome else { panic!("{outcome:?}") };
    assert!(cause.message.contains("serves nothing that could be deployed anew"), "{cause:?}");
    assert_eq!(lab.fake().with(|world| world.writes), 0);
}

#[test]
fn what_can_be_taken_over_is_not_thrown_away() {
    let mut lab = at(At::Vercel);
    lab.beside = true;
    lock(&lab.world).process = (OLD.as_bytes().to_vec(), Vec::new());
    let fault = lab.run(lab.live(Wish::Initial)).unwrap_err();
    assert_eq!((fault.code, fault.advice.as_str()), (FaultCode::NotConfigured, "rekeyctl adopt jwt"));
}

async fn adopt(lab: &Lab) -> Result<String, Fault> {
    let store = lab.store();
    let mut ledger = store.ledger(&lab.settings.name).unwrap();
    let (targets, host) = (lab.targets(), SimHost(Arc::clone(&lab.world)));
    let (settings, kept) = (&lab.settings, Kept::default());
    let mut engine =
        Engine { settings, targets: &targets, probes: &[], store: &store, ledger: &mut ledger, kept, host: &host };
    let adopted = engine.adopt(Actor::Timer, None).await?;
    Ok(String::from_utf8(store.get(&lab.settings.name, adopted.generation).unwrap().reveal().to_vec()).unwrap())
}

#[test]
fn a_value_is_taken_over_from_where_it_is_known_and_compared_where_it_is_shown() {
    for kind in At::ALL {
        let mut lab = at(kind);
        let fault = lab.run(adopt(&lab)).unwrap_err();
        assert_eq!(fault.code, FaultCode::ValueHidden);
        assert!(fault.advice.contains("rekeyctl rotate --initial jwt"), "{fault:?}");
        lab.beside = true;
        lock(&lab.world).process = (OLD.as_bytes().to_vec(), Vec::new());
        assert_eq!(lab.run(adopt(&lab)).unwrap(), OLD);
    }
    let mut lab = at(At::Render);
    lab.beside = true;
    lock(&lab.world).process = (b"another".to_vec(), Vec::new());
    assert_eq!(lab.run(adopt(&lab)).unwrap_err().code, FaultCode::WrongValue);
}
