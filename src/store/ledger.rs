//! The records of one secret: appended durably, and summed up.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::{Chained, StoreError};
use crate::config::SecretName;
use crate::record::chain::{self, Head};
use crate::record::{Happening, Record, RotationId, Standing};
use crate::sys::files;

/// A new file is begun at the first rotation after this many bytes, so that what is read at start stays small.
const FILE_SIZE: u64 = 1 << 20;
/// Far beyond what a file grows to in one rotation.
const READ_LIMIT: u64 = 64 << 20;

/// The records of one secret and what they add up to.
pub struct Ledger {
    dir: PathBuf,
    name: SecretName,
    file: Option<OpenFile>,
    head: Head,
    standing: Standing,
}

struct OpenFile {
    path: PathBuf,
    file: File,
    length: u64,
}

impl Ledger {
    /// Reads the newest file of records. A last line that was never finished is cut off.
    ///
    /// # Errors
    /// Where a record is damaged, or contradicts the others.
    pub(super) fn open(dir: PathBuf, name: SecretName) -> Result<Self, StoreError> {
        let Some(newest) = Newest::read(&dir)? else {
            return Ok(Self { dir, name, file: None, head: Head::default(), standing: Standing::default() });
        };
        let file = files::open_or_create(&newest.path, 0o600)?;
        let open = OpenFile { path: newest.path, file, length: newest.whole as u64 };
        if newest.length > newest.whole {
            open.cut()?;
        }
        Ok(Self { dir, name, file: Some(open), head: newest.head, standing: newest.standing })
    }

    /// What the records add up to.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The hash of the last record.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Appends what happened and returns once it is on the disk. Where that fails, it did not happen.
    ///
    /// # Errors
    /// Where it cannot be written, or contradicts what is there.
    pub fn append(&mut self, rotation: Option<&RotationId>, what: Happening) -> Result<Record, StoreError> {
        if matches!(what, Happening::Requested { .. }) && self.file.as_ref().is_some_and(|open| open.length > FILE_SIZE)
        {
            self.begin_next_file()?;
        }
        let record = self.next_record(rotation.cloned(), what);
        let mut standing = self.standing.clone();
        let applied = standing.apply(&record);
        applied.map_err(|source| StoreError::Contradiction { file: self.dir.clone(), source })?;
        let (line, head) = chain::line(&self.head, &record)?;
        self.open_file()?.write(&line)?;
        self.head = head;
        self.standing = standing;
        Ok(record)
    }

    fn next_record(&self, rotation: Option<RotationId>, what: Happening) -> Record {
        let seq = self.standing.seq + 1;
        Record { seq, at: Timestamp::now(), secret: self.name.clone(), rotation, what }
    }

    fn path_from(&self, seq: u64) -> PathBuf {
        self.dir.join(format!("records-{seq:010}"))
    }

    fn open_file(&mut self) -> Result<&mut OpenFile, StoreError> {
        if self.file.is_none() {
            files::ensure_dir(&self.dir, 0o700)?;
            let path = self.path_from(self.standing.seq + 1);
            let file = files::open_or_create(&path, 0o600)?;
            self.file = Some(OpenFile { path, file, length: 0 });
        }
        self.file.as_mut().ok_or_else(|| StoreError::InUse(self.dir.clone()))
    }

    /// A new file starts with the sum of all before, and appears whole or not at all.
    fn begin_next_file(&mut self) -> Result<(), StoreError> {
        let record = self.next_record(None, Happening::CarriedOver { standing: Box::new(self.standing.clone()) });
        let mut standing = self.standing.clone();
        standing.seq = record.seq;
        let (line, head) = chain::line(&self.head, &record)?;
        let path = self.path_from(record.seq);
        let made = files::replace(&path, &line, 0o600).and_then(|_| files::open_or_create(&path, 0o600));
        let file = made.inspect_err(|_| {
            // Else it would be taken for the newest one, though the old one goes on.
            let _ = files::remove(&path);
        })?;
        self.file = Some(OpenFile { path, file, length: line.len() as u64 });
        self.head = head;
        self.standing = standing;
        Ok(())
    }
}

impl OpenFile {
    /// Writes a line at the end of what is known to be there, so that the rest of a failed write is overwritten.
    fn write(&mut self, line: &[u8]) -> Result<(), StoreError> {
        let written = self.file.write_all_at(line, self.length).and_then(|()| self.file.sync_all());
        let written = written.map_err(|source| files::FileError::new("append to", &self.path, source));
        if let Err(error) = written.and_then(|()| files::sync_parent(&self.path)) {
            // Whatever failed, it did not happen. Best effort: should this fail as well, the next write or start cuts it.
            let _ = self.cut();
            return Err(error.into());
        }
        self.length += line.len() as u64;
        Ok(())
    }

    fn cut(&self) -> Result<(), StoreError> {
        let cut = self.file.set_len(self.length).and_then(|()| self.file.sync_all());
        cut.map_err(|source| files::FileError::new("truncate", &self.path, source).into())
    }
}

/// The newest file of records, which begins with the sum of those before it.
struct Newest {
    path: PathBuf,
    standing: Standing,
    head: Head,
    length: usize,
    /// How much of it is whole lines.
    whole: usize,
}

impl Newest {
    fn read(dir: &Path) -> Result<Option<Self>, StoreError> {
        let mut paths = files_of_records(dir)?;
        let first_of_all = (paths.len() == 1).then(Head::default);
        let Some(path) = paths.pop() else { return Ok(None) };
        let bytes = files::read(&path, READ_LIMIT)?;
        let lines =
            chain::parse(&bytes, first_of_all).map_err(|source| StoreError::Chain { file: path.clone(), source })?;
        let mut standing = Standing::default();
        for record in &lines.records {
            let applied = standing.apply(record);
            applied.map_err(|source| StoreError::Contradiction { file: path.clone(), source })?;
        }
        let head = lines.heads.last().cloned().unwrap_or_default();
        Ok(Some(Self { path, standing, head, length: bytes.len(), whole: lines.whole }))
    }
}

/// What the records in `dir` add up to, whoever is writing there.
pub(super) fn standing(dir: &Path) -> Result<Standing, StoreError> {
    Ok(Newest::read(dir)?.map(|newest| newest.standing).unwrap_or_default())
}

/// All records in `dir`, from the first.
pub(super) fn history(dir: &Path) -> Result<Vec<Record>, StoreError> {
    let mut records = Vec::new();
    let mut prev = Head::default();
    for path in files_of_records(dir)? {
        let bytes = files::read(&path, READ_LIMIT)?;
        let lines = chain::parse(&bytes, Some(prev));
        let lines = lines.map_err(|source| StoreError::Chain { file: path, source })?;
        prev = lines.heads.last().cloned().unwrap_or_default();
        records.extend(lines.records);
    }
    Ok(records)
}

/// All records in `dir` with their hashes, up to the first that is not of the chain.
pub(super) fn chained(dir: &Path) -> Result<Chained, StoreError> {
    let mut chained = Chained::default();
    let mut prev = Head::default();
    for path in files_of_records(dir)? {
        let bytes = files::read(&path, READ_LIMIT)?;
        let mut parsed = chain::parse(&bytes, Some(prev.clone()));
        if let Err(error) = &parsed {
            chained.broken = Some(format!("{}: {error}", path.display()));
            let good = bytes.split_inclusive(|&byte| byte == b'\n').take(error.line() - 1).map(<[u8]>::len).sum();
            parsed = chain::parse(&bytes[..good], Some(prev));
        }
        let lines = parsed.map_err(|source| StoreError::Chain { file: path, source })?;
        prev = lines.heads.last().cloned().unwrap_or_default();
        chained.records.extend(lines.records.into_iter().zip(lines.heads));
        if chained.broken.is_some() {
            break;
        }
    }
    Ok(chained)
}

/// In the order in which they were written.
fn files_of_records(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut paths: Vec<PathBuf> = files::list(dir)?
        .into_iter()
        .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(is_file_of_records))
        .collect();
    paths.sort();
    Ok(paths)
}

fn is_file_of_records(name: &str) -> bool {
    name.strip_prefix("records-").is_some_and(|seq| seq.len() == 10 && seq.bytes().all(|b| b.is_ascii_digit()))
}
