//! Where a checkout's records and sealed values are: in the user's state directory, one directory for each file of a secret.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::directory_of;
use crate::store::Keys;
use crate::sys::{files, git};

/// The key is a line of hexadecimal digits.
const KEY_LIMIT: u64 = 1024;

/// The place of a checkout's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    directory: PathBuf,
    /// The secret's file.
    file: PathBuf,
}

/// It cannot be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub advice: String,
}

impl Unusable {
    fn new(problem: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { problem: problem.into(), advice: advice.into() }
    }
}

impl State {
    /// That of the secret's file at `file`: in `chosen`, or in the user's state directory (XDG Base Directory
    /// Specification), under the name of the checkout.
    ///
    /// # Errors
    /// Where that is nowhere.
    pub fn of(file: &Path, chosen: Option<&Path>) -> Result<Self, Unusable> {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let file = file.canonicalize().unwrap_or_else(|_| absolute(file));
        if let Some(chosen) = chosen {
            return Ok(Self { directory: absolute(chosen), file });
        }
        let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let base = variable("XDG_STATE_HOME").or_else(|| Some(variable("HOME")?.join(".local/state")));
        let base = base.ok_or_else(|| {
            Unusable::new("neither $XDG_STATE_HOME nor $HOME says where the state goes", "name it with --state-dir")
        })?;
        let checkout = directory_of(&file);
        let name = checkout.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let hash = hex::encode(&Sha256::digest(file.as_os_str().as_encoded_bytes())[..6]);
        Ok(Self { directory: base.join("rekeyd").join(format!("{name}-{hash}")), file })
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// The directory that the secret's file is in.
    pub fn checkout(&self) -> PathBuf {
        directory_of(&self.file)
    }

    /// The store.
    pub fn store(&self) -> PathBuf {
        self.directory.join("store")
    }

    /// What programs printed that failed.
    pub fn output(&self) -> PathBuf {
        self.directory.join("output")
    }

    fn key(&self) -> PathBuf {
        self.directory.join("key")
    }

    /// Makes it, for its user alone, and out of git's reach.
    pub(super) fn make(&self) -> Result<(), Unusable> {
        let directory = self.directory.display();
        let unwritable = |error: String| Unusable::new(error, "name another place with --state-dir");
        files::ensure_dir(&self.directory, 0o700).map_err(|error| unwritable(error.to_string()))?;
        let stat = std::fs::metadata(&self.directory).map_err(|error| unwritable(format!("{directory}: {error}")))?;
        if stat.uid() != rustix::process::geteuid().as_raw() {
            return Err(unwritable(format!("{directory} belongs to user {}", stat.uid())));
        }
        if stat.mode() & 0o077 != 0 {
            return Err(Unusable::new(format!("others may look into {directory}"), format!("chmod 700 {directory}")));
        }
        let unsure = |(problem, advice)| Unusable { problem, advice };
        if git::standing(&self.key()).map_err(unsure)? != git::Standing::Outside {
            files::replace(&self.directory.join(".gitignore"), b"*\n", 0o600)
                .map_err(|error| unwritable(error.to_string()))?;
            if let Some(problem) = git::standing(&self.key()).map_err(unsure)?.problem(&self.key()) {
                return Err(unsure(problem));
            }
        }
        // For people who wonder what this is.
        let of = format!("{}\n", self.file.display());
        files::replace(&self.directory.join("of"), of.as_bytes(), 0o600)
            .map_err(|error| unwritable(error.to_string()))?;
        Ok(())
    }

    /// The keys; made where the store is new.
    pub(super) fn keys(&self, is_new: bool) -> Result<Keys, String> {
        let path = self.key();
        match files::read(&path, KEY_LIMIT).map(Zeroizing::new) {
            Ok(text) => {
                let bytes = hex::decode(text.trim_ascii()).map(Zeroizing::new).unwrap_or_default();
                Keys::from_bytes(&bytes).ok_or_else(|| format!("{} has no keys in it", path.display()))
            }
            Err(error) if error.kind() == ErrorKind::NotFound && is_new => {
                let keys = Keys::make().map_err(|error| format!("the system gives no random bytes: {error}"))?;
                let text = Zeroizing::new(hex::encode(&*keys.to_bytes()) + "\n");
                files::replace(&path, text.as_bytes(), 0o600).map_err(|error| error.to_string())?;
                Ok(keys)
            }
            Err(error) => Err(error.to_string()),
        }
    }
}
