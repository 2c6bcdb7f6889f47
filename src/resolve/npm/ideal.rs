//! Grows a tree from its root until every wish is met (behaviour of arborist's buildIdealTree): nodes by depth, then by path.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::BoxFuture;

use super::collate;
use super::error::NpmError;
use super::kept::plant;
use super::overrides::Overrides;
use super::packument::{EdgeKind, Manifest, Wish};
use super::place::{Force, Placed, place};
use super::registry::{Absence, Registry};
use super::sets::{can_replace, flags, optional_set};
use super::tree::{Edge, EdgeId, NodeId, Strategy, Tree};
use crate::lock::{Keep, NpmPin};
use crate::manifest::NpmOverride;

/// How often one place is looked at before it is said that there is no end: of some contradictions of peers npm finds none.
const MOST_LOOKS: u32 = 1000;

/// How deep peers may ask for others, each in a set of its own: of versions that contradict each other in a circle npm's own
/// search runs out of stack.
const MOST_NESTED: u32 = 100;

/// What is wanted of a tree.
pub(super) struct Request<'a> {
    /// Project or global.
    pub strategy: Strategy,
    /// The root's wishes.
    pub wishes: Vec<Wish>,
    /// Optional dependencies left out by their registered name.
    pub omit: &'a BTreeSet<String>,
    /// What is asked for instead of what packages ask for.
    pub overrides: &'a [NpmOverride],
    /// The directory that holds `node_modules`.
    pub root: &'a str,
    /// The tree of the last lock, where it is kept as far as it satisfies.
    pub keep: Option<Keep<'a, NpmPin>>,
}

/// Plans the tree of a project, or of all global packages.
pub(super) async fn plan(request: Request<'_>, registry: &Registry) -> Result<Tree, NpmError> {
    for (index, wish) in request.wishes.iter().enumerate() {
        if let Some(same) = request.wishes[..index].iter().find(|other| other.key == wish.key) {
            return Err(NpmError::SameFolder { one: same.name.to_string(), other: wish.name.to_string() });
        }
        registry.foresee(&wish.name, &wish.spec);
    }
    let mut tree = Tree::new(request.strategy, request.wishes, request.omit.clone(), Overrides::new(request.overrides));
    check_direct(&tree)?;
    if let Some(keep) = request.keep {
        plant(&mut tree, request.root, keep, registry).await?;
    }
    let mut planner = Planner {
        tree,
        registry,
        queue: BTreeSet::from([Tree::ROOT]),
        seen: BTreeSet::new(),
        virtual_roots: BTreeMap::new(),
        failed: BTreeSet::new(),
        looks: BTreeMap::new(),
        nested: 0,
    };
    planner.queue_kept();
    while let Some(node) = planner.next() {
        let looks = planner.looks.entry(planner.tree.location(node)).or_default();
        *looks += 1;
        if *looks > MOST_LOOKS {
            let package = planner.tree.describe(node);
            return Err(NpmError::Unsupported { package, what: "is placed and taken out again without an end" });
        }
        planner.step(node).await?;
    }
    if request.keep.is_some() {
        planner.prune_unwanted();
    }
    if let Some(name) = planner.tree.broken_reference() {
        return Err(NpmError::OverrideReference { name: name.to_owned() });
    }
    planner.prune_unavailable()?;
    planner.prune_unfit()?;
    check_whole(&planner.tree)?;
    Ok(planner.tree)
}

/// Whatever led there: a tree in which a dependency finds nothing, or something else, is no tree.
fn check_whole(tree: &Tree) -> Result<(), NpmError> {
    let is_unmet = |edge: &EdgeId| {
        let Edge { from, wish, to, .. } = &tree[*edge];
        let is_met = to.is_some_and(|to| !tree[to].inert && tree[to].absence.is_none()) && tree.is_valid(*edge);
        wish.kind == EdgeKind::Prod && !is_met && !tree[*from].manifest.bundled.contains(&*wish.name)
    };
    let installed = tree.installed().into_iter().filter(|node| !tree[*node].inert && !tree.is_bundled(*node));
    match [Tree::ROOT].into_iter().chain(installed).flat_map(|node| tree.edges_out(node)).find(is_unmet) {
        None => Ok(()),
        Some(edge) => Err(NpmError::Unmet {
            package: tree.describe(tree[edge].from),
            wanted: format!("{}@{}", tree[edge].wish.name, tree.spec(edge)),
            chain: tree.chain(tree[edge].from),
        }),
    }
}

/// The manifest must not ask for one thing and override it with another (npm's EOVERRIDE).
fn check_direct(tree: &Tree) -> Result<(), NpmError> {
    let differs = |edge: &EdgeId| tree[*edge].wish.spec != *tree.spec(*edge);
    match tree.edges_out(Tree::ROOT).into_iter().find(differs) {
        Some(edge) => Err(NpmError::OverrideConflict {
            name: tree[edge].wish.name.to_string(),
            asked: tree[edge].wish.spec.to_string(),
            overridden: tree.spec(edge).to_string(),
        }),
        None => Ok(()),
    }
}

struct Planner<'a> {
    tree: Tree,
    registry: &'a Registry,
    queue: BTreeSet<NodeId>,
    seen: BTreeSet<NodeId>,
    virtual_roots: BTreeMap<NodeId, NodeId>,
    failed: BTreeSet<NodeId>,
    looks: BTreeMap<String, u32>,
    /// How many sets of peers are being loaded, each within the one before.
    nested: u32,
}

impl Planner<'_> {
    /// The shallowest node that has not been looked at, by path among equals.
    fn next(&mut self) -> Option<NodeId> {
        let tree = &self.tree;
        let seen = &self.seen;
        self.queue.retain(|node| tree.is_real(*node) && !seen.contains(node));
        let depth = self.queue.iter().map(|node| tree.depth(*node)).min()?;
        let shallow =
            self.queue.iter().filter(|node| tree.depth(**node) == depth).map(|node| (tree.location(*node), *node));
        let (_, node) = shallow.min_by(|a, b| collate::compare(&a.0, &b.0).then(a.1.cmp(&b.1)))?;
        self.queue.remove(&node);
        self.seen.insert(node);
        Some(node)
    }

    /// Queues those of the kept nodes that are not content, and those whose wish is for something that shall move.
    fn queue_kept(&mut self) {
        for node in self.tree.installed() {
            if !self.problems(node).is_empty() {
                self.queue.insert(node);
            }
        }
    }

    /// Takes out what was kept and nothing wants any more.
    fn prune_unwanted(&mut self) {
        let wanted = flags(&self.tree).wanted;
        for node in self.tree.installed() {
            if self.tree.is_real(node) && !wanted.contains(&node) {
                self.tree.detach(node);
            }
        }
    }

    /// Meets all wishes of one node.
    async fn step(&mut self, node: NodeId) -> Result<(), NpmError> {
        let mut tasks = Vec::new();
        for edge in self.problems(node) {
            if !self.tree[edge].conflicted {
                tasks.push((edge, self.package_for(node, edge).await?));
            }
        }
        tasks.sort_by(|a, b| collate::compare(&self.tree[a.0].wish.name, &self.tree[b.0].wish.name));
        for (edge, package) in tasks {
            let force = match (self.moves(edge), self.registry.may_go_down()) {
                (false, _) => Force::Missing,
                (true, false) => Force::Newer,
                (true, true) => Force::Any,
            };
            for placed in place(&mut self.tree, package, edge, force)? {
                self.after_placing(placed);
            }
        }
        Ok(())
    }

    /// The edges of a node that are not as they should be.
    fn problems(&self, node: NodeId) -> Vec<EdgeId> {
        let tree = &self.tree;
        let bundled = &tree[node].manifest.bundled;
        let is_problem = |edge: &EdgeId| match tree[*edge].to {
            _ if bundled.contains(&*tree[*edge].wish.name) => false,
            Some(to) if self.failed.contains(&to) => false,
            None => tree[*edge].wish.kind != EdgeKind::PeerOptional,
            Some(_) => !tree.is_valid(*edge) || self.moves(*edge),
        };
        tree.edges_out(node).into_iter().filter(is_problem).collect()
    }

    /// Whether what an edge asks for shall move, though it is content.
    fn moves(&self, edge: EdgeId) -> bool {
        self.registry.preferences().moves(self.tree.spec(edge).package(&self.tree[edge].wish.name))
    }

    /// The package that shall meet an edge, with its peers around it in a virtual root.
    async fn package_for(&mut self, node: NodeId, edge: EdgeId) -> Result<NodeId, NpmError> {
        let kind = self.tree[edge].wish.kind;
        let virtual_root = match self.virtual_roots.get(&node) {
            Some(known) => *known,
            None => self.virtual_root(node),
        };
        let same = self.tree.edge(virtual_root, &self.tree[edge].wish.key);
        let known = same.filter(|same| self.tree.is_valid(*same)).and_then(|same| self.tree[same].to);
        if let Some(known) = known.filter(|known| self.tree.satisfies(*known, edge)) {
            return Ok(known);
        }
        if kind == EdgeKind::PeerOptional
            && let Some(known) = self.hoistable(node, edge)
        {
            return Ok(known);
        }
        let parent = kind.is_peer().then_some(virtual_root);
        let mut required = BTreeSet::from([node]);
        self.package_from_edge(edge, parent, None, &mut required).await
    }

    /// The first node around `node`, nearest to the top, that answers an edge.
    fn hoistable(&self, node: NodeId, edge: EdgeId) -> Option<NodeId> {
        let start = self.tree[node].parent.unwrap_or(node);
        let mut walk = self.tree.children(start);
        let mut next = 0;
        while let Some(here) = walk.get(next).copied() {
            if self.tree.satisfies(here, edge) {
                return Some(here);
            }
            walk.extend(self.tree.children(here));
            next += 1;
        }
        None
    }

    fn virtual_root(&mut self, node: NodeId) -> NodeId {
        let virtual_root = self.tree.add_virtual_root(node);
        self.virtual_roots.insert(node, virtual_root);
        virtual_root
    }

    /// Loads what an edge asks for into a virtual root, then its peers. Where a second edge asks for the same name, the version
    /// that pleases it is tried too, and taken if it pleases both.
    fn package_from_edge<'a>(
        &'a mut self,
        edge: EdgeId,
        parent: Option<NodeId>,
        second_edge: Option<EdgeId>,
        required: &'a mut BTreeSet<NodeId>,
    ) -> BoxFuture<'a, Result<NodeId, NpmError>> {
        Box::pin(async move {
            let from = self.tree[edge].from;
            let parent = parent.unwrap_or_else(|| self.virtual_root(from));
            let first = self.load(edge, edge, parent).await?;
            let second = match second_edge.filter(|second| !self.tree.is_valid(*second)) {
                Some(second) => Some(self.load(edge, second, parent).await?),
                None => None,
            };
            let node = second.filter(|_| self.tree.is_valid(edge)).unwrap_or(first);
            self.tree.attach(node, parent);
            let is_required = |edge: EdgeId| {
                required.contains(&self.tree[edge].from) && self.tree[edge].wish.kind != EdgeKind::PeerOptional
            };
            if is_required(edge) || second_edge.is_some_and(is_required) {
                required.insert(node);
            }
            // npm means what is installed globally by itself; a virtual root counts as well.
            if self.tree.strategy == Strategy::Shallow && self.tree.is_root(from) {
                return Ok(node);
            }
            if self.nested == MOST_NESTED {
                let package = self.tree.describe(node);
                return Err(NpmError::Unsupported { package, what: "has peers that ask for others without an end" });
            }
            self.nested += 1;
            self.load_peers(node, required).await?;
            self.nested -= 1;
            Ok(node)
        })
    }

    /// Makes a node for what `asking` wants, called as `edge` calls it.
    async fn load(&mut self, edge: EdgeId, asking: EdgeId, parent: NodeId) -> Result<NodeId, NpmError> {
        let name = self.tree[edge].wish.name.clone();
        let spec = self.tree.spec(asking).clone();
        let node = match self.registry.find(&name, &spec).await? {
            Ok(manifest) => {
                self.registry.foresee_wishes(&manifest);
                self.tree.add(&name, manifest, None, Some(parent))
            }
            Err(absence) => self.tree.add(&name, Arc::new(Manifest::default()), Some(absence), Some(parent)),
        };
        Ok(node)
    }

    /// Loads the unmet peers of a node, and theirs, beside it.
    async fn load_peers(&mut self, node: NodeId, required: &mut BTreeSet<NodeId>) -> Result<(), NpmError> {
        let is_met = |tree: &Tree, edge: EdgeId| tree[edge].to.is_some() && tree.is_valid(edge);
        let mut edges = self.tree.edges_out(node);
        edges.retain(|edge| self.tree[*edge].wish.kind.is_peer() && !is_met(&self.tree, *edge));
        edges.sort_by(|a, b| collate::compare(&self.tree[*a].wish.name, &self.tree[*b].wish.name));
        for edge in edges {
            let Some(parent) = self.tree[node].parent else { break };
            if is_met(&self.tree, edge) {
                continue;
            }
            let is_mine = self.tree[parent].source.is_some_and(|source| self.tree.is_root(source));
            let parent_edge = self.tree.edge(parent, &self.tree[edge].wish.key);
            match (self.tree[edge].to, parent_edge) {
                (None, None) => {
                    // An optional peer is loaded only where what is there already would not do.
                    if self.tree[edge].wish.kind == EdgeKind::PeerOptional {
                        let around = self.tree[parent].source.unwrap_or(parent);
                        let found = self.tree.resolve(around, &self.tree[edge].wish.key);
                        if found.is_none_or(|found| self.tree.satisfies(found, edge)) {
                            continue;
                        }
                    }
                    self.package_from_edge(edge, Some(parent), None, required).await?;
                }
                (None, Some(parent_edge)) => {
                    let package = self.package_from_edge(parent_edge, Some(parent), Some(edge), required).await?;
                    if self.tree.is_valid(edge) {
                        continue;
                    }
                    if !is_mine || !required.contains(&package) || self.tree[package].absence.is_some() {
                        self.tree.set_conflicted(edge);
                        continue;
                    }
                    if self.tree[node].parent.is_none() {
                        break;
                    }
                    return Err(self.peer_conflict(edge));
                }
                (Some(current), _) => {
                    let package = self.package_from_edge(edge, None, None, required).await?;
                    if can_replace(&self.tree, package, current, &BTreeSet::new()) {
                        self.package_from_edge(edge, Some(parent), None, required).await?;
                    } else if is_mine
                        && required.contains(&self.tree[edge].from)
                        && self.tree[current].absence.is_none()
                    {
                        return Err(self.peer_conflict(edge));
                    }
                }
            }
        }
        Ok(())
    }

    fn peer_conflict(&self, edge: EdgeId) -> NpmError {
        let Self { tree, .. } = self;
        let wish = &tree[edge].wish;
        NpmError::PeerConflict {
            package: tree.describe(tree[edge].from),
            wanted: format!("{}@{}", wish.name, tree.spec(edge).text),
            present: tree[edge].to.map(|to| tree.describe(to)),
            chain: tree.chain(tree[edge].from),
        }
    }

    /// Queues the new node and all who are no longer content.
    fn after_placing(&mut self, placed: Placed) {
        let Placed { node, edge, disturbed } = placed;
        if self.tree[node].absence.is_some() {
            self.failed.insert(node);
        }
        for other in self.tree.edges_in(node) {
            if other != edge && !self.tree[other].conflicted && !self.tree.is_valid(other) {
                self.look_again(self.tree[other].from);
            }
        }
        self.queue.insert(node);
        disturbed.into_iter().for_each(|node| self.look_again(node));
    }

    fn look_again(&mut self, node: NodeId) {
        self.seen.remove(&node);
        self.queue.insert(node);
    }

    /// Leaves out optional packages that could not be loaded; anything else that could not be is an error.
    fn prune_unavailable(&mut self) -> Result<(), NpmError> {
        let flags = flags(&self.tree);
        for node in self.failed.clone() {
            if !self.tree.is_real(node) {
                continue;
            }
            if flags.needed.contains(&node) || matches!(self.tree[node].absence, Some(Absence::Elsewhere)) {
                return Err(self.absence_error(node));
            }
            optional_set(&self.tree, node).into_iter().for_each(|member| self.tree.set_inert(member));
        }
        Ok(())
    }

    fn absence_error(&self, node: NodeId) -> NpmError {
        let tree = &self.tree;
        let edges = tree.edges_in(node);
        let spec = edges.first().map(|edge| tree.spec(*edge));
        let key = tree[node].name.to_string();
        let name = spec.map_or(key.clone(), |spec| spec.package(&key).to_owned());
        let wanted = spec.map(|spec| spec.text.clone()).unwrap_or_default();
        let chain = tree.chain(node);
        match tree[node].absence.clone() {
            Some(Absence::NoVersion { known, late }) => NpmError::NoVersion { name, wanted, known, late, chain },
            Some(Absence::Elsewhere) => NpmError::Elsewhere { name, wanted, chain },
            Some(Absence::UnknownName) | None => NpmError::UnknownPackage { name, chain },
        }
    }

    /// Leaves out optional packages that do not run on the target; anything else that does not is an error.
    fn prune_unfit(&mut self) -> Result<(), NpmError> {
        let flags = flags(&self.tree);
        for node in self.tree.installed() {
            let fits = self.tree[node].manifest.platform_fits();
            if self.tree[node].absence.is_some() {
                continue;
            }
            if flags.needed.contains(&node) {
                if !fits {
                    return Err(NpmError::WrongPlatform {
                        package: self.tree.describe(node),
                        platform: self.registry.target().platform.to_string(),
                        chain: self.tree.chain(node),
                    });
                }
            } else if !(self.tree[node].inert || fits && self.tree[node].manifest.engines_fit()) {
                optional_set(&self.tree, node).into_iter().for_each(|member| self.tree.set_inert(member));
            }
        }
        Ok(())
    }
}
