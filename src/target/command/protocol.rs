//! What rekeyd and a program that is a target say to each other: rekeyd-command(7). Pure.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::rotation::{Generation, View};
use crate::secret::{SecretValue, has_value};
use crate::sys::command::End;

/// The protocol's number.
pub const PROTOCOL: u32 = 1;
/// The longest answer.
pub const LONGEST: usize = 64 * 1024;
/// The most details, and the longest of them.
const DETAILS: usize = 32;
const DETAIL: usize = 1024;

/// What a program is asked to do: its last argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Tell the value in force.
    Adopt,
    /// Look for obstacles, touching nothing.
    Preflight,
    /// Put the view in place and read it back.
    Deliver,
    /// Make the consumer take it.
    Activate,
    /// Show that the consumer uses it.
    Prove,
    /// End what earlier views still allow.
    Tidy,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Adopt, Self::Preflight, Self::Deliver, Self::Activate, Self::Prove, Self::Tidy];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Adopt => "adopt",
            Self::Preflight => "preflight",
            Self::Deliver => "deliver",
            Self::Activate => "activate",
            Self::Prove => "prove",
            Self::Tidy => "tidy",
        }
    }

    /// Whether it changes something: then an end that was not meant leaves nobody knowing how far it had come.
    pub fn acts(self) -> bool {
        matches!(self, Self::Deliver | Self::Activate | Self::Tidy)
    }
}

/// The question, on standard input.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Request {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// What to do.
    pub verb: Verb,
    /// The secret.
    pub secret: String,
    /// Its variable, as `[secret] env` says.
    pub env: String,
    /// Names the rotation and the movement, and stays the same when a step is done again; empty outside of rotations.
    pub mark: String,
    /// Whether a movement is undone.
    pub back: bool,
    /// The generations that the consumer is to have; none where that is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<Numbers>,
    /// As they are configured.
    pub settings: Map<String, Value>,
    /// The details that `preflight` told before anything was touched.
    pub found: BTreeMap<String, String>,
    /// The details that `deliver` told last.
    pub noted: BTreeMap<String, String>,
    /// How many seconds it has.
    pub time_limit: u64,
}

/// A view, by its numbers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Numbers {
    /// The generation whose value `$REKEYD_VALUE_FILE` has.
    pub primary: Generation,
    /// Those that are accepted besides, in the order of `$REKEYD_ACCEPTED_FILES`.
    pub accepted: Vec<Generation>,
}

impl From<&View> for Numbers {
    fn from(view: &View) -> Self {
        Self { primary: view.primary, accepted: view.accepted.clone() }
    }
}

impl Request {
    /// The same as variables, for programs that read no JSON.
    pub fn environment(&self) -> Vec<String> {
        let mut environment = vec![
            format!("REKEYD_PROTOCOL={PROTOCOL}"),
            format!("REKEYD_VERB={}", self.verb.as_str()),
            format!("REKEYD_SECRET={}", self.secret),
            format!("REKEYD_ENV={}", self.env),
            format!("REKEYD_MARK={}", self.mark),
            format!("REKEYD_BACK={}", u8::from(self.back)),
            format!("REKEYD_TIME_LIMIT={}", self.time_limit),
        ];
        if let Some(view) = &self.view {
            let accepted: Vec<String> = view.accepted.iter().map(ToString::to_string).collect();
            environment.push(format!("REKEYD_PRIMARY={}", view.primary));
            environment.push(format!("REKEYD_ACCEPTED={}", accepted.join(" ")));
        }
        for (name, value) in &self.settings {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Bool(_) | Value::Number(_) => value.to_string(),
                // What has parts is for those that read JSON.
                Value::Null | Value::Array(_) | Value::Object(_) => continue,
            };
            environment.extend(variable("SETTING", name, &text));
        }
        for (of, details) in [("FOUND", &self.found), ("NOTED", &self.noted)] {
            environment.extend(details.iter().filter_map(|(name, value)| variable(of, name, value)));
        }
        environment
    }
}

fn variable(of: &str, name: &str, value: &str) -> Option<String> {
    let plain = !value.chars().any(char::is_control);
    plain.then(|| format!("REKEYD_{of}_{}={value}", name.to_ascii_uppercase().replace('-', "_")))
}

/// To `adopt`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adopted {
    /// The value in force.
    #[serde(deserialize_with = "secret")]
    pub value: SecretValue,
}

/// To `preflight`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Looked {
    /// Whether the consumer runs; one that was stopped on purpose stays stopped.
    pub running: bool,
    /// What it must know to go on.
    pub details: BTreeMap<String, String>,
}

impl Default for Looked {
    fn default() -> Self {
        Self { running: true, details: BTreeMap::new() }
    }
}

/// To `deliver`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Delivered {
    /// What it must know to go on.
    pub details: BTreeMap<String, String>,
}

/// To `activate`, `prove` and `tidy`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Done {
    /// What was done or seen, for people.
    pub message: String,
}

/// To every verb, with a status other than 0.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Problem {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    #[serde(default)]
    pub advice: String,
}

fn secret<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<SecretValue, D::Error> {
    String::deserialize(deserializer).map(|text| SecretValue::new(text.into_bytes()))
}

/// How a program said that it ended.
#[derive(Debug)]
pub enum Word {
    /// Status 0: its answer is on standard output.
    Done,
    /// Status 3: it touched nothing.
    Refused(Problem),
    /// Status 1: it did not work.
    Failed(Problem),
    /// Status 4: nobody can tell whether it did.
    Unsure(Problem),
    /// In another way, or without a word: it was not meant to end so. In words.
    Unplanned(String),
}

impl Word {
    /// What `end` and an answer say. A status counts only with a word on what is wrong, since a program that breaks off may
    /// end with any status.
    pub fn of(end: &End, answer: &[u8], argv: &[String]) -> Self {
        let unplanned = || Self::Unplanned(end.problem(argv).unwrap_or_default());
        let status = match end {
            End::Well => return Self::Done,
            End::Status(status @ (1 | 3 | 4)) => *status,
            _ => return unplanned(),
        };
        match read::<Problem>(answer) {
            Ok(problem) if !problem.message.trim().is_empty() => match status {
                1 => Self::Failed(problem),
                3 => Self::Refused(problem),
                _ => Self::Unsure(problem),
            },
            _ => unplanned(),
        }
    }
}

/// Reads an answer; nothing at all stands for `{}`.
///
/// # Errors
/// What is wrong with it, and where, without a word of what it says.
pub fn read<T: DeserializeOwned>(answer: &[u8]) -> Result<T, String> {
    if answer.len() > LONGEST {
        return Err(format!("its answer is longer than {} KiB", LONGEST / 1024));
    }
    let answer = if answer.trim_ascii().is_empty() { b"{}" } else { answer };
    serde_json::from_slice(answer).map_err(|error| {
        let what = if error.is_data() { "has a wrong or unknown field" } else { "is not JSON" };
        format!("its answer {what} (line {}, column {})", error.line(), error.column())
    })
}

/// Details as they may be recorded.
///
/// # Errors
/// What is wrong with them.
pub fn checked(details: BTreeMap<String, String>, values: &[&SecretValue]) -> Result<BTreeMap<String, String>, String> {
    if details.len() > DETAILS {
        return Err(format!("its answer has more than {DETAILS} details"));
    }
    for (name, value) in &details {
        let is_plain = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.len() <= 64
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !is_plain {
            return Err("the name of a detail is not of lower-case letters, digits and dashes".to_owned());
        }
        if value.len() > DETAIL || value.chars().any(char::is_control) {
            return Err(format!("the detail {name} is longer than {DETAIL} bytes, or has control characters"));
        }
        if has_value(value.as_bytes(), values) {
            return Err(format!("the detail {name} has the secret's value in it, and is dropped"));
        }
    }
    Ok(details)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(status: i32, answer: &str) -> Word {
        let end = if status == 0 { End::Well } else { End::Status(status) };
        Word::of(&end, answer.as_bytes(), &["/x/program".to_owned()])
    }

    #[test]
    fn a_status_counts_with_a_word_and_is_an_accident_without() {
        let because = r#"{"message":"no such role"}"#;
        assert!(matches!(word(0, ""), Word::Done));
        assert!(matches!(word(1, because), Word::Failed(problem) if problem.message == "no such role"));
        assert!(matches!(word(3, because), Word::Refused(_)));
        assert!(matches!(word(4, because), Word::Unsure(_)));
        for (status, answer) in [(1, ""), (3, "{}"), (4, r#"{"message":" "}"#), (2, because), (127, because), (1, "oh")]
        {
            assert!(matches!(word(status, answer), Word::Unplanned(how) if how.contains("program ended with status")));
        }
    }

    #[test]
    fn answers_are_read_strictly_and_never_cited() {
        assert!(read::<Looked>(b" \n").unwrap().running);
        assert!(!read::<Looked>(br#"{"running":false,"details":{"role":"a"}}"#).unwrap().running);
        for answer in [r#"{"vale":"geheim"}"#, r#"{"value":7}"#, "geheim", r#"{"value":"geheim"} x"#, "[]", "{}"] {
            let error = read::<Adopted>(answer.as_bytes()).err().unwrap();
            assert!(!error.contains("geheim") && error.contains("line 1"), "{error}");
        }
        assert!(read::<Done>(&vec![b' '; LONGEST + 1]).is_err());
    }

    #[test]
    fn what_is_recorded_has_no_value_in_it() {
        let value = SecretValue::new(b"0123456789".to_vec());
        let details = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        assert!(checked(details("role", "a"), &[&value]).is_ok());
        for (name, text) in [("Role", "a"), ("", "a"), ("a", "x\ny"), ("a", "x0123456789")] {
            assert!(checked(details(name, text), &[&value]).is_err(), "{name} {text}");
        }
    }

    #[test]
    fn what_a_shell_script_needs_is_in_its_environment() {
        let mut request = Request {
            protocol: PROTOCOL,
            verb: Verb::Deliver,
            secret: "db".to_owned(),
            env: "PGPASSWORD".to_owned(),
            mark: "7124-1".to_owned(),
            back: true,
            view: Some(Numbers { primary: Generation(3), accepted: vec![Generation(2), Generation(1)] }),
            settings: Map::new(),
            found: BTreeMap::from([("role-a".to_owned(), "x y".to_owned())]),
            noted: BTreeMap::new(),
            time_limit: 60,
        };
        request.settings.insert("port".to_owned(), 5432.into());
        request.settings.insert("list".to_owned(), vec![1].into());
        let environment = request.environment();
        for wanted in ["REKEYD_VERB=deliver", "REKEYD_PRIMARY=3", "REKEYD_ACCEPTED=2 1", "REKEYD_BACK=1"]
            .into_iter()
            .chain(["REKEYD_SETTING_PORT=5432", "REKEYD_FOUND_ROLE_A=x y", "REKEYD_MARK=7124-1"])
        {
            assert!(environment.contains(&wanted.to_owned()), "{wanted}: {environment:?}");
        }
        assert!(!environment.iter().any(|variable| variable.contains("LIST")));
    }
}
