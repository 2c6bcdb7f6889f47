//! `oclock diff --image`: which files of two images differ, of which package, and how.

use std::path::Path;

use super::build::kept_by_id;
use super::error::OpsError;
use super::session::Session;
use crate::engine::{ImageStorage, save_image};
use crate::image::{ImageComparison, InspectError, OpenImage, compare_images, open_path, open_sealed};
use crate::model::{Platform, Sha256};

/// Two images, as the user names them.
#[derive(Clone, Debug)]
pub struct DiffImagesOptions {
    /// `docker-archive:FILE`, `oci:DIR`, `oci-archive:FILE`, `dir:DIR`, `docker:NAME`, `buildah:NAME`, `sha256:ID` or a path.
    pub first: String,
    /// The same.
    pub second: String,
    /// Which image is meant where a layout holds several.
    pub platform: Option<Platform>,
}

/// Compares two images file by file.
///
/// # Errors
/// When one of them cannot be found or read, or is damaged.
pub fn diff_images(session: &Session, options: &DiffImagesOptions) -> Result<ImageComparison, OpsError> {
    let scratch = session.scratch("images-")?;
    let open = |asked: &str, name: &str| open(session, asked, &scratch.path().join(name), options.platform);
    let first = open(&options.first, "first.tar")?;
    let second = open(&options.second, "second.tar")?;
    let phase = session.progress.spinner("comparing images");
    let comparison = compare_images(&first, &second)?;
    phase.finish(&crate::base::text::count(comparison.files.len(), "difference"));
    Ok(comparison)
}

/// Opens an image; one of an engine is written to `archive` first.
fn open(session: &Session, asked: &str, archive: &Path, platform: Option<Platform>) -> Result<OpenImage, OpsError> {
    let saved = |storage, name: &str| -> Result<OpenImage, OpsError> {
        save_image(storage, name, archive)?;
        Ok(OpenImage { name: asked.to_owned(), ..open_path(archive, platform)? })
    };
    match asked.split_once(':') {
        Some(("docker-archive" | "oci" | "oci-archive" | "dir", path)) => Ok(open_path(Path::new(path), platform)?),
        Some(("docker", name)) => saved(ImageStorage::Docker, name),
        Some(("buildah" | "containers-storage", name)) => saved(ImageStorage::Containers, name),
        Some(("sha256", _)) => {
            let id = Sha256::parse_prefixed(asked).map_err(|error| not_an_image(asked, &error.to_string()))?;
            let image = kept_by_id(&id, &session.store).ok_or(InspectError::NotKept { id })?;
            Ok(open_sealed(&image, &session.store)?)
        }
        _ if Path::new(asked).exists() => Ok(open_path(Path::new(asked), platform)?),
        _ => Err(not_an_image(asked, "nothing is there").into()),
    }
}

fn not_an_image(place: &str, why: &str) -> InspectError {
    InspectError::NotAnImage { place: place.to_owned(), why: why.to_owned() }
}
