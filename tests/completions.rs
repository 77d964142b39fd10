//! What the shells complete after `rekeyctl`, from the files of the package.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use std::path::Path;
use std::process::Command;

use support::host;
use tempfile::TempDir;

/// The package's files.
fn unpacked() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let unpacks = Command::new("dpkg-deb").arg("-x").arg(host::package()).arg(dir.path()).status().unwrap();
    assert!(unpacks.success());
    dir
}

/// What a shell prints; it has none of its user's files.
fn said(shell: &str, arguments: &[&str], script: &str) -> String {
    let ran =
        host::output_of(Command::new(shell).args(arguments).arg("-c").arg(script).env("HOME", "/nonexistent"), b"");
    let (stdout, stderr) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{shell}: {stdout}{stderr}");
    stdout.into_owned()
}

fn file(root: &Path, path: &str) -> String {
    root.join(path).to_str().unwrap().to_owned()
}

#[test]
fn bash_completes_verbs_and_options() {
    let dir = unpacked();
    let completion = file(dir.path(), "usr/share/bash-completion/completions/rekeyctl");
    let complete = |words: &str, current: &str| {
        let script = format!(
            "source {completion}; COMP_WORDS=({words} '{current}'); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _rekeyctl rekeyctl '{current}' rekeyctl; echo \"${{COMPREPLY[@]}}\""
        );
        said("bash", &["--norc"], &script)
    };
    assert_eq!(complete("rekeyctl", "ro").split_whitespace().collect::<Vec<_>>(), ["rotate", "rollback"]);
    let options = complete("rekeyctl rotate", "--");
    assert!(options.contains("--dry-run") && !options.contains("--scheduled"), "{options}");
    assert!(complete("rekeyctl new", "").contains("systemd"));
}

#[test]
fn fish_completes_verbs_and_options() {
    let dir = unpacked();
    let completion = file(dir.path(), "usr/share/fish/vendor_completions.d/rekeyctl.fish");
    let complete = |line: &str| said("fish", &["--no-config"], &format!("source {completion}; complete -C '{line}'"));
    let verbs = complete("rekeyctl ro");
    assert!(verbs.contains("rotate\t") && verbs.contains("rollback\t"), "{verbs}");
    let options = complete("rekeyctl rotate --");
    assert!(options.contains("--dry-run") && !options.contains("--scheduled"), "{options}");
}

#[test]
fn zsh_finds_the_completion_and_can_read_it() {
    let dir = unpacked();
    let functions = file(dir.path(), "usr/share/zsh/vendor-completions");
    let script = format!(
        "fpath=({functions} $fpath); autoload -Uz compinit; compinit -D -u; print $_comps[rekeyctl]; \
         autoload +X _rekeyctl; functions _rekeyctl"
    );
    let said = said("zsh", &["-f"], &script);
    assert!(said.starts_with("_rekeyctl\n") && said.contains("--dry-run"), "{said}");
}
