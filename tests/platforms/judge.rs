//! Holds what is asked of a stand-in, and what it answers, against the schema that its platform publishes.

use std::sync::LazyLock;

use super::exceptions;
use super::graphql::GraphQl;
use super::openapi::OpenApi;
use super::{Answer, Kind, Request};

static NETLIFY: LazyLock<OpenApi> =
    LazyLock::new(|| OpenApi::new(include_str!("schemas/netlify.json"), "/api/v1", exceptions::NETLIFY));
static RENDER: LazyLock<OpenApi> =
    LazyLock::new(|| OpenApi::new(include_str!("schemas/render.json"), "/v1", exceptions::RENDER));
pub static RAILWAY: LazyLock<GraphQl> =
    LazyLock::new(|| GraphQl::new(include_str!("schemas/railway.graphql"), exceptions::RAILWAY));

fn openapi(kind: Kind) -> Option<&'static OpenApi> {
    match kind {
        Kind::Netlify => Some(&NETLIFY),
        Kind::Render => Some(&RENDER),
        Kind::Vercel | Kind::Railway => None,
    }
}

/// What is wrong with a request.
pub fn request(kind: Kind, request: &Request) -> Vec<String> {
    match (kind, openapi(kind)) {
        (Kind::Railway, _) => RAILWAY.operation(&request.json().unwrap_or_default()).err().unwrap_or_default(),
        (_, Some(openapi)) => openapi.judge_request(request),
        _ => Vec::new(),
    }
}

/// What is wrong with an answer.
pub fn answer(kind: Kind, request: &Request, answer: &Answer) -> Vec<String> {
    match (kind, openapi(kind)) {
        (Kind::Railway, _) => railway(request, answer),
        (_, Some(openapi)) => openapi.judge_answer(request, answer),
        _ => Vec::new(),
    }
}

/// What is wrong with the answer that a test puts in the place of the usual one: nothing where that is garbled, or of a
/// status that is not described, as a proxy's may be.
pub fn fault(kind: Kind, request: &Request, answer: &Answer) -> Vec<String> {
    let is_json = serde_json::from_str::<serde_json::Value>(&answer.body).is_ok();
    let is_declared = match openapi(kind) {
        Some(openapi) => openapi.declares(request, answer.status),
        None => answer.status == 200,
    };
    if is_json && is_declared { self::answer(kind, request, answer) } else { Vec::new() }
}

fn railway(request: &Request, answer: &Answer) -> Vec<String> {
    let Ok(operation) = RAILWAY.operation(&request.json().unwrap_or_default()) else { return Vec::new() };
    match serde_json::from_str(&answer.body) {
        Ok(body) => RAILWAY.judge_answer(&operation, &body),
        Err(_) => vec!["the answer is not JSON".to_owned()],
    }
}

#[cfg(test)]
mod tests;
