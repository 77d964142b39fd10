//! The directories of a host: which files count, and which are trusted.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

/// Puts the directories of a configuration under a fresh root.
fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, Dirs) {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    }
    let dirs = Dirs::under(root.path());
    for dir in [&dirs.etc, &dirs.run, &dirs.usr] {
        for dir in [dir.clone(), dir.join("secrets.d")] {
            fs::create_dir_all(&dir).unwrap();
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
    (root, dirs)
}

#[test]
fn all_mistakes_of_all_files_are_told_at_once() {
    let (_root, dirs) = host(&[
        ("etc/rekeyd/rekeyd.toml", "[daemon]\nstop-timeout = \"2min\"\n"),
        (
            "etc/rekeyd/secrets.d/a.toml",
            "[secret]\nenv = \"PATH\"\nbytes = 1\nformat = \"x\"\n[[target]]\ntype = \"podman\"\n",
        ),
        ("usr/lib/rekeyd/secrets.d/b.toml", "[secret\nenv = \"A\"\n[scedule]\n"),
        ("usr/lib/rekeyd/secrets.d/good.toml", GOOD),
    ]);
    let loaded = load(&dirs);
    let shown = render(&loaded.findings, false);
    for part in
        ["rekeyd.toml:2:16", "a.toml:2:7", "a.toml:3:9", "a.toml:4:10", "a.toml:6:8", "b.toml:1:8", "b.toml:3:2"]
    {
        assert!(shown.contains(part), "{part} is not in\n{shown}");
    }
    assert_eq!(names(&loaded), ["good"]);
    assert!(!loaded.is_valid());
}

#[test]
fn two_secrets_of_one_unit_may_not_share_a_variable() {
    let (_root, dirs) = host(&[
        ("etc/rekeyd/secrets.d/a.toml", GOOD),
        ("etc/rekeyd/secrets.d/b.toml", GOOD),
        ("etc/rekeyd/secrets.d/c.toml", &GOOD.replace("a.service", "c.service")),
    ]);
    let loaded = load(&dirs);
    assert_eq!(loaded.findings.len(), 1);
    let line = loaded.findings[0].one_line();
    assert!(line.contains("secrets.d/b.toml:2:7") && line.contains("secrets.d/a.toml"), "{line}");
    assert_eq!(names(&loaded), ["a", "c"]);
}

#[test]
fn the_stronger_directory_hides_the_weaker_and_masks_it() {
    let other = |unit: &str| GOOD.replace("a.service", unit);
    let (root, dirs) = host(&[
        ("usr/lib/rekeyd/secrets.d/one.toml", &other("usr.service")),
        ("run/rekeyd/secrets.d/one.toml", &other("run.service")),
        ("etc/rekeyd/secrets.d/one.toml", &other("etc.service")),
        ("usr/lib/rekeyd/secrets.d/two.toml", &other("two.service")),
        ("run/rekeyd/secrets.d/two.toml", "broken ["),
        ("usr/lib/rekeyd/secrets.d/three.toml", &other("three.service")),
        ("etc/rekeyd/secrets.d/README", "no toml"),
        ("etc/rekeyd/secrets.d/.hidden.toml", "broken ["),
        ("usr/lib/rekeyd/rekeyd.toml", "[daemon]\nstop-timeout = \"30s\""),
    ]);
    symlink("/dev/null", root.path().join("etc/rekeyd/secrets.d/two.toml")).unwrap();
    let loaded = load(&dirs);
    assert_eq!(loaded.findings, []);
    assert_eq!(names(&loaded), ["one", "three"]);
    assert_eq!(loaded.settings.secrets.values().next().unwrap().targets[0].units(), ["etc.service"]);
    assert_eq!(loaded.settings.daemon.stop_timeout.as_secs(), 30);
    fs::write(dirs.etc.join("rekeyd.toml"), "# all defaults\n").unwrap();
    fs::set_permissions(dirs.etc.join("rekeyd.toml"), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(load(&dirs).settings.daemon.stop_timeout.as_secs(), 60);
}

#[test]
fn a_link_that_leads_nowhere_and_an_empty_file_are_mistakes() {
    let (root, dirs) = host(&[
        ("etc/rekeyd/secrets.d/good.toml", GOOD),
        ("etc/rekeyd/secrets.d/emptied.toml", ""),
        ("usr/lib/rekeyd/secrets.d/emptied.toml", &GOOD.replace("a.service", "b.service")),
        ("usr/lib/rekeyd/rekeyd.toml", "[daemon]\nstop-timeout = \"30s\""),
    ]);
    symlink(root.path().join("gone/lost.toml"), dirs.etc.join("secrets.d/lost.toml")).unwrap();
    symlink("gone.toml", dirs.etc.join("rekeyd.toml")).unwrap();
    let loaded = load(&dirs);
    let lines: Vec<String> = loaded.findings.iter().map(Finding::one_line).collect();
    let told = |file: &str, parts: &[&str]| {
        let path = dirs.etc.join(file).display().to_string();
        let is_it = |line: &&String| line.starts_with(&path) && line.contains(&format!("ln -sf /dev/null {path}"));
        let line = lines.iter().find(is_it).unwrap_or_else(|| panic!("{file} is not told: {lines:?}"));
        assert!(parts.iter().all(|part| line.contains(part)), "{line}");
    };
    told("secrets.d/emptied.toml", &["is empty"]);
    told("secrets.d/lost.toml", &["gone/lost.toml, which leads to no file", "remove the link"]);
    told("rekeyd.toml", &["is a link to gone.toml"]);
    assert_eq!((loaded.is_valid(), lines.len(), names(&loaded)), (false, 3, vec!["good"]));
    let name = |text: &str| SecretName::try_from(text.to_owned()).unwrap();
    assert!(dirs.has_secret(&name("lost")) && !dirs.has_secret(&name("other")));
}

#[test]
fn nothing_configured_is_fine() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(load(&Dirs::under(root.path())), Loaded::default());
}

#[test]
fn a_file_with_a_bad_name_is_told() {
    let (_root, dirs) = host(&[("etc/rekeyd/secrets.d/My_Secret.toml", GOOD)]);
    let line = load(&dirs).findings[0].one_line();
    assert!(line.contains("My_Secret.toml: error:") && line.contains("rename the file"), "{line}");
}

#[test]
fn what_others_can_change_is_refused_with_what_to_type() {
    let change = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for (path, mode) in [
        ("secrets.d/a.toml", 0o664),
        ("secrets.d/a.toml", 0o646),
        ("secrets.d", 0o775),
        ("secrets.d", 0o1777),
        ("", 0o777),
    ] {
        let (_root, dirs) = host(&[("etc/rekeyd/secrets.d/a.toml", GOOD)]);
        change(&dirs.etc.join(path), mode);
        let loaded = load(&dirs);
        assert_eq!(loaded.findings.len(), 1, "{path} {mode:o}: {:?}", loaded.findings);
        let advice = format!("chmod go-w {}", dirs.etc.join(path).display());
        assert!(advice.starts_with(&loaded.findings[0].advice), "{advice}: {:?}", loaded.findings);
        assert!(loaded.settings.secrets.is_empty());
    }
}

#[test]
fn a_link_is_followed_only_to_where_nobody_else_can_write() {
    let (root, dirs) = host(&[("good/a.toml", GOOD), ("bad/b.toml", &GOOD.replace("a.service", "b.service"))]);
    fs::set_permissions(root.path().join("good"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(root.path().join("bad"), fs::Permissions::from_mode(0o777)).unwrap();
    for (dir, name) in [("good", "a.toml"), ("bad", "b.toml")] {
        symlink(root.path().join(dir).join(name), dirs.etc.join("secrets.d").join(name)).unwrap();
    }
    let loaded = load(&dirs);
    assert_eq!(names(&loaded), ["a"]);
    assert_eq!(loaded.findings.len(), 1, "{:?}", loaded.findings);
    assert!(loaded.findings[0].file.ends_with("bad"), "{:?}", loaded.findings);
}

#[test]
fn odd_files_are_told_and_do_no_harm() {
    let (_root, dirs) = host(&[("etc/rekeyd/secrets.d/a.toml", GOOD)]);
    let put = |name: &str| dirs.etc.join("secrets.d").join(name);
    let plain = fs::Permissions::from_mode(0o644);
    fs::create_dir(put("dir.toml")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, put("fifo.toml"), rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
    for (name, bytes) in [
        ("big.toml", vec![b'#'; (1 << 20) + 1]),
        ("line.toml", vec![b'x'; 1 << 20]),
        ("nul.toml", vec![0; 1 << 16]),
        ("bytes.toml", b"a = 1\n\xff\xfe".to_vec()),
    ] {
        fs::write(put(name), bytes).unwrap();
        fs::set_permissions(put(name), plain.clone()).unwrap();
    }
    let loaded = load(&dirs);
    let lines: Vec<_> = loaded.findings.iter().map(Finding::one_line).collect();
    for part in [
        "dir.toml: error: this is not a regular file",
        "fifo.toml: error: this is not a regular file",
        "big.toml: error: is larger than 1 MiB",
        "line.toml:1:",
        "nul.toml:1:1:",
        "bytes.toml:2:1: error: this is not UTF-8 text",
    ] {
        assert!(lines.iter().any(|line| line.contains(part)), "{part} is not in {lines:#?}");
    }
    assert!(render(&loaded.findings, false).lines().all(|line| line.chars().count() < 500));
    assert_eq!(names(&loaded), ["a"]);
}
