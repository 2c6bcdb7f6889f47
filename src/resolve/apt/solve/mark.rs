//! Planning a package with all it needs, in the way of apt's MarkInstall: depth first in the order of the stanza, the first
//! alternative that can be had; what stands against it is taken back or brought up to date.

use std::cmp::Reverse;

use super::super::pins::source_of;
use super::super::universe::{NameId, VersionId};
use super::plan::{By, Dependency, Mode, Plan, Target, Which};

/// How far planning a package goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// The package alone.
    Alone,
    /// What it needs too.
    WithNeeds,
}

/// A package that is being planned with its needs.
#[derive(Clone, Copy)]
struct Task {
    package: NameId,
    version: VersionId,
    depth: usize,
    /// Whether it was protected before, so that what it must have and must not have is decided for good.
    is_final: bool,
    /// Whether it is planned at all cost, whatever of it fails.
    is_lenient: bool,
}

/// What has to happen to other packages.
#[derive(Default)]
struct Others {
    upgrades: Vec<NameId>,
    removals: Vec<NameId>,
}

impl<'a> Plan<'_, 'a> {
    /// Plans the candidate of a package. Says whether that went well; what a failure has planned on its way stays.
    pub(super) fn mark_install(&mut self, package: NameId, reach: Reach, by: By, depth: usize) -> bool {
        let current = self.current(package);
        let state = *self.state(package);
        // What stays as it is may still bring up what it needs.
        let stays =
            state.is_protected && state.mode == Mode::Keep && state.candidate.is_some_and(|id| current == Some(id));
        if !stays && !self.may_become(Mode::Install, package, by, depth) {
            return false;
        }
        let Some(version) = state.candidate else { return false };
        if !state.is_protected && !self.is_broken(package) && !self.lacks_recommended(package) {
            if Some(version) == current {
                return state.planned.is_some() || self.mark_keep(package, by, depth + 1);
            }
            if state.mode == Mode::Install {
                return true;
            }
        }
        if reach == Reach::WithNeeds && !self.is_possible(package, version) {
            return false;
        }
        match reach {
            Reach::Alone => {
                self.take_candidate(package, by);
                true
            }
            Reach::WithNeeds => {
                let is_lenient = state.is_protected || by == By::User;
                self.mark_needs(Task { package, version, depth, is_final: state.is_protected, is_lenient }, by)
            }
        }
    }

    /// Whether every need of a candidate has a candidate. One that cannot be had is struck off.
    fn is_possible(&mut self, package: NameId, version: VersionId) -> bool {
        let current = self.current(package);
        if Some(version) == current {
            return true;
        }
        let dependencies = self.dependencies(version);
        let mut needs = dependencies.iter().filter(|one| one.kind.is_critical() && !one.kind.is_negative());
        if needs.all(|need| self.holds(version, need, Which::Planned) || self.seems_possible(need)) {
            return true;
        }
        if !self.state(package).is_protected {
            match current {
                Some(current) => self.set_candidate(current),
                None => self.state_mut(package).candidate = None,
            }
            let state = self.state_mut(package);
            if state.mode != Mode::Delete {
                state.mode = Mode::Keep;
            }
        }
        false
    }

    fn mark_needs(&mut self, task: Task, by: By) -> bool {
        if by == By::User {
            self.take_candidate(task.package, by);
        }
        let dependencies = self.dependencies(task.version);
        let open = |plan: &Self, one: &&Dependency<'a>| {
            plan.is_important(one.kind) && (task.is_final || !plan.holds(task.version, one, Which::Planned))
        };
        let (unwanted, wanted): (Vec<_>, Vec<_>) =
            dependencies.iter().filter(|one| open(self, one)).partition(|one| one.kind.is_negative());
        let mut others = Others::default();
        let mut is_well = self.clear_conflicts(task, &unwanted, &mut others);
        if !is_well && !task.is_lenient {
            return false;
        }
        self.collect_dependents(task, &mut others);
        if by == By::Solver {
            self.take_candidate(task.package, by);
        }
        self.state_mut(task.package).is_protected = true;
        self.upgrade_siblings(task);
        let steps: [&dyn Fn(&mut Self) -> bool; 3] = [
            &|plan| plan.upgrade_or_remove(task, &others.upgrades),
            &|plan| plan.install_needs(task, &wanted),
            &|plan| plan.remove_all(task, &others.removals),
        ];
        for step in steps {
            if !step(self) {
                is_well = false;
                if !task.is_lenient {
                    self.discard_install(task.package);
                    break;
                }
            }
        }
        if !task.is_final {
            self.state_mut(task.package).is_protected = false;
        }
        is_well
    }

    /// Sees to what must not be there: a candidate is struck off, what the base has is brought up to date or goes.
    fn clear_conflicts(&mut self, task: Task, unwanted: &[&Dependency<'a>], others: &mut Others) -> bool {
        let mut is_well = true;
        let mut struck: Vec<NameId> = Vec::new();
        for dependency in unwanted {
            for version in self.sorted_hits(task.version, dependency, Which::Candidate) {
                is_well &= self.clear_candidate(task, version, &mut struck, others);
                if !is_well && !task.is_lenient {
                    return false;
                }
            }
            for version in self.sorted_hits(task.version, dependency, Which::Now) {
                let package = self.package_of(version);
                let candidate = self.state(package).candidate;
                if candidate.is_some() && candidate != Some(version) && !struck.contains(&package) {
                    others.upgrades.push(package);
                } else if candidate != self.current(package) {
                    is_well &= self.plan_removal(task, package, others);
                    if !is_well && !task.is_lenient {
                        return false;
                    }
                }
            }
        }
        is_well
    }

    fn clear_candidate(
        &mut self,
        task: Task,
        version: VersionId,
        struck: &mut Vec<NameId>,
        others: &mut Others,
    ) -> bool {
        let package = self.package_of(version);
        let state = *self.state(package);
        if state.candidate != Some(version) {
            return true;
        }
        if self.current(package) == Some(version) {
            return self.plan_removal(task, package, others);
        }
        if state.mode == Mode::Install && !self.mark_keep(package, By::Solver, task.depth) {
            return false;
        }
        if task.is_final {
            self.discard_candidate(package);
            if self.current(package).is_none() {
                self.state_mut(package).is_protected = true;
            }
        } else {
            struck.push(package);
        }
        true
    }

    /// Removes a package of the base once all else is done, or at once where that is decided for good.
    fn plan_removal(&mut self, task: Task, package: NameId, others: &mut Others) -> bool {
        let is_gone = self.state(package).mode == Mode::Delete;
        if !task.is_final {
            if !is_gone {
                if !self.may_become(Mode::Delete, package, By::Solver, task.depth) || !self.may_leave(package) {
                    return false;
                }
                others.removals.push(package);
            }
            return true;
        }
        if !is_gone && !self.mark_delete(package, task.depth + 1) {
            return false;
        }
        self.discard_candidate(package);
        self.state_mut(package).is_protected = true;
        true
    }

    /// What the base has and needs the version whose place is taken.
    fn collect_dependents(&self, task: Task, others: &mut Others) {
        let Some(current) = self.current(task.package) else { return };
        for dependent in &self.installed {
            let state = self.state(*dependent);
            if matches!(state.mode, Mode::Install | Mode::Delete)
                || others.removals.contains(dependent)
                || others.upgrades.contains(dependent)
            {
                continue;
            }
            let Some(version) = self.current(*dependent) else { continue };
            let dependencies = self.dependencies(version);
            let mut needs = dependencies.iter().filter(|one| self.is_important(one.kind) && !one.kind.is_negative());
            let loses = |target: &Target<'_>| self.is_hit_by(target, current) && !self.is_hit_by(target, task.version);
            if needs.any(|need| need.targets.iter().filter(|target| target.name == task.package).any(loses)) {
                others.upgrades.push(*dependent);
            }
        }
    }

    /// Whether the very package is inside a target's bound.
    fn is_hit_by(&self, target: &Target<'_>, version: VersionId) -> bool {
        target.relation.admits(self.universe.version(version).version)
    }

    /// Brings up to date what the base has of the same source package.
    fn upgrade_siblings(&mut self, task: Task) {
        let source = |plan: &Self, version| source_of(&plan.universe.stanza(version));
        let own = source(self, task.version);
        let is_sibling = |other: &&NameId| {
            let state = self.state(**other);
            let candidate = state.candidate.filter(|candidate| Some(*candidate) != self.current(**other));
            **other != task.package
                && candidate.is_some_and(|candidate| {
                    !(state.mode == Mode::Install && state.planned == Some(candidate)) && source(self, candidate) == own
                })
        };
        let siblings: Vec<NameId> = self.installed.iter().filter(is_sibling).copied().collect();
        for reach in [Reach::Alone, Reach::WithNeeds] {
            for sibling in &siblings {
                self.mark_install(*sibling, reach, By::Solver, task.depth + 1);
            }
        }
    }

    fn upgrade_or_remove(&mut self, task: Task, upgrades: &[NameId]) -> bool {
        let mut is_well = true;
        for package in upgrades {
            if self.state(*package).mode == Mode::Install
                || self.mark_install(*package, Reach::WithNeeds, By::Solver, task.depth + 1)
            {
                continue;
            }
            if !self.mark_delete(*package, task.depth + 1) {
                is_well = false;
                if !task.is_lenient {
                    break;
                }
            } else if task.is_final {
                self.state_mut(*package).is_protected = true;
            }
        }
        is_well
    }

    fn remove_all(&mut self, task: Task, removals: &[NameId]) -> bool {
        let mut is_well = true;
        for package in removals {
            if !self.mark_delete(*package, task.depth) {
                is_well = false;
                if !task.is_lenient {
                    break;
                }
            }
        }
        is_well
    }

    fn install_needs(&mut self, task: Task, wanted: &[&Dependency<'a>]) -> bool {
        let mut is_well = true;
        for need in wanted {
            if self.holds(task.version, need, Which::Planned) {
                is_well &= !task.is_final || self.protect_only_answer(task, need);
                continue;
            }
            let is_critical = need.kind.is_critical();
            if self.current(task.package).is_some() && !is_critical && !self.is_new_or_kept(task.package, need) {
                continue;
            }
            if !self.install_one_of(task, need) && is_critical {
                is_well = false;
                if !task.is_lenient {
                    break;
                }
            }
        }
        is_well
    }

    /// Decides for good what alone answers a need.
    fn protect_only_answer(&mut self, task: Task, need: &Dependency<'a>) -> bool {
        if !need.kind.is_critical() {
            return true;
        }
        let mut answers: Vec<VersionId> = Vec::new();
        for target in &need.targets {
            for which in [Which::Candidate, Which::Now] {
                answers.extend(self.hits(task.version, need.kind, target, which));
            }
        }
        answers.retain(|answer| !self.is_ruled_out(self.package_of(*answer)));
        answers.sort_unstable();
        answers.dedup();
        let [only] = answers[..] else { return true };
        let package = self.package_of(only);
        if self.state(package).is_protected {
            return true;
        }
        self.state_mut(package).is_protected = true;
        self.mark_install(package, Reach::WithNeeds, By::Solver, task.depth + 1)
    }

    fn install_one_of(&mut self, task: Task, need: &Dependency<'a>) -> bool {
        let alternatives = self.alternatives(task.version, need);
        for version in &alternatives {
            let package = self.package_of(*version);
            if self.state(package).candidate != Some(*version) {
                continue;
            }
            let depth = task.depth + 1;
            if task.is_final && need.kind.is_critical() && alternatives.len() == 1 {
                if !self.mark_install(package, Reach::Alone, By::Solver, depth) {
                    continue;
                }
                self.state_mut(package).is_protected = true;
            }
            if self.mark_install(package, Reach::WithNeeds, By::Solver, depth) {
                return true;
            }
        }
        false
    }

    /// Whether a recommendation of what the base has already is new, or was followed before.
    fn is_new_or_kept(&self, package: NameId, need: &Dependency<'_>) -> bool {
        let (Some(current), Some(first)) = (self.current(package), need.targets.first()) else { return true };
        let dependencies = self.dependencies(current);
        let before = dependencies.iter().filter(|one| {
            !one.kind.is_critical()
                && self.is_important(one.kind)
                && one.targets.iter().any(|target| target.name == first.name)
        });
        let mut is_new = true;
        for dependency in before {
            is_new = false;
            if self.holds(current, dependency, Which::Now) {
                return true;
            }
        }
        is_new
    }

    /// Whether it was decided for good that a package will not be there.
    fn is_ruled_out(&self, package: NameId) -> bool {
        let state = self.state(package);
        let is_absent = state.mode == Mode::Keep && self.current(package).is_none();
        state.is_protected && (state.mode == Mode::Delete || is_absent)
    }

    /// The candidates that answer a need, best first: newer versions of what is installed before everything else, then by
    /// alternative from the left, and within each in the order of [`Self::rank`].
    pub(super) fn alternatives(&self, owner: VersionId, need: &Dependency<'_>) -> Vec<VersionId> {
        let (mut upgrades, mut others) = (Vec::new(), Vec::new());
        for target in &need.targets {
            for id in self.sorted(self.hits(owner, need.kind, target, Which::Candidate), target.name) {
                let is_installed = self.current(self.package_of(id)).is_some();
                let list = if is_installed { &mut upgrades } else { &mut others };
                if !list.contains(&id) {
                    list.push(id);
                }
            }
        }
        upgrades.append(&mut others);
        upgrades.retain(|id| !self.is_ruled_out(self.package_of(*id)));
        upgrades
    }

    fn sorted_hits(&self, owner: VersionId, dependency: &Dependency<'_>, which: Which) -> Vec<VersionId> {
        let hits = dependency
            .targets
            .iter()
            .flat_map(|target| self.sorted(self.hits(owner, dependency.kind, target, which), target.name));
        hits.collect()
    }

    fn sorted(&self, mut versions: Vec<VersionId>, wanted: NameId) -> Vec<VersionId> {
        versions.sort_by_cached_key(|id| self.rank(*id, wanted));
        versions
    }

    /// apt's order of providers: protected, installed and for several architectures, installed, of the very name, essential,
    /// important, by priority, last mentioned first.
    fn rank(&self, id: VersionId, wanted: NameId) -> (bool, bool, bool, bool, bool, bool, u8, Reverse<NameId>) {
        let package = self.package_of(id);
        let stanza = self.universe.stanza(id);
        let is_installed = self.current(package).is_some();
        (
            !self.state(package).is_protected,
            !(is_installed && stanza.multi_arch() == "same"),
            !is_installed,
            package != wanted,
            !self.universe.is_essential(package),
            !self.universe.is_important(package),
            super::priority_rank(stanza.priority()),
            Reverse(package),
        )
    }
}
