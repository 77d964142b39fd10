//! The engine against a simulated consumer: every fault, every kill.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::FutureExt;
use proptest::prelude::*;
use tokio::time::Instant;

use super::*;
use crate::config::{Course, HookSettings, Kind, Overlap, Retire, SecretName, Shape};
use crate::record::{Activated, Evidence, Found, Hold, Hook, Noted, Stage};
use crate::rotation::Outcome;
use crate::secret::Format;
use crate::store::{Keys, Store, StoreError, StoreLock};
use crate::target::{Errand, Health};

mod batches;
mod by_hand;
mod hosting;
mod overlap;
mod signal;

/// What exists outside the engine, and what is to go wrong with it.
#[derive(Default)]
struct World {
    /// What stands where the consumer reads it when it starts.
    delivered: Given,
    /// What the running process has.
    process: Given,
    restarts: u32,
    /// Kills happen when the counter of ticks reaches one of these.
    kill_at: BTreeSet<u32>,
    ticks: u32,
    /// Steps that fail, with the value given: `(step, new value only)`.
    fails: Vec<(&'static str, bool)>,
    /// How often nobody can say whether the consumer is still there.
    away: usize,
    old: Vec<u8>,
}

/// The primary value, and the others that are accepted.
type Given = (Vec<u8>, Vec<Vec<u8>>);

fn given(view: &Disclosed<'_>) -> Given {
    (view.primary.reveal().to_vec(), view.accepted.iter().map(|value| value.reveal().to_vec()).collect())
}

type Shared = Arc<Mutex<World>>;

fn lock(world: &Shared) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A moment at which the daemon may be killed.
fn tick(world: &Shared) {
    let mut world = lock(world);
    world.ticks += 1;
    if world.kill_at.contains(&world.ticks) {
        drop(world);
        std::panic::panic_any("killed");
    }
}

fn fail(world: &Shared, step: &'static str, value: &[u8]) -> Result<(), Fault> {
    let world = lock(world);
    let new = value != world.old.as_slice();
    let fails = world.fails.iter().any(|(which, only_new)| *which == step && (new || !only_new));
    if fails { Err(Fault::new(FaultCode::UnitFailed, format!("{step} fails"))) } else { Ok(()) }
}

struct SimTarget(Shared);

#[async_trait]
impl Target for SimTarget {
    fn label(&self) -> String {
        "sim".to_owned()
    }
    async fn value_in_force(&self) -> Result<SecretValue, Fault> {
        Ok(SecretValue::new(lock(&self.0).process.0.clone()))
    }
    async fn processes(&self) -> Result<usize, Fault> {
        Ok(1)
    }
    async fn survey(&self, in_force: &Disclosed<'_>, _: Health, _: Instant) -> Result<Vec<Found>, Fault> {
        tick(&self.0);
        fail(&self.0, "preflight", in_force.primary.reveal())?;
        Ok(vec![Found {
            configured: "sim".to_owned(),
            unit: "sim.service".to_owned(),
            running: true,
            ..Found::default()
        }])
    }
    async fn deliver(&self, Errand { view, .. }: &Errand<'_>) -> Result<Vec<Noted>, Fault> {
        tick(&self.0);
        fail(&self.0, "deliver", view.primary.reveal())?;
        lock(&self.0).delivered = given(view);
        tick(&self.0);
        Ok(Vec::new())
    }
    fn exposes(&self) -> Option<String> {
        None
    }
    async fn reload_reason(&self) -> Result<Option<String>, Fault> {
        Ok(None)
    }
    async fn in_force(&self) -> Result<(), Fault> {
        Ok(())
    }
    async fn activate(&self, Errand { view, .. }: &Errand<'_>) -> Result<Vec<Activated>, Fault> {
        let unit = "sim.service".to_owned();
        tick(&self.0);
        if lock(&self.0).process == given(view) {
            return fail(&self.0, "activate", view.primary.reveal()).map(|()| vec![Activated::AlreadyRunning { unit }]);
        }
        {
            let mut world = lock(&self.0);
            world.process = world.delivered.clone();
            world.restarts += 1;
        }
        tick(&self.0);
        fail(&self.0, "activate", view.primary.reveal())?;
        Ok(vec![Activated::Restarted { unit, took_us: 1 }])
    }
    async fn evidence(&self, Errand { view, .. }: &Errand<'_>) -> Result<Vec<Evidence>, Fault> {
        tick(&self.0);
        fail(&self.0, "prove", view.primary.reveal())?;
        let has_it = lock(&self.0).process == given(view);
        if has_it { Ok(Vec::new()) } else { Err(Fault::new(FaultCode::WrongValue, "the process has another value")) }
    }
    async fn is_still_there(&self, _: &[Evidence]) -> Result<(), Fault> {
        let mut world = lock(&self.0);
        let is_away = world.away > 0;
        world.away = world.away.saturating_sub(1);
        if is_away { Err(Fault::new(FaultCode::EngineUnreachable, "away")) } else { Ok(()) }
    }
    fn tidy(&self, _: &View) {}
}

struct SimHost(Shared);

impl Report for SimHost {
    fn progress(&self, _: &str) {}
}

#[async_trait]
impl Host for SimHost {
    async fn daemon_reload(&self, _: bool) -> Result<(), Fault> {
        Ok(())
    }
    async fn before_evidence(&self) {}
    async fn hook(&self, _: Hook, _: &HookSettings) -> Result<(), Fault> {
        Ok(())
    }

    fn goes_back(&self) {}
    async fn arm_dead_man(&self, _: &RotationId) {}
    async fn disarm_dead_man(&self, _: &RotationId) {}
    async fn going_down(&self) -> bool {
        false
    }
    fn publish(&self, _: &Record, _: &Head, _: &Standing) {
        tick(&self.0);
    }
}

fn settings(course: Option<Course>) -> SecretSettings {
    SecretSettings {
        name: SecretName::try_from("jwt".to_owned()).unwrap(),
        file: "jwt.toml".into(),
        env: "JWT_SECRET".to_owned(),
        kind: Kind::Signing,
        bytes: 32,
        format: Format::Hex,
        keep: Duration::from_secs(3600),
        schedule: None,
        deadline: Duration::from_secs(60),
        dead_man: true,
        overlap: course.map(|strategy| Overlap {
            previous_env: "JWT_SECRET_PREVIOUS".to_owned(),
            length: Some(Duration::from_secs(900)),
            strategy,
            shape: if strategy == Course::Window { Shape::List } else { Shape::Single },
            retire: Retire::Restart,
            retire_on_calendar: Vec::new(),
        }),
        settle: Duration::ZERO,
        allow_without: Vec::new(),
        aftercare: Duration::ZERO,
        logout: None,
        re_encrypt: None,
        watch: None,
        targets: Vec::new(),
        probes: Vec::new(),
    }
}

/// The store, as a daemon opens it. What another test is just starting may have its lock, between fork(2) and exec(2).
fn open(root: &Path) -> Store {
    let until = std::time::Instant::now() + Duration::from_secs(10);
    let lock = loop {
        match StoreLock::take(root) {
            Err(StoreError::InUse(_)) if std::time::Instant::now() < until => std::thread::yield_now(),
            lock => break lock.unwrap(),
        }
    };
    lock.open(Ok(Keys::from_bytes(&[7; 64]).unwrap()))
}

/// One life of the daemon: it takes up what was left, or begins a rotation. `None` when it was killed.
async fn live(root: &Path, world: &Shared, course: Option<Course>, begin: bool) -> Option<Option<Outcome>> {
    let settings = settings(course);
    let store = open(root);
    let mut ledger = store.ledger(&settings.name).unwrap();
    let targets: Vec<Box<dyn Target>> = vec![Box::new(SimTarget(Arc::clone(world)))];
    let host = SimHost(Arc::clone(world));
    let mut engine = Engine {
        settings: &settings,
        targets: &targets,
        probes: &[],
        store: &store,
        ledger: &mut ledger,
        kept: Kept::default(),
        host: &host,
    };
    let life = async {
        let engine = &mut engine;
        if engine.ledger.standing().in_force.is_none() {
            engine.adopt(Actor::Timer, None).await.unwrap();
        }
        if engine.ledger.standing().transaction.is_some() {
            let _ = engine.repair().await;
            resume(engine).await;
        } else if begin && engine.ledger.standing().last.is_none() {
            let plan = engine.plan_rotation(false).await.unwrap();
            engine.request(plan, Actor::Timer, String::new(), None).unwrap();
            batch::run(std::slice::from_mut(engine)).await.unwrap();
        } else {
            resume(engine).await;
        }
        engine.ledger.standing().last.as_ref().map(|last| last.outcome.clone())
    };
    AssertUnwindSafe(life).catch_unwind().await.ok()
}

async fn resume(engine: &mut Engine<'_>) {
    batch::resume(std::slice::from_mut(engine)).await.unwrap();
}

struct Ending {
    outcome: Outcome,
    standing: Standing,
    world: Shared,
    in_force: Given,
}

/// Rotates once without an overlap, with these faults and kills, and as many lives as it takes.
fn rotate(fails: &[(&'static str, bool)], kill_at: impl IntoIterator<Item = u32>) -> Ending {
    rotate_by(None, fails, kill_at)
}

/// As [`rotate`], with an overlap where there is a course.
fn rotate_by(course: Option<Course>, fails: &[(&'static str, bool)], kill_at: impl IntoIterator<Item = u32>) -> Ending {
    let dir = tempfile::tempdir().unwrap();
    let old = b"the old value, which is long enough".to_vec();
    let world: Shared = Arc::new(Mutex::new(World {
        delivered: (old.clone(), Vec::new()),
        process: (old.clone(), Vec::new()),
        old,
        fails: fails.to_vec(),
        away: fails.iter().filter(|(step, _)| *step == "away").count(),
        ..World::default()
    }));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let root = dir.path().join("store");
    runtime.block_on(live(&root, &world, course, false));
    {
        let mut world = lock(&world);
        world.ticks = 0;
        world.kill_at = kill_at.into_iter().collect();
    }
    let outcome = (0..40).find_map(|_| runtime.block_on(live(&root, &world, course, true)).flatten());
    let store = open(&root);
    let name = settings(course).name;
    let standing = store.ledger(&name).unwrap().standing().clone();
    let view = standing.in_force.as_ref().unwrap();
    let get = |number: &Generation| store.get(&name, *number).unwrap().reveal().to_vec();
    let in_force = (get(&view.primary), view.accepted.iter().map(get).collect());
    Ending { outcome: outcome.expect("the rotation ended"), standing, world, in_force }
}

/// The promise: the consumer serves with the value that the store says is in force, and would start with it.
fn assert_promise(ending: &Ending, what: &str) {
    let world = lock(&ending.world);
    assert_eq!(ending.standing.transaction, None, "{what}");
    assert!(world.process == ending.in_force, "{what}: the process has another value than the store says");
    assert!(world.delivered == ending.in_force, "{what}: another value than the store says is delivered");
}

fn quiet_kills() {
    std::panic::set_hook(Box::new(|info| {
        if info.payload().downcast_ref::<&str>() != Some(&"killed") {
            eprintln!("{info}");
        }
    }));
}

#[test]
fn a_rotation_commits_with_one_restart() {
    let ending = rotate(&[], []);
    assert_eq!(ending.outcome, Outcome::Committed);
    assert_promise(&ending, "no fault");
    assert_eq!(lock(&ending.world).restarts, 1);
    assert_eq!(ending.standing.newest(Stage::Current).unwrap().number, Generation(2));
    assert_eq!(ending.standing.newest(Stage::Previous).unwrap().number, Generation(1));
}

#[test]
fn killed_at_any_moment_it_is_finished_with_the_same_value_and_one_restart() {
    quiet_kills();
    let total = lock(&rotate(&[], []).world).ticks;
    assert!(total > 15);
    for at in 1..=total {
        let ending = rotate(&[], [at]);
        assert_eq!(ending.outcome, Outcome::Committed, "killed at {at}");
        assert_promise(&ending, &format!("killed at {at}"));
        assert_eq!(lock(&ending.world).restarts, 1, "killed at {at}");
        assert_eq!(ending.standing.generations.len(), 2, "killed at {at}: a value was thrown away");
    }
}

#[test]
fn a_fault_of_the_new_value_is_rolled_back_also_when_killed_at_any_moment() {
    quiet_kills();
    for step in ["deliver", "activate", "prove"] {
        let total = lock(&rotate(&[(step, true)], []).world).ticks;
        for kills in std::iter::once(None).chain((1..=total).map(Some)) {
            let ending = rotate(&[(step, true)], kills);
            let what = format!("{step} fails, killed at {kills:?}");
            assert_eq!(ending.outcome.as_str(), "rolled-back", "{what}");
            assert_promise(&ending, &what);
            assert_eq!(ending.standing.newest(Stage::Rejected).unwrap().number, Generation(2), "{what}");
            assert_eq!(ending.standing.next_generation(), Generation(3), "{what}: a rejected value is offered again");
        }
    }
}

#[test]
fn nobody_to_say_whether_the_consumer_is_still_there_is_no_sign_that_it_is_not() {
    let ending = rotate(&[("away", false); 3], []);
    assert_eq!(ending.outcome, Outcome::Committed);
    assert_promise(&ending, "away for a while");
}

#[test]
fn what_was_never_restarted_is_not_restarted_on_the_way_back() {
    let ending = rotate(&[("deliver", true)], []);
    assert_eq!(ending.outcome.as_str(), "rolled-back");
    assert_eq!(lock(&ending.world).restarts, 0);
}

#[test]
fn an_obstacle_at_preflight_refuses_and_touches_nothing() {
    let ending = rotate(&[("preflight", false)], []);
    assert_eq!(ending.outcome.as_str(), "refused");
    assert_promise(&ending, "refused");
    assert_eq!(ending.standing.generations.len(), 1);
    assert_eq!(ending.standing.rolled_back_in_a_row, 0);
}

#[test]
fn what_hits_old_and_new_alike_is_held_with_both_errors() {
    let ending = rotate(&[("prove", false)], []);
    let Outcome::RollbackFailed { cause, rollback } = &ending.outcome else { panic!("{:?}", ending.outcome) };
    assert_eq!((cause.message.as_str(), rollback.message.as_str()), ("prove fails", "prove fails"));
    assert_eq!(ending.standing.hold, Some(Hold::RollbackFailed));
    assert_promise(&ending, "held");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Several kills and several faults: it ends, and the promise holds wherever an outcome claims a proof.
    #[test]
    fn any_kills_and_faults_keep_the_promise(
        kills in prop::collection::btree_set(1_u32..80, 0..6),
        faults in prop::collection::vec((prop::sample::select(vec!["deliver", "activate", "prove"]), any::<bool>()), 0..3),
        course in prop::sample::select(vec![None, Some(Course::OneStep), Some(Course::PublishFirst)]),
    ) {
        quiet_kills();
        let ending = rotate_by(course, &faults, kills);
        if matches!(ending.outcome, Outcome::Committed | Outcome::RolledBack { .. }) {
            assert_promise(&ending, "property");
        }
        prop_assert_eq!(ending.standing.hold.is_some(), ending.outcome.as_str() == "rollback-failed");
    }
}
