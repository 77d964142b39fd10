//! Against an engine, a helper and a Compose that are simulated.

use std::path::{Path, PathBuf};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixListener;

use super::project::Project;
use super::tool::Tool;
use super::*;
use crate::helper::{Answer, Process, Question};
use crate::policy::{Drift, drift};
use crate::rotation::Generation;
use crate::secret::digest;
use crate::sys::command::{Command, End, NotRun, Prints, Ran};
use crate::target::Report;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// Of a container of `docker compose run`.
const RUN: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";

/// A Compose of which every call ends like this.
struct Ends(End);

#[async_trait]
impl Runner for Ends {
    async fn run(&self, _: &Command<'_>) -> Result<Ran, NotRun> {
        Ok(Ran { end: self.0.clone(), ..Ran::default() })
    }

    fn said(&self, unit: &str, _: Prints) -> String {
        unit.to_owned()
    }
}

impl ComposeTarget {
    /// A service `web` whose file, which is the value, says `one`.
    pub(super) fn simulated(directory: &Path) -> Self {
        target(directory, "one")
    }
}

/// A service `web` whose file, which is the value, says `in_file`.
fn target(directory: &Path, in_file: &str) -> ComposeTarget {
    let path = directory.join("jwt.secret");
    std::fs::write(&path, in_file).unwrap();
    ComposeTarget {
        secret: "jwt".to_owned(),
        settings: Settings {
            directory: directory.to_owned(),
            project: None,
            files: Vec::new(),
            services: vec!["web".to_owned()],
            place: ComposePlace::SecretFile(path),
            key: None,
            dialect: crate::text::env_file::Dialect::Compose,
            expose: true,
            build: false,
            user: None,
            timeout: Duration::from_secs(10),
        },
        key: "JWT_SECRET".to_owned(),
        env: "JWT_SECRET".to_owned(),
        previous_key: None,
        make: (32, Format::Hex),
        settle: Duration::ZERO,
        allow_without: Vec::new(),
        files: FileHelper::Here,
        helper: ProcessHelper::at(directory.join("helper")),
        runner: Arc::new(Ends(End::Well)),
        engine: Engine::at(directory.join("engine")),
        named: vec!["web".to_owned()],
        stopped: Mutex::default(),
    }
}

/// An engine with one container of the service, which sees the file, and one of `docker compose run`.
async fn engine(listener: UnixListener, directory: PathBuf) {
    loop {
        answer(&listener, &directory).await;
    }
}

/// Answers one question.
async fn answer(listener: &UnixListener, directory: &Path) {
    let labels = serde_json::json!({
        "com.docker.compose.project": "app",
        "com.docker.compose.project.working_dir": directory,
        "com.docker.compose.project.config_files": "compose.yaml",
        "com.docker.compose.service": "web",
    });
    let mount = serde_json::json!({ "Type": "bind", "Source": directory.join("jwt.secret"), "Destination": "/run/secrets/jwt" });
    let (mut stream, _) = listener.accept().await.unwrap();
    let (mut head, mut line) = (String::new(), String::new());
    let mut reader = BufReader::new(&mut stream);
    while reader.read_line(&mut line).await.unwrap() > 2 {
        head.push_str(&line);
        line.clear();
    }
    let names = [(ID, "/app-web-1"), (RUN, "/app-web-run-1")];
    let answer = if let Some((id, name)) = names.into_iter().find(|(id, _)| head.contains(id)) {
        serde_json::json!({ "Id": id, "Name": name, "State": { "Status": "running", "Pid": 7 },
            "Config": { "Env": [], "Labels": labels }, "Mounts": [mount] })
    } else if head.contains("/version") {
        serde_json::json!({ "Version": "28.2.2" })
    } else {
        let mut of_run = labels.clone();
        of_run["com.docker.compose.oneoff"] = "True".into();
        serde_json::json!([{ "Id": RUN, "Labels": of_run }, { "Id": ID, "Labels": labels }])
    };
    stream.write_all(format!("HTTP/1.0 200 OK\r\n\r\n{answer}").as_bytes()).await.unwrap();
}

/// A helper that sees one process in each container, which sees this in each file.
async fn helper(listener: UnixListener, seen: &'static str) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut line = String::new();
        BufReader::new(&mut stream).read_line(&mut line).await.unwrap();
        let questions: Vec<Question> = serde_json::from_str(&line).unwrap();
        let answer = |question: &Question| {
            let Question::Container { key, files, .. } = question else { panic!("{question:?}") };
            let key: [u8; 32] = hex::decode(key).unwrap().try_into().unwrap();
            let told = Some(hex::encode(digest(&key, seen.as_bytes())));
            let process = Process {
                pid: 7,
                comm: "web".to_owned(),
                started_us: 0,
                digests: Vec::new(),
                credentials: vec![told; files.len()],
            };
            Answer::Processes { processes: vec![process] }
        };
        let answers: Vec<Answer> = questions.iter().map(answer).collect();
        stream.write_all(&serde_json::to_vec(&answers).unwrap()).await.unwrap();
    }
}

/// The service, whose container sees `seen` where the file says `in_file`.
fn service(directory: &Path, in_file: &str, seen: &'static str) -> ComposeTarget {
    let directory = directory.to_owned();
    let target = target(&directory, in_file);
    tokio::spawn(helper(UnixListener::bind(directory.join("helper")).unwrap(), seen));
    tokio::spawn(engine(UnixListener::bind(directory.join("engine")).unwrap(), directory));
    target
}

#[tokio::test]
async fn the_value_of_a_file_is_taken_over_only_where_containers_see_it() {
    let dir = tempfile::tempdir().unwrap();
    let agrees = service(dir.path(), "one", "one\n");
    assert_eq!(agrees.adopted_value().await.unwrap().reveal(), b"one");
    let dir = tempfile::tempdir().unwrap();
    let replaced = service(dir.path(), "two", "one");
    let fault = replaced.adopted_value().await.err().expect("it is not taken over");
    assert_eq!(fault.code, FaultCode::WrongValue, "{fault}");
    assert!(fault.advice.contains("up -d --force-recreate --no-deps web; then adopt it"), "{}", fault.advice);
}

#[tokio::test]
async fn what_compose_run_started_is_told_of_and_no_container_of_a_service() {
    let dir = tempfile::tempdir().unwrap();
    let target = service(dir.path(), "one", "one");
    let present = target.present("app").await.unwrap();
    let value = SecretValue::new(b"one".to_vec());
    assert_eq!(target.passing(&present, &value), ["the container app-web-run-1 (/run/secrets/jwt)"]);
    assert_eq!((present.of("web").len(), present.one_offs.len()), (1, 1));
    assert_eq!(target.of_service("app", "web").await.unwrap()[0].id, ID);
    assert_eq!(target.processes().await.unwrap(), 1);
    let project = target.project().await.unwrap().unwrap();
    assert!(target.bystanders(&project, &present, &value).is_empty());
}

/// What is told of a service whose container sees `seen` where the file says `in_file`, and where `one` and `two` are known.
async fn drift_of(in_file: &str, seen: &'static str) -> Vec<Drift> {
    let dir = tempfile::tempdir().unwrap();
    let value = |text: &str| SecretValue::new(text.as_bytes().to_vec());
    let in_force = Generation::FIRST.next();
    let values = [(Generation::FIRST, value("one")), (in_force, value("two"))];
    let target = service(dir.path(), in_file, seen);
    drift(in_force, &target.look(&Known::new(&values).unwrap()).await.unwrap())
}

#[tokio::test]
async fn containers_that_see_the_former_file_are_told_of() {
    assert_eq!(drift_of("two\n", "two\n").await, []);
    let older = drift_of("two", "one\n").await;
    assert!(matches!(older.as_slice(), [Drift::Older(_, Generation::FIRST, _)]), "{older:?}");
    let edited = drift_of("three\n", "two").await;
    assert!(matches!(edited.as_slice(), [Drift::Edited(..)]), "{edited:?}");
    let taken = drift_of("three", "three\n").await;
    assert!(matches!(taken.as_slice(), [Drift::EditedAndTaken(_)]), "{taken:?}");
}

#[tokio::test]
async fn an_engine_that_is_away_is_not_taken_for_one_in_which_all_is_well() {
    let dir = tempfile::tempdir().unwrap();
    let seen = target(dir.path(), "two").look(&Known::new(&[]).unwrap()).await.unwrap();
    assert_eq!(seen.last(), Some(&Sighting::unseen()));
}

#[tokio::test]
async fn where_nothing_can_be_rehearsed_another_hash_is_another_configuration() {
    let tool = [("tool", "/usr/bin/docker compose"), ("tool-version", "2.10.0")];
    let tool = Tool::recorded(&tool.map(|(name, value)| (name.to_owned(), value.to_owned())).into()).unwrap();
    let project = Project::of(&std::collections::BTreeMap::new());
    let details = [("hash", "a"), ("label", "b"), ("names", "app-web-1")];
    let details = details.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let other = Found { running: true, details, ..Found::default() };
    let dir = tempfile::tempdir().unwrap();
    for (end, is_stale) in [(End::Well, false), (End::Status(1), true)] {
        let target = ComposeTarget { runner: Arc::new(Ends(end)), ..target(dir.path(), "one") };
        let mut found = [other.clone()];
        target.tell_stale(&tool, &project, &mut found).await.unwrap();
        assert_eq!(found[0].details.contains_key(stale::STALE), is_stale);
    }
}

#[tokio::test]
async fn a_file_with_format_raw_is_read_as_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.env");
    std::fs::write(&path, "A='b'\nJWT_SECRET=a$b\n").unwrap();
    let mut target = target(dir.path(), "one");
    target.settings.place = ComposePlace::EnvFile(path);
    target.settings.dialect = crate::text::env_file::Dialect::Docker;
    assert_eq!(target.value_in_file().await.unwrap().reveal(), b"a$b");
    target.settings.dialect = crate::text::env_file::Dialect::Compose;
    assert!(target.value_in_file().await.is_err(), "Compose would put a variable there");
}

/// Keeps what it is told, and starts an engine at the first line where there is one to be started.
struct Watcher {
    told: Mutex<Vec<String>>,
    engine: Option<(PathBuf, PathBuf)>,
}

impl Report for Watcher {
    fn progress(&self, line: &str) {
        let mut told = self.told.lock().unwrap();
        if let (true, Some((socket, directory))) = (told.is_empty(), &self.engine) {
            tokio::spawn(engine(UnixListener::bind(socket).unwrap(), directory.clone()));
        }
        told.push(line.to_owned());
    }
}

/// A step of a rotation, on the way there or back, that has so long.
fn errand<'a>(found: &'a [Found], view: &'a Disclosed<'a>, back: bool, time: u64, report: &'a Watcher) -> Errand<'a> {
    let deadline = Instant::now() + Duration::from_millis(time);
    Errand { view, before: None, back, found, noted: &[], mark: "1-1", deadline, report }
}

/// What comes of it when the engine goes away after its first answer, and comes back when that is told, if `comes_back`; and
/// what was told.
async fn without_engine(is_way_back: bool, comes_back: bool, time: u64) -> (Result<(), Fault>, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let (directory, socket) = (dir.path().to_owned(), dir.path().join("engine"));
    let target = target(&directory, "one");
    tokio::spawn(helper(UnixListener::bind(directory.join("helper")).unwrap(), "one"));
    let listener = UnixListener::bind(&socket).unwrap();
    let goes_away = async {
        answer(&listener, &directory).await;
        std::fs::remove_file(&socket).unwrap();
    };
    let details =
        [("project", "app"), ("directory", "/srv/app"), ("tool", "docker compose"), ("tool-version", "2.26.1")];
    let details = details.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let configured = target.settings.consumer("web");
    let found = [Found { configured, unit: "compose app/web".to_owned(), running: true, details, ..Found::default() }];
    let (view, value) = (View::of(Generation::FIRST), SecretValue::new(b"one".to_vec()));
    let view = Disclosed { view: &view, primary: &value, accepted: Vec::new(), previous: None };
    let engine = comes_back.then(|| (socket.clone(), directory.clone()));
    let watcher = Watcher { told: Mutex::default(), engine };
    let errand = errand(&found, &view, is_way_back, time, &watcher);
    let acts = async {
        if is_way_back {
            target.activate(&errand).await.map(|activated| assert_eq!(activated.len(), 1))
        } else {
            target.evidence(&errand).await.map(|evidence| assert_eq!(evidence.len(), 3))
        }
    };
    let (came, ()) = tokio::join!(acts, goes_away);
    (came, watcher.told.into_inner().unwrap())
}

#[tokio::test]
async fn an_engine_that_goes_away_in_mid_rotation_is_waited_for() {
    for is_way_back in [false, true] {
        let (came, told) = without_engine(is_way_back, true, 60_000).await;
        came.unwrap();
        assert!(told[0].contains("waiting for Docker's engine") && told[0].contains("s at the most"), "{told:?}");
        assert!(told[1].contains("answers again"), "{told:?}");
    }
}

#[tokio::test]
async fn it_is_said_that_an_engine_did_not_come_back() {
    let (came, told) = without_engine(false, false, 1500).await;
    let fault = came.unwrap_err();
    assert_eq!((fault.code, told.len()), (FaultCode::EngineUnreachable, 1));
    assert!(fault.message.contains("did not come back"), "{fault}");
    assert!(fault.advice.contains("systemctl status docker.socket"), "{}", fault.advice);
}

#[tokio::test]
async fn what_compose_could_not_do_without_its_engine_is_done_once_that_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let target = target(dir.path(), "one");
    let (view, value) = (View::of(Generation::FIRST), SecretValue::new(b"one".to_vec()));
    let view = Disclosed { view: &view, primary: &value, accepted: Vec::new(), previous: None };
    let engine = Some((dir.path().join("engine"), dir.path().to_owned()));
    let watcher = Watcher { told: Mutex::default(), engine };
    let errand = errand(&[], &view, false, 60_000, &watcher);
    let tries = Mutex::new(0);
    let act = || async {
        *tries.lock().unwrap() += 1;
        if *tries.lock().unwrap() == 2 { Ok(()) } else { Err(Fault::new(FaultCode::ToolFailed, "it fails")) }
    };
    target.despite_absence(&errand, act).await.unwrap();
    let fault = target.despite_absence(&errand, act).await.unwrap_err();
    assert_eq!((fault.message.as_str(), *tries.lock().unwrap()), ("it fails", 3), "the engine is there");
}

/// One of the service with these variables.
fn container(env: &str) -> Container {
    let text = format!(
        r#"{{"Id":"{ID}","Name":"/app-web-1","State":{{"Status":"running"}},"Config":{{"Env":[{env}],"Labels":{{
            "com.docker.compose.project":"app","com.docker.compose.service":"web",
            "com.docker.compose.project.working_dir":"/srv/app"}}}}}}"#
    );
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_container_without_the_variable_is_told_as_such_with_what_would_give_it_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut target = target(dir.path(), "one");
    target.settings.place = ComposePlace::EnvFile(dir.path().join(".env"));
    let value = SecretValue::new(b"one".to_vec());
    let view = View::of(Generation::FIRST);
    let view = Disclosed { view: &view, primary: &value, accepted: Vec::new(), previous: None };
    let told = |target: &ComposeTarget, env: &str| target.made_with_another("compose app/web", &container(env), &view);
    let none = told(&target, "");
    assert_eq!(none.code, FaultCode::NoValue);
    assert_eq!(none.message, "the container app-web-1 of compose app/web has no variable JWT_SECRET");
    assert!(none.advice.contains("env_file:") && none.advice.ends_with("up -d --no-deps web"), "{}", none.advice);
    let empty = told(&target, r#""JWT_SECRET=""#);
    assert_eq!(empty.message, "the container app-web-1 of compose app/web has an empty JWT_SECRET");
    assert!(empty.advice.contains("under `environment:`"), "{}", empty.advice);
    target.key = "APP_JWT".to_owned();
    let mapped = told(&target, r#""TOKEN=one""#);
    assert_eq!(mapped.message, "the container app-web-1 of compose app/web has no variable JWT_SECRET or APP_JWT");
    assert!(mapped.advice.contains("JWT_SECRET: ${APP_JWT}"), "{}", mapped.advice);
    assert_eq!(told(&target, r#""JWT_SECRET=two""#).code, FaultCode::WrongValue);
}

#[tokio::test]
async fn containers_without_the_variable_are_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let mut target = service(dir.path(), "JWT_SECRET=one", "");
    target.settings.place = ComposePlace::EnvFile(dir.path().join("jwt.secret"));
    let values = [(Generation::FIRST, SecretValue::new(b"one".to_vec()))];
    let told = drift(Generation::FIRST, &target.look(&Known::new(&values).unwrap()).await.unwrap());
    let [Drift::Lacks(what, _)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(what, "the container app-web-1 has no variable JWT_SECRET");
    let refused = target.adopted_value().await.err().unwrap();
    assert_eq!(refused.message, "the container app-web-1 has no variable JWT_SECRET");
}
