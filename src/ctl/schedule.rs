//! `pause`, `resume`: whether a schedule rotates.

use super::acting::act;
use super::{Exit, Out, daemon};
use crate::dbus::rekeyd1::Error;

pub(super) async fn pause(out: &Out, name: &str) -> Exit {
    let done = async { act(&daemon().await?, "Pause", &(name,)).await }.await;
    say(out, done, &format!("{name}: the schedule is paused; rekeyctl resume {name} lets it go on"))
}

pub(super) async fn resume(out: &Out, name: &str) -> Exit {
    let done = async { act(&daemon().await?, "Resume", &(name,)).await }.await;
    say(out, done, &format!("{name}: the schedule goes on"))
}

fn say(out: &Out, done: Result<(), Error>, text: &str) -> Exit {
    match done {
        Ok(()) if out.json => {}
        Ok(()) => out.text(text),
        Err(error) => return out.error(&error),
    }
    Exit::Done
}
