//! Images that an engine keeps, written out as docker archives.

use std::path::Path;

use super::EngineError;
use crate::base::process::{Invocation, ProcessError};
use crate::base::text::sanitize;

/// Where an engine keeps its images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageStorage {
    /// The docker daemon's images.
    Docker,
    /// The images that buildah and podman share.
    Containers,
}

/// Writes an image that an engine keeps to a file that is not there yet.
///
/// # Errors
/// When the engine's program cannot be started, or does not know the image.
pub fn save_image(storage: ImageStorage, name: &str, archive: &Path) -> Result<(), EngineError> {
    if name.is_empty() || name.starts_with('-') {
        return Err(EngineError::Answer {
            engine: program(storage),
            what: format!("`{}` is no name of an image", sanitize(name)),
        });
    }
    let invocation = match storage {
        ImageStorage::Docker => Invocation::new("docker").args(["save", "--output"]).arg(archive).arg(name),
        ImageStorage::Containers => {
            let target = format!("docker-archive:{}", archive.display());
            Invocation::new("buildah").args(["push", "--quiet", name, &target])
        }
    };
    let failed = |source: ProcessError| EngineError::Failed {
        engine: program(storage),
        action: "write out the image",
        source: Box::new(source),
    };
    invocation.run().map(|_| ()).map_err(failed)
}

fn program(storage: ImageStorage) -> &'static str {
    match storage {
        ImageStorage::Docker => "docker",
        ImageStorage::Containers => "buildah",
    }
}
