//! Letting go of a secret: what is rekeyd's goes, what a service still reads stays, and is named.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::state::Daemon;
use super::timers;
use crate::config::{SecretName, TargetSettings};
use crate::dbus::rekeyd1::{Error, Forgotten};
use crate::dbus::systemd1::{OUTPUT, Systemd, SystemdError};
use crate::record::text::fault_in_words;
use crate::record::{Actor, Happening};
use crate::rotation::Fault;
use crate::store::DELIVERED;
use crate::sys::files;

/// No unit file is larger.
const LARGEST: u64 = 1 << 20;
/// What is kept of what a secret's programs printed, which may be a value, is named so.
const PROGRAMS: [&str; 4] = ["restart", "command", "compose", "pm2"];

/// Lets go of a secret: its values are removed from the store, and where nothing reads what was delivered, that too. The
/// records stay. Said again once nothing reads it any more, it removes what had stayed.
///
/// # Errors
/// Where nothing of it is here, or a rotation is under way.
pub async fn forget(daemon: &Arc<Daemon>, actor: Actor, name: &SecretName) -> Result<Forgotten, Error> {
    let charge = daemon.charge(name);
    let mut ledger = charge.ledger_for_acting().await?;
    let standing = charge.standing();
    if standing.transaction.is_some() {
        return Err(charge.is_busy());
    }
    let delivered = Path::new(DELIVERED).join(name.as_str());
    let is_known = standing.in_force.is_some() || !daemon.store.sealed(name).unwrap_or_default().is_empty();
    if !is_known && !delivered.exists() {
        return Err(Error::UnknownSecret(format!("there is nothing of {name} here")));
    }
    if is_known {
        daemon.append(&charge, &mut ledger, Happening::Forgotten { actor })?;
        daemon.store.remove_values(name).map_err(half_done)?;
        timers::disarm(&daemon.systemd, name).await;
    }
    remove_output(&daemon.systemd, name).await;
    let readers = readers(&daemon.systemd, name, &delivered).await.map_err(half_done)?;
    if readers.is_empty() && delivered.exists() {
        std::fs::remove_dir_all(&delivered)
            .map_err(|error| Error::Failed(format!("cannot remove {}: {error}", delivered.display())))?;
    }
    let settings = daemon.settings();
    let secret = settings.secrets.get(name);
    let targets = secret.map(|secret| secret.targets.as_slice()).unwrap_or_default();
    let elsewhere = targets.iter().filter(|target| !matches!(target, TargetSettings::Systemd(_)));
    Ok(Forgotten {
        delivered: delivered.exists().then(|| delivered.join("current").display().to_string()),
        drop_ins: readers,
        elsewhere: elsewhere.map(TargetSettings::label).collect(),
        accepted: standing.in_force.map(|view| view.accepted).unwrap_or_default(),
        file: secret.map(|secret| secret.file.display().to_string()),
    })
}

/// What reads what was delivered: the unit files and drop-ins; where there are none any more, the units that systemd still has
/// loaded like that. A drop-in with the value in it is one of them.
async fn readers(systemd: &Systemd, name: &SecretName, delivered: &Path) -> Result<Vec<String>, SystemdError> {
    let directories = systemd.unit_directories().await?;
    let own = format!("90-rekeyd-{name}.conf");
    let is_reader = |path: &PathBuf| {
        let text = files::read(path, LARGEST).unwrap_or_default();
        path.ends_with(&own) || is_named(&String::from_utf8_lossy(&text), delivered)
    };
    let mut readers: Vec<String> =
        unit_files(&directories).filter(is_reader).map(|path| path.display().to_string()).collect();
    if readers.is_empty() && delivered.exists() {
        for unit in systemd.loaded_units("*.service").await? {
            let unit = systemd.unit(&unit).await?;
            let files = unit.environment_files.iter().map(|(path, _)| path);
            let credentials = unit.credentials.iter().chain(&unit.encrypted_credentials).map(|(_, path)| path);
            if files.chain(credentials).any(|path| Path::new(path).starts_with(delivered)) {
                readers.push(format!("{}, until a daemon-reload", unit.id));
            }
        }
    }
    Ok(readers)
}

fn unit_files(directories: &[String]) -> impl Iterator<Item = PathBuf> {
    let patterns = directories.iter().flat_map(|of| [format!("{of}/*.service"), format!("{of}/*.d/*.conf")]);
    patterns.flat_map(|pattern| glob::glob(&pattern).into_iter().flatten().flatten())
}

/// Whether a text has that path, and not only one that begins like it.
fn is_named(text: &str, path: &Path) -> bool {
    let goes_on = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-';
    let path = path.display().to_string();
    text.match_indices(&path).any(|(at, found)| !text[at + found.len()..].starts_with(goes_on))
}

/// Best effort. What a program that was left running still writes stays.
async fn remove_output(systemd: &Systemd, name: &SecretName) {
    for program in PROGRAMS {
        let unit = format!("rekeyd-{program}-{name}.service");
        let path = Path::new(OUTPUT).join(&unit);
        if path.exists() && systemd.processes(&unit).await.unwrap_or_default().is_empty() {
            let _ = files::remove(&path);
        }
    }
}

/// What fails once it is recorded that the secret is forgotten.
fn half_done(error: impl Into<Fault>) -> Error {
    let fault = fault_in_words(&error.into());
    Error::Failed(format!("it is forgotten, but not all of it is removed: {fault}; say it again once that is mended"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_only_begins_alike_is_another_secrets() {
        let path = Path::new("/var/lib/rekeyd/delivered/jwt");
        for text in ["EnvironmentFile=/var/lib/rekeyd/delivered/jwt/current/env\n", "X=/var/lib/rekeyd/delivered/jwt"] {
            assert!(is_named(text, path), "{text}");
        }
        assert!(!is_named("EnvironmentFile=/var/lib/rekeyd/delivered/jwt-2/current/env\n", path));
    }
}
