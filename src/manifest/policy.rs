//! `[policy]`: what is asked of what is chosen, and what is excused.

use std::collections::BTreeSet;

use crate::base::document::{DocumentError, Table};
use crate::model::{PackageName, SourceName, ValueError};

use super::model::{LicencePolicy, PolicySection, UnfixedAdvisories, Waiver};
use super::parse::list;

const WAIVER: &[&str] = &["rule", "subject", "reason", "expires"];
/// The keys of `[policy]`.
pub(super) const POLICY: &[&str] = &[
    "min-age-days",
    "sources",
    "scripts",
    "keep-evidence",
    "licences",
    "advisories",
    "advisories-max-age-days",
    "unfixed-advisories",
    "sigstore-root",
    "waivers",
];
const LICENCES: &[&str] = &["allow", "deny"];

/// Reads the keys of `[policy]`.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub(super) fn policy(section: &Table<'_>) -> Result<PolicySection, DocumentError> {
    let waivers = list(section, "waivers")?.into_iter().map(|value| waiver(&value.table(WAIVER)?));
    Ok(PolicySection {
        min_age_days: section.get("min-age-days").map(|value| value.unsigned()).transpose()?,
        sources: set(section, "sources", SourceName::parse)?,
        scripts: set(section, "scripts", PackageName::parse)?,
        keep_evidence: section.get("keep-evidence").map(|value| value.boolean()).transpose()?.unwrap_or(false),
        licences: section.get("licences").map(|value| licences(&value.table(LICENCES)?)).transpose()?,
        advisories: texts(section, "advisories", |text| parse_words("place of advisories", text))?,
        advisories_max_age_days: section.get("advisories-max-age-days").map(|value| value.unsigned()).transpose()?,
        unfixed_advisories: section
            .get("unfixed-advisories")
            .map(|value| value.parse(parse_unfixed))
            .transpose()?
            .unwrap_or_default(),
        sigstore_root: section.get("sigstore-root").map(|value| value.parse(parse_inside)).transpose()?,
        waivers: waivers.collect::<Result<_, _>>()?,
    })
}

/// A list that means something else when it is empty than when it is not there.
fn set<T: Ord>(
    section: &Table<'_>,
    key: &str,
    parse: impl Fn(&str) -> Result<T, ValueError>,
) -> Result<Option<BTreeSet<T>>, DocumentError> {
    match section.get(key) {
        None => Ok(None),
        Some(value) => value.list()?.iter().map(|item| item.parse(&parse)).collect::<Result<_, _>>().map(Some),
    }
}

fn texts(
    section: &Table<'_>,
    key: &str,
    parse: impl Fn(&str) -> Result<String, ValueError>,
) -> Result<Vec<String>, DocumentError> {
    list(section, key)?.iter().map(|item| item.parse(&parse)).collect()
}

fn licences(section: &Table<'_>) -> Result<LicencePolicy, DocumentError> {
    Ok(LicencePolicy { allow: texts(section, "allow", parse_licence)?, deny: texts(section, "deny", parse_licence)? })
}

fn parse_licence(text: &str) -> Result<String, ValueError> {
    match spdx::Licensee::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(ValueError::new("SPDX licence", text, error.reason.to_string())),
    }
}

fn parse_unfixed(text: &str) -> Result<UnfixedAdvisories, ValueError> {
    match text {
        "error" => Ok(UnfixedAdvisories::Error),
        "warning" => Ok(UnfixedAdvisories::Warning),
        _ => Err(ValueError::new("level", text, "`error` and `warning` are known")),
    }
}

/// A file of the project.
fn parse_inside(text: &str) -> Result<String, ValueError> {
    let is_inside = text.split('/').all(|part| !["", ".", ".."].contains(&part));
    match is_inside && !text.chars().any(char::is_control) {
        true => Ok(text.to_owned()),
        false => Err(ValueError::new("path", text, "it must be below the manifest, without `.` or `..`")),
    }
}

fn waiver(section: &Table<'_>) -> Result<Waiver, DocumentError> {
    let rule = section.require("rule")?;
    Ok(Waiver {
        line: rule.line(),
        rule: rule.parse(parse_rule)?.to_owned(),
        subject: section.require("subject")?.parse(|text| parse_words("subject", text))?,
        reason: section.require("reason")?.parse(|text| parse_words("reason", text))?,
        expires: section.require("expires")?.date()?,
    })
}

fn parse_rule(text: &str) -> Result<&str, ValueError> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    match text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(fits) {
        true => Ok(text),
        false => Err(ValueError::new("rule", text, "rules are lower-case words with hyphens, as findings name them")),
    }
}

fn parse_words(what: &'static str, text: &str) -> Result<String, ValueError> {
    match text.trim() == text && !text.is_empty() && !text.chars().any(char::is_control) {
        true => Ok(text.to_owned()),
        false => Err(ValueError::new(what, text, "it must be said, in one line, without spaces around it")),
    }
}

#[cfg(test)]
mod tests {
    use crate::manifest::parse_manifest;

    fn read(policy: &str) -> Result<super::PolicySection, String> {
        let text = format!("[image]\nname = \"a\"\nbase = \"node:20-slim\"\n[policy]\n{policy}");
        parse_manifest(&text, "oclock.toml").map(|manifest| manifest.policy).map_err(|error| error.to_string())
    }

    #[test]
    fn a_waiver_has_all_its_fields_and_a_line() {
        let text = "[[policy.waivers]]\nrule = \"secret-aws\"\nsubject = \"context/a\"\nreason = \"a sample\"\nexpires = 2027-01-31\n";
        let policy = read(text).unwrap();
        let waiver = &policy.waivers[0];
        assert_eq!((waiver.rule.as_str(), waiver.subject.as_str(), waiver.line), ("secret-aws", "context/a", 6));
        assert_eq!(waiver.expires, 1_801_353_600);
    }

    #[test]
    fn every_key_is_read() {
        let text = "min-age-days = 3\nsources = [\"npm\"]\nscripts = []\nkeep-evidence = true\n\
                    licences = { allow = [\"MIT\"], deny = [\"AGPL-3.0-only\"] }\nadvisories = [\"osv\"]\n\
                    advisories-max-age-days = 7\nunfixed-advisories = \"warning\"\nsigstore-root = \"trust/root.json\"\n";
        let policy = read(text).unwrap();
        assert_eq!((policy.min_age_days, policy.advisories_max_age_days), (Some(3), Some(7)));
        assert_eq!((policy.sources.unwrap().len(), policy.scripts.unwrap().len()), (1, 0));
        assert_eq!(policy.licences.unwrap().deny, ["AGPL-3.0-only"]);
        assert_eq!((policy.keep_evidence, &policy.advisories[..]), (true, &["osv".to_owned()][..]));
        assert_eq!(policy.sigstore_root.as_deref(), Some("trust/root.json"));
        assert_eq!(policy.unfixed_advisories, super::UnfixedAdvisories::Warning);
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        for (text, words) in [
            ("licences = { allow = [\"Free\"] }", "licences.allow"),
            ("licences = { only = [\"MIT\"] }", "only"),
            ("sources = \"npm\"", "must be a list"),
            ("scripts = [\"a b\"]", "scripts"),
            ("unfixed-advisories = \"fine\"", "unfixed-advisories"),
            ("advisories = [\" \"]", "advisories"),
            ("keep-evidence = 1", "keep-evidence"),
            ("sigstore-root = \"/etc/root.json\"", "sigstore-root"),
            ("sigstore-root = \"../root.json\"", "sigstore-root"),
            ("sigstore-root = \"\"", "sigstore-root"),
            ("minimum-age = 1", "unknown key"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn a_waiver_without_reason_or_end_is_refused() {
        for (text, words) in [
            ("[[policy.waivers]]\nrule = \"a\"\nsubject = \"b\"\nexpires = 2027-01-31", "reason` is missing"),
            ("[[policy.waivers]]\nrule = \"a\"\nsubject = \"b\"\nreason = \"c\"", "expires` is missing"),
            ("[[policy.waivers]]\nrule = \"a\"\nsubject = \"b\"\nreason = \" \"\nexpires = 2027-01-31", "reason"),
            ("[[policy.waivers]]\nrule = \"A b\"\nsubject = \"b\"\nreason = \"c\"\nexpires = 2027-01-31", "rule"),
            ("[[policy.waivers]]\nrule = \"a\"\nsubject = \"b\"\nreason = \"c\"\nexpires = \"soon\"", "expires"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
