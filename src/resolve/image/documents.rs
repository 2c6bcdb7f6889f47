//! The documents of a registry: index, manifest and config, in OCI's and in Docker's media types.

use serde::Deserialize;

use super::error::ImageError;
use crate::lock::BaseLayer;
use crate::model::{Platform, Sha256};

/// Media types that we understand, best first.
pub(super) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";

/// The most bytes a manifest or config may have.
pub(super) const CONFIG_LIMIT: u64 = 4 << 20;

/// A manifest as it was served.
#[derive(Clone, Debug)]
pub(super) struct Served {
    pub bytes: Vec<u8>,
    pub digest: Sha256,
}

/// A manifest that was read.
#[derive(Clone, Debug)]
pub(super) enum Manifest {
    Index(Vec<IndexEntry>),
    Image { config: Descriptor, layers: Vec<Descriptor> },
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct IndexEntry {
    #[serde(deserialize_with = "prefixed")]
    digest: Sha256,
    platform: Option<IndexPlatform>,
}

#[derive(Clone, Debug, Deserialize)]
struct IndexPlatform {
    os: String,
    architecture: String,
}

/// What a manifest says of a blob.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(deserialize_with = "prefixed")]
    pub digest: Sha256,
    pub size: u64,
    #[serde(default)]
    media_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawManifest {
    schema_version: u32,
    manifests: Option<Vec<IndexEntry>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
}

/// What the config says that pins need.
pub(super) struct ConfigFacts {
    pub os: String,
    pub architecture: String,
    pub diff_ids: Vec<Sha256>,
}

pub(super) fn parse_manifest(served: &Served, name: &str) -> Result<Manifest, ImageError> {
    let error = |detail: String| ImageError::Document { reference: name.to_owned(), detail };
    let raw: RawManifest = serde_json::from_slice(&served.bytes).map_err(|problem| error(problem.to_string()))?;
    match raw {
        RawManifest { schema_version: 2, manifests: Some(entries), .. } => Ok(Manifest::Index(entries)),
        RawManifest { schema_version: 2, config: Some(config), layers: Some(layers), .. } => {
            Ok(Manifest::Image { config, layers })
        }
        RawManifest { schema_version, .. } => {
            Err(error(format!("a manifest of schema version {schema_version} without layers")))
        }
    }
}

pub(super) fn parse_config(bytes: &[u8], name: &str) -> Result<ConfigFacts, ImageError> {
    #[derive(Deserialize)]
    struct Raw {
        os: String,
        architecture: String,
        rootfs: RawRoot,
    }
    #[derive(Deserialize)]
    struct RawRoot {
        diff_ids: Vec<String>,
    }
    let error = |detail: String| ImageError::Document { reference: name.to_owned(), detail };
    let raw: Raw = serde_json::from_slice(bytes).map_err(|problem| error(problem.to_string()))?;
    let diff_ids = raw.rootfs.diff_ids.iter().map(|text| Sha256::parse_prefixed(text)).collect::<Result<_, _>>();
    Ok(ConfigFacts {
        os: raw.os,
        architecture: raw.architecture,
        diff_ids: diff_ids.map_err(|problem| error(problem.to_string()))?,
    })
}

/// The entry for a platform. Attestations have the platform `unknown/unknown` and never match.
pub(super) fn pick(entries: &[IndexEntry], platform: Platform) -> Option<Sha256> {
    let matches = |entry: &&IndexEntry| {
        entry
            .platform
            .as_ref()
            .is_some_and(|p| p.os == platform.os() && p.architecture == platform.architecture.as_str())
    };
    entries.iter().find(matches).map(|entry| entry.digest)
}

pub(super) fn offered(entries: &[IndexEntry]) -> Vec<String> {
    entries.iter().filter_map(|entry| entry.platform.as_ref()).map(|p| format!("{}/{}", p.os, p.architecture)).collect()
}

/// Joins the manifest's layers with the config's diff_ids.
pub(super) fn layers(layers: &[Descriptor], diff_ids: &[Sha256], name: &str) -> Result<Vec<BaseLayer>, ImageError> {
    let error = |detail: String| ImageError::Document { reference: name.to_owned(), detail };
    if layers.len() != diff_ids.len() {
        return Err(error(format!("{} layers and {} diff_ids", layers.len(), diff_ids.len())));
    }
    if let Some(layer) = layers
        .iter()
        .find(|layer| layer.media_type.contains("foreign") || layer.media_type.contains("nondistributable"))
    {
        return Err(error(format!("a layer that registries do not serve ({})", layer.media_type)));
    }
    let join = |(layer, diff_id): (&Descriptor, &Sha256)| BaseLayer {
        digest: layer.digest,
        size: layer.size,
        diff_id: *diff_id,
    };
    Ok(layers.iter().zip(diff_ids).map(join).collect())
}

fn prefixed<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Sha256, D::Error> {
    let text = String::deserialize(deserializer)?;
    Sha256::parse_prefixed(&text).map_err(serde::de::Error::custom)
}
