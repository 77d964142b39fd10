//! What the schemas do not have is told, in requests and in answers.

use serde_json::{Value, json};

use super::super::{Answer, Kind, Request};

fn asks(asked: &str, body: &str) -> Request {
    let (method, target) = asked.split_once(' ').unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = query.split('&').filter_map(|pair| pair.split_once('='));
    let query = query.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let (method, path, body) = (method.to_owned(), path.to_owned(), body.to_owned());
    Request { method, path, query, headers: Vec::new(), body }
}

fn asks_railway(document: &str, variables: &Value) -> Request {
    asks("POST /graphql/v2", &json!({"query": document, "variables": variables}).to_string())
}

#[track_caller]
fn assert_told(told: &[String], words: &str) {
    assert!(told.len() == 1 && told[0].contains(words), "{words:?} is not what was told: {told:#?}");
}

const VARIABLE: &str = "/v1/services/srv-1/env-vars/KEY";
const DEPLOYS: &str = "/v1/services/srv-1/deploys";

#[test]
fn a_request_that_is_not_in_the_schema_is_told() {
    for (asked, body, words) in [
        (format!("PUT {VARIABLE}"), r#"{"value": "x"}"#, ""),
        (format!("PUT {VARIABLE}"), r#"{"value": "x", "deploys": true}"#, "body.deploys is not declared"),
        (format!("PUT {VARIABLE}"), r#"{"value": 7}"#, "body.value is 7, which is no string"),
        (format!("PUT {VARIABLE}"), "", "the body is missing"),
        (format!("PUT {VARIABLE}"), "value", "the body is not JSON"),
        (format!("DELETE {VARIABLE}"), "", "there is no DELETE of /services/{serviceId}/env-vars/{envVarKey}"),
        ("GET /v1/service/srv-1".to_owned(), "", "there is no path /v1/service/srv-1"),
        (format!("GET {DEPLOYS}?status=live&limit=20"), "", ""),
        (format!("GET {DEPLOYS}?after=x"), "", "the parameter after is not declared"),
        (format!("GET {DEPLOYS}?limit=many"), "", "the parameter limit is \"many\", which is no number"),
        (format!("GET {DEPLOYS}?status=alive"), "", "the parameter status is \"alive\", which is none of"),
        (format!("POST {DEPLOYS}/dep-1/cancel"), "{}", "a body where none belongs"),
        (format!("POST {DEPLOYS}"), r#"{"deployMode": "deploy"}"#, "body.deployMode is \"deploy\", which is none of"),
    ] {
        let told = super::request(Kind::Render, &asks(&asked, body));
        if words.is_empty() { assert_eq!(told, [""; 0], "{asked}") } else { assert_told(&told, words) }
    }
    let variable = "PATCH /api/v1/accounts/my-team/env/KEY?site_id=site-1";
    for (asked, body, words) in [
        (variable, r#"{"context": "prod", "value": "x"}"#, "body.context is \"prod\", which is none of"),
        (variable, r#"{"context": "branch", "parameter": "x"}"#, "body.parameter is not declared"),
        ("POST /api/v1/sites/site-1/builds?titel=x", "", "the parameter titel is not declared"),
        ("GET /api/v1/sites/site-1/deploys?production=yes", "", "which is no boolean"),
        ("PUT /api/v1/accounts/my-team/env/KEY", "{}", "there is no PUT of"),
    ] {
        assert_told(&super::request(Kind::Netlify, &asks(asked, body)), words);
    }
}

#[test]
fn an_answer_that_is_not_in_the_schema_is_told() {
    let shown = |status: &str| json!({"id": "dep-1", "status": status}).to_string();
    for (asked, status, body, words) in [
        (format!("GET {DEPLOYS}/dep-1"), 200, shown("live"), ""),
        (format!("GET {DEPLOYS}/dep-1"), 200, shown("alive"), "answer.status is \"alive\", which is none of"),
        (format!("GET {DEPLOYS}/dep-1"), 200, r#"{"status": "live"}"#.to_owned(), "answer.id is missing"),
        (
            format!("GET {DEPLOYS}/dep-1"),
            200,
            r#"{"id": "a", "startedAt": null}"#.to_owned(),
            "answer.startedAt is null",
        ),
        (format!("GET {DEPLOYS}/dep-1"), 200, r#"{"id": "a", "finishedAt": null}"#.to_owned(), ""),
        (format!("GET {DEPLOYS}/dep-1"), 418, "{}".to_owned(), "the status 418 is not declared"),
        (format!("GET {DEPLOYS}/dep-1"), 404, r#"{"message": 7}"#.to_owned(), "answer.message is 7"),
        (format!("GET {DEPLOYS}"), 200, r#"[{"deploy": {}}]"#.to_owned(), "answer[0].deploy.id is missing"),
        (format!("POST {DEPLOYS}"), 202, String::new(), ""),
        (format!("POST {DEPLOYS}"), 202, "{}".to_owned(), "an answer where none belongs"),
        ("GET /v1/env-groups/evg-1".to_owned(), 200, r#"{"id": 1}"#.to_owned(), "answer.envVars is missing"),
    ] {
        let told = super::answer(Kind::Render, &asks(&asked, ""), &Answer { status, headers: Vec::new(), body });
        match words {
            "" => assert_eq!(told, [""; 0], "{asked}"),
            words => assert!(told.iter().any(|told| told.contains(words)), "{words}: {told:#?}"),
        }
    }
    let site = asks("GET /api/v1/sites/site-1", "");
    let told = |status, body: &Value| super::answer(Kind::Netlify, &site, &Answer::json(status, body));
    assert_eq!(told(404, &json!({"code": 404, "msg": "as the service of the variables says it"})), [""; 0]);
    assert_told(&told(404, &json!({"error": "x", "message": "x"})), "answer.error is not declared");
    assert_told(
        &told(200, &json!({"build_settings": {"stop_builds": null}})),
        "answer.build_settings.stop_builds is null",
    );
}

const ONE: &str = "query($id: String!) { deployment(id: $id) { id status } }";

#[test]
fn a_document_that_is_not_valid_is_told() {
    let list = "query($input: DeploymentListInput!) { deployments(input: $input) { edges { node { id } } } }";
    for (document, variables, words) in [
        (ONE, json!({"id": "d"}), ""),
        (ONE, json!({"id": null}), "$id of type \"String!\" must not be null"),
        (ONE, json!({"id": 7}), "$id is 7, which is no String"),
        (ONE, json!({"id": "d", "of": "x"}), "Variable \"$of\" is not defined"),
        ("query($id: String) { deployment(id: $id) { id } }", json!({}), "$id cannot be the argument \"id\""),
        ("query($id: Int!) { deployment(id: $id) { id } }", json!({"id": 7}), "$id cannot be the argument \"id\""),
        ("query($id: Strin) { deployment(id: \"d\") { id } }", json!({}), "Variable \"$id\" is never used"),
        ("{ deployment(id: \"d\", of: 7) { id } }", json!({}), "Unknown argument \"of\""),
        ("{ deployment { id } }", json!({}), "needs the argument \"id\""),
        ("{ deployment(id: \"d\") { id state } }", json!({}), "Cannot query field \"state\" on type \"Deployment\""),
        ("{ deployment(id: \"d\") }", json!({}), "must have a selection"),
        ("{ deployment(id: \"d\") { id { of } } }", json!({}), "or have none"),
        (
            "mutation { deployment(id: \"d\") { id } }",
            json!({}),
            "Cannot query field \"deployment\" on type \"Mutation\"",
        ),
        ("mutation { deploymentRollback(id: \"d\") { id } }", json!({}), "Cannot query field \"deploymentRollback\""),
        ("{ deployment(id: \"d\") { id }", json!({}), "query parse error"),
        (list, json!({"input": {"serviceId": "s"}}), ""),
        (list, json!({"input": {"service": "s"}}), "Field \"service\" is not defined by type \"DeploymentListInput\""),
        (list, json!({"input": {"status": {"in": ["ALIVE"]}}}), "$input.status.in is \"ALIVE\""),
        (list, json!({"input": {"status": {"successfulOnly": true}}}), "Field \"successfulOnly\" is not defined"),
    ] {
        let told = super::request(Kind::Railway, &asks_railway(document, &variables));
        match words {
            "" => assert_eq!(told, [""; 0], "{document}"),
            words => assert!(told.iter().any(|told| told.contains(words)), "{document} {words}: {told:#?}"),
        }
    }
}

#[test]
fn an_answer_that_is_not_what_was_selected_is_told() {
    let request = asks_railway(ONE, &json!({"id": "d"}));
    for (answer, words) in [
        (json!({"data": {"deployment": {"id": "d", "status": "SUCCESS"}}}), ""),
        (json!({"data": null, "errors": [{"message": "Not Authorized"}]}), ""),
        (json!({"data": null, "errors": []}), "errors are []"),
        (json!({"data": {"deployment": {"id": "d"}}}), "deployment.status is missing"),
        (json!({"data": {"deployment": {"id": "d", "status": "WELL"}}}), "deployment.status is \"WELL\""),
        (
            json!({"data": {"deployment": {"id": null, "status": "SUCCESS"}}}),
            "deployment.id of type \"ID!\" must not be null",
        ),
        (
            json!({"data": {"deployment": {"id": "d", "status": "SUCCESS", "url": "x"}}}),
            "deployment.url was not selected",
        ),
        (json!({"data": {"deployment": null}}), "deployment of type \"Deployment!\" must not be null"),
        (json!({"data": {"deployments": null}}), "data is not just deployment"),
        (json!({"data": {}, "message": "x"}), "an answer has no message"),
    ] {
        let told = super::answer(Kind::Railway, &request, &Answer::json(200, &answer));
        if words.is_empty() { assert_eq!(told, [""; 0], "{answer}") } else { assert_told(&told, words) }
    }
}
