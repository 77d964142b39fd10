//! Programs of the administrator's and tools of other people's: what is run, in an environment that is built from nothing,
//! and how it ended.
//!
//! What a tool prints may have secrets in it. It goes to the journal where the administrator wrote the program for rekeyd,
//! and else to a file of root's, or to who asked for it, in memory and bounded; never into a record or an error. Whatever
//! becomes of who asked, it can go on printing, and so to its end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::secret::SecretValue;

/// What is kept of each of a program's two streams; the rest is dropped.
pub const PRINTED: usize = 4 << 20;

/// A program to be run.
#[derive(Clone)]
pub struct Command<'a> {
    /// The unit that it runs in, where it runs in one: `rekeyd-….service`.
    pub unit: &'a str,
    /// What `systemctl status` says of it.
    pub description: &'a str,
    /// The program, an absolute path, and its arguments.
    pub argv: &'a [String],
    /// Where it runs; where it is left out, in `/`, or in the developer's checkout.
    pub directory: Option<&'a Path>,
    /// As whom.
    pub user: User<'a>,
    /// Its environment, besides what every service is given.
    pub environment: Vec<String>,
    /// What it reads on its standard input.
    pub input: Vec<u8>,
    /// What it may read in the files that [`VALUE_FILE`] and [`ACCEPTED_FILES`] name.
    pub value: Option<Shown<'a>>,
    /// How long it may take.
    pub limit: Duration,
    /// Where what it prints goes.
    pub prints: Prints,
}

/// As whom a program runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum User<'a> {
    /// Root, or, where there is no systemd, whoever asks.
    #[default]
    Caller,
    /// Who is called so, or has this number.
    Named(&'a str),
    /// A user that there is for this run alone, and that can write nothing that outlives it (`DynamicUser=`,
    /// systemd.exec(5)); where there is no systemd, whoever asks.
    OfItsOwn,
}

impl<'a> From<Option<&'a str>> for User<'a> {
    fn from(name: Option<&'a str>) -> Self {
        name.map_or(Self::Caller, Self::Named)
    }
}

/// The variable that names the file with the value.
pub const VALUE_FILE: &str = "REKEYD_VALUE_FILE";
/// The variable that names the files with the values that are accepted besides, with colons between them; there may be none.
pub const ACCEPTED_FILES: &str = "REKEYD_ACCEPTED_FILES";

/// Values that a program is shown, each in a file of its own that is nowhere on a disk.
#[derive(Clone)]
pub struct Shown<'a> {
    /// The value.
    pub value: &'a SecretValue,
    /// Those that are accepted besides.
    pub accepted: Vec<&'a SecretValue>,
}

impl<'a> From<&'a SecretValue> for Shown<'a> {
    fn from(value: &'a SecretValue) -> Self {
        Self { value, accepted: Vec::new() }
    }
}

/// Where what a program prints goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prints {
    /// To the journal, under its unit's name.
    ToJournal,
    /// To a file that only root reads, which is kept where the program fails. What such a program starts is a consumer,
    /// and goes on.
    ToFile,
    /// To who runs it.
    ToCaller,
    /// Nowhere, however much it is.
    ToNobody,
    /// Its standard output, an answer, to who runs it; the rest to a file as above.
    Answer,
}

impl Prints {
    /// Whether a part of it goes to a file.
    pub fn is_kept(self) -> bool {
        matches!(self, Self::ToFile | Self::Answer)
    }
}

/// How a program ended.
#[derive(Debug, Default)]
pub struct Ran {
    /// In which way.
    pub end: End,
    /// What it printed, where that is the caller's: at most [`PRINTED`] bytes.
    pub stdout: Zeroizing<Vec<u8>>,
    /// What it complained of, likewise.
    pub stderr: Zeroizing<Vec<u8>>,
    /// Whether something that it has started goes on.
    pub is_survived: bool,
}

/// The ways in which a program ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// With status 0.
    #[default]
    Well,
    /// With another status.
    Status(i32),
    /// It took too long, and was ended.
    TooLong(Duration),
    /// In another way, in words.
    Otherwise(String),
}

impl End {
    /// What was wrong, of a program by its path; none where nothing was.
    pub fn problem(&self, argv: &[String]) -> Option<String> {
        let program = argv.first().map(Path::new).and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        match self {
            Self::Well => None,
            Self::Status(status) => Some(format!("{program} ended with status {status}")),
            Self::TooLong(limit) => Some(format!("{program} did not end within {} s", limit.as_secs())),
            Self::Otherwise(how) => Some(format!("{program} failed ({how})")),
        }
    }
}

/// A program could not be run at all.
#[derive(Clone, Debug, Error)]
#[error("{program} cannot be run: {why}", program = program.display())]
pub struct NotRun {
    program: PathBuf,
    why: String,
}

impl NotRun {
    /// Why `command` was not run.
    pub fn new(command: &Command<'_>, why: impl Into<String>) -> Self {
        Self { program: command.argv.first().map(PathBuf::from).unwrap_or_default(), why: why.into() }
    }
}

/// Runs programs.
#[async_trait]
pub trait Runner: Send + Sync {
    /// Runs a program to its end, or to the end of its time.
    ///
    /// # Errors
    /// Where it cannot be run.
    async fn run(&self, command: &Command<'_>) -> Result<Ran, NotRun>;

    /// How a person sees what the program of a unit printed, where that did not go to the caller: a command to type.
    fn said(&self, unit: &str, prints: Prints) -> String;
}
