//! From planned trees to pins: one for each package and version, with all its places.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::packument::Manifest;
use super::tree::{NodeId, Tree};
use crate::lock::MANIFEST;

/// One package with all its places.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    /// The registry's description.
    pub manifest: Arc<Manifest>,
    /// Absolute directories.
    pub places: BTreeSet<String>,
    /// Places of those who asked, or `manifest`.
    pub required_by: BTreeSet<String>,
    /// Names that it says it brings along and that nothing else provides.
    pub bundled: BTreeSet<String>,
}

/// Everything that is planned, by name, version and hash.
#[derive(Debug, Default)]
pub(super) struct Plan(pub BTreeMap<(String, String, String), Planned>);

impl Plan {
    /// Adds what a tree installs; `root` is the directory that holds its `node_modules`.
    pub fn add(&mut self, tree: &Tree, root: &str) {
        for node in tree.installed() {
            if tree[node].inert || tree.is_bundled(node) {
                continue;
            }
            let manifest = tree[node].manifest.clone();
            let identity = manifest.identity().unwrap_or_default().to_owned();
            let planned =
                self.0.entry((manifest.name.clone(), manifest.version_text.clone(), identity)).or_insert_with(|| {
                    let (places, required_by, bundled) = Default::default();
                    Planned { manifest: manifest.clone(), places, required_by, bundled }
                });
            planned.places.insert(format!("{root}/{}", tree.location(node)));
            planned.required_by.extend(askers(tree, node, root));
            let is_unmet = |name: &&String| {
                let found = tree.resolve(node, &name.to_lowercase());
                found.is_none_or(|found| tree.is_bundled(found))
            };
            planned.bundled.extend(manifest.bundled.iter().filter(is_unmet).cloned());
        }
    }
}

fn askers(tree: &Tree, node: NodeId, root: &str) -> Vec<String> {
    let edges = tree.edges_in(node).into_iter().filter(|edge| tree.is_valid(*edge) && !tree[tree[*edge].from].inert);
    edges
        .map(|edge| match tree[edge].from {
            Tree::ROOT => MANIFEST.to_owned(),
            from => format!("{root}/{}", tree.location(from)),
        })
        .collect()
}
