//! The hand tool: see rekeyctl(1).

use std::process::ExitCode;

fn main() -> ExitCode {
    rekeyd::ctl::run()
}
