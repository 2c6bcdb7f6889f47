//! What a change of a lockfile puts at risk: findings of two locks, gravest first.
//!
//! It judges from the two locks, and from the two manifests where they are at hand. It fetches and reads nothing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::finding::{Finding, FindingPlace, Level, Rule};
use super::lock_rules::*;
use super::policy::POLICY_AGE;
use super::unasked::unasked;
use crate::base::text::count;
use crate::lock::{
    AptPin, Asked, Asker, Askers, BasePin, Direction, LockDiff, LockLines, Lockfile, NpmPin, PinChange, PinDiff,
    PinKey, PinSide, PinView, PipBuildPin, PipPin,
};
use crate::manifest::Manifest;
use crate::model::{Ecosystem, PackageName, Platform, Sha256};

const DAY: i64 = 86_400;

/// Two locks and what else is known of them.
#[derive(Clone, Copy, Debug)]
pub struct LockChange<'a> {
    /// The lock that was.
    pub old: &'a Lockfile,
    /// The lock that is.
    pub new: &'a Lockfile,
    /// How they differ.
    pub diff: &'a LockDiff,
    /// The manifest that `old` answered, where it is known.
    pub old_manifest: Option<&'a Manifest>,
    /// The manifest that `new` answers, where it is known.
    pub new_manifest: Option<&'a Manifest>,
    /// The npm packages whose install scripts may run now, where that is known.
    pub approved: Option<&'a BTreeSet<PackageName>>,
    /// Oldest age in days that a release must have, where the policy says it.
    pub min_age_days: Option<u32>,
    /// This moment in seconds since 1970, which age is counted to.
    pub now: i64,
    /// Where things stand in the new lock's text.
    pub lines: &'a LockLines<'a>,
    /// What the new lock's file is called in findings.
    pub file: &'a str,
}

/// Lists what a reviewer must see, gravest first; nothing when the locks are the same.
pub fn check_lock_change(change: &LockChange<'_>) -> Vec<Finding> {
    let mut checks = Checks {
        askers: Askers::of(change.new),
        indexes: indexes(change.new),
        names: change.old.pins().map(|pin| (pin.ecosystem, pin.name)).collect(),
        found: Found::default(),
        change,
    };
    for pin in &change.diff.pins {
        checks.pin(pin);
    }
    for pin in unasked(change, &checks.askers) {
        checks.unasked(pin);
    }
    super::lock_whole::check_whole(change, &mut checks.found);
    checks.found.findings(&change.new.platforms)
}

/// Sorts findings as `diff` lists them: what is excused last, then by level, then by the order of the rules, then by name.
pub fn sort_by_risk(findings: &mut [Finding]) {
    findings.sort_by(|a, b| {
        let key = |finding: &Finding| {
            (finding.excuse.is_some(), Reverse(finding.level), rank(finding.rule), finding.subject.clone())
        };
        key(a).cmp(&key(b)).then_with(|| (&a.message, &a.place).cmp(&(&b.message, &b.place)))
    });
}

/// Findings with the platforms they are about: the same on two platforms is said once.
#[derive(Default)]
pub(super) struct Found(BTreeMap<(&'static str, String, String), (Finding, BTreeSet<Platform>)>);

impl Found {
    pub(super) fn add(&mut self, finding: Finding, platform: Option<Platform>) {
        let key = (finding.rule.id, finding.subject.clone(), finding.message.clone());
        let (_, platforms) = self.0.entry(key).or_insert_with(|| (finding, BTreeSet::new()));
        platforms.extend(platform);
    }

    fn findings(self, all: &[Platform]) -> Vec<Finding> {
        let told = self.0.into_values().map(|(mut finding, platforms)| {
            if !platforms.is_empty() && !all.iter().all(|platform| platforms.contains(platform)) {
                let names: Vec<String> = platforms.iter().map(ToString::to_string).collect();
                finding.message = format!("{} ({})", finding.message, names.join(", "));
            }
            finding
        });
        let mut findings: Vec<Finding> = told.collect();
        sort_by_risk(&mut findings);
        findings
    }
}

/// The position of each pin among those of its ecosystem.
fn indexes(lock: &Lockfile) -> BTreeMap<PinKey<'_>, usize> {
    fn keyed<'a>((index, pin): (usize, PinView<'a>)) -> (PinKey<'a>, usize) {
        (pin.key(), index)
    }
    let apt = lock.apt.iter().map(AptPin::view).enumerate();
    let npm = lock.npm.iter().map(NpmPin::view).enumerate();
    let pip = lock.pip.iter().map(PipPin::view).enumerate();
    let builds = lock.pip_builds.iter().map(PipBuildPin::view).enumerate();
    apt.chain(npm).chain(pip).chain(builds).map(keyed).collect()
}

struct Checks<'a> {
    change: &'a LockChange<'a>,
    askers: Askers<'a>,
    indexes: BTreeMap<PinKey<'a>, usize>,
    names: BTreeSet<(Ecosystem, &'a PackageName)>,
    found: Found,
}

impl Checks<'_> {
    /// A finding about a pin of the new lock; `field` is where it points.
    fn about(&self, rule: &'static Rule, pin: &PinDiff, side: &PinSide, field: &str, message: String) -> Finding {
        let line = self.indexes.get(&pin.key(&side.version)).and_then(|index| match &pin.builds {
            None => self.change.lines.pin(pin.ecosystem, *index, field),
            Some(_) => self.change.lines.pip_build(*index, field),
        });
        let place = line.map(|line| FindingPlace { file: self.change.file.to_owned(), line });
        Finding { place, ..Finding::new(rule, format!("{}:{}", pin.ecosystem, pin.name), message) }
    }

    fn pin(&mut self, pin: &PinDiff) {
        let Some(new) = &pin.new else { return };
        if pin.old.as_ref().is_none_or(|old| old.version != new.version) {
            self.age(pin, new);
        }
        match &pin.old {
            Some(old) => pin.changes.iter().for_each(|change| self.changed(pin, old, new, change)),
            None => self.came(pin, new),
        }
    }

    fn changed(&mut self, pin: &PinDiff, old: &PinSide, new: &PinSide, change: &PinChange) {
        let name = named(pin, new);
        let (rule, field, message, evidence) = match change {
            PinChange::Rehashed { from, to } => {
                (&REHASHED, "sha256", format!("{name} has other bytes under the same version"), digests(*from, *to))
            }
            PinChange::Rebuilt { from, to } => return self.rebuilt(pin, new, *from, *to),
            PinChange::Source { from, to } => {
                (&NEW_SOURCE, "source", format!("{name} comes from `{to}`, and came from `{from}`"), Vec::new())
            }
            PinChange::Evidence(lost) => {
                (&EVIDENCE_LOST, "sha256", format!("{name} has lost its {}", lost.join(" and ")), Vec::new())
            }
            PinChange::File { from, to } => {
                (&OTHER_FILE, "path", format!("{name} is another file of the same version"), pair(from, to))
            }
            PinChange::Version(Direction::Down) => {
                (&DOWNGRADE, "version", format!("{name} is older than {}, which it was", old.version), Vec::new())
            }
            PinChange::Path => (&RELABELLED, "path", format!("{name} is elsewhere in its source"), Vec::new()),
            PinChange::Details => (&RELABELLED, "name", format!("{name} is recorded otherwise"), Vec::new()),
            PinChange::Scripts { added, changed, .. } => {
                return self.scripts(pin, new, &[&added[..], changed].concat());
            }
            PinChange::Version(Direction::Up | Direction::Sideways)
            | PinChange::Size { .. }
            | PinChange::Places
            | PinChange::RequiredBy => return,
        };
        let finding = Finding { evidence, ..self.about(rule, pin, new, field, message) };
        self.found.add(finding, Some(pin.platform));
    }

    /// A project that is built to another wheel; graver where nothing that it is built of or with is another.
    fn rebuilt(&mut self, pin: &PinDiff, new: &PinSide, from: Option<Sha256>, to: Option<Sha256>) {
        let is_same = from.is_some() && to.is_some() && inputs(self.change.old, pin) == inputs(self.change.new, pin);
        let (level, of) = match is_same {
            true => (Level::Error, ", of the same source with the same packages"),
            false => (REBUILT_WHEEL.level, ""),
        };
        let digest = |digest: Option<Sha256>| digest.map_or("no built wheel".to_owned(), |digest| digest.prefixed());
        let message = format!("{} is built to another wheel than before{of}", named(pin, new));
        let finding = self.about(&REBUILT_WHEEL, pin, new, "wheel", message);
        let evidence = pair(&digest(from), &digest(to));
        self.found.add(Finding { level, evidence, ..finding }, Some(pin.platform));
    }

    fn came(&mut self, pin: &PinDiff, new: &PinSide) {
        if !self.names.contains(&(pin.ecosystem, &pin.name)) {
            let asked = self.askers.asked(pin.key(&new.version));
            let message = format!("{} was not locked before; {}", named(pin, new), in_words(&asked));
            let finding = self.about(&NEW_NAME, pin, new, "name", message);
            self.found.add(finding, Some(pin.platform));
        }
        if let (Ecosystem::Npm, Some(index)) = (pin.ecosystem, self.indexes.get(&pin.key(&new.version))) {
            let scripts: Vec<String> = self.change.new.npm[*index].scripts.keys().cloned().collect();
            self.scripts(pin, new, &scripts);
        }
    }

    /// Install scripts that came or changed; graver when the manifest lets them run.
    fn scripts(&mut self, pin: &PinDiff, new: &PinSide, names: &[String]) {
        if names.is_empty() {
            return;
        }
        let (level, fate) = match self.change.approved.map(|names| names.contains(&pin.name)) {
            Some(true) => (Level::Error, "the manifest lets it run"),
            Some(false) => (SCRIPTS.level, "it is not approved to run"),
            None => (SCRIPTS.level, "whether it may run is for the manifest to say"),
        };
        let message = format!("{} has a new or changed install script ({}); {fate}", named(pin, new), names.join(", "));
        let finding = Finding { level, ..self.about(&SCRIPTS, pin, new, "scripts", message) };
        self.found.add(finding, Some(pin.platform));
    }

    /// A release that is younger than the policy asks for.
    fn age(&mut self, pin: &PinDiff, new: &PinSide) {
        let (Some(days), Some(published)) = (self.change.min_age_days, new.published) else { return };
        let age = self.change.now - published;
        if age < i64::from(days) * DAY {
            let old = count(usize::try_from(age.max(0) / DAY).unwrap_or(0), "day");
            let message = format!("{} is {old} old, and the policy asks for {days}", named(pin, new));
            let finding = self.about(&POLICY_AGE, pin, new, "published", message);
            self.found.add(finding, Some(pin.platform));
        }
    }

    fn unasked(&mut self, pin: &PinDiff) {
        let Some(new) = &pin.new else { return };
        let moved = match &pin.old {
            Some(old) => format!("moved from {}", old.version),
            None => "came".to_owned(),
        };
        let message = format!("{} {moved}, and no requirement that changed leads to it", named(pin, new));
        let finding = self.about(&UNASKED, pin, new, "version", message);
        self.found.add(finding, Some(pin.platform));
    }
}

/// What the wheel of a project depends on in a lock: its source, what builds it, and the packages or image below.
fn inputs<'a>(lock: &'a Lockfile, pin: &PinDiff) -> (&'a BasePin, Vec<Sha256>) {
    let own = lock.pip.iter().filter(|own| (own.platform, &own.name) == (pin.platform, &pin.name));
    let builds = lock.pip_builds.iter().filter(|own| (own.wheel.platform, &own.builds) == (pin.platform, &pin.name));
    let debian = lock.apt.iter().filter(|own| own.platform == pin.platform).map(|own| own.artifact.sha256);
    let python = own.map(|own| own.artifact.sha256).chain(builds.map(|own| own.wheel.artifact.sha256));
    (&lock.base, python.chain(debian).collect())
}

fn named(pin: &PinDiff, side: &PinSide) -> String {
    format!("`{}:{} {}`", pin.ecosystem, pin.name, side.version)
}

pub(super) fn digests(from: Sha256, to: Sha256) -> Vec<String> {
    pair(&from.prefixed(), &to.prefixed())
}

/// What it was and what it is, one under the other.
pub(super) fn pair(was: &str, is: &str) -> Vec<String> {
    vec![format!("was  {was}"), format!(" is  {is}")]
}

/// For a sentence: `asked for by graphiti-core > openai`.
fn in_words(asked: &Asked) -> String {
    let askers: Vec<&str> = asked.chain.iter().rev().skip(1).rev().map(PackageName::as_str).collect();
    match (asked.by, askers.is_empty()) {
        (Asker::Nobody, _) => "nothing in the lockfile asks for it".to_owned(),
        (Asker::Manifest, true) => "the manifest asks for it".to_owned(),
        (Asker::Essential, true) => "it is of the essential set".to_owned(),
        (Asker::Manifest | Asker::Essential, false) => format!("asked for by {}", askers.join(" > ")),
    }
}
