//! The systemd generator: `rekeyd-generator NORMAL-DIR EARLY-DIR LATE-DIR`. It always succeeds; see
//! [`rekeyd::generator`].

use std::path::Path;
use std::process::exit;

use rekeyd::config::Dirs;
use rekeyd::generator::{complain, generate};

fn main() {
    std::panic::set_hook(Box::new(|panic| {
        complain(&[format!("stopped by a fault of its own: {panic}")]);
        exit(0);
    }));
    let mut arguments = std::env::args_os().skip(1);
    let normal = arguments.next();
    let root = arguments.nth(2);
    let complaints = match (&normal, root) {
        (Some(normal), None) => generate(&Dirs::default(), Path::new(normal)),
        // For tests: another root directory, and complaints to standard error.
        (Some(normal), Some(root)) => {
            for complaint in generate(&Dirs::under(Path::new(&root)), Path::new(normal)) {
                eprintln!("{complaint}");
            }
            return;
        }
        (None, _) => vec!["called without the directory to write to (systemd.generator(7))".to_owned()],
    };
    complain(&complaints);
}
