//! Findings for people: in a terminal and in a comment of a pull request.

use crate::audit::{Finding, Level};
use crate::base::text::{count, sanitize};

/// One line a finding, its evidence indented below it; excused ones say why. Nothing when nothing was found.
pub fn findings_lines(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let place = place(finding).map(|place| format!("{place}: ")).unwrap_or_default();
        let word = word(finding);
        text.push_str(&format!("{word}: {place}{} [{}]\n", sanitize(&finding.message), finding.rule.id));
        for line in &finding.evidence {
            text.push_str(&format!("    {}\n", sanitize(line)));
        }
        if let Some(excuse) = &finding.excuse {
            text.push_str(&format!("    waived: {}\n", sanitize(&excuse.reason)));
        }
    }
    text
}

/// A table in Markdown, and a sentence that says how many count.
pub fn findings_markdown(findings: &[Finding]) -> String {
    let counting = findings.iter().filter(|finding| finding.counts()).count();
    let mut text = format!("{}, {counting} of them against the policy\n", count(findings.len(), "finding"));
    if !findings.is_empty() {
        text.push_str("\n| | what | rule | where |\n|---|---|---|---|\n");
    }
    for finding in findings {
        let message = cell(&finding.message);
        let excuse = finding.excuse.as_ref().map(|excuse| format!(" (waived: {})", cell(&excuse.reason)));
        let place = place(finding).map(|place| format!("`{}`", cell(&place))).unwrap_or_default();
        let rule = finding.rule.id;
        text.push_str(&format!(
            "| {} | {message}{} | `{rule}` | {place} |\n",
            word(finding),
            excuse.unwrap_or_default()
        ));
    }
    text
}

/// Text that cannot end a cell of a table, start markup or hide what it says; what stands between backticks stays code.
pub(super) fn cell(text: &str) -> String {
    let text = sanitize(text);
    let has_code = text.matches('`').count().is_multiple_of(2);
    let mut escaped = String::with_capacity(text.len());
    let mut is_code = false;
    for c in text.chars() {
        is_code ^= has_code && c == '`';
        let is_markup = matches!(c, '<' | '>' | '[' | ']' | '*' | '_' | '\\' | '@' | '#' | '&') && !is_code;
        if c == '|' || is_markup || (c == '`' && !has_code) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

pub(super) fn word(finding: &Finding) -> &'static str {
    match finding.level {
        _ if finding.excuse.is_some() => "waived",
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Note => "note",
    }
}

fn place(finding: &Finding) -> Option<String> {
    finding.place.as_ref().map(|place| format!("{}:{}", place.file, place.line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{FindingPlace, Rule};

    static RULE: Rule = Rule { id: "test-rule", level: Level::Error, title: "a test", help: "none" };

    fn finding() -> Finding {
        let place = Some(FindingPlace { file: "oclock.toml".into(), line: 7 });
        Finding { place, evidence: vec!["locked 1".into()], ..Finding::new(&RULE, "pip:a", "a | b is wrong\u{202e}") }
    }

    #[test]
    fn a_line_makes_sense_alone() {
        assert_eq!(
            findings_lines(&[finding()]),
            "error: oclock.toml:7: a | b is wrong\u{fffd} [test-rule]\n    locked 1\n"
        );
    }

    #[test]
    fn code_stays_code_and_cannot_end_the_cell() {
        assert_eq!(cell("`npm:@a/b_c|d` is *new*"), "`npm:@a/b_c\\|d` is \\*new\\*");
        assert_eq!(cell("a ` <b>"), "a \\` \\<b\\>");
    }

    #[test]
    fn a_table_cannot_be_broken_by_what_was_found() {
        let text = findings_markdown(&[finding()]);
        assert!(text.starts_with("1 finding, 1 of them against the policy\n"));
        assert!(text.ends_with("| error | a \\| b is wrong\u{fffd} | `test-rule` | `oclock.toml:7` |\n"), "{text}");
    }
}
