//! Lists that come in pages: what is looked for may be on a later one.

use super::*;

#[test]
fn what_a_trigger_made_is_found_on_a_later_page() {
    for kind in At::ALL {
        let lab = at(kind);
        // So many that somebody else made since come before it.
        lab.fake().with(|world| world.set.insert("busy".to_owned(), "110".to_owned()));
        lab.fake().fail("trigger", What::Lost);
        lab.assert_committed(&lab.rotate());
        assert_eq!(lab.triggers(), 1, "{kind:?}");
        assert!(pages(&lab, "list") > 1, "{kind:?}: {:#?}", lab.fake().lines());
    }
}

#[test]
fn a_page_in_another_order_is_not_the_end_of_a_list() {
    let lab = at(At::Netlify);
    lab.fake().with(|world| {
        world.push();
        world.set.insert("busy".to_owned(), "110".to_owned());
        world.set.insert("oldest-first".to_owned(), String::new());
    });
    lab.fake().fail("trigger", What::Lost);
    lab.assert_committed(&lab.rotate());
    assert_eq!(lab.triggers(), 1);
}

#[test]
fn a_person_is_shown_where_to_look_whatever_the_platform_says_of_that() {
    for (kind, page) in [
        (At::Vercel, "https://my-app-1.vercel.app"),
        (At::Netlify, "https://app.netlify.com/projects/site-1/deploys/"),
        (At::Render, "https://dashboard.render.com/web/srv-1/deploys/"),
        (At::Railway, "https://railway.com/project/prj-1/service/svc-1?environmentId=env-1&id="),
    ] {
        let lab = at(kind);
        lab.fake().next(&[kind.well()[1]]);
        lab.fake().with(|world| world.set.insert("cannot-cancel".to_owned(), String::new()));
        lab.fake().with(|world| world.set.insert("no-pages".to_owned(), String::new()));
        let fault = lab.assert_unsure(&lab.rotate());
        assert!(fault.advice.contains(page), "{fault:?}");
    }
}

/// The most pages of a list that were asked for one after the other.
fn pages(lab: &Lab, step: &str) -> usize {
    let asked = lab.fake().asked();
    asked.split(|it| it.step != step).map(<[_]>::len).max().unwrap_or(0)
}

#[test]
fn a_reference_of_railway_is_found_on_a_later_page() {
    let lab = at(At::Railway);
    lab.fake().with(|world| {
        world.set.insert("referred-to".to_owned(), "my-app".to_owned());
        world.set.insert("most-per-page".to_owned(), "1".to_owned());
    });
    let Outcome::Refused { cause } = lab.rotate() else { panic!() };
    assert!(cause.message.contains("refer to the variable"), "{cause:?}");
    assert_eq!(pages(&lab, "records"), 3);
}

#[test]
fn a_preview_of_a_branch_is_found_on_a_later_page() {
    let lab = contexts::environment(&Environment::Preview { branch: Some("feature".to_owned()) });
    lab.fake().with(|world| {
        for _ in 0..45 {
            world.deploy(None, false);
            let made = world.deployments.last_mut().unwrap();
            (made.looks, made.commit) = (9, platforms::OF_ANOTHER_BRANCH.to_owned());
        }
    });
    lab.assert_committed(&lab.rotate());
    // Before it is written, after that, and before it is deployed, for what others make.
    assert_eq!(pages(&lab, "list"), 9);
}

#[test]
fn more_variables_than_vercel_lists_at_once_are_refused() {
    let lab = at(At::Vercel);
    lab.fake().with(|world| world.set.insert("more-variables".to_owned(), String::new()));
    let Outcome::Refused { cause } = lab.rotate() else { panic!() };
    assert!(cause.message.contains("more variables than Vercel lists at once"), "{cause:?}");
}
