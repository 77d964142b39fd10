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

use crate::store::{Keys, Locked};
use crate::sys::files;

const SYSTEMD_CREDS: &str = "/usr/bin/systemd-creds";
/// The name that the sealed key is bound to.
const NAME: &str = "rekeyd-keys";
/// Says in this helper's environment what the keys are sealed with.
const SEAL_WITH: &str = "REKEYD_SEAL_WITH";
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
    /// From now on the store has these keys, on this machine.
    Replace {
        /// The keys, in base64.
        keys: String,
        /// Whether those that it had are kept beside them.
        keep: bool,
    },
}

impl Drop for Request {
    fn drop(&mut self) {
        match self {
            Self::Seal { value: secret, .. } | Self::Replace { keys: secret, .. } => secret.zeroize(),
            Self::Keys => {}
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
    /// The keys were replaced.
    Replaced,
    /// The store was made on another machine.
    MadeElsewhere,
    /// Why it cannot be done.
    Refused(String),
}

impl Answer {
    /// The keys, or why they cannot be had.
    pub(super) fn keys(&self) -> Result<Keys, Locked> {
        let text = match self {
            Self::Keys(text) => text,
            Self::MadeElsewhere => return Err(Locked::MadeElsewhere),
            _ => return Err(Locked::NoKey(self.reason())),
        };
        let bytes = Zeroizing::new(STANDARD.decode(text).unwrap_or_default());
        Keys::from_bytes(&bytes).ok_or_else(|| Locked::NoKey("the keys are damaged".to_owned()))
    }

    /// The sealed credential, or why it cannot be sealed.
    pub(super) fn sealed(&self) -> Result<String, String> {
        match self {
            Self::Sealed(text) => Ok(text.clone()),
            _ => Err(self.reason()),
        }
    }

    /// Why the keys cannot be replaced, where they are not.
    pub(super) fn replaced(&self) -> Result<(), String> {
        if matches!(self, Self::Replaced) { Ok(()) } else { Err(self.reason()) }
    }

    fn reason(&self) -> String {
        match self {
            Self::Refused(reason) => reason.clone(),
            Self::MadeElsewhere => "the store was made on another machine (the machine-id differs)".to_owned(),
            _ => "the answer is one to another question".to_owned(),
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
        Request::Replace { keys, keep } => files.replace(keys, *keep).map(|()| Answer::Replaced),
    };
    let line = Zeroizing::new(serde_json::to_string(&answer.unwrap_or_else(Into::into))?);
    writeln!(output, "{}", *line)?;
    output.flush()
}

struct Files {
    store: PathBuf,
    sealed: PathBuf,
    machine: PathBuf,
}

type Bytes = Zeroizing<Vec<u8>>;

/// Why a key or credential cannot be had.
enum Refusal {
    MadeElsewhere,
    Because(String),
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self::Because(reason)
    }
}

impl From<files::FileError> for Refusal {
    fn from(error: files::FileError) -> Self {
        Self::Because(error.to_string())
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::MadeElsewhere => Self::MadeElsewhere,
            Refusal::Because(reason) => Self::Refused(reason),
        }
    }
}

impl Files {
    fn of(store: &Path) -> Self {
        let store = store.to_owned();
        Self { sealed: store.join("keys.cred"), machine: store.join("machine-id"), store }
    }

    fn keys(&self) -> Result<Bytes, Refusal> {
        let here = machine_id()?;
        if !self.sealed.exists() {
            return self.make(&here);
        }
        self.check_machine(&here)?;
        let sealed = files::read(&self.sealed, 1 << 20)?;
        let keys = systemd_creds(&["decrypt", &format!("--name={NAME}")], &sealed)?;
        let is_whole = Keys::from_bytes(&keys).is_some();
        if is_whole { Ok(keys) } else { Err(format!("{} is damaged", self.sealed.display()).into()) }
    }

    fn check_machine(&self, here: &[u8]) -> Result<(), Refusal> {
        let made_on = files::read(&self.machine, 4096)?;
        if made_on.trim_ascii() == here.trim_ascii() { Ok(()) } else { Err(Refusal::MadeElsewhere) }
    }

    /// Seals a credential, and reads it back: what systemd could not unseal must not be delivered.
    fn seal(&self, name: &str, value: &str) -> Result<String, Refusal> {
        self.check_machine(&machine_id()?)?;
        let value = Zeroizing::new(STANDARD.decode(value).map_err(|_| "the value is not base64".to_owned())?);
        let name = format!("--name={name}");
        let sealed = seal_and_read_back(&["encrypt", "--with-key=host", &name], &name, &value)?;
        Ok(String::from_utf8(sealed.to_vec()).map_err(|_| "systemd-creds wrote no text".to_owned())?)
    }

    /// New keys, for a store that holds nothing yet: with other keys what it holds would be lost.
    fn make(&self, machine_id: &[u8]) -> Result<Bytes, Refusal> {
        let holds = files::list(&self.store)?;
        if holds.iter().any(|path| path.is_dir()) {
            return Err(format!(
                "{} is missing, though the store holds values that it had sealed",
                self.sealed.display()
            )
            .into());
        }
        let keys = Keys::make().map_err(|error| error.to_string())?.to_bytes();
        self.write(&keys, machine_id)?;
        Ok(keys)
    }

    /// Other keys, sealed to this machine.
    fn replace(&self, keys: &str, keep: bool) -> Result<(), Refusal> {
        let keys = Zeroizing::new(STANDARD.decode(keys).unwrap_or_default());
        if Keys::from_bytes(&keys).is_none() {
            return Err("these are no keys".to_owned().into());
        }
        let kept = self.store.join("keys.cred.before-import");
        if keep && self.sealed.exists() {
            files::replace(&kept, &files::read(&self.sealed, 1 << 20)?, 0o600)?;
        }
        self.write(&keys, &machine_id()?)?;
        if !keep {
            files::remove(&kept)?;
        }
        Ok(())
    }

    fn write(&self, keys: &[u8], machine_id: &[u8]) -> Result<(), Refusal> {
        let name = format!("--name={NAME}");
        let seal: &[&str] = match std::env::var(SEAL_WITH).as_deref() {
            Err(_) | Ok("host") => &["--with-key=host"],
            // Without PCRs: an update of the firmware must not lock the store.
            Ok("host+tpm2") => &["--with-key=host+tpm2", "--tpm2-pcrs="],
            Ok(other) => return Err(format!("{SEAL_WITH}={other}: host and host+tpm2 are known").into()),
        };
        let sealed = seal_and_read_back(&[&["encrypt", &name], seal].concat(), &name, keys)?;
        files::replace(&self.machine, machine_id, 0o600)?;
        files::replace(&self.sealed, &sealed, 0o600)?;
        Ok(())
    }
}

fn machine_id() -> Result<Vec<u8>, Refusal> {
    Ok(files::read(Path::new("/etc/machine-id"), 4096)?)
}

fn seal_and_read_back(seal: &[&str], name: &str, value: &[u8]) -> Result<Bytes, String> {
    let sealed = systemd_creds(seal, value)?;
    let unsealed = systemd_creds(&["decrypt", name], &sealed)?;
    if bool::from(unsealed.as_slice().ct_eq(value)) {
        Ok(sealed)
    } else {
        Err("systemd-creds does not unseal what it has sealed".to_owned())
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
