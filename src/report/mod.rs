//! Outcomes as text: for people, as JSON, and findings also as Markdown and SARIF. Knows no terminal.

mod audit;
mod diff;
mod diff_images;
mod diff_markdown;
mod findings;
mod human;
mod proof;
mod sarif;
mod textconv;
mod update;
mod why;

use crate::model::Ecosystem;

pub use audit::{audit_lines, audit_markdown};
pub use diff::diff_outcome_lines;
pub use diff_images::image_comparison_lines;
pub use diff_markdown::diff_outcome_markdown;
pub use findings::{findings_lines, findings_markdown};
pub use proof::{proof_lines, proof_markdown};
pub use sarif::findings_sarif;
pub use textconv::textconv_lines;

pub use human::{
    attest_lines, build_all_lines, build_lines, context_lines, fetch_lines, gc_lines, info_lines, init_lines,
    list_lines, path_lines, size_lines, verify_lines,
};
pub use update::update_lines;
pub use why::why_lines;

/// `pip:numbers`, and what it builds where it is in no image.
fn pin_name(ecosystem: Ecosystem, name: &str, builds: Option<&str>) -> String {
    let builds = builds.map(|built| format!(" (builds {built})")).unwrap_or_default();
    format!("{ecosystem}:{name}{builds}")
}

/// An outcome as one line of JSON.
pub fn json(outcome: &impl serde::Serialize) -> String {
    serde_json::to_string(outcome).unwrap_or_default()
}
