//! A table of mistakes: each is found with its place and advice.

use super::*;

/// Of each case: the file, and what must be found: line:column, a part of the message, a part of the advice.
#[test]
fn each_mistake_is_found_with_its_place_and_advice() {
    let secret = |rest: &str| {
        format!("[secret]\nenv = \"A\"\n{rest}\n[[target]]\ntype = \"systemd\"\nunits = [\"a.service\"]\n")
    };
    let section = |rest: &str| format!("{GOOD}{rest}\n");
    let target = |rest: &str| format!("[secret]\nenv = \"A\"\n[[target]]\n{rest}\n");
    let units = |rest: &str| target(&format!("type = \"systemd\"\nunits = {rest}"));
    let compose = |rest: &str| {
        target(&format!("type = \"compose\"\nproject-directory = \"/srv/app\"\nservices = [\"web\"]\n{rest}"))
    };
    let pm2 =
        |file: &str, rest: &str| target(&format!("type = \"pm2\"\necosystem = \"{file}\"\nuser = \"app\"\n{rest}"));
    let command = |rest: &str| target(&format!("type = \"command\"\ncommand = [\"/a/b\"]\n{rest}"));
    let dotenv = |rest: &str| target(&format!("type = \"dotenv\"\n{rest}"));
    let jwt = |rest: &str| section(&format!("[[probe]]\ntype = \"jwt\"\n{rest}\nprotected.url = \"http://h/\""));
    let http = |rest: &str| section(&format!("[[probe]]\ntype = \"http\"\n{rest}"));
    let cases: Vec<(String, &str, &str, &str)> = vec![
        // The form of the file.
        (String::new(), "1:1", "`secret` is missing", "[secret]"),
        ("[secret\n".into(), "1:8", "unclosed table", "toml.io"),
        (secret("bytes = "), "3:", "", "toml.io"),
        (secret("env = \"B\""), "3:1", "duplicate key", "toml.io"),
        ("\u{0}".into(), "1:1", "NUL byte", "damaged"),
        (section("[schedul]\non-calendar = \"daily\""), "7:2", "unknown section `schedul`", "did you mean `schedule`"),
        (section("[[schedule]]\non-calendar = \"daily\""), "7:3", "once only", "[schedule]"),
        ("[secret]\nenv = \"A\"\n[target]\ntype = \"systemd\"".into(), "3:2", "list of tables", "[[target]]"),
        ("[secret]\nenv = \"A\"\n".into(), "1:1", "`target` is missing", "[[target]]"),
        (format!("surprise = 1\n{GOOD}"), "1:1", "unknown key `surprise`", "the sections are: secret"),
        (section("[hook]\nurl = \"x\""), "7:2", "not available in this version yet", "leave it out"),
        (section("[logout]"), "7:1", "`command` or `url`", "/usr/local/bin/log-everybody-out"),
        (section("[logout]\ncommand = [\"logout\"]"), "8:11", "absolute path", "/usr/local/bin"),
        (
            section("[logout]\nurl = \"http://h/\"\nuser = \"www\""),
            "9:8",
            "means nothing without `command`",
            "leave it out",
        ),
        (secret("re-encrypt = [\"/bin/true\"]"), "3:14", "kind = \"encryption\"", "leave it out"),
        (secret("kind = \"encryption\"\nre-encrypt = [\"/bin/true\"]"), "4:14", "encrypted anew", "mode = \"overlap\""),
        (
            target("type = \"dotenv\"\nfile = \"/srv/.env\"")
                .replace("env = \"A\"", "env = \"A\"\nkind = \"encryption\"\nre-encrypt = [\"/bin/true\"]")
                + "[invalidation]\nmode = \"overlap\"\nprevious-env = \"B\"\noverlap = \"15m\"\n",
            "4:14",
            "as a systemd target delivers them",
            "environment-file",
        ),
        (
            jwt("mint = { claims = {} }") + "[invalidation]\nmode = \"overlap\"\nprevious-env = \"B\"\n",
            "13:16",
            "no probe sees a token of the backend's",
            "overlap = \"15m\"",
        ),
        // [secret]
        (
            "[secret]\nbytes = 32\n[[target]]\ntype = \"systemd\"\nunits = [\"a.service\"]".into(),
            "1:1",
            "`env` is missing",
            "JWT_SECRET",
        ),
        (secret("bites = 32"), "3:1", "unknown key `bites` in [secret]", "did you mean `bytes`"),
        (secret("deadline = \"1m\""), "3:1", "unknown key `deadline`", "belongs under [rotation]"),
        (secret("value = \"geheim\""), "3:1", "unknown key `value`", "the keys here are: env, kind"),
        (secret("bytes = \"32\""), "3:9", "`bytes` wants a whole number", "bytes = 32"),
        (secret("bytes = 16"), "3:9", "32 is the least", "bytes = 32"),
        (secret("bytes = 4096"), "3:9", "1024 is the most", "bytes = 32"),
        (secret("bytes = -1"), "3:9", "wants a whole number", "bytes = 32"),
        (secret("format = \"hexx\""), "3:10", "`format` cannot be \"hexx\"", "did you mean \"hex\""),
        (
            secret("format = \"uuid\""),
            "3:10",
            "cannot be \"uuid\"",
            "\"hex\", \"base64url\", \"base64\", \"alphanumeric\"",
        ),
        (secret("kind = \"encryption\""), "3:8", "would be lost", "re-encrypt"),
        (secret("keep = 30"), "3:8", "`keep` wants text in quotes, this is a number", "keep = \"30d\""),
        (secret("keep = \"30\""), "3:8", "not a duration", "\"30d\""),
        (secret("keep = \"1 month\""), "3:8", "length varies", "days"),
        (secret("keep = \"-1d\""), "3:8", "negative", "number with a unit"),
        (
            "[secret]\nenv = \"LD_PRELOAD\"\n[[target]]\ntype = \"systemd\"\nunits = [\"a.service\"]".into(),
            "2:7",
            "LD_PRELOAD is not a secret",
            "JWT_SECRET",
        ),
        (
            "[secret]\nenv = \"JWT-SECRET\"\n[[target]]\ntype = \"systemd\"\nunits = [\"a.service\"]".into(),
            "2:7",
            "not the name of a variable",
            "JWT_SECRET",
        ),
        (
            "[secret]\nenv = \"A=geheim\"\n[[target]]\ntype = \"systemd\"\nunits = [\"a.service\"]".into(),
            "2:7",
            "name with a value",
            "adopt",
        ),
        // [schedule], [rotation], [proof], [invalidation]
        (section("[schedule]\nwindow = \"1h\""), "7:1", "`on-calendar` is missing", "monthly"),
        (section("[schedule]\non-calendar = \"\""), "8:15", "expression is empty", "systemd.time(7)"),
        (section("[schedule]\non-calendar = [\"daily\", \"a\\nb\"]"), "8:25", "control characters", "list"),
        (section("[schedule]\non-calendar = []"), "8:15", "is empty", "monthly"),
        (section("[schedule]\non-calendar = 5"), "8:15", "wants a list of texts", "monthly"),
        (section("[schedule]\non-calendar = [\"daily\", 5]"), "8:25", "each entry is a text", "monthly"),
        (
            section("[schedule]\non-calendar = \"daily\"\nrandomized-delay = \"3h\"\nwindow = \"1h\""),
            "9:20",
            "nothing of the `window` of 1h",
            "shorter",
        ),
        (
            section("[schedule]\non-calendar = \"daily\"\npersistent = \"yes\""),
            "9:14",
            "wants true or false",
            "persistent = true",
        ),
        (section("[rotation]\ndeadline = \"0s\""), "8:12", "too short", "\"5s\""),
        (section("[rotation]\ndead-man = \"no\""), "8:12", "`dead-man`", "true"),
        (section("[proof]\nsettle = \"1d\""), "8:10", "too long", "\"10min\""),
        (
            section("[rotation]\ndeadline = \"10s\"\n[proof]\nsettle = \"10s\""),
            "10:10",
            "not shorter than the rotation's `deadline` of 10s",
            "[rotation]",
        ),
        (
            section("[proof]\nallow-without = [\"a-process-with-a-long-name\"]"),
            "8:18",
            "longer than",
            "\"a-process-with-\"",
        ),
        (section("[invalidation]\nmode = \"overlap\""), "7:1", "`previous-env` is missing", "JWT_SECRET_PREVIOUS"),
        (section("[invalidation]\nmode = \"imediate\""), "8:8", "cannot be", "did you mean \"immediate\""),
        (
            section("[invalidation]\nprevious-env = \"B\""),
            "8:1",
            "means nothing without an overlap",
            "mode = \"overlap\"",
        ),
        (
            section("[invalidation]\nmode = \"overlap\"\nprevious-env = \"B\"\noverlap = \"5s\""),
            "10:11",
            "too short",
            "1min",
        ),
        (
            section("[invalidation]\nmode = \"overlap\"\nprevious-env = \"JWT_SECRET\""),
            "9:16",
            "is the variable of the value itself",
            "another",
        ),
        (
            section(
                "[invalidation]\nmode = \"overlap\"\nprevious-env = \"B\"\nstrategy = \"window\"\nshape = \"single\"",
            ),
            "11:9",
            "two other values",
            "shape = \"list\"",
        ),
        (
            compose(
                "env-file = \"/srv/app/.env\"\n[invalidation]\nmode = \"overlap\"\nprevious-env = \"B\"\noverlap = \"15m\"\nretire = \"with-next-restart\"",
            ),
            "12:10",
            "with `type = \"compose\"` that must have what its file says",
            "leave `retire` out",
        ),
        (
            pm2(
                "/srv/app/ecosystem.config.cjs",
                "apps = [\"api\"]\n[invalidation]\nmode = \"overlap\"\nprevious-env = \"B\"\noverlap = \"15m\"\nretire = \"with-next-restart\"",
            ),
            "12:10",
            "with `type = \"pm2\"` that must have what its file says",
            "leave `retire` out",
        ),
        (
            section(
                "[invalidation]\nmode = \"overlap\"\nprevious-env = \"B\"\nstrategy = \"window\"\nretire = \"restart\"",
            ),
            "11:10",
            "means nothing",
            "leave it out",
        ),
        // [[target]]
        (target(""), "3:1", "`type` is missing in [[target]]", "type = \"systemd\""),
        (target("type = \"vercel\""), "3:1", "`project` is missing", "my-app"),
        (target("type = \"environment\""), "4:8", "every local user can read /etc/environment", "`expose = true`"),
        (
            target("type = \"environment\"\nexpose = true\nrestart-command = [\"/bin/true\"]"),
            "4:8",
            "nothing but units",
            "`restart-units`",
        ),
        (compose(""), "3:1", "nothing says where the value stands", "`env-file = "),
        (
            compose("env-file = \"/srv/app/.env\"\nenvironment-in = \"/srv/app/compose.yaml\""),
            "8:18",
            "exclude each other",
            "keep one",
        ),
        (compose("secret-file = \"/srv/app/jwt\"\nkey = \"JWT\""), "8:7", "means nothing with `secret-file`", "leave"),
        (compose("secret-file = \"/srv/app/jwt\"\ndialect = \"docker\""), "8:11", "without `env-file`", "leave it out"),
        (compose("env-file = \"/srv/app/.env\"\ndialect = \"shell\""), "8:11", "no file as \"shell\"", "format: raw"),
        (compose("env-file = \"/srv/app/.env\"\nproject = \"My App\""), "8:11", "no name of a project", "compose ls"),
        (target("type = \"compose\"\nservices = []"), "3:1", "`project-directory` is missing", "/srv"),
        (pm2("/a/eco.json", ""), "3:1", "`apps` is missing", "my-backend"),
        (pm2("/a/eco.cjs", "apps = [\"a\"]"), "5:13", "is no ecosystem file for PM2", "NAME.config.cjs"),
        (pm2("/a/eco.json", "apps = [\"all\"]"), "7:9", "is no app of PM2", "pm2 list"),
        (pm2("/a/eco.json", "apps = [\"a\"]\ndialect = \"shell\""), "8:11", "without `env-file`", "leave it out"),
        (pm2("/a/eco.json", "apps = [\"a\"]\nenvironment = \"a b\""), "8:15", "is no environment", "production"),
        (target("type = \"dotenv\""), "3:1", "`file` is missing in [[target]]", "/.env"),
        (dotenv("file = \".env\""), "5:8", "is not an absolute path", "/"),
        (dotenv("file = \"/a/.env\"\ndialect = \"ini\""), "6:11", "is no dialect", "dotenv, systemd, compose"),
        (dotenv("file = \"/a/.env\"\nunits = [\"a.service\"]"), "6:1", "", ""),
        (dotenv("file = \"/a/.env\"\nrestart-timeout = \"5s\""), "6:19", "without `restart-command`", "leave it out"),
        (dotenv("file = \"/a/.env\"\nsignal = \"SIGHUP\""), "6:10", "needs the process", "`pid-file`"),
        (dotenv("file = \"/a/.env\"\npid-file = \"/run/a\""), "6:12", "without `signal`", "leave it out"),
        (
            dotenv("file = \"/a/.env\"\nrestart-units = [\"a.service\"]\nrestart-command = [\"/bin/true\"]"),
            "7:19",
            "exclude each other",
            "keep one",
        ),
        (target("type = \"command\""), "3:1", "`command` is missing in [[target]]", "/usr/local/lib/rekeyd"),
        (target("type = \"command\"\ncommand = [\"a\"]"), "5:11", "does not begin with an absolute path", "/usr/local"),
        (command("timeout = \"2h\""), "6:11", "is too long", "1h"),
        (command("settings = [1]"), "6:12", "`settings` wants a table, this is a list", "database"),
        (command("settings = { PORT = 1 }"), "6:14", "cannot be the name of a setting", "lower-case"),
        (command("settings = { db-password = \"x\" }"), "6:14", "looks like a secret", "a file"),
        (command("settings = { since = 2026-01-01 }"), "6:22", "JSON has no date", "as text"),
        (
            command("[[target]]\ntype = \"command\"\ncommand = [\"/a/b\"]"),
            "6:1",
            "two targets are called b",
            "a `name` of its own",
        ),
        (target("type = \"kubernetes\""), "4:8", "cannot be \"kubernetes\"", "use one of \"systemd\""),
        (target("type = \"systemd\""), "3:1", "`units` is missing", "my-backend.service"),
        (units("[]"), "5:9", "`units` is empty", "my-backend.service"),
        (units("[\"a\"]"), "5:10", "has no suffix", "add `.service`: \"a.service\""),
        (units("[\"a.timer\"]"), "5:10", "is a timer, not a service", "name the service"),
        (units("[\"a@.service\", \"a@1.service\"]"), "5:24", "stands for all its instances", "not both"),
        (units("[\"rekeyd.service\"]"), "5:10", "rekeyd itself", "reads the secret"),
        (units("[\"a.service\", \"a.service\"]"), "5:23", "named twice", "once"),
        (units("[\"a\\x2db.service\"]"), "5:10", "TOML's escape", "single quotes"),
        (units("[\"a\\\\x2db.service\", \"c\\\\\\x2db.service\"]"), "5:29", "TOML's escape", "single quotes"),
        (
            units("[\"a.service\"]\ndeliver = \"credential-socket\""),
            "6:11",
            "not available in this version yet",
            "\"encrypted-credential\"",
        ),
        (units("[\"a.service\"]\ndeliver = \"environment\""), "6:11", "to every local user", "`expose = true`"),
        (units("[\"a.service\"]\nexpose = true"), "6:10", "is for `deliver = \"environment\"` alone", "leave it out"),
        (units("[\"a.service\"]\npath-env = \"A_FILE\""), "6:12", "this one gets none", "`deliver = \"credential\"`"),
        (units("[\"a.service\"]\ndeliver = \"credential\"\npath-env = \"PATH\""), "7:12", "PATH", ""),
        (units("[\"a.service\"]\nactivate = \"reload\""), "6:12", "could prove", "`type = \"jwt\"`"),
        (
            units("[\"a.service\"]\nactivate = \"reload\"\ndeliver = \"credential\""),
            "6:12",
            "brings no new credential",
            "`activate = \"restart\"`",
        ),
        (
            units("[\"a.service\"]\nactivate = \"none\"\nmax-unavailable = 2"),
            "7:1",
            "means nothing with `activate = \"none\"`",
            "leave it out",
        ),
        (
            units(
                "[\"a.service\"]\nactivate = \"none\"\n[invalidation]\nmode = \"overlap\"\nprevious-env = \"B\"\n\
                 overlap = \"15m\"",
            ),
            "6:12",
            "learn neither of a new value",
            "`mode = \"immediate\"`",
        ),
        (
            units(
                "[\"a.service\"]\nactivate = \"none\"\n[[probe]]\ntype = \"jwt\"\nmint.claims = { sub = \"x\" }\n\
                 protected.url = \"http://h/\"",
            ),
            "6:12",
            "could never see the new one",
            "`type = \"http\"`",
        ),
        (units("[\"a.service\"]\nmax-unavailable = 0"), "6:19", "ever be restarted", "1 or more"),
        (units("[\"a.service\"]\ndaemon-reload = \"never\""), "6:17", "cannot be \"never\"", "\"auto\", \"always\""),
        // [[probe]]
        (section("[[probe]]\nurl = \"http://h/\""), "7:1", "`type` is missing", "type = "),
        (section("[[probe]]\ntype = \"unit\""), "8:8", "not available in this version yet", "\"jwt\", \"http\""),
        (section("[[probe]]\ntype = \"command\""), "7:1", "`command` is missing", "command = ["),
        (
            section("[[probe]]\ntype = \"command\"\ncommand = [\"check\"]"),
            "9:11",
            "does not begin with an absolute path",
            "/usr/local/bin/check-login",
        ),
        (http(""), "7:1", "`url` is missing", "url = "),
        (http("url = \"ftp://h/\""), "9:7", "only http and https", "http://"),
        (http("url = \"http://me:geheim@h/\""), "9:7", "user or password", "json-file"),
        (http("url = \"http://h/\"\nmethod = \"get\""), "10:10", "not a method", "GET"),
        (http("url = \"http://h/\"\nstatus = 99"), "10:10", "99 is not a status", "200 to 599"),
        (http("url = \"http://h/\"\ntimeout = 20"), "10:11", "wants text in quotes", "timeout = \"20s\""),
        (jwt(""), "7:1", "needs `login` or `mint`", "test user"),
        (jwt("login.url = \"http://h/\"\nmint.claims = {}"), "10:1", "exclude each other", "login"),
        (jwt("login = { url = \"http://h/\", token = \"data.token\" }"), "9:38", "begins with `/`", "\"/data/token\""),
        (
            jwt("login = { url = \"http://h/\", json-file = \"a\", form-file = \"/b\" }"),
            "9:42",
            "not an absolute path",
            "from the root",
        ),
        (
            jwt("login = { url = \"http://h/\", json-file = \"/a\", form-file = \"/b\" }"),
            "9:60",
            "exclude each other",
            "keep one",
        ),
        (
            jwt("login = { url = \"http://h/\", tokens = \"/a\" }"),
            "9:30",
            "unknown key `tokens` in `login`",
            "did you mean `token`",
        ),
        (jwt("login = \"http://h/\""), "9:9", "`login` is a table", "login = {"),
        (jwt("mint = { claims = { exp = 5 } }"), "9:21", "`exp` is set by the probe", "lifetime"),
        (jwt("mint = { claims = { client_secret = \"geheim\" } }"), "9:21", "looks like a secret", "not encrypted"),
        (jwt("mint = { claims = { at = 2026-01-01 } }"), "9:26", "JSON has no date", "as text"),
        (jwt("mint = { claims = { n = inf } }"), "9:25", "JSON cannot hold", "finite"),
        (jwt("mint = { claims = {}, algorithm = \"RS256\" }"), "9:35", "cannot be \"RS256\"", "did you mean"),
        (jwt("mint = { lifetime = \"60s\" }"), "9:8", "`claims` is missing in `mint`", "sub"),
        (jwt("mint = { claims = {} }\nkey = \"raw\""), "10:7", "cannot be \"raw\"", "\"text\", \"hex\", \"base64\""),
        (section("[[probe]]\ntype = \"jwt\"\nmint.claims = {}"), "7:1", "`protected` is missing", "url"),
    ];
    let mut unlike = Vec::new();
    for (text, place, message, advice) in cases {
        let loaded = checked("a.toml", &text);
        let lines: Vec<_> = loaded.findings.iter().map(Finding::one_line).collect();
        let finding = loaded.findings.iter().find(|finding| {
            let at = finding.place.as_ref().map(|place| format!("{}:{}", place.line, place.column)).unwrap_or_default();
            let is_place = if place.ends_with(':') { at.starts_with(place) } else { at == place };
            is_place && finding.message.contains(message) && finding.advice.contains(advice)
        });
        if finding.is_none() {
            unlike.push(format!("{place} {message:?} {advice:?} is not in {lines:#?}"));
        }
        assert!(!loaded.is_valid() && loaded.settings.secrets.is_empty(), "{text}");
        assert!(!render(&loaded.findings, false).contains("geheim") && !lines.concat().contains("geheim"), "{text}");
        assert!(loaded.findings.len() <= 3, "{lines:#?}\nof\n{text}");
    }
    assert!(unlike.is_empty(), "{}", unlike.join("\n"));
}

#[test]
fn a_program_that_may_take_as_long_as_the_whole_rotation_is_warned_of() {
    let text = |timeout: &str| {
        let target = format!("[[target]]\ntype = \"command\"\ncommand = [\"/a/b\"]\ntimeout = \"{timeout}\"\n");
        format!("[secret]\nenv = \"A\"\nkind = \"password\"\n[rotation]\ndeadline = \"5min\"\n{target}")
    };
    let warned = |timeout: &str| {
        let loaded = checked("a.toml", text(timeout));
        assert!(loaded.is_valid(), "{:?}", loaded.findings);
        loaded
            .findings
            .iter()
            .any(|finding| finding.message.contains("not shorter than the whole rotation's `deadline`"))
    };
    assert!(warned("5min") && !warned("4min"));
}
