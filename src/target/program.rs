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
