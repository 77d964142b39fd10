//! Judges JSON by as much of JSON Schema as OpenAPI documents here use. A keyword that is not judged is not accepted, nor is
//! a field that no schema declares.

use serde_json::{Map, Value};

use super::exceptions::{Allows, Exception, allow};

/// Keywords that say nothing about the form.
const SILENT: [&str; 3] = ["format", "description", "title"];

/// The schemas of a document.
pub struct Schemas {
    pub document: Value,
    pub exceptions: &'static [Exception],
}

/// Where something stands: in the value, and by the names of the schema.
#[derive(Clone)]
pub struct Place {
    path: String,
    name: String,
}

impl Place {
    pub fn of(what: &str) -> Self {
        Self { path: what.to_owned(), name: String::new() }
    }

    fn field(&self, field: &str) -> Self {
        Self { path: format!("{}.{field}", self.path), name: format!("{}.{field}", self.name) }
    }

    fn item(&self, number: usize) -> Self {
        Self { path: format!("{}[{number}]", self.path), name: self.name.clone() }
    }
}

impl Schemas {
    /// A schema, or what it refers to.
    pub fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let Some(reference) = schema.get("$ref") else { return schema };
        let pointer = reference.as_str().and_then(|it| it.strip_prefix('#')).unwrap_or_else(|| panic!("{reference}"));
        let schema = self.document.pointer(pointer).unwrap_or_else(|| panic!("{reference} is not there"));
        self.resolve(schema)
    }

    /// What is wrong with a value.
    pub fn judge(&self, schema: &Value, value: &Value, at: &Place) -> Vec<String> {
        if value.is_null() && allow(self.exceptions, &at.name, Allows::Null) {
            return Vec::new();
        }
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let name = reference.rsplit('/').next().unwrap_or_default().to_owned();
            return self.judge(self.resolve(schema), value, &Place { name, ..at.clone() });
        }
        let keywords = schema.as_object().expect("a schema is an object");
        if keywords.contains_key("allOf") {
            return self.judge(&self.merged(schema), value, at);
        }
        let mut wrong = Vec::new();
        for (keyword, wanted) in keywords.iter().filter(|(keyword, _)| !SILENT.contains(&keyword.as_str())) {
            wrong.extend(match keyword.as_str() {
                "type" => is_of(wanted, value, at),
                "enum" => self.is_listed(wanted, value, at),
                "oneOf" => self.is_one_of(wanted, value, at),
                "items" => self.items(wanted, value, at),
                "properties" => self.properties(wanted, value, at),
                "required" => self.required(wanted, value, at),
                unknown => panic!("`{unknown}` at {} is not judged", at.path),
            });
        }
        wrong
    }

    /// All of several objects in one.
    fn merged(&self, schema: &Value) -> Value {
        let (mut properties, mut required) = (Map::new(), Vec::new());
        for part in schema["allOf"].as_array().expect("a list") {
            let part = self.resolve(part);
            properties.extend(part["properties"].as_object().cloned().expect("all of them are objects"));
            required.extend(part["required"].as_array().cloned().unwrap_or_default());
        }
        serde_json::json!({"type": "object", "properties": properties, "required": required})
    }

    fn is_listed(&self, listed: &Value, value: &Value, at: &Place) -> Vec<String> {
        let is_listed = listed.as_array().is_some_and(|listed| listed.contains(value));
        let is_excepted = |exception: &Exception| {
            exception.at == at.name && matches!(exception.allows, Allows::Value(allowed) if value == allowed)
        };
        if is_listed || self.exceptions.iter().any(is_excepted) {
            return Vec::new();
        }
        vec![format!("{} is {value}, which is none of {listed}", at.path)]
    }

    fn is_one_of(&self, schemas: &Value, value: &Value, at: &Place) -> Vec<String> {
        let schemas = schemas.as_array().expect("a list");
        let wrong: Vec<Vec<String>> = schemas.iter().map(|schema| self.judge(schema, value, at)).collect();
        if wrong.iter().any(Vec::is_empty) {
            return Vec::new();
        }
        let wrong: Vec<String> = wrong.into_iter().map(|wrong| wrong.join(", ")).collect();
        vec![format!("{} is of no form that it may have: {}", at.path, wrong.join("; or "))]
    }

    fn items(&self, schema: &Value, value: &Value, at: &Place) -> Vec<String> {
        let items = value.as_array().map(Vec::as_slice).unwrap_or_default().iter().enumerate();
        items.flat_map(|(number, item)| self.judge(schema, item, &at.item(number))).collect()
    }

    fn properties(&self, schemas: &Value, value: &Value, at: &Place) -> Vec<String> {
        let Some(fields) = value.as_object() else { return Vec::new() };
        let judge = |(field, value): (&String, &Value)| {
            let at = at.field(field);
            match schemas.get(field) {
                Some(schema) => self.judge(schema, value, &at),
                None if allow(self.exceptions, &at.name, Allows::Undeclared) => Vec::new(),
                None => vec![format!("{} is not declared", at.path)],
            }
        };
        fields.iter().flat_map(judge).collect()
    }

    fn required(&self, fields: &Value, value: &Value, at: &Place) -> Vec<String> {
        let Some(object) = value.as_object() else { return Vec::new() };
        let fields = fields.as_array().expect("a list").iter().filter_map(Value::as_str);
        let absent = fields
            .map(|field| (field, at.field(field)))
            .filter(|(field, at)| !object.contains_key(*field) && !allow(self.exceptions, &at.name, Allows::Missing));
        absent.map(|(_, at)| format!("{} is missing", at.path)).collect()
    }
}

fn is_of(kind: &Value, value: &Value, at: &Place) -> Vec<String> {
    let is_it = match kind.as_str().unwrap_or_default() {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        unknown => panic!("the type {unknown} at {} is not judged", at.path),
    };
    if is_it {
        Vec::new()
    } else {
        vec![format!("{} is {value}, which is no {}", at.path, kind.as_str().unwrap_or_default())]
    }
}
