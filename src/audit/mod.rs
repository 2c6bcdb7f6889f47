//! Findings: what a reviewer or a policy must see. Rules make them, waivers excuse them.
//!
//! It owns the shape of a finding and how waivers of the manifest apply to findings; each family of rules has its own file.
//! It knows nothing of the terminal, of formats of reports, and of how what it looks at was made.

mod finding;
pub mod ledger;
pub mod proof;
mod waiver;

pub use finding::{Excuse, Finding, FindingPlace, Level, Rule};
pub use waiver::{EXPIRED_WAIVER, UNUSED_WAIVER, Waived, apply_waivers};
