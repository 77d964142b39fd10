//! Ecosystem files in JavaScript: the object that is exported, as far as it is written out as a literal.

use std::ops::Range;

use super::tokens::{Kind, Token, decoded, tokens};
use super::{Format, Problem, problem};
use super::{Found, IN_QUOTES, Quote, Variable, no_app, no_environment, twice};
use crate::secret::SecretValue;

/// Finds the value of a variable.
///
/// # Errors
/// Where it is not certain what it is.
pub(super) fn find(text: &[u8], variable: &Variable) -> Result<Option<Found>, Problem> {
    let tokens = tokens(text)?;
    let file = File { text, tokens: &tokens };
    let root = match variable.format {
        Format::Module => file.exported()?,
        Format::Json | Format::Yaml => file.whole()?,
    };
    let app = file.app(root, &variable.app)?;
    let named = variable.environment.as_ref().map(|name| format!("env_{name}"));
    if let Some(name) = &named {
        let environment = match file.member(app.clone(), name)? {
            Member::Is(value) => value,
            Member::Hidden(at) => return code(at, name),
            Member::Missing => return no_environment(file.at(&app), &variable.app, name),
        };
        match file.member(environment, &variable.key)? {
            Member::Is(value) => return file.value(value, &variable.key).map(Some),
            Member::Hidden(at) => return code(at, &variable.key),
            Member::Missing => {}
        }
    }
    let environment = match file.member(app, "env")? {
        Member::Is(value) => value,
        Member::Hidden(at) => return code(at, "env"),
        Member::Missing => return Ok(None),
    };
    match file.member(environment, &variable.key)? {
        Member::Is(value) => file.value(value, &variable.key).map(Some),
        Member::Hidden(at) => code(at, &variable.key),
        Member::Missing => Ok(None),
    }
}

fn code<T>(at: usize, what: &str) -> Result<T, Problem> {
    problem(at, format!("{what} comes from code here"), IN_QUOTES)
}

/// An expression, by its tokens.
type Expression = Range<usize>;

/// What an object has under a name.
enum Member {
    Is(Expression),
    /// It may have it from something that is not written out: where.
    Hidden(usize),
    Missing,
}

struct File<'t> {
    text: &'t [u8],
    tokens: &'t [Token],
}

impl File<'_> {
    /// The place of an expression.
    fn at(&self, expression: &Expression) -> usize {
        self.tokens.get(expression.start).map_or(self.text.len(), |token| token.range.start)
    }

    fn is_mark(&self, index: usize, mark: u8) -> bool {
        self.tokens.get(index).is_some_and(|token| token.kind == Kind::Mark(mark))
    }

    fn is_word(&self, index: usize, word: &str) -> bool {
        let token = self.tokens.get(index);
        token.is_some_and(|token| token.kind == Kind::Word && self.text[token.range.clone()] == *word.as_bytes())
    }

    fn whole(&self) -> Result<Expression, Problem> {
        let end = self.end(0)?;
        if end < self.tokens.len() {
            return problem(self.at(&(end..end)), "this is more than one object", "mend the file");
        }
        Ok(0..end)
    }

    /// What the module exports, which must be its last statement: what follows could change it again.
    fn exported(&self) -> Result<Expression, Problem> {
        let (mut depth, mut start) = (0_usize, None);
        for index in 0..self.tokens.len() {
            match self.tokens[index].kind {
                Kind::Mark(b'{' | b'[' | b'(') => depth += 1,
                Kind::Mark(b'}' | b']' | b')') => depth = depth.saturating_sub(1),
                _ => {}
            }
            let is_module = self.is_word(index, "module")
                && self.is_mark(index + 1, b'.')
                && self.is_word(index + 2, "exports")
                && self.is_mark(index + 3, b'=');
            let begins = if is_module {
                Some(index + 4)
            } else {
                (self.is_word(index, "export") && self.is_word(index + 1, "default")).then_some(index + 2)
            };
            if let Some(begins) = begins.filter(|_| depth == 0) {
                if start.is_some() {
                    return twice(self.at(&(index..index)), "what the module exports");
                }
                start = Some(begins);
            }
        }
        let Some(start) = start else {
            let advice = "write it as `module.exports = { apps: [{ … }] }`; or use `env-file`";
            return problem(0, "nothing is exported here that is written out", advice);
        };
        if !self.is_mark(start, b'{') && !self.is_mark(start, b'[') {
            return code(self.at(&(start..start)), "what the module exports");
        }
        let end = self.closing(start)? + 1;
        let after = end + usize::from(self.is_mark(end, b';'));
        if after < self.tokens.len() {
            let what = "after what is exported, something follows that may change it";
            return problem(self.at(&(after..after)), what, "put it before; or use `env-file`");
        }
        Ok(start..end)
    }

    /// The app of a name.
    fn app(&self, root: Expression, name: &str) -> Result<Expression, Problem> {
        let mut apps = root.clone();
        if self.is_mark(root.start, b'{') {
            for key in ["apps", "pm2"] {
                match self.member(root.clone(), key)? {
                    Member::Is(value) => {
                        apps = value;
                        break;
                    }
                    Member::Hidden(at) => return code(at, key),
                    Member::Missing => {}
                }
            }
        }
        let is_list = self.is_mark(apps.start, b'[') && self.closing(apps.start)? + 1 == apps.end;
        let all = if is_list { self.parts(&apps)? } else { vec![apps.clone()] };
        let mut found = None;
        for app in all {
            if !self.is_object(&app)? {
                continue;
            }
            let is_named = self.names(&app, name)?;
            if is_named && found.is_some() {
                return twice(self.at(&app), &format!("the app {name}"));
            }
            if is_named {
                found = Some(app);
            }
        }
        found.map_or_else(|| no_app(self.at(&apps), name), Ok)
    }

    /// Whether the name of an app is written out as this one.
    fn names(&self, app: &Expression, name: &str) -> Result<bool, Problem> {
        Ok(self.parts(app)?.iter().filter_map(|part| self.property(part)).any(|(key, value)| {
            let is_name = key.reveal() == b"name";
            is_name
                && value
                    .and_then(|value| self.text_of(&value))
                    .is_some_and(|(_, value)| value.reveal() == name.as_bytes())
        }))
    }

    /// What an object has under a name. What comes later wins, so that code that comes before does not matter.
    fn member(&self, object: Expression, name: &str) -> Result<Member, Problem> {
        if !self.is_object(&object)? {
            return Ok(Member::Hidden(self.at(&object)));
        }
        let mut member = Member::Missing;
        for part in self.parts(&object)? {
            let at = self.at(&part);
            let Some((key, value)) = self.property(&part) else {
                member = Member::Hidden(at);
                continue;
            };
            if key.reveal() != name.as_bytes() {
                continue;
            }
            if matches!(member, Member::Is(_)) {
                return twice(at, name);
            }
            member = value.map_or(Member::Hidden(at), Member::Is);
        }
        Ok(member)
    }

    /// The name of a property, and its value where it is one with a colon; none where the name is not written out.
    fn property(&self, part: &Expression) -> Option<(SecretValue, Option<Expression>)> {
        let mut index = part.start;
        while ["get", "set", "async", "static"].iter().any(|word| self.is_word(index, word))
            && index + 1 < part.end
            && self.tokens.get(index + 1).is_some_and(|next| matches!(next.kind, Kind::Word | Kind::Text))
        {
            index += 1;
        }
        let token = self.tokens.get(index)?;
        let key = match token.kind {
            Kind::Word => SecretValue::new(self.text[token.range.clone()].to_vec()),
            Kind::Text => SecretValue::new(decoded(&self.text[token.range.clone()])?.to_vec()),
            _ => return None,
        };
        let value = (index == part.start && self.is_mark(index + 1, b':')).then_some(index + 2..part.end);
        Some((key, value))
    }

    fn value(&self, expression: Expression, key: &str) -> Result<Found, Problem> {
        let at = self.at(&expression);
        let Some((range, value)) = self.text_of(&expression) else { return code(at, key) };
        let quote = if self.text[range.start] == b'"' { Quote::Double } else { Quote::Single { doubled: false } };
        Ok(Found { value, written: range.start + 1..range.end - 1, quote })
    }

    /// A text in quotes, by itself.
    fn text_of(&self, expression: &Expression) -> Option<(Range<usize>, SecretValue)> {
        let [token] = self.tokens.get(expression.clone())? else { return None };
        if token.kind != Kind::Text {
            return None;
        }
        let value = decoded(&self.text[token.range.clone()])?;
        Some((token.range.clone(), SecretValue::new(value.to_vec())))
    }

    fn is_object(&self, expression: &Expression) -> Result<bool, Problem> {
        Ok(self.is_mark(expression.start, b'{') && self.closing(expression.start)? + 1 == expression.end)
    }

    /// What stands between the commas of an object or a list.
    fn parts(&self, whole: &Expression) -> Result<Vec<Expression>, Problem> {
        let (mut parts, mut start) = (Vec::new(), whole.start + 1);
        while start + 1 < whole.end {
            let end = self.end(start)?;
            if end > start {
                parts.push(start..end);
            }
            start = end + 1;
        }
        Ok(parts)
    }

    /// Where an expression ends: at a comma, or at a bracket that it has not opened.
    fn end(&self, start: usize) -> Result<usize, Problem> {
        let mut index = start;
        while let Some(token) = self.tokens.get(index) {
            match token.kind {
                Kind::Mark(b',' | b'}' | b']' | b')') => break,
                Kind::Mark(b'{' | b'[' | b'(') => index = self.closing(index)?,
                _ => {}
            }
            index += 1;
        }
        Ok(index)
    }

    /// The bracket that closes the one at `open`.
    fn closing(&self, open: usize) -> Result<usize, Problem> {
        let mut expected = Vec::new();
        for (index, token) in self.tokens.iter().enumerate().skip(open) {
            match token.kind {
                Kind::Mark(b'{') => expected.push(b'}'),
                Kind::Mark(b'[') => expected.push(b']'),
                Kind::Mark(b'(') => expected.push(b')'),
                Kind::Mark(mark @ (b'}' | b']' | b')')) if expected.pop() != Some(mark) => {
                    return problem(token.range.start, "this bracket closes none", "mend the file: node --check");
                }
                _ => {}
            }
            if expected.is_empty() {
                return Ok(index);
            }
        }
        problem(self.at(&(open..open)), "this bracket is not closed", "mend the file: node --check")
    }
}
