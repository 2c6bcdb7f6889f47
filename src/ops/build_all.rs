//! `oclock build --all-platforms`: every locked platform's image, and one index for all of them.

use std::path::PathBuf;

use super::build::{BuildOptions, BuildOutcome, ImageOutput, Loading, WantDigest, build, kept_by_id};
use super::error::OpsError;
use super::session::Session;
use crate::image::{self, EncodedManifest};
use crate::model::{Platform, Sha256};

/// What was built.
#[derive(Clone, Debug, serde::Serialize)]
pub struct BuildAllOutcome {
    /// The images, in the lock's order of platforms.
    pub images: Vec<(Platform, BuildOutcome)>,
    /// The digest of the index.
    pub index: Sha256,
}

/// Builds every platform in turn, as `build` does it for one, and writes one OCI layout with an index of all.
///
/// # Errors
/// As `build`, for the first platform that fails; when another output than OCI layouts is asked for, or none.
pub fn build_all(session: &Session, options: &BuildOptions) -> Result<BuildAllOutcome, OpsError> {
    let mut layouts: Vec<&PathBuf> = Vec::new();
    for output in &options.outputs {
        match output {
            ImageOutput::OciLayout(path) => layouts.push(path),
            ImageOutput::DockerArchive(_) | ImageOutput::Directory(_) => return Err(OpsError::OnePlatform),
        }
    }
    if layouts.is_empty() {
        return Err(OpsError::OnePlatform);
    }
    let platforms = session.lock()?.platforms;
    let section = session.manifest()?.manifest.image;
    let mut images = Vec::new();
    let mut manifests: Vec<(Platform, EncodedManifest)> = Vec::new();
    for platform in platforms {
        let one = BuildOptions {
            platform: Some(platform),
            loading: Loading::Nothing,
            outputs: Vec::new(),
            digest: WantDigest::Yes,
            ..options.clone()
        };
        let outcome = build(session, &one)?;
        let image = kept_by_id(&outcome.id, &session.store).ok_or(OpsError::NoPlatform)?;
        manifests.push((platform, image::manifest_of(&image, section.compression, &session.store, &session.progress)?));
        images.push((platform, outcome));
    }
    let names = match &options.loading {
        Loading::Tags(tags) => tags.clone(),
        Loading::Nothing | Loading::Manifest => {
            section.tags.iter().map(|tag| format!("{}:{tag}", section.name)).collect()
        }
    };
    let index = image::index_of(&manifests)?;
    for path in layouts {
        image::write_oci_index(path, &index, &manifests, &names, &session.store)?;
    }
    Ok(BuildAllOutcome { images, index: Sha256::of(&index) })
}
