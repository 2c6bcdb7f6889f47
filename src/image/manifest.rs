//! The manifest with compressed layers: made only when an image leaves for a layout, an archive or a registry.
//!
//! Source: Docker Image Manifest Version 2, Schema 2; OCI Image Manifest Specification 1.1.

use serde::{Deserialize, Serialize};

use super::SealError;
use super::encode::{EncodingWriter, Pool, encoder, with_pool};
use super::seal::{SealedImage, SealedLayer};
use crate::base::archive::Compression;
use crate::base::fs::copy_with;
use crate::base::progress::{Phase, Progress};
use crate::base::text::{count, human_size};
use crate::model::{Hasher, LayerCompression, Sha256};
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

/// The dialect of an image's manifest: Docker's has no layers with zstd that its own registry clients read.
///
/// # Errors
/// When the dialect would lose a HEALTHCHECK.
pub fn manifest_format(compression: LayerCompression, has_healthcheck: bool) -> Result<ManifestFormat, SealError> {
    match (compression, has_healthcheck) {
        (LayerCompression::Gzip, _) => Ok(ManifestFormat::Docker),
        (LayerCompression::Zstd, false) => Ok(ManifestFormat::Oci),
        (LayerCompression::Zstd, true) => Err(SealError::HealthcheckLost),
    }
}

/// Compresses the layers that are not compressed yet and writes the manifest, the one whose digest a lock records.
///
/// # Errors
/// When a layer is missing or damaged, the store cannot be written, or the dialect would lose a HEALTHCHECK.
pub fn manifest_of(
    image: &SealedImage,
    compression: LayerCompression,
    store: &Store,
    progress: &Progress,
) -> Result<EncodedManifest, SealError> {
    let format = manifest_format(compression, image.has_healthcheck)?;
    let config = Blob { digest: image.id, size: store.read_blob(&image.id)?.len() as u64 };
    let known: Vec<Option<Blob>> = image.layers.iter().map(|layer| known_blob(layer, compression, store)).collect();
    let missing = image.layers.iter().zip(&known).filter(|(_, blob)| blob.is_none());
    let phase = progress.bytes("compressing layers", missing.map(|(layer, _)| layer.size).sum());
    let is_new = known.iter().any(Option::is_none);
    let layers = with_pool(compression, |pool| {
        let encoded =
            |(layer, blob): (_, Option<Blob>)| blob.map_or_else(|| encode_layer(layer, pool, store, &phase), Ok);
        image.layers.iter().zip(known).map(encoded).collect::<Result<Vec<Blob>, SealError>>()
    })?;
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
                let own = match compression {
                    LayerCompression::Gzip => Compression::Gzip,
                    LayerCompression::Zstd => Compression::Zstd,
                };
                let compression = layer.blob.map_or(own, |base| base.compression);
                Descriptor::new(format.layer_type(compression), *blob)
            })
            .collect(),
    };
    let bytes = serde_json::to_vec(&file).map_err(|source| SealError::Json { what: "manifest", source })?;
    Ok(EncodedManifest { digest: Sha256::of(&bytes), bytes, format, config, layers })
}

fn question(diff_id: &Sha256, compression: LayerCompression) -> Sha256 {
    let mut hasher = Hasher::default();
    hasher.field(encoder(compression));
    hasher.field(diff_id.as_bytes());
    hasher.finish()
}

/// What a layer compresses to, when that is known and still in the store.
fn known_blob(layer: &SealedLayer, compression: LayerCompression, store: &Store) -> Option<Blob> {
    if let Some(base) = layer.blob {
        return Some(base.blob);
    }
    let answer = store.memo(MEMO, &question(&layer.diff_id, compression))?;
    let blob: Blob = serde_json::from_slice(&answer).ok()?;
    store.contains(&blob.digest).then_some(blob)
}

fn encode_layer(layer: &SealedLayer, pool: &Pool, store: &Store, phase: &Phase) -> Result<Blob, SealError> {
    let mut file = store.open_blob(&layer.diff_id)?;
    let mut writer = EncodingWriter::new(pool, store.create_blob()?);
    let copied = copy_with(&mut file, &mut writer, |piece| phase.advance(piece.len() as u64));
    let written = copied.and_then(|_| writer.finish());
    let (digest, size) =
        written.map_err(|source| SealError::Encode { diff_id: layer.diff_id, source })?.commit(None)?;
    let blob = Blob { digest, size };
    keep_encoded(&layer.diff_id, pool.compression(), blob, store)?;
    Ok(blob)
}

/// Remembers what a layer compresses to.
pub(super) fn keep_encoded(
    diff_id: &Sha256,
    compression: LayerCompression,
    blob: Blob,
    store: &Store,
) -> Result<(), SealError> {
    let answer = serde_json::to_vec(&blob).map_err(|source| SealError::Json { what: "layer", source })?;
    Ok(store.set_memo(MEMO, &question(diff_id, compression), &answer)?)
}
