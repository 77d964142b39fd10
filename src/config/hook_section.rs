//! `[logout]` and `re-encrypt`: what is done once a rotation is proven.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;

use super::reader::Reader;
use super::report::{Mistake, Report};
use super::settings::{HookAct, HookSettings};
use super::values::{Bounds, duration, method, url};

const COMMAND: &str = "command = [\"/usr/local/bin/log-everybody-out\"]";
const BOUNDS: Bounds = Bounds { least: Duration::from_millis(100), most: Duration::from_secs(3600) };

/// Reads `[logout]`.
pub(super) fn logout(mut section: Reader<'_>, report: &mut Report<'_>) -> Option<HookSettings> {
    let argv = argv(&mut section, "command", COMMAND, report);
    let user = section.text("user", "user = \"my-backend\"", report, user);
    let url = section.text("url", "url = \"http://127.0.0.1:3000/internal/logout\"", report, url);
    let method = section.text("method", "method = \"POST\"", report, method);
    let headers = section.path("header-file", "header-file = \"/etc/rekeyd/logout.header\"", report);
    let timeout = section.text("timeout", "timeout = \"30s\"", report, |text| duration(text, BOUNDS));
    match (section.had("command"), section.had("url")) {
        (true, true) => {
            let message = "`command` and `url` exclude each other";
            report.error(url.as_ref().map_or(section.span(), Spanned::span), message, "keep one of them");
        }
        (false, false) => {
            report.missing(section.span(), "[logout] needs `command` or `url`", format!("add `{COMMAND}`"));
        }
        _ => {}
    }
    let misplaced = [
        ("user", "command", user.as_ref().map(Spanned::span)),
        ("method", "url", method.as_ref().map(Spanned::span)),
        ("header-file", "url", headers.as_ref().map(Spanned::span)),
    ];
    for (key, of, span) in misplaced {
        if let Some(span) = span.filter(|_| !section.had(of)) {
            report.error(span, format!("`{key}` means nothing without `{of}`"), "leave it out");
        }
    }
    section.finish(report);
    let command = argv.map(|argv| HookAct::Command { argv: argv.into_inner(), user: user.map(Spanned::into_inner) });
    let call = url.map(|url| HookAct::Http {
        url: url.into_inner(),
        method: method.map_or_else(|| "POST".to_owned(), Spanned::into_inner),
        headers: headers.map(Spanned::into_inner),
    });
    let timeout = timeout.map_or(Duration::from_secs(30), Spanned::into_inner);
    Some(HookSettings { act: command.or(call)?, timeout })
}

/// Reads `[secret] re-encrypt`.
pub(super) fn re_encrypt(section: &mut Reader<'_>, report: &mut Report<'_>) -> Option<(Range<usize>, HookSettings)> {
    let argv = argv(section, "re-encrypt", "re-encrypt = [\"/usr/local/bin/re-encrypt\"]", report)?;
    let act = HookAct::Command { argv: argv.get_ref().clone(), user: None };
    Some((argv.span(), HookSettings { act, timeout: BOUNDS.most }))
}

pub(super) fn argv(
    section: &mut Reader<'_>,
    key: &'static str,
    example: &'static str,
    report: &mut Report<'_>,
) -> Option<Spanned<Vec<String>>> {
    let argv = section.texts(key, example, report, argument)?;
    let span = argv.span();
    let mut words: Vec<String> = argv.into_inner().into_iter().map(Spanned::into_inner).collect();
    if let (Some(checkout), Some(program)) = (&report.source.checkout, words.first_mut()) {
        // In a developer's checkout, a program without a slash is found by $PATH.
        if program.contains('/') {
            *program = checkout.join(&*program).components().collect::<PathBuf>().display().to_string();
        }
        return Some(Spanned::new(span, words));
    }
    let is_absolute = words.first().is_some_and(|program| Path::new(program).is_absolute());
    if !is_absolute {
        report.error(
            span.clone(),
            format!("`{key}` does not begin with an absolute path"),
            format!("write `{example}`"),
        );
    }
    is_absolute.then(|| Spanned::new(span, words))
}

fn argument(text: &str) -> Result<String, Mistake> {
    if text.contains('\0') {
        return Err(Mistake::new("an argument cannot have a NUL character", "leave it out"));
    }
    Ok(text.to_owned())
}

pub(super) fn user(text: &str) -> Result<String, Mistake> {
    let is_name = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    if is_name { Ok(text.to_owned()) } else { Err(Mistake::new(format!("{text:?} is no user"), "write a user's name")) }
}
