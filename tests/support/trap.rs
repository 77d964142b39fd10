//! Kills the daemon at a chosen system call, with strace(1) in the machine.

use super::{Machine, poll, seconds};

/// From now on the daemon is killed when its main thread enters this system call for the so manieth time.
#[track_caller]
pub fn set(machine: &Machine, call: &str, when: usize) {
    machine.sh(&format!(
        "pid=$(systemctl show --value -p MainPID rekeyd.service); \
         systemd-run -q --collect --unit=trap strace -f -p $pid -o /dev/null -e trace={call} -e inject={call}:signal=KILL:when={when}"
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
