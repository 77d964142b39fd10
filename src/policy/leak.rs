//! Which places of a value are as they should be: those where it is delivered, and those who read it there.

use crate::rotation::Generation;

/// A place where a value was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spot<'a> {
    /// A file, by its path.
    File(&'a str),
    /// The environment of a process, by its control group.
    Environment(&'a str),
    /// What nobody should have a value in: arguments, the journal.
    Elsewhere,
}

/// What is rekeyd's doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ours {
    /// The generations that consumers are to have.
    pub in_force: Vec<Generation>,
    /// Where rekeyd delivers to, with all that is below.
    pub directories: Vec<String>,
    /// Files of targets.
    pub files: Vec<String>,
    /// Control groups of consumers.
    pub groups: Vec<String>,
    /// Whether consumers are containers, whose engine keeps their environment.
    pub has_containers: bool,
    /// Whether consumers are run by PM2, which keeps their environment.
    pub has_pm2: bool,
    /// Whether it is not known which processes the consumers are.
    pub has_unknown_consumers: bool,
}

/// What rekeyd has to do with a place, in words, and whether the value belongs there: a value that is not in force belongs
/// nowhere.
pub fn ours(spot: Spot<'_>, generation: Generation, ours: &Ours) -> (Option<&'static str>, bool) {
    let why = match spot {
        Spot::File(path) => of_file(path, ours),
        Spot::Environment(group) => of_process(group, ours),
        Spot::Elsewhere => None,
    };
    (why, why.is_some() && ours.in_force.contains(&generation))
}

fn of_file(path: &str, ours: &Ours) -> Option<&'static str> {
    if ours.directories.iter().any(|directory| is_below(path, directory)) {
        return Some("rekeyd delivers it there");
    }
    if ours.files.iter().any(|file| file == path) {
        return Some("the file of a target");
    }
    if ours.has_containers && is_below(path, "/var/lib/docker/containers") && path.ends_with(".json") {
        return Some("Docker's own copy of a container's variables");
    }
    if ours.has_containers && is_below(path, "/run/containerd") && path.ends_with("/config.json") {
        return Some("the runtime's own copy of a running container's variables");
    }
    let is_dump = path.ends_with("/dump.pm2") || path.ends_with("/dump.pm2.bak");
    (ours.has_pm2 && is_dump).then_some("PM2's own copy, for the next boot")
}

fn of_process(group: &str, ours: &Ours) -> Option<&'static str> {
    if ours.groups.iter().any(|of| is_below(group, of)) {
        return Some("a consumer");
    }
    let is_container = group.contains("/docker-") || group.contains("/docker/");
    if ours.has_containers && is_container {
        return Some("a container");
    }
    ours.has_unknown_consumers.then_some("perhaps a consumer: which processes these are is not known")
}

fn is_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Ours {
        Ours {
            in_force: vec![Generation(2)],
            directories: vec!["/var/lib/rekeyd/delivered/a".to_owned()],
            files: vec!["/srv/a/.env".to_owned()],
            groups: vec!["/system.slice/a.service".to_owned()],
            has_containers: true,
            has_pm2: true,
            has_unknown_consumers: false,
        }
    }

    #[test]
    fn a_value_in_force_belongs_where_it_is_delivered_and_to_its_readers() {
        for spot in [
            Spot::File("/var/lib/rekeyd/delivered/a/2/env"),
            Spot::File("/srv/a/.env"),
            Spot::File("/var/lib/docker/containers/0f/config.v2.json"),
            Spot::File("/run/containerd/io.containerd.runtime.v2.task/moby/0f/config.json"),
            Spot::File("/home/app/.pm2/dump.pm2.bak"),
            Spot::Environment("/system.slice/a.service"),
            Spot::Environment("/system.slice/a.service/worker"),
            Spot::Environment("/system.slice/docker-0f.scope"),
        ] {
            assert!(ours(spot, Generation(2), &all()).1, "{spot:?}");
            let (why, belongs) = ours(spot, Generation(1), &all());
            assert!(why.is_some() && !belongs, "an old one at {spot:?}");
        }
    }

    #[test]
    fn nothing_belongs_anywhere_else() {
        for spot in [
            Spot::File("/var/lib/rekeyd/delivered/ab/2/env"),
            Spot::File("/srv/a/.env~"),
            Spot::File("/var/lib/docker/containers/0f/0f-json.log"),
            Spot::Environment("/system.slice/a.service.d"),
            Spot::Environment("/user.slice"),
            Spot::Elsewhere,
        ] {
            assert_eq!(ours(spot, Generation(2), &all()), (None, false), "{spot:?}");
        }
        let bare = Ours { in_force: vec![Generation(2)], ..Ours::default() };
        assert_eq!(ours(Spot::File("/home/app/.pm2/dump.pm2"), Generation(2), &bare), (None, false));
        let unknown = Ours { has_unknown_consumers: true, ..bare };
        assert!(ours(Spot::Environment("/user.slice"), Generation(2), &unknown).1);
    }
}
