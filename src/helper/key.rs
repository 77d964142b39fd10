//! `rekeyd helper key`: the store's keys, sealed by systemd-creds(1), and credentials of units, sealed likewise.
//!
//! systemd *deletes* the host's credential key when it decrypts under another machine-id than the one it was made
//! under, so the machine-id is compared before anything is decrypted.

use std::io::{BufRead, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, Zeroizing};

use crate::secret::random;
use crate::store::Keys;
use crate::sys::files;

const SYSTEMD_CREDS: &str = "/usr/bin/systemd-creds";
/// The name that the sealed key is bound to.
const NAME: &str = "rekeyd-keys";
/// systemd takes no credential that is larger.
const LARGEST_CREDENTIAL: u64 = 1 << 20;

/// The request, a line of JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Request {
    /// The keys of the store.
    Keys,
    /// A value, sealed with the host's key as a credential of this name.
    Seal {
        /// The name that it is bound to.
        name: String,
        /// The value, in base64.
        value: String,
    },
}

impl Drop for Request {
    fn drop(&mut self) {
        if let Self::Seal { value, .. } = self {
            value.zeroize();
        }
    }
}

/// The answer, a line of JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Answer {
    /// The keys, in base64.
    Keys(String),
    /// A credential that was sealed, and read back: text.
    Sealed(String),
    /// Why they cannot be had.
    Refused(String),
}

impl Answer {
    /// The keys, or why they cannot be had.
    pub(super) fn keys(&self) -> Result<Keys, String> {
        let text = match self {
            Self::Keys(text) => text,
            Self::Refused(reason) => return Err(reason.clone()),
            Self::Sealed(_) => return Err("the answer is one to another question".to_owned()),
        };
        let bytes = Zeroizing::new(STANDARD.decode(text).unwrap_or_default());
        let exact: &[u8; Keys::LENGTH] = bytes.as_slice().try_into().map_err(|_| "the keys are damaged".to_owned())?;
        Ok(Keys::from_bytes(exact))
    }

    /// The sealed credential, or why it cannot be sealed.
    pub(super) fn sealed(&self) -> Result<String, String> {
        match self {
            Self::Sealed(text) => Ok(text.clone()),
            Self::Refused(reason) => Err(reason.clone()),
            Self::Keys(_) => Err("the answer is one to another question".to_owned()),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Self::Keys(keys) = self {
            keys.zeroize();
        }
    }
}

/// Answers on `output`: with the keys of the store in `store`, made where the store is new, or with a credential.
///
/// # Errors
/// Where the request cannot be understood, or the answer not be written.
pub(super) fn run(store: &Path, input: &mut impl BufRead, output: &mut impl Write) -> std::io::Result<()> {
    let mut request = Zeroizing::new(String::with_capacity(64 * 1024));
    input.take(super::LARGEST).read_line(&mut request)?;
    let files = Files::of(store);
    let answer = match &serde_json::from_str(&request).map_err(|_| std::io::Error::other("not a request"))? {
        Request::Keys => files.keys().map(|keys| Answer::Keys(STANDARD.encode(&*keys))),
        Request::Seal { name, value } => files.seal(name, value).map(Answer::Sealed),
    };
    let line = Zeroizing::new(serde_json::to_string(&answer.unwrap_or_else(Answer::Refused))?);
    writeln!(output, "{}", *line)?;
    output.flush()
}

struct Files {
    store: PathBuf,
    sealed: PathBuf,
    machine: PathBuf,
}

type Bytes = Zeroizing<Vec<u8>>;

impl Files {
    fn of(store: &Path) -> Self {
        let store = store.to_owned();
        Self { sealed: store.join("keys.cred"), machine: store.join("machine-id"), store }
    }

    fn keys(&self) -> Result<Bytes, String> {
        let here = files::read(Path::new("/etc/machine-id"), 4096).map_err(|error| error.to_string())?;
        if !self.sealed.exists() {
            return self.make(&here);
        }
        self.check_machine(&here)?;
        let sealed = files::read(&self.sealed, 1 << 20).map_err(|error| error.to_string())?;
        let keys = systemd_creds(&["decrypt", &format!("--name={NAME}")], &sealed)?;
        if keys.len() == Keys::LENGTH { Ok(keys) } else { Err(format!("{} is damaged", self.sealed.display())) }
    }

    fn check_machine(&self, here: &[u8]) -> Result<(), String> {
        let made_on = files::read(&self.machine, 4096).map_err(|error| error.to_string())?;
        if made_on.trim_ascii() == here.trim_ascii() {
            return Ok(());
        }
        Err(format!(
            "the store in {} was made on another machine (the machine-id differs), and its key is sealed to that one",
            self.store.display()
        ))
    }

    /// Seals a credential, and reads it back: what systemd could not unseal must not be delivered.
    fn seal(&self, name: &str, value: &str) -> Result<String, String> {
        let here = files::read(Path::new("/etc/machine-id"), 4096).map_err(|error| error.to_string())?;
        self.check_machine(&here)?;
        let value = Zeroizing::new(STANDARD.decode(value).map_err(|_| "the value is not base64".to_owned())?);
        let name = format!("--name={name}");
        let sealed = systemd_creds(&["encrypt", "--with-key=host", &name], &value)?;
        let unsealed = systemd_creds(&["decrypt", &name], &sealed)?;
        if !bool::from(unsealed.as_slice().ct_eq(value.as_slice())) {
            return Err("systemd-creds does not unseal what it has sealed".to_owned());
        }
        String::from_utf8(sealed.to_vec()).map_err(|_| "systemd-creds wrote no text".to_owned())
    }

    /// New keys, for a store that holds nothing yet: with other keys what it holds would be lost.
    fn make(&self, machine_id: &[u8]) -> Result<Bytes, String> {
        let holds = files::list(&self.store).map_err(|error| error.to_string())?;
        if holds.iter().any(|path| path.is_dir()) {
            return Err(format!(
                "{} is missing, though the store holds values that it had sealed",
                self.sealed.display()
            ));
        }
        let keys: Bytes = Zeroizing::new(random::<{ Keys::LENGTH }>().map_err(|error| error.to_string())?.to_vec());
        let sealed = systemd_creds(&["encrypt", &format!("--name={NAME}")], &keys)?;
        let written =
            files::replace(&self.machine, machine_id, 0o600).and_then(|_| files::replace(&self.sealed, &sealed, 0o600));
        written.map_err(|error| error.to_string())?;
        Ok(keys)
    }
}

/// Runs `systemd-creds VERB --name=… - -`: both values pass through pipes.
fn systemd_creds(arguments: &[&str], input: &[u8]) -> Result<Bytes, String> {
    let verb = arguments.first().copied().unwrap_or_default();
    let failed = |error: std::io::Error| format!("systemd-creds {verb}: {error}");
    let mut child = Command::new(SYSTEMD_CREDS)
        .args(arguments)
        .args(["-", "-"])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    // It reads all of its input before it writes anything, so that neither side can block.
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input).map_err(failed)?;
    }
    let mut output = Zeroizing::new(Vec::with_capacity(64 * 1024));
    if let Some(stdout) = child.stdout.take() {
        stdout.take(2 * LARGEST_CREDENTIAL).read_to_end(&mut output).map_err(failed)?;
    }
    let rest = child.wait_with_output().map_err(failed)?;
    if rest.status.success() {
        Ok(output)
    } else {
        Err(format!("systemd-creds {verb} failed: {}", String::from_utf8_lossy(&rest.stderr).trim()))
    }
}
