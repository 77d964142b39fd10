//! `[[target]] type = "pm2"`: apps of a user's PM2.

use std::time::Duration;

use toml::Spanned;

use super::dotenv_section::dialect;
use super::env_name::env_name;
use super::hook_section::user;
use super::reader::Reader;
use super::report::{Mistake, Report};
use super::target_settings::Pm2Target;
use super::values::{Bounds, absolute, duration};
use crate::text::ecosystem::Format;

const ECOSYSTEM: &str = "ecosystem = \"/srv/my-backend/ecosystem.config.cjs\"";
const USER: &str = "user = \"app\"";
const APPS: &str = "apps = [\"my-backend\"]";

pub(super) fn read(mut section: Reader<'_>, named: &mut Vec<String>, report: &mut Report<'_>) -> Option<Pm2Target> {
    let ecosystem = section.text("ecosystem", ECOSYSTEM, report, |text| {
        let path = absolute(text)?;
        let format = Format::of(&path).ok_or_else(|| {
            let message = format!("{text:?} is no ecosystem file for PM2, which goes by the name");
            Mistake::new(message, "name it as NAME.config.js, NAME.config.cjs, NAME.json or NAME.yaml")
        })?;
        Ok((path, format))
    });
    section.need("ecosystem", ECOSYSTEM, report);
    let user = section.text("user", USER, report, user);
    section.need("user", USER, report);
    let apps = section.texts("apps", APPS, report, app);
    section.need("apps", APPS, report);
    let home = section.text("home", "home = \"/home/app/.pm2\"", report, absolute);
    let environment = section.text("environment", "environment = \"production\"", report, environment);
    let env_file = section.text("env-file", "env-file = \"/srv/my-backend/.env\"", report, absolute);
    let dialect = section.text("dialect", "dialect = \"dotenv\"", report, dialect);
    if let Some(dialect) = dialect.as_ref().filter(|_| !section.had("env-file")) {
        report.error(dialect.span(), "`dialect` means nothing without `env-file`", "leave it out");
    }
    let key = section.text("key", "key = \"JWT_SECRET\"", report, env_name);
    let expose = section.take::<bool>("expose", "expose = true", report);
    let pm2 = section.text("pm2", "pm2 = \"/usr/local/bin/pm2\"", report, absolute);
    let node = section.text("node", "node = \"/usr/bin/node\"", report, absolute);
    let bounds = Bounds { least: Duration::from_secs(5), most: Duration::from_secs(3600) };
    let timeout = section.text("timeout", "timeout = \"2min\"", report, |text| duration(text, bounds));
    let save = section.take::<bool>("save", "save = true", report);
    section.finish(report);
    let user = user?.into_inner();
    let apps = apps?.into_inner();
    for app in &apps {
        let consumer = format!("pm2 {user}/{}", app.get_ref());
        if named.contains(&consumer) {
            let message = format!("`apps`: {} is named twice", app.get_ref());
            report.error(app.span(), message, "name each app once in a file");
        }
        named.push(consumer);
    }
    let (ecosystem, format) = ecosystem?.into_inner();
    Some(Pm2Target {
        ecosystem,
        format,
        user,
        home: home.map(Spanned::into_inner),
        apps: apps.into_iter().map(Spanned::into_inner).collect(),
        environment: environment.map(Spanned::into_inner),
        env_file: env_file.map(Spanned::into_inner),
        dialect: dialect.map(Spanned::into_inner).unwrap_or_default(),
        key: key.map(Spanned::into_inner),
        expose: expose.is_some_and(Spanned::into_inner),
        pm2: pm2.map(Spanned::into_inner),
        node: node.map(Spanned::into_inner),
        timeout: timeout.map_or(Duration::from_secs(120), Spanned::into_inner),
        save: save.is_none_or(Spanned::into_inner),
    })
}

/// PM2 takes commas and blanks in a list of names for their ends, and `all` for all.
fn app(text: &str) -> Result<String, Mistake> {
    let is_odd = |c: char| c.is_control() || c == ',' || c == ' ';
    if text.is_empty() || text == "all" || text.starts_with('-') || text.chars().any(is_odd) {
        return Err(Mistake::new(format!("{text:?} is no app of PM2"), "write its name, as pm2 list shows it"));
    }
    Ok(text.to_owned())
}

fn environment(text: &str) -> Result<String, Mistake> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if text.is_empty() || text.starts_with('-') || !text.bytes().all(is_plain) {
        let advice = "write what comes after `env_` in the ecosystem file, as \"production\"";
        return Err(Mistake::new(format!("{text:?} is no environment of PM2"), advice));
    }
    Ok(text.to_owned())
}
