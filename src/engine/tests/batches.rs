//! Two secrets of one simulated consumer, rotated together.

use super::*;

/// A consumer that reads several secrets when it starts.
#[derive(Default)]
struct Consumer {
    delivered: [Vec<u8>; 2],
    process: [Vec<u8>; 2],
    restarts: u32,
    reloads: u32,
    ticks: u32,
    kill_at: Option<u32>,
    /// The same for the life after that, counted from its beginning.
    then_at: Option<u32>,
    /// `(step, of which secret)`: fails with its new value.
    fails: Option<(&'static str, usize)>,
    old: [Vec<u8>; 2],
}

#[derive(Clone)]
struct Both(Arc<Mutex<Consumer>>);

impl Both {
    fn get(&self) -> MutexGuard<'_, Consumer> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn tick(&self) {
        let mut consumer = self.get();
        consumer.ticks += 1;
        if consumer.kill_at == Some(consumer.ticks) {
            (consumer.ticks, consumer.kill_at) = (0, consumer.then_at.take());
            drop(consumer);
            std::panic::panic_any("killed");
        }
    }
}

struct Part(Both, usize);

impl Part {
    fn fail(&self, step: &str, value: &[u8]) -> Result<(), Fault> {
        let consumer = self.0.get();
        let fails = consumer.fails.is_some_and(|fails| fails == (step, self.1)) && value != consumer.old[self.1];
        if fails { Err(Fault::new(FaultCode::UnitFailed, format!("{step} fails"))) } else { Ok(()) }
    }
}

#[async_trait]
impl Target for Part {
    fn label(&self) -> String {
        "sim".to_owned()
    }
    async fn value_in_force(&self) -> Result<SecretValue, Fault> {
        Ok(SecretValue::new(self.0.get().process[self.1].clone()))
    }
    async fn processes(&self) -> Result<usize, Fault> {
        Ok(1)
    }
    async fn survey(&self, _: &Disclosed<'_>, _: Health, _: Instant) -> Result<Vec<Found>, Fault> {
        self.0.tick();
        let (configured, unit) = ("sim".to_owned(), "sim.service".to_owned());
        Ok(vec![Found { configured, unit, running: true, ..Found::default() }])
    }
    async fn deliver(&self, Errand { view, .. }: &Errand<'_>) -> Result<Vec<Noted>, Fault> {
        self.0.tick();
        self.fail("deliver", view.primary.reveal())?;
        self.0.get().delivered[self.1] = view.primary.reveal().to_vec();
        Ok(Vec::new())
    }
    fn exposes(&self) -> Option<String> {
        None
    }
    async fn reload_reason(&self) -> Result<Option<String>, Fault> {
        Ok(Some("its drop-in is new".to_owned()))
    }
    async fn in_force(&self) -> Result<(), Fault> {
        Ok(())
    }
    async fn activate(&self, Errand { view, found, .. }: &Errand<'_>) -> Result<Vec<Activated>, Fault> {
        self.0.tick();
        let unit = "sim.service".to_owned();
        if found.is_empty() {
            return Ok(Vec::new());
        }
        if self.0.get().process[self.1] == view.primary.reveal() {
            return Ok(vec![Activated::AlreadyRunning { unit }]);
        }
        let process = {
            let mut consumer = self.0.get();
            consumer.process = consumer.delivered.clone();
            consumer.restarts += 1;
            consumer.process.clone()
        };
        self.0.tick();
        // It fails for whoever restarts it, whosever value it is.
        process.iter().enumerate().try_for_each(|(of, value)| Part(self.0.clone(), of).fail("activate", value))?;
        Ok(vec![Activated::Restarted { unit, took_us: 1 }])
    }
    async fn evidence(&self, Errand { view, .. }: &Errand<'_>) -> Result<Vec<Evidence>, Fault> {
        self.0.tick();
        self.fail("prove", view.primary.reveal())?;
        let has_it = self.0.get().process[self.1] == view.primary.reveal();
        if has_it { Ok(Vec::new()) } else { Err(Fault::new(FaultCode::WrongValue, "the process has another value")) }
    }
    async fn is_still_there(&self, _: &[Evidence]) -> Result<(), Fault> {
        Ok(())
    }
    fn tidy(&self, _: &View) {}
}

impl Report for Both {
    fn progress(&self, _: &str) {}
}

#[async_trait]
impl Host for Both {
    async fn daemon_reload(&self, needed: bool) -> Result<(), Fault> {
        self.get().reloads += u32::from(needed);
        Ok(())
    }
    async fn before_evidence(&self) {}
    async fn arm_dead_man(&self, _: &RotationId) {}
    async fn disarm_dead_man(&self, _: &RotationId) {}
    async fn going_down(&self) -> bool {
        false
    }
    async fn hook(&self, _: Hook, _: &HookSettings) -> Result<(), Fault> {
        Ok(())
    }

    fn goes_back(&self) {}
    fn publish(&self, _: &Record, _: &Head, _: &Standing) {
        self.tick();
    }
}

/// One life of the daemon, or how both stand after it.
async fn live(root: &Path, both: &Both) -> Option<[Standing; 2]> {
    let names = ["a-jwt", "b-session"].map(|name| SecretName::try_from(name.to_owned()).unwrap());
    let of = names.each_ref().map(|name| SecretSettings { name: name.clone(), ..settings(None) });
    let store = open(root);
    let mut ledgers = names.each_ref().map(|name| store.ledger(name).unwrap());
    let targets = [0, 1].map(|part| -> Vec<Box<dyn Target>> { vec![Box::new(Part(both.clone(), part))] });
    let life = async {
        let parts = of.iter().zip(&targets).zip(&mut ledgers);
        let mut engines: Vec<Engine<'_>> = parts
            .map(|((settings, targets), ledger)| Engine {
                settings,
                targets,
                probes: &[],
                store: &store,
                ledger,
                kept: Kept::default(),
                host: both,
            })
            .collect();
        if engines[0].ledger.standing().in_force.is_none() {
            for engine in &mut engines {
                engine.adopt(Actor::Timer, None).await.unwrap();
            }
        } else if engines.iter().all(|engine| engine.ledger.standing().seq == 1) {
            for (engine, other) in engines.iter_mut().zip([&names[1], &names[0]]) {
                let plan = engine.plan_rotation(false).await.unwrap();
                let id = RotationId::from_bytes([3; 16]);
                let batch = Some(Batch { id, with: vec![other.clone()] });
                engine.request(plan, Actor::Timer, String::new(), batch).unwrap();
            }
            batch::run(&mut engines).await.unwrap();
        } else {
            for engine in &mut engines {
                let _ = engine.repair().await;
            }
            batch::resume(&mut engines).await.unwrap();
        }
    };
    AssertUnwindSafe(life).catch_unwind().await.ok()?;
    Some(ledgers.map(|ledger| ledger.standing().clone()))
}

/// Rotates both, with this fault and kill, and as many lives as it takes.
fn rotate(fails: Option<(&'static str, usize)>, kill_at: Option<u32>) -> ([Standing; 2], Both) {
    rotate_killed(fails, kill_at, None)
}

/// The same with another kill in the life after the first one.
fn rotate_killed(
    fails: Option<(&'static str, usize)>,
    kill_at: Option<u32>,
    then_at: Option<u32>,
) -> ([Standing; 2], Both) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let old = ["the old value, which is long enough", "another old value, long enough too"].map(|old| old.into());
    let (delivered, process) = (old.clone(), old.clone());
    let both = Both(Arc::new(Mutex::new(Consumer { delivered, process, old, fails, ..Consumer::default() })));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(live(&root, &both)).unwrap();
    {
        let mut consumer = both.get();
        (consumer.ticks, consumer.kill_at, consumer.then_at) = (0, kill_at, then_at);
    }
    let standings = (0..5).find_map(|_| runtime.block_on(live(&root, &both))).expect("the batch ended");
    (standings, both)
}

fn outcomes(standings: &[Standing; 2]) -> [Option<&str>; 2] {
    standings.each_ref().map(|standing| standing.last.as_ref().map(|last| last.outcome.as_str()))
}

#[test]
fn two_secrets_of_one_consumer_are_one_restart_and_one_reload() {
    let (standings, both) = rotate(None, None);
    assert_eq!(outcomes(&standings), [Some("committed"); 2]);
    let consumer = both.get();
    assert_eq!((consumer.restarts, consumer.reloads), (1, 1));
    assert!(consumer.process[0] != consumer.old[0] && consumer.process[1] != consumer.old[1]);
}

#[test]
fn where_one_fails_both_go_back_with_one_restart() {
    for step in ["deliver", "activate", "prove"] {
        for part in 0..2 {
            let (standings, both) = rotate(Some((step, part)), None);
            assert_eq!(outcomes(&standings), [Some("rolled-back"); 2], "{step} of {part}");
            let consumer = both.get();
            assert_eq!(consumer.process, consumer.old, "{step} of {part}");
            assert!(consumer.restarts <= 2, "{step} of {part}: {} restarts", consumer.restarts);
            let other = standings[1 - part].last.as_ref().unwrap().outcome.cause().unwrap();
            // Of two that share a restart nobody knows whose value it was: the first to be restarted tells.
            assert!(step == "activate" || other.code == FaultCode::BatchFailed, "{step} of {part}: {other}");
        }
    }
}

#[test]
fn killed_at_any_moment_both_commit_or_both_go_back() {
    quiet_kills();
    for fails in [None, Some(("activate", 0)), Some(("prove", 1))] {
        let total = rotate(fails, None).1.get().ticks;
        assert!(total > 25);
        for at in 1..=total {
            let (standings, both) = rotate(fails, Some(at));
            let consumer = both.get();
            let ended = outcomes(&standings);
            let what = format!("{fails:?}, killed at {at}: {ended:?}");
            // Killed between the two requests, only one was accepted.
            let accepted = ended.iter().flatten().count();
            assert!(ended.iter().flatten().all(|outcome| *outcome == ended[0].unwrap_or_default()), "{what}");
            assert!(accepted == 2 || at <= 2, "{what}");
            assert_eq!(standings.each_ref().map(|standing| standing.transaction.is_none()), [true; 2], "{what}");
            if fails.is_none() && accepted == 2 {
                assert_eq!(ended, [Some("committed"); 2], "{what}");
                assert_eq!(consumer.restarts, 1, "{what}");
            }
            assert_eq!(consumer.process, consumer.delivered, "{what}");
        }
    }
}

#[test]
fn killed_between_the_records_of_two_and_again_at_once_neither_is_left_behind() {
    quiet_kills();
    for fails in [None, Some(("activate", 1)), Some(("prove", 0))] {
        let total = rotate(fails, None).1.get().ticks;
        // From the third moment on both are accepted.
        for (at, then_at) in (3..=total).flat_map(|at| [1, 2, 3].map(|then_at| (at, then_at))) {
            let (standings, both) = rotate_killed(fails, Some(at), Some(then_at));
            let ended = outcomes(&standings);
            let what = format!("{fails:?}, killed at {at} and at {then_at} of the next life: {ended:?}");
            assert_eq!(standings.each_ref().map(|standing| standing.transaction.is_none()), [true; 2], "{what}");
            // One that runs already has started well, as far as the life after the kill can see.
            let is_committed = match fails {
                None => true,
                Some(("prove", _)) => false,
                Some(_) => ended[0] == Some("committed"),
            };
            assert_eq!(ended, [Some(if is_committed { "committed" } else { "rolled-back" }); 2], "{what}");
            let consumer = both.get();
            assert_eq!(consumer.process, consumer.delivered, "{what}");
            assert_eq!([0, 1].map(|of| consumer.process[of] == consumer.old[of]), [!is_committed; 2], "{what}");
        }
    }
}
