//! Whether a file with secrets may end up in a git repository.

use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

/// How git stands to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is in no work tree.
    Outside,
    /// git ignores it.
    Ignored,
    /// The next `git add` takes it.
    NotIgnored,
    /// It is in the repository.
    Tracked,
}

impl Standing {
    /// What is wrong with that for a file that has a secret in it, and what to do about it.
    pub fn problem(self, file: &Path) -> Option<(String, String)> {
        let directory = directory(file).display().to_string();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let (what, advice) = match self {
            Self::Outside | Self::Ignored => return None,
            Self::NotIgnored => ("git does not ignore it", format!("echo /{name} >>{directory}/.gitignore")),
            Self::Tracked => (
                "git tracks it: all who have the repository have it",
                format!("git -C {directory} rm --cached -- {name}"),
            ),
        };
        Some((format!("{}: {what}", file.display()), advice))
    }
}

/// How git stands to a file, which need not be there yet; of a symbolic link, to the file behind it.
///
/// # Errors
/// Where git cannot be asked: why, and what to do about it.
pub fn standing(file: &Path) -> Result<Standing, (String, String)> {
    let real = file.canonicalize();
    let file = real.as_deref().unwrap_or(file);
    let Ok(directory) = directory(file).canonicalize() else { return Ok(Standing::Outside) };
    if !directory.ancestors().any(|above| above.join(".git").exists()) {
        return Ok(Standing::Outside);
    }
    if ask(&directory, &["ls-files", "--error-unmatch"], file)?.success() {
        return Ok(Standing::Tracked);
    }
    let ignored = ask(&directory, &["check-ignore", "--quiet"], file)?;
    Ok(if ignored.success() { Standing::Ignored } else { Standing::NotIgnored })
}

/// Where the file is, or will be.
fn directory(file: &Path) -> &Path {
    file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// git(1) ends with 128 where it cannot say, as in another user's repository.
fn ask(directory: &Path, question: &[&str], file: &Path) -> Result<ExitStatus, (String, String)> {
    let name = file.file_name().unwrap_or_default();
    let mut git = Command::new("git");
    // Variables of a hook that rekeyctl runs in would name another repository.
    for (variable, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"GIT_")) {
        git.env_remove(variable);
    }
    git.arg("-C").arg(directory).args(question).arg("--").arg(name);
    git.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let shown = directory.display();
    match git.status() {
        Ok(status) if matches!(status.code(), Some(0 | 1)) => Ok(status),
        Ok(_) => Err((
            format!("git cannot say whether it keeps {}", file.display()),
            format!("see what it says: git -C {shown} status"),
        )),
        Err(error) => {
            let what = format!("{} is in a git work tree, and git cannot be asked about it: {error}", file.display());
            Err((what, "install git".to_owned()))
        }
    }
}
