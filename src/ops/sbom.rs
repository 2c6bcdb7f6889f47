//! `oclock sbom`: what is in the image, for scanners and lawyers.

use super::attest::{AttestOutcome, Attesting, Said, attest};
use super::error::OpsError;
use super::session::{Session, platform_of};
use crate::attest::{Bill, BillRequest, CYCLONEDX, Detail, SPDX, render_cyclonedx, render_spdx};
use crate::base::fs;
use crate::model::{Platform, Sha256};

/// The format of a bill of materials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BillFormat {
    /// CycloneDX 1.6 JSON.
    CycloneDx,
    /// SPDX 2.3 JSON.
    Spdx,
}

/// What the bill is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BillSource {
    /// The lockfile and the artifacts in the store.
    Store,
    /// The lockfile alone: without licences, suppliers and authors.
    LockAlone,
}

/// Which bill, and what is done with it.
#[derive(Clone, Debug)]
pub struct SbomOptions {
    /// The platform; the lock's first when not given.
    pub platform: Option<Platform>,
    /// Its format.
    pub format: BillFormat,
    /// What it is made from.
    pub source: BillSource,
    /// What is done with it.
    pub attesting: Attesting,
}

/// Writes the bill of materials of an image. Offline, unless it is attached to a registry.
///
/// # Errors
/// When the lockfile is missing or wrong, artifacts are not in the store, or it cannot be signed or attached.
pub fn sbom(session: &Session, options: &SbomOptions) -> Result<AttestOutcome, OpsError> {
    let manifest = session.manifest()?.manifest;
    let lock = session.lock()?;
    let platform = platform_of(options.platform, &lock)?;
    let request = BillRequest {
        lock: &lock,
        lockfile: Sha256::of(fs::read(&session.paths.lockfile)?),
        name: &manifest.image.name,
        platform,
        detail: match options.source {
            BillSource::Store => Detail::Artifacts(&session.store),
            BillSource::LockAlone => Detail::LockAlone,
        },
    };
    let bill = Bill::new(&request, &session.progress)?;
    let (kind, predicate) = match options.format {
        BillFormat::CycloneDx => (CYCLONEDX, render_cyclonedx(&bill)),
        BillFormat::Spdx => (SPDX, render_spdx(&bill)),
    };
    let said = Said { manifest: &manifest, platform, image: bill.image, epoch: lock.epoch, kind, predicate };
    attest(session, &said, &options.attesting)
}
