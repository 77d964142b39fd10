//! What platforms say, and how much of it may be told: in one line, without a value, without what could be one.

use serde::Deserialize;
use ureq::http::Uri;
use zeroize::Zeroizing;

use super::api::encoded;
use crate::secret::SecretValue;

/// A word that is as long may be a value.
const OPAQUE: usize = 24;
/// Of what a platform says about an error, this much is told.
const TOLD: usize = 240;

/// What the four say about an error, in all their spellings.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Trouble {
    error: Option<Inner>,
    code: Option<serde_json::Value>,
    message: Option<String>,
    msg: Option<String>,
    errors: Vec<Inner>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Inner {
    code: Option<String>,
    message: Option<String>,
    invalid_token: bool,
    missing_token: bool,
    limit: Option<Limit>,
}

#[derive(Deserialize)]
struct Limit {
    reset: Option<i64>,
}

impl Trouble {
    pub(super) fn code(&self) -> String {
        let outer = self.code.as_ref().and_then(serde_json::Value::as_str);
        let code = self.error.as_ref().and_then(|error| error.code.as_deref()).or(outer).unwrap_or_default();
        let is_plain = code.len() <= 64 && code.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
        if is_plain { code.to_owned() } else { String::new() }
    }

    pub(super) fn words(&self) -> String {
        let inner = self.error.as_ref().and_then(|error| error.message.clone());
        let inner = inner.or_else(|| self.errors.first()?.message.clone());
        inner.or_else(|| self.message.clone()).or_else(|| self.msg.clone()).unwrap_or_default()
    }

    pub(super) fn is_of_the_token(&self) -> bool {
        self.error.as_ref().is_some_and(|error| error.invalid_token || error.missing_token)
    }

    pub(super) fn reset(&self) -> Option<i64> {
        self.error.as_ref()?.limit.as_ref()?.reset
    }
}

/// The page that a platform says to look at, where it is one of these hosts of its own: what else a gateway says there may be
/// anything.
pub(super) fn page_at(url: &str, hosts: &[&str]) -> Option<String> {
    let host = url.parse::<Uri>().ok()?.host()?.to_ascii_lowercase();
    let is_of = |of: &&str| host.strip_suffix(*of).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    (url.starts_with("https://") && hosts.iter().any(is_of)).then(|| plain(url))
}

/// A text in one line, without what a terminal would obey, and not too long.
pub(super) fn plain(text: &str) -> String {
    cut(in_one_line(text))
}

/// A text without what a terminal would obey.
pub(super) fn in_one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// The beginning of a line, up to the end of a word: half a value would not be known for one.
pub(super) fn cut(line: String) -> String {
    let Some((end, _)) = line.char_indices().nth(TOLD) else { return line };
    let end = line[..end].rfind(' ').unwrap_or(0);
    format!("{}…", &line[..end])
}

/// A text without its long words of letters, digits and what base64 has besides.
pub(super) fn without_opaque(text: &str) -> String {
    let is_of_word = |c: char| c.is_ascii_alphanumeric() || "_-+/=".contains(c);
    let mut told = String::with_capacity(text.len());
    for part in text.split_inclusive(|c| !is_of_word(c)) {
        let word = part.trim_end_matches(|c| !is_of_word(c));
        let shown = if word.len() < OPAQUE { word } else { "…" };
        told.push_str(shown);
        told.push_str(&part[word.len()..]);
    }
    told
}

/// A text without these values, in whatever way they may stand in it.
pub(super) fn hiding(text: &str, values: &[&SecretValue]) -> String {
    let has_one = values.iter().filter_map(|value| std::str::from_utf8(value.reveal()).ok()).any(|value| {
        let quoted = serde_json::to_string(value).map(Zeroizing::new).unwrap_or_default();
        let in_quotes = quoted.trim_matches('"');
        text.contains(value) || text.contains(in_quotes) || text.contains(Zeroizing::new(encoded(value)).as_str())
    });
    if has_one { "(not told: a value is in it)".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_short_in_one_line_and_has_no_value_in_it() {
        let value = SecretValue::new(b"a+b/c=\"d".to_vec());
        for text in ["x a+b/c=\"d y", "x a+b/c=\\\"d y", "x a%2Bb%2Fc%3D%22d y"] {
            assert_eq!(hiding(text, &[&value]), "(not told: a value is in it)");
        }
        assert_eq!(hiding("plain", &[&value]), "plain");
        let page = |url| page_at(url, &["vercel.com"]);
        assert_eq!(page("https://vercel.com/team/app/1").as_deref(), Some("https://vercel.com/team/app/1"));
        assert_eq!(page("https://www.Vercel.com/").as_deref(), Some("https://www.Vercel.com/"));
        for other in
            ["https://evilvercel.com/", "http://vercel.com/", "https://vercel.com@evil.test/", "vercel.com", "x y", ""]
        {
            assert_eq!(page(other), None, "{other}");
        }
        assert_eq!(plain("a\n\u{1b}[31m b\tc"), "a [31m b c");
        assert!(plain(&"é ".repeat(1000)).chars().count() < 250);
        assert_eq!(without_opaque("no first-value-of-the-backend, sorry"), "no …, sorry");
        assert_eq!(without_opaque("no dpl_1, sorry."), "no dpl_1, sorry.");
    }
}
