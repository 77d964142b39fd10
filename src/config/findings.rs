//! A mistake in the configuration, and how it is shown to a person.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Element, Level, Origin, Renderer, Snippet};

/// The longest message or advice, in characters.
const LONGEST: usize = 400;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can be used, but is probably not what was meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One mistake: what, where, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file.
    pub file: PathBuf,
    /// Where in the file; `None` where the file as a whole is meant (its owner, its name).
    pub place: Option<Place>,
    /// What is wrong; one line.
    pub message: String,
    /// What to do; one line.
    pub advice: String,
}

/// A place in a file, with the line that is cited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The bytes that are meant.
    pub span: Range<usize>,
    /// The line of the first of them, from 1.
    pub line: usize,
    /// Its column in characters, from 1.
    pub column: usize,
    /// The line, cut to a sane length and without control characters.
    pub cited: String,
    /// The bytes of `cited` to underline.
    pub underline: Range<usize>,
}

impl Finding {
    /// A finding; message and advice are brought to one line of printable characters.
    pub fn new(
        severity: Severity,
        file: &Path,
        place: Option<Place>,
        message: impl AsRef<str>,
        advice: impl AsRef<str>,
    ) -> Self {
        let (message, advice) = (one_line(message.as_ref()), one_line(advice.as_ref()));
        Self { severity, file: file.to_owned(), place, message, advice }
    }

    /// `file:line:column: error: message (advice)`: for pipes and the journal.
    pub fn one_line(&self) -> String {
        let Self { severity, message, advice, .. } = self;
        format!("{}: {severity}: {message} ({advice})", self.location())
    }

    fn location(&self) -> String {
        let file = printable(&self.file);
        match &self.place {
            Some(place) => format!("{file}:{}:{}", place.line, place.column),
            None => file,
        }
    }
}

/// All findings for a terminal: each with `file:line:column`, the cited line, an underline and a `help:` line.
pub fn render(findings: &[Finding], color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.decor_style(DecorStyle::Ascii);
    let blocks: Vec<_> = findings.iter().map(|finding| block(finding, &renderer)).collect();
    blocks.join("\n\n")
}

/// A path without control characters.
pub fn printable(path: &Path) -> String {
    one_line(&path.to_string_lossy())
}

/// Whether a character would change how the text around it is shown: control characters and those that turn the
/// writing direction.
pub(super) fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn block(finding: &Finding, renderer: &Renderer) -> String {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let file = printable(&finding.file);
    let mut elements: Vec<Element<'_>> = Vec::new();
    match &finding.place {
        Some(place) => {
            let underline = AnnotationKind::Primary.span(place.underline.clone());
            let cited = Snippet::source(&place.cited).line_start(place.line).fold(false).annotation(underline);
            let is_whole = place.cited[..place.underline.start].chars().count() + 1 == place.column;
            if is_whole {
                elements.push(cited.path(file).into());
            } else {
                elements.push(Origin::path(file).line(place.line).char_column(place.column).into());
                elements.push(cited.into());
            }
        }
        None => elements.push(Origin::path(file).into()),
    }
    elements.push(Level::HELP.message(&finding.advice).into());
    renderer.render(&[level.primary_title(&finding.message).elements(elements)])
}

fn one_line(text: &str) -> String {
    if text.len() <= LONGEST && !text.contains(is_unprintable) {
        return text.to_owned();
    }
    let cut = text.char_indices().nth(LONGEST).map_or(text, |(end, _)| &text[..end]);
    let mut line: String = cut.chars().map(|c| if is_unprintable(c) { '\u{fffd}' } else { c }).collect();
    if cut.len() < text.len() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding() -> Finding {
        let place = Place { span: 16..19, line: 2, column: 8, cited: "bits = 128".into(), underline: 7..10 };
        Finding::new(Severity::Error, Path::new("/etc/x.toml"), Some(place), "no\nsuch key", "write `bytes`")
    }

    #[test]
    fn a_finding_is_one_line_for_a_pipe() {
        assert_eq!(finding().one_line(), "/etc/x.toml:2:8: error: no\u{fffd}such key (write `bytes`)");
    }

    #[test]
    fn a_finding_shows_place_line_underline_and_help() {
        let shown = render(&[finding()], false);
        for part in ["error: no", "/etc/x.toml:2:8", "2 | bits = 128", "       ^^^", "help: write `bytes`"] {
            assert!(shown.contains(part), "{part:?} is not in\n{shown}");
        }
        assert!(!shown.contains('\x1b'));
        assert!(render(&[finding()], true).contains('\x1b'));
    }
}
