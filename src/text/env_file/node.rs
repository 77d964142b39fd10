//! What Node misreads, measured with version 20: it takes what begins with a blank for the begin of the next key, up to
//! the equals sign, whatever lines are between them.

use super::dialect::Dialect;
use crate::text::refusal::{Problem, problem};

/// Lines without an assignment, as they are passed.
#[derive(Default)]
pub(super) struct Passed {
    /// Where one was that hides the next key.
    at: Option<usize>,
}

impl Passed {
    /// A blank line or a comment, which begins at `at`.
    ///
    /// # Errors
    /// Where it is an assignment to Node, since its value may be in quotes that swallow more.
    pub(super) fn line(&mut self, line: &[u8], at: usize, dialect: Dialect) -> Result<(), Problem> {
        if dialect != Dialect::Dotenv {
            return Ok(());
        }
        if line.first().is_some_and(|byte| b" \t".contains(byte)) {
            self.at = self.at.or(Some(at));
        }
        if self.at.is_some() && line.contains(&b'=') {
            let what = "node takes this comment for an assignment";
            return problem(0, what, "begin it, and lines of blanks above it, in the first column");
        }
        Ok(())
    }

    /// What is wrong with the assignment that follows, if it is ours.
    pub(super) fn hides(&mut self) -> Option<Problem> {
        self.at.take().map(|at| Problem {
            at,
            what: "node takes this line for a part of the next key".to_owned(),
            advice: "remove the blanks that it begins with",
        })
    }
}
