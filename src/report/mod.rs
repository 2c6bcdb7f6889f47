//! Outcomes as text: for people and as JSON. Knows no terminal.

mod human;

pub use human::{
    attest_lines, build_lines, context_lines, fetch_lines, info_lines, init_lines, list_lines, path_lines, size_lines,
    update_lines, verify_lines,
};

/// An outcome as one line of JSON.
pub fn json(outcome: &impl serde::Serialize) -> String {
    serde_json::to_string(outcome).unwrap_or_default()
}
