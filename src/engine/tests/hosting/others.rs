//! What others deploy: it is let end first, wherever in the list it stands, and a list that shows none is not believed.

use super::*;

/// What a platform says where it lists no deployment.
fn none(kind: At) -> What {
    What::Answer(Answer::json(
        200,
        &match kind {
            At::Vercel => {
                serde_json::json!({"deployments": [], "pagination": {"count": 0, "next": null, "prev": null}})
            }
            At::Netlify | At::Render => serde_json::json!([]),
            At::Railway => serde_json::json!({"data": {"deployments": {"edges": [], "pageInfo": {
                "hasNextPage": false, "endCursor": null,
            }}}}),
        },
    ))
}

/// Somebody's deployment that is on its way for so long, under a newer one that is served already.
fn with_an_older_one(kind: At, looks: usize) -> Lab {
    let lab = at(kind);
    lab.fake().with(|world| {
        world.deploy(None, false);
        let [going, .., well] = kind.well() else { panic!() };
        let states = std::iter::repeat_n(going, looks).chain([well]).map(|state| (*state).to_owned());
        world.deployments[1].states = states.collect();
        world.push();
    });
    lab
}

#[track_caller]
fn assert_is_over(lab: &Lab, which: usize) {
    let is_over = lab.fake().with(|world| world.deployments[which].looks + 1 >= world.deployments[which].states.len());
    assert!(is_over, "{:?}: it would come up after the end", lab.fake().kind);
}

#[test]
fn an_older_deployment_under_a_newer_one_is_let_end_first() {
    for kind in At::ALL {
        let lab = with_an_older_one(kind, 8);
        lab.fake().with(|world| world.set.insert("older-goes-on".to_owned(), String::new()));
        lab.assert_committed(&lab.rotate());
        assert_is_over(&lab, 1);
        let asked = lab.fake().asked();
        let lists = asked.iter().take_while(|asked| asked.step != "write").filter(|asked| asked.step == "list").count();
        assert!(lists >= 8, "{kind:?}: {lists} looks before the write");
        let lab = with_an_older_one(kind, 9999);
        let Outcome::Refused { cause } = lab.rotate() else { panic!("{kind:?}") };
        let older = lab.fake().with(|world| world.deployments[1].id.clone());
        assert_eq!(cause.code, FaultCode::PlatformRefused, "{kind:?}: {cause}");
        assert!(cause.message.contains(&older) && cause.message.contains("is under way"), "{kind:?}: {cause}");
        assert_eq!(lab.fake().with(|world| world.writes), 0);
    }
}

#[test]
fn what_was_given_up_long_ago_and_never_ended_holds_nothing_up() {
    for kind in At::ALL {
        let lab = with_an_older_one(kind, 9999);
        lab.fake().with(|world| (0..2).for_each(|which| world.deployments[which].created -= 25 * 3_600_000));
        lab.assert_committed(&lab.rotate());
    }
}

#[test]
fn a_list_without_deployments_hides_none_that_is_under_way_beforehand() {
    for kind in At::ALL {
        let lab = at(kind);
        lab.fake().with(|world| {
            world.deploy(None, false);
            let going = kind.well()[0];
            (0..6).for_each(|_| world.deployments[1].states.insert(0, going.to_owned()));
            world.set.insert("goes-on".to_owned(), String::new());
        });
        lab.fake().fail_at("list", 0, 1, none(kind));
        let before = lab.fake().with(|world| world.deployments.len());
        lab.assert_committed(&lab.rotate());
        let made = lab.fake().with(|world| world.deployments[before].created);
        assert!(made > lab.fake().with(|world| world.deployments[1].created));
        assert_is_over(&lab, 1);
        let asked = lab.fake().asked();
        let lists = asked.iter().take_while(|asked| asked.step != "write").filter(|asked| asked.step == "list").count();
        assert!(lists >= 6, "{kind:?}: {lists} looks before the write");
    }
}

#[test]
fn a_list_without_deployments_hides_none_that_was_made_just_before_the_write() {
    for kind in At::ALL {
        let usual = at(kind);
        usual.rotate();
        let asked = usual.fake().asked();
        let lists = asked.iter().take_while(|asked| asked.step != "write").filter(|asked| asked.step == "list").count();
        let lab = at(kind);
        lab.fake().with(|world| {
            world.set.insert("deploys-at".to_owned(), "write".to_owned());
            world.set.insert("goes-on".to_owned(), String::new());
        });
        let before = lab.fake().with(|world| world.deployments.len());
        lab.fake().fail_at("list", u32::try_from(lists).unwrap(), 3, none(kind));
        lab.assert_committed(&lab.rotate());
        assert_is_over(&lab, before);
        assert_eq!(lab.triggers(), 1, "{kind:?}");
    }
}
