//! Putting a view where units read it.
//!
//! `delivered/SECRET/VIEW/env` is written first, then the link `delivered/SECRET/current` is swapped, and the drop-ins
//! come last: at no moment does a drop-in point to something that is not there.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use subtle::ConstantTimeEq as _;

use super::SystemdTarget;
use crate::rotation::{Fault, FaultCode, View};
use crate::secret::SecretValue;
use crate::sys::files::{self, FileError};
use crate::target::Disclosed;
use crate::target::text::systemd;

const LARGEST: u64 = 1 << 20;

impl SystemdTarget {
    /// Writes a view and reads it back as systemd will.
    pub(super) fn put(&self, view: &Disclosed<'_>) -> Result<(), Fault> {
        let assignments: Vec<_> =
            self.wanted(view).into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let text = systemd::render(&assignments).map_err(|why| {
            Fault::new(FaultCode::NotRepresentable, format!("{why}, which no environment file can hold"))
        })?;
        let dir = self.root().join(view.view.slug());
        files::ensure_dir(&dir, 0o700).map_err(not_writable)?;
        let file = dir.join("env");
        files::replace(&file, &text, 0o600).map_err(not_writable)?;
        self.read_back(&file, view)?;
        files::replace_link(&self.root().join("current"), Path::new(&view.view.slug())).map_err(not_writable)?;
        self.read_back(&self.env_file(), view)?;
        for unit in &self.units {
            let drop_in = self.drop_in(unit);
            ensure_drop_in_dir(&drop_in).map_err(not_writable)?;
            files::replace(&drop_in, self.drop_in_text().as_bytes(), 0o644).map_err(not_writable)?;
        }
        Ok(())
    }

    fn read_back(&self, file: &Path, view: &Disclosed<'_>) -> Result<(), Fault> {
        let text = zeroize::Zeroizing::new(files::read(file, LARGEST).map_err(not_writable)?);
        let same = |(name, wanted): (&str, Option<&SecretValue>)| match (systemd::value_of(&text, name), wanted) {
            (Some(value), Some(wanted)) => bool::from(value.as_slice().ct_eq(wanted.reveal())),
            (None, None) => true,
            _ => false,
        };
        if self.wanted(view).into_iter().all(same) {
            return Ok(());
        }
        let message = format!("{} does not read back as it was written", file.display());
        Err(Fault::new(FaultCode::ReadBackDiffers, message)
            .advise("something else writes there, or the disk is faulty"))
    }

    /// Removes the views that are not in force any more. Best effort.
    pub(super) fn remove_other_views(&self, keep: &View) {
        for path in files::list(&self.root()).unwrap_or_default() {
            let name = path.file_name().unwrap_or_default();
            if name != "current" && name != keep.slug().as_str() {
                let _ = std::fs::remove_dir_all(&path);
            }
        }
    }

    /// What the drop-in of a unit says: also that at boot a rotation that was missed waits for the unit. It never changes, so that one daemon-reload is enough for ever.
    pub(super) fn drop_in_text(&self) -> String {
        let parent = self.places.delivered.parent().unwrap_or(Path::new("/"));
        format!(
            "# The secret {}, delivered by rekeyd(8). It is written again at each rotation: change it with rekeyctl(1).\n\
             [Unit]\nRequiresMountsFor={}\nBefore=rekeyd-rotate@{}.service\n\n[Service]\nEnvironmentFile={}\n",
            self.secret,
            parent.display(),
            self.secret,
            self.env_file().display()
        )
    }

    /// The drop-in of a unit. `90-` sorts it after what packages and people usually write.
    pub(super) fn drop_in(&self, unit: &str) -> PathBuf {
        self.places.units.join(format!("{unit}.d")).join(format!("90-rekeyd-{}.conf", self.secret))
    }

    /// The path that never changes.
    pub(super) fn env_file(&self) -> PathBuf {
        self.root().join("current/env")
    }

    pub(super) fn root(&self) -> PathBuf {
        self.places.delivered.join(&self.secret)
    }
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
