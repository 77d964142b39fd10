//! A variable that somebody removes in mid-rotation: it is not made again, and nothing is told to be committed.

use super::*;

/// A rotation before whose request of this number somebody removes the variable.
fn removed_at(lab: &Lab, number: usize) -> Outcome {
    lab.fake().with(|world| world.set.insert("removes-at".to_owned(), number.to_string()));
    lab.rotate()
}

#[track_caller]
fn assert_told(outcome: &Outcome, what: &str) {
    let (Outcome::Refused { cause } | Outcome::RolledBack { cause } | Outcome::RollbackFailed { cause, .. }) = outcome
    else {
        panic!("{what}: {outcome:?}")
    };
    let says =
        ["is gone, which somebody has removed", "has no variable JWT_SECRET", "says that JWT_SECRET was written"];
    assert!(says.iter().any(|words| cause.message.contains(words)), "{what}: {cause:?}");
    assert!(!cause.advice.is_empty(), "{what}: {cause:?}");
    if let Outcome::RollbackFailed { rollback, .. } = outcome {
        assert!(rollback.message.contains("JWT_SECRET is gone"), "{what}: {rollback:?}");
        assert!(rollback.advice.contains("rekeyctl release jwt"), "{what}: {rollback:?}");
    }
}

#[test]
fn whenever_it_is_removed_it_is_not_made_again() {
    for (kind, create) in At::ALL.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        let new = || Lab::new(&[kind], |hosting| hosting.create = create);
        let whole = new();
        whole.rotate();
        let steps: Vec<String> = whole.fake().asked().into_iter().map(|asked| asked.step).collect();
        let write = steps.iter().position(|step| step == "write").unwrap() + 1;
        // Where nobody has seen it yet, it may be made; and nobody can know what is removed between a look and the write.
        let seen = steps.iter().position(|step| step == "variables").unwrap() + 2;
        let blind = if kind == At::Netlify { 0 } else { 3 };
        let is_blind = |number: usize| (write - blind..=write).contains(&number);
        // The last one is about when it was written, where its value is not shown.
        let end = match (create, kind) {
            (true, _) => write + 1,
            (false, At::Render) => steps.len(),
            (false, _) => steps.len() - 1,
        };
        for number in (seen..=end).filter(|number| !is_blind(*number)) {
            let lab = new();
            let outcome = removed_at(&lab, number);
            let what = format!("{kind:?}, create: {create}, request {number} ({}) of {steps:?}", steps[number - 1]);
            assert_told(&outcome, &what);
            assert!(lab.fake().with(|world| !world.variables.contains_key("JWT_SECRET")), "{what}");
            let writes = lab.fake().with(|world| world.writes);
            assert_eq!(matches!(outcome, Outcome::RollbackFailed { .. }), writes > 0, "{what}: {outcome:?}");
            lab.assert_nothing_told();
        }
    }
}

#[test]
fn on_the_way_back_it_is_not_made_again_and_held_also_after_a_restart() {
    for kind in At::ALL {
        let lab = at(kind);
        lab.fake().next(&[kind.well()[0], broken(kind)]);
        assert!(kills::live_until(&lab, lab.requests_until("trigger") + 1));
        lab.fake().with(|world| world.variables.remove("JWT_SECRET"));
        let outcome = lab.run(lab.live(Wish::GiveUp)).unwrap();
        let Outcome::RollbackFailed { rollback, .. } = &outcome else { panic!("{kind:?}: {outcome:?}") };
        assert_eq!(rollback.code, FaultCode::ChangedByHand, "{kind:?}: {rollback}");
        assert!(lab.fake().with(|world| !world.variables.contains_key("JWT_SECRET")), "{kind:?}");
    }
}

#[test]
fn that_it_is_gone_for_a_moment_is_not_believed() {
    for (kind, step) in [(At::Netlify, "variables"), (At::Render, "variables")] {
        let usual = at(kind);
        usual.rotate();
        let asked = usual.fake().asked();
        let write = asked.iter().position(|asked| asked.step == "write").unwrap();
        let looks = asked.iter().take(write).filter(|asked| asked.step == step).count();
        let lab = at(kind);
        let gone = Answer::json(404, &serde_json::json!({"message": "not found"}));
        // The one after the write makes sure of it.
        let first = looks + usize::from(kind == At::Render);
        lab.fake().fail_at(step, u32::try_from(first).unwrap(), 1, What::Answer(gone));
        lab.assert_committed(&lab.rotate());
    }
}
