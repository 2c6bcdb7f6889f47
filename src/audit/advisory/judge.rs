//! Pins and advisories → which pin is affected, which is not, and which could not be judged.

use std::collections::{BTreeMap, BTreeSet};

use super::evaluate::{Verdict, evaluate};
use super::fetch::DataSet;
use super::group::{Group, groups};
use super::record::{Entry, Package, ecosystem_of};
use crate::audit::{Finding, Level, Rule, not_audited};
use crate::base::text::{count, sanitize};
use crate::lock::{Lockfile, PinView, PipBuildPin, PipPin};
use crate::model::{Ecosystem, Platform};
use crate::store::StoreError;

/// A known vulnerability.
pub static ADVISORY: Rule = Rule {
    id: "advisory",
    level: Level::Error,
    title: "a known vulnerability",
    help: "Update the package to a version that has the fix. When it does not touch you, or there is no fix yet, a waiver says so with a reason and an end.",
};

const DAY: i64 = 86_400;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct AdvisoryRequest<'a> {
    /// The pins.
    pub lock: &'a Lockfile,
    /// The data.
    pub data: &'a [DataSet],
    /// How many days may have passed since the newest advisory of an ecosystem was modified.
    pub max_age_days: u32,
    /// How grave a vulnerability is that no version fixes.
    pub unfixed: Unfixed,
    /// This moment in seconds since 1970.
    pub now: i64,
}

/// How grave a vulnerability is that no version fixes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unfixed {
    /// As grave as any other.
    #[default]
    Error,
    /// A warning.
    Warning,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    /// Vulnerabilities and gaps.
    pub findings: Vec<Finding>,
    /// Each pin's state, in the lockfile's order.
    pub pins: Vec<PinState>,
    /// Each ecosystem's, in its order.
    pub ecosystems: Vec<EcosystemState>,
    /// Other names of what findings are about: `(pip:requests GHSA-…, pip:requests CVE-…)`.
    pub synonyms: Vec<(String, String)>,
}

/// What is known about a pin.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PinState {
    /// Its ecosystem.
    pub ecosystem: Ecosystem,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The platform it is for.
    pub platform: Platform,
    /// Whether it is affected.
    pub state: State,
    /// By which advisories.
    pub advisories: Vec<String>,
    /// Why it was not audited.
    pub why: Vec<String>,
}

/// One of three answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// An advisory speaks of this version.
    Affected,
    /// All advisories of its ecosystem were looked at, and none speaks of this version.
    NotAffected,
    /// Not known.
    NotAudited,
}

/// The pins of an ecosystem in numbers.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct EcosystemState {
    /// The ecosystem.
    pub ecosystem: Ecosystem,
    /// Pins that are affected.
    pub affected: usize,
    /// Pins that are not.
    pub not_affected: usize,
    /// Pins of which it is not known.
    pub not_audited: usize,
    /// Advisories that there are for the ecosystem.
    pub advisories: u64,
    /// When the newest of them was modified, in seconds since 1970.
    pub newest: Option<i64>,
    /// Why the whole ecosystem was not audited.
    pub why: Vec<String>,
}

/// Judges every pin of a lockfile.
///
/// # Errors
/// When the store is damaged or cannot be read.
pub fn judge(request: &AdvisoryRequest<'_>) -> Result<Judged, StoreError> {
    let questions: Vec<Question<'_>> = questions(request.lock);
    let wanted: BTreeSet<Package> = questions.iter().flat_map(|question| question.packages.clone()).collect();
    let mut entries: BTreeMap<Package, Vec<Entry>> = BTreeMap::new();
    for set in request.data {
        let Ok(index) = &set.index else { continue };
        for (package, found) in index.entries(&wanted)? {
            entries.entry(package).or_default().extend(found);
        }
    }
    let mut judged = Judged::default();
    for ecosystem in Ecosystem::ALL {
        let own: Vec<&Question<'_>> = questions.iter().filter(|question| question.pin.ecosystem == ecosystem).collect();
        if !own.is_empty() {
            judge_ecosystem(request, ecosystem, &own, &entries, &mut judged);
        }
    }
    Ok(judged)
}

/// What advisories are asked about a pin.
struct Question<'a> {
    pin: PinView<'a>,
    /// The package in every scope that may speak of it; none where no scope does.
    packages: Vec<Package>,
    /// The name and version that advisories mean: those of the source package for Debian.
    name: &'a str,
    version: &'a str,
    suite: Option<&'a str>,
}

fn questions(lock: &Lockfile) -> Vec<Question<'_>> {
    let apt = lock.apt.iter().map(|pin| {
        let name = pin.source_package.as_str();
        let scopes = release(&pin.suite).map(|number| [format!("Debian:{number}"), "Debian".to_owned()]);
        let packages = scopes.iter().flatten().filter_map(|scope| Package::new(scope, name)).collect();
        Question { pin: pin.view(), packages, name, version: pin.source_version.as_str(), suite: Some(&pin.suite) }
    });
    let plain = |pin: PinView<'_>, scope: &str| Package::new(scope, pin.name.as_str()).into_iter().collect();
    let npm = lock.npm.iter().map(|pin| Question {
        packages: plain(pin.view(), "npm"),
        pin: pin.view(),
        name: pin.name.as_str(),
        version: pin.version.as_str(),
        suite: None,
    });
    // What builds a package has a say in what is in it.
    let builds = lock.pip_builds.iter().map(PipBuildPin::view);
    let pip = lock.pip.iter().map(PipPin::view).chain(builds).map(|pin| Question {
        packages: plain(pin, "PyPI"),
        pin,
        name: pin.name.as_str(),
        version: pin.version.as_str(),
        suite: None,
    });
    apt.chain(npm).chain(pip).collect()
}

/// The number of the Debian release that a suite belongs to.
fn release(suite: &str) -> Option<u32> {
    let codename = suite.split('-').next().unwrap_or(suite);
    Some(match codename {
        "buster" => 10,
        "bullseye" => 11,
        "bookworm" => 12,
        "trixie" => 13,
        "forky" => 14,
        "duke" => 15,
        _ => return None,
    })
}

fn judge_ecosystem(
    request: &AdvisoryRequest<'_>,
    ecosystem: Ecosystem,
    questions: &[&Question<'_>],
    entries: &BTreeMap<Package, Vec<Entry>>,
    judged: &mut Judged,
) {
    let mut state = EcosystemState {
        ecosystem,
        affected: 0,
        not_affected: 0,
        not_audited: 0,
        advisories: 0,
        newest: None,
        why: Vec::new(),
    };
    state.why = gaps(request, questions, &mut state);
    let mut by_name: BTreeMap<&str, Vec<(&Question<'_>, Answer)>> = BTreeMap::new();
    for question in questions {
        let about: Vec<&Entry> =
            question.packages.iter().filter_map(|package| entries.get(package)).flatten().collect();
        let answer = answer(question, &about);
        let pin = pin_state(question.pin, &answer, &state.why);
        match pin.state {
            State::Affected => state.affected += 1,
            State::NotAffected => state.not_affected += 1,
            State::NotAudited => state.not_audited += 1,
        }
        judged.pins.push(pin);
        by_name.entry(question.name).or_default().push((question, answer));
    }
    if !state.why.is_empty() {
        let what = format!("{} of {ecosystem} not audited for advisories", count(questions.len(), "pin"));
        judged.findings.push(not_audited(format!("advisories {ecosystem}"), &what, &state.why));
    }
    for (name, answers) in by_name {
        judge_package(ecosystem, name, &answers, request.unfixed, judged);
    }
    judged.ecosystems.push(state);
}

/// Why an ecosystem as a whole cannot be audited; notes on the way how much data there is.
fn gaps(request: &AdvisoryRequest<'_>, questions: &[&Question<'_>], state: &mut EcosystemState) -> Vec<String> {
    let mut why = Vec::new();
    let ecosystem = state.ecosystem;
    if request.data.is_empty() {
        return vec!["no advisory data is named, neither with `--advisories` nor in `[policy]`".to_owned()];
    }
    let mut scopes = BTreeSet::new();
    for set in request.data.iter().filter(|set| set.ecosystem.is_none_or(|about| about == ecosystem)) {
        match &set.index {
            Err(error) => why.push(sanitize(&format!("{}: {error}", set.place))),
            Ok(index) => {
                for (scope, holding) in
                    index.scopes().iter().filter(|(scope, _)| ecosystem_of(scope) == Some(ecosystem))
                {
                    scopes.insert(scope.as_str());
                    state.advisories += holding.advisories;
                    state.newest = state.newest.max(Some(holding.newest));
                }
            }
        }
    }
    if let Some(newest) = state.newest {
        why.extend(staleness(newest, request));
    }
    for suite in questions.iter().filter_map(|question| question.suite).collect::<BTreeSet<_>>() {
        if release(suite).is_none() {
            why.push(format!("the Debian release of the suite `{suite}` is not known"));
        }
    }
    let mut missing: BTreeSet<&str> = BTreeSet::new();
    for question in questions.iter().filter(|question| !question.packages.is_empty()) {
        if !question.packages.iter().any(|package| scopes.contains(package.scope.as_str())) {
            missing.extend(question.packages.first().map(|package| package.scope.as_str()));
        }
    }
    why.extend(missing.into_iter().map(|scope| format!("the data holds no advisories for `{scope}`")));
    why
}

fn staleness(newest: i64, request: &AdvisoryRequest<'_>) -> Option<String> {
    let date = jiff::Timestamp::from_second(newest).map(|moment| moment.strftime("%Y-%m-%d").to_string());
    let date = date.unwrap_or_default();
    let days = (request.now - newest).div_euclid(DAY);
    if days < -1 {
        return Some(format!("the newest advisory is dated {date}, which is after this machine's clock"));
    }
    let most = i64::from(request.max_age_days);
    (days > most).then(|| format!("the newest advisory is of {date}, {days} days ago; {} are allowed", most))
}

/// The advisories that concern a pin, and those that cannot be judged.
struct Answer {
    affected: Vec<(Entry, Option<String>)>,
    unknown: Vec<String>,
}

fn answer(question: &Question<'_>, entries: &[&Entry]) -> Answer {
    let mut by_id: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        by_id.entry(entry.id.as_str()).or_default().push(entry);
    }
    let mut answer = Answer { affected: Vec::new(), unknown: Vec::new() };
    for (id, entries) in by_id {
        match evaluate(entries.iter().copied(), question.pin.ecosystem, question.version) {
            Verdict::Affected { fixed } => answer.affected.push((entries[0].clone(), fixed)),
            Verdict::Unknown(why) => answer.unknown.push(sanitize(&format!("{id}: {why}"))),
            Verdict::NotAffected => {}
        }
    }
    answer
}

fn pin_state(pin: PinView<'_>, answer: &Answer, gaps: &[String]) -> PinState {
    let why: Vec<String> = gaps.iter().chain(&answer.unknown).cloned().collect();
    let state = match (answer.affected.is_empty(), why.is_empty()) {
        (false, _) => State::Affected,
        (true, false) => State::NotAudited,
        (true, true) => State::NotAffected,
    };
    PinState {
        ecosystem: pin.ecosystem,
        name: pin.name.to_string(),
        version: pin.version.to_string(),
        platform: pin.platform,
        state,
        advisories: answer.affected.iter().map(|(entry, _)| sanitize(&entry.id)).collect(),
        why,
    }
}

/// The findings about all pins of one package, one for each vulnerability.
fn judge_package(
    ecosystem: Ecosystem,
    name: &str,
    answers: &[(&Question<'_>, Answer)],
    unfixed: Unfixed,
    judged: &mut Judged,
) {
    let affected = answers.iter().flat_map(|(question, answer)| {
        answer.affected.iter().map(move |(entry, fixed)| (question.version, entry, fixed.as_deref()))
    });
    for group in groups(affected) {
        let subject = format!("{ecosystem}:{name} {}", group.id);
        let synonyms = group.other_names.iter().map(|other| (format!("{ecosystem}:{name} {other}"), subject.clone()));
        judged.synonyms.extend(synonyms);
        let pins: Vec<PinView<'_>> = answers
            .iter()
            .filter(|(question, _)| group.versions.contains(question.version))
            .map(|(question, _)| question.pin)
            .collect();
        judged.findings.push(finding(ecosystem, name, &subject, &group, &pins, unfixed));
    }
    let unknown: BTreeSet<String> = answers.iter().flat_map(|(_, answer)| answer.unknown.clone()).collect();
    if !unknown.is_empty() {
        let why: Vec<String> = unknown.into_iter().collect();
        let what = format!("{ecosystem}:{name} not audited for some advisories");
        judged.findings.push(not_audited(format!("advisories {ecosystem}:{name}"), &what, &why));
    }
}

fn finding(
    ecosystem: Ecosystem,
    name: &str,
    subject: &str,
    group: &Group,
    pins: &[PinView<'_>],
    unfixed: Unfixed,
) -> Finding {
    let versions = group.versions.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let about = if group.summary.is_empty() { String::new() } else { format!(": {}", group.summary) };
    let message = sanitize(&format!("{ecosystem}:{name} {versions} has {}{about}", group.id));
    let names: BTreeSet<String> = pins.iter().map(|pin| format!("{ecosystem}:{}", pin.name)).collect();
    let line = |label: &str, text: &str| format!("{label:>10}  {}", sanitize(text));
    let mut evidence = Vec::new();
    if !group.severity.is_empty() {
        evidence.push(line("severity", &group.severity.join(", ")));
    }
    if !group.other_names.is_empty() {
        evidence.push(line("also", &group.other_names.join(", ")));
    }
    if ecosystem == Ecosystem::Apt {
        evidence.push(line("installed", &names.iter().cloned().collect::<Vec<_>>().join(", ")));
    }
    match group.fixed.is_empty() {
        true => evidence.push(line("fixed in", "no version that the advisory names")),
        false => {
            evidence.push(line("fixed in", &group.fixed.join(", ")));
            evidence.push(line("to do", &format!("oclock update {}", names.into_iter().collect::<Vec<_>>().join(" "))));
        }
    }
    let level = match unfixed {
        Unfixed::Warning if group.fixed.is_empty() => Level::Warning,
        _ => Level::Error,
    };
    Finding { evidence, level, ..Finding::new(&ADVISORY, subject, message) }
}
