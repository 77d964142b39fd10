//! `new`: a commented file to start with.

use super::{Exit, Out};
use crate::config;

pub(super) fn run(out: &Out, kind: &str) -> Exit {
    config::template(kind).into_iter().for_each(|text| out.text(text.trim_end()));
    Exit::Done
}
