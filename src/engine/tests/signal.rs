//! A program that is told by a signal to read its file again.

use std::fs;
use std::process::{Child as Process, Command, Stdio};

use super::*;
use crate::config::{DotenvTarget as FileSettings, Restart, WakeSignal};
use crate::secret::SecretValue;
use crate::sys::child::Child;
use crate::target::Means;
use crate::target::dotenv::DotenvTarget;
use crate::text::env_file::Dialect;

const VALUE: &str = "the value, which is long enough";

/// What comes of a rotation, or of its way back, where the program is this one.
async fn told(script: &str, back: bool) -> Result<(), Fault> {
    let dir = tempfile::tempdir().unwrap();
    let (file, pid_file) = (dir.path().join(".env"), dir.path().join("pid"));
    let mut settings = settings(None);
    settings.settle = Duration::from_millis(300);
    fs::write(&file, format!("{}=\"{VALUE}\"\n", settings.env)).unwrap();
    let mut program: Process =
        Command::new("/bin/sh").args(["-c", script]).env("PID", &pid_file).stdin(Stdio::null()).spawn().unwrap();
    while !pid_file.exists() || fs::read_to_string(&pid_file).unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let runner = Arc::new(Child { directory: dir.path().to_owned(), output: dir.path().join("output") });
    let of_file = FileSettings {
        file,
        key: None,
        dialect: Dialect::Dotenv,
        expose: false,
        restart: Restart::Signal { signal: WakeSignal::Sighup, pid_file },
    };
    let target = DotenvTarget::new(&settings, &of_file, &Means::here(runner));
    let world: Shared = Arc::new(Mutex::new(World::default()));
    let (host, value, view) = (SimHost(world), SecretValue::new(VALUE.into()), View::of(Generation::FIRST));
    let view = Disclosed { view: &view, primary: &value, accepted: Vec::new(), previous: None };
    let deadline = Instant::now() + Duration::from_secs(20);
    let errand =
        Errand { view: &view, before: None, back, found: &[], noted: &[], mark: "1-1", deadline, report: &host };
    if back {
        program.kill().unwrap();
        program.wait().unwrap();
    }
    let came = match target.activate(&errand).await {
        Ok(_) => target.evidence(&errand).await.map(drop),
        Err(fault) => Err(fault),
    };
    let _ = program.kill().and_then(|()| program.wait());
    came
}

#[tokio::test]
async fn a_program_that_the_signal_ends_is_no_proof() {
    let fault = told("echo $$ >$PID; exec sleep 30", false).await.unwrap_err();
    assert!(fault.code == FaultCode::NotTold && fault.message.contains("does not handle SIGHUP"), "{fault}");
    // It is sent none, since that would end it.
    let fault = told("trap 'exit 0' HUP; echo $$ >$PID; while :; do sleep 0.02; done", false).await.unwrap_err();
    assert!(fault.code == FaultCode::Unsettled && fault.message.contains("has ended after SIGHUP: process"), "{fault}");
    assert!(fault.advice.contains("does it handle that signal?"), "{}", fault.advice);
    told("trap '' HUP; echo $$ >$PID; exec sleep 30", false).await.unwrap();
    // Another one that takes its place, and writes its own number.
    let other = "(trap '' HUP; sleep 0.1; exec sh -c 'echo $$ >$PID; exec sleep 2') &";
    told(&format!("trap 'exit 0' HUP; echo $$ >$PID; {other} while :; do sleep 0.02; done"), false).await.unwrap();
}

#[tokio::test]
async fn one_that_was_ended_does_not_keep_its_file_from_going_back_but_is_no_proof() {
    let fault = told("trap '' HUP; echo $$ >$PID; exec sleep 30", true).await.unwrap_err();
    assert!(fault.code == FaultCode::Unsettled && fault.message.contains("is not running"), "{fault}");
}
