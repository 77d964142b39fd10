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
