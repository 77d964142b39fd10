//! The findings of one file while it is read.

use std::collections::BTreeSet;
use std::ops::Range;

use super::findings::{Finding, Severity};
use super::source::Source;

/// The most findings of one file; a file with more is not a configuration.
const MOST: usize = 50;

/// What is wrong with a value, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub advice: String,
}

impl Mistake {
    /// A mistake.
    pub fn new(message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { message: message.into(), advice: advice.into() }
    }
}

/// Collects the findings of one file.
pub(super) struct Report<'s> {
    /// The file.
    pub source: &'s Source,
    findings: Vec<Finding>,
    broken_lines: BTreeSet<usize>,
    left_out: usize,
}

impl<'s> Report<'s> {
    /// An empty report.
    pub fn new(source: &'s Source) -> Self {
        Self { source, findings: Vec::new(), broken_lines: BTreeSet::new(), left_out: 0 }
    }

    /// The text is not TOML here. What else is found on the same line is taken for a consequence.
    pub fn syntax(&mut self, span: Range<usize>, message: &str, advice: &str) {
        if self.findings.len() >= MOST {
            self.left_out += 1;
        } else if self.broken_lines.insert(self.source.line_of(span.start)) {
            let place = self.source.place(span, None);
            self.findings.push(Finding::new(Severity::Error, &self.source.path, Some(place), message, advice));
        }
    }

    /// A value that cannot be used.
    pub fn error(&mut self, span: Range<usize>, message: impl AsRef<str>, advice: impl AsRef<str>) {
        self.push(Severity::Error, span, None, message.as_ref(), advice.as_ref());
    }

    /// An error whose line holds something that may be a secret.
    pub fn error_hiding(
        &mut self,
        span: Range<usize>,
        hidden: Range<usize>,
        message: impl AsRef<str>,
        advice: impl AsRef<str>,
    ) {
        self.push(Severity::Error, span, Some(hidden), message.as_ref(), advice.as_ref());
    }

    /// A value that is probably not what was meant.
    pub fn warning(&mut self, span: Range<usize>, message: impl AsRef<str>, advice: impl AsRef<str>) {
        self.push(Severity::Warning, span, None, message.as_ref(), advice.as_ref());
    }

    /// Something that ought to be there. Not told of a file with broken syntax: it may stand in the broken part.
    pub fn missing(&mut self, span: Range<usize>, message: impl AsRef<str>, advice: impl AsRef<str>) {
        if self.broken_lines.is_empty() {
            self.error(span, message, advice);
        }
    }

    /// Whether there is an error.
    pub fn has_failed(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// The findings in the order of the file.
    pub fn into_findings(mut self) -> Vec<Finding> {
        self.findings.sort_by_key(|finding| finding.place.as_ref().map(|place| place.span.start));
        if self.left_out > 0 {
            let message = format!("{} further mistakes are left out", self.left_out);
            let advice = "mend those above first, then check again";
            self.findings.push(Finding::new(Severity::Error, &self.source.path, None, message, advice));
        }
        self.findings
    }

    fn push(
        &mut self,
        severity: Severity,
        span: Range<usize>,
        hidden: Option<Range<usize>>,
        message: &str,
        advice: &str,
    ) {
        if self.findings.len() >= MOST {
            self.left_out += 1;
            return;
        }
        if !self.broken_lines.is_empty() && self.broken_lines.contains(&self.source.line_of(span.start)) {
            return;
        }
        let place = self.source.place(span, hidden);
        self.findings.push(Finding::new(severity, &self.source.path, Some(place), message, advice));
    }
}
