//! Docker's engine, asked over its socket: which containers there are, and how they are.
//!
//! Of its interface (<https://docs.docker.com/reference/api/engine/>) a few requests are enough, in HTTP/1.0, whose answers
//! end with the connection. What is in a container's configuration is full of secrets: only what is asked for is kept.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::secret::SecretValue;

/// Where the engine listens.
pub const SOCKET: &str = "/run/docker.sock";

/// No answer takes longer.
const LIMIT: Duration = Duration::from_secs(20);
/// No answer is larger.
const LARGEST: u64 = 64 << 20;

/// The engine could not be asked, or did not answer.
#[derive(Clone, Debug, Error)]
pub enum EngineError {
    /// Nobody answers.
    #[error("Docker's engine does not answer on {socket}: {why}", socket = socket.display())]
    Away {
        /// Where it should.
        socket: PathBuf,
        /// Why not.
        why: String,
    },
    /// It does not do what it was asked for.
    #[error("Docker's engine answers {status} to {request}")]
    Refused {
        /// What it was asked.
        request: String,
        /// The status of HTTP.
        status: u16,
    },
}

/// The engine.
#[derive(Clone, Debug)]
pub struct Engine(PathBuf);

/// What an engine is.
#[derive(Clone, Debug, Deserialize)]
pub struct About {
    /// Its name, where it is not Docker's own: podman says so.
    #[serde(rename = "Components", default)]
    components: Vec<Component>,
    /// Its version.
    #[serde(rename = "Version")]
    pub version: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Component {
    #[serde(rename = "Name")]
    name: String,
}

#[derive(Deserialize)]
struct Info {
    #[serde(rename = "SecurityOptions", default)]
    security: Option<Vec<String>>,
}

/// A container, briefly.
#[derive(Clone, Debug, Deserialize)]
pub struct Listed {
    /// Its id, 64 hex digits.
    #[serde(rename = "Id")]
    pub id: String,
    /// Its labels.
    #[serde(rename = "Labels", default)]
    pub labels: BTreeMap<String, String>,
}

/// A container.
#[derive(Clone, Debug, Deserialize)]
pub struct Container {
    /// Its id, 64 hex digits.
    #[serde(rename = "Id")]
    pub id: String,
    /// Its name, after a slash.
    #[serde(rename = "Name", default)]
    name: String,
    /// The id of the image that it was made of.
    #[serde(rename = "Image", default)]
    pub image: String,
    /// How often the engine has started it again by itself.
    #[serde(rename = "RestartCount", default)]
    pub restarts: u64,
    /// How it is.
    #[serde(rename = "State")]
    pub state: State,
    #[serde(rename = "Config")]
    config: Config,
    #[serde(rename = "HostConfig", default)]
    host: HostConfig,
    #[serde(rename = "Mounts", default)]
    mounts: Vec<Mount>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct HostConfig {
    #[serde(rename = "NetworkMode", default)]
    network: String,
    #[serde(rename = "PidMode", default)]
    pid: String,
    #[serde(rename = "IpcMode", default)]
    ipc: String,
}

/// How a container is.
#[derive(Clone, Debug, Deserialize)]
pub struct State {
    /// `created`, `running`, `paused`, `restarting`, `removing`, `exited`, `dead`.
    #[serde(rename = "Status")]
    pub status: String,
    /// Its first process; 0 where it does not run.
    #[serde(rename = "Pid", default)]
    pub pid: u32,
    /// The status that its first process ended with.
    #[serde(rename = "ExitCode", default)]
    pub exit_code: i64,
    /// Why it could not be started; may have words of its configuration in it, and is not told.
    #[serde(rename = "Error", default)]
    pub error: String,
    /// Whether it was killed for want of memory.
    #[serde(rename = "OOMKilled", default)]
    pub out_of_memory: bool,
    /// When it was started last.
    #[serde(rename = "StartedAt", default)]
    pub started_at: String,
    #[serde(rename = "Health", default)]
    health: Option<Health>,
}

#[derive(Clone, Debug, Deserialize)]
struct Health {
    #[serde(rename = "Status")]
    status: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Config {
    #[serde(rename = "Image", default)]
    image: String,
    #[serde(rename = "Env", default)]
    env: Option<Variables>,
    #[serde(rename = "Labels", default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(rename = "StopTimeout", default)]
    stop_timeout: Option<u64>,
}

/// All its variables, other people's secrets among them.
#[derive(Clone, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
struct Variables(Vec<String>);

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "Id")]
    id: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Mount {
    #[serde(rename = "Source", default)]
    source: String,
    #[serde(rename = "Destination", default)]
    destination: String,
}

impl std::fmt::Debug for Variables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} variables", self.0.len())
    }
}

impl Container {
    /// Its name.
    pub fn name(&self) -> &str {
        self.name.trim_start_matches('/')
    }

    /// The name that its image had when it was made: `app:latest`.
    pub fn image_name(&self) -> &str {
        &self.config.image
    }

    /// The value of a variable that it is started with.
    pub fn variable(&self, name: &str) -> Option<SecretValue> {
        let mut variables = self.config.env.iter().flat_map(|variables| &variables.0);
        let value = variables.find_map(|assignment| assignment.strip_prefix(name)?.strip_prefix('='))?;
        Some(SecretValue::new(value.as_bytes().to_vec()))
    }

    /// A variable that it is started with and that has this value.
    pub fn variable_with(&self, value: &SecretValue) -> Option<&str> {
        let variables = self.config.env.iter().flat_map(|variables| &variables.0);
        let mut pairs = variables.filter_map(|assignment| assignment.split_once('='));
        pairs.find(|(_, has)| SecretValue::new(has.as_bytes().to_vec()).is_same(value)).map(|(name, _)| name)
    }

    /// A label; empty where it has none of that name.
    pub fn label(&self, name: &str) -> &str {
        self.config.labels.as_ref().and_then(|labels| labels.get(name)).map_or("", String::as_str)
    }

    /// Where it sees a file or directory of the host.
    pub fn sees(&self, source: &Path) -> Option<&str> {
        self.mounts.iter().find(|mount| Path::new(&mount.source) == source).map(|mount| mount.destination.as_str())
    }

    /// What it has of another container, as Compose calls that, by the key that says so.
    pub fn joins(&self, other: &Self) -> Option<&'static str> {
        let host = &self.host;
        let modes = [("network_mode", &host.network), ("pid", &host.pid), ("ipc", &host.ipc)];
        let is_other =
            |mode: &str| mode.strip_prefix("container:").is_some_and(|of| of == other.id || of == other.name());
        modes.into_iter().find(|(_, mode)| is_other(mode)).map(|(key, _)| key)
    }

    /// What its own check says of it: `starting`, `healthy`, `unhealthy`; none where it has none.
    pub fn health(&self) -> Option<&str> {
        self.state.health.as_ref().map(|health| health.status.as_str()).filter(|status| *status != "none")
    }

    /// Whether it runs, or is started again and again.
    pub fn is_up(&self) -> bool {
        matches!(self.state.status.as_str(), "running" | "paused" | "restarting")
    }

    /// Whether it ended as one does that somebody stops: well, or by the signals for that.
    pub fn was_stopped(&self) -> bool {
        matches!(self.state.exit_code, 0 | 130 | 137 | 143) && !self.state.out_of_memory
    }

    /// How long it is given to stop.
    pub fn grace(&self) -> Duration {
        Duration::from_secs(self.config.stop_timeout.unwrap_or(10))
    }
}

impl Default for Engine {
    fn default() -> Self {
        Self(PathBuf::from(SOCKET))
    }
}

impl Engine {
    /// The one that answers on a socket.
    #[cfg(test)]
    pub fn at(socket: PathBuf) -> Self {
        Self(socket)
    }

    /// What the engine is.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn about(&self) -> Result<About, EngineError> {
        self.get("/version").await
    }

    /// Whether the engine runs as a user of its own.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn is_rootless(&self) -> Result<bool, EngineError> {
        let info: Info = self.get("/info").await?;
        Ok(info.security.iter().flatten().any(|option| option == "name=rootless"))
    }

    /// All containers with a label, whether they run or not.
    ///
    /// # Errors
    /// Where the engine does not answer.
    pub async fn labelled(&self, label: &str) -> Result<Vec<Listed>, EngineError> {
        self.get(&format!("/containers/json?all=1&filters=%7B%22label%22%3A%5B%22{label}%22%5D%7D")).await
    }

    /// A container; none where it is gone.
    ///
    /// # Errors
    /// Where the engine does not answer.
    pub async fn container(&self, id: &str) -> Result<Option<Container>, EngineError> {
        match self.get(&format!("/containers/{id}/json")).await {
            Ok(container) => Ok(Some(container)),
            Err(EngineError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// Where the engine refuses.
    pub async fn rename(&self, id: &str, name: &str) -> Result<(), EngineError> {
        let request = format!("/containers/{id}/rename?name={name}");
        self.ask("POST", &request).await.map(drop)
    }

    /// The id of the image that has a name now; none where none has it.
    ///
    /// # Errors
    /// Where the engine does not answer.
    pub async fn image(&self, name: &str) -> Result<Option<String>, EngineError> {
        if !is_image_name(name) {
            return Ok(None);
        }
        match self.get::<Image>(&format!("/images/{name}/json")).await {
            Ok(image) => Ok(Some(image.id)),
            Err(EngineError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives an image a name, which another one may have had.
    ///
    /// # Errors
    /// Where the engine refuses, as it does where the image is gone.
    pub async fn name_image(&self, id: &str, name: &str) -> Result<(), EngineError> {
        let (repository, tag) = parted_name(name);
        let request = format!("/images/{id}/tag?repo={repository}&tag={tag}");
        self.ask("POST", &request).await.map(drop)
    }

    async fn get<T: DeserializeOwned>(&self, request: &str) -> Result<T, EngineError> {
        let body = self.ask("GET", request).await?;
        // serde's messages cite what they do not understand.
        serde_json::from_slice(&body).map_err(|error| self.away(format!("its answer ends at {}", error.column())))
    }

    async fn ask(&self, method: &str, request: &str) -> Result<Zeroizing<Vec<u8>>, EngineError> {
        let exchange = async {
            let mut stream = UnixStream::connect(&self.0).await?;
            let head = format!("{method} {request} HTTP/1.0\r\nHost: docker\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            // All at once, since a buffer that grows leaves copies of what it held.
            let mut answer = Zeroizing::new(Vec::with_capacity(256 * 1024));
            stream.take(LARGEST).read_to_end(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = match timeout(LIMIT, exchange).await {
            Err(_) => return Err(self.away(format!("no answer within {} s", LIMIT.as_secs()))),
            Ok(answer) => answer.map_err(|error| self.away(error.to_string()))?,
        };
        let (status, body) = parted(&answer).ok_or_else(|| self.away("this is not HTTP".to_owned()))?;
        if (200..300).contains(&status) {
            return Ok(Zeroizing::new(body.to_vec()));
        }
        let request = request.split('?').next().unwrap_or_default();
        Err(EngineError::Refused { request: format!("{method} {request}"), status })
    }

    fn away(&self, why: String) -> EngineError {
        EngineError::Away { socket: self.0.clone(), why }
    }
}

impl About {
    /// Whether it only speaks like Docker.
    pub fn is_podman(&self) -> bool {
        self.components.iter().any(|component| component.name.to_ascii_lowercase().contains("podman"))
    }
}

/// Whether it is in the letters of an image's name, which mean nothing else in a request.
fn is_image_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte))
}

/// Repository and tag; a colon before a slash is that of a port.
fn parted_name(name: &str) -> (&str, &str) {
    name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).unwrap_or((name, "latest"))
}

/// Status and body of an answer.
fn parted(answer: &[u8]) -> Option<(u16, &[u8])> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let line = answer[..end].split(|&byte| byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let status = line.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some((status, &answer[end + 4..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_read_and_shows_no_value() {
        let text = r#"{"Id":"ab","Name":"/app-web-1","RestartCount":2,"Image":"sha256:12","State":{"Status":"running","Pid":7,"ExitCode":0,
            "Health":{"Status":"starting","Log":null}},"Config":{"Image":"app:1","Env":["A=1","JWT_SECRET=pa55=x"],"Labels":null},
            "Mounts":[{"Type":"bind","Source":"/srv/jwt","Destination":"/run/secrets/jwt"}],"More":{}}"#;
        let container: Container = serde_json::from_str(text).unwrap();
        assert_eq!(container.name(), "app-web-1");
        assert_eq!(container.variable("JWT_SECRET").unwrap().reveal(), b"pa55=x");
        assert!(container.variable("JWT").is_none());
        assert_eq!((container.image.as_str(), container.image_name()), ("sha256:12", "app:1"));
        assert_eq!((container.health(), container.label("x")), (Some("starting"), ""));
        assert_eq!(container.sees(Path::new("/srv/jwt")), Some("/run/secrets/jwt"));
        assert!(!format!("{container:?}").contains("pa55"));
    }

    #[test]
    fn the_name_of_an_image_is_parted_into_repository_and_tag() {
        assert_eq!(parted_name("web"), ("web", "latest"));
        assert_eq!(parted_name("web:1"), ("web", "1"));
        assert_eq!(parted_name("localhost:5000/a/web"), ("localhost:5000/a/web", "latest"));
        assert_eq!(parted_name("localhost:5000/a/web:1"), ("localhost:5000/a/web", "1"));
        assert!(
            is_image_name("a-b.c/web_x:1") && !is_image_name("a b") && !is_image_name("a?b=c") && !is_image_name("")
        );
    }

    #[test]
    fn an_answer_is_parted_into_status_and_body() {
        assert_eq!(parted(b"HTTP/1.0 200 OK\r\nA: b\r\n\r\n{}"), Some((200, &b"{}"[..])));
        assert_eq!(parted(b"HTTP/1.0 404 Not Found\r\n\r\n"), Some((404, &b""[..])));
        assert_eq!(parted(b"SSH-2.0\r\n\r\n"), None);
    }
}
