//! Vercel: `prj_1` called `my-app`, of the team `team_1`.

use serde_json::{Value, json};

use super::{Answer, Deployment, OF_ANOTHER_BRANCH, Request, TOKEN, World};

const TEAM: &str = "team_1";
const RECORD: &str = "env_";

pub(super) fn step(request: &Request) -> &'static str {
    match (request.method.as_str(), request.parts().as_slice()) {
        ("GET", ["v9", "projects", _]) => "project",
        ("GET", ["v10", "projects", _, "env"]) => "variables",
        ("PATCH", ["v9", "projects", _, "env", _]) => "write",
        ("POST", ["v10", "projects", _, "env"]) => "create",
        ("GET", ["v7", "deployments"]) => "list",
        ("POST", ["v13", "deployments"]) => "trigger",
        ("GET", ["v13", "deployments", _]) => "deployment",
        ("POST", ["v10", "projects", _, "promote", _]) => "publish",
        ("PATCH", ["v12", "deployments", _, "cancel"]) => "cancel",
        _ => "unknown",
    }
}

pub(super) fn answer(world: &mut World, request: &Request) -> Answer {
    if request.header("authorization") != Some(&format!("Bearer {TOKEN}")) {
        return error(403, "forbidden", "Not authorized", true);
    }
    if request.parameter("teamId") != Some(TEAM) {
        return error(403, "team_unauthorized", "Not authorized: the team is missing", false);
    }
    let parts: Vec<String> = request.parts().into_iter().map(str::to_owned).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let is_project = |name: &str| name == "prj_1" || name == "my-app";
    let done = match (step(request), parts.as_slice()) {
        ("project", [_, _, name]) if is_project(name) => project(world, request),
        ("variables", [_, _, name, _]) if is_project(name) => variables(world, request),
        ("write", [_, _, name, _, id]) if is_project(name) => write(world, request, id),
        ("create", [_, _, name, _]) if is_project(name) => create(world, request),
        ("list", _) => list(world, request),
        ("trigger", _) => trigger(world, request),
        ("deployment", [_, _, id]) => deployment(world, request, id),
        ("publish", [_, _, name, _, id]) if is_project(name) => publish(world, request, id),
        ("cancel", [_, _, id, _]) => cancel(world, request, id),
        ("unknown", _) => return error(404, "not_found", "no such call", false),
        _ => return error(404, "not_found", "Project not found", false),
    };
    done.unwrap_or_else(|wrong| error(400, "bad_request", &wrong, false))
}

fn error(status: u16, code: &str, message: &str, invalid: bool) -> Answer {
    let mut body = json!({"error": {"code": code, "message": message}});
    if invalid {
        body["error"]["invalidToken"] = json!(true);
    }
    Answer::json(status, &body)
}

type Done = Result<Answer, String>;

/// The environment of the deployments here: `production`, or what a test says.
fn environment(world: &World) -> &str {
    world.set.get("environment").map_or("production", String::as_str)
}

fn project(world: &mut World, request: &Request) -> Done {
    request.check(&["teamId", "rollbackInfo"], None)?;
    let in_production = if environment(world) == "production" { &world.serving } else { "dpl_of_production" };
    let mut body = json!({"id": "prj_1", "name": "my-app", "targets": {"production": {"id": in_production, "readyState": "READY", "readySubstate": "PROMOTED"}}});
    if request.parameter("rollbackInfo") == Some("true") {
        // What was rolled back to once is told for ever.
        body["lastRollbackTarget"] = json!({"id": "dpl_0"});
        let to = if world.is_set("rolled-back") { in_production } else { "dpl_0" };
        body["lastAliasRequest"] = json!({"type": "rollback", "jobStatus": "succeeded", "toDeploymentId": to, "fromDeploymentId": "dpl_00", "requestedAt": 1});
    }
    if world.is_set("wants-approval") {
        body["rollingRelease"] = json!({"target": "production", "stages": [{"targetPercentage": 10, "requireApproval": true}, {"targetPercentage": 100}]});
    }
    if world.is_set("no-auto-assign") {
        body["autoAssignCustomDomains"] = json!(false);
    }
    if world.is_set("serves-nothing") {
        body["targets"] = json!({});
    }
    Ok(Answer::json(200, &body))
}

fn record(world: &World, key: &str) -> Value {
    let variable = &world.variables[key];
    let target = match world.set.get("target").map(String::as_str) {
        Some("text") => json!("production"),
        Some("two") => json!(["production", "preview"]),
        _ if environment(world).starts_with("env_") => json!([]),
        _ => json!([environment(world)]),
    };
    let custom: Vec<&str> = Some(environment(world)).filter(|it| it.starts_with("env_")).into_iter().collect();
    let epoch = world.set.get("record").cloned().unwrap_or_default();
    let is_old = world.is_set("without-visibility") && !world.is_set("edited");
    let visibility = if variable.secret { "secret" } else { "config" };
    json!({"id": format!("{RECORD}{key}{epoch}"), "key": key, "visibility": if is_old { Value::Null } else { json!(visibility) }, "type": if variable.secret { "sensitive" } else { "encrypted" }, "value": "", "target": target, "customEnvironmentIds": custom, "gitBranch": world.set.get("git-branch"), "createdAt": 1, "updatedAt": variable.updated})
}

fn variables(world: &mut World, request: &Request) -> Done {
    request.check(&["teamId", "target", "customEnvironmentId", "gitBranch", "decrypt", "source"], None)?;
    let envs: Vec<Value> = world.variables.keys().map(|key| record(world, key)).collect();
    let mut envs = envs;
    if world.is_set("twice") {
        let mut other = envs[0].clone();
        other["id"] = json!("env_other");
        envs.push(other);
    }
    let mut body = json!({"envs": envs});
    if world.is_set("more-variables") {
        body["pagination"] = json!({"count": envs.len(), "next": 1, "prev": null});
    }
    let answer = Answer::json(200, &body);
    if world.counts_down("replace-record") == Some(0) {
        // Somebody removes it and makes it anew, between this list and the patch.
        world.set.insert("record".to_owned(), "new".to_owned());
    }
    Ok(answer)
}

fn write(world: &mut World, request: &Request, id: &str) -> Done {
    let fields = ["value", "key", "type", "target", "customEnvironmentIds", "gitBranch", "comment", "visibility"];
    let body = request.check(&["teamId"], Some(&fields))?;
    let epoch = world.set.get("record").cloned().unwrap_or_default();
    let key = id.strip_prefix(RECORD).and_then(|key| key.strip_suffix(epoch.as_str()));
    let Some(key) = key.filter(|key| world.variables.contains_key(*key)).map(str::to_owned) else {
        return Ok(error(404, "not_found", "The environment variable was not found", false));
    };
    if body.get("visibility").is_some_and(|told| *told != record(world, &key)["visibility"]) {
        return Err("another visibility".to_owned());
    }
    if world.is_set("wants-all") && body.get("type").is_none() {
        return Err("type is needed".to_owned());
    }
    if body.get("key").is_some() {
        return Err("the key of a sensitive variable cannot be sent".to_owned());
    }
    let value = body["value"].as_str().ok_or("no value")?;
    world.write(&key, value);
    if world.is_set("without-visibility") {
        // It has one from its first edit on.
        world.set.insert("edited".to_owned(), String::new());
    }
    Ok(Answer::json(200, &record(world, &key)))
}

fn create(world: &mut World, request: &Request) -> Done {
    let fields = ["key", "value", "type", "target", "customEnvironmentIds", "gitBranch", "comment", "visibility"];
    let body = request.check(&["teamId"], Some(&fields))?;
    if world.is_set("create-fails") {
        let failed = json!([{"error": {"code": "ENV_CONFLICT", "message": "no"}}]);
        return Ok(Answer::json(201, &json!({"created": [], "failed": failed})));
    }
    let (key, value) = (body["key"].as_str().ok_or("no key")?, body["value"].as_str().ok_or("no value")?);
    if world.variables.contains_key(key) {
        return Ok(error(400, "ENV_CONFLICT", "A variable with the name already exists", false));
    }
    world.write(key, value);
    Ok(Answer::json(201, &json!({"created": record(world, key), "failed": []})))
}

fn shown(world: &World, it: &Deployment, in_list: bool) -> Value {
    let (state, sub) = it.state().split_once(' ').map_or((it.state(), None), |(state, sub)| (state, Some(sub)));
    let state = if it.canceled { "CANCELED" } else { state };
    let is_production = environment(world) == "production";
    let mut body = json!({
        "readyState": state, "url": "my-app-1.vercel.app", "projectId": "prj_1",
        "target": if is_production { json!("production") } else { Value::Null },
        "inspectorUrl": format!("https://vercel.com/my-team/my-app/{}", it.id), "meta": meta(world, it),
    });
    if environment(world).starts_with("env_") {
        body["customEnvironment"] = json!({"id": environment(world), "slug": "own"});
    }
    if world.is_set("no-pages") {
        body["inspectorUrl"] = Value::Null;
    }
    let id = if in_list { "uid" } else { "id" };
    let created = if in_list { "created" } else { "createdAt" };
    body[id] = json!(it.id);
    body[created] = json!(it.created);
    let has_checks = ["CHECKS_RUNNING", "CHECKS_FAILED", "ALIAS_CHECK_FAILED"];
    body["readySubstate"] = match sub {
        // What was never in production is staged for ever; what is being built, or checked, is as well.
        _ if state != "READY" || !is_production => json!("STAGED"),
        Some(sub) if has_checks.contains(&sub) => json!("STAGED"),
        sub => json!(sub.filter(|sub| ["STAGED", "ROLLING", "PROMOTED"].contains(sub))),
    };
    if state == "READY" && !in_list {
        body["aliasAssigned"] = json!(sub != Some("UNASSIGNED"));
        if sub == Some("ALIAS_ERROR") {
            body["aliasError"] = json!({"code": "x", "message": "no domain"});
        }
        if sub == Some("CHECKS_FAILED") {
            (body["checksState"], body["checksConclusion"]) = (json!("completed"), json!("failed"));
        }
        if sub == Some("CHECKS_RUNNING") {
            body["checksState"] = json!("running");
        }
        if sub == Some("ALIAS_CHECK_FAILED") {
            body["checks"] = json!({"deployment-alias": {"state": "failed"}});
        }
    }
    if in_list {
        body["state"] = json!(state);
    }
    if ["ERROR", "CANCELED"].contains(&state) {
        body["readyStateReason"] = json!("The build did not do");
    }
    body
}

/// A deployment of a branch has its name by whoever pushed it; one that was made anew has what it was given, and nothing of
/// the code that it is of.
fn meta(world: &World, it: &Deployment) -> Value {
    let branch = world.set.get("git-branch");
    match (&it.mark, branch) {
        (None, _) if it.commit == OF_ANOTHER_BRANCH => json!({"githubCommitRef": "another"}),
        (None, None) if world.is_set("without-commits") => json!({}),
        (None, None) => json!({"githubCommitSha": it.commit}),
        (None, Some(branch)) => json!({"gitlabCommitSha": it.commit, "gitlabCommitRef": branch}),
        (Some(mark), branch) => {
            let mut meta = json!({"action": "redeploy", "rekeyd": mark, "rekeydOf": it.of});
            if let Some(branch) = branch {
                meta["rekeydBranch"] = json!(branch);
            }
            meta["originalDeploymentId"] = json!(it.of);
            if world.is_set("copies-commits") {
                meta["githubCommitSha"] = json!(it.commit);
            }
            meta
        }
    }
}

fn list(world: &mut World, request: &Request) -> Done {
    request.check(&["teamId", "projectId", "target", "state", "limit", "since", "until"], None)?;
    if request.parameter("projectId") != Some("prj_1") {
        return Err("projectId is not the id of a project".to_owned());
    }
    // It is not said anywhere that a list can be had of an environment of the project's own.
    let is_custom = environment(world).starts_with("env_");
    let is_production = environment(world) == "production";
    if request.parameter("target") != (!is_custom).then_some(environment(world)) {
        return Err("not what a list of an environment is asked for with".to_owned());
    }
    let since: i64 = request.parameter("since").map_or(Ok(0), |since| since.parse().map_err(|_| "since"))?;
    let state = request.parameter("state");
    let until = request.parameter("until").map(|until| until.parse().map_err(|_| "until")).transpose()?;
    let limit = request.parameter("limit").map_or(Ok(20), str::parse).map_err(|_| "limit")?;
    let fits = |it: &&Deployment| {
        let is_within = it.created >= since && until.is_none_or(|until: i64| it.created < until);
        is_within && state.is_none_or(|state| it.state().starts_with(state))
    };
    let all: Vec<&Deployment> = world.deployments.iter().rev().filter(fits).collect();
    let page = &all[..all.len().min(limit)];
    let next = page.last().filter(|_| page.len() < all.len()).map(|it| it.created);
    let mut list: Vec<Value> = page.iter().map(|it| shown(world, it, true)).collect();
    if !is_production && until.is_none() {
        for target in [json!("production"), Value::Null] {
            let custom = json!({"id": "env_another", "slug": "another"});
            let custom = if target.is_null() { custom } else { Value::Null };
            let of_another = json!({"uid": "dpl_y", "created": i64::MAX / 2_000_000, "state": "READY", "target": target, "customEnvironment": custom, "meta": {}});
            list.insert(0, of_another);
        }
    }
    if world.is_set("git-branch") && until.is_none() {
        let of_another = json!({"uid": "dpl_x", "created": i64::MAX / 2_000_000, "state": "READY", "meta": {"githubCommitRef": "another"}});
        list.insert(0, of_another);
    }
    Ok(Answer::json(
        200,
        &json!({"deployments": list, "pagination": {"count": list.len(), "next": next, "prev": null}}),
    ))
}

fn trigger(world: &mut World, request: &Request) -> Done {
    let fields = ["deploymentId", "name", "target", "customEnvironmentSlugOrId", "meta"];
    let body = request.check(&["teamId", "forceNew"], Some(&fields))?;
    let original = body["deploymentId"].as_str().and_then(|id| world.find(id)).map(|it| it.commit.clone());
    let Some(commit) = original else { return Ok(error(404, "not_found", "Deployment not found", false)) };
    let (target, custom) = match environment(world) {
        "production" => (json!("production"), Value::Null),
        "preview" => (Value::Null, Value::Null),
        custom => (Value::Null, json!(custom)),
    };
    let is_meant = body["target"] == target && body["customEnvironmentSlugOrId"] == custom;
    if request.parameter("forceNew") != Some("1") || !is_meant || body["name"] != "my-app" {
        return Err(format!("not what a redeployment of {} is", environment(world)));
    }
    if body["meta"]["rekeydBranch"].as_str() != world.set.get("git-branch").map(String::as_str) {
        return Err("the branch is not named".to_owned());
    }
    let mark = body["meta"]["rekeyd"].as_str().ok_or("no mark")?.to_owned();
    if body["meta"]["rekeydOf"] != body["deploymentId"] {
        return Err("what it is made of is not named".to_owned());
    }
    world.triggers += 1;
    let id = world.deploy(Some(&mark), true);
    let made = world.deployments.last_mut().ok_or("none")?;
    (made.commit, made.of) = (commit, body["deploymentId"].as_str().map(str::to_owned));
    made.looks = 0;
    let made = world.find(&id).ok_or("none")?;
    Ok(Answer::json(200, &shown(world, made, false)))
}

fn deployment(world: &mut World, request: &Request, id: &str) -> Done {
    request.check(&["teamId"], None)?;
    world.look(id);
    Ok(match world.find(id) {
        Some(it) => Answer::json(200, &shown(world, it, false)),
        None => error(404, "not_found", "Deployment not found", false),
    })
}

fn publish(world: &mut World, request: &Request, id: &str) -> Done {
    let body = request.check(&["teamId"], Some(&[]))?;
    if body != json!({}) {
        return Err("the body is {}".to_owned());
    }
    // Behind a release that is rolled out.
    let is_queued = world.is_set("queues-promotions");
    let Some(at) = world.deployments.iter_mut().find(|it| it.id == id) else {
        return Ok(error(404, "not_found", "Deployment not found", false));
    };
    if is_queued {
        return Ok(Answer::empty(202));
    }
    at.states = vec!["READY PROMOTED".to_owned()];
    world.serve(id);
    Ok(Answer::empty(202))
}

fn cancel(world: &mut World, request: &Request, id: &str) -> Done {
    request.check(&["teamId"], None)?;
    if world.is_set("cannot-cancel") {
        return Ok(error(404, "not_found", "too late", false));
    }
    let Some(at) = world.deployments.iter_mut().find(|it| it.id == id) else {
        return Ok(error(404, "not_found", "Deployment not found", false));
    };
    at.canceled = true;
    let at = world.find(id).ok_or("none")?;
    Ok(Answer::json(200, &shown(world, at, false)))
}
