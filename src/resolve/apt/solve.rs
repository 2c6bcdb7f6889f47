//! Which packages are needed, as apt-get chooses them: its own resolver first (`plan`, `mark`, `repair`, `sweep`), and where that
//! finds no way the one that it falls back on since 3.0 (`clauses`). What would remove something of the base is refused.
//!
//! The behaviour is that of apt 3.0, read in its source and compared by answers (tests/parity_apt.rs), down to the order of
//! alternatives; no line is taken from it. A plain walk (`solve_first`) says why there is no answer, and chooses where pins are
//! to be kept.

mod clauses;
mod heap;
mod mark;
mod plan;
mod repair;
mod sweep;
mod switch;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::error::SolveError;
use super::relation::{self, Relation};
use super::universe::{NameId, Universe, VersionId};
use super::version;
use crate::manifest::Recommends;
use mark::Reach;
use plan::{By, Plan, Which};
pub(super) use switch::Switch;

/// As deep as apt follows dependencies.
const MAXIMUM_DEPTH: usize = 3000;

/// As many steps as are kept of the alternatives that were tried for one need.
const MOST_STEPS: usize = 40;

/// Alternatives, one of which must be there.
type Group<'a> = Vec<Relation<'a>>;

/// Finds everything that `requests` need and the base has not, themselves included, sorted by name.
///
/// First as apt's own resolver does it: everything asked for is planned, then its needs one after the other, then what is
/// broken is mended. Where that finds no way, by clauses, as apt does since 3.0.
pub(super) fn solve(
    universe: &Universe<'_>,
    requests: &[VersionId],
    recommends: Recommends,
) -> Result<Vec<VersionId>, SolveError> {
    let guard = Solver::new(universe, recommends);
    for request in requests {
        guard.check_request(*request)?;
    }
    let mut plan = Plan::with_requests(universe, requests, recommends);
    let before = plan.states.clone();
    let asked: Vec<NameId> = requests.iter().map(|request| plan.package_of(*request)).collect();
    for package in &asked {
        plan.mark_install(*package, Reach::WithNeeds, By::User, 0);
    }
    if !plan.repair(&asked) {
        let flaw = guard.describe_flaw(&plan);
        plan.states = before;
        if !plan.choose_by_clauses() {
            // The plain walk says best how it comes about; where it finds a way that apt does not, the plan says it.
            return Err(solve_first(universe, requests, recommends).err().unwrap_or(flaw));
        }
    }
    plan.sweep();
    let mut chosen = guard.check_plan(&plan, requests)?;
    chosen.sort_by_key(|id| universe.version(*id).name);
    Ok(chosen)
}

/// Lets candidates follow those requests that name a release.
pub(super) fn switch(universe: &mut Universe<'_>, requests: &[VersionId], switches: &[Switch], recommends: Recommends) {
    if switches.is_empty() {
        return;
    }
    let candidates = Plan::with_requests(universe, requests, recommends).switch_candidates(switches);
    for candidate in candidates {
        universe.set_candidate(candidate);
    }
}

/// Follows every request depth first and takes the first alternative that can be installed beside what was chosen before. It finds
/// most answers, and where it finds none it says why.
pub(super) fn solve_first(
    universe: &Universe<'_>,
    requests: &[VersionId],
    recommends: Recommends,
) -> Result<Vec<VersionId>, SolveError> {
    let mut solver = Solver::new(universe, recommends);
    for request in requests {
        solver.check_request(*request)?;
        solver.choose(*request);
    }
    for request in requests {
        solver.make_room(*request, 0).map_err(Failure::into_error)?;
        solver.follow(*request, 0).map_err(Failure::into_error)?;
    }
    solver.check_whole()?;
    let mut chosen: Vec<VersionId> = solver.order;
    chosen.sort_by_key(|id| universe.version(*id).name);
    Ok(chosen)
}

/// One line of the way from a request to what is missing.
#[derive(Clone)]
struct Step {
    text: String,
    /// The packages that it speaks of.
    names: Vec<String>,
    /// What could be asked for to get further.
    ask: Option<String>,
    /// Whether it holds only beside what was chosen before.
    is_relative: bool,
}

impl Step {
    fn new(text: String, names: Vec<String>) -> Self {
        Self { text, names, ask: None, is_relative: false }
    }
}

/// Why a package cannot be chosen.
enum Failure {
    /// It cannot be installed; another alternative may do. The steps lead from it to what is missing.
    Unmet(Vec<Step>),
    /// apt would do something that is not supported here.
    Refused(SolveError),
}

impl Failure {
    fn into_error(self) -> SolveError {
        match self {
            Self::Unmet(steps) => SolveError::NoSolution {
                named: steps.iter().flat_map(|step| step.names.clone()).collect(),
                ask: steps.iter().filter_map(|step| step.ask.clone()).collect::<BTreeSet<_>>().into_iter().collect(),
                steps: steps.into_iter().map(|step| step.text).collect(),
            },
            Self::Refused(error) => error,
        }
    }

    /// The same failure seen from the package that asked.
    fn below(self, step: Step) -> Self {
        match self {
            Self::Unmet(mut steps) => {
                steps.insert(0, step);
                Self::Unmet(steps)
            }
            refused @ Self::Refused(_) => refused,
        }
    }
}

struct Solver<'u, 'a> {
    universe: &'u Universe<'a>,
    recommends: Recommends,
    /// What will be there: chosen now or installed before.
    present: BTreeMap<NameId, VersionId>,
    /// What was chosen now, in that order.
    order: Vec<VersionId>,
    /// Who must not be together with a name.
    negatives: BTreeMap<NameId, Vec<(VersionId, Relation<'a>)>>,
    /// What was found impossible, whoever asks, and why.
    discarded: BTreeMap<VersionId, Vec<Step>>,
}

impl<'u, 'a> Solver<'u, 'a> {
    fn new(universe: &'u Universe<'a>, recommends: Recommends) -> Self {
        let mut solver = Self {
            universe,
            recommends,
            present: BTreeMap::new(),
            order: Vec::new(),
            negatives: BTreeMap::new(),
            discarded: BTreeMap::new(),
        };
        for installed in universe.all_installed() {
            solver.enter(installed);
        }
        solver
    }

    fn enter(&mut self, id: VersionId) {
        self.present.insert(self.universe.version(id).package, id);
        for negative in self.negatives_of(id) {
            if let Some(target) = self.universe.id(negative.name) {
                self.negatives.entry(target).or_default().push((id, negative));
            }
        }
    }

    fn choose(&mut self, id: VersionId) {
        let package = self.universe.version(id).package;
        match self.present.get(&package).copied() {
            Some(present) if present == id => return,
            Some(replaced) => self.leave(replaced),
            None => {}
        }
        self.enter(id);
        self.order.push(id);
    }

    fn leave(&mut self, id: VersionId) {
        self.present.remove(&self.universe.version(id).package);
        for negative in self.negatives_of(id) {
            let owners = self.universe.id(negative.name).and_then(|target| self.negatives.get_mut(&target));
            if let Some(owners) = owners {
                owners.retain(|(owner, _)| *owner != id);
            }
        }
    }

    /// Takes back everything that was chosen since the order had `length` entries.
    fn undo(&mut self, length: usize) {
        for id in self.order.split_off(length) {
            self.leave(id);
            if let Some(installed) = self.universe.installed(self.universe.version(id).package) {
                self.enter(installed);
            }
        }
    }

    fn negatives_of(&self, id: VersionId) -> Vec<Relation<'a>> {
        let stanza = self.universe.stanza(id);
        let architecture = self.universe.architecture;
        let mut negatives = relation::list(stanza.conflicts(), architecture);
        negatives.extend(relation::list(stanza.breaks(), architecture));
        negatives
    }

    /// Chooses a version and all it needs, or leaves everything as it was.
    fn mark(&mut self, id: VersionId, depth: usize) -> Result<(), Failure> {
        let package = self.universe.version(id).package;
        if self.present.get(&package) == Some(&id) {
            return Ok(());
        }
        if let Some(steps) = self.discarded.get(&id) {
            return Err(Failure::Unmet(steps.clone()));
        }
        if depth > MAXIMUM_DEPTH {
            let text = format!("{} cannot be installed", self.label(id));
            return Err(Failure::Unmet(vec![Step::new(text, vec![self.name(id)])]));
        }
        if let Some(held) = self.held_against(id) {
            let text = format!("{} would take the place of {}, which the base holds", self.label(id), self.label(held));
            return Err(Failure::Unmet(vec![Step::new(text, vec![self.name(id)])]));
        }
        self.check_replaces_nothing(id).map_err(Failure::Refused)?;
        let length = self.order.len();
        let made = self.make_room(id, depth);
        made.and_then(|()| {
            self.choose(id);
            self.follow(id, depth)
        })
        .inspect_err(|failure| {
            self.undo(length);
            if let Failure::Unmet(steps) = failure
                && !steps.iter().any(|step| step.is_relative)
            {
                self.discarded.insert(id, steps.clone());
            }
        })
    }

    /// Sees to it that nothing excludes a version: what the base has is brought up to date where that is enough.
    fn make_room(&mut self, id: VersionId, depth: usize) -> Result<(), Failure> {
        while let Some(other) = self.conflict(id) {
            let newer = self.newer_than_installed(other);
            let Some(newer) = newer.filter(|_| depth < MAXIMUM_DEPTH) else {
                return Err(self.conflict_failure(id, other));
            };
            self.mark(newer, depth + 1)?;
            if self.conflict(id) == Some(newer) {
                return Err(self.conflict_failure(id, newer));
            }
        }
        Ok(())
    }

    /// The candidate that would take the place of a version of the base; nothing when it is the candidate itself.
    fn newer_than_installed(&self, id: VersionId) -> Option<VersionId> {
        let package = self.universe.version(id).package;
        let is_installed = self.universe.installed(package) == Some(id);
        self.universe.candidate(package).filter(|candidate| is_installed && *candidate != id)
    }

    /// Brings up to date what needs the version of the base whose place `id` took.
    fn keep_dependents(&mut self, id: VersionId, depth: usize) -> Result<(), Failure> {
        if self.universe.installed(self.universe.version(id).package).is_none() {
            return Ok(());
        }
        let kept: Vec<VersionId> = self.universe.all_installed().collect();
        for dependent in kept {
            if self.present.get(&self.universe.version(dependent).package) != Some(&dependent) {
                continue;
            }
            let Some(group) = self.unsatisfied(dependent).into_iter().find(|group| self.is_about(group, id)) else {
                continue;
            };
            let failure = Failure::Unmet(vec![self.describe_need(dependent, &group), self.describe_missing(&group)]);
            let newer = self.newer_than_installed(dependent).filter(|_| depth < MAXIMUM_DEPTH).ok_or(failure)?;
            self.mark(newer, depth + 1)?;
        }
        Ok(())
    }

    /// What a present version needs and is not there.
    fn unsatisfied(&self, id: VersionId) -> Vec<Group<'a>> {
        let stanza = self.universe.stanza(id);
        let groups = [stanza.pre_depends(), stanza.depends()].into_iter().flat_map(|field| self.groups(field));
        groups.filter(|group| !group.iter().any(|relation| self.is_satisfied(relation))).collect()
    }

    fn groups(&self, field: &'a str) -> Vec<Group<'a>> {
        relation::groups(field, self.universe.architecture)
    }

    /// Whether the version that the base has of `id`'s package satisfied a group.
    fn is_about(&self, group: &[Relation<'_>], id: VersionId) -> bool {
        let Some(old) = self.universe.installed(self.universe.version(id).package) else { return false };
        let version = self.universe.version(old);
        group.iter().any(|relation| {
            let Some(name) = self.universe.id(relation.name) else { return false };
            let mut provided = self.universe.providers(name).iter().filter(|provider| provider.version == old);
            (name == version.package && relation.admits(version.version))
                || provided.any(|provider| relation.admits_provided(provider.provided))
        })
    }

    fn conflict_failure(&self, id: VersionId, other: VersionId) -> Failure {
        let (name, other_name) = (self.label(id), self.label(other));
        if self.universe.installed(self.universe.version(other).package) == Some(other) {
            return Failure::Refused(SolveError::Removal { package: other_name, because: name });
        }
        let text = format!("{name} conflicts with {other_name}, which was chosen before");
        let step = Step::new(text, vec![self.name(id), self.name(other)]);
        Failure::Unmet(vec![Step { is_relative: true, ..step }])
    }

    /// Follows what a chosen version needs.
    fn follow(&mut self, id: VersionId, depth: usize) -> Result<(), Failure> {
        let stanza = self.universe.stanza(id);
        for field in [stanza.pre_depends(), stanza.depends()] {
            for group in self.groups(field) {
                self.satisfy(&group, depth).map_err(|failure| failure.below(self.describe_need(id, &group)))?;
            }
        }
        if self.recommends == Recommends::Follow {
            for group in self.groups(stanza.recommends()) {
                match self.satisfy(&group, depth) {
                    Err(refused @ Failure::Refused(_)) => return Err(refused),
                    Err(Failure::Unmet(_)) | Ok(()) => {}
                }
            }
        }
        self.keep_dependents(id, depth)
    }

    /// Sees to it that one alternative is there.
    fn satisfy(&mut self, group: &[Relation<'_>], depth: usize) -> Result<(), Failure> {
        if group.iter().any(|relation| self.is_satisfied(relation)) {
            return Ok(());
        }
        let mut tried: Vec<Step> = Vec::new();
        for alternative in self.alternatives(group) {
            match self.mark(alternative, depth + 1) {
                Ok(()) => return Ok(()),
                Err(refused @ Failure::Refused(_)) => return Err(refused),
                Err(Failure::Unmet(steps)) if tried.is_empty() => tried = steps,
                // What else was tried is shown once, but it is the first choice that is spoken of.
                Err(Failure::Unmet(steps)) => {
                    for step in steps {
                        if tried.len() < MOST_STEPS && !tried.iter().any(|other| other.text == step.text) {
                            tried.push(Step { names: Vec::new(), ..step });
                        }
                    }
                }
            }
        }
        if tried.is_empty() {
            tried.push(self.describe_missing(group));
        }
        Err(Failure::Unmet(tried))
    }

    /// The version of the base whose place another one would take, where the base holds it.
    fn held_against(&self, id: VersionId) -> Option<VersionId> {
        let installed = self.universe.installed(self.universe.version(id).package);
        installed.filter(|installed| *installed != id && self.universe.version(*installed).is_held)
    }

    fn is_satisfied(&self, relation: &Relation<'_>) -> bool {
        !self.satisfying(relation).is_empty()
    }

    /// What is present and satisfies a relation, the package of that very name first.
    fn satisfying(&self, relation: &Relation<'_>) -> Vec<VersionId> {
        let Some(name) = self.universe.id(relation.name) else { return Vec::new() };
        let real = self.present.get(&name).copied();
        let real = real.filter(|id| relation.admits(self.universe.version(*id).version));
        let providers = self.universe.providers(name).iter().filter(|provider| {
            let package = self.universe.version(provider.version).package;
            self.present.get(&package) == Some(&provider.version) && relation.admits_provided(provider.provided)
        });
        real.into_iter().chain(providers.map(|provider| provider.version)).collect()
    }

    /// The versions to try for a group, best first: newer versions of what is installed before everything else, then by
    /// alternative from the left, and within each in the order of [`Self::rank`].
    fn alternatives(&self, group: &[Relation<'_>]) -> Vec<VersionId> {
        let (mut upgrades, mut others) = (Vec::new(), Vec::new());
        for relation in group {
            let mut found = self.universe.all_satisfying(relation);
            found.sort_by_cached_key(|id| self.rank(*id, relation));
            for id in found {
                let is_installed = self.universe.installed(self.universe.version(id).package).is_some();
                let list = if is_installed { &mut upgrades } else { &mut others };
                if !list.contains(&id) {
                    list.push(id);
                }
            }
        }
        upgrades.append(&mut others);
        upgrades
    }

    /// apt's order of providers: installed, of the very name, essential, protected, by priority, last mentioned first.
    fn rank(&self, id: VersionId, relation: &Relation<'_>) -> (bool, bool, bool, bool, u8, Reverse<NameId>) {
        let version = self.universe.version(id);
        let stanza = self.universe.stanza(id);
        (
            self.universe.installed(version.package).is_none(),
            version.name != relation.name,
            stanza.essential() != "yes",
            stanza.protected() != "yes" && stanza.important() != "yes",
            priority_rank(stanza.priority()),
            Reverse(version.package),
        )
    }

    /// Something present that must not be together with `id`.
    fn conflict(&self, id: VersionId) -> Option<VersionId> {
        let version = self.universe.version(id);
        let is_other = |other: &VersionId| self.universe.version(*other).package != version.package;
        for negative in self.negatives_of(id) {
            if let Some(other) = self.satisfying(&negative).into_iter().find(is_other) {
                return Some(other);
            }
        }
        let against = |name: Option<NameId>| name.and_then(|name| self.negatives.get(&name)).into_iter().flatten();
        let by_name = against(Some(version.package))
            .find(|(owner, negative)| is_other(owner) && negative.admits(version.version));
        if let Some((owner, _)) = by_name {
            return Some(*owner);
        }
        let provides = relation::list(self.universe.stanza(id).provides(), self.universe.architecture);
        provides.iter().find_map(|provided| {
            let as_version = provided.bound.map(|(_, version)| version);
            let mut owners = against(self.universe.id(provided.name));
            owners
                .find(|(owner, negative)| is_other(owner) && negative.admits_provided(as_version))
                .map(|found| found.0)
        })
    }

    /// Refuses what must not be asked for on this base.
    fn check_request(&self, request: VersionId) -> Result<(), SolveError> {
        self.check_replaces_nothing(request)?;
        match self.held_against(request) {
            Some(held) => Err(SolveError::Held { package: self.label(held), wanted: self.label(request) }),
            None => Ok(()),
        }
    }

    /// The first thing that does not hold in a plan.
    fn describe_flaw(&self, plan: &Plan<'_, '_>) -> SolveError {
        let planned = plan.planned().filter_map(|name| plan.state(name).planned);
        let flaw = planned.into_iter().find(|id| !plan.is_whole(*id)).and_then(|id| {
            let dependencies = plan.dependencies(id);
            let mut critical = dependencies.iter().filter(|one| one.kind.is_critical());
            let broken = critical.find(|one| !plan.holds(id, one, Which::Planned))?;
            let mut against =
                broken.targets.iter().flat_map(|target| plan.hits(id, broken.kind, target, Which::Planned));
            Some(match against.next() {
                Some(other) => self.conflict_failure(id, other),
                None => {
                    Failure::Unmet(vec![self.describe_need(id, &broken.group), self.describe_missing(&broken.group)])
                }
            })
        });
        flaw.unwrap_or(Failure::Unmet(Vec::new())).into_error()
    }

    /// What is new in a plan, unless something of the base had to go or to become older for it.
    fn check_plan(&self, plan: &Plan<'_, '_>, requests: &[VersionId]) -> Result<Vec<VersionId>, SolveError> {
        for package in &plan.installed {
            if let (Some(current), None) = (plan.current(*package), plan.state(*package).planned) {
                let planned = plan.planned().filter_map(|name| plan.state(name).planned);
                let against = |id: &VersionId| {
                    let dependencies = plan.dependencies(*id);
                    let mut negative = dependencies.iter().filter(|one| one.kind.is_negative());
                    negative.any(|one| {
                        one.targets.iter().any(|target| plan.hits(*id, one.kind, target, Which::Now).contains(&current))
                    })
                };
                let because = planned.into_iter().find(against).or(requests.first().copied());
                let because = because.map(|id| self.label(id)).unwrap_or_default();
                return Err(SolveError::Removal { package: self.label(current), because });
            }
        }
        let planned = plan.planned().filter_map(|name| plan.state(name).planned);
        let chosen: Vec<VersionId> = planned.filter(|id| plan.current(plan.package_of(*id)) != Some(*id)).collect();
        for id in &chosen {
            self.check_replaces_nothing(*id)?;
        }
        Ok(chosen)
    }

    /// Refuses a version that would take the place of a newer one in the base image.
    fn check_replaces_nothing(&self, id: VersionId) -> Result<(), SolveError> {
        let version = self.universe.version(id);
        match self.universe.installed(version.package) {
            Some(installed) if installed != id && !self.is_newer(id, installed) => Err(SolveError::Downgrade {
                package: version.name.to_owned(),
                installed: self.universe.version(installed).version.to_owned(),
                wanted: version.version.to_owned(),
            }),
            _ => Ok(()),
        }
    }

    fn is_newer(&self, id: VersionId, other: VersionId) -> bool {
        self.compare(id, other).is_gt()
    }

    /// Looks at the answer once more as a whole: everything needed is there, nothing excludes anything.
    fn check_whole(&self) -> Result<(), SolveError> {
        for id in &self.order {
            let stanza = self.universe.stanza(*id);
            for field in [stanza.pre_depends(), stanza.depends()] {
                for group in self.groups(field) {
                    if !group.iter().any(|relation| self.is_satisfied(relation)) {
                        let steps = vec![self.describe_need(*id, &group), self.describe_missing(&group)];
                        return Err(Failure::Unmet(steps).into_error());
                    }
                }
            }
            if let Some(other) = self.conflict(*id) {
                return Err(self.conflict_failure(*id, other).into_error());
            }
        }
        Ok(())
    }

    fn describe_need(&self, id: VersionId, group: &[Relation<'_>]) -> Step {
        let names = std::iter::once(self.name(id)).chain(group.iter().map(|relation| relation.name.to_owned()));
        Step::new(format!("{} depends on {}", self.label(id), show(group)), names.collect())
    }

    /// What there is instead of what a group wants, and whether another version would do that is not taken by itself.
    fn describe_missing(&self, group: &[Relation<'_>]) -> Step {
        let candidates: Vec<String> = group
            .iter()
            .filter_map(|relation| self.universe.candidate(self.universe.id(relation.name)?))
            .map(|id| self.label(id))
            .collect();
        let mut step = match candidates.as_slice() {
            [] => Step::new(format!("nothing is or provides {}", show(group)), Vec::new()),
            [one] => Step::new(format!("{one} is what there is"), Vec::new()),
            several => Step::new(format!("{} are what there is", several.join(" and ")), Vec::new()),
        };
        let others = group.iter().flat_map(|relation| {
            let versions = self.universe.id(relation.name).map(|name| self.universe.versions_of(name));
            versions.unwrap_or_default().iter().filter(|id| relation.admits(self.universe.version(**id).version))
        });
        step.ask = others.max_by(|one, other| self.compare(**one, **other)).map(|id| {
            let version = self.universe.version(*id);
            format!("{}={}", version.name, version.version)
        });
        step
    }

    fn compare(&self, one: VersionId, other: VersionId) -> std::cmp::Ordering {
        version::compare(self.universe.version(one).version, self.universe.version(other).version)
    }

    fn name(&self, id: VersionId) -> String {
        self.universe.version(id).name.to_owned()
    }

    fn label(&self, id: VersionId) -> String {
        let version = self.universe.version(id);
        format!("{} {}", version.name, version.version)
    }
}

/// A group as the stanza has it.
fn show(group: &[Relation<'_>]) -> String {
    group.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ")
}

/// apt's number of a priority; a stanza without one comes before all others.
fn priority_rank(priority: &str) -> u8 {
    match priority {
        "" => 0,
        "required" => 1,
        "important" => 2,
        "standard" => 3,
        "optional" => 4,
        _ => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolve::apt::control::Reduced;
    use crate::resolve::apt::universe::IndexText;

    /// `name version: field value; field value` a line.
    fn stanzas(lines: &[&str]) -> String {
        let stanza = |line: &&str| {
            let (head, fields) = line.split_once(':').unwrap_or((line, ""));
            let (name, version) = head.split_once(' ').unwrap_or((head, "1"));
            let fields: String = fields.split(';').map(str::trim).filter(|field| !field.is_empty()).fold(
                String::new(),
                |text, field| {
                    let (name, value) = field.split_once(' ').unwrap();
                    text + &format!("{name}: {value}\n")
                },
            );
            let status = if fields.contains("Status: ") { "" } else { "Status: install ok installed\n" };
            format!("Package: {name}\nVersion: {version}\nArchitecture: all\n{status}{fields}\n")
        };
        lines.iter().map(stanza).collect()
    }

    fn solve_with(
        archive: &[&str],
        installed: &[&str],
        requests: &[&str],
        recommends: Recommends,
    ) -> Result<Vec<String>, SolveError> {
        let index = Reduced::new(&stanzas(archive), "amd64");
        let status = stanzas(installed);
        let texts = [IndexText { index: &index, archive: 0, priority: 500 }];
        let universe = Universe::new("amd64", &texts, Some(&status)).unwrap();
        let ids: Vec<VersionId> =
            requests.iter().map(|name| universe.candidate(universe.id(name).unwrap()).unwrap()).collect();
        let chosen = solve(&universe, &ids, recommends)?;
        Ok(chosen.into_iter().map(|id| universe.version(id).name.to_owned()).collect())
    }

    fn solve_names(archive: &[&str], installed: &[&str], requests: &[&str]) -> Result<Vec<String>, SolveError> {
        solve_with(archive, installed, requests, Recommends::Ignore)
    }

    #[test]
    fn the_first_alternative_that_can_be_installed_is_taken() {
        let archive = ["a: Depends none | broken | good", "broken: Depends missing", "good", "better"];
        assert_eq!(solve_names(&archive, &[], &["a"]).unwrap(), ["a", "good"]);
        assert_eq!(solve_names(&["a: Depends b | c", "b", "c"], &["c"], &["a"]).unwrap(), ["a"]);
        assert_eq!(solve_names(&["a: Depends b | c", "b", "c"], &[], &["a", "c"]).unwrap(), ["a", "c"]);
    }

    #[test]
    fn a_failed_alternative_leaves_nothing_behind() {
        let archive = ["a: Depends b | c", "b: Depends x, missing", "x", "c"];
        assert_eq!(solve_names(&archive, &[], &["a"]).unwrap(), ["a", "c"]);
    }

    #[test]
    fn of_equal_providers_the_one_mentioned_last_is_taken() {
        let archive = ["a: Depends virtual", "p: Provides virtual", "q: Provides virtual"];
        assert_eq!(solve_names(&archive, &[], &["a"]).unwrap(), ["a", "q"]);
        let mentioned = ["a: Depends virtual; Suggests q", "p: Provides virtual", "q: Provides virtual"];
        assert_eq!(solve_names(&mentioned, &[], &["a"]).unwrap(), ["a", "p"]);
        let by_priority =
            ["a: Depends virtual", "p: Provides virtual; Priority required", "q: Provides virtual; Priority optional"];
        assert_eq!(solve_names(&by_priority, &[], &["a"]).unwrap(), ["a", "p"]);
    }

    #[test]
    fn a_provider_needs_the_version_that_is_asked() {
        let archive = ["a: Depends virtual (>= 2)", "p: Provides virtual", "q: Provides virtual (= 2)"];
        assert_eq!(solve_names(&archive, &[], &["a"]).unwrap(), ["a", "q"]);
        let allowed = ["a: Depends b:any, c", "b: Multi-Arch allowed", "c"];
        assert_eq!(solve_names(&allowed, &[], &["a"]).unwrap(), ["a", "b", "c"]);
        assert!(solve_names(&["a: Depends b:any", "b"], &[], &["a"]).is_err());
        assert!(solve_names(&["a: Depends b:i386", "b"], &[], &["a"]).is_err());
    }

    #[test]
    fn what_excludes_each_other_is_never_together() {
        let archive = ["a: Depends b | c", "b: Conflicts d", "c", "d"];
        assert_eq!(solve_names(&archive, &[], &["d", "a"]).unwrap(), ["a", "c", "d"]);
        let broken_by = ["a: Depends b | c", "b", "c", "d: Breaks b (<< 2)"];
        assert_eq!(solve_names(&broken_by, &[], &["d", "a"]).unwrap(), ["a", "c", "d"]);
        let own = ["a: Provides mta; Conflicts mta"];
        assert_eq!(solve_names(&own, &[], &["a"]).unwrap(), ["a"]);
        assert!(matches!(solve_names(&["a: Conflicts b", "b"], &[], &["a", "b"]), Err(SolveError::NoSolution { .. })));
    }

    #[test]
    fn removals_are_refused_and_upgrades_made() {
        let removal = solve_names(&["a: Conflicts b", "b"], &["b"], &["a"]);
        assert!(matches!(removal, Err(SolveError::Removal { .. })), "{removal:?}");
        let upgrade = solve_names(&["a: Depends b (>= 2)", "b 2"], &["b 1"], &["a"]);
        assert_eq!(upgrade.unwrap(), ["a", "b"]);
        assert_eq!(solve_names(&["a: Depends b", "b 2"], &["b 1"], &["a"]).unwrap(), ["a"]);
    }

    #[test]
    fn what_the_base_has_follows_where_something_moves() {
        let together = ["a: Depends b (>= 2)", "b 2", "c 2: Depends b (= 2)"];
        let base = ["b 1", "c 1: Depends b (= 1)", "d 1: Depends b"];
        assert_eq!(solve_names(&together, &base, &["a"]).unwrap(), ["a", "b", "c"]);
        let alone = ["a: Depends b (>= 2)", "b 2"];
        let error = solve_names(&alone, &base, &["a"]).unwrap_err();
        assert_eq!(error, SolveError::Removal { package: "c 1".into(), because: "a 1".into() });
        let breaks = ["a: Breaks b (<< 2)", "b 2"];
        assert_eq!(solve_names(&breaks, &["b 1"], &["a"]).unwrap(), ["a", "b"]);
        let broken = ["a: Breaks b", "b 2"];
        assert!(matches!(
            solve_names(&broken, &["b 1"], &["a"]),
            Err(SolveError::Removal { .. } | SolveError::NoSolution { .. })
        ));
        assert_eq!(solve_names(&["a 2"], &["a 1"], &["a"]).unwrap(), ["a"]);
    }

    #[test]
    fn a_failure_names_the_chain() {
        let archive = ["a: Depends b (>= 1)", "b: Pre-Depends c (>= 2) | d", "c"];
        let Err(SolveError::NoSolution { steps, named, .. }) = solve_names(&archive, &[], &["a"]) else { panic!() };
        assert_eq!(steps, ["a 1 depends on b (>= 1)", "b 1 depends on c (>= 2) | d", "c 1 is what there is"]);
        assert_eq!(named, ["a", "b", "b", "c", "d"]);
    }

    #[test]
    fn a_failure_shows_every_alternative_and_what_would_do() {
        let archive = ["a: Depends b | c", "b: Depends missing", "c: Depends b", "d", "d 2"];
        let steps = |archive: &[&str]| match solve_names(archive, &[], &["a"]) {
            Err(SolveError::NoSolution { steps, ask, .. }) => (steps, ask),
            other => panic!("{other:?}"),
        };
        let expected =
            ["a 1 depends on b | c", "b 1 depends on missing", "nothing is or provides missing", "c 1 depends on b"];
        assert_eq!(steps(&archive).0, expected);
        let older = ["a: Depends b (= 1)", "b 2", "b 1"];
        assert_eq!(
            steps(&older),
            (vec!["a 1 depends on b (= 1)".into(), "b 2 is what there is".into()], vec!["b=1".into()])
        );
    }

    #[test]
    fn what_was_tried_is_not_told_without_end() {
        let alternatives: Vec<String> = (0..200).map(|number| format!("p{number}")).collect();
        let mut archive = vec![format!("a: Depends {}", alternatives.join(" | "))];
        archive.extend(alternatives.iter().map(|name| format!("{name}: Depends missing-{name}")));
        let lines: Vec<&str> = archive.iter().map(String::as_str).collect();
        match solve_names(&lines, &[], &["a"]) {
            Err(SolveError::NoSolution { steps, .. }) => assert_eq!(steps.len(), MOST_STEPS + 1),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_a_later_request_excludes_makes_room_for_another_alternative() {
        let archive = ["a: Depends x | y", "x", "y: Depends z", "z", "b: Conflicts x"];
        assert_eq!(solve_names(&archive, &[], &["a", "b"]).unwrap(), ["a", "b", "y", "z"]);
    }

    #[test]
    fn what_the_base_has_of_one_source_moves_together() {
        let archive = ["tool 2: Source s (2)", "lib 2: Source s (2)", "other 2: Source o"];
        let base = ["lib 1: Source s (1)", "other 1: Source o"];
        assert_eq!(solve_names(&archive, &base, &["tool"]).unwrap(), ["lib", "tool"]);
    }

    #[test]
    fn what_nothing_needs_any_more_is_left_out() {
        // `junk` is planned for `first`, which then cannot be had; `second` is taken, and nothing asks for `junk`.
        let archive = ["a: Depends first | second", "first: Depends junk, broken", "junk", "second"];
        let archive = [&archive[..], &["broken: Depends none"]].concat();
        assert_eq!(solve_names(&archive, &[], &["a"]).unwrap(), ["a", "second"]);
        let wanted = [&archive[..2], &["junk", "second: Suggests junk", "broken: Depends none"]].concat();
        assert_eq!(solve_names(&wanted, &[], &["a"]).unwrap(), ["a", "junk", "second"]);
    }

    #[test]
    fn what_the_base_holds_stays() {
        let archive = ["a: Depends b (>= 2) | c", "b 2", "c", "d: Depends b (>= 2)"];
        let hold = |name: &str| format!("{name}: Status hold ok installed");
        let base = hold("b 1");
        assert_eq!(solve_names(&archive, &[&base], &["a"]).unwrap(), ["a", "c"]);
        assert!(matches!(solve_names(&archive, &[&base], &["b"]), Err(SolveError::Held { .. })));
        let Err(SolveError::NoSolution { steps, .. }) = solve_names(&archive, &[&base], &["d"]) else { panic!() };
        assert_eq!(steps[1], "b 2 would take the place of b 1, which the base holds");
        assert_eq!(solve_names(&["b"], &[&base], &["b"]).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn recommends_are_followed_when_asked_and_possible() {
        let archive = ["a: Recommends b, missing; Depends c", "b", "c"];
        assert_eq!(solve_names(&archive, &[], &["a"]).unwrap(), ["a", "c"]);
        assert_eq!(solve_with(&archive, &[], &["a"], Recommends::Follow).unwrap(), ["a", "b", "c"]);
    }

    #[test]
    fn a_circle_is_walked_once() {
        let archive = ["a: Depends b", "b: Depends c", "c: Depends a"];
        assert_eq!(solve_names(&archive, &[], &["b"]).unwrap(), ["a", "b", "c"]);
    }
}
