//! What is kept of every secret: its records and its sealed values, root only, one process at a time.
//!
//! ```text
//! store/lock                    held while a process has the store open
//! store/keys.cred               the sealing key, itself sealed by systemd-creds(1)
//! store/NAME/records-0000000001 lines of a hash chain, see `record::chain`; a new file every mebibyte
//! store/NAME/generation-2       a sealed value
//! ```

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::SecretName;
use crate::record::chain::{ChainError, Head};
use crate::record::{Contradiction, Record, Stage, Standing};
use crate::rotation::{Fault, FaultCode, Generation};
use crate::secret::{Fingerprint, SecretValue, UnsealError};
use crate::sys::files::{self, FileError};

mod delivered;
mod keys;
mod ledger;

pub use delivered::newest_delivered;
pub use keys::{Keys, Locked};
pub use ledger::Ledger;

/// Where rekeyd's store is.
pub const ROOT: &str = "/var/lib/rekeyd/store";
/// Where the views are that units read.
pub const DELIVERED: &str = "/var/lib/rekeyd/delivered";
/// Where a store goes that is set aside for a new one.
const ASIDE: &str = "set-aside";

/// A sealed value is a line of text at most 64 KiB long.
const SEALED_LIMIT: u64 = 128 * 1024;

/// The store cannot do what it is for.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error("another process has {0} open")]
    InUse(PathBuf),
    /// Its key cannot be had.
    #[error("{0}")]
    Locked(Locked),
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
    /// The value of a generation is not there any more.
    #[error("the value of generation {generation} of {secret} is gone: there is no {file}", file = file.display())]
    Lost {
        /// The secret.
        secret: SecretName,
        /// The generation.
        generation: Generation,
        /// The file that it was in.
        file: PathBuf,
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
        if let StoreError::Locked(locked) = error {
            return locked.into();
        }
        let advice = match &error {
            StoreError::InUse(_) => "see who that is, fuser /var/lib/rekeyd/store/lock, and end it".to_owned(),
            StoreError::Lost { secret, .. } => format!(
                "put the file back from a backup; without one, rekeyctl forget {secret}, then rekeyctl adopt {secret} takes \
                 over the value that its consumers have"
            ),
            StoreError::Unseal { file, .. } => {
                format!("put {} back from a backup; without one, move it away, and see rekeyctl status", file.display())
            }
            _ => "see to the disk that holds /var/lib/rekeyd; the consumers keep the value that they have".to_owned(),
        };
        Self::new(FaultCode::StoreFailed, format!("the store: {error}")).advise(advice)
    }
}

/// An open store. Where its key cannot be had it is locked: its records can be read and written, its values not.
pub struct Store {
    root: PathBuf,
    keys: RwLock<Result<Keys, Locked>>,
    lock: File,
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

    /// The store, with its keys, or with the reason why they cannot be had.
    pub fn open(self, keys: Result<Keys, Locked>) -> Store {
        Store { root: self.root, keys: RwLock::new(keys), lock: self.lock }
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

    /// Why the store is locked, where it is.
    pub fn locked(&self) -> Option<Locked> {
        self.gone().or_else(|| self.keys.read().unwrap_or_else(PoisonError::into_inner).as_ref().err().cloned())
    }

    /// That this is not the store on disk any more: its lock is another file, or none. Who cannot tell believes that it is.
    fn gone(&self) -> Option<Locked> {
        let ours = self.lock.metadata().ok()?;
        let is_ours = match std::fs::metadata(self.root.join("lock")) {
            Ok(there) => (there.dev(), there.ino()) == (ours.dev(), ours.ino()),
            Err(error) => error.kind() != ErrorKind::NotFound,
        };
        (!is_ours).then_some(Locked::Gone)
    }

    /// Uses these keys from now on, or none for this reason.
    pub fn use_keys(&self, keys: Result<Keys, Locked>) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// Does something with the keys.
    ///
    /// # Errors
    /// Where the store is locked.
    pub fn with_keys<T>(&self, with: impl FnOnce(&Keys) -> T) -> Result<T, StoreError> {
        if let Some(gone) = self.gone() {
            return Err(StoreError::Locked(gone));
        }
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.as_ref().map(with).map_err(|reason| StoreError::Locked(reason.clone()))
    }

    /// The name of `value` that does not tell it.
    ///
    /// # Errors
    /// Where the store is locked.
    pub fn fingerprint(&self, value: &SecretValue) -> Result<Fingerprint, StoreError> {
        self.with_keys(|keys| keys.fingerprint(value))
    }

    /// Seals a value, durably, and reads it back.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn put(&self, name: &SecretName, generation: Generation, value: &SecretValue) -> Result<(), StoreError> {
        let sealed = self.with_keys(|keys| keys.seal(&place(name, generation), value))??;
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
        let sealed = match files::read(&path, SEALED_LIMIT) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(StoreError::Lost { secret: name.clone(), generation, file: path });
            }
            sealed => sealed?,
        };
        let value = self.with_keys(|keys| keys.unseal(&place(name, generation), &sealed))?;
        value.map_err(|source| StoreError::Unseal { file: path, source })
    }

    /// Whether a value of this generation was sealed.
    pub fn has(&self, name: &SecretName, generation: Generation) -> bool {
        self.sealed_path(name, generation).exists()
    }

    /// Forgets the values of generations that have been out of use for longer than `keep`. Best effort: what stays is
    /// removed after the next rotation. While nobody knows which value a consumer has, all are kept.
    pub fn prune(&self, name: &SecretName, standing: &Standing, keep: std::time::Duration, now: jiff::Timestamp) {
        if !standing.is_proven() {
            return;
        }
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

    /// Moves everything that is in the store into `set-aside/NAME` beside it, so that a new one can be begun. Done again
    /// where it was interrupted.
    ///
    /// # Errors
    /// Where something cannot be moved.
    pub fn set_aside(&self, name: &str) -> Result<PathBuf, StoreError> {
        let aside = self.root.with_file_name(ASIDE).join(name);
        files::ensure_dir(&self.root.with_file_name(ASIDE), 0o700)?;
        files::ensure_dir(&aside, 0o700)?;
        let mut paths = files::list(&self.root)?;
        // The key comes last: without it, what is left could not be told from a store that has lost it.
        paths.sort_by_key(|path| !path.is_dir());
        for path in paths.into_iter().filter(|path| path.file_name().is_some_and(|name| name != "lock")) {
            let to = aside.join(path.file_name().unwrap_or_default());
            std::fs::rename(&path, &to).map_err(|error| FileError::new("move", &path, error))?;
        }
        files::sync_parent(&aside.join("lock"))?;
        files::sync_parent(&self.root.join("lock"))?;
        Ok(aside)
    }

    /// The generations of a secret that have a value.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn sealed(&self, name: &SecretName) -> Result<Vec<Generation>, StoreError> {
        let number = |path: PathBuf| path.file_name()?.to_str()?.strip_prefix("generation-")?.parse().ok();
        let paths = files::list(&self.root.join(name.as_str()))?;
        Ok(paths.into_iter().filter_map(number).map(Generation).collect())
    }

    /// Forgets all values of a secret; its records stay.
    ///
    /// # Errors
    /// Where one cannot be removed.
    pub fn remove_values(&self, name: &SecretName) -> Result<(), StoreError> {
        for generation in self.sealed(name)? {
            files::remove(&self.sealed_path(name, generation))?;
        }
        Ok(())
    }

    /// Whether these keys open every value that is here.
    ///
    /// # Errors
    /// Where a file cannot be read, or a value does not open.
    pub fn try_keys(&self, keys: &Keys) -> Result<(), StoreError> {
        for name in self.secrets()? {
            for generation in self.sealed(&name)? {
                let path = self.sealed_path(&name, generation);
                let sealed = files::read(&path, SEALED_LIMIT)?;
                let opened = keys.unseal(&place(&name, generation), &sealed);
                opened.map_err(|source| StoreError::Unseal { file: path, source })?;
            }
        }
        Ok(())
    }

    /// Seals every value that is here with the newest key.
    ///
    /// # Errors
    /// Where one cannot be read or written; the others stay as they are, and readable.
    pub fn seal_again(&self) -> Result<(), StoreError> {
        for name in self.secrets()? {
            for generation in self.sealed(&name)? {
                let value = self.get(&name, generation)?;
                self.put(&name, generation, &value)?;
            }
        }
        Ok(())
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

/// Every record of a secret in the store at `root`, oldest first. Reads beside a process that has the store open.
///
/// # Errors
/// Where they cannot be read.
pub fn history(root: &Path, name: &SecretName) -> Result<Vec<Record>, StoreError> {
    ledger::history(&root.join(name.as_str()))
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
