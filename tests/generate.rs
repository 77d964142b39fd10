//! `rekeyctl generate` in a developer's checkout: no daemon, no root, no word of the value.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use crate::support;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::host;

struct Checkout(tempfile::TempDir);

impl Checkout {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn with_git() -> Self {
        let checkout = Self::new();
        checkout.git(&["init", "--quiet"]);
        checkout
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn git(&self, arguments: &[&str]) -> String {
        let output = host::output_of(Command::new("git").arg("-C").arg(self.0.path()).args(arguments), b"");
        assert!(output.status.success(), "git {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn rekeyctl(&self, arguments: &[&str]) -> Output {
        let mut rekeyctl = Command::new(env!("CARGO_BIN_EXE_rekeyctl"));
        // A hook of git's that names another repository.
        host::output_of(rekeyctl.current_dir(self.0.path()).args(arguments).env("GIT_DIR", "/nowhere"), b"")
    }

    fn generate(&self, arguments: &[&str]) -> String {
        let output = self.rekeyctl(&[&["generate"], arguments].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    }

    fn is_refused(&self, words: &str) {
        let before = names(self.0.path());
        let output = self.rekeyctl(&["generate", "JWT_SECRET"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains("nothing was touched") && said.contains(words), "{said}");
        assert_eq!(names(self.0.path()), before);
    }
}

fn names(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn value(text: &str) -> &str {
    let value = text.lines().find_map(|line| line.strip_prefix("JWT_SECRET=")).unwrap();
    assert!(value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit()), "{text}");
    value
}

#[test]
fn a_file_that_is_not_there_is_made_for_its_owner_alone_and_ignored_by_git() {
    let checkout = Checkout::with_git();
    let said = checkout.generate(&["JWT_SECRET"]);
    let text = checkout.read(".env");
    assert!(!said.contains(value(&text)), "{said}");
    assert_eq!(fs::metadata(checkout.path(".env")).unwrap().mode() & 0o777, 0o600);
    assert_eq!(checkout.read(".gitignore"), "/.env\n");
    assert_eq!(checkout.git(&["status", "--porcelain"]), "?? .gitignore\n");
    assert_eq!(names(checkout.0.path()), [".env", ".git", ".gitignore"]);
}

#[test]
fn a_value_is_replaced_and_all_else_kept() {
    let checkout = Checkout::new();
    let before = "# mine\r\nPORT=3000\r\nJWT_SECRET=\"changeme\" # see the wiki\r\nNAME=My App\r\n";
    fs::write(checkout.path(".env.local"), before).unwrap();
    fs::set_permissions(checkout.path(".env.local"), fs::Permissions::from_mode(0o640)).unwrap();
    let said = checkout.generate(&["JWT_SECRET", "--env-file", ".env.local"]);
    assert!(said.contains("line 3"), "{said}");
    let after = checkout.read(".env.local");
    let new = after.split('"').nth(1).unwrap();
    assert_eq!((new.len(), after.replace(new, "changeme").as_str()), (64, before));
    assert!(!said.contains(new), "{said}");
    assert_eq!(fs::metadata(checkout.path(".env.local")).unwrap().mode() & 0o777, 0o640);
    assert_eq!(names(checkout.0.path()), [".env.local"]);
}

#[test]
fn each_value_is_another_one() {
    let checkout = Checkout::new();
    checkout.generate(&["JWT_SECRET"]);
    let first = checkout.read(".env");
    checkout.generate(&["JWT_SECRET"]);
    assert_ne!(value(&first), value(&checkout.read(".env")));
}

#[test]
fn what_git_keeps_or_would_keep_is_refused() {
    let checkout = Checkout::with_git();
    fs::write(checkout.path(".env"), "JWT_SECRET=old\n").unwrap();
    checkout.is_refused("git does not ignore it — echo /.env >>./.gitignore");
    checkout.git(&["add", ".env"]);
    checkout.is_refused("git tracks it");
    checkout.git(&["rm", "--quiet", "--cached", ".env"]);
    fs::write(checkout.path(".gitignore"), "*.env\n").unwrap();
    checkout.generate(&["JWT_SECRET"]);
    assert_eq!(checkout.read(".gitignore"), "*.env\n");
}

#[test]
fn git_is_asked_about_the_file_behind_a_link() {
    let (keeper, checkout) = (Checkout::with_git(), Checkout::with_git());
    fs::write(keeper.path("shared.env"), "JWT_SECRET=old\n").unwrap();
    fs::write(checkout.path(".gitignore"), ".env\n").unwrap();
    std::os::unix::fs::symlink(keeper.path("shared.env"), checkout.path(".env")).unwrap();
    checkout.is_refused("git does not ignore it");
    keeper.git(&["add", "shared.env"]);
    checkout.is_refused("git tracks it");
    keeper.git(&["rm", "--quiet", "--cached", "shared.env"]);
    fs::write(keeper.path(".git/info/exclude"), "shared.env\n").unwrap();
    checkout.generate(&["JWT_SECRET"]);
    value(&keeper.read("shared.env"));
    assert!(fs::symlink_metadata(checkout.path(".env")).unwrap().is_symlink());
}

#[test]
fn a_link_to_what_is_not_there_is_named_and_nothing_is_made() {
    let checkout = Checkout::with_git();
    std::os::unix::fs::symlink("shared/none.env", checkout.path(".env")).unwrap();
    checkout.is_refused(".env is a symbolic link to shared/none.env, which is not there — make that file");
    assert_eq!(names(checkout.0.path()), [".env", ".git"]);
}

#[test]
fn whatever_makes_git_ignore_the_file_counts_and_nothing_else() {
    let checkout = Checkout::with_git();
    let commit = ["-c", "user.name=n", "-c", "user.email=e", "commit", "--quiet", "--allow-empty", "-m", "first"];
    checkout.git(&commit);
    checkout.git(&["worktree", "add", "--quiet", "tree"]);
    fs::create_dir_all(checkout.path("app/nested")).unwrap();
    for place in [".env", "tree/.env", "app/nested/.env"] {
        fs::write(checkout.path(place), "JWT_SECRET=old\n").unwrap();
    }
    let said = |place: &str| checkout.rekeyctl(&["generate", "JWT_SECRET", "--env-file", place]).status.code();
    let all = || [".env", "tree/.env", "app/nested/.env"].map(said);
    assert_eq!(all(), [Some(3); 3]);
    fs::write(checkout.path("app/.gitignore"), ".env\n").unwrap();
    assert_eq!(all(), [Some(3), Some(3), Some(0)]);
    fs::write(checkout.path("app/nested/.gitignore"), "!.env\n").unwrap();
    assert_eq!(all(), [Some(3); 3]);
    // It is of the repository, and so of all its work trees.
    fs::write(checkout.path(".git/info/exclude"), ".env\n").unwrap();
    assert_eq!(all(), [Some(0), Some(0), Some(3)]);
    fs::write(checkout.path(".git/info/exclude"), "").unwrap();
    let list = checkout.path("list");
    fs::write(&list, ".env\n").unwrap();
    checkout.git(&["config", "core.excludesFile", list.to_str().unwrap()]);
    assert_eq!(all(), [Some(0), Some(0), Some(3)]);
}

#[test]
fn what_cannot_be_read_with_certainty_is_refused_with_its_place() {
    let checkout = Checkout::new();
    fs::write(checkout.path(".env"), "A=1\nJWT_SECRET=pa55\nJWT_SECRET=pa55\n").unwrap();
    checkout.is_refused(".env: line 3, column 1: JWT_SECRET is assigned again");
    fs::write(checkout.path(".env"), "A=\"pa55\nJWT_SECRET=pa55\n").unwrap();
    checkout.is_refused(".env: line 1, column 3:");
    assert_eq!(checkout.read(".env"), "A=\"pa55\nJWT_SECRET=pa55\n");
}

#[test]
fn the_document_says_what_was_done() {
    let checkout = Checkout::new();
    let output = checkout.rekeyctl(&["generate", "JWT_SECRET", "--format", "base64url", "--json"]);
    let done: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let wanted =
        serde_json::json!({ "file": ".env", "key": "JWT_SECRET", "line": 1, "replaced": false, "created": true });
    assert_eq!(done, wanted);
    assert_eq!(checkout.read(".env").trim().len(), "JWT_SECRET=".len() + 43);
}
