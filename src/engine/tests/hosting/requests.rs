//! What is sent, step by step: the same as the vendors' own clients send, and what is never to be sent.

use super::*;

/// The requests of one rotation, with the ids and values of this run in words.
fn asked(lab: &Lab) -> Vec<String> {
    let outcome = lab.rotate();
    lab.assert_committed(&outcome);
    let value = lab.in_force();
    let id = lab.store().ledger(&lab.settings.name).unwrap().standing().last.as_ref().unwrap().id.to_string();
    let made = lab.fake().with(|world| world.deployments.last().unwrap().id.clone());
    let first = lab.fake().with(|world| world.deployments[0].id.clone());
    let in_words = |line: String| {
        let line =
            line.replace(&value, "VALUE").replace(&id, "ROTATION").replace(&made, "MADE").replace(&first, "FIRST");
        let at = line.find("since=").map(|at| at + 6).or(line.find("createdAfter=").map(|at| at + 13));
        at.map_or(line.clone(), |at| {
            let (before, after) = line.split_at(at);
            format!("{before}TIME{}", after.find('&').map_or("", |end| &after[end..]))
        })
    };
    lab.fake().lines().into_iter().map(in_words).collect()
}

/// The requests that do something.
fn acts(lines: &[String]) -> Vec<&str> {
    lines.iter().map(String::as_str).filter(|line| !line.starts_with("GET ")).collect()
}

#[test]
fn vercel_is_asked_as_its_own_client_asks() {
    let lines = asked(&at(At::Vercel));
    assert_eq!(
        acts(&lines),
        [
            "PATCH /v9/projects/my-app/env/env_JWT_SECRET?teamId=team_1 {\"value\":\"VALUE\"}",
            "POST /v13/deployments?forceNew=1&teamId=team_1 {\"deploymentId\":\"FIRST\",\"name\":\"my-app\",\"meta\":{\"action\":\"redeploy\",\"rekeyd\":\"ROTATION-1\",\"rekeydOf\":\"FIRST\"},\"target\":\"production\"}",
        ]
    );
    let write = lines.iter().position(|line| line.starts_with("PATCH")).unwrap();
    assert_eq!(lines[write + 1], "GET /v10/projects/my-app/env?teamId=team_1", "what was written is read again");
    assert!(lines.iter().all(|line| line.contains("teamId=team_1")), "{lines:#?}");
    let look = "GET /v13/deployments/MADE?teamId=team_1".to_owned();
    assert!(lines.iter().filter(|line| **line == look).count() >= 3, "{lines:#?}");
}

#[test]
fn netlify_is_asked_as_its_own_client_asks() {
    let lines = asked(&at(At::Netlify));
    assert_eq!(
        acts(&lines),
        [
            "PATCH /api/v1/accounts/my-team/env/JWT_SECRET?site_id=site-1 {\"context\":\"production\",\"value\":\"VALUE\"}",
            "POST /api/v1/sites/site-1/builds?title=rekeyd ROTATION-1",
        ]
    );
    assert!(lines.contains(&"GET /api/v1/sites/site-1/deploys/MADE".to_owned()), "{lines:#?}");
    assert_eq!(lines[0], "GET /api/v1/sites/site-1");
}

#[test]
fn render_is_asked_as_its_own_client_asks() {
    let lines = asked(&at(At::Render));
    assert_eq!(
        acts(&lines),
        [
            "PUT /v1/services/srv-1/env-vars/JWT_SECRET {\"value\":\"VALUE\"}",
            "POST /v1/services/srv-1/deploys {\"deployMode\":\"deploy_only\"}",
        ]
    );
    let write = lines.iter().position(|line| line.starts_with("PUT")).unwrap();
    assert_eq!(lines[write + 1], "GET /v1/services/srv-1/env-vars/JWT_SECRET");
}

#[test]
fn railway_is_asked_by_documents_that_its_schema_has_and_never_deploys_by_a_write() {
    let lines = asked(&at(At::Railway));
    assert!(lines.iter().all(|line| line.starts_with("POST /graphql/v2 {\"query\":")));
    let acts: Vec<&String> = lines.iter().filter(|line| line.contains("mutation(")).collect();
    let scope = "\"projectId\":\"prj-1\",\"environmentId\":\"env-1\",\"serviceId\":\"svc-1\"";
    let write = format!(
        "\"variables\":{{\"input\":{{{scope},\"name\":\"JWT_SECRET\",\"value\":\"VALUE\",\"skipDeploys\":true}}}}"
    );
    assert!(acts[0].contains("variableUpsert") && acts[0].contains(&write), "{acts:#?}");
    assert!(
        acts[1].contains("serviceInstanceDeployV2")
            && acts[1].ends_with(
                "\"variables\":{\"e\":\"env-1\",\"s\":\"svc-1\",\"c\":\"c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00\"}}"
            )
    );
    assert_eq!(acts.len(), 2);
}

#[test]
fn a_service_of_railway_that_has_no_commit_is_deployed_from_what_runs() {
    let lab = at(At::Railway);
    lab.fake().with(|world| world.set.insert("no-commit".to_owned(), String::new()));
    let lines = asked(&lab);
    assert!(
        lines
            .iter()
            .any(|line| line.contains("deploymentRedeploy") && line.ends_with("\"variables\":{\"id\":\"FIRST\"}}"))
    );
}

#[test]
fn a_service_of_railway_keeps_the_commit_that_runs_whatever_it_is_pinned_to() {
    let lab = at(At::Railway);
    let commit = lab.fake().with(|world| {
        world.set.insert("pinned".to_owned(), "feed".repeat(10));
        world.deployments[0].commit.clone()
    });
    lab.assert_committed(&lab.rotate());
    assert_eq!(lab.fake().with(|world| world.deployments.last().unwrap().commit.clone()), commit);
}

#[test]
fn a_new_build_of_render_is_of_the_commit_that_is_live() {
    let lab = Lab::new(&[At::Render], |hosting| {
        let HostingPlatform::Render(render) = &mut hosting.platform else { return };
        render.redeploy = RenderDeploy::Build;
    });
    let commit = lab.fake().with(|world| std::mem::replace(&mut world.head, "feed".repeat(10)));
    let lines = asked(&lab);
    let wanted = format!(" {{\"commitId\":\"{commit}\"}}");
    assert!(lines.iter().any(|line| line.ends_with(&wanted)), "{lines:#?}");
}

#[test]
fn in_an_overlap_the_value_that_is_accepted_is_written_first() {
    for kind in At::ALL {
        let lab = at(kind).overlapping(Course::OneStep);
        let outcome = lab.rotate();
        lab.assert_committed(&outcome);
        assert_eq!(lab.fake().served("JWT_SECRET_PREVIOUS"), OLD, "{kind:?}");
        let writes: Vec<String> =
            lab.fake().asked().into_iter().filter(|it| it.step == "write").map(|it| it.line).collect();
        assert!(writes[0].contains("JWT_SECRET_PREVIOUS") && !writes[1].contains("_PREVIOUS"), "{writes:#?}");
        assert_eq!(lab.triggers(), 1);
    }
}

#[test]
fn calls_that_replace_or_remove_whole_sets_are_not_in_the_code() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/src/target/hosting");
    let mut code = String::new();
    for within in ["", "/vercel", "/netlify", "/render", "/railway"] {
        let entries = std::fs::read_dir(format!("{dir}{within}")).unwrap().map(|entry| entry.unwrap().path());
        for file in entries.filter(|path| path.is_file()) {
            code += &std::fs::read_to_string(file).unwrap();
        }
    }
    for word in [
        "\"DELETE\"",
        "\"env-vars\"]",
        "variableCollectionUpsert",
        "replace: true",
        "variableDelete",
        "deploymentRestart",
        "serviceInstanceRedeploy",
        "latestCommit",
        "withLatestCommit",
        "\"rollback\",",
        "\"rollback\"]",
        "\"restart\"",
        "scopes",
        "deploymentRollback",
    ] {
        assert!(!code.contains(word), "{word} is in the code");
    }
    // Of a whole variable at Netlify; Render's is of one variable alone.
    let netlify = std::fs::read_to_string(format!("{dir}/netlify.rs")).unwrap();
    assert!(!netlify.contains("\"PUT\""));
}
