//! The manifest with compressed layers: made only when an image leaves for a layout, an archive or a registry.
//!
//! Source: Docker Image Manifest Version 2, Schema 2; OCI Image Manifest Specification 1.1.

use serde::{Deserialize, Serialize};

use super::SealError;
use super::encode::{ENCODER, encode};
use super::seal::{SealedImage, SealedLayer};
use crate::base::archive::Compression;
use crate::base::progress::{Phase, Progress};
use crate::base::text::{count, human_size};
use crate::model::{Hasher, Sha256};
use crate::store::Store;

/// The memo that says which blob a layer compresses to.
const MEMO: &str = "encoded-layer";

/// The dialect of a manifest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ManifestFormat {
    /// Docker schema 2, which keeps a HEALTHCHECK.
    #[default]
    Docker,
    /// OCI 1.1, which does not know one.
    Oci,
}

impl ManifestFormat {
    /// The manifest's media type.
    pub fn manifest_type(self) -> &'static str {
        match self {
            Self::Docker => "application/vnd.docker.distribution.manifest.v2+json",
            Self::Oci => "application/vnd.oci.image.manifest.v1+json",
        }
    }

    fn config_type(self) -> &'static str {
        match self {
            Self::Docker => "application/vnd.docker.container.image.v1+json",
            Self::Oci => "application/vnd.oci.image.config.v1+json",
        }
    }

    fn layer_type(self, compression: Compression) -> &'static str {
        match (self, compression) {
            (Self::Docker, Compression::Gzip) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
            (Self::Docker, Compression::Zstd) => "application/vnd.docker.image.rootfs.diff.tar.zstd",
            (Self::Docker, _) => "application/vnd.docker.image.rootfs.diff.tar",
            (Self::Oci, Compression::Gzip) => "application/vnd.oci.image.layer.v1.tar+gzip",
            (Self::Oci, Compression::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
            (Self::Oci, _) => "application/vnd.oci.image.layer.v1.tar",
        }
    }
}

/// A blob by digest and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    /// sha256 of its bytes.
    pub digest: Sha256,
    /// How many there are.
    pub size: u64,
}

/// A layer of the base image as its registry has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseBlob {
    /// The bytes.
    pub blob: Blob,
    /// How they are compressed.
    pub compression: Compression,
}

/// A manifest and the blobs that it names, all of them in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedManifest {
    /// sha256 of `bytes`: the manifest digest.
    pub digest: Sha256,
    /// The manifest.
    pub bytes: Vec<u8>,
    /// Its dialect.
    pub format: ManifestFormat,
    /// The config.
    pub config: Blob,
    /// The compressed layers, lowest first.
    pub layers: Vec<Blob>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ManifestFile {
    schema_version: u32,
    media_type: &'static str,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: &'static str,
    size: u64,
    digest: String,
}

impl Descriptor {
    fn new(media_type: &'static str, blob: Blob) -> Self {
        Self { media_type, size: blob.size, digest: blob.digest.prefixed() }
    }
}

/// The image's manifest in Docker's dialect, the one whose digest a lock records.
///
/// # Errors
/// As [`manifest_of`].
pub fn manifest_digest(image: &SealedImage, store: &Store, progress: &Progress) -> Result<EncodedManifest, SealError> {
    manifest_of(image, ManifestFormat::Docker, store, progress)
}

/// Compresses the layers that are not compressed yet and writes the manifest.
///
/// # Errors
/// When a layer is missing or damaged, the store cannot be written, or the dialect would lose a HEALTHCHECK.
pub fn manifest_of(
    image: &SealedImage,
    format: ManifestFormat,
    store: &Store,
    progress: &Progress,
) -> Result<EncodedManifest, SealError> {
    if format == ManifestFormat::Oci && image.has_healthcheck {
        return Err(SealError::HealthcheckLost);
    }
    let config = Blob { digest: image.id, size: store.read_blob(&image.id)?.len() as u64 };
    let known: Vec<Option<Blob>> = image.layers.iter().map(|layer| known_blob(layer, store)).collect();
    let missing = image.layers.iter().zip(&known).filter(|(_, blob)| blob.is_none());
    let phase = progress.bytes("compressing layers", missing.map(|(layer, _)| layer.size).sum());
    let is_new = known.iter().any(Option::is_none);
    let mut layers = Vec::new();
    for (layer, blob) in image.layers.iter().zip(known) {
        layers.push(blob.map_or_else(|| encode_layer(layer, store, &phase), Ok)?);
    }
    if is_new {
        let size = layers.iter().map(|layer| layer.size).sum();
        phase.finish(&format!("{}, {}", count(layers.len(), "layer"), human_size(size)));
    }
    let file = ManifestFile {
        schema_version: 2,
        media_type: format.manifest_type(),
        config: Descriptor::new(format.config_type(), config),
        layers: layers
            .iter()
            .zip(&image.layers)
            .map(|(blob, layer)| {
                let compression = layer.blob.map_or(Compression::Gzip, |base| base.compression);
                Descriptor::new(format.layer_type(compression), *blob)
            })
            .collect(),
    };
    let bytes = serde_json::to_vec(&file).map_err(|source| SealError::Json { what: "manifest", source })?;
    Ok(EncodedManifest { digest: Sha256::of(&bytes), bytes, format, config, layers })
}

fn question(diff_id: &Sha256) -> Sha256 {
    let mut hasher = Hasher::default();
    hasher.field(ENCODER);
    hasher.field(diff_id.as_bytes());
    hasher.finish()
}

/// What a layer compresses to, when that is known and still in the store.
fn known_blob(layer: &SealedLayer, store: &Store) -> Option<Blob> {
    if let Some(base) = layer.blob {
        return Some(base.blob);
    }
    let answer = store.memo(MEMO, &question(&layer.diff_id))?;
    let blob: Blob = serde_json::from_slice(&answer).ok()?;
    store.contains(&blob.digest).then_some(blob)
}

fn encode_layer(layer: &SealedLayer, store: &Store, phase: &Phase) -> Result<Blob, SealError> {
    let file = store.open_blob(&layer.diff_id)?;
    let writer = encode(&file, store.create_blob()?, |bytes| phase.advance(bytes))
        .map_err(|source| SealError::Encode { diff_id: layer.diff_id, source })?;
    let (digest, size) = writer.commit(None)?;
    let blob = Blob { digest, size };
    keep_encoded(&layer.diff_id, blob, store)?;
    Ok(blob)
}

/// Remembers what a layer compresses to.
pub(super) fn keep_encoded(diff_id: &Sha256, blob: Blob, store: &Store) -> Result<(), SealError> {
    let answer = serde_json::to_vec(&blob).map_err(|source| SealError::Json { what: "layer", source })?;
    Ok(store.set_memo(MEMO, &question(diff_id), &answer)?)
}
