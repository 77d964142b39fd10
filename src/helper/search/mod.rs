//! `rekeyd helper search`: looks for values where none should be: in files, processes and the journal. Only reads.
//!
//! What it looks for comes over the socket, and is in its memory as long as it looks; what it tells is places.

use std::io::{BufRead, Read as _, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::{HelperError, LARGEST, ask_within};
use crate::record::leak::{Extent, Sighting, Spot};
use crate::rotation::Generation;
use crate::secret::{Form, SecretValue, forms};

mod files;
mod journal;
mod needles;
mod processes;
mod readers;

use needles::{Found, Needle, Needles};
use readers::Names;

/// A search takes no longer.
const LONGEST: Duration = Duration::from_secs(5 * 60);
/// How long the answer may take beyond that.
const SLACK: Duration = Duration::from_secs(20);
/// More places are not told.
const MOST: usize = 1000;

/// What is searched for, and where: a line of JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    wanted: Vec<Wanted>,
    roots: Vec<PathBuf>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    generation: Generation,
    form: Form,
    /// In base64.
    text: String,
}

impl Drop for Wanted {
    fn drop(&mut self) {
        self.text.zeroize();
    }
}

/// Where it was found: a line of JSON.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Searched {
    /// The places, in the order in which they were found.
    pub found: Vec<Sighting>,
    /// How far the search came.
    pub extent: Extent,
}

/// Searches this host.
#[derive(Clone, Debug)]
pub struct SearchHelper(PathBuf);

impl Default for SearchHelper {
    fn default() -> Self {
        Self(PathBuf::from("/run/rekeyd/search.sock"))
    }
}

impl SearchHelper {
    /// Searches for these values in the directories, in processes and in the journal.
    ///
    /// # Errors
    /// Where the helper does not answer.
    pub async fn search(
        &self,
        values: &[(Generation, SecretValue)],
        roots: Vec<PathBuf>,
    ) -> Result<Searched, HelperError> {
        let of = |(generation, value): &(Generation, SecretValue)| {
            let generation = *generation;
            let wanted = move |(form, text): (Form, Zeroizing<Vec<u8>>)| Wanted {
                generation,
                form,
                text: STANDARD.encode(&*text),
            };
            forms(value).into_iter().map(wanted).collect::<Vec<_>>()
        };
        let request = Request { wanted: values.iter().flat_map(of).collect(), roots };
        ask_within(LONGEST + SLACK, &self.0, &request).await
    }
}

/// Answers on `output` with where it was found.
///
/// # Errors
/// Where the request cannot be understood, or the answer not be written.
pub(super) fn run(input: &mut impl BufRead, output: &mut impl Write) -> std::io::Result<()> {
    let mut text = Zeroizing::new(String::with_capacity(256 * 1024));
    input.take(LARGEST).read_line(&mut text)?;
    let request: Request = serde_json::from_str(&text)?;
    let needle = |wanted: &Wanted| {
        let text = STANDARD.decode(&wanted.text).map(Zeroizing::new).unwrap_or_default();
        Needle { generation: wanted.generation, form: wanted.form, text }
    };
    let search = Search::new(Needles::new(request.wanted.iter().map(needle).collect()), LONGEST);
    serde_json::to_writer(&mut *output, &search.all(&request.roots))?;
    output.write_all(b"\n")?;
    output.flush()
}

/// A search under way.
struct Search {
    needles: Needles,
    names: Names,
    began: Instant,
    until: Instant,
    buffer: Zeroizing<Vec<u8>>,
    searched: Searched,
}

impl Search {
    fn new(needles: Needles, limit: Duration) -> Self {
        let began = Instant::now();
        Self {
            needles,
            names: Names::read(),
            began,
            until: began + limit,
            buffer: Zeroizing::new(Vec::new()),
            searched: Searched::default(),
        }
    }

    fn all(mut self, roots: &[PathBuf]) -> Searched {
        self.processes();
        for root in roots {
            self.files(root);
        }
        self.journal();
        let extent = &mut self.searched.extent;
        extent.took_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.searched
    }

    /// Whether there is time left; where there is none, notes that it ended `at`.
    fn has_time(&mut self, at: &dyn Fn() -> String) -> bool {
        if Instant::now() < self.until {
            return true;
        }
        if self.searched.extent.stopped_at.is_none() {
            self.searched.extent.stopped_at = Some(self.shown(&at()));
        }
        false
    }

    /// Reads a stream, or the beginning of it.
    fn read(&mut self, stream: impl std::io::Read, limit: u64) -> std::io::Result<Found> {
        let until = self.until;
        self.needles.find_in(stream, limit, &mut self.buffer, &|| Instant::now() < until)
    }

    fn note(&mut self, generation: Generation, form: Form, spot: Spot, readers: String) {
        if self.searched.found.len() < MOST {
            self.searched.found.push(Sighting { generation, form, spot, readers });
        } else {
            self.searched.extent.is_crowded = true;
        }
    }

    /// A name that others chose, as it may be told: it may have a value in it, or something that acts on a terminal.
    fn shown(&self, name: &str) -> String {
        if self.needles.are_in(name.as_bytes()) {
            return "(a name that has the value in it)".to_owned();
        }
        name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
    }

    fn shown_path(&self, path: &Path) -> String {
        match path.parent() {
            Some(parent) if self.needles.are_in(path.as_os_str().as_encoded_bytes()) => {
                format!(
                    "{}/{}",
                    self.shown_path(parent),
                    self.shown(&path.file_name().unwrap_or_default().to_string_lossy())
                )
            }
            _ => self.shown(&path.to_string_lossy()),
        }
    }
}
