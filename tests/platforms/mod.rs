//! Strict stand-ins for four hosting platforms. They keep state, refuse what the real ones refuse (unknown fields, wrong
//! methods, missing scope, a body where none belongs), play every fault at every call, and record what they were asked.
//! Every request and every answer is held against the schema that the platform publishes, where there is one.
//!
//! Their clock is not that of this machine, as little as the platforms' is.

#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

mod exceptions;
mod graphql;
mod http;
mod judge;
mod netlify;
mod openapi;
mod railway;
mod render;
mod schema;
mod vercel;
mod world;

pub use http::{Answer, Request};
pub use world::{Deployment, Variable, World};

/// The token that they want.
pub const TOKEN: &str = "token-that-is-nowhere-told-1234567890";

/// The commit of what is deployed of another branch than the one that a test is about.
pub const OF_ANOTHER_BRANCH: &str = "of-another-branch";

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

    /// What it says of a deployment that is built, and not published yet.
    pub fn aside(self) -> &'static str {
        if self == Self::Vercel { "READY STAGED" } else { "ready" }
    }

    /// What it says of a deployment that failed.
    fn failed(self) -> &'static str {
        match self {
            Self::Vercel => "ERROR",
            Self::Netlify => "error",
            Self::Render => "build_failed",
            Self::Railway => "FAILED",
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
    /// It is done, and a gateway answers with a page of its own in place of the body.
    Garbled,
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

/// Is told the number of each request that was done, and whether its answer is to be lost.
type Watcher = Box<dyn Fn(usize) -> bool + Send>;

struct State {
    world: World,
    watcher: Option<Watcher>,
    faults: Vec<Fault>,
    asked: Vec<Asked>,
    violations: Vec<String>,
}

impl State {
    /// Takes note of what was found to be against the platform's schema.
    fn object(&mut self, to: &str, request: &Request, wrong: Vec<String>) {
        let line = request.line();
        self.violations.extend(wrong.into_iter().map(|wrong| format!("{to} {line}: {wrong}")));
    }
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
            violations: Vec::new(),
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

    /// What was against the platform's schema, in requests and in answers.
    pub fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
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
        let wrong = judge::request(self.kind, request);
        state.object("the request", request, wrong);
        match fault(&mut state, step) {
            Some(What::Answer(answer)) => {
                let wrong = judge::fault(self.kind, request, &answer);
                state.object("the fault that was put in for", request, wrong);
                return Some(answer);
            }
            Some(What::Unheard) => return None,
            Some(What::Lost) => {
                let _ = self.perform(&mut state, request);
                return None;
            }
            Some(What::Garbled) => {
                let done = self.perform(&mut state, request);
                return Some(Answer { body: "<html>".to_owned(), ..done });
            }
            None => {}
        }
        if state.world.set.get("removes-at").is_some_and(|at| *at == state.asked.len().to_string()) {
            // Somebody removes the variable, just before this request.
            state.world.variables.remove("JWT_SECRET");
        }
        if state.world.set.get("push-at").is_some_and(|at| at == step) {
            state.world.set.remove("push-at");
            state.world.push();
        }
        if state.world.set.get("stops-publishing-at").is_some_and(|at| at == step) {
            // Somebody wants to publish what is built by hand from now on.
            state.world.set.remove("stops-publishing-at");
            state.world.keep_aside();
        }
        if state.world.set.get("deploys-at").is_some_and(|at| at == step) {
            // Somebody deploys, which takes a while.
            state.world.set.remove("deploys-at");
            state.world.deploy(None, false);
        }
        if state.world.set.get("writes-at").is_some_and(|at| at == step) {
            // Somebody writes the variable.
            state.world.set.remove("writes-at");
            state.world.write("JWT_SECRET", "by-hand");
        }
        if state.world.set.get("writes-other-context-at").is_some_and(|at| at == step) {
            // Somebody writes the value of another context, which has the same time.
            state.world.set.remove("writes-other-context-at");
            let now = state.world.tick();
            state.world.variables.get_mut("JWT_SECRET").unwrap().updated = now;
        }
        if step == "list" && state.world.writes > 0 && state.world.counts_down("fails-after-lists") == Some(0) {
            // Between two of our requests somebody else makes one that fails: at once, or after a while.
            let failed = self.kind.failed();
            let slowly = state.world.is_set("fails-slowly").then_some(self.kind.well()[0]);
            let states = slowly.into_iter().chain(slowly).chain([failed]).map(str::to_owned).collect();
            state.world.next.push_front(states);
            state.world.deploy(None, true);
        }
        if step == "list" && state.world.writes > 0 && state.world.set.remove("pushes-after-write").is_some() {
            // Somebody pushes new code, which takes a while to come up.
            state.world.head = state.world.id("beef");
            state.world.deploy(None, false);
            let states = &mut state.world.deployments.last_mut().unwrap().states;
            (0..12).for_each(|_| states.insert(0, states[0].clone()));
        }
        if step == "list" && state.world.is_set("goes-on") {
            // What somebody else has set going goes on, whoever looks.
            let newest = state.world.deployments.last().map(|it| it.id.clone()).unwrap_or_default();
            state.world.look(&newest);
        }
        if step == "list" && state.world.is_set("older-goes-on") {
            let older = state.world.deployments[1].id.clone();
            state.world.look(&older);
        }
        let answer = if step == "list" && state.world.is_stale() {
            let newest = state.world.deployments.pop();
            let answer = self.perform(&mut state, request);
            state.world.deployments.extend(newest);
            answer
        } else {
            self.perform(&mut state, request)
        };
        if step == "write" && state.world.set.remove("writes-after-write").is_some() {
            state.world.write("JWT_SECRET", "by-hand");
        }
        if step == "write" && state.world.set.remove("waits-after-write").is_some() {
            // Somebody makes a deployment that waits for a person.
            let waits = match self.kind {
                Kind::Vercel => "BLOCKED",
                Kind::Netlify => "pending_review",
                Kind::Render => "queued",
                Kind::Railway => "NEEDS_APPROVAL",
            };
            state.world.deploy(None, false);
            state.world.deployments.last_mut().unwrap().states = vec![waits.to_owned()];
        }
        let count = state.asked.len();
        let is_lost = state.watcher.as_ref().is_some_and(|watcher| watcher(count));
        (!is_lost).then_some(answer)
    }

    /// Has somebody told of each request that was done; where they say so, its answer is lost.
    pub fn watch(&self, watcher: Option<Watcher>) {
        self.lock().watcher = watcher;
    }

    fn perform(&self, state: &mut State, request: &Request) -> Answer {
        let world = &mut state.world;
        let answer = match self.kind {
            Kind::Vercel => vercel::answer(world, request),
            Kind::Netlify => netlify::answer(world, request),
            Kind::Render => render::answer(world, request),
            Kind::Railway => railway::answer(world, request),
        };
        if step(self.kind, request) == "trigger" {
            world.others_fail();
        }
        let wrong = judge::answer(self.kind, request, &answer);
        state.object("the answer to", request, wrong);
        answer
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
            "writes": world.writes, "asked": asked, "deployments": deployments, "violations": state.violations,
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
