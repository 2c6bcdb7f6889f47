//! What `audit` found, as text.

use super::findings::{findings_lines, findings_markdown};
use crate::audit::advisory::EcosystemState;
use crate::audit::{SignatureState, Signed};
use crate::base::text::{count, grouped};
use crate::ops::AuditOutcome;

/// How many new names are named.
const NAMED: usize = 10;

/// Findings for people, then what was looked at, in numbers.
pub fn audit_lines(outcome: &AuditOutcome) -> String {
    let mut text = findings_lines(&outcome.findings);
    for line in summary(outcome) {
        text.push_str(&format!("{line}\n"));
    }
    text
}

/// Findings as a table, then what was looked at, as a list.
pub fn audit_markdown(outcome: &AuditOutcome) -> String {
    let mut text = findings_markdown(&outcome.findings);
    text.push('\n');
    for line in summary(outcome) {
        text.push_str(&format!("- {}\n", super::findings::cell(&line)));
    }
    text
}

fn summary(outcome: &AuditOutcome) -> Vec<String> {
    let mut lines: Vec<String> = outcome.ecosystems.iter().map(advisories).collect();
    lines.extend(signatures(&outcome.signatures));
    if !outcome.challenged.is_empty() {
        let same =
            outcome.challenged.iter().filter(|file| file.answers.iter().filter(|a| a.held == "same").count() > 1);
        let (all, same) = (count(outcome.challenged.len(), "file"), same.count());
        lines.push(format!("challenge: {all} asked for elsewhere, {same} found to be the same"));
    }
    if outcome.never_seen > 0 {
        lines.push(first_seen(outcome));
    }
    lines
}

/// What this machine never saw before, new names by name.
fn first_seen(outcome: &AuditOutcome) -> String {
    let files = count(outcome.never_seen, "file");
    let named: Vec<&str> = outcome.new_names.iter().take(NAMED).map(String::as_str).collect();
    let more = match outcome.new_names.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    match named.is_empty() {
        true => format!("first seen: {files}, all of packages that were seen before"),
        false => format!("first seen: {files}; names never seen before: {}{more}", named.join(", ")),
    }
}

fn advisories(state: &EcosystemState) -> String {
    let EcosystemState { ecosystem, affected, not_affected, not_audited, .. } = state;
    let data = match state.newest.and_then(|newest| jiff::Timestamp::from_second(newest).ok()) {
        Some(newest) => {
            format!(" ({} advisories, the newest of {})", grouped(state.advisories), newest.strftime("%Y-%m-%d"))
        }
        None => String::new(),
    };
    format!("{ecosystem}: {affected} affected, {not_affected} not affected, {not_audited} not audited{data}")
}

fn signatures(signed: &[Signed]) -> Vec<String> {
    use std::collections::BTreeMap;
    let mut by_source: BTreeMap<&str, BTreeMap<SignatureState, usize>> = BTreeMap::new();
    for answer in signed {
        *by_source.entry(answer.source.as_str()).or_default().entry(answer.state).or_default() += 1;
    }
    let told = by_source.into_iter().map(|(source, states)| {
        let states = states.into_iter().map(|(state, number)| format!("{number} {}", words(state)));
        format!("signatures of {source}: {}", states.collect::<Vec<_>>().join(", "))
    });
    told.collect()
}

fn words(state: SignatureState) -> &'static str {
    match state {
        SignatureState::Verified => "verified",
        SignatureState::ServedNotChecked => "served, not checked",
        SignatureState::NotServed => "not served",
        SignatureState::UnknownKey => "by an unknown key",
        SignatureState::ExpiredKey => "by a key that was over",
        SignatureState::Bad => "wrong",
        SignatureState::NotAudited => "not audited",
    }
}
