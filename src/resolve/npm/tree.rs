//! A tree of `node_modules` under construction: nodes with folders, edges with what they resolve to.
//!
//! Behaviour of arborist's Node and Edge. Several trees live in one arena: the real one and the virtual roots in which peer sets
//! are tried. The invariant: an edge points to what Node's own lookup finds from its node, upwards, in the same tree.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::overrides::{Instead, Overrides, RuleId};
use super::packument::{EdgeKind, Manifest, Wish};
use super::registry::Absence;
use super::spec::Spec;

/// A node's place in the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeId(usize);

/// An edge's place in the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EdgeId(usize);

/// One package in one folder.
#[derive(Debug)]
pub(super) struct Node {
    /// The folder's name in `node_modules`.
    pub name: Arc<str>,
    /// What is in it.
    pub manifest: Arc<Manifest>,
    /// Why nothing is in it.
    pub absence: Option<Absence>,
    /// The package whose `node_modules` it is in.
    pub parent: Option<NodeId>,
    /// The packages in its own `node_modules`, by name without case.
    pub children: BTreeMap<Arc<str>, NodeId>,
    /// The node that a virtual root stands for.
    pub source: Option<NodeId>,
    /// Whether it is left out with its optional set.
    pub inert: bool,
    overrides: Option<RuleId>,
    root: NodeId,
    key: Arc<str>,
    edges: BTreeMap<Arc<str>, EdgeId>,
    edges_out: Vec<EdgeId>,
    edges_in: Vec<EdgeId>,
    attached: usize,
}

/// One declared dependency of one node.
#[derive(Debug)]
pub(super) struct Edge {
    /// Who depends.
    pub from: NodeId,
    /// On what.
    pub wish: Wish,
    /// What is found.
    pub to: Option<NodeId>,
    /// A peer that could not be met and is left unmet on purpose.
    pub conflicted: bool,
    overrides: Option<RuleId>,
}

/// Whether packages are installed globally: each keeps its dependencies below itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strategy {
    /// `npm install` in a project.
    Hoisted,
    /// `npm install -g`.
    Shallow,
}

/// The arena.
#[derive(Debug)]
pub(super) struct Tree {
    /// How deep dependencies go.
    pub strategy: Strategy,
    nodes: Vec<Node>,
    edges: Vec<Edge>,
    by_name: BTreeMap<Arc<str>, Vec<NodeId>>,
    edges_by_name: BTreeMap<Arc<str>, Vec<EdgeId>>,
    omit: BTreeSet<String>,
    rules: Overrides,
    attachments: usize,
}

impl Tree {
    /// The real root.
    pub const ROOT: NodeId = NodeId(0);

    /// A tree whose root wants `wishes`. Optional dependencies named in `omit` do not exist for it.
    pub fn new(strategy: Strategy, wishes: Vec<Wish>, omit: BTreeSet<String>, rules: Overrides) -> Self {
        let mut tree = Self {
            strategy,
            nodes: Vec::new(),
            edges: Vec::new(),
            by_name: BTreeMap::new(),
            edges_by_name: BTreeMap::new(),
            omit,
            rules,
            attachments: 0,
        };
        let top = tree.rules.top();
        tree.add_under("", Arc::new(Manifest::root(wishes)), None, None, top);
        tree
    }

    /// Makes a node, in `parent`'s `node_modules` or alone. What had its place there is detached.
    pub fn add(
        &mut self,
        name: &str,
        manifest: Arc<Manifest>,
        absence: Option<Absence>,
        parent: Option<NodeId>,
    ) -> NodeId {
        self.add_under(name, manifest, absence, parent, None)
    }

    fn add_under(
        &mut self,
        name: &str,
        manifest: Arc<Manifest>,
        absence: Option<Absence>,
        parent: Option<NodeId>,
        overrides: Option<RuleId>,
    ) -> NodeId {
        let id = NodeId(self.nodes.len());
        let key: Arc<str> = name.to_lowercase().into();
        self.by_name.entry(key.clone()).or_default().push(id);
        self.nodes.push(Node {
            name: name.into(),
            manifest: manifest.clone(),
            absence,
            parent: None,
            children: BTreeMap::new(),
            source: None,
            inert: false,
            overrides,
            root: id,
            key,
            edges: BTreeMap::new(),
            edges_out: Vec::new(),
            edges_in: Vec::new(),
            attached: 0,
        });
        if let Some(parent) = parent {
            self.attach(id, parent);
        }
        for wish in &manifest.wishes {
            if wish.kind != EdgeKind::Optional || !self.omit.contains(wish.spec.package(&wish.name)) {
                self.add_edge(id, wish.clone());
            }
        }
        id
    }

    /// Makes a root that stands for `source`: the same wishes, nothing in `node_modules`.
    pub fn add_virtual_root(&mut self, source: NodeId) -> NodeId {
        let (name, manifest) = (self[source].name.clone(), self[source].manifest.clone());
        let id = self.add_under(&name, manifest, None, None, self[source].overrides);
        self.nodes[id.0].source = Some(source);
        id
    }

    /// Makes a node like `model`, alone: what is in it, and what holds for it.
    pub fn copy(&mut self, model: NodeId) -> NodeId {
        let Node { name, manifest, absence, overrides, .. } = &self[model];
        let (name, manifest, absence, overrides) = (name.clone(), manifest.clone(), absence.clone(), *overrides);
        self.add_under(&name, manifest, absence, None, overrides)
    }

    fn add_edge(&mut self, from: NodeId, wish: Wish) {
        let id = EdgeId(self.edges.len());
        let key = wish.key.clone();
        self.edges.push(Edge { from, wish, to: None, conflicted: false, overrides: None });
        self.edges_by_name.entry(key.clone()).or_default().push(id);
        self.nodes[from.0].edges.insert(key, id);
        self.nodes[from.0].edges_out.push(id);
        self.reload(id);
    }

    /// Puts a node with all below it into `parent`'s `node_modules`; what had its place there is detached.
    pub fn attach(&mut self, id: NodeId, parent: NodeId) {
        if self[id].parent == Some(parent) {
            return;
        }
        let key = self[id].key.clone();
        if let Some(old) = self[parent].children.get(&key).copied() {
            self.detach(old);
        }
        if let Some(before) = self[id].parent {
            self.nodes[before.0].children.remove(&key);
        }
        self.attachments += 1;
        let root = self[parent].root;
        self.nodes[id.0].attached = self.attachments;
        self.nodes[id.0].parent = Some(parent);
        self.nodes[parent.0].children.insert(key.clone(), id);
        self.set_root(id, root);
        for edge in self.edges_by_name.get(&key).cloned().unwrap_or_default() {
            if self[self[edge].from].root == root {
                self.reload(edge);
            }
        }
    }

    /// Takes a node with all below it out of its tree.
    pub fn detach(&mut self, id: NodeId) {
        if let Some(parent) = self.nodes[id.0].parent.take() {
            let key = self[id].key.clone();
            self.nodes[parent.0].children.remove(&key);
        }
        self.set_root(id, id);
    }

    /// Puts `new`, which is alone, in the place of `old`, with all that is in its `node_modules`.
    pub fn replace(&mut self, old: NodeId, new: NodeId) {
        for child in self[old].children.values().copied().collect::<Vec<_>>() {
            self.attach(child, new);
        }
        if let Some(parent) = self[old].parent {
            self.attach(new, parent);
        }
    }

    fn set_root(&mut self, top: NodeId, root: NodeId) {
        let family = self.family(top);
        for id in &family {
            self.nodes[id.0].root = root;
        }
        for id in family {
            let edges = self[id].edges_in.iter().filter(|edge| self[self[**edge].from].root != root);
            let out = self[id].edges_out.iter().filter(|edge| self[**edge].to.is_none_or(|to| self[to].root != root));
            for edge in edges.chain(out).copied().collect::<Vec<_>>() {
                self.reload(edge);
            }
        }
    }

    fn family(&self, top: NodeId) -> Vec<NodeId> {
        let mut family = vec![top];
        let mut next = 0;
        while next < family.len() {
            family.extend(self[family[next]].children.values());
            next += 1;
        }
        family
    }

    fn reload(&mut self, id: EdgeId) {
        let from = self[id].from;
        self.edges[id.0].overrides = self[from].overrides.map(|rule| self.rules.rule_for(rule, &self[id].wish));
        let found = self.resolve(from, &self[id].wish.key);
        let before = std::mem::replace(&mut self.edges[id.0].to, found);
        if before != found {
            if let Some(before) = before {
                self.nodes[before.0].edges_in.retain(|edge| *edge != id);
                self.lose_rule(before, self[id].overrides);
            }
            if let Some(found) = found {
                self.gain_rule(found, self[id].overrides);
                self.nodes[found.0].edges_in.push(id);
            }
        }
    }

    /// An edge to a node is gone: what holds for it is what the others say.
    fn lose_rule(&mut self, node: NodeId, lost: Option<RuleId>) {
        if lost.is_none() || self[node].overrides != lost {
            return;
        }
        let mut left = None;
        for edge in &self[node].edges_in {
            left = match (self[*edge].overrides, left) {
                (Some(rule), Some(left)) => self.rules.reconcile(rule, left),
                (rule, _) => rule,
            };
        }
        if left != lost {
            self.nodes[node.0].overrides = left;
            if left.is_some() {
                self.hand_down(node);
            }
        }
    }

    /// An edge to a node is new: the more specific rule holds.
    fn gain_rule(&mut self, node: NodeId, gained: Option<RuleId>) {
        let Some(gained) = gained else { return };
        let rule = match self[node].overrides {
            None => Some(gained),
            Some(held) => self.rules.reconcile(held, gained),
        };
        if let Some(rule) = rule.filter(|rule| self[node].overrides != Some(*rule)) {
            self.nodes[node.0].overrides = Some(rule);
            self.hand_down(node);
        }
    }

    fn hand_down(&mut self, node: NodeId) {
        for edge in self.edges_out(node) {
            self.reload(edge);
            if let Some(to) = self[edge].to {
                self.gain_rule(to, self[edge].overrides);
            }
        }
    }

    /// Leaves an edge unmet on purpose.
    pub fn set_conflicted(&mut self, id: EdgeId) {
        self.edges[id.0].conflicted = true;
    }

    /// Leaves a node out of what is installed.
    pub fn set_inert(&mut self, id: NodeId) {
        self.nodes[id.0].inert = true;
    }

    /// What `require(key)` finds from a node: in its own `node_modules`, then its parent's, and so on.
    pub fn resolve(&self, from: NodeId, key: &str) -> Option<NodeId> {
        self.ancestry(from).find_map(|node| self[node].children.get(key).copied())
    }

    /// The node and those above it, to the root.
    pub fn ancestry(&self, from: NodeId) -> impl Iterator<Item = NodeId> {
        std::iter::successors(Some(from), |node| self[*node].parent)
    }

    /// Whether a node is `above` or anywhere below it.
    pub fn is_descendant(&self, node: NodeId, above: NodeId) -> bool {
        self.ancestry(node).any(|ancestor| ancestor == above)
    }

    /// Whether it is a root: the real one, a virtual one, or what was detached.
    pub fn is_root(&self, id: NodeId) -> bool {
        self[id].root == id
    }

    /// Whether it is in the real tree.
    pub fn is_real(&self, id: NodeId) -> bool {
        self[id].root == Self::ROOT
    }

    /// Whether both are in the same tree.
    pub fn is_same_tree(&self, a: NodeId, b: NodeId) -> bool {
        self[a].root == self[b].root
    }

    /// Whether it is a globally installed package itself.
    pub fn is_global_top(&self, id: NodeId) -> bool {
        self.strategy == Strategy::Shallow && self[id].parent == Some(Self::ROOT)
    }

    /// Whether peers are met inside it: a root or a globally installed package.
    pub fn is_top(&self, id: NodeId) -> bool {
        self[id].parent.is_none() || self.is_global_top(id)
    }

    /// How many packages it is below.
    pub fn depth(&self, id: NodeId) -> usize {
        self.ancestry(id).take_while(|node| !self.is_top(*node)).count()
    }

    /// Where it is below its root: `node_modules/a/node_modules/b`; empty for a root.
    pub fn location(&self, id: NodeId) -> String {
        let mut names: Vec<&str> =
            self.ancestry(id).filter(|n| self[*n].parent.is_some()).map(|n| &*self[n].name).collect();
        names.reverse();
        names.iter().map(|name| format!("node_modules/{name}")).collect::<Vec<_>>().join("/")
    }

    /// A node's edges, in the order of declaration.
    pub fn edges_out(&self, id: NodeId) -> Vec<EdgeId> {
        self[id].edges_out.clone()
    }

    /// The edges that point to a node.
    pub fn edges_in(&self, id: NodeId) -> Vec<EdgeId> {
        self[id].edges_in.clone()
    }

    /// Whether a node comes along in the tarball of a package above it: named there, or needed there alone by what is.
    pub fn is_bundled(&self, id: NodeId) -> bool {
        self.bundler(id, &mut Vec::new()).is_some()
    }

    fn bundler(&self, id: NodeId, seen: &mut Vec<NodeId>) -> Option<NodeId> {
        if seen.contains(&id) {
            return None;
        }
        seen.push(id);
        let parent = self[id].parent?;
        if let Some(above) = self.bundler(parent, seen) {
            return Some(above);
        }
        if self[parent].manifest.bundled.contains(&*self[id].name) {
            return Some(parent);
        }
        let needs = self[id].edges_in.iter().map(|edge| self[*edge].from);
        needs.into_iter().find_map(|from| self.bundler(from, seen).filter(|bundler| *bundler == parent))
    }

    /// Whether nothing points to a node.
    pub fn is_unwanted(&self, id: NodeId) -> bool {
        self[id].edges_in.is_empty()
    }

    /// A node's edge by name.
    pub fn edge(&self, id: NodeId, key: &str) -> Option<EdgeId> {
        self[id].edges.get(key).copied()
    }

    /// The nodes in `root`'s tree with this name, in the order in which they were placed.
    pub fn named(&self, root: NodeId, key: &str) -> Vec<NodeId> {
        let root = self[root].root;
        let all = self.by_name.get(key).into_iter().flatten().copied();
        let mut named: Vec<NodeId> = all.filter(|id| self[*id].root == root).collect();
        named.sort_by_key(|id| self[*id].attached);
        named
    }

    /// All nodes of the real tree but the root, in the order in which they were placed.
    pub fn installed(&self) -> Vec<NodeId> {
        let mut all = self.family(Self::ROOT);
        all.remove(0);
        all.sort_by_key(|id| self[*id].attached);
        all
    }

    /// A node's children in the order in which they were placed.
    pub fn children(&self, id: NodeId) -> Vec<NodeId> {
        let mut children: Vec<NodeId> = self[id].children.values().copied().collect();
        children.sort_by_key(|id| self[*id].attached);
        children
    }

    /// What an edge asks for, overrides applied.
    pub fn spec(&self, edge: EdgeId) -> &Arc<Spec> {
        let Edge { from, wish, overrides, .. } = &self[edge];
        let Some(rule) = overrides.map(|rule| &self.rules[rule]).filter(|rule| *rule.name == *wish.name) else {
            return &wish.spec;
        };
        match &rule.instead {
            Instead::Nothing => &wish.spec,
            Instead::Spec(spec) => spec,
            Instead::Reference(name) => self.referred(*from, name).unwrap_or(&wish.spec),
        }
    }

    /// What the root asks of a package, or else the package that refers to it.
    fn referred(&self, from: NodeId, name: &str) -> Option<&Arc<Spec>> {
        let wishes = [Self::ROOT, from].map(|node| &self[node].manifest.wishes);
        wishes.into_iter().flatten().find(|wish| *wish.name == *name).map(|wish| &wish.spec)
    }

    /// A reference in an override that leads nowhere, though it is needed.
    pub fn broken_reference(&self) -> Option<&str> {
        let edges = self.edges.iter().filter(|edge| self.is_real(edge.from));
        edges.into_iter().find_map(|edge| {
            let rule = edge.overrides.map(|rule| &self.rules[rule]).filter(|rule| *rule.name == *edge.wish.name)?;
            match &rule.instead {
                Instead::Reference(name) if self.referred(edge.from, name).is_none() => Some(name.as_str()),
                _ => None,
            }
        })
    }

    /// Whether a node, wherever it is, answers an edge. What is overridden may also be something that the override is not about.
    pub fn satisfies(&self, node: NodeId, edge: EdgeId) -> bool {
        let Edge { wish, overrides, .. } = &self[edge];
        if self[node].name != wish.name {
            return false;
        }
        if self.spec_admits(self.spec(edge), node) {
            return true;
        }
        overrides
            .is_some_and(|rule| self.spec_admits(&wish.spec, node) && !self.spec_admits(&self.rules[rule].range, node))
    }

    fn spec_admits(&self, spec: &Spec, node: NodeId) -> bool {
        spec.is_satisfied_by(self[node].manifest.version.as_ref())
    }

    /// Whether an edge is as it should be: met by the right thing in the right place, or optional and unmet.
    pub fn is_valid(&self, edge: EdgeId) -> bool {
        let Edge { from, wish, to, overrides, .. } = &self[edge];
        let Some(to) = *to else { return wish.kind.is_optional() };
        let is_local = wish.kind.is_peer() && self[to].parent == Some(*from) && !self.is_top(*from);
        let contradicts = match (*overrides, self[to].overrides) {
            (Some(one), Some(other)) => !self[to].edges_out.is_empty() && self.rules.reconcile(one, other).is_none(),
            _ => false,
        };
        !is_local && self.satisfies(to, edge) && !contradicts
    }

    /// Whether the same overrides hold for two nodes, or it does not matter since `old` depends on nothing.
    pub fn is_overridden_alike(&self, new: NodeId, old: NodeId) -> bool {
        self[old].edges_out.is_empty() || self[new].overrides == self[old].overrides
    }

    /// Whether a node has the very version that an override asks for.
    pub fn is_overridden(&self, node: NodeId) -> bool {
        let asks_for_it = |edge: &EdgeId| {
            let Edge { from, overrides, .. } = &self[*edge];
            overrides.is_some_and(|id| {
                let rule = &self.rules[id];
                let exact =
                    matches!(&rule.instead, Instead::Spec(spec) if spec.text == self[node].manifest.version_text);
                exact && *rule.name == *self[node].name && Some(id) != self[*from].overrides
            })
        };
        self[node].overrides.is_some_and(|rule| *self.rules[rule].name == *self[node].name)
            && self[node].edges_in.iter().any(asks_for_it)
    }

    /// Whether two nodes are the same bytes under the same name.
    pub fn matches(&self, a: NodeId, b: NodeId) -> bool {
        let (one, other) = (&self[a], &self[b]);
        if a == b || one.name != other.name {
            return a == b;
        }
        match (one.manifest.identity(), other.manifest.identity()) {
            (Some(one), Some(other)) => one == other,
            _ => {
                one.manifest.version.is_some()
                    && one.manifest.name == other.manifest.name
                    && one.manifest.version_text == other.manifest.version_text
            }
        }
    }

    /// `name@version`.
    pub fn describe(&self, id: NodeId) -> String {
        let Node { name, manifest, .. } = &self[id];
        match (manifest.version_text.as_str(), manifest.name.as_str()) {
            ("", _) => name.to_string(),
            (version, real) if *real == **name => format!("{name}@{version}"),
            (version, real) => format!("{name}@npm:{real}@{version}"),
        }
    }

    /// Who asks for a node, from the root down to it.
    pub fn chain(&self, id: NodeId) -> Vec<String> {
        let mut chain = Vec::new();
        let mut seen = BTreeSet::from([id]);
        let mut here = id;
        while let Some(edge) = self[here].edges_in.iter().find(|edge| !seen.contains(&self[**edge].from)) {
            here = self[*edge].from;
            here = self[here].source.unwrap_or(here);
            if !seen.insert(here) || here == Self::ROOT {
                break;
            }
            chain.push(self.describe(here));
        }
        chain.push("manifest".into());
        chain.reverse();
        chain
    }
}

impl std::ops::Index<NodeId> for Tree {
    type Output = Node;
    fn index(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }
}

impl std::ops::Index<EdgeId> for Tree {
    type Output = Edge;
    fn index(&self, id: EdgeId) -> &Edge {
        &self.edges[id.0]
    }
}
