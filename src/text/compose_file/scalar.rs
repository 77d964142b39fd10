//! One scalar of a Compose file: how it is written, and what Compose makes of it.

use std::ops::Range;

use saphyr_parser::ScalarStyle;
use zeroize::Zeroizing;

use super::place::Form;
use crate::secret::SecretValue;
use crate::text::Refusal;
use crate::text::yaml::{Kind, Node, refuse};

const QUOTE: &str = "write the value in double quotes, on one line with its name";

/// What is written, and its bytes with the quotes.
pub(super) fn read(text: &[u8], node: &Node, form: Form) -> Result<(Zeroizing<String>, Range<usize>), Refusal> {
    let Kind::Scalar(value, style) = &node.kind else {
        let what = match node.kind {
            Kind::Alias => "the value is written elsewhere, and stands for others too",
            _ => "the value is no text",
        };
        return Err(refuse(text, node.start, what, QUOTE));
    };
    if node.is_marked {
        let advice = "take the anchor or the tag away: others that refer to it would be changed too";
        return Err(refuse(text, node.start, "an anchor or a tag is on this value", advice));
    }
    let rest = text.get(node.start..).unwrap_or_default();
    let length = match style {
        ScalarStyle::Plain if rest.starts_with(value.as_bytes()) && !value.contains('\n') => Some(value.len()),
        ScalarStyle::SingleQuoted => quoted(rest, b'\''),
        ScalarStyle::DoubleQuoted => quoted(rest, b'"'),
        ScalarStyle::Literal | ScalarStyle::Folded => {
            return Err(refuse(text, node.start, "the value is a block of lines", QUOTE));
        }
        ScalarStyle::Plain => None,
    };
    let Some(length) = length else {
        return Err(refuse(text, node.start, "the value goes on in the next line", QUOTE));
    };
    if *style == ScalarStyle::Plain && form == Form::Map && !is_surely_text(value) {
        return Err(refuse(
            text,
            node.start,
            "without quotes this may be taken for a number, a date or a truth",
            QUOTE,
        ));
    }
    Ok((value.clone(), node.start..node.start + length))
}

/// What Compose makes of it: `$$` is a dollar, and every other one begins a variable.
pub(super) fn interpolated(text: &[u8], node: &Node, written: &str) -> Result<Zeroizing<String>, Refusal> {
    let mut value = Zeroizing::new(String::with_capacity(written.len()));
    let mut rest = written.chars();
    while let Some(char) = rest.next() {
        if char == '$' && !rest.as_str().starts_with('$') {
            let advice = "name the file that the variable comes from, as `env-file = \"/srv/app/.env\"`, in place of \
                          `environment-in`";
            return Err(refuse(text, node.start, "the value is made of a variable (`$`)", advice));
        }
        if char == '$' {
            rest.next();
        }
        value.push(char);
    }
    Ok(value)
}

/// A value as it is written: in quotes, `$` doubled.
pub(super) fn written(
    form: Form,
    key: &str,
    value: &SecretValue,
    in_single: bool,
) -> Result<Zeroizing<String>, Refusal> {
    let unfit = || Refusal::general("the value cannot be written into a Compose file", "give it printable characters");
    let value = std::str::from_utf8(value.reveal()).map_err(|_| unfit())?;
    let quote = if in_single { '\'' } else { '"' };
    let mut new = Zeroizing::new(String::with_capacity(value.len() * 2 + key.len() + 3));
    new.push(quote);
    if form == Form::List {
        new.push_str(key);
        new.push('=');
    }
    for char in value.chars() {
        match char {
            '\'' if in_single => new.push_str("''"),
            '"' | '\\' if !in_single => {
                new.push('\\');
                new.push(char);
            }
            '$' => new.push_str("$$"),
            ' '..='~' => new.push(char),
            char if char.is_alphanumeric() => new.push(char),
            _ => return Err(unfit()),
        }
    }
    new.push(quote);
    Ok(new)
}

/// A value as it is written without quotes; none where there are characters that cannot stand there.
pub(super) fn plain(form: Form, key: &str, value: &SecretValue) -> Option<Zeroizing<String>> {
    let value = std::str::from_utf8(value.reveal()).ok().filter(|value| !value.contains(char::is_control))?;
    let mut new = Zeroizing::new(String::with_capacity(value.len() * 2 + key.len() + 1));
    if form == Form::List {
        new.push_str(key);
        new.push('=');
    }
    for char in value.chars() {
        new.push(char);
        if char == '$' {
            new.push(char);
        }
    }
    Some(new)
}

/// The length of what is in quotes, both included, where it ends on its own line.
fn quoted(rest: &[u8], quote: u8) -> Option<usize> {
    let mut at = 1;
    loop {
        match *rest.get(at)? {
            b'\n' | b'\r' => return None,
            b'\\' if quote == b'"' => at += 2,
            byte if byte == quote && quote == b'\'' && rest.get(at + 1) == Some(&quote) => at += 2,
            byte if byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// Whether no reader of YAML, old or new, takes it for anything but what is written there.
fn is_surely_text(plain: &str) -> bool {
    let lower = plain.to_ascii_lowercase();
    if ["~", "null", "true", "false", "yes", "no", "on", "off", "y", "n"].contains(&lower.as_str()) {
        return false;
    }
    // An ordinary whole number is the same to all.
    let is_short = plain.len() <= 15 && plain.bytes().all(|byte| byte.is_ascii_digit());
    if is_short && (plain == "0" || !plain.starts_with('0')) {
        return true;
    }
    let starts_a_number = plain.starts_with(|char: char| char.is_ascii_digit() || "+-.".contains(char));
    let bare: String = lower.chars().filter(|char| *char != '_').collect();
    let unsigned = bare.trim_start_matches(['+', '-']);
    let is_number = unsigned.parse::<f64>().is_ok()
        || unsigned.starts_with("0x")
        || unsigned.starts_with("0o")
        || unsigned.starts_with("0b")
        || unsigned.starts_with(".inf")
        || unsigned.starts_with(".nan")
        || unsigned.bytes().all(|byte| byte.is_ascii_digit() || b":.-".contains(&byte));
    let is_date =
        plain.len() >= 8 && plain.as_bytes()[..4].iter().all(u8::is_ascii_digit) && plain.as_bytes()[4] == b'-';
    !(starts_a_number && (is_number || is_date))
}
