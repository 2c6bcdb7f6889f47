//! What is tried where the first resolver finds no way: every choice, in its order of preference, until all holds together.
//!
//! apt's own second resolver repairs by scores; this one looks through all choices and so finds an answer where there is one,
//! within a bound on steps. What the base has stays as it is.

use super::{Group, Solver};
use crate::manifest::Recommends;
use crate::resolve::apt::universe::VersionId;

/// How many choices are tried.
const STEPS: usize = 20_000;

/// What is still needed once something else is there.
struct Pending<'n, 'a> {
    groups: &'n [Group<'a>],
    next: Option<&'n Pending<'n, 'a>>,
}

impl<'a> Solver<'_, 'a> {
    /// Chooses all that the requests need; nothing where no choice holds together, or too many were tried.
    pub(super) fn search(mut self, requests: &[VersionId]) -> Option<Vec<VersionId>> {
        for request in requests {
            if !self.is_free(*request) {
                return None;
            }
            self.choose(*request);
        }
        let needs: Vec<Group<'a>> = requests.iter().flat_map(|request| self.needs(*request)).collect();
        let mut steps = STEPS;
        if !self.complete(&needs, None, &mut steps) {
            return None;
        }
        if self.recommends == Recommends::Follow {
            for id in self.order.clone() {
                for group in self.groups(self.universe.stanza(id).recommends()) {
                    // A recommendation that cannot be had is left out, as ever.
                    self.satisfy(&group, 0).ok();
                }
            }
        }
        self.check_whole().is_ok().then_some(self.order)
    }

    /// Sees to it that the groups and all that is pending are satisfied, or leaves everything as it was.
    fn complete<'n>(
        &mut self,
        mut groups: &'n [Group<'a>],
        mut next: Option<&'n Pending<'n, 'a>>,
        steps: &mut usize,
    ) -> bool {
        loop {
            match (groups.split_first(), next) {
                (None, None) => return true,
                (None, Some(pending)) => (groups, next) = (pending.groups, pending.next),
                (Some((group, rest)), _) if group.iter().any(|relation| self.is_satisfied(relation)) => groups = rest,
                (Some((group, rest)), _) => return self.branch(group, &Pending { groups: rest, next }, steps),
            }
        }
    }

    fn branch(&mut self, group: &Group<'a>, pending: &Pending<'_, 'a>, steps: &mut usize) -> bool {
        for alternative in self.alternatives(group) {
            if *steps == 0 {
                return false;
            }
            *steps -= 1;
            if !self.is_free(alternative) {
                continue;
            }
            let length = self.order.len();
            self.choose(alternative);
            let needs = self.needs(alternative);
            if self.complete(&needs, Some(pending), steps) {
                return true;
            }
            self.undo(length);
        }
        false
    }

    /// Whether a version can be added to what is there: nothing excludes it, and it takes no place in the base.
    fn is_free(&self, id: VersionId) -> bool {
        let installed = self.universe.installed(self.universe.version(id).package);
        installed.is_none_or(|installed| installed == id) && self.conflict(id).is_none()
    }

    fn needs(&self, id: VersionId) -> Vec<Group<'a>> {
        let stanza = self.universe.stanza(id);
        [stanza.pre_depends(), stanza.depends()].into_iter().flat_map(|field| self.groups(field)).collect()
    }
}
