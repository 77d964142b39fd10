//! Judges values: variables by what a document declares of them, an answer by what it selects.

use graphql_parser::schema::{self, Type, TypeDefinition};
use serde_json::{Map, Value};

use super::super::exceptions::{Allows, Exception};
use super::operation::{Field, Operation, fields};
use super::{GraphQl, Variable, is_plain, is_required, name};

impl GraphQl {
    /// What is wrong with the variables that are given for those that are declared.
    pub(super) fn judge_variables(&self, declared: &[Variable], given: &Map<String, Value>) -> Vec<String> {
        let is_known = |name: &&String| declared.iter().any(|it| it.name == **name);
        let unknown = given.keys().filter(|name| !is_known(name));
        let mut wrong: Vec<String> = unknown.map(|name| format!("Variable \"${name}\" is not defined")).collect();
        for variable in declared {
            if self.find(name(&variable.var_type)).is_none() && !is_plain(name(&variable.var_type)) {
                wrong.push(format!("Unknown type \"{}\"", variable.var_type));
                continue;
            }
            let value = given.get(&variable.name).unwrap_or(&Value::Null);
            wrong.extend(self.judge_value(&variable.var_type, value, &format!("${}", variable.name)));
        }
        wrong
    }

    /// What is wrong with a value that is given for a type.
    fn judge_value(&self, wanted: &Type<'_, String>, value: &Value, at: &str) -> Vec<String> {
        match wanted {
            Type::NonNullType(_) if value.is_null() => vec![format!("{at} of type \"{wanted}\" must not be null")],
            Type::NonNullType(wanted) => self.judge_value(wanted, value, at),
            _ if value.is_null() => Vec::new(),
            Type::ListType(wanted) => match value.as_array() {
                Some(items) => items.iter().flat_map(|item| self.judge_value(wanted, item, at)).collect(),
                None => vec![format!("{at} is {value}, which is no list")],
            },
            Type::NamedType(wanted) => match (self.find(wanted), value.as_object()) {
                (Some(TypeDefinition::InputObject(input)), Some(given)) => self.judge_input(input, given, at),
                _ => self.judge_leaf(wanted, value, at),
            },
        }
    }

    fn judge_input(
        &self,
        input: &schema::InputObjectType<'_, String>,
        given: &Map<String, Value>,
        at: &str,
    ) -> Vec<String> {
        let unknown = given.keys().filter(|name| !input.fields.iter().any(|field| field.name == **name));
        let mut wrong: Vec<String> =
            unknown.map(|name| format!("Field \"{name}\" is not defined by type \"{}\"", input.name)).collect();
        for field in &input.fields {
            let at = format!("{at}.{}", field.name);
            match given.get(&field.name) {
                Some(value) => wrong.extend(self.judge_value(&field.value_type, value, &at)),
                None if is_required(field) => wrong.push(format!("{at} is missing")),
                None => {}
            }
        }
        wrong
    }

    fn judge_leaf(&self, wanted: &str, value: &Value, at: &str) -> Vec<String> {
        let is_it = match (wanted, self.find(wanted)) {
            ("String" | "ID" | "DateTime", _) => value.is_string(),
            ("Int", _) => value.is_i64(),
            ("Boolean", _) => value.is_boolean(),
            ("DeploymentMeta", _) => value.is_object(),
            ("EnvironmentVariables", _) => value.as_object().is_some_and(|all| all.values().all(is_text_or_null)),
            (_, Some(TypeDefinition::Enum(listed))) => {
                let is_excepted =
                    |it: &Exception| it.at == wanted && matches!(it.allows, Allows::Value(one) if value == one);
                listed.values.iter().any(|it| value == it.name.as_str()) || self.exceptions.iter().any(is_excepted)
            }
            _ => false,
        };
        if is_it { Vec::new() } else { vec![format!("{at} is {value}, which is no {wanted}")] }
    }

    /// What is wrong with an answer: it has just what was selected, or errors.
    pub fn judge_answer(&self, operation: &Operation, body: &Value) -> Vec<String> {
        let keys = body.as_object().map(|body| body.keys().map(String::as_str).collect::<Vec<_>>()).unwrap_or_default();
        if let Some(key) = keys.iter().find(|key| !["data", "errors", "extensions"].contains(key)) {
            return vec![format!("an answer has no {key}")];
        }
        if let Some(errors) = body.get("errors") {
            let has_words = |error: &Value| error["message"].is_string();
            let are_some = errors.as_array().is_some_and(|errors| !errors.is_empty() && errors.iter().all(has_words));
            return if are_some { Vec::new() } else { vec![format!("errors are {errors}")] };
        }
        let data = body["data"].as_object().cloned().unwrap_or_default();
        if data.len() != 1 || !data.contains_key(operation.root()) {
            return vec![format!("data is not just {}", operation.root())];
        }
        let known = self.field(operation.kind, operation.root()).expect("it was judged");
        self.judge_shape(&known.field_type, &operation.field, &data[operation.root()], operation.root())
    }

    fn judge_shape(&self, is: &Type<'_, String>, field: &Field, value: &Value, at: &str) -> Vec<String> {
        match (is, value) {
            (Type::NonNullType(_), Value::Null) => vec![format!("{at} of type \"{is}\" must not be null")],
            (Type::NonNullType(is), _) => self.judge_shape(is, field, value, at),
            (_, Value::Null) => Vec::new(),
            (Type::ListType(is), Value::Array(items)) => {
                items.iter().flat_map(|item| self.judge_shape(is, field, item, at)).collect()
            }
            (Type::NamedType(is), Value::Object(all)) if !field.selection_set.items.is_empty() => {
                let wanted = fields(&field.selection_set);
                let extra = all.keys().filter(|name| !wanted.iter().any(|field| field.name == **name));
                let mut wrong: Vec<String> = extra.map(|name| format!("{at}.{name} was not selected")).collect();
                for field in wanted {
                    let known = self.field(is, &field.name).expect("it was judged");
                    let at = format!("{at}.{}", field.name);
                    match all.get(&field.name) {
                        Some(value) => wrong.extend(self.judge_shape(&known.field_type, field, value, &at)),
                        None => wrong.push(format!("{at} is missing")),
                    }
                }
                wrong
            }
            (Type::NamedType(is), _) => self.judge_leaf(is, value, at),
            (Type::ListType(_), _) => vec![format!("{at} is {value}, which is no list")],
        }
    }
}

fn is_text_or_null(value: &Value) -> bool {
    value.is_string() || value.is_null()
}
