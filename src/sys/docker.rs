//! Docker's engine, asked over its socket: which containers there are, and how they are.
//!
//! Of its interface (<https://docs.docker.com/reference/api/engine/>) a few requests are enough, in HTTP/1.0, whose answers
//! end with the connection.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;
use zeroize::Zeroizing;

mod container;

pub use container::{Container, Listed, State};

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

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "Id")]
    id: String,
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
