//! Render: the service `srv-1`, and the group `evg-1`.

use serde_json::{Value, json};

use super::{Answer, Deployment, Request, TOKEN, World, is_after, rfc3339};

const BASE: &str = "/v1/";
const IMAGE: &str = "registry.test/team/my-app";
const URL: &str = "https://my-app.onrender.com";

fn parts(request: &Request) -> Vec<&str> {
    request.path.strip_prefix(BASE).unwrap_or("").split('/').collect()
}

pub(super) fn step(request: &Request) -> &'static str {
    match (request.method.as_str(), parts(request).as_slice()) {
        ("GET", ["services", _]) => "project",
        ("GET", ["services" | "env-groups", _, "env-vars", _]) => "variables",
        ("PUT", ["services" | "env-groups", _, "env-vars", _]) => "write",
        ("GET", ["env-groups", _]) => "group",
        ("GET", ["services", _, "deploys"]) => "list",
        ("POST", ["services", _, "deploys"]) => "trigger",
        ("GET", ["services", _, "deploys", _]) => "deployment",
        ("POST", ["services", _, "deploys", _, "cancel"]) => "cancel",
        _ => "unknown",
    }
}

pub(super) fn answer(world: &mut World, request: &Request) -> Answer {
    if request.header("authorization") != Some(&format!("Bearer {TOKEN}")) {
        return error(401, "unauthorized");
    }
    let parts: Vec<String> = parts(request).into_iter().map(str::to_owned).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let done = match (step(request), parts.as_slice()) {
        ("project", [_, "srv-1"]) => service(world, request),
        ("group", [_, "evg-1"]) => group(world, request),
        ("variables", [kind, "srv-1" | "evg-1", _, key]) => variable(world, request, kind, key),
        ("write", [kind, "srv-1" | "evg-1", _, key]) => write(world, request, kind, key),
        ("list", [_, "srv-1", _]) => list(world, request),
        ("trigger", [_, "srv-1", _]) => trigger(world, request),
        ("deployment", [_, "srv-1", _, id]) => deployment(world, request, id),
        ("cancel", [_, "srv-1", _, id, _]) => cancel(world, request, id),
        ("unknown", _) => return error(404, "no such call"),
        _ => return error(404, "not found: service"),
    };
    done.unwrap_or_else(|wrong| error(400, &wrong))
}

fn error(status: u16, message: &str) -> Answer {
    Answer::json(status, &json!({"id": "req-1", "message": message}))
}

type Done = Result<Answer, String>;

fn service(world: &mut World, request: &Request) -> Done {
    request.check(&[], None)?;
    let suspended = if world.is_set("suspended") { "suspended" } else { "not_suspended" };
    let kind = world.set.get("type").cloned().unwrap_or_else(|| "web_service".to_owned());
    let details = match kind.as_str() {
        "static_site" => json!({"buildCommand": "make", "publishPath": "public", "url": URL, "buildPlan": "starter"}),
        _ => json!({
            "env": "node", "runtime": "node", "envSpecificDetails": {"buildCommand": "make", "startCommand": "make run"},
            "healthCheckPath": "/health", "numInstances": 1, "openPorts": [{"port": 3000, "protocol": "TCP"}],
            "plan": "starter", "region": "frankfurt", "url": URL, "buildPlan": "starter",
        }),
    };
    Ok(Answer::json(
        200,
        &json!({
            "id": "srv-1", "type": kind, "name": "my-app", "slug": "my-app", "ownerId": "tea-1", "autoDeploy": "no",
            "branch": "main", "rootDir": "", "dashboardUrl": "https://dashboard.render.com/web/srv-1",
            "notifyOnFail": "default", "suspended": suspended, "suspenders": [], "serviceDetails": details,
            "createdAt": rfc3339(1), "updatedAt": rfc3339(1),
        }),
    ))
}

fn group(world: &mut World, request: &Request) -> Done {
    request.check(&[], None)?;
    Ok(Answer::json(200, &shown_group(world)))
}

fn shown_group(world: &World) -> Value {
    let mut links = vec![json!({"id": "srv-1", "name": "my-app", "type": "web"})];
    if world.is_set("linked-twice") {
        links.push(json!({"id": "srv-2", "name": "other", "type": "web"}));
    }
    let has: Vec<Value> =
        world.variables.iter().map(|(key, variable)| json!({"key": key, "value": variable.value})).collect();
    json!({
        "id": "evg-1", "name": "shared", "ownerId": "tea-1", "createdAt": rfc3339(1), "updatedAt": rfc3339(1),
        "serviceLinks": links, "envVars": has, "secretFiles": [],
    })
}

fn is_in(world: &World, kind: &str, key: &str) -> bool {
    let in_group = world.is_set("in-group");
    let is_there = (kind == "env-groups") == in_group || world.is_set("in-both");
    world.variables.contains_key(key) && is_there
}

fn variable(world: &mut World, request: &Request, kind: &str, key: &str) -> Done {
    request.check(&[], None)?;
    if !is_in(world, kind, key) {
        return Ok(error(404, "not found"));
    }
    Ok(Answer::json(200, &json!({"key": key, "value": world.variables[key].value})))
}

fn write(world: &mut World, request: &Request, kind: &str, key: &str) -> Done {
    let body = request.check(&[], Some(&["value"]))?;
    let value = body["value"].as_str().filter(|value| !value.is_empty()).ok_or("an empty value")?;
    if world.variables.contains_key(key) && !is_in(world, kind, key) {
        return Err("it would hide the variable of the group".to_owned());
    }
    world.write(key, value);
    let shown = if kind == "env-groups" { shown_group(world) } else { json!({"key": key, "value": value}) };
    Ok(Answer::json(200, &shown))
}

fn shown(world: &World, it: &Deployment) -> Value {
    let state = match it.state() {
        _ if it.canceled => "canceled",
        _ if world.is_set("serves-nothing") => "build_failed",
        "live" if world.serving != it.id => "deactivated",
        state => state,
    };
    let trigger = match it.by_us {
        true => "api",
        false if world.is_set("rolled-back") => "rollback",
        false => "new_commit",
    };
    let mut body = json!({
        "id": it.id, "status": state, "trigger": trigger,
        "commit": {"id": it.commit, "message": "m", "createdAt": rfc3339(it.created)},
        "createdAt": rfc3339(it.created), "updatedAt": rfc3339(it.created + 1), "finishedAt": null,
    });
    if world.is_set("image") {
        body["commit"] = Value::Null;
        body["image"] = json!({"ref": format!("{IMAGE}:latest"), "sha": digest(&it.commit)});
    }
    body
}

/// What stands for an image where a commit would stand for code.
fn digest(commit: &str) -> String {
    format!("sha256:{commit:0<64}")
}

fn list(world: &mut World, request: &Request) -> Done {
    request.check(&["status", "createdAfter", "createdBefore", "limit", "cursor"], None)?;
    let after = request.parameter("createdAfter").unwrap_or("1970-01-01T00:00:00Z");
    let status = request.parameter("status");
    let fits = |it: &&Deployment| {
        is_after(after, it.created) && status.is_none_or(|status| shown(world, it)["status"] == status)
    };
    let limit = request.parameter("limit").map_or(Ok(20), str::parse).map_err(|_| "limit is no number")?;
    let cursor = request.parameter("cursor");
    let is_before = |it: &&Deployment| cursor.is_some_and(|cursor| cursor != it.id);
    let after = usize::from(cursor.is_some());
    let list = world.deployments.iter().rev().filter(fits).skip_while(is_before).skip(after).take(limit);
    Ok(Answer::json(200, &list.map(|it| json!({"deploy": shown(world, it), "cursor": it.id})).collect()))
}

fn trigger(world: &mut World, request: &Request) -> Done {
    let fields = ["deployMode", "clearCache", "commitId", "imageUrl", "artifactId"];
    let body = request.check(&[], Some(&fields))?;
    let is_only = body["deployMode"] == "deploy_only";
    if body.get("deployMode").is_some() && body.as_object().is_some_and(|body| body.len() > 1) {
        return Err("deployMode stands alone".to_owned());
    }
    if world.is_set("image") {
        if body.get("commitId").is_some() {
            return Err("commitId is for code".to_owned());
        }
        let named = body["imageUrl"].as_str().map(str::to_owned);
        if named.as_ref().is_some_and(|url| url.split(['@', ':']).next() != Some(IMAGE)) {
            return Err("imageUrl is of another image".to_owned());
        }
        world.triggers += 1;
        let id = world.deploy(None, true);
        // Without a digest it is what its tag stands for now.
        let all: Vec<String> = world.deployments.iter().map(|it| it.commit.clone()).collect();
        let wanted = named.and_then(|url| url.split_once('@').map(|(_, digest)| digest.to_owned()));
        let of = wanted.and_then(|wanted| all.into_iter().find(|commit| digest(commit) == wanted));
        if let (Some(of), Some(made)) = (of, world.deployments.last_mut()) {
            made.commit = of;
        }
        let shown = shown(world, world.find(&id).ok_or("none")?);
        return Ok(Answer::json(201, &shown));
    }
    world.triggers += 1;
    // The last build that succeeded, whatever became of its deploy.
    let is_built = |it: &&Deployment| !it.canceled && !["build_failed", "build_in_progress"].contains(&it.state());
    let built = world.deployments.iter().rev().find(is_built).map(|it| it.commit.clone());
    let id = world.deploy(None, true);
    let commit = if is_only { built } else { body["commitId"].as_str().map(str::to_owned) };
    if let (Some(commit), Some(made)) = (commit, world.deployments.last_mut()) {
        made.commit = commit;
    }
    if world.is_set("queues") {
        return Ok(Answer::empty(202));
    }
    let shown = shown(world, world.find(&id).ok_or("none")?);
    Ok(Answer::json(201, &shown))
}

fn deployment(world: &mut World, request: &Request, id: &str) -> Done {
    request.check(&[], None)?;
    if world.look(id).is_none() {
        return Ok(error(404, "not found"));
    }
    Ok(world.find(id).map_or_else(|| error(404, "not found"), |it| Answer::json(200, &shown(world, it))))
}

fn cancel(world: &mut World, request: &Request, id: &str) -> Done {
    request.check(&[], None)?;
    if world.is_set("cannot-cancel") {
        return Ok(error(400, "too late"));
    }
    let Some(at) = world.deployments.iter_mut().find(|it| it.id == id) else { return Ok(error(404, "not found")) };
    at.canceled = true;
    Ok(world.find(id).map_or_else(|| error(404, "not found"), |it| Answer::json(200, &shown(world, it))))
}
