//! What `[[target]]` sets.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::HookSettings;
use super::hosting_settings::Hosting;
use crate::text::ecosystem::Format;
use crate::text::env_file::Dialect;

/// `[[target]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetSettings {
    /// `type = "systemd"`.
    Systemd(SystemdTarget),
    /// `type = "dotenv"`.
    Dotenv(DotenvTarget),
    /// `type = "environment"`: `/etc/environment`, which pam_env(8) reads for every session.
    Environment(DotenvTarget),
    /// `type = "compose"`.
    Compose(ComposeTarget),
    /// `type = "pm2"`.
    Pm2(Pm2Target),
    /// `type = "command"`: a program that speaks the verbs of a target.
    Command(CommandTarget),
    /// `type = "vercel"`, `"netlify"`, `"render"` or `"railway"`.
    Hosting(Hosting),
}

impl DotenvTarget {
    /// The units that read the file; where they are not known, the file and what wakes its readers.
    fn consumers(&self) -> Vec<String> {
        let file = self.file.display().to_string();
        match &self.restart {
            Restart::Units { units, .. } => units.clone(),
            Restart::Command(hook) => std::iter::once(file).chain(hook.command()).collect(),
            Restart::Touch(path) | Restart::Signal { pid_file: path, .. } => vec![file, path.display().to_string()],
            Restart::Nothing => vec![file],
        }
    }
}

impl TargetSettings {
    /// Whether it has files that belong to others, who may edit them at any time.
    pub fn has_files_of_others(&self) -> bool {
        match self {
            Self::Dotenv(_) | Self::Environment(_) | Self::Compose(_) | Self::Pm2(_) => true,
            Self::Systemd(_) | Self::Command(_) | Self::Hosting(_) => false,
        }
    }

    /// The units that read the secret from this target, as they are configured.
    pub fn units(&self) -> &[String] {
        match self {
            Self::Systemd(systemd) => &systemd.units,
            Self::Dotenv(dotenv) | Self::Environment(dotenv) => match &dotenv.restart {
                Restart::Units { units, .. } => units,
                Restart::Command(_) | Restart::Touch(_) | Restart::Signal { .. } | Restart::Nothing => &[],
            },
            Self::Compose(_) => &[],
            Self::Pm2(_) => &[],
            Self::Command(_) => &[],
            Self::Hosting(_) => &[],
        }
    }

    /// What is moved with the secret: two rotations never move one of them at the same time.
    pub fn consumers(&self) -> Vec<String> {
        match self {
            Self::Systemd(_) => self.units().to_vec(),
            Self::Dotenv(dotenv) | Self::Environment(dotenv) => dotenv.consumers(),
            Self::Compose(compose) => compose.services.iter().map(|service| compose.consumer(service)).collect(),
            Self::Pm2(pm2) => pm2.apps.iter().map(|app| pm2.consumer(app)).collect(),
            Self::Command(_) => vec![self.label()],
            Self::Hosting(hosting) => vec![hosting.label()],
        }
    }

    /// The command that makes the readers of a file take the view: once is enough for all that is delivered to it.
    pub fn restart_command(&self) -> Option<String> {
        let (Self::Dotenv(dotenv) | Self::Environment(dotenv)) = self else { return None };
        let Restart::Command(hook) = &dotenv.restart else { return None };
        Some(format!("{} for {}", hook.command()?, dotenv.file.display()))
    }

    /// Whether its consumers may take the view only some time after they were told of it, and nobody sees when.
    pub fn takes_at_leisure(&self) -> bool {
        match self {
            Self::Systemd(systemd) => systemd.activate == Activate::Reload,
            Self::Dotenv(dotenv) | Self::Environment(dotenv) => !matches!(dotenv.restart, Restart::Units { .. }),
            Self::Command(_) | Self::Hosting(_) => true,
            Self::Compose(_) | Self::Pm2(_) => false,
        }
    }

    /// How records and people name it.
    pub fn label(&self) -> String {
        match self {
            Self::Systemd(systemd) => format!("systemd {}", systemd.units.join(", ")),
            Self::Dotenv(dotenv) => format!("dotenv {}", dotenv.file.display()),
            Self::Environment(_) => "environment".to_owned(),
            Self::Compose(compose) => {
                format!("compose {} {}", compose.directory.display(), compose.services.join(", "))
            }
            Self::Pm2(pm2) => pm2.consumer(&pm2.apps.join(", ")),
            Self::Command(command) => format!("command {}", command.name),
            Self::Hosting(hosting) => hosting.label(),
        }
    }
}

/// A program that is a target itself: rekeyd-command(7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandTarget {
    /// `name`: how records and people name it; by default after the program and its arguments.
    pub name: String,
    /// `command`: the program, an absolute path, and its arguments.
    pub argv: Vec<String>,
    /// `user`; root where it is left out.
    pub user: Option<String>,
    /// `timeout`: how long one verb may take, default 60 s.
    pub timeout: Duration,
    /// `settings`, passed on to it.
    pub settings: Map<String, Value>,
}

/// A key of an env file that another program reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DotenvTarget {
    /// `file`, an absolute path.
    pub file: PathBuf,
    /// `key`: its name there, the secret's `env` where it is left out.
    pub key: Option<String>,
    /// `dialect`, default `dotenv`: whose rules the file is read by.
    pub dialect: Dialect,
    /// Whether others than its owner and group may read the file: `expose = true`.
    pub expose: bool,
    /// What makes the consumer take the value.
    pub restart: Restart,
}

/// Services of a Docker Compose project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComposeTarget {
    /// `project-directory`: where the project was started from.
    pub directory: PathBuf,
    /// `project`: its name, where several were started from there.
    pub project: Option<String>,
    /// `files`: those that it must run with; whichever it does where they are left out.
    pub files: Vec<PathBuf>,
    /// `services`, at least one.
    pub services: Vec<String>,
    /// Where the value stands.
    pub place: ComposePlace,
    /// `key`: its name there, the secret's `env` where it is left out.
    pub key: Option<String>,
    /// `dialect` of the env file, default `compose`; `docker` where it has `format: raw`.
    pub dialect: Dialect,
    /// Whether others than its owner and group may read the file: `expose = true`.
    pub expose: bool,
    /// `build`: whether images are built anew.
    pub build: bool,
    /// `user`: whom docker is run as; root where it is left out.
    pub user: Option<String>,
    /// `timeout`: how long the services may take to come up, default 2 min.
    pub timeout: Duration,
}

/// Where the value of a Compose service stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ComposePlace {
    /// `env-file`: a file of the service's `env_file:`, or the `.env` behind `${}`.
    EnvFile(PathBuf),
    /// `environment-in`: literally under `environment:` of each service in this Compose file.
    Literal(PathBuf),
    /// `secret-file`: all of a file of `secrets:`.
    SecretFile(PathBuf),
}

impl ComposePlace {
    /// The file.
    pub fn path(&self) -> &Path {
        match self {
            Self::EnvFile(path) | Self::Literal(path) | Self::SecretFile(path) => path,
        }
    }
}

impl ComposeTarget {
    /// How one of its services is named here, before it is known what the project is called.
    pub fn consumer(&self, service: &str) -> String {
        format!("compose {}/{service}", self.project.clone().unwrap_or_else(|| self.usual_project()))
    }

    /// What Compose calls a project that is started in the directory, where nothing else is said.
    pub fn usual_project(&self) -> String {
        let name = self.directory.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let plain: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || "_-".contains(*c)).collect();
        plain.trim_start_matches(['_', '-']).to_owned()
    }
}

/// Apps of a user's PM2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pm2Target {
    /// `ecosystem`: the file that PM2 reloads them from, an absolute path.
    pub ecosystem: PathBuf,
    /// What the file is written in.
    pub format: Format,
    /// `user`: whose daemon it is.
    pub user: String,
    /// `home`: `PM2_HOME`; none is `~/.pm2`.
    pub home: Option<PathBuf>,
    /// `apps`, at least one.
    pub apps: Vec<String>,
    /// `environment`: what `--env` is given.
    pub environment: Option<String>,
    /// `env-file`: where the value stands; none is in the ecosystem file itself.
    pub env_file: Option<PathBuf>,
    /// `dialect` of the env file, default `dotenv`.
    pub dialect: Dialect,
    /// `key`: the variable's name in the file, the secret's `env` where it is left out.
    pub key: Option<String>,
    /// Whether every local user may read the file: `expose = true`.
    pub expose: bool,
    /// `pm2`: the program, where it is not beside node or in a usual place.
    pub pm2: Option<PathBuf>,
    /// `node`, where it is not the one that runs the daemon.
    pub node: Option<PathBuf>,
    /// `timeout`: how long a reload may take, default 2 min.
    pub timeout: Duration,
    /// `save`, default true: whether PM2's saved list is written anew.
    pub save: bool,
}

impl Pm2Target {
    /// An app, as records and people name it.
    pub fn consumer(&self, app: &str) -> String {
        format!("pm2 {}/{app}", self.user)
    }

    /// The file that the value stands in.
    pub fn file(&self) -> &PathBuf {
        self.env_file.as_ref().unwrap_or(&self.ecosystem)
    }
}

/// What makes the reader of a file take what is in it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restart {
    /// `restart-units`, one after the other, or `max-unavailable` at a time.
    Units {
        /// Full names of services, or of templates of services.
        units: Vec<String>,
        /// How many may be restarting at the same time.
        max_unavailable: usize,
    },
    /// `restart-command`, run as the file's owner.
    Command(HookSettings),
    /// `touch`: a file that the consumer watches.
    Touch(PathBuf),
    /// `signal` and `pid-file`.
    Signal {
        /// Which.
        signal: WakeSignal,
        /// The file that names the process.
        pid_file: PathBuf,
    },
    /// Nobody: a person does it, or the consumer watches the file.
    Nothing,
}

/// `signal`: what makes a program read its file again, or end and be started anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum WakeSignal {
    /// Hangup.
    Sighup,
    /// The first one of the user.
    Sigusr1,
    /// The second one of the user.
    Sigusr2,
    /// Termination.
    Sigterm,
}

impl WakeSignal {
    /// Its name, as signal(7) has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sighup => "SIGHUP",
            Self::Sigusr1 => "SIGUSR1",
            Self::Sigusr2 => "SIGUSR2",
            Self::Sigterm => "SIGTERM",
        }
    }
}

/// A systemd target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemdTarget {
    /// `units`, at least one, in order; full names of services, or of templates of services.
    pub units: Vec<String>,
    /// `deliver`, default `environment-file`.
    pub deliver: Deliver,
    /// `path-env`: the variable that names the file to units that get a credential.
    pub path_env: Option<String>,
    /// `activate`, default `restart`.
    pub activate: Activate,
    /// `max-unavailable`: how many units may be restarting at the same time, default 1.
    pub max_unavailable: usize,
    /// `daemon-reload`, default `auto`.
    pub daemon_reload: DaemonReload,
}

/// `deliver`: how a unit gets the value (systemd.exec(5)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deliver {
    /// `EnvironmentFile=`.
    #[default]
    EnvironmentFile,
    /// `LoadCredential=`.
    Credential,
    /// `LoadCredentialEncrypted=`, sealed with the host's key by systemd-creds(1).
    EncryptedCredential,
    /// `Environment=`, which systemd shows to every local user; only with `expose = true`.
    Environment,
}

impl Deliver {
    /// Whether the unit gets a file of its own in place of a variable.
    pub fn is_credential(self) -> bool {
        matches!(self, Self::Credential | Self::EncryptedCredential)
    }
}

/// `activate`: how a unit takes up a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activate {
    /// By a restart.
    #[default]
    Restart,
    /// By its `ExecReload=`, which gets the new value; its processes keep the environment that they have.
    Reload,
    /// Not at all: by whatever starts it next.
    None,
}

/// `daemon-reload`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DaemonReload {
    /// When the drop-in in force is not the wanted one.
    #[default]
    Auto,
    /// At every rotation.
    Always,
}
