//! `oclock fetch`: what the lockfile names and the store lacks.

use super::base::ensure_base;
use super::error::OpsError;
use super::first_seen;
use super::session::Session;
use crate::fetch;
use crate::lock::Lockfile;
use crate::manifest::Manifest;

/// What was fetched.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct FetchReport {
    /// Files that came in.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Signed indexes that the archives have replaced, so that their signatures cannot be verified from here.
    pub superseded: usize,
}

/// Fetches for every platform of the lock.
///
/// # Errors
/// When a source cannot be reached, has an artifact no more, or sends other bytes.
pub fn fetch(session: &Session) -> Result<FetchReport, OpsError> {
    let file = session.manifest()?;
    let lock = session.lock()?;
    ensure_artifacts(session, &file.manifest, &lock, Want::Proofs)
}

/// What is worth asking the network for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// What a build needs.
    Artifacts,
    /// That, and the signed indexes that prove it.
    Proofs,
}

pub(super) fn ensure_artifacts(
    session: &Session,
    manifest: &Manifest,
    lock: &Lockfile,
    want: Want,
) -> Result<FetchReport, OpsError> {
    let mut report = FetchReport::default();
    for platform in &lock.platforms {
        let base = ensure_base(session, manifest, lock, *platform)?;
        report.files += base.files;
        report.bytes += base.bytes;
        let plan = fetch::plan(lock, *platform, &session.store);
        if plan.artifacts.is_empty() && (want == Want::Artifacts || plan.proofs.is_empty()) {
            continue;
        }
        if !plan.artifacts.is_empty() {
            first_seen::refuse_republished(session, lock)?;
        }
        let sources = session.sources(manifest)?;
        let quarantine = session.paths.quarantine();
        let work = fetch::fetch(&plan, &sources, &session.http, &session.store, &session.progress, &quarantine);
        let outcome = session.block_on(work)?;
        report.files += outcome.files;
        report.bytes += outcome.bytes;
        report.superseded += outcome.superseded.len();
        if outcome.files > 0 {
            first_seen::record(session, lock.pins().filter(|pin| pin.platform == *platform));
        }
    }
    Ok(report)
}
