//! Whether a program of the administrator's is there and can be run, before anything is touched.

use std::path::Path;

use crate::helper::{Answer, ProcessHelper, Program, Question};
use crate::rotation::{Fault, FaultCode};

/// Looks for the program of `argv`, which `key` of the target or probe `label` names. One without a path is the shell's to find.
///
/// # Errors
/// What is wrong with it.
pub(crate) async fn check(helper: &ProcessHelper, argv: &[String], key: &str, label: &str) -> Result<(), Fault> {
    let Some(program) = argv.first().filter(|program| Path::new(program).is_absolute()) else { return Ok(()) };
    let answer = helper.ask_one(Question::Program { path: program.clone() }).await?;
    let (what, advice) = match answer {
        Answer::Program { program: Program::Missing } => {
            ("there is no".to_owned(), format!("install it, or mend {key}"))
        }
        Answer::Program { program: Program::NotExecutable } => {
            ("nobody can execute".to_owned(), format!("chmod +x it, or mend {key}"))
        }
        Answer::Program { program: Program::InterpreterMissing(interpreter) } => {
            (format!("{interpreter} is missing, the interpreter of"), "install it".to_owned())
        }
        _ => return Ok(()),
    };
    Err(Fault::new(FaultCode::ProgramMissing, format!("{label}: {what} {program}")).advise(advice))
}

/// Looks for it as [`check`] does, and whether others could have it do something else as `user`; where that is left out, as the
/// one that rekeyd is: root, or who calls it where there is no daemon.
///
/// # Errors
/// What is wrong with it.
pub(crate) async fn check_own(
    helper: &ProcessHelper,
    argv: &[String],
    user: Option<&str>,
    key: &str,
    label: &str,
) -> Result<(), Fault> {
    check(helper, argv, key, label).await?;
    let Some(program) = argv.first().filter(|program| Path::new(program).is_absolute()) else { return Ok(()) };
    let question = Question::Changeable { path: program.clone(), user: user.map(str::to_owned) };
    let Answer::Changeable { how: Some((how, remedy)) } = helper.ask_one(question).await? else { return Ok(()) };
    let message = format!("{label}: others can change {program}, the program of {key}: {how}");
    Err(Fault::new(FaultCode::FileUnusable, message).advise(remedy))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn one_that_others_can_change_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("restart");
        fs::write(&path, "#!/bin/sh\n").unwrap();
        let argv = [path.display().to_string()];
        let with = |mode: u32| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let helper = ProcessHelper::here();
            let argv = argv.clone();
            async move { check_own(&helper, &argv, None, "`command`", "command restart").await }
        };
        with(0o755).await.unwrap();
        let fault = with(0o777).await.unwrap_err();
        assert!(
            fault.message.contains("others can change") && fault.message.contains("everybody may write"),
            "{fault}"
        );
        assert_eq!(fault.advice, format!("chmod go-w {}", path.display()));
        assert!(with(0o644).await.unwrap_err().message.contains("nobody can execute"));
    }
}
