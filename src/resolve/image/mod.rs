//! Base images: a tag → the digests of its index, manifests, configs and layers, over the registry API
//! (OCI distribution specification 1.1, "Pull"). It knows nothing of packages and of how layers are used.

mod documents;
mod error;
mod registry;

use std::collections::BTreeMap;

pub use error::ImageError;
pub use registry::Challenge;

use crate::base::http::HttpClient;
use crate::base::progress::Progress;
use crate::lock::{BaseManifest, BasePin};
use crate::model::{ImageReference, Platform, Sha256};
use crate::source::Source;
use crate::store::Store;
use documents::{Manifest, Served};
use registry::Registry;

/// Which image, for which platforms.
#[derive(Clone, Copy, Debug)]
pub struct ImageRequest<'a> {
    /// The reference as asked.
    pub reference: &'a ImageReference,
    /// The platforms that the image must have.
    pub platforms: &'a [Platform],
}

/// Finds what the reference names today. Manifests and configs go into the store.
///
/// # Errors
/// When the registry cannot be reached, does not know the name, lacks a platform, or serves other bytes than it says.
pub async fn resolve(
    request: &ImageRequest<'_>,
    source: &Source,
    http: &HttpClient,
    store: &Store,
) -> Result<BasePin, ImageError> {
    let registry = Registry::new(source, http, request.reference);
    let served = match &request.reference.digest {
        Some(digest) => registry.manifest(digest).await?,
        None => registry.tagged(request.reference.tag.as_deref().unwrap_or("latest")).await?,
    };
    store.add_blob(&served.bytes)?;
    let mut manifests = BTreeMap::new();
    for platform in request.platforms {
        manifests.insert(*platform, platform_manifest(&registry, &served, *platform, store).await?);
    }
    // A lock names no host: which registry it is, the source says.
    let reference = ImageReference { registry: None, ..request.reference.clone() };
    Ok(BasePin::Image { reference, source: source.name.clone(), index: served.digest, manifests })
}

async fn platform_manifest(
    registry: &Registry<'_>,
    top: &Served,
    platform: Platform,
    store: &Store,
) -> Result<BaseManifest, ImageError> {
    let index = documents::parse_manifest(top, registry.name())?;
    let (served, manifest) = match index {
        Manifest::Index(entries) => {
            let digest = documents::pick(&entries, platform).ok_or_else(|| ImageError::NoPlatform {
                reference: registry.name().to_owned(),
                platform,
                offered: documents::offered(&entries),
            })?;
            let served = registry.manifest(&digest).await?;
            let manifest = documents::parse_manifest(&served, registry.name())?;
            (served, manifest)
        }
        single @ Manifest::Image { .. } => (top.clone(), single),
    };
    let Manifest::Image { config, layers } = manifest else {
        return Err(ImageError::Document {
            reference: registry.name().to_owned(),
            detail: "an index inside an index".into(),
        });
    };
    let config_bytes = registry.config(&config.digest).await?;
    let facts = documents::parse_config(&config_bytes, registry.name())?;
    if (facts.os.as_str(), facts.architecture.as_str()) != (platform.os(), platform.architecture.as_str()) {
        let offered = vec![format!("{}/{}", facts.os, facts.architecture)];
        return Err(ImageError::NoPlatform { reference: registry.name().to_owned(), platform, offered });
    }
    store.add_blob(&served.bytes)?;
    store.add_blob(&config_bytes)?;
    Ok(BaseManifest {
        digest: served.digest,
        size: served.bytes.len() as u64,
        config: config.digest,
        layers: documents::layers(&layers, &facts.diff_ids, registry.name())?,
    })
}

/// Fetches the layers of one platform that the store lacks, and the manifest and config if they are gone; verified while
/// they stream.
///
/// # Errors
/// When the registry cannot be reached, has a blob no more, or serves other bytes.
pub async fn fetch_base(
    base: &BasePin,
    platform: Platform,
    source: &Source,
    http: &HttpClient,
    store: &Store,
    progress: &Progress,
) -> Result<(), ImageError> {
    let BasePin::Image { reference, manifests, index, .. } = base else { return Ok(()) };
    let Some(manifest) = manifests.get(&platform) else { return Ok(()) };
    let registry = Registry::new(source, http, reference);
    let missing: Vec<(Sha256, u64)> = manifest
        .layers
        .iter()
        .map(|layer| (layer.digest, layer.size))
        .filter(|(digest, _)| !store.contains(digest))
        .collect();
    let phase = progress.bytes("fetching base layers", missing.iter().map(|(_, size)| size).sum());
    let downloads = missing.iter().map(|(digest, size)| registry.blob(digest, *size, store, &phase));
    futures::future::try_join_all(downloads).await?;
    // Proof alone: a registry may have forgotten an index whose tag moved on.
    if !store.contains(index)
        && let Ok(served) = registry.manifest(index).await
    {
        store.add_blob(&served.bytes)?;
    }
    if !store.contains(&manifest.digest) {
        store.add_blob(&registry.manifest(&manifest.digest).await?.bytes)?;
    }
    if !store.contains(&manifest.config) {
        store.add_blob(&registry.config(&manifest.config).await?)?;
    }
    phase.finish(&crate::base::text::count(missing.len(), "layer"));
    Ok(())
}

/// Fetches the config of one platform alone: what rendering asks of a base.
///
/// # Errors
/// As [`fetch_base`].
pub async fn fetch_config(
    base: &BasePin,
    platform: Platform,
    source: &Source,
    http: &HttpClient,
    store: &Store,
) -> Result<(), ImageError> {
    let BasePin::Image { reference, manifests, .. } = base else { return Ok(()) };
    let Some(manifest) = manifests.get(&platform) else { return Ok(()) };
    let registry = Registry::new(source, http, reference);
    store.add_blob(&registry.config(&manifest.config).await?)?;
    Ok(())
}
