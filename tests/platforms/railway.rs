//! Railway: the service `svc-1` in the environment `env-1` of the project `prj-1`. Only documents are taken whose fields
//! and variables are those of the vendor's schema, as far as they are described here.

use serde_json::{Map, Value, json};

use super::{Answer, Deployment, Request, TOKEN, World, rfc3339};

/// The root fields that are known: with their arguments, and what can be selected of them.
pub const FIELDS: &[(&str, &str, &[&str], &[&str])] = &[
    ("query", "projectToken", &[], &["projectId", "environmentId", "id", "name", "createdAt", "displayToken"]),
    ("query", "environment", &["id", "projectId"], &["variables", "id", "name"]),
    ("query", "variables", &["projectId", "environmentId", "serviceId", "unrendered"], &[]),
    (
        "query",
        "serviceInstance",
        &["environmentId", "serviceId"],
        &["latestDeployment", "activeDeployments", "healthcheckPath", "cronSchedule", "id", "numReplicas"],
    ),
    ("query", "deployment", &["id"], DEPLOYMENT),
    ("query", "deployments", &["input", "first", "after", "last", "before"], &["edges", "pageInfo"]),
    ("mutation", "variableUpsert", &["input"], &[]),
    ("mutation", "serviceInstanceDeployV2", &["environmentId", "serviceId", "commitSha"], &[]),
    ("mutation", "deploymentRedeploy", &["id", "usePreviousImageTag"], &["id", "status"]),
    ("mutation", "deploymentCancel", &["id"], &[]),
];
const DEPLOYMENT: &[&str] =
    &["id", "status", "statusUpdatedAt", "deploymentStopped", "canRedeploy", "canRollback", "createdAt", "instances"];
/// What can be selected within those.
const WITHIN: &[&str] = &[
    "id",
    "status",
    "edges",
    "node",
    "pageInfo",
    "hasNextPage",
    "endCursor",
    "name",
    "serviceId",
    "isSealed",
    "updatedAt",
    "references",
    "first",
];

/// The root field of a document, with its operation; and what is wrong with it.
pub fn parse(document: &str) -> Result<(&'static str, &'static str), String> {
    let known = |name: &str| FIELDS.iter().find(|(_, field, ..)| *field == name);
    let words: Vec<&str> =
        document.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|it| !it.is_empty()).collect();
    let body = document.split_once('{').ok_or("no selection")?.1.trim_start();
    let root = body.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    let (operation, field, arguments, selected) = known(root).ok_or(format!("Cannot query field \"{root}\""))?;
    if words[0] != *operation {
        return Err(format!("{root} is no {}", words[0]));
    }
    let rest = &body[root.len()..];
    if let Some(list) = rest.strip_prefix('(') {
        let list = list.split_once(')').ok_or("no end of arguments")?.0;
        for argument in list.split(',') {
            let name = argument.split(':').next().unwrap_or_default().trim();
            if !arguments.contains(&name) {
                return Err(format!("Unknown argument \"{name}\""));
            }
        }
    }
    let after = rest.split_once('{').map_or("", |(_, selection)| selection);
    for word in after.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
        let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
        let is_known = selected.contains(&word) || WITHIN.contains(&word) || DEPLOYMENT.contains(&word);
        if !is_number && (!is_known || selected.is_empty()) {
            return Err(format!("Cannot query field \"{word}\""));
        }
    }
    if document.matches('{').count() != document.matches('}').count() {
        return Err("Syntax Error".to_owned());
    }
    Ok((operation, field))
}

fn field(request: &Request) -> Result<&'static str, String> {
    let body = request.json().ok_or("no JSON")?;
    parse(body["query"].as_str().unwrap_or_default()).map(|(_, field)| field)
}

pub(super) fn step(request: &Request) -> &'static str {
    match field(request).unwrap_or("unknown") {
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
    let body = match request.check(&[], Some(&["query", "variables", "operationName"])) {
        Ok(body) => body,
        Err(wrong) => return Answer::json(400, &json!({"errors": [{"message": wrong}]})),
    };
    let field = match field(request) {
        Ok(field) => field,
        Err(wrong) => return Answer::json(400, &json!({"errors": [{"message": wrong}]})),
    };
    let given = body["variables"].as_object().cloned().unwrap_or_default();
    match perform(world, field, &given, is_project) {
        Ok(data) => Answer::json(200, &json!({"data": {field: data}})),
        Err(wrong) => errors(&wrong),
    }
}

fn errors(message: &str) -> Answer {
    Answer::json(200, &json!({"errors": [{"message": message, "extensions": {"code": "X"}}], "data": null}))
}

/// Exactly these variables, of this service.
fn scope(given: &Map<String, Value>, wanted: &[(&str, &str)]) -> Result<(), String> {
    for (name, value) in wanted {
        if given.get(*name).and_then(Value::as_str) != Some(*value) {
            return Err("Not Authorized".to_owned());
        }
    }
    match given.keys().find(|name| !wanted.iter().any(|(wanted, _)| wanted == name)) {
        Some(name) => Err(format!("Variable \"${name}\" is not defined")),
        None => Ok(()),
    }
}

fn perform(world: &mut World, field: &str, given: &Map<String, Value>, is_project: bool) -> Result<Value, String> {
    match field {
        "projectToken" if is_project => Ok(json!({"projectId": "prj-1", "environmentId": "env-1"})),
        "projectToken" => Err("Project Token not found".to_owned()),
        "environment" => {
            scope(given, &[("e", "env-1"), ("p", "prj-1")])?;
            let mut edges: Vec<Value> = world
                .variables
                .iter()
                .map(|(key, it)| {
                    json!({"node": {
                        "id": format!("var-{key}"), "name": key, "serviceId": "svc-1", "isSealed": it.secret,
                        "updatedAt": rfc3339(it.updated), "references": [],
                    }})
                })
                .collect();
            if world.is_set("referred-to") {
                edges.push(json!({"node": {"id": "var-x", "name": "COPY", "serviceId": "svc-2", "isSealed": false, "updatedAt": rfc3339(1), "references": ["${{my-app.JWT_SECRET}}"]}}));
            }
            Ok(json!({"variables": {"edges": edges, "pageInfo": {"hasNextPage": false, "endCursor": null}}}))
        }
        "variables" => {
            scope(given, &[("p", "prj-1"), ("e", "env-1"), ("s", "svc-1")])?;
            let shown = |it: &super::Variable| if it.secret { Value::Null } else { json!(it.value) };
            Ok(world.variables.iter().map(|(key, it)| (key.clone(), shown(it))).collect::<Map<_, _>>().into())
        }
        "serviceInstance" => {
            scope(given, &[("e", "env-1"), ("s", "svc-1")])?;
            let serving = world.serving.clone();
            world.look(&serving);
            let latest = world.deployments.last().map(shown);
            let active: Vec<Value> =
                world.find(&world.serving).filter(|_| !world.is_set("serves-nothing")).map(shown).into_iter().collect();
            Ok(
                json!({"latestDeployment": latest, "activeDeployments": active, "healthcheckPath": "/health", "cronSchedule": null}),
            )
        }
        "variableUpsert" => upsert(world, given),
        "serviceInstanceDeployV2" => {
            scope(given, &[("e", "env-1"), ("s", "svc-1")])?;
            if world.is_set("no-commit") {
                return Err("Commit not found".to_owned());
            }
            world.triggers += 1;
            Ok(json!(world.deploy(None, true)))
        }
        "deploymentRedeploy" => {
            let id = given.get("id").and_then(Value::as_str).unwrap_or_default();
            if world.find(id).is_none() || world.is_set("no-snapshot") {
                return Err("Cannot redeploy without a snapshot".to_owned());
            }
            world.triggers += 1;
            let id = world.deploy(None, true);
            Ok(json!({"id": id, "status": "INITIALIZING"}))
        }
        "deployments" => {
            let input = given.get("input").and_then(Value::as_object).cloned().unwrap_or_default();
            scope(&input, &[("projectId", "prj-1"), ("environmentId", "env-1"), ("serviceId", "svc-1")])?;
            let edges: Vec<Value> = world.deployments.iter().rev().map(|it| json!({"node": shown(it)})).collect();
            Ok(json!({"edges": edges, "pageInfo": {"hasNextPage": false, "endCursor": null}}))
        }
        "deployment" => {
            let id = given.get("id").and_then(Value::as_str).unwrap_or_default();
            world.look(id).map(shown).ok_or_else(|| "Deployment not found".to_owned())
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

fn upsert(world: &mut World, given: &Map<String, Value>) -> Result<Value, String> {
    let input = given.get("input").and_then(Value::as_object).cloned().unwrap_or_default();
    let known = ["projectId", "environmentId", "serviceId", "name", "value", "skipDeploys"];
    if let Some(field) = input.keys().find(|field| !known.contains(&field.as_str())) {
        return Err(format!("Field \"{field}\" is not defined by type \"VariableUpsertInput\""));
    }
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

fn shown(it: &Deployment) -> Value {
    let (state, more) = it.state().split_once(' ').unwrap_or((it.state(), ""));
    let state = if it.canceled { "REMOVED" } else { state };
    json!({
        "id": it.id, "status": state, "createdAt": rfc3339(it.created), "statusUpdatedAt": rfc3339(it.created + 1),
        "deploymentStopped": more == "stopped", "canRedeploy": true, "canRollback": true, "instances": [],
    })
}
