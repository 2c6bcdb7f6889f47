//! `name/suite`: the candidates of what a package from a release needs come from that release too, where they do not do as they
//! are, in the way of apt's SetCandidateRelease.

use std::collections::BTreeSet;

use super::super::universe::{NameId, Origin, VersionId};
use super::super::version;
use super::plan::{Dependency, Plan};

/// A version that is asked for by its release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Switch {
    pub(in super::super) version: VersionId,
    /// The archives that are meant.
    pub(in super::super) archives: BTreeSet<usize>,
}

impl Plan<'_, '_> {
    /// Changes the candidates of what the versions need. Returns those that are others now.
    pub(super) fn switch_candidates(&mut self, switches: &[Switch]) -> Vec<VersionId> {
        let mut changed = Vec::new();
        for Switch { version, archives } in switches {
            changed.push(*version);
            self.switch(*version, archives, &mut changed);
        }
        let candidates = self.universe.all_names().filter_map(|name| self.state(name).candidate);
        candidates.filter(|id| self.universe.candidate(self.package_of(*id)) != Some(*id)).collect()
    }

    /// Says whether every need has a candidate that will do. What was changed on the way to a failure stays changed, as in apt.
    fn switch(&mut self, id: VersionId, archives: &BTreeSet<usize>, changed: &mut Vec<VersionId>) -> bool {
        self.set_candidate(id);
        for dependency in self.dependencies(id).iter() {
            let is_need = self.is_important(dependency.kind) && !dependency.kind.is_negative();
            if is_need
                && !self.will_do(dependency)
                && !self.switch_one_of(dependency, archives, changed)
                && dependency.kind.is_critical()
            {
                return false;
            }
        }
        true
    }

    fn switch_one_of(
        &mut self,
        dependency: &Dependency<'_>,
        archives: &BTreeSet<usize>,
        changed: &mut Vec<VersionId>,
    ) -> bool {
        // Another candidate is no help where no version is asked for.
        for target in dependency.targets.iter().filter(|target| target.relation.bound.is_some()) {
            let Some(id) = self.newest_in(target.name, archives) else { continue };
            if !target.relation.admits(self.universe.version(id).version) {
                continue;
            }
            let before = self.state(target.name).candidate;
            if before == Some(id) && changed.iter().any(|one| self.package_of(*one) == target.name) {
                return true;
            }
            let length = changed.len();
            changed.push(id);
            if self.switch(id, archives, changed) {
                return true;
            }
            let is_last = dependency.targets.last() == Some(target);
            if let (Some(before), false) = (before, is_last) {
                self.set_candidate(before);
                changed.truncate(length);
            }
        }
        false
    }

    /// Whether an alternative is there already, or has a candidate whose own needs are planned.
    fn will_do(&self, dependency: &Dependency<'_>) -> bool {
        let universe = self.universe;
        dependency.targets.iter().any(|target| {
            let admits = |id: VersionId| target.relation.admits(universe.version(id).version);
            let is_ready = |id: VersionId| self.is_whole(id);
            if self.current(target.name).is_some_and(admits) {
                return true;
            }
            let candidate = self.state(target.name).candidate;
            let providers = universe.providers(target.name);
            if target.relation.bound.is_some() || providers.is_empty() {
                return candidate.is_some_and(|id| admits(id) && is_ready(id));
            }
            let mut provided = providers.iter().map(|provider| provider.version);
            provided.any(|id| self.state(self.package_of(id)).candidate == Some(id) && is_ready(id))
        })
    }

    fn newest_in(&self, name: NameId, archives: &BTreeSet<usize>) -> Option<VersionId> {
        let is_meant = |id: &&VersionId| match self.universe.version(**id).origin {
            Origin::Archive(archive) => archives.contains(&archive),
            Origin::Installed => false,
        };
        let text = |id: VersionId| self.universe.version(id).version;
        let versions = self.universe.versions_of(name).iter().filter(is_meant).copied();
        versions.reduce(|best, id| if version::compare(text(id), text(best)).is_gt() { id } else { best })
    }
}
