//! `oclock diff`: what a change of the lockfile means, gravest first.

use std::collections::{BTreeMap, BTreeSet};

use super::error::OpsError;
use super::revision::{Side, read_side, working_copy};
use super::session::Session;
use crate::audit::{
    Finding, LOCK_RULES, Level, LockChange, Rule, UNUSED_WAIVER, Waived, apply_waivers, check_lock_change, sort_by_risk,
};
use crate::base::clock;
use crate::lock::{
    Asker, Askers, Bump, Direction, LockDiff, LockLines, Lockfile, PinChange, PinDiff, PinSide, Requirements, bump,
    diff as diff_locks,
};
use crate::manifest::Manifest;
use crate::model::{Ecosystem, PackageName, Platform};

/// What is compared.
#[derive(Clone, Debug, Default)]
pub struct DiffOptions {
    /// The older one, a file or a git revision; `HEAD` when not given.
    pub old: Option<String>,
    /// The newer one, a file or a git revision; the working copy when not given.
    pub new: Option<String>,
}

/// How two lockfiles differ. Its JSON is documented in docs/commands/diff.md.
#[derive(Clone, Debug, serde::Serialize)]
pub struct DiffOutcome {
    /// What the older one is called.
    pub old: String,
    /// What the newer one is called.
    pub new: String,
    /// Whether anything differs.
    pub differs: bool,
    /// What a reviewer must see, gravest first.
    pub findings: Vec<Finding>,
    /// The sections of the manifest that ask for something else: `image`, `apt`, `npm`, `pip`.
    pub questions: Vec<&'static str>,
    /// Every pin that came, went or changed: what was found something about first, then by ecosystem and name.
    pub pins: Vec<ChangedPin>,
    /// How many and how much.
    pub totals: DiffTotals,
}

/// What became of a pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It has a newer version.
    Up,
    /// It has an older version.
    Down,
    /// It is new.
    Came,
    /// It is gone.
    Went,
    /// The version is the same, or counts as the same, and something else changed.
    Changed,
}

/// A pin that came, went or changed; on several platforms alike, it is one.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ChangedPin {
    /// Where it comes from.
    pub ecosystem: Ecosystem,
    /// The project that it builds, where it is in no image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub builds: Option<String>,
    /// Its name.
    pub name: String,
    /// The platforms it is about.
    pub platforms: Vec<Platform>,
    /// What became of it.
    pub fate: Fate,
    /// The version it had.
    pub from: Option<String>,
    /// The version it has.
    pub to: Option<String>,
    /// How far it moved; only for `up` and `down`.
    pub bump: Option<Bump>,
    /// Where the chain of those who asked for it starts.
    pub asked_by: Asker,
    /// The packages from the manifest's requirement down to it, which is the last.
    pub asked: Vec<String>,
    /// The requirement as the manifest has it, where that is known.
    pub requirement: Option<String>,
    /// How many days ago it was published, where the lockfile says when.
    pub age_days: Option<i64>,
    /// By how many bytes its artifacts grew.
    pub growth: i64,
    /// The rules that found something about it.
    pub rules: Vec<&'static str>,
}

/// Counts of a diff.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct DiffTotals {
    /// Pins with a newer version.
    pub up: usize,
    /// Pins with an older version.
    pub down: usize,
    /// Pins that are new.
    pub came: usize,
    /// Pins that are gone.
    pub went: usize,
    /// Pins that changed otherwise.
    pub changed: usize,
    /// Pins that are as they were, on all platforms.
    pub same: usize,
    /// Bytes of all artifacts before.
    pub bytes_before: u64,
    /// Bytes of all artifacts now.
    pub bytes_now: u64,
}

/// Compares two lockfiles.
///
/// # Errors
/// When one of them cannot be found or read.
pub fn diff(session: &Session, options: &DiffOptions) -> Result<DiffOutcome, OpsError> {
    let old = read_side(session, options.old.as_deref().unwrap_or("HEAD"))?;
    let new = options.new.as_deref().map_or_else(|| working_copy(session), |asked| read_side(session, asked))?;
    Ok(compare(&old, &new, &session.paths.lockfile.display().to_string()))
}

fn compare(old: &Side, new: &Side, file: &str) -> DiffOutcome {
    let difference = diff_locks(&old.lock, &new.lock);
    let lines = LockLines::of(&new.text);
    let now = clock::now();
    let mut findings = check_lock_change(&LockChange {
        old: &old.lock,
        new: &new.lock,
        diff: &difference,
        old_manifest: old.own_manifest(),
        new_manifest: new.own_manifest(),
        min_age_days: new.manifest.as_ref().and_then(|file| file.manifest.policy.min_age_days),
        now,
        approved: new.manifest.as_ref().map(|file| &file.manifest.npm.scripts),
        lines: &lines,
        file,
    });
    excuse(&mut findings, new, &difference, now);
    let pins = changed_pins(&difference, &Origins::of_side(old), &Origins::of_side(new), &findings, now);
    DiffOutcome {
        old: old.label.clone(),
        new: new.label.clone(),
        differs: !difference.is_empty(),
        questions: questions(&difference),
        totals: totals(&pins, &old.lock, &new.lock, &difference),
        pins,
        findings,
    }
}

/// Applies the waivers of the newer manifest. One that excuses nothing is a note where there is a difference it could be about:
/// what it excused may have been merged, and then it can go.
fn excuse(findings: &mut Vec<Finding>, new: &Side, difference: &LockDiff, now: i64) {
    let Some(file) = &new.manifest else { return };
    let waivers = &file.manifest.policy.waivers;
    let (own, shared): (Vec<&Rule>, Vec<&Rule>) = LOCK_RULES.iter().partition(|rule| rule.id.starts_with("lock-"));
    // What is audited as well may be excused there, of a pin that did not change.
    apply_waivers(findings, &Waived { waivers, rules: &shared, manifest: &file.file, now });
    findings.retain(|finding| finding.rule.id != UNUSED_WAIVER.id);
    apply_waivers(findings, &Waived { waivers, rules: &own, manifest: &file.file, now });
    if difference.is_empty() {
        findings.retain(|finding| finding.rule.id != UNUSED_WAIVER.id);
    }
    for unused in findings.iter_mut().filter(|finding| finding.rule.id == UNUSED_WAIVER.id) {
        unused.level = Level::Note;
    }
    sort_by_risk(findings);
}

fn questions(difference: &LockDiff) -> Vec<&'static str> {
    let Some((old, new)) = &difference.questions else { return Vec::new() };
    let sections = [
        ("image", old.image != new.image),
        ("apt", old.apt != new.apt),
        ("npm", old.npm != new.npm),
        ("pip", old.pip != new.pip),
    ];
    sections.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

const DAY: i64 = 86_400;

type RowKey<'a> = (Ecosystem, Option<&'a PackageName>, &'a str, Option<&'a str>, Option<&'a str>);

/// Every pin that differs between the lock that was there and the one that is written, with who asks for it.
pub(super) fn moved_pins(
    difference: &LockDiff,
    old: &Lockfile,
    new: &Lockfile,
    manifest: &Manifest,
) -> Vec<ChangedPin> {
    let (before, after) = (Origins::of(old, Some(manifest)), Origins::of(new, Some(manifest)));
    changed_pins(difference, &before, &after, &[], clock::now())
}

fn changed_pins(
    difference: &LockDiff,
    before: &Origins<'_>,
    after: &Origins<'_>,
    findings: &[Finding],
    now: i64,
) -> Vec<ChangedPin> {
    let mut rules: BTreeMap<&str, BTreeSet<&'static str>> = BTreeMap::new();
    for finding in findings {
        rules.entry(&finding.subject).or_default().insert(finding.rule.id);
    }
    let mut rows: BTreeMap<RowKey<'_>, ChangedPin> = BTreeMap::new();
    for pin in &difference.pins {
        let version = |side: &'_ Option<PinSide>| side.as_ref().map(|side| side.version.to_string());
        let key = (
            pin.ecosystem,
            pin.builds.as_ref(),
            pin.name.as_str(),
            pin.old.as_ref().map(|side| side.version.as_str()),
            pin.new.as_ref().map(|side| side.version.as_str()),
        );
        let growth = i64::try_from(pin.growth()).unwrap_or(i64::MAX);
        if let Some(row) = rows.get_mut(&key) {
            row.platforms.push(pin.platform);
            row.growth = row.growth.saturating_add(growth);
            continue;
        }
        let (side, origins) = match (&pin.new, &pin.old) {
            (Some(side), _) => (side, after),
            (None, Some(side)) => (side, before),
            (None, None) => continue,
        };
        let asked = origins.askers.asked(pin.key(&side.version));
        let top = asked.chain.first().filter(|_| asked.by == Asker::Manifest);
        let requirement = top.and_then(|top| origins.requirements.get(pin.ecosystem, top)).map(str::to_owned);
        let subject = format!("{}:{}", pin.ecosystem, pin.name);
        let row = ChangedPin {
            ecosystem: pin.ecosystem,
            builds: pin.builds.as_ref().map(ToString::to_string),
            name: pin.name.to_string(),
            platforms: vec![pin.platform],
            fate: fate(pin),
            from: version(&pin.old),
            to: version(&pin.new),
            bump: bump_of(pin),
            asked_by: asked.by,
            asked: asked.chain.iter().map(ToString::to_string).collect(),
            requirement,
            age_days: pin.new.as_ref().and_then(|side| side.published).map(|moment| (now - moment).max(0) / DAY),
            growth,
            rules: rules.get(subject.as_str()).into_iter().flatten().copied().collect(),
        };
        rows.insert(key, row);
    }
    let mut pins: Vec<ChangedPin> = rows.into_values().collect();
    let risk: BTreeMap<&str, usize> =
        findings.iter().enumerate().rev().map(|(index, finding)| (finding.subject.as_str(), index)).collect();
    let risk_of = |pin: &ChangedPin| risk.get(format!("{}:{}", pin.ecosystem, pin.name).as_str()).copied();
    pins.sort_by_key(|pin| risk_of(pin).unwrap_or(usize::MAX));
    pins
}

/// Who asked for what on one side.
struct Origins<'a> {
    askers: Askers<'a>,
    requirements: Requirements,
}

impl<'a> Origins<'a> {
    fn of_side(side: &'a Side) -> Self {
        Self::of(&side.lock, side.manifest.as_ref().map(|file| &file.manifest))
    }

    fn of(lock: &'a Lockfile, manifest: Option<&Manifest>) -> Self {
        let requirements = manifest.map(|manifest| Requirements::of(manifest, lock));
        Self { askers: Askers::of(lock), requirements: requirements.unwrap_or_default() }
    }
}

fn fate(pin: &PinDiff) -> Fate {
    let direction = pin.changes.iter().find_map(|change| match change {
        PinChange::Version(direction) => Some(*direction),
        _ => None,
    });
    match (&pin.old, &pin.new, direction) {
        (None, ..) => Fate::Came,
        (_, None, _) => Fate::Went,
        (_, _, Some(Direction::Up)) => Fate::Up,
        (_, _, Some(Direction::Down)) => Fate::Down,
        (_, _, Some(Direction::Sideways) | None) => Fate::Changed,
    }
}

fn bump_of(pin: &PinDiff) -> Option<Bump> {
    let (old, new) = pin.old.as_ref().zip(pin.new.as_ref())?;
    (old.version != new.version).then(|| bump(pin.ecosystem, &old.version, &new.version))
}

fn totals(pins: &[ChangedPin], old: &Lockfile, new: &Lockfile, difference: &LockDiff) -> DiffTotals {
    let count = |fate: Fate| pins.iter().filter(|pin| pin.fate == fate).count();
    let bytes = |lock: &Lockfile| lock.pins().map(|pin| pin.artifact.size).sum();
    let touched = difference.pins.iter().filter(|pin| pin.new.is_some()).count();
    DiffTotals {
        up: count(Fate::Up),
        down: count(Fate::Down),
        came: count(Fate::Came),
        went: count(Fate::Went),
        changed: count(Fate::Changed),
        same: new.pins().count() - touched,
        bytes_before: bytes(old),
        bytes_now: bytes(new),
    }
}
