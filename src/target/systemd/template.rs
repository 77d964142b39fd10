//! Templates: a drop-in for all instances, and which instances there are.

use super::SystemdTarget;
use crate::config::{instances_of, template_prefix};
use crate::record::Found;
use crate::rotation::Fault;

/// An instance that nobody starts: it is loaded to see what a further one would be started with.
const FURTHER: &str = "rekeyd";

impl SystemdTarget {
    /// The names under which systemd has a unit loaded: of a template those of its instances, and of one that does not
    /// run, since others may be started at any time.
    pub(super) async fn loaded_as(&self, unit: &str) -> Result<Vec<String>, Fault> {
        let Some(prefix) = template_prefix(unit) else { return Ok(vec![unit.to_owned()]) };
        let mut names = self.instances(unit).await?;
        names.push(format!("{prefix}{FURTHER}.service"));
        Ok(names)
    }

    /// The instances of a template that systemd has loaded, sorted.
    pub(super) async fn instances(&self, template: &str) -> Result<Vec<String>, Fault> {
        let (Some(prefix), Some(all)) = (template_prefix(template), instances_of(template)) else {
            return Ok(Vec::new());
        };
        let mut names = self.systemd.loaded_units(&all).await?;
        names.retain(|name| name.starts_with(prefix) && *name != format!("{prefix}{FURTHER}.service"));
        names.sort();
        Ok(names)
    }

    /// The names under which a unit runs: of a template those of its instances.
    pub(super) async fn running_as(&self, unit: &str) -> Result<Vec<String>, Fault> {
        let (Some(prefix), Some(all)) = (template_prefix(unit), instances_of(unit)) else {
            return Ok(vec![unit.to_owned()]);
        };
        let mut names = self.systemd.active_units(&[&all]).await?;
        names.retain(|name| name.starts_with(prefix));
        names.sort();
        Ok(names)
    }

    /// Of what preflight found, the units of this target; and the instances that were started since.
    pub(super) async fn consumers(&self, found: &[Found]) -> Result<Vec<Found>, Fault> {
        let mut consumers: Vec<Found> =
            found.iter().filter(|found| self.units.contains(&found.configured)).cloned().collect();
        for unit in &self.units {
            for name in self.running_as(unit).await?.into_iter().filter(|_| is_template(unit)) {
                if !consumers.iter().any(|consumer| consumer.unit == name) {
                    consumers.push(Found { configured: unit.clone(), unit: name, running: true, ..Found::default() });
                }
            }
        }
        Ok(consumers)
    }
}

/// Whether a unit stands for its instances; systemd itself can be asked about these only.
pub(super) fn is_template(unit: &str) -> bool {
    template_prefix(unit).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_without_an_instance_is_a_template() {
        assert!(is_template("foo@.service"));
        for other in ["foo.service", "foo@1.service", "foo@b@.service"] {
            assert!(!is_template(other), "{other}");
        }
    }

    #[test]
    fn escapes_in_a_name_are_no_wildcards() {
        assert_eq!(instances_of("a\\x2db@.service").unwrap(), "a\\\\x2db@*.service");
    }
}
