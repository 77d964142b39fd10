//! Judges requests and answers by the description that a platform publishes in OpenAPI.

use serde_json::Value;

use super::exceptions::Exception;
use super::schema::{Place, Schemas};
use super::{Answer, Request};

/// A description.
pub struct OpenApi {
    schemas: Schemas,
    /// The path at which all of its paths begin.
    base: &'static str,
}

impl OpenApi {
    pub fn new(text: &str, base: &'static str, exceptions: &'static [Exception]) -> Self {
        let document = serde_json::from_str(text).expect("the description is JSON");
        Self { schemas: Schemas { document, exceptions }, base }
    }

    /// What is wrong with a request.
    pub fn judge_request(&self, request: &Request) -> Vec<String> {
        let operation = match self.operation(request) {
            Ok(operation) => operation,
            Err(wrong) => return vec![wrong],
        };
        let mut wrong = self.judge_parameters(operation, request);
        wrong.extend(self.judge_body(operation, request));
        wrong
    }

    fn judge_parameters(&self, operation: &Value, request: &Request) -> Vec<String> {
        let declared = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
        let judge = |(name, value): &(String, String)| match declared.iter().find(|it| it["name"] == *name) {
            Some(parameter) => self.judge_parameter(&parameter["schema"], name, value),
            None => vec![format!("the parameter {name} is not declared")],
        };
        let mut wrong: Vec<String> = request.query.iter().flat_map(judge).collect();
        let is_absent = |name: &&str| request.parameter(name).is_none();
        let required = declared.iter().filter(|it| it["required"] == true).filter_map(|it| it["name"].as_str());
        wrong.extend(required.filter(is_absent).map(|name| format!("the parameter {name} is missing")));
        wrong
    }

    /// A parameter is text, which stands for what its schema says.
    fn judge_parameter(&self, schema: &Value, name: &str, value: &str) -> Vec<String> {
        let schema = self.schemas.resolve(schema);
        let meant = match schema["type"].as_str() {
            Some("array") => return self.judge_parameter(&schema["items"], name, value),
            Some("string") => Value::from(value),
            _ => serde_json::from_str(value).unwrap_or_else(|_| Value::from(value)),
        };
        self.schemas.judge(schema, &meant, &Place::of(&format!("the parameter {name}")))
    }

    fn judge_body(&self, operation: &Value, request: &Request) -> Vec<String> {
        let Some(wanted) = operation.get("requestBody") else {
            return if request.body.is_empty() { Vec::new() } else { vec!["a body where none belongs".to_owned()] };
        };
        if request.body.is_empty() {
            return if wanted["required"] == true { vec!["the body is missing".to_owned()] } else { Vec::new() };
        }
        let Some(body) = request.json() else { return vec!["the body is not JSON".to_owned()] };
        self.schemas.judge(&wanted["content"]["application/json"]["schema"], &body, &Place::of("body"))
    }

    /// What is wrong with an answer.
    pub fn judge_answer(&self, request: &Request, answer: &Answer) -> Vec<String> {
        let Ok(operation) = self.operation(request) else { return Vec::new() };
        let Some(declared) = declared(operation, answer.status) else {
            return vec![format!("the status {} is not declared", answer.status)];
        };
        let content = self.schemas.resolve(declared).pointer("/content/application~1json/schema");
        match (content, serde_json::from_str(&answer.body)) {
            (Some(schema), Ok(body)) => self.schemas.judge(schema, &body, &Place::of("answer")),
            (Some(_), Err(_)) => vec!["the answer is not JSON".to_owned()],
            // Of an error without a description nothing is known.
            (None, _) if answer.status >= 400 || answer.body.is_empty() => Vec::new(),
            (None, _) => vec!["an answer where none belongs".to_owned()],
        }
    }

    /// Whether an answer with this status is described at all.
    pub fn declares(&self, request: &Request, status: u16) -> bool {
        self.operation(request).is_ok_and(|operation| declared(operation, status).is_some())
    }

    fn operation(&self, request: &Request) -> Result<&Value, String> {
        let paths = self.schemas.document["paths"].as_object().expect("paths");
        let path = request.path.strip_prefix(self.base).unwrap_or_default();
        let found = paths.iter().find(|(template, _)| fits(template, path));
        let (template, methods) = found.ok_or_else(|| format!("there is no path {}", request.path))?;
        let method = request.method.to_ascii_lowercase();
        methods.get(&method).ok_or_else(|| format!("there is no {} of {template}", request.method))
    }
}

fn declared(operation: &Value, status: u16) -> Option<&Value> {
    let answers = &operation["responses"];
    answers.get(status.to_string()).or_else(|| answers.get("default"))
}

fn fits(template: &str, path: &str) -> bool {
    let (wanted, has) = (template.split('/'), path.split('/'));
    wanted.clone().count() == has.clone().count()
        && wanted.zip(has).all(|(wanted, has)| wanted == has || wanted.starts_with('{') && !has.is_empty())
}
