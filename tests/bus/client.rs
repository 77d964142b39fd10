//! `bus-client flood`: a client of `org.rekeyd1` that means harm. Over many connections it sends calls, small ones and large
//! ones, as fast as the bus takes them, reads no answer, and vanishes in the middle of it. `bus-client listen`: one that
//! subscribes, says so, and stays.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::time::{Duration, Instant};

use zbus::Connection;
use zbus::message::Message;

const CONNECTIONS: usize = 40;
const FOR: Duration = Duration::from_secs(4);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    if std::env::args().nth(1).as_deref() == Some("listen") {
        let connection = Connection::system().await.unwrap();
        let manager = Some("org.rekeyd1.Manager");
        connection.call_method(Some("org.rekeyd1"), "/org/rekeyd1", manager, "Subscribe", &()).await.unwrap();
        println!("listening");
        return std::future::pending().await;
    }
    let until = Instant::now() + FOR;
    let floods = (0..CONNECTIONS).map(|number| tokio::spawn(flood(number, until)));
    for flood in floods.collect::<Vec<_>>() {
        let _ = flood.await;
    }
}

async fn flood(number: usize, until: Instant) {
    let large = "x".repeat(4 << 20);
    while Instant::now() < until {
        let Ok(connection) = Connection::system().await else {
            tokio::task::yield_now().await;
            continue;
        };
        for call in 0..1000 {
            let message = match (number + call) % 4 {
                0 => build("Verify", &("my-backend-jwt",)),
                1 => build("Pause", &("my-backend-jwt",)),
                2 => build("History", &("my-backend-jwt",)),
                _ if call % 64 == 3 => build("Rotate", &("my-backend-jwt", large.as_str(), Vec::<&str>::new())),
                _ => build("Rotate", &("my-backend-jwt", "", vec!["wait", "follow"])),
            };
            if connection.send(&message).await.is_err() || Instant::now() > until {
                break;
            }
        }
    }
}

fn build<B: serde::Serialize + zbus::DynamicType>(method: &str, body: &B) -> Message {
    let call = Message::method_call("/org/rekeyd1", method).destination("org.rekeyd1");
    call.interface("org.rekeyd1.Manager").build(body).unwrap()
}
