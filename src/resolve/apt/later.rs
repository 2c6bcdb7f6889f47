//! Signed indexes that were read after those of a lock: they vouch for its pins where an archive no longer has the locked ones.
//!
//! An archive keeps its indexes for days, and the files that they list for months. A file that a later index of the same suite
//! lists with the same hash is signed for just as well.

use super::keep::Today;
use crate::lock::{ArchivePin, Lockfile};
use crate::model::{Hasher, Platform, Sha256, SourceName};
use crate::store::{Store, StoreError};

const MEMO: &str = "apt-later";

/// Remembers the archives of today, whose files are in the store, as later ones of their suites.
///
/// # Errors
/// When the store cannot be written.
pub fn remember_later(today: &Today, platform: Platform, store: &Store) -> Result<(), StoreError> {
    for archive in today.archives() {
        let answer = serde_json::to_vec(archive).unwrap_or_default();
        store.set_memo(MEMO, &question(&archive.source, &archive.suite, platform), &answer)?;
    }
    Ok(())
}

/// The archives remembered for the suite of `archive` that are newer than it, for the platforms of the lock: of one Date there is
/// one InRelease, so that the lock is wrong about it if it is not at hand. They are verified by whoever uses them.
pub(super) fn later_than(archive: &ArchivePin, lock: &Lockfile, store: &Store) -> Vec<ArchivePin> {
    let kept = lock.platforms.iter().filter_map(|platform| {
        let answer = store.memo(MEMO, &question(&archive.source, &archive.suite, *platform))?;
        serde_json::from_slice::<ArchivePin>(&answer).ok()
    });
    kept.filter(|later| (&later.source, &later.suite) == (&archive.source, &archive.suite) && later.date > archive.date)
        .collect()
}

fn question(source: &SourceName, suite: &str, platform: Platform) -> Sha256 {
    let mut hasher = Hasher::default();
    hasher.field(source.as_str());
    hasher.field(suite);
    hasher.field(platform.to_string());
    hasher.finish()
}
