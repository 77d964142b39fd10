//! Services that Compose would make otherwise than they run: who recreates them for the secret changes more than that, and
//! the way back makes them of the same files.

use super::ComposeTarget;
use super::project::Project;
use super::tool::{Tool, by_hand};
use crate::record::Found;
use crate::rotation::{Fault, FaultCode};

/// What is noted of them.
pub(super) const STALE: &str = "stale";

/// With the images that there are, as a movement recreates them and as its way back does. Without what can be built, an
/// image that the files do not name gets one, and the hash is another: only what differs from both is another service.
///
/// And with the services that they depend on, which an administrator's plain `up` names in what it makes and a movement
/// does not, whatever would become of these.
const REHEARSED: [&[&str]; 4] = [
    &["--no-deps", "--pull", "never"],
    &["--no-deps", "--no-build", "--pull", "never"],
    &["--pull", "never"],
    &["--no-build", "--pull", "never"],
];

impl ComposeTarget {
    /// Notes which services these are; whether that may be so.
    pub(super) async fn tell_stale(&self, tool: &Tool, project: &Project, found: &mut [Found]) -> Result<bool, Fault> {
        let mut other: Vec<&mut Found> =
            found.iter_mut().filter(|found| found.running && has_other_hash(found)).collect();
        if other.is_empty() {
            return Ok(false);
        }
        // Compose 1 rehearses nothing, and goes by these hashes alone. Of its successors some leave env files out of the
        // hash that they say, and others are not the one that started it.
        if !tool.is_first() {
            // Where it can rehearse none of these, nothing else is known either.
            for options in REHEARSED {
                let Some(said) = self.rehearsal(tool, project, options).await? else { continue };
                other.retain(|found| found.details.get("names").is_some_and(|names| is_recreated(names, &said)));
                if other.is_empty() {
                    return Ok(false);
                }
            }
        }
        for found in other {
            found.details.insert(STALE.to_owned(), "yes".to_owned());
        }
        Ok(true)
    }

    /// Refuses where there are any.
    pub(super) async fn check_stale(&self, tool: &Tool, project: &Project, found: &[Found]) -> Result<(), Fault> {
        for (found, service) in self.ours(found).into_iter().filter(|(found, _)| found.details.contains_key(STALE)) {
            // An image that was built since then, where that is wanted, differs too, and is taken back.
            if self.settings.build && self.is_image_moved(found).await? {
                continue;
            }
            let message = format!(
                "{} runs with another configuration than Compose would make now: to recreate it would change more than \
                 the secret, and the way back could not undo that",
                found.unit
            );
            let mut advice = format!(
                "put what it was given by hand, such as a variable of the shell, into {}/.env or the Compose files, and \
                 start it as it is meant to be: {}",
                project.directory,
                by_hand(tool, project, &format!("up -d --no-deps {service}"))
            );
            if !tool.is_version(&project.version) {
                advice.push_str("; that another version of Compose made it may be all that differs");
            }
            return Err(Fault::new(FaultCode::UnitUnusable, message).advise(advice));
        }
        Ok(())
    }
}

fn has_other_hash(found: &Found) -> bool {
    found.details.get("hash") != found.details.get("label")
}

/// Whether any of the containers would be made anew, by what a rehearsal says.
fn is_recreated(names: &str, said: &str) -> bool {
    names.split(' ').filter(|name| !name.is_empty()).any(|name| {
        let name = format!(" {name} ");
        said.lines().any(|line| line.contains(&name) && line.contains("Recreate"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rehearsal_says_which_containers_would_be_made_anew() {
        let said = " DRY-RUN MODE -  Container app-web-1  Recreate\n DRY-RUN MODE -  Container app-web-1  Recreated\n \
                    DRY-RUN MODE -  Container app-worker-1  Running\n";
        assert!(is_recreated("app-web-1", said) && is_recreated("app-web-2 app-web-1", said));
        for names in ["app-worker-1", "app-web", "web-1", ""] {
            assert!(!is_recreated(names, said), "{names}");
        }
    }
}
