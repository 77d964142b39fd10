//! Netlify: the site `site-1` of the team `my-team`.

use serde_json::{Value, json};

use super::{Answer, Deployment, Request, TOKEN, World, rfc3339};

const BASE: &str = "/api/v1/";

fn parts(request: &Request) -> Vec<&str> {
    request.path.strip_prefix(BASE).unwrap_or("").split('/').collect()
}

pub(super) fn step(request: &Request) -> &'static str {
    match (request.method.as_str(), parts(request).as_slice()) {
        ("GET", ["sites", _]) => "project",
        ("GET", ["accounts", _, "env", _]) => "variables",
        ("PATCH", ["accounts", _, "env", _]) => "write",
        ("POST", ["accounts", _, "env"]) => "create",
        ("GET", ["sites", _, "deploys"]) => "list",
        ("POST", ["sites", _, "builds"]) => "trigger",
        ("GET", ["sites", _, "deploys", _]) => "deployment",
        ("GET", ["deploys", _]) => "lock",
        ("POST", ["sites", _, "deploys", _, "restore"]) => "publish",
        ("POST", ["deploys", _, "cancel"]) => "cancel",
        _ => "unknown",
    }
}

pub(super) fn answer(world: &mut World, request: &Request) -> Answer {
    if request.header("authorization") != Some(&format!("Bearer {TOKEN}")) {
        return error(401, "Access Denied");
    }
    let parts: Vec<String> = parts(request).into_iter().map(str::to_owned).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let done = match (step(request), parts.as_slice()) {
        ("project", [_, "site-1"]) => site(world, request),
        ("variables", [_, "my-team", _, key]) => variable(world, request, key),
        ("write", [_, "my-team", _, key]) => write(world, request, key),
        ("create", [_, "my-team", _]) => create(world, request),
        ("list", [_, "site-1", _]) => list(world, request),
        ("trigger", [_, "site-1", _]) => trigger(world, request),
        ("deployment", [_, "site-1", _, id]) => deployment(world, request, id),
        ("lock", [_, id]) => lock(world, request, id),
        ("publish", [_, "site-1", _, id, _]) => publish(world, request, id),
        ("cancel", [_, id, _]) => cancel(world, request, id),
        _ => return Answer { status: 404, headers: Vec::new(), body: "404 page not found".to_owned() },
    };
    done.unwrap_or_else(|wrong| error(422, &wrong))
}

fn error(status: u16, message: &str) -> Answer {
    Answer::json(status, &json!({"code": status, "message": message}))
}

type Done = Result<Answer, String>;

fn site(world: &mut World, request: &Request) -> Done {
    request.check(&[], None)?;
    let published = if world.is_set("serves-nothing") { Value::Null } else { json!({"id": world.serving}) };
    Ok(Answer::json(
        200,
        &json!({
            "id": "site-1", "account_slug": "my-team", "account_id": "acc-1", "published_deploy": published,
            "build_settings": {"repo_branch": "main", "stop_builds": world.is_set("stop-builds")},
        }),
    ))
}

fn shown_variable(world: &World, key: &str) -> Value {
    let variable = &world.variables[key];
    let mask = "****************".to_owned();
    let value = if variable.secret { &mask } else { &variable.value };
    let first = match world.set.get("branch") {
        Some(branch) => json!({"id": "v1", "value": value, "context": "branch", "context_parameter": branch}),
        None => json!({"id": "v1", "value": value, "context": "production"}),
    };
    if world.is_set("one-context") {
        return json!({"key": key, "scopes": ["builds", "functions", "runtime"], "values": [first], "is_secret": variable.secret, "updated_at": rfc3339(variable.updated)});
    }
    let values = json!([
        first,
        {"id": "v2", "value": "x", "context": "deploy-preview"},
        {"id": "v3", "value": "y", "context": "branch", "context_parameter": "another"},
    ]);
    json!({"key": key, "scopes": ["builds", "functions", "runtime"], "values": values, "is_secret": variable.secret, "updated_at": rfc3339(variable.updated)})
}

fn variable(world: &mut World, request: &Request, key: &str) -> Done {
    request.check(&["site_id"], None)?;
    let is_shared = world.set.get("shared").is_some_and(|shared| shared == key);
    let is_there = match request.parameter("site_id") {
        Some("site-1") => world.variables.contains_key(key) && !is_shared,
        Some(_) => return Err("no such site".to_owned()),
        None => is_shared,
    };
    Ok(if is_there {
        Answer::json(200, &shown_variable(world, key))
    } else {
        Answer::json(404, &json!({"code": 404, "msg": "not found"}))
    })
}

fn write(world: &mut World, request: &Request, key: &str) -> Done {
    let body = request.check(&["site_id"], Some(&["context", "context_parameter", "value"]))?;
    if request.parameter("site_id") != Some("site-1") {
        return Err("without site_id every site of the team would be written".to_owned());
    }
    if !world.variables.contains_key(key) {
        return Ok(Answer::json(404, &json!({"code": 404, "msg": "not found"})));
    }
    let (context, parameter) = match world.set.get("branch") {
        Some(branch) => (json!("branch"), Some(json!(branch))),
        None => (json!("production"), None),
    };
    if body["context"] != context || body.get("context_parameter") != parameter.as_ref() {
        return Err(format!("only {context} was to be written"));
    }
    let value = body["value"].as_str().ok_or("no value")?;
    world.write(key, value);
    Ok(Answer::json(201, &shown_variable(world, key)))
}

fn create(world: &mut World, request: &Request) -> Done {
    let body = request.check(&["site_id"], Some(&["key", "values", "is_secret"]))?;
    let one = body.as_array().and_then(|list| list.first()).ok_or("a list is wanted")?;
    let (key, value) = (one["key"].as_str().ok_or("no key")?, one["values"][0]["value"].as_str().ok_or("no value")?);
    world.write(key, value);
    Ok(Answer::json(201, &json!([shown_variable(world, key)])))
}

fn shown(world: &World, it: &Deployment) -> Value {
    let branch = world.set.get("branch");
    let (state, more) = it.state().split_once(' ').unwrap_or((it.state(), ""));
    let (state, message) = match state {
        _ if it.canceled => ("error", Some("Canceled build")),
        "error" => ("error", Some("Canceled build due to no content change")),
        state => (state, None),
    };
    // Of a build that was asked for by its own call no commit may be told.
    let commit = (!(it.by_us && world.is_set("tells-no-commits"))).then_some(&it.commit);
    let published = (branch.is_none() && state == "ready" && more == "published").then(|| rfc3339(it.created + 5));
    json!({
        "id": it.id, "state": state, "error_message": message, "published_at": published, "context": if branch.is_some() { "branch-deploy" } else { "production" },
        "branch": branch.map_or("main", String::as_str), "locked": null, "title": it.mark.as_ref().map(|mark| format!("rekeyd {mark}")),
        "created_at": rfc3339(it.created), "commit_ref": commit, "admin_url": if world.is_set("no-pages") { "" } else { "https://app.netlify.com/projects/my-site" },
    })
}

fn list(world: &mut World, request: &Request) -> Done {
    request.check(&["production", "state", "branch", "latest-published", "page", "per_page"], None)?;
    let is_of_branch = request.parameter("branch") == world.set.get("branch").map(String::as_str);
    if !is_of_branch || request.parameter("production").is_some() == world.is_set("branch") {
        return Err("deploys of other branches were listed".to_owned());
    }
    let number = |name: &str, or: usize| {
        request.parameter(name).map_or(Ok(or), str::parse).map_err(|_| format!("{name} is no number"))
    };
    let (page, per_page) = (number("page", 1)?, number("per_page", 100)?.min(100));
    let mut list: Vec<&Deployment> = world.deployments.iter().rev().collect();
    if world.is_set("oldest-first") {
        list.rotate_right(1);
    }
    let list = list.into_iter().skip((page.max(1) - 1) * per_page).take(per_page);
    Ok(Answer::json(200, &list.map(|it| shown(world, it)).collect()))
}

fn trigger(world: &mut World, request: &Request) -> Done {
    request.check(&["branch", "clear_cache", "title"], None)?;
    if request.parameter("branch") != world.set.get("branch").map(String::as_str) {
        return Err("another branch was built".to_owned());
    }
    if world.is_set("stop-builds") {
        return Err("builds are stopped".to_owned());
    }
    let title =
        request.parameter("title").and_then(|title| title.strip_prefix("rekeyd ")).ok_or("no title")?.to_owned();
    world.triggers += 1;
    let id = world.deploy(Some(&title), true);
    let created = world.tick();
    let sha = match world.set.get("tells-no-commits").map(String::as_str) {
        None => json!(world.head),
        Some("") => Value::Null,
        Some(branch) => json!(branch),
    };
    Ok(Answer::json(
        200,
        &json!({"id": "build-1", "deploy_id": id, "sha": sha, "done": false, "created_at": rfc3339(created)}),
    ))
}

fn deployment(world: &mut World, request: &Request, id: &str) -> Done {
    request.check(&[], None)?;
    world.look(id);
    Ok(world.find(id).map_or_else(|| error(404, "Not Found"), |it| Answer::json(200, &shown(world, it))))
}

fn lock(world: &mut World, request: &Request, id: &str) -> Done {
    request.check(&[], None)?;
    let is_locked = world.is_set("locked");
    Ok(world.find(id).map_or_else(
        || error(404, "Not Found"),
        |it| {
            let mut body = shown(world, it);
            body["locked"] = json!(is_locked);
            Answer::json(200, &body)
        },
    ))
}

fn publish(world: &mut World, request: &Request, id: &str) -> Done {
    request.check(&[], None)?;
    let is_queued = world.is_set("queues-promotions");
    let Some(at) = world.deployments.iter_mut().find(|it| it.id == id) else { return Ok(error(404, "Not Found")) };
    if !is_queued {
        at.states = vec!["ready published".to_owned()];
        world.serving = id.to_owned();
    }
    Ok(world.find(id).map_or_else(|| error(404, "Not Found"), |it| Answer::json(201, &shown(world, it))))
}

fn cancel(world: &mut World, request: &Request, id: &str) -> Done {
    request.check(&[], None)?;
    if world.is_set("cannot-cancel") {
        return Ok(error(422, "too late"));
    }
    let Some(at) = world.deployments.iter_mut().find(|it| it.id == id) else { return Ok(error(404, "Not Found")) };
    at.canceled = true;
    Ok(world.find(id).map_or_else(|| error(404, "Not Found"), |it| Answer::json(201, &shown(world, it))))
}
