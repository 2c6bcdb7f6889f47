//! Waivers: exact, reasoned and dated excuses for findings. One that is not needed any more, or is over, is itself a finding.

use super::finding::{Excuse, Finding, FindingPlace, Level, Rule};
use crate::manifest::Waiver;

/// A waiver that excuses nothing.
pub static UNUSED_WAIVER: Rule = Rule {
    id: "waiver-unused",
    level: Level::Error,
    title: "a waiver that excuses nothing",
    help: "What it excused is gone, or it names another rule or subject: take it out of oclock.toml or correct it.",
};

/// A waiver whose time is over.
pub static EXPIRED_WAIVER: Rule = Rule {
    id: "waiver-expired",
    level: Level::Error,
    title: "a waiver whose time is over",
    help: "Look at what it excused again; then take it out, or give a new reason and a new date.",
};

/// Which waivers a command can judge: those of the rules that it looked with.
#[derive(Clone, Copy, Debug)]
pub struct Waived<'a> {
    /// The manifest's waivers.
    pub waivers: &'a [Waiver],
    /// The rules that were looked for; waivers of others are not this command's matter.
    pub rules: &'a [&'static Rule],
    /// The manifest's file, for places.
    pub manifest: &'a str,
    /// The moment in seconds since 1970 that decides whether a waiver still holds.
    pub now: i64,
}

/// Excuses what waivers name, and adds a finding for each waiver that is over or excuses nothing.
pub fn apply_waivers(findings: &mut Vec<Finding>, request: &Waived<'_>) {
    let mut strays = Vec::new();
    for waiver in request.waivers.iter().filter(|waiver| request.rules.iter().any(|rule| rule.id == waiver.rule)) {
        let excused =
            findings.iter_mut().filter(|found| found.rule.id == waiver.rule && found.subject == waiver.subject);
        let mut used = false;
        for finding in excused {
            used = true;
            if request.now < waiver.expires {
                finding.excuse = Some(Excuse { reason: waiver.reason.clone(), expires: waiver.expires });
            }
        }
        let rule = match used {
            true if request.now >= waiver.expires => &EXPIRED_WAIVER,
            true => continue,
            false => &UNUSED_WAIVER,
        };
        let message = format!("the waiver of `{}` for `{}`: {}", waiver.rule, waiver.subject, rule.title);
        let place = FindingPlace { file: request.manifest.to_owned(), line: waiver.line };
        strays.push(Finding { place: Some(place), ..Finding::new(rule, waiver.subject.clone(), message) });
    }
    findings.extend(strays);
    Finding::sort(findings);
}

#[cfg(test)]
mod tests {
    use super::*;

    static RULE: Rule = Rule { id: "test-rule", level: Level::Error, title: "a test", help: "none" };

    fn waiver(subject: &str, expires: i64) -> Waiver {
        Waiver { rule: "test-rule".into(), subject: subject.into(), reason: "known".into(), expires, line: 7 }
    }

    fn judge(waivers: &[Waiver], now: i64) -> Vec<Finding> {
        let mut findings = vec![Finding::new(&RULE, "a", "a is wrong"), Finding::new(&RULE, "b", "b is wrong")];
        apply_waivers(&mut findings, &Waived { waivers, rules: &[&RULE], manifest: "oclock.toml", now });
        findings
    }

    #[test]
    fn a_waiver_excuses_its_own_subject_alone() {
        let findings = judge(&[waiver("a", 100)], 99);
        let counting: Vec<&str> = findings.iter().filter(|f| f.counts()).map(|f| f.subject.as_str()).collect();
        assert_eq!(counting, ["b"]);
        assert_eq!(findings.last().unwrap().excuse.as_ref().unwrap().reason, "known");
    }

    #[test]
    fn a_waiver_that_is_over_or_idle_is_a_finding() {
        let over = judge(&[waiver("a", 100)], 100);
        assert_eq!(over.iter().filter(|f| f.counts()).count(), 3);
        assert!(over.iter().any(|f| f.rule == &EXPIRED_WAIVER && f.place.as_ref().unwrap().line == 7));
        let idle = judge(&[waiver("c", 100)], 0);
        assert!(idle.iter().any(|f| f.rule == &UNUSED_WAIVER && f.subject == "c"));
    }

    #[test]
    fn waivers_of_rules_that_were_not_looked_for_are_left_alone() {
        let mut findings = Vec::new();
        let waivers = [waiver("a", 100)];
        apply_waivers(&mut findings, &Waived { waivers: &waivers, rules: &[], manifest: "oclock.toml", now: 0 });
        assert_eq!(findings, []);
    }
}
