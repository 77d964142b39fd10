//! `notify`: whether those who would be told of trouble are reached.

use super::acting::act;
use super::{Exit, Out, daemon};
use crate::dbus::rekeyd1::Error;

pub(super) async fn run(out: &Out) -> Exit {
    let sent: Result<(), Error> = async { act(&daemon().await?, "TestNotification", &()).await }.await;
    match sent {
        Ok(()) if out.json => out.document(&serde_json::json!({ "sent": true })),
        Ok(()) => out.text("sent, each way that [notify] of rekeyd.toml names"),
        Err(error) => return out.error(&error),
    }
    Exit::Done
}
