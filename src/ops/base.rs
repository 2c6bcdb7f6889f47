//! The base image of a project: found, fetched, and what the other verbs ask of it.

use std::io::Read;

use super::error::OpsError;
use super::fetch::FetchReport;
use super::session::Session;
use crate::assemble::{BaseConfig, BaseFacts, NODE_VARIABLE, PYTHON_VARIABLE};
use crate::base::archive::Compression;
use crate::base::fs::FsError;
use crate::image::{BASE_LAYER, BaseBlob, Blob, ImageConfig, SealedLayer};
use crate::lock::{self, AptPin, BaseManifest, BasePin, Finding, Lockfile, pinned_upstream};
use crate::manifest::{BaseRequest, Manifest};
use crate::model::Platform;
use crate::resolve::image::{self, ImageRequest};
use crate::source::{Source, Sources};
use crate::store::{Store, StoreError};
use crate::template::Inherited;

/// What resolving on a base image stands on.
pub(super) struct Ground {
    facts: BaseFacts,
    config: BaseConfig,
}

impl Ground {
    /// Fetches a base's layers for a platform and looks into them; nothing when the base is no image.
    pub(super) async fn of(
        session: &Session,
        manifest: &Manifest,
        sources: &Sources,
        base: &BasePin,
        platform: Platform,
    ) -> Result<Option<Self>, OpsError> {
        let Some(pinned) = manifest_of(base, platform) else { return Ok(None) };
        if !missing(pinned, &session.store).is_empty() {
            let source = source(manifest, sources)?;
            image::fetch_base(base, platform, &source, &session.http, &session.store, &session.progress).await?;
        }
        let phase = session.progress.spinner("reading the base");
        let facts = BaseFacts::read(pinned, &session.store)?;
        let config = BaseConfig::read(pinned, &session.store)?;
        phase.finish(&pinned.digest.short());
        Ok(Some(Self { facts, config }))
    }

    /// The text of dpkg's status.
    pub(super) fn status(&self) -> &str {
        &self.facts.status
    }

    /// The Debian suite of the base itself.
    pub(super) fn suite(&self) -> Option<&str> {
        self.facts.suite.as_deref()
    }

    /// When the base was made, in seconds since 1970.
    pub(super) fn created(&self) -> Option<i64> {
        self.config.created
    }

    fn node(&self) -> Option<String> {
        let said = self.config.variable(NODE_VARIABLE).map(str::to_owned);
        said.or_else(|| self.facts.installed_upstream("nodejs"))
    }

    fn python(&self) -> Option<String> {
        let installed = self.facts.installed_upstream("python3");
        installed.or_else(|| self.config.variable(PYTHON_VARIABLE).map(str::to_owned))
    }
}

/// What the image inherits from the config of its base, as it is in the store; nothing when the base is no image.
///
/// # Errors
/// When the config is not in the store, or is none.
pub(super) fn inherited_config(
    session: &Session,
    base: &BasePin,
    platform: Platform,
) -> Result<Option<ImageConfig>, OpsError> {
    let Some(pinned) = manifest_of(base, platform) else { return Ok(None) };
    let config = BaseConfig::read(pinned, &session.store)?;
    Ok(Some(crate::image::inherited_config(&config.runtime)?))
}

/// The Node that an image will have: what the manifest says, else what is pinned, else what the base brings.
pub(super) fn node_version(
    manifest: &Manifest,
    apt: &[AptPin],
    ground: Option<&Ground>,
    platform: Platform,
) -> Option<String> {
    let said = manifest.npm.node.clone().or_else(|| pinned_upstream(apt, "nodejs", platform));
    said.or_else(|| ground.and_then(Ground::node))
}

/// The Python that an image will have, found likewise.
pub(super) fn python_version(
    manifest: &Manifest,
    apt: &[AptPin],
    ground: Option<&Ground>,
    platform: Platform,
) -> Option<String> {
    let said = manifest.pip.python.clone().or_else(|| pinned_upstream(apt, "python3", platform));
    said.or_else(|| ground.and_then(Ground::python))
}

/// The C library's version, for the manylinux level; 2.17 where nothing says it (every wheel of PEP 599 runs there).
pub(super) fn glibc(apt: &[AptPin], ground: Option<&Ground>, platform: Platform) -> (u16, u16) {
    let parse = |version: String| {
        let (major, minor) = version.split_once('.')?;
        Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
    };
    let installed = || ground.and_then(|ground| ground.facts.installed_upstream("libc6"));
    pinned_upstream(apt, "libc6", platform).or_else(installed).and_then(parse).unwrap_or((2, 17))
}

/// Finds what the manifest's base names today.
pub(super) async fn resolve_base(
    session: &Session,
    manifest: &Manifest,
    sources: &Sources,
) -> Result<BasePin, OpsError> {
    match &manifest.image.base {
        BaseRequest::Debian { suite } => Ok(BasePin::Debian { suite: suite.clone() }),
        BaseRequest::Image(reference) => {
            let source = source(manifest, sources)?;
            let phase = session.progress.spinner("resolving the base");
            let request = ImageRequest { reference, platforms: &manifest.image.platforms };
            let base = image::resolve(&request, &source, &session.http, &session.store).await?;
            if let BasePin::Image { index, .. } = &base {
                phase.finish(&index.short());
            }
            Ok(base)
        }
    }
}

/// The base of a lock, where it answers the manifest for all its platforms.
pub(super) fn kept_base(manifest: &Manifest, lock: &Lockfile) -> Option<BasePin> {
    let answers = !lock::check(manifest, lock).iter().any(|drift| matches!(drift.finding, Finding::Base { .. }));
    let has_all = match &lock.base {
        BasePin::Debian { .. } => true,
        BasePin::Image { manifests, .. } => manifests.keys().eq(&manifest.image.platforms),
    };
    (answers && has_all).then(|| lock.base.clone())
}

/// The registry of the manifest's base. The lock names none; the manifest may.
fn source(manifest: &Manifest, sources: &Sources) -> Result<Source, OpsError> {
    match &manifest.image.base {
        BaseRequest::Image(reference) => Ok(sources.image_of(reference)?),
        BaseRequest::Debian { .. } => Err(OpsError::NoPlatform),
    }
}

/// The base image's manifest for a platform; nothing when the base is no image.
pub(super) fn manifest_of(base: &BasePin, platform: Platform) -> Option<&BaseManifest> {
    match base {
        BasePin::Debian { .. } => None,
        BasePin::Image { manifests, .. } => manifests.get(&platform),
    }
}

/// The sizes of the blobs of a base that the store lacks; nothing is said of the sizes of documents.
fn missing(manifest: &BaseManifest, store: &Store) -> Vec<u64> {
    let documents = [&manifest.digest, &manifest.config].into_iter().filter(|digest| !store.contains(digest));
    let documents = documents.map(|_| 0);
    let layers = manifest.layers.iter().filter(|layer| !store.contains(&layer.digest)).map(|layer| layer.size);
    documents.chain(layers).collect()
}

/// Brings what a locked base lacks in the store.
pub(super) fn ensure_base(
    session: &Session,
    manifest: &Manifest,
    lock: &Lockfile,
    platform: Platform,
) -> Result<FetchReport, OpsError> {
    let Some(pinned) = manifest_of(&lock.base, platform) else { return Ok(FetchReport::default()) };
    let missing = missing(pinned, &session.store);
    if missing.is_empty() {
        return Ok(FetchReport::default());
    }
    let source = source(manifest, &session.sources(manifest)?)?;
    let (http, store, progress) = (&session.http, &session.store, &session.progress);
    session.block_on(image::fetch_base(&lock.base, platform, &source, http, store, progress))?;
    Ok(FetchReport { files: missing.len(), bytes: missing.iter().sum(), ..FetchReport::default() })
}

/// The locked base's config, fetched when the store lacks it; nothing when the base is no image.
pub(super) fn base_config(
    session: &Session,
    manifest: &Manifest,
    lock: &Lockfile,
    platform: Platform,
) -> Result<Option<BaseConfig>, OpsError> {
    let Some(pinned) = manifest_of(&lock.base, platform) else { return Ok(None) };
    if !session.store.contains(&pinned.config) {
        let source = source(manifest, &session.sources(manifest)?)?;
        let (http, store) = (&session.http, &session.store);
        session.block_on(image::fetch_config(&lock.base, platform, &source, http, store))?;
    }
    Ok(Some(BaseConfig::read(pinned, &session.store)?))
}

/// What of a base's config holds for the steps of a build.
pub(super) fn inherited(config: Option<&BaseConfig>) -> Inherited {
    config.map_or_else(Inherited::default, |config| Inherited {
        environment: config.environment.clone(),
        user: config.user.clone(),
        directory: config.directory.clone(),
    })
}

/// The layers of a base as those of an image that stands on it; they were unpacked before.
pub(super) fn sealed_layers(manifest: &BaseManifest, store: &Store) -> Result<Vec<SealedLayer>, OpsError> {
    let layer = |layer: &crate::lock::BaseLayer| {
        let fail = |digest| FsError::new("read", store.blob_path(digest));
        let mut start = Vec::new();
        let packed = std::fs::File::open(store.blob_path(&layer.digest)).map_err(fail(&layer.digest))?;
        packed.take(6).read_to_end(&mut start).map_err(fail(&layer.digest))?;
        let size = std::fs::metadata(store.blob_path(&layer.diff_id)).map_err(fail(&layer.diff_id))?.len();
        Ok(SealedLayer {
            origin: BASE_LAYER.to_owned(),
            diff_id: layer.diff_id,
            size,
            blob: Some(BaseBlob {
                blob: Blob { digest: layer.digest, size: layer.size },
                compression: Compression::detect(&start),
            }),
        })
    };
    manifest.layers.iter().map(layer).collect::<Result<_, StoreError>>().map_err(OpsError::from)
}
