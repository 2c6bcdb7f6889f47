//! The tree of the last lock, as `npm update NAME` finds it in package-lock.json: what satisfies stays where it is.

use std::collections::{BTreeMap, BTreeSet};

use deno_semver::Version;

use super::error::NpmError;
use super::registry::Registry;
use super::tree::{NodeId, Tree};
use crate::lock::{Keep, NpmPin};

/// Which versions are preferred, and which package shall move.
#[derive(Clone, Debug, Default)]
pub(super) struct Preferences {
    kept: BTreeMap<String, Vec<String>>,
    moving: Vec<String>,
    precise: Option<String>,
    gone: Vec<(String, String)>,
}

impl Preferences {
    /// Those of a lock; none without one.
    pub fn new(keep: Option<Keep<'_, NpmPin>>) -> Self {
        let Some(keep) = keep else { return Self::default() };
        let mut kept: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pin in keep.pins.iter().filter(|pin| !keep.moving.contains(&pin.name)) {
            kept.entry(pin.name.to_string()).or_default().push(pin.version.to_string());
        }
        let moving = keep.moving.iter().map(ToString::to_string).collect();
        let gone = keep.gone.iter().map(|(name, version)| (name.to_string(), version.to_string())).collect();
        Self { kept, moving, precise: keep.precise.map(ToString::to_string), gone }
    }

    /// The versions of a package to be tried before all others, highest first.
    pub fn versions_of(&self, package: &str) -> Vec<(Version, &str)> {
        let named = match (&self.precise, self.moves(package)) {
            (Some(precise), true) => std::slice::from_ref(precise),
            _ => self.kept.get(package).map_or(&[][..], Vec::as_slice),
        };
        let parsed = named.iter().filter_map(|text| Some((Version::parse_from_npm(text).ok()?, text.as_str())));
        let mut versions: Vec<_> = parsed.collect();
        versions.sort_by(|one, other| other.0.cmp(&one.0));
        versions
    }

    /// The versions of a package that are listed and cannot be had.
    pub fn gone(&self, package: &str) -> BTreeSet<String> {
        self.gone.iter().filter(|(name, _)| name == package).map(|(_, version)| version.clone()).collect()
    }

    /// Whether a package shall move.
    pub fn moves(&self, package: &str) -> bool {
        self.moving.iter().any(|moving| moving == package)
    }

    /// Whether what moves shall have one version, also an older one.
    pub fn is_precise(&self) -> bool {
        self.precise.is_some()
    }
}

/// Puts the pins that are laid below `root` into a tree that has nothing but its root.
pub(super) async fn plant(
    tree: &mut Tree,
    root: &str,
    keep: Keep<'_, NpmPin>,
    registry: &Registry,
) -> Result<(), NpmError> {
    let mut places: Vec<(Vec<&str>, &NpmPin)> = Vec::new();
    for pin in keep.pins {
        let below = pin.places.iter().filter_map(|place| folders(place, root));
        places.extend(below.map(|folders| (folders, *pin)));
    }
    places.sort_by(|one, other| one.0.len().cmp(&other.0.len()).then_with(|| one.0.cmp(&other.0)));
    let lookups = places.iter().map(|(_, pin)| registry.exact(pin.name.as_str(), pin.version.as_str()));
    let manifests = futures::future::try_join_all(lookups).await?;
    let mut planted: BTreeMap<Vec<&str>, NodeId> = BTreeMap::from([(Vec::new(), Tree::ROOT)]);
    for ((folders, pin), manifest) in places.into_iter().zip(manifests) {
        let Some(manifest) = manifest else {
            if keep.moving.contains(&pin.name) {
                continue;
            }
            let (name, version) = (pin.name.to_string(), pin.version.to_string());
            return Err(NpmError::Gone { name, version });
        };
        let above = folders.len() - 1;
        // What was below a package that is gone is chosen again with it.
        if let Some(parent) = planted.get(&folders[..above]).copied() {
            let node = tree.add(folders[above], manifest, None, Some(parent));
            planted.insert(folders, node);
        }
    }
    Ok(())
}

/// The names in the `node_modules` one below the other that lead from a root to a place.
fn folders<'p>(place: &'p str, root: &str) -> Option<Vec<&'p str>> {
    let below = place.strip_prefix(root)?.strip_prefix("/node_modules/")?;
    Some(below.split("/node_modules/").collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_folders_below_their_root() {
        let of = |place| folders(place, "/app");
        assert_eq!(of("/app/node_modules/@a/b/node_modules/c"), Some(vec!["@a/b", "c"]));
        assert_eq!(of("/application/node_modules/c"), None);
        assert_eq!(of("/app/lib/node_modules/c"), None);
    }
}
