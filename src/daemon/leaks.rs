//! Searching this host for the values of a secret: which they are, where they belong, and what was found elsewhere.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::state::Daemon;
use crate::config::{Deliver, Restart, SecretName, SecretSettings, TargetSettings};
use crate::dbus::rekeyd1::Error;
use crate::helper::SearchHelper;
use crate::policy::{self, Ours, Spot as Place};
use crate::record::leak::{Leak, Leaks, Sighting, Spot};
use crate::record::{Actor, Happening, Standing};
use crate::rotation::{Fault, Generation};
use crate::secret::{SecretValue, forms};
use crate::store::{DELIVERED, StoreError};

/// Where people and programs leave things. Each is searched with all that is below it and on the same file system.
const ROOTS: [&str; 17] = [
    "/etc",
    "/root",
    "/home",
    "/srv",
    "/opt",
    "/var/www",
    "/usr/local",
    "/usr/lib/systemd/system",
    "/var/lib/rekeyd",
    "/var/lib/docker/containers",
    "/var/spool",
    "/var/backups",
    "/var/tmp",
    "/var/log",
    "/tmp",
    "/dev/shm",
    "/run",
];

/// Searches, and records first that it does.
///
/// # Errors
/// Where there is no value to search for, or the helper does not answer.
pub async fn search(daemon: &Arc<Daemon>, actor: Actor, name: &SecretName) -> Result<Leaks, Error> {
    let failed = |error: StoreError| Error::from(Fault::from(error));
    let charge = daemon.charge(name);
    let mut ledger = charge.ledger_for_acting().await?;
    let standing = charge.standing();
    let mut values = Vec::new();
    for generation in daemon.store.sealed(name).map_err(failed)? {
        values.push((generation, daemon.store.get(name, generation).map_err(failed)?));
    }
    let (values, too_short) = split(values);
    if values.is_empty() {
        return Err(Error::Failed(format!("the store has no value of {name} that could be searched for")));
    }
    daemon.append(&charge, &mut ledger, Happening::Searched { actor })?;
    drop(ledger);
    let settings = daemon.settings().secrets.get(name).cloned();
    let ours = ours(daemon, name, settings.as_ref(), &standing).await;
    let roots = roots(settings.as_ref());
    let searched = SearchHelper::default().search(&values, roots.clone()).await;
    let searched = searched.map_err(|error| Error::from(Fault::from(error)))?;
    let leak = |seen: Sighting| {
        let place = match &seen.spot {
            Spot::File { path, .. } => Place::File(path),
            Spot::Environment { group, .. } => Place::Environment(group),
            Spot::Arguments { .. } | Spot::Journal { .. } => Place::Elsewhere,
        };
        let (why, expected) = policy::ours(place, seen.generation, &ours);
        let fingerprint = standing.generation(seen.generation).map(|generation| generation.fingerprint.clone());
        Leak { ours: why.map(str::to_owned), expected, fingerprint, seen }
    };
    let mut leaks: Vec<Leak> = searched.found.into_iter().map(leak).collect();
    leaks.sort_by_key(|leak| leak.expected);
    let generations = values.iter().map(|(generation, _)| *generation).collect();
    let roots = roots.iter().map(|root| root.display().to_string()).collect();
    Ok(Leaks { secret: name.to_string(), generations, too_short, leaks, roots, extent: searched.extent })
}

/// Those that can be told from a word, and those that cannot.
fn split(values: Vec<(Generation, SecretValue)>) -> (Vec<(Generation, SecretValue)>, Vec<Generation>) {
    let (values, short): (Vec<_>, Vec<_>) = values.into_iter().partition(|(_, value)| !forms(value).is_empty());
    (values, short.into_iter().map(|(generation, _)| generation).collect())
}

/// The usual places, and those of the targets.
fn roots(settings: Option<&SecretSettings>) -> Vec<PathBuf> {
    let mut roots: Vec<PathBuf> = ROOTS.iter().map(PathBuf::from).collect();
    for file in settings.into_iter().flat_map(files) {
        let directory = Path::new(&file).parent().map(Path::to_owned).unwrap_or_default();
        // The directory of one that is right below the root would be all that there is.
        let root = if directory == Path::new("/") { PathBuf::from(&file) } else { directory };
        if !roots.iter().any(|known| root.starts_with(known)) {
            roots.push(root);
        }
    }
    roots
}

/// The files of the targets.
fn files(settings: &SecretSettings) -> Vec<String> {
    let file = |target: &TargetSettings| match target {
        TargetSettings::Dotenv(dotenv) | TargetSettings::Environment(dotenv) => Some(dotenv.file.clone()),
        TargetSettings::Compose(compose) => Some(compose.place.path().to_owned()),
        TargetSettings::Pm2(pm2) => Some(pm2.file().clone()),
        TargetSettings::Systemd(_) | TargetSettings::Command(_) | TargetSettings::Hosting(_) => None,
    };
    settings.targets.iter().filter_map(file).map(|path| path.display().to_string()).collect()
}

async fn ours(daemon: &Daemon, name: &SecretName, settings: Option<&SecretSettings>, standing: &Standing) -> Ours {
    let targets = settings.map(|settings| settings.targets.as_slice()).unwrap_or_default();
    let is_unknown = |target: &TargetSettings| match target {
        TargetSettings::Dotenv(dotenv) => !matches!(dotenv.restart, Restart::Units { .. }),
        TargetSettings::Environment(_) | TargetSettings::Pm2(_) | TargetSettings::Command(_) => true,
        TargetSettings::Systemd(_) | TargetSettings::Compose(_) | TargetSettings::Hosting(_) => false,
    };
    let mut groups = Vec::new();
    for unit in targets.iter().flat_map(TargetSettings::units) {
        groups.extend(self::groups(daemon, unit).await);
    }
    let mut files = settings.map(files).unwrap_or_default();
    let has_it = |target: &&TargetSettings| matches!(target, TargetSettings::Systemd(systemd) if systemd.deliver == Deliver::Environment);
    let drop_in = |unit: &String| format!("/etc/systemd/system/{unit}.d/90-rekeyd-{name}.conf");
    files.extend(targets.iter().filter(has_it).flat_map(TargetSettings::units).map(drop_in));
    Ours {
        in_force: standing.in_force.iter().flat_map(|view| view.generations().collect::<Vec<_>>()).collect(),
        directories: vec![format!("{DELIVERED}/{name}")],
        files,
        groups,
        has_containers: targets.iter().any(|target| matches!(target, TargetSettings::Compose(_))),
        has_pm2: targets.iter().any(|target| matches!(target, TargetSettings::Pm2(_))),
        has_unknown_consumers: targets.iter().any(is_unknown),
    }
}

/// The control groups of a unit, or of the instances of a template that run. Without systemd there is none.
async fn groups(daemon: &Daemon, unit: &str) -> Vec<String> {
    let units = match unit.strip_suffix("@.service") {
        Some(prefix) => daemon.systemd.active_units(&[&format!("{prefix}@*.service")]).await.unwrap_or_default(),
        None => vec![unit.to_owned()],
    };
    let mut groups = Vec::new();
    for unit in units {
        groups.extend(daemon.systemd.unit(&unit).await.ok().map(|status| status.control_group));
    }
    groups.retain(|group| !group.is_empty());
    groups
}
