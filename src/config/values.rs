//! Rules for single values: each takes a text and gives the value, or says what is wrong and what to write.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Span, SpanRelativeTo};

use super::report::Mistake;

/// One day.
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The least and the greatest value of a duration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The least.
    pub least: Duration,
    /// The greatest.
    pub most: Duration,
}

/// A duration: `15m`, `10min`, `30d`, `2h 30min`. A day has 24 hours, a week 7 days.
pub(super) fn duration(text: &str, bounds: Bounds) -> Result<Duration, Mistake> {
    let example = "write a number with a unit, as \"90s\", \"15min\", \"2h 30min\" or \"30d\"";
    let span: Span = text.trim().parse().map_err(|_| Mistake::new(format!("{text:?} is not a duration"), example))?;
    let exact = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| {
        Mistake::new(format!("{text:?} has months or years, whose length varies"), "write it in days, as \"30d\"")
    })?;
    if exact < SignedDuration::ZERO {
        return Err(Mistake::new(format!("{text:?} is negative"), example));
    }
    let exact = exact.unsigned_abs();
    let Bounds { least, most } = bounds;
    if exact < least {
        return Err(Mistake::new(format!("{text:?} is too short"), format!("the least is \"{}\"", human(least))));
    }
    if exact > most {
        return Err(Mistake::new(format!("{text:?} is too long"), format!("the most is \"{}\"", human(most))));
    }
    Ok(exact)
}

/// A duration as a person would write it.
pub(super) fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match duration.subsec_millis() {
        0 if seconds > 0 && seconds.is_multiple_of(86_400) => format!("{}d", seconds / 86_400),
        0 if seconds > 0 && seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        0 if seconds > 0 && seconds.is_multiple_of(60) => format!("{}min", seconds / 60),
        0 => format!("{seconds}s"),
        _ => format!("{}ms", duration.as_millis()),
    }
}

/// An http or https URL with a host and without a user, a password or a fragment.
pub(super) fn url(text: &str) -> Result<String, Mistake> {
    let example = "write it as in \"http://127.0.0.1:3000/api/login\"";
    let (scheme, rest) = text.split_once("://").ok_or_else(|| Mistake::new("this is not a whole URL", example))?;
    if !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) {
        return Err(Mistake::new("only http and https are spoken", example));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        let advice = "leave out the part before the `@`; a login's credentials stand in its `json-file` or `form-file`";
        return Err(Mistake::new("the URL carries a user or password", advice));
    }
    if text.contains('#') {
        return Err(Mistake::new("the part after `#` is never sent to a server", "leave out the `#` and what follows"));
    }
    let uri: ureq::http::Uri = text.parse().map_err(|_| {
        Mistake::new("this is not a valid URL", "write blanks and special characters percent-encoded, as %20")
    })?;
    let host = uri.host().unwrap_or_default();
    let port = authority.get(host.len()..).unwrap_or_default();
    let is_port =
        port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse().is_ok_and(|port: u16| port > 0));
    if host.is_empty() {
        return Err(Mistake::new("the URL has no host", example));
    }
    if !is_port {
        return Err(Mistake::new("the URL's port is not one", "write a port from 1 to 65535 after the host's `:`"));
    }
    Ok(text.to_owned())
}

/// A JSON Pointer (RFC 6901).
pub(super) fn pointer(text: &str) -> Result<String, Mistake> {
    if !text.is_empty() && !text.starts_with('/') {
        let advice = format!("write it with a slash, as \"/{}\"", text.replace('.', "/"));
        return Err(Mistake::new("a JSON pointer is empty or begins with `/`", advice));
    }
    let escapes = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if !escapes {
        return Err(Mistake::new("`~` stands alone in a JSON pointer", "write `~0` for `~` and `~1` for `/`"));
    }
    Ok(text.to_owned())
}

/// An HTTP method.
pub(super) fn method(text: &str) -> Result<String, Mistake> {
    const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    if METHODS.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(Mistake::new(format!("{text:?} is not a method that probes use"), format!("use one of {}", METHODS.join(", "))))
}

/// The name of a header or a cookie: a token by RFC 9110, section 5.6.2.
pub(super) fn token(text: &str) -> Result<String, Mistake> {
    if !text.is_empty() && text.bytes().all(is_token) {
        return Ok(text.to_owned());
    }
    Err(Mistake::new(format!("{text:?} is not a valid name"), "use letters, digits and dashes, without blanks"))
}

/// The scheme before a token in a header; may be empty.
pub(super) fn scheme(text: &str) -> Result<String, Mistake> {
    if text.bytes().all(is_token) {
        return Ok(text.to_owned());
    }
    Err(Mistake::new(format!("{text:?} is not a valid scheme"), "write one word, as \"Bearer\", or \"\" for none"))
}

/// An absolute path.
pub(super) fn absolute(text: &str) -> Result<PathBuf, Mistake> {
    if text.chars().any(char::is_control) {
        return Err(Mistake::new("the path has control characters", "write a plain path"));
    }
    if !text.starts_with('/') {
        let advice = "write the whole path from the root, as \"/etc/rekeyd/login.json\"; `~` is not expanded";
        return Err(Mistake::new(format!("{text:?} is not an absolute path"), advice));
    }
    if text.split('/').any(|part| part == "..") {
        return Err(Mistake::new("the path goes up with `..`", "write the path without `..`"));
    }
    Ok(text.into())
}

/// An absolute path; in a developer's checkout, one from there too.
pub(super) fn path(text: &str, checkout: Option<&Path>) -> Result<PathBuf, Mistake> {
    match checkout {
        Some(checkout) if !text.starts_with(['/', '~']) && !text.is_empty() => {
            if text.chars().any(char::is_control) {
                return Err(Mistake::new("the path has control characters", "write a plain path"));
            }
            // Without the parts that say "here".
            Ok(checkout.join(text).components().collect())
        }
        _ => absolute(text),
    }
}

/// A calendar expression (systemd.time(7)). systemd parses it; here it is only kept from breaking out of its line.
pub(super) fn on_calendar(text: &str) -> Result<String, Mistake> {
    let example = "write a calendar expression of systemd.time(7), as \"monthly\" or \"Sun 03:00\"";
    if text.trim().is_empty() {
        return Err(Mistake::new("the expression is empty", example));
    }
    if text.chars().any(char::is_control) {
        return Err(Mistake::new("the expression has control characters", "give several expressions as a list"));
    }
    if text.contains('\\') || text.chars().count() > 200 {
        return Err(Mistake::new("this is not a calendar expression", example));
    }
    Ok(text.trim().to_owned())
}

/// The name of a process as the kernel has it (proc_pid_comm(5)): at most 15 bytes.
pub(super) fn comm(text: &str) -> Result<String, Mistake> {
    let advice = "write the name that `ps -o comm=` shows, as \"nginx\"";
    if text.is_empty() || text.contains('/') || text.chars().any(char::is_control) {
        return Err(Mistake::new(format!("{text:?} is not a process's name"), advice));
    }
    if text.len() > 15 {
        let advice = format!("the kernel keeps 15 bytes: write {:?}", text.get(..15).unwrap_or("the first 15 bytes"));
        return Err(Mistake::new(format!("{text:?} is longer than a process's name can be"), advice));
    }
    Ok(text.to_owned())
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: Bounds = Bounds { least: Duration::ZERO, most: Duration::from_secs(u64::MAX) };

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in
            [("15m", 900), ("10min", 600), ("30d", 2_592_000), ("2h 30min", 9000), ("90 seconds", 90), ("1w", 604_800)]
        {
            assert_eq!(duration(text, ANY).unwrap(), Duration::from_secs(seconds), "{text}");
        }
        for text in ["", "15", "abc", "-5s", "5s ago", "1 month", "1y", "9999999999999999999999d"] {
            assert!(duration(text, ANY).is_err(), "{text}");
        }
        assert_eq!(duration("500ms", ANY).unwrap(), Duration::from_millis(500));
    }

    #[test]
    fn only_whole_http_urls_without_credentials_pass() {
        for text in ["http://127.0.0.1:3000/api", "https://a.example", "http://[::1]:80/x?y=1", "HTTP://localhost/"] {
            assert!(url(text).is_ok(), "{text}");
        }
        for text in [
            "",
            "localhost:3000",
            "ftp://a/",
            "http://",
            "http:///x",
            "http://u:p@h/",
            "http://h:99999/",
            "http://h:/",
            "http://h/#x",
            "http://h/a b",
            "http://:80/",
            "http://ä/",
            "http://h\n/",
        ] {
            assert!(url(text).is_err(), "{text}");
        }
        assert!(!url("http://me:geheim@h/").unwrap_err().message.contains("geheim"));
    }

    #[test]
    fn pointers_paths_and_calendars_keep_their_form() {
        assert!(pointer("").is_ok() && pointer("/a/b").is_ok());
        assert_eq!(pointer("data.token").unwrap_err().advice, "write it with a slash, as \"/data/token\"");
        assert!(pointer("/a~2").is_err());
        assert!(absolute("/etc/x").is_ok());
        assert!(absolute("x").is_err() && absolute("~/x").is_err() && absolute("/a/../b").is_err());
        let here = Some(Path::new("/home/me/app"));
        assert_eq!(path(".env", here).unwrap(), Path::new("/home/me/app/.env"));
        assert_eq!(path("/etc/x", here).unwrap(), Path::new("/etc/x"));
        assert!(path("", here).is_err() && path("~/x", here).is_err() && path("a\n", here).is_err());
        assert!(path(".env", None).is_err());
        assert_eq!(on_calendar(" monthly ").unwrap(), "monthly");
        assert!(on_calendar(" ").is_err() && on_calendar("a\nb").is_err() && on_calendar("monthly\\").is_err());
    }
}
