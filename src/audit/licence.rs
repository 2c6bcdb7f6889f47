//! Licences against the policy: what packages say of themselves must be usable under what is allowed, without what is denied.

use std::collections::BTreeSet;

use spdx::{Expression, LicenseReq, Licensee, ParseMode};

use super::finding::{Finding, Level, Rule};
use super::gap::not_audited;
use crate::attest::Licence;
use crate::base::text::sanitize;
use crate::manifest::LicencePolicy;
use crate::model::Ecosystem;

/// A licence that the policy does not want.
pub static POLICY_LICENCE: Rule = Rule {
    id: "policy-licence",
    level: Level::Error,
    title: "a licence that the policy does not want",
    help: "Do without the package, or let the policy allow the licence. What a package says of itself may be wrong: look at its files.",
};

/// How expressions of packages are read: with old names of licences, which the list still has.
const MODE: ParseMode = ParseMode { allow_deprecated: true, ..ParseMode::STRICT };

/// A package with its licence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LicensedPackage {
    /// Its ecosystem.
    pub ecosystem: Ecosystem,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it says of itself.
    pub licence: Licence,
}

/// What goes against the policy, and what says nothing that can be held against it.
pub fn check_licences(policy: &LicencePolicy, packages: &[LicensedPackage]) -> Vec<Finding> {
    let terms = Terms { allow: licensees(&policy.allow), deny: licensees(&policy.deny) };
    let mut seen = BTreeSet::new();
    let findings = packages.iter().filter_map(|package| terms.check(package));
    findings.filter(|finding| seen.insert((finding.subject.clone(), finding.message.clone()))).collect()
}

struct Terms {
    allow: Vec<Licensee>,
    deny: Vec<Licensee>,
}

/// The manifest accepts only what is a licence.
fn licensees(texts: &[String]) -> Vec<Licensee> {
    texts.iter().filter_map(|text| Licensee::parse(text).ok()).collect()
}

impl Terms {
    fn check(&self, package: &LicensedPackage) -> Option<Finding> {
        let subject = format!("{}:{}", package.ecosystem, package.name);
        let label = format!("{subject} {}", package.version);
        let gap = |why: &str| {
            let what = format!("the licence of {label} was not audited");
            Some(not_audited(format!("licence {subject}"), &what, &[sanitize(why)]))
        };
        let text = match &package.licence {
            Licence::Unknown { why } => return gap(why),
            Licence::Stated { expression, .. } => expression,
        };
        let Ok(expression) = Expression::parse_mode(text, MODE) else {
            return gap(&format!("`{text}` is no licence expression"));
        };
        if expression.evaluate(|requirement| self.accepts(requirement)) {
            return None;
        }
        let mut wanting: Vec<String> = expression
            .requirements()
            .filter(|wanted| !self.accepts(&wanted.req))
            .map(|wanted| wanted.req.to_string())
            .collect();
        wanting.sort();
        wanting.dedup();
        let message = sanitize(&format!("{label} is under {}", wanting.join(", ")));
        let evidence = vec![sanitize(&format!("it says  {text}"))];
        Some(Finding { evidence, ..Finding::new(&POLICY_LICENCE, subject, message) })
    }

    fn accepts(&self, requirement: &LicenseReq) -> bool {
        let is_allowed = self.allow.is_empty() || self.allow.iter().any(|own| own.satisfies(requirement));
        is_allowed && !self.deny.iter().any(|own| is_same(own, requirement))
    }
}

/// The licence itself, whatever later versions it also stands for.
fn is_same(licensee: &Licensee, requirement: &LicenseReq) -> bool {
    let own = licensee.clone().into_req();
    let is_same = match (own.license.id(), requirement.license.id()) {
        (Some(own), Some(other)) => own == other,
        (None, None) => own.license == requirement.license,
        _ => false,
    };
    is_same && own.addition == requirement.addition
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn rule(allow: &[&str], deny: &[&str], expression: &str) -> Option<&'static str> {
        let texts = |all: &[&str]| all.iter().map(ToString::to_string).collect();
        let licence = match expression {
            "" => Licence::Unknown { why: "it names none".into() },
            text => Licence::Stated { expression: text.into(), custom: BTreeMap::new() },
        };
        let package = LicensedPackage { ecosystem: Ecosystem::Npm, name: "a".into(), version: "1".into(), licence };
        let policy = LicencePolicy { allow: texts(allow), deny: texts(deny) };
        check_licences(&policy, &[package]).first().map(|finding| finding.rule.id)
    }

    #[test]
    fn one_way_to_use_a_package_is_enough() {
        let (no, gap) = (Some("policy-licence"), Some("not-audited"));
        for (allow, deny, expression, expected) in [
            (&["MIT"][..], &[][..], "MIT", None),
            (&["MIT"], &[], "ISC", no),
            (&["MIT"], &[], "MIT OR GPL-3.0-only", None),
            (&["MIT"], &[], "MIT AND GPL-3.0-only", no),
            // A choice that only the reader of the policy can make: the list names what it means.
            (&["GPL-3.0-only"], &[], "GPL-2.0-or-later", no),
            (&["GPL-2.0-or-later"], &[], "GPL-2.0-or-later", None),
            (&["GPL-2.0-only WITH Classpath-exception-2.0"], &[], "GPL-2.0-only", no),
            (&[], &["GPL-3.0-only"], "GPL-3.0-only", no),
            (&[], &["GPL-3.0-only"], "GPL-2.0-or-later", None),
            (&[], &["GPL-3.0-only"], "MIT OR GPL-3.0-only", None),
            (&["MIT", "ISC"], &["ISC"], "ISC", no),
            (&[], &["MIT"], "LicenseRef-own", None),
            (&["MIT"], &[], "LicenseRef-own", no),
            (&["MIT"], &[], "", gap),
            (&[], &["MIT"], "", gap),
            (&["MIT"], &[], "free for all", gap),
        ] {
            assert_eq!(rule(allow, deny, expression), expected, "{allow:?} {deny:?} {expression}");
        }
    }
}
