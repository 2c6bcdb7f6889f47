//! What `audit` looks at beside the lockfile: the lockfile before, licences, the project's files.

use super::error::OpsError;
use super::revision::{RevisionError, read_side};
use super::secrets::secrets_of;
use super::session::Session;
use crate::assemble::AssembleError;
use crate::assemble::files::read_project;
use crate::attest::{Bill, BillRequest, Detail};
use crate::audit::{EVIDENCE_LOST, Finding, LicensedPackage, LockChange, check_lock_change, not_audited};
use crate::base::clock;
use crate::base::explain::{Explain, Kind};
use crate::lock::{LockLines, Lockfile, diff};
use crate::manifest::Manifest;
use crate::model::Sha256;

/// The revision to compare with when none is named.
const BEFORE: &str = "HEAD";

/// What vouched for a package before and does not any more. Without a lockfile before, that is a gap.
pub(super) fn check_evidence(
    session: &Session,
    lock: &Lockfile,
    previous: Option<&str>,
) -> Result<Vec<Finding>, OpsError> {
    let old = match (read_side(session, previous.unwrap_or(BEFORE)), previous) {
        (Ok(old), _) => old.lock,
        (Err(OpsError::Revision(error)), None) => return Ok(vec![nothing_before(&error)]),
        (Err(error), _) => return Err(error),
    };
    let difference = diff(&old, lock);
    let text = crate::lock::render_lockfile(lock);
    let findings = check_lock_change(&LockChange {
        old: &old,
        new: lock,
        diff: &difference,
        old_manifest: None,
        new_manifest: None,
        approved: None,
        min_age_days: None,
        now: clock::now(),
        lines: &LockLines::of(&text),
        file: &session.paths.lockfile.display().to_string(),
    });
    Ok(findings.into_iter().filter(|finding| finding.rule.id == EVIDENCE_LOST.id).collect())
}

fn nothing_before(error: &RevisionError) -> Finding {
    let why = format!("there is no lockfile to compare with: {error}");
    not_audited("evidence", "whether evidence was lost was not audited", &[why])
}

/// What every artifact says of its licence. What cannot be read is a gap; what is damaged is an error.
pub(super) fn licences(session: &Session, lock: &Lockfile) -> Result<Result<Vec<LicensedPackage>, Finding>, OpsError> {
    let mut packages = Vec::new();
    for platform in &lock.platforms {
        let request = BillRequest {
            lock,
            lockfile: Sha256::of(""),
            name: "",
            platform: *platform,
            detail: Detail::Artifacts(&session.store),
        };
        match Bill::new(&request, &session.progress) {
            Ok(bill) => packages.extend(bill.components.into_iter().map(|component| LicensedPackage {
                ecosystem: component.ecosystem,
                name: component.name,
                version: component.version,
                licence: component.licence,
            })),
            Err(error) if error.kind() == Kind::Distrust => return Err(error.into()),
            Err(error) => {
                let mut why = vec![error.to_string()];
                why.extend(error.evidence());
                why.extend(error.hints());
                return Ok(Err(not_audited("licences", "licences were not audited", &why)));
            }
        }
    }
    Ok(Ok(packages))
}

/// The secrets in the project's own files and in the Containerfile.
pub(super) fn secrets(session: &Session, manifest: &Manifest, lock: &Lockfile) -> Result<Vec<Finding>, OpsError> {
    let mut findings: Vec<Finding> = Vec::new();
    for platform in &lock.platforms {
        let rendered = session.rendered(manifest, lock, *platform)?;
        let project = read_project(&session.paths.context(), &rendered.instructions.copies);
        let project = project.map_err(AssembleError::from)?;
        for finding in secrets_of(session, &rendered, &lock.base, *platform, &project)?.findings {
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
    }
    Ok(findings)
}
