//! Puts a package and its peers into the tree (behaviour of arborist's PlaceDep): as high as no one is upset.

use std::collections::BTreeSet;

use super::can_place::{Claim, Verdict, can_place};
use super::collate;
use super::error::NpmError;
use super::sets::{can_replace, deepest_target, gather, peer_entry_sets};
use super::tree::{EdgeId, NodeId, Strategy, Tree};

/// One package that was put somewhere.
#[derive(Debug)]
pub(super) struct Placed {
    /// The new node.
    pub node: NodeId,
    /// For which edge.
    pub edge: EdgeId,
    /// Who lost something and has to be looked at again.
    pub disturbed: BTreeSet<NodeId>,
}

/// When a package is placed for an edge that is met already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Force {
    /// Never.
    Missing,
    /// Where it is newer than what is there.
    Newer,
    /// Also where it is older.
    Any,
}

/// Places `package` for `edge`; returns what was placed, parents before peers.
pub(super) fn place(tree: &mut Tree, package: NodeId, edge: EdgeId, force: Force) -> Result<Vec<Placed>, NpmError> {
    let mut placed = Vec::new();
    place_claim(tree, &Claim { package, edge, force, parent: None }, &mut placed)?;
    Ok(placed)
}

fn place_claim(tree: &mut Tree, claim: &Claim<'_>, placed: &mut Vec<Placed>) -> Result<(), NpmError> {
    let Claim { package, edge, force, .. } = *claim;
    if force == Force::Missing && tree[edge].to.is_some() && tree.is_valid(edge) {
        return Ok(());
    }
    let Some((target, verdict)) = choose_target(tree, claim)? else {
        tree.set_conflicted(edge);
        return Ok(());
    };
    if verdict == Verdict::Keep {
        if tree[edge].wish.kind.is_peer() && !tree.is_valid(edge) {
            tree.set_conflicted(edge);
        }
        prune_duplicates(tree, target, true);
        return Ok(());
    }
    if tree.ancestry(target).any(|above| !tree.is_top(above) && tree.matches(above, package)) {
        let package = tree.describe(package);
        return Err(NpmError::Unsupported {
            package,
            what: "is needed inside itself, in an endless circle of versions",
        });
    }
    let virtual_root = tree[package].parent;
    let node = tree.copy(package);
    let old = tree[target].children.get(&tree[edge].wish.key).copied();
    let disturbed = match old {
        Some(old) => replace_old(tree, node, old, target),
        None => {
            tree.attach(node, target);
            BTreeSet::new()
        }
    };
    if tree[edge].wish.kind.is_peer() && !tree.satisfies(node, edge) {
        tree.set_conflicted(edge);
    }
    placed.push(Placed { node, edge, disturbed });
    prune_after(tree, node, edge, target);
    place_peers(tree, claim, node, virtual_root, placed)
}

/// Walks up from the deepest possible place to the last one without conflict. `None`: left unmet.
fn choose_target(tree: &Tree, claim: &Claim<'_>) -> Result<Option<(NodeId, Verdict)>, NpmError> {
    let Claim { package, edge, .. } = *claim;
    let key = &tree[edge].wish.key;
    let (mut whole, mut alone) = (None, None);
    for target in tree.ancestry(claim.deepest(tree)) {
        let is_peer_here = tree.edge(target, key).is_some_and(|edge| tree[edge].wish.kind.is_peer());
        if is_peer_here && !tree.is_top(target) {
            continue;
        }
        let answer = can_place(tree, claim, target);
        if answer.alone != Verdict::Conflict {
            alone = Some(answer);
        }
        if answer.whole == Verdict::Conflict {
            break;
        }
        whole = Some(answer);
        let is_global_floor = tree.strategy == Strategy::Shallow && tree[target].parent == Some(Tree::ROOT);
        if tree[package].absence.is_some() || is_global_floor {
            break;
        }
    }
    if let Some(answer) = whole {
        return Ok(Some((answer.target, answer.whole)));
    }
    if is_mine(tree, claim.entry()) {
        return Err(conflict(tree, claim));
    }
    Ok(alone.map(|answer| (answer.target, answer.alone)))
}

/// Whether the manifest itself is behind an edge, so that a conflict is the user's to solve.
fn is_mine(tree: &Tree, entry: EdgeId) -> bool {
    let from = tree[entry].from;
    if tree.is_root(from) {
        return true;
    }
    if !tree[entry].wish.kind.is_peer() {
        return false;
    }
    let (peers, others): (Vec<_>, Vec<_>) =
        tree.edges_in(from).into_iter().partition(|edge| tree[*edge].wish.kind.is_peer());
    let is_from_root = |edge: &EdgeId| tree.is_root(tree[*edge].from);
    others.iter().any(is_from_root)
        || !peers.is_empty() && peer_entry_sets(tree, from).iter().any(|(edge, _)| is_from_root(edge))
}

fn conflict(tree: &Tree, claim: &Claim<'_>) -> NpmError {
    let wish = &tree[claim.edge].wish;
    let present = tree.resolve(tree[claim.edge].from, &wish.key);
    NpmError::PeerConflict {
        package: tree.describe(claim.package),
        wanted: format!("{}@{} by {}", wish.name, tree.spec(claim.edge).text, describe_asker(tree, claim.edge)),
        present: present.map(|present| tree.describe(present)),
        chain: tree.chain(claim.package),
    }
}

fn describe_asker(tree: &Tree, edge: EdgeId) -> String {
    match tree[edge].from {
        Tree::ROOT => "manifest".into(),
        from => tree.describe(from),
    }
}

/// Replaces what stands in the way; takes out what only it needed, and peer sets that cannot stay.
fn replace_old(tree: &mut Tree, node: NodeId, old: NodeId, target: NodeId) -> BTreeSet<NodeId> {
    let mut old_deps = Vec::new();
    for edge in tree.edges_out(old) {
        if let Some(to) = tree[edge].to.filter(|_| tree.edge(node, &tree[edge].wish.key).is_none()) {
            old_deps.extend(gather(tree, [to], |edge| tree[edge].to != Some(to)));
        }
    }
    let mut evicted = Vec::new();
    for edge in tree.edges_in(old) {
        let stays = tree.satisfies(node, edge)
            || !tree[edge].wish.kind.is_peer()
            || tree[tree[edge].from].parent != Some(target)
            || tree[edge].conflicted;
        if stays {
            continue;
        }
        for (entry, _) in peer_entry_sets(tree, tree[edge].from) {
            let Some(first) = tree[entry].to else { continue };
            let key = tree[first].name.to_lowercase();
            if deepest_target(tree, first, &key) != target && !tree.is_root(tree[entry].from) {
                evicted.extend(gather(tree, [first], |edge| tree[edge].to != Some(first) && !tree[edge].conflicted));
            } else {
                tree.set_conflicted(edge);
            }
        }
    }
    tree.replace(old, node);
    prune_replaced(tree, node, old_deps);
    let mut disturbed = BTreeSet::new();
    for member in evicted {
        disturbed.extend(tree.edges_in(member).into_iter().map(|edge| tree[edge].from));
        tree.detach(member);
    }
    disturbed
}

/// Takes out what only the replaced package needed.
fn prune_replaced(tree: &mut Tree, node: NodeId, old_deps: Vec<NodeId>) {
    let invalid = |edge: EdgeId| tree[edge].to.filter(|_| !tree.is_valid(edge));
    let mut start: Vec<NodeId> = tree.edges_out(node).into_iter().filter_map(invalid).collect();
    for dep in old_deps {
        start.extend(gather(tree, [dep], |edge| tree[edge].to != Some(dep) && tree.is_valid(edge)));
    }
    let junk =
        gather(tree, start, |edge| tree[edge].from != node && tree[edge].to != Some(node) && tree.is_valid(edge));
    junk.into_iter().for_each(|dep| tree.detach(dep));
}

/// Takes out copies below that the new node makes superfluous.
fn prune_after(tree: &mut Tree, node: NodeId, edge: EdgeId, target: NodeId) {
    if let Some(to) = tree[edge].to.filter(|to| *to != node)
        && tree.is_valid(edge)
    {
        prune_duplicates(tree, to, false);
    }
    let key = tree[edge].wish.key.clone();
    for other in tree.named(target, &key) {
        if tree.is_top(other) || !tree.is_descendant(other, target) {
            continue;
        }
        prune_duplicates(tree, other, false);
        if tree.is_same_tree(other, target) {
            for child in tree.children(other) {
                prune_duplicates(tree, child, false);
            }
        }
    }
}

/// Takes a node out when what would be found instead serves as well; else looks at those below it.
fn prune_duplicates(tree: &mut Tree, node: NodeId, descend: bool) {
    if can_dedupe(tree, node) {
        let set = gather(tree, [node], |edge| tree[edge].to != Some(node) && tree.is_valid(edge));
        set.into_iter().for_each(|member| tree.detach(member));
    } else if descend {
        let mut children = tree.children(node);
        children.sort_by(|a, b| collate::compare(&tree.location(*a), &tree.location(*b)));
        children.into_iter().for_each(|child| prune_duplicates(tree, child, true));
    }
}

fn can_dedupe(tree: &Tree, node: NodeId) -> bool {
    let Some(above) = tree[node].parent.and_then(|parent| tree[parent].parent) else { return false };
    if tree.is_unwanted(node) {
        return true;
    }
    let Some(other) = tree.resolve(above, &tree[node].name.to_lowercase()) else { return false };
    if tree.matches(other, node) {
        return true;
    }
    let (other_version, version) = (&tree[other].manifest.version, &tree[node].manifest.version);
    let is_preferred = other_version == version || !tree.is_overridden(node) && other_version > version;
    is_preferred && can_replace(tree, other, node, &BTreeSet::new())
}

fn place_peers(
    tree: &mut Tree,
    claim: &Claim<'_>,
    node: NodeId,
    virtual_root: Option<NodeId>,
    placed: &mut Vec<Placed>,
) -> Result<(), NpmError> {
    let Some(virtual_root) = virtual_root else { return Ok(()) };
    for edge in tree.edges_out(node) {
        if tree.is_valid(edge) || !tree[edge].wish.kind.is_peer() || tree[edge].conflicted {
            continue;
        }
        let Some(peer) = tree[virtual_root].children.get(&tree[edge].wish.key).copied() else { continue };
        if tree.satisfies(peer, edge) {
            place_claim(tree, &Claim { package: peer, edge, force: Force::Missing, parent: Some(claim) }, placed)?;
        }
    }
    Ok(())
}
