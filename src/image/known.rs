//! Layers that were written before: a layer whose paths, metadata and contents are all known is the one that was made of the
//! same, and nothing of it is read again.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::tree::Entry;
use crate::base::path_map::PathMap;
use crate::model::{Hasher, Sha256};
use crate::store::{Store, StoreError};

const MEMO: &str = "layer";
/// Raised whenever the same entries would be written as other bytes.
const LAYER_VERSION: &str = "1";

/// The archive of a layer.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct KnownLayer {
    pub diff_id: Sha256,
    pub size: u64,
}

/// All that decides a layer's bytes; nothing when a content is not known by its digest.
pub(super) fn question(
    entries: &PathMap<&Entry, &Path>,
    links: &PathMap<&Path, &Path>,
    has_root: bool,
    epoch: i64,
) -> Option<Sha256> {
    let mut hasher = Hasher::default();
    hasher.field("oclock layer");
    hasher.field(LAYER_VERSION);
    hasher.field(if has_root { "root" } else { "" });
    hasher.field(epoch.to_le_bytes());
    for (path, entry) in entries.iter() {
        hasher.field(path.as_os_str().as_encoded_bytes());
        if !entry.describe(|field| hasher.field(field)) {
            return None;
        }
    }
    for (path, target) in links.iter() {
        hasher.field(path.as_os_str().as_encoded_bytes());
        hasher.field(target.as_os_str().as_encoded_bytes());
    }
    Some(hasher.finish())
}

/// The layer that was written for the same question, if it is still in the store.
pub(super) fn find(question: &Sha256, store: &Store) -> Option<KnownLayer> {
    let layer: KnownLayer = serde_json::from_slice(&store.memo(MEMO, question)?).ok()?;
    store.contains(&layer.diff_id).then_some(layer)
}

/// Remembers a layer.
pub(super) fn remember(question: &Sha256, layer: KnownLayer, store: &Store) -> Result<(), StoreError> {
    store.set_memo(MEMO, question, &serde_json::to_vec(&layer).unwrap_or_default())
}
