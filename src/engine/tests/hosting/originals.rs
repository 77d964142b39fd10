//! What is deployed anew: nothing that the rotation itself has made, and the code that was served.

use super::ends::code;
use super::*;

#[test]
fn what_vercel_deploys_anew_is_never_what_the_rotation_itself_has_made() {
    for switch in ["", "copies-commits", "without-commits"] {
        let mut lab = at(At::Vercel).overlapping(Course::PublishFirst);
        lab.fails_to_prove();
        lab.fake().with(|world| world.set.insert(switch.to_owned(), String::new()));
        lab.assert_rolled_back(&lab.rotate(), FaultCode::UnitFailed);
        let triggers: Vec<String> =
            lab.fake().asked().into_iter().filter(|it| it.step == "trigger").map(|it| it.line).collect();
        let first = lab.fake().with(|world| format!("\"deploymentId\":\"{}\"", world.deployments[0].id));
        assert!(triggers.len() > 1 && triggers.iter().all(|line| line.contains(&first)), "{switch} {triggers:#?}");
        assert!(triggers.last().unwrap().contains("-back-both\""), "{triggers:#?}");
    }
}

#[test]
fn code_that_vercel_got_in_between_is_what_the_way_back_deploys_whoever_knows_its_commit() {
    for switch in ["copies-commits", "without-commits"] {
        let mut lab = at(At::Vercel);
        lab.fails_to_prove();
        lab.fake().with(|world| {
            world.set.insert(switch.to_owned(), String::new());
            world.set.insert("push-at".to_owned(), "write".to_owned());
        });
        lab.assert_rolled_back(&lab.rotate(), FaultCode::UnitFailed);
        let (served, pushed) = code(&lab);
        assert_eq!(served, pushed, "{switch}");
        let triggers: Vec<String> =
            lab.fake().asked().into_iter().filter(|it| it.step == "trigger").map(|it| it.line).collect();
        let theirs = lab.fake().with(|world| format!("\"deploymentId\":\"{}\"", world.deployments[1].id));
        assert!(triggers.len() == 2 && triggers.iter().all(|line| line.contains(&theirs)), "{switch} {triggers:#?}");
    }
}

#[test]
fn a_service_of_render_that_runs_an_image_keeps_it_whatever_its_tag_stands_for_by_now() {
    for (redeploy, fails) in [(RenderDeploy::Only, false), (RenderDeploy::Build, false), (RenderDeploy::Only, true)] {
        let mut lab = Lab::new(&[At::Render], |hosting| {
            let HostingPlatform::Render(render) = &mut hosting.platform else { return };
            render.redeploy = redeploy;
        });
        let was = lab.fake().with(|world| {
            world.set.insert("image".to_owned(), String::new());
            std::mem::replace(&mut world.head, "feed".repeat(10))
        });
        if fails {
            lab.fails_to_prove();
            lab.assert_rolled_back(&lab.rotate(), FaultCode::UnitFailed);
        } else {
            lab.assert_committed(&lab.rotate());
        }
        assert_eq!(code(&lab).0, was, "{redeploy:?}");
        let triggers = lab.fake().asked().into_iter().filter(|it| it.step == "trigger").map(|it| it.line);
        let wanted = format!(" {{\"imageUrl\":\"registry.test/team/my-app@sha256:{was:0<64}\"}}");
        assert!(triggers.collect::<Vec<_>>().iter().all(|line| line.ends_with(&wanted)), "{:#?}", lab.fake().lines());
    }
}

#[test]
fn a_service_of_railway_that_runs_an_image_is_deployed_again_with_the_tag_that_it_has() {
    for is_committed in [true, false] {
        for mut lab in [at(At::Railway), snapshots()] {
            lab.fake().with(|world| world.set.insert("image".to_owned(), String::new()));
            if is_committed {
                lab.assert_committed(&lab.rotate());
            } else {
                lab.fails_to_prove();
                lab.assert_rolled_back(&lab.rotate(), FaultCode::UnitFailed);
                assert_eq!(lab.triggers(), 2);
            }
        }
    }
}

#[test]
fn where_the_new_one_has_crashed_its_code_or_that_of_the_former_one_is_deployed_again() {
    for (was_kept, is_uploaded) in [(true, false), (true, true), (false, false)] {
        let lab = if is_uploaded { at(At::Railway) } else { snapshots() };
        lab.fake().next(&["DEPLOYING", "SUCCESS", "SUCCESS", "SUCCESS", "CRASHED"]);
        lab.fake().with(|world| {
            let first = world.deployments[0].id.clone();
            world.set.extend((!was_kept).then(|| ("snapshot-of".to_owned(), first)));
            world.set.extend(is_uploaded.then(|| ("no-commit".to_owned(), String::new())));
        });
        lab.assert_rolled_back(&lab.rotate(), FaultCode::Unsettled);
        let last = lab.fake().asked().into_iter().rfind(|it| it.step == "trigger").unwrap().line;
        let of = lab.fake().with(|world| world.deployments[usize::from(was_kept)].id.clone());
        assert!(last.contains("deploymentRedeploy") && last.contains(&of), "{last}");
    }
}
