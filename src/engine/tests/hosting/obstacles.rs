//! What is found beforehand and refused, with nothing touched.

use super::*;

#[track_caller]
fn refused(lab: &Lab, code: FaultCode, words: &str) {
    let outcome = lab.rotate();
    let Outcome::Refused { cause } = &outcome else { panic!("{outcome:?}") };
    assert_eq!(cause.code, code, "{cause:?}");
    assert!(cause.message.contains(words), "{words:?} is not in {cause:?}");
    for fake in &lab.fakes {
        assert!(
            fake.asked()
                .iter()
                .all(|it| !["write", "trigger", "create", "publish", "cancel"].contains(&it.step.as_str()))
        );
    }
    lab.assert_nothing_told();
}

fn set(kind: At, switch: &str, value: &str) -> Lab {
    let lab = at(kind);
    lab.fake().with(|world| world.set.insert(switch.to_owned(), value.to_owned()));
    lab
}

#[test]
fn a_token_that_does_not_reach_is_refused() {
    for kind in At::ALL {
        let lab = at(kind);
        std::fs::write(lab.dir.path().join("token"), "another-token").unwrap();
        refused(&lab, FaultCode::CredentialRefused, "");
        let lab = at(kind);
        std::fs::remove_file(lab.dir.path().join("token")).unwrap();
        refused(&lab, FaultCode::CredentialRefused, "the token is not there");
        let lab = at(kind);
        std::fs::set_permissions(lab.dir.path().join("token"), std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .unwrap();
        refused(&lab, FaultCode::CredentialRefused, "others than its owner");
    }
    let lab = Lab::new(&[At::Vercel], |hosting| {
        let HostingPlatform::Vercel(vercel) = &mut hosting.platform else { return };
        vercel.team = None;
    });
    refused(&lab, FaultCode::PlatformRefused, "team_unauthorized");
}

#[test]
fn a_variable_that_is_missing_is_made_only_where_that_is_allowed() {
    for kind in At::ALL {
        let lab = at(kind);
        lab.fake().with(|world| world.variables.remove("JWT_SECRET"));
        refused(&lab, FaultCode::NotConfigured, "has no variable JWT_SECRET");
        let lab = Lab::new(&[kind], |hosting| hosting.create = true);
        lab.fake().with(|world| world.variables.remove("JWT_SECRET"));
        lab.assert_committed(&lab.rotate());
    }
    let lab = Lab::new(&[At::Vercel], |hosting| hosting.create = true);
    lab.fake().with(|world| {
        world.variables.remove("JWT_SECRET");
        world.set.insert("create-fails".to_owned(), String::new());
    });
    let outcome = lab.rotate();
    assert!(matches!(&outcome, Outcome::RolledBack { cause } if cause.message.contains("ENV_CONFLICT")), "{outcome:?}");
}

#[test]
fn a_platform_on_which_it_could_not_come_into_force_is_refused() {
    for kind in At::ALL {
        refused(&set(kind, "serves-nothing", ""), FaultCode::PlatformRefused, "serves nothing");
    }
    for (kind, state) in [(At::Vercel, "READY ALIAS_ERROR"), (At::Netlify, "error")] {
        let lab = at(kind);
        lab.fake().with(|world| world.deployments[0].states = vec![state.to_owned()]);
        refused(&lab, FaultCode::PlatformRefused, "serves, is");
    }
    refused(&set(At::Vercel, "no-auto-assign", ""), FaultCode::PlatformRefused, "does not assign its domains");
    refused(&set(At::Vercel, "rolled-back", ""), FaultCode::PlatformRefused, "is rolled back");
    refused(&set(At::Vercel, "wants-approval", ""), FaultCode::PlatformRefused, "its rolling release says so");
    refused(&set(At::Netlify, "stop-builds", ""), FaultCode::PlatformRefused, "are stopped");
    refused(&set(At::Netlify, "locked", ""), FaultCode::PlatformRefused, "is locked");
    refused(&set(At::Render, "suspended", ""), FaultCode::PlatformRefused, "is suspended");
    refused(&set(At::Render, "type", "static_site"), FaultCode::NotConfigured, "is a static site");
    let lab = at(At::Railway);
    lab.fake().with(|world| world.deployments[0].states = vec!["SUCCESS stopped".to_owned()]);
    refused(&lab, FaultCode::PlatformRefused, "serves, is SUCCESS: it is stopped");
    let lab = snapshots();
    lab.fake().with(|world| world.set.insert("snapshot-of".to_owned(), "none".to_owned()));
    refused(&lab, FaultCode::PlatformRefused, "keeps no snapshot");
}

#[test]
fn a_variable_that_is_more_than_ours_is_not_written() {
    refused(&set(At::Vercel, "target", "two"), FaultCode::NotConfigured, "is for preview as well");
    refused(&set(At::Vercel, "twice", ""), FaultCode::NotConfigured, "several records");
    refused(&set(At::Netlify, "shared", "JWT_SECRET"), FaultCode::PlatformRefused, "of the whole team");
    let named = "would keep the old value, in COPY (${{my-app.JWT_SECRET}})";
    refused(&set(At::Railway, "referred-to", "my-app"), FaultCode::NotConfigured, named);
    let lab = set(At::Railway, "referred-to", "shared");
    lab.assert_committed(&lab.rotate());
    refused(&set(At::Render, "in-group", ""), FaultCode::NotConfigured, "has no variable");
    let lab = set(At::Vercel, "target", "text");
    lab.assert_committed(&lab.rotate());
    let lab = Lab::new(&[At::Render], |hosting| {
        let HostingPlatform::Render(render) = &mut hosting.platform else { return };
        render.group = Some("evg-1".to_owned());
    });
    lab.fake().with(|world| world.set.insert("in-group".to_owned(), String::new()));
    lab.assert_committed(&lab.rotate());
    lab.fake().with(|world| world.set.insert("in-both".to_owned(), String::new()));
    let Outcome::Refused { cause } = lab.rotate() else { panic!() };
    assert!(cause.message.contains("hides the one of the group evg-1"), "{cause:?}");
    lab.fake().with(|world| world.set.remove("in-both"));
    lab.fake().with(|world| world.set.insert("linked-twice".to_owned(), String::new()));
    let Outcome::Refused { cause } = lab.rotate() else { panic!() };
    assert!(cause.message.contains("1 other services"), "{cause:?}");
}

#[test]
fn a_value_that_somebody_else_has_changed_is_seen_where_it_is_shown() {
    for kind in [At::Netlify, At::Render, At::Railway] {
        let lab = at(kind);
        lab.fake().with(|world| {
            let variable = world.variables.get_mut("JWT_SECRET").unwrap();
            (variable.value, variable.secret) = ("by-hand".to_owned(), false);
        });
        refused(&lab, FaultCode::WrongValue, "was changed by hand");
    }
    let lab = at(At::Railway);
    lab.fake().with(|world| {
        let variable = world.variables.get_mut("JWT_SECRET").unwrap();
        (variable.value, variable.secret) = ("${{shared.JWT_SECRET}}".to_owned(), false);
    });
    refused(&lab, FaultCode::NotConfigured, "refers to another variable");
    // A mask is no value, and a sealed one none either.
    for kind in [At::Netlify, At::Railway] {
        let lab = at(kind);
        lab.fake().with(|world| world.variables.get_mut("JWT_SECRET").unwrap().value = "by-hand".to_owned());
        assert_eq!(lab.rotate(), Outcome::Committed);
    }
}

#[test]
fn a_deployment_under_way_is_waited_for_and_one_that_waits_for_a_person_refused() {
    let lab = at(At::Railway);
    lab.fake().with(|world| {
        world.next.push_back(vec!["NEEDS_APPROVAL".to_owned()]);
        world.deploy(None, true)
    });
    refused(&lab, FaultCode::PlatformRefused, "is under way: NEEDS_APPROVAL");
}

/// A service of Render with a later deployment of another commit, which ended so.
fn with_a_later_build(state: &str) -> Lab {
    let lab = at(At::Render);
    lab.fake().with(|world| {
        world.head = "feed".repeat(10);
        world.deploy(None, false);
        world.deployments.last_mut().unwrap().states = vec![state.to_owned()];
    });
    lab
}

#[test]
fn where_render_would_deploy_a_later_build_the_commit_that_is_live_is_built() {
    for state in ["pre_deploy_failed", "update_failed", "build_failed", "rolled-back"] {
        let lab = match state {
            "rolled-back" => set(At::Render, state, ""),
            state => with_a_later_build(state),
        };
        lab.assert_committed(&lab.rotate());
        let (first, last) = lab
            .fake()
            .with(|world| (world.deployments[0].commit.clone(), world.deployments.last().unwrap().commit.clone()));
        assert_eq!(first, last, "{state}");
        let is_named = lab.fake().lines().iter().any(|line| line.ends_with(&format!("{{\"commitId\":\"{first}\"}}")));
        assert_eq!(is_named, state != "build_failed", "{state}");
        let lab = with_a_later_build("update_failed");
        lab.fake().with(|world| world.set.insert("type".to_owned(), "cron_job".to_owned()));
        lab.assert_rolled_back(&lab.rotate(), FaultCode::PlatformRefused);
    }
}

#[test]
fn one_of_vercel_that_was_deleted_is_not_waited_for() {
    let lab = at(At::Vercel);
    lab.fake().with(|world| {
        world.deploy(None, false);
        world.deployments.last_mut().unwrap().states = vec!["DELETED".to_owned()];
    });
    lab.assert_committed(&lab.rotate());
}

#[test]
fn an_old_variable_of_vercel_may_be_given_a_visibility() {
    for more in ["", "wants-all"] {
        let lab = set(At::Vercel, "without-visibility", "");
        lab.fake().with(|world| world.set.insert(more.to_owned(), String::new()));
        lab.assert_committed(&lab.rotate());
        lab.assert_committed(&lab.rotate());
    }
}
