//! Why there is no solution, in terms of packages: the facts that PubGrub's proof rests on, each once.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, Bound};
use std::sync::Arc;

use pubgrub::{DerivationTree, External};
use uv_normalize::PackageName;
use uv_pep440::{Version, strip_local_version_sentinels};

use super::PipError;
use super::catalogue::Catalogue;
use super::page::{Page, Unusable};
use super::requirement::{Node, Versions};

/// More lines than these are not read.
const MOST_FACTS: usize = 16;
const MOST_RELEASES: usize = 6;
const MOST_TAGS: usize = 3;

type Tree = DerivationTree<Node, Versions, String>;
type Fact = External<Node, Versions, String>;

/// Turns a proof that there is no solution into an error.
pub(super) async fn explain(tree: &Tree, catalogue: &Catalogue) -> PipError {
    let facts = facts(tree);
    let mut pages = BTreeMap::new();
    for name in facts.iter().flat_map(names) {
        if let Ok(page) = catalogue.page(name).await {
            pages.insert(name.clone(), page);
        }
    }
    let explainer = Explainer { pages, machine: catalogue.target().markers.platform_machine() };
    let target = &catalogue.target().description;
    explainer.no_wheel(&facts, target).unwrap_or_else(|| explainer.no_solution(&facts))
}

/// The leaves of the proof, from the left; shared branches once.
fn facts(tree: &Tree) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut seen = BTreeSet::new();
    let mut stack = vec![tree];
    while let Some(tree) = stack.pop() {
        match tree {
            DerivationTree::External(External::NotRoot(..) | External::NoVersions(Node::Root, _)) => {}
            DerivationTree::External(fact) => facts.push(fact.clone()),
            DerivationTree::Derived(derived) => {
                if derived.shared_id.is_none_or(|id| seen.insert(id)) {
                    stack.push(&derived.cause2);
                    stack.push(&derived.cause1);
                }
            }
        }
    }
    facts
}

fn names(fact: &Fact) -> Vec<&PackageName> {
    match fact {
        External::FromDependencyOf(from, _, to, _) => from.name().into_iter().chain(to.name()).collect(),
        External::NotRoot(node, _) | External::NoVersions(node, _) | External::Custom(node, ..) => {
            node.name().into_iter().collect()
        }
    }
}

struct Explainer<'a> {
    pages: BTreeMap<PackageName, Arc<Page>>,
    machine: &'a str,
}

impl Explainer<'_> {
    /// The plainer error, when all that is wrong is that one project has nothing usable: at all, or in the only range
    /// that anything asks for.
    fn no_wheel(&self, facts: &[Fact], target: &str) -> Option<PipError> {
        let missing = |fact: &Fact| match fact {
            External::NoVersions(node, range) => Some((node.name()?.clone(), range.clone())),
            _ => None,
        };
        let all: Vec<_> = facts.iter().filter_map(missing).collect();
        let nothing = all.iter().find(|(name, _)| self.pages.get(name).is_some_and(|page| page.files.is_empty()));
        let only = all.first().filter(|(name, _)| {
            let askers = facts
                .iter()
                .filter(|fact| matches!(fact, External::FromDependencyOf(_, _, to, _) if to.name() == Some(name)));
            all.len() == 1 && askers.count() == 1
        });
        let (name, range) = nothing.or(only)?;
        let page = self.pages.get(name)?;
        let found = releases(page, range, self.machine);
        if found.is_empty() || page.versions.iter().any(|version| range.contains(version)) {
            return None;
        }
        let wanted = facts
            .iter()
            .filter(|fact| matches!(fact, External::FromDependencyOf(_, _, to, _) if to.name() == Some(name)));
        let wanted = wanted.filter_map(|fact| self.line(fact)).take(1).collect();
        let mut within = page.unusable.iter().filter(|(version, _)| range.contains(version));
        let sources = within.any(|(_, reasons)| reasons.contains(&Unusable::Source));
        Some(PipError::NoWheel { name: name.to_string(), wanted, found, target: target.to_owned(), sources })
    }

    fn no_solution(&self, facts: &[Fact]) -> PipError {
        let mut notes = BTreeSet::new();
        let mut lines: Vec<String> = Vec::new();
        for fact in facts {
            if let External::NoVersions(node, range) = fact {
                notes.extend(node.name().and_then(|name| self.note(name, range)));
            }
            lines.extend(self.line(fact).filter(|line| !lines.contains(line)));
        }
        let more = lines.len().saturating_sub(MOST_FACTS);
        lines.truncate(MOST_FACTS);
        if more > 0 {
            lines.push(format!("… and {more} more"));
        }
        PipError::NoSolution { facts: lines, notes: notes.into_iter().collect() }
    }

    fn line(&self, fact: &Fact) -> Option<String> {
        match fact {
            External::NotRoot(..) => None,
            External::NoVersions(node, range) => Some(format!("no usable release of {}", with_range(node, range))),
            External::Custom(node, range, why) => Some(format!("{} is out: {why}", self.existing(node, range))),
            External::FromDependencyOf(Node::Extra(name, _), _, Node::Project(to), _) if name == to => None,
            External::FromDependencyOf(Node::Root, _, to, range) if *range == Versions::empty() => {
                Some(format!("the manifest asks for {to} in versions that exclude each other"))
            }
            External::FromDependencyOf(Node::Root, _, to, range) => {
                Some(format!("the manifest asks for {}", with_range(to, range)))
            }
            External::FromDependencyOf(from, versions, to, range) if *range == Versions::empty() => {
                let from = self.existing(from, versions);
                Some(format!("{from} requires {to} in versions that `constraints` rule out or that exclude each other"))
            }
            External::FromDependencyOf(from, versions, to, range) => {
                Some(format!("{} requires {}", self.existing(from, versions), with_range(to, range)))
            }
        }
    }

    /// A node with those of its versions that exist in a range.
    fn existing(&self, node: &Node, range: &Versions) -> String {
        let page = node.name().and_then(|name| self.pages.get(name));
        let narrow = page.map(|page| range.narrow_versions(&page.versions));
        with_range(node, narrow.as_ref().unwrap_or(range))
    }

    /// What there is in a range that cannot be used.
    fn note(&self, name: &PackageName, range: &Versions) -> Option<String> {
        let page = self.pages.get(name)?;
        if !page.known {
            return Some(format!("the index does not know `{name}`"));
        }
        let yanked = page.files.iter().rev().find(|(version, file)| file.yanked && range.contains(version));
        if let Some((version, _)) = yanked {
            return Some(format!("`{name} {version}` was yanked: it is taken only when asked for with `==`"));
        }
        match (releases(page, range, self.machine).first(), page.versions.last()) {
            (Some(first), _) => Some(format!("`{name}` has releases that the target cannot use: {first}")),
            (None, Some(newest)) => Some(format!("`{name}` has no release in that range; its newest is {newest}")),
            (None, None) => None,
        }
    }
}

fn with_range(node: &Node, range: &Versions) -> String {
    let range = strip_local_version_sentinels(range);
    let segments: Vec<String> = range.iter().map(segment).collect();
    match range == Versions::full() {
        true => node.to_string(),
        false => format!("{node} {}", segments.join(" or ")),
    }
}

fn segment((lower, upper): (Bound<&Version>, Bound<&Version>)) -> String {
    if let (Bound::Included(lower), Bound::Included(upper)) = (lower, upper)
        && lower == upper
    {
        return format!("=={lower}");
    }
    let side = |bound: Bound<&Version>, included: &str, excluded: &str| match bound {
        Bound::Included(version) => Some(format!("{included}{version}")),
        Bound::Excluded(version) => Some(format!("{excluded}{version}")),
        Bound::Unbounded => None,
    };
    let sides = [side(lower, ">=", ">"), side(upper, "<=", "<")];
    sides.into_iter().flatten().collect::<Vec<_>>().join(",")
}

/// A line for each unusable release in a range, newest first.
fn releases(page: &Page, range: &Versions, machine: &str) -> Vec<String> {
    let within: Vec<_> = page.unusable.iter().rev().filter(|(version, _)| range.contains(version)).collect();
    let more = within.len().saturating_sub(MOST_RELEASES);
    let shown = within.into_iter().take(MOST_RELEASES);
    let mut lines: Vec<String> = shown.map(|(version, reasons)| describe(version, reasons, machine)).collect();
    if more > 0 {
        lines.push(format!("and {}", crate::base::text::count(more, "older release")));
    }
    lines
}

/// The wheels nearest to the target come first: those for its machine, then those for the newest interpreter.
fn describe(version: &Version, reasons: &BTreeSet<Unusable>, machine: &str) -> String {
    let mut tags: Vec<&str> = reasons
        .iter()
        .filter_map(|reason| if let Unusable::Tags(tags) = reason { Some(tags.as_str()) } else { None })
        .collect();
    tags.sort_by_key(|tags| {
        let python = tags.split('-').next().and_then(|python| python.strip_prefix("cp"));
        let number = python.and_then(|python| python.parse::<u32>().ok()).unwrap_or(0);
        (!(tags.contains("manylinux") && tags.ends_with(machine)), Reverse(number))
    });
    let mut parts = Vec::new();
    if !tags.is_empty() {
        let more = tags.len().saturating_sub(MOST_TAGS);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        parts.push(format!("wheels for {}{more}", tags[..tags.len().min(MOST_TAGS)].join(", ")));
    }
    for reason in reasons {
        match reason {
            Unusable::Python(specifier) => parts.push(format!("a wheel that requires Python {specifier}")),
            Unusable::NoHash => parts.push("a wheel without a sha256".to_owned()),
            Unusable::Late(when) => parts.push(format!("a wheel {when}")),
            Unusable::Archive(kind) => parts.push(format!("source as .{kind}, which is not built")),
            Unusable::Source if reasons.len() == 1 => parts.push("source only".to_owned()),
            Unusable::Source | Unusable::Tags(_) => {}
        }
    }
    format!("{version}: {}", parts.join("; "))
}
