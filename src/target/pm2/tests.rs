//! What can be judged without a PM2.

use std::path::PathBuf;

use super::daemon::State;
use super::list::Instance;
use super::*;
use crate::helper::{Pm2, Saved};
use crate::rotation::Generation;
use crate::sys::command::{Command, NotRun, Prints, Ran};
use crate::target::Report;
use crate::text::env_file::Dialect;

/// Nothing is run.
struct Nothing;

#[async_trait]
impl Runner for Nothing {
    async fn run(&self, command: &Command<'_>) -> Result<Ran, NotRun> {
        Err(NotRun::new(command, "there is none"))
    }

    fn said(&self, unit: &str, _: Prints) -> String {
        unit.to_owned()
    }
}

/// An app `web` that has its value from an env file, and another one to accept beside it.
fn target(env_file: PathBuf, dialect: Dialect) -> Pm2Target {
    Pm2Target {
        secret: "jwt".to_owned(),
        settings: Settings {
            ecosystem: env_file.with_file_name("ecosystem.config.json"),
            format: crate::text::ecosystem::Format::Json,
            user: "app".to_owned(),
            home: None,
            apps: vec!["web".to_owned()],
            environment: None,
            env_file: Some(env_file),
            dialect,
            key: None,
            expose: true,
            pm2: None,
            node: None,
            timeout: Duration::from_secs(10),
            save: true,
        },
        env: "JWT_SECRET".to_owned(),
        previous_env: Some("JWT_SECRET_PREVIOUS".to_owned()),
        key: "JWT_SECRET".to_owned(),
        make: (32, Format::Hex),
        settle: Duration::ZERO,
        has_value_probe: false,
        files: FileHelper::Here,
        runner: Arc::new(Nothing),
    }
}

#[tokio::test]
async fn a_file_that_will_not_take_the_other_value_is_found_beforehand() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("env");
    let (view, value) = (View::of(Generation::FIRST), SecretValue::new(b"one".to_vec()));
    let in_force = Disclosed { view: &view, primary: &value, accepted: Vec::new(), previous: None };
    for (text, is_fine) in [("JWT_SECRET=one\nA=b\n", true), ("JWT_SECRET=one\nA=b\\", false)] {
        std::fs::write(&path, text).unwrap();
        let checked = target(path.clone(), Dialect::Systemd).check_file(&in_force, Health::Needed).await;
        assert_eq!(checked.is_ok(), is_fine, "{text:?}: {checked:?}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn an_app_that_is_not_saved_keeps_nobody_from_going_back() {
    let instance = |app: &str| Instance {
        app: app.to_owned(),
        id: Some(0),
        pid: 7,
        status: "online".to_owned(),
        restarts: 0,
        unstable: 0,
        exit_code: 0,
        is_cluster: false,
        is_watched: false,
        stored: None,
    };
    let saved = Saved { names: vec!["web".to_owned()], values: vec![("web".to_owned(), vec![Some("00".to_owned())])] };
    let pm2 = Pm2 {
        directory: PathBuf::new(),
        home: PathBuf::new(),
        path: String::new(),
        program: PathBuf::new(),
        processes: Vec::new(),
        running: Vec::new(),
        saved: Some(saved),
    };
    let state = State { pm2, key: [0; 32], all: vec![instance("web"), instance("other")] };
    let target = target("/srv/app/.env".into(), Dialect::Dotenv);
    let mut found = [Found::default()];
    assert!(target.tell_unsaved(&state, Health::Needed, &mut found).is_err());
    target.tell_unsaved(&state, Health::Irrelevant, &mut found).unwrap();
    assert!(saved::may_be_unsaved(&found));
}

/// Nothing is told.
struct Untold;

impl Report for Untold {
    fn progress(&self, _: &str) {}
}

#[tokio::test]
async fn what_is_taken_back_in_a_file_in_yaml_is_byte_for_byte_what_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ecosystem.config.yaml");
    let text =
        "apps:\n  - name: web\n    env:\n      JWT_SECRET: the-old-one # sessions\n      JWT_SECRET_PREVIOUS: \"\"\n";
    std::fs::write(&path, text).unwrap();
    let mut target = target(path.clone(), Dialect::Dotenv);
    target.settings.env_file = None;
    target.settings.ecosystem.clone_from(&path);
    target.settings.format = crate::text::ecosystem::Format::Yaml;
    let (view, old) = (View::of(Generation::FIRST), SecretValue::new(b"the-old-one".to_vec()));
    let new = SecretValue::new(b"1234".to_vec());
    let of = |primary| Disclosed { view: &view, primary, accepted: Vec::new(), previous: None };
    let (before, after) = (of(&old), of(&new));
    let plain = target.check_file(&before, Health::Needed).await.unwrap();
    assert_eq!(plain, [target.unit("web")]);
    let details = [(PLAIN.to_owned(), "yes".to_owned())].into();
    let found = [Found { unit: target.unit("web"), details, ..Found::default() }];
    let errand = |view, back| Errand {
        view,
        before: None,
        back,
        found: &found,
        noted: &[],
        mark: "1-1",
        deadline: Instant::now() + Duration::from_secs(60),
        report: &Untold,
    };
    target.write(&errand(&after, false)).await.unwrap();
    assert!(std::fs::read_to_string(&path).unwrap().contains("JWT_SECRET: '1234' # sessions"));
    target.write(&errand(&before, true)).await.unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}
