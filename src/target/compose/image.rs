//! The images of services: a name such as `app:latest` may stand for another one than what runs, and whoever recreates a
//! container then deploys other code than it had.

use std::collections::BTreeMap;

use super::ComposeTarget;
use super::project::Project;
use super::tool::{Tool, by_hand};
use crate::record::Found;
use crate::rotation::{Fault, FaultCode};
use crate::sys::docker::{Container, EngineError};
use crate::target::Errand;

/// The image that a service runs, and its name.
struct Image<'d> {
    name: &'d str,
    id: &'d str,
}

impl<'d> Image<'d> {
    /// As it was recorded; none of a service that had no container.
    fn recorded(found: &'d Found) -> Option<Self> {
        let detail = |name: &str| found.details.get(name).map(String::as_str).filter(|text| !text.is_empty());
        Some(Self { name: detail("image")?, id: detail("image-id")? })
    }
}

/// To be recorded, of a service's containers.
pub(super) fn details(containers: &[&Container]) -> BTreeMap<String, String> {
    let of = |of: fn(&Container) -> &str| containers.first().map_or("", |container| of(container)).to_owned();
    BTreeMap::from([
        ("image".to_owned(), of(Container::image_name)),
        ("image-id".to_owned(), of(|container| &container.image)),
    ])
}

impl ComposeTarget {
    /// Refuses where a container that is made anew would be of another image than what runs: only `build` wants that.
    pub(super) async fn check_image(
        &self,
        tool: &Tool,
        project: &Project,
        service: &str,
        containers: &[Container],
    ) -> Result<(), Fault> {
        if self.settings.build {
            return Ok(());
        }
        for container in containers.iter().filter(|container| container.is_up()) {
            let name = container.image_name();
            let now = self.engine.image(name).await?;
            if now.as_ref() == Some(&container.image) {
                continue;
            }
            let which =
                if now.is_some() { "another image has that name now" } else { "no image has that name any more" };
            let message = format!(
                "the container {} runs an image that was called {name}, and {which}: to recreate it would deploy other code",
                container.name()
            );
            return Err(Fault::new(FaultCode::UnitUnusable, message).advise(format!(
                "deploy it first: {}; or give the image that runs its name back: docker tag {} {name}",
                by_hand(tool, project, &format!("up -d --no-deps {service}")),
                container.image
            )));
        }
        Ok(())
    }

    /// Whether the name of the image that runs stands for another one by now.
    pub(super) async fn is_image_moved(&self, found: &Found) -> Result<bool, Fault> {
        let Some(Image { name, id }) = Image::recorded(found) else { return Ok(false) };
        Ok(self.engine.image(name).await?.as_deref() != Some(id))
    }

    /// Gives the images that ran before their names back, so that containers are made of them again.
    pub(super) async fn restore_images(&self, errand: &Errand<'_>) -> Result<(), Fault> {
        for (found, _) in self.ours(errand.found) {
            let Some(Image { name, id }) = Image::recorded(found) else { continue };
            if self.engine.image(name).await?.as_deref() == Some(id) {
                continue;
            }
            let said = match self.engine.name_image(id, name).await {
                Ok(()) => format!("{name} is the image again that it was"),
                Err(error @ EngineError::Away { .. }) => return Err(error.into()),
                // The service is better up with what there is; that it is not what it was is said at the end.
                Err(error) => format!("{name} is not the image that it was, and cannot be made so: {error}"),
            };
            errand.report.progress(&format!("{}: {said}", found.unit));
        }
        Ok(())
    }

    /// Whether containers are of the image that ran before: what is taken back is the code, too.
    pub(super) fn is_of_former_image(&self, found: &Found, container: &Container) -> bool {
        Image::recorded(found).is_none_or(|image| image.name != container.image_name() || image.id == container.image)
    }

    /// A container that is not.
    pub(super) fn of_other_image(&self, found: &Found, container: &Container, errand: &Errand<'_>) -> Fault {
        let name = container.image_name();
        let message = format!(
            "the container {} of {} has the {} value, but not the image {name} that ran before",
            container.name(),
            found.unit,
            if errand.back { "former" } else { "new" }
        );
        let id = found.details.get("image-id").map_or("", String::as_str);
        Fault::new(FaultCode::UnitFailed, message).advise(format!(
            "is it still there? docker image inspect {id}; if not, build or pull the one that is meant"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_that_ran_is_recorded() {
        let text = r#"{"Id":"ab","Image":"sha256:12","State":{"Status":"running"},"Config":{"Image":"app:1"}}"#;
        let container: Container = serde_json::from_str(text).unwrap();
        let found = Found { details: details(&[&container]), ..Found::default() };
        let image = Image::recorded(&found).unwrap();
        assert_eq!((image.name, image.id), ("app:1", "sha256:12"));
        assert!(Image::recorded(&Found { details: details(&[]), ..Found::default() }).is_none());
    }
}
