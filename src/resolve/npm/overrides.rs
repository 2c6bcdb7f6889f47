//! What the manifest asks for instead of what packages ask for (behaviour of arborist's OverrideSet).
//!
//! The rules form a tree: each is about one package, and those below it hold only below that package. A rule goes down with the
//! edges: what an edge is judged by comes from the rule of the node that it leaves.

use std::collections::BTreeMap;
use std::sync::Arc;

use deno_semver::VersionReq;

use super::packument::Wish;
use super::spec::{Spec, SpecKind};
use crate::manifest::{NpmOverride, split_override_key};

/// A rule's place in the tree of rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RuleId(usize);

/// What a rule puts in the place of a wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Instead {
    /// The wish stays as it is.
    Nothing,
    /// This.
    Spec(Arc<Spec>),
    /// What the root asks of this package.
    Reference(String),
}

/// One rule.
#[derive(Debug)]
pub(super) struct Rule {
    /// The package that it is about; empty at the top.
    pub name: String,
    /// Which wishes for it: those whose range meets this one.
    pub range: Spec,
    /// What is asked for instead.
    pub instead: Instead,
    key: String,
    parent: Option<RuleId>,
    below: Vec<RuleId>,
}

/// All rules.
#[derive(Debug, Default)]
pub(super) struct Overrides(Vec<Rule>);

impl Overrides {
    /// Reads those of the manifest.
    pub fn new(overrides: &[NpmOverride]) -> Self {
        let mut all = Self::default();
        if !overrides.is_empty() {
            let (name, range, key) = (String::new(), Spec::parse("*"), String::new());
            all.0.push(Rule { name, range, instead: Instead::Nothing, key, parent: None, below: Vec::new() });
            all.add(RuleId(0), overrides);
        }
        all
    }

    /// The rule that the root stands under.
    pub fn top(&self) -> Option<RuleId> {
        (!self.0.is_empty()).then_some(RuleId(0))
    }

    fn add(&mut self, parent: RuleId, overrides: &[NpmOverride]) {
        for entry in overrides {
            let id = RuleId(self.0.len());
            let (name, range) = split_override_key(&entry.key);
            let range = range.unwrap_or("*");
            // Without a wish of its own, a rule asks for what its key says.
            let instead = match entry.wanted.as_deref().unwrap_or(range) {
                "*" => Instead::Nothing,
                text => match text.strip_prefix('$') {
                    Some(direct) => Instead::Reference(direct.to_owned()),
                    None => Instead::Spec(Arc::new(Spec::parse(text))),
                },
            };
            let (name, range, key) = (name.to_owned(), Spec::parse(range), entry.key.clone());
            self.0.push(Rule { name, range, instead, key, parent: Some(parent), below: Vec::new() });
            self.0[parent.0].below.push(id);
            self.add(id, &entry.below);
        }
    }

    fn ancestry(&self, id: RuleId) -> impl Iterator<Item = RuleId> {
        std::iter::successors(Some(id), |id| self[*id].parent)
    }

    /// What holds below a rule, nearest first: of several with one key the nearest.
    fn ruleset(&self, id: RuleId) -> Vec<RuleId> {
        let mut rules: Vec<RuleId> = Vec::new();
        let mut add = |rule: RuleId| {
            if !rules.iter().any(|known| self[*known].key == self[rule].key) {
                rules.push(rule);
            }
        };
        for above in self.ancestry(id) {
            self[above].below.iter().for_each(|rule| add(*rule));
            if self[above].parent.is_some() {
                add(above);
            }
        }
        rules
    }

    /// The rule for a wish of a node that stands under `id`; `id` itself when none is about it.
    pub fn rule_for(&self, id: RuleId, wish: &Wish) -> RuleId {
        let is_about = |rule: &RuleId| {
            let rule = &self[*rule];
            *rule.name == *wish.name
                && (rule.range.kind == SpecKind::Any || meets(&wish.spec, &rule.range) != Some(false))
        };
        self.ruleset(id).into_iter().find(is_about).unwrap_or(id)
    }

    /// The more specific of two, or what both stand under; nothing when they contradict each other.
    pub fn reconcile(&self, one: RuleId, other: RuleId) -> Option<RuleId> {
        if self.ancestry(other).any(|above| above == one) {
            return Some(other);
        }
        if self.ancestry(one).any(|above| above == other) {
            return Some(one);
        }
        if self.contradict(one, other) {
            return None;
        }
        self.ancestry(other).find(|above| self.ancestry(one).any(|mine| mine == *above))
    }

    fn contradict(&self, one: RuleId, other: RuleId) -> bool {
        let mine: BTreeMap<String, RuleId> =
            self.ruleset(one).into_iter().map(|id| (self[id].key.clone(), id)).collect();
        self.ruleset(other).into_iter().any(|id| {
            let Some(first) = mine.get(&self[id].key).filter(|first| **first != id) else { return false };
            match (&self[*first].instead, &self[id].instead) {
                (Instead::Spec(first), Instead::Spec(second)) => meets(first, second) == Some(false),
                _ => false,
            }
        })
    }
}

impl std::ops::Index<RuleId> for Overrides {
    type Output = Rule;
    fn index(&self, id: RuleId) -> &Rule {
        &self.0[id.0]
    }
}

/// Whether two wishes have versions in common, which is known of ranges alone.
fn meets(one: &Spec, other: &Spec) -> Option<bool> {
    let range = |spec: &Spec| match spec.kind {
        SpecKind::Any | SpecKind::Version(_) | SpecKind::Range(_) => VersionReq::parse_from_npm(&spec.text).ok(),
        SpecKind::Tag | SpecKind::Elsewhere => None,
    };
    Some(range(one)?.intersects(&range(other)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::npm::packument::EdgeKind;

    fn entry(key: &str, wanted: Option<&str>, below: Vec<NpmOverride>) -> NpmOverride {
        NpmOverride { key: key.into(), wanted: wanted.map(str::to_owned), below }
    }

    fn wish(name: &str, text: &str) -> Wish {
        Wish::new(name, Spec::parse(text), EdgeKind::Prod)
    }

    #[test]
    fn the_nearest_rule_that_meets_a_wish_counts() {
        let rules = Overrides::new(&[
            entry("glob@7", Some("7.2.0"), Vec::new()),
            entry("a", None, vec![entry("b", Some("2"), Vec::new())]),
            entry("b", Some("1"), Vec::new()),
        ]);
        let top = rules.top().unwrap();
        let instead = |id: RuleId, name: &str, text: &str| match &rules[rules.rule_for(id, &wish(name, text))].instead {
            Instead::Spec(spec) => spec.text.clone(),
            other => format!("{other:?}"),
        };
        assert_eq!(instead(top, "glob", "^7.1"), "7.2.0");
        assert_eq!(rules.rule_for(top, &wish("glob", "^8")), top);
        assert_eq!(instead(top, "glob", "latest"), "7.2.0", "of a tag nothing is known");
        assert_eq!(instead(top, "b", "^9"), "1");
        let below = rules.rule_for(top, &wish("a", "*"));
        assert_ne!(below, top);
        assert_eq!(instead(below, "b", "^9"), "2");
        assert_eq!(rules.rule_for(below, &wish("c", "*")), below);
    }

    #[test]
    fn the_more_specific_rule_wins_and_contradictions_are_seen() {
        let deep = |version: &str| vec![entry("c", Some(version), Vec::new())];
        let rules = Overrides::new(&[entry("a", None, deep("1")), entry("b", None, deep("2"))]);
        let top = rules.top().unwrap();
        let (a, b) = (rules.rule_for(top, &wish("a", "*")), rules.rule_for(top, &wish("b", "*")));
        assert_eq!(rules.reconcile(top, a), Some(a));
        assert_eq!(rules.reconcile(a, top), Some(a));
        assert_eq!(rules.reconcile(a, b), None);
        let rules = Overrides::new(&[entry("a", None, deep("1")), entry("b", None, deep("^1"))]);
        assert_eq!(rules.reconcile(a, b), rules.top());
        assert_eq!(Overrides::new(&[]).top(), None);
    }
}
