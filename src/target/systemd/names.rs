//! The names that a value goes by: those that it is delivered under now, which the configuration may have changed since.

use zeroize::Zeroizing;

use super::SystemdTarget;
use super::delivery::{FORMER, LARGEST, not_writable};
use super::way::{Form, names_given};
use crate::rotation::Fault;
use crate::sys::files;
use crate::text::systemd;

/// Below `delivered/SECRET/former`, where units have their ways: the names before the rotation.
const NAMES: &str = "names";

impl SystemdTarget {
    /// This target as the units know it now: by the names that were delivered last. Where nothing was, by its own.
    pub(super) fn in_place(&self) -> Self {
        if self.delivers { self.known_as(&self.names_in_place()) } else { self.clone() }
    }

    /// During a rotation: this target as the units knew it before.
    pub(super) fn as_before(&self) -> Self {
        match files::read(&self.root().join(FORMER).join(NAMES), LARGEST) {
            Ok(text) => self.known_as(&words(&text)),
            Err(_) => self.in_place(),
        }
    }

    /// During a rotation: the name of before for a value that is accepted besides, where it has another one now. What runs
    /// may still have it.
    pub(super) fn former_previous(&self) -> Option<String> {
        let former = self.as_before().previous_env.filter(|_| self.delivers)?;
        (!self.variables().any(|name| name == former)).then_some(former)
    }

    /// Records the names of before a rotation, before anything of it is delivered.
    pub(super) fn remember_names(&self) -> Result<(), Fault> {
        let dir = self.root().join(FORMER);
        if !files::list(&dir).map_err(not_writable)?.is_empty() {
            return Ok(());
        }
        let names = self.in_place().variables().collect::<Vec<_>>().join(" ");
        files::ensure_dir(&dir, 0o700).map_err(not_writable)?;
        files::replace(&dir.join(NAMES), names.as_bytes(), 0o600).map(drop).map_err(not_writable)
    }

    /// The first is that of the value; where another follows it, that one is accepted besides.
    fn known_as(&self, names: &[String]) -> Self {
        let mut known = self.clone();
        if let Some(env) = names.first() {
            known.env.clone_from(env);
        }
        if let Some(previous) = names.get(1) {
            known.previous_env = Some(previous.clone());
        }
        known
    }

    /// As the view in force and the drop-ins say, in which the name of the value comes first.
    fn names_in_place(&self) -> Vec<String> {
        let variables = self.root().join("current").join(Form::Variables.file(""));
        if let Ok(text) = files::read(&variables, LARGEST) {
            let text = Zeroizing::new(text);
            return systemd::parse(&text).into_iter().map(|(name, _)| name).collect();
        }
        let drop_ins = self.units.iter().filter_map(|unit| self.drop_in_text(unit));
        drop_ins.map(|text| names_given(&Zeroizing::new(text))).find(|names| !names.is_empty()).unwrap_or_default()
    }
}

fn words(text: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(text).split_whitespace().map(str::to_owned).collect()
}
