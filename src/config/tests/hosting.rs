//! Targets at hosting platforms: what is taken over, and the mistakes.

use super::*;

fn target(rest: &str) -> String {
    format!("[secret]\nenv = \"A\"\n[[target]]\n{rest}\n")
}

fn hosting(rest: &str) -> Hosting {
    let loaded = checked("a.toml", target(rest));
    assert_eq!(loaded.findings, [], "{}", render(&loaded.findings, false));
    let secret = loaded.settings.secrets.into_values().next().unwrap();
    let Some(TargetSettings::Hosting(hosting)) = secret.targets.into_iter().next() else { panic!("{rest}") };
    hosting
}

#[test]
fn every_key_is_taken_over() {
    let vercel = hosting(
        "type = \"vercel\"\nproject = \"my-app\"\nteam = \"team_1\"\nenvironment = \"preview\"\ngit-branch = \"feat/x\"\nalso = [\"production\"]\npromote = true\ntoken-file = \"/etc/t\"\nkey = \"B\"\nlimit = \"1h\"\nsettle = \"1min\"\napi = \"http://127.0.0.1:9/\"\ncreate = true",
    );
    let HostingPlatform::Vercel(project) = &vercel.platform else { panic!("{vercel:?}") };
    assert_eq!(project.environment, Environment::Preview { branch: Some("feat/x".to_owned()) });
    assert_eq!((vercel.token, vercel.create, vercel.limit.as_secs()), (Token::File("/etc/t".into()), true, 3600));
    let netlify = hosting(
        "type = \"netlify\"\nsite = \"s\"\naccount = \"a\"\ncontexts = [\"production\", \"branch:x\"]\npublish = true\nsame-code-only = true\ntoken-credential = \"t\"",
    );
    assert_eq!(netlify.token, Token::Credential("t".to_owned()));
    let HostingPlatform::Netlify(site) = netlify.platform else { panic!() };
    assert_eq!(site.contexts[1].wire(), ("branch", Some("x")));
    let render =
        hosting("type = \"render\"\nservice = \"srv-1\"\ngroup = \"evg-1\"\nredeploy = \"build\"\ntoken-file = \"/t\"");
    assert_eq!(render.limit.as_secs(), 3600);
    let railway = hosting(
        "type = \"railway\"\nproject = \"p\"\nenvironment = \"e\"\nservice = \"s\"\ntoken-kind = \"account\"\nredeploy = \"snapshot\"\nignore-references = true\ntoken-file = \"/t\"",
    );
    let HostingPlatform::Railway(service) = railway.platform else { panic!() };
    assert!(!service.project_token && service.redeploy == RailwayDeploy::Snapshot);
}

const RAILWAY: &str =
    "type = \"railway\"\nproject = \"p\"\nenvironment = \"e\"\nservice = \"s\"\ntoken-file = \"/t\"\n";

#[test]
fn a_rotation_has_time_for_its_deployments() {
    let deadline = |more: &str| {
        let one = "[[target]]\ntype = \"render\"\nservice = \"srv-1\"\ntoken-file = \"/t\"\n";
        let loaded = checked("a.toml", format!("[secret]\nenv = \"A\"\n{one}{more}"));
        loaded.settings.secrets.values().next().unwrap().deadline.as_secs()
    };
    assert_eq!(deadline(""), 4202);
    assert_eq!(deadline("[rotation]\ndeadline = \"5min\"\n"), 300);
    assert_eq!(deadline("[invalidation]\nmode = \"overlap\"\nprevious-env = \"B\"\n"), 7804);
    assert_eq!(deadline("settle = \"1h\"\n"), 7800);
    assert_eq!(deadline("[proof]\nsettle = \"5min\"\n"), 4500);
    let loaded = checked("a.toml", target(&format!("{RAILWAY}[rotation]\ndeadline = \"10min\"\n")));
    assert_eq!(loaded.findings, []);
    let derived = checked("a.toml", target(RAILWAY)).settings.secrets.values().next().unwrap().deadline;
    assert_eq!(derived.as_secs(), 600 + 1200 + 60);
}

#[test]
fn mistakes_are_found_with_their_place_and_advice() {
    let render = |rest: &str| target(&format!("type = \"render\"\nservice = \"srv-1\"\n{rest}"));
    let with_token = |rest: &str| render(&format!("token-file = \"/t\"\n{rest}"));
    for (text, place, message, advice) in [
        (target("type = \"render\"\ntoken-file = \"/t\""), "3:1", "`service` is missing", "srv-"),
        (render(""), "3:1", "the token", "token-file"),
        (render("token = \"geheim\""), "6:1", "unknown key `token`", "the keys here are"),
        (with_token("token-credential = \"t\""), "7:20", "exclude each other", "one of them"),
        (with_token("api = \"http://example.com\""), "7:7", "unencrypted", "https://"),
        (with_token("key = \"A=geheim\""), "7:7", "`key`", ""),
        (with_token("redeploy = \"always\""), "7:12", "cannot be", "deploy-only"),
        (with_token("limit = \"1s\""), "7:9", "too short", "1min"),
        (with_token("project = \"x\""), "7:1", "unknown key `project`", ""),
        (with_token("group = \"../x\""), "7:9", "not an id", "copy it"),
        (
            target("type = \"vercel\"\nproject = \"p\"\ntoken-file = \"/t\"\nenvironment = \"development\""),
            "7:15",
            "nothing is deployed",
            "production",
        ),
        (
            target("type = \"vercel\"\nproject = \"p\"\ntoken-file = \"/t\"\ngit-branch = \"x\""),
            "7:14",
            "means nothing",
            "preview",
        ),
        (
            target(&format!(
                "{RAILWAY}[invalidation]\nmode = \"overlap\"\nprevious-env = \"B\"\noverlap = \"15m\"\nretire = \"with-next-restart\""
            )),
            "13:10",
            "with `type = \"railway\"` that must have",
            "leave `retire` out",
        ),
        (target(&format!("{RAILWAY}[rotation]\ndeadline = \"60s\"")), "10:12", "not longer than the 1min", "settle"),
        (
            target("type = \"netlify\"\nsite = \"s\"\ntoken-file = \"/t\"\ncontexts = [\"dev\"]"),
            "7:12",
            "none of these is deployed",
            "production",
        ),
        (
            target("type = \"netlify\"\nsite = \"s\"\ntoken-file = \"/t\"\ncontexts = [\"prod\"]"),
            "7:13",
            "no context",
            "branch:NAME",
        ),
    ] {
        let loaded = checked("a.toml", &text);
        let lines: Vec<_> = loaded.findings.iter().map(Finding::one_line).collect();
        let is_it = |finding: &Finding| {
            let at = finding.place.as_ref().map(|place| format!("{}:{}", place.line, place.column));
            at.as_deref() == Some(place) && finding.message.contains(message) && finding.advice.contains(advice)
        };
        assert!(loaded.findings.iter().any(is_it), "{place} {message:?} is not in {lines:#?} of\n{text}");
        assert!(!lines.concat().contains("geheim"));
    }
}

#[test]
fn the_variable_of_a_previous_value_is_taken_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let text = |env: &str| {
        format!(
            "[secret]\nenv = \"{env}\"\n[invalidation]\nmode = \"overlap\"\nprevious-env = \"OLD\"\noverlap = \"15m\"\n\
             [[target]]\ntype = \"dotenv\"\nfile = \"/srv/.env\"\n"
        )
    };
    let paths: Vec<_> = ["a", "b"].map(|name| dir.path().join(format!("{name}.toml"))).to_vec();
    paths.iter().zip(["A", "B"]).for_each(|(path, env)| fs::write(path, text(env)).unwrap());
    let loaded = check_files(&paths);
    assert!(loaded.findings[0].message.contains("OLD of /srv/.env is already rotated by"), "{:?}", loaded.findings);
}

#[test]
fn two_secrets_cannot_have_the_same_variable() {
    let dir = tempfile::tempdir().unwrap();
    let text = target("type = \"render\"\nservice = \"srv-1\"\ntoken-file = \"/t\"");
    let paths: Vec<_> = ["a", "b"].map(|name| dir.path().join(format!("{name}.toml"))).to_vec();
    paths.iter().for_each(|path| fs::write(path, &text).unwrap());
    let loaded = check_files(&paths);
    assert!(loaded.findings[0].message.contains("A of render srv-1 is already rotated by"), "{:?}", loaded.findings);
}

#[test]
fn projects_of_the_same_name_in_two_teams_are_two() {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<_> = ["a", "b"].map(|name| dir.path().join(format!("{name}.toml"))).to_vec();
    for (path, team) in paths.iter().zip(["team_1", "team_2"]) {
        let at = format!("type = \"vercel\"\nproject = \"app\"\nteam = \"{team}\"\ntoken-file = \"/t\"");
        fs::write(path, target(&at)).unwrap();
    }
    assert!(check_files(&paths).findings.is_empty());
}
