//! What `verify` found, for people.

use super::findings::{findings_lines, findings_markdown};
use crate::base::text::sanitize;
use crate::ops::{Verdict, VerifyOutcome};

/// What was looked at, one line each, then what was found, then the verdict.
pub fn proof_lines(outcome: &VerifyOutcome) -> String {
    let width = outcome.checks.iter().map(|check| check.what.len()).max().unwrap_or(0);
    let mut text = String::new();
    for check in &outcome.checks {
        text.push_str(&format!("{:width$}  {}\n", check.what, sanitize(&check.said)));
    }
    text.push_str(&findings_lines(&outcome.findings));
    text.push_str(verdict(outcome.verdict));
    text.push('\n');
    text
}

/// The same for a comment of a pull request.
pub fn proof_markdown(outcome: &VerifyOutcome) -> String {
    let mut text = format!("**{}**\n\n", verdict(outcome.verdict));
    for check in &outcome.checks {
        text.push_str(&format!("- {}: {}\n", check.what, super::findings::cell(&check.said)));
    }
    text.push_str(&format!("\n{}", findings_markdown(&outcome.findings)));
    text
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Proven => "proven",
        Verdict::No => "not proven",
        Verdict::Distrust => "not to be trusted",
    }
}
