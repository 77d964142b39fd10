//! Putting a view where units read it.
//!
//! The files of `delivered/SECRET/VIEW` are written first, then the link `delivered/SECRET/current` is swapped, and the
//! drop-ins come last: at no moment does a drop-in point to something that is not there. While a unit changes from one
//! way to another, the view has the files of both, since systemd has the old drop-in loaded until it reloads.

use std::collections::BTreeSet;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::SystemdTarget;
use super::way::{Form, Subject, Way, inline};
use crate::config::Deliver;
use crate::rotation::{Fault, FaultCode, View};
use crate::secret::SecretValue;
use crate::sys::files::{self, FileError};
use crate::target::Disclosed;
use crate::text::systemd;

pub(super) const LARGEST: u64 = 1 << 20;
/// Below `delivered/SECRET`, during a rotation: for each unit the way in which it got the value before.
pub(super) const FORMER: &str = "former";

impl SystemdTarget {
    /// Writes a view and reads it back as systemd will. `back` restores the way of before, and the names.
    pub(super) async fn put(&self, view: &Disclosed<'_>, back: bool) -> Result<(), Fault> {
        if back {
            return self.as_before().put_named(view, back).await;
        }
        self.remember_names()?;
        self.put_named(view, back).await
    }

    async fn put_named(&self, view: &Disclosed<'_>, back: bool) -> Result<(), Fault> {
        let mut ways = Vec::new();
        for unit in &self.units {
            let former = self.former(unit);
            if former.is_none() && !back {
                self.remember_way(unit).await?;
            }
            ways.push(former.filter(|_| back).unwrap_or_else(|| self.way.clone()));
        }
        let (root, slug) = (self.root(), view.view.slug());
        let dir = root.join(&slug);
        let mut forms = self.forms_in(&root.join("current"));
        forms.extend(ways.iter().filter_map(Way::form));
        files::ensure_dir(&dir, 0o700).map_err(not_writable)?;
        // Credentials are files by their names, and systemd has the old drop-in loaded until it reloads.
        let in_place = self.in_place();
        if !in_place.variables().eq(self.variables()) {
            for form in in_place.forms_in(&root.join("current")).iter().filter(|form| **form != Form::Variables) {
                in_place.write(*form, &dir, view).await?;
            }
        }
        for form in &forms {
            self.write(*form, &dir, view).await?;
        }
        files::replace_link(&root.join("current"), Path::new(&slug)).map_err(not_writable)?;
        for form in forms.iter().filter(|form| **form != Form::Sealed) {
            self.read_back(*form, &root.join("current"), view)?;
        }
        for (unit, way) in self.units.iter().zip(&ways) {
            self.write_drop_in(unit, way, view)?;
        }
        Ok(())
    }

    /// Whether a view could be written at all: that of a way back must be, and only the new value is of our own making.
    pub(super) fn check_representable(&self, view: &Disclosed<'_>) -> Result<(), Fault> {
        let (wanted, root) = (self.wanted(self.way.deliver, view), self.root());
        let drop_in = self.way.drop_in(&self.subject(&root), &wanted);
        drop_in.map_err(|why| not_representable(&why, "no drop-in"))?;
        if self.way.form() == Some(Form::Variables) { environment_file(&set(wanted)).map(drop) } else { Ok(()) }
    }

    async fn write(&self, form: Form, dir: &Path, view: &Disclosed<'_>) -> Result<(), Fault> {
        let wanted = self.wanted(form.deliver(), view);
        let set = set(wanted);
        if form == Form::Variables {
            let text = environment_file(&set)?;
            files::replace(&dir.join(form.file("")), &text, 0o600).map_err(not_writable)?;
            return self.read_back(form, dir, view);
        }
        for (name, value) in set {
            if value.is_empty() {
                return Err(not_representable(&format!("the value of {name} is empty"), "no credential"));
            }
            let file = dir.join(form.file(name));
            if form == Form::Sealed {
                // The helper has read back what it sealed; here only the disk can fail.
                let sealed = self.keys.seal(name, value.reveal()).await?;
                files::replace(&file, sealed.as_bytes(), 0o600).map_err(not_writable)?;
                if files::read(&file, LARGEST).map_err(not_writable)? != sealed.as_bytes() {
                    return Err(differs(&file));
                }
            } else {
                files::replace(&file, value.reveal(), 0o600).map_err(not_writable)?;
            }
        }
        if form == Form::Plain { self.read_back(form, dir, view) } else { Ok(()) }
    }

    pub(super) fn read_back(&self, form: Form, dir: &Path, view: &Disclosed<'_>) -> Result<(), Fault> {
        for (name, wanted) in self.wanted(form.deliver(), view) {
            let file = dir.join(form.file(name));
            let bytes = Zeroizing::new(files::read(&file, LARGEST).map_err(not_writable)?);
            let found = if form == Form::Variables { systemd::value_of(&bytes, name) } else { Some(bytes) };
            if !is_same(found, wanted) {
                return Err(differs(&file));
            }
        }
        Ok(())
    }

    fn write_drop_in(&self, unit: &str, way: &Way, view: &Disclosed<'_>) -> Result<(), Fault> {
        let path = self.drop_in(unit);
        let root = self.root();
        let wanted = self.wanted(way.deliver, view);
        let text = way.drop_in(&self.subject(&root), &wanted).map_err(|why| not_representable(&why, "no drop-in"))?;
        ensure_drop_in_dir(&path).map_err(not_writable)?;
        files::replace(&path, text.as_bytes(), 0o644).map_err(not_writable)?;
        if way.deliver == Deliver::Environment {
            let text = Zeroizing::new(self.drop_in_text(unit).unwrap_or_default());
            if !wanted.into_iter().all(|(name, value)| is_same(inline(&text, name), value)) {
                return Err(differs(&path));
            }
        }
        Ok(())
    }

    /// The kinds of files that a view has.
    pub(super) fn forms_in(&self, dir: &Path) -> BTreeSet<Form> {
        let has = |form: &Form| self.variables().any(|name| dir.join(form.file(name)).exists());
        Form::ALL.into_iter().filter(has).collect()
    }

    /// Records how a unit gets the value now, before anything is changed. One that never got it from us, and loads no
    /// such credential by itself, has it as a variable.
    async fn remember_way(&self, unit: &str) -> Result<(), Fault> {
        let mut way = self.way_of(unit);
        if way.is_none() && self.loads_own_credential(unit).await? {
            way = Some(Way { deliver: Deliver::Credential, path_env: None });
        }
        let file = self.root().join(FORMER).join(unit);
        files::ensure_dir(&self.root().join(FORMER), 0o700).map_err(not_writable)?;
        files::replace(&file, way.unwrap_or_default().to_words().as_bytes(), 0o600).map_err(not_writable)?;
        Ok(())
    }

    async fn loads_own_credential(&self, unit: &str) -> Result<bool, Fault> {
        for name in self.loaded_as(unit).await? {
            if self.loads_credential(&self.systemd.unit(&name).await?) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// During a rotation, how a unit got the value before it.
    fn former(&self, unit: &str) -> Option<Way> {
        let words = files::read(&self.root().join(FORMER).join(unit), LARGEST).ok()?;
        Way::from_words(&String::from_utf8_lossy(&words))
    }

    /// How a unit's drop-in, as it is on disk, delivers.
    pub(super) fn way_of(&self, unit: &str) -> Option<Way> {
        Way::of(&self.drop_in_text(unit)?, &self.env)
    }

    /// How a unit is to get the value: during a rotation as its drop-in says, which may be the one of before; else as
    /// it is configured.
    pub(super) fn wanted_way(&self, unit: &str) -> Way {
        let delivered = self.former(unit).and_then(|_| self.way_of(unit));
        delivered.unwrap_or_else(|| self.way.clone())
    }

    /// Removes the views that are not in force any more, and what is left of ways that no drop-in uses. Best effort.
    pub(super) fn remove_leftovers(&self, keep: &View) {
        let (root, slug) = (self.root(), keep.slug());
        let linked = std::fs::read_link(root.join("current")).unwrap_or_default();
        for path in files::list(&root).unwrap_or_default() {
            let name = path.file_name().unwrap_or_default();
            if name != "current" && name != slug.as_str() && name != linked.as_os_str() {
                let _ = std::fs::remove_dir_all(&path);
            }
        }
        let Some(drop_ins) = self.all_drop_ins() else { return };
        for path in files::list(&root.join(slug)).unwrap_or_default() {
            let stable = root.join("current").join(path.file_name().unwrap_or_default());
            let stable = stable.display().to_string();
            let is_read = |text: &String| text.lines().any(|line| line.ends_with(&stable));
            if !drop_ins.iter().any(is_read) {
                let _ = files::remove(&path);
            }
        }
    }

    /// The drop-ins of this secret, those of other targets and of units that are not configured any more included.
    fn all_drop_ins(&self) -> Option<Vec<String>> {
        let mut texts = Vec::new();
        for unit in self.units_with_drop_ins().ok()? {
            match files::read(&self.drop_in(&unit), LARGEST) {
                Ok(text) => texts.push(String::from_utf8_lossy(&text).into_owned()),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(_) => return None,
            }
        }
        Some(texts)
    }

    /// The units that have a drop-in of this secret, whoever they are of.
    pub(super) fn units_with_drop_ins(&self) -> Result<Vec<String>, FileError> {
        let unit = |dir: PathBuf| dir.file_name()?.to_str()?.strip_suffix(".d").map(str::to_owned);
        let has_one = |unit: &String| match self.drop_in(unit).symlink_metadata() {
            // What cannot be looked at may be there.
            Err(error) => !matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory),
            Ok(_) => true,
        };
        Ok(files::list(&self.places.units)?.into_iter().filter_map(unit).filter(has_one).collect())
    }

    /// The drop-in of a unit as it is on disk.
    pub(super) fn drop_in_text(&self, unit: &str) -> Option<String> {
        let text = Zeroizing::new(files::read(&self.drop_in(unit), LARGEST).ok()?);
        std::str::from_utf8(&text).ok().map(str::to_owned)
    }

    /// The drop-in of a unit. `90-` sorts it after what packages and people usually write.
    pub(super) fn drop_in(&self, unit: &str) -> PathBuf {
        self.places.units.join(format!("{unit}.d")).join(self.drop_in_name())
    }

    fn drop_in_name(&self) -> String {
        format!("90-rekeyd-{}.conf", self.secret)
    }

    /// What the drop-ins are about.
    pub(super) fn subject<'a>(&'a self, root: &'a Path) -> Subject<'a> {
        let mount = self.places.delivered.parent().unwrap_or(Path::new("/"));
        Subject { secret: &self.secret, names: self.variables().collect(), root, mount }
    }

    pub(super) fn root(&self) -> PathBuf {
        self.places.delivered.join(&self.secret)
    }
}

fn is_same(found: Option<Zeroizing<Vec<u8>>>, wanted: Option<&SecretValue>) -> bool {
    match (found, wanted) {
        (Some(found), Some(wanted)) => bool::from(found.as_slice().ct_eq(wanted.reveal())),
        (None, None) => true,
        _ => false,
    }
}

/// The variables that have a value.
fn set<'a>(wanted: Vec<(&'a str, Option<&'a SecretValue>)>) -> Vec<(&'a str, &'a SecretValue)> {
    wanted.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// Their environment file.
fn environment_file(set: &[(&str, &SecretValue)]) -> Result<Zeroizing<Vec<u8>>, Fault> {
    systemd::render(set).map_err(|why| not_representable(&why, "no environment file"))
}

fn not_representable(why: &str, what: &str) -> Fault {
    Fault::new(FaultCode::NotRepresentable, format!("{why}, which {what} can hold"))
}

fn differs(file: &Path) -> Fault {
    let message = format!("{} does not read back as it was written", file.display());
    Fault::new(FaultCode::ReadBackDiffers, message).advise("something else writes there, or the disk is faulty")
}

/// Others may read which drop-ins a unit has, whatever our umask is.
fn ensure_drop_in_dir(drop_in: &Path) -> Result<(), FileError> {
    let Some(dir) = drop_in.parent() else { return Ok(()) };
    match std::fs::DirBuilder::new().mode(0o755).create(dir) {
        Ok(()) => {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(dir, mode).map_err(|error| FileError::new("set the mode of", dir, error))?;
            files::sync_parent(dir)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(FileError::new("create the directory", dir, error)),
    }
}

pub(super) fn not_writable(error: FileError) -> Fault {
    let (code, advice) = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => (FaultCode::NoSpace, "make room there"),
        std::io::ErrorKind::ReadOnlyFilesystem => (
            FaultCode::NotWritable,
            "the file system is read-only; where /etc is meant to be, put the drop-in there when the image is made",
        ),
        _ => (FaultCode::NotWritable, "see its owner, mode and file system"),
    };
    Fault::new(code, error.to_string()).advise(advice)
}
