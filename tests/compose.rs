//! Docker's real engine and Compose: services that get a secret by a file, a variable or in the Compose file itself.

#![allow(clippy::unwrap_used)]

use crate::support;

use support::backend::{FIRST_VALUE, LOGIN};
use support::rotation::{self, NAME, adopt, assert_says, rotate, stage, status};
use support::{Backend, Builder, Debian, Machine, Output, poll, seconds, token};

const WEB_ENV: &str = "# Ours.\nPORT=3000\nJWT_SECRET=first-value # sessions\nLAST=1\n";
pub(crate) const ENV_FILE: &str = "env-file = \"/srv/app/web.env\"\n";
/// The `up` of Compose at work, and not the one that only says what it would do (`--dry-run up`).
const COMPOSE: &str = "^[^ ]*docker-compose .*[^n] up -d";
/// Waits until it has made a container, and the old one has still to stop.
const HALFWAY: &str = "until docker ps -a --format '{{.Names}}' | grep -q _app-; do sleep 0.05; done";
/// Ends the worker, which has a shell before it.
const END_WORKER: &str = "pkill -KILL -P $(docker inspect --format '{{.State.Pid}}' app-worker-1)";
/// Takes its time to stop: the signal means nothing to it.
const SLOW: &str = "stop_signal: SIGWINCH\n    stop_grace_period: 6s";
pub(crate) const PROBE: &str = "[[probe]]\ntype = \"jwt\"\n\
    login = { url = \"http://127.0.0.1:3000/api/auth/login\", json-file = \"/etc/rekeyd/login.json\", token = \"/token\" }\n\
    protected = { url = \"http://127.0.0.1:3000/api/me\" }\ntimeout = \"3s\"\n";

support::on_both_debians! {
    fn two_services_with_an_env_file_are_recreated_in_one_call_and_no_other(debian) {
        let same = "  other:\n    environment: { COPY: first-value }\n";
        let yaml = yaml("env_file: [web.env]", "env_file: [web.env]").replace("  other:\n", same);
        let machine = started(stack(debian, &yaml, ENV_FILE, PROBE));
        let (web, worker, other) = (id(&machine, "web"), id(&machine, "worker"), id(&machine, "other"));
        let before = machine.sh("stat -c '%U:%G %a' /srv/app/web.env");
        let said = rotate(&machine);
        assert_eq!(said.status, 0, "{said}");
        assert_says(&said, "docker compose up -d --no-deps --pull never --scale web=1 --scale worker=1 web worker");
        assert_says(&said, " processes of compose app/web have the value");
        assert_says(&said, "2 of 2 processes of compose app/worker have the value");
        assert_says(&said, "WARNING: compose app/other (COPY) has the value too, and keeps the old one");
        assert_says(&said, "requests to http://127.0.0.1:3000/api/health failed, longest gap");
        let value = serves(&machine);
        assert_eq!(machine.read("/srv/app/web.env"), with(WEB_ENV, &value));
        assert_eq!(machine.sh("stat -c '%U:%G %a' /srv/app/web.env"), before);
        assert_eq!(variable(&machine, "worker"), value);
        assert_ne!((id(&machine, "web"), id(&machine, "worker")), (web, worker));
        assert_eq!(id(&machine, "other"), other);
        rotation::assert_never_told(&machine, &[&value]);
        machine.ok(&["rekeyctl", "verify", NAME]);
        assert!(status(&machine)["drift"].as_array().is_none_or(Vec::is_empty), "{}", status(&machine));
        // Nobody asks: a container that somebody starts with another value is noticed at its start.
        machine.put("/root/other.yaml", 0o600, "services: { worker: { environment: { JWT_SECRET: of-somebody-of-somebody } } }\n");
        machine.sh("docker compose -f /srv/app/compose.yaml -f /root/other.yaml up -d --no-deps worker");
        let told = poll(seconds(20), "the journal tells of it", || {
            let found = machine.journal(&["MESSAGE_ID=1f0a4f7d9f6b4f13a3fb1f36f1f9c2d4"]);
            found.into_iter().find(|entry| entry["MESSAGE"].as_str().unwrap().contains("the container app-worker-1 with a value that is in no file"))
        });
        assert!(told["REKEYD_ADVICE"].as_str().unwrap().contains("rekeyctl adopt"), "{told:#}");
        machine.sh("docker compose -f /srv/app/compose.yaml up -d --no-deps worker");
        poll(seconds(20), "it is over", || (!machine.journal(&["MESSAGE_ID=8c61e2f24c0f4a44b7d3a0a94f4b1f5e"]).is_empty()).then_some(()));
    }

    fn killed_while_compose_is_at_work_rekeyd_lets_it_end_and_goes_on(debian) {
        let slow = yaml("env_file: [web.env]", "env_file: [web.env]").replace("stop_signal: SIGKILL", SLOW);
        let machine = started(stack(debian, &slow, ENV_FILE, PROBE));
        machine.ok(&["rekeyctl", "rotate", "--no-wait", NAME]);
        let pid = poll(seconds(30), "compose is at work", || compose_pid(&machine));
        machine.kill_daemon();
        ends(&machine, "committed");
        let journal = machine.sh("journalctl --sync; journalctl -q -o cat -u 'rekeyd-compose-*'");
        assert!(!journal.contains("killed") && !journal.contains("Failed with result"), "pid {pid} was ended: {journal}");
        serves(&machine);
        assert_eq!(names(&machine), ["app-other-1", "app-web-1", "app-worker-1"]);
    }
}

support::on_one_debian! {
    Twelve => fn what_compose_exits_with_proves_nothing(debian) {
        let machine = started(stack(debian, &yaml("env_file: [web.env]", "env_file: [web.env]"), ENV_FILE, PROBE));
        let plugin = "#!/bin/sh\n/usr/libexec/docker/cli-plugins/docker-compose \"$@\" || exit\n\
            case \" $* \" in *' --dry-run '*) ;; *' up -d '*) echo 'a hook of ours failed' >&2; exit 1 ;; esac\n";
        machine.put("/usr/local/lib/docker/cli-plugins/docker-compose", 0o755, plugin);
        let said = rotate(&machine);
        assert_eq!(said.status, 0, "{said}");
        assert_says(&said, "all the same, each container runs with the value");
        serves(&machine);
        machine.ok(&["rekeyctl", "rollback", NAME]);
        assert_eq!(["web", "worker"].map(|service| variable(&machine, service)), [FIRST_VALUE, FIRST_VALUE]);
    }

    Twelve => fn a_literal_in_the_compose_file_is_changed_and_every_comment_kept(debian) {
        let web = "environment:\n      # Signs.\n      JWT_SECRET: 'first-value'   # sessions\n      A: \"$$b\"";
        let worker = "environment:\n      - JWT_SECRET=first-value\n      - A=b";
        let text = with(&yaml(web, worker), FIRST_VALUE);
        let machine = started(stack(debian, &yaml(web, worker), "environment-in = \"/srv/app/compose.yaml\"\n", PROBE));
        let with_value = |value: &str| {
            text.replace(&format!("'{FIRST_VALUE}'"), &format!("'{value}'"))
                .replace(&format!("- JWT_SECRET={FIRST_VALUE}"), &format!("- \"JWT_SECRET={value}\""))
        };
        // The worker's had no quotes.
        goes_back(&machine, "/srv/app/compose.yaml", &text);
        let said = rotate(&machine);
        assert_eq!(said.status, 0, "{said}");
        let value = serves(&machine);
        assert_eq!(machine.read("/srv/app/compose.yaml"), with_value(&value));
        assert_eq!(variable(&machine, "worker"), value);
    }

    Thirteen => fn containers_that_were_made_and_never_started_are_sick(debian) {
        let machine = started(stack(debian, &yaml("env_file: [web.env]", "env_file: [web.env]"), ENV_FILE, PROBE));
        // As a Compose that was killed leaves them.
        machine.sh("docker compose -f /srv/app/compose.yaml up --no-start --force-recreate");
        let said = machine.exec(&["rekeyctl", "verify", NAME]);
        assert_eq!(said.status, 1, "{said}");
        assert_says(&said, "app-web-1 of compose app/web was made and never started: it is sick already");
        rotation::is_refused(&machine, "unit-sick", &["never started"]);
        machine.sh("docker compose -f /srv/app/compose.yaml up -d");
        poll(seconds(30), "it is proven", || (machine.exec(&["rekeyctl", "verify", NAME]).status == 0).then_some(()));
        // Those that a rotation makes of a stopped service are not.
        machine.sh("docker compose -f /srv/app/compose.yaml stop");
        for _ in 0..2 {
            let said = rotate(&machine);
            assert_eq!(said.status, 0, "{said}");
            assert_says(&said, "compose app/web is stopped on purpose");
        }
    }

    Thirteen => fn services_that_depend_on_others_are_rotated_after_every_plain_up(debian) {
        let yaml = yaml("env_file: [web.env]\n    depends_on: [other]", "env_file: [web.env]\n    depends_on:\n      web: { condition: service_healthy }");
        let machine = started(stack(debian, &yaml, ENV_FILE, PROBE));
        let other = id(&machine, "other");
        for _ in 0..2 {
            let said = rotate(&machine);
            assert_eq!(said.status, 0, "{said}");
            serves(&machine);
            // As a deployment does it.
            machine.sh("docker compose -f /srv/app/compose.yaml up -d");
            poll(seconds(30), "it is proven", || (machine.exec(&["rekeyctl", "verify", NAME]).status == 0).then_some(()));
        }
        assert_eq!(id(&machine, "other"), other);
    }

    Thirteen => fn a_new_value_that_fails_is_taken_back_and_the_old_one_proven(debian) {
        let yaml = yaml("env_file: [web.env]", "env_file: [web.env]");
        let machine = started(stack(debian, &yaml, &format!("{ENV_FILE}timeout = \"8s\"\n"), ""));
        // Longer than the last one of them takes to fail.
        machine.sh(&format!("sed -i 's/^settle = .*/settle = \"4s\"/' /etc/rekeyd/secrets.d/{NAME}.toml; rekeyctl reload"));
        for (fault, words) in [
            ("exits-at-once", ["ended with status 1", ""]),
            ("slow-start 60000", ["is unhealthy", ""]),
            // It is healthy after a second or two.
            ("exits-after-ready 2600", ["is exited (status 1) soon after its start", "ended with status 1"]),
        ] {
            machine.put("/etc/toy/web/mode", 0o644, fault);
            let said = rotate(&machine);
            assert_eq!(said.status, 1, "{fault}: {said}");
            assert!(words.iter().any(|words| !words.is_empty() && said.stdout.contains(words)), "{fault}: {said}");
            assert_eq!(machine.read("/srv/app/web.env"), with(WEB_ENV, FIRST_VALUE), "{fault}");
            assert_eq!((variable(&machine, "web"), variable(&machine, "worker")), (FIRST_VALUE.into(), FIRST_VALUE.into()));
            assert!(token::is_signed_with(&token::login(&machine), FIRST_VALUE));
        }
        assert_eq!(stage(&machine, 4), "rejected");
    }

    Twelve => fn a_container_that_fails_soon_after_the_commit_is_taken_back(debian) {
        let machine = started(stack(debian, &yaml("env_file: [web.env]", "env_file: [web.env]"), ENV_FILE, ""));
        // With the new value until it is told to end.
        assert_eq!(rotate(&machine).status, 0);
        machine.sh(END_WORKER);
        poll(seconds(60), "it is taken back", || (status(&machine)["generation"] == 1).then_some(()));
        poll(seconds(20), "the worker has it", || (variable(&machine, "worker") == FIRST_VALUE).then_some(()));
        assert_eq!((stage(&machine, 2), variable(&machine, "web")), ("rejected".to_owned(), FIRST_VALUE.to_owned()));
        assert!(machine.sh("docker ps --format '{{.Names}}'").contains("app-worker-1"));
    }

    Thirteen => fn a_unit_a_service_and_a_file_are_one_transaction(debian) {
        let machine = mixed(debian);
        let all = |machine: &Machine| {
            let unit = machine.variable("my-backend.service", "JWT_SECRET").into_iter().find_map(|(_, value)| value);
            let file = machine.read("/srv/dev/.env").trim_start_matches("JWT_SECRET=").trim_end().to_owned();
            [unit.unwrap_or_default(), variable(machine, "worker"), file]
        };
        let said = rotate(&machine);
        assert_eq!(said.status, 0, "{said}");
        let at = |words: &str| said.stdout.find(words).unwrap_or_else(|| panic!("{words}: {said}"));
        assert!(at("my-backend.service restarted") < at("compose app/worker restarted"), "{said}");
        let [value, ..] = all(&machine);
        assert_ne!(value, FIRST_VALUE);
        assert_eq!(all(&machine), [value.clone(), value.clone(), value.clone()]);
        let fails = |make: &str, unmake: &str| {
            machine.sh(make);
            let said = rotate(&machine);
            assert_eq!(said.status, 1, "{make}: {said}");
            machine.sh(unmake);
            assert_eq!(all(&machine), [value.clone(), value.clone(), value.clone()], "{make}");
        };
        let old = "printf %s $(sed s/JWT_SECRET=// /srv/dev/.env) | sha256sum | cut -c1-64";
        fails(
            &format!("{old} >/etc/toy/my-backend/old-value-sha256; echo exits-at-once >/etc/toy/my-backend/mode"),
            "rm /etc/toy/my-backend/mode",
        );
        fails(
            &format!("{old} >/etc/toy/web/old-value-sha256; echo exits-at-once >/etc/toy/web/mode"),
            ": >/etc/toy/web/mode",
        );
        fails(&format!("echo 'grep -q {value} /srv/dev/.env' >/usr/local/lib/told"), ": >/usr/local/lib/told");
        machine.ok(&["rekeyctl", "release", NAME]);
        // In the middle: the unit has it, and Compose is at work.
        machine.ok(&["rekeyctl", "rotate", "--no-wait", NAME]);
        poll(seconds(30), "compose is at work", || compose_pid(&machine));
        machine.kill_daemon();
        ends(&machine, "committed");
        let [new, ..] = all(&machine);
        assert_ne!(new, value);
        assert_eq!(all(&machine), [new.clone(), new.clone(), new]);
    }

    Twelve => fn a_variable_of_the_env_file_beside_it_wins_over_what_the_daemon_has(debian) {
        let yaml = yaml("environment: [ \"JWT_SECRET=${JWT_SECRET}\" ]", "environment: { A: b }");
        let text = with("JWT_SECRET=first-value # sessions\nTAG=1\n", FIRST_VALUE);
        let machine = stack(debian, &yaml, "env-file = \"/srv/app/.env\"\n", PROBE)
            .file("/srv/app/.env", 0o640, text)
            .file("/etc/systemd/system/rekeyd.service.d/stale.conf", 0o644, "[Service]\nEnvironment=JWT_SECRET=stale\n");
        let machine = with_services(machine, "\"web\"");
        machine.sh("systemctl set-environment JWT_SECRET=stale COMPOSE_PROJECT_NAME=stale");
        goes_back(&machine, "/srv/app/.env", &machine.read("/srv/app/.env"));
        let said = rotate(&machine);
        assert_eq!(said.status, 0, "{said}");
        let value = serves(&machine);
        assert_eq!(machine.read("/srv/app/.env"), format!("JWT_SECRET={value} # sessions\nTAG=1\n"));
    }

    Thirteen => fn an_image_is_built_anew_where_that_is_wanted(debian) {
        let yaml = yaml("env_file: [web.env]", "env_file: [web.env]").replacen("image: toy:1", "image: web:1\n    build: .", 1);
        let builder = stack(debian, &yaml, &format!("{ENV_FILE}build = true\n"), PROBE);
        let machine = started(builder.file("/srv/app/Dockerfile", 0o640, "FROM toy:1\nENV BUILT=1\n"));
        machine.sh("sed -i s/BUILT=1/BUILT=2/ /srv/app/Dockerfile");
        let said = rotate(&machine);
        assert_eq!(said.status, 0, "{said}");
        assert_says(&said, "docker compose up -d --no-deps --build --scale web=1 --scale worker=1 web worker");
        serves(&machine);
        assert!(machine.sh("docker inspect app-web-1").contains("BUILT=2"));
        machine.sh("echo COPY missing / >>/srv/app/Dockerfile");
        let (web, worker) = (id(&machine, "web"), id(&machine, "worker"));
        let said = rotate(&machine);
        assert_eq!(said.status, 1, "{said}");
        assert_says(&said, "docker compose ended with status");
        assert_eq!((id(&machine, "web"), id(&machine, "worker")), (web, worker), "nothing was recreated");
        // It can be built, and what it is does not run: the former image comes back, not only the former value.
        let image = || machine.sh("docker inspect --format '{{.Image}}' app-web-1; docker image inspect --format '{{.Id}}' web:1");
        let (value, before) = (serves(&machine), image());
        machine.sh(r#"sed -i 's/^COPY missing.*/ENTRYPOINT [ "\/bin\/bash", "-c", "exit 7" ]/' /srv/app/Dockerfile"#);
        let said = rotate(&machine);
        assert_eq!(said.status, 1, "{said}");
        assert_says(&said, "ended with status 7");
        assert_says(&said, "web:1 is the image again that it was");
        assert_eq!((serves(&machine), image()), (value, before));
    }

    Twelve => fn what_is_not_as_it_should_be_is_refused_and_not_touched(debian) {
        let machine = started(stack(debian, &yaml("env_file: [web.env]", "env_file: [web.env]"), ENV_FILE, ""));
        let refused = |make: &str, unmake: &str, words: &str| {
            machine.sh(make);
            let look = || machine.sh("PATH=$PATH:/root; docker ps -a --no-trunc -q; cat /srv/app/*");
            let before = look();
            let said = rotate(&machine);
            assert_eq!(said.status, 3, "{make}: {said}");
            assert_says(&said, words);
            assert_eq!(look(), before, "{make}");
            machine.sh(unmake);
        };
        refused("sed -i s/JWT_SECRET=.*/JWT_SECRET=byhand/ /srv/app/web.env",
            &format!("sed -i 's/JWT_SECRET=.*/JWT_SECRET={FIRST_VALUE} # sessions/' /srv/app/web.env"), "was changed by hand");
        refused("chmod o+r /srv/app/web.env", "chmod o-r /srv/app/web.env", "every local user can read");
        let toml = format!("/etc/rekeyd/secrets.d/{NAME}.toml");
        refused(&format!("sed -i s/^user/#user/ {toml}; rekeyctl reload"), &format!("sed -i s/^#user/user/ {toml}; rekeyctl reload"),
            "docker would be run as root, on what is another user's: /srv/app");
        refused("echo '  a: [' >>/srv/app/compose.yaml", "sed -i '$d' /srv/app/compose.yaml", "Compose cannot read the project app");
        refused("sed -i 's/image: toy:1/image: toy:${TAG}/' /srv/app/compose.yaml",
            "sed -i 's/image: toy:.*/image: toy:1/' /srv/app/compose.yaml", "is not set");
        refused("mv /usr/bin/docker /usr/bin/docker-compose /root; mv /usr/libexec/docker/cli-plugins/docker-compose /root/plugin",
            "mv /root/docker /root/docker-compose /usr/bin; mv /root/plugin /usr/libexec/docker/cli-plugins/docker-compose",
            "apt install docker.io docker-compose");
        refused(&format!("{END_WORKER}; until docker ps -a | grep -q 'Exited (9)'; do sleep 0.05; done"), "cd /srv/app && docker compose up -d 2>&1", "is sick already");
        // A container that is made anew would be of another image.
        refused("docker tag toy:1 toy:kept; docker commit app-other-1 toy:1", "docker tag toy:kept toy:1", "would deploy other code");
        // A container that lives within one that is made anew, and would stay behind.
        refused("docker create --name within --pid container:app-worker-1 --label com.docker.compose.project=app \
            --label com.docker.compose.service=within --label com.docker.compose.project.working_dir=/srv/app toy:1 /bin/sleep infinity; \
            docker start within", "docker rm -f within", "compose app/within lives within worker");
        // Started with another value than the file says.
        refused(
            &format!("cp -p /srv/app/web.env /root; sed -i 's/{FIRST_VALUE}/elsewhere/' /srv/app/web.env; \
                cd /srv/app; docker compose up -d worker 2>&1; cp -p /root/web.env /srv/app/web.env"),
            "cd /srv/app && docker compose up -d 2>&1", "was started from elsewhere");
        assert_eq!(rotate(&machine).status, 0);
        let said = || {
            machine.sh("systemctl stop docker.socket docker.service");
            rotate(&machine)
        };
        assert_says(&said(), "Docker's engine does not answer on /run/docker.sock");
    }

    Thirteen => fn what_is_not_deployed_yet_is_not_deployed_with_the_secret(debian) {
        // An image that the file does not name.
        let web = "env_file: [web.env]\n    environment: { MORE: \"${MORE:-first}\" }";
        let yaml = yaml(web, "env_file: [web.env]").replacen("image: toy:1", "build: .", 1);
        let builder = stack(debian, &yaml, ENV_FILE, PROBE);
        let machine = started(builder.file("/srv/app/Dockerfile", 0o640, "FROM toy:1\n"));
        let ids = || (id(&machine, "web"), id(&machine, "worker"));
        let refused = |make: &str, unmake: &str| {
            machine.sh(make);
            let before = ids();
            let said = rotate(&machine);
            assert_eq!(said.status, 3, "{make}: {said}");
            assert_says(&said, "compose app/web runs with another configuration than Compose would make now");
            assert_says(&said, "up -d --no-deps web");
            assert_eq!((ids(), machine.read("/srv/app/web.env")), (before, with(WEB_ENV, FIRST_VALUE)), "{make}");
            machine.sh(unmake);
        };
        let up = "cd /srv/app && docker compose up -d --no-deps web 2>&1";
        refused(&format!("export MORE=by-hand; {up}"), up);
        refused("sed -i s/-first/-second/ /srv/app/compose.yaml", up);
        // What was made on the way there, and back, is no obstacle to the next one.
        goes_back(&machine, "/srv/app/web.env", &with(WEB_ENV, FIRST_VALUE));
        for _ in 0..2 {
            let said = rotate(&machine);
            assert_eq!(said.status, 0, "{said}");
        }
        serves(&machine);
        assert!(machine.sh("docker inspect app-web-1").contains("MORE=second"));
    }

    Thirteen => fn a_service_that_is_always_built_is_not_built_with_the_secret(debian) {
        let yaml = yaml("env_file: [web.env]", "env_file: [web.env]")
            .replacen("image: toy:1", "build: .\n    pull_policy: build", 1);
        let builder = stack(debian, &yaml, ENV_FILE, PROBE);
        let machine = started(builder.file("/srv/app/Dockerfile", 0o640, "FROM toy:1\nENV BUILT=1\n"));
        let image = || machine.sh("docker inspect --format '{{.Image}}' app-web-1");
        let before = image();
        machine.sh("sed -i s/BUILT=1/BUILT=2/ /srv/app/Dockerfile");
        for _ in 0..2 {
            let said = rotate(&machine);
            assert_eq!(said.status, 0, "{said}");
            assert_eq!(image(), before, "{said}");
        }
        serves(&machine);
    }

    Thirteen => fn a_project_that_is_stopped_gets_the_value_and_stays_stopped(debian) {
        let machine = started(stack(debian, &yaml("env_file: [web.env]", "env_file: [web.env]"), ENV_FILE, PROBE));
        machine.sh("cd /srv/app && docker compose stop -t 0 web worker 2>&1");
        let said = rotate(&machine);
        assert_eq!(said.status, 0, "{said}");
        assert_says(&said, "compose app/web stays stopped");
        assert_eq!(machine.sh("docker ps --format '{{.Names}}'"), "app-other-1\n");
        // However they are started again.
        machine.sh("cd /srv/app && docker compose start web worker 2>&1");
        poll(seconds(20), "it serves", || Some(()).filter(|()| token::ask(&machine, 3000, "/api/auth/login", "", LOGIN).0 == 200));
        serves(&machine);
        assert_eq!(rotate(&machine).status, 0);
    }

    Twelve => fn a_file_of_secrets_is_seen_by_containers_that_are_made_anew(debian) {
        let more = "\nsecrets:\n  jwt:\n    file: /srv/app/jwt.secret\n";
        let web = "secrets: [jwt]\n    environment: { JWT_SECRET_FILE: /run/secrets/jwt }";
        let yaml = format!("{}{more}", yaml(web, "environment: { A: b }"));
        let builder = stack(debian, &yaml, "secret-file = \"/srv/app/jwt.secret\"\n", PROBE)
            .file("/srv/app/jwt.secret", 0o640, FIRST_VALUE);
        let machine = with_services(builder, "\"web\"");
        goes_back(&machine, "/srv/app/jwt.secret", FIRST_VALUE);
        let said = rotate(&machine);
        assert_eq!(said.status, 0, "{said}");
        let value = machine.read("/srv/app/jwt.secret");
        assert_ne!(value, FIRST_VALUE);
        assert!(token::is_signed_with(&token::login(&machine), &value));
    }

    Thirteen => fn a_compose_that_was_killed_is_mended(debian) {
        let slow = yaml("env_file: [web.env]", "env_file: [web.env]").replace("stop_signal: SIGKILL", SLOW);
        let machine = started(stack(debian, &slow, ENV_FILE, PROBE));
        machine.ok(&["rekeyctl", "rotate", "--no-wait", NAME]);
        // Both at once: there is nobody who could still do something about it.
        machine.sh(&format!("{HALFWAY}; kill -KILL $(pgrep -f '{COMPOSE}') $(systemctl show -P MainPID rekeyd)"));
        ends(&machine, "committed");
        let first = serves(&machine);
        assert_eq!(names(&machine), ["app-other-1", "app-web-1", "app-worker-1"]);
        // The machine too.
        machine.ok(&["rekeyctl", "rotate", "--no-wait", NAME]);
        machine.sh(HALFWAY);
        machine.crash();
        ends(&machine, "committed");
        assert_ne!(serves(&machine), first);
        assert_eq!(names(&machine), ["app-other-1", "app-web-1", "app-worker-1"]);
    }
}

#[test]
fn compose_1_does_where_the_engine_still_takes_it() {
    let yaml = format!("version: \"2.4\"\n{}", yaml("env_file: [web.env]", "env_file: [web.env]"));
    let builder = stack(Debian::Twelve, &yaml, ENV_FILE, PROBE);
    let machine = builder.boot();
    // Its successor is there too, and would rename the containers.
    machine.sh("docker compose version");
    prepare(&machine, "docker-compose");
    let machine = adopt(machine);
    let said = rotate(&machine);
    assert_eq!(said.status, 0, "{said}");
    assert_says(&said, "docker-compose up -d --no-deps --no-build --scale web=1 --scale worker=1 web worker");
    let value = serves(&machine);
    assert_eq!(variable(&machine, "worker"), value);
    machine.sh(&format!("printf %s {value} | sha256sum | cut -c1-64 >/etc/toy/web/old-value-sha256"));
    machine.put("/etc/toy/web/mode", 0o644, "exits-at-once");
    let said = rotate(&machine);
    assert_eq!(said.status, 1, "{said}");
    assert_eq!(serves(&machine), value);
    assert_eq!(names(&machine), ["app_other_1", "app_web_1", "app_worker_1"]);
    machine.sh("rm /usr/bin/docker-compose");
    let said = rotate(&machine);
    assert_eq!(said.status, 3, "{said}");
    assert_says(&said, "was started by Compose 1.29.2");
    assert_eq!(names(&machine), ["app_other_1", "app_web_1", "app_worker_1"]);
}

#[test]
fn a_project_that_was_started_from_another_directory_is_told_of_and_refused() {
    let yaml = yaml("env_file: [web.env]", "env_file: [web.env]");
    let machine = started(stack(Debian::Thirteen, &yaml, ENV_FILE, ""));
    machine.sh(
        "cp -rp /srv/app /srv/other; sed -i s/JWT_SECRET=.*/JWT_SECRET=of-somebody-of-somebody/ /srv/other/web.env; \
         cd /srv/other; docker compose -p app up -d 2>&1",
    );
    let words = "the container app-worker-1, started from /srv/other, with a value that is in no file";
    poll(seconds(30), "the journal tells of it", || {
        let found = machine.journal(&["MESSAGE_ID=1f0a4f7d9f6b4f13a3fb1f36f1f9c2d4"]);
        found.into_iter().find(|entry| entry["MESSAGE"].as_str().unwrap().contains(words))
    });
    let said = rotate(&machine);
    assert_eq!(said.status, 3, "{said}");
    assert_says(&said, "the project app was started from /srv/other");
}

#[test]
fn a_variable_may_be_mapped_an_optional_one_unset_and_a_service_of_a_profile() {
    let web = "environment: { JWT_SECRET: \"${APP_JWT}\", OPTIONAL: \"${OPTIONAL}\" }\n    profiles: [ prod ]";
    let place = "env-file = \"/srv/app/.env\"\nkey = \"APP_JWT\"\n";
    let machine = stack(Debian::Thirteen, &yaml(web, "environment: { A: b }"), place, PROBE)
        .file("/srv/app/.env", 0o640, format!("APP_JWT={FIRST_VALUE}\n"))
        .boot();
    machine.sh(&format!("sed -i 's/\"web\", \"worker\"/\"web\"/' /etc/rekeyd/secrets.d/{NAME}.toml; rekeyctl reload"));
    prepare(&machine, "docker compose --profile prod");
    let machine = adopt(machine);
    let said = rotate(&machine);
    assert_eq!(said.status, 0, "{said}");
    let value = serves(&machine);
    assert_eq!(machine.read("/srv/app/.env"), format!("APP_JWT={value}\n"));
    machine.ok(&["rekeyctl", "verify", NAME]);
    // The containers were not started like that: something may be missing.
    machine.sh("sed -i 's/OPTIONAL: /MORE: \"${MORE}\", OPTIONAL: /' /srv/app/compose.yaml");
    let said = rotate(&machine);
    assert_eq!(said.status, 3, "{said}");
    assert_says(&said, "is not set");
    assert_says(&said, "docker compose -p app --project-directory /srv/app -f /srv/app/compose.yaml config -q");
}

#[test]
fn a_service_keeps_its_number_of_containers_whatever_the_file_says() {
    let yaml = yaml("env_file: [web.env]", "env_file: [web.env]\n    scale: 3")
        .replace("\"PORT=3001 toy-backend; exit 9\"", "\"sleep infinity; exit 9\"");
    let machine = stack(Debian::Thirteen, &yaml, ENV_FILE, "").boot();
    machine
        .sh(&format!("sed -i 's/\"web\", \"worker\"/\"worker\"/' /etc/rekeyd/secrets.d/{NAME}.toml; rekeyctl reload"));
    prepare(&machine, "docker compose");
    let up = "cd /srv/app; docker compose up -d --no-deps --scale worker";
    machine.sh(&format!("{up}=1 worker 2>&1"));
    let machine = adopt(machine);
    let value = || {
        machine
            .read("/srv/app/web.env")
            .lines()
            .find_map(|line| Some(line.strip_prefix("JWT_SECRET=")?.split(' ').next()?.to_owned()))
            .unwrap()
    };
    for scale in [1, 2] {
        machine.sh(&format!("{up}={scale} worker 2>&1"));
        let said = rotate(&machine);
        assert_eq!(said.status, 0, "{said}");
        assert_eq!(variables(&machine, "worker"), vec![value(); scale], "{said}");
        let ids = id(&machine, "worker");
        machine.sh(&format!("{up}={scale} worker 2>&1"));
        assert_eq!(id(&machine, "worker"), ids, "Compose would recreate what was just made");
    }
    machine.sh("docker stop -t 0 app-worker-1 app-worker-2");
    let said = rotate(&machine);
    assert_eq!(said.status, 0, "{said}");
    assert_says(&said, "compose app/worker stays stopped");
    assert_eq!(variables(&machine, "worker"), vec![value(); 2]);
    assert!(!machine.sh("docker ps --format '{{.Names}}'").contains("worker"));
}

/// With a new value the web service ends at once: the file is as `before`, and it serves with the old one again.
#[track_caller]
fn goes_back(machine: &Machine, path: &str, before: &str) {
    machine.put("/etc/toy/web/mode", 0o644, "exits-at-once");
    let said = rotate(machine);
    assert_eq!(said.status, 1, "{said}");
    assert_eq!(machine.read(path), before);
    assert!(token::is_signed_with(&token::login(machine), FIRST_VALUE));
    machine.put("/etc/toy/web/mode", 0o644, "");
}

/// Three services, of which two have the secret by these lines.
pub(crate) fn yaml(web: &str, worker: &str) -> String {
    format!(
        "# Ours.\nservices:\n  web: # the API\n    image: toy:1\n    command: [ toy-backend ]\n    network_mode: host\n    \
         stop_signal: SIGKILL\n    volumes: [ \"/etc/toy/web:/etc/toy:ro\" ]\n    healthcheck:\n      \
         test: [ CMD, /bin/bash, -c, \"exec 3<>/dev/tcp/127.0.0.1/3000\" ]\n      interval: 1s\n      retries: 3\n    {web}\n  \
         worker:\n    image: toy:1\n    command: [ /bin/bash, -c, \"PORT=3001 toy-backend; exit 9\" ]\n    network_mode: host\n    \
         stop_signal: SIGKILL\n    volumes: [ \"/etc/toy/worker:/etc/toy:ro\" ]\n    {worker}\n  \
         other:\n    image: toy:1\n    command: [ /bin/sleep, infinity ]\n    network_mode: host\n    stop_signal: SIGKILL\n"
    )
}

fn with(text: &str, value: &str) -> String {
    text.replace("first-value", value)
}

/// A machine to boot with a project, whose files are a user's.
pub(crate) fn stack(debian: Debian, yaml: &str, place: &str, probe: &str) -> Builder {
    let toml = format!(
        "[secret]\nenv = \"JWT_SECRET\"\n[proof]\nsettle = \"1s\"\nwatch = \"http://127.0.0.1:3000/api/health\"\n[[target]]\n\
         type = \"compose\"\nproject-directory = \"/srv/app\"\nservices = [\"web\", \"worker\"]\nuser = \"app\"\n{place}{probe}"
    );
    let hash = |value: &str| hex::encode(<sha2::Sha256 as sha2::Digest>::digest(value));
    Machine::on(debian)
        .with("engine")
        .example("toy-backend")
        .secret(NAME, &toml)
        .file("/etc/rekeyd/login.json", 0o600, LOGIN)
        .file("/srv/app/compose.yaml", 0o640, with(yaml, FIRST_VALUE))
        .file("/srv/app/web.env", 0o640, with(WEB_ENV, FIRST_VALUE))
        .file("/etc/toy/web/mode", 0o644, "")
        .file("/etc/toy/web/old-value-sha256", 0o644, hash(FIRST_VALUE))
        .file("/etc/toy/worker/mode", 0o644, "")
        .file("/etc/sysusers.d/app.conf", 0o644, "u app - - /srv/app\nm app docker\n")
        .file("/etc/tmpfiles.d/app.conf", 0o644, "Z /srv/app - app app\n")
}

/// The image is made of what is on the machine: the backend, a shell, and their libraries.
const IMAGE: &str = "d=$(mktemp -d); mkdir -p $d/usr/local/bin $d/bin $d/etc $d/tmp $d/var/lib $d/run; \
    for f in /bin/bash /bin/sleep /usr/local/bin/toy-backend; do echo $f; ldd $f | grep -o '/lib[^ ]*'; done | sort -u | \
    while read f; do mkdir -p $d$(dirname $f); cp -L $f $d$f; done; \
    tar -C $d -c . | docker import -c 'ENV PATH=/usr/local/bin:/bin' - toy:1 >/dev/null; rm -r $d";

/// Starts the project.
fn prepare(machine: &Machine, compose: &str) {
    machine.sh(&format!("{IMAGE}; cd /srv/app; {compose} up -d 2>&1"));
    poll(seconds(20), "it serves", || (token::ask(machine, 3000, "/api/me", "", "").0 != 0).then_some(()));
}

pub(crate) fn started(builder: Builder) -> Machine {
    let machine = builder.boot();
    prepare(&machine, "docker compose");
    adopt(machine)
}

/// With other services than web and worker.
fn with_services(builder: Builder, services: &str) -> Machine {
    let machine = builder.boot();
    let file = format!("/etc/rekeyd/secrets.d/{NAME}.toml");
    machine.sh(&format!("sed -i 's/\"web\", \"worker\"/{services}/' {file}"));
    machine.ok(&["rekeyctl", "reload"]);
    prepare(&machine, "docker compose");
    adopt(machine)
}

/// A unit, a worker of a project and a file with a command, in this order.
fn mixed(debian: Debian) -> Machine {
    let yaml = yaml("environment: { PORT: \"3002\" }", "env_file: [web.env]")
        .replace("/etc/toy/worker:", "/etc/toy/web:")
        .replace("command: [ toy-backend ]", "command: [ /bin/sleep, infinity ]");
    let (start, end) = yaml.split_once("    healthcheck:").unwrap();
    let yaml = format!("{start}    environment:{}", end.split_once("environment:").unwrap().1);
    let slow = yaml.replace("stop_signal: SIGKILL", SLOW);
    let toml = format!(
        "[secret]\nenv = \"JWT_SECRET\"\n[proof]\nsettle = \"1s\"\n[[target]]\ntype = \"systemd\"\nunits = [\"my-backend.service\"]\n\
         [[target]]\ntype = \"compose\"\nproject-directory = \"/srv/app\"\nservices = [\"worker\"]\nuser = \"app\"\n{ENV_FILE}\
         [[target]]\ntype = \"dotenv\"\nfile = \"/srv/dev/.env\"\nrestart-command = [\"/usr/local/bin/told\"]\n"
    );
    let machine = stack(debian, &slow, "", "")
        .backend(&Backend::good())
        .secret(NAME, &toml)
        .file("/srv/dev/.env", 0o600, format!("JWT_SECRET={FIRST_VALUE}\n"))
        .file("/usr/local/bin/told", 0o755, "#!/bin/sh\n")
        .boot();
    machine.sh("printf '#!/bin/sh\\n. /usr/local/lib/told\\n' >/usr/local/bin/told; : >/usr/local/lib/told");
    prepare(&machine, "docker compose");
    adopt(machine)
}

/// The container of a service, running or not.
fn id(machine: &Machine, service: &str) -> String {
    machine
        .sh(&format!("docker ps -aq --no-trunc --filter label=com.docker.compose.service={service}"))
        .trim()
        .to_owned()
}

fn names(machine: &Machine) -> Vec<String> {
    let text = machine.sh("docker ps -a --format '{{.Names}}'");
    let mut names: Vec<String> = text.lines().map(str::to_owned).collect();
    names.sort();
    names
}

/// The value that a service's container is started with.
fn variable(machine: &Machine, service: &str) -> String {
    variables(machine, service).into_iter().next().unwrap_or_default()
}

/// The values that a service's containers are started with.
fn variables(machine: &Machine, service: &str) -> Vec<String> {
    let ids = id(machine, service).replace('\n', " ");
    let text =
        machine.sh(&format!("docker inspect --format '{{{{range .Config.Env}}}}{{{{println .}}}}{{{{end}}}}' {ids}"));
    text.lines().filter_map(|line| Some(line.strip_prefix("JWT_SECRET=")?.to_owned())).collect()
}

/// The service web runs with a new value and signs with it; which one.
pub(crate) fn serves(machine: &Machine) -> String {
    let value = variable(machine, "web");
    assert_ne!(value, FIRST_VALUE);
    assert!(token::is_signed_with(&token::login(machine), &value));
    value
}

/// The `up` of Compose that runs now.
fn compose_pid(machine: &Machine) -> Option<String> {
    let said: Output = machine.exec(&["pgrep", "-f", COMPOSE]);
    said.stdout.lines().next().map(str::to_owned)
}

pub(crate) fn ends(machine: &Machine, how: &str) {
    poll(seconds(60), "it is over", || {
        let said = machine.exec(&["rekeyctl", "status", "--json", NAME]);
        let status: serde_json::Value = serde_json::from_str(&said.stdout).ok()?;
        (status["rotation"].is_null() && status["last"]["outcome"]["outcome"].is_string()).then_some(())
    });
    assert_eq!(status(machine)["last"]["outcome"]["outcome"], how, "{}", status(machine));
}
