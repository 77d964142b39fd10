//! Where in a file a value stands, whatever kind of file it is.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Refusal;
use super::compose_file::{self, Quotes};
use super::ecosystem::{self, Variable};
use super::env_file::{self, Dialect};
use crate::secret::SecretValue;

/// A place in a file for one value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Slot {
    /// A key of an env file.
    Env {
        /// Its name.
        key: String,
        /// Whose rules the file is read by.
        dialect: Dialect,
        /// The key whose line it is to be written like.
        #[serde(default)]
        like: Option<String>,
    },
    /// A literal under `environment:` of a service in a Compose file.
    Compose {
        /// The service.
        service: String,
        /// The variable.
        key: String,
        /// How it is written.
        #[serde(default)]
        quotes: Quotes,
    },
    /// All of the file, but for a line feed at its end.
    Whole,
    /// A variable of an app in an ecosystem file of PM2.
    Ecosystem(Variable),
}

impl Slot {
    /// A key of an env file, which is written like `first` where it is another one.
    pub fn env(key: &str, first: &str, dialect: Dialect) -> Self {
        Self::Env { key: key.to_owned(), dialect, like: (key != first).then(|| first.to_owned()) }
    }

    /// What the file's own reader finds there; `None` where there is no such place.
    ///
    /// # Errors
    /// Where that is not certain.
    pub fn value_in(&self, text: &[u8]) -> Result<Option<SecretValue>, Refusal> {
        match self {
            Self::Env { key, dialect, .. } => env_file::value_of(text, key, *dialect),
            Self::Compose { service, key, .. } => compose_file::value_of(text, service, key),
            Self::Whole => {
                let value = text.strip_suffix(b"\n").unwrap_or(text);
                Ok((!value.is_empty()).then(|| SecretValue::new(value.to_vec())))
            }
            Self::Ecosystem(variable) => ecosystem::value_of(text, variable),
        }
    }

    /// In which line its value stands, from 1; `None` where there is no such place.
    ///
    /// # Errors
    /// As for [`Slot::value_in`].
    pub fn line_in(&self, text: &[u8]) -> Result<Option<usize>, Refusal> {
        Ok(match self {
            Self::Env { key, dialect, .. } => env_file::find(text, key, *dialect)?.map(|found| found.line),
            Self::Compose { service, key, .. } => {
                compose_file::offset_of(text, service, key)?.map(|offset| line_of(text, offset))
            }
            Self::Whole => Some(1),
            Self::Ecosystem(variable) => ecosystem::offset_of(text, variable)?.map(|offset| line_of(text, offset)),
        })
    }

    /// Whether its value is written without quotes, where rekeyd itself would write some.
    ///
    /// # Errors
    /// As for [`Slot::value_in`].
    pub fn is_plain_in(&self, text: &[u8]) -> Result<bool, Refusal> {
        match self {
            Self::Compose { service, key, .. } => compose_file::is_plain(text, service, key),
            Self::Ecosystem(variable) => ecosystem::is_plain(text, variable),
            Self::Env { .. } | Self::Whole => Ok(false),
        }
    }

    /// The text with `value` there, and every other byte as it was; `None` where it is there already. A place that is not
    /// there yet is made where that can be done, but not to be empty.
    ///
    /// # Errors
    /// Where the file cannot be read with certainty, or the value cannot be written there.
    pub fn put(&self, text: &[u8], value: &SecretValue) -> Result<Option<Zeroizing<Vec<u8>>>, Refusal> {
        match self.value_in(text)? {
            // There is nothing to empty.
            None if value.is_empty() => Ok(None),
            Some(found) if found.is_same(value) => Ok(None),
            found => self.written(text, value, found.is_some()).map(Some),
        }
    }

    fn written(&self, text: &[u8], value: &SecretValue, is_there: bool) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        match self {
            Self::Env { key, dialect, like } => {
                let write = if is_there { env_file::replace } else { env_file::append };
                write(text, key, value, *dialect, like.as_deref()).map(|edited| edited.text)
            }
            Self::Compose { service, key, quotes } if is_there => {
                compose_file::replace(text, service, key, value, *quotes)
            }
            Self::Compose { service, key, .. } => compose_file::append(text, service, key, value),
            Self::Whole => {
                let mut new = Zeroizing::new(Vec::with_capacity(value.reveal().len() + 1));
                new.extend_from_slice(value.reveal());
                new.extend(text.last().filter(|last| **last == b'\n'));
                Ok(new)
            }
            Self::Ecosystem(variable) => ecosystem::replace(text, variable, value),
        }
    }
}

fn line_of(text: &[u8], offset: usize) -> usize {
    text.iter().take(offset).filter(|&&byte| byte == b'\n').count() + 1
}
