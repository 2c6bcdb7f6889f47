//! The built-in engine: carries out the Containerfile itself, with nothing installed.
//!
//! A Containerfile becomes a list of [`Step`]s, plain values that hold all that decides what they do. A root filesystem is a
//! value too ([`State`]): files are ranges of archives, known by their digests. ADD and COPY change that value and touch no
//! disk. A RUN needs a root on the disk, so its result is kept, as an archive of what it changed, under the digest of the step
//! and of the state that it started from; only when there is none is the state laid out (`disk.rs`) and the command run in a
//! closed room (`base/sandbox`). Files are put on the disk and packed by tasks that see owners as the room does: this program
//! started again with a hidden argument (`oclock __step …`), which is no command of the user's.

mod ahead;
mod apply;
mod archive;
mod build;
mod disk;
mod lay;
mod pack;
mod plan;
mod root;
mod split;
mod state;
mod task;

use std::path::Path;
use std::sync::Arc;

use super::containerfile::{Containerfile, parse_containerfile};
use super::{BuildRequest, BuiltRoot, Engine, EngineError, OnLine, RootLayer, Unusable};
use crate::base::environment::Environment;
use crate::base::process::{Cleanup, ProcessError};
use crate::base::sandbox::{Sandbox, remove_tree, sweep_leftovers};
use crate::base::{fs, memory};
use crate::model::Sha256;
use crate::store::{Store, StoreError};

use ahead::Ahead;
use build::{Build, limits_of};
use plan::{Step, plan_steps};
pub use task::run_task;
use task::{Task, run};

const NAME: &str = "native";
const HOST_NAME: &str = "oclock";
/// With less than this, a file system in memory counts as full: in bytes.
const FULL: u64 = 64 * 1024 * 1024;

/// The engine as it was found usable.
#[derive(Debug)]
pub(super) struct Native {
    sandbox: Sandbox,
}

impl Native {
    pub(super) fn find(environment: &Environment) -> Result<Self, Unusable> {
        if !cfg!(target_os = "linux") {
            return Err(Unusable::new(NAME, "it needs Linux"));
        }
        Sandbox::find(environment).map(|sandbox| Self { sandbox }).map_err(|why| Unusable::new(NAME, why))
    }

    fn read(request: &BuildRequest<'_>) -> Result<Containerfile, EngineError> {
        let file = parse_containerfile(&fs::read_text(&request.context.join("Containerfile"))?)?;
        if file.from == "scratch" { Ok(file) } else { Err(EngineError::NotScratch { from: file.from }) }
    }

    /// Carries out the steps, with roots laid out in `place`. Kept results that turn out to be damaged are dropped, and all is
    /// done again.
    fn build_in(
        &self,
        place: &Path,
        steps: &[Step],
        request: &BuildRequest<'_>,
        on_line: OnLine<'_>,
    ) -> Result<BuiltRoot, EngineError> {
        let mut notes = Vec::new();
        loop {
            let (result, build) = std::thread::scope(|scope| {
                let ahead = Ahead::prepare(scope, &self.sandbox, request, steps, place.join("ahead"));
                let mut build = Build::new(&self.sandbox, request, place, ahead)?;
                Ok::<_, EngineError>((build.carry_out_all(steps, &mut *on_line), build))
            })?;
            let Err(error) = result else {
                notes.extend(build.notes);
                let root = BuiltRoot::of(vec![RootLayer::Tree(Arc::new(build.state.tree))]);
                return Ok(BuiltRoot { steps: build.outcomes, kept: build.kept, notes, ..root });
            };
            let dropped = request.known.store.map_or(Ok(Vec::new()), |store| drop_damaged(store, &build.kept))?;
            if dropped.is_empty() {
                return Err(error);
            }
            notes.extend(dropped);
            remove(&self.sandbox, place).map_err(|source| EngineError::Failed {
                engine: NAME,
                action: "start again",
                source: Box::new(source),
            })?;
        }
    }

    fn cleanup(&self, place: &Path) -> Cleanup {
        let (sandbox, place) = (self.sandbox.clone(), place.to_owned());
        Cleanup::new(move || drop(remove(&sandbox, &place)))
    }
}

impl Engine for Native {
    fn name(&self) -> &str {
        NAME
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn flavour(&self) -> String {
        self.sandbox.describe().to_owned()
    }

    fn build(&self, request: &BuildRequest<'_>, on_line: OnLine<'_>) -> Result<BuiltRoot, EngineError> {
        let steps = plan_steps(&Self::read(request)?)?;
        let absolute = |path: &Path| std::path::absolute(path).map_err(fs::FsError::new("find", path));
        let mut notes = Vec::new();
        let is_bounded = |_: &&Path| self.sandbox.bounds_memory(&limits_of(request));
        if let Some(scratch) = request.memory_scratch.filter(is_bounded) {
            let place = absolute(scratch)?.join(NAME);
            let cleanup = self.cleanup(&place);
            match self.build_in(&place, &steps, request, on_line) {
                Err(error) if has_filled(&place, &error) => {
                    notes.push("the memory that was free did not do for the root filesystem: built on the disk".into());
                }
                result => return result.map(|root| finished(root, cleanup, notes, request)),
            }
        }
        let place = absolute(request.scratch)?.join(NAME);
        let cleanup = self.cleanup(&place);
        let root = self.build_in(&place, &steps, request, on_line)?;
        Ok(finished(root, cleanup, notes, request))
    }

    fn verifies_context(&self) -> bool {
        true
    }

    fn keeps_images(&self) -> bool {
        false
    }

    fn load(&self, _archive: &Path, _tags: &[String]) -> Result<(), EngineError> {
        Err(EngineError::KeepsNoImages { engine: NAME })
    }

    fn has_image(&self, _id: &Sha256, _tags: &[String]) -> bool {
        false
    }
}

/// What was laid out is not needed any more where a store has it: it goes while the image is sealed.
fn finished(root: BuiltRoot, cleanup: Cleanup, mut notes: Vec<String>, request: &BuildRequest<'_>) -> BuiltRoot {
    notes.extend(root.notes);
    let cleanup = if request.known.store.is_some() {
        let removing = std::thread::spawn(move || drop(cleanup));
        Cleanup::new(move || drop(removing.join()))
    } else {
        cleanup
    };
    BuiltRoot { cleanups: vec![cleanup], notes, ..root }
}

/// Whether a build in memory came to nothing for want of it.
fn has_filled(place: &Path, error: &EngineError) -> bool {
    let EngineError::Step { source, .. } = error else { return false };
    match **source {
        ProcessError::Exceeded { .. } => true,
        ProcessError::Interrupted | ProcessError::TimedOut { .. } => false,
        _ => memory::free(place).min(memory::available()) < FULL,
    }
}

/// Takes kept results out of the store whose bytes are not what they should be, and says so.
pub(super) fn drop_damaged(store: &Store, kept: &[Sha256]) -> Result<Vec<String>, EngineError> {
    let mut notes = Vec::new();
    for digest in kept {
        if let Err(StoreError::Damaged { .. }) = store.open_blob(digest) {
            store.remove_blob(digest).map_err(EngineError::Store)?;
            notes.push(format!(
                "the kept result {} of a step was damaged; it is dropped and made again",
                digest.short()
            ));
        }
    }
    Ok(notes)
}

/// Removes what a build left that was ended before it could clean up, whoever its files belong to.
///
/// # Errors
/// When it cannot be removed.
pub(super) fn remove_leftover(path: &Path, environment: &Environment) -> Result<(), EngineError> {
    sweep_leftovers();
    if remove_tree(path).is_ok() {
        return Ok(());
    }
    let gone = |source| EngineError::Failed { engine: NAME, action: "remove what an earlier build left", source };
    let sandbox =
        Sandbox::find(environment).map_err(|why| EngineError::NoneUsable { tried: vec![Unusable::new(NAME, why)] })?;
    remove(&sandbox, path).map_err(|source| gone(Box::new(source)))
}

fn remove(sandbox: &Sandbox, path: &Path) -> Result<(), ProcessError> {
    if sandbox.is_root() && remove_tree(path).is_ok() {
        return Ok(());
    }
    run(sandbox, &Task::Remove { path: path.to_owned() })
}
