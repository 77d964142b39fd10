//! What is kept of every secret: its records and its sealed values, root only, one process at a time.
//!
//! ```text
//! store/lock                    held while a process has the store open
//! store/keys.cred               the sealing key, itself sealed by systemd-creds(1)
//! store/NAME/records-0000000001 lines of a hash chain, see `record::chain`; a new file every mebibyte
//! store/NAME/generation-2       a sealed value
//! ```

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::SecretName;
use crate::record::chain::{ChainError, Head};
use crate::record::{Contradiction, Record, Stage, Standing};
use crate::rotation::{Fault, FaultCode, Generation};
use crate::secret::{Fingerprint, FingerprintKey, SealingKey, SecretValue, UnsealError};
use crate::sys::files::{self, FileError};

mod ledger;

pub use ledger::Ledger;

/// Where rekeyd's store is.
pub const ROOT: &str = "/var/lib/rekeyd/store";

/// A sealed value is a line of text at most 64 KiB long.
const SEALED_LIMIT: u64 = 128 * 1024;

/// The keys of a store.
pub struct Keys {
    /// Seals the values.
    pub sealing: SealingKey,
    /// Makes the fingerprints.
    pub fingerprint: FingerprintKey,
}

impl Keys {
    /// How many random bytes make a store's keys.
    pub const LENGTH: usize = 64;

    /// The keys that are made of these bytes.
    pub fn from_bytes(bytes: &[u8; Self::LENGTH]) -> Self {
        let (mut sealing, mut fingerprint) = ([0; 32], [0; 32]);
        sealing.copy_from_slice(&bytes[..32]);
        fingerprint.copy_from_slice(&bytes[32..]);
        Self { sealing: SealingKey::new(sealing), fingerprint: FingerprintKey::new(fingerprint) }
    }
}

/// The store cannot do what it is for.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("another process has {0} open")]
    InUse(PathBuf),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A record's file is damaged.
    #[error("{file}: {source}", file = file.display())]
    Chain {
        /// The file.
        file: PathBuf,
        /// What is wrong in it.
        source: ChainError,
    },
    /// The records do not make sense.
    #[error("{file}: {source}", file = file.display())]
    Contradiction {
        /// The file.
        file: PathBuf,
        /// What does not fit.
        source: Contradiction,
    },
    /// A record cannot be written as JSON.
    #[error("a record cannot be written: {0}")]
    Encode(#[from] serde_json::Error),
    /// A sealed value cannot be opened.
    #[error("{file}: {source}", file = file.display())]
    Unseal {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: UnsealError,
    },
    /// The operating system's generator failed.
    #[error("the operating system gives no random bytes: {0}")]
    Random(#[from] rand::rngs::SysError),
    /// A value that was just written is read back otherwise.
    #[error("{0} was written and reads back otherwise: the disk or memory is faulty")]
    ReadBack(PathBuf),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::new(FaultCode::StoreFailed, format!("the store: {error}"))
            .advise("see to the disk that holds /var/lib/rekeyd; nothing is lost")
    }
}

/// An open store.
pub struct Store {
    root: PathBuf,
    keys: Keys,
    _lock: File,
}

/// The chain of a secret's records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chained {
    /// The records, oldest first, each with its hash.
    pub records: Vec<(Record, Head)>,
    /// The file and line that do not follow, and why; what comes after them is not in `records`.
    pub broken: Option<String>,
}

/// The lock of a store: taken before its keys are had.
pub struct StoreLock {
    root: PathBuf,
    lock: File,
}

impl StoreLock {
    /// Makes the store's directory where it is missing, and locks it.
    ///
    /// # Errors
    /// [`StoreError::InUse`] where another process has it, or what the file system says.
    pub fn take(root: &Path) -> Result<Self, StoreError> {
        files::ensure_dir(root, 0o700)?;
        let path = root.join("lock");
        let lock = files::open_or_create(&path, 0o600)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| StoreError::InUse(root.to_owned()))?;
        Ok(Self { root: root.to_owned(), lock })
    }

    /// The store, with its keys.
    pub fn open(self, keys: Keys) -> Store {
        Store { root: self.root, keys, _lock: self.lock }
    }
}

impl Store {
    /// The secrets that the store knows, configured or not.
    ///
    /// # Errors
    /// Where its directory cannot be read.
    pub fn secrets(&self) -> Result<Vec<SecretName>, StoreError> {
        secrets(&self.root)
    }

    /// The records of a secret; empty where it was never seen.
    ///
    /// # Errors
    /// Where they cannot be read: never to be taken for "there are none".
    pub fn ledger(&self, name: &SecretName) -> Result<Ledger, StoreError> {
        Ledger::open(self.root.join(name.as_str()), name.clone())
    }

    /// Every record of a secret, oldest first. Reads beside the ledger that is open: a record is there whole or not.
    ///
    /// # Errors
    /// As for [`Store::ledger`].
    pub fn history(&self, name: &SecretName) -> Result<Vec<Record>, StoreError> {
        ledger::history(&self.root.join(name.as_str()))
    }

    /// Every record with its hash, and where the chain is broken: for an audit.
    ///
    /// # Errors
    /// Where the files cannot be read.
    pub fn chained(&self, name: &SecretName) -> Result<Chained, StoreError> {
        ledger::chained(&self.root.join(name.as_str()))
    }

    /// The name of `value` that does not tell it.
    pub fn fingerprint(&self, value: &SecretValue) -> Fingerprint {
        self.keys.fingerprint.of(value)
    }

    /// Seals a value, durably, and reads it back.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn put(&self, name: &SecretName, generation: Generation, value: &SecretValue) -> Result<(), StoreError> {
        let sealed = self.keys.sealing.seal(&place(name, generation), value)?;
        files::ensure_dir(&self.root.join(name.as_str()), 0o700)?;
        let path = self.sealed_path(name, generation);
        files::replace(&path, &sealed, 0o600)?;
        if self.get(name, generation)?.is_same(value) { Ok(()) } else { Err(StoreError::ReadBack(path)) }
    }

    /// A value that was sealed.
    ///
    /// # Errors
    /// Where there is none, or it cannot be opened.
    pub fn get(&self, name: &SecretName, generation: Generation) -> Result<SecretValue, StoreError> {
        let path = self.sealed_path(name, generation);
        let sealed = files::read(&path, SEALED_LIMIT)?;
        let value = self.keys.sealing.unseal(&place(name, generation), &sealed);
        value.map_err(|source| StoreError::Unseal { file: path, source })
    }

    /// Whether a value of this generation was sealed.
    pub fn has(&self, name: &SecretName, generation: Generation) -> bool {
        self.sealed_path(name, generation).exists()
    }

    /// Forgets the values of generations that have been out of use for longer than `keep`. Best effort: what stays is
    /// removed after the next rotation.
    pub fn prune(&self, name: &SecretName, standing: &Standing, keep: std::time::Duration, now: jiff::Timestamp) {
        for generation in &standing.generations {
            let in_force =
                standing.in_force.iter().any(|view| view.generations().any(|used| used == generation.number));
            let out_of_use =
                !in_force && matches!(generation.stage, Stage::Previous | Stage::Retired | Stage::Rejected);
            let age = std::time::Duration::try_from(now.duration_since(generation.since)).unwrap_or_default();
            if out_of_use && age > keep {
                let _ = files::remove(&self.sealed_path(name, generation.number));
            }
        }
    }

    fn sealed_path(&self, name: &SecretName, generation: Generation) -> PathBuf {
        self.root.join(name.as_str()).join(format!("generation-{generation}"))
    }
}

/// What the records of a secret in the store at `root` add up to. Reads beside a process that has the store open, and
/// needs no key.
///
/// # Errors
/// Where they cannot be read: never to be taken for "there are none".
pub fn standing(root: &Path, name: &SecretName) -> Result<Standing, StoreError> {
    ledger::standing(&root.join(name.as_str()))
}

/// The secrets that the store at `root` knows, configured or not.
///
/// # Errors
/// Where the directory cannot be read.
pub fn secrets(root: &Path) -> Result<Vec<SecretName>, StoreError> {
    let dirs = files::list(root)?.into_iter().filter(|path| path.is_dir());
    let name = |path: PathBuf| SecretName::try_from(path.file_name()?.to_str()?.to_owned()).ok();
    Ok(dirs.filter_map(name).collect())
}

/// What a sealed value is bound to.
fn place(name: &SecretName, generation: Generation) -> String {
    format!("{name}/{generation}")
}
