//! Judges documents, their variables and the answers to them by a GraphQL schema: as much of the specification as documents
//! without fragments, directives and aliases need, which are refused.

use graphql_parser::query::{self, OperationDefinition};
use graphql_parser::schema::{self, Definition, InputValue, Type, TypeDefinition};
use serde_json::Value;

use super::exceptions::Exception;

mod operation;
mod values;

pub use operation::Operation;
use operation::{Field, fields};

type Variable = query::VariableDefinition<'static, String>;

/// A schema.
pub struct GraphQl {
    document: schema::Document<'static, String>,
    exceptions: &'static [Exception],
}

impl GraphQl {
    pub fn new(text: &str, exceptions: &'static [Exception]) -> Self {
        let document = graphql_parser::parse_schema::<String>(text).expect("a schema").into_static();
        Self { document, exceptions }
    }

    /// The operation of a request, or what is wrong with it.
    pub fn operation(&self, body: &Value) -> Result<Operation, Vec<String>> {
        let one = |wrong: &str| vec![wrong.to_owned()];
        if let Some(name) = body
            .as_object()
            .and_then(|body| body.keys().find(|name| !["query", "variables", "operationName"].contains(&name.as_str())))
        {
            return Err(vec![format!("a request has no {name}")]);
        }
        let text = body["query"].as_str().ok_or_else(|| one("there is no document"))?;
        let document = graphql_parser::parse_query::<String>(text).map_err(|error| vec![error.to_string()])?;
        let document = document.into_static();
        let [query::Definition::Operation(operation)] = document.definitions.as_slice() else {
            return Err(one("a document with other than one operation is not judged"));
        };
        let (kind, declared, selection) = match operation {
            OperationDefinition::SelectionSet(selection) => ("Query", &Vec::new(), selection),
            OperationDefinition::Query(query) => ("Query", &query.variable_definitions, &query.selection_set),
            OperationDefinition::Mutation(it) => ("Mutation", &it.variable_definitions, &it.selection_set),
            _ => return Err(one("neither a query nor a mutation")),
        };
        let [field] = fields(selection)[..] else { return Err(one("other than one field of the root is not judged")) };
        let mut used = Vec::new();
        let mut wrong = self.judge_field(kind, field, declared, &mut used);
        let unused = declared.iter().filter(|it| !used.contains(&it.name));
        wrong.extend(unused.map(|it| format!("Variable \"${}\" is never used", it.name)));
        let variables = body["variables"].as_object().cloned().unwrap_or_default();
        wrong.extend(self.judge_variables(declared, &variables));
        if wrong.is_empty() { Ok(Operation { kind, field: field.clone(), variables }) } else { Err(wrong) }
    }

    fn judge_field(&self, of: &str, field: &Field, declared: &[Variable], used: &mut Vec<String>) -> Vec<String> {
        let Some(known) = self.field(of, &field.name) else {
            return vec![format!("Cannot query field \"{}\" on type \"{of}\"", field.name)];
        };
        let mut wrong = Vec::new();
        if field.alias.is_some() || !field.directives.is_empty() {
            wrong.push(format!("the alias or directive of {} is not judged", field.name));
        }
        for (name, value) in &field.arguments {
            match known.arguments.iter().find(|it| it.name == *name) {
                Some(argument) => wrong.extend(self.judge_argument(argument, value, declared, used)),
                None => wrong.push(format!("Unknown argument \"{name}\" on field \"{of}.{}\"", field.name)),
            }
        }
        let is_absent = |it: &&InputValue<'_, String>| !field.arguments.iter().any(|(name, _)| *name == it.name);
        let absent = known.arguments.iter().filter(|it| is_required(it)).filter(is_absent);
        wrong.extend(absent.map(|it| format!("Field \"{}\" needs the argument \"{}\"", field.name, it.name)));
        let within = name(&known.field_type);
        let is_object = matches!(self.find(within), Some(TypeDefinition::Object(_)));
        if is_object == field.selection_set.items.is_empty() {
            wrong.push(format!("Field \"{}\" of type \"{within}\" must have a selection, or have none", field.name));
        } else if is_object {
            let fields = fields(&field.selection_set).into_iter();
            wrong.extend(fields.flat_map(|field| self.judge_field(within, field, declared, used)));
        }
        wrong
    }

    fn judge_argument(
        &self,
        argument: &InputValue<'_, String>,
        value: &query::Value<'static, String>,
        declared: &[Variable],
        used: &mut Vec<String>,
    ) -> Vec<String> {
        let wanted = &argument.value_type;
        let is_it = match value {
            query::Value::Variable(name) => {
                used.push(name.clone());
                let variable = declared.iter().find(|it| it.name == *name);
                variable.is_some_and(|it| is_usable(&it.var_type, wanted, argument.default_value.is_some()))
            }
            query::Value::Int(_) => name(wanted) == "Int",
            query::Value::Boolean(_) => name(wanted) == "Boolean",
            query::Value::String(_) => ["String", "ID"].contains(&name(wanted)),
            _ => false,
        };
        if is_it {
            Vec::new()
        } else {
            vec![format!("{value} cannot be the argument \"{}\" of type \"{wanted}\"", argument.name)]
        }
    }

    fn find(&self, name: &str) -> Option<&TypeDefinition<'static, String>> {
        self.document.definitions.iter().find_map(|definition| match definition {
            Definition::TypeDefinition(it) => Some(it).filter(|it| type_name(it) == name),
            _ => None,
        })
    }

    fn field(&self, of: &str, name: &str) -> Option<&schema::Field<'static, String>> {
        match self.find(of)? {
            TypeDefinition::Object(object) => object.fields.iter().find(|field| field.name == name),
            _ => None,
        }
    }
}

fn type_name<'a>(definition: &'a TypeDefinition<'static, String>) -> &'a str {
    match definition {
        TypeDefinition::Scalar(it) => &it.name,
        TypeDefinition::Object(it) => &it.name,
        TypeDefinition::Interface(it) => &it.name,
        TypeDefinition::Union(it) => &it.name,
        TypeDefinition::Enum(it) => &it.name,
        TypeDefinition::InputObject(it) => &it.name,
    }
}

/// The name in a type, without what is around it.
fn name<'a>(of: &'a Type<'_, String>) -> &'a str {
    match of {
        Type::NamedType(name) => name,
        Type::ListType(within) | Type::NonNullType(within) => name(within),
    }
}

fn is_plain(name: &str) -> bool {
    ["String", "ID", "Int", "Float", "Boolean"].contains(&name)
}

fn is_required(value: &InputValue<'_, String>) -> bool {
    matches!(value.value_type, Type::NonNullType(_)) && value.default_value.is_none()
}

/// Whether a variable of this type can stand where that one is wanted.
fn is_usable(has: &Type<'_, String>, wanted: &Type<'_, String>, has_default: bool) -> bool {
    match (has, wanted) {
        (Type::NonNullType(has), Type::NonNullType(wanted)) => is_usable(has, wanted, false),
        (_, Type::NonNullType(wanted)) => has_default && is_usable(has, wanted, false),
        (Type::NonNullType(has), wanted) => is_usable(has, wanted, false),
        (Type::ListType(has), Type::ListType(wanted)) => is_usable(has, wanted, false),
        (Type::NamedType(has), Type::NamedType(wanted)) => has == wanted,
        _ => false,
    }
}
