//! A document that was judged, and what it selects.

use graphql_parser::query::{self, Selection};
use serde_json::{Map, Value, json};

pub(super) type Field = query::Field<'static, String>;

/// A document that is valid, with its variables.
pub struct Operation {
    pub(super) kind: &'static str,
    pub(super) field: Field,
    pub(super) variables: Map<String, Value>,
}

impl Operation {
    /// The field of the root.
    pub fn root(&self) -> &str {
        &self.field.name
    }

    /// The values of the arguments of a field below the root's.
    pub fn arguments(&self, path: &[&str]) -> Map<String, Value> {
        let within = path.iter().try_fold(&self.field, |field, name| {
            fields(&field.selection_set).into_iter().find(|field| field.name == *name)
        });
        let arguments = within.into_iter().flat_map(|field| &field.arguments);
        arguments.map(|(name, value)| (name.clone(), self.value(value))).collect()
    }

    fn value(&self, value: &query::Value<'static, String>) -> Value {
        match value {
            query::Value::Variable(name) => self.variables.get(name).cloned().unwrap_or_default(),
            query::Value::Int(number) => json!(number.as_i64()),
            query::Value::Boolean(is) => json!(is),
            query::Value::String(text) => json!(text),
            _ => Value::Null,
        }
    }

    /// What was selected of all that there is.
    pub fn select(&self, all: &Value) -> Value {
        select(&self.field, all)
    }
}

fn select(field: &Field, all: &Value) -> Value {
    match all {
        Value::Array(items) => items.iter().map(|item| select(field, item)).collect(),
        Value::Object(all) if !field.selection_set.items.is_empty() => {
            let wanted = fields(&field.selection_set).into_iter();
            wanted.filter_map(|it| Some((it.name.clone(), select(it, all.get(&it.name)?)))).collect()
        }
        other => other.clone(),
    }
}

/// The fields of a selection.
pub(super) fn fields<'a>(selection: &'a query::SelectionSet<'static, String>) -> Vec<&'a Field> {
    selection
        .items
        .iter()
        .map(|selection| match selection {
            Selection::Field(field) => field,
            _ => panic!("fragments are not judged"),
        })
        .collect()
}
