//! Sets of nodes that stand or fall together (behaviour of arborist's gather-dep-set, peer-entry-sets, optional-set, calc-dep-flags).

use std::collections::{BTreeMap, BTreeSet};

use super::tree::{EdgeId, NodeId, Tree};

/// An ordered set that may grow while it is walked.
#[derive(Default)]
struct Walk {
    order: Vec<NodeId>,
    seen: BTreeSet<NodeId>,
}

impl Walk {
    fn from(start: impl IntoIterator<Item = NodeId>) -> Self {
        let mut walk = Self::default();
        start.into_iter().for_each(|node| walk.add(node));
        walk
    }

    fn add(&mut self, node: NodeId) {
        if self.seen.insert(node) {
            self.order.push(node);
        }
    }

    fn run(mut self, mut each: impl FnMut(NodeId, &mut Self)) -> Vec<NodeId> {
        let mut next = 0;
        while let Some(node) = self.order.get(next).copied() {
            each(node, &mut self);
            next += 1;
        }
        self.order
    }
}

/// Those of `start` and their dependencies that nothing outside the set needs; edges that do not pass `counts` do not count.
pub(super) fn gather(
    tree: &Tree,
    start: impl IntoIterator<Item = NodeId>,
    counts: impl Fn(EdgeId) -> bool,
) -> Vec<NodeId> {
    let mut order = Walk::from(start).run(|node, walk| {
        for edge in tree.edges_out(node) {
            if let Some(to) = tree[edge].to.filter(|_| counts(edge)) {
                walk.add(to);
            }
        }
    });
    let mut inside: BTreeSet<NodeId> = order.iter().copied().collect();
    loop {
        let before = order.len();
        order.retain(|node| {
            let needed =
                tree.edges_in(*node).into_iter().any(|edge| !inside.contains(&tree[edge].from) && counts(edge));
            if needed {
                inside.remove(node);
            }
            !needed
        });
        if order.len() == before {
            return order;
        }
    }
}

/// The peer sets that a node is part of: each by the edge that brought it in.
pub(super) fn peer_entry_sets(tree: &Tree, node: NodeId) -> Vec<(EdgeId, Vec<NodeId>)> {
    let union = Walk::from([node]).run(|peer, walk| {
        let is_peer = |edge: &EdgeId| tree[*edge].wish.kind.is_peer() && tree.is_valid(*edge);
        tree.edges_out(peer).into_iter().filter(is_peer).filter_map(|edge| tree[edge].to).for_each(|to| walk.add(to));
        tree.edges_in(peer).into_iter().filter(is_peer).for_each(|edge| walk.add(tree[edge].from));
    });
    let mut sets = Vec::new();
    for peer in union {
        for edge in tree.edges_in(peer) {
            let is_entry = !tree[edge].wish.kind.is_peer() || tree.is_top(tree[edge].from);
            if !tree.is_valid(edge) || !is_entry {
                continue;
            }
            let set = Walk::from([peer]).run(|peer, walk| {
                let is_peer = |edge: &EdgeId| tree[*edge].wish.kind.is_peer() && tree.is_valid(*edge);
                tree.edges_out(peer)
                    .into_iter()
                    .filter(is_peer)
                    .filter_map(|edge| tree[edge].to)
                    .for_each(|to| walk.add(to));
            });
            if set.contains(&node) {
                sets.push((edge, set));
            }
        }
    }
    sets
}

/// The deepest place where something called `key` can go for a node: above those that have it as a peer.
pub(super) fn deepest_target(tree: &Tree, start: NodeId, key: &str) -> NodeId {
    let stays = |target: &NodeId| {
        let is_peer = tree.edge(*target, key).is_some_and(|edge| tree[edge].wish.kind.is_peer());
        tree.is_top(*target) || !is_peer
    };
    tree.ancestry(start).find(stays).unwrap_or(start)
}

/// Whether `new` may stand where `old` stands: all who depend on `old` from outside its own set would be content.
pub(super) fn can_replace(tree: &Tree, new: NodeId, old: NodeId, peers: &BTreeSet<&str>) -> bool {
    let is_same_package = tree[new].name == tree[old].name && tree[new].manifest.name == tree[old].manifest.name;
    if !is_same_package || !tree.is_overridden_alike(new, old) {
        return false;
    }
    let own: BTreeSet<NodeId> =
        gather(tree, [old], |edge| tree[edge].to != Some(old) && tree.is_valid(edge)).into_iter().collect();
    tree.edges_in(old).into_iter().all(|edge| {
        let from = tree[edge].from;
        let is_replaced_too = !tree.is_top(old)
            && tree[from].parent == tree[old].parent
            && tree[edge].wish.kind.is_peer()
            && peers.contains(&*tree[from].name);
        is_replaced_too || own.contains(&from) || tree.satisfies(new, edge)
    })
}

/// What can be said of nodes from how they are reached.
#[derive(Debug, Default)]
pub(super) struct Flags {
    /// Reached through something that is not optional.
    pub needed: BTreeSet<NodeId>,
    /// Reached at all, other than by optional peers.
    pub wanted: BTreeSet<NodeId>,
}

/// Walks the real tree from its root.
pub(super) fn flags(tree: &Tree) -> Flags {
    let mut flags = Flags { needed: BTreeSet::from([Tree::ROOT]), wanted: BTreeSet::from([Tree::ROOT]) };
    let mut queue = vec![Tree::ROOT];
    while let Some(node) = queue.pop() {
        for edge in tree.edges_out(node) {
            let (Some(to), kind) = (tree[edge].to, tree[edge].wish.kind) else { continue };
            let is_optional_peer = kind.is_peer() && kind.is_optional();
            let wanted = flags.wanted.contains(&node) && !is_optional_peer && flags.wanted.insert(to);
            let needed = flags.needed.contains(&node) && !kind.is_optional() && flags.needed.insert(to);
            if wanted || needed {
                queue.push(to);
            }
        }
        for above in tree.ancestry(node).skip(1) {
            if flags.wanted.contains(&node) {
                flags.wanted.insert(above);
            }
        }
    }
    flags
}

/// All that goes when a node on an optional path cannot be had: up to the optional edges, and what only these need.
pub(super) fn optional_set(tree: &Tree, node: NodeId) -> Vec<NodeId> {
    let set = Walk::from([node]).run(|member, walk| {
        for edge in tree.edges_in(member) {
            if !tree[edge].wish.kind.is_optional() {
                walk.add(tree[edge].from);
            }
        }
    });
    let inside: BTreeMap<NodeId, ()> = set.iter().map(|node| (*node, ())).collect();
    gather(tree, set, |edge| !tree[edge].to.is_some_and(|to| inside.contains_key(&to)) && !tree[tree[edge].from].inert)
}
