//! The rules held against the corpus of `tests/env-files`.

use super::{Dialect, append, find, replace, value};

#[path = "../../../../tests/env-files/corpus.rs"]
mod cases;
use cases::{Case, KEY, VALUE, cases};

/// The letters of a dialect's readers. Those of the second part refuse files that the others read: nobody uses these files
/// with them, so that they need not agree.
fn readers(dialect: Dialect) -> (&'static str, &'static str) {
    match dialect {
        Dialect::Dotenv => ("dn", "y"),
        Dialect::Systemd => ("sS", ""),
        Dialect::Compose => ("2", "1"),
        Dialect::Docker => ("k", ""),
        Dialect::Shell => ("ab", ""),
        Dialect::Pam => ("pP", ""),
    }
}

fn initial(dialect: Dialect) -> char {
    match dialect {
        Dialect::Dotenv => 'd',
        Dialect::Systemd => 's',
        Dialect::Compose => 'c',
        Dialect::Docker => 'k',
        Dialect::Shell => 'h',
        Dialect::Pam => 'p',
    }
}

/// Whether the dialect edits the file.
fn holds(case: &Case, dialect: Dialect) -> bool {
    let shown = case.shown();
    let (steady, strict) = readers(dialect);
    let was_edited = case.edits.iter().any(|edit| edit.dialects.contains(initial(dialect)));
    let Ok(found) = find(&case.text, KEY, dialect) else {
        assert!(!was_edited, "{dialect} does not edit this any more: {shown:?}");
        return false;
    };
    let ours = found.as_ref().map(|found| found.value.reveal());
    for reader in steady.chars().chain(strict.chars()) {
        match case.read_by(reader) {
            Some(read) => assert_eq!(read, ours, "{dialect}, reader {reader}: {shown:?}"),
            None => assert!(strict.contains(reader), "{dialect}, reader {reader} gives up: {shown:?}"),
        }
    }
    let edit = if found.is_some() { replace } else { append };
    let Ok(edited) = edit(&case.text, KEY, &value(VALUE), dialect, None) else {
        assert!(!was_edited, "{dialect} does not edit this any more: {shown:?}");
        return false;
    };
    let Some(edit) = case.edit(&edited.text, initial(dialect)) else {
        panic!("{dialect} edits this as was never tried: {shown:?}; run tests/env-files/record");
    };
    for reader in steady.chars().chain(strict.chars().filter(|reader| !case.gave_up.contains(*reader))) {
        assert!(edit.kept.contains(reader), "{dialect}, reader {reader} misreads the edited {shown:?}");
    }
    true
}

#[test]
fn what_is_read_and_written_is_what_the_real_readers_read() {
    let cases = cases();
    assert!(cases.len() > 3000, "{}", cases.len());
    for dialect in Dialect::ALL {
        let edited = cases.iter().filter(|case| holds(case, dialect)).count();
        assert!(edited * 6 > cases.len(), "{dialect} edits {edited} of {} only", cases.len());
    }
}
