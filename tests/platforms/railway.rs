//! Railway: the service `svc-1` in the environment `env-1` of the project `prj-1`. Only documents are taken that are valid by
//! the vendor's schema, and what was selected is answered.

use serde_json::{Map, Value, json};

use super::graphql::Operation;
use super::judge::RAILWAY;
use super::{Answer, Deployment, Request, TOKEN, World, rfc3339};

/// What a request asks for, where that is valid.
fn operation(request: &Request) -> Result<Operation, String> {
    RAILWAY.operation(&request.json().unwrap_or_default()).map_err(|wrong| wrong.join("; "))
}

pub(super) fn step(request: &Request) -> &'static str {
    let Ok(operation) = operation(request) else { return "unknown" };
    match operation.root() {
        "serviceInstance" => "project",
        "variables" => "variables",
        "environment" => "records",
        "variableUpsert" => "write",
        "serviceInstanceDeployV2" | "deploymentRedeploy" => "trigger",
        "deployments" => "list",
        "deployment" => "deployment",
        "deploymentCancel" => "cancel",
        "projectToken" => "token",
        _ => "unknown",
    }
}

pub(super) fn answer(world: &mut World, request: &Request) -> Answer {
    if request.method != "POST" || request.path != "/graphql/v2" || !request.query.is_empty() {
        return Answer { status: 404, headers: Vec::new(), body: "Not Found".to_owned() };
    }
    let has_both = request.header("authorization").is_some() && request.header("project-access-token").is_some();
    let is_project = request.header("project-access-token") == Some(TOKEN);
    let is_account = request.header("authorization") == Some(&format!("Bearer {TOKEN}"));
    if has_both || !(is_project || is_account) {
        return errors("Not Authorized");
    }
    let form = request.check(&[], Some(&["query", "variables", "operationName"]));
    let operation = match form.and_then(|_| operation(request)) {
        Ok(operation) => operation,
        Err(wrong) => return Answer::json(400, &json!({"errors": [{"message": wrong}]})),
    };
    match perform(world, &operation, is_project) {
        Ok(data) => Answer::json(200, &json!({"data": {operation.root(): operation.select(&data)}})),
        Err(wrong) => errors(&wrong),
    }
}

fn errors(message: &str) -> Answer {
    Answer::json(200, &json!({"errors": [{"message": message, "extensions": {"code": "X"}}], "data": null}))
}

/// These values, of this service.
fn scope(given: &Map<String, Value>, wanted: &[(&str, &str)]) -> Result<(), String> {
    for (name, value) in wanted {
        if given.get(*name).and_then(Value::as_str) != Some(*value) {
            return Err("Not Authorized".to_owned());
        }
    }
    Ok(())
}

/// A page of a list, as it is asked for. A test may say that there is less on one than that.
fn connection(world: &World, nodes: Vec<Value>, asked: &Map<String, Value>) -> Value {
    let first = asked.get("first").and_then(Value::as_u64).unwrap_or(500);
    let most = world.set.get("most-per-page").and_then(|most| most.parse().ok()).unwrap_or(first).min(first);
    let after = asked.get("after").filter(|after| !after.is_null());
    let is_before = |node: &&Value| after.is_some_and(|after| node["id"] != *after);
    let all: Vec<&Value> = nodes.iter().skip_while(is_before).skip(usize::from(after.is_some())).collect();
    let page: Vec<&Value> = all.iter().copied().take(most.try_into().unwrap()).collect();
    let edges: Vec<Value> = page.iter().map(|node| json!({"cursor": node["id"], "node": node})).collect();
    let cursor = |node: Option<&&Value>| node.map_or(Value::Null, |node| node["id"].clone());
    json!({"edges": edges, "pageInfo": {
        "startCursor": cursor(page.first()), "endCursor": cursor(page.last()),
        "hasNextPage": page.len() < all.len(), "hasPreviousPage": after.is_some(),
    }})
}

fn perform(world: &mut World, operation: &Operation, is_project: bool) -> Result<Value, String> {
    let given = &operation.arguments(&[]);
    match operation.root() {
        "projectToken" if is_project => {
            Ok(json!({"id": "tok-1", "name": "rekeyd", "projectId": "prj-1", "environmentId": "env-1"}))
        }
        "projectToken" => Err("Project Token not found".to_owned()),
        "environment" => {
            scope(given, &[("id", "env-1"), ("projectId", "prj-1")])?;
            let records = records(world);
            let page = connection(world, records, &operation.arguments(&["variables"]));
            Ok(json!({"id": "env-1", "name": "production", "variables": page}))
        }
        "variables" => {
            scope(given, &[("projectId", "prj-1"), ("environmentId", "env-1"), ("serviceId", "svc-1")])?;
            if given.get("unrendered") != Some(&json!(true)) {
                return Err("references would be replaced by what they refer to".to_owned());
            }
            let shown = |it: &super::Variable| if it.secret { Value::Null } else { json!(it.value) };
            Ok(world.variables.iter().map(|(key, it)| (key.clone(), shown(it))).collect::<Map<_, _>>().into())
        }
        "serviceInstance" => {
            scope(given, &[("environmentId", "env-1"), ("serviceId", "svc-1")])?;
            let serving = world.serving.clone();
            world.look(&serving);
            let latest = world.deployments.last().map(|it| shown(world, it));
            let active = world.find(&world.serving).filter(|_| !world.is_set("serves-nothing"));
            let active: Vec<Value> = active.map(|it| shown(world, it)).into_iter().collect();
            Ok(json!({
                "id": "ins-1", "serviceName": "my-app", "latestDeployment": latest, "activeDeployments": active,
                "healthcheckPath": "/health", "cronSchedule": null,
            }))
        }
        "variableUpsert" => upsert(world, given),
        "serviceInstanceDeployV2" => {
            scope(given, &[("environmentId", "env-1"), ("serviceId", "svc-1")])?;
            if world.is_set("no-commit") {
                return Err("Commit not found".to_owned());
            }
            world.triggers += 1;
            let commit = given.get("commitSha").and_then(Value::as_str).map(str::to_owned);
            // Without one it is what the service is pinned to: by a push of long ago, perhaps.
            let commit = commit.or(world.set.get("pinned").cloned());
            let id = world.deploy(None, true);
            if let (Some(commit), Some(made)) = (commit, world.deployments.last_mut()) {
                made.commit = commit;
            }
            Ok(json!(id))
        }
        "deploymentRedeploy" => {
            let id = given.get("id").and_then(Value::as_str).unwrap_or_default();
            if !world.find(id).is_some_and(|it| has_snapshot(world, it)) {
                return Err("Cannot redeploy without a snapshot".to_owned());
            }
            if world.is_set("image") != (given.get("usePreviousImageTag") == Some(&json!(true))) {
                return Err("an image has a tag, and code has none".to_owned());
            }
            let commit = world.find(id).map(|it| it.commit.clone());
            world.triggers += 1;
            let id = world.deploy(None, true);
            if let (Some(commit), Some(made)) = (commit, world.deployments.last_mut()) {
                made.commit = commit;
            }
            let mut made = world.find(&id).map(|it| shown(world, it)).ok_or("none")?;
            made["status"] = json!("INITIALIZING");
            Ok(made)
        }
        "deployments" => {
            let input = given.get("input").and_then(Value::as_object).cloned().unwrap_or_default();
            scope(&input, &[("projectId", "prj-1"), ("environmentId", "env-1"), ("serviceId", "svc-1")])?;
            let all = world.deployments.iter().rev().map(|it| shown(world, it)).collect();
            Ok(connection(world, all, given))
        }
        "deployment" => {
            let id = given.get("id").and_then(Value::as_str).unwrap_or_default();
            world.look(id);
            world.find(id).map(|it| shown(world, it)).ok_or_else(|| "Deployment not found".to_owned())
        }
        "deploymentCancel" => {
            if world.is_set("cannot-cancel") {
                return Err("Cannot cancel".to_owned());
            }
            let id = given.get("id").and_then(Value::as_str).unwrap_or_default();
            let at = world.deployments.iter_mut().find(|it| it.id == id).ok_or("Deployment not found")?;
            at.canceled = true;
            Ok(json!(true))
        }
        other => Err(format!("Cannot query field \"{other}\"")),
    }
}

/// What is known of the variables of the environment.
fn records(world: &World) -> Vec<Value> {
    let mut records: Vec<Value> = world
        .variables
        .iter()
        .map(|(key, it)| {
            json!({
                "id": format!("var-{key}"), "name": key, "serviceId": "svc-1", "isSealed": it.secret,
                "createdAt": rfc3339(1), "updatedAt": rfc3339(it.updated), "references": [],
            })
        })
        .collect();
    if let Some(service) = world.set.get("referred-to") {
        records.push(json!({
            "id": "var-x", "name": "COPY", "serviceId": "svc-2", "isSealed": false, "createdAt": rfc3339(1),
            "updatedAt": rfc3339(1), "references": [format!("${{{{{service}.JWT_SECRET}}}}")],
        }));
    }
    records
}

fn upsert(world: &mut World, given: &Map<String, Value>) -> Result<Value, String> {
    let input = given.get("input").and_then(Value::as_object).cloned().unwrap_or_default();
    let is_ours = input.get("projectId") == Some(&json!("prj-1"))
        && input.get("environmentId") == Some(&json!("env-1"))
        && input.get("serviceId") == Some(&json!("svc-1"));
    if !is_ours {
        return Err("Not Authorized".to_owned());
    }
    let text = |key: &str| input.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    world.write(&text("name"), &text("value"));
    if input.get("skipDeploys") != Some(&json!(true)) {
        // As the real one does, unless it is told not to.
        world.triggers += 1;
        world.deploy(None, true);
    }
    Ok(json!(true))
}

/// Whether its code was kept: of all, or of the one alone that a test names.
fn has_snapshot(world: &World, it: &Deployment) -> bool {
    world.set.get("snapshot-of").is_none_or(|only| *only == it.id)
}

fn shown(world: &World, it: &Deployment) -> Value {
    let (state, more) = it.state().split_once(' ').unwrap_or((it.state(), ""));
    let state = if it.canceled { "REMOVED" } else { state };
    json!({
        "id": it.id, "status": state, "createdAt": rfc3339(it.created), "statusUpdatedAt": rfc3339(it.created + 1), "updatedAt": rfc3339(it.created + 1),
        "deploymentStopped": more == "stopped", "canRedeploy": has_snapshot(world, it), "canRollback": true, "instances": [],
        "meta": if world.is_set("image") { json!({"image": "nginx:1"}) } else if world.is_set("no-commit") { json!({}) } else { json!({"commitHash": it.commit, "branch": "main"}) },
    })
}
