//! `key`: the key that the store's values are sealed with.

use std::os::fd::OwnedFd;

use clap::Subcommand;

use super::exit::{be_root, for_root};
use super::{Exit, Out, daemon, descriptor};
use crate::dbus::rekeyd1::Error;

/// `rekeyctl key`.
#[derive(Debug, Subcommand)]
pub enum Key {
    /// Write the key, sealed with a passphrase, to keep it somewhere else
    Export {
        /// Where to write it: a descriptor that the shell has opened
        #[arg(long, value_name = "N", default_value_t = 1)]
        to_fd: u32,
        /// Where to read the passphrase; without it a person is asked
        #[arg(long, value_name = "N")]
        passphrase_fd: Option<u32>,
    },
    /// Read what export has written, and seal the key to this machine
    Import {
        /// Where to read it: a descriptor that the shell has opened
        #[arg(long, value_name = "N", default_value_t = 0)]
        from_fd: u32,
        /// Where to read the passphrase; without it a person is asked
        #[arg(long, value_name = "N")]
        passphrase_fd: Option<u32>,
    },
    /// Make a new key and seal every value with it
    Rotate,
}

impl Key {
    pub(super) async fn run(self, out: &Out) -> Exit {
        if let Err(error) = be_root() {
            return out.error(&error);
        }
        let (done, text) = match self {
            Self::Export { to_fd, passphrase_fd } => {
                let to = match descriptor::to_write(to_fd) {
                    Ok(to) => to,
                    Err(why) => return out.fail(Exit::Usage, &why),
                };
                // On standard output there is nothing but the export.
                match export(to, passphrase_fd).await {
                    Ok(()) => return Exit::Done,
                    Err(error) => return out.error(&error),
                }
            }
            Self::Import { from_fd, passphrase_fd } => {
                let from = match descriptor::to_read(from_fd) {
                    Ok(from) => from,
                    Err(why) => return out.fail(Exit::Usage, &why),
                };
                (import(from, passphrase_fd).await, "the key opens every value of the store, and is in use")
            }
            Self::Rotate => {
                let done = async { daemon().await?.rotate_key().await.map_err(for_root) }.await;
                (done, "every value is sealed with the new key; earlier exports open none of them: export it again")
            }
        };
        match done {
            Ok(()) if out.json => {}
            Ok(()) => out.text(text),
            Err(error) => return out.error(&error),
        }
        Exit::Done
    }
}

async fn export(to: OwnedFd, passphrase: Option<u32>) -> Result<(), Error> {
    let passphrase = descriptor::passphrase(passphrase, true)?;
    daemon().await?.export_key(passphrase.into(), to.into()).await.map_err(for_root)
}

async fn import(from: OwnedFd, passphrase: Option<u32>) -> Result<(), Error> {
    let passphrase = descriptor::passphrase(passphrase, false)?;
    daemon().await?.import_key(from.into(), passphrase.into()).await.map_err(for_root)
}
