//! A file that somebody edits while a rotation is under way.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::config::{DotenvTarget as FileSettings, Restart};
use crate::sys::child::Child;
use crate::target::Means;
use crate::target::dotenv::DotenvTarget;
use crate::text::env_file::Dialect;

const OLD: &str = "the old value, which is long enough";

/// The simulated consumer, which edits the file when it is first given the new value: after preflight, before the file is
/// delivered to. Or when it is proven: after that.
struct Editor {
    sim: SimTarget,
    file: PathBuf,
    text: &'static str,
    at: &'static str,
}

impl Editor {
    fn edit(&self, step: &'static str, view: &Disclosed<'_>) {
        let is_new = view.primary.reveal() != OLD.as_bytes();
        if step == self.at && is_new {
            fs::write(&self.file, self.text).unwrap();
        }
    }
}

#[async_trait]
impl Target for Editor {
    fn label(&self) -> String {
        self.sim.label()
    }
    async fn value_in_force(&self) -> Result<SecretValue, Fault> {
        self.sim.value_in_force().await
    }
    async fn processes(&self) -> Result<usize, Fault> {
        Ok(1)
    }
    async fn survey(&self, in_force: &Disclosed<'_>, health: Health, deadline: Instant) -> Result<Vec<Found>, Fault> {
        self.sim.survey(in_force, health, deadline).await
    }
    async fn deliver(&self, errand: &Errand<'_>) -> Result<Vec<Noted>, Fault> {
        self.edit("deliver", errand.view);
        self.sim.deliver(errand).await
    }
    fn exposes(&self) -> Option<String> {
        None
    }
    async fn activate(&self, errand: &Errand<'_>) -> Result<Vec<Activated>, Fault> {
        self.sim.activate(errand).await
    }
    async fn evidence(&self, errand: &Errand<'_>) -> Result<Vec<Evidence>, Fault> {
        self.edit("prove", errand.view);
        self.sim.evidence(errand).await
    }
    async fn is_still_there(&self, _: &[Evidence]) -> Result<(), Fault> {
        Ok(())
    }
    fn tidy(&self, _: &View) {}
}

/// What came of a rotation of the consumer and the file, edited so at that step and killed at these moments.
fn edited(at: &'static str, text: &'static str, kills: &[u32]) -> (Outcome, Standing, String, Shared) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(".env");
    fs::write(&file, format!("# Ours.\nJWT_SECRET='{OLD}'\n")).unwrap();
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let world: Shared = Arc::new(Mutex::new(World {
        delivered: (OLD.into(), Vec::new()),
        process: (OLD.into(), Vec::new()),
        old: OLD.into(),
        ..World::default()
    }));
    let settings = settings(None);
    let runner = Arc::new(Child { directory: dir.path().to_owned(), output: dir.path().join("output") });
    let of_file = FileSettings {
        file: file.clone(),
        key: None,
        dialect: Dialect::Dotenv,
        expose: false,
        restart: Restart::Nothing,
    };
    let targets: Vec<Box<dyn Target>> = vec![
        Box::new(Editor { sim: SimTarget(Arc::clone(&world)), file: file.clone(), text, at }),
        Box::new(DotenvTarget::new(&settings, &of_file, &Means::here(runner))),
    ];
    let host = SimHost(Arc::clone(&world));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let root = dir.path().join("store");
    let life = |begin: bool| {
        let store = open(&root);
        let mut ledger = store.ledger(&settings.name).unwrap();
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
            if engine.ledger.standing().in_force.is_none() {
                engine.adopt(Actor::Timer, None).await.unwrap();
            }
            if engine.ledger.standing().transaction.is_some() {
                engine.repair().await.unwrap();
                resume(&mut engine).await;
            } else if begin && engine.ledger.standing().last.is_none() {
                let plan = engine.plan_rotation(false).await.unwrap();
                engine.request(plan, Actor::Timer, String::new(), None).unwrap();
                batch::run(std::slice::from_mut(&mut engine)).await.unwrap();
            } else {
                resume(&mut engine).await;
            }
            engine.ledger.standing().clone()
        };
        runtime.block_on(AssertUnwindSafe(life).catch_unwind()).ok()
    };
    life(false).unwrap();
    {
        let mut world = lock(&world);
        world.ticks = 0;
        world.kill_at = kills.iter().copied().collect();
    }
    let standing = (0..40).find_map(|_| life(true).filter(|standing| standing.last.is_some())).unwrap();
    let outcome = standing.last.clone().unwrap().outcome;
    (outcome, standing, fs::read_to_string(&file).unwrap(), world)
}

const THEIRS: &str = "JWT_SECRET='what somebody else has written there'\n# Ours.\n";

#[test]
fn what_is_edited_before_it_is_delivered_to_stays_and_the_others_go_back() {
    quiet_kills();
    let total = lock(&edited("deliver", THEIRS, &[]).3).ticks;
    for kills in std::iter::once(vec![]).chain((1..=total).map(|at| vec![at])) {
        let (outcome, standing, text, world) = edited("deliver", THEIRS, &kills);
        let Outcome::RollbackFailed { cause, rollback } = &outcome else { panic!("{kills:?}: {outcome:?}") };
        for fault in [cause, rollback] {
            assert_eq!(fault.code, FaultCode::ChangedByHand, "{kills:?}: {fault}");
            assert!(fault.message.contains("/.env, line 1: it was changed by hand"), "{kills:?}: {fault}");
            assert!(fault.advice.contains("rekeyctl adopt jwt"), "{kills:?}: {}", fault.advice);
        }
        assert_eq!(text, THEIRS, "{kills:?}");
        assert_eq!(standing.hold, Some(Hold::RollbackFailed), "{kills:?}");
        let world = lock(&world);
        assert_eq!((&world.delivered.0[..], &world.process.0[..]), (OLD.as_bytes(), OLD.as_bytes()), "{kills:?}");
    }
}

#[test]
fn what_is_edited_after_it_was_delivered_to_stays_and_the_others_go_back_and_are_activated() {
    let (outcome, standing, text, world) = edited("prove", THEIRS, &[]);
    let Outcome::RollbackFailed { cause, rollback } = &outcome else { panic!("{outcome:?}") };
    assert_eq!((cause.code, rollback.code), (FaultCode::WrongValue, FaultCode::ChangedByHand));
    assert_eq!(text, THEIRS);
    assert_eq!(standing.in_force, Some(View::of(Generation(1))));
    let world = lock(&world);
    assert_eq!((&world.process.0[..], world.restarts), (OLD.as_bytes(), 2));
}

#[test]
fn what_is_edited_elsewhere_in_the_file_is_kept_and_nothing_is_in_the_way() {
    let text = "# Theirs.\nMORE=1\nJWT_SECRET='the old value, which is long enough'\n";
    let (outcome, _, now, _) = edited("deliver", text, &[]);
    assert_eq!(outcome, Outcome::Committed);
    assert!(now.starts_with("# Theirs.\nMORE=1\nJWT_SECRET='") && !now.contains(OLD), "{now}");
}
