//! `oclock provenance`: how the recorded image came to be, every input by digest.

use super::attest::{AttestOutcome, Attesting, Said, attest};
use super::build::prepare;
use super::error::OpsError;
use super::session::Session;
use crate::attest::{AttestError, Bill, BillRequest, Detail, PROVENANCE, ProvenanceRequest, render_provenance};
use crate::base::fs;
use crate::fetch;
use crate::model::{Platform, Sha256};

/// Of which image, and what is done with it.
#[derive(Clone, Debug)]
pub struct ProvenanceOptions {
    /// The platform; the lock's first when not given.
    pub platform: Option<Platform>,
    /// Who vouches for the build: a URI.
    pub builder: String,
    /// What is done with it.
    pub attesting: Attesting,
}

/// Says how the recorded image came to be, after checking that the project still gives the recorded build context.
///
/// # Errors
/// When the lockfile does not answer the manifest or records no image, artifacts are not in the store, the project's
/// files are not those of the recorded image, or it cannot be signed or attached.
pub fn provenance(session: &Session, options: &ProvenanceOptions) -> Result<AttestOutcome, OpsError> {
    let prepared = prepare(session, options.platform)?;
    let (lock, platform) = (&prepared.lock, prepared.platform);
    let image = *lock.images.get(&platform).ok_or(AttestError::NotRecorded { platform })?;
    let plan = fetch::plan(lock, platform, &session.store);
    if !plan.artifacts.is_empty() {
        let missing = plan.artifacts.iter().map(|want| want.label.clone()).collect();
        return Err(AttestError::Missing { missing }.into());
    }
    let context = prepared.assemble(session)?.digest();
    if context != image.context {
        return Err(OpsError::FilesChanged { recorded: image.context, found: context });
    }
    let digest = |path: &std::path::Path| fs::read(path).map(Sha256::of);
    let request = BillRequest {
        lock,
        lockfile: digest(&session.paths.lockfile)?,
        name: &prepared.manifest.image.name,
        platform,
        detail: Detail::LockAlone,
    };
    let bill = Bill::new(&request, &session.progress)?;
    let predicate = render_provenance(&ProvenanceRequest {
        lock,
        bill: &bill,
        image,
        manifest: digest(&session.paths.manifest)?,
        template: digest(&session.paths.template())?,
        builder: &options.builder,
    });
    let manifest = &prepared.manifest;
    let said = Said { manifest, platform, image: Some(image), epoch: lock.epoch, kind: PROVENANCE, predicate };
    attest(session, &said, &options.attesting)
}
