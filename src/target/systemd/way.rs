//! The ways in which a unit can get a value, each as what it needs: files of a view, the text of a drop-in, and what
//! systemd must have loaded. Pure: `delivery.rs` performs it.

use std::path::{Path, PathBuf};

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::config::Deliver;
use crate::dbus::unit::UnitStatus;
use crate::secret::SecretValue;
use crate::text::unit::{assigned, assignment, directives};

/// One way, with what is chosen in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Way {
    pub deliver: Deliver,
    /// The variable that tells the unit the path of its credential.
    pub path_env: Option<String>,
}

/// What a drop-in is about.
pub(super) struct Subject<'a> {
    pub secret: &'a str,
    /// The variables, the primary one first.
    pub names: Vec<&'a str>,
    /// `delivered/SECRET`.
    pub root: &'a Path,
    /// What must be mounted for it.
    pub mount: &'a Path,
}

/// A kind of file in a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    /// `env`: all variables, in systemd's dialect of environment files.
    Variables,
    /// `NAME`: the bytes of one value.
    Plain,
    /// `NAME.cred`: one value, sealed.
    Sealed,
}

impl Form {
    pub const ALL: [Self; 3] = [Self::Variables, Self::Plain, Self::Sealed];

    /// The way that reads such files.
    pub fn deliver(self) -> Deliver {
        match self {
            Self::Variables => Deliver::EnvironmentFile,
            Self::Plain => Deliver::Credential,
            Self::Sealed => Deliver::EncryptedCredential,
        }
    }

    /// The file of a variable.
    pub fn file(self, name: &str) -> String {
        match self {
            Self::Variables => "env".to_owned(),
            Self::Plain => name.to_owned(),
            Self::Sealed => format!("{name}.cred"),
        }
    }
}

impl Subject<'_> {
    /// The path of a file of the view in force: it never changes.
    pub fn stable(&self, form: Form, name: &str) -> PathBuf {
        self.root.join("current").join(form.file(name))
    }
}

impl Way {
    /// The kind of file that it reads; none where the drop-in itself has the value.
    pub fn form(&self) -> Option<Form> {
        match self.deliver {
            Deliver::EnvironmentFile => Some(Form::Variables),
            Deliver::Credential => Some(Form::Plain),
            Deliver::EncryptedCredential => Some(Form::Sealed),
            Deliver::Environment => None,
        }
    }

    /// The text of the drop-in; `values` are only in it where the drop-in itself has them.
    pub fn drop_in(
        &self,
        subject: &Subject<'_>,
        values: &[(&str, Option<&SecretValue>)],
    ) -> Result<Zeroizing<String>, String> {
        let length: usize = values.iter().filter_map(|(_, value)| Some(4 * (*value)?.len())).sum();
        let mut text = Zeroizing::new(String::with_capacity(4096 + length));
        let secret = subject.secret;
        text.push_str(&format!(
            "# The secret {secret}, delivered by rekeyd(8). It is written again at each rotation: change it with \
             rekeyctl(1).\n[Unit]\n"
        ));
        if self.form().is_some() {
            text.push_str(&format!("RequiresMountsFor={}\n", subject.mount.display()));
        }
        text.push_str(&format!("Before=rekeyd-rotate@{secret}.service\n\n[Service]\n"));
        let directive = match self.deliver {
            Deliver::EnvironmentFile => {
                text.push_str(&format!("EnvironmentFile={}\n", subject.stable(Form::Variables, "").display()));
                return Ok(text);
            }
            Deliver::Environment => {
                for (name, value) in values.iter().filter_map(|(name, value)| Some((name, (*value)?))) {
                    text.push_str("Environment=");
                    text.push_str(&assignment(name, value.reveal())?);
                    text.push('\n');
                }
                return Ok(text);
            }
            Deliver::Credential => ("LoadCredential", Form::Plain),
            Deliver::EncryptedCredential => ("LoadCredentialEncrypted", Form::Sealed),
        };
        for name in &subject.names {
            text.push_str(&format!("{}={name}:{}\n", directive.0, subject.stable(directive.1, name).display()));
        }
        text.push_str(&format!("UnsetEnvironment={}\n", subject.names.join(" ")));
        if let (Some(path_env), Some(name)) = (&self.path_env, subject.names.first()) {
            text.push_str(&format!("Environment={path_env}=%d/{name}\n"));
        }
        Ok(text)
    }

    /// The way of a drop-in that we wrote.
    pub fn of(text: &str, name: &str) -> Option<Self> {
        let directives = directives(text, "Service");
        let has = |wanted: &str| directives.iter().any(|(directive, _)| directive == wanted);
        let path_env = directives.iter().filter(|(directive, _)| directive == "Environment").find_map(|(_, value)| {
            let (variable, path) = value.split_once('=')?;
            (path == format!("%d/{name}")).then(|| variable.to_owned())
        });
        let deliver = if has("LoadCredentialEncrypted") {
            Deliver::EncryptedCredential
        } else if has("LoadCredential") {
            Deliver::Credential
        } else if has("EnvironmentFile") {
            Deliver::EnvironmentFile
        } else if has("Environment") {
            Deliver::Environment
        } else {
            return None;
        };
        Some(Self { deliver, path_env })
    }

    /// In a word or two, for the record of the way before.
    pub fn to_words(&self) -> String {
        let deliver = match self.deliver {
            Deliver::EnvironmentFile => "environment-file",
            Deliver::Credential => "credential",
            Deliver::EncryptedCredential => "encrypted-credential",
            Deliver::Environment => "environment",
        };
        [Some(deliver), self.path_env.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    /// What [`Self::to_words`] wrote.
    pub fn from_words(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let deliver = match words.next()? {
            "environment-file" => Deliver::EnvironmentFile,
            "credential" => Deliver::Credential,
            "encrypted-credential" => Deliver::EncryptedCredential,
            "environment" => Deliver::Environment,
            _ => return None,
        };
        Some(Self { deliver, path_env: words.next().map(str::to_owned) })
    }

    /// Whether systemd has loaded what the drop-in `text` says.
    pub fn is_loaded(&self, subject: &Subject<'_>, text: &str, status: &UnitStatus) -> bool {
        let path = |form: Form, name: &str| subject.stable(form, name).display().to_string();
        let loads = |loaded: &[(String, String)], form: Form| {
            let wanted = |name: &&str| loaded.iter().any(|(id, source)| id == name && *source == path(form, name));
            subject.names.iter().all(wanted)
        };
        match self.deliver {
            Deliver::EnvironmentFile => {
                let wanted = path(Form::Variables, "");
                status.environment_files.iter().any(|(path, _)| *path == wanted)
            }
            Deliver::Credential => loads(&status.credentials, Form::Plain) && self.has_path(subject, status),
            Deliver::EncryptedCredential => {
                loads(&status.encrypted_credentials, Form::Sealed) && self.has_path(subject, status)
            }
            Deliver::Environment => {
                subject.names.iter().all(|name| match (inline(text, name), variable(status, name)) {
                    (Some(wanted), Some(loaded)) => bool::from(wanted.as_slice().ct_eq(loaded.as_bytes())),
                    (wanted, loaded) => wanted.is_none() && loaded.is_none(),
                })
            }
        }
    }

    /// Whether the unit is told the path, where it should be. systemd has put the directory in place of `%d`.
    fn has_path(&self, subject: &Subject<'_>, status: &UnitStatus) -> bool {
        let Some(path_env) = &self.path_env else { return true };
        let name = subject.names.first().copied().unwrap_or_default();
        variable(status, path_env) == Some(credential_path(&status.id, name).as_str())
    }
}

/// Where a unit finds a credential (systemd.exec(5)).
pub(super) fn credential_path(unit: &str, name: &str) -> String {
    format!("/run/credentials/{unit}/{name}")
}

/// The names of what a drop-in gives by itself or as credentials, in order.
pub(super) fn names_given(text: &str) -> Vec<String> {
    let name = |(directive, value): (String, String)| match directive.as_str() {
        "LoadCredential" | "LoadCredentialEncrypted" => Some(value.split_once(':')?.0.to_owned()),
        // The path of a credential is told without quotes.
        "Environment" => Some(value.strip_prefix('"')?.split_once('=')?.0.to_owned()),
        _ => None,
    };
    directives(text, "Service").into_iter().filter_map(name).collect()
}

/// The value that a drop-in itself gives to a variable.
pub(super) fn inline(text: &str, name: &str) -> Option<Zeroizing<Vec<u8>>> {
    let directives = directives(text, "Service");
    let assignments = directives.iter().rev().filter(|(directive, _)| directive == "Environment");
    assignments.into_iter().find_map(|(_, quoted)| assigned(quoted, name))
}

/// What `Environment=` gives to a variable: of several assignments the last one counts.
fn variable<'a>(status: &'a UnitStatus, name: &str) -> Option<&'a str> {
    status.environment.iter().rev().find_map(|text| text.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject<'static> {
        Subject {
            secret: "jwt",
            names: vec!["JWT_SECRET"],
            root: Path::new("/var/lib/rekeyd/delivered/jwt"),
            mount: Path::new("/var/lib/rekeyd"),
        }
    }

    fn way(deliver: Deliver, path_env: Option<&str>) -> Way {
        Way { deliver, path_env: path_env.map(str::to_owned) }
    }

    fn ways() -> Vec<Way> {
        vec![
            way(Deliver::EnvironmentFile, None),
            way(Deliver::Credential, None),
            way(Deliver::Credential, Some("JWT_SECRET_FILE")),
            way(Deliver::EncryptedCredential, Some("JWT_SECRET_FILE")),
            way(Deliver::Environment, None),
        ]
    }

    fn text(way: &Way) -> String {
        let value = SecretValue::new(b"s3cr%t".to_vec());
        way.drop_in(&subject(), &[("JWT_SECRET", Some(&value))]).unwrap().to_string()
    }

    #[test]
    fn each_way_is_known_again_by_its_drop_in_and_by_its_words() {
        for way in ways() {
            assert_eq!(Way::of(&text(&way), "JWT_SECRET"), Some(way.clone()));
            assert_eq!(Way::from_words(&way.to_words()), Some(way));
        }
        assert_eq!(Way::of("[Service]\nRestart=always\n", "JWT_SECRET"), None);
    }

    #[test]
    fn only_environment_has_the_value_in_its_drop_in() {
        for way in ways() {
            let text = text(&way);
            assert_eq!(text.contains("s3cr"), way.deliver == Deliver::Environment, "{text}");
            assert_eq!(text.contains("UnsetEnvironment=JWT_SECRET\n"), way.deliver.is_credential(), "{text}");
            assert_eq!(names_given(&text).is_empty(), way.deliver == Deliver::EnvironmentFile, "{text}");
            assert!(names_given(&text).iter().all(|name| name == "JWT_SECRET"), "{text}");
        }
        assert_eq!(inline(&text(&way(Deliver::Environment, None)), "JWT_SECRET").unwrap().as_slice(), b"s3cr%t");
    }

    #[test]
    fn a_way_is_loaded_only_when_all_of_it_is() {
        let way = way(Deliver::Credential, Some("JWT_SECRET_FILE"));
        let mut status = UnitStatus { id: "a.service".to_owned(), ..UnitStatus::default() };
        let is_loaded = |status: &UnitStatus| way.is_loaded(&subject(), &text(&way), status);
        assert!(!is_loaded(&status));
        let source = "/var/lib/rekeyd/delivered/jwt/current/JWT_SECRET".to_owned();
        status.credentials.push(("JWT_SECRET".to_owned(), source));
        assert!(!is_loaded(&status), "the path is not told yet");
        status.environment.push("JWT_SECRET_FILE=/run/credentials/a.service/JWT_SECRET".to_owned());
        assert!(is_loaded(&status));
        status.credentials[0].1 = "/elsewhere".to_owned();
        assert!(!is_loaded(&status));
    }

    #[test]
    fn an_inline_value_is_loaded_when_it_is_the_last_one_and_the_same() {
        let way = way(Deliver::Environment, None);
        let mut status = UnitStatus { environment: vec!["JWT_SECRET=s3cr%t".to_owned()], ..UnitStatus::default() };
        assert!(way.is_loaded(&subject(), &text(&way), &status));
        status.environment.push("JWT_SECRET=other".to_owned());
        assert!(!way.is_loaded(&subject(), &text(&way), &status));
    }
}
