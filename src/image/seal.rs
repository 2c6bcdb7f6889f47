//! The whole of sealing: read, scrub, split into layers, write the config.

use serde::{Deserialize, Serialize};

use super::SealError;
use super::config::ImageConfig;
use super::delta::Delta;
use super::layers::{LayersRequest, Origin, write_layers};
use super::manifest::BaseBlob;
use super::rules::{Rules, date_passwords};
use super::tree::{Node, Tree};
use crate::base::progress::Progress;
use crate::base::text::{count, human_size};
use crate::engine::BuiltRoot;
use crate::model::{LayerCompression, Platform, Sha256};
use crate::store::Store;

/// The name of the layer that holds what no origin claims.
pub const SYSTEM_LAYER: &str = "system";

/// The origin whose packages are npm's.
pub const NPM_LAYER: &str = "npm";

/// The origin whose packages are Python's.
pub const PIP_LAYER: &str = "pip";

/// The name of the layer that holds what changes with nearly every Debian package.
pub const STATE_LAYER: &str = "state";

/// What the layers of a base image are called.
pub const BASE_LAYER: &str = "base";

/// A base image that stays as it is below the layers that are written.
#[derive(Clone, Copy, Debug)]
pub struct SealBase<'a> {
    /// Its root filesystem.
    pub tree: &'a Tree,
    /// Its layers, lowest first; both their blobs and their archives are in the store.
    pub layers: &'a [SealedLayer],
    /// The history in its config.
    pub history: &'a [serde_json::Value],
}

/// Whether layers are compressed while they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Yes: they leave for a layout or a registry, or the manifest's digest is wanted.
    Now(LayerCompression),
    /// No; what needs it later reads them again.
    Later,
}

/// How a root filesystem becomes an image.
#[derive(Clone, Copy, Debug)]
pub struct SealRequest<'a> {
    /// The time of everything, in seconds since 1970.
    pub epoch: i64,
    /// What it is for.
    pub platform: Platform,
    /// What the Containerfile says of running it.
    pub config: &'a ImageConfig,
    /// The origins that get layers of their own, in the layers' order, above the system's.
    pub origins: &'a [Origin],
    /// Whether layers are compressed on the way.
    pub encoding: Encoding,
}

/// An image whose layers and config lie in the store. Its ID is its identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedImage {
    /// The image ID: sha256 of the config, which is a blob of the store.
    pub id: Sha256,
    /// What it is for.
    pub platform: Platform,
    /// Whether the config has a HEALTHCHECK, which an OCI manifest would lose.
    pub has_healthcheck: bool,
    /// The layers, lowest first.
    pub layers: Vec<SealedLayer>,
}

/// One layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedLayer {
    /// Where its files come from: an origin, and after a `/` the package or part of it that they are.
    pub origin: String,
    /// sha256 of its uncompressed tar, which is a blob of the store.
    pub diff_id: Sha256,
    /// The size of that tar in bytes.
    pub size: u64,
    /// What a layer of the base image is in its registry, and so in every manifest; nothing for one of our own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<BaseBlob>,
}

/// Seals a root filesystem: its layers and config are blobs of the store afterwards.
///
/// # Errors
/// When something in the root cannot be read or be in an image, or the store cannot be written.
pub fn seal(
    root: &BuiltRoot,
    request: &SealRequest<'_>,
    store: &Store,
    progress: &Progress,
) -> Result<SealedImage, SealError> {
    seal_tree(Tree::read(root)?, request, None, store, progress)
}

/// The same on a base image: its layers come first, untouched, and those of our own hold only what differs from it.
///
/// # Errors
/// As [`seal`], or when a file of the base cannot be read.
pub fn seal_on(
    base: &SealBase<'_>,
    root: &BuiltRoot,
    request: &SealRequest<'_>,
    store: &Store,
    progress: &Progress,
) -> Result<SealedImage, SealError> {
    seal_tree(Tree::read(root)?, request, Some(base), store, progress)
}

fn seal_tree(
    mut tree: Tree,
    request: &SealRequest<'_>,
    base: Option<&SealBase<'_>>,
    store: &Store,
    progress: &Progress,
) -> Result<SealedImage, SealError> {
    let below = base.map(|base| base.tree);
    let rules = Rules::built_in()?;
    for scrubbed in rules.apply(&mut tree, below) {
        tracing::debug!(path = %scrubbed.path.display(), reason = scrubbed.reason, "scrubbed");
    }
    date_passwords(&mut tree, below, request.epoch)?;
    let delta = below.map(|below| Delta::between(below, &tree)).transpose()?;
    let phase = progress.bytes("sealing layers", content_size(&tree, delta.as_ref()));
    let layers = LayersRequest {
        tree: &tree,
        delta: delta.as_ref(),
        origins: request.origins,
        below: base.map_or(0, |base| base.layers.len()),
        rules: &rules,
        epoch: request.epoch,
        encoding: request.encoding,
    };
    let own = write_layers(&layers, store, &phase)?;
    let size = own.iter().map(|layer| layer.size).sum();
    phase.finish(&format!("{}, {}, {}", count(tree.len(), "path"), count(own.len(), "layer"), human_size(size)));
    let layers: Vec<SealedLayer> =
        base.map(|base| base.layers).unwrap_or_default().iter().cloned().chain(own).collect();
    let history = base.map(|base| base.history).unwrap_or_default();
    let config = request.config.render(request.platform, request.epoch, history, &layers)?;
    let id = store.add_blob(&config)?;
    let has_healthcheck = request.config.healthcheck.is_some();
    Ok(SealedImage { id, platform: request.platform, has_healthcheck, layers })
}

fn content_size(tree: &Tree, delta: Option<&Delta>) -> u64 {
    let written = tree.iter().filter(|(path, _)| delta.is_none_or(|delta| delta.has(path)));
    let sizes = written.map(|(_, entry)| match entry.node {
        Node::File { size, .. } => size,
        _ => 0,
    });
    sizes.sum()
}
