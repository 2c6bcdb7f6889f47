//! Whether a package may go into a folder (behaviour of arborist's CanPlaceDep). Looks, never touches.

use std::collections::BTreeSet;

use super::place::Force;
use super::sets::{can_replace, deepest_target, peer_entry_sets};
use super::tree::{EdgeId, NodeId, Tree};

/// What may be done at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The place is free.
    Place,
    /// Something else is there and may be replaced.
    Replace,
    /// What is there serves.
    Keep,
    /// Neither.
    Conflict,
}

/// A package that is to be placed for an edge, and for whom it is placed as a peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim<'a> {
    /// The package, in its virtual root.
    pub package: NodeId,
    /// The edge that it shall meet.
    pub edge: EdgeId,
    /// Whether it is placed though the edge is met.
    pub force: Force,
    /// The claim of the package whose peer it is.
    pub parent: Option<&'a Claim<'a>>,
}

impl Claim<'_> {
    /// The edge with which the peer set comes in.
    pub fn entry(&self) -> EdgeId {
        self.parent.map_or(self.edge, Claim::entry)
    }

    /// The deepest place where it can go: as shallow as what it is a peer of.
    pub fn deepest(&self, tree: &Tree) -> NodeId {
        let start = self.parent.map_or(tree[self.edge].from, |parent| parent.deepest(tree));
        deepest_target(tree, start, &tree[self.edge].wish.key)
    }
}

/// The answer for a place: with all peers, and for the package alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    /// The place.
    pub target: NodeId,
    /// With all its peers.
    pub whole: Verdict,
    /// Without its peers.
    pub alone: Verdict,
}

/// Asks whether a claim can be met in `target`.
pub(super) fn can_place(tree: &Tree, claim: &Claim<'_>, target: NodeId) -> Answer {
    Question { tree, claim, target, path: &[] }.answer()
}

struct Question<'a> {
    tree: &'a Tree,
    claim: &'a Claim<'a>,
    target: NodeId,
    path: &'a [NodeId],
}

impl Question<'_> {
    fn answer(&self) -> Answer {
        let (whole, alone) = self.verdicts();
        Answer { target: self.target, whole, alone }
    }

    /// With all peers, and alone.
    fn verdicts(&self) -> (Verdict, Verdict) {
        let tree = self.tree;
        let Claim { package, edge, .. } = *self.claim;
        let key = &tree[edge].wish.key;
        let current = tree[self.target].children.get(key).copied();
        if tree[package].absence.is_some() {
            return both(if current.is_some() { Verdict::Replace } else { Verdict::Place });
        }
        let of_target = tree.edge(self.target, key);
        if of_target.is_some_and(|edge| tree[edge].wish.kind.is_peer()) && !tree.is_top(self.target) {
            return both(Verdict::Conflict);
        }
        match current {
            Some(current) => self.beside(current),
            None if of_target.is_some_and(|other| other != edge && !tree.satisfies(package, other)) => {
                both(Verdict::Conflict)
            }
            None => self.in_free_place(),
        }
    }

    fn in_free_place(&self) -> (Verdict, Verdict) {
        let tree = self.tree;
        let Claim { package, edge, .. } = *self.claim;
        if self.target != tree[self.claim.entry()].from
            && let Some(visible) = tree.resolve(self.target, &tree[edge].wish.key)
        {
            let would_break = |edge: &EdgeId| {
                tree.is_descendant(tree[*edge].from, self.target)
                    && tree.is_valid(*edge)
                    && !tree.satisfies(package, *edge)
            };
            if tree.edges_in(visible).iter().any(would_break) {
                return both(Verdict::Conflict);
            }
        }
        (self.with_peers(Verdict::Place), Verdict::Place)
    }

    /// Something called the same is there already.
    fn beside(&self, current: NodeId) -> (Verdict, Verdict) {
        let tree = self.tree;
        let Claim { package, edge, force, parent } = *self.claim;
        let is_peer = tree[edge].wish.kind.is_peer();
        let prefers_dedupe = is_peer || parent.is_some();
        let is_override = !tree.satisfies(package, edge);
        let serves = tree.satisfies(current, edge);
        if tree.matches(package, current) && (serves || is_override) {
            return both(Verdict::Keep);
        }
        let versions = (&tree[package].manifest.version, &tree[current].manifest.version);
        let is_newer = matches!(versions, (Some(new), Some(old)) if new >= old) || force == Force::Any;
        let replaceable = can_replace(tree, package, current, &BTreeSet::new());
        // Once the peers were asked on behalf of a replacement, the package alone counts as placed, whatever they say.
        let asked = replaceable && is_newer;
        if asked && self.with_peers(Verdict::Replace) != Verdict::Conflict {
            return both(Verdict::Replace);
        }
        if serves && force != Force::Any {
            return both(Verdict::Keep);
        }
        let asked = asked || replaceable && prefers_dedupe;
        if asked && !is_newer && self.with_peers(Verdict::Replace) != Verdict::Conflict {
            return both(Verdict::Replace);
        }
        let must_be_here = !is_peer && self.target == tree[edge].from;
        let may_be_forced = is_peer || parent.is_some();
        let is_deepest = self.target == self.claim.deepest(tree);
        if is_deepest && (must_be_here || may_be_forced && self.sets_give_way(current)) {
            return (self.with_peers(Verdict::Replace), Verdict::Replace);
        }
        (Verdict::Conflict, if asked { Verdict::Replace } else { Verdict::Conflict })
    }

    /// Whether every peer set that `current` is part of can be replaced by the new one or go deeper.
    fn sets_give_way(&self, current: NodeId) -> bool {
        let tree = self.tree;
        let Claim { package, edge, .. } = *self.claim;
        let Some(virtual_root) = tree[package].parent else { return false };
        let peers = tree[virtual_root].children.values().map(|peer| &*tree[*peer].name).collect();
        peer_entry_sets(tree, current).into_iter().all(|(entry, members)| {
            let Some(first) = tree[entry].to.filter(|_| entry != edge && entry != self.claim.entry()) else {
                return true;
            };
            let replacement = tree[virtual_root].children.get(&tree[entry].wish.key).copied();
            let gives_way = match replacement {
                Some(replacement) => can_replace(tree, replacement, first, &peers),
                None => self.agrees_with_set(first, virtual_root),
            };
            gives_way
                || members.iter().all(|member| {
                    let deepest = deepest_target(tree, tree[entry].from, &tree[*member].name.to_lowercase());
                    deepest != self.target && !tree.is_descendant(self.target, deepest)
                })
        })
    }

    /// Whether the peers of a set that the new one does not replace would be content with the new ones.
    fn agrees_with_set(&self, first: NodeId, virtual_root: NodeId) -> bool {
        let tree = self.tree;
        let mut walk = vec![first];
        let mut next = 0;
        while let Some(peer) = walk.get(next).copied() {
            next += 1;
            for edge in
                tree.edges_out(peer).into_iter().filter(|edge| tree[*edge].wish.kind.is_peer() && tree.is_valid(*edge))
            {
                match (tree[virtual_root].children.get(&tree[edge].wish.key), tree[edge].to) {
                    (Some(replacement), _) if !tree.satisfies(*replacement, edge) => return false,
                    (None, Some(to)) if !walk.contains(&to) => walk.push(to),
                    _ => {}
                }
            }
        }
        true
    }

    /// The verdict, or a conflict when a peer cannot be placed there or above.
    fn with_peers(&self, verdict: Verdict) -> Verdict {
        let tree = self.tree;
        let path = [self.path, &[self.claim.package]].concat();
        let conflict = tree.edges_out(self.claim.package).into_iter().any(|edge| {
            let Some(peer) = tree[edge].to.filter(|to| tree[edge].wish.kind.is_peer() && !path.contains(to)) else {
                return false;
            };
            let target = deepest_target(tree, self.target, &tree[peer].name.to_lowercase());
            let claim = Claim { package: peer, edge, force: Force::Missing, parent: Some(self.claim) };
            let question = Question { tree, claim: &claim, target, path: &path };
            question.answer().whole == Verdict::Conflict
        });
        if conflict { Verdict::Conflict } else { verdict }
    }
}

fn both(verdict: Verdict) -> (Verdict, Verdict) {
    (verdict, verdict)
}
