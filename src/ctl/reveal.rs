//! `reveal`: the value of a generation, for root, to a descriptor.

use super::{Exit, Out, daemon, descriptor};
use crate::dbus::rekeyd1::Error;

pub(super) async fn run(out: &Out, name: &str, generation: Option<u32>, to: u32) -> Exit {
    let done: Result<(), Error> = async {
        let to = descriptor::to_write(to)?;
        daemon().await?.reveal(name, generation.unwrap_or(0), to.into()).await
    }
    .await;
    // Not a word on standard output, which may be where the value goes.
    match done {
        Ok(()) => Exit::Done,
        Err(error) => out.error(&error),
    }
}
