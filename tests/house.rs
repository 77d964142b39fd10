//! The rules of the house that no compiler checks.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

fn sources(dir: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(dir)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(path.to_str().unwrap()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The part of a file before its unit tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.split("#[cfg(test)]\nmod tests").next().unwrap().to_owned()
}

#[test]
fn the_pure_core_uses_nothing_that_acts() {
    for path in sources("src/rotation").into_iter().chain(sources("src/policy")) {
        for line in code(&path).lines().map(str::trim) {
            let used = line.strip_prefix("use ").or_else(|| line.strip_prefix("pub use "));
            let Some(used) = used else { continue };
            let allowed =
                ["std::fmt", "std::time::Duration", "serde::", "super::", "batch::", "fault::", "outcome::", "phase::"]
                    .into_iter()
                    .chain([
                        "plan::",
                        "view::",
                        "Next::",
                        "Phase::",
                        "Step::",
                        "drift::",
                        "leak::",
                        "crate::rotation::Generation;",
                    ])
                    .any(|start| used.starts_with(start));
            assert!(allowed, "{} is of the pure core and uses {used}", path.display());
        }
        let text = code(&path);
        for word in ["async ", "tokio", "std::fs", "std::process", "SystemTime", "Instant::now", "println!"] {
            assert!(!text.contains(word), "{} is of the pure core and has {word}", path.display());
        }
    }
}

#[test]
fn a_value_is_revealed_only_where_it_is_written_compared_or_sealed() {
    let allowed = [
        "secret/",
        "proof/",
        "target/",
        "text/",
        "store/",
        "daemon/custody.rs",
        "helper/file.rs",
        "dbus/systemd1/transient.rs",
        "sys/child.rs",
    ];
    for path in sources("src") {
        let name = path.strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap().to_str().unwrap();
        let reveals = code(&path).contains(".reveal()") && !name.ends_with("tests.rs") && !name.contains("/tests/");
        assert!(!reveals || allowed.iter().any(|start| name.starts_with(start)), "{name} reveals a value");
    }
}

#[test]
fn every_module_says_what_lives_there() {
    for path in sources("src").into_iter().chain(sources("tests")) {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//! "), "{} does not begin with //!", path.display());
    }
}

#[test]
fn the_catalog_explains_every_kind_of_entry() {
    let catalog = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/rekeyd.catalog")).unwrap();
    for (name, id) in rekeyd::record::message_id::ALL {
        assert!(catalog.contains(&format!("-- {id}\nSubject: ")), "{name} ({id}) is not in the catalog");
    }
    let entries = catalog.lines().filter(|line| line.starts_with("-- ")).count();
    assert_eq!(entries, rekeyd::record::message_id::ALL.len(), "the catalog has entries that nothing sends");
}

#[test]
fn the_manual_has_every_verb_and_option() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manual = fs::read_to_string(root.join("packaging/man/rekeyctl.1.scd")).unwrap();
    for (verb, options) in rekeyd::ctl::verbs() {
        assert!(manual.contains(&format!("*{verb}*")), "rekeyctl(1) does not have the verb {verb}");
        for option in options {
            assert!(manual.contains(&format!("*--{option}*")), "rekeyctl(1) does not have --{option} of {verb}");
        }
    }
}

#[test]
fn the_policies_have_every_method_and_every_action() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| fs::read_to_string(root.join(file)).unwrap();
    let (bus, polkit) = (read("packaging/org.rekeyd1.conf"), read("packaging/org.rekeyd1.policy"));
    let manual = read("packaging/man/org.rekeyd1.5.scd");
    let (anyone, group) = bus.split_once("<policy group=\"rekeyd\">").unwrap();
    let code = read("src/dbus/rekeyd1/manager.rs");
    let (_, interface) = code.split_once("\nimpl Manager {").unwrap();
    let (interface, _) = interface.split_once("#[zbus(signal)]").unwrap();
    for method in interface.split("    async fn ").skip(1) {
        let snake = method.split('(').next().unwrap();
        let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
        let member = format!("send_member=\"{}\"", snake.split('_').map(capital).collect::<String>());
        let looks = method.contains("Right::Look") || method.contains("Right::Examine");
        let acts = ["Right::Rotate", "Right::Rollback", "Right::Manage"].iter().any(|right| method.contains(right));
        let is_for_root = method.contains("Right::Root");
        assert!([looks, acts, is_for_root].iter().filter(|right| **right).count() == 1, "{snake} needs a right");
        let named = member.replace("send_member=\"", "*").replace('"', "*(");
        assert!(is_for_root || manual.contains(&named), "{snake} is not in org.rekeyd1(5)");
        assert_eq!(anyone.contains(&member), acts, "whether anyone may ask for {snake}");
        assert_eq!(group.contains(&member), looks, "whether the group may ask for {snake}");
    }
    use rekeyd::dbus::rights::Right;
    for action in [Right::Rotate, Right::Rollback, Right::Manage].map(|right| right.action().unwrap()) {
        assert!(polkit.contains(&format!("<action id=\"{action}\">")), "{action}");
    }
}
