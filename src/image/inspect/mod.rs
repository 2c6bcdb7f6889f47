//! Looking into images, one's own and others': where they lie, which files they hold, which package each file is of.
//!
//! Layers are read once, as streams: what is held is one short record for each path, whatever the size of the image. Every
//! layer is verified against the config's diff_ids, and against the manifest's digests where it has some.

mod bundle;
mod error;
mod files;
mod owners;

pub use bundle::{Blob, open_path};
pub use error::InspectError;
pub use files::{FileRecord, ImageFiles, LayerCache, RecordKind};
pub(super) use owners::Owners;

use serde_json::Value;

use super::seal::SealedImage;
use crate::model::Sha256;
use crate::store::Store;

/// An image whose documents were read and whose layers were found.
#[derive(Debug)]
pub struct OpenImage {
    /// What it is called.
    pub name: String,
    /// The image ID: sha256 of the config.
    pub id: Sha256,
    /// The config.
    pub config: Value,
    /// The layers, lowest first.
    pub layers: Vec<LayerBlob>,
}

/// One layer as it lies somewhere.
#[derive(Clone, Debug)]
pub struct LayerBlob {
    /// Its bytes, compressed or not.
    pub blob: Blob,
    /// What they hash to, where a manifest says it.
    pub digest: Option<Sha256>,
    /// What the uncompressed tar hashes to.
    pub diff_id: Sha256,
    /// What made it, as the config's history says.
    pub step: Option<String>,
}

/// Opens an image whose layers and config are blobs of the store.
///
/// # Errors
/// When one of them is missing or damaged.
pub fn open_sealed(image: &SealedImage, store: &Store) -> Result<OpenImage, super::SealError> {
    let config = store.read_blob(&image.id)?;
    let config = serde_json::from_slice(&config).map_err(|source| super::SealError::Json { what: "config", source })?;
    let mut layers = Vec::new();
    for layer in &image.layers {
        if !store.contains(&layer.diff_id) {
            return Err(crate::store::StoreError::Missing { digest: layer.diff_id }.into());
        }
        layers.push(LayerBlob {
            blob: Blob::of_file(&store.blob_path(&layer.diff_id))?,
            digest: None,
            diff_id: layer.diff_id,
            step: Some(format!("{}{}", super::config::CREATED_BY, layer.origin)),
        });
    }
    Ok(OpenImage { name: image.id.prefixed(), id: image.id, config, layers })
}
