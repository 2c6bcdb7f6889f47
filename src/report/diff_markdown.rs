//! How two lockfiles differ, as a comment of a pull request: risk first, the ordinary folded, and cut where it must be.

use super::diff::{age, asker, fate_word, growth, questions, totals, versions};
use super::findings::{cell, word};
use super::pin_name;
use crate::audit::Finding;
use crate::base::text::count;
use crate::ops::{ChangedPin, DiffOutcome};

/// The most that a comment may have is 65,536 characters; some room is left for what a workflow puts around it.
const LIMIT: usize = 64_000;
/// Room for what stands at the end whatever was cut.
const ENDING: usize = 1_000;

/// Tables of findings and pins within the size of a comment. What is left out is said.
pub fn diff_outcome_markdown(outcome: &DiffOutcome) -> String {
    let mut text = String::from("### Lockfile\n\n");
    let ending = format!("`{}` → `{}`\n", outcome.old, outcome.new);
    if !outcome.differs {
        return format!("{text}Nothing changed: {ending}");
    }
    text.push_str(&format!("{}; {}.\n", totals(outcome), questions(outcome)));
    if outcome.findings.is_empty() {
        text.push_str("\nNothing stands out.\n");
    } else {
        let head = "\n| | what | rule | where |\n|---|---|---|---|\n";
        rows(&mut text, head, outcome.findings.iter().map(finding_row), "finding");
    }
    if !outcome.pins.is_empty() {
        text.push_str(&format!("\n<details><summary>{}</summary>\n", count(outcome.pins.len(), "changed pin")));
        let head = "\n| | package | version | bump | age | size | asked for by |\n|---|---|---|---|---|---|---|\n";
        rows(&mut text, head, outcome.pins.iter().map(pin_row), "pin");
        text.push_str("\n</details>\n");
    }
    format!("{text}\n{ending}")
}

/// Appends rows while there is room, and says how many there was none for.
fn rows(text: &mut String, head: &str, rows: impl Iterator<Item = String>, noun: &str) {
    text.push_str(head);
    let mut left_out = 0;
    for row in rows {
        if left_out > 0 || text.len() + row.len() > LIMIT - ENDING {
            left_out += 1;
        } else {
            text.push_str(&row);
        }
    }
    if left_out > 0 {
        let what = count(left_out, noun);
        text.push_str(&format!("\n**{what} left out: a comment has no room for more. `oclock diff` shows all.**\n"));
    }
}

fn finding_row(finding: &Finding) -> String {
    let excuse = finding.excuse.as_ref().map(|excuse| format!(" (waived: {})", cell(&excuse.reason)));
    let evidence: String = finding.evidence.iter().map(|line| format!("<br>`{}`", cell(line.trim()))).collect();
    let place = finding.place.as_ref().map(|place| format!("`{}:{}`", cell(&place.file), place.line));
    format!(
        "| {} | {}{}{evidence} | `{}` | {} |\n",
        word(finding),
        cell(&finding.message),
        excuse.unwrap_or_default(),
        finding.rule.id,
        place.unwrap_or_default()
    )
}

fn pin_row(pin: &ChangedPin) -> String {
    let mark = if pin.rules.is_empty() { "" } else { "⚠ " };
    let bump = pin.bump.map(|bump| bump.as_str()).unwrap_or_default();
    format!(
        "| {mark}{} | `{}` | {} | {bump} | {} | {} | {} |\n",
        fate_word(pin.fate),
        pin_name(pin.ecosystem, &pin.name, pin.builds.as_deref()),
        cell(&versions(pin, "→")),
        age(pin),
        growth(pin.growth),
        cell(&asker(pin))
    )
}
