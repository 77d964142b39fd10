//! Calls over a real bus that has a limit.

use std::process::{Child, Command, Stdio};

use futures_util::future::join_all;
use tokio::time::timeout;
use zbus::MessageStream;
use zbus::connection::Builder;

use super::*;

const DAEMON: &str = "/usr/bin/dbus-daemon";

/// A bus that lets each connection have so many calls under way.
struct Bus {
    daemon: Child,
    address: String,
    _directory: tempfile::TempDir,
}

impl Bus {
    fn with_limit(limit: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = format!("unix:path={}/bus", directory.path().display());
        let configuration = directory.path().join("bus.conf");
        let text = format!(
            "<busconfig><type>session</type><listen>{address}</listen><auth>EXTERNAL</auth>\
             <policy context='default'><allow send_destination='*' eavesdrop='true'/><allow eavesdrop='true'/><allow own='*'/></policy>\
             <limit name='max_replies_per_connection'>{limit}</limit></busconfig>"
        );
        std::fs::write(&configuration, text).unwrap();
        let mut command = Command::new(DAEMON);
        command.arg("--nofork").arg(format!("--config-file={}", configuration.display()));
        let daemon = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let daemon = daemon.unwrap_or_else(|error| panic!("{DAEMON}: {error}: apt install dbus-daemon"));
        Self { daemon, address, _directory: directory }
    }

    async fn connect(&self) -> Connection {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            match Builder::address(self.address.as_str()).build().await {
                Ok(connection) => return connection,
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
            sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// Answers nobody as long as more calls come. Returns how many were under way at most.
async fn answer_late(connection: Connection, count: usize) -> usize {
    let mut messages = MessageStream::from(&connection);
    let (mut waiting, mut most, mut answered) = (Vec::new(), 0, 0);
    while answered < count {
        match timeout(Duration::from_millis(50), futures_util::StreamExt::next(&mut messages)).await {
            Ok(message) => {
                let message = message.unwrap().unwrap();
                if message.header().member().is_some_and(|member| member.as_str() == "LoadUnit") {
                    waiting.push(message);
                }
            }
            Err(_) => {
                most = most.max(waiting.len());
                answered += waiting.len();
                for message in waiting.drain(..) {
                    let path = zbus::wire::ObjectPath::try_from("/unit").unwrap();
                    connection.reply(&message.header(), &path).await.unwrap();
                }
            }
        }
    }
    most
}

async fn many_calls_at_once(limit: usize) -> usize {
    const COUNT: usize = 300;
    let bus = Bus::with_limit(limit);
    let systemd = Systemd::default();
    *systemd.connection.lock().await = Some(bus.connect().await);
    let service = bus.connect().await;
    service.request_name(DESTINATION).await.unwrap();
    let answers = tokio::spawn(answer_late(service, COUNT));
    let clones: Vec<Systemd> = (0..COUNT).map(|_| systemd.clone()).collect();
    let paths = join_all(clones.iter().map(|systemd| systemd.unit_path("a.service")));
    let paths = timeout(Duration::from_secs(60), paths).await.unwrap();
    for path in paths {
        assert_eq!(path.unwrap(), "/unit");
    }
    answers.await.unwrap()
}

#[tokio::test]
async fn many_calls_at_once_wait_for_their_turn() {
    assert!(many_calls_at_once(128).await <= CALLS);
}

#[tokio::test]
async fn a_call_that_the_bus_finds_one_too_many_is_made_again() {
    assert!(many_calls_at_once(32).await <= 32);
}
