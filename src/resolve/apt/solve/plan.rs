//! What is to become of every package while versions are chosen: installed or not, at which version, by whose wish.
//!
//! It follows apt's dependency cache (pkgDepCache of apt 3.0), because apt's answers follow from it: each package has a
//! candidate that may be struck off, a version that will be there, and a protection that only the user's own wish breaks.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::super::relation::{self, Relation};
use super::super::universe::{NameId, Universe, VersionId};
use super::MAXIMUM_DEPTH;
use super::mark::Reach;
use crate::manifest::Recommends;

/// How a version speaks of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    PreDepends,
    Depends,
    Conflicts,
    Breaks,
    Recommends,
    Suggests,
}

impl Kind {
    /// Whether a package is not whole without it.
    pub(super) fn is_critical(self) -> bool {
        !matches!(self, Self::Recommends | Self::Suggests)
    }

    /// Whether what is named must not be there.
    pub(super) fn is_negative(self) -> bool {
        matches!(self, Self::Conflicts | Self::Breaks)
    }
}

/// One alternative of a dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    pub(super) name: NameId,
    pub(super) relation: Relation<'a>,
}

/// One line of what a version says of others: alternatives, one of which must be there, or one that must not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dependency<'a> {
    pub(super) kind: Kind,
    pub(super) targets: Vec<Target<'a>>,
    /// The alternatives as they are written, those of names that nobody mentions among them.
    pub(super) group: Vec<Relation<'a>>,
}

/// Which version of a package is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// The one in the base.
    Now,
    /// The one that will be there.
    Planned,
    /// The one that would be taken.
    Candidate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Keep,
    Install,
    Delete,
}

/// Who wishes a change. What a user wishes is not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    User,
    Solver,
}

/// One package.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    pub(super) candidate: Option<VersionId>,
    /// The candidate as those who depend on it last saw it: one that was struck off still counts for them until the
    /// package changes again.
    pub(super) seen: Option<VersionId>,
    /// The version that will be there.
    pub(super) planned: Option<VersionId>,
    pub(super) mode: Mode,
    /// Whether only a user may change it.
    pub(super) is_protected: bool,
    /// Whether it came for another's sake.
    pub(super) is_automatic: bool,
}

/// All packages.
pub(super) struct Plan<'u, 'a> {
    pub(super) universe: &'u Universe<'a>,
    pub(super) recommends: Recommends,
    pub(super) states: Vec<State>,
    /// What the base has, by number.
    pub(super) installed: Vec<NameId>,
    dependencies: RefCell<HashMap<VersionId, Rc<[Dependency<'a>]>>>,
}

impl<'u, 'a> Plan<'u, 'a> {
    pub(super) fn new(universe: &'u Universe<'a>, recommends: Recommends) -> Self {
        let state = |name: NameId| {
            let (candidate, planned) = (universe.candidate(name), universe.installed(name));
            let seen = candidate;
            State { candidate, seen, planned, mode: Mode::Keep, is_protected: false, is_automatic: false }
        };
        let mut installed: Vec<NameId> = universe.all_installed().map(|id| universe.version(id).package).collect();
        installed.sort_unstable();
        Self {
            universe,
            recommends,
            states: universe.all_names().map(state).collect(),
            installed,
            dependencies: RefCell::default(),
        }
    }

    /// A plan in which what is asked for is protected and planned, and none of its needs yet.
    pub(super) fn with_requests(universe: &'u Universe<'a>, requests: &[VersionId], recommends: Recommends) -> Self {
        let mut plan = Self::new(universe, recommends);
        for request in requests {
            let package = plan.package_of(*request);
            plan.set_candidate(*request);
            plan.state_mut(package).is_protected = true;
            plan.mark_install(package, Reach::Alone, By::User, 0);
        }
        plan
    }

    pub(super) fn state(&self, package: NameId) -> &State {
        &self.states[package.index()]
    }

    pub(super) fn state_mut(&mut self, package: NameId) -> &mut State {
        &mut self.states[package.index()]
    }

    pub(super) fn package_of(&self, version: VersionId) -> NameId {
        self.universe.version(version).package
    }

    pub(super) fn current(&self, package: NameId) -> Option<VersionId> {
        self.universe.installed(package)
    }

    fn version(&self, package: NameId, which: Which) -> Option<VersionId> {
        match which {
            Which::Now => self.current(package),
            Which::Planned => self.state(package).planned,
            Which::Candidate => self.state(package).candidate,
        }
    }

    /// What a version says of others, in the order in which apt keeps it.
    pub(super) fn dependencies(&self, version: VersionId) -> Rc<[Dependency<'a>]> {
        if let Some(known) = self.dependencies.borrow().get(&version) {
            return known.clone();
        }
        let stanza = self.universe.stanza(version);
        let fields = [
            (Kind::PreDepends, stanza.pre_depends()),
            (Kind::Depends, stanza.depends()),
            (Kind::Conflicts, stanza.conflicts()),
            (Kind::Breaks, stanza.breaks()),
            (Kind::Recommends, stanza.recommends()),
            (Kind::Suggests, stanza.suggests()),
        ];
        let architecture = self.universe.architecture;
        let read = fields.into_iter().flat_map(|(kind, field)| {
            relation::groups(field, architecture).into_iter().map(move |group| self.dependency(kind, group))
        });
        let read: Rc<[Dependency<'a>]> = read.collect();
        self.dependencies.borrow_mut().insert(version, read.clone());
        read
    }

    fn dependency(&self, kind: Kind, group: Vec<Relation<'a>>) -> Dependency<'a> {
        let target =
            |relation: &Relation<'a>| Some(Target { name: self.universe.id(relation.name)?, relation: *relation });
        Dependency { kind, targets: group.iter().filter_map(target).collect(), group }
    }

    /// Whether a dependency counts when packages are chosen.
    pub(super) fn is_important(&self, kind: Kind) -> bool {
        match kind {
            Kind::Recommends => self.recommends == Recommends::Follow,
            Kind::Suggests => false,
            _ => true,
        }
    }

    /// Whether what `owner` must not have beside it leaves this package alone: itself.
    pub(super) fn ignores(&self, owner: VersionId, kind: Kind, package: NameId) -> bool {
        kind.is_negative() && self.package_of(owner) == package
    }

    /// Whether it leaves this provider of a name alone: itself, and others that provide its own name.
    pub(super) fn ignores_provider(&self, owner: VersionId, kind: Kind, name: NameId, provider: NameId) -> bool {
        let package = self.package_of(owner);
        kind.is_negative() && (provider == package || name == package)
    }

    /// The versions of one sort that a target hits: the package of that name, then those that provide it.
    pub(super) fn hits(&self, owner: VersionId, kind: Kind, target: &Target<'_>, which: Which) -> Vec<VersionId> {
        let mut found = Vec::new();
        let real = self.version(target.name, which).filter(|_| !self.ignores(owner, kind, target.name));
        found.extend(real.filter(|id| target.relation.admits(self.universe.version(*id).version)));
        for provider in self.universe.providers(target.name) {
            let package = self.package_of(provider.version);
            if self.version(package, which) == Some(provider.version)
                && !self.ignores_provider(owner, kind, target.name, package)
                && target.relation.admits_provided(provider.provided)
                && !found.contains(&provider.version)
            {
                found.push(provider.version);
            }
        }
        found
    }

    /// Whether a dependency of `owner` holds.
    pub(super) fn holds(&self, owner: VersionId, dependency: &Dependency<'_>, which: Which) -> bool {
        let is_hit = |target: &Target<'_>| !self.hits(owner, dependency.kind, target, which).is_empty();
        dependency.targets.iter().any(is_hit) != dependency.kind.is_negative()
    }

    /// Whether a candidate might satisfy it, as those who depend on it saw it last.
    pub(super) fn seems_possible(&self, dependency: &Dependency<'_>) -> bool {
        dependency.targets.iter().any(|target| {
            let seen = |package: NameId| self.state(package).seen;
            seen(target.name).is_some_and(|id| target.relation.admits(self.universe.version(id).version))
                || self.universe.providers(target.name).iter().any(|provider| {
                    seen(self.package_of(provider.version)) == Some(provider.version)
                        && target.relation.admits_provided(provider.provided)
                })
        })
    }

    /// Whether all that a version needs holds in the plan, and nothing that it must not have is in it.
    pub(super) fn is_whole(&self, version: VersionId) -> bool {
        let dependencies = self.dependencies(version);
        let mut critical = dependencies.iter().filter(|dependency| dependency.kind.is_critical());
        critical.all(|dependency| self.holds(version, dependency, Which::Planned))
    }

    /// Whether the version that will be there is not whole.
    pub(super) fn is_broken(&self, package: NameId) -> bool {
        self.state(package).planned.is_some_and(|version| !self.is_whole(version))
    }

    /// Whether the version that will be there lacks what it recommends.
    pub(super) fn lacks_recommended(&self, package: NameId) -> bool {
        self.state(package).planned.is_some_and(|version| {
            let dependencies = self.dependencies(version);
            let mut weak = dependencies.iter().filter(|one| !one.kind.is_critical() && self.is_important(one.kind));
            !weak.all(|dependency| self.holds(version, dependency, Which::Planned))
        })
    }

    /// Every package of which a version will be there.
    pub(super) fn planned(&self) -> impl Iterator<Item = NameId> {
        let names = self.universe.all_names().zip(&self.states);
        names.filter(|(_, state)| state.planned.is_some()).map(|(name, _)| name)
    }

    pub(super) fn broken_count(&self) -> usize {
        self.planned().filter(|package| self.is_broken(*package)).count()
    }

    /// Whether a package may come into a mode.
    pub(super) fn may_become(&self, mode: Mode, package: NameId, by: By, depth: usize) -> bool {
        let state = self.state(package);
        if depth > MAXIMUM_DEPTH || self.universe.versions_of(package).is_empty() {
            return false;
        }
        if by == By::User || state.mode == mode {
            return true;
        }
        let is_held = self.current(package).is_some_and(|id| self.universe.version(id).is_held);
        !state.is_protected
            && (mode == Mode::Keep || !is_held)
            && (mode != Mode::Delete || !(self.universe.is_essential(package) || self.universe.is_important(package)))
    }

    /// Leaves a package as it is in the base.
    pub(super) fn mark_keep(&mut self, package: NameId, by: By, depth: usize) -> bool {
        if !self.may_become(Mode::Keep, package, by, depth) {
            return false;
        }
        let current = self.current(package);
        let state = self.state_mut(package);
        if state.mode != Mode::Keep {
            (state.mode, state.planned, state.seen) = (Mode::Keep, current, state.candidate);
        }
        true
    }

    /// Whether the solver may take a package away: not what the user asks for.
    pub(super) fn may_leave(&self, package: NameId) -> bool {
        let state = self.state(package);
        self.current(package).is_some() || state.planned.is_none() || state.is_automatic
    }

    /// Takes a package away.
    pub(super) fn mark_delete(&mut self, package: NameId, depth: usize) -> bool {
        if !self.may_become(Mode::Delete, package, By::Solver, depth) {
            return false;
        }
        let state = self.state(package);
        if state.mode == Mode::Delete || state.planned.is_none() {
            return true;
        }
        if !self.may_leave(package) {
            return false;
        }
        let mode = if self.current(package).is_none() { Mode::Keep } else { Mode::Delete };
        let state = self.state_mut(package);
        (state.mode, state.planned, state.seen) = (mode, None, state.candidate);
        true
    }

    /// Lets another version be the candidate.
    pub(super) fn set_candidate(&mut self, version: VersionId) {
        let package = self.package_of(version);
        let state = self.state_mut(package);
        if state.candidate != Some(version) {
            if state.candidate == state.planned && state.mode == Mode::Install {
                state.planned = Some(version);
            }
            (state.candidate, state.seen) = (Some(version), Some(version));
        }
    }

    /// Plans the candidate.
    pub(super) fn take_candidate(&mut self, package: NameId, by: By) {
        let current = self.current(package);
        let state = self.state_mut(package);
        if state.is_protected && state.planned == state.candidate {
            return;
        }
        state.mode = if state.candidate == current { Mode::Keep } else { Mode::Install };
        (state.planned, state.seen) = (state.candidate, state.candidate);
        if current.is_none() || state.candidate.is_none() {
            state.is_automatic = by == By::Solver;
        }
    }

    /// Strikes the candidate off: what is planned is all there will be.
    pub(super) fn discard_candidate(&mut self, package: NameId) {
        let state = self.state_mut(package);
        state.candidate = state.planned;
    }

    /// Takes a package back out of the plan, its candidate with it.
    pub(super) fn discard_install(&mut self, package: NameId) {
        let current = self.current(package);
        let state = self.state_mut(package);
        if state.mode == Mode::Keep && state.planned == state.candidate && state.candidate == current {
            return;
        }
        (state.planned, state.mode, state.seen) = (current, Mode::Keep, state.candidate);
        self.discard_candidate(package);
    }
}
