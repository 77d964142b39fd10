//! JavaScript's tokens, as far as it takes to find out where literals begin and end.

use std::ops::Range;

use zeroize::Zeroizing;

use crate::text::refusal::{Problem, problem};

/// A token, by its bytes in the text.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub kind: Kind,
    pub range: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name, a keyword or a number.
    Word,
    /// In quotes.
    Text,
    /// In backquotes, or a regular expression.
    Other,
    /// `...`
    Spread,
    /// Any other character, by itself.
    Mark(u8),
}

/// After these words an expression begins, so that a slash begins a regular expression.
const BEFORE_EXPRESSION: &[&[u8]] = &[
    b"return",
    b"typeof",
    b"case",
    b"in",
    b"of",
    b"delete",
    b"void",
    b"throw",
    b"new",
    b"else",
    b"do",
    b"instanceof",
    b"await",
    b"yield",
    b"default",
];

/// So many templates may be inside of each other.
const DEEPEST: u32 = 30;

/// The tokens of a whole text.
///
/// # Errors
/// Where something does not end.
pub(super) fn tokens(text: &[u8]) -> Result<Vec<Token>, Problem> {
    let mut reader = Reader { text, at: 0, depth: 0, tokens: Vec::new() };
    if text.starts_with(b"\xEF\xBB\xBF") {
        reader.at = 3;
    }
    if text[reader.at..].starts_with(b"#!") {
        reader.at = reader.line_end();
    }
    while reader.step()? {}
    Ok(reader.tokens)
}

struct Reader<'t> {
    text: &'t [u8],
    at: usize,
    /// How many templates this is inside of.
    depth: u32,
    tokens: Vec<Token>,
}

impl Reader<'_> {
    /// Reads a token, or what stands between tokens; whether there was anything.
    fn step(&mut self) -> Result<bool, Problem> {
        let rest = &self.text[self.at..];
        let Some(&first) = rest.first() else { return Ok(false) };
        match first {
            b' ' | b'\t' | b'\r' | b'\n' | 0x0B | 0x0C => self.at += 1,
            b'/' if rest.starts_with(b"//") => self.at = self.line_end(),
            b'/' if rest.starts_with(b"/*") => {
                let end = rest[2..].windows(2).position(|two| two == b"*/");
                let Some(end) = end else { return self.endless("comment") };
                self.at += end + 4;
            }
            b'/' if self.expects_expression() => self.regular_expression()?,
            b'\'' | b'"' => self.text(first)?,
            b'`' => self.template()?,
            b'.' if rest.starts_with(b"...") => self.push(Kind::Spread, self.at + 3),
            _ if is_of_word(first) => {
                let length = rest.iter().position(|&byte| !is_of_word(byte)).unwrap_or(rest.len());
                self.push(Kind::Word, self.at + length);
            }
            _ => self.push(Kind::Mark(first), self.at + 1),
        }
        Ok(true)
    }

    fn push(&mut self, kind: Kind, end: usize) {
        self.tokens.push(Token { kind, range: self.at..end });
        self.at = end;
    }

    fn line_end(&self) -> usize {
        let rest = &self.text[self.at..];
        self.at + rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len())
    }

    fn expects_expression(&self) -> bool {
        self.tokens.last().is_none_or(|last| match last.kind {
            Kind::Mark(mark) => !matches!(mark, b')' | b']' | b'}'),
            Kind::Word => BEFORE_EXPRESSION.contains(&&self.text[last.range.clone()]),
            Kind::Spread => true,
            Kind::Text | Kind::Other => false,
        })
    }

    fn text(&mut self, quote: u8) -> Result<(), Problem> {
        let mut end = self.at + 1;
        loop {
            match self.text.get(end) {
                Some(&byte) if byte == quote => break,
                Some(b'\\') => end += 2,
                None | Some(b'\n') => return self.endless("text in quotes"),
                Some(_) => end += 1,
            }
        }
        self.push(Kind::Text, end + 1);
        Ok(())
    }

    fn regular_expression(&mut self) -> Result<(), Problem> {
        let (mut end, mut in_class) = (self.at + 1, false);
        loop {
            match self.text.get(end) {
                Some(b'/') if !in_class => break,
                Some(b'\\') => end += 1,
                Some(b'[') => in_class = true,
                Some(b']') => in_class = false,
                None | Some(b'\n') => return self.endless("regular expression"),
                Some(_) => {}
            }
            end += 1;
        }
        self.push(Kind::Other, end + 1);
        Ok(())
    }

    /// With the code that is in it, which may have further ones in it.
    fn template(&mut self) -> Result<(), Problem> {
        let (start, before) = (self.at, self.tokens.len());
        self.at += 1;
        loop {
            match self.text.get(self.at) {
                Some(b'`') => break,
                Some(b'\\') => self.at += 2,
                Some(b'$') if self.text.get(self.at + 1) == Some(&b'{') => {
                    self.at += 2;
                    self.inside_of_template()?;
                }
                Some(_) => self.at += 1,
                None => return self.endless("template"),
            }
        }
        self.tokens.truncate(before);
        self.tokens.push(Token { kind: Kind::Other, range: start..self.at + 1 });
        self.at += 1;
        Ok(())
    }

    /// Up to the brace that ends it.
    fn inside_of_template(&mut self) -> Result<(), Problem> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return problem(self.at, "templates are nested too deep here", "write them out");
        }
        let mut open = 1;
        while open > 0 {
            let before = self.tokens.len();
            if !self.step()? {
                return self.endless("template");
            }
            open += match self.tokens.get(before).map(|token| token.kind) {
                Some(Kind::Mark(b'{')) => 1,
                Some(Kind::Mark(b'}')) => -1,
                _ => 0,
            };
        }
        self.depth -= 1;
        Ok(())
    }

    fn endless<T>(&self, what: &str) -> Result<T, Problem> {
        problem(self.at, format!("a {what} begins here and does not end"), "mend the file: node --check")
    }
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

/// What a text in quotes stands for; none where it has an escape that is not certain.
pub(super) fn decoded(quoted: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let inside = std::str::from_utf8(quoted.get(1..quoted.len().checked_sub(1)?)?).ok()?;
    let mut value = Zeroizing::new(Vec::with_capacity(inside.len()));
    let mut rest = inside.chars();
    while let Some(c) = rest.next() {
        let meant = match c {
            '\\' => match rest.next()? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'v' => '\u{b}',
                'x' => code(rest.by_ref().take(2), 2)?,
                'u' => code(rest.by_ref().take(4), 4)?,
                c if c.is_ascii_alphanumeric() || c.is_control() => return None,
                c => c,
            },
            c => c,
        };
        let mut bytes = [0; 4];
        value.extend_from_slice(meant.encode_utf8(&mut bytes).as_bytes());
    }
    Some(value)
}

fn code(digits: impl Iterator<Item = char>, count: usize) -> Option<char> {
    let digits: String = digits.collect();
    let is_whole = digits.len() == count && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    char::from_u32(u32::from_str_radix(&digits, 16).ok().filter(|_| is_whole)?)
}
