//! Whose rules an env file is read by.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The parsers that read an env file, where they agree with each other. Each was held against what the real ones read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// npm's dotenv, `node --env-file` and dotenvy: what all of them read alike.
    #[default]
    Dotenv,
    /// `EnvironmentFile=`, see systemd.exec(5).
    Systemd,
    /// `env_file:` and `.env` of Docker Compose 1 and 2.
    Compose,
    /// `docker run --env-file`, and `format: raw` of Docker Compose.
    Docker,
    /// A file that a POSIX shell sources.
    Shell,
    /// `/etc/environment` and the other files of `pam_env(8)`.
    Pam,
}

impl Dialect {
    /// All of them, for messages and tests.
    pub const ALL: [Self; 6] = [Self::Dotenv, Self::Systemd, Self::Compose, Self::Docker, Self::Shell, Self::Pam];

    /// Its name in configurations and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dotenv => "dotenv",
            Self::Systemd => "systemd",
            Self::Compose => "compose",
            Self::Docker => "docker",
            Self::Shell => "shell",
            Self::Pam => "pam",
        }
    }

    /// Whose eyes a message speaks of.
    pub(super) fn reader(self) -> &'static str {
        match self {
            Self::Dotenv => "dotenv, node or dotenvy",
            Self::Systemd => "systemd",
            Self::Compose => "Docker Compose",
            Self::Docker => "docker",
            Self::Shell => "a shell",
            Self::Pam => "pam_env",
        }
    }

    /// Whether a carriage return before the line's end is no part of the value.
    pub(super) fn drops_cr(self) -> bool {
        !matches!(self, Self::Shell | Self::Pam)
    }

    /// Whether a byte order mark does not hide what comes after it.
    pub(super) fn skips_bom(self) -> bool {
        matches!(self, Self::Compose | Self::Docker)
    }

    /// Whether a value in quotes may go on in the next line.
    pub(super) fn has_multi_line_quotes(self) -> bool {
        !matches!(self, Self::Docker | Self::Pam)
    }

    /// Whether there may be blanks before the equals sign.
    pub(super) fn skips_blanks_before_equals(self) -> bool {
        matches!(self, Self::Dotenv | Self::Systemd | Self::Compose)
    }

    /// Whether a backslash at the end of any line, a comment too, may go on with the next one.
    pub(super) fn joins_lines(self) -> bool {
        self == Self::Pam
    }

    /// Whether a name alone is no mistake: its value comes from elsewhere, or it has none.
    pub(super) fn has_names_alone(self) -> bool {
        matches!(self, Self::Compose | Self::Docker | Self::Pam)
    }

    /// How many bytes a line may have.
    pub(super) fn longest_line(self) -> usize {
        match self {
            Self::Docker => 64_000,
            Self::Pam => 1000,
            _ => usize::MAX,
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Dialect {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|dialect| dialect.name() == name);
        found.ok_or_else(|| format!("one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}
