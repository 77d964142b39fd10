//! What serves must have been made with the value in force: not before it, and nothing that was may come up later.

use super::*;

impl Lab {
    pub(super) fn verify(&self) -> Result<(), Fault> {
        self.run(async {
            let store = self.store();
            let mut ledger = store.ledger(&self.settings.name).unwrap();
            let (targets, host) = (self.targets(), SimHost(Arc::clone(&self.world)));
            let (settings, kept) = (&self.settings, Kept::default());
            let engine = Engine {
                settings,
                targets: &targets,
                probes: &[],
                store: &store,
                ledger: &mut ledger,
                kept,
                host: &host,
            };
            engine.verify().await.map(drop)
        })
    }
}

#[test]
fn a_push_after_the_write_is_waited_for_and_its_code_deployed() {
    for kind in At::ALL {
        let lab = at(kind);
        lab.fake().with(|world| {
            world.set.insert("pushes-after-write".to_owned(), String::new());
            world.set.insert("goes-on".to_owned(), String::new());
        });
        lab.assert_committed(&lab.rotate());
        lab.fake().with(|world| {
            let serving = world.serving.clone();
            assert_eq!(world.find(&serving).unwrap().commit, world.head, "{kind:?}");
        });
    }
}

#[test]
fn what_was_made_before_the_value_in_force_is_no_proof_of_it() {
    for kind in At::ALL {
        let lab = at(kind);
        lab.assert_committed(&lab.rotate());
        lab.verify().unwrap();
        let first = lab.fake().with(|world| {
            let first = world.deployments[0].id.clone();
            std::mem::replace(&mut world.serving, first)
        });
        let fault = lab.verify().unwrap_err();
        assert_eq!(fault.code, FaultCode::NotLive, "{kind:?}: {fault}");
        assert!(fault.message.contains("was made before the value in force was written"), "{fault}");
        let Outcome::Refused { cause } = lab.rotate() else { panic!("{kind:?}") };
        assert_eq!(cause.code, FaultCode::NotLive);
        lab.fake().with(|world| world.serving = first);
        lab.verify().unwrap();
    }
}

#[test]
fn what_somebody_deploys_just_before_the_write_is_let_come_up_first() {
    for kind in [At::Vercel, At::Netlify, At::Railway] {
        let lab = at(kind);
        lab.fake().with(|world| {
            world.set.insert("deploys-at".to_owned(), "write".to_owned());
            world.set.insert("goes-on".to_owned(), String::new());
        });
        let before = lab.fake().with(|world| world.deployments.len());
        lab.assert_committed(&lab.rotate());
        let (made, is_over) = lab.fake().with(|world| {
            let push = &world.deployments[before];
            (world.deployments.len() - before, push.looks + 1 >= push.states.len())
        });
        assert_eq!((made, lab.triggers()), (2, 1), "{kind:?}");
        assert!(is_over, "{kind:?}: the push would come up after the end");
    }
}

#[test]
fn what_somebody_writes_meanwhile_is_not_written_over_on_the_way_back() {
    let readable = [(At::Render, "update_failed"), (At::Railway, "FAILED"), (At::Netlify, "error")];
    let hidden = [(At::Vercel, "ERROR"), (At::Railway, "FAILED"), (At::Netlify, "error")];
    let all = readable.map(|it| (it, false)).into_iter().chain(hidden.map(|it| (it, true)));
    for ((kind, failed), is_hidden) in all {
        let lab = at(kind);
        lab.fake().next(&[kind.well()[0], failed]);
        lab.fake().with(|world| world.variables.get_mut("JWT_SECRET").unwrap().secret = is_hidden);
        lab.fake().with(|world| world.set.insert("one-context".to_owned(), String::new()));
        lab.fake().with(|world| world.set.insert("writes-at".to_owned(), "trigger".to_owned()));
        let Outcome::RollbackFailed { rollback, .. } = lab.rotate() else { panic!("{kind:?}") };
        assert_eq!(rollback.code, FaultCode::ChangedByHand, "{kind:?}: {rollback}");
        assert_eq!(lab.fake().value("JWT_SECRET"), "by-hand");
    }
}

#[test]
fn what_somebody_writes_between_the_write_and_the_deployment_is_noticed_also_where_no_value_is_shown() {
    let before_the_trigger = [At::Vercel, At::Railway, At::Netlify].map(|kind| (kind, "writes-at"));
    let after_the_write = [At::Vercel, At::Netlify].map(|kind| (kind, "writes-after-write"));
    for (kind, when) in before_the_trigger.into_iter().chain(after_the_write) {
        let lab = at(kind);
        lab.fake().with(|world| world.set.insert("one-context".to_owned(), String::new()));
        lab.fake().with(|world| world.set.insert(when.to_owned(), "trigger".to_owned()));
        let Outcome::RollbackFailed { cause, rollback } = lab.rotate() else { panic!("{kind:?}") };
        assert_eq!((cause.code, rollback.code), (FaultCode::WrongValue, FaultCode::ChangedByHand), "{kind:?}: {cause}");
        assert_eq!(lab.fake().value("JWT_SECRET"), "by-hand");
    }
}

#[test]
fn what_somebody_writes_for_another_context_of_a_secret_is_told_of_and_stops_nothing() {
    for writes in [false, true] {
        let lab = at(At::Netlify);
        if writes {
            lab.fake().with(|world| world.set.insert("writes-other-context-at".to_owned(), "trigger".to_owned()));
        }
        lab.assert_committed(&lab.rotate());
        let is_told =
            lab.told.lock().unwrap().iter().any(|line| line.contains("somebody has written JWT_SECRET since"));
        assert_eq!(is_told, writes);
    }
}

#[test]
fn what_waits_for_a_person_and_was_made_after_the_write_is_not_waited_for() {
    for kind in [At::Vercel, At::Netlify, At::Railway] {
        let lab = at(kind);
        lab.fake().with(|world| world.set.insert("waits-after-write".to_owned(), String::new()));
        lab.assert_committed(&lab.rotate());
        assert_eq!(lab.triggers(), 1, "{kind:?}");
    }
}

#[test]
fn a_push_that_the_deployment_replaces_is_told_of() {
    for kind in [At::Vercel, At::Railway] {
        let lab = at(kind);
        lab.fake().with(|world| world.set.insert("push-at".to_owned(), "trigger".to_owned()));
        lab.assert_committed(&lab.rotate());
        let records = lab.store().history(&lab.settings.name).unwrap();
        let is_told = |record: &Record| format!("{:?}", record.what).contains("Replaced {");
        assert!(records.iter().any(is_told), "{kind:?}");
    }
}

#[test]
fn that_there_is_no_deployment_any_more_is_no_answer() {
    for kind in [At::Render, At::Netlify] {
        let lists = |lab: &Lab| lab.fake().asked().iter().filter(|asked| asked.step == "list").count();
        let usual = at(kind);
        usual.rotate();
        for skip in 0..lists(&usual) {
            let lab = at(kind);
            let empty = What::Answer(Answer::json(200, &serde_json::json!([])));
            lab.fake().fail_at("list", u32::try_from(skip).unwrap(), 1, empty);
            let outcome = lab.rotate();
            let is_served = lab.fake().served("JWT_SECRET") == lab.fake().value("JWT_SECRET");
            assert!(is_served, "{kind:?}, list {skip}: {outcome:?}");
        }
    }
}

#[test]
fn a_write_with_an_error_beside_its_data_may_have_been_done() {
    let lab = at(At::Railway);
    let both = serde_json::json!({"data": {"variableUpsert": true}, "errors": [{"message": "Not Authorized"}]});
    lab.fake().fail("write", What::Answer(Answer::json(200, &both)));
    lab.assert_unsure(&lab.rotate());
}

#[test]
fn who_looks_after_a_way_back_finds_nothing_wrong() {
    for (kind, failed) in
        [(At::Vercel, "ERROR"), (At::Netlify, "error"), (At::Render, "build_failed"), (At::Railway, "FAILED")]
    {
        let lab = at(kind);
        lab.assert_committed(&lab.rotate());
        lab.fake().next(&[kind.well()[0], failed]);
        assert!(matches!(lab.rotate(), Outcome::RolledBack { .. }), "{kind:?}");
        lab.verify().unwrap();
    }
}

#[test]
fn what_was_taken_back_and_is_published_again_is_no_proof() {
    for kind in At::ALL {
        let other = if kind == At::Vercel { At::Render } else { At::Vercel };
        let lab = Lab::new(&[kind, other], |_| {});
        lab.fakes[1].next(&[other.well()[0], broken(other)]);
        lab.assert_rolled_back(&lab.rotate(), FaultCode::DeployFailed);
        lab.verify().unwrap();
        let again = |which: usize| lab.fake().with(|world| world.serving = world.deployments[which].id.clone());
        again(1);
        assert_eq!(lab.fake().served("JWT_SECRET"), lab.value(2), "{kind:?}");
        let fault = lab.verify().unwrap_err();
        assert_eq!(fault.code, FaultCode::NotLive, "{kind:?}: {fault}");
        let Outcome::Refused { cause } = lab.rotate() else { panic!("{kind:?}") };
        assert_eq!(cause.code, FaultCode::NotLive);
        // What served before the rotation has the value, too.
        for which in [0, 2] {
            again(which);
            lab.verify().unwrap();
        }
        lab.assert_committed(&lab.rotate());
    }
}

#[test]
fn a_way_back_that_left_a_platform_alone_leaves_what_is_known_of_it() {
    for kind in At::ALL {
        let beside = if kind == At::Vercel { At::Netlify } else { At::Vercel };
        let lab = Lab::new(&[beside, kind], |_| {});
        lab.assert_committed(&lab.rotate());
        lab.fake().fail("write", What::Answer(Answer::json(422, &serde_json::json!({"message": "no"}))));
        assert!(matches!(lab.rotate(), Outcome::RolledBack { .. }), "{kind:?}");
        lab.verify().unwrap();
        lab.fakes[1].with(|world| world.serving = world.deployments[0].id.clone());
        assert_eq!(lab.verify().unwrap_err().code, FaultCode::NotLive, "{kind:?}");
    }
}

#[test]
fn where_no_write_was_sent_nothing_is_to_be_undone() {
    for kind in [At::Vercel, At::Netlify, At::Railway] {
        let whole = at(kind);
        whole.rotate();
        let steps: Vec<String> =
            whole.fake().asked().into_iter().map(|asked| asked.step).take_while(|step| step != "write").collect();
        let (last, before) = steps.split_last().unwrap();
        let skip = before.iter().filter(|step| *step == last).count();
        let lab = at(kind);
        lab.fake().fail_at(last, u32::try_from(skip).unwrap(), u32::MAX, What::Unheard);
        let outcome = lab.rotate();
        assert!(matches!(outcome, Outcome::RolledBack { .. }), "{kind:?}, from {last} on: {outcome:?}");
        assert_eq!(lab.fake().with(|world| world.writes), 0);
    }
}
