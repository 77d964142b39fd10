//! What was delivered, as a witness against a store that was lost or restored from a backup.

use std::path::Path;

use crate::config::SecretName;
use crate::rotation::Generation;

/// The newest generation of the view that the consumers of a secret are given in `delivered`, none where there is none.
pub fn newest_delivered(delivered: &Path, name: &SecretName) -> Option<Generation> {
    let slug = std::fs::read_link(delivered.join(name.as_str()).join("current")).ok()?;
    slug.to_str()?.split('+').filter_map(|number| number.parse().ok()).map(Generation).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rotation::View;

    #[test]
    fn the_newest_generation_is_known_from_the_name_of_the_view() {
        let dir = tempfile::tempdir().unwrap();
        let name = SecretName::try_from("jwt".to_owned()).unwrap();
        assert_eq!(newest_delivered(dir.path(), &name), None);
        std::fs::create_dir(dir.path().join("jwt")).unwrap();
        let view = View { primary: Generation(4), accepted: vec![Generation(5)] };
        std::os::unix::fs::symlink(view.slug(), dir.path().join("jwt/current")).unwrap();
        assert_eq!(newest_delivered(dir.path(), &name), Some(Generation(5)));
    }
}
