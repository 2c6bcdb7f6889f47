//! Which project is decided next.
//!
//! First those of which only one version is asked for, then in the order in which they were met. Two projects that keep
//! refusing each other are moved: the one that is refused often is decided early, the one that refuses often after it.
//! (The behaviour of uv's resolver, "Prioritization" in its resolver internals.)

use std::cmp::Reverse;
use std::collections::BTreeMap;

use uv_normalize::PackageName;

use super::page::is_exact;
use super::requirement::{Node, Versions};

/// Higher is decided sooner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Ordinary,
    OftenRefusing,
    OftenRefused,
    OneVersion,
}

/// What is known of the order.
#[derive(Debug, Default)]
pub(super) struct Priorities {
    projects: BTreeMap<PackageName, (Class, Reverse<usize>)>,
    nodes: BTreeMap<Node, Reverse<usize>>,
}

/// The key of a node: class and order of its project, then the order of the node itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    root: Reverse<bool>,
    project: Option<(Class, Reverse<usize>)>,
    node: Option<Reverse<usize>>,
}

impl Priorities {
    /// Notes that a node is required, in these versions.
    pub(super) fn meet(&mut self, node: &Node, allowed: &Versions) {
        let Some(name) = node.name() else { return };
        let next = Reverse(self.nodes.len());
        self.nodes.entry(node.clone()).or_insert(next);
        let next = Reverse(self.projects.len());
        let entry = self.projects.entry(name.clone()).or_insert((Class::Ordinary, next));
        if is_exact(allowed) {
            entry.0 = Class::OneVersion;
        }
    }

    pub(super) fn key(&self, node: &Node) -> Key {
        let project = node.name().and_then(|name| self.projects.get(name)).copied();
        Key { root: Reverse(node.name().is_some()), project, node: self.nodes.get(node).copied() }
    }

    /// Decides a project early from now on, as it is refused often. Says whether that is new.
    pub(super) fn decide_early(&mut self, node: &Node) -> bool {
        self.reclass(node, |class| class < Class::OftenRefused, Class::OftenRefused)
    }

    /// Decides a project after those that it often refuses. Says whether that is new.
    pub(super) fn decide_late(&mut self, node: &Node) -> bool {
        self.reclass(node, |class| class == Class::Ordinary, Class::OftenRefusing)
    }

    fn reclass(&mut self, node: &Node, moves: impl Fn(Class) -> bool, to: Class) -> bool {
        match node.name().and_then(|name| self.projects.get_mut(name)) {
            Some(entry) if moves(entry.0) => {
                entry.0 = to;
                true
            }
            _ => false,
        }
    }
}
