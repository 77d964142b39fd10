//! `reveal`: the value of a generation, for root, to a descriptor.

use super::exit::{be_root, for_root};
use super::{Exit, Out, daemon, descriptor};
use crate::dbus::rekeyd1::Error;

pub(super) async fn run(out: &Out, name: &str, generation: Option<u32>, to: u32) -> Exit {
    if let Err(error) = be_root() {
        return out.error(&error);
    }
    let to = match descriptor::to_write(to) {
        Ok(to) => to,
        Err(why) => return out.fail(Exit::Usage, &why),
    };
    let done: Result<(), Error> =
        async { daemon().await?.reveal(name, generation.unwrap_or(0), to.into()).await.map_err(for_root) }.await;
    // Not a word on standard output, which may be where the value goes.
    match done {
        Ok(()) => Exit::Done,
        Err(error) => out.error(&error),
    }
}
