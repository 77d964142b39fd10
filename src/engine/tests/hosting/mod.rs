//! Rotations of secrets at hosting platforms, against strict stand-ins: what is sent, every fault at every call, every
//! kill.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use super::*;
use crate::config::{
    Context, Environment, Hosting, HostingPlatform, NetlifySite, RailwayDeploy, RailwayService, RenderDeploy,
    RenderService, TargetSettings, Token, VercelProject,
};
use crate::target::hosting::HostingTarget;

mod aside;
mod contexts;
mod ends;
mod faults;
mod first;
mod kills;
mod mixed;
mod obstacles;
mod originals;
mod others;
mod pages;
#[path = "../../../../tests/platforms/mod.rs"]
mod platforms;
mod promotions;
mod proxies;
mod removed;
mod requests;
mod served;
mod settling;
mod waits;

use platforms::{Answer, Fake, Kind as At, TOKEN, What};

const OLD: &str = "first-value-of-the-backend";

/// A secret at some platforms, and a store.
struct Lab {
    dir: tempfile::TempDir,
    fakes: Vec<Fake>,
    settings: SecretSettings,
    world: Shared,
    /// What was told meanwhile, and all records.
    told: Arc<Mutex<Vec<String>>>,
    /// A local target beside them.
    beside: bool,
}

/// One platform.
fn at(kind: At) -> Lab {
    Lab::new(&[kind], |_| {})
}

impl Lab {
    fn new(kinds: &[At], change: impl Fn(&mut Hosting)) -> Self {
        quiet_kills();
        let dir = tempfile::tempdir().unwrap();
        let token = dir.path().join("token");
        std::fs::write(&token, format!("{TOKEN}\n")).unwrap();
        std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let fakes: Vec<Fake> = kinds.iter().map(|kind| Fake::start(*kind)).collect();
        let target = |fake: &Fake| {
            let mut hosting = Hosting {
                platform: platform(fake.kind),
                key: None,
                token: Token::File(token.clone()),
                api: Some(fake.url.clone()),
                create: false,
                limit: Duration::from_secs(1200),
                settle: None,
            };
            change(&mut hosting);
            TargetSettings::Hosting(hosting)
        };
        let mut settings = settings(None);
        settings.deadline = Duration::from_secs(7200);
        settings.targets = fakes.iter().map(target).collect();
        let (world, told) = (Arc::default(), Arc::default());
        Self { dir, fakes, settings, world, told, beside: false }
    }

    fn fake(&self) -> &Fake {
        &self.fakes[0]
    }

    /// In an overlap, with the variable of the value that is accepted besides.
    fn overlapping(mut self, course: Course) -> Self {
        self.settings.overlap = settings(Some(course)).overlap;
        for fake in &self.fakes {
            fake.with(|world| {
                let updated = world.tick();
                let other = platforms::Variable { value: "anything".to_owned(), updated, secret: true };
                world.variables.insert("JWT_SECRET_PREVIOUS".to_owned(), other);
            });
        }
        self
    }

    /// A local target beside it, at which the new value is proven not to work.
    fn fails_to_prove(&mut self) {
        self.beside = true;
        let old = OLD.as_bytes().to_vec();
        let mut world = lock(&self.world);
        (world.delivered, world.process, world.old) = ((old.clone(), Vec::new()), (old.clone(), Vec::new()), old);
        world.fails = vec![("prove", true)];
    }

    fn targets(&self) -> Vec<Box<dyn Target>> {
        let hosting = self.settings.targets.iter().filter_map(|target| match target {
            TargetSettings::Hosting(hosting) => Some(hosting),
            _ => None,
        });
        let elsewhere = hosting.map(|it| Box::new(HostingTarget::new(&self.settings, it)) as Box<dyn Target>);
        let here = self.beside.then(|| Box::new(SimTarget(Arc::clone(&self.world))) as Box<dyn Target>);
        elsewhere.chain(here).collect()
    }

    fn store(&self) -> Store {
        let root = self.dir.path().join("store");
        open(&root)
    }

    /// A life of the daemon: it takes up what was left, or begins what `plan` says.
    async fn live(&self, plan: Wish) -> Result<Outcome, Fault> {
        let store = self.store();
        let mut ledger = store.ledger(&self.settings.name).unwrap();
        let targets = self.targets();
        let host = Told { sim: SimHost(Arc::clone(&self.world)), told: Arc::clone(&self.told) };
        let settings = &self.settings;
        let mut engine = Engine {
            settings,
            targets: &targets,
            probes: &[],
            store: &store,
            ledger: &mut ledger,
            kept: Kept::default(),
            host: &host,
        };
        if plan != Wish::Initial
            && engine.ledger.standing().in_force.is_none()
            && engine.ledger.standing().transaction.is_none()
        {
            let value = SecretValue::new(OLD.as_bytes().to_vec());
            store.put(&settings.name, Generation::FIRST, &value).unwrap();
            let fingerprint = store.fingerprint(&value).unwrap();
            let (generation, source, actor) = (Generation::FIRST, "a test".to_owned(), Actor::Timer);
            engine
                .note(Happening::Adopted { generation, fingerprint, source, actor, weak: false, accepted: Vec::new() })
                .unwrap();
        }
        if plan == Wish::GiveUp {
            let fault = Fault::new(FaultCode::DeadlinePassed, "nobody went on with it");
            batch::give_up(std::slice::from_mut(&mut engine), &fault).await.unwrap();
            return Ok(engine.ledger.standing().last.as_ref().unwrap().outcome.clone());
        }
        if engine.ledger.standing().transaction.is_some() {
            engine.repair().await.unwrap();
        } else if plan != Wish::Nothing {
            let plan = match plan {
                Wish::Initial => engine.plan_initial().await?,
                _ => engine.plan_rotation(false).await?,
            };
            engine.request(plan, Actor::Timer, String::new(), None).unwrap();
            batch::run(std::slice::from_mut(&mut engine)).await.unwrap();
            return Ok(engine.ledger.standing().last.as_ref().unwrap().outcome.clone());
        }
        resume(&mut engine).await;
        Ok(engine.ledger.standing().last.as_ref().unwrap().outcome.clone())
    }

    /// Rotates once, in a time in which nobody waits really.
    fn rotate(&self) -> Outcome {
        self.run(self.live(Wish::Rotate)).unwrap()
    }

    fn run<T>(&self, life: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let result = runtime.block_on(life);
        runtime.shutdown_background();
        result
    }

    /// The value that the store says is in force.
    fn in_force(&self) -> String {
        let store = self.store();
        let standing = store.ledger(&self.settings.name).unwrap().standing().clone();
        let value = store.get(&self.settings.name, standing.in_force.unwrap().primary).unwrap();
        String::from_utf8(value.reveal().to_vec()).unwrap()
    }

    fn value(&self, number: u32) -> String {
        let value = self.store().get(&self.settings.name, Generation(number)).unwrap();
        String::from_utf8(value.reveal().to_vec()).unwrap()
    }

    /// It is committed: all platforms have and serve a new value, which was deployed once.
    #[track_caller]
    fn assert_committed(&self, outcome: &Outcome) {
        assert_eq!(*outcome, Outcome::Committed, "{:#?}", self.fakes.iter().map(Fake::lines).collect::<Vec<_>>());
        let value = self.in_force();
        assert_ne!(value, OLD);
        for fake in &self.fakes {
            assert_eq!(fake.value("JWT_SECRET"), value, "stored at {:?}", fake.kind);
            assert_eq!(fake.served("JWT_SECRET"), value, "served by {:?}", fake.kind);
            assert_eq!(fake.value("OTHER"), "leave-me-alone");
        }
        self.assert_nothing_told();
    }

    /// It is rolled back: all platforms have and serve the old value.
    #[track_caller]
    fn assert_rolled_back(&self, outcome: &Outcome, code: FaultCode) {
        let Outcome::RolledBack { cause } = outcome else {
            panic!("{outcome:#?} {:#?}", self.fakes.iter().map(Fake::lines).collect::<Vec<_>>())
        };
        assert_eq!(cause.code, code, "{cause:?}");
        assert_eq!(self.in_force(), OLD);
        for fake in &self.fakes {
            assert_eq!(fake.value("JWT_SECRET"), OLD, "stored at {:?}", fake.kind);
            assert_eq!(fake.served("JWT_SECRET"), OLD, "served by {:?}", fake.kind);
        }
        self.assert_nothing_told();
    }

    /// It is held, since nobody can know.
    #[track_caller]
    fn assert_unsure(&self, outcome: &Outcome) -> Fault {
        let Outcome::RollbackFailed { cause, .. } = outcome else { panic!("{outcome:#?}") };
        assert_eq!(cause.code, FaultCode::Unsure, "{cause:?}");
        assert!(cause.advice.contains("rekeyctl release jwt"), "{cause:?}");
        let standing = self.store().ledger(&self.settings.name).unwrap().standing().clone();
        assert_eq!(standing.hold, Some(Hold::RollbackFailed));
        self.assert_nothing_told();
        cause.clone()
    }

    /// Neither a value nor the token is in any record or line.
    #[track_caller]
    fn assert_nothing_told(&self) {
        let told = self.told.lock().unwrap().join("\n");
        assert!(!told.is_empty());
        let values = self.fakes.iter().flat_map(|fake| [fake.value("JWT_SECRET"), fake.served("JWT_SECRET")]);
        for value in values.chain([TOKEN.to_owned(), OLD.to_owned()]).filter(|value| !value.is_empty()) {
            assert!(!told.contains(&value), "{value} was told in {told}");
        }
    }

    /// A person ends the hold.
    fn release(&self) {
        let mut ledger = self.store().ledger(&self.settings.name).unwrap();
        ledger.append(None, Happening::Released { actor: Actor::Timer }).unwrap();
    }

    /// How many requests a rotation like this one sends up to the first of this step.
    fn requests_until(&self, step: &str) -> usize {
        let usual = at(self.fake().kind);
        usual.rotate();
        usual.fake().asked().iter().position(|asked| asked.step == step).unwrap() + 1
    }

    /// How many deployments were made.
    fn triggers(&self) -> u32 {
        self.fakes.iter().map(Fake::triggers).sum()
    }
}

impl Drop for Lab {
    /// Whatever a test is about, nothing in it may be against the schemas of the platforms.
    fn drop(&mut self) {
        let violations: Vec<String> = self.fakes.iter().flat_map(Fake::violations).collect();
        assert!(violations.is_empty() || std::thread::panicking(), "against the schema: {violations:#?}");
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    Rotate,
    Initial,
    Nothing,
    GiveUp,
}

fn platform(kind: At) -> HostingPlatform {
    match kind {
        At::Vercel => HostingPlatform::Vercel(VercelProject {
            project: "my-app".to_owned(),
            team: Some("team_1".to_owned()),
            environment: Environment::Production,
            also: Vec::new(),
            promote: false,
        }),
        At::Netlify => HostingPlatform::Netlify(NetlifySite {
            site: "site-1".to_owned(),
            account: None,
            contexts: vec![Context::Named("production".to_owned())],
            publish: false,
            same_code_only: false,
        }),
        At::Render => HostingPlatform::Render(RenderService {
            service: "srv-1".to_owned(),
            group: None,
            redeploy: RenderDeploy::Only,
        }),
        At::Railway => HostingPlatform::Railway(RailwayService {
            project: "prj-1".to_owned(),
            environment: "env-1".to_owned(),
            service: "svc-1".to_owned(),
            project_token: true,
            redeploy: RailwayDeploy::Commit,
            ignore_references: false,
        }),
    }
}

/// A service of Railway that is deployed from what runs.
fn snapshots() -> Lab {
    Lab::new(&[At::Railway], |hosting| {
        let HostingPlatform::Railway(railway) = &mut hosting.platform else { return };
        railway.redeploy = RailwayDeploy::Snapshot;
    })
}

/// The last state of a deployment that fails.
fn broken(kind: At) -> &'static str {
    match kind {
        At::Vercel => "ERROR",
        At::Netlify => "error",
        At::Render => "build_failed",
        At::Railway => "FAILED",
    }
}

/// A host that keeps all that is told.
struct Told {
    sim: SimHost,
    told: Arc<Mutex<Vec<String>>>,
}

impl Report for Told {
    fn progress(&self, line: &str) {
        self.told.lock().unwrap().push(line.to_owned());
    }
}

#[async_trait]
impl Host for Told {
    async fn daemon_reload(&self, needed: bool) -> Result<(), Fault> {
        self.sim.daemon_reload(needed).await
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
    fn publish(&self, record: &Record, head: &Head, standing: &Standing) {
        let line = crate::record::text::sentence(record, standing);
        self.told.lock().unwrap().push(format!("{line} {}", serde_json::to_string(record).unwrap()));
        self.sim.publish(record, head, standing);
    }
}
