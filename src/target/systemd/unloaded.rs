//! What a daemon-reload would bring into force against what is delivered: drop-ins that systemd has not loaded yet.
//!
//! Only foretold, to refuse before anything is touched: what really is in force is looked at again after the reload.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::SystemdTarget;
use super::delivery::{LARGEST, not_writable};
use crate::config::Deliver;
use crate::dbus::unit::UnitStatus;
use crate::helper::{Answer, Question, Variable};
use crate::rotation::{Fault, FaultCode};
use crate::sys::files;
use crate::text::unit::directives;

impl SystemdTarget {
    /// Drop-ins that sort after ours and would undo it, where a daemon-reload is needed and would load them too.
    pub(super) async fn check_unloaded_drop_ins(
        &self,
        configured: &str,
        unit: &str,
        status: &UnitStatus,
    ) -> Result<(), Fault> {
        if self.why_reload().await?.is_none() {
            return Ok(());
        }
        let ours = self.drop_in(configured);
        let directories = self.systemd.unit_directories().await?;
        for path in later_drop_ins(&directories, &status.id, &ours)? {
            let text = files::read(&path, LARGEST).map_err(not_writable)?;
            for (directive, value) in directives(&String::from_utf8_lossy(&text), "Service") {
                self.check_directive(&path, unit, &directive, &value).await?;
            }
        }
        Ok(())
    }

    async fn check_directive(&self, path: &Path, unit: &str, directive: &str, value: &str) -> Result<(), Fault> {
        for env in self.variables() {
            self.check_variable(env, path, unit, directive, value).await?;
        }
        Ok(())
    }

    async fn check_variable(
        &self,
        env: &str,
        path: &Path,
        unit: &str,
        directive: &str,
        value: &str,
    ) -> Result<(), Fault> {
        let path = path.display();
        let overridden = |what: String, culprit: &str| {
            let advice =
                || format!("take {env} out of {culprit}, or give the drop-in a name that sorts before 90-rekeyd");
            let advice = self.let_go_of_another(&what).unwrap_or_else(advice);
            Err(Fault::new(FaultCode::Overridden, what).advise(advice))
        };
        let named = |word: &str| word.strip_prefix(env).is_some_and(|rest| rest.is_empty() || rest.starts_with('='));
        if self.way.deliver.is_credential() {
            let is_ours = |rest: &str| rest.is_empty() || rest.starts_with(':');
            return match directive {
                "LoadCredential" | "LoadCredentialEncrypted" if value.is_empty() => overridden(
                    format!("{path}: {directive}= empties the list that the credential of {unit} is in"),
                    "it",
                ),
                "LoadCredential" | "LoadCredentialEncrypted" if value.strip_prefix(env).is_some_and(is_ours) => {
                    overridden(format!("{path}: {directive}= gives {unit} another credential {env}"), "it")
                }
                "UnsetEnvironment" if value.is_empty() => {
                    overridden(format!("{path}: UnsetEnvironment= lets {unit} keep the variable {env}"), "it")
                }
                _ => Ok(()),
            };
        }
        let is_inline = self.way.deliver == Deliver::Environment;
        match directive {
            "Environment" if is_inline && (value.is_empty() || assigns(value, env)) => {
                overridden(format!("{path}: Environment= sets {env} of {unit} after rekeyd does"), "it")
            }
            "EnvironmentFile" if value.is_empty() && is_inline => Ok(()),
            "EnvironmentFile" if value.is_empty() => {
                overridden(format!("{path}: EnvironmentFile= empties the list that {env} of {unit} comes from"), "it")
            }
            "UnsetEnvironment" if value.split_whitespace().any(|word| named(word.trim_matches(['"', '\'']))) => {
                overridden(format!("{path}: UnsetEnvironment= takes {env} from {unit}"), "it")
            }
            "EnvironmentFile" => {
                let file = expand(value.trim_start_matches('-'), unit);
                let question = Question::File { path: file.clone(), variable: env.to_owned(), reveal: false };
                match self.helper.ask_one(question).await? {
                    Answer::Variable { variable: Variable::Set } => {
                        overridden(format!("{path}: EnvironmentFile={file} sets {env} after rekeyd does"), &file)
                    }
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

/// The drop-ins of a unit that sort after `ours`. Of several with one name the first directory's counts.
fn later_drop_ins(directories: &[String], unit: &str, ours: &Path) -> Result<Vec<PathBuf>, Fault> {
    let mut found: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    for directory in directories {
        for name in drop_in_directories(unit) {
            for path in files::list(&Path::new(directory).join(name)).map_err(not_writable)? {
                let is_drop_in = path.extension().is_some_and(|extension| extension == "conf");
                if let Some(name) = path.file_name().filter(|name| is_drop_in && Some(*name) > ours.file_name()) {
                    found.entry(name.to_owned()).or_insert(path);
                }
            }
        }
    }
    Ok(found.into_values().collect())
}

/// `a-b@c.service.d`, `a-b@.service.d`, `a-.service.d`, `service.d`: systemd.unit(5).
fn drop_in_directories(unit: &str) -> Vec<String> {
    let Some((name, kind)) = unit.rsplit_once('.') else { return Vec::new() };
    let mut names = vec![name.to_owned()];
    let stem = match name.split_once('@') {
        Some((stem, instance)) => {
            if !instance.is_empty() {
                names.push(format!("{stem}@"));
            }
            stem
        }
        None => name,
    };
    let dashes = stem.char_indices().rev().filter(|&(at, c)| c == '-' && at + 1 < stem.len());
    names.extend(dashes.map(|(at, _)| stem[..=at].to_owned()));
    let mut directories: Vec<String> = names.into_iter().map(|name| format!("{name}.{kind}.d")).collect();
    directories.push(format!("{kind}.d"));
    directories
}

/// Whether `Environment=` assigns to a variable: words, each of which may be in quotes (systemd.exec(5)).
fn assigns(value: &str, name: &str) -> bool {
    let word =
        |word: &str| word.trim_start_matches(['"', '\'']).strip_prefix(name).is_some_and(|rest| rest.starts_with('='));
    value.split_whitespace().any(word)
}

/// The specifiers that paths of environment files are written with: systemd.unit(5).
fn expand(path: &str, unit: &str) -> String {
    let name = unit.rsplit_once('.').map_or(unit, |(name, _)| name);
    let (prefix, instance) = name.split_once('@').unwrap_or((name, ""));
    let mut expanded = String::with_capacity(path.len());
    let mut rest = path.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            expanded.push(c);
            continue;
        }
        match rest.next() {
            Some('C') => expanded += "/var/cache",
            Some('E') => expanded += "/etc",
            Some('L') => expanded += "/var/log",
            Some('S') => expanded += "/var/lib",
            Some('t') => expanded += "/run",
            Some('n') => expanded += unit,
            Some('N') => expanded += name,
            Some('p') => expanded += prefix,
            Some('i') => expanded += instance,
            Some('%') => expanded.push('%'),
            Some(other) => expanded.extend(['%', other]),
            None => expanded.push('%'),
        }
    }
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drop_ins_are_looked_for_where_systemd_looks() {
        assert_eq!(drop_in_directories("app.service"), ["app.service.d", "service.d"]);
        assert_eq!(
            drop_in_directories("a-b-c@1.service"),
            ["a-b-c@1.service.d", "a-b-c@.service.d", "a-b-.service.d", "a-.service.d", "service.d"]
        );
    }

    #[test]
    fn of_two_with_one_name_the_first_directory_counts_and_earlier_names_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            path
        };
        let (first, other) = (put("etc/app.service.d/zz.conf"), put("run/service.d/99.conf"));
        put("run/app.service.d/zz.conf");
        put("etc/app.service.d/50.conf");
        put("etc/app.service.d/zz.conf.bak");
        let directories = ["etc", "run"].map(|name| dir.path().join(name).display().to_string());
        let ours = Path::new("/x/app.service.d/90-rekeyd-jwt.conf");
        assert_eq!(later_drop_ins(&directories, "app.service", ours).unwrap(), [other, first]);
    }

    #[test]
    fn specifiers_are_expanded() {
        assert!(assigns("A=1 \"K=a b\"", "K") && !assigns("KK=1 \"A=K=\"", "K"));
        assert_eq!(expand("%E/%p/%i.%%%x", "app@1.service"), "/etc/app/1.%%x");
    }
}
