//! What could not be audited. It is a finding, so that silence never passes for a good answer.

use super::finding::{Finding, Level, Rule};

/// Something that could not be audited.
pub static NOT_AUDITED: Rule = Rule {
    id: "not-audited",
    level: Level::Error,
    title: "something that could not be audited",
    help: "Nothing is known about it, good or bad. Give what is missing; or say that it is meant, with a waiver that has a reason and an end.",
};

/// The finding that `subject` (such as `advisories npm`) was not audited, and why.
pub fn not_audited(subject: impl Into<String>, what: &str, why: &[String]) -> Finding {
    let message = match why {
        [only] => format!("{what}: {only}"),
        _ => what.to_owned(),
    };
    let evidence = if why.len() > 1 { why.to_vec() } else { Vec::new() };
    Finding { evidence, ..Finding::new(&NOT_AUDITED, subject, message) }
}
