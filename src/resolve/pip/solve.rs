//! The decision loop: PubGrub's state, with versions looked up as they are needed and much read ahead.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use pubgrub::{
    Dependencies, DependencyProvider, Id, IncompId, Incompatibility, PackageResolutionStatistics, State, Term,
};
use uv_pep440::Version;

use super::PipError;
use super::catalogue::Catalogue;
use super::explain::explain;
use super::metadata::Metadata;
use super::priority::{Key, Priorities};
use super::requirement::{Asked, Node, Versions};

/// How often two projects must refuse each other before their order is changed.
const CONFLICTS: u32 = 20;
/// The first try of a project's version at which the following ones are read ahead.
const FIRST_BATCH: u32 = 4;
/// After how many more tries the next ones are.
const NEXT_BATCH: u32 = 8;

/// The version decided for each node.
pub(super) type Solution = BTreeMap<Node, Version>;

/// The types that PubGrub's state is made of; its methods are for PubGrub's own loop, which is not used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Types;

impl DependencyProvider for Types {
    type P = Node;
    type V = Version;
    type VS = Versions;
    type Priority = Key;
    type M = String;
    type Err = Infallible;

    fn prioritize(&self, node: &Node, _: &Versions, _: &PackageResolutionStatistics) -> Key {
        Priorities::default().key(node)
    }

    fn choose_version(&self, _: &Node, _: &Versions) -> Result<Option<Version>, Infallible> {
        Ok(None)
    }

    fn get_dependencies(&self, _: &Node, _: &Version) -> Result<Dependencies<Node, Versions, String>, Infallible> {
        Ok(Dependencies::Unavailable(String::new()))
    }
}

type NodeId = Id<Node>;
type Reason = IncompId<Node, Versions, String>;

/// Finds a version for every project that is needed.
pub(super) async fn solve(asked: &Asked, catalogue: &Catalogue) -> Result<Solution, PipError> {
    let mut search = Search::new(asked, catalogue);
    loop {
        let reasons = match search.state.unit_propagation(search.current) {
            Ok(reasons) => reasons.iter().copied().collect::<Vec<_>>(),
            Err(tree) => return Err(explain(&tree, catalogue).await),
        };
        for (refused, reason) in reasons {
            search.note_conflict(refused, reason);
        }
        search.reorder();
        let Some((id, allowed)) = search.pick() else { return Ok(search.solution()) };
        search.current = id;
        search.decide(id, allowed).await?;
    }
}

struct Search<'a> {
    asked: &'a Asked,
    catalogue: &'a Catalogue,
    state: State<Types>,
    current: NodeId,
    priorities: Priorities,
    /// The versions of each node whose edges the state knows.
    expanded: BTreeMap<Node, BTreeSet<Version>>,
    tries: BTreeMap<Node, u32>,
    conflicts: Conflicts,
}

/// How often each node was refused and did refuse, and who is due to be moved.
#[derive(Default)]
struct Conflicts {
    refused: BTreeMap<Node, u32>,
    refusing: BTreeMap<Node, u32>,
    earlier: Vec<NodeId>,
    later: Vec<NodeId>,
}

impl<'a> Search<'a> {
    fn new(asked: &'a Asked, catalogue: &'a Catalogue) -> Self {
        let state = State::init(Node::Root, Version::new([0]));
        Self {
            asked,
            catalogue,
            current: state.root_package,
            state,
            priorities: Priorities::default(),
            expanded: BTreeMap::new(),
            tries: BTreeMap::new(),
            conflicts: Conflicts::default(),
        }
    }

    fn pick(&mut self) -> Option<(NodeId, Versions)> {
        let (priorities, nodes) = (&self.priorities, &self.state.package_store);
        let picked = self.state.partial_solution.pick_highest_priority_pkg(|id, _| priorities.key(&nodes[id]));
        picked.map(|(id, allowed)| (id, allowed.clone()))
    }

    fn solution(&self) -> Solution {
        let decided = self.state.partial_solution.extract_solution();
        decided.map(|(id, version)| (self.state.package_store[id].clone(), version)).collect()
    }

    /// Chooses a version for a node and tells the state what follows from it.
    async fn decide(&mut self, id: NodeId, allowed: Versions) -> Result<(), PipError> {
        let node = self.state.package_store[id].clone();
        let Some((version, same)) = self.choose(&node, &allowed).await? else {
            self.state.add_incompatibility(Incompatibility::no_versions(id, Term::Positive(allowed)));
            return Ok(());
        };
        if self.expanded.get(&node).is_some_and(|known| known.contains(&version)) {
            self.state.partial_solution.add_decision(id, version);
            return Ok(());
        }
        match self.edges(&node, &version).await? {
            Err(why) => self.state.add_incompatibility(Incompatibility::custom_version(id, version, why)),
            Ok(edges) => {
                self.expanded.entry(node).or_default().insert(version.clone());
                self.add_edges(id, version, same, edges);
            }
        }
        Ok(())
    }

    /// A version, and the widest range in which it is the only one.
    async fn choose(&mut self, node: &Node, allowed: &Versions) -> Result<Option<(Version, Versions)>, PipError> {
        let Some(name) = node.name() else {
            let only = Version::new([0]);
            return Ok(Some((only.clone(), Versions::singleton(only))));
        };
        let page = self.catalogue.page(name).await?;
        let Some(version) = page.choose(allowed).cloned() else { return Ok(None) };
        let tries = self.tries.entry(Node::Project(name.clone())).or_default();
        *tries += 1;
        if *tries % NEXT_BATCH == FIRST_BATCH {
            self.catalogue.prefetch_below(name, &page, allowed, &version);
        }
        let same = Versions::singleton(version.clone()).widen_versions(&page.versions);
        Ok(Some((version, same)))
    }

    /// What a version of a node needs; inner error when the version cannot be used.
    async fn edges(&self, node: &Node, version: &Version) -> Result<Result<Vec<(Node, Versions)>, String>, PipError> {
        let Some(name) = node.name() else { return Ok(Ok(self.asked.edges())) };
        let metadata = self.catalogue.metadata(name, version).await?;
        let requires = match &*metadata {
            Metadata::Usable { requires, .. } => requires,
            Metadata::Unusable(why) => return Ok(Err(why.clone())),
        };
        let mut edges = match self.asked.edges_of(node, requires, self.catalogue.target()) {
            Ok(edges) => edges,
            Err(why) => return Ok(Err(why)),
        };
        if let Node::Extra(..) = node {
            edges.insert(0, (Node::Project(name.clone()), Versions::singleton(version.clone())));
        }
        Ok(Ok(edges))
    }

    fn add_edges(&mut self, id: NodeId, version: Version, same: Versions, edges: Vec<(Node, Versions)>) {
        for (node, allowed) in &edges {
            self.priorities.meet(node, allowed);
            if let Some(name) = node.name() {
                self.catalogue.prefetch(name, allowed);
            }
        }
        if let Some(reason) = self.state.add_package_version_dependencies(id, version, same, edges) {
            self.note_conflict(id, reason);
        }
    }

    /// Counts who was refused, and by whom. An extra and its own project do not count: they are one thing.
    fn note_conflict(&mut self, refused: NodeId, reason: Reason) {
        let nodes = &self.state.package_store;
        let mut real = false;
        for (other, _) in self.state.incompatibility_store[reason].iter() {
            if other == refused || nodes[other].name() == nodes[refused].name() {
                continue;
            }
            real = true;
            if count(&mut self.conflicts.refusing, &nodes[other]) == CONFLICTS {
                self.conflicts.later.push(other);
            }
        }
        if real && count(&mut self.conflicts.refused, &nodes[self.current]) == CONFLICTS {
            self.conflicts.earlier.push(self.current);
        }
    }

    /// Moves who is due, going back to before a project that refused too often was decided.
    fn reorder(&mut self) {
        for id in std::mem::take(&mut self.conflicts.earlier) {
            self.priorities.decide_early(&self.state.package_store[id]);
        }
        for id in std::mem::take(&mut self.conflicts.later) {
            if self.priorities.decide_late(&self.state.package_store[id]) {
                self.state.backtrack_package(id);
            }
        }
    }
}

fn count(counts: &mut BTreeMap<Node, u32>, node: &Node) -> u32 {
    let count = counts.entry(node.clone()).or_default();
    *count += 1;
    *count
}
