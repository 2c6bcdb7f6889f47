//! What `[policy]` asks of pins: age, sources, install scripts, evidence. Licences have a file of their own.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::{Finding, Level, Rule};
use super::gap::not_audited;
use crate::base::text::count;
use crate::lock::{Lockfile, PinView};
use crate::manifest::PolicySection;
use crate::model::{Ecosystem, PackageName, Platform};

/// A release that is too young.
pub static POLICY_AGE: Rule = Rule {
    id: "policy-age",
    level: Level::Error,
    title: "a release that is younger than the policy asks for",
    help: "Most harmful releases are found and taken back within days. Wait, or pin an older version.",
};

/// A source that is not allowed.
pub static POLICY_SOURCE: Rule = Rule {
    id: "policy-source",
    level: Level::Error,
    title: "a package from a source that the policy does not name",
    help: "Bind the package to an allowed source, or add the source to `[policy] sources`.",
};

/// An install script that is not allowed.
pub static POLICY_SCRIPT: Rule = Rule {
    id: "policy-script",
    level: Level::Error,
    title: "an install script of a package that the policy does not name",
    help: "Read the script; then name the package in `[policy] scripts`, or do without it.",
};

/// Less evidence than before.
pub static POLICY_EVIDENCE: Rule = Rule {
    id: "policy-evidence",
    level: Level::Error,
    title: "a lockfile that proves less than the one before",
    help: "A hash or signature that vouched for a package is gone. Find out why the source does not give it any more.",
};

const DAY: i64 = 86_400;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct PolicyRequest<'a> {
    /// The policy.
    pub policy: &'a PolicySection,
    /// The pins.
    pub lock: &'a Lockfile,
    /// The lockfile before, where there is one, else why not.
    pub previous: Result<&'a Lockfile, &'a str>,
    /// This moment in seconds since 1970.
    pub now: i64,
}

/// The rules that a policy makes count.
pub fn policy_rules(policy: &PolicySection) -> Vec<&'static Rule> {
    let mut rules = Vec::new();
    rules.extend(policy.min_age_days.map(|_| &POLICY_AGE));
    rules.extend(policy.sources.as_ref().map(|_| &POLICY_SOURCE));
    rules.extend(policy.scripts.as_ref().map(|_| &POLICY_SCRIPT));
    rules.extend(policy.keep_evidence.then_some(&POLICY_EVIDENCE));
    rules
}

/// What goes against the policy, and what could not be compared with it.
pub fn check_policy(request: &PolicyRequest<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(days) = request.policy.min_age_days {
        findings.extend(check_age(request, days));
    }
    if let Some(sources) = &request.policy.sources {
        let strangers = request.lock.pins().filter(|pin| !sources.contains(&pin.artifact.source));
        findings.extend(strangers.map(|pin| {
            let message = format!("{} comes from the source `{}`", label(&pin), pin.artifact.source);
            Finding::new(&POLICY_SOURCE, subject(&pin), message)
        }));
    }
    if let Some(allowed) = &request.policy.scripts {
        findings.extend(check_scripts(request.lock, allowed));
    }
    if request.policy.keep_evidence {
        match request.previous {
            Ok(previous) => findings.extend(check_evidence(request.lock, previous)),
            Err(why) => {
                let what = "whether evidence was lost was not audited";
                findings.push(not_audited("evidence", what, &[why.to_owned()]));
            }
        }
    }
    let mut seen = BTreeSet::new();
    findings.retain(|finding| seen.insert((finding.rule.id, finding.message.clone())));
    findings
}

fn subject(pin: &PinView<'_>) -> String {
    format!("{}:{}", pin.ecosystem, pin.name)
}

fn label(pin: &PinView<'_>) -> String {
    format!("{} {}", subject(pin), pin.version)
}

fn check_age(request: &PolicyRequest<'_>, days: u32) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut unknown: BTreeMap<Ecosystem, usize> = BTreeMap::new();
    for pin in request.lock.pins() {
        let Some(published) = pin.published else {
            *unknown.entry(pin.ecosystem).or_default() += 1;
            continue;
        };
        let age = request.now - published;
        if age < i64::from(days) * DAY {
            let old = count(usize::try_from(age.max(0) / DAY).unwrap_or(0), "day");
            let message = format!("{} is {old} old; the policy asks for {days}", label(&pin));
            findings.push(Finding::new(&POLICY_AGE, subject(&pin), message));
        }
    }
    findings.extend(unknown.into_iter().map(|(ecosystem, number)| {
        let what = format!("the age of {} of {ecosystem} was not audited", count(number, "pin"));
        let why = "the lockfile does not say when they were published".to_owned();
        not_audited(format!("age {ecosystem}"), &what, &[why])
    }));
    findings
}

fn check_scripts(lock: &Lockfile, allowed: &BTreeSet<PackageName>) -> Vec<Finding> {
    let with_scripts = lock.npm.iter().filter(|pin| !pin.scripts.is_empty() && !allowed.contains(&pin.name));
    let finding = |pin: &crate::lock::NpmPin| {
        let kinds: Vec<&str> = pin.scripts.keys().map(String::as_str).collect();
        let message = format!("{} brings an install script: {}", label(&pin.view()), kinds.join(", "));
        let evidence = pin.scripts.iter().map(|(kind, hash)| format!("{kind:>11}  sha256:{hash}")).collect();
        Finding { evidence, ..Finding::new(&POLICY_SCRIPT, subject(&pin.view()), message) }
    };
    with_scripts.map(finding).collect()
}

/// What vouched for a package before and does not any more.
fn check_evidence(lock: &Lockfile, previous: &Lockfile) -> Vec<Finding> {
    let mut findings = Vec::new();
    let hashed = |lock: &Lockfile| -> BTreeMap<(PackageName, Platform), bool> {
        let pins = lock.npm.iter().map(|pin| ((pin.name.clone(), pin.platform), pin.artifact.sha512.is_some()));
        pins.fold(BTreeMap::new(), |mut all, (key, has)| {
            all.entry(key).and_modify(|every| *every &= has).or_insert(has);
            all
        })
    };
    let now = hashed(lock);
    for ((name, platform), had) in hashed(previous) {
        if had && now.get(&(name.clone(), platform)) == Some(&false) {
            let message = format!("npm:{name} has no integrity (sha512) of its registry any more");
            findings.push(Finding::new(&POLICY_EVIDENCE, format!("npm:{name}"), message));
        }
    }
    let keys = |lock: &Lockfile| -> BTreeMap<(String, String), BTreeSet<String>> {
        let mut all: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
        for archive in &lock.archives {
            let key = (archive.source.to_string(), archive.suite.clone());
            all.entry(key).or_default().extend(archive.keys.iter().cloned());
        }
        all
    };
    let now = keys(lock);
    for ((source, suite), before) in keys(previous) {
        let used = lock.apt.iter().any(|pin| pin.artifact.source.as_str() == source && pin.suite == suite);
        let after = now.get(&(source.clone(), suite.clone()));
        let lost: Vec<&String> = before.iter().filter(|key| !after.is_some_and(|keys| keys.contains(*key))).collect();
        if lost.is_empty() || (after.is_none() && !used) {
            continue;
        }
        let message = format!("`{source}` {suite} is not signed by {} that signed it before", count(lost.len(), "key"));
        let evidence = lost.iter().map(|key| format!("missing  {key}")).collect();
        findings.push(Finding { evidence, ..Finding::new(&POLICY_EVIDENCE, format!("{source} {suite}"), message) });
    }
    findings
}
