//! What a program is given, how it ends, and what stays of it.

use std::path::Path;

use super::*;

fn child(dir: &Path) -> Child {
    Child { directory: dir.to_owned(), output: dir.join("output") }
}

fn script(text: &str) -> Vec<String> {
    ["/bin/sh", "-c", text].map(str::to_owned).to_vec()
}

fn command<'a>(argv: &'a [String], value: Option<Shown<'a>>) -> Command<'a> {
    Command {
        unit: "rekeyd-test.service",
        description: "",
        argv,
        directory: None,
        user: User::Caller,
        environment: vec!["REKEYD_SECRET=a=b".to_owned()],
        input: b"asked".to_vec(),
        value,
        limit: Duration::from_secs(20),
        prints: Prints::ToCaller,
    }
}

async fn said(text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (SecretValue::new(b"first".to_vec()), SecretValue::new(b"second".to_vec()));
    let argv = script(text);
    let shown = Shown { value: &one, accepted: vec![&two] };
    let ran = child(dir.path()).run(&command(&argv, Some(shown))).await.unwrap();
    assert_eq!(ran.end, End::Well, "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout.to_vec()).unwrap()
}

#[tokio::test]
async fn a_program_reads_its_question_and_the_values_and_its_own_children_can() {
    assert_eq!(
        said("cat; cat $REKEYD_VALUE_FILE $REKEYD_ACCEPTED_FILES; (cat $REKEYD_VALUE_FILE)").await,
        "askedfirstsecondfirst"
    );
    assert_eq!(said("echo no >$REKEYD_VALUE_FILE || cat $REKEYD_VALUE_FILE").await, "first");
}

#[tokio::test]
async fn the_environment_has_nothing_but_what_is_named() {
    let environment = said("env | cut -d= -f1 | sort").await;
    let known = ["PWD", "REKEYD_ACCEPTED_FILES", "REKEYD_SECRET", "REKEYD_VALUE_FILE", "SHLVL", "OLDPWD", "_"];
    let unknown = environment.lines().filter(|name| !known.contains(name) && !PASSED_ON.contains(name));
    assert_eq!(unknown.collect::<Vec<_>>(), Vec::<&str>::new());
    assert_eq!(said("printf %s $REKEYD_SECRET").await, "a=b");
}

#[tokio::test]
async fn one_that_takes_too_long_is_ended_with_all_that_it_has_started() {
    let dir = tempfile::tempdir().unwrap();
    let argv = script("sh -c 'echo $$ >inner; trap \"\" TERM; exec sleep 100' & echo $$ >outer; exec sleep 100");
    let command = Command { limit: Duration::from_secs(3), ..command(&argv, None) };
    let ran = child(dir.path()).run(&command).await.unwrap();
    assert_eq!(ran.end, End::TooLong(command.limit));
    for name in ["inner", "outer"] {
        let pid: i32 = std::fs::read_to_string(dir.path().join(name)).unwrap().trim().parse().unwrap();
        assert_eq!(started(Pid::from_raw(pid).unwrap()), None, "{name} is still there");
    }
}

#[tokio::test]
async fn what_it_leaves_running_goes_on_and_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let argv = script("sleep 100 & echo $! >left");
    let began = Instant::now();
    assert_eq!(child(dir.path()).run(&command(&argv, None)).await.unwrap().end, End::Well);
    assert!(began.elapsed() < Duration::from_secs(10));
    let pid =
        std::fs::read_to_string(dir.path().join("left")).unwrap().trim().parse().ok().and_then(Pid::from_raw).unwrap();
    assert!(started(pid).is_some());
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}

#[tokio::test]
async fn what_it_said_is_kept_where_it_failed_and_for_its_user_alone() {
    let dir = tempfile::tempdir().unwrap();
    let child = child(dir.path());
    let argv = script("echo out; echo err >&2; exit 3");
    let failing = Command { prints: Prints::ToJournal, ..command(&argv, None) };
    assert_eq!(child.run(&failing).await.unwrap().end, End::Status(3));
    let kept = dir.path().join("output/rekeyd-test.service");
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), "out\nerr\n");
    assert_eq!(child.said("rekeyd-test.service", Prints::ToFile), format!("less {}", kept.display()));
    let argv = script("echo fine");
    let passing = Command { prints: Prints::ToJournal, ..command(&argv, None) };
    assert_eq!(child.run(&passing).await.unwrap().end, End::Well);
    // What failed before is still to be read: the way back may have ended well.
    assert_eq!(files::list(&dir.path().join("output")).unwrap(), [kept]);
}

#[tokio::test]
async fn one_that_a_killed_run_has_left_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let child = child(dir.path());
    let mut former =
        Start::new("/bin/sh").args(["-c", "sleep 0.5; echo former >>order"]).current_dir(dir.path()).spawn().unwrap();
    let argv = script("echo new >>order");
    let command = command(&argv, None);
    child.note(&command, Pid::from_raw(former.id().unwrap().cast_signed()).unwrap());
    let reaped = tokio::spawn(async move { former.wait().await });
    child.run(&command).await.unwrap();
    reaped.await.unwrap().unwrap();
    assert_eq!(std::fs::read_to_string(dir.path().join("order")).unwrap(), "former\nnew\n");
}

#[tokio::test]
async fn what_cannot_be_run_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let argv = vec!["/no/such/program".to_owned()];
    let error = child(dir.path()).run(&command(&argv, None)).await.err().unwrap().to_string();
    assert!(error.contains("/no/such/program cannot be run: there is no such program"), "{error}");
    let argv = script("true");
    let other = Command { user: User::Named("4294967294"), ..command(&argv, None) };
    let error = child(dir.path()).run(&other).await.err().unwrap().to_string();
    assert!(error.contains("become that user"), "{error}");
}
