//! Whole files and directories: what is taken over, and what is found wrong.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;

mod bytes;
mod host;
mod hosting;
mod mistakes;

const GOOD: &str = "[secret]\nenv = \"JWT_SECRET\"\n\n[[target]]\ntype = \"systemd\"\nunits = [\"a.service\"]\n";

fn checked(name: &str, text: impl AsRef<[u8]>) -> Loaded {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    check_files(&[path])
}

fn names(loaded: &Loaded) -> Vec<&str> {
    loaded.settings.secrets.keys().map(SecretName::as_str).collect()
}

#[test]
fn a_finding_cites_the_line_and_advises() {
    let loaded = checked("a.toml", GOOD.replace("env", "emv"));
    let shown = render(&loaded.findings, false);
    for part in [
        "error: unknown key `emv` in [secret]",
        "a.toml:2:1",
        "2 | emv = \"**********\"",
        "^^^",
        "help: did you mean `env`?",
    ] {
        assert!(shown.contains(part), "{part:?} is not in\n{shown}");
    }
}

#[test]
fn everything_that_can_be_said_is_taken_over() {
    let text = r#"
        [secret]
        env = "SESSION_KEY"
        kind = "session"
        bytes = 64
        format = "base64url"
        keep = "1w"
        [schedule]
        on-calendar = ["Mon 03:00", "Thu 03:00"]
        randomized-delay = "10min"
        persistent = false
        window = "3h"
        [rotation]
        deadline = "5m"
        [proof]
        settle = "3s"
        allow-without = "nginx"
        [invalidation]
        mode = "immediate"
        [[target]]
        type = "systemd"
        units = ["a.service", "b@1.service"]
        daemon-reload = "always"
        [[target]]
        type = "systemd"
        units = "c.service"
        [[probe]]
        type = "jwt"
        key = "base64"
        timeout = "1m"
        [probe.mint]
        claims = { sub = "me", n = 0x10, list = [1, true, { a = 1.5 }] }
        algorithm = "HS512"
        lifetime = "2min"
        [probe.protected]
        url = "https://a.example/"
        method = "POST"
        cookie = "session"
        [[probe]]
        type = "http"
        url = "http://[::1]:80/"
        status = 204
        [[probe]]
        type = "command"
        command = ["/usr/local/bin/check", "--fast"]
        user = "app"
        timeout = "5s"
    "#;
    let loaded = checked("my-key.toml", text);
    assert_eq!(loaded.findings, []);
    let secret = loaded.settings.secrets.values().next().unwrap();
    assert_eq!((secret.name.as_str(), secret.env.as_str(), secret.bytes), ("my-key", "SESSION_KEY", 64));
    assert_eq!((secret.kind, secret.format), (Kind::Session, crate::secret::Format::Base64url));
    let seconds = [secret.keep, secret.deadline, secret.settle].map(|length| length.as_secs());
    assert_eq!(seconds, [604_800, 300, 3]);
    let schedule = secret.schedule.as_ref().unwrap();
    assert_eq!(schedule.on_calendar, ["Mon 03:00", "Thu 03:00"]);
    assert_eq!(
        (schedule.persistent, schedule.window.as_secs(), schedule.randomized_delay.as_secs()),
        (false, 10800, 600)
    );
    assert_eq!(secret.allow_without, ["nginx"]);
    let units: Vec<_> = secret.targets.iter().flat_map(TargetSettings::units).collect();
    assert_eq!(units, ["a.service", "b@1.service", "c.service"]);
    let TargetSettings::Systemd(target) = &secret.targets[0] else { panic!("{secret:?}") };
    assert_eq!(target.daemon_reload, DaemonReload::Always);
    let ProbeSettings::Jwt(jwt) = &secret.probes[0] else { panic!("{:?}", secret.probes) };
    let TokenSource::Mint(mint) = &jwt.token else { panic!("{jwt:?}") };
    assert_eq!(mint.claims, r#"{"list":[1,true,{"a":1.5}],"n":16,"sub":"me"}"#);
    assert_eq!((mint.algorithm.as_str(), mint.lifetime.as_secs(), jwt.key), ("HS512", 120, KeyEncoding::Base64));
    assert_eq!(jwt.protected.carrier, TokenCarrier::Cookie("session".into()));
    assert!(
        matches!(&secret.probes[1], ProbeSettings::Http(http) if http.status == 204 && http.timeout.as_secs() == 20)
    );
    let ProbeSettings::Command(command) = &secret.probes[2] else { panic!("{:?}", secret.probes) };
    assert_eq!(command.argv, ["/usr/local/bin/check", "--fast"]);
    assert_eq!((command.user.as_deref(), command.timeout.as_secs()), (Some("app"), 5));
}

#[test]
fn what_is_left_out_has_its_default() {
    let loaded = checked("a.toml", GOOD);
    assert_eq!(loaded.findings, []);
    let secret = loaded.settings.secrets.values().next().unwrap();
    assert_eq!((secret.kind, secret.bytes, secret.keep.as_secs()), (Kind::Signing, 32, 30 * 86_400));
    assert_eq!((secret.schedule.is_none(), secret.deadline.as_secs(), secret.settle.as_secs()), (true, 600, 2));
    let loaded = checked(
        "a.toml",
        format!("{GOOD}[[probe]]\ntype=\"jwt\"\nlogin={{url=\"http://h/\"}}\nprotected={{url=\"http://h/\"}}"),
    );
    let secret = loaded.settings.secrets.values().next().unwrap();
    let ProbeSettings::Jwt(jwt) = &secret.probes[0] else { panic!("{:?}", secret.probes) };
    let TokenSource::Login(login) = &jwt.token else { panic!("{jwt:?}") };
    assert_eq!((login.method.as_str(), &login.body), ("POST", &LoginBody::Empty));
    assert_eq!(login.token, TokenPlace::Pointer("/token".into()));
    let carrier = TokenCarrier::Header { name: "Authorization".into(), scheme: "Bearer".into() };
    assert_eq!((jwt.protected.method.as_str(), &jwt.protected.carrier), ("GET", &carrier));
}

#[test]
fn a_jwt_probe_goes_with_units_that_are_left_alone_beside_one_that_is_not() {
    let left = "[[target]]\ntype = \"systemd\"\nunits = [\"b.service\"]\nactivate = \"none\"\n";
    let probe = "[[probe]]\ntype = \"jwt\"\nlogin = { url = \"http://h/\" }\nprotected = { url = \"http://h/\" }\n";
    let loaded = checked("a.toml", format!("{GOOD}{left}{probe}"));
    assert_eq!(loaded.findings, []);
    let secret = loaded.settings.secrets.values().next().unwrap();
    assert!(matches!(&secret.targets[1], TargetSettings::Systemd(target) if target.activate == Activate::None));
}

#[test]
fn the_shipped_files_are_valid_as_they_stand() {
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging");
    let mut files: Vec<PathBuf> =
        fs::read_dir(packaging.join("examples")).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    assert!(files.len() >= 2);
    files.push(packaging.join("rekeyd.toml"));
    for file in files {
        let loaded = check_files(&[file]);
        assert_eq!(loaded.findings, [], "{}", render(&loaded.findings, false));
    }
}

#[test]
fn a_template_says_every_default_as_it_is() {
    for kind in kinds() {
        let plain = checked("a.toml", template(kind).unwrap());
        assert_eq!(plain.findings, []);
        let uncommented: String = template(kind).unwrap().lines().map(uncomment).collect();
        let told = checked("a.toml", uncommented.replace("mint = ", "#mint = "));
        assert!(told.is_valid(), "{}", render(&told.findings, false));
        let strip = |loaded: &Loaded| {
            let mut secret = loaded.settings.secrets.values().next().unwrap().clone();
            (secret.file, secret.probes, secret.allow_without, secret.watch, secret.logout) = Default::default();
            secret.schedule.iter_mut().for_each(|schedule| schedule.overdue_after = None);
            for target in &mut secret.targets {
                let key = match target {
                    TargetSettings::Dotenv(dotenv) | TargetSettings::Environment(dotenv) => &mut dotenv.key,
                    TargetSettings::Compose(compose) => {
                        (compose.files, compose.project, compose.user) = Default::default();
                        &mut compose.key
                    }
                    TargetSettings::Pm2(pm2) => &mut pm2.key,
                    TargetSettings::Hosting(hosting) => &mut hosting.key,
                    TargetSettings::Systemd(_) | TargetSettings::Command(_) => continue,
                };
                key.get_or_insert_with(|| secret.env.clone());
            }
            secret
        };
        assert_eq!(strip(&plain), strip(&told));
    }
    assert!(template("none").is_none());
}

fn uncomment(line: &str) -> String {
    let is_setting = line.starts_with("#[") || line.starts_with('#') && line.contains(" = ") && !line.starts_with("# ");
    format!("{}\n", if is_setting { &line[1..] } else { line })
}

#[test]
fn a_backslash_of_systemd_is_written_once_in_single_quotes_and_twice_in_double_quotes() {
    for written in [r"'a\x2db@1.service'", r#""a\\x2db@1.service""#] {
        let loaded = checked("a.toml", GOOD.replace("\"a.service\"", written));
        assert_eq!(loaded.findings, [], "{written}");
        let secret = loaded.settings.secrets.values().next().unwrap();
        assert_eq!(secret.targets[0].units(), [r"a\x2db@1.service"]);
    }
}

#[test]
fn a_warning_leaves_the_configuration_valid() {
    let loaded =
        checked("a.toml", format!("{GOOD}[[probe]]\ntype = \"http\"\nurl = \"http://h/\"\ntimeout = \"1h\"\n"));
    assert!(loaded.is_valid() && names(&loaded) == ["a"]);
    assert!(
        loaded.findings[0].one_line().contains("a.toml:10:11: warning: `timeout` is longer"),
        "{:?}",
        loaded.findings
    );
}

#[test]
fn a_file_with_endless_mistakes_is_cut_short() {
    let keys: String = (0..5000).map(|n| format!("key{n} = 1\n")).collect();
    let loaded = checked("a.toml", format!("{keys}{GOOD}"));
    assert_eq!(loaded.findings.len(), 51);
    assert!(loaded.findings[50].message.contains("4950 further mistakes"), "{:?}", loaded.findings[50]);
}

#[test]
fn files_that_cannot_be_read_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let loaded = check_files(&[dir.path().join("none.toml"), dir.path().to_owned()]);
    let lines: Vec<_> = loaded.findings.iter().map(Finding::one_line).collect();
    assert!(lines[0].contains("no such file") && lines[1].contains("this is a directory"), "{lines:?}");
}

#[test]
fn in_a_checkout_paths_begin_at_the_file_and_what_needs_systemd_is_a_mistake() {
    let dir = tempfile::tempdir().unwrap();
    let here = dir.path().canonicalize().unwrap();
    let path = dir.path().join("rekeyd.toml");
    let read = |target: &str, name: Option<&str>| {
        fs::write(&path, format!("[secret]\nenv = \"JWT_SECRET\"\n[[target]]\n{target}")).unwrap();
        of_checkout(&path, name)
    };
    let dotenv = "type = \"dotenv\"\nfile = \".env\"";
    let command = "[[target]]\ntype = \"command\"\ncommand = [\"./bin/a\"]\nsettings = { n = 1 }";
    let loaded = read(&format!("{dotenv}\nrestart-command = [\"npm\", \"restart\"]\n{command}"), None);
    assert_eq!(loaded.findings, []);
    assert_eq!(names(&loaded), ["rekeyd"]);
    let secret = loaded.settings.secrets.values().next().unwrap();
    let [TargetSettings::Dotenv(dotenv_target), TargetSettings::Command(command)] = &secret.targets[..] else {
        panic!("{secret:?}")
    };
    assert_eq!(dotenv_target.file, here.join(".env"));
    let Restart::Command(HookSettings { act: HookAct::Command { argv, .. }, .. }) = &dotenv_target.restart else {
        panic!("{dotenv_target:?}")
    };
    assert_eq!(argv[0], "npm");
    assert_eq!((command.argv[0].as_str(), command.name.as_str()), (here.join("bin/a").to_str().unwrap(), "a"));
    assert_eq!(names(&read(dotenv, Some("my-app"))), ["my-app"]);
    for (target, words) in [
        ("type = \"systemd\"\nunits = [\"a.service\"]", "needs systemd and the daemon"),
        ("type = \"environment\"\nexpose = true", "needs systemd and the daemon"),
        ("type = \"dotenv\"\nfile = \".env\"\nrestart-units = [\"a.service\"]", "needs systemd and the daemon"),
        ("type = \"command\"\ncommand = [\"a\"]\nuser = \"b\"", "needs the daemon"),
    ] {
        let findings = read(target, None).findings;
        assert!(findings[0].one_line().contains(words), "{target}: {findings:?}");
        assert!(findings[0].place.is_some());
    }
    assert!(read(dotenv, Some("My App")).findings[0].one_line().contains("--name"));
}
