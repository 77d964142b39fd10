//! What `rekeyctl` prints: text or JSON on standard output, what is wrong on standard error.
#![allow(clippy::print_stdout, reason = "this is where rekeyctl prints")]

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, IsTerminal as _, Write as _};

use serde::Serialize;

use super::exit::{Exit, is_denied};
use crate::dbus::rekeyd1::Error;

/// The bus lets in root and the group.
const NOT_A_READER: &str = "only root and members of the group rekeyd may see what rekeyd does: use sudo, or ask the \
     administrator for: adduser USER rekeyd (it counts after the next login)";

/// Where output goes, and how.
pub struct Out {
    /// JSON instead of text.
    pub json: bool,
    color: bool,
    terminal: bool,
    /// Whether the line that the cursor is in is one of progress, to be overwritten.
    in_progress: Cell<bool>,
    /// Why something could not be printed.
    lost: RefCell<Option<std::io::Error>>,
}

impl Out {
    /// Colour only on a terminal, and never with `NO_COLOR` (no-color.org).
    pub fn new(json: bool) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let terminal = std::io::stdout().is_terminal();
        Self { json, color: wanted && terminal, terminal, in_progress: Cell::new(false), lost: RefCell::default() }
    }

    /// Whether to use colour.
    pub fn color(&self) -> bool {
        self.color
    }

    /// Prints text. A reader that has gone away is no failure.
    pub fn text(&self, text: &str) {
        self.end_progress();
        self.print(text);
    }

    fn print(&self, line: &str) {
        // Standard output is written line by line.
        if let Err(error) = writeln!(std::io::stdout(), "{line}")
            && error.kind() != ErrorKind::BrokenPipe
        {
            self.lost.borrow_mut().get_or_insert(error);
        }
    }

    /// How the program ends: an output that is not complete is told where nothing worse is.
    pub fn end(&self, exit: Exit) -> Exit {
        match self.lost.take() {
            Some(error) if exit == Exit::Done => {
                self.fail(Exit::Output, &format!("standard output cannot be written: {error}"))
            }
            _ => exit,
        }
    }

    /// On a terminal, says what is going on until the next line is printed.
    pub fn progress(&self, what: &str) {
        if self.terminal && !self.json {
            self.end_progress();
            let _ = write!(std::io::stdout(), "… {what}");
            let _ = std::io::stdout().flush();
            self.in_progress.set(true);
        }
    }

    /// Says what goes on in a step: on a terminal in place of what was said before.
    pub fn goes_on(&self, line: &str) {
        if self.terminal { self.progress(line) } else { self.text(&format!("… {line}")) }
    }

    fn end_progress(&self) {
        if self.in_progress.take() {
            // ECMA-48: to the start of the line, erase it.
            let _ = write!(std::io::stdout(), "\r\u{1b}[K");
            // What follows may go to standard error.
            let _ = std::io::stdout().flush();
        }
    }

    /// Prints a line of JSON.
    pub fn document(&self, document: &impl Serialize) {
        self.print(&serde_json::to_string(document).unwrap_or_default());
    }

    /// Prints a step, its mark in colour.
    pub fn step(&self, line: &str) {
        let colored = match (self.color, line.chars().next()) {
            (true, Some(mark @ '✓')) => format!("\u{1b}[32m{mark}\u{1b}[0m{}", &line[mark.len_utf8()..]),
            (true, Some(mark @ '✗')) => format!("\u{1b}[31m{mark}\u{1b}[0m{}", &line[mark.len_utf8()..]),
            _ => line.to_owned(),
        };
        self.text(&colored);
    }

    /// Says what is wrong, and returns the exit code for it.
    pub fn fail(&self, exit: Exit, message: &str) -> Exit {
        self.note(message);
        exit
    }

    /// Says something that is no part of the output.
    pub fn note(&self, message: &str) {
        self.end_progress();
        let _ = writeln!(std::io::stderr(), "rekeyctl: {message}");
    }

    /// Says what the daemon, or the way to it, made of a call.
    pub fn error(&self, error: &Error) -> Exit {
        self.fail(Exit::from(error), &in_words(error))
    }

    /// The same of a call about a secret; with `--json` as a line of standard output, too.
    pub fn error_of(&self, secret: &str, error: &Error) -> Exit {
        if self.json {
            self.document(&not_done(secret, error));
        }
        self.error(error)
    }
}

/// What was not done for a secret, and why, for programs.
pub fn not_done(secret: &str, error: &Error) -> serde_json::Value {
    serde_json::json!({ "secret": secret, "error": in_words(error), "exit": Exit::from(error) as u8 })
}

/// What the daemon, or the way to it, made of a call.
pub fn in_words(error: &Error) -> String {
    match error {
        Error::Refused(text) => format!("refused, nothing was touched: {text}"),
        Error::Configuration(text) => format!("the configuration has mistakes:\n{text}"),
        Error::Busy(text)
        | Error::UnknownSecret(text)
        | Error::NotAllowed(text)
        | Error::Skipped(text)
        | Error::Failed(text) => text.clone(),
        Error::Bus(error) if is_denied(error) => NOT_A_READER.to_owned(),
        Error::Bus(error) => format!("cannot reach rekeyd: {error}; see systemctl status rekeyd"),
    }
}
