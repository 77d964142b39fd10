//! How the probe comes by its token: a real login with the credentials of a test user, or made by itself.

use std::path::Path;

use serde_json::Value;
use ureq::http::HeaderMap;
use zeroize::{Zeroize as _, Zeroizing};

use super::super::token::{Algorithm, Token};
use super::super::{Patience, Trouble};
use crate::config::{Login, LoginBody, Mint, TokenPlace};
use crate::rotation::{Fault, FaultCode};
use crate::sys::credentials::{self, Unread};
use crate::sys::http::{BODY, Call, Reply, send};

/// The token of a real login.
pub(super) async fn log_in(login: &Login, patience: &Patience) -> Result<Zeroizing<String>, Trouble> {
    let mut call = Call::new(&login.method, &login.url);
    if let Some((body, content_type)) = body(&login.body).map_err(Trouble::Certain)? {
        call.headers.push(("Content-Type".to_owned(), Zeroizing::new(content_type.to_owned())));
        call.body = Some(body);
    }
    if let Some(file) = &login.headers {
        call.headers.extend(credentials::headers(file).map_err(|unread| Trouble::Certain(unusable(unread)))?);
    }
    let line = call.line();
    let reply =
        send(call, patience.request()).await.map_err(|error| Trouble::unanswered(&error, FaultCode::LoginFailed))?;
    let failed = |why: String| Fault::new(FaultCode::LoginFailed, format!("{line} {why}"));
    match reply.status {
        200..300 => {}
        // Many backends set their cookie and send the browser on.
        302 | 303 if matches!(login.token, TokenPlace::Cookie(_)) => {}
        status @ 300..400 => {
            let fault = failed(format!("answered {status}, a redirect, which is not followed"));
            return Err(Trouble::Answered(fault.advise("url of the login names the place that answers")));
        }
        status => {
            let fault = failed(format!("answered {status}"));
            return Err(match status {
                400 | 401 | 403 | 415 | 422 => Trouble::Answered(fault.advise(about_credentials(login))),
                404 | 405 | 410 => Trouble::Answered(fault.advise("see the url and the method of the login")),
                400..500 if status != 429 => Trouble::Answered(fault),
                _ => Trouble::of_status(status, reply.retry_after(), fault),
            });
        }
    }
    token_in(&reply, &login.token).ok_or_else(|| {
        let status = reply.status;
        let long = if reply.body.len() == BODY { " in its first 64 KiB" } else { "" };
        Trouble::Answered(match &login.token {
            TokenPlace::Pointer(pointer) => {
                let has = names(&reply.body);
                failed(format!("answered {status} without a token at {pointer:?}{long}{has}"))
            }
            .advise("token of the login is the JSON pointer to it; token-cookie the name of a cookie"),
            TokenPlace::Cookie(name) => failed(format!("answered {status} without a cookie {name}"))
                .advise("token-cookie of the login is the name of a cookie; token the JSON pointer to it"),
        })
    })
}

/// A token of the probe's own, signed with `key`.
pub(super) fn mint(mint: &Mint, key: &[u8]) -> Result<Zeroizing<String>, String> {
    let algorithm =
        Algorithm::from_name(&mint.algorithm).ok_or_else(|| format!("{} is no HMAC algorithm", mint.algorithm))?;
    let mut claims: serde_json::Map<String, Value> =
        serde_json::from_str(&mint.claims).map_err(|_| "the claims to mint are no JSON object".to_owned())?;
    let now = jiff::Timestamp::now().as_second();
    let lifetime = i64::try_from(mint.lifetime.as_secs()).unwrap_or(60);
    claims.insert("iat".to_owned(), now.into());
    claims.insert("exp".to_owned(), now.saturating_add(lifetime).into());
    Ok(Token::mint(algorithm, &Value::Object(claims).to_string(), key))
}

fn about_credentials(login: &Login) -> String {
    match (&login.body, &login.headers) {
        (LoginBody::Json(file) | LoginBody::Form(file), _) | (LoginBody::Empty, Some(file)) => {
            format!("are the credentials in {} right, and in the form that it wants?", file.display())
        }
        (LoginBody::Empty, None) => "give the login its credentials: json-file, form-file or header-file".to_owned(),
    }
}

/// What an answer has in place of what was looked for: names alone.
fn names(body: &[u8]) -> String {
    let is_plain = |name: &&String| {
        (1..=24).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_')
    };
    let Ok(Value::Object(mut object)) = serde_json::from_slice(body) else { return String::new() };
    let names: Vec<String> = object.keys().filter(is_plain).take(8).map(|name| format!("/{name}")).collect();
    object.values_mut().for_each(wipe);
    if names.is_empty() { String::new() } else { format!(" (it has {})", names.join(", ")) }
}

/// A body and its Content-Type.
type Typed = (Zeroizing<Vec<u8>>, &'static str);

fn body(body: &LoginBody) -> Result<Option<Typed>, Fault> {
    Ok(match body {
        LoginBody::Empty => None,
        LoginBody::Json(file) => {
            let body = credentials(file)?;
            serde_json::from_slice::<serde::de::IgnoredAny>(&body).map_err(|error| {
                let place = format!("{}:{}:{}", file.display(), error.line(), error.column());
                Fault::new(FaultCode::LoginFailed, format!("{place}: this is no JSON"))
                    .advise("json-file of the login is sent as it is; form-file is for user=…&password=…")
            })?;
            Some((body, "application/json"))
        }
        LoginBody::Form(file) => {
            let mut form = credentials(file)?;
            // An editor's newline would be the end of the password.
            let length = form.trim_ascii_end().len();
            form.truncate(length);
            Some((form, "application/x-www-form-urlencoded"))
        }
    })
}

fn credentials(path: &Path) -> Result<Zeroizing<Vec<u8>>, Fault> {
    credentials::read(path).map_err(unusable)
}

fn unusable((why, advice): Unread) -> Fault {
    let advice = advice.unwrap_or_else(|| "json-file, form-file or header-file of the login names it".to_owned());
    Fault::new(FaultCode::LoginFailed, why).advise(advice)
}

fn token_in(reply: &Reply, place: &TokenPlace) -> Option<Zeroizing<String>> {
    let token = match place {
        TokenPlace::Pointer(pointer) => at_pointer(&reply.body, pointer),
        TokenPlace::Cookie(name) => cookie(&reply.headers, name),
    };
    token.filter(|token| !token.is_empty())
}

/// Where the body is no JSON and the pointer is empty, the body is the token.
fn at_pointer(body: &[u8], pointer: &str) -> Option<Zeroizing<String>> {
    match serde_json::from_slice::<Value>(body) {
        Ok(mut json) => {
            let token = match json.pointer_mut(pointer) {
                Some(Value::String(text)) => Some(Zeroizing::new(std::mem::take(text))),
                _ => None,
            };
            wipe(&mut json);
            token
        }
        Err(_) if pointer.is_empty() => {
            std::str::from_utf8(body).ok().map(|text| Zeroizing::new(text.trim().to_owned()))
        }
        Err(_) => None,
    }
}

/// Other tokens may stand beside the wanted one.
fn wipe(json: &mut Value) {
    match json {
        Value::String(text) => text.zeroize(),
        Value::Array(values) => values.iter_mut().for_each(wipe),
        Value::Object(values) => values.values_mut().for_each(wipe),
        _ => {}
    }
}

/// The last one of this name that is not empty: an answer may clear a cookie before it sets it.
fn cookie(headers: &HeaderMap, name: &str) -> Option<Zeroizing<String>> {
    let cookies = headers.get_all("set-cookie").iter().filter_map(|value| value.to_str().ok());
    let mut values = cookies.filter_map(|text| {
        let (key, value) = text.split(';').next()?.split_once('=')?;
        (key.trim() == name).then(|| value.trim().trim_matches('"'))
    });
    values.rfind(|value| !value.is_empty()).map(|value| Zeroizing::new(value.to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_is_found_where_it_is_said_to_be() {
        let found = |body: &str, pointer| at_pointer(body.as_bytes(), pointer).map(|token| token.to_string());
        let body = r#"{"refresh":"no","a/b":{"list":[1,"yes"]}}"#;
        assert_eq!(found(body, "/a~1b/list/1").as_deref(), Some("yes"));
        assert_eq!(found(body, "/a~1b/list/0"), None);
        assert_eq!(found(body, "/token"), None);
        assert_eq!(found(body, ""), None);
        assert_eq!(found("\"yes\"", "").as_deref(), Some("yes"));
        assert_eq!(found(" a.b.c\r\n", "").as_deref(), Some("a.b.c"));
        assert_eq!(found("<html>", "/token"), None);
    }

    #[test]
    fn a_cookie_that_is_cleared_and_set_is_the_one_that_is_set() {
        let mut headers = HeaderMap::new();
        for text in ["session=; Max-Age=0", "sessions=no", "session=\"yes\"; Path=/; HttpOnly", "session=; Path=/old"] {
            headers.append("set-cookie", text.parse().unwrap());
        }
        assert_eq!(cookie(&headers, "session").unwrap().as_str(), "yes");
        assert_eq!(cookie(&headers, "other"), None);
    }

    proptest! {
        #[test]
        fn any_answer_is_searched_without_a_panic(
            body in prop::collection::vec(any::<u8>(), 0..200),
            pointer in "(/[a-z0-9~]{0,4}){0,3}",
        ) {
            let _ = at_pointer(&body, &pointer);
        }
    }
}
