//! What a platform has: variables, deployments, what is served, and a clock.

use std::collections::{BTreeMap, VecDeque};
use std::time::{SystemTime, UNIX_EPOCH};

use super::Kind;

pub struct Variable {
    pub value: String,
    pub updated: i64,
    /// Whether it is shown.
    pub secret: bool,
}

pub struct Deployment {
    pub id: String,
    pub created: i64,
    pub states: Vec<String>,
    pub looks: usize,
    pub mark: Option<String>,
    /// Which one it was made anew of, as whoever asked for it said.
    pub of: Option<String>,
    pub by_us: bool,
    pub commit: String,
    pub canceled: bool,
    /// The variables that it has.
    pub has: BTreeMap<String, String>,
}

impl Deployment {
    pub fn state(&self) -> &str {
        let last = self.states.len() - 1;
        &self.states[self.looks.min(last)]
    }
}

/// What all four have.
pub struct World {
    pub kind: Kind,
    clock: i64,
    count: u32,
    pub variables: BTreeMap<String, Variable>,
    pub deployments: Vec<Deployment>,
    pub serving: String,
    /// The states of the deployments that are made next.
    pub next: VecDeque<Vec<String>>,
    /// Switches of the account that a test sets.
    pub set: BTreeMap<String, String>,
    /// How many requests that write variables, and triggers, were done.
    pub triggers: u32,
    pub writes: u32,
    /// The commit at the head of the branch.
    pub head: String,
}

impl World {
    pub(super) fn new(kind: Kind) -> Self {
        let days = 400 * 86_400_000;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
        let mut world = Self {
            kind,
            clock: now - days,
            count: 0,
            variables: BTreeMap::new(),
            deployments: Vec::new(),
            serving: String::new(),
            next: VecDeque::new(),
            set: BTreeMap::new(),
            triggers: 0,
            writes: 0,
            head: "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00".to_owned(),
        };
        for (key, value) in [("JWT_SECRET", "first-value-of-the-backend"), ("OTHER", "leave-me-alone")] {
            world
                .variables
                .insert(key.to_owned(), Variable { value: value.to_owned(), updated: world.clock, secret: true });
        }
        let first = world.deploy(None, false);
        world.deployments[0].looks = 9;
        world.serving = first;
        world
    }

    /// Some of its time goes by.
    pub fn tick(&mut self) -> i64 {
        self.clock += 1000;
        self.clock
    }

    pub fn id(&mut self, prefix: &str) -> String {
        self.count += 1;
        format!("{prefix}{:04}", self.count)
    }

    /// Makes a deployment of what the variables are now.
    pub fn deploy(&mut self, mark: Option<&str>, by_us: bool) -> String {
        let prefix = match self.kind {
            Kind::Vercel => "dpl_",
            Kind::Netlify => "64f0000000000000000",
            Kind::Render => "dep-",
            Kind::Railway => "11111111-0000-4000-8000-00000000",
        };
        let well = || self.kind.well().iter().map(|state| (*state).to_owned()).collect();
        let states = if by_us { self.next.pop_front().unwrap_or_else(well) } else { well() };
        let behind = if self.is_set("clock-behind") { 3_600_000 } else { 0 };
        let (id, created) = (self.id(prefix), self.tick() - behind);
        let has = self.variables.iter().map(|(key, variable)| (key.clone(), variable.value.clone())).collect();
        let (mark, commit) = (mark.map(str::to_owned), self.head.clone());
        let made = Deployment {
            id: id.clone(),
            created,
            states,
            looks: 0,
            mark,
            of: None,
            by_us,
            commit,
            canceled: false,
            has,
        };
        self.deployments.push(made);
        id
    }

    /// Somebody looks at a deployment, and it has gone on meanwhile.
    pub fn look(&mut self, id: &str) -> Option<&Deployment> {
        self.tick();
        let at = self.deployments.iter().position(|it| it.id == id)?;
        self.deployments[at].looks += 1;
        let state = self.deployments[at].state().to_owned();
        if state.contains("newer") && self.deployments[at].states.last().is_some_and(|last| *last == state) {
            // Somebody pushed: theirs has replaced it, and is live.
            let rest: Vec<String> = state.split(' ').filter(|word| *word != "newer").map(str::to_owned).collect();
            *self.deployments[at].states.last_mut().unwrap() = rest.join(" ");
            let theirs = self.deploy(None, false);
            let last = self.deployments.len() - 1;
            self.deployments[last].looks = 9;
            self.serve(&theirs);
        } else if state.contains("staged") {
            // Somebody replaces it by one that they keep aside.
            let rest = state.split(' ').next().unwrap_or_default().to_owned();
            *self.deployments[at].states.last_mut().unwrap() = rest;
            self.deploy(None, false);
            self.deployments.last_mut().unwrap().states = vec![self.kind.aside().to_owned()];
        } else if self.is_live(&state) && !self.deployments[at].canceled && !self.is_set("never-serves") {
            self.serve(id);
            if self.triggers > 0 && self.counts_down("push-when-live") == Some(0) {
                // Somebody pushes, and theirs takes a while to come up where it is served already.
                let theirs = self.deploy(None, false);
                self.serve(&theirs);
            }
        }
        self.deployments.iter().find(|it| it.id == id)
    }

    /// Whether a deployment in this state is what is served, as soon as it gets there.
    fn is_live(&self, state: &str) -> bool {
        state == *self.kind.well().last().unwrap()
    }

    pub fn serve(&mut self, id: &str) {
        let newer = |world: &Self, id: &str| world.deployments.iter().position(|it| it.id == id);
        if newer(self, id) >= newer(self, &self.serving.clone()) {
            self.serving = id.to_owned();
        }
    }

    /// Nothing is published by itself any more.
    pub fn keep_aside(&mut self) {
        let switch = if self.kind == Kind::Vercel { "no-auto-assign" } else { "locked" };
        self.set.insert(switch.to_owned(), String::new());
    }

    /// Somebody pushes new code, which is live at once.
    pub fn push(&mut self) {
        self.head = self.id("beef");
        let theirs = self.deploy(None, false);
        let last = self.deployments.len() - 1;
        self.deployments[last].looks = 9;
        self.serve(&theirs);
    }

    /// Somebody deploys in vain, as often as `busy` says.
    pub(super) fn others_fail(&mut self) {
        let count: u32 = self.set.remove("busy").and_then(|count| count.parse().ok()).unwrap_or(0);
        for _ in 0..count {
            self.deploy(None, false);
            self.deployments.last_mut().unwrap().states = vec![self.kind.failed().to_owned()];
        }
    }

    /// Whether a list does not show the newest deployment yet, as often as `stale-lists` says.
    pub(super) fn is_stale(&mut self) -> bool {
        self.triggers > 0 && self.counts_down("stale-lists").is_some_and(|left| left > 0)
    }

    /// The number that a switch is set to, which is one less the next time; none after zero.
    pub(super) fn counts_down(&mut self, switch: &str) -> Option<u32> {
        let count: u32 = self.set.remove(switch)?.parse().ok()?;
        if let Some(less) = count.checked_sub(1) {
            self.set.insert(switch.to_owned(), less.to_string());
        }
        Some(count)
    }

    pub fn find(&self, id: &str) -> Option<&Deployment> {
        self.deployments.iter().find(|it| it.id == id)
    }

    pub fn is_set(&self, switch: &str) -> bool {
        self.set.contains_key(switch)
    }

    pub fn write(&mut self, key: &str, value: &str) {
        self.writes += 1;
        let updated = self.tick();
        let number = self.writes.to_string();
        let is_ignored =
            self.set.get("ignores-writes-of").is_some_and(|which| which.split(' ').any(|one| one == number));
        if is_ignored || self.is_set("ignores-writes") {
            return;
        }
        let before = self.variables.get(key).map_or(updated, |variable| variable.updated);
        let updated = match self.counts_down("same-second") {
            Some(1..) => before,
            _ if self.is_set("writes-earlier") => before - 1000,
            _ => updated,
        };
        let secret = self.variables.get(key).is_none_or(|variable| variable.secret) && !self.is_set("changes-kind");
        self.variables.insert(key.to_owned(), Variable { value: value.to_owned(), updated, secret });
    }
}
