//! Kills the daemon at a chosen system call, lets it fail, or listens to its calls, with strace(1) in the machine.

use super::{Machine, poll, seconds};

/// From now on the daemon is killed when its main thread enters this system call for the so manieth time.
#[track_caller]
pub fn set(machine: &Machine, call: &str, when: usize) {
    attach(machine, &format!("-o /dev/null -e trace={call} -e inject={call}:signal=KILL:when={when}"));
}

/// From now on these system calls of the daemon are written down, with the paths of their files.
#[track_caller]
pub fn listen(machine: &Machine, calls: &str) {
    attach(machine, &format!("-y -s 400 -o /root/calls -e trace={calls}"));
}

/// From now on this system call of the daemon fails with this error.
#[track_caller]
pub fn fail(machine: &Machine, call: &str, error: &str) {
    attach(machine, &format!("-o /dev/null -e trace={call} -e inject={call}:error={error}"));
}

/// From now on the daemon is left alone.
#[track_caller]
pub fn release(machine: &Machine) {
    machine.ok(&["systemctl", "stop", "trap.service"]);
}

/// What was written down so far, a line for each call.
#[track_caller]
pub fn heard(machine: &Machine) -> String {
    release(machine);
    machine.read("/root/calls")
}

#[track_caller]
fn attach(machine: &Machine, options: &str) {
    machine.sh(&format!(
        "pid=$(systemctl show --value -p MainPID rekeyd.service); \
         systemd-run -q --collect --unit=trap strace -f -p $pid {options}"
    ));
    // All threads: one that is killed while strace still attaches to others makes it hang.
    let traced = "pid=$(systemctl show --value -p MainPID rekeyd.service); \
                  ! grep -q 'TracerPid:[[:space:]]*0$' /proc/$pid/task/*/status";
    poll(seconds(10), "strace is attached to rekeyd", || {
        (machine.exec(&["sh", "-c", traced]).status == 0).then_some(())
    });
}

/// Whether the trap has caught the daemon.
pub fn is_sprung(machine: &Machine) -> bool {
    machine.unit("trap.service", "ActiveState") != "active"
}
