//! The list that `pm2 save` has written, from which PM2 starts its apps after a reboot.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::process::geteuid;
use serde_json::Value;
use zeroize::Zeroizing;

use super::values::{text, wipe};
use super::{NotDone, Pm2Question, Saved, no};

/// The list, as far as it is asked about.
pub(super) fn saved(
    home: &Path,
    question: &Pm2Question,
    told: &dyn Fn(&[u8]) -> String,
) -> Result<Option<Saved>, NotDone> {
    let path = home.join("dump.pm2");
    let unreadable = |what: &str| {
        let advice = format!("have it written anew, as {}: pm2 save", question.user);
        no(format!("{} {what}", path.display()), advice)
    };
    let json = match crate::sys::files::read(&path, 64 << 20) {
        Ok(json) => Zeroizing::new(json),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(_) => return Err(unreadable("cannot be read")),
    };
    let Ok(Value::Array(all)) = serde_json::from_slice::<Value>(&json) else {
        return Err(unreadable("is no list of PM2"));
    };
    let mut saved = Saved { names: Vec::new(), values: Vec::new() };
    for process in &all {
        let name = process.get("name").and_then(Value::as_str).unwrap_or_default();
        saved.names.push(name.to_owned());
        if !question.apps.iter().any(|app| app == name) {
            continue;
        }
        let of = |variable: &String| {
            let value = process.get("env").and_then(|env| env.get(variable)).or_else(|| process.get(variable));
            value.and_then(text).map(|value| told(&value))
        };
        saved.values.push((name.to_owned(), question.variables.iter().map(of).collect()));
    }
    wipe(Value::Array(all));
    Ok(Some(saved))
}

/// PM2 makes its list, and the one before it, readable for everybody.
pub(super) fn tighten(home: &Path) -> Result<(), NotDone> {
    for name in ["dump.pm2", "dump.pm2.bak"] {
        let path = home.join(OsStr::new(name));
        let Ok(stat) = fs::symlink_metadata(&path) else { continue };
        if stat.is_file() && stat.uid() == geteuid().as_raw() && stat.mode() & 0o077 != 0 {
            let made = fs::set_permissions(&path, fs::Permissions::from_mode(0o600));
            made.map_err(|error| no(format!("cannot make {} unreadable for others: {error}", path.display()), ""))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::question;
    use super::*;

    #[test]
    fn a_saved_list_tells_its_names_and_what_ours_have() {
        let home = tempfile::tempdir().unwrap();
        let question = question();
        let told = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let look = || saved(home.path(), &question, &told);
        assert!(look().ok().unwrap().is_none());
        fs::write(home.path().join("dump.pm2"), "[{\"name\":\"api\",\"env\":{\"K\":\"a\"}},{\"name\":\"b\"}]").unwrap();
        let list = look().ok().flatten().unwrap();
        assert_eq!(
            (list.names, list.values),
            (vec!["api".to_owned(), "b".to_owned()], vec![("api".to_owned(), vec![Some("a".to_owned())])])
        );
        fs::write(home.path().join("dump.pm2"), "[{\"K\": \"geheim\"").unwrap();
        let refused = look().err().unwrap();
        assert!(refused.problem.contains("is no list") && !refused.problem.contains("geheim"));
        fs::write(home.path().join("dump.pm2.bak"), "").unwrap();
        tighten(home.path()).ok().unwrap();
        for name in ["dump.pm2", "dump.pm2.bak"] {
            assert_eq!(fs::metadata(home.path().join(name)).unwrap().mode() & 0o777, 0o600);
        }
    }
}
