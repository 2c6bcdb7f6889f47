//! Which packages are needed, as apt-get chooses them: its own resolver first (`plan`, `mark`, `repair`, `sweep`), and where that
//! finds no way the one that it falls back on since 3.0 (`clauses`). What would remove something of the base is refused.
//!
//! The behaviour is that of apt 3.0, read in its source and compared by answers (tests/parity_apt.rs), down to the order of
//! alternatives; no line is taken from it. Where there is no answer, what the clauses decided says why (`why`).

mod clauses;
mod heap;
mod mark;
mod plan;
mod repair;
mod sweep;
mod switch;
mod why;

use super::error::SolveError;
use super::relation::Relation;
use super::universe::{NameId, Universe, VersionId};
use super::version;
use crate::manifest::Recommends;
use mark::Reach;
use plan::{By, Plan, Which};
pub(super) use switch::Switch;

/// As deep as apt follows dependencies.
const MAXIMUM_DEPTH: usize = 3000;

/// Finds everything that `requests` need and the base has not, themselves included, sorted by name.
///
/// First as apt's own resolver does it: everything asked for is planned, then its needs one after the other, then what is
/// broken is mended. Where that finds no way, by clauses, as apt does since 3.0.
pub(super) fn solve(
    universe: &Universe<'_>,
    requests: &[VersionId],
    recommends: Recommends,
) -> Result<Vec<VersionId>, SolveError> {
    for request in requests {
        check_request(universe, *request)?;
    }
    let mut plan = Plan::with_requests(universe, requests, recommends);
    let before = plan.states.clone();
    let asked: Vec<NameId> = requests.iter().map(|request| plan.package_of(*request)).collect();
    for package in &asked {
        plan.mark_install(*package, Reach::WithNeeds, By::User, 0);
    }
    if !plan.repair(&asked) {
        plan.states = before;
        plan.choose_by_clauses()?;
    }
    plan.sweep();
    let mut chosen = check_plan(&plan, requests)?;
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

/// Refuses what must not be asked for on this base.
fn check_request(universe: &Universe<'_>, request: VersionId) -> Result<(), SolveError> {
    check_replaces_nothing(universe, request)?;
    let installed = universe.installed(universe.version(request).package);
    match installed.filter(|installed| *installed != request && universe.version(*installed).is_held) {
        Some(held) => Err(SolveError::Held { package: universe.label(held), wanted: universe.label(request) }),
        None => Ok(()),
    }
}

/// What is new in a plan, unless something of the base had to go or to become older for it.
fn check_plan(plan: &Plan<'_, '_>, requests: &[VersionId]) -> Result<Vec<VersionId>, SolveError> {
    let universe = plan.universe;
    let planned: Vec<VersionId> = plan.planned().filter_map(|name| plan.state(name).planned).collect();
    for package in &plan.installed {
        if let (Some(current), None) = (plan.current(*package), plan.state(*package).planned) {
            let against = |id: &&VersionId| {
                let dependencies = plan.dependencies(**id);
                let mut negative = dependencies.iter().filter(|one| one.kind.is_negative());
                negative.any(|one| {
                    one.targets.iter().any(|target| plan.hits(**id, one.kind, target, Which::Now).contains(&current))
                })
            };
            let because = planned.iter().find(against).or(requests.first());
            let because = because.map(|id| universe.label(*id)).unwrap_or_default();
            return Err(SolveError::Removal { package: universe.label(current), because });
        }
    }
    let is_new = |id: &VersionId| plan.current(plan.package_of(*id)) != Some(*id);
    let chosen: Vec<VersionId> = planned.into_iter().filter(is_new).collect();
    chosen.iter().try_for_each(|id| check_replaces_nothing(universe, *id))?;
    Ok(chosen)
}

/// Refuses a version that would take the place of a newer one in the base image.
fn check_replaces_nothing(universe: &Universe<'_>, id: VersionId) -> Result<(), SolveError> {
    let version = universe.version(id);
    match universe.installed(version.package) {
        Some(installed) if installed != id && !universe.is_later(id, installed) => Err(SolveError::Downgrade {
            package: version.name.to_owned(),
            installed: universe.version(installed).version.to_owned(),
            wanted: version.version.to_owned(),
        }),
        _ => Ok(()),
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
    fn a_failure_shows_both_ways_to_what_excludes_each_other() {
        let told = |archive: &[&str], requests: &[&str]| match solve_names(archive, &[], requests) {
            Err(SolveError::NoSolution { steps, named, .. }) => (steps, named),
            other => panic!("{other:?}"),
        };
        let archive = ["a: Depends b", "b: Conflicts d", "c: Depends d", "d"];
        let (steps, named) = told(&archive, &["a", "c"]);
        assert_eq!(steps, ["a 1 depends on b", "c 1 depends on d", "b 1 conflicts with d 1"]);
        assert_eq!(named, ["a", "b", "c", "d", "b", "d"]);
        // Of two alternatives, the second is told of too, but it is the first that is spoken of.
        let archive = ["a: Depends b | e", "b: Conflicts c", "c", "e: Depends missing"];
        let (steps, named) = told(&archive, &["a", "c"]);
        let expected = [
            "a 1 depends on b | e",
            "b 1 conflicts with c 1",
            "e 1 depends on missing",
            "nothing is or provides missing",
        ];
        assert_eq!(steps, expected);
        assert_eq!(named, ["a", "b", "e", "b", "c"]);
        let archive = ["a: Depends v (= 1)", "v 2", "v 1", "c: Depends v (= 2)"];
        assert_eq!(told(&archive, &["a", "c"]).0, ["a 1 depends on v (= 1)", "v 2 is what there is"]);
    }

    #[test]
    fn what_was_tried_is_not_told_without_end() {
        let alternatives: Vec<String> = (0..200).map(|number| format!("p{number}")).collect();
        let mut archive = vec![format!("a: Depends {}", alternatives.join(" | "))];
        archive.extend(alternatives.iter().map(|name| format!("{name}: Depends missing-{name}")));
        let lines: Vec<&str> = archive.iter().map(String::as_str).collect();
        match solve_names(&lines, &[], &["a"]) {
            Err(SolveError::NoSolution { steps, .. }) => assert_eq!(steps.len(), why::MOST_LINES),
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
