//! Strict stand-ins for four hosting platforms. They keep state, refuse what the real ones refuse (unknown fields, wrong
//! methods, missing scope, a body where none belongs), play every fault at every call, and record what they were asked.
//!
//! Their clock is not that of this machine, as little as the platforms' is.

#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, VecDeque};
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

mod http;
mod netlify;
mod railway;
mod render;
mod vercel;

pub use http::{Answer, Request};

/// The token that they want.
pub const TOKEN: &str = "token-that-is-nowhere-told-1234567890";

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Vercel,
    Netlify,
    Render,
    Railway,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Vercel, Self::Netlify, Self::Render, Self::Railway];

    pub fn name(self) -> &'static str {
        match self {
            Self::Vercel => "vercel",
            Self::Netlify => "netlify",
            Self::Render => "render",
            Self::Railway => "railway",
        }
    }

    /// The path that is part of its base URL.
    fn path(self) -> &'static str {
        match self {
            Self::Vercel => "",
            Self::Netlify => "/api/v1",
            Self::Render => "/v1",
            Self::Railway => "/graphql/v2",
        }
    }

    /// What it says of a deployment that is well, from its first to its last state.
    pub fn well(self) -> &'static [&'static str] {
        match self {
            Self::Vercel => &["QUEUED", "BUILDING", "READY PROMOTED"],
            Self::Netlify => &["new", "building", "ready published"],
            Self::Render => &["created", "update_in_progress", "live"],
            Self::Railway => &["QUEUED", "DEPLOYING", "SUCCESS"],
        }
    }
}

/// One that runs.
#[derive(Clone)]
pub struct Fake {
    pub kind: Kind,
    pub url: String,
    state: Arc<Mutex<State>>,
}

/// What goes wrong with a request.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// It is not done; this is the answer.
    Answer(Answer),
    /// It is done, and the answer is lost.
    Lost,
    /// It is not done, and there is no answer.
    Unheard,
}

/// A fault: of the requests of the step `on`, those from the `skip`th for `times` times.
#[derive(Clone, Debug)]
pub struct Fault {
    pub on: String,
    pub skip: u32,
    pub times: u32,
    pub what: What,
}

/// What was asked, in the form in which it can be compared: `PATCH /v9/projects/p/env/e?teamId=t {"value":"…"}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub step: String,
    pub line: String,
}

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
    fn new(kind: Kind) -> Self {
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
        let made = Deployment { id: id.clone(), created, states, looks: 0, mark, by_us, commit, canceled: false, has };
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
            let aside = if self.kind == Kind::Vercel { "READY STAGED" } else { "ready" };
            self.deployments.last_mut().unwrap().states = vec![aside.to_owned()];
        } else if self.is_live(&state) && !self.deployments[at].canceled {
            self.serve(id);
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

    /// Somebody pushes new code, which is live at once.
    pub fn push(&mut self) {
        self.head = self.id("beef");
        let theirs = self.deploy(None, false);
        let last = self.deployments.len() - 1;
        self.deployments[last].looks = 9;
        self.serve(&theirs);
    }

    /// Whether a list does not show the newest deployment yet, as often as `stale-lists` says.
    fn is_stale(&mut self) -> bool {
        self.triggers > 0 && self.counts_down("stale-lists").is_some_and(|left| left > 0)
    }

    /// The number that a switch is set to, which is one less the next time; none after zero.
    fn counts_down(&mut self, switch: &str) -> Option<u32> {
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
        let is_ignored = self.set.get("ignores-write").is_some_and(|which| *which == self.writes.to_string());
        if is_ignored || self.is_set("ignores-writes") {
            return;
        }
        let secret = self.variables.get(key).is_none_or(|variable| variable.secret) && !self.is_set("changes-kind");
        self.variables.insert(key.to_owned(), Variable { value: value.to_owned(), updated, secret });
    }
}

/// Is told the number of each request that was done, and whether its answer is to be lost.
type Watcher = Box<dyn Fn(usize) -> bool + Send>;

struct State {
    world: World,
    watcher: Option<Watcher>,
    faults: Vec<Fault>,
    asked: Vec<Asked>,
}

impl Fake {
    /// Starts one on a free port of the loopback interface.
    pub fn start(kind: Kind) -> Self {
        Self::listen(kind, TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// Starts one on this listener.
    pub fn listen(kind: Kind, listener: TcpListener) -> Self {
        let url = format!("http://{}{}", listener.local_addr().unwrap(), kind.path());
        let state = Arc::new(Mutex::new(State {
            world: World::new(kind),
            watcher: None,
            faults: Vec::new(),
            asked: Vec::new(),
        }));
        let fake = Self { kind, url, state };
        let served = fake.clone();
        std::thread::spawn(move || http::serve(&listener, &served));
        fake
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with what it has.
    pub fn with<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        act(&mut self.lock().world)
    }

    /// As if this value had been there from the beginning.
    pub fn begin_with(&self, value: &str) {
        self.with(|world| {
            if let Some(variable) = world.variables.get_mut("JWT_SECRET") {
                value.clone_into(&mut variable.value);
            }
            world.deployments[0].has.insert("JWT_SECRET".to_owned(), value.to_owned());
        });
    }

    /// The next deployment goes through these states.
    pub fn next(&self, states: &[&str]) {
        self.lock().world.next.push_back(states.iter().map(|state| (*state).to_owned()).collect());
    }

    /// Once, at the first request of the step `on`.
    pub fn fail(&self, on: &str, what: What) {
        self.fail_at(on, 0, 1, what);
    }

    pub fn fail_at(&self, on: &str, skip: u32, times: u32, what: What) {
        self.lock().faults.push(Fault { on: on.to_owned(), skip, times, what });
    }

    /// What is stored for a variable.
    pub fn value(&self, key: &str) -> String {
        self.with(|world| world.variables.get(key).map(|variable| variable.value.clone()).unwrap_or_default())
    }

    /// What the served deployment has for a variable.
    pub fn served(&self, key: &str) -> String {
        self.with(|world| world.find(&world.serving).and_then(|it| it.has.get(key).cloned()).unwrap_or_default())
    }

    /// How many deployments were made on a request.
    pub fn triggers(&self) -> u32 {
        self.with(|world| world.triggers)
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.lock().asked.clone()
    }

    pub fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).collect()
    }

    /// Answers a request, or does not.
    fn answer(&self, request: &Request) -> Option<Answer> {
        let mut state = self.lock();
        if let Some(rest) = request.path.strip_prefix("/_fake/") {
            return Some(control(&mut state, rest, request));
        }
        let step = step(self.kind, request);
        state.asked.push(Asked { step: step.to_owned(), line: request.line() });
        match fault(&mut state, step) {
            Some(What::Answer(answer)) => return Some(answer),
            Some(What::Unheard) => return None,
            Some(What::Lost) => {
                let _ = self.perform(&mut state.world, request);
                return None;
            }
            None => {}
        }
        if state.world.set.get("push-at").is_some_and(|at| at == step) {
            state.world.set.remove("push-at");
            state.world.push();
        }
        if step == "list" && state.world.writes > 0 && state.world.counts_down("fails-after-lists") == Some(0) {
            // Between two of our requests somebody else makes one that fails: at once, or after a while.
            let failed = if self.kind == Kind::Railway { "FAILED" } else { "build_failed" };
            let slowly = state.world.is_set("fails-slowly").then_some(self.kind.well()[0]);
            let states = slowly.into_iter().chain(slowly).chain([failed]).map(str::to_owned).collect();
            state.world.next.push_front(states);
            state.world.deploy(None, true);
        }
        if step == "list" && state.world.is_set("goes-on") {
            // What somebody else has set going goes on, whoever looks.
            let newest = state.world.deployments.last().map(|it| it.id.clone()).unwrap_or_default();
            state.world.look(&newest);
        }
        let answer = if step == "list" && state.world.is_stale() {
            let newest = state.world.deployments.pop();
            let answer = self.perform(&mut state.world, request);
            state.world.deployments.extend(newest);
            answer
        } else {
            self.perform(&mut state.world, request)
        };
        let count = state.asked.len();
        let is_lost = state.watcher.as_ref().is_some_and(|watcher| watcher(count));
        (!is_lost).then_some(answer)
    }

    /// Has somebody told of each request that was done; where they say so, its answer is lost.
    pub fn watch(&self, watcher: Option<Watcher>) {
        self.lock().watcher = watcher;
    }

    fn perform(&self, world: &mut World, request: &Request) -> Answer {
        match self.kind {
            Kind::Vercel => vercel::answer(world, request),
            Kind::Netlify => netlify::answer(world, request),
            Kind::Render => render::answer(world, request),
            Kind::Railway => railway::answer(world, request),
        }
    }
}

fn fault(state: &mut State, step: &str) -> Option<What> {
    // `poll` is a look at a deployment once one was made on a request; `any` is whatever is asked.
    let is_poll = step == "deployment" && state.world.triggers > 0;
    let is_meant = |on: &str| on == step || on == "any" || on == "poll" && is_poll;
    for fault in state.faults.iter_mut().filter(|fault| is_meant(&fault.on)) {
        if fault.skip > 0 {
            fault.skip -= 1;
        } else if fault.times > 0 {
            fault.times -= 1;
            return Some(fault.what.clone());
        }
    }
    None
}

fn step(kind: Kind, request: &Request) -> &'static str {
    match kind {
        Kind::Vercel => vercel::step(request),
        Kind::Netlify => netlify::step(request),
        Kind::Render => render::step(request),
        Kind::Railway => railway::step(request),
    }
}

/// For tests that cannot reach into the process: `POST /_fake/fault`, `/_fake/next`, `/_fake/set`; `GET /_fake/state`.
fn control(state: &mut State, verb: &str, request: &Request) -> Answer {
    let body = request.json().unwrap_or_default();
    let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
    match verb {
        "fault" => {
            let what = match text("what").as_str() {
                "lost" => What::Lost,
                "unheard" => What::Unheard,
                status => What::Answer(Answer::json(status.parse().unwrap_or(500), &json!({"message": "as told"}))),
            };
            let number = |key: &str, or: u64| u32::try_from(body[key].as_u64().unwrap_or(or)).unwrap();
            state.faults.push(Fault { on: text("on"), skip: number("skip", 0), times: number("times", 1), what });
        }
        "mend" => state.faults.clear(),
        "next" => {
            let states = body["states"].as_array().cloned().unwrap_or_default();
            state.world.next.push_back(states.iter().map(|it| it.as_str().unwrap_or_default().to_owned()).collect());
        }
        "set" => {
            for (key, value) in body.as_object().cloned().unwrap_or_default() {
                state.world.set.insert(key, value.as_str().unwrap_or_default().to_owned());
            }
        }
        "variable" => {
            let updated = state.world.tick();
            state.world.variables.insert(text("key"), Variable { value: text("value"), updated, secret: true });
        }
        _ => {}
    }
    let world = &state.world;
    let stored: BTreeMap<_, _> = world.variables.iter().map(|(key, it)| (key, &it.value)).collect();
    let served = world.find(&world.serving).map(|it| it.has.clone()).unwrap_or_default();
    let asked: Vec<&String> = state.asked.iter().map(|asked| &asked.line).collect();
    let deployments: Vec<Value> = world.deployments.iter().map(|it| json!([it.id, it.state(), it.mark])).collect();
    Answer::json(
        200,
        &json!({
            "stored": stored, "served": served, "serving": world.serving, "triggers": world.triggers,
            "writes": world.writes, "asked": asked, "deployments": deployments,
        }),
    )
}

/// A time as the platforms write it.
pub fn rfc3339(ms: i64) -> String {
    let (days, rest) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    let (mut year, mut day) = (1970, days);
    let length = |year: i64| if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) { 366 } else { 365 };
    while day >= length(year) {
        day -= length(year);
        year += 1;
    }
    let february = length(year) - 337;
    let mut month = 1;
    for days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if day < days {
            break;
        }
        day -= days;
        month += 1;
    }
    let (hour, minute, second) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", day + 1, rest % 1000)
}

/// The time that [`rfc3339`] writes, as text that sorts.
pub fn is_after(text: &str, ms: i64) -> bool {
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    let (wanted, has) = (digits(text), digits(&rfc3339(ms)));
    let length = wanted.len().max(has.len());
    format!("{has:0<length$}") > format!("{wanted:0<length$}")
}
