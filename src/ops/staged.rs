//! A context on the disk, with what an engine may rely on instead of finding it out again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::session::{Scratch, Session};
use crate::assemble::{AssembleError, ByteCode, Context, Hashed};
use crate::engine::{BuildRequest, Engine, Known, Results, Split};
use crate::model::Sha256;
use crate::store::Store;

/// A staged context.
pub(super) struct Staged<'a> {
    scratch: &'a Path,
    memory: Option<Scratch>,
    store: &'a Store,
    directory: PathBuf,
    digests: BTreeMap<String, Sha256>,
    splits: Vec<Split>,
}

impl<'a> Staged<'a> {
    /// Stages a context for an engine in `scratch`, which has room for the root filesystem too.
    ///
    /// # Errors
    /// When a blob is missing or damaged, or the disk cannot be written.
    pub(super) fn new(
        context: &Context,
        engine: &dyn Engine,
        scratch: &'a Path,
        session: &'a Session,
    ) -> Result<Self, AssembleError> {
        let store = &session.store;
        let directory = scratch.join("context");
        let hashed = if engine.verifies_context() { Hashed::ByReader } else { Hashed::First };
        context.stage(&directory, store, hashed)?;
        let splits = context.byte_code.iter().map(split_of).collect();
        let memory = session.memory_scratch("root-", context.size(store));
        Ok(Self { scratch, memory, store, directory, digests: context.digests(), splits })
    }

    /// What an engine is asked: to carry it out within these bounds, with results that were kept or without. Steps whose
    /// memory is bounded are not given any for their files.
    pub(super) fn request(&self, limit: Duration, memory: Option<u64>, results: Results) -> BuildRequest<'_> {
        let Self { scratch, store, directory, digests, splits, .. } = self;
        let known = Known { digests: Some(digests), store: Some(store), results, splits };
        let memory_scratch = self.memory.as_ref().filter(|_| memory.is_none()).map(Scratch::path);
        BuildRequest { context: directory, scratch, memory_scratch, limit, memory, known }
    }
}

/// Byte code is made for each directory in the environment's packages by itself.
fn split_of(byte_code: &ByteCode) -> Split {
    let ByteCode { line, directory, sees } = byte_code.clone();
    Split { line, directory, suffix: ".py".into(), sees }
}
