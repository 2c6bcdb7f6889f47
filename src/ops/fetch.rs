//! `oclock fetch`: what the lockfile names and the store lacks.

use super::base::ensure_base;
use super::error::OpsError;
use super::first_seen;
use super::pruned::surveys;
use super::session::Session;
use crate::fetch;
use crate::lock::Lockfile;
use crate::manifest::Manifest;
use crate::resolve::apt::remember_later;
use crate::source::Sources;

/// What was fetched.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct FetchReport {
    /// Files that came in.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Signed indexes of the lock that the archives have replaced.
    pub superseded: usize,
    /// Signed indexes of today, which vouch in their place.
    pub later: usize,
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
        if !outcome.superseded.is_empty() && want == Want::Proofs && !session.http.is_offline() {
            report.later += session.block_on(remember_today(session, manifest, &sources, lock))?;
        }
        if outcome.files > 0 {
            first_seen::record(session, lock.pins().filter(|pin| pin.platform == *platform));
        }
    }
    Ok(report)
}

/// Brings the signed indexes of today, which list what the lock has from replaced ones; returns how many there are.
async fn remember_today(
    session: &Session,
    manifest: &Manifest,
    sources: &Sources,
    lock: &Lockfile,
) -> Result<usize, OpsError> {
    let mut number = 0;
    for survey in surveys(session, manifest, sources, lock, None).await? {
        remember_later(&survey.today, survey.platform, &session.store)?;
        number += survey.today.archives().count();
    }
    Ok(number)
}
