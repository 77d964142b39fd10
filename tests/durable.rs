//! What a rotation means to do is on the disk before it does it, and so is what it has done: by the order of the daemon's
//! system calls, since a kill loses nothing that the kernel already has.

#![allow(clippy::unwrap_used)]

use crate::support;

use std::collections::BTreeSet;

use serde_json::Value;
use support::rotation::{self, NAME, adopted, commits, status};
use support::{Backend, poll, seconds, trap};

/// What changes files or makes them durable, and the messages to systemd.
const CALLS: &str = "write,pwrite64,ftruncate,rename,mkdir,symlink,unlink,fsync,sendmsg";

support::on_both_debians! {
    fn what_is_intended_is_on_the_disk_before_it_is_done(debian) {
        let machine = adopted(debian, &Backend::good());
        // The first one makes the drop-in and reloads; the next ones are all alike.
        commits(&machine, 2);
        trap::listen(&machine, CALLS);
        commits(&machine, 3);
        let calls = trap::heard(&machine);
        let mut disk = Disk::default();
        calls.lines().for_each(|line| disk.call(line));
        assert_eq!(disk.dirty, BTreeSet::new(), "at the end");
        assert_eq!(disk.acts, ["a timer", "the files", "the restart"]);
    }

    fn what_waits_for_a_full_disk_says_so_and_goes_on(debian) {
        let probe = "[[probe]]\ntype = \"command\"\ncommand = [\"/usr/local/bin/go\"]\ntimeout = \"60s\"\n";
        let go = "#!/bin/sh\ntest $REKEYD_PRIMARY = 1 || until test -e /run/go; do sleep 0.05; done\n";
        let machine = rotation::on_with(debian, &Backend::good(), probe).file("/usr/local/bin/go", 0o755, go).boot();
        let machine = rotation::adopt(machine);
        machine.sh("systemd-run -q sh -c 'rekeyctl rotate my-backend-jwt >/run/said 2>&1'");
        let is_asked = || machine.exec(&["pgrep", "-f", "^/bin/sh /usr/local/bin/go"]).status == 0;
        poll(seconds(20), "the new value is being proven", || is_asked().then_some(()));
        trap::fail(&machine, "pwrite64", "ENOSPC");
        machine.ok(&["touch", "/run/go"]);
        let waits = poll(seconds(30), "it waits", || status(&machine)["hold"].as_str().map(str::to_owned));
        assert!(waits.contains("No space left on device") && waits.contains("goes on by itself"), "{waits}");
        for act in [&["status", NAME][..], &["doctor"]] {
            let said = machine.exec(&[&["rekeyctl"], act].concat());
            assert!(said.to_string().contains("No space left on device"), "{said}");
        }
        trap::release(&machine);
        poll(seconds(60), "it has ended", || status(&machine)["rotation"].is_null().then_some(()));
        let status = status(&machine);
        assert_eq!((&status["last"]["outcome"]["outcome"], &status["hold"]), (&"committed".into(), &Value::Null));
        assert!(machine.read("/run/said").contains("No space left on device"));
    }
}

/// What of the daemon's files is not yet on the disk, while its calls are read one after the other.
#[derive(Default)]
struct Disk {
    dirty: BTreeSet<String>,
    /// Whether something was recorded since the last act.
    intends: bool,
    acts: Vec<&'static str>,
}

impl Disk {
    #[track_caller]
    fn call(&mut self, line: &str) {
        let Some((call, arguments)) = line.split_once('(') else { return };
        // A thread's number comes first.
        let call = call.rsplit(' ').next().unwrap();
        if line.contains(" = -1 ") {
            return;
        }
        match call {
            "write" | "pwrite64" | "ftruncate" => {
                if let Some(path) = ours(descriptor(arguments)) {
                    self.intends |= path.contains("/store/");
                    self.dirty.insert(path.to_owned());
                }
            }
            "fsync" => {
                self.dirty.remove(descriptor(arguments));
            }
            "mkdir" | "symlink" | "unlink" => {
                if let Some(path) = ours(quoted(arguments).last().unwrap_or_default()) {
                    self.dirty.insert(directory(path));
                }
            }
            "rename" => {
                let mut paths = quoted(arguments);
                let (from, to) = (paths.next().unwrap(), paths.next().unwrap());
                assert!(!self.dirty.contains(from), "{to} is named before what is in it is on the disk");
                if to.ends_with("/current") {
                    self.act("the files", "/var/lib/rekeyd/store/");
                }
                if let Some(to) = ours(to) {
                    self.dirty.insert(directory(to));
                }
            }
            "sendmsg" if arguments.contains("StartTransientUnit") => self.act("a timer", "/var/lib/rekeyd/store/"),
            "sendmsg" if arguments.contains("RestartUnit") => self.act("the restart", "/"),
            _ => {}
        }
    }

    /// Something is done: it must have been recorded, and nothing below `place` be lost by a crash.
    #[track_caller]
    fn act(&mut self, act: &'static str, place: &str) {
        let late: Vec<_> = self.dirty.iter().filter(|path| path.starts_with(place)).collect();
        assert!(late.is_empty(), "before {act}: {late:?} is not on the disk");
        assert!(self.intends, "before {act}: it was not recorded");
        self.intends = act == "a timer";
        self.acts.push(act);
    }
}

/// `13</a/path>, …`
fn descriptor(arguments: &str) -> &str {
    arguments.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(path, _)| path)
}

fn quoted(arguments: &str) -> impl Iterator<Item = &str> {
    arguments.split('"').skip(1).step_by(2)
}

fn ours(path: &str) -> Option<&str> {
    let is_ours = ["/var/lib/rekeyd/", "/etc/systemd/system/"].iter().any(|place| path.starts_with(place));
    is_ours.then_some(path)
}

fn directory(path: &str) -> String {
    path.rsplit_once('/').map_or(path, |(directory, _)| directory).to_owned()
}
