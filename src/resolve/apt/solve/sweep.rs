//! What nothing needs, in the way of apt's mark and sweep: what was planned on the way to something that then failed.

use std::collections::{BTreeMap, BTreeSet};

use super::super::pins::source_of;
use super::super::universe::{NameId, VersionId};
use super::super::version;
use super::mark::Reach;
use super::plan::{By, Dependency, Kind, Mode, Plan, Target, Which};

impl Plan<'_, '_> {
    /// What is or will be there and that nothing needs, recommends or suggests.
    pub(super) fn garbage(&self) -> BTreeSet<NameId> {
        let mut marked: BTreeSet<NameId> = BTreeSet::new();
        let is_root = |package: &NameId| {
            let universe = self.universe;
            !self.state(*package).is_automatic || universe.is_essential(*package) || universe.is_important(*package)
        };
        let mut open: Vec<VersionId> =
            self.planned().filter(is_root).filter_map(|package| self.state(package).planned).collect();
        while let Some(version) = open.pop() {
            if marked.insert(self.package_of(version)) {
                let dependencies = self.dependencies(version);
                let positive = dependencies.iter().filter(|one| !one.kind.is_negative());
                let targets = positive.flat_map(|one| one.targets.iter());
                open.extend(targets.flat_map(|target| self.keeping(version, target)));
            }
        }
        self.planned().filter(|package| !marked.contains(package)).collect()
    }

    /// What a target keeps: of several packages from one source those of the newest, and where the base has an answer already
    /// nothing new.
    fn keeping(&self, owner: VersionId, target: &Target<'_>) -> Vec<VersionId> {
        let answers = self.hits(owner, Kind::Depends, target, Which::Planned);
        let mut by_source: BTreeMap<&str, Vec<(VersionId, &str)>> = BTreeMap::new();
        for answer in answers {
            let (source, source_version) = source_of(&self.universe.stanza(answer));
            by_source.entry(source).or_default().push((answer, source_version));
        }
        for all in by_source.values_mut() {
            let newest = all.iter().map(|(_, at)| *at).max_by(|one, other| version::compare(one, other));
            all.retain(|(_, at)| Some(*at) == newest);
        }
        let is_current = |id: &VersionId| self.current(self.package_of(*id)).is_some();
        let several = by_source.len() > 1;
        let kept: Vec<VersionId> = by_source.into_values().flatten().map(|(id, _)| id).collect();
        if several && kept.iter().any(is_current) {
            return kept.into_iter().filter(is_current).collect();
        }
        kept
    }

    /// Takes new packages that nothing needs out of the plan, but for those without which another is broken.
    pub(super) fn sweep(&mut self) {
        let garbage = self.garbage();
        let mut dropped: Vec<(NameId, VersionId)> = Vec::new();
        for package in garbage {
            let state = self.state(package);
            if let (Mode::Install, None, Some(version)) = (state.mode, self.current(package), state.planned) {
                dropped.push((package, version));
                self.mark_delete(package, 0);
            }
        }
        while let Some(at) = dropped.iter().position(|(_, version)| self.is_missed(*version)) {
            let (package, _) = dropped.remove(at);
            self.mark_install(package, Reach::Alone, By::Solver, 0);
        }
    }

    /// Whether something that is planned is not whole without a version.
    fn is_missed(&self, version: VersionId) -> bool {
        let is_hit = |target: &Target<'_>| {
            let own = self.universe.version(version);
            let provides = || {
                let mut all = self.universe.providers(target.name).iter();
                all.any(|one| one.version == version && target.relation.admits_provided(one.provided))
            };
            (target.name == own.package && target.relation.admits(own.version)) || provides()
        };
        let misses = |owner: VersionId, one: &Dependency<'_>| {
            self.is_important(one.kind)
                && !one.kind.is_negative()
                && one.targets.iter().any(is_hit)
                && !self.holds(owner, one, Which::Planned)
        };
        self.planned()
            .filter_map(|package| self.state(package).planned)
            .any(|owner| self.dependencies(owner).iter().any(|one| misses(owner, one)))
    }
}
