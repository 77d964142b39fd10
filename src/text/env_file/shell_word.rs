//! What a POSIX shell takes for the value of an assignment: one word, by POSIX.1-2024, XCU 2.2 and 2.3.

use super::lines::declares_only;
use super::value::Shape;
use crate::text::refusal::{Problem, problem};

/// The word that follows an equals sign; nothing but a comment, or what exports names, may stand after it.
///
/// # Errors
/// Where the line is more than an assignment, or its word does not end with certainty.
pub(super) fn shape(rest: &[u8]) -> Result<Shape, Problem> {
    let mut at = 0;
    while at < rest.len() {
        match rest[at] {
            quote @ (b'\'' | b'"') => {
                let Some(end) = closing(rest, at, quote)? else {
                    return open(rest, at, quote);
                };
                if at == 0 && rest.get(end).is_none_or(|&byte| ends_word(byte)) {
                    return followed(
                        rest,
                        end,
                        Shape { written: at + 1..end - 1, quote: Some(quote), ..Shape::default() },
                    );
                }
                at = end;
            }
            b'\\' if at + 1 < rest.len() => at += 2,
            b'\\' => {
                let what = "a shell joins this line with the next one";
                return problem(at, what, "remove the backslash at its end");
            }
            b'$' | b'`' => at = expansion(rest, at)?,
            b'&' | b'(' | b')' | b'<' | b'>' | b'|' => {
                return problem(
                    at,
                    "a shell runs a command, or gives up, for this character",
                    "put the value in quotes",
                );
            }
            byte if ends_word(byte) => break,
            _ => at += 1,
        }
    }
    followed(rest, at, Shape { written: 0..at, ..Shape::default() })
}

fn ends_word(byte: u8) -> bool {
    b" \t;".contains(&byte)
}

/// What stands after the word.
fn followed(rest: &[u8], end: usize, shape: Shape) -> Result<Shape, Problem> {
    let after = &rest[end..];
    let tail = after.trim_ascii_start();
    let exports = tail.strip_prefix(b";").map(<[u8]>::trim_ascii);
    if tail.is_empty() || exports.is_some_and(|words| words.is_empty() || declares_only(words)) {
        return Ok(shape);
    }
    if tail.starts_with(b"#") && tail.len() < after.len() {
        return Ok(Shape { has_comment: true, ..shape });
    }
    let what = "a shell takes what follows the value for a command, or after «export» for another name";
    problem(end, what, "put all of the value in quotes, or what follows in a line of its own")
}

/// Quotes that go on in the next line, if nothing stands before them.
fn open(rest: &[u8], at: usize, quote: u8) -> Result<Shape, Problem> {
    if at == 0 {
        return Ok(Shape { written: at + 1..rest.len(), quote: Some(quote), is_open: true, ..Shape::default() });
    }
    problem(at, "these quotes are not closed", "close them in the same line, or quote the value with the other kind")
}

/// Where the quotes that begin at `at` end, and what follows them starts.
fn closing(rest: &[u8], at: usize, quote: u8) -> Result<Option<usize>, Problem> {
    let mut end = at + 1;
    while end < rest.len() && rest[end] != quote {
        end = match rest[end] {
            b'\\' if quote == b'"' => end + 2,
            b'$' | b'`' if quote == b'"' => expansion(rest, end)?,
            _ => end + 1,
        };
    }
    Ok((end < rest.len()).then_some(end + 1))
}

/// Where the expansion of a variable, or the output of a plain command, ends.
fn expansion(rest: &[u8], at: usize) -> Result<usize, Problem> {
    let after = &rest[at + 1..];
    let inside = |from: usize, closing: u8| {
        let length = after[from..].iter().position(|&byte| byte == closing)?;
        let plain = |byte: &u8| !b"'\"\\`$#(){}".contains(byte);
        after[from..from + length].iter().all(plain).then_some(at + 1 + from + length + 1)
    };
    let end = match (rest[at], after.first()) {
        (b'`', _) => inside(0, b'`'),
        (_, Some(b'{')) => inside(1, b'}'),
        (_, Some(b'(')) => inside(1, b')'),
        // A sign of its own, or one of a variable's name.
        (_, None) => Some(at + 1),
        (_, Some(byte)) if byte.is_ascii_alphanumeric() || b"_ \t\"/:.,-+=@%".contains(byte) => Some(at + 1),
        _ => None,
    };
    let unclear = "it is not certain what a shell makes of this";
    end.map_or_else(|| problem(at, unclear, "put the value in single quotes"), Ok)
}
