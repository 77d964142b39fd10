//! systemd's files, by its own reading: whatever it skips or joins is known, so that only our own line must be plain.

use super::dialect::Dialect;
use super::lines::{Assignment, BOM, line_of};
use super::value::shape;
use crate::text::refusal::{Problem, Refusal, problem};
use crate::text::systemd::{self, Unclear};

/// All assignments of a file, in order; with those that systemd does not take for their names.
///
/// # Errors
/// Where systemd gives up on the file, or its versions read it differently, or it and people do.
pub(super) fn assignments(text: &[u8]) -> Result<Vec<Assignment>, Refusal> {
    let refused = |problem| Refusal::of(text, 0, problem);
    if text.starts_with(BOM) {
        let what = "systemd takes the byte order mark for a part of the first line";
        return problem(0, what, "save the file as UTF-8 without it").map_err(refused);
    }
    if let Some(at) = text.iter().position(|&byte| byte == 0) {
        return problem(at, "systemd reads no further than this NUL character", "remove it").map_err(refused);
    }
    let places = systemd::places(text).map_err(|unclear| {
        refused(match unclear {
            Unclear::OpenQuotes(at) => {
                let what = "these quotes are not closed; systemd swallows all that follows, up to the end of the file";
                Problem { at, what: what.to_owned(), advice: "close them in the same line" }
            }
            Unclear::JoinedComment(at) => {
                let what = "some versions of systemd join this comment with the next line, and so lose that";
                Problem { at, what: what.to_owned(), advice: "remove the backslash at its end" }
            }
        })
    })?;
    let mut found = Vec::new();
    for place in places {
        let (name, rest) = (&text[place.name.clone()], &text[place.rest.clone()]);
        if let Err(error) = std::str::from_utf8(&text[place.name.start..place.rest.end]) {
            let at = place.name.start + error.valid_up_to();
            let what = "systemd gives up on the file for what is not UTF-8 here";
            return problem(at, what, "save the file as UTF-8").map_err(refused);
        }
        let exported = name.starts_with(b"export ");
        let after_export = name.strip_prefix(b"export ").map_or(name, <[u8]>::trim_ascii_start);
        let key_start = place.name.end - after_export.len();
        let first_line = rest.iter().position(|byte| b"\r\n".contains(byte));
        let first = place.rest.start..first_line.map_or(place.rest.end, |length| place.rest.start + length);
        found.push(Assignment {
            line: line_of(text, place.name.start),
            start: place.name.start,
            exported,
            key: key_start..place.name.end,
            shape: shape(&text[first.clone()], Dialect::Systemd),
            more_lines: (first.end < place.rest.end).then_some(first.end..place.rest.end),
            rest: first,
            doubt: None,
        });
    }
    Ok(found)
}
