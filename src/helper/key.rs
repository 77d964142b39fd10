//! `rekeyd helper key`: the store's keys, sealed by systemd-creds(1).
//!
//! systemd *deletes* the host's credential key when it decrypts under another machine-id than the one it was made
//! under, so the machine-id is compared before anything is decrypted.

use std::io::{BufRead, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::secret::random;
use crate::store::Keys;
use crate::sys::files;

const SYSTEMD_CREDS: &str = "/usr/bin/systemd-creds";
/// The name that the sealed key is bound to.
const NAME: &str = "--name=rekeyd-keys";

/// The answer, a line of JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Answer {
    /// The keys, in base64.
    Keys(String),
    /// Why they cannot be had.
    Refused(String),
}

impl Answer {
    /// The keys, or why they cannot be had.
    pub(super) fn keys(&self) -> Result<Keys, String> {
        let text = match self {
            Self::Keys(text) => text,
            Self::Refused(reason) => return Err(reason.clone()),
        };
        let bytes = Zeroizing::new(STANDARD.decode(text).unwrap_or_default());
        let exact: &[u8; Keys::LENGTH] = bytes.as_slice().try_into().map_err(|_| "the keys are damaged".to_owned())?;
        Ok(Keys::from_bytes(exact))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Self::Keys(keys) = self {
            keys.zeroize();
        }
    }
}

/// Answers on `output` with the keys of the store in `store`; makes them where the store is new.
///
/// # Errors
/// Where the answer cannot be written.
pub(super) fn run(store: &Path, input: &mut impl BufRead, output: &mut impl Write) -> std::io::Result<()> {
    // The request says nothing, but a socket that is closed with unread input loses the answer.
    input.take(16).read_line(&mut String::new())?;
    let keys = match Files::of(store).keys() {
        Ok(keys) => Answer::Keys(STANDARD.encode(&*keys)),
        Err(reason) => Answer::Refused(reason),
    };
    let line = Zeroizing::new(serde_json::to_string(&keys)?);
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
        let made_on = files::read(&self.machine, 4096).map_err(|error| error.to_string())?;
        if made_on.trim_ascii() != here.trim_ascii() {
            return Err(format!(
                "the store in {} was made on another machine (the machine-id differs), and its key is sealed to that one",
                self.store.display()
            ));
        }
        let sealed = files::read(&self.sealed, 1 << 20).map_err(|error| error.to_string())?;
        let keys = systemd_creds("decrypt", &sealed)?;
        if keys.len() == Keys::LENGTH { Ok(keys) } else { Err(format!("{} is damaged", self.sealed.display())) }
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
        let sealed = systemd_creds("encrypt", &keys)?;
        let written =
            files::replace(&self.machine, machine_id, 0o600).and_then(|_| files::replace(&self.sealed, &sealed, 0o600));
        written.map_err(|error| error.to_string())?;
        Ok(keys)
    }
}

/// Runs `systemd-creds VERB --name=… - -`: both values pass through pipes.
fn systemd_creds(verb: &str, input: &[u8]) -> Result<Bytes, String> {
    let failed = |error: std::io::Error| format!("systemd-creds {verb}: {error}");
    let mut child = Command::new(SYSTEMD_CREDS)
        .args([verb, NAME, "-", "-"])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    // The input is smaller than a pipe holds, so that writing all of it before reading cannot block.
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input).map_err(failed)?;
    }
    let mut output = Zeroizing::new(Vec::with_capacity(64 * 1024));
    if let Some(stdout) = child.stdout.take() {
        stdout.take(64 * 1024).read_to_end(&mut output).map_err(failed)?;
    }
    let rest = child.wait_with_output().map_err(failed)?;
    if rest.status.success() {
        Ok(output)
    } else {
        Err(format!("systemd-creds {verb} failed: {}", String::from_utf8_lossy(&rest.stderr).trim()))
    }
}
