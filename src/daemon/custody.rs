//! What root may ask of the store itself: a value, its key, a store begun anew. And what follows when its key can be had
//! again.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use super::state::Daemon;
use super::{rotations, schedule};
use crate::config::SecretName;
use crate::dbus::rekeyd1::Error;
use crate::helper::{HelperError, KeyHelper};
use crate::record::journal::{Entry, Priority};
use crate::record::text::fault_in_words;
use crate::record::{Actor, Happening, message_id};
use crate::rotation::{Fault, Generation};
use crate::secret::passphrase::{self, PassphraseError};
use crate::store::{Keys, Locked, StoreError};

/// How often a key helper that does not answer is asked again.
const AGAIN: Duration = Duration::from_secs(60);
/// Whoever passes a descriptor has what is in it ready, or takes what is written to it.
const LIMIT: Duration = Duration::from_secs(20);
/// An export or a passphrase is smaller.
const LARGEST: u64 = 64 * 1024;

/// At the daemon's start: says why the store is locked, and keeps asking for its key where that may help; finishes a
/// renewal of the key that was interrupted.
pub fn begin(daemon: &Arc<Daemon>) {
    let Some(locked) = daemon.store.locked() else { return renew_to_the_end(daemon) };
    let fault = Fault::from(locked.clone());
    let text = format!("the store is locked: {}", fault_in_words(&fault));
    let mut entry = Entry::new(Priority::Critical, message_id::STORE_LOCKED, text);
    (entry.reason, entry.advice) = (Some(fault.message), Some(fault.advice));
    daemon.journal.send(entry, &Arc::from([]));
    if matches!(locked, Locked::Unreachable(_)) {
        let daemon = Arc::clone(daemon);
        tokio::spawn(async move {
            while matches!(daemon.store.locked(), Some(Locked::Unreachable(_))) {
                sleep(AGAIN).await;
                unlock(&daemon).await;
            }
        });
    }
}

/// Asks for the key again where the store is locked, and goes on with what waits for it.
pub async fn unlock(daemon: &Arc<Daemon>) {
    if daemon.store.locked().is_none() {
        return;
    }
    let keys = KeyHelper::default().keys().await;
    let is_unlocked = keys.is_ok();
    daemon.store.use_keys(keys);
    if is_unlocked {
        go_on(daemon).await;
    }
}

async fn go_on(daemon: &Arc<Daemon>) {
    daemon.journal.tell(Priority::Notice, message_id::STORE_UNLOCKED, "the store's key is back, and the store is open");
    renew_to_the_end(daemon);
    rotations::repair_all(daemon).await;
    rotations::resume_all(daemon);
    schedule::arm_again(daemon).await;
}

/// Gives the value of a generation, of the one in force where it is 0, and records that first.
///
/// # Errors
/// Where there is none, or it cannot be written.
pub async fn reveal(
    daemon: &Arc<Daemon>,
    actor: Actor,
    name: &SecretName,
    generation: u32,
    to: OwnedFd,
) -> Result<(), Error> {
    if rustix::termios::isatty(&to) {
        return Err(Error::Failed("a value is never written to a terminal: pass a file or a pipe".to_owned()));
    }
    let charge = daemon.charge(name);
    let mut ledger = charge.ledger_for_acting().await?;
    let standing = charge.standing();
    let in_force = standing.in_force.as_ref().map(|view| view.primary);
    let wanted = if generation == 0 { in_force } else { Some(Generation(generation)) };
    let wanted = wanted.filter(|wanted| daemon.store.has(name, *wanted)).ok_or_else(|| {
        let sealed = daemon.store.sealed(name).unwrap_or_default();
        let numbers: Vec<String> = sealed.iter().map(ToString::to_string).collect();
        let there = if numbers.is_empty() { "it has no value of it".to_owned() } else { numbers.join(", ") };
        Error::UnknownSecret(format!("the store has no such generation of {name}: {there}"))
    })?;
    let value = daemon.store.get(name, wanted).map_err(failed)?;
    daemon.append(&charge, &mut ledger, Happening::Revealed { generation: wanted, actor })?;
    write(to, Zeroizing::new(value.reveal().to_vec())).await
}

/// Writes the store's keys, sealed with a passphrase.
///
/// # Errors
/// Where the store is locked, or the passphrase too short.
pub async fn export_key(daemon: &Arc<Daemon>, actor: &Actor, passphrase: OwnedFd, to: OwnedFd) -> Result<(), Error> {
    let passphrase = read(passphrase).await?;
    let _alone = daemon.renewing.lock().await;
    let keys = daemon.store.with_keys(Keys::to_bytes).map_err(failed)?;
    let sealed = computed(move || passphrase::lock(line(&passphrase), &keys)).await?;
    tell(daemon, Priority::Warning, format!("the store's key was exported, sealed with a passphrase, by {actor}"));
    write(to, Zeroizing::new(sealed.into_bytes())).await
}

/// Gives the store the keys of an export, where they open all that it has; those that it had are kept beside them.
///
/// # Errors
/// Where the passphrase is another one, or the keys do not open what is in the store.
pub async fn import_key(daemon: &Arc<Daemon>, actor: &Actor, from: OwnedFd, passphrase: OwnedFd) -> Result<(), Error> {
    let (export, passphrase) = (read(from).await?, read(passphrase).await?);
    let opened = computed(move || {
        let text = std::str::from_utf8(&export).map_err(|_| PassphraseError::Format)?;
        passphrase::open(line(&passphrase), text)
    });
    let keys = opened.await?;
    let keys = Keys::from_bytes(&keys).ok_or_else(|| Error::Failed("the export has no keys".to_owned()))?;
    let _alone = daemon.renewing.lock().await;
    daemon.store.try_keys(&keys).map_err(|error| {
        let why = "these are the keys of another store, or were exported before this store's key was last rotated";
        Error::Failed(format!("{why}; nothing was changed: {error}"))
    })?;
    KeyHelper::default().replace(&keys, true).await.map_err(helper_failed)?;
    let was_locked = daemon.store.locked().is_some();
    daemon.store.use_keys(Ok(keys));
    tell(daemon, Priority::Warning, format!("the store's key was imported by {actor}"));
    if was_locked {
        go_on(daemon).await;
    }
    Ok(())
}

/// Makes a new key for the store and seals every value with it.
///
/// # Errors
/// Where the store is locked or cannot be written. Every value can be read at any moment of it.
pub async fn rotate_key(daemon: &Arc<Daemon>, actor: &Actor) -> Result<(), Error> {
    // Of two at once the keys of one would be gone, with what is sealed with them.
    let _alone = daemon.renewing.lock().await;
    let renewed = daemon.store.with_keys(Keys::renewed).map_err(failed)?;
    let renewed = renewed.map_err(|error| Error::Failed(error.to_string()))?;
    KeyHelper::default().replace(&renewed, false).await.map_err(helper_failed)?;
    daemon.store.use_keys(Ok(renewed));
    finish_renewal(daemon).await.map_err(|fault| {
        let fault = fault_in_words(&fault);
        Error::Failed(format!(
            "the store has a new key, but not all of it is sealed with that yet: {fault}; say it again"
        ))
    })?;
    tell(daemon, Priority::Notice, format!("the store's key was renewed by {actor}, and every value sealed with it"));
    Ok(())
}

/// A renewal of the key that was interrupted is finished.
fn renew_to_the_end(daemon: &Arc<Daemon>) {
    if daemon.store.with_keys(Keys::have_former).unwrap_or(false) {
        let daemon = Arc::clone(daemon);
        tokio::spawn(async move {
            let _alone = daemon.renewing.lock().await;
            if let Err(error) = finish_renewal(&daemon).await {
                let text = format!("the renewal of the store's key cannot be finished: {error}; rekeyctl key rotate");
                daemon.journal.trouble(Priority::Error, None, &text);
            }
        });
    }
}

async fn finish_renewal(daemon: &Daemon) -> Result<(), Fault> {
    daemon.store.seal_again()?;
    let new = daemon.store.with_keys(Keys::without_former)?;
    KeyHelper::default().replace(&new, false).await?;
    daemon.store.use_keys(Ok(new));
    Ok(())
}

/// Sets aside a store that was made on another machine, and begins a new one. Returns where the old one is now.
///
/// # Errors
/// Where the store is one of this machine.
pub async fn begin_anew(daemon: &Arc<Daemon>, actor: &Actor) -> Result<String, Error> {
    if !matches!(daemon.store.locked(), Some(Locked::MadeElsewhere)) {
        return Err(Error::Skipped("the store was made on this machine: nothing to do".to_owned()));
    }
    let name = jiff::Timestamp::now().strftime("%Y-%m-%dT%H%M%SZ").to_string();
    let aside = daemon.store.set_aside(&name).map_err(failed)?.display().to_string();
    daemon.forget_charges();
    let text =
        format!("the store was made on another machine; it was set aside as {aside} and a new one begun by {actor}");
    tell(daemon, Priority::Warning, text);
    unlock(daemon).await;
    daemon.unlocked()?;
    Ok(aside)
}

fn tell(daemon: &Daemon, priority: Priority, text: String) {
    daemon.journal.tell(priority, message_id::KEY_CHANGED, text);
}

/// A passphrase without the end of its line.
fn line(passphrase: &[u8]) -> &[u8] {
    passphrase.strip_suffix(b"\n").unwrap_or(passphrase)
}

async fn computed<T: Send + 'static>(
    compute: impl FnOnce() -> Result<T, PassphraseError> + Send + 'static,
) -> Result<T, Error> {
    let computed = spawn_blocking(compute).await.map_err(|error| Error::Failed(error.to_string()))?;
    computed.map_err(|error| Error::Failed(error.to_string()))
}

async fn read(from: OwnedFd) -> Result<Zeroizing<Vec<u8>>, Error> {
    let reading = spawn_blocking(move || {
        let mut bytes = Zeroizing::new(Vec::with_capacity(64 * 1024 + 1));
        File::from(from).take(LARGEST).read_to_end(&mut bytes).map(|_| bytes)
    });
    passed(timeout(LIMIT, reading).await)
}

async fn write(to: OwnedFd, bytes: Zeroizing<Vec<u8>>) -> Result<(), Error> {
    // One that does not block would lose what does not fit at once.
    let flags = rustix::fs::fcntl_getfl(to.as_fd()).unwrap_or(rustix::fs::OFlags::empty());
    let _ = rustix::fs::fcntl_setfl(to.as_fd(), flags - rustix::fs::OFlags::NONBLOCK);
    passed(timeout(LIMIT, spawn_blocking(move || File::from(to).write_all(&bytes))).await)
}

type Blocking<T> = Result<Result<std::io::Result<T>, tokio::task::JoinError>, tokio::time::error::Elapsed>;

fn passed<T>(done: Blocking<T>) -> Result<T, Error> {
    let failed = |why: &dyn std::fmt::Display| Error::Failed(format!("the descriptor that was passed: {why}"));
    match done {
        Ok(Ok(done)) => done.map_err(|error| failed(&error)),
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Err(failed(&"nothing came of it in time")),
    }
}

fn failed(error: StoreError) -> Error {
    Fault::from(error).into()
}

fn helper_failed(error: HelperError) -> Error {
    Fault::from(error).into()
}
