//! Drift: what stands in files and processes, held against the value in force.

use std::fmt;

use crate::rotation::Generation;

/// What was seen at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The place, as people name it: a path, or `2 of 3 processes of my-backend.service`.
    pub place: String,
    /// What kind of place it is.
    pub kind: Kind,
    /// What it has.
    pub has: Has,
    /// What a person types to have what runs there started anew, or a file delivered again; empty where they write the file
    /// themselves.
    pub restart: String,
}

impl Sighting {
    /// What a file has.
    pub fn file(path: impl fmt::Display, has: Has) -> Self {
        Self { place: path.to_string(), kind: Kind::File, has, restart: String::new() }
    }

    /// A file of our own that is gone, and what delivers it again.
    pub fn lost(path: impl fmt::Display, again: impl Into<String>) -> Self {
        Self { restart: again.into(), ..Self::file(path, Has::Nothing) }
    }

    /// What runs has, and how it is started anew.
    pub fn process(place: String, has: Has, restart: impl Into<String>) -> Self {
        Self { place, kind: Kind::Process, has, restart: restart.into() }
    }

    /// What runs without the variable, and hides nothing of what it has: all of that in words, and what to do.
    pub fn lacking(what: String, advice: String) -> Self {
        Self { place: what, kind: Kind::Lacking, has: Has::Nothing, restart: advice }
    }

    /// A drop-in of ours that gives the value to what takes no part any more.
    pub fn left_behind(path: impl fmt::Display, unit: String) -> Self {
        Self { place: path.to_string(), kind: Kind::LeftBehind, has: Has::Nothing, restart: unit }
    }

    /// What runs, where it could not be looked at.
    pub fn unseen() -> Self {
        Self { place: String::new(), kind: Kind::Unseen, has: Has::Nothing, restart: String::new() }
    }

    /// What runs has and is not restarted for another value, and how it is started anew.
    pub fn left_alone(place: String, has: Has, restart: impl Into<String>) -> Self {
        Self { place, kind: Kind::LeftAlone, has, restart: restart.into() }
    }
}

/// Where a value was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In a file, which is read at the next start.
    File,
    /// In what runs.
    Process,
    /// In what runs, and takes another value when it is started next.
    LeftAlone,
    /// In what runs, and is known to have none.
    Lacking,
    /// With what takes no part any more.
    LeftBehind,
    /// Nowhere: what runs could not be looked at.
    Unseen,
}

/// Tells whether two values that are not known are the same one: a digest under a key of this look alone, so that it says
/// nothing of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mark([u8; 32]);

impl Mark {
    /// The mark of a value that has this digest.
    pub fn of(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}

impl fmt::Debug for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mark(…)")
    }
}

/// What a place has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Has {
    /// The value of a generation that the store knows.
    Generation(Generation),
    /// A value that it does not know, by its mark.
    Unknown(Mark),
    /// No value.
    Nothing,
}

/// A place that is not as rekeyd left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drift {
    /// A file was edited by hand; what runs has not taken that yet, and takes it with this.
    Edited(String, String),
    /// A file was edited by hand, and a part of what runs has taken that; the rest takes it with this.
    EditedAndPartlyTaken(String, String),
    /// A file was edited by hand, and what runs has taken that.
    EditedAndTaken(String),
    /// A file has another generation again: it was restored from somewhere.
    Restored(String, Generation),
    /// A file has the value no more; and what delivers it again.
    Removed(String, String),
    /// What runs was started before the file had its value; and what starts it anew.
    Older(String, Generation, String),
    /// What runs has a value that is neither in its file nor known: it was started from elsewhere; and what starts it anew.
    FromElsewhere(String, String),
    /// What runs has another value than its file, as it is meant to, and takes that at its next start; and what starts it.
    Waits(String, String),
    /// A unit goes on accepting values that were retired, as it is meant to, until its next restart.
    Keeps(String, Vec<Generation>),
    /// What runs has no such variable, or an empty one; and what to do.
    Lacks(String, String),
    /// A drop-in of ours gives the value to a unit that is in no target.
    LeftBehind(String, String),
    /// A file became one of which it is not certain what it has, or it is gone; and what to do.
    Uncertain(String, String),
}

/// What of a target's places is not as it was left, where `in_force` is what all should have. Programs may hide what they
/// have: that says nothing.
pub fn drift(in_force: Generation, seen: &[Sighting]) -> Vec<Drift> {
    let has = |kind: Kind, what: Has| seen.iter().any(|sighting| sighting.kind == kind && sighting.has == what);
    let runs = |sighting: &&Sighting| sighting.kind == Kind::Process;
    let one = |Sighting { place, kind, has: what, restart }: &Sighting| {
        let place = place.clone();
        match (kind, what) {
            (Kind::Lacking, _) => Some(Drift::Lacks(place, restart.clone())),
            (Kind::LeftBehind, _) => Some(Drift::LeftBehind(place, restart.clone())),
            (_, Has::Generation(generation)) if *generation == in_force => None,
            (Kind::File, Has::Unknown(_)) => {
                let without = seen.iter().filter(runs).filter(|sighting| sighting.has != *what);
                // Programs that hide what they have may have it.
                let is_shown = without.clone().any(|sighting| sighting.has != Has::Nothing);
                Some(match (has(Kind::Process, *what), is_shown) {
                    (true, false) => Drift::EditedAndTaken(place),
                    (true, true) => Drift::EditedAndPartlyTaken(place, restarts(without)),
                    (false, _) => Drift::Edited(place, restarts(without)),
                })
            }
            (Kind::File, Has::Generation(generation)) => Some(Drift::Restored(place, *generation)),
            (Kind::File, Has::Nothing) => Some(Drift::Removed(place, restart.clone())),
            // Told of the file already.
            (Kind::Process, what) if *what != Has::Nothing && has(Kind::File, *what) => None,
            (Kind::Process, Has::Generation(generation)) => Some(Drift::Older(place, *generation, restart.clone())),
            (Kind::Process, Has::Unknown(_)) => Some(Drift::FromElsewhere(place, restart.clone())),
            (Kind::LeftAlone, Has::Generation(_) | Has::Unknown(_)) => Some(Drift::Waits(place, restart.clone())),
            (Kind::Process | Kind::LeftAlone, Has::Nothing) | (Kind::Unseen, _) => None,
        }
    };
    seen.iter().filter_map(one).collect()
}

/// What a person types for all of these to be started anew, each once.
fn restarts<'s>(of: impl Iterator<Item = &'s Sighting>) -> String {
    let mut all: Vec<&str> = Vec::new();
    for sighting in of {
        if !sighting.restart.is_empty() && !all.contains(&sighting.restart.as_str()) {
            all.push(&sighting.restart);
        }
    }
    all.join("; ")
}

/// What is not as it was left, where `now` was seen, and not all could be looked at: what runs is as it was `before`.
pub fn with_former(mut now: Vec<Drift>, before: &[Drift]) -> Vec<Drift> {
    for former in before {
        match former {
            Drift::Older(..) | Drift::FromElsewhere(..) | Drift::Waits(..) | Drift::Lacks(..)
                if !now.contains(former) =>
            {
                now.push(former.clone());
            }
            Drift::EditedAndTaken(place) | Drift::EditedAndPartlyTaken(place, _) => {
                for edited in now.iter_mut().filter(|new| matches!(new, Drift::Edited(at, _) if at == place)) {
                    *edited = former.clone();
                }
            }
            _ => {}
        }
    }
    now
}

impl Drift {
    /// Whether it is as it was meant to be.
    pub fn is_expected(&self) -> bool {
        matches!(self, Self::Waits(..) | Self::Keeps(..))
    }

    /// What to do about it, for the secret `name` whose generations `rejected` were found wanting.
    pub fn advice(&self, name: &str, rejected: &[Generation]) -> String {
        let adopt = format!("take that value over with rekeyctl adopt {name}");
        match self {
            Self::Edited(_, restart) | Self::EditedAndPartlyTaken(_, restart) => {
                let restart = if restart.is_empty() { "restart what reads it" } else { restart };
                format!("{restart}, and {adopt}; or write the former value")
            }
            Self::FromElsewhere(_, restart) if !restart.is_empty() => {
                format!(
                    "{restart} has it take what rekeyd has delivered; or put that value into its file as well, and {adopt}"
                )
            }
            Self::EditedAndTaken(_) | Self::FromElsewhere(..) => {
                format!("{adopt}; rekeyctl rollback {name} then brings back the former one")
            }
            Self::Restored(_, generation) if rejected.contains(generation) => format!(
                "that one was rejected: write the value in force; where the last way back failed, rekeyctl rollback {name} does"
            ),
            Self::Restored(..) => format!("restart what reads it and {adopt}; or write the value in force"),
            Self::Removed(_, again) if !again.is_empty() => {
                format!("{again} delivers it again; until then what reads it cannot be started again")
            }
            Self::Removed(..) => "write the value in force, before what reads it starts again".to_owned(),
            Self::Older(_, _, restart) => restart.clone(),
            Self::Waits(_, restart) => format!("{restart} starts it now"),
            Self::Keeps(unit, _) => format!("systemctl restart {unit}"),
            Self::LeftBehind(_, unit) => format!(
                "name it in `units` again; or give {unit} its value in another way, remove that file, systemctl daemon-reload, \
                 and restart it"
            ),
            Self::Uncertain(_, advice) | Self::Lacks(_, advice) => advice.clone(),
        }
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edited(place, _) => write!(f, "{place} was edited by hand, and what runs has not taken that yet"),
            Self::EditedAndPartlyTaken(place, _) => {
                write!(f, "{place} was edited by hand, and not all of what runs has taken that")
            }
            Self::EditedAndTaken(place) => write!(f, "{place} was edited by hand, and what runs has taken that"),
            Self::Restored(place, generation) => write!(f, "{place} has generation {generation} again"),
            Self::Removed(place, _) => write!(f, "{place} no longer has the value"),
            Self::Older(place, generation, _) => {
                write!(f, "{place} still with generation {generation}, older than the file")
            }
            Self::Waits(place, _) => {
                write!(f, "{place} with the value that they were started with, until their next start")
            }
            Self::Keeps(unit, generations) => {
                let generations: Vec<String> = generations.iter().map(ToString::to_string).collect();
                write!(f, "{unit} goes on accepting generation {} until its next restart", generations.join(" and "))
            }
            Self::FromElsewhere(place, _) => write!(f, "{place} with a value that is in no file and not known here"),
            Self::LeftBehind(path, unit) => {
                write!(
                    f,
                    "{path} gives the value to {unit}, which is in no target: no rotation restarts it, or proves what it has"
                )
            }
            Self::Uncertain(problem, _) | Self::Lacks(problem, _) => f.write_str(problem),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(kind: Kind, has: Has) -> Sighting {
        match kind {
            Kind::File => Sighting::file("file", has),
            Kind::Process => Sighting::process("processes".to_owned(), has, "again"),
            Kind::LeftAlone => Sighting::left_alone("processes".to_owned(), has, "again"),
            Kind::Lacking => Sighting::lacking("processes".to_owned(), "again".to_owned()),
            Kind::LeftBehind => Sighting::left_behind("file", "unit".to_owned()),
            Kind::Unseen => Sighting::unseen(),
        }
    }

    #[test]
    fn what_could_not_be_looked_at_is_as_it_was() {
        let file = || "file".to_owned();
        let edited = || Drift::Edited(file(), String::new());
        let older = Drift::Older("processes".to_owned(), Generation::FIRST, "again".to_owned());
        let unknown = Has::Unknown(Mark::of([1; 32]));
        let now = || drift(Generation::FIRST.next(), &[seen(Kind::File, unknown), seen(Kind::Unseen, Has::Nothing)]);
        assert_eq!(now(), [edited()]);
        assert_eq!(with_former(now(), std::slice::from_ref(&older)), [edited(), older]);
        assert_eq!(with_former(now(), &[Drift::EditedAndTaken(file())]), [Drift::EditedAndTaken(file())]);
        assert_eq!(with_former(now(), &[Drift::Removed(file(), String::new())]), [edited()]);
    }

    #[test]
    fn what_is_known_to_have_none_is_drift_and_stays_so_while_nobody_can_look() {
        let lacks = || Drift::Lacks("processes".to_owned(), "again".to_owned());
        let of_now = seen(Kind::File, Has::Generation(Generation::FIRST));
        let told = drift(Generation::FIRST, &[of_now.clone(), seen(Kind::Lacking, Has::Nothing)]);
        assert_eq!(told, [lacks()]);
        let unseen = drift(Generation::FIRST, &[of_now, seen(Kind::Unseen, Has::Nothing)]);
        assert_eq!(with_former(unseen, &[lacks()]), [lacks()]);
    }

    #[test]
    fn causes_are_told_apart() {
        let (file, processes) = (|| "file".to_owned(), || "processes".to_owned());
        let (old, now) = (Generation::FIRST, Generation::FIRST.next());
        let older = || Drift::Older(processes(), old, "again".to_owned());
        let edited = || Drift::Edited(file(), "again".to_owned());
        let from_elsewhere = || Drift::FromElsewhere(processes(), "again".to_owned());
        let (of_old, of_now) = (Has::Generation(old), Has::Generation(now));
        let [unknown, another] = [1, 2].map(|number| Has::Unknown(Mark::of([number; 32])));
        let cases = [
            (of_now, of_now, vec![]),
            (of_now, Has::Nothing, vec![]),
            (unknown, of_now, vec![edited()]),
            (unknown, unknown, vec![Drift::EditedAndTaken(file())]),
            (unknown, another, vec![edited(), from_elsewhere()]),
            (unknown, of_old, vec![edited(), older()]),
            (of_old, of_now, vec![Drift::Restored(file(), old)]),
            (of_old, of_old, vec![Drift::Restored(file(), old)]),
            (Has::Nothing, of_now, vec![Drift::Removed(file(), String::new())]),
            (of_now, of_old, vec![older()]),
            (of_now, unknown, vec![from_elsewhere()]),
        ];
        for (in_file, in_processes, wanted) in cases {
            let seen = [seen(Kind::File, in_file), seen(Kind::Process, in_processes)];
            assert_eq!(drift(now, &seen), wanted, "{in_file:?} {in_processes:?}");
        }
    }

    #[test]
    fn of_several_processes_all_that_have_not_taken_it_are_named() {
        let (old, now) = (Has::Generation(Generation::FIRST), Has::Generation(Generation::FIRST.next()));
        let (edited, file) = (Has::Unknown(Mark::of([1; 32])), || "file".to_owned());
        let one = |name: &str, has| Sighting::process(name.to_owned(), has, format!("restart {name}"));
        let told = |web, worker| {
            let seen = [Sighting::file("file", edited), one("web", web), one("worker", worker), one("worker", worker)];
            drift(Generation::FIRST.next(), &seen).remove(0)
        };
        assert_eq!(told(now, now), Drift::Edited(file(), "restart web; restart worker".to_owned()));
        for other in [now, old] {
            assert_eq!(told(other, edited), Drift::EditedAndPartlyTaken(file(), "restart web".to_owned()));
        }
        assert_eq!(told(edited, edited), Drift::EditedAndTaken(file()));
        assert_eq!(told(edited, Has::Nothing), Drift::EditedAndTaken(file()));
    }

    #[test]
    fn what_is_left_alone_may_have_another_value_than_its_file_until_its_next_start() {
        let (old, now) = (Generation::FIRST, Generation::FIRST.next());
        let told =
            |in_file, in_processes| drift(now, &[seen(Kind::File, in_file), seen(Kind::LeftAlone, in_processes)]);
        let (of_now, unknown) = (Has::Generation(now), Has::Unknown(Mark::of([1; 32])));
        for other in [Has::Generation(old), unknown] {
            let waits = Drift::Waits("processes".to_owned(), "again".to_owned());
            assert!(waits.is_expected());
            assert_eq!(told(of_now, other), [waits]);
        }
        assert_eq!(told(of_now, of_now), []);
        assert_eq!(told(of_now, Has::Nothing), []);
        assert_eq!(told(unknown, of_now), [Drift::Edited("file".to_owned(), String::new())]);
    }
}
