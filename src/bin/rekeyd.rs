//! The daemon, and the helpers that it asks: see rekeyd(8).

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => rekeyd::daemon::run(),
        ["helper", kind] => rekeyd::helper::run(kind),
        ["recover", rotation] => rekeyd::daemon::recover(rotation),
        ["rearm"] => rekeyd::daemon::rearm(),
        ["--version"] => {
            eprintln!("rekeyd {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("usage: rekeyd (started by systemd; rekeyctl is the hand tool, see rekeyd(8))");
            ExitCode::from(64)
        }
    }
}
