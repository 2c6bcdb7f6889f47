//! Parts of the context that are worked out from pins alone. Each is kept in the store under the digest of what it is made
//! of, so that a changed pin makes only its own part anew.

use std::io::{BufWriter, Write};
use std::sync::mpsc::sync_channel;

use serde::{Deserialize, Serialize};

use super::error::AssembleError;
use crate::base::fs::FsError;
use crate::base::tar::TarWriter;
use crate::model::Sha256;
use crate::store::{BlobWriter, Store};

/// Raised whenever the same pins would give another tar; a change for a released version is a new lockfile format.
pub(super) const ASSEMBLY_VERSION: &str = "1";

/// A tar in the store, ready to be unpacked into the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    /// The tar's digest.
    pub digest: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// The paths in the image that it owns, for the split into layers.
    pub roots: Vec<String>,
    /// The text of a script that must run inside, if any.
    pub script: Option<String>,
}

/// What a part's writer says of it: roots and script.
pub(super) struct Written {
    pub roots: Vec<String>,
    pub script: Option<String>,
}

pub(super) type PartWriter = TarWriter<BufWriter<BlobWriter>>;

/// Gives the kept part for `question`, or has it written.
pub(super) fn part(
    kind: &'static str,
    question: &Sha256,
    epoch: i64,
    store: &Store,
    write: impl FnOnce(&mut PartWriter) -> Result<Written, AssembleError>,
) -> Result<Part, AssembleError> {
    if let Some(part) = kept(kind, question, store) {
        return Ok(part);
    }
    let fail = || FsError::new("write to", store.root());
    let mut writer = TarWriter::new(BufWriter::with_capacity(1 << 18, store.create_blob()?), epoch);
    let Written { roots, script } = write(&mut writer)?;
    let mut buffer = writer.finish().map_err(fail())?;
    buffer.flush().map_err(fail())?;
    let blob = buffer.into_inner().map_err(|error| fail()(error.into_error()))?;
    let (digest, size) = blob.commit(None)?;
    let part = Part { digest, size, roots, script };
    let answer = serde_json::to_vec(&part).unwrap_or_default();
    store.set_memo(kind, question, &answer)?;
    Ok(part)
}

/// Gives each item with what was read of it to `take`, in order, while a second thread reads at most `ahead` of the next ones.
pub(super) fn read_ahead<I: Copy + Send, T: Send, E>(
    items: impl IntoIterator<Item = I> + Send,
    ahead: usize,
    read: impl Fn(I) -> T + Send,
    mut take: impl FnMut(I, T) -> Result<(), E>,
) -> Result<(), E> {
    std::thread::scope(|scope| {
        let (sender, ready) = sync_channel(ahead);
        scope.spawn(move || items.into_iter().all(|item| sender.send((item, read(item))).is_ok()));
        ready.into_iter().try_for_each(|(item, value)| take(item, value))
    })
}

fn kept(kind: &'static str, question: &Sha256, store: &Store) -> Option<Part> {
    let part: Part = serde_json::from_slice(&store.memo(kind, question)?).ok()?;
    store.contains(&part.digest).then_some(part)
}
