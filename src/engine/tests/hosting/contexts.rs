//! Other contexts and environments than production.

use super::*;

/// The branch `staging` of a site of Netlify.
fn branch(change: impl Fn(&mut NetlifySite)) -> Lab {
    let lab = Lab::new(&[At::Netlify], |hosting| {
        let HostingPlatform::Netlify(netlify) = &mut hosting.platform else { return };
        netlify.contexts = vec![Context::Branch("staging".to_owned())];
        change(netlify);
    });
    lab.fake().with(|world| world.set.insert("branch".to_owned(), "staging".to_owned()));
    lab
}

fn published(lab: &Lab) -> usize {
    lab.fake().asked().iter().filter(|asked| asked.step == "publish").count()
}

#[test]
fn a_branch_of_netlify_is_built_and_never_published() {
    for same_code_only in [false, true] {
        let lab = branch(|netlify| (netlify.same_code_only, netlify.publish) = (same_code_only, true));
        lab.assert_committed(&lab.rotate());
        assert_eq!((published(&lab), lab.triggers()), (0, 1));
        let mut lab = branch(|netlify| (netlify.same_code_only, netlify.publish) = (same_code_only, true));
        lab.fails_to_prove();
        lab.assert_rolled_back(&lab.rotate(), FaultCode::UnitFailed);
        assert_eq!((published(&lab), lab.triggers()), (0, 2), "it would be in production");
    }
}

/// An environment of a project of Vercel that is not production.
pub(super) fn environment(environment: &Environment) -> Lab {
    let lab = Lab::new(&[At::Vercel], |hosting| {
        let HostingPlatform::Vercel(vercel) = &mut hosting.platform else { return };
        (vercel.environment, vercel.promote) = (environment.clone(), true);
    });
    lab.fake().with(|world| {
        let (name, branch) = match environment {
            Environment::Production => ("production", None),
            Environment::Preview { branch } => ("preview", branch.clone()),
            Environment::Custom(id) => (id.as_str(), None),
        };
        world.set.insert("environment".to_owned(), name.to_owned());
        world.set.extend(branch.map(|branch| ("git-branch".to_owned(), branch)));
    });
    lab
}

#[test]
fn previews_branches_and_own_environments_of_vercel_are_deployed_anew_and_never_promoted() {
    let branch = Some("feature".to_owned());
    for which in [
        Environment::Preview { branch: None },
        Environment::Preview { branch },
        Environment::Custom("env_1".to_owned()),
    ] {
        let lab = environment(&which);
        lab.fake().fail("trigger", What::Lost);
        lab.assert_committed(&lab.rotate());
        assert_eq!((published(&lab), lab.triggers()), (0, 1), "{which:?}");
        lab.assert_committed(&lab.rotate());
        let mut lab = environment(&which);
        lab.fails_to_prove();
        lab.assert_rolled_back(&lab.rotate(), FaultCode::UnitFailed);
        assert_eq!((published(&lab), lab.triggers()), (0, 2), "{which:?}");
    }
}
