//! Any bytes: no panic, and findings that stay inside the file.

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn arbitrary_bytes_are_found_out_inside_the_file(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        stays_inside(&bytes)?;
    }

    #[test]
    fn mutated_files_are_found_out_inside_the_file(
        cut in 0.0..1.0f64,
        length in 0usize..40,
        put in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..12),
            "[\\[\\]={}\"'#.,\n\\\\a-z0-9 ü\u{200b}-]{0,16}".prop_map(String::into_bytes),
        ],
        which in 0usize..3,
    ) {
        let packed = [template("systemd").unwrap(), include_str!("../../../packaging/examples/my-backend-jwt.toml"), GOOD];
        let mut bytes = packed[which].as_bytes().to_vec();
        let from = (bytes.len() as f64 * cut) as usize;
        let to = (from + length).min(bytes.len());
        bytes.splice(from..to, put);
        stays_inside(&bytes)?;
    }
}

fn stays_inside(bytes: &[u8]) -> Result<(), TestCaseError> {
    let mut loader = Loader::default();
    loader.secret(&Source::new("a.toml".into(), bytes.to_vec()), None);
    loader.daemon(&Source::new("rekeyd.toml".into(), bytes.to_vec()));
    let loaded = loader.end();
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.split('\n').collect();
    for finding in &loaded.findings {
        if let Some(place) = &finding.place {
            prop_assert!((1..=lines.len()).contains(&place.line), "{finding:?}");
            prop_assert!((1..=lines[place.line - 1].chars().count() + 1).contains(&place.column), "{finding:?}");
            prop_assert!(place.cited.get(place.underline.clone()).is_some(), "{finding:?}");
        }
        prop_assert!(!finding.one_line().contains(char::is_control), "{finding:?}");
    }
    for color in [false, true] {
        render(&loaded.findings, color);
    }
    Ok(())
}
