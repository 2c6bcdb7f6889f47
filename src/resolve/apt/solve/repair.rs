//! Mending a plan that does not hold together, in the way of apt's problem resolver: every package has a score, and from the
//! highest to the lowest a broken one is kept out, or what stands in its way gives in.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::super::universe::{NameId, VersionId};
use super::mark::Reach;
use super::plan::{By, Dependency, Kind, Mode, Plan, Target, Which};

/// How often all packages are looked through.
const ROUNDS: usize = 20;
const PROTECTED: i64 = 10_000;
const ESSENTIAL: i64 = 5_000;
const BASE_ESSENTIAL: i64 = 100;

/// What is known of packages while a plan is mended.
struct Repair<'p, 'u, 'a> {
    plan: &'p mut Plan<'u, 'a>,
    scores: Vec<i64>,
    /// What was asked for, which keeps its place.
    asked: BTreeSet<NameId>,
    /// What was not yet tried to be brought in.
    upgradable: Vec<bool>,
    /// What nothing needs, as it was before.
    garbage: BTreeSet<NameId>,
}

/// Something that has to give in to a package, and the dependency that says so.
struct Kill {
    package: NameId,
    dependency: usize,
}

/// What becomes of a package of which no alternative could be had.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Otherwise {
    Remove,
    Keep,
}

/// What a look at one target came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// The next possible answer is to be looked at.
    Next,
    /// Enough of this target.
    Enough,
    /// The package itself was changed.
    Changed,
}

impl Plan<'_, '_> {
    /// Mends the plan. Says whether it holds together.
    pub(super) fn repair(&mut self, asked: &[NameId]) -> bool {
        self.take_in_broken();
        if self.broken_count() == 0 {
            return true;
        }
        let garbage = self.garbage();
        let size = self.states.len();
        let (asked, upgradable) = (asked.iter().copied().collect(), vec![true; size]);
        let mut repair = Repair { plan: self, scores: vec![0; size], asked, upgradable, garbage };
        repair.make_scores();
        repair.run();
        self.broken_count() == 0
    }

    /// Brings up to date what the base has and what would be broken by what is planned.
    fn take_in_broken(&mut self) {
        loop {
            let mut is_changed = false;
            for package in self.planned().collect::<Vec<_>>() {
                if self.state(package).mode != Mode::Install && self.is_broken(package) {
                    self.mark_install(package, Reach::Alone, By::Solver, 0);
                    is_changed |= self.state(package).mode == Mode::Install;
                }
            }
            if !is_changed {
                return;
            }
        }
    }
}

impl<'a> Repair<'_, '_, 'a> {
    fn make_scores(&mut self) {
        let planned: Vec<(NameId, VersionId)> =
            self.plan.planned().filter_map(|name| Some((name, self.plan.state(name).planned?))).collect();
        for (package, version) in &planned {
            self.add_own_score(*package, *version);
        }
        let before = self.scores.clone();
        for (package, version) in &planned {
            let own = before[package.index()];
            if own <= 0 {
                continue;
            }
            for dependency in self.plan.dependencies(*version).iter() {
                if matches!(dependency.kind, Kind::Depends | Kind::PreDepends | Kind::Recommends) {
                    let targets = dependency.targets.iter().map(|target| target.name);
                    for name in targets.filter(|name| self.plan.state(*name).planned.is_some()) {
                        self.scores[name.index()] += own;
                    }
                }
            }
        }
        self.pass_to_providers(&before);
        for (package, _) in &planned {
            self.scores[package.index()] += self.bonus(*package);
        }
    }

    fn add_own_score(&mut self, package: NameId, version: VersionId) {
        let plan = &self.plan;
        let is_weighty = plan.universe.is_essential(package) || plan.universe.is_important(package);
        let by_priority = match super::priority_rank(plan.universe.stanza(version).priority()) {
            0 => 0,
            1 => 3,
            2 => 2,
            3 => 1,
            4 => -1,
            _ => -2,
        };
        let is_current = plan.current(package).is_some() && plan.state(package).candidate.is_some();
        let own = if is_weighty { BASE_ESSENTIAL } else { 0 } + by_priority + i64::from(is_current);
        let mut gains: Vec<(NameId, i64)> = vec![(package, own)];
        for dependency in plan.dependencies(version).iter() {
            let gain = match dependency.kind {
                Kind::Suggests => continue,
                kind if kind.is_negative() => -1,
                _ => 1,
            };
            for target in &dependency.targets {
                gains.extend(self.gaining(version, dependency.kind, target).into_iter().map(|name| (name, gain)));
            }
        }
        for (name, gain) in gains {
            self.scores[name.index()] += gain;
        }
    }

    /// Whose score a target of a dependency changes: that of the package of its name, and of what provides it.
    fn gaining(&self, owner: VersionId, kind: Kind, target: &Target<'_>) -> Vec<NameId> {
        let plan = &self.plan;
        let mut names = Vec::new();
        if !plan.ignores(owner, kind, target.name) {
            let planned = plan.state(target.name).planned.map(|id| plan.universe.version(id).version);
            if target.relation.bound.is_some() && !planned.is_some_and(|version| target.relation.admits(version)) {
                return names;
            }
            names.push(target.name);
        }
        let mut providers: Vec<NameId> = Vec::new();
        for provider in plan.universe.providers(target.name) {
            let package = plan.package_of(provider.version);
            if !plan.ignores_provider(owner, kind, target.name, package)
                && plan.state(package).planned == Some(provider.version)
                && target.relation.admits_provided(provider.provided)
            {
                providers.push(package);
            }
        }
        providers.sort_unstable();
        providers.dedup();
        names.extend(providers);
        names
    }

    fn pass_to_providers(&mut self, before: &[i64]) {
        for name in self.plan.universe.all_names() {
            let gain = (self.scores[name.index()] - before[name.index()]).abs();
            if gain == 0 {
                continue;
            }
            let mut providers: Vec<NameId> = Vec::new();
            for provider in self.plan.universe.providers(name) {
                let package = self.plan.package_of(provider.version);
                if self.plan.state(package).planned == Some(provider.version) {
                    providers.push(package);
                }
            }
            providers.sort_unstable();
            providers.dedup();
            providers.into_iter().for_each(|package| self.scores[package.index()] += gain);
        }
    }

    fn bonus(&self, package: NameId) -> i64 {
        let asked = if self.asked.contains(&package) { PROTECTED } else { 0 };
        let is_weighty = self.plan.universe.is_essential(package) || self.plan.universe.is_important(package);
        asked + if is_weighty { ESSENTIAL } else { 0 }
    }

    fn run(&mut self) {
        let mut order: Vec<NameId> = self.plan.universe.all_names().collect();
        order.sort_by_key(|name| (Reverse(self.scores[name.index()]), *name));
        for round in 0..ROUNDS {
            let mut is_changed = false;
            for package in &order {
                if self.plan.is_broken(*package) {
                    is_changed |= self.investigate(*package, round);
                }
            }
            if !is_changed {
                break;
            }
        }
    }

    /// Looks at what is wrong with a package and does something about it. Says whether anything changed.
    fn investigate(&mut self, package: NameId, round: usize) -> bool {
        let Some(version) = self.plan.state(package).planned else { return false };
        let dependencies = self.plan.dependencies(version);
        let mut kills: Vec<Kill> = Vec::new();
        let mut is_changed = false;
        for (index, dependency) in dependencies.iter().enumerate() {
            if !dependency.kind.is_critical() {
                continue;
            }
            let is_group = dependency.targets.len() > 1;
            let before = kills.len();
            let mut otherwise = Otherwise::Remove;
            let mut is_open = is_group;
            for target in &dependency.targets {
                if self.plan.holds(version, dependency, Which::Planned) {
                    is_open = false;
                    break;
                }
                let possible = self.all_answers(version, dependency.kind, target);
                if possible.is_empty() && !dependency.kind.is_negative() && !self.is_protected(package) {
                    if !self.was_broken(package) {
                        if is_group {
                            continue;
                        }
                        self.plan.mark_keep(package, By::Solver, 0);
                        self.apply(package, &dependencies, &kills, round);
                        return true;
                    }
                    self.give_up(package, is_group, &mut otherwise);
                    is_changed = true;
                    continue;
                }
                let at = Spot { package, dependency, index, target: *target, is_group, round };
                let look = self.look_at_all(&at, possible, &mut otherwise, &mut kills);
                if look == Look::Changed {
                    is_changed = true;
                    if !is_group {
                        self.apply(package, &dependencies, &kills, round);
                        return true;
                    }
                }
            }
            if is_open && kills.len() == before && self.plan.state(package).planned.is_some() {
                is_changed |= self.close_group(package, otherwise);
            }
        }
        self.apply(package, &dependencies, &kills, round) | is_changed
    }

    fn is_protected(&self, package: NameId) -> bool {
        self.plan.state(package).is_protected
    }

    /// Whether it was broken in the base already.
    fn was_broken(&self, package: NameId) -> bool {
        let Some(current) = self.plan.current(package) else { return false };
        let dependencies = self.plan.dependencies(current);
        let mut critical = dependencies.iter().filter(|one| one.kind.is_critical());
        !critical.all(|one| self.plan.holds(current, one, Which::Now))
    }

    /// Every version that a target hits, the newest of the package first, then what provides it.
    fn all_answers(&self, owner: VersionId, kind: Kind, target: &Target<'_>) -> Vec<VersionId> {
        let universe = self.plan.universe;
        let mut real: Vec<VersionId> = universe.versions_of(target.name).to_vec();
        real.retain(|id| {
            !self.plan.ignores(owner, kind, target.name) && target.relation.admits(universe.version(*id).version)
        });
        real.sort_by(|one, other| {
            super::version::compare(universe.version(*other).version, universe.version(*one).version)
        });
        let providers = universe.providers(target.name).iter().rev().filter(|provider| {
            let package = self.plan.package_of(provider.version);
            !self.plan.ignores_provider(owner, kind, target.name, package)
                && target.relation.admits_provided(provider.provided)
        });
        real.extend(providers.map(|provider| provider.version));
        real
    }

    fn look_at_all(
        &mut self,
        at: &Spot<'_, 'a>,
        possible: Vec<VersionId>,
        otherwise: &mut Otherwise,
        kills: &mut Vec<Kill>,
    ) -> Look {
        for version in possible {
            let look = self.look_at(at, version, otherwise, kills);
            if look != Look::Next {
                return look;
            }
        }
        Look::Next
    }

    fn look_at(
        &mut self,
        at: &Spot<'_, 'a>,
        version: VersionId,
        otherwise: &mut Otherwise,
        kills: &mut Vec<Kill>,
    ) -> Look {
        let other = self.plan.package_of(version);
        let is_negative = at.dependency.kind.is_negative();
        if is_negative && self.plan.state(other).planned != Some(version) {
            return Look::Next;
        }
        let (own, others) = (self.scores[at.package.index()], self.scores[other.index()]);
        let owner = self.plan.state(at.package).planned;
        let held_before =
            owner.is_some_and(|owner| !self.plan.hits(owner, at.dependency.kind, &at.target, Which::Now).is_empty());
        if own <= others || (!is_negative && !held_before) {
            if self.is_protected(at.package) {
                if self.bring_in(other) {
                    self.scores[other.index()] = others.min(own);
                    return Look::Enough;
                }
                return Look::Next;
            }
            self.give_in(at, other, otherwise);
            return Look::Changed;
        }
        if at.dependency.kind == Kind::Breaks
            && owner.is_some_and(|owner| self.plan.holds(owner, at.dependency, Which::Candidate))
        {
            self.plan.mark_install(other, Reach::Alone, By::Solver, 0);
            return Look::Next;
        }
        if self.is_protected(other) && self.plan.state(other).mode != Mode::Delete {
            return Look::Next;
        }
        kills.push(Kill { package: other, dependency: at.index });
        if is_negative { Look::Next } else { Look::Enough }
    }

    /// Changes a package rather than what stands in its way.
    fn give_in(&mut self, at: &Spot<'_, 'a>, other: NameId, otherwise: &mut Otherwise) {
        let package = at.package;
        let was_installed = self.plan.state(package).mode == Mode::Install;
        self.plan.mark_keep(package, By::Solver, 0);
        if !self.plan.is_broken(package) {
            *otherwise = Otherwise::Keep;
            if at.is_group && was_installed {
                self.plan.mark_install(package, Reach::Alone, By::Solver, 0);
            }
            return;
        }
        if self.bring_in(package) {
            return;
        }
        if !at.is_group || self.garbage.contains(&package) {
            self.plan.mark_delete(package, 0);
            let (own, others) = (self.scores[package.index()], self.scores[other.index()]);
            if at.round > 1 && others > own {
                self.scores[package.index()] = others;
            }
            return;
        }
        let target = at.target.name;
        let state = self.plan.state(target);
        if self.plan.current(target).is_none() && state.mode != Mode::Delete && state.candidate.is_some() {
            let before = self.plan.broken_count();
            self.plan.mark_install(target, Reach::WithNeeds, By::Solver, 1);
            *otherwise = Otherwise::Keep;
            if self.plan.is_broken(target) || self.plan.broken_count() > before {
                self.plan.mark_delete(target, 1);
                *otherwise = Otherwise::Remove;
            }
        }
    }

    /// Nothing can answer one alternative of a package that was broken before.
    fn give_up(&mut self, package: NameId, is_group: bool, otherwise: &mut Otherwise) {
        let was_installed = self.plan.state(package).mode == Mode::Install;
        self.plan.mark_keep(package, By::Solver, 0);
        if !self.plan.is_broken(package) {
            *otherwise = Otherwise::Keep;
            if is_group && was_installed {
                self.plan.mark_install(package, Reach::Alone, By::Solver, 0);
            }
        } else if !is_group {
            self.plan.mark_delete(package, 0);
        }
    }

    fn close_group(&mut self, package: NameId, otherwise: Otherwise) -> bool {
        match otherwise {
            Otherwise::Remove if self.is_protected(package) => false,
            Otherwise::Remove => {
                self.plan.mark_delete(package, 0);
                true
            }
            Otherwise::Keep => {
                self.plan.mark_keep(package, By::Solver, 0);
                true
            }
        }
    }

    /// Plans a package, and what it needs as far as its candidates answer; takes it back where that is not enough.
    fn bring_in(&mut self, package: NameId) -> bool {
        let state = *self.plan.state(package);
        let current = self.plan.current(package);
        let is_newer = match (current, state.candidate) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(current), Some(candidate)) => self.plan.universe.is_later(candidate, current),
        };
        if !self.upgradable[package.index()] || !is_newer || self.asked.contains(&package) {
            return false;
        }
        self.upgradable[package.index()] = false;
        if !self.plan.mark_install(package, Reach::Alone, By::Solver, 0) {
            return false;
        }
        let Some(version) = self.plan.state(package).planned else { return false };
        let dependencies = self.plan.dependencies(version);
        let mut critical = dependencies.iter().filter(|one| one.kind.is_critical());
        if critical.all(|dependency| self.bring_in_need(version, dependency)) {
            return true;
        }
        if state.mode == Mode::Keep {
            self.plan.mark_keep(package, By::Solver, 0);
        } else {
            self.plan.mark_delete(package, 0);
        }
        false
    }

    fn bring_in_need(&mut self, owner: VersionId, dependency: &Dependency<'a>) -> bool {
        let mut is_well = true;
        for target in &dependency.targets {
            if self.plan.holds(owner, dependency, Which::Planned) {
                return is_well;
            }
            let package = self.smart_target(owner, target);
            if self.is_protected(package) {
                is_well = false;
                continue;
            }
            let hits = self.plan.hits(owner, dependency.kind, target, Which::Candidate);
            if hits.is_empty() == dependency.kind.is_negative() {
                if self.bring_in(package) {
                    return true;
                }
                is_well = false;
            } else if dependency.kind.is_negative() {
                return is_well;
            } else {
                is_well = false;
            }
        }
        is_well
    }

    /// The package of a target's name, or what first provides it where there is none of that name.
    fn smart_target(&self, owner: VersionId, target: &Target<'_>) -> NameId {
        if !self.plan.universe.versions_of(target.name).is_empty() {
            return target.name;
        }
        let own = self.plan.package_of(owner);
        let providers = self.plan.universe.providers(target.name).iter().rev();
        let mut packages = providers.map(|provider| self.plan.package_of(provider.version));
        packages.find(|package| *package != own).unwrap_or(target.name)
    }

    /// Lets give in what has to.
    fn apply(&mut self, package: NameId, dependencies: &[Dependency<'a>], kills: &[Kill], round: usize) -> bool {
        let mut is_changed = false;
        for kill in kills {
            let Some(version) = self.plan.state(package).planned else { break };
            let dependency = &dependencies[kill.dependency];
            let is_done = if self.plan.holds(version, dependency, Which::Now) {
                self.plan.mark_keep(kill.package, By::Solver, 0)
            } else {
                dependency.kind.is_negative() && self.plan.mark_delete(kill.package, 0)
            };
            let own = self.scores[package.index()];
            if (!is_done || round > 1) && own > self.scores[kill.package.index()] {
                self.scores[kill.package.index()] = own;
                is_changed = true;
            }
            is_changed |= is_done;
        }
        is_changed
    }
}

/// Where in a broken package one is.
struct Spot<'d, 'a> {
    package: NameId,
    dependency: &'d Dependency<'a>,
    index: usize,
    target: Target<'a>,
    is_group: bool,
    round: usize,
}
