//! What the kernel says of a process.

use std::path::Path;

use rustix::process::Pid;

/// When a process was started, in ticks since the boot: proc_pid_stat(5), field 22. None of one that is gone, or dead and
/// buried by nobody.
pub fn started(pid: Pid) -> Option<u64> {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.as_raw_nonzero().to_string()).join("stat")).ok()?;
    // The second field, the name, may have anything in it but is the only one in parentheses.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let is_dead = fields.next()? == "Z";
    (!is_dead).then_some(())?;
    fields.nth(18)?.parse().ok()
}
