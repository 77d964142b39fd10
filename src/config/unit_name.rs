//! Which units can be named: services, by the rules of systemd.unit(5).

use super::report::Mistake;
use super::suggest::nearest;

/// The types of units that are no services (systemd.unit(5)).
const OTHER_TYPES: &[&str] =
    &["automount", "device", "mount", "path", "scope", "slice", "snapshot", "socket", "swap", "target", "timer"];

/// Services that must not be restarted by a rotation: we speak and log through them.
const NEVER: &[&str] = &["dbus.service", "dbus-broker.service", "systemd-journald.service", "systemd-logind.service"];

/// Our own services.
const OWN: &[&str] = &["rekeyd", "rekeyd-file", "rekeyd-process", "rekeyd-rearm"];

/// Our own services of which there are instances.
const OWN_TEMPLATES: &[&str] =
    &["rekeyd-key", "rekeyd-recover", "rekeyd-retire", "rekeyd-retry", "rekeyd-rotate", "rekeyd-search", "rekeyd-tool"];

/// The template that a service is an instance of: `a@.service` of `a@1.service`.
pub fn template_of(name: &str) -> Option<String> {
    let (prefix, instance) = name.split_once('@')?;
    let (instance, kind) = instance.rsplit_once('.')?;
    (!instance.is_empty()).then(|| format!("{prefix}@.{kind}"))
}

/// `foo@` of `foo@.service`, a name that stands for all its instances.
pub fn template_prefix(name: &str) -> Option<&str> {
    name.strip_suffix(".service").filter(|prefix| prefix.ends_with('@') && prefix.matches('@').count() == 1)
}

/// A pattern (fnmatch(3)) of all instances of a template.
pub fn instances_of(name: &str) -> Option<String> {
    template_prefix(name).map(|prefix| format!("{}*.service", prefix.replace('\\', r"\\")))
}

/// The full name of services that can be restarted: `NAME.service`, `NAME@INSTANCE.service`, or `NAME@.service`, which
/// stands for all its instances.
pub(super) fn service_name(name: &str) -> Result<String, Mistake> {
    let example = "write the full name of a service, as \"my-backend.service\"";
    if name.contains('/') {
        let file = name.rsplit('/').next().unwrap_or_default();
        let advice = format!("write the unit's name without the path, as {file:?}");
        return Err(Mistake::new(format!("{name:?} is a path"), advice));
    }
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_allowed) || name.starts_with('@') {
        return Err(Mistake::new(format!("{name:?} is not the name of a unit"), example));
    }
    if name.len() > 255 {
        return Err(Mistake::new("the name is longer than 255 characters", example));
    }
    let Some((prefix, kind)) = name.rsplit_once('.') else {
        return Err(Mistake::new(format!("{name:?} has no suffix"), format!("add `.service`: \"{name}.service\"")));
    };
    if OTHER_TYPES.contains(&kind) {
        let advice = "name the service whose processes read the secret; only services can be targets";
        return Err(Mistake::new(format!("{name:?} is a {kind}, not a service"), advice));
    }
    if kind != "service" {
        let advice = match nearest(kind, &["service"]) {
            Some(_) => format!("did you mean \"{prefix}.service\"?"),
            None => format!("add `.service`: \"{name}.service\""),
        };
        return Err(Mistake::new(format!("{name:?} does not end in `.service`"), advice));
    }
    if prefix.is_empty() {
        return Err(Mistake::new(format!("{name:?} is not the name of a unit"), example));
    }
    let is_own =
        OWN.contains(&prefix) || prefix.split_once('@').is_some_and(|(template, _)| OWN_TEMPLATES.contains(&template));
    if is_own {
        return Err(Mistake::new(format!("{name} is rekeyd itself"), "name the service that reads the secret"));
    }
    if NEVER.contains(&name) {
        let message = format!("{name} cannot be restarted in a rotation: rekeyd itself needs it");
        return Err(Mistake::new(message, "name the service that reads the secret"));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_names_of_services_pass() {
        for name in [
            "a.service",
            "my-backend.service",
            "a@1.service",
            "a@.service",
            "a@b@c.service",
            "a\\x2db.service",
            "x.y.service",
        ] {
            assert_eq!(service_name(name).as_deref(), Ok(name));
        }
    }

    #[test]
    fn instances_have_a_template_and_others_have_none() {
        assert_eq!(template_of("a@1.service").as_deref(), Some("a@.service"));
        assert_eq!(template_of("a@b@c.d.service").as_deref(), Some("a@.service"));
        assert_eq!(template_of("a@.service"), None);
        assert_eq!(template_of("a.service"), None);
    }

    #[test]
    fn other_names_are_refused_with_what_to_write() {
        for (name, advice) in [
            ("my-backend", "\"my-backend.service\""),
            ("my.backend", "\"my.backend.service\""),
            ("a.servcie", "did you mean \"a.service\""),
            ("rekeyd-rotate@.service", "reads the secret"),
            ("a.socket", "only services"),
            ("/etc/systemd/system/a.service", "\"a.service\""),
            ("", "full name"),
            ("a b.service", "full name"),
            (".service", "full name"),
            ("@a.service", "full name"),
            ("rekeyd.service", "reads the secret"),
            ("rekeyd-rotate@x.service", "reads the secret"),
            ("dbus.service", "reads the secret"),
        ] {
            let mistake = service_name(name).unwrap_err();
            assert!(mistake.advice.contains(advice), "{name}: {mistake:?}");
        }
        assert!(service_name(&format!("{}.service", "a".repeat(250))).is_err());
    }
}
