//! `rekeyd rearm`: at boot, makes the transient timers again that did not survive it. The daemon does the same when it
//! starts; this is for a host where it does not.

use std::path::Path;
use std::process::ExitCode;

use super::timers;
use crate::config::{self, Dirs};
use crate::dbus::systemd1::Systemd;
use crate::store;

/// Arms what the records call for. What cannot be read is told and left out.
pub fn run() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.to_string()),
    };
    let root = Path::new(store::ROOT);
    let names = match store::secrets(root) {
        Ok(names) => names,
        Err(error) => return failed(&error.to_string()),
    };
    let systemd = Systemd::default();
    let dirs = Dirs::default();
    let settings = config::load(&dirs).settings;
    let mut exit = ExitCode::SUCCESS;
    for name in names {
        let armed = match store::standing(root, &name) {
            // What nobody has configured any more could only be refused.
            Ok(standing) if standing.transaction.is_none() && !dirs.has_secret(&name) => continue,
            Ok(standing) => {
                let dead_man = settings.secrets.get(&name).is_none_or(|settings| settings.dead_man);
                runtime.block_on(timers::arm(&systemd, &name, &standing, dead_man))
            }
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = armed {
            exit = failed(&format!("{name}: {error}"));
        }
    }
    exit
}

fn failed(error: &str) -> ExitCode {
    // The prefix is a priority: sd-daemon(3).
    eprintln!("<3>rekeyd rearm: {error}");
    ExitCode::FAILURE
}
