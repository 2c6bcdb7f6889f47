//! How installed packages depend on each other, read back from their places: what npm's lockfiles say beyond name and version.

use std::collections::BTreeMap;

use serde_json::Value;

/// One installed package below a root.
#[derive(Clone, Debug)]
pub(super) struct Installed {
    /// Its package.json.
    pub manifest: Value,
    /// The registry's integrity; none for what another package brought along.
    pub integrity: Option<String>,
    /// Whether it has install scripts.
    pub has_scripts: bool,
}

/// How a package is reached from the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reach {
    /// Not at all.
    pub extraneous: bool,
    /// Over optional dependencies alone.
    pub optional: bool,
    /// Over peer dependencies alone.
    pub peer: bool,
}

impl Reach {
    const NONE: Self = Self { extraneous: true, optional: true, peer: true };
    const ROOT: Self = Self { extraneous: false, optional: false, peer: false };

    /// What a dependency's reach is at most, seen over one edge (behaviour of arborist's calc-dep-flags).
    fn over(self, edge: &Edge) -> Self {
        Self {
            extraneous: self.extraneous || edge.peer && edge.optional,
            optional: self.optional || edge.optional,
            peer: self.peer || edge.peer,
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            extraneous: self.extraneous && other.extraneous,
            optional: self.optional && other.optional,
            peer: self.peer && other.peer,
        }
    }
}

struct Edge {
    name: String,
    peer: bool,
    optional: bool,
}

/// The reach of each package, by location (`node_modules/a/node_modules/b`). `wishes` are the root's dependencies.
pub(super) fn reach(
    packages: &BTreeMap<String, Installed>,
    wishes: &BTreeMap<String, String>,
) -> BTreeMap<String, Reach> {
    let mut reached: BTreeMap<String, Reach> =
        packages.keys().map(|location| (location.clone(), Reach::NONE)).collect();
    let mut queue = vec![(String::new(), Reach::ROOT)];
    while let Some((location, reach)) = queue.pop() {
        let edges = match packages.get(&location) {
            Some(package) => edges(&package.manifest),
            None => wishes.keys().map(|name| Edge { name: name.clone(), peer: false, optional: false }).collect(),
        };
        for edge in edges {
            let Some(to) = resolve(packages, &location, &edge.name) else { continue };
            let Some(known) = reached.get_mut(&to) else { continue };
            let now = known.and(reach.over(&edge));
            if now != *known {
                *known = now;
                queue.push((to, now));
            }
        }
    }
    reached
}

/// What a package at `location` finds under a name: in its own `node_modules`, then in those above.
fn resolve(packages: &BTreeMap<String, Installed>, location: &str, name: &str) -> Option<String> {
    let mut here = location.to_owned();
    loop {
        let candidate = super::package::join(&here, &format!("node_modules/{name}"));
        if packages.contains_key(&candidate) {
            return Some(candidate);
        }
        if here.is_empty() {
            return None;
        }
        let above = here.rfind("node_modules/").unwrap_or(0);
        here = here[..above].trim_end_matches('/').to_owned();
    }
}

fn edges(manifest: &Value) -> Vec<Edge> {
    let names =
        |key: &str| manifest.get(key).and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name.clone());
    let is_optional_peer = |name: &str| {
        let meta = manifest.get("peerDependenciesMeta").and_then(|meta| meta.get(name)?.get("optional"));
        meta.is_some_and(|flag| flag != &Value::Bool(false) && !flag.is_null())
    };
    let mut edges: BTreeMap<String, Edge> = BTreeMap::new();
    let mut add = |name: String, peer, optional| drop(edges.insert(name.clone(), Edge { name, peer, optional }));
    names("peerDependencies").for_each(|name| {
        let optional = is_optional_peer(&name);
        add(name, true, optional);
    });
    names("dependencies").for_each(|name| add(name, false, false));
    names("optionalDependencies").for_each(|name| add(name, false, true));
    edges.into_values().collect()
}
