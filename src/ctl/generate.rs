//! `generate`: a new secret straight into an env file, printed nowhere. Without the daemon, and without being root.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::de::IntoDeserializer as _;
use serde::{Deserialize as _, Serialize};
use zeroize::Zeroizing;

use super::{Exit, Out};
use crate::secret::{self, Format, SecretValue};
use crate::sys::edit::{self, EditError, Original};
use crate::sys::git::{self, Standing};
use crate::sys::process;
use crate::text::Refusal;
use crate::text::env_file::{self, Dialect, Edited};

#[derive(Debug, Args)]
pub(super) struct Generate {
    /// The variable, such as JWT_SECRET
    key: String,
    /// The file; it is made, for its owner alone, where it is not there
    #[arg(long, value_name = "FILE", default_value = ".env")]
    env_file: PathBuf,
    /// Whose rules the file is read by: dotenv, systemd, compose, docker, shell, pam
    #[arg(long, default_value_t = Dialect::Dotenv)]
    dialect: Dialect,
    /// How many random bytes, 16 to 512
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(16..=512))]
    bytes: u16,
    /// How they are written: hex, base64, base64url, alphanumeric
    #[arg(long, default_value = "hex", value_parser = format)]
    format: Format,
}

/// What was done, for `--json`.
#[derive(Serialize)]
struct Done<'a> {
    file: &'a Path,
    key: &'a str,
    line: usize,
    /// Whether there was a value before.
    replaced: bool,
    /// Whether the file is new.
    created: bool,
}

/// Why nothing was done.
struct Refused(String);

impl Generate {
    pub(super) fn run(&self, out: &Out) -> Exit {
        if !env_file::is_name(&self.key) {
            // It is not repeated: it may be a whole assignment.
            return out
                .fail(Exit::Usage, "KEY is not the name of a variable: letters, digits and «_», such as JWT_SECRET");
        }
        match self.generate(out) {
            Ok(done) if out.json => out.document(&done),
            Ok(done) => {
                let what = if done.replaced { "has a new value" } else { "is new" };
                out.text(&format!(
                    "{} in {}, line {}, {what}: what reads the file takes it when it starts again",
                    self.key,
                    self.env_file.display(),
                    done.line
                ));
            }
            Err(Refused(why)) => return out.fail(Exit::Refused, &format!("refused, nothing was touched: {why}")),
        }
        Exit::Done
    }

    fn generate(&self, out: &Out) -> Result<Done<'_>, Refused> {
        process::hide_memory().map_err(|error| Refused(format!("core dumps cannot be turned off: {error}")))?;
        let value = secret::generate(usize::from(self.bytes), self.format);
        let value = value.map_err(|error| Refused(format!("the system gives no random bytes: {error}")))?;
        self.check_link()?;
        let behind = self.env_file.is_symlink().then(|| self.env_file.canonicalize().ok()).flatten();
        let real = behind.unwrap_or_else(|| self.env_file.clone());
        let standing = git::standing(&real).map_err(|(why, advice)| Refused(format!("{why} — {advice}")))?;
        let original = match Original::open_alone(&self.env_file) {
            Ok(original) => Some(original),
            Err(error) if error.is_missing => None,
            Err(error) => return Err(error.into()),
        };
        let text = original.as_ref().map_or(&[][..], |original| &original.text);
        let (edited, replaced) = self.edited(text, &value)?;
        if standing == Standing::NotIgnored && original.is_none() {
            self.ignore()?;
            out.note(&format!("{} is in .gitignore beside it now", self.env_file.display()));
        } else if let Some((problem, advice)) = standing.problem(&real) {
            return Err(Refused(format!("{problem} — {advice}")));
        }
        match &original {
            Some(original) => original.replace(&edited.text)?,
            None => edit::create(&self.env_file, &edited.text)?,
        }
        if original.as_ref().is_some_and(|original| original.mode() & 0o004 != 0) {
            let path = self.env_file.display();
            out.note(&format!(
                "every local user can read {path}, and a rotation would be refused for that: chmod o= {path}"
            ));
        }
        let (file, key, created) = (self.env_file.as_path(), self.key.as_str(), original.is_none());
        Ok(Done { file, key, line: edited.line, replaced, created })
    }

    /// What a link promises is made by whoever made the link: where it would be, others may be meant to write.
    fn check_link(&self) -> Result<(), Refused> {
        let Ok(to) = self.env_file.read_link() else { return Ok(()) };
        match self.env_file.canonicalize() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Refused(format!(
                "{0} is a symbolic link to {1}, which is not there — make that file, or remove the link: rm {0}",
                self.env_file.display(),
                to.display()
            ))),
            _ => Ok(()),
        }
    }

    /// The file's new text, and whether the key was in it.
    fn edited(&self, text: &[u8], value: &SecretValue) -> Result<(Edited, bool), Refused> {
        let placed = |refusal: Refusal| Refused(format!("{}: {refusal}", self.env_file.display()));
        match env_file::overwrite(text, &self.key, value, self.dialect).map_err(placed)? {
            Some(edited) => Ok((edited, true)),
            None => Ok((env_file::append(text, &self.key, value, self.dialect, None).map_err(placed)?, false)),
        }
    }

    /// Puts the file, and it alone, into the `.gitignore` beside it: gitignore(5).
    fn ignore(&self) -> Result<(), Refused> {
        let path = self.env_file.with_file_name(".gitignore");
        let name = self.env_file.file_name().unwrap_or_default().to_string_lossy();
        // gitignore(5): these would be a pattern's.
        let special = |c: char| matches!(c, '*' | '?' | '[' | ']' | '\\' | ' ' | '!' | '#');
        let line: String = std::iter::once('/')
            .chain(name.chars().flat_map(|c| [special(c).then_some('\\'), Some(c)].into_iter().flatten()))
            .collect();
        match Original::open(&path) {
            Ok(original) => {
                let mut text = Zeroizing::new(original.text.to_vec());
                if !text.is_empty() && !text.ends_with(b"\n") {
                    text.push(b'\n');
                }
                text.extend_from_slice(format!("{line}\n").as_bytes());
                original.replace(&text)?;
            }
            Err(error) if error.is_missing => std::fs::write(&path, format!("{line}\n"))
                .map_err(|error| Refused(format!("{}: cannot be written: {error}", path.display())))?,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

fn format(text: &str) -> Result<Format, String> {
    let read: Result<Format, serde::de::value::Error> = Format::deserialize(text.into_deserializer());
    read.map_err(|_| "one of hex, base64, base64url, alphanumeric".to_owned())
}

impl From<EditError> for Refused {
    fn from(error: EditError) -> Self {
        Self(format!("{error} — {}", error.advice))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_what_is_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let env_file = dir.path().join(".env");
        let (key, dialect, bytes, format) = ("JWT_SECRET".to_owned(), Dialect::Dotenv, 32, Format::Hex);
        let generate = Generate { key, env_file: env_file.clone(), dialect, bytes, format };
        assert!(generate.check_link().is_ok(), "there is nothing at all");
        std::os::unix::fs::symlink("none.env", &env_file).unwrap();
        let Refused(why) = generate.check_link().err().unwrap();
        assert!(why.contains(".env is a symbolic link to none.env, which is not there — make that file"), "{why}");
        std::fs::write(dir.path().join("none.env"), "A=b\n").unwrap();
        assert!(generate.check_link().is_ok());
    }
}
