//! `oclock store`: how much it holds, and whether every blob is what its name says.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::error::OpsError;
use super::session::Session;
use super::store_gc::{BlobKind, blob_kinds};
use crate::model::Sha256;
use crate::store::StoreError;

/// Where the store is.
#[derive(Clone, Debug, serde::Serialize)]
pub struct StorePath {
    /// Its directory.
    pub path: PathBuf,
}

/// How much the store holds.
#[derive(Clone, Debug, serde::Serialize)]
pub struct StoreSize {
    /// Blobs.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
    /// The same by what they are.
    pub kinds: BTreeMap<BlobKind, KindSize>,
}

/// How much of a kind there is.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct KindSize {
    /// Blobs.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// What to do with damaged blobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Name them.
    Report,
    /// Name and remove them.
    Remove,
}

/// What hashing every blob showed.
#[derive(Clone, Debug, serde::Serialize)]
pub struct StoreVerification {
    /// Blobs that were hashed.
    pub blobs: usize,
    /// Those with other bytes than their names say.
    pub damaged: Vec<Sha256>,
    /// Whether these were removed.
    pub removed: bool,
}

/// Says where the store is.
pub fn store_path(session: &Session) -> StorePath {
    StorePath { path: session.store.root().to_owned() }
}

/// Counts blobs and bytes.
///
/// # Errors
/// When the store cannot be read.
pub fn store_size(session: &Session) -> Result<StoreSize, OpsError> {
    let blobs = session.store.blobs()?;
    let known = blob_kinds(&session.store)?;
    let mut kinds: BTreeMap<BlobKind, KindSize> = BTreeMap::new();
    for (digest, size) in &blobs {
        let kind = kinds.entry(known.get(digest).copied().unwrap_or(BlobKind::Artifact)).or_default();
        kind.blobs += 1;
        kind.bytes += size;
    }
    Ok(StoreSize { blobs: blobs.len(), bytes: blobs.iter().map(|(_, size)| size).sum(), kinds })
}

/// Hashes every blob again.
///
/// # Errors
/// When the store cannot be read.
pub fn store_verify(session: &Session, repair: Repair) -> Result<StoreVerification, OpsError> {
    let blobs = session.store.blobs()?;
    let phase = session.progress.bytes("verifying the store", blobs.iter().map(|(_, size)| size).sum());
    let mut damaged = Vec::new();
    for (digest, size) in &blobs {
        match session.store.open_blob(digest) {
            Ok(_) => {}
            Err(StoreError::Damaged { digest, .. }) => damaged.push(digest),
            Err(error) => return Err(error.into()),
        }
        phase.advance(*size);
    }
    if repair == Repair::Remove {
        for digest in &damaged {
            session.store.remove_blob(digest)?;
        }
    }
    phase.finish(&crate::base::text::count(blobs.len(), "blob"));
    Ok(StoreVerification { blobs: blobs.len(), removed: repair == Repair::Remove && !damaged.is_empty(), damaged })
}
