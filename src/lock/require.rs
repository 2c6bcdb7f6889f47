//! The requirements of a manifest by the packages that answer them, as they are written there.

use std::collections::BTreeMap;

use super::model::Lockfile;
use super::satisfy::npm_requirements;
use crate::manifest::{AptRequirement, Manifest, parse_pip_requirement};
use crate::model::{Ecosystem, PackageName};

/// What asks for each package directly: `nodejs=20.*`, `shout = "^2.0"`, `sums>=3`.
#[derive(Clone, Debug, Default)]
pub struct Requirements {
    texts: BTreeMap<(Ecosystem, PackageName), String>,
}

impl Requirements {
    /// Looks which packages of a lock the requirements of its manifest name. npm packages are found by their place, since
    /// an alias is asked for under another name than the package has.
    pub fn of(manifest: &Manifest, lock: &Lockfile) -> Self {
        let mut texts = BTreeMap::new();
        for text in &manifest.apt.packages {
            if let Ok(asked) = AptRequirement::parse(text) {
                texts.entry((Ecosystem::Apt, asked.name)).or_insert_with(|| text.clone());
            }
        }
        for text in &manifest.pip.packages {
            let name = parse_pip_requirement(text).ok().and_then(|asked| PackageName::parse(asked.name.as_str()).ok());
            if let Some(name) = name {
                texts.entry((Ecosystem::Pip, name)).or_insert_with(|| text.clone());
            }
        }
        let places = npm_requirements(manifest)
            .map(|(_, directory, name, range)| (format!("{directory}/{name}"), format!("{name} = \"{range}\"")));
        let places: BTreeMap<String, String> = places.collect();
        for pin in &lock.npm {
            if let Some(text) = pin.places.iter().find_map(|place| places.get(place)) {
                texts.entry((Ecosystem::Npm, pin.name.clone())).or_insert_with(|| text.clone());
            }
        }
        Self { texts }
    }

    /// The requirement that asks for a package directly.
    pub fn get(&self, ecosystem: Ecosystem, name: &PackageName) -> Option<&str> {
        self.texts.get(&(ecosystem, name.clone())).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::sample;

    #[test]
    fn a_requirement_is_found_in_its_own_language() {
        let requirements = Requirements::of(&sample::manifest(), &sample::lock());
        let find = |ecosystem, name: &str| requirements.get(ecosystem, &sample::name(name));
        assert_eq!(find(Ecosystem::Apt, "nodejs"), Some("nodejs=20.*"));
        assert_eq!(find(Ecosystem::Npm, "opencode-ai"), Some("opencode-ai = \"^1.18\""));
        assert_eq!(find(Ecosystem::Npm, "@opencode-ai/plugin"), Some("@opencode-ai/plugin = \"1.18.33\""));
        assert_eq!(find(Ecosystem::Pip, "graphiti-core"), Some("graphiti-core[falkordb]>=0.31"));
        assert_eq!(find(Ecosystem::Pip, "openai"), None);
    }
}
