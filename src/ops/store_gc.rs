//! `oclock store gc`: what was not of use for longest goes, until the store is small enough. Nothing goes while anybody uses
//! the store.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::error::OpsError;
use super::session::Session;
use crate::base::clock;
use crate::model::Sha256;
use crate::store::{BlobUse, Store, StoreError};

/// How much of what can be made again offline stays after a build when nothing else is asked for: 16 GiB.
pub const USUAL_LIMIT: u64 = 16 * 1024 * 1024 * 1024;

/// What a blob is to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlobKind {
    /// Made of artifacts: a part of the context.
    Part,
    /// Made by a step of a build.
    Step,
    /// A layer or config of an image.
    Image,
    /// A compressed layer.
    Compressed,
    /// Fetched, or given by the user: it cannot be made again offline.
    Artifact,
}

impl BlobKind {
    /// Its plural, for people.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Part => "parts",
            Self::Step => "steps",
            Self::Image => "images",
            Self::Compressed => "compressed layers",
            Self::Artifact => "artifacts",
        }
    }
}

/// Memos whose answers name blobs that were made, not fetched.
const MADE: [(&str, BlobKind); 11] = [
    ("system", BlobKind::Part),
    ("npm", BlobKind::Part),
    ("pip", BlobKind::Part),
    ("pip-last", BlobKind::Part),
    ("deb-contents", BlobKind::Part),
    ("built-wheel", BlobKind::Part),
    ("step", BlobKind::Step),
    ("layer", BlobKind::Image),
    ("image", BlobKind::Image),
    ("image-by-id", BlobKind::Image),
    ("encoded-layer", BlobKind::Compressed),
];

/// Memos whose questions are blobs.
const OF_BLOBS: [&str; 3] = ["archive", "pip-files", "tar-contents"];

/// How much may stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GcOptions {
    /// The most bytes in all; artifacts go only when all else is gone. The usual limit, and no artifact, when not given.
    pub most: Option<u64>,
    /// What was not of use for so long goes in any case.
    pub older: Option<Duration>,
}

/// What went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct GcOutcome {
    /// Blobs that were removed.
    pub removed: usize,
    /// Their bytes.
    pub removed_bytes: u64,
    /// Unfinished files that ended runs had left.
    pub unfinished: usize,
    /// Blobs that stay.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// Removes what is left of runs that were killed, and blobs until the rest is small enough.
///
/// # Errors
/// When someone uses the store, or something cannot be removed.
pub fn store_gc(session: &Session, options: GcOptions) -> Result<GcOutcome, OpsError> {
    if session.paths.scratch().is_dir() {
        // Making one removes those of runs that were ended.
        drop(session.scratch("gc-")?);
    }
    let _alone = session.store_alone()?.ok_or(OpsError::StoreInUse)?;
    collect(&session.store, options, &BTreeSet::new())
}

/// The same after a build, with the usual limit; not when someone else uses the store.
pub(super) fn collect_after_build(session: &Session, in_use: &BTreeSet<Sha256>) -> Result<(), OpsError> {
    if made_bytes(&session.store)? <= USUAL_LIMIT {
        return Ok(());
    }
    if let Some(_alone) = session.store_alone()? {
        collect(&session.store, GcOptions::default(), in_use)?;
    }
    Ok(())
}

fn made_bytes(store: &Store) -> Result<u64, OpsError> {
    let kinds = blob_kinds(store)?;
    Ok(store.blobs()?.iter().filter(|(digest, _)| kinds.contains_key(digest)).map(|(_, size)| size).sum())
}

/// What made blobs are, by what remembers them. All others are artifacts.
pub(super) fn blob_kinds(store: &Store) -> Result<BTreeMap<Sha256, BlobKind>, StoreError> {
    let mut kinds = BTreeMap::new();
    for (memo, kind) in MADE {
        for (_, answer) in store.memos(memo)? {
            for digest in digests_in(&answer) {
                kinds.entry(digest).or_insert(kind);
            }
        }
    }
    Ok(kinds)
}

fn digests_in(answer: &[u8]) -> Vec<Sha256> {
    fn walk(value: &Value, found: &mut Vec<Sha256>) {
        match value {
            Value::String(text) => found.extend(Sha256::parse(text)),
            Value::Array(values) => values.iter().for_each(|value| walk(value, found)),
            // What a base image's layer is in its registry was fetched.
            Value::Object(fields) => {
                fields.iter().filter(|(name, _)| *name != "blob").for_each(|(_, value)| walk(value, found));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let mut found = Vec::new();
    match serde_json::from_slice(answer) {
        Ok(value) => walk(&value, &mut found),
        Err(_) => found.extend(std::str::from_utf8(answer).ok().and_then(|text| Sha256::parse(text).ok())),
    }
    found
}

fn collect(store: &Store, options: GcOptions, in_use: &BTreeSet<Sha256>) -> Result<GcOutcome, OpsError> {
    let (unfinished, _) = store.sweep()?;
    let kinds = blob_kinds(store)?;
    let kind_of = |blob: &BlobUse| kinds.get(&blob.digest).copied().unwrap_or(BlobKind::Artifact);
    let mut blobs = store.blob_uses()?;
    // What can be made again goes before what must be fetched, and then what was not of use for longest.
    blobs.sort_by_key(|blob| (kind_of(blob) == BlobKind::Artifact, blob.used, blob.used_nanoseconds, blob.digest));
    let counts = |blob: &BlobUse| options.most.is_some() || kind_of(blob) != BlobKind::Artifact;
    let mut size: u64 = blobs.iter().filter(|blob| counts(blob)).map(|blob| blob.size).sum();
    let most = options.most.unwrap_or(USUAL_LIMIT);
    let oldest = options.older.map(|older| clock::now() - i64::try_from(older.as_secs()).unwrap_or(i64::MAX));
    let mut outcome = GcOutcome { unfinished, ..GcOutcome::default() };
    for blob in &blobs {
        let is_old = oldest.is_some_and(|oldest| blob.used < oldest);
        if (is_old || (size > most && counts(blob))) && !in_use.contains(&blob.digest) {
            store.remove_blob(&blob.digest)?;
            size = size.saturating_sub(if counts(blob) { blob.size } else { 0 });
            outcome.removed += 1;
            outcome.removed_bytes += blob.size;
        } else {
            outcome.blobs += 1;
            outcome.bytes += blob.size;
        }
    }
    forget(store)?;
    Ok(outcome)
}

/// Memos whose blobs are gone answer nothing any more.
fn forget(store: &Store) -> Result<(), StoreError> {
    for (memo, _) in MADE {
        for (question, answer) in store.memos(memo)? {
            if !digests_in(&answer).iter().all(|digest| store.contains(digest)) {
                store.remove_memo(memo, &question)?;
            }
        }
    }
    for memo in OF_BLOBS {
        for (question, _) in store.memos(memo)? {
            if !store.contains(&question) {
                store.remove_memo(memo, &question)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(store: &Store, memo: Option<&'static str>, text: &str) -> Sha256 {
        let digest = store.add_blob(text.as_bytes()).unwrap();
        if let Some(memo) = memo {
            let answer = serde_json::json!({ "archive": digest.to_string(), "blob": { "digest": "00" } }).to_string();
            store.set_memo(memo, &Sha256::of(text), answer.as_bytes()).unwrap();
        }
        digest
    }

    #[test]
    fn what_was_used_last_stays_and_artifacts_go_last() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let artifact = add(&store, None, "artifact..");
        let [old, new] = [add(&store, Some("step"), "old......."), add(&store, Some("layer"), "new.......")];
        let age = |digest: &Sha256, time| {
            let file = std::fs::File::options().write(true).open(store.blob_path(digest)).unwrap();
            file.set_modified(time).unwrap();
        };
        age(&old, std::time::SystemTime::now() - Duration::from_secs(10));
        store.mark_used([&new]);
        let there = || [artifact, old, new].map(|digest| store.contains(&digest));
        let none = BTreeSet::new();
        let limit = |most| GcOptions { most: Some(most), older: None };

        assert_eq!(collect(&store, limit(30), &none).unwrap().removed, 0);
        let outcome = collect(&store, limit(20), &none).unwrap();
        assert_eq!((outcome.removed, outcome.removed_bytes, outcome.blobs, outcome.bytes), (1, 10, 2, 20));
        assert_eq!(there(), [true, false, true]);
        assert!(store.memo("step", &Sha256::of("old.......")).is_none() && store.memos("layer").unwrap().len() == 1);

        assert_eq!(collect(&store, limit(0), &BTreeSet::from([new])).unwrap().removed, 1);
        assert_eq!(there(), [false, false, true]);
        assert_eq!(collect(&store, GcOptions::default(), &none).unwrap().removed, 0);
        let all = GcOptions { most: None, older: Some(Duration::ZERO) };
        age(&new, std::time::SystemTime::UNIX_EPOCH);
        assert_eq!(collect(&store, all, &none).unwrap().removed, 1);
    }
}
