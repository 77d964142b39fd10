//! A YAML file as a tree whose nodes know where they stand: to change one of them and nothing else.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use zeroize::Zeroizing;

use super::Refusal;
use super::refusal::Problem;

/// No file of settings is nested deeper.
const DEEPEST: usize = 64;

/// A node.
#[derive(Debug)]
pub(in crate::text) struct Node {
    /// What it is.
    pub kind: Kind,
    /// Where it begins, in bytes.
    pub start: usize,
    /// Whether others may refer to it, or a tag says what type it is.
    pub is_marked: bool,
}

/// The kinds of nodes.
#[derive(Debug)]
pub(in crate::text) enum Kind {
    /// A text, whatever its type is taken for.
    Scalar(Zeroizing<String>, ScalarStyle),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the file's order.
    Map(Vec<(Node, Node)>),
    /// `*name`: another node stands for it.
    Alias,
}

impl Node {
    /// The text, of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(text, _) => Some(text.as_str()),
            _ => None,
        }
    }

    /// All that is in it, in order, without where it stands and how it is written.
    pub fn shape(&self) -> Vec<Zeroizing<String>> {
        let word = |word: &str| Zeroizing::new(word.to_owned());
        match &self.kind {
            Kind::Scalar(text, _) => vec![Zeroizing::new(format!("={}", text.as_str()))],
            Kind::Alias => vec![word("*")],
            Kind::List(nodes) => {
                let inner = nodes.iter().flat_map(Self::shape);
                std::iter::once(word("[")).chain(inner).chain([word("]")]).collect()
            }
            Kind::Map(pairs) => {
                let inner = pairs.iter().flat_map(|(key, value)| key.shape().into_iter().chain(value.shape()));
                std::iter::once(word("{")).chain(inner).chain([word("}")]).collect()
            }
        }
    }
}

/// The one document of a file.
pub(in crate::text) fn parse(text: &[u8]) -> Result<Node, Refusal> {
    let utf8 = std::str::from_utf8(text).map_err(|error| {
        refuse(text, error.valid_up_to(), "this is not UTF-8 text", "save the file as UTF-8, without binary data")
    })?;
    let offsets: Vec<usize> = utf8.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let byte = |index: usize| offsets.get(index).copied().unwrap_or(text.len());
    let mut open: Vec<Open> = Vec::new();
    let mut document = None;
    for event in Parser::new_from_str(utf8) {
        // What the parser says of it may cite the file.
        let (event, Span { start, .. }) = event.map_err(|error| {
            let advice = "mend it: the rules are at https://yaml.org, and `docker compose config -q` knows them too";
            refuse(text, byte(error.marker().index()), "this is not YAML", advice)
        })?;
        let start = byte(start.index());
        let done = match event {
            Event::Scalar(value, style, anchor, tag) => {
                let kind = Kind::Scalar(Zeroizing::new(value.into_owned()), style);
                Some(Node { kind, start, is_marked: anchor != 0 || tag.is_some() })
            }
            Event::Alias(_) => Some(Node { kind: Kind::Alias, start, is_marked: true }),
            Event::SequenceStart(anchor, tag) => {
                open.push(Open { start, is_marked: anchor != 0 || tag.is_some(), is_map: false, nodes: Vec::new() });
                None
            }
            Event::MappingStart(anchor, tag) => {
                open.push(Open { start, is_marked: anchor != 0 || tag.is_some(), is_map: true, nodes: Vec::new() });
                None
            }
            Event::SequenceEnd | Event::MappingEnd => open.pop().map(Open::close),
            _ => None,
        };
        if open.len() > DEEPEST {
            return Err(refuse(text, start, "it is nested too deeply", "name another file"));
        }
        let Some(node) = done else { continue };
        match open.last_mut() {
            Some(inside) => inside.nodes.push(node),
            None if document.is_none() => document = Some(node),
            None => return Err(refuse(text, start, "a second document begins here", "have one document in the file")),
        }
    }
    document.ok_or_else(|| refuse(text, 0, "the file is empty", "name another file"))
}

/// A refusal of the byte at `at`.
pub(in crate::text) fn refuse(text: &[u8], at: usize, what: impl Into<String>, advice: &'static str) -> Refusal {
    Refusal::of(text, at, Problem { at: 0, what: what.into(), advice })
}

/// A list or mapping whose end was not seen yet.
struct Open {
    start: usize,
    is_marked: bool,
    is_map: bool,
    nodes: Vec<Node>,
}

impl Open {
    fn close(self) -> Node {
        let mut nodes = self.nodes.into_iter();
        let kind = if self.is_map {
            let pair = |nodes: &mut std::vec::IntoIter<Node>| Some((nodes.next()?, nodes.next()?));
            Kind::Map(std::iter::from_fn(|| pair(&mut nodes)).collect())
        } else {
            Kind::List(nodes.collect())
        };
        Node { kind, start: self.start, is_marked: self.is_marked }
    }
}
