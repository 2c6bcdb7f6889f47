//! Why there is no answer: the way from what is asked for to what is missing or excluded, read from what the clauses decided.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::super::error::SolveError;
use super::super::relation::Relation;
use super::super::universe::{Universe, VersionId};
use super::super::version;
use super::clauses::{Clause, ClauseId, Clauses, Contradiction, Variable};

/// As many lines as are told.
pub(super) const MOST_LINES: usize = 40;

/// Why a variable is decided as it is.
#[derive(Clone, Default)]
pub(super) enum Because {
    /// It is asked for, or it is no candidate.
    #[default]
    Given,
    /// It follows.
    Clause(ClauseId),
    /// It is the choice that was made for a clause.
    Choice(ClauseId),
    /// It was chosen, and that led to a contradiction.
    Tried(Rc<[Told]>),
}

/// One thing to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// A version has this clause among its needs.
    Needs(VersionId, ClauseId),
    /// Nothing answers a need.
    Missing(ClauseId),
    /// The first says that the second must not be there.
    Excludes(VersionId, VersionId),
    /// The first would take the place of the second, which is to stay.
    TakesPlace(VersionId, VersionId),
}

/// A line, and whether it is about the first choice rather than what was tried instead.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    line: Line,
    is_first_choice: bool,
}

impl Clauses<'_, '_, '_> {
    /// The way to a contradiction.
    pub(super) fn tell(&self, contradiction: &Contradiction) -> Rc<[Told]> {
        let mut telling = Telling { clauses: self, told: Vec::new(), is_first_choice: true, absent: BTreeMap::new() };
        match contradiction {
            Contradiction::Open(clause) => telling.absence_of_reason(*clause),
            Contradiction::Both { variable, presence, absence } => telling.both(*variable, presence, absence),
        }
        telling.told.into()
    }

    pub(super) fn describe(&self, told: &[Told]) -> SolveError {
        let (mut steps, mut named, mut ask) = (Vec::new(), Vec::new(), BTreeSet::new());
        let universe = self.plan.universe;
        for Told { line, is_first_choice } in told {
            let mut names: Vec<&str> = Vec::new();
            steps.push(match *line {
                Line::Needs(owner, clause) => {
                    let group = self.group(clause);
                    names.push(universe.version(owner).name);
                    names.extend(group.iter().map(|relation| relation.name));
                    format!("{} depends on {}", universe.label(owner), super::show(&group))
                }
                Line::Missing(clause) => {
                    let group = self.group(clause);
                    ask.extend(other_version(universe, &group));
                    describe_missing(universe, &group)
                }
                Line::Excludes(owner, other) => {
                    names.extend([universe.version(owner).name, universe.version(other).name]);
                    format!("{} conflicts with {}", universe.label(owner), universe.label(other))
                }
                Line::TakesPlace(wanted, held) => {
                    names.push(universe.version(wanted).name);
                    let (wanted, held) = (universe.label(wanted), universe.label(held));
                    format!("{wanted} would take the place of {held}, which the base holds")
                }
            });
            if *is_first_choice {
                named.extend(names.into_iter().map(str::to_owned));
            }
        }
        SolveError::NoSolution { steps, named, ask: ask.into_iter().collect() }
    }
}

struct Telling<'c, 'p, 'u, 'a> {
    clauses: &'c Clauses<'p, 'u, 'a>,
    told: Vec<Told>,
    is_first_choice: bool,
    /// What was told of already, and whether there was something to tell.
    absent: BTreeMap<Variable, bool>,
}

/// A step to a variable that is there: it, the clause that brought it, and whether nothing else was left of that.
type Step = (Variable, ClauseId, bool);

impl Telling<'_, '_, '_, '_> {
    /// Says whether the line is new.
    fn line(&mut self, line: Line) -> bool {
        let is_new = self.told.len() < MOST_LINES && !self.told.iter().any(|told| told.line == line);
        if is_new {
            self.told.push(Told { line, is_first_choice: self.is_first_choice });
        }
        is_new
    }

    fn both(&mut self, variable: Variable, presence: &Because, absence: &Because) {
        if let Because::Clause(clause) = absence
            && self.clauses.clause(*clause).is_negative
        {
            self.exclusion(*clause, variable, Some(presence));
            return;
        }
        let way = self.presence(variable, presence);
        if let (false, Some((_, last, _))) = (self.absence(variable, absence), way.last()) {
            self.line(Line::Missing(*last));
        }
        self.rest_of(&way);
    }

    /// Tells the way from what is asked for to a variable that is there: each package with the need that brought the next.
    fn presence(&mut self, variable: Variable, because: &Because) -> Vec<Step> {
        let mut way = Vec::new();
        let (mut at, mut because) = (variable, because);
        while let Because::Clause(clause) | Because::Choice(clause) = because
            && let Some(reason) = self.clauses.clause(*clause).reason
            && way.len() < MOST_LINES
        {
            if self.clauses.clause(*clause).dependency.is_some() {
                way.push((at, *clause, matches!(because, Because::Clause(_))));
            }
            (at, because) = (reason, self.clauses.because(reason));
        }
        way.reverse();
        for (taken, clause, _) in &way {
            self.need(*clause);
            let choices = self.clauses.clause(*clause).choices.iter();
            for choice in choices.take_while(|choice| **choice != *taken) {
                self.tried(*choice);
            }
        }
        way
    }

    /// Tells why what comes after what was taken did not do either, where nothing else was left.
    fn rest_of(&mut self, way: &[Step]) {
        let is_first_choice = std::mem::take(&mut self.is_first_choice);
        for (taken, clause, _) in way.iter().filter(|(.., is_forced)| *is_forced) {
            let choices = self.clauses.clause(*clause).choices.iter();
            choices.skip_while(|choice| **choice != *taken).skip(1).for_each(|choice| _ = self.tried(*choice));
        }
        self.is_first_choice = is_first_choice;
    }

    fn presence_of(&mut self, variable: Variable) -> Vec<Step> {
        match self.clauses.decision(variable) {
            Some(true) => self.presence(variable, self.clauses.because(variable)),
            _ => Vec::new(),
        }
    }

    fn need(&mut self, clause: ClauseId) -> bool {
        let owner = self.clauses.clause(clause).reason.and_then(|reason| self.clauses.shown(reason));
        owner.is_some_and(|owner| self.line(Line::Needs(owner, clause)))
    }

    /// Tells why a choice is ruled out, and says whether there is something to tell. What comes after it is about another
    /// choice.
    fn tried(&mut self, choice: Variable) -> bool {
        let is_told = self.clauses.decision(choice) == Some(false) && self.absence_of(choice);
        self.is_first_choice &= !is_told;
        is_told
    }

    fn absence_of(&mut self, variable: Variable) -> bool {
        if let Some(is_told) = self.absent.get(&variable) {
            return *is_told;
        }
        // What comes back to it while it is being told of has something to tell.
        self.absent.insert(variable, true);
        let is_told = self.told.len() == MOST_LINES || self.absence(variable, self.clauses.because(variable));
        self.absent.insert(variable, is_told);
        is_told
    }

    /// Tells why a variable is not there, and says whether there is something to tell.
    fn absence(&mut self, variable: Variable, because: &Because) -> bool {
        match because {
            Because::Given | Because::Choice(_) => false,
            Because::Tried(told) => {
                let is_first_choice = self.is_first_choice;
                for told in told.iter() {
                    self.is_first_choice = is_first_choice && told.is_first_choice;
                    self.line(told.line);
                }
                self.is_first_choice = is_first_choice;
                true
            }
            Because::Clause(clause) if self.clauses.clause(*clause).is_negative => {
                self.exclusion(*clause, variable, None)
            }
            Because::Clause(clause) if self.clauses.clause(*clause).dependency.is_some() => {
                self.absence_of_reason(*clause);
                true
            }
            Because::Clause(clause) => {
                let mut is_told = false;
                for choice in &self.clauses.clause(*clause).choices {
                    is_told |= self.absence_of(*choice);
                }
                is_told
            }
        }
    }

    /// Tells why what has a need cannot be there: all choices are ruled out, or there is none.
    fn absence_of_reason(&mut self, clause: ClauseId) {
        let Some(reason) = self.clauses.clause(clause).reason else { return };
        let is_first_choice = self.is_first_choice;
        let way = self.presence_of(reason);
        if self.need(clause) {
            let mut is_told = false;
            for choice in &self.clauses.clause(clause).choices {
                is_told |= self.tried(*choice);
            }
            if !is_told {
                self.line(Line::Missing(clause));
            }
        }
        self.rest_of(&way);
        self.is_first_choice = is_first_choice;
    }

    /// Tells why a variable cannot be there beside another one, and says whether there is something to tell. The variable's own
    /// way is told too, where there is one.
    fn exclusion(&mut self, clause: ClauseId, variable: Variable, presence: Option<&Because>) -> bool {
        let Clause { reason, choices, dependency, .. } = self.clauses.clause(clause);
        let is_present = |choice: &&Variable| self.clauses.decision(**choice) == Some(true);
        let other = if *reason == Some(variable) { choices.iter().find(is_present).copied() } else { *reason };
        let Some(other) = other else { return false };
        let (owner, target) = if *reason == Some(variable) { (variable, other) } else { (other, variable) };
        let way_of = |telling: &mut Self, one: Variable| match presence.filter(|_| one == variable) {
            Some(because) => telling.presence(one, because),
            None => telling.presence_of(one),
        };
        let ways = [owner, target].map(|one| way_of(self, one));
        let mut is_told = ways.iter().any(|way| !way.is_empty());
        let shown = |one| self.clauses.shown(one);
        if let (Some(owner), Some(target), true) = (shown(owner), shown(target), dependency.is_some()) {
            self.line(Line::Excludes(owner, target));
            is_told = true;
        } else if let (Some(wanted), Some(there)) = (shown(variable), shown(other))
            && self.clauses.plan.universe.version(there).is_held
        {
            self.line(Line::TakesPlace(wanted, there));
            is_told = true;
        }
        ways.iter().for_each(|way| self.rest_of(way));
        is_told
    }
}

/// What there is instead of what a group wants.
fn describe_missing(universe: &Universe<'_>, group: &[Relation<'_>]) -> String {
    let candidates = group.iter().filter_map(|relation| universe.candidate(universe.id(relation.name)?));
    let candidates: Vec<String> = candidates.map(|id| universe.label(id)).collect();
    match candidates.as_slice() {
        [] => format!("nothing is or provides {}", super::show(group)),
        [one] => format!("{one} is what there is"),
        several => format!("{} are what there is", several.join(" and ")),
    }
}

/// The request for a version that would do and that is not taken by itself.
fn other_version(universe: &Universe<'_>, group: &[Relation<'_>]) -> Option<String> {
    let others = group.iter().flat_map(|relation| {
        let versions = universe.id(relation.name).map(|name| universe.versions_of(name)).unwrap_or_default();
        versions.iter().map(|id| universe.version(*id)).filter(|other| relation.admits(other.version))
    });
    let newest = others.max_by(|one, other| version::compare(one.version, other.version))?;
    Some(format!("{}={}", newest.name, newest.version))
}
