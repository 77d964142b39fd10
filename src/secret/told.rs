//! What other people's programs say, as it may be told: never with a value in it.

use super::SecretValue;
use super::forms::forms;

/// The most that is told of a message, in characters.
const MESSAGE: usize = 500;
/// What is told in place of a message that has a value in it.
const WITHHELD: &str = "(its message has the secret's value in it, and is withheld)";

/// A message as people may see it: in one line, not too long, and nothing where it has one of the `values` in it.
pub fn told(message: &str, values: &[&SecretValue]) -> String {
    if has_value(message.as_bytes(), values) {
        return WITHHELD.to_owned();
    }
    let line: String = message.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(MESSAGE).collect();
    line.trim_end_matches('.').to_owned()
}

/// The last line of what was printed, likewise.
pub fn last_line_told(printed: &[u8], values: &[&SecretValue]) -> String {
    if has_value(printed, values) {
        return WITHHELD.to_owned();
    }
    let text = String::from_utf8_lossy(printed);
    told(text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default(), values)
}

/// Whether one of the `values` is in it, as it is or encoded. A value that is as short as a word may be a word.
pub fn has_value(text: &[u8], values: &[&SecretValue]) -> bool {
    let is_in = |form: &[u8]| text.windows(form.len()).any(|part| part == form);
    values.iter().any(|value| forms(value).iter().any(|(_, form)| is_in(form)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_a_line_without_a_value() {
        let value = SecretValue::new(b"0123456789".to_vec());
        assert_eq!(told(" role a\nlogged in.", &[&value]), "role a logged in");
        assert_eq!(told("it is 0123456789!", &[&value]), WITHHELD);
        assert_eq!(told("it is 30313233343536373839", &[&value]), WITHHELD);
        assert_eq!(last_line_told(b"one\ntwo\n\n", &[&value]), "two");
        assert_eq!(last_line_told(b"", &[&value]), "");
        assert_eq!(last_line_told(b"0123456789\nfine\n", &[&value]), WITHHELD);
    }
}
