//! `new`: a commented file to start with.

use super::{Exit, Out};
use crate::config;

pub(super) fn run(out: &Out, kind: &str) -> Exit {
    match config::template(kind) {
        Some(text) => {
            out.text(text.trim_end());
            Exit::Done
        }
        None => out.fail(Exit::Usage, &format!("there is no starting file for {kind:?}; there is one for: systemd")),
    }
}
