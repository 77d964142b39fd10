//! The claims of a minted token: a TOML table that becomes a JSON object.

use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::DeValue;

use super::reader::kind_of;
use super::report::Report;

/// The JSON text of a table of claims.
pub(super) fn read(claims: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<String> {
    let span = claims.span();
    let DeValue::Table(entries) = claims.get_ref() else {
        report.error(span, "`claims` wants a table", "write it as in `claims = { sub = \"rekeyd\" }`");
        return None;
    };
    let mut object = Map::new();
    for (name, value) in entries {
        let key = name.get_ref().to_ascii_lowercase();
        if ["iat", "exp"].contains(&key.as_str()) {
            report.error(name.span(), format!("`{key}` is set by the probe"), "leave it out; `lifetime` sets the end");
        } else if is_secret(&key) {
            let message = format!("the claim `{key}` looks like a secret, but anybody can read a token's claims");
            report.error_hiding(name.span(), value.span(), message, "leave it out: claims are not encrypted");
        } else if let Some(value) = json(value, report) {
            object.insert(name.get_ref().to_string(), value);
        }
    }
    Some(Value::Object(object).to_string())
}

/// Whether a name is that of something secret.
pub(super) fn is_secret(key: &str) -> bool {
    ["password", "passwd", "secret", "private-key", "private_key", "api-key", "api_key"]
        .iter()
        .any(|word| key.contains(word))
}

/// A value as JSON has it.
pub(super) fn json(value: &Spanned<DeValue<'_>>, report: &mut Report<'_>) -> Option<Value> {
    let span = value.span();
    let converted = match value.get_ref() {
        DeValue::String(text) => Some(Value::String(text.to_string())),
        DeValue::Boolean(flag) => Some(Value::Bool(*flag)),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok().map(Value::from),
        DeValue::Float(number) => number.as_str().parse().ok().and_then(Number::from_f64).map(Value::Number),
        DeValue::Array(values) => {
            return values.iter().map(|value| json(value, report)).collect::<Option<Vec<_>>>().map(Value::Array);
        }
        DeValue::Table(entries) => {
            let entries = entries.iter().map(|(name, value)| Some((name.get_ref().to_string(), json(value, report)?)));
            return entries.collect::<Option<Map<_, _>>>().map(Value::Object);
        }
        other @ DeValue::Datetime(_) => {
            let advice = "write it as text in quotes, or as seconds since 1970";
            report.error(span, format!("JSON has no {}", kind_of(other).trim_start_matches("a ")), advice);
            return None;
        }
    };
    if converted.is_none() {
        report.error(span, "JSON cannot hold this number", "write a smaller, finite one, or text in quotes");
    }
    converted
}
