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

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

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

/// An engine with one container of the service, which sees the file.
async fn engine(listener: UnixListener, directory: PathBuf) {
    let labels = serde_json::json!({
        "com.docker.compose.project": "app",
        "com.docker.compose.project.working_dir": directory,
        "com.docker.compose.project.config_files": "compose.yaml",
        "com.docker.compose.service": "web",
    });
    let mount = serde_json::json!({ "Type": "bind", "Source": directory.join("jwt.secret"), "Destination": "/run/secrets/jwt" });
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut head, mut line) = (String::new(), String::new());
        let mut reader = BufReader::new(&mut stream);
        while reader.read_line(&mut line).await.unwrap() > 2 {
            head.push_str(&line);
            line.clear();
        }
        let answer = if head.contains(ID) {
            serde_json::json!({ "Id": ID, "Name": "/app-web-1", "State": { "Status": "running", "Pid": 7 },
                "Config": { "Env": [], "Labels": labels }, "Mounts": [mount] })
        } else {
            serde_json::json!([{ "Id": ID, "Labels": labels }])
        };
        stream.write_all(format!("HTTP/1.0 200 OK\r\n\r\n{answer}").as_bytes()).await.unwrap();
    }
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
            let process =
                Process { pid: 7, comm: "web".to_owned(), digests: Vec::new(), credentials: vec![told; files.len()] };
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
