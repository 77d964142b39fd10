//! A Compose file: one literal under `environment:` of a service is read and changed, and every other byte kept.
//!
//! What Compose makes of a file goes far: anchors, merges, `extends:`, `${}`. A value is only touched where all of that
//! leaves no doubt, and what was written is read back with a parser of YAML and held against what was there before.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use self::place::{Form, Place};
use super::Refusal;
use super::yaml::{self, Node, refuse};
use crate::secret::SecretValue;

mod place;
mod scalar;
#[cfg(test)]
mod tests;

/// How a value is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quotes {
    /// In single ones where it has them, and else in double ones.
    #[default]
    Always,
    /// Without any, as somebody had written it once, if it is surely read back as the same value.
    IfNeeded,
}

/// The value of a variable of a service; `None` where its `environment:` does not have it.
///
/// # Errors
/// Where it is not certain.
pub fn value_of(text: &[u8], service: &str, key: &str) -> Result<Option<SecretValue>, Refusal> {
    let root = yaml::parse(text)?;
    match Place::find(text, &root, service, key)? {
        Place::There { value, .. } => Ok(Some(SecretValue::new(value.as_bytes().to_vec()))),
        Place::Missing { .. } => Ok(None),
    }
}

/// At which byte the value of a variable of a service is written; `None` where its `environment:` does not have it.
///
/// # Errors
/// As for [`value_of`].
pub fn offset_of(text: &[u8], service: &str, key: &str) -> Result<Option<usize>, Refusal> {
    let root = yaml::parse(text)?;
    match Place::find(text, &root, service, key)? {
        Place::There { range, .. } => Ok(Some(range.start)),
        Place::Missing { .. } => Ok(None),
    }
}

/// Whether the value of a variable of a service is written without quotes.
///
/// # Errors
/// As for [`value_of`].
pub fn is_plain(text: &[u8], service: &str, key: &str) -> Result<bool, Refusal> {
    let offset = offset_of(text, service, key)?;
    Ok(offset.is_some_and(|offset| !matches!(text.get(offset), Some(b'"' | b'\''))))
}

/// The file with another value there; the variable must be there already.
///
/// # Errors
/// Where the file cannot be read with certainty, or the value not be written.
pub fn replace(
    text: &[u8],
    service: &str,
    key: &str,
    value: &SecretValue,
    quotes: Quotes,
) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let root = yaml::parse(text)?;
    let Place::There { scalar, range, form, .. } = Place::find(text, &root, service, key)? else {
        return Err(Refusal::general(format!("{key} is not there"), "add it by hand"));
    };
    // Of all that is in the tree, that one alone may be another.
    let (before, at) = (root.shape(), position(&root, scalar));
    let with = |new: &str| {
        let mut edited = Zeroizing::new(Vec::with_capacity(text.len() + new.len()));
        edited.extend_from_slice(&text[..range.start]);
        edited.extend_from_slice(new.as_bytes());
        edited.extend_from_slice(&text[range.end..]);
        check(&edited, service, key, value, |after| {
            let is_kept = |(i, (a, b)): (usize, _)| Some(i) == at || a == b;
            after.len() == before.len() && before.iter().zip(after).enumerate().all(is_kept)
        })?;
        Ok(edited)
    };
    let plain = scalar::plain(form, key, value).filter(|_| quotes == Quotes::IfNeeded);
    if let Some(Ok(edited)) = plain.map(|new| with(&new)) {
        return Ok(edited);
    }
    with(&scalar::written(form, key, value, text.get(range.start) == Some(&b'\''))?)
}

/// The file with a further variable, in a line of its own after the last one of the service.
///
/// # Errors
/// As for [`replace`].
pub fn append(text: &[u8], service: &str, key: &str, value: &SecretValue) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let root = yaml::parse(text)?;
    let Place::Missing { last, form } = Place::find(text, &root, service, key)? else {
        return Err(Refusal::general(format!("{key} is there already"), "look at the file"));
    };
    let line_start = text[..last.start].iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
    let indent = &text[line_start..last.start];
    if !indent.iter().all(|byte| b" -".contains(byte)) {
        return Err(refuse(text, last.start, "a line cannot be added after this", "add the variable by hand, as \"\""));
    }
    let line_end = text[last.start..].iter().position(|&byte| byte == b'\n').map_or(text.len(), |at| last.start + at);
    let has_cr = text[..line_end].ends_with(b"\r");
    let new = scalar::written(form, key, value, false)?;
    let mut edited = Zeroizing::new(Vec::with_capacity(text.len() + indent.len() + key.len() + new.len() + 8));
    edited.extend_from_slice(&text[..line_end]);
    edited.push(b'\n');
    edited.extend_from_slice(indent);
    if form == Form::Map {
        edited.extend_from_slice(format!("{key}: ").as_bytes());
    }
    edited.extend_from_slice(new.as_bytes());
    if has_cr {
        edited.push(b'\r');
    }
    edited.extend_from_slice(&text[line_end..]);
    let before = root.shape();
    let more = if form == Form::Map { 2 } else { 1 };
    check(&edited, service, key, value, |after| {
        // All that was there, in its order, with the new ones in one place between.
        after.len() == before.len() + more
            && (0..before.len()).any(|at| before[..at] == after[..at] && before[at..] == after[at + more..])
    })?;
    Ok(edited)
}

/// That a file, read anew, has the value, and else what it had.
fn check(
    edited: &[u8],
    service: &str,
    key: &str,
    value: &SecretValue,
    is_kept: impl FnOnce(&[Zeroizing<String>]) -> bool,
) -> Result<(), Refusal> {
    let root = yaml::parse(edited)?;
    let has = match Place::find(edited, &root, service, key)? {
        Place::There { value: has, .. } => has.as_bytes() == value.reveal(),
        Place::Missing { .. } => false,
    };
    if has && is_kept(&root.shape()) {
        return Ok(());
    }
    let advice = "write the value in double quotes, on one line with its name";
    Err(Refusal::general(format!("{key} of the service {service} cannot be changed without changing more"), advice))
}

/// Where a node comes in the shape of the tree.
fn position(root: &Node, wanted: &Node) -> Option<usize> {
    fn walk(node: &Node, wanted: &Node, count: &mut usize) -> Option<usize> {
        if std::ptr::eq(node, wanted) {
            return Some(*count);
        }
        *count += 1;
        let found = match &node.kind {
            yaml::Kind::List(nodes) => nodes.iter().find_map(|node| walk(node, wanted, count)),
            yaml::Kind::Map(pairs) => {
                pairs.iter().find_map(|(key, value)| walk(key, wanted, count).or_else(|| walk(value, wanted, count)))
            }
            _ => return None,
        };
        *count += 1;
        found
    }
    walk(root, wanted, &mut 0)
}
