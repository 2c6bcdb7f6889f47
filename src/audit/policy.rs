//! What `[policy]` asks of pins by the lockfile alone: age, sources, install scripts.

use std::collections::{BTreeMap, BTreeSet};

use super::finding::{Finding, Level, Rule};
use super::gap::not_audited;
use crate::base::text::count;
use crate::lock::{Lockfile, PinView};
use crate::manifest::PolicySection;
use crate::model::{Ecosystem, PackageName, SourceName};
use crate::source::NO_TIMES;

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

const DAY: i64 = 86_400;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct PolicyRequest<'a> {
    /// The policy.
    pub policy: &'a PolicySection,
    /// The pins.
    pub lock: &'a Lockfile,
    /// This moment in seconds since 1970.
    pub now: i64,
}

/// The rules that a policy makes count.
pub fn policy_rules(policy: &PolicySection) -> Vec<&'static Rule> {
    let mut rules = Vec::new();
    rules.extend(policy.min_age_days.map(|_| &POLICY_AGE));
    rules.extend(policy.sources.as_ref().map(|_| &POLICY_SOURCE));
    rules.extend(policy.scripts.as_ref().map(|_| &POLICY_SCRIPT));
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
    let mut unknown: BTreeMap<(Ecosystem, &'static str), usize> = BTreeMap::new();
    for pin in request.lock.pins() {
        let age = published(request, &pin).map(|moment| request.now - moment);
        let is_old_enough = age.is_some_and(|age| age >= i64::from(days) * DAY);
        match age {
            _ if is_old_enough => {}
            Some(age) if pin.ecosystem != Ecosystem::Apt => {
                let old = count(usize::try_from(age.max(0) / DAY).unwrap_or(0), "day");
                let message = format!("{} is {old} old; the policy asks for {days}", label(&pin));
                findings.push(Finding::new(&POLICY_AGE, subject(&pin), message));
            }
            _ if is_taken_as_it_is(request, &pin.artifact.source) => {}
            Some(_) => {
                *unknown.entry((pin.ecosystem, "the archive that lists them is younger itself")).or_default() += 1
            }
            None => {
                *unknown.entry((pin.ecosystem, "the lockfile does not say when they were published")).or_default() += 1
            }
        }
    }
    findings.extend(unknown.into_iter().map(|((ecosystem, why), number)| {
        let what = format!("the age of {} of {ecosystem} was not audited", count(number, "pin"));
        not_audited(format!("age {ecosystem}"), &what, &[why.to_owned()])
    }));
    findings
}

/// The latest moment at which a pin can have been published, as far as the lockfile says it: its own, or for Debian the
/// Date of the signed archive that lists it.
fn published(request: &PolicyRequest<'_>, pin: &PinView<'_>) -> Option<i64> {
    let archives = request.lock.archives.iter().filter(|archive| archive.source == pin.artifact.source);
    match pin.ecosystem {
        Ecosystem::Apt => archives.map(|archive| archive.date).max(),
        Ecosystem::Npm | Ecosystem::Pip => pin.published,
    }
}

/// Whether the manifest takes from a source what is there today, with a reason and until a day (docs/commands/update.md).
fn is_taken_as_it_is(request: &PolicyRequest<'_>, source: &SourceName) -> bool {
    let holds = |waiver: &&crate::manifest::Waiver| waiver.rule == NO_TIMES && request.now < waiver.expires;
    request.policy.waivers.iter().filter(holds).any(|waiver| waiver.subject == source.as_str())
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
