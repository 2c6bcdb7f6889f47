//! `[policy]`: what is asked of what is chosen, and what is excused.

use crate::base::document::{DocumentError, Table};
use crate::model::ValueError;

use super::model::{PolicySection, Waiver};
use super::parse::list;

const WAIVER: &[&str] = &["rule", "subject", "reason", "expires"];
/// The keys of `[policy]`.
pub(super) const POLICY: &[&str] = &["min-age-days", "waivers"];

/// Reads the keys of `[policy]`.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub(super) fn policy(section: &Table<'_>) -> Result<PolicySection, DocumentError> {
    let waivers = list(section, "waivers")?.into_iter().map(|value| waiver(&value.table(WAIVER)?));
    Ok(PolicySection {
        min_age_days: section.get("min-age-days").map(|value| value.unsigned()).transpose()?,
        waivers: waivers.collect::<Result<_, _>>()?,
    })
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
