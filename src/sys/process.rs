//! What the kernel says of a process.

use std::path::Path;

use rustix::process::{DumpableBehavior, Pid, Signal, set_dumpable_behavior};

/// From now on nobody but root sees the memory of this process: not in a core dump, and not by ptrace(2). What it starts is
/// as it would be anyway, which a limit of dumps would not leave: prctl(2), `PR_SET_DUMPABLE`.
///
/// # Errors
/// What the kernel says.
pub fn hide_memory() -> rustix::io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

/// Whether a signal whose default is to end a process would not end this one: it catches or ignores it, or waits for it
/// (signalfd(2)), as the masks of proc_pid_status(5) say. Who cannot tell believes so.
pub fn survives(pid: Pid, signal: Signal) -> bool {
    let status = Path::new("/proc").join(pid.as_raw_nonzero().to_string()).join("status");
    let Ok(status) = std::fs::read_to_string(status) else { return true };
    let masks = ["SigBlk:", "SigIgn:", "SigCgt:"].map(|name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(line.trim(), 16).ok()
    });
    let bit = 1u64 << (signal.as_raw() - 1);
    masks.iter().any(|mask| mask.is_none_or(|mask| mask & bit != 0))
}

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
