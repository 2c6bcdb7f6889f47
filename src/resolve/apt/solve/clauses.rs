//! Choosing by clauses, in the way of apt's 3.0 solver, which apt-get asks where its first one finds no way: what follows is
//! drawn at once, the most pressing open clause is decided by its best choice, and a contradiction takes the last choice back.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;

use super::super::error::SolveError;
use super::super::pins::source_of;
use super::super::relation::Relation;
use super::super::universe::{NameId, VersionId};
use super::heap::{make_heap, pop_heap, push_heap};
use super::plan::{By, Dependency, Kind, Mode, Plan, Which};
use super::why::{Because, Told};
use super::{priority_rank, version};

/// How many choices are taken back before it is given up.
const STEPS: usize = 20_000;

/// Something that is decided: a package, or one version of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Variable {
    Package(NameId),
    Version(VersionId),
}

pub(super) type ClauseId = usize;

/// Which clauses come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    SatisfyNew,
    Satisfy,
    SatisfyObsolete,
    SelectVersion,
    UpgradeManual,
    InstallManual,
}

/// If `reason` is there, one of the choices must be; none of them, where it is negative.
pub(super) struct Clause {
    /// Nothing: it holds in any case.
    pub(super) reason: Option<Variable>,
    group: Group,
    pub(super) choices: Vec<Variable>,
    is_optional: bool,
    pub(super) is_negative: bool,
    /// The line of a stanza that it stands for: whose, and which.
    pub(super) dependency: Option<(VersionId, usize)>,
}

/// A clause that is still open.
#[derive(Clone, Copy)]
struct Work {
    clause: ClauseId,
    depth: usize,
    /// How many choices were left.
    size: usize,
    choice: Option<Variable>,
}

/// What was decided about a variable.
#[derive(Clone, Default)]
struct Fact {
    decision: Option<bool>,
    because: Because,
    depth: usize,
    clauses: Vec<ClauseId>,
    /// The clauses of which it is a choice.
    choice_of: Vec<ClauseId>,
    is_discovered: bool,
}

/// What can be taken back.
enum Done {
    Decided(Variable),
    Worked(Work),
}

/// The last choice was wrong.
pub(super) enum Contradiction {
    /// Nothing is left of a clause that must hold.
    Open(ClauseId),
    /// A variable would have to be there and not.
    Both { variable: Variable, presence: Because, absence: Because },
}

type Outcome = Result<(), Contradiction>;

pub(super) struct Clauses<'p, 'u, 'a> {
    pub(super) plan: &'p Plan<'u, 'a>,
    facts: Vec<Fact>,
    clauses: Vec<Clause>,
    work: Vec<Work>,
    done: Vec<Done>,
    /// Where in `done` each choice was made.
    choices: Vec<usize>,
    queue: VecDeque<Variable>,
    obsolete: HashMap<NameId, bool>,
    by_source: HashMap<&'a str, Vec<VersionId>>,
    shared: HashMap<NameId, HashSet<String>>,
}

impl Plan<'_, '_> {
    /// Chooses anew what is planned, with all it needs. Where that cannot be, it says why.
    pub(super) fn choose_by_clauses(&mut self) -> Result<(), SolveError> {
        let versions = Clauses::new(self).answer()?;
        let asked: Vec<NameId> = self.planned().filter(|name| self.state(*name).mode == Mode::Install).collect();
        let gone: Vec<NameId> = self.installed.clone();
        for package in gone {
            if !versions.iter().any(|version| self.package_of(*version) == package) {
                let state = self.state_mut(package);
                (state.planned, state.mode) = (None, Mode::Delete);
            }
        }
        for version in versions {
            let package = self.package_of(version);
            self.set_candidate(version);
            let by = if asked.contains(&package) { By::User } else { By::Solver };
            self.take_candidate(package, by);
        }
        Ok(())
    }
}

impl<'p, 'u, 'a> Clauses<'p, 'u, 'a> {
    fn new(plan: &'p Plan<'u, 'a>) -> Self {
        let mut by_source: HashMap<&'a str, Vec<VersionId>> = HashMap::new();
        for id in plan.universe.all_versions() {
            by_source.entry(source_of(&plan.universe.stanza(id)).0).or_default().push(id);
        }
        let facts = plan.states.len() + plan.universe.all_versions().count();
        Self {
            plan,
            facts: vec![Fact::default(); facts],
            clauses: Vec::new(),
            work: Vec::new(),
            done: Vec::new(),
            choices: Vec::new(),
            queue: VecDeque::new(),
            obsolete: HashMap::new(),
            by_source,
            shared: HashMap::new(),
        }
    }

    fn place(&self, variable: Variable) -> usize {
        match variable {
            Variable::Package(name) => name.index(),
            Variable::Version(id) => self.plan.states.len() + id.index(),
        }
    }

    fn fact(&self, variable: Variable) -> &Fact {
        &self.facts[self.place(variable)]
    }

    fn fact_mut(&mut self, variable: Variable) -> &mut Fact {
        let place = self.place(variable);
        &mut self.facts[place]
    }

    fn package_of(&self, variable: Variable) -> NameId {
        match variable {
            Variable::Package(name) => name,
            Variable::Version(id) => self.plan.package_of(id),
        }
    }

    /// Every version that will be there.
    fn answer(mut self) -> Result<Vec<VersionId>, SolveError> {
        let begun = self.begin().map_err(|contradiction| self.tell(&contradiction));
        begun.and_then(|()| self.solve()).map_err(|told| self.describe(&told))?;
        let is_there = |id: &VersionId| self.decision(Variable::Version(*id)) == Some(true);
        Ok(self.plan.universe.all_versions().filter(is_there).collect())
    }

    pub(super) fn clause(&self, id: ClauseId) -> &Clause {
        &self.clauses[id]
    }

    pub(super) fn decision(&self, variable: Variable) -> Option<bool> {
        self.fact(variable).decision
    }

    pub(super) fn because(&self, variable: Variable) -> &Because {
        &self.fact(variable).because
    }

    /// The version that a variable is shown as: of a package the one that is there, else the candidate.
    pub(super) fn shown(&self, variable: Variable) -> Option<VersionId> {
        match variable {
            Variable::Version(id) => Some(id),
            Variable::Package(name) => {
                let mut versions = self.plan.universe.versions_of(name).iter().copied();
                let there = versions.find(|id| self.decision(Variable::Version(*id)) == Some(true));
                there.or(self.plan.state(name).candidate)
            }
        }
    }

    /// The alternatives that a clause stands for, as they are written.
    pub(super) fn group(&self, clause: ClauseId) -> Vec<Relation<'a>> {
        let group = |(owner, index): (VersionId, usize)| self.plan.dependencies(owner)[index].group.clone();
        self.clauses[clause].dependency.map(group).unwrap_or_default()
    }

    /// What is given: only candidates and what the base has, what is asked for, and what the base keeps if it can.
    fn begin(&mut self) -> Outcome {
        let universe = self.plan.universe;
        for id in universe.all_versions() {
            let package = self.plan.package_of(id);
            if self.plan.current(package) != Some(id) && self.plan.state(package).candidate != Some(id) {
                self.decide(Variable::Version(id), false, Because::Given)?;
            }
        }
        for package in universe.all_names().filter(|name| !universe.versions_of(*name).is_empty()) {
            self.begin_package(package)?;
        }
        self.propagate()
    }

    fn begin_package(&mut self, package: NameId) -> Outcome {
        let state = *self.plan.state(package);
        let current = self.plan.current(package);
        let is_held = current.is_some_and(|id| self.plan.universe.version(id).is_held);
        if let (Some(current), true, false) = (current, is_held, state.is_protected) {
            return self.decide(Variable::Version(current), true, Because::Given);
        }
        if state.mode == Mode::Delete || (current.is_none() && state.mode == Mode::Keep && state.is_protected) {
            return self.decide(Variable::Package(package), false, Because::Given);
        }
        if state.mode != Mode::Install && current.is_none() {
            return Ok(());
        }
        let universe = self.plan.universe;
        if state.is_protected || universe.is_essential(package) || universe.is_important(package) {
            return match (state.mode, state.candidate) {
                (Mode::Install, Some(candidate)) => self.decide(Variable::Version(candidate), true, Because::Given),
                _ => self.decide(Variable::Package(package), true, Because::Given),
            };
        }
        let is_newer = state.candidate != current;
        let group = if is_newer { Group::UpgradeManual } else { Group::InstallManual };
        let mut versions = universe.versions_of(package).to_vec();
        versions.sort_by(|one, other| self.order(*one, *other, package));
        for choices in [vec![Variable::Package(package)], versions.into_iter().map(Variable::Version).collect()] {
            let clause =
                Clause { reason: None, group, choices, is_optional: true, is_negative: false, dependency: None };
            let clause = self.register(clause);
            self.add_work(clause)?;
        }
        self.discover(Variable::Package(package));
        Ok(())
    }

    fn depth(&self) -> usize {
        self.choices.len()
    }

    fn decide(&mut self, variable: Variable, decision: bool, because: Because) -> Outcome {
        let depth = self.depth();
        let fact = self.fact_mut(variable);
        match fact.decision {
            Some(before) if before == decision => Ok(()),
            Some(before) => {
                let known = fact.because.clone();
                let (presence, absence) = if before { (known, because) } else { (because, known) };
                Err(Contradiction::Both { variable, presence, absence })
            }
            None => {
                (fact.decision, fact.because, fact.depth) = (Some(decision), because, depth);
                self.done.push(Done::Decided(variable));
                self.queue.push_back(variable);
                Ok(())
            }
        }
    }

    fn propagate(&mut self) -> Outcome {
        while let Some(variable) = self.queue.pop_front() {
            match self.fact(variable).decision {
                Some(true) => self.propagate_presence(variable)?,
                Some(false) => self.propagate_absence(variable)?,
                None => {}
            }
        }
        Ok(())
    }

    fn propagate_presence(&mut self, variable: Variable) -> Outcome {
        self.discover(variable);
        for clause in self.fact(variable).clauses.clone() {
            self.add_work(clause)?;
        }
        for clause in self.fact(variable).choice_of.clone() {
            let Clause { reason, is_negative, is_optional, .. } = self.clauses[clause];
            if let (Some(reason), true, false) = (reason, is_negative, is_optional) {
                self.decide(reason, false, Because::Clause(clause))?;
            }
        }
        Ok(())
    }

    fn propagate_absence(&mut self, variable: Variable) -> Outcome {
        for id in self.fact(variable).choice_of.clone() {
            let clause = &self.clauses[id];
            let Some(reason) = clause.reason.filter(|_| !clause.is_negative) else { continue };
            let decision = self.fact(reason).decision;
            if decision == Some(false) {
                continue;
            }
            let left = self.left(id);
            if left == 1 && decision == Some(true) {
                if self.clauses[id].is_optional {
                    self.add_work(id)?;
                } else {
                    for choice in self.clauses[id].choices.clone() {
                        if self.fact(choice).decision.is_none() {
                            self.decide(choice, true, Because::Clause(id))?;
                        }
                    }
                }
            } else if left == 0 && !self.clauses[id].is_optional {
                self.decide(reason, false, Because::Clause(id))?;
            }
        }
        Ok(())
    }

    /// How many choices of a clause are not ruled out.
    fn left(&self, clause: ClauseId) -> usize {
        let is_left = |choice: &&Variable| self.fact(**choice).decision != Some(false);
        self.clauses[clause].choices.iter().filter(is_left).count()
    }

    fn add_work(&mut self, id: ClauseId) -> Outcome {
        let clause = &self.clauses[id];
        if clause.is_negative {
            for choice in clause.choices.clone() {
                self.decide(choice, false, Because::Clause(id))?;
            }
            return Ok(());
        }
        if let ([only], false) = (&clause.choices[..], clause.is_optional) {
            return self.decide(*only, true, Because::Clause(id));
        }
        self.push_work(id, self.depth());
        Ok(())
    }

    fn push_work(&mut self, clause: ClauseId, depth: usize) {
        self.work.push(Work { clause, depth, size: self.left(clause), choice: None });
        push_heap(&mut self.work, &|one, other| is_less_pressing(&self.clauses, one, other));
    }

    fn register(&mut self, clause: Clause) -> ClauseId {
        let id = self.clauses.len();
        if let Some(reason) = clause.reason {
            self.fact_mut(reason).clauses.push(id);
        }
        for choice in &clause.choices {
            self.fact_mut(*choice).choice_of.push(id);
        }
        self.clauses.push(clause);
        id
    }

    /// Makes the clauses of a variable, and of all that may come with it.
    fn discover(&mut self, first: Variable) {
        let mut queue = VecDeque::from([first]);
        while let Some(mut variable) = queue.pop_front() {
            let package = Variable::Package(self.package_of(variable));
            if !self.fact(package).is_discovered {
                variable = package;
            }
            if self.fact(variable).is_discovered {
                continue;
            }
            self.fact_mut(variable).is_discovered = true;
            match variable {
                Variable::Package(name) => self.discover_package(name),
                Variable::Version(id) => self.discover_version(id),
            }
            for clause in &self.fact(variable).clauses {
                let is_open = |choice: &&Variable| {
                    let fact = self.fact(**choice);
                    fact.decision != Some(false) || fact.depth > 0
                };
                queue.extend(self.clauses[*clause].choices.iter().filter(is_open));
            }
        }
    }

    fn discover_package(&mut self, name: NameId) {
        let mut versions = self.plan.universe.versions_of(name).to_vec();
        versions.sort_by(|one, other| self.order(*one, *other, name));
        let choices = versions.iter().copied().map(Variable::Version).collect();
        let reason = Some(Variable::Package(name));
        let group = Group::SelectVersion;
        self.register(Clause { reason, group, choices, is_optional: false, is_negative: false, dependency: None });
        let Some((first, rest)) = versions.split_first() else { return };
        let texts = |id: VersionId| -> Vec<String> { self.plan.dependencies(id).iter().map(text_of).collect() };
        let others: Vec<Vec<String>> = rest.iter().map(|id| texts(*id)).collect();
        let mut shared = HashSet::new();
        for (index, dependency) in self.plan.dependencies(*first).iter().enumerate() {
            let text = text_of(dependency);
            if others.iter().all(|other| other.contains(&text)) {
                self.register_dependency((*first, index), dependency, Variable::Package(name));
                shared.insert(text);
            }
        }
        self.shared.insert(name, shared);
    }

    fn discover_version(&mut self, id: VersionId) {
        let package = self.plan.package_of(id);
        let reason = Some(Variable::Version(id));
        let choices = vec![Variable::Package(package)];
        let group = Group::SelectVersion;
        self.register(Clause { reason, group, choices, is_optional: false, is_negative: false, dependency: None });
        for other in self.plan.universe.versions_of(package).iter().filter(|other| **other != id) {
            let choices = vec![Variable::Version(*other)];
            self.register(Clause { reason, group, choices, is_optional: false, is_negative: true, dependency: None });
        }
        for (index, dependency) in self.plan.dependencies(id).iter().enumerate() {
            if !self.shared.get(&package).is_some_and(|shared| shared.contains(&text_of(dependency))) {
                self.register_dependency((id, index), dependency, Variable::Version(id));
            }
        }
    }

    fn register_dependency(&mut self, at: (VersionId, usize), dependency: &Dependency<'a>, reason: Variable) {
        let owner = at.0;
        if self.plan.is_important(dependency.kind) && !self.is_given_up(owner, dependency) {
            let choices = self.choices_of(owner, dependency);
            let packages: Vec<NameId> = choices.iter().map(|choice| self.package_of(*choice)).collect();
            let is_new = packages.iter().all(|package| self.plan.current(*package).is_none());
            let group = match packages.into_iter().any(|package| self.is_obsolete(package)) {
                true => Group::SatisfyObsolete,
                false if is_new => Group::SatisfyNew,
                false => Group::Satisfy,
            };
            let is_optional = !dependency.kind.is_critical();
            let is_negative = dependency.kind.is_negative();
            let (reason, dependency) = (Some(reason), Some(at));
            self.register(Clause { reason, group, choices, is_optional, is_negative, dependency });
        }
    }

    /// Whether the base has a recommendation that it has not followed.
    fn is_given_up(&self, owner: VersionId, dependency: &Dependency<'a>) -> bool {
        let Some(current) = self.plan.current(self.plan.package_of(owner)) else { return false };
        let Some(first) = dependency.targets.first().filter(|_| dependency.kind == Kind::Recommends) else {
            return false;
        };
        let dependencies = self.plan.dependencies(current);
        let names = |one: &Dependency<'_>| {
            one.kind == Kind::Recommends && one.targets.iter().any(|target| target.name == first.name)
        };
        dependencies.iter().any(names) && !self.plan.holds(owner, dependency, Which::Now)
    }

    /// All that a dependency hits, alternative by alternative, what the base has first.
    fn choices_of(&self, owner: VersionId, dependency: &Dependency<'a>) -> Vec<Variable> {
        let universe = self.plan.universe;
        let mut choices = Vec::new();
        for target in &dependency.targets {
            let versions = universe.versions_of(target.name);
            let admits = |id: &&VersionId| target.relation.admits(universe.version(**id).version);
            let any_will_do = !versions.is_empty() && versions.iter().all(|id| admits(&id));
            if any_will_do && !dependency.kind.is_negative() && universe.providers(target.name).is_empty() {
                choices.push(Variable::Package(target.name));
                continue;
            }
            let is_ignored = self.plan.ignores(owner, dependency.kind, target.name);
            let mut hits: Vec<VersionId> = versions.iter().filter(|_| !is_ignored).filter(admits).copied().collect();
            let providers = universe.providers(target.name).iter().filter(|provider| {
                let package = self.plan.package_of(provider.version);
                !self.plan.ignores_provider(owner, dependency.kind, target.name, package)
                    && target.relation.admits_provided(provider.provided)
            });
            hits.extend(providers.map(|provider| provider.version));
            hits.sort_by(|one, other| self.order(*one, *other, target.name));
            hits.dedup();
            choices.extend(hits.into_iter().map(Variable::Version));
        }
        choices.sort_by_key(|choice| self.plan.current(self.package_of(*choice)).is_none());
        choices
    }

    /// Which of two versions is the better choice for a name.
    fn order(&self, one: VersionId, other: VersionId, wanted: NameId) -> std::cmp::Ordering {
        let universe = self.plan.universe;
        let (left, right) = (universe.version(one), universe.version(other));
        if left.package == right.package {
            let is_current = |id| self.plan.current(left.package) == Some(id);
            let pinned = universe.priority(other).cmp(&universe.priority(one));
            let newer = version::compare(right.version, left.version);
            return is_current(other).cmp(&is_current(one)).then(pinned).then(newer);
        }
        let rank = |id: VersionId| {
            let package = self.plan.package_of(id);
            let stanza = universe.stanza(id);
            let is_installed = self.plan.current(package).is_some();
            (
                !(is_installed && stanza.multi_arch() == "same"),
                !is_installed,
                package != wanted,
                !universe.is_essential(package),
                !universe.is_important(package),
                priority_rank(stanza.priority()),
            )
        };
        let by_rank = rank(one).cmp(&rank(other));
        by_rank.then(left.name.cmp(right.name)).then(Reverse(left.package).cmp(&Reverse(right.package)))
    }

    /// Whether the source of a package has gone on without it.
    fn is_obsolete(&mut self, package: NameId) -> bool {
        if let Some(known) = self.obsolete.get(&package) {
            return *known;
        }
        let universe = self.plan.universe;
        let is_obsolete = universe.candidate(package).is_none_or(|candidate| {
            let (source, at) = source_of(&universe.stanza(candidate));
            let priority = universe.priority(candidate);
            self.by_source.get(source).into_iter().flatten().any(|other| {
                let (_, other_at) = source_of(&universe.stanza(*other));
                self.plan.package_of(*other) != package
                    && version::compare(other_at, at).is_gt()
                    && universe.priority(*other) >= priority
            })
        });
        self.obsolete.insert(package, is_obsolete);
        is_obsolete
    }

    fn solve(&mut self) -> Result<(), Rc<[Told]>> {
        let mut steps = STEPS;
        loop {
            while let Err(contradiction) = self.propagate() {
                self.take_back(&contradiction, &mut steps)?;
            }
            let Some(work) = pop_heap(&mut self.work, &|one, other| is_less_pressing(&self.clauses, one, other)) else {
                return Ok(());
            };
            self.done.push(Done::Worked(work));
            let clause = &self.clauses[work.clause];
            if clause.choices.iter().any(|choice| self.decision(*choice) == Some(true)) {
                continue;
            }
            let open = clause.choices.iter().find(|choice| self.decision(**choice) != Some(false)).copied();
            let decided = match open {
                Some(choice) if work.size > 1 || clause.is_optional => {
                    self.choices.push(self.done.len());
                    self.done.push(Done::Worked(Work { choice: Some(choice), ..work }));
                    self.decide(choice, true, Because::Choice(work.clause))
                }
                Some(only) => self.decide(only, true, Because::Clause(work.clause)),
                None if clause.is_optional => Ok(()),
                None => Err(Contradiction::Open(work.clause)),
            };
            if let Err(contradiction) = decided {
                self.take_back(&contradiction, &mut steps)?;
            }
        }
    }

    /// Takes the last choice back, and rules it out for what came of it. Where there is none left, that is the answer.
    fn take_back(&mut self, contradiction: &Contradiction, steps: &mut usize) -> Result<(), Rc<[Told]>> {
        let told = self.tell(contradiction);
        let Some(start) = self.choices.last().copied().filter(|_| *steps > 0) else { return Err(told) };
        *steps -= 1;
        let Some(Done::Worked(Work { choice: Some(choice), .. })) = self.done.get(start) else { return Err(told) };
        let choice = *choice;
        while self.done.len() > start {
            match self.done.pop() {
                Some(Done::Decided(variable)) => {
                    let fact = self.fact_mut(variable);
                    (fact.decision, fact.because, fact.depth) = (None, Because::Given, 0);
                }
                Some(Done::Worked(work)) => self.push_work(work.clause, work.depth),
                None => {}
            }
        }
        self.choices.pop();
        let depth = self.depth();
        // What only the choice that is gone had brought up.
        self.work.retain(|work| work.depth <= depth);
        make_heap(&mut self.work, &|one, other| is_less_pressing(&self.clauses, one, other));
        self.decide(choice, false, Because::Tried(told.clone())).map_err(|_| told)
    }
}

fn text_of(dependency: &Dependency<'_>) -> String {
    format!("{:?} {}", dependency.kind, super::show(&dependency.group))
}

/// Whether one open clause comes after another.
fn is_less_pressing(clauses: &[Clause], one: &Work, other: &Work) -> bool {
    let (left, right) = (&clauses[one.clause], &clauses[other.clause]);
    let is_unit = |work: &Work, clause: &Clause| !clause.is_optional && work.size < 2;
    if is_unit(one, left) != is_unit(other, right) {
        return is_unit(other, right);
    }
    if left.is_optional != right.is_optional {
        return left.is_optional;
    }
    if left.group != right.group {
        return left.group > right.group;
    }
    if (one.size < 2) != (other.size < 2) {
        return other.size < 2;
    }
    one.size == 1 && other.size == 1 && left.choices.len() < right.choices.len()
}
