//! `rekeyd.toml`: settings of the daemon as a whole.

use std::time::Duration;

use toml::Spanned;

use super::hook_section;
use super::reader::Reader;
use super::report::{Mistake, Report};
use super::values::{Bounds, absolute, duration, url};
use super::{DaemonSettings, Event, NotifySettings};

/// Reads the file; what is wrong keeps its default and is in the report.
pub(super) fn read(mut root: Reader<'_>, report: &mut Report<'_>) -> DaemonSettings {
    let mut settings = DaemonSettings::default();
    let daemon = root.table("daemon", "[daemon]", report);
    let notify = root.table("notify", "[notify]", report);
    let metrics = root.table("metrics", "[metrics]", report);
    root.finish(report);
    settings.notify = notify.map_or_else(NotifySettings::default, |section| self::notify(section, report));
    if let Some(mut section) = metrics {
        let file = section.text("file", "file = \"/run/rekeyd/metrics/rekeyd.prom\"", report, |text| match text {
            "" => Ok(None),
            text => absolute(text).map(Some),
        });
        settings.metrics = file.map_or(settings.metrics, |file| file.into_inner());
        section.finish(report);
    }
    if let Some(mut daemon) = daemon {
        let bounds = Bounds { least: Duration::from_secs(1), most: settings.stop_timeout };
        let timeout = daemon.text("stop-timeout", "stop-timeout = \"60s\"", report, |text| duration(text, bounds));
        if let Some(timeout) = timeout {
            settings.stop_timeout = timeout.into_inner();
        }
        daemon.finish(report);
    }
    settings
}

const COMMAND: &str = "command = [\"/usr/local/bin/page-me\"]";

fn notify(mut section: Reader<'_>, report: &mut Report<'_>) -> NotifySettings {
    let default = NotifySettings::default();
    let command = hook_section::argv(&mut section, "command", COMMAND, report);
    let user = section.text("user", "user = \"nobody\"", report, hook_section::user);
    let webhook = section.text("webhook", "webhook = \"https://hooks.example/rekeyd\"", report, url);
    let headers = section.text("header-file", "header-file = \"/etc/rekeyd/webhook.header\"", report, absolute);
    for (key, of, span) in [
        ("user", "command", user.as_ref().map(Spanned::span)),
        ("header-file", "webhook", headers.as_ref().map(Spanned::span)),
    ] {
        if let Some(span) = span.filter(|_| !section.had(of)) {
            report.error(span, format!("`{key}` means nothing without `{of}`"), "leave it out");
        }
    }
    let on = section.texts("on", "on = [\"failure\", \"hold\"]", report, event);
    let bounds = Bounds { least: Duration::ZERO, most: Duration::from_secs(366 * 86_400) };
    let repeat = section.text("repeat", "repeat = \"1d\"", report, |text| duration(text, bounds));
    section.finish(report);
    let (user, headers) = (user.map(Spanned::into_inner), headers.map(Spanned::into_inner));
    NotifySettings {
        command: command.map(|argv| (argv.into_inner(), user)),
        webhook: webhook.map(|url| (url.into_inner(), headers)),
        on: on.map_or(default.on, |on| on.into_inner().into_iter().map(Spanned::into_inner).collect()),
        repeat: repeat.map_or(default.repeat, Spanned::into_inner),
    }
}

fn event(text: &str) -> Result<Event, Mistake> {
    let events = [Event::Failure, Event::Hold, Event::Overdue, Event::Locked, Event::Recovery];
    events.into_iter().find(|event| event.as_str() == text).ok_or_else(|| {
        let names = events.map(Event::as_str).join(", ");
        Mistake::new(format!("{text:?} is nothing that is told of"), format!("write some of: {names}"))
    })
}
