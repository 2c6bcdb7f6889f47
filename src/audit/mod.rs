//! Findings: what a reviewer or a policy must see. Rules make them, waivers excuse them.
//!
//! It owns the shape of a finding and how waivers of the manifest apply to findings; each family of rules has its own file.
//! It knows nothing of the terminal, of formats of reports, and of how what it looks at was made.

pub mod advisory;
mod challenge;
mod finding;
mod gap;
pub mod ledger;
mod licence;
mod lock_changes;
mod lock_rules;
mod lock_whole;
mod policy;
pub mod proof;
pub mod secrets;
mod signature;
mod unasked;
mod waiver;

pub use challenge::{CHALLENGE_DIFFERS, Challenged, PlaceAnswer, check_challenge, fetch_challenge};
pub use finding::{Excuse, Finding, FindingPlace, Level, Rule};
pub use gap::{NOT_AUDITED, not_audited};
pub use licence::{LicensedPackage, POLICY_LICENCE, check_licences};
pub use lock_changes::{LockChange, check_lock_change, sort_by_risk};
pub use lock_rules::{EVIDENCE_LOST, LOCK_RULES};
pub use policy::{POLICY_AGE, POLICY_SCRIPT, POLICY_SOURCE, PolicyRequest, check_policy, policy_rules};
pub use signature::{
    SIGNATURE_BAD, SIGNATURE_RULES, SignatureState, Signed, SigstoreRoot, check_signatures, fetch_signatures,
    judge_attestations,
};
pub use waiver::{EXPIRED_WAIVER, UNUSED_WAIVER, Waived, apply_waivers};
