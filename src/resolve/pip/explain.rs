//! Why there is no solution, in terms of packages: the facts that PubGrub's proof rests on, each once.

use std::collections::BTreeSet;

use pubgrub::{DerivationTree, External};
use uv_normalize::PackageName;
use uv_pep440::{Version, strip_local_version_sentinels};

use super::PipError;
use super::catalogue::Catalogue;
use super::page::{Page, Unusable};
use super::requirement::{Node, Versions};

/// More lines than these are not read.
const MOST_FACTS: usize = 16;
const MOST_FILES: usize = 6;

type Tree = DerivationTree<Node, Versions, String>;
type Fact = External<Node, Versions, String>;

/// Turns a proof that there is no solution into an error.
pub(super) async fn explain(tree: &Tree, catalogue: &Catalogue) -> PipError {
    let mut facts = Vec::new();
    collect(tree, &mut facts);
    let mut notes = BTreeSet::new();
    let mut lines = Vec::new();
    for fact in facts {
        if let External::NoVersions(node, range) = &fact
            && let Some(name) = node.name()
            && let Ok(page) = catalogue.page(name).await
        {
            if page.wheels.is_empty() && page.known {
                let target = catalogue.target().description.clone();
                return PipError::NoWheel { name: name.to_string(), found: unusable(&page, range), target };
            }
            notes.extend(note(name, &page, range));
        }
        lines.extend(line(&fact).filter(|line| !lines.contains(line)));
    }
    let more = lines.len().saturating_sub(MOST_FACTS);
    lines.truncate(MOST_FACTS);
    if more > 0 {
        lines.push(format!("… and {more} more"));
    }
    PipError::NoSolution { facts: lines, notes: notes.into_iter().collect() }
}

/// The leaves of the proof, from the left; shared branches once.
fn collect(tree: &Tree, facts: &mut Vec<Fact>) {
    let mut seen = BTreeSet::new();
    let mut stack = vec![tree];
    while let Some(tree) = stack.pop() {
        match tree {
            DerivationTree::External(fact) => facts.push(fact.clone()),
            DerivationTree::Derived(derived) => {
                if derived.shared_id.is_none_or(|id| seen.insert(id)) {
                    stack.push(&derived.cause2);
                    stack.push(&derived.cause1);
                }
            }
        }
    }
}

fn line(fact: &Fact) -> Option<String> {
    match fact {
        External::NotRoot(..) => None,
        External::NoVersions(Node::Root, _) => None,
        External::NoVersions(node, range) => Some(format!("no usable {}", with_range(node, range))),
        External::Custom(node, range, why) => Some(format!("{} is out: {why}", with_range(node, range))),
        External::FromDependencyOf(Node::Extra(name, _), _, Node::Project(to), _) if name == to => None,
        External::FromDependencyOf(Node::Root, _, to, range) => {
            Some(format!("the manifest asks for {}", with_range(to, range)))
        }
        External::FromDependencyOf(from, versions, to, range) => {
            Some(format!("{} requires {}", with_range(from, versions), with_range(to, range)))
        }
    }
}

fn with_range(node: &Node, range: &Versions) -> String {
    let range = strip_local_version_sentinels(range);
    if range == Versions::full() { node.to_string() } else { format!("{node} {range}") }
}

/// What there is in a range that cannot be used.
fn note(name: &PackageName, page: &Page, range: &Versions) -> Option<String> {
    if !page.known {
        return Some(format!("the index does not know `{name}`"));
    }
    let yanked = page.wheels.iter().rev().find(|(version, wheel)| wheel.yanked && range.contains(version));
    if let Some((version, _)) = yanked {
        return Some(format!("`{name} {version}` was yanked: it is taken only when asked for with `==`"));
    }
    let found = unusable(page, range);
    let first = found.first()?;
    Some(format!("`{name}` has releases in that range that the target cannot use: {first}"))
}

/// A line for each unusable release in a range, newest first; of all releases when none is in the range.
fn unusable(page: &Page, range: &Versions) -> Vec<String> {
    let all = || page.unusable.iter().rev();
    let within: Vec<_> = all().filter(|(version, _)| range.contains(version)).collect();
    let chosen = if within.is_empty() { all().collect() } else { within };
    let more = chosen.len().saturating_sub(MOST_FILES);
    let mut lines: Vec<String> =
        chosen.into_iter().take(MOST_FILES).map(|(version, reasons)| describe(version, reasons)).collect();
    if more > 0 {
        lines.push(format!("and {more} older releases"));
    }
    lines
}

fn describe(version: &Version, reasons: &BTreeSet<Unusable>) -> String {
    let tags: Vec<&str> = reasons
        .iter()
        .filter_map(|reason| if let Unusable::Tags(tags) = reason { Some(tags.as_str()) } else { None })
        .collect();
    let mut parts = Vec::new();
    if !tags.is_empty() {
        let more = tags.len().saturating_sub(3);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        parts.push(format!("wheels for {}{more}", tags[..tags.len().min(3)].join(", ")));
    }
    for reason in reasons {
        match reason {
            Unusable::Python(specifier) => parts.push(format!("a wheel that requires Python {specifier}")),
            Unusable::NoHash => parts.push("a wheel without a sha256".to_owned()),
            Unusable::Source if tags.is_empty() => parts.push("source only".to_owned()),
            Unusable::Source | Unusable::Tags(_) => {}
        }
    }
    format!("{version}: {}", parts.join("; "))
}
