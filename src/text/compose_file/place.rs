//! Where in a Compose file a variable of a service stands, if that is certain.

use std::ops::Range;

use zeroize::Zeroizing;

use super::scalar;
use crate::text::Refusal;
use crate::text::yaml::{Kind, Node, refuse};

/// The two ways to write an `environment:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `NAME: value`.
    Map,
    /// `- NAME=value`.
    List,
}

/// The place of a variable.
pub(super) enum Place<'a> {
    /// It is there.
    There {
        /// The node: the value, or the whole assignment.
        scalar: &'a Node,
        /// Its bytes.
        range: Range<usize>,
        /// How it is written.
        form: Form,
        /// What Compose makes of it.
        value: Zeroizing<String>,
    },
    /// It could be added.
    Missing {
        /// The last variable: its name, or the whole assignment.
        last: &'a Node,
        /// How they are written.
        form: Form,
    },
}

impl<'a> Place<'a> {
    pub(super) fn find(text: &[u8], root: &'a Node, service: &str, key: &str) -> Result<Self, Refusal> {
        let services = child(text, root, "services")?.ok_or_else(|| {
            refuse(text, root.start, "there is no `services:` here", "is it a Compose file? name the right one")
        })?;
        own(text, services)?;
        let node = child(text, services, service)?.ok_or_else(|| {
            let advice = "name services of this file, or the file that they stand in";
            refuse(text, services.start, format!("there is no service {service} here"), advice)
        })?;
        own(text, node)?;
        let environment = child(text, node, "environment")?.ok_or_else(|| {
            let advice = "write it there, not in what is merged or extended; or name its env file with `env-file`";
            refuse(text, node.start, format!("the service {service} has no `environment:` of its own"), advice)
        })?;
        own(text, environment)?;
        if matches!(text.get(environment.start), Some(b'{' | b'[')) {
            let advice = "write each variable in a line of its own";
            return Err(refuse(text, environment.start, "this `environment:` is written in braces", advice));
        }
        match &environment.kind {
            Kind::Map(pairs) => in_map(text, environment, pairs, key),
            Kind::List(items) => in_list(text, items, key),
            _ => Err(refuse(text, environment.start, "`environment:` has no variables", "write the variable there")),
        }
    }
}

fn in_map<'a>(text: &[u8], environment: &'a Node, pairs: &'a [(Node, Node)], key: &str) -> Result<Place<'a>, Refusal> {
    let Some(scalar) = child(text, environment, key)? else {
        if let Some((merge, _)) = pairs.iter().find(|(name, _)| name.text() == Some("<<")) {
            let advice = "write the variable here, beside the `<<`: it then wins over what is merged";
            return Err(refuse(text, merge.start, format!("{key} may come from what is merged here"), advice));
        }
        let last = pairs.last().map(|(name, _)| name);
        let last =
            last.ok_or_else(|| refuse(text, environment.start, "`environment:` is empty", "add the variable"))?;
        return Ok(Place::Missing { last, form: Form::Map });
    };
    let (value, range) = scalar::read(text, scalar, Form::Map)?;
    let value = scalar::interpolated(text, scalar, &value)?;
    Ok(Place::There { scalar, range, form: Form::Map, value })
}

fn in_list<'a>(text: &[u8], items: &'a [Node], key: &str) -> Result<Place<'a>, Refusal> {
    let named = |item: &&Node| {
        let name = item.text().map(|text| text.split('=').next().unwrap_or_default());
        name == Some(key)
    };
    let mut found = items.iter().filter(named);
    let Some(scalar) = found.next() else {
        if let Some(other) = items.iter().find(|item| item.text().is_none()) {
            return Err(refuse(text, other.start, "this is no assignment", "write each variable as `- NAME=value`"));
        }
        let last = items.last().ok_or_else(|| refuse(text, 0, "`environment:` is empty", "add the variable"))?;
        return Ok(Place::Missing { last, form: Form::List });
    };
    if let Some(again) = found.next() {
        return Err(refuse(text, again.start, format!("{key} is assigned again"), "keep one of the two"));
    }
    let (assignment, range) = scalar::read(text, scalar, Form::List)?;
    let Some(value) = assignment.strip_prefix(key).and_then(|rest| rest.strip_prefix('=')) else {
        return Err(passed_on(text, scalar, key));
    };
    let value = scalar::interpolated(text, scalar, value)?;
    Ok(Place::There { scalar, range, form: Form::List, value })
}

/// The value of a key of a mapping, which must have it once.
fn child<'a>(text: &[u8], node: &'a Node, key: &str) -> Result<Option<&'a Node>, Refusal> {
    let Kind::Map(pairs) = &node.kind else {
        return Err(refuse(text, node.start, format!("`{key}` is looked for here, and this is no mapping"), "mend it"));
    };
    let mut found = pairs.iter().filter(|(name, _)| name.text() == Some(key));
    let Some((name, value)) = found.next() else { return Ok(None) };
    if let Some((again, _)) = found.next() {
        return Err(refuse(text, again.start, format!("`{key}` is here again"), "keep one of the two"));
    }
    if name.is_marked {
        return Err(refuse(text, name.start, "an anchor or a tag is on this name", "take it away"));
    }
    if matches!(&value.kind, Kind::Scalar(text, saphyr_parser::ScalarStyle::Plain) if text.is_empty()) {
        return Err(passed_on(text, name, key));
    }
    Ok(Some(value))
}

/// Whether a node is this place's alone.
fn own(text: &[u8], node: &Node) -> Result<(), Refusal> {
    if matches!(node.kind, Kind::Alias) {
        return Err(refuse(text, node.start, "what stands here is written elsewhere", "write it out here"));
    }
    if node.is_marked {
        let advice = "take the anchor or the tag away: others that refer to it would be changed too";
        return Err(refuse(text, node.start, "this is an anchor that others refer to, or has a tag", advice));
    }
    Ok(())
}

fn passed_on(text: &[u8], node: &Node, key: &str) -> Refusal {
    let advice = "name the file that it comes from, as `env-file = \"/srv/app/.env\"`, in place of `environment-in`";
    refuse(text, node.start, format!("{key} has no value here: Compose takes it from its own environment"), advice)
}
