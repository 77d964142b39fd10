//! `[[probe]]`: the smoke tests of a consumer.

use std::time::Duration;

use super::claims;
use super::hook_section::{argv, user};
use super::probe_settings::{
    CommandProbe, HttpProbe, JwtProbe, KeyEncoding, Login, LoginBody, Mint, ProbeSettings, Protected, TokenCarrier,
    TokenPlace, TokenSource,
};
use super::reader::Reader;
use super::report::Report;
use super::values::{Bounds, duration, human, method, pointer, scheme, token, url};

const URL: &str = "url = \"http://127.0.0.1:3000/api/me\"";
const LOGIN: &str =
    "login = { url = \"http://127.0.0.1:3000/api/login\", json-file = \"/etc/rekeyd/login.json\", token = \"/token\" }";
const MINT: &str = "mint = { claims = { sub = \"rekeyd\" } }";
const PROTECTED: &str = "protected = { url = \"http://127.0.0.1:3000/api/me\" }";
const COMMAND: &str = "command = [\"/usr/local/bin/check-login\"]";
const TIMEOUT: Bounds = Bounds { least: Duration::from_millis(100), most: Duration::from_secs(3600) };

/// Reads all probes of a secret.
pub(super) fn read(sections: Vec<Reader<'_>>, deadline: Duration, report: &mut Report<'_>) -> Vec<ProbeSettings> {
    sections.into_iter().filter_map(|section| probe(section, deadline, report)).collect()
}

fn probe(mut section: Reader<'_>, deadline: Duration, report: &mut Report<'_>) -> Option<ProbeSettings> {
    let kind = section.choice::<String>("type", &["jwt", "http", "command"], &["retirement", "unit", "impact"], report);
    section.need("type", "type = \"http\"", report);
    match kind?.get_ref().as_str() {
        "jwt" => jwt(section, deadline, report).map(ProbeSettings::Jwt),
        "command" => command(section, deadline, report).map(ProbeSettings::Command),
        _ => http(section, deadline, report).map(ProbeSettings::Http),
    }
}

fn jwt(mut section: Reader<'_>, deadline: Duration, report: &mut Report<'_>) -> Option<JwtProbe> {
    let login = section.table("login", LOGIN, report);
    let mint = section.table("mint", MINT, report);
    let protected = section.table("protected", PROTECTED, report);
    section.need("protected", PROTECTED, report);
    let key = section.choice::<KeyEncoding>("key", &["text", "hex", "base64"], &[], report);
    let timeout = timeout(&mut section, deadline, report);
    match (section.had("login"), section.had("mint")) {
        (false, false) => report.missing(
            section.span(),
            "a jwt probe needs `login` or `mint`",
            format!("add `{LOGIN}` with a test user, or `{MINT}` where there is none"),
        ),
        (true, true) => {
            let span = mint.as_ref().map_or(section.span(), Reader::span);
            report.error(span, "`login` and `mint` exclude each other", "keep `login`: it is the stronger proof");
        }
        _ => {}
    }
    section.finish(report);
    let login = login.and_then(|table| self::login(table, report)).map(TokenSource::Login);
    let mint = mint.and_then(|table| self::mint(table, report)).map(TokenSource::Mint);
    let protected = protected.and_then(|table| self::protected(table, report));
    Some(JwtProbe {
        token: login.or(mint)?,
        protected: protected?,
        key: key.map(|key| key.into_inner()).unwrap_or_default(),
        timeout,
    })
}

fn login(mut table: Reader<'_>, report: &mut Report<'_>) -> Option<Login> {
    let url = table.text("url", URL, report, url);
    table.need("url", URL, report);
    let method = table.text("method", "method = \"POST\"", report, method);
    let json = table.path("json-file", "json-file = \"/etc/rekeyd/login.json\"", report);
    let form = table.path("form-file", "form-file = \"/etc/rekeyd/login.form\"", report);
    exclusive(&table, ["json-file", "form-file"], form.as_ref().map(toml::Spanned::span), report);
    let headers = table.path("header-file", "header-file = \"/etc/rekeyd/login.header\"", report);
    let pointer = table.text("token", "token = \"/token\"", report, pointer);
    let cookie = table.text("token-cookie", "token-cookie = \"session\"", report, token);
    exclusive(&table, ["token", "token-cookie"], cookie.as_ref().map(toml::Spanned::span), report);
    table.finish(report);
    let body = match (json, form) {
        (Some(json), _) => LoginBody::Json(json.into_inner()),
        (None, Some(form)) => LoginBody::Form(form.into_inner()),
        (None, None) => LoginBody::Empty,
    };
    let token = match (cookie, pointer) {
        (Some(cookie), _) => TokenPlace::Cookie(cookie.into_inner()),
        (None, Some(pointer)) => TokenPlace::Pointer(pointer.into_inner()),
        (None, None) => TokenPlace::Pointer("/token".to_owned()),
    };
    let method = method.map_or_else(|| "POST".to_owned(), |method| method.into_inner());
    let headers = headers.map(toml::Spanned::into_inner);
    Some(Login { url: url?.into_inner(), method, body, headers, token })
}

fn mint(mut table: Reader<'_>, report: &mut Report<'_>) -> Option<Mint> {
    let claims = table.take_raw("claims").and_then(|(_, value)| claims::read(value, report));
    table.need("claims", "claims = { sub = \"rekeyd\" }", report);
    let algorithm = table.choice::<String>("algorithm", &["HS256", "HS384", "HS512"], &[], report);
    let bounds = Bounds { least: Duration::from_secs(5), most: Duration::from_secs(3600) };
    let lifetime = table.text("lifetime", "lifetime = \"60s\"", report, |text| duration(text, bounds));
    table.finish(report);
    Some(Mint {
        claims: claims?,
        algorithm: algorithm.map_or_else(|| "HS256".to_owned(), |algorithm| algorithm.into_inner()),
        lifetime: lifetime.map_or(Duration::from_secs(60), |lifetime| lifetime.into_inner()),
    })
}

fn protected(mut table: Reader<'_>, report: &mut Report<'_>) -> Option<Protected> {
    let url = table.text("url", URL, report, url);
    table.need("url", URL, report);
    let method = table.text("method", "method = \"GET\"", report, method);
    let header = table.text("header", "header = \"Authorization\"", report, token);
    let scheme = table.text("scheme", "scheme = \"Bearer\"", report, scheme);
    let cookie = table.text("cookie", "cookie = \"session\"", report, token);
    let span = cookie.as_ref().map(toml::Spanned::span);
    exclusive(&table, ["header", "cookie"], span.clone(), report);
    exclusive(&table, ["scheme", "cookie"], span, report);
    table.finish(report);
    let carrier = match cookie {
        Some(cookie) => TokenCarrier::Cookie(cookie.into_inner()),
        None => TokenCarrier::Header {
            name: header.map_or_else(|| "Authorization".to_owned(), |header| header.into_inner()),
            scheme: scheme.map_or_else(|| "Bearer".to_owned(), |scheme| scheme.into_inner()),
        },
    };
    let method = method.map_or_else(|| "GET".to_owned(), |method| method.into_inner());
    Some(Protected { url: url?.into_inner(), method, carrier })
}

fn http(mut section: Reader<'_>, deadline: Duration, report: &mut Report<'_>) -> Option<HttpProbe> {
    let url = section.text("url", URL, report, url);
    section.need("url", URL, report);
    let method = section.text("method", "method = \"GET\"", report, method);
    let status = section.take::<u32>("status", "status = 200", report);
    let number = status.as_ref().map_or(200, |status| *status.get_ref());
    if let Some(status) = status.filter(|status| !(200..=599).contains(status.get_ref())) {
        report.error(
            status.span(),
            format!("{number} is not a status that ends a request"),
            "write one from 200 to 599",
        );
    }
    let timeout = timeout(&mut section, deadline, report);
    section.finish(report);
    let method = method.map_or_else(|| "GET".to_owned(), |method| method.into_inner());
    Some(HttpProbe { url: url?.into_inner(), method, status: u16::try_from(number).ok()?, timeout })
}

fn command(mut section: Reader<'_>, deadline: Duration, report: &mut Report<'_>) -> Option<CommandProbe> {
    let argv = argv(&mut section, "command", COMMAND, report);
    section.need("command", COMMAND, report);
    let user = section.text("user", "user = \"my-backend\"", report, user);
    if let Some(user) = user.as_ref().filter(|_| report.source.checkout.is_some()) {
        report.error(user.span(), "`user` needs the daemon: without it, programs run as you", "leave it out");
    }
    let timeout = timeout(&mut section, deadline, report);
    section.finish(report);
    Some(CommandProbe { argv: argv?.into_inner(), user: user.map(toml::Spanned::into_inner), timeout })
}

fn timeout(section: &mut Reader<'_>, deadline: Duration, report: &mut Report<'_>) -> Duration {
    let Some(timeout) = section.text("timeout", "timeout = \"20s\"", report, |text| duration(text, TIMEOUT)) else {
        return Duration::from_secs(20);
    };
    if *timeout.get_ref() > deadline {
        let message = format!("`timeout` is longer than the whole rotation's `deadline` of {}", human(deadline));
        report.warning(timeout.span(), message, "make it shorter, or `deadline` under [rotation] longer");
    }
    timeout.into_inner()
}

fn exclusive(
    table: &Reader<'_>,
    [kept, other]: [&str; 2],
    span: Option<std::ops::Range<usize>>,
    report: &mut Report<'_>,
) {
    if table.had(kept) && table.had(other) {
        let span = span.unwrap_or(table.span());
        report.error(span, format!("`{kept}` and `{other}` exclude each other"), "keep one of them");
    }
}
